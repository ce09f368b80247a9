"""Where a log comes from: tables, RecBole's atomic files, adjacency lists, frames in memory."""

from __future__ import annotations

import glob
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa

from recgnn.data.cache import fingerprint, frame_digest
from recgnn.data.interactions.columns import TITLES, Side, build_log, columns_of, keyed_table
from recgnn.data.interactions.log import ITEM, RATING, SPLIT, TIMESTAMP, USER, WEIGHT, InteractionLog, Source
from recgnn.data.readers.adjacency import adjacency_lists
from recgnn.data.readers.frames import named_frame
from recgnn.data.readers.lists import words_as_json
from recgnn.data.readers.origin import Origin, need_columns
from recgnn.data.readers.rules import Rule
from recgnn.data.readers.tables import open_table, read_table
from recgnn.data.readers.times import Written
from recgnn.data.readers.types import typed
from recgnn.errors import DataError
from recgnn.files import existing_file, existing_files, name_of

_BENCHMARK = re.compile(r"\.(train|valid|val|test)\.inter$")

__all__ = ["AdjacencyLog", "AtomicLog", "FrameLog", "Source", "TableLog"]


class TableLog(Source):
    """A log in one table: csv, tsv, any other separator, JSON lines, or Parquet; also several files of one layout.

    Other columns are kept as context; a column `split` (train, val, test) is the data's own split. A column that is
    not chosen but has one of our names (`user`, `item`, `rating`, `timestamp`, `weight`) is left out.

    Args:
        path: The interactions: a file, a pattern such as `logs/*.csv`, or an address such as `s3://bucket/log.parquet`.
        user: Column of the user ids; or several, as [userId, movieId] where tags are the items: such a user is called
            `7,260`, and each part has a meaning of its own (see `PITF`).
        item: Column of the item ids.
        rating: Column of the ratings; None: `rating` if there is one; "": no ratings.
        timestamp: Column of the times, in any notation; None and "" as for `rating`.
        separator: Of the fields of `path`, such as "," or "::"; found out when None.
        columns: Names of the columns of a file without a header line.
        users: A table with a row per user, or None: a file, or a mapping of its path, id (the column of the ids),
            columns (of a file without a header line) and separator.
        items: A table with a row per item, likewise.
        title: Column of the titles in the items table (or, without one, in the interactions); None: `title`,
            `movie_title` or `name` if there is one.
        name: Short name of the data set; the file's stem when None.
        quotes: Whether a field may stand in double quotes; false where quotes are characters like others.
        encoding: Of the files, such as latin-1; UTF-8, or UTF-16 with a mark, when None.
        weight: Column of the rows' weights, such as play counts, from 0 up; None: `weight` if there is one; "": none.
        keep: Which rows of `path` are read: a rule such as `behavior == 'buy'`; all when None.
        on_bad_rows: `refuse`, or `drop` and count rows of `path` that are broken (another number of fields).
        time_format: How times are written, as of `strptime`: `%d/%m/%Y %H:%M`, or `ISO8601`; None: found out.
        time_unit: Of times that are numbers: `s`, `ms`, `us`, `ns`, or others (see `Written`); None: found out.
        time_zone: Of times that name none, such as `Europe/Paris`; UTC when None.
        on_missing: Rows without a time: `refuse`; `drop`; `keep` has them in train, and in no history.
        decimal: What stands before the fraction of numbers in text: `.`, or `,` as in 3,5.

    Raises:
        DataError: On reading, with the file, the line and the column of the mistake.
    """

    def __init__(
        self,
        path: str | Path,
        user: str | list[str] = "user",
        item: str = "item",
        rating: str | None = None,
        timestamp: str | None = None,
        separator: str | None = None,
        columns: Sequence[str] | None = None,
        users: str | Path | dict | None = None,
        items: str | Path | dict | None = None,
        title: str | None = None,
        name: str | None = None,
        quotes: bool = True,
        encoding: str | None = None,
        weight: str | None = None,
        keep: str | None = None,
        on_bad_rows: Literal["refuse", "drop"] = "refuse",
        time_format: str | None = None,
        time_unit: str | None = None,
        time_zone: str | None = None,
        on_missing: Literal["refuse", "drop", "keep"] = "refuse",
        decimal: Literal[".", ","] = ".",
    ) -> None:
        self.path, self.decimal = path, decimal
        self.keep, self.on_bad_rows = None if keep is None else Rule(keep, "keep"), on_bad_rows
        self.chosen: Mapping[str, Any] = {USER: user, ITEM: item, RATING: rating, TIMESTAMP: timestamp, WEIGHT: weight}
        self.separator = separator
        self.columns = None if columns is None else list(columns)
        self.users, self.items, self.title = Side.of(users, USER), Side.of(items, ITEM), title
        self.name = name or name_of(path)
        self.quotes, self.encoding = quotes, encoding
        self.written = Written(time_format, time_unit, time_zone, on_missing)

    def read(self) -> InteractionLog:
        ids = columns_of(self.chosen[USER], self.chosen[ITEM])
        written = (self.separator, self.columns, ids, self.quotes, self.encoding, self.on_bad_rows, self.keep)
        frame, origin = read_table(self.path, *written, self.decimal)
        if self.columns is None and not {*ids} <= {*frame.columns} and _all_numbers(frame.columns):
            raise DataError(
                f"{origin.name}: the first line holds numbers, not names: {', '.join(frame.columns)}; name the columns "
                "of a file without a header line with columns=[user, item, ...]"
            )
        users, items = self._table(self.users, USER), self._table(self.items, ITEM)
        return build_log(frame, origin, self.chosen, users, items, self.title, self.name, self.written)

    def _table(self, side: Side | None, key: str) -> pd.DataFrame | None:
        return side and side.read(key, str(self.chosen[key]), self.quotes, self.encoding, self.decimal)

    def fingerprint(self) -> str:
        options = [self.chosen, self.separator, self.columns, self.title, self.name, self.quotes, self.encoding]
        options += [self.decimal, repr(self.keep), self.on_bad_rows, repr(self.written)]
        sides = (self.users, self.items)
        options += [repr(side and side[1:]) for side in sides]
        return fingerprint(self, options, [*existing_files(self.path), *(side and side.path for side in sides)])


