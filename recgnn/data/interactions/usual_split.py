"""Splits made of others: the usual one, which the data choose, and one whose validation part is trained on."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal

import numpy as np
import pandas as pd

from recgnn.data.interactions.log import SPLIT, TIMESTAMP
from recgnn.data.interactions.part_sizes import TEST, TRAIN, VAL
from recgnn.data.interactions.split import GivenSplit, RatioSplit, Split
from recgnn.errors import DataError, NonNegative, Seed


class UsualSplit(Split):
    """The parts that the data came with, where they did (`GivenSplit()`); else by share (`RatioSplit()`): by time
    within each user where the log has times, else at random.

    Args:
        by: "user", or "all": shares of all rows, at random.
        ratios: Shares of train, val, test, also where the data came with parts; 8:1:1 when None.
        seed: Of the random order.
    """

    def __init__(
        self, by: Literal["user", "all"] = "user", ratios: Sequence[NonNegative] | None = None, seed: Seed = 42
    ) -> None:
        self.by, self.ratios, shares = by, ratios, ratios or (0.8, 0.1, 0.1)
        self.choices = (GivenSplit(), RatioSplit(shares, order="time"), RatioSplit(shares, by, seed=seed))

    def for_columns(self, columns: Collection[str]) -> Split:
        given, timed, drawn = self.choices
        if SPLIT in columns and self.ratios is None:
            return given
        return timed if TIMESTAMP in columns and self.by == "user" else drawn

    def chosen(self, described: str) -> Split | None:
        """Return the split that was taken, by its description; None for another."""
        return next((split for split in self.choices if split.describe() == described), None)

    def split(self, frame: pd.DataFrame) -> np.ndarray:
        return self.for_columns(frame.columns).split(frame)

    def describe(self) -> str:
        return "; or else ".join(split.describe() for split in self.choices)


class WithoutValidation(Split):
    """Another split with its validation part added to train: to train once more, on all that may be known, when
    everything has been chosen.

    Args:
        of: The other split.

    Raises:
        DataError: If it has no validation part, or that is the test part.
    """

    def __init__(self, of: Split) -> None:
        self.of, self.is_given, self.follows_log = of, of.is_given, of.follows_log

    def for_columns(self, columns: Collection[str]) -> Split:
        of = self.of.for_columns(columns)
        return self if of is self.of else WithoutValidation(of)

    def split(self, frame: pd.DataFrame) -> np.ndarray:
        if self.of.val_is_test:
            raise DataError("the validation part is the test part and cannot be trained on; choose another split")
        part = self.of.split(frame).copy()
        self.check([int((part == code).sum()) for code in (TRAIN, VAL, TEST)])
        part[part == VAL] = TRAIN
        return part

    def check(self, sizes: Sequence[int]) -> None:
        if not sizes[VAL]:
            raise DataError(f"there is no validation part to add to train ({self.of.describe()}); leave --refit out")

    def describe(self) -> str:
        return f"{self.of.describe()}; validation added to train"


def notes_of(split: Split, asked: Split, columns: Collection[str]) -> list[str]:
    """Return notes on a split: where the data came with parts and it is another, and where it was chosen by times.

    Args:
        split: The split, as it is for data with such columns.
        asked: The split that was asked for.
        columns: The columns of the data.
    """
    if SPLIT in columns and not split.is_given:
        return ["the data's own parts (train, val, test) are not used: another split is named; GivenSplit goes by them"]
    if split is not asked and split.follows_log and not split.is_given:
        return ["parts follow the time within each user (equal times: the order of the rows); --data.split RatioSplit "
                "draws them at random"]  # fmt: skip
    return []
