"""Times of any notation as seconds since 1970: the notation is found per column, by all of its values."""

from __future__ import annotations

import calendar
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from recgnn.data.readers.notation import CALENDARS, ISO, ORDER, UNITS, Notation, plain, read_plain, zoned
from recgnn.data.readers.origin import Origin, shown
from recgnn.errors import ConfigError, DataError, one_of

FOUND = ("s", "ms", "us", "ns")
RECENT = 1e9  # 2001
SAMPLE = 1000  # values by which notations are looked for that all are then read by
_CLOCK = re.compile(r"\b\d{1,2}:\d{2}(:\d{2})?([.,]\d{1,9})?(\s*)([AaPp][Mm]\b)?")
_ZONE = re.compile(r"\s*(Z\b|[+-]\d{2}:?\d{2}\b)")
_NO_DATE = re.compile(r"(?i)\b\d*(W|KW|Q)\s?\d")  # weeks and quarters, which strptime has no numbers of
_OTHER_ZONE = re.compile(r"\b(?!UTC|GMT)[A-Z]{2,5}\b")
"""Behind a clock, what may be the name of a zone, as EST, which says too little: half a dozen countries have a CST."""
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


UNSAID = Written()


class Finder:
    """Finds how the times of a column are written, some of its rows at a time: one notation must read them all.

    Numbers are seconds, or milli-, micro- or nanoseconds, whichever lies before 2100, or dates in one number (see
    `CALENDARS`) where at least half of them can be. Text is in ISO 8601 where all can be, else as most of it can be.

    Args:
        column: Its name, for the errors.
        written: What was said of it.
    """

    def __init__(self, column: str, written: Written = UNSAID) -> None:
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
        bare = plain(values)
        missing = bare.isna().to_numpy()
        self.untimed += int(missing.sum())
        if missing.all():
            return np.full(len(values), np.nan)
        known = bare[~missing] if missing.any() else bare
        found: list[tuple[Notation, np.ndarray, np.ndarray]] = []
        kept: list[tuple[Notation, np.ndarray]] = []
        for ways in [self.alive] if self.alive is not None else self._ways(known):
            found += [(how, *read_plain(bare, how)) for how in ways]
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
        for kind, rows in self._kinds(bare, how, seconds):
            if kind not in self.places and rows.any():
                self.places[kind] = place(rows)
        self.alive = [_with(one, own) for one, own in kept]
        return seconds

    def _ways(self, values: pd.Series) -> Iterator[list[Notation]]:
        """Yield notations that values may have; further ones where none of those before reads them all."""

        def ways(names: Iterable[str]) -> list[Notation]:
            return [Notation(name, self.written.time_zone) for name in names]

        sample = values
        if len(values) > SAMPLE:  # not at even distances: notations may take turns
            sample = values.iloc[np.random.default_rng(0).integers(len(values), size=SAMPLE)]
        if pd.api.types.is_datetime64_any_dtype(values.dtype):
            yield ways([ISO])
        elif 2 * (numbers := pd.to_numeric(sample, errors="coerce")).notna().sum() >= len(sample):
            likely = (name for name in CALENDARS if 2 * _in_years(numbers, name).sum() >= len(sample))
            dates = [how for how in ways(likely) if 2 * read_plain(sample, how)[1].sum() <= len(sample)]
            yield from [dates] if dates else ([how] for how in ways(FOUND))
        else:
            yield ways([ISO])
            formats = Counter(one for text in sample for one in _formats(text))
            yield ways(name for name, _ in formats.most_common(8))

    def _kinds(self, bare: pd.Series, how: Notation, seconds: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
        """Yield kinds of values, and which have them: a column with two of them is refused."""
        if how.stated or pd.api.types.is_datetime64_any_dtype(bare.dtype):
            return
        if how.written == ISO and how.zone is None:
            named = zoned(bare)
            yield from (("zoned", named), ("naive", ~named & bare.notna().to_numpy(bool)))
        if how.written == "s":
            first, last = _ends(seconds)
            for kind, low, high in (("order", 1, ORDER), ("between", ORDER, RECENT), ("recent", RECENT, np.inf)):
                if kind not in self.places and last >= low and first < high:
                    yield kind, (seconds >= low) & (seconds < high)

    def take(self, other: Finder) -> None:
        """Take into account what another has found of further rows, which it has read.

        Raises:
            DataError: If it has read them in another way.
        """
        self.untimed += other.untimed
        self.places = other.places | self.places
        self.unsettled = self.unsettled or other.unsettled
        ours, theirs = (one.alive if one.alive and one.alive[0].first is not None else [] for one in (self, other))
        if ours and theirs:
            ends = {how.written: np.array([how.first, how.last], dtype=np.float64) for how in theirs}
            both = [_with(how, ends[how.written]) for how in ours if how.written in ends]
            if not both or not both[0].written == ours[0].written == theirs[0].written:
                ways = f"{ours[0].expected()} and {theirs[0].expected()}"
                raise DataError(f"{self.column} is {ways} in several files; say time_format or time_unit")
            self.alive = both
        elif theirs:
            self.alive = theirs

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


def _in_years(numbers: pd.Series, name: str) -> pd.Series:
    """Return which numbers may be dates of a calendar, by their size: of the years 1900 to 2100."""
    low, high = (1900, 2101) if name.startswith("%Y") else (0, 10_000)
    return numbers.between(low * 10 ** (CALENDARS[name] - 4), high * 10 ** (CALENDARS[name] - 4))


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
        head, tail, (second, fraction, blank, half) = text[: clock.start()], text[clock.end() :], clock.groups()
        middle = f"{'%I' if half else '%H'}:%M{second and ':%S' or ''}{(fraction or '')[:1]}{'%f' if fraction else ''}"
        middle += f"{blank}%p" if half else blank
        zone = _ZONE.match(tail)
        if zone:
            middle, tail = middle + zone[0].replace(zone[1], "%z"), tail[zone.end() :]
        if _OTHER_ZONE.search(tail):
            return []
    if _NO_DATE.search(head):
        return []
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
    values: pd.Series, column: str, origin: Origin, written: Written = UNSAID
) -> tuple[pd.Series, Notation]:
    """Return times as seconds, int64 where all are whole, else float64 (NaN where there is none); and their notation.

    Raises:
        DataError: Names the place of the first value that is no time, and of one that is missing, unless these are
            dropped or kept.
    """
    finder = Finder(column, written)
    seconds = finder.look(values, origin.at)
    need_times(seconds, column, written, origin.at)
    return pd.Series(seconds, index=values.index), finder.found()


def need_times(seconds: np.ndarray, column: str, written: Written, at: At) -> None:
    """Refuse rows without a time, unless these are to be dropped or kept.

    Raises:
        DataError: Names the place of the first.
    """
    missing = np.isnan(seconds)
    if written.on_missing == "refuse" and missing.any():
        place = at(int(missing.argmax()), column)
        raise DataError(f"{place}: empty; expected a time; on_missing: drop leaves such rows out, keep trains on them")


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
