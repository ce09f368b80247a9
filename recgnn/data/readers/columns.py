"""From columns of any name to ours, and fingerprints: what all sources share."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from recgnn.data.log import (
    ITEM,
    RESERVED,
    TITLE,
    InteractionLog,
    Origin,
    Source,
    clean_interactions,
    clean_table,
    need_column,
)
from recgnn.errors import DataError
from recgnn.files import existing_file, sha256_of

_FORMAT = 1
_TITLES = (TITLE, "movie_title", "name")


def build_log(
    frame: pd.DataFrame,
    origin: Origin,
    chosen: Mapping[str, str | None],
    users: pd.DataFrame | None,
    items: pd.DataFrame | None,
    title: str | None,
    name: str,
) -> InteractionLog:
    """The log of a frame whose columns have other names; titles are found.

    Args:
        frame: The interactions as they were read.
        origin: Where they came from.
        chosen: From our column names to the frame's; None means the same name if it is there, ""
            means none.
        users: A clean user table, or None.
        items: A clean item table, or None.
        title: Column of the titles, or None to look for one.
        name: Short name of the data set.
    """
    taken = {}
    for ours, theirs in chosen.items():
        if theirs is None:
            if ours in frame.columns:
                taken[ours] = ours
        elif theirs != "":
            taken[ours] = theirs
    origin = Origin(origin.name, origin.line, taken)
    if not frame.columns.is_unique:
        twice = frame.columns[frame.columns.duplicated()][0]
        raise DataError(f"{origin.name}: two columns are named '{twice}'; rename one")
    for theirs in taken.values():
        need_column(frame, theirs, origin)
    same = next((c for c in taken.values() if [*taken.values()].count(c) > 1), None)
    if same is not None:
        raise DataError(f"{origin.name}: column '{same}' is chosen twice; user, item, ... differ")
    frame = clean_interactions(renamed(frame, taken), origin)
    if items is not None:
        found = title or next((t for t in _TITLES if t in items.columns), None)
        if title is not None:
            need_column(items, title, Origin("the items table"))
        if found not in (None, TITLE):
            items = items.drop(columns=TITLE, errors="ignore").rename(columns={found: TITLE})
    elif title is not None:
        need_column(frame, title, origin)
        titles = frame[[ITEM, title]].drop_duplicates(ITEM, ignore_index=True)
        items = titles.rename(columns={title: TITLE})
    return InteractionLog(frame, users, items, name=name, origin=origin)


def fingerprint(source: Source, options: object, files: Sequence[str | Path | None]) -> str:
    """A sha256 over the class, its options and the content of its files."""
    digests = [None if path is None else sha256_of(existing_file(path)) for path in files]
    kind = f"{type(source).__module__}.{type(source).__qualname__}"
    stated = json.dumps([_FORMAT, kind, options, digests], sort_keys=True, default=str)
    return hashlib.sha256(stated.encode()).hexdigest()


def keyed_table(frame: pd.DataFrame, key: str, column: str, origin: Origin) -> pd.DataFrame:
    """A clean user or item table whose ids stand in `column`, or else in `key`."""
    named = key if column not in frame and key in frame else column
    origin = Origin(origin.name, origin.line, {key: named})
    need_column(frame, named, origin)
    return clean_table(renamed(frame, {key: named}, reserved=(key,)), key, origin)


def renamed(
    frame: pd.DataFrame, taken: Mapping[str, str], reserved: Sequence[str] = RESERVED[:4]
) -> pd.DataFrame:
    """The frame with our names; columns that have a reserved name by chance are left out."""
    others = [c for c in frame.columns if c not in taken.values() and c not in reserved]
    columns = {ours: frame[theirs] for ours, theirs in taken.items()}
    return pd.DataFrame(columns | {str(c): frame[c] for c in others}, index=frame.index)


def frame_digest(frame: pd.DataFrame | None) -> bytes:
    """A digest of a frame's columns, types and values."""
    if frame is None:
        return b"none"
    digest = hashlib.sha256(repr([(str(c), str(t)) for c, t in frame.dtypes.items()]).encode())
    for _, values in frame.items():
        try:
            hashes = pd.util.hash_pandas_object(values, index=False)
        except TypeError:  # lists and the like
            hashes = pd.util.hash_pandas_object(values.map(repr), index=False)
        digest.update(hashes.to_numpy().tobytes())
    return digest.digest()
