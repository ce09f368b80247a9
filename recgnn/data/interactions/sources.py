"""Where a log comes from: tables, RecBole's atomic files, adjacency lists, frames in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from recgnn.data.log import (
    ITEM,
    RATING,
    SPLIT,
    TIMESTAMP,
    USER,
    InteractionLog,
    Origin,
    Source,
    need_column,
)
from recgnn.data.readers.columns import build_log, fingerprint, frame_digest, keyed_table
from recgnn.data.readers.tables import read_table, read_text, typed
from recgnn.errors import DataError
from recgnn.files import existing_file

__all__ = ["AdjacencyLog", "AtomicLog", "FrameLog", "Source", "TableLog"]


class TableLog(Source):
    """A log in one table: csv, tsv, any other separator, or Parquet.

    Other columns are kept as context; a column `split` (train, val, test) is the data's own split.
    A column that is not chosen but has one of our names (`user`, `item`, `rating`, `timestamp`) is
    left out.

    Args:
        path: The interactions.
        user: Column of the user ids.
        item: Column of the item ids.
        rating: Column of the ratings; None: `rating` if there is one; "": no ratings.
        timestamp: Column of the times, in seconds or as ISO 8601 dates; None and "" as for
            `rating`.
        separator: Of the fields of `path`, such as "," or "::"; found out when None.
        columns: Names of the columns of a file without a header line.
        users: A table with a row per user, or None.
        items: A table with a row per item, or None.
        title: Column of the titles in the items table (or, without one, in the interactions); None:
            `title`, `movie_title` or `name` if there is one.
        name: Short name of the data set; the file's stem when None.

    Raises:
        DataError: On reading, with the file, the line and the column of the mistake.
    """

    def __init__(
        self,
        path: str | Path,
        user: str = "user",
        item: str = "item",
        rating: str | None = None,
        timestamp: str | None = None,
        separator: str | None = None,
        columns: Sequence[str] | None = None,
        users: str | Path | None = None,
        items: str | Path | None = None,
        title: str | None = None,
        name: str | None = None,
    ) -> None:
        self.path = path
        self.chosen = {USER: user, ITEM: item, RATING: rating, TIMESTAMP: timestamp}
        self.separator = separator
        self.columns = None if columns is None else list(columns)
        self.users, self.items, self.title = users, items, title
        self.name = name or Path(path).name.split(".")[0] or "data"

    def read(self) -> InteractionLog:
        ids = (self.chosen[USER], self.chosen[ITEM])
        frame, origin = read_table(self.path, self.separator, self.columns, ids)
        if self.columns is None and not {*ids} <= {*frame.columns} and _all_numbers(frame.columns):
            raise DataError(
                f"{origin.name}: the first line holds numbers, not names: "
                f"{', '.join(frame.columns)}; "
                "name the columns of a file without a header line with columns=[user, item, ...]"
            )
        users = self._table(self.users, USER)
        items = self._table(self.items, ITEM)
        return build_log(frame, origin, self.chosen, users, items, self.title, self.name)

    def _table(self, path: str | Path | None, key: str) -> pd.DataFrame | None:
        if path is None:
            return None
        frame, origin = read_table(path, ids=(self.chosen[key], key))
        return keyed_table(frame, key, self.chosen[key], origin)

    def fingerprint(self) -> str:
        options = [self.chosen, self.separator, self.columns, self.title, self.name]
        return fingerprint(self, options, [self.path, self.users, self.items])


class AtomicLog(Source):
    """A log in RecBole's atomic files: `x.inter`, and `x.user` and `x.item` beside it where they
    are.

    Fields are separated by tabs, the header holds `name:type` (token, token_seq, float, float_seq);
    token columns become integers where all their values are.

    Args:
        path: The `.inter` file, or a folder with one.
        user: Field of the user ids.
        item: Field of the item ids.
        rating: Field of the ratings; None: `rating` if there is one; "": no ratings.
        timestamp: Field of the times; None and "" as for `rating`.
        title: Field of the titles in the `.item` file; None: `title`, `movie_title` or `name`.
        name: Short name of the data set; the file's stem when None.

    Raises:
        DataError: On reading, with the file, the line and the column of the mistake.
    """

    def __init__(
        self,
        path: str | Path,
        user: str = "user_id",
        item: str = "item_id",
        rating: str | None = None,
        timestamp: str | None = None,
        title: str | None = None,
        name: str | None = None,
    ) -> None:
        self.path = path
        self.chosen = {USER: user, ITEM: item, RATING: rating, TIMESTAMP: timestamp}
        self.title = title
        self.name = name or Path(path).name.removesuffix(".inter") or "data"

    def read(self) -> InteractionLog:
        inter, *tables = self._files()
        frame, origin = self._atomic(inter)
        for key in (USER, ITEM):
            need_column(frame, self.chosen[key], origin)
        users, items = (
            None if path is None else self._table(path, key)
            for path, key in zip(tables, (USER, ITEM), strict=True)
        )
        return build_log(frame, origin, self.chosen, users, items, self.title, self.name)

    def _files(self) -> list[Path | None]:
        """The .inter file and, or None, the .user and the .item file."""
        path = Path(self.path).expanduser()
        if path.is_dir():
            found = sorted(path.glob("*.inter"))
            if len(found) != 1:
                names = ", ".join(p.name for p in found) or "none"
                raise DataError(
                    f"{path}: expected one .inter file, found {names}; give the file itself"
                )
            path = found[0]
        path = existing_file(path)
        beside = [path.with_suffix(suffix) for suffix in (".user", ".item")]
        return [path, *(p if p.is_file() else None for p in beside)]

    def _atomic(self, path: Path) -> tuple[pd.DataFrame, Origin]:
        first = read_text(path).split(b"\n", 1)[0].decode("utf-8").rstrip("\r").split("\t")
        plain = [field.strip() for field in first if ":" not in field]
        if plain:
            raise DataError(
                f"{path}, line 1: '{plain[0]}' has no type; expected name:type, such as "
                "user_id:token, separated by tabs (for other tables use TableLog)"
            )
        fields = dict(field.strip().rsplit(":", 1) for field in first)
        # like ids, so that nothing that only looks like a number is changed
        as_text = {f"{n}:{t}" for n, t in fields.items() if t != "float"}
        frame, origin = read_table(path, "\t", ids=as_text, quotes=False)
        frame.columns = [c.rsplit(":", 1)[0] for c in frame.columns]
        return frame, origin

    def _table(self, path: Path, key: str) -> pd.DataFrame:
        frame, origin = self._atomic(path)
        return keyed_table(frame, key, self.chosen[key], origin)

    def fingerprint(self) -> str:
        return fingerprint(self, [self.chosen, self.title, self.name], self._files())


class AdjacencyLog(Source):
    """A log in lists: each line is a user and that user's items, separated by blanks; a user alone
    has no items.

    The form of the Gowalla, Yelp2018 and Amazon-Book files of NGCF and LightGCN. With `val` or
    `test`, the log has a `split` column.

    Args:
        train: The lists to learn from.
        test: The lists to measure on, or None.
        val: The lists to choose by, or None.
        name: Short name of the data set; the name of the folder of `train` when None.

    Raises:
        DataError: On reading, if a file is missing or is no list.
    """

    def __init__(
        self,
        train: str | Path,
        test: str | Path | None = None,
        val: str | Path | None = None,
        name: str | None = None,
    ) -> None:
        self.files = {"train": train, "val": val, "test": test}
        self.name = name or Path(train).expanduser().absolute().parent.name or "data"

    def read(self) -> InteractionLog:
        parts = {part: _lists(path) for part, path in self.files.items() if path is not None}
        user, item = (
            typed(
                pa.chunked_array([lists[column] for lists in parts.values()]), is_id=True
            ).to_pandas()
            for column in (0, 1)
        )
        frame = pd.DataFrame({USER: user, ITEM: item})
        if len(parts) > 1:
            sizes = [len(lists[0]) for lists in parts.values()]
            frame[SPLIT] = np.repeat(np.array([*parts]), sizes)
        return InteractionLog(frame, name=self.name, origin=Origin(str(self.files["train"])))

    def fingerprint(self) -> str:
        return fingerprint(self, [self.name], [*self.files.values()])


class FrameLog(Source):
    """A log in a pandas frame.

    Args:
        frame: The interactions; not changed.
        user: Column of the user ids (integers or strings).
        item: Column of the item ids.
        rating: Column of the ratings; None: `rating` if there is one; "": no ratings.
        timestamp: Column of the times; None and "" as for `rating`.
        users: A frame with a row per user, or None.
        items: A frame with a row per item (`title` where known), or None.
        name: Short name of the data set.

    Raises:
        DataError: On reading, with the row and the column of the mistake.
    """

    def __init__(
        self,
        frame: pd.DataFrame,
        user: str = "user",
        item: str = "item",
        rating: str | None = None,
        timestamp: str | None = None,
        users: pd.DataFrame | None = None,
        items: pd.DataFrame | None = None,
        name: str = "frame",
    ) -> None:
        self.frame, self.users, self.items = frame, users, items
        self.chosen = {USER: user, ITEM: item, RATING: rating, TIMESTAMP: timestamp}
        self.name = name

    def read(self) -> InteractionLog:
        tables = []
        for key, table in ((USER, self.users), (ITEM, self.items)):
            if table is not None:
                table = keyed_table(table, key, self.chosen[key], Origin(f"the {key}s table"))
            tables.append(table)
        return build_log(self.frame, Origin("the frame"), self.chosen, *tables, None, self.name)

    def fingerprint(self) -> str:
        digest = hashlib.sha256()
        for frame in (self.frame, self.users, self.items):
            digest.update(frame_digest(frame))
        return fingerprint(self, [self.chosen, self.name, digest.hexdigest()], [])


def _lists(path: str | Path) -> tuple[pa.Array, pa.Array]:
    """Users and items of an adjacency file, one pair per item, as text."""
    lines = [line.split() for line in read_text(path).decode("utf-8").splitlines()]
    lines = [line for line in lines if line]
    users = pa.array([line[0] for line in lines], type=pa.string())
    counts = np.array([len(line) - 1 for line in lines])
    items = pa.array([token for line in lines for token in line[1:]], type=pa.string())
    if not len(items):
        raise DataError(
            f"{path}: no line has an item; expected `user item item ...`, separated by blanks"
        )
    return users.take(pa.array(np.repeat(np.arange(len(lines)), counts))), items


def _all_numbers(names: Sequence[object]) -> bool:
    return bool(pd.to_numeric(pd.Series([*names]), errors="coerce").notna().all())
