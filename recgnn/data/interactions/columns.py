"""From columns of any name to the log's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from recgnn.data.interactions.compound import joined
from recgnn.data.interactions.log import ITEM, RESERVED, TITLE, InteractionLog, clean_table
from recgnn.data.readers.ids import ids_as, known_ids
from recgnn.data.readers.origin import Origin, need_columns, shown, unique_columns
from recgnn.data.readers.tables import read_table
from recgnn.data.readers.times import UNSAID, Written
from recgnn.errors import ConfigError, DataError, did_you_mean

TITLES = (TITLE, "movie_title", "name")


def build_log(
    frame: pd.DataFrame,
    origin: Origin,
    chosen: Mapping[str, str | Sequence[str] | None],
    users: pd.DataFrame | None,
    items: pd.DataFrame | None,
    title: str | None,
    name: str,
    written: Written = UNSAID,
) -> InteractionLog:
    """Build the log of a frame whose columns have other names, and find the titles.

    Args:
        frame: The interactions as they were read.
        origin: Where they came from.
        chosen: Maps our column names to the frame's; None means the same name if it is there, "" means no column; that
            of the users may be several, whose ids are joined.
        users: A clean user table, or None.
        items: A clean item table, or None.
        title: Column of the titles, or None to look for one.
        name: Short name of the data set.
        written: How times are written.

    Raises:
        DataError: If a column is missing, repeated or chosen twice; or as `InteractionLog`.
    """
    unique_columns(frame.columns, origin.name)
    taken: dict[str, str] = {}
    for ours, theirs in chosen.items():
        if isinstance(theirs, list | tuple):
            if users is not None:
                raise DataError(f"{origin.name}: a users table has ids of one column, and user is {', '.join(theirs)}")
            taken[ours], values, users = joined(frame, theirs, origin)
            frame = frame.assign(**{taken[ours]: values})
        elif theirs is None:
            if ours in frame.columns:
                taken[ours] = ours
        elif theirs != "":
            taken[ours] = str(theirs)
    origin = replace(origin, columns=taken)
    need_columns(taken.values(), frame.columns, origin.name)
    same = next((c for c in taken.values() if [*taken.values()].count(c) > 1), None)
    if same is not None:
        raise DataError(f"{origin.name}: column '{same}' is chosen twice; user, item, ... differ")
    items = titled(items, title)
    log = InteractionLog(renamed(frame, taken), users, items, name, origin, origin.notes, written)
    if items is not None or title is None:
        return log
    need_columns([title], log.interactions.columns, origin.name)
    titles = log.interactions[[ITEM, title]].drop_duplicates(ITEM, ignore_index=True)
    return replace(log, items=titles.rename(columns={title: TITLE}), origin=origin)


def titled(items: pd.DataFrame | None, title: str | None) -> pd.DataFrame | None:
    """Return an items table, if there is one, with its titles in the column of our name."""
    if items is None:
        return None
    found = title or next((t for t in TITLES if t in items.columns), None)
    need_columns([title] if title else [], items.columns, "the items table")
    if found is not None and found != TITLE:
        items = items.drop(columns=TITLE, errors="ignore").rename(columns={found: TITLE})
    return items


class Side(NamedTuple):
    """A table of users or items: its file, the column of the ids, the columns of one without a header line, and the
    separator."""

    path: str | Path
    id: str | None = None
    columns: Sequence[str] | None = None
    separator: str | None = None

    @classmethod
    def of(cls, given: str | Path | Mapping | None, key: str) -> Side | None:
        """Return what is given as a path, or as a mapping of path, id, columns and separator.

        Raises:
            ConfigError: If the mapping has another option, or no path.
        """
        if given is None or not isinstance(given, Mapping):
            return None if given is None else cls(given)
        if unknown := [name for name in given if name not in cls._fields]:
            raise ConfigError(f"{key}s: no option {unknown[0]!r}{did_you_mean(unknown[0], cls._fields)}")
        if not given.get("path"):
            raise ConfigError(f"{key}s: names no file; expected path: …, and perhaps id, columns, separator")
        return cls(**given)

    def read(self, key: str, column: str, quotes: bool, encoding: str | None, decimal: str) -> pd.DataFrame:
        """Return the clean table, whose ids stand in the column `id`, or in `column`, or else in `key`.

        Raises:
            DataError: If it cannot be read, or an id is missing or stands twice.
        """
        ids = (self.id or column, key)
        columns = None if self.columns is None else list(self.columns)
        frame, origin = read_table(self.path, self.separator, columns, ids, quotes, encoding, decimal=decimal)
        return keyed_table(frame, key, ids[0], origin)


class Attributes:
    """What a table says of the users or the items of events, block by block.

    Args:
        side: The table.
        key: `user` or `item`.
        how: As of `Side.read`: quotes, encoding and decimal.
    """

    def __init__(self, side: Side, key: str, *how: Any) -> None:
        self.key, self.where = key, str(side.path)
        self.names = (side.id, key)  # of the events' column of the ids
        table = side.read(key, side.id or key, *how)
        found = next((title for title in TITLES if key == ITEM and title in table), None)
        self.titles = None if found is None else table[[ITEM, found]].rename(columns={found: TITLE})
        self.ids, self.matched = table[key], 0
        table = table.drop(columns=[key] if found is None else [key, found])
        self.table = table.astype({c: "Int64" for c in table if pd.api.types.is_integer_dtype(table[c].dtype)})

    def join(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return events with the attributes beside them, without values where the table has no row.

        Raises:
            DataError: If the events have no such ids.
        """
        column = next((name for name in self.names if name in frame), None)
        if column is None:
            need_columns([self.key], frame.columns, f"{self.key}s: the events", f"that {self.where} tells of")
        integer = pd.api.types.is_numeric_dtype(frame[column].dtype)
        own = ids_as(self.ids, integer).dropna()
        places = pd.Index(own).get_indexer(pd.Index(known_ids(frame[column], integer)))
        places = np.where(places >= 0, np.append(own.index, -1)[places], -1)
        self.matched += int((places >= 0).sum())
        new = self.table.reindex(places).set_axis(frame.index, axis=0)
        new = new.rename(columns={c: f"{self.key}_{c}" for c in new if c in frame})
        self.columns = list(new)
        return pd.concat([frame, new], axis=1)

    def check(self) -> None:
        """Check that some event has had a row.

        Raises:
            DataError: If none has.
        """
        if not self.matched:
            raise DataError(
                f"{self.where}: none of its {len(self.ids):,} {self.key}s, such as {shown(self.ids.iloc[0])}, "
                "is in the events; check the column of ids"
            )


