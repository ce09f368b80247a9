"""Public logs that are tables: what their files and columns are called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from recgnn.data.datasets.base import Layout, PublicLog
from recgnn.data.interactions.columns import build_log, columns_of, keyed_table
from recgnn.data.interactions.log import ITEM, USER, InteractionLog
from recgnn.data.readers.origin import Origin
from recgnn.data.readers.tables import read_table


@dataclass(frozen=True)
class TableFile:
    """A file, how it is written, and what its columns mean.

    Args:
        file: Its name in the folder, or a pattern of several.
        chosen: Our names of columns by the file's: user, item, rating, timestamp, weight.
        columns: The names of all columns, where there is no header line.
        separator: Of the fields; found out when None.
        quotes: Whether fields may stand in double quotes.
        encoding: Of the text; UTF-8 when None.
        on_bad_rows: `refuse`, or `drop` and count broken rows.
        optional: Whether the data set can be read without it.
        kept: The columns that are of use; all when None.
    """

    file: str
    chosen: Mapping[str, Any] = field(default_factory=dict)
    columns: Sequence[str] | None = None
    separator: str | None = None
    quotes: bool = True
    encoding: str | None = None
    on_bad_rows: str = "refuse"
    optional: bool = True
    kept: Sequence[str] | None = None

    def read(self, folder: Path) -> tuple[pd.DataFrame, Origin]:
        """Read the file, with its own names of columns."""
        ids = columns_of(*(self.chosen[key] for key in (USER, ITEM) if key in self.chosen))
        path = folder / self.file
        frame, origin = read_table(
            path, self.separator, self.columns, ids, self.quotes, self.encoding, self.on_bad_rows
        )
        return frame if self.kept is None else frame[[c for c in frame.columns if c in self.kept]], origin

    def table(self, folder: Path, key: str) -> pd.DataFrame | None:
        """Read a table of users or of items (`key` is its column of ids); None where it is not there."""
        if not (folder / self.file).is_file():
            return None
        frame, origin = self.read(folder)
        return keyed_table(frame, key, self.chosen[key], origin)


class PublicTable(PublicLog):
    """A public log in one table, perhaps with one of users and one of items; a subclass says which files these are.

    Args:
        root: A folder with the owner's files (unpacked or as a zip file); None: they are downloaded once, where the
            owner lets them be.
        cache_dir: Folder of the downloads; $RECGNN_CACHE or ~/.cache/recgnn when None.

    Attributes:
        log: The interactions, in one of several forms of which the first that is there is read.
        users: The table of users, or None.
        items: The table of items, or None.
        title: The column of the items' titles.
    """

    log: Sequence[TableFile]
    users: TableFile | None = None
    items: TableFile | None = None
    title: str | None = None

    def layouts(self) -> list[Layout]:
        others = tuple(f"?{table.file}" for table in (self.users, self.items) if table is not None)
        return [((form.file, *others), self._reader(form)) for form in self.log]

    def _reader(self, form: TableFile):
        def read(folder: Path) -> InteractionLog:
            frame, origin = form.read(folder)
            return self.built(folder, frame, origin, form.chosen)

        return read

    def built(self, folder: Path, frame: pd.DataFrame, origin: Origin, chosen: Mapping[str, Any]) -> InteractionLog:
        """Build the log of a frame with the file's own names of columns.

        Args:
            folder: Where the files lie.
            frame: The rows.
            origin: Names their places, for errors.
            chosen: Arguments for `InteractionLog`.
        """
        users = None if self.users is None else self.users.table(folder, USER)
        items = None if self.items is None else self.items.table(folder, ITEM)
        title = None if items is None or self.title is None or self.title not in items else self.title
        return build_log(frame, origin, chosen, users, items, title, self.name, self.written)
