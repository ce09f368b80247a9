"""The sizes of parts, the ranks within groups, and random order: what splits are made of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from recgnn.data.interactions.log import PARTS
from recgnn.errors import ConfigError, DataError

KEY = "random key"
"""Column of numbers that rows of a part of a log have been given to be ordered by at random."""
TRAIN, VAL, TEST, DROPPED = 0, 1, 2, -1
EXACT = 10_000_000  # rows up to which shares are exact where no user matters


def random_keys(frame: pd.DataFrame, seed: int) -> np.ndarray:
    """Return the numbers that rows are ordered by at random: drawn now, or those that they have been given, `[n]`."""
    return frame[KEY].to_numpy() if KEY in frame else np.random.default_rng(seed).random(len(frame))


def part_sizes(
    count: np.ndarray, ratios: Sequence[float]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sizes of train, val and test of groups of `count` rows by `ratios`, as RecBole counts them.

    Shapes:
        count: `[G]`; returns three `[G]` int64.
    """
    count = np.asarray(count, dtype=np.int64)
    val, test = ((ratio * count).astype(np.int64) for ratio in ratios[1:])
    train = count - val - test
    go_on = np.ones(len(count), dtype=bool)
    for part, ratio in ((test, ratios[2]), (val, ratios[1])):
        go_on &= train > 1
        one = go_on & (0 < ratio * count) & (ratio * count < 1)
        part += one
        train = train - one
    return train, val, test


def ranks(group: np.ndarray, key: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rank of each row by key within its group (equal keys by row), and the size of each group."""
    order = np.lexsort((key, group))
    count = np.bincount(group)
    rank = np.empty(len(group), dtype=np.int64)
    rank[order] = np.arange(len(group)) - np.repeat(np.cumsum(count) - count, count)
    return rank, count


def checked_parts(part: np.ndarray, wanted: Sequence[float], how: str) -> np.ndarray:
    """Check that no part of which `wanted` is above 0 is empty, and return the codes; `how` names the split.

    Raises:
        DataError: Names the empty part.
    """
    check_sizes([int((part == code).sum()) for code in range(len(PARTS))], wanted, how, len(part))
    return part


def check_sizes(sizes: Sequence[int], wanted: Sequence[float], how: str, rows: int | None = None) -> None:
    """Check that no part of which `wanted` is above 0 is empty, by the sizes of all, of so many rows.

    Raises:
        DataError: Names the empty part.
    """
    for code, name in enumerate(PARTS):
        if wanted[code] and not sizes[code]:
            rows = sum(sizes) if rows is None else rows
            raise DataError(f"the split leaves the {name} part of {rows} interactions empty: {how}")


def normalised(ratios: Sequence[float], who: str) -> tuple[float, float, float]:
    """Three shares that sum to one.

    Raises:
        ConfigError: If they are not three, or train has none.
    """
    values = [float(r) for r in ratios]
    if len(values) != 3 or values[0] == 0:
        raise ConfigError(
            f"{who}.ratios is {list(ratios)}; expected shares of train (above 0), val, test"
        )
    total = sum(values)
    train, val, test = (v / total for v in values)
    return train, val, test
