"""Times of any notation as seconds since 1970: found per column by all of its values, and read alike ever after."""

from __future__ import annotations

import calendar
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from recgnn.data.readers.origin import Origin, shown
from recgnn.data.readers.values import NULLS, as_text, distinct_of
from recgnn.errors import ConfigError, DataError, one_of

ISO = "ISO8601"
UNITS = {
    "s": (1, 1), "ms": (1, 10**3), "us": (1, 10**6), "ns": (1, 10**9),
    "min": (60, 1), "h": (3_600, 1), "d": (86_400, 1), "order": (1, 1),
}  # fmt: skip
"""Units of numbers: seconds are the number times the first, divided by the second."""
FOUND = ("s", "ms", "us", "ns")
CALENDARS = {"%Y%m%d": 8, "%y%m%d%H": 8, "%Y%m%d%H": 10, "%Y%m%d%H%M": 12, "%Y%m%d%H%M%S": 14}
"""Dates that are one number, and their digits."""
LAST = 4_102_444_800  # 2100, until when a number is a plausible moment
ORDER = 1e8  # numbers below it (1973) are taken as an order: they stay as they are, as seconds do
RECENT = 1e9  # 2001
_WORDS = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
_NONE = [*NULLS, "NaT"]
_CLOCK = re.compile(r"\b(\d{1,2}):\d{2}(:\d{2})?([.,]\d{1,9})?(\s*)([AaPp][Mm]\b)?")
_ZONE = re.compile(r"\s*(Z\b|[+-]\d{2}:?\d{2}\b)")
_NAMES = {
    name.lower(): code
    for code, names in (("%b", calendar.month_abbr), ("%B", calendar.month_name), ("%a", calendar.day_abbr),
                        ("%A", calendar.day_name))
    for name in names
}  # fmt: skip
_ORDERS = {
    "422": ("%Y %m %d",), "224": ("%d %m %Y", "%m %d %Y"), "222": ("%d %m %y", "%m %d %y", "%y %m %d"),
    "b24": ("%d %Y",), "b42": ("%Y %d",), "b22": ("%d %y",), "8": ("%Y%m%d",),
}  # fmt: skip
"""What the numbers of a date may be, by their digits, and b where the month has a name."""
At = Callable[[int, str], str]
"""From a row and a column to their place, for an error."""


@dataclass(frozen=True)
class Written:
    """What a person says of the times of a table; what is None is found.

    Args:
        time_format: As of Python's `strptime`, such as `%d/%m/%Y %H:%M`, or `ISO8601`.
        time_unit: Of numbers: `s`, `ms`, `us`, `ns`, `min`, `h`, `d` since 1970; or `order`, numbers of any size.
        time_zone: Of times that name none, such as `Europe/Paris`; UTC when None. Of the hour that a clock passes
            twice, the first is meant.
        on_missing: What becomes of rows without a time where a log has times: `refuse`; `drop` leaves them out; `keep`
            has them in train (never in the validation or test part of a split by time) and in no history.

    Raises:
        ConfigError: If an option cannot be.
    """

    time_format: str | None = None
    time_unit: str | None = None
    time_zone: str | None = None
    on_missing: str = "refuse"

    def __post_init__(self) -> None:
        one_of("on_missing", self.on_missing, ("refuse", "drop", "keep"))
        if self.time_unit is not None:
            one_of("time_unit", self.time_unit, UNITS)
            if self.time_format is not None:
                raise ConfigError(f"time_unit {self.time_unit} and time_format {self.time_format}: give one of them")
        if self.time_format is not None and self.time_format != ISO and "%" not in self.time_format:
            raise ConfigError(f"time_format is {self.time_format!r}; expected one such as '%d/%m/%Y %H:%M', or {ISO}")
        if self.time_zone is not None:
            try:
                ZoneInfo(self.time_zone)
            except (OSError, LookupError, ValueError):
                raise ConfigError(f"time_zone is {self.time_zone!r}; expected one such as Europe/Paris") from None

    @property
    def stated(self) -> list[Notation] | None:
        """The notation that was said, or None."""
        said = self.time_format or self.time_unit
        return None if said is None else [Notation(said, self.time_zone, stated=True)]


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
    values = _plain(column)
    seconds, wrong = _read(values, how)
    if lenient and wrong.any():
        seconds = seconds.astype(np.float64)
        seconds[wrong], wrong[wrong] = _read(as_text(values[wrong]), Notation(ISO, how.zone))
    return seconds, wrong


