"""The days of a log: which row is of which part."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from recgnn.data import DailySplit
from recgnn.errors import ConfigError, DataError

MOMENTS = ["2024-03-28T12:00", "2024-03-29T23:59:59", "2024-03-30T00:00", "2024-03-30T23:30", "2024-03-31T00:30",
           "2024-03-31T21:30", "2024-03-31T22:30", "2024-04-01T05:00"]  # fmt: skip


def parts(split: DailySplit) -> str:
    seconds = pd.to_datetime(pd.Series(MOMENTS), format="ISO8601").astype("datetime64[s]").astype(np.int64)
    codes = split.split(pd.DataFrame({"user": 1, "timestamp": seconds}))
    return "".join("-TVS"[code + 1] for code in codes)


def test_days_in_utc() -> None:
    assert parts(DailySplit("2024-03-31")) == "TTVVSSS-"
    assert parts(DailySplit(1)) == "TTVVSSS-"  # the day before the last
    assert parts(DailySplit(0, val_days=2)) == "TTVVVVVS"
    assert parts(DailySplit("2024-03-30", val_days=0, test_days=2)) == "TTSSSSS-"


def test_days_where_the_clock_is_another_and_moves() -> None:
    """In Paris the 31st began at 23:00 UTC and, as summer began, ended at 22:00."""
    assert parts(DailySplit("2024-03-31", time_zone="Europe/Paris")) == "TVVSSS--"
    assert parts(DailySplit(0, time_zone="Europe/Paris")) == "TTTVVVSS"


def test_the_order_of_rows_does_not_matter() -> None:
    frame = pd.DataFrame({"user": 1, "timestamp": np.arange(10) * 86_400 // 2 + 1_700_000_000})
    order = np.random.default_rng(0).permutation(10)
    assert (DailySplit().split(frame.iloc[order]) == DailySplit().split(frame)[order]).all()


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match="day is 'tomorrow'; expected a date such as 2024-05-01"):
        DailySplit("tomorrow")
    with pytest.raises(ConfigError, match="expected one such as Europe/Paris"):
        DailySplit(time_zone="Paris")
    with pytest.raises(DataError, match="empty: test begins 2025-01-01, validation 2024-12-31, and the log spans 2024"):
        parts(DailySplit("2025-01-01", val_days=1))
    with pytest.raises(DataError, match="an order here"):
        DailySplit().split(pd.DataFrame({"user": 1, "timestamp": np.arange(9)}))
    for day, days in ((10**7, 1), ("0001-01-01", 1), ("9999-12-31", 5), (0, 10**6)):
        with pytest.raises(ConfigError, match=f"day {day}, with .* is beyond the calendar; the log's last day is 2024"):
            parts(DailySplit(day, val_days=days, test_days=days))
