"""Splits that go by time: what rows are ordered by, when a part begins, and rows without a time."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np
import pandas as pd

from recgnn.data.interactions.log import POSITION, TIMESTAMP
from recgnn.data.readers.notation import ORDER
from recgnn.data.readers.times import moment
from recgnn.errors import DataError


def untimed_in_train(split: Callable[[Any, pd.DataFrame], np.ndarray]) -> Callable[[Any, pd.DataFrame], np.ndarray]:
    """Have rows without a time, where a log keeps such, in train; the others are split as if those were not there."""

    @wraps(split)
    def parts(self: Any, frame: pd.DataFrame) -> np.ndarray:
        if getattr(self, "order", "time") != "time" or TIMESTAMP not in frame or not frame[TIMESTAMP].hasnans:
            return split(self, frame)
        timed = frame[TIMESTAMP].notna().to_numpy()
        if not timed.any():
            raise DataError("the split needs times, and no row has one; split at random")
        part = np.zeros(len(frame), dtype=np.int8)
        part[timed] = split(self, frame[timed])
        return part

    return parts


def times(frame: pd.DataFrame, who: str, within_user: bool) -> np.ndarray:
    """Return the times to order by: `timestamp`, or `pos` where only the order within a user counts.

    Raises:
        DataError: If the log has none.
    """
    if TIMESTAMP in frame:
        return frame[TIMESTAMP].to_numpy()
    if within_user and POSITION in frame and pd.api.types.is_numeric_dtype(frame[POSITION].dtype):
        return frame[POSITION].to_numpy()
    raise DataError(f"{who} needs timestamps and the log has none; name them (source.timestamp) or split at random")


def start_of(part: str, value: float | str | None, ordered: bool = False) -> float:
    """Return when a part begins, in seconds, NaN where it is not said; a number as it is where times are an order.

    Raises:
        ConfigError: If it is no moment.
    """
    if value is None or (ordered and isinstance(value, int | float)):
        return np.nan if value is None else float(value)
    return moment(value, f"TemporalSplit: {part}")


def later_than_test(train: np.ndarray | None, test: np.ndarray | None) -> float | None:
    """Return the share of train rows later than a test row, in the mean of the test rows; None without times, or where
    these are an order."""
    train, test = (np.zeros(0) if times is None else times[~np.isnan(times)] for times in (train, test))
    if not len(train) or not len(test) or test.max() < ORDER:
        return None
    earlier = np.searchsorted(np.sort(train), test, side="right")
    return float(1 - earlier.mean() / len(train))


def told_later(share: float | None) -> list[str]:
    """Tell, in a line or none, how much of train is later than the test part begins."""
    if not share:
        return []
    told = "of train is later than a test row, on average; --data.split TemporalSplit has one moment for all"
    return [f"{share:.0%} {told}"]
