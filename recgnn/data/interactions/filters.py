"""Which interactions are kept: a filter takes a frame and returns fewer rows, in order."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

import numpy as np
import pandas as pd

from recgnn.data.interactions.log import ITEM, RATING, TIMESTAMP, USER, WEIGHT
from recgnn.data.readers.rules import Rule
from recgnn.errors import Checked, ConfigError, DataError, Whole


class Filter(Checked, ABC):
    """Keeps some rows of the interactions."""

    by_user = False
    """Whether the rows of a user that are kept follow from these rows alone, so that users can be filtered apart."""

    @abstractmethod
    def apply(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return the rows of `frame` that are kept, in their order."""

    @abstractmethod
    def describe(self) -> str:
        """Return one line with every argument."""


class MinRating(Filter):
    """Keeps ratings of at least `threshold`.

    Args:
        threshold: The lowest rating that is kept.

    Raises:
        DataError: If the log has no ratings.
    """

    by_user = True

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold

    def apply(self, frame: pd.DataFrame) -> pd.DataFrame:
        if RATING not in frame:
            raise DataError(
                "MinRating needs ratings and the log has none; name the rating column, or drop it"
            )
        return frame[frame[RATING] >= np.float32(self.threshold)]

    def describe(self) -> str:
        return f"ratings of at least {self.threshold:g}"


class Where(Filter):
    """Keeps the rows that a rule means.

    Args:
        rule: A comparison of a column, such as `rating >= 4` or `behavior == 'buy'`, or several joined by `and`.

    Raises:
        DataError: If the log has no such column.
    """

    by_user = True

    def __init__(self, rule: str) -> None:
        self.rule = rule
        self._parsed()

    def _parsed(self) -> Rule:
        return Rule(self.rule, "Where")

    def apply(self, frame: pd.DataFrame) -> pd.DataFrame:
        return frame[self._parsed().mask(frame)]

    def describe(self) -> str:
        return f"only {self.rule}"


class Positive(Where):
    """Keeps the rows that count as positives; see `Where`."""

    def _parsed(self) -> Rule:
        return Rule(self.rule, "positive")

    def describe(self) -> str:
        return f"no positives (positive: {self.rule})"


class RatingRange(Filter):
    """Declares what ratings there can be, and refuses a log that has others.

    Args:
        low: The lowest rating.
        high: The highest rating.
        drop: Leave the rows with other ratings out instead.

    Raises:
        DataError: If the log has no ratings, or one outside the range; names the row.
    """

    by_user = True

    def __init__(self, low: float, high: float, drop: bool = False) -> None:
        if not low < high:
            raise ConfigError(f"RatingRange: low is {low:g} and high {high:g}; expected low < high")
        self.low = low
        self.high = high
        self.drop = drop

    def apply(self, frame: pd.DataFrame) -> pd.DataFrame:
        if RATING not in frame:
            raise DataError(
                "RatingRange needs ratings and the log has none; name the rating column, or drop it"
            )
        rating = frame[RATING].to_numpy()
        outside = (rating < np.float32(self.low)) | (rating > np.float32(self.high))
        if outside.any() and not self.drop:
            row = int(outside.argmax())
            user, item = frame[USER].iloc[row], frame[ITEM].iloc[row]
            raise DataError(
                f"row {frame.index[row] + 1} (user {user}, item {item}): rating {rating[row]:g} lies outside "
                f"{self.low:g} to {self.high:g}, as {outside.sum():,} ratings do; mend them, widen the range, or "
                "leave such rows out with drop: true"
            )
        return frame[~outside] if outside.any() else frame

    def describe(self) -> str:
        return f"ratings from {self.low:g} to {self.high:g}"


class Deduplicate(Filter):
    """Keeps one interaction of each (user, item), with the sum of their weights.

    Where the parts are given or follow the time, one is kept of each part.

    Args:
        keep: "last" or "first" by timestamp where there is one (rows without come first; equal times: by row),
            or "max", the highest rating (the last of equals).

    Raises:
        DataError: If `keep` is "max" and the log has no ratings.
    """

    by_user = True

    def __init__(self, keep: Literal["last", "first", "max"] = "last") -> None:
        self.keep = keep

    def apply(self, frame: pd.DataFrame) -> pd.DataFrame:
        if self.keep == "max" and RATING not in frame:
            raise DataError(
                "Deduplicate(keep='max') needs ratings and the log has none; use keep='last'"
            )
        pairs = pair_keys(frame)
        if not pd.Series(pairs).duplicated().any():
            return frame
        order = np.arange(len(frame))
        if TIMESTAMP in frame:
            order = np.argsort(frame[TIMESTAMP].fillna(-np.inf).to_numpy(), kind="stable")
        if self.keep == "max":
            order = order[np.argsort(frame[RATING].to_numpy()[order], kind="stable")]
        ordered = pd.Series(pairs[order])
        repeated = ordered.duplicated(keep="first") if self.keep == "first" else ordered.duplicated(keep="last")
        kept = np.sort(order[~repeated.to_numpy()])
        found = frame.iloc[kept]
        if WEIGHT in frame:
            totals = frame[WEIGHT].astype(np.float64).groupby(pairs).sum()
            found = found.assign(**{WEIGHT: totals.loc[pairs[kept]].to_numpy(np.float32)})
        return found

    def describe(self) -> str:
        return f"one row per user and item ({self.keep})"


class KCore(Filter):
    """Keeps the largest log in which every user has `users` different items and every item `items` different users,
    dropping in turn.

    Args:
        users: Fewest items of a user.
        items: Fewest users of an item.
    """

    def __init__(self, users: Whole = 5, items: Whole = 5) -> None:
        self.users = users
        self.items = items

    def apply(self, frame: pd.DataFrame) -> pd.DataFrame:
        all_users, all_items = codes(frame[USER]), codes(frame[ITEM])
        width = int(all_items.max(initial=0)) + 1
        pairs = pd.unique(all_users * width + all_items)  # a repeated pair counts once
        user, item = pairs // width, pairs % width
        while len(user):
            enough = np.bincount(user)[user] >= self.users
            enough &= np.bincount(item)[item] >= self.items
            if enough.all():
                break
            user, item = user[enough], item[enough]
        of_users, of_items = (np.zeros(len(all_users) + 1, dtype=bool) for _ in range(2))
        of_users[user] = of_items[item] = True
        kept = of_users[all_users] & of_items[all_items]
        return frame if kept.all() else frame[kept]

    def describe(self) -> str:
        return f"k-core: users with {self.users} and items with {self.items} interactions"


def codes(ids: pd.Series) -> np.ndarray:
    """Return dense integer codes of ids, in order of appearance, each missing one with its own: `[n]` int64."""
    found, values = pd.factorize(ids)
    missing = np.flatnonzero(found < 0)
    found[missing] = len(values) + np.arange(len(missing))
    return found.astype(np.int64, copy=False)


def pair_keys(frame: pd.DataFrame) -> np.ndarray:
    """Return one int64 per row of `frame` that is equal for equal (user, item)."""
    item = codes(frame[ITEM])
    return codes(frame[USER]) * (int(item.max(initial=0)) + 1) + item