def columns_of(*chosen: str | Sequence[str]) -> list[str]:
    """List the columns that are chosen for ids, each of which may be several."""
    return [column for one in chosen for column in ([one] if isinstance(one, str) else one)]


def keyed_table(frame: pd.DataFrame, key: str, column: str, origin: Origin) -> pd.DataFrame:
    """Return a clean user or item table whose ids stand in `column`, or else in `key`."""
    named = key if column not in frame and key in frame else column
    unique_columns(frame.columns, origin.name)
    need_columns([named], frame.columns, origin.name, f"name it: {key}s: {{path: ..., id: ...}}")
    return clean_table(renamed(frame, {key: named}, (key,)), key, Origin(origin.name, origin.line, {key: named}))


def with_our_names(frame: pd.DataFrame, names: Mapping[str, str]) -> pd.DataFrame:
    """Return the frame with our names for the columns that are there by theirs (`names`, ours to theirs); another
    column that has one of our names by chance is left out then."""
    own = {theirs: ours for ours, theirs in names.items() if theirs in frame.columns}
    by_chance = [ours for ours in own.values() if ours in frame.columns and ours not in own]
    return frame.drop(columns=by_chance).rename(columns=own)


def renamed(frame: pd.DataFrame, taken: Mapping[str, str], reserved: Sequence[str] = RESERVED[:5]) -> pd.DataFrame:
    """Return the frame with our names; other columns that have a reserved name by chance are left out."""
    others = [c for c in frame.columns if c not in taken.values() and c not in reserved]
    columns = {ours: frame[theirs] for ours, theirs in taken.items()}
    return pd.DataFrame(columns | {str(c): frame[c] for c in others}, index=frame.index)
