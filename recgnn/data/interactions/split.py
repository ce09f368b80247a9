"""Splits: every row gets a code, 0 train, 1 val, 2 test, -1 dropped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import pandas as pd

from recgnn.data.interactions.by_time import start_of, times, untimed_in_train
from recgnn.data.interactions.filters import codes
from recgnn.data.interactions.log import SPLIT, USER
from recgnn.data.interactions.part_sizes import (
    EXACT,
    TEST,
    VAL,
    check_sizes,
    normalised,
    part_sizes,
    random_keys,
    ranks,
)
from recgnn.data.interactions.split_parts import GivenParts, Split, TimedParts
from recgnn.data.readers.notation import ORDER, date_of
from recgnn.errors import ConfigError, DataError, NonNegative, Seed, Share


class RatioSplit(Split):
    """Train, validation and test by share, within each user or over all rows.

    The sizes are RecBole's: with n rows, val and test get `int(ratio * n)`, train the rest; a part
    whose share is below one row takes one from train, test before val, as long as train keeps more
    than one. Above ten million rows in all, by "all" and at random, each row is drawn on its own.

    Args:
        ratios: Shares of train, val, test; they are normalised. A share of 0 asks for no such part.
        by: "user" (every user is in each part, rows permitting) or "all".
        order: "random", or "time" (the latest are test; rows of equal time in the log's order). Within a user, `pos`
            (a rank by time) stands in for a missing timestamp.
        seed: Of the random order.

    Raises:
        DataError: If order is "time" and there are no times, or a part is empty.
    """

    def __init__(
        self,
        ratios: Sequence[NonNegative] = (0.8, 0.1, 0.1),
        by: Literal["user", "all"] = "user",
        order: Literal["random", "time"] = "random",
        seed: Seed = 42,
    ) -> None:
        self.ratios = normalised(ratios, "RatioSplit")
        self.by, self.order, self.seed = by, order, seed
        self.follows_log = self.order != "random"

    @property
    def by_user(self) -> bool:  # type: ignore[override]
        return self.by == "user"

    def split(self, frame: pd.DataFrame) -> np.ndarray:
        if self.by == "all" and self.order == "random" and len(frame) > EXACT:
            part = np.empty(len(frame), dtype=np.int8)
            random = np.random.default_rng(self.seed)
            for start in range(0, len(frame), EXACT):
                drawn = random.random(len(part[start : start + EXACT]))
                part[start : start + EXACT] = np.searchsorted(np.cumsum(self.ratios)[:2], drawn, side="right")
            return part
        part = self.parts(frame)
        self.check(np.bincount(part, minlength=3).tolist())
        return part

    @untimed_in_train
    def parts(self, frame: pd.DataFrame) -> np.ndarray:
        group = codes(frame[USER]) if self.by == "user" else np.zeros(len(frame), dtype=np.int64)
        if self.order == "time":
            key = times(frame, "RatioSplit(order='time')", within_user=self.by == "user")
        else:
            key = random_keys(frame, self.seed)
        rank, count = ranks(group, key)
        train, val, _ = part_sizes(count, self.ratios)
        return ((rank >= train[group]).astype(np.int8) + (rank >= (train + val)[group])).astype(np.int8)

    def check(self, sizes: Sequence[int]) -> None:
        check_sizes(sizes, self.ratios, "add rows, or raise the ratio of that part")

    def describe(self) -> str:
        shares = "/".join(f"{r:g}" for r in self.ratios)
        seed = f", seed {self.seed}" if self.order == "random" else ""
        whole = "each user" if self.by == "user" else "all rows"
        return f"{shares} of {whole}, {self.order} order{seed}"


class LeaveOneOut(Split):
    """The last interaction of each user is test, the one before it val, the others train.

    A user with fewer than three rows (two without `val`) stays in train as a whole.

    Args:
        order: "time" (`pos`, a rank by time, stands in for a missing timestamp; equal times by
            row), "random", or "given", the order of the rows.
        val: Whether there is a validation part.
        seed: Of the random order.

    Raises:
        DataError: If order is "time" and there are no times, or no user has enough rows.
    """

    def __init__(
        self, order: Literal["time", "random", "given"] = "time", val: bool = True, seed: Seed = 42
    ) -> None:
        self.order, self.val, self.seed = order, val, seed
        self.follows_log = self.order != "random"

    by_user = True

    def split(self, frame: pd.DataFrame) -> np.ndarray:
        part = self.parts(frame)
        self.check(np.bincount(part, minlength=3).tolist())
        return part

    @untimed_in_train
    def parts(self, frame: pd.DataFrame) -> np.ndarray:
        if self.order == "time":
            key = times(frame, "LeaveOneOut(order='time')", within_user=True)
        elif self.order == "random":
            key = random_keys(frame, self.seed)
        else:
            key = np.zeros(len(frame))
        group = codes(frame[USER])
        rank, count = ranks(group, key)
        from_last = count[group] - 1 - rank
        enough = count[group] >= (3 if self.val else 2)
        part = np.zeros(len(frame), dtype=np.int8)
        part[enough & (from_last == 0)] = TEST
        if self.val:
            part[enough & (from_last == 1)] = VAL
        return part

    def check(self, sizes: Sequence[int]) -> None:
        least = "three" if self.val else "two"
        check_sizes(sizes, (1, self.val, 1), f"LeaveOneOut needs users with at least {least} interactions")

    def describe(self) -> str:
        seed = f", seed {self.seed}" if self.order == "random" else ""
        return f"leave one out{'' if self.val else ' (no val)'}, {self.order} order{seed}"


class TemporalSplit(Split):
    """One moment for everybody: what came before is train, what came after val and then test.

    Rows of equal time lie on one side, so no test interaction precedes (or equals in time) a train
    one.

    Args:
        ratios: Shares of train, val, test, used where no start is given.
        val_start: When validation begins: a date, in UTC unless it names a zone, or seconds (or another unit) since
            1970; a number as the log has it where its times are an order. It needs `test_start`.
        test_start: When test begins; without `val_start` there is no validation part.

    Raises:
        DataError: If the log has no timestamps, or a part is empty.
    """

    follows_log = True

    def __init__(
        self,
        ratios: Sequence[NonNegative] = (0.8, 0.1, 0.1),
        val_start: float | str | None = None,
        test_start: float | str | None = None,
    ) -> None:
        self.ratios = normalised(ratios, "TemporalSplit")
        if val_start is not None and test_start is None:
            raise ConfigError("TemporalSplit: val_start without test_start; give both")
        self.val_start, self.test_start = val_start, test_start
        if start_of("val_start", val_start) >= start_of("test_start", test_start):
            raise ConfigError("TemporalSplit: val_start must come before test_start")

    @untimed_in_train
    def split(self, frame: pd.DataFrame) -> np.ndarray:
        time = times(frame, "TemporalSplit", within_user=False)
        parts = self.of_moments(len(time), np.sort(time).__getitem__)
        part = parts.parts(frame)
        check_sizes(np.bincount(part, minlength=3).tolist(), parts.wanted, parts.how)
        return part

    def of_moments(self, rows: int, moment: Callable[[int], float]) -> TimedParts:
        """Return the split of data with so many rows with a time.

        Args:
            rows: their number.
            moment: returns the k-th time of all, in order.
        """
        if self.test_start is not None:
            least, most = moment(0), moment(rows - 1)
            ordered = most < ORDER
            test = start_of("test_start", self.test_start, ordered)
            val = test if self.val_start is None else start_of("val_start", self.val_start, ordered)
            first, last = (f"{t:g}" if ordered else date_of(t) for t in (least, most))
            return TimedParts(val, test, (1, int(self.val_start is not None), 1), f"the log spans {first} to {last}")
        cuts = np.floor(np.cumsum(self.ratios)[:2] * rows + 1e-9).astype(np.int64)
        val, test = (moment(int(cut)) if cut < rows else np.inf for cut in cuts)
        sizes = np.diff([0, *cuts, rows])
        small = [share for share, size in zip(self.ratios, sizes, strict=True) if share and not size]
        how = "too many rows have the same time; use other ratios or RatioSplit"
        if small:
            how = f"a share of {small[0]:g} is less than one of {rows:,} rows; raise it, or name test_start"
        return TimedParts(val, test, self.ratios, how)

    def describe(self) -> str:
        if self.test_start is not None:
            val = "" if self.val_start is None else f"val from {self.val_start}, "
            return f"by time for all users: {val}test from {self.test_start}"
        return f"{'/'.join(f'{r:g}' for r in self.ratios)} by time for all users"


class GivenSplit(Split):
    """The split that the data set came with (its `split` column).

    Args:
        val: A share of each user's train rows, drawn at random, to validate on; or "test", the
            papers' protocol: the test part is the validation part too, and the figures are
            best-on-test. None: the data's own validation part, or a tenth of train where it has
            none. 0: no validation part.
        seed: Of the draw.

    Raises:
        DataError: If the log has no split column, or val is set although the data has a validation
            part.
    """

    is_given = follows_log = True

    def __init__(self, val: Share | Literal["test"] | None = None, seed: Seed = 42) -> None:
        self.val = val
        self.seed = seed
        self.val_is_test = val == "test"

    def split(self, frame: pd.DataFrame) -> np.ndarray:
        if SPLIT not in frame:
            raise DataError(
                "GivenSplit: the log has no split column; use RatioSplit, or a source that has one "
                "(AdjacencyLog(train, test), a table with a column 'split')"
            )
        return self.of_parts(bool((frame[SPLIT].cat.codes == VAL).any())).split(frame)

    def of_parts(self, has_val: bool) -> GivenParts:
        """Return the split of data that have a validation part of their own (`has_val`), or have none.

        Raises:
            DataError: If they have one, and a share was asked for.
        """
        if has_val:
            if self.val is not None:
                raise DataError(
                    "GivenSplit: the data has a validation part of its own; leave val out"
                )
            return GivenParts(0.0, self.seed, (1, 1, 0))
        share = 0.1 if self.val is None else 0.0 if self.val == "test" else float(self.val)
        return GivenParts(share, self.seed, (1, share, 1))

    def describe(self) -> str:
        if self.val_is_test:
            return "given; validated on the test part"
        val = (
            "given or 0.1 of each user's train"
            if self.val is None
            else f"{self.val:g} of each user's train"
        )
        return f"given; val {val}, seed {self.seed}"
