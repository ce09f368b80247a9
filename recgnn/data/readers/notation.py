"""How the times of a column are written, and such times as seconds since 1970."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from recgnn.data.readers.values import NULLS, as_text, distinct_of

ISO = "ISO8601"
UNITS = {
    "s": (1, 1), "ms": (1, 10**3), "us": (1, 10**6), "ns": (1, 10**9),
    "min": (60, 1), "h": (3_600, 1), "d": (86_400, 1), "order": (1, 1),
}  # fmt: skip
"""Units of numbers: seconds are the number times the first, divided by the second."""
CALENDARS = {"%Y%m%d": 8, "%y%m%d%H": 8, "%Y%m%d%H": 10, "%Y%m%d%H%M": 12, "%Y%m%d%H%M%S": 14}
"""Dates that are one number, and their digits."""
LAST = 4_102_444_800  # 2100, until when a number is a plausible moment
ORDER = 1e8  # numbers below it (1973) are taken as an order: they stay as they are, as seconds do
_WORDS = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
_NONE = [*NULLS, "NaT"]
_SAYS_ZONE = re.compile(r"%z|\b(UTC|GMT)\b")


@dataclass(frozen=True)
class Notation:
    """How the times of a column are written, and what was found there.

    Args:
        written: A unit (see `UNITS`), a format of `strptime`, or `ISO8601`.
        zone: Of times that name none; UTC when None.
        stated: Whether a person said so; numbers may have any size then.
        first: The first moment, in seconds; None where there is none.
        last: The last moment.
        untimed: Number of rows without a time.
        kept: Whether these were kept.
    """

    written: str = "s"
    zone: str | None = None
    stated: bool = False
    first: float | None = None
    last: float | None = None
    untimed: int = 0
    kept: bool = True

    def describe(self) -> str:
        """Return one line: the notation, the first and the last moment."""
        if self.first is None or self.last is None:
            return "no row has a time"
        if self.written == "order" or (self.written == "s" and self.last < ORDER and not self.stated):
            text = f"numbers as they are, {self.first:.17g} to {self.last:.17g}"
        else:
            named = f"{_WORDS.get(self.written, self.written)} since 1970" if self.written in UNITS else self.written
            zone = f" in {self.zone}" if self.zone else ""
            text = f"{named}{zone}, {date_of(self.first)} to {date_of(self.last)} UTC"
        outcome = "in train, and in no history" if self.kept else "left out"
        return text + (f"; {self.untimed:,} rows without a time, {outcome}" if self.untimed else "")

    def expected(self) -> str:
        """Return what its values look like, for errors."""
        if self.written == ISO:
            return "a date in ISO 8601, such as 2024-05-01T12:30:00"
        return f"a number ({_WORDS.get(self.written, self.written)})" if self.written in UNITS else self.written


def date_of(seconds: float) -> str:
    """Return a moment as a date, with the time of day where it has one."""
    return str(np.datetime64(int(seconds), "s")).replace("T", " ").removesuffix(" 00:00:00")


def read(column: pd.Series, how: Notation, lenient: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Return the seconds of times, and which values are none: `[n]` int64 (all whole) or float64, and `[n]` bool.

    Seconds are NaN where there is no value or none that can be read.

    Args:
        column: Numbers, text, or dates of any type, which are what they are.
        how: The notation of numbers and text.
        lenient: Whether dates in ISO 8601 are understood beside it, as they are in prediction.
    """
    values = plain(column)
    seconds, wrong = read_plain(values, how)
    if lenient and wrong.any():
        seconds, unread = seconds.astype(np.float64), wrong.copy()
        seconds[wrong], unread[wrong] = read_plain(as_text(values[wrong]), Notation(ISO, how.zone))
        wrong = unread
    return seconds, wrong


