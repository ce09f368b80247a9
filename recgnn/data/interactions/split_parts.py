"""What a split is, and the splits that follow once something of the whole log is known."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence

import numpy as np
import pandas as pd

from recgnn.data.interactions.by_time import untimed_in_train
from recgnn.data.interactions.filters import codes
from recgnn.data.interactions.log import SPLIT, TIMESTAMP, USER
from recgnn.data.interactions.part_sizes import TRAIN, VAL, check_sizes, part_sizes, random_keys, ranks
from recgnn.errors import Checked, Seed


class Split(Checked, ABC):
    """Gives every interaction its part."""

    val_is_test = False
    """Whether the test part is the validation part too (the papers' best-on-test protocol)."""
    is_given = False
    """Whether it goes by the parts that the data came with."""
    follows_log = False
    """Whether the parts follow the log's own times, order or parts, so that a pair may come again in a later one."""

    @abstractmethod
    def split(self, frame: pd.DataFrame) -> np.ndarray:
        """Return the part of each row of `frame`, [n] int8: 0 train, 1 validation, 2 test. Raises DataError when a
        part that was asked for is empty."""

    by_user = False
    """Whether `parts` is there, by which the parts of a user follow from the user's rows alone (and their `KEY`)."""

    def parts(self, frame: pd.DataFrame) -> np.ndarray:
        """Return the part of each row of `frame`, [n] int8, unchecked: some part may be empty."""
        raise AttributeError(f"{type(self).__name__} splits whole logs")

    def check(self, sizes: Sequence[int]) -> None:
        """Check the sizes of train, val and test of what `parts` gave.

        Raises:
            DataError: If one that was asked for is empty.
        """

    @property
    def draws(self) -> int | None:
        """The seed of the numbers that rows are ordered by at random, drawn in the log's order; None for none."""
        return self.seed if getattr(self, "order", "") == "random" else None  # type: ignore[attr-defined]

    def drawn(self, frame: pd.DataFrame) -> np.ndarray:
        """Which rows are drawn a number, [n] bool."""
        return np.ones(len(frame), dtype=bool)

    @abstractmethod
    def describe(self) -> str:
        """Return one line with every argument."""

    def for_columns(self, columns: Collection[str]) -> Split:
        """Return the split of data with such columns, itself by default."""
        return self

    def __repr__(self) -> str:
        return f"{type(self).__name__}({sorted(vars(self).items())})"


class TimedParts(Split):
    """Validation and test from a moment on each; see `TemporalSplit`."""

    by_user = True

    def __init__(self, val: float, test: float, wanted: Sequence[float], how: str) -> None:
        self.val, self.test, self.wanted, self.how = val, test, wanted, how

    def split(self, frame: pd.DataFrame) -> np.ndarray:
        return self.parts(frame)

    @untimed_in_train
    def parts(self, frame: pd.DataFrame) -> np.ndarray:
        time = frame[TIMESTAMP].to_numpy()
        return ((time >= self.val).astype(np.int8) + (time >= self.test)).astype(np.int8)

    def check(self, sizes: Sequence[int]) -> None:
        check_sizes(sizes, self.wanted, self.how)

    def describe(self) -> str:
        return f"val from {self.val}, test from {self.test}"


class GivenParts(Split):
    """The parts of the split column, with a share of each user's train rows drawn to validate on; see `GivenSplit`."""

    by_user = True

    def __init__(self, share: float, seed: Seed, wanted: Sequence[float]) -> None:
        self.share, self.seed, self.wanted = share, seed, wanted

    def split(self, frame: pd.DataFrame) -> np.ndarray:
        part = self.parts(frame)
        self.check(np.bincount(part, minlength=3).tolist())
        return part

    def parts(self, frame: pd.DataFrame) -> np.ndarray:
        part = frame[SPLIT].cat.codes.to_numpy(np.int8).copy()
        if self.share:
            train = np.flatnonzero(part == TRAIN)
            rows = frame.iloc[train]
            group = codes(rows[USER]) if USER in frame else np.zeros(len(train), dtype=np.int64)
            rank, count = ranks(group, random_keys(rows, self.seed))
            size = part_sizes(count, (1 - self.share, self.share, 0.0))[0]
            part[train[rank >= size[group]]] = VAL
        return part

    def check(self, sizes: Sequence[int]) -> None:
        check_sizes(sizes, self.wanted, "the data's split column does not have it")

    @property
    def draws(self) -> int | None:
        return self.seed if self.share else None

    def drawn(self, frame: pd.DataFrame) -> np.ndarray:
        return (frame[SPLIT].cat.codes == TRAIN).to_numpy()

    def describe(self) -> str:
        return f"given, {self.share:g} of each user's train, seed {self.seed}"
