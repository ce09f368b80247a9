"""The interaction log: a checked frame of (user, item, [rating], [timestamp]) and two tables."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import InitVar, dataclass, field

import numpy as np
import pandas as pd

from recgnn.data.readers.ids import clean_ids, ids_as, told_twins
from recgnn.data.readers.notation import Notation
from recgnn.data.readers.origin import Origin, need_columns, shown
from recgnn.data.readers.times import UNSAID, Written, clean_times
from recgnn.data.readers.values import clean_numbers, clean_weights
from recgnn.errors import Checked, DataError

USER = "user"
ITEM = "item"
RATING = "rating"
TIMESTAMP = "timestamp"
SPLIT = "split"
WEIGHT = "weight"
POSITION = "pos"
"""A rank by time within its user: stands in for missing times where only that order counts."""
TITLE = "title"
RESERVED = (USER, ITEM, RATING, TIMESTAMP, WEIGHT, SPLIT)
PARTS = ("train", "val", "test")
_PART_NAMES = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


@dataclass(frozen=True)
class InteractionLog:
    """Interactions of users with items, checked: the one form in which data enters the framework.

    Args:
        interactions: Columns `user`, `item` (int64 or str), [`rating` float32], [`timestamp`, any notation; then
            seconds, int64 or float64, NaN where there is none], [`weight` float32, from 0 up], [`split` one of train,
            val, test] and context columns, which are kept as they are.
        users: Column `user` and attributes, one row per user; or None.
        items: Column `item` and attributes (`title` where known), one row per item; or None.
        name: Short name of the data set, used for run folders.
        origin: Where the interactions came from, for the errors.
        notes: What was left out in reading, in lines.
        written: How times are written, and what becomes of rows without one.
        times: How they were written; None finds it. Where it is given, times are seconds already.

    Attributes:
        columns: What the source calls those of our columns that have another name there.

    Raises:
        DataError: If a column is missing, an id is null or of mixed types, a rating is no number, a timestamp no time,
            or a table has two rows of one id; names the place.
    """

    interactions: pd.DataFrame
    users: pd.DataFrame | None = None
    items: pd.DataFrame | None = None
    name: str = "data"
    origin: InitVar[Origin | None] = None
    notes: tuple[str, ...] = ()
    written: InitVar[Written | None] = None
    times: Notation | None = None
    columns: Mapping[str, str] = field(init=False, default_factory=dict)

    def __post_init__(self, origin: Origin | None, written: Written | None) -> None:
        if self.times is not None:
            written = Written(time_unit="order", on_missing="keep")
        frame, times = clean_interactions(self.interactions, origin or Origin(), written or UNSAID)
        object.__setattr__(self, "interactions", frame)
        object.__setattr__(self, "times", self.times or times)
        twins = [line for side in (USER, ITEM) for line in told_twins(frame[side], side)]
        object.__setattr__(self, "notes", tuple(dict.fromkeys([*self.notes, *twins])))
        own = {ours: theirs for ours, theirs in origin.columns.items() if ours != theirs} if origin else {}
        object.__setattr__(self, "columns", own)
        for key, table in ((USER, self.users), (ITEM, self.items)):
            if table is not None:
                object.__setattr__(self, f"{key}s", joinable(table, key, frame[key]))

    def __len__(self) -> int:
        return len(self.interactions)


class AnySource(Checked, ABC):
    """Where a log or a table of events comes from; every source has a short `name`."""

    name: str
    written = UNSAID
    """What was said of its times: of the column `timestamp`, and of fields of times that do not say it themselves."""

    @abstractmethod
    def fingerprint(self) -> str:
        """Return a sha256 over class, arguments and data: the same digits mean the same rows."""


class Source(AnySource):
    """Where a log comes from."""

    @abstractmethod
    def read(self) -> InteractionLog:
        """Read and check the log."""


def clean_interactions(
    frame: pd.DataFrame, origin: Origin, written: Written
) -> tuple[pd.DataFrame, Notation | None]:
    """Return a checked copy of the interactions in `frame` (`origin` names places) with the types of `InteractionLog`,
    and how its times were written.

    Raises:
        DataError: Names the place of the first mistake.
    """
    need_columns((USER, ITEM), frame.columns, origin.name)
    if not len(frame):
        raise DataError(f"{origin.name}: holds no interactions")
    frame = frame.reset_index(drop=True)
    new = {column: clean_ids(frame[column], column, origin) for column in (USER, ITEM)}
    if RATING in frame:
        new[RATING] = clean_numbers(frame[RATING], RATING, origin).astype(np.float32)
    times = None
    if TIMESTAMP in frame:
        new[TIMESTAMP], times = clean_times(frame[TIMESTAMP], TIMESTAMP, origin, written)
    if WEIGHT in frame:
        new[WEIGHT] = clean_weights(frame[WEIGHT], WEIGHT, origin)
        if not new[WEIGHT].any():
            raise DataError(f"{origin.at(0, WEIGHT)}: all weights are 0; expected some above 0")
    if SPLIT in frame:
        new[SPLIT] = clean_split(frame[SPLIT], origin)
    first = [c for c in RESERVED if c in new]
    frame = frame.assign(**new)[first + [c for c in frame.columns if c not in new]]
    if times is not None and times.untimed and written.on_missing == "drop":
        frame = frame[frame[TIMESTAMP].notna()].reset_index(drop=True)
        if not len(frame):
            raise DataError(f"{origin.name}: no row has a time; on_missing: keep trains on them")
    return frame, times


def clean_table(frame: pd.DataFrame, key: str, origin: Origin) -> pd.DataFrame:
    """Return a checked copy of the user or item table `frame` (`origin` names places): column `key` first, one row per
    id.

    Raises:
        DataError: Names the place of a missing or repeated id.
    """
    need_columns((key,), frame.columns, origin.name)
    frame = frame.reset_index(drop=True)
    ids = clean_ids(frame[key], key, origin)
    twice = ids.duplicated().to_numpy()
    if twice.any():
        row = int(twice.argmax())
        raise DataError(
            f"{origin.at(row, key)}: {key} {shown(ids.iloc[row])} has a row already; keep one per {key}"
        )
    return frame.assign(**{key: ids})[[key] + [c for c in frame.columns if c != key]]


def clean_split(values: pd.Series, origin: Origin) -> pd.Series:
    """Return the part of each row, of `values` (`origin` names places), as a category of train, val, test.

    Raises:
        DataError: Names the place of the first value that is no part.
    """
    parts = values.astype("str").str.strip().str.lower().map(_PART_NAMES)
    broken = parts.isna().to_numpy()
    if broken.any():
        row = int(broken.argmax())
        raise DataError(f"{origin.at(row, SPLIT)}: {shown(values.iloc[row])}; expected train, val or test")
    return pd.Series(pd.Categorical(parts, categories=list(PARTS)), index=values.index)


def joinable(table: pd.DataFrame, key: str, ids: pd.Series) -> pd.DataFrame:
    """Return the checked table with its ids, of column `key`, in the log's type; rows whose id the log cannot have are
    left out.

    Raises:
        DataError: If none of its ids is in the log.
    """
    origin = Origin(f"the {key}s table")
    table = given = clean_table(table, key, origin)
    if table[key].dtype != ids.dtype:
        found = ids_as(table[key], ids.dtype == np.int64)
        table = clean_table(table[found.notna()].assign(**{key: found.dropna()}), key, origin)
    if not table[key].isin(ids).any():
        raise DataError(
            f"{origin.name}: none of its {len(given):,} {key}s, such as {shown(next(iter(given[key]), None))}, is in "
            f"the log, which has {shown(ids.iloc[0])}; check the column of ids"
        )
    return table
