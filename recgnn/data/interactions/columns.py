"""From columns of any name to the log's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pandas as pd

from recgnn.data.interactions.compound import joined
from recgnn.data.interactions.log import ITEM, RESERVED, TITLE, InteractionLog, clean_table
from recgnn.data.readers.origin import Origin, need_columns, unique_columns
from recgnn.data.readers.times import UNSAID, Written
from recgnn.errors import DataError

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


def columns_of(*chosen: str | Sequence[str]) -> list[str]:
    """List the columns that are chosen for ids, each of which may be several."""
    return [column for one in chosen for column in ([one] if isinstance(one, str) else one)]


def keyed_table(frame: pd.DataFrame, key: str, column: str, origin: Origin) -> pd.DataFrame:
    """Return a clean user or item table whose ids stand in `column`, or else in `key`."""
    named = key if column not in frame and key in frame else column
    unique_columns(frame.columns, origin.name)
    need_columns([named], frame.columns, origin.name)
    return clean_table(renamed(frame, {key: named}, (key,)), key, Origin(origin.name, origin.line, {key: named}))


def renamed(frame: pd.DataFrame, taken: Mapping[str, str], reserved: Sequence[str] = RESERVED[:5]) -> pd.DataFrame:
    """Return the frame with our names; other columns that have a reserved name by chance are left out."""
    others = [c for c in frame.columns if c not in taken.values() and c not in reserved]
    columns = {ours: frame[theirs] for ours, theirs in taken.items()}
    return pd.DataFrame(columns | {str(c): frame[c] for c in others}, index=frame.index)