def plain(column: pd.Series) -> pd.Series:
    """Return times as dates, as numbers, or as text that is NA where there is none."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(column.cat.categories.dtype)
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        return pd.to_datetime(column)
    if pd.api.types.is_numeric_dtype(column.dtype) and not pd.api.types.is_bool_dtype(column.dtype):
        return column
    text = as_text(column)
    return text.mask(text.isin(_NONE))


def read_plain(values: pd.Series, how: Notation) -> tuple[np.ndarray, np.ndarray]:
    """`read` what `plain` returns."""
    if pd.api.types.is_datetime64_any_dtype(values.dtype):
        naive = np.full(len(values), values.dt.tz is None)
        return _plausible(_of_dates(values, how.zone, naive), np.zeros(len(values), dtype=bool), how)
    if how.written in UNITS:
        if pd.api.types.is_numeric_dtype(values.dtype):
            return _of_numbers(values, how)
        numbers = pd.to_numeric(values, errors="coerce")
        numbers = numbers if pd.api.types.is_integer_dtype(numbers.dtype) else numbers.astype("Float64")
        seconds, wrong = _of_numbers(numbers, how)
        return seconds, wrong | (numbers.isna() & values.notna()).to_numpy(bool)
    text = as_text(values)
    if how.written == ISO:
        dates = pd.to_datetime(text, format=ISO, errors="coerce", utc=True)
        naive = np.ones(len(text), dtype=bool) if how.zone is None else ~zoned(text)
        return _plausible(_of_dates(dates, how.zone, naive), (dates.isna() & text.notna()).to_numpy(bool), how)
    which, text = distinct_of(text)
    digits = CALENDARS.get(how.written)
    if digits:
        text = text.str.zfill(digits) if how.written.startswith("%y") else text
        text = text.where(text.isna() | text.str.fullmatch(f"[0-9]{{{digits}}}"), "-")
    dates = pd.to_datetime(text.astype("str"), format=how.written, errors="coerce", utc=True)
    seconds = _of_dates(dates, how.zone, np.full(len(text), _SAYS_ZONE.search(how.written) is None))
    seconds, wrong = _plausible(_whole(seconds), text.notna().to_numpy(bool) & np.isnan(seconds), how)
    return _whole(seconds[which]), wrong[which]


def _plausible(seconds: np.ndarray, wrong: np.ndarray, how: Notation) -> tuple[np.ndarray, np.ndarray]:
    """Return dates that were found and which are none: 9999-12-31 and 0001-01-01 stand for no date, 10001231 is a
    number."""
    far = np.abs(seconds) > LAST
    return (seconds, wrong) if how.stated or not far.any() else (np.where(far, np.nan, seconds), wrong | far)


def _of_numbers(column: pd.Series, how: Notation) -> tuple[np.ndarray, np.ndarray]:
    """Return the seconds of numbers, and which lie outside the unit's range, where that was not said but found."""
    times, divide = UNITS[how.written]
    exact = pd.api.types.is_signed_integer_dtype(column.dtype) and not column.isna().any()
    values = column.to_numpy(np.int64) if exact else column.to_numpy(np.float64, na_value=np.nan)
    high, low = (2.0**63 - 1024, 0) if how.stated else (float(LAST * divide), LAST * divide // 1000 * (divide > 1))
    wrong = np.zeros(len(values), dtype=bool)
    if len(values) and not (values.min() > low - (low == 0) and values.max() <= high):  # not so where there is a NaN
        size = np.abs(values)
        wrong = ~((size <= high) & ((size > low) | (size == 0)) | np.isnan(values))
    if times > 1:
        values = values * times
    if exact and not wrong.any():
        return (values if divide == 1 else values / divide if (values % divide).any() else values // divide), wrong
    return _whole(np.where(wrong, np.nan, values) / divide), wrong


def _of_dates(dates: pd.Series, zone: str | None, naive: np.ndarray) -> np.ndarray:
    """Return the seconds of dates, to the microsecond; `naive` ones are of the zone."""
    if dates.dt.tz is not None:
        dates = dates.dt.tz_convert("UTC").dt.tz_localize(None)
    if zone is not None and naive.any():
        first = np.ones(len(dates), dtype=bool)
        there = dates.dt.tz_localize(zone, ambiguous=first, nonexistent="shift_forward").dt.tz_convert("UTC")
        dates = dates.where(~naive, there.dt.tz_localize(None))
    micros, missing = dates.to_numpy("datetime64[us]").astype(np.int64), dates.isna().to_numpy()
    if not missing.any() and not (micros % 1_000_000).any():
        return micros // 1_000_000
    return np.where(missing, np.nan, micros / 1e6)


def as_dates(seconds: pd.Series) -> pd.Series:
    """Return seconds as dates in UTC, NaT where there is none."""
    micros = np.rint(seconds.to_numpy(np.float64) * 1e6)
    dates = np.where(np.isnan(micros), np.datetime64("NaT"), np.nan_to_num(micros).astype("datetime64[us]"))
    return pd.Series(pd.DatetimeIndex(dates, tz="UTC"), index=seconds.index)


def _whole(seconds: np.ndarray) -> np.ndarray:
    """Return seconds as int64 where all are whole and none is missing."""
    whole = np.isfinite(seconds).all() and not (seconds % 1).any() and np.abs(seconds).max(initial=0) < 2.0**63
    return seconds.astype(np.int64) if whole else seconds


def zoned(text: pd.Series) -> np.ndarray:
    """Return which dates in ISO 8601 name a zone."""
    values = pa.array(text, type=pa.large_string(), from_pandas=True)
    found = pc.or_(pc.ends_with(values, "Z"), pc.match_substring(values, "+"))
    found = pc.or_(found, pc.greater(pc.count_substring(values, "-"), 2))
    return pc.fill_null(found, False).to_numpy(zero_copy_only=False)
