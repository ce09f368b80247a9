"""The interaction log: a checked frame of (user, item, [rating], [timestamp]) and two tables."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import InitVar, dataclass, field

import numpy as np
import pandas as pd

from recgnn.errors import DataError, did_you_mean

USER = "user"
ITEM = "item"
RATING = "rating"
TIMESTAMP = "timestamp"
SPLIT = "split"
POSITION = "pos"
"""A rank by time within its user: stands in for missing times where only that order counts."""
TITLE = "title"
RESERVED = (USER, ITEM, RATING, TIMESTAMP, SPLIT)
PARTS = ("train", "val", "test")
_PART_NAMES = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


@dataclass(frozen=True)
class Origin:
    """Where a frame came from, so that an error can name the file, the line and the column.

    Args:
        name: The file, or what to call the frame.
        line: From the position of a row (0, 1, ...) to its line in the file; rows are counted when
            None.
        columns: From our column names to the file's.
        start: How many rows of it come before the frame's.
    """

    name: str = "the interactions"
    line: Callable[[int], int] | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    start: int = 0

    def at(self, row: int, column: str) -> str:
        """`ratings.csv, line 7, column 'rating'`."""
        place = f"row {self.start + row + 1}" if self.line is None else f"line {self.line(row)}"
        return f"{self.name}, {place}, column '{self.columns.get(column, column)}'"


@dataclass(frozen=True)
class InteractionLog:
    """Who met what, checked: the one form in which data enters the framework.

    Args:
        interactions: Columns `user`, `item` (int64 or str), [`rating` float32], [`timestamp`
            seconds, int64 or float64], [`split` one of train, val, test] and context columns, which
            are kept as they are.
        users: Column `user` and attributes, one row per user; or None.
        items: Column `item` and attributes (`title` where known), one row per item; or None.
        name: Short name of the data set, used for run folders.
        origin: Where the interactions came from, for the errors.

    Raises:
        DataError: On a missing column, a null or mixed id, a rating or timestamp that is no number,
            a repeated row in a table; names the place.
    """

    interactions: pd.DataFrame
    users: pd.DataFrame | None = None
    items: pd.DataFrame | None = None
    name: str = "data"
    origin: InitVar[Origin | None] = None

    def __post_init__(self, origin: Origin | None) -> None:
        frame = clean_interactions(self.interactions, origin or Origin())
        object.__setattr__(self, "interactions", frame)
        for key, table in ((USER, self.users), (ITEM, self.items)):
            if table is not None:
                table = clean_table(table, key, Origin(f"the {key}s table"))
                object.__setattr__(self, f"{key}s", _align(table, key, frame[key].dtype))

    def __len__(self) -> int:
        return len(self.interactions)


class Source(ABC):
    """Where a log comes from; every source has a short `name`."""

    name: str

    @abstractmethod
    def read(self) -> InteractionLog:
        """Reads and checks the log."""

    @abstractmethod
    def fingerprint(self) -> str:
        """A sha256 over class, arguments and data: the same digits mean the same log."""


def clean_interactions(frame: pd.DataFrame, origin: Origin) -> pd.DataFrame:
    """A checked copy of the interactions with the types of `InteractionLog`."""
    for column in (USER, ITEM):
        need_column(frame, column, origin)
    if not len(frame):
        raise DataError(f"{origin.name}: holds no interactions")
    frame = frame.reset_index(drop=True)
    new = {column: clean_ids(frame[column], column, origin) for column in (USER, ITEM)}
    if RATING in frame:
        new[RATING] = clean_numbers(frame[RATING], RATING, origin).astype(np.float32)
    if TIMESTAMP in frame:
        new[TIMESTAMP] = clean_times(frame[TIMESTAMP], TIMESTAMP, origin)
    if SPLIT in frame:
        new[SPLIT] = clean_split(frame[SPLIT], origin)
    first = [c for c in RESERVED if c in new]
    return frame.assign(**new)[first + [c for c in frame.columns if c not in new]]


def clean_table(frame: pd.DataFrame, key: str, origin: Origin) -> pd.DataFrame:
    """A checked copy of a user or item table: column `key` first, one row per id."""
    need_column(frame, key, origin)
    frame = frame.reset_index(drop=True)
    ids = clean_ids(frame[key], key, origin)
    twice = ids.duplicated().to_numpy()
    if twice.any():
        row = int(twice.argmax())
        raise DataError(
            f"{origin.at(row, key)}: {key} {shown(ids.iloc[row])} has a row already; "
            f"keep one per {key}"
        )
    return frame.assign(**{key: ids})[[key] + [c for c in frame.columns if c != key]]


def need_column(frame: pd.DataFrame, column: str, origin: Origin) -> None:
    """Raises DataError when a column is missing, naming the columns there are and the nearest."""
    if column not in frame.columns:
        found = [str(c) for c in frame.columns]
        listed = ", ".join(found[:12]) + (", ..." if len(found) > 12 else "")
        hint = did_you_mean(column, found)
        if len(found) == 1:
            listed += "; with one column only, check the separator"
        raise DataError(f"{origin.name}: no column '{column}'{hint}; found: {listed}")


def clean_ids(ids: pd.Series, column: str, origin: Origin) -> pd.Series:
    """Ids as int64 (integers and whole floats) or str; a mix of both is refused."""
    if isinstance(ids.dtype, pd.CategoricalDtype):
        ids = ids.astype(ids.cat.categories.dtype)
    null = ids.isna().to_numpy()
    if not null.any() and isinstance(ids.dtype, pd.StringDtype):
        null = (ids.str.len() == 0).to_numpy()
    if null.any():
        raise DataError(
            f"{origin.at(int(null.argmax()), column)}: no {column} id; remove the row or fill it in"
        )
    if ids.dtype == object:
        ids = ids.infer_objects()
    if isinstance(ids.dtype, pd.StringDtype):
        return ids.astype("str")
    if pd.api.types.is_bool_dtype(ids.dtype):
        kind = "true or false"
    elif pd.api.types.is_integer_dtype(ids.dtype):
        if ids.dtype == np.uint64 and len(ids) and int(ids.max()) > np.iinfo(np.int64).max:
            raise DataError(
                f"{origin.name}: column '{column}' holds ids above 2**63 - 1; give them as text"
            )
        return ids.astype(np.int64)
    elif pd.api.types.is_float_dtype(ids.dtype):
        values = ids.to_numpy(np.float64)
        broken = ~(np.isfinite(values) & (values == np.floor(values)) & (np.abs(values) < 2**53))
        if not broken.any():
            return ids.astype(np.int64)
        row = int(broken.argmax())
        raise DataError(
            f"{origin.at(row, column)}: {values[row]} is no id; expected whole numbers or text"
        )
    elif ids.dtype == object:
        text = ids.map(lambda v: isinstance(v, str)).to_numpy(bool)
        if text.all():
            return ids.astype("str")
        whole = ids.map(
            lambda v: isinstance(v, int | np.integer) and not isinstance(v, bool)
        ).to_numpy(bool)
        if whole.all():
            return ids.astype(np.int64)
        row = int((text != text[0]).argmax()) if text.any() else int((~whole).argmax())
        kind = f"{type(ids.iloc[row]).__name__} {ids.iloc[row]!r}" + (
            f" among {type(ids.iloc[0]).__name__}" if row else ""
        )
        raise DataError(
            f"{origin.at(row, column)}: {kind}; expected integers or strings, not a mix"
        )
    else:
        kind = str(ids.dtype)
    raise DataError(f"{origin.at(0, column)}: ids of type {kind}; expected integers or strings")


def clean_numbers(
    values: pd.Series, column: str, origin: Origin, expected: str = "a finite number"
) -> pd.Series:
    """Finite float64 values, or a DataError with the place of the first that is none."""
    numbers = (
        pd.to_numeric(values, errors="coerce")
        .astype("Float64")
        .to_numpy(np.float64, na_value=np.nan)
    )
    broken = ~np.isfinite(numbers)
    if broken.any():
        row = int(broken.argmax())
        raise DataError(f"{origin.at(row, column)}: {shown(values.iloc[row])}; expected {expected}")
    return pd.Series(numbers, index=values.index)


def clean_times(values: pd.Series, column: str, origin: Origin) -> pd.Series:
    """Seconds as int64 where they are whole, else float64; from numbers, dates or ISO 8601 text."""
    if pd.api.types.is_bool_dtype(values.dtype):
        raise DataError(
            f"{origin.at(0, column)}: {values.iloc[0]}; expected seconds or an ISO 8601 date"
        )
    if pd.api.types.is_integer_dtype(values.dtype) and not values.isna().any():
        return values.astype(np.int64)
    if not pd.api.types.is_datetime64_any_dtype(values.dtype):
        numbers = pd.to_numeric(values, errors="coerce")
        if pd.api.types.is_numeric_dtype(values.dtype) or numbers.notna().any():
            seconds = clean_numbers(values, column, origin, "seconds in every row")
            return seconds.astype(np.int64) if (seconds % 1 == 0).all() else seconds
    dates = pd.to_datetime(values, errors="coerce", format="ISO8601", utc=True)
    broken = dates.isna().to_numpy()
    if broken.any():
        row = int(broken.argmax())
        raise DataError(
            f"{origin.at(row, column)}: {shown(values.iloc[row])}; expected seconds or an ISO "
            "8601 date, such as 2024-05-01 or 2024-05-01T12:30:00"
        )
    micros = dates.dt.tz_localize(None).to_numpy("datetime64[us]").astype(np.int64)
    whole = (micros % 1_000_000 == 0).all()
    return pd.Series(micros // 1_000_000 if whole else micros / 1e6, index=values.index)


def clean_split(values: pd.Series, origin: Origin) -> pd.Series:
    """The part of each row as a category of train, val, test."""
    parts = values.astype("str").str.strip().str.lower().map(_PART_NAMES)
    broken = parts.isna().to_numpy()
    if broken.any():
        row = int(broken.argmax())
        raise DataError(
            f"{origin.at(row, SPLIT)}: {shown(values.iloc[row])}; expected train, val or test"
        )
    return pd.Series(pd.Categorical(parts, categories=list(PARTS)), index=values.index)


def _align(table: pd.DataFrame, key: str, dtype: object) -> pd.DataFrame:
    """The table with its ids in the log's type; rows whose id cannot be there are left out."""
    if table[key].dtype == dtype:
        return table
    if dtype != np.int64:
        return table.assign(**{key: table[key].astype("str")})
    table = table[table[key].str.fullmatch(r"0|-?[1-9][0-9]{0,17}")]
    return table.assign(**{key: table[key].astype(np.int64)}).reset_index(drop=True)


def shown(value: object) -> str:
    """A value for an error message: short, on one line; an absent one is called empty."""
    if (
        value is None
        or value is pd.NA
        or value is pd.NaT
        or (isinstance(value, float) and np.isnan(value))
    ):
        return "empty"
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."