class AtomicLog(Source):
    """A log in RecBole's atomic files: `x.inter`, and `x.user` and `x.item` beside it where they are.

    Its benchmark files, `x.train.inter`, `x.valid.inter` and `x.test.inter`, are the parts of the log.

    Fields are separated by tabs, the header holds `name:type` (token, token_seq, float, float_seq); token columns
    become integers where all their values are, and token_seq are lists, but for titles. A float_seq is a vector, which
    no field can be: it is left out, and told.

    Args:
        path: The `.inter` file (of benchmark files any one), or a folder with one log.
        user: Field of the user ids.
        item: Field of the item ids.
        rating: Field of the ratings; None: `rating` if there is one; "": no ratings.
        timestamp: Field of the times; None and "" as for `rating`.
        title: Field of the titles in the `.item` file; None: `title`, `movie_title` or `name`.
        name: Short name of the data set; the file's stem when None.
        weight: Field of the rows' weights; None and "" as for `rating`.
        time_format: How times are written, as of `strptime`: `%d/%m/%Y %H:%M`, or `ISO8601`; None: found out.
        time_unit: Of times that are numbers: `s`, `ms`, `us`, `ns`, or others (see `Written`); None: found out.
        time_zone: Of times that name none, such as `Europe/Paris`; UTC when None.
        on_missing: Rows without a time: `refuse`; `drop`; `keep` has them in train, and in no history.

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
        weight: str | None = None,
        time_format: str | None = None,
        time_unit: str | None = None,
        time_zone: str | None = None,
        on_missing: Literal["refuse", "drop", "keep"] = "refuse",
    ) -> None:
        self.path = path
        self.chosen = {USER: user, ITEM: item, RATING: rating, TIMESTAMP: timestamp, WEIGHT: weight}
        self.title, self._vectors = title, list[str]()
        self.name = name or _BENCHMARK.sub("", Path(path).name).removesuffix(".inter") or "data"
        self.written = Written(time_format, time_unit, time_zone, on_missing)

    def read(self) -> InteractionLog:
        self._vectors = []
        interactions, *tables = self._files()
        names = str(interactions[0])
        if len(interactions) > 1:
            names = _BENCHMARK.sub(".*.inter", glob.escape(names))
        frame, origin = self._atomic(names)
        if len(interactions) > 1:
            parts = sorted(interactions)  # as a pattern has them
            sizes = [sum(t.num_rows for t in open_table(part, "\t", quotes=False).tables()) for part in parts]
            frame[SPLIT] = np.repeat([part.name.split(".")[-2] for part in parts], sizes)
        need_columns((str(self.chosen[USER]), str(self.chosen[ITEM])), frame.columns, origin.name)
        users, items = (self._table(path, key) for path, key in zip(tables, (USER, ITEM), strict=True))
        if self._vectors:
            told = f"columns of vectors (float_seq), which no field can be, are left out: {', '.join(self._vectors)}"
            origin = replace(origin, notes=(*origin.notes, told))
        return build_log(frame, origin, self.chosen, users, items, self.title, self.name, self.written)

    def _files(self) -> tuple[list[Path], Path | None, Path | None]:
        """Return the .inter files and, or None, the .user and the .item file."""
        path = Path(self.path).expanduser()
        if path.is_dir():
            found = sorted(path.glob("*.inter"))
            if len({_BENCHMARK.sub(".inter", p.name) for p in found}) != 1:
                names = ", ".join(p.name for p in found) or "none"
                raise DataError(f"{path}: expected one .inter file, found {names}; give the file itself")
            path = found[0]
        path = existing_file(path)
        stem = path.with_name(_BENCHMARK.sub("", path.name).removesuffix(".inter"))
        users, items = (stem.with_name(f"{stem.name}.{kind}") for kind in ("user", "item"))
        parts = [p for p in path.parent.glob(f"{glob.escape(stem.name)}.*.inter") if _BENCHMARK.search(p.name)]
        files = sorted(parts) if _BENCHMARK.search(path.name) else [path]
        return files, users if users.is_file() else None, items if items.is_file() else None

    def _atomic(self, path: str | Path) -> tuple[pd.DataFrame, Origin]:
        header = open_table(path, "\t", quotes=False).names
        plain = [field for field in header if ":" not in field]
        if plain:
            raise DataError(
                f"{path}, line 1: '{plain[0]}' has no type; expected name:type, such as user_id:token, separated by "
                "tabs (for other tables use TableLog)"
            )
        # like ids, so that nothing that only looks like a number is changed
        as_text = [field for field in header if field.rsplit(":", 1)[1] != "float"]
        frame, origin = read_table(path, "\t", ids=as_text, quotes=False)
        kinds = dict(field.rsplit(":", 1) for field in header)
        frame = frame.set_axis([*kinds], axis=1)
        for name, kind in kinds.items():
            if kind == "token_seq" and name not in (TITLES if self.title is None else [self.title]):
                frame[name] = words_as_json(frame[name])
        vectors = [name for name, kind in kinds.items() if kind == "float_seq"]
        self._vectors += vectors
        return frame.drop(columns=vectors), origin

    def _table(self, path: Path | None, key: str) -> pd.DataFrame | None:
        if path is None:
            return None
        frame, origin = self._atomic(path)
        return keyed_table(frame, key, str(self.chosen[key]), origin)

    def fingerprint(self) -> str:
        interactions, *tables = self._files()
        options = [self.chosen, self.title, self.name, self.written]
        return fingerprint(self, options, [*interactions, *tables])


class AdjacencyLog(Source):
    """A log in lists: each line is a user and that user's items, separated by blanks; a user alone has no items.

    The form of the Gowalla, Yelp2018 and Amazon-Book files of NGCF and LightGCN. With `val` or `test`, the log has a
    `split` column.

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
        parts = {part: adjacency_lists(path) for part, path in self.files.items() if path is not None}
        user, item = (
            typed(pa.chunked_array([lists[column] for lists in parts.values()]), is_id=True).to_pandas()
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
    """A log in a frame of pandas or Polars, a PyArrow table or a DuckDB relation.

    Args:
        frame: The interactions; not changed.
        user: Column of the user ids (integers or strings); or several, as of `TableLog`.
        item: Column of the item ids.
        rating: Column of the ratings; None: `rating` if there is one; "": no ratings.
        timestamp: Column of the times; None and "" as for `rating`.
        users: A frame with a row per user, or None.
        items: A frame with a row per item (`title` where known), or None.
        name: Short name of the data set.
        weight: Column of the rows' weights, from 0 up; None and "" as for `rating`.
        time_format: How times are written, as of `strptime`: `%d/%m/%Y %H:%M`, or `ISO8601`; None: found out.
        time_unit: Of times that are numbers: `s`, `ms`, `us`, `ns`, or others (see `Written`); None: found out.
        time_zone: Of times that name none, such as `Europe/Paris`; UTC when None.
        on_missing: Rows without a time: `refuse`; `drop`; `keep` has them in train, and in no history.

    Raises:
        DataError: On reading, with the row and the column of the mistake.
    """

    def __init__(
        self,
        frame: Any,
        user: str | list[str] = "user",
        item: str = "item",
        rating: str | None = None,
        timestamp: str | None = None,
        users: Any = None,
        items: Any = None,
        name: str = "frame",
        weight: str | None = None,
        time_format: str | None = None,
        time_unit: str | None = None,
        time_zone: str | None = None,
        on_missing: Literal["refuse", "drop", "keep"] = "refuse",
    ) -> None:
        self.frame = named_frame(frame)
        self.users, self.items = (None if table is None else named_frame(table) for table in (users, items))
        self.chosen: Mapping[str, Any] = {
            USER: user, ITEM: item, RATING: rating, TIMESTAMP: timestamp, WEIGHT: weight
        }  # fmt: skip
        self.name = name
        self.written = Written(time_format, time_unit, time_zone, on_missing)

    def read(self) -> InteractionLog:
        users, items = self._table(self.users, USER), self._table(self.items, ITEM)
        return build_log(self.frame, Origin("the frame"), self.chosen, users, items, None, self.name, self.written)

    def _table(self, table: pd.DataFrame | None, key: str) -> pd.DataFrame | None:
        named = str(self.chosen[key])
        return None if table is None else keyed_table(table, key, named, Origin(f"the {key}s table"))

    def fingerprint(self) -> str:
        digest = hashlib.sha256()
        for frame in (self.frame, self.users, self.items):
            digest.update(frame_digest(frame))
        return fingerprint(self, [self.chosen, self.name, self.written, digest.hexdigest()], [])


def _all_numbers(names: Iterable[object]) -> bool:
    return bool(pd.to_numeric(pd.Series([*names]), errors="coerce").notna().all())