def _plain(column: pd.Series) -> pd.Series:
    """Return times as dates, as numbers, or as text that is NA where there is none."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(column.cat.categories.dtype)
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        return pd.to_datetime(column)
    if pd.api.types.is_numeric_dtype(column.dtype) and not pd.api.types.is_bool_dtype(column.dtype):
        return column
    text = as_text(column)
    return text.mask(text.isin(_NONE))


def _read(values: pd.Series, how: Notation) -> tuple[np.ndarray, np.ndarray]:
    """`read` what `_plain` returns."""
    if pd.api.types.is_datetime64_any_dtype(values.dtype):
        return _of_dates(values, how.zone, np.full(len(values), values.dt.tz is None)), np.zeros(len(values), dtype=bool)
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
        naive = np.ones(len(text), dtype=bool) if how.zone is None else ~_zoned(text)
        return _of_dates(dates, how.zone, naive), (dates.isna() & text.notna()).to_numpy(bool)
    which, text = distinct_of(text)
    digits = CALENDARS.get(how.written)
    if digits:
        text = text.str.zfill(digits) if how.written.startswith("%y") else text
        text = text.where(text.isna() | text.str.fullmatch(f"[0-9]{{{digits}}}"), "-")
    dates = pd.to_datetime(text.astype("str"), format=how.written, errors="coerce", utc=True)
    seconds = _of_dates(dates, how.zone, np.full(len(text), "%z" not in how.written))
    if digits and not how.stated:  # 10001231 is a number, and no day of the year 1000
        seconds = np.where(np.abs(seconds) <= LAST, seconds, np.nan)
    return _whole(seconds[which]), (text.notna().to_numpy(bool) & np.isnan(seconds))[which]


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


def _whole(seconds: np.ndarray) -> np.ndarray:
    """Return seconds as int64 where all are whole and none is missing."""
    whole = np.isfinite(seconds).all() and not (seconds % 1).any() and np.abs(seconds).max(initial=0) < 2.0**63
    return seconds.astype(np.int64) if whole else seconds


def _zoned(text: pd.Series) -> np.ndarray:
    """Return which dates in ISO 8601 name a zone."""
    values = pa.array(text, type=pa.large_string(), from_pandas=True)
    found = pc.or_(pc.ends_with(values, "Z"), pc.match_substring(values, "+"))
    found = pc.or_(found, pc.greater(pc.count_substring(values, "-"), 2))
    return pc.fill_null(found, False).to_numpy(zero_copy_only=False)


class Finder:
    """Finds how the times of a column are written, some of its rows at a time: one notation must read them all.

    Numbers are seconds, or milli-, micro- or nanoseconds, whichever lies before 2100, or dates in one number (see
    `CALENDARS`) where at least half of them can be. Text is in ISO 8601 where all can be, else as most of it can be.

    Args:
        column: Its name, for the errors.
        written: What was said of it.
    """

    def __init__(self, column: str, written: Written = Written()) -> None:
        self.column, self.written = column, written
        self.alive = written.stated  # the notations that have read all rows so far
        self.unsettled = ""  # the place of a date that two of them read otherwise
        self.places: dict[str, str] = {}  # of the first value of each kind
        self.untimed = 0

    def look(self, values: pd.Series, at: At) -> np.ndarray:
        """Take some rows into account; return their seconds, by what is known so far: `[n]`, NaN without a time.

        Args:
            values: Some of the column; its index numbers the rows.
            at: Returns the place of a row.

        Raises:
            DataError: Names the place of a value that the notation of the others does not read.
        """
        plain = _plain(values)
        missing = plain.isna().to_numpy()
        self.untimed += int(missing.sum())
        if missing.all():
            return np.full(len(values), np.nan)
        known = plain[~missing] if missing.any() else plain
        found: list[tuple[Notation, np.ndarray, np.ndarray]] = []
        kept: list[tuple[Notation, np.ndarray]] = []
        for ways in [self.alive] if self.alive is not None else self._ways(known):
            found += [(how, *_read(plain, how)) for how in ways]
            kept = [(how, seconds) for how, seconds, wrong in found if not wrong.any()]
            if kept:
                break

        def place(rows: np.ndarray) -> str:
            row = int(rows.argmax())
            return f"{at(int(values.index[row]), self.column)}: {shown(values.iloc[row])}"

        if not kept:
            how, _, wrong = min(found, key=lambda one: int(one[2].sum()))
            said = "" if how.stated else ", as others are; write all alike, or say time_format or time_unit"
            raise DataError(f"{place(wrong)}; expected {how.expected()}{said}")
        how, seconds = kept[0]
        if len(kept) > 1 and how.written not in (*UNITS, *CALENDARS) and not self.unsettled:
            others = (seconds != kept[1][1]) & ~missing
            self.unsettled = place(others) if others.any() else ""
        for kind, rows in self._kinds(plain, how, seconds):
            if kind not in self.places and rows.any():
                self.places[kind] = place(rows)
        self.alive = [_with(one, own) for one, own in kept]
        return seconds

    def _ways(self, values: pd.Series) -> Iterator[list[Notation]]:
        """Yield notations that values may have; further ones where none of those before reads them all."""

        def ways(names: Iterable[str]) -> list[Notation]:
            return [Notation(name, self.written.time_zone) for name in names]

        sample = values.iloc[:: 1 + len(values) // 1000]
        if pd.api.types.is_datetime64_any_dtype(values.dtype):
            yield ways([ISO])
        elif 2 * pd.to_numeric(sample, errors="coerce").notna().sum() >= len(sample):
            dates = [how for how in ways(CALENDARS) if 2 * _read(sample, how)[1].sum() <= len(sample)]
            yield from [dates] if dates else ([how] for how in ways(FOUND))
        else:
            yield ways([ISO])
            formats = Counter(one for text in sample for one in _formats(text))
            yield ways(name for name, _ in formats.most_common(8))

    def _kinds(self, plain: pd.Series, how: Notation, seconds: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
        """Yield kinds of values, and which have them: a column with two of them is refused."""
        if how.stated or pd.api.types.is_datetime64_any_dtype(plain.dtype):
            return
        if how.written == ISO and how.zone is None:
            zoned = _zoned(plain)
            yield from (("zoned", zoned), ("naive", ~zoned & plain.notna().to_numpy(bool)))
        if how.written == "s":
            first, last = _ends(seconds)
            for kind, low, high in (("order", 1, ORDER), ("between", ORDER, RECENT), ("recent", RECENT, np.inf)):
                if kind not in self.places and last >= low and first < high:
                    yield kind, (seconds >= low) & (seconds < high)

    def found(self) -> Notation:
        """Return the notation, when all rows have been seen.

        Raises:
            DataError: If nothing tells day and month apart, or times are of two kinds.
        """
        if self.unsettled and self.alive is not None and len(self.alive) > 1:
            formats = " or ".join(f"'{how.written}'" for how in self.alive)
            raise DataError(f"{self.unsettled} can be two dates, as all others can; say time_format: {formats}")
        if {"zoned", "naive"} <= {*self.places}:
            raise DataError(
                f"{self.places['naive']} names no zone, and {self.places['zoned']} does; write all alike, or say "
                "time_zone"
            )
        if {"order", "recent"} == {*self.places}:
            raise DataError(
                f"{self.places['order']} is no moment as {self.places['recent']} is; write all alike, or say "
                "time_unit: order"
            )
        how = self.alive[0] if self.alive else Notation(zone=self.written.time_zone)
        return replace(how, untimed=self.untimed, kept=self.written.on_missing != "drop")


def _with(how: Notation, seconds: np.ndarray) -> Notation:
    """Return the notation with first and last moments that take some more into account."""
    first, last = _ends(seconds)
    if how.first is None or how.last is None:
        return replace(how, first=first, last=last)
    return replace(how, first=min(first, how.first), last=max(last, how.last))


def _ends(seconds: np.ndarray) -> tuple[float, float]:
    """Return the first and the last moment, of which there is one."""
    if seconds.dtype == np.int64:
        return float(seconds.min()), float(seconds.max())
    return float(np.nanmin(seconds)), float(np.nanmax(seconds))


def _formats(text: str) -> list[str]:
    """Return the formats of `strptime` that a date may have been written in; those before later ones are likelier."""
    clock = _CLOCK.search(text)
    head, tail, middle = text, "", ""
    if clock:
        head, tail, (hour, second, fraction, blank, half) = text[: clock.start()], text[clock.end() :], clock.groups()
        middle = f"{'%I' if half else '%H'}:%M{second and ':%S' or ''}{(fraction or '')[:1]}{'%f' if fraction else ''}"
        middle += f"{blank}%p" if half else blank
        zone = _ZONE.match(tail)
        if zone:
            middle, tail = middle + zone[0].replace(zone[1], "%z"), tail[zone.end() :]
    parts: list[str] = re.findall(r"[0-9]+|[^\W\d_]+|.", f"{head}\0{tail}")
    names = {place: _NAMES[part.lower()] for place, part in enumerate(parts) if part.lower() in _NAMES}
    numbers = [place for place, part in enumerate(parts) if part.isdecimal()]
    sizes = "".join(str(max(2, len(parts[place]))) for place in numbers)
    orders = _ORDERS.get(("b" if {"%b", "%B"} & {*names.values()} else "") + sizes, ())
    found = []
    for order in orders:
        if order.startswith("%y") and "-" not in parts:
            continue  # nobody writes 24/05/01
        codes = names | dict(zip(numbers, order.split(), strict=True))
        found.append("".join(codes.get(place, part) for place, part in enumerate(parts)).replace("\0", middle))
    return found if "%" not in text else []


def clean_times(
    values: pd.Series, column: str, origin: Origin, written: Written = Written()
) -> tuple[pd.Series, Notation]:
    """Return times as seconds, int64 where all are whole, else float64 (NaN where there is none); and their notation.

    Raises:
        DataError: Names the place of the first value that is no time, and of one that is missing, unless these are
            dropped or kept.
    """
    finder = Finder(column, written)
    seconds = finder.look(values, origin.at)
    if finder.untimed and written.on_missing == "refuse":
        row = int(np.isnan(seconds).argmax())
        raise DataError(
            f"{origin.at(row, column)}: empty; expected a time; on_missing: drop leaves such rows out, keep trains on "
            "them"
        )
    return pd.Series(seconds, index=values.index), finder.found()


def moment(value: float | str, what: str) -> float:
    """Return a moment that somebody gives, in any notation, as seconds.

    Raises:
        ConfigError: If it is none, or several.
    """
    finder = Finder(what)
    try:
        seconds = finder.look(pd.Series([value]), lambda row, column: column)
        finder.found()
    except DataError:
        seconds = np.full(1, np.nan)
    if np.isnan(seconds[0]):
        raise ConfigError(f"{what} is {value!r}; expected a moment, such as 2024-05-01 or 2024-05-01T12:30:00")
    return float(seconds[0])
