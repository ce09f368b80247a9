"""The one reader of tables: text, JSON lines or Parquet, whole or in blocks of rows, for whoever asks."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import pandas as pd
import pyarrow as pa

from recgnn.data.readers.jsonlines import JsonTable, is_json
from recgnn.data.readers.lists import lists_as_json
from recgnn.data.readers.origin import Origin, need_columns
from recgnn.data.readers.parquet import ParquetTable, is_parquet
from recgnn.data.readers.rules import Rule
from recgnn.data.readers.text import TextTable
from recgnn.data.readers.types import IdKind, Kind, as_kind, frame_of, id_kind_of, kind_of, typed, wider
from recgnn.errors import DataError
from recgnn.files import existing_files

ROWS = 2**16  # of a block
SMALL = 2**26  # bytes of text that are held, so that they need not be read twice


class SeveralTables:
    """Several files with the same columns as one table.

    Args:
        path: The pattern that names them.
        parts: Their tables, of one kind.

    Raises:
        DataError: If their kinds or columns differ.
    """

    def __init__(self, path: Path, parts: Sequence[TextTable | ParquetTable | JsonTable]) -> None:
        self.path, self.parts, self.names = path, parts, parts[0].names
        for part in parts[1:]:
            if type(part) is not type(parts[0]):
                raise DataError(f"{path}: {parts[0].path} and {part.path} are not of one kind (text, JSON, Parquet)")
            need_columns(self.names, part.names, str(part.path), f"{parts[0].path} has it")
            need_columns(part.names, self.names, str(parts[0].path), f"{part.path} has it")
            if isinstance(part, ParquetTable):
                part.check_types(cast(ParquetTable, parts[0]))

    @property
    def bad(self) -> list[str]:
        """The rows that were dropped, as text."""
        return [row for part in self.parts for row in rows_dropped(part)]

    def tables(self, *args: Any, **kwargs: Any) -> Iterator[pa.Table]:
        """Yield the rows of one file after the other; see the kinds of tables."""
        self.counts = [0]
        for part in self.parts:
            for table in part.tables(*args, **kwargs):
                self.counts[-1] += table.num_rows
                yield table.select([name for name in self.names if name in table.column_names])
            self.counts.append(0)

    def line_of(self, row: int) -> Any:
        """Return the place of a row, of those that have been read: `12 of part-3.csv`.

        Raises:
            IndexError: If it has not been read.
        """
        for part, count in zip(self.parts, self.counts, strict=False):
            if row < count:
                return f"{part.line_of(row)} of {part.path.name}"
            row -= count
        raise IndexError(row)


Table = TextTable | ParquetTable | JsonTable | SeveralTables


def is_text(table: Table) -> bool:
    """Return whether a table's columns are texts whose types are to be found."""
    return isinstance(table.parts[0] if isinstance(table, SeveralTables) else table, TextTable)


def lines_of(table: Table) -> Callable[[int], Any] | None:
    """Return what tells the line of a row; None where there are no lines."""
    first = table.parts[0] if isinstance(table, SeveralTables) else table
    return None if isinstance(first, ParquetTable) else table.line_of


def rows_dropped(table: Table) -> list[str]:
    """Return the rows that were dropped in the last reading, as text."""
    return [] if isinstance(table, ParquetTable) else table.bad


def open_table(
    path: str | Path,
    separator: str | None = None,
    columns: Sequence[str] | None = None,
    quotes: bool = True,
    encoding: str | None = None,
    what: str = "file",
    on_bad_rows: str = "refuse",
    decimal: str = ".",
) -> Table:
    """Open a table of text (csv, tsv, any separator), JSON lines, both also gzipped, or Parquet, known by its content.

    Args:
        path: The file, a pattern of several, or an address (see `existing_files`).
        separator: Of the fields of text; found out when None.
        columns: Names of the columns of a text file without a header line.
        quotes: Whether fields of text may stand in double quotes.
        encoding: Of text; UTF-8, or UTF-16 with a mark, when None.
        what: What to call the file where it is missing.
        on_bad_rows: Whether rows that are no such rows are refused, or dropped and counted.
        decimal: What stands before the fraction of numbers in text: `.` or `,`.

    Raises:
        DataError: If the file is missing, empty or neither.
    """

    def one(file: Path) -> TextTable | ParquetTable | JsonTable:
        if is_parquet(file):
            return ParquetTable(file)
        if separator is None and columns is None and is_json(file, encoding):
            return JsonTable(file, encoding, on_bad_rows)
        return TextTable(file, separator, columns, quotes, encoding, on_bad_rows, decimal)

    found = [one(file) for file in existing_files(path, what)]
    return found[0] if len(found) == 1 else SeveralTables(Path(path), found)


def read_table(
    path: str | Path,
    separator: str | None = None,
    columns: Sequence[str] | None = None,
    ids: Collection[str] = (),
    quotes: bool = True,
    encoding: str | None = None,
    on_bad_rows: str = "refuse",
    keep: Rule | None = None,
    decimal: str = ".",
) -> tuple[pd.DataFrame, Origin]:
    """Read a whole table.

    Text columns become int64 or float64 only where nothing is lost (`007` stays text); integers with gaps stay
    integers; lists are JSON.

    Args:
        path, separator, columns, quotes, encoding, on_bad_rows, decimal: See `open_table`.
        ids: Columns that hold ids: never null, never float.
        keep: Which rows are read; all when None.

    Returns:
        The frame, and where it came from, with notes of what was left out.

    Raises:
        DataError: If the file cannot be read or has no rows; names the line of the mistake.
    """
    table = open_table(path, separator, columns, quotes, encoding, on_bad_rows=on_bad_rows, decimal=decimal)
    found, kept = list(table.tables()), None
    if keep is not None:
        found, kept = _kept(found, keep, Origin(str(table.path), lines_of(table)))
    if is_text(table) and not sum(map(len, found)):
        raise DataError(f"{table.path}: has a header line and no rows" + (f" with {keep.text}" if keep else ""))
    joined = pa.concat_tables(found, promote_options="permissive")
    found.clear()
    if is_text(table):
        joined = pa.table({n: typed(joined[n], is_id=n in ids) for n in joined.column_names})
    line = lines_of(table)
    if kept is not None and line is not None:
        all_lines, rows = line, kept.rows
        line = lambda row: all_lines(int(rows[row]))  # noqa: E731
    notes = [*bad_rows_note(table), *([kept.note] if kept is not None else [])]
    return frame_of(lists_as_json(joined)), Origin(str(table.path), line, notes=tuple(notes))


def bad_rows_note(table: Table) -> list[str]:
    """Return lines about the rows that were dropped in the last reading, and the columns that are left out, if any."""
    parts = table.parts if isinstance(table, SeveralTables) else [table]
    objects = dict.fromkeys(name for part in parts if isinstance(part, JsonTable) for name in part.objects)
    told = [f"{table.path}: columns that hold objects are left out: {', '.join(objects)}"] if objects else []
    if not (bad := rows_dropped(table)):
        return told
    shown = ", ".join(repr(row[:40]) for row in bad[:3])
    return [*told, f"{table.path}: {len(bad):,} rows that cannot be read are left out, such as {shown}"]


class Kept(NamedTuple):
    """Which rows of a table were kept, ascending, and a line about it."""

    rows: np.ndarray
    note: str


def _kept(tables: list[pa.Table], rule: Rule, origin: Origin) -> tuple[list[pa.Table], Kept]:
    """Return the rows that a rule means."""
    found, rows, start = [], [], 0
    for table in tables:
        rule.check(table.column_names, origin.name)
        own = replace(origin, start=start)
        mask = rule.mask(frame_of(table.select(rule.columns)), own)
        found.append(table.filter(pa.array(mask)))
        rows.append(np.flatnonzero(mask) + start)
        start += table.num_rows
    count = sum(map(len, rows))
    return found, Kept(np.concatenate(rows), f"{start - count:,} of {start:,} rows are left out (keep: {rule.text})")


def table_blocks(
    table: Table, chosen: Collection[str] | None = None, keep: Rule | None = None, ids: Collection[str] = (),
    names: Collection[str] = (),
) -> Iterator[pd.DataFrame]:
    """Read a table as frames of at most `ROWS` rows, every column of one type in all of them.

    Args:
        table: See `open_table`.
        chosen: Which columns are wanted; all when None.
        keep: Which rows are read; all when None.
        ids: Columns that hold ids, as of `read_table`.
        names: Columns that name something, and may be empty; see `kind_of`.

    Raises:
        DataError: If the file cannot be read or has no rows; names the line or the row of the mistake.
    """
    if keep is not None:
        rule, origin = keep, Origin(str(table.path))
        rule.check(table.names, origin.name)
        wanted = None if chosen is None else {*chosen, *rule.columns}
        for frame in table_blocks(table, wanted, ids=ids, names=names):
            frame = frame[rule.mask(frame, origin)]
            if len(frame):
                yield frame if chosen is None else frame[[c for c in frame.columns if c in chosen]]
        return
    if not is_text(table):
        for batch in cast(ParquetTable, table).tables(chosen, ROWS):
            yield from slices(frame_of(lists_as_json(batch)))
        return
    kinds, id_kinds = dict[str, Kind | None](), dict[str, IdKind]()
    held: list[pa.Table] | None = []
    for piece in table.tables(chosen):
        if held is not None:
            held.append(piece)
            if sum(part.nbytes for part in held) <= SMALL:
                continue
        for part in [piece] if held is None else held:
            for name in part.column_names:
                if name in ids:
                    if id_kinds.get(name) != "text":
                        own = id_kind_of(part[name])
                        id_kinds[name] = own if id_kinds.get(name, own) == own else "text"
                elif kinds.get(name) != "text":
                    kinds[name] = wider(kinds.get(name), kind_of(part[name], name in names))
        held = None
    if held is not None and not held:
        raise DataError(f"{table.path}: has a header line and no rows")
    if held:
        joined = pa.concat_tables(held)
        held.clear()
        made = {
            n: as_kind(joined[n], "text") if n in names and kind_of(joined[n], True) == "text"
            else typed(joined[n], is_id=n in ids) for n in joined.column_names
        }  # fmt: skip
        yield from slices(frame_of(pa.table(made)))
        return
    for piece in table.tables(chosen):
        made = {n: as_kind(piece[n], id_kinds.get(n) or kinds.get(n) or "text") for n in piece.column_names}
        made |= {name: piece[name] for name, kind in id_kinds.items() if kind == "text"}
        yield from slices(frame_of(pa.table(made)))


def text_blocks(
    path: str | Path,
    columns: Iterable[str] = (),
    remedy: str = "",
    what: str = "table",
    header: Sequence[str] | None = None,
    decimal: str = ".",
) -> Iterator[pd.DataFrame]:
    """Read a table as frames of at most `ROWS` rows, every column of a text file as it is written.

    What the values mean is left to the encoding that they are read for. A table without rows is one empty frame.

    Args:
        path: The file.
        columns: Columns that it must have.
        remedy: How to mend it where one is missing.
        what: What to call the file where it is missing.
        header: Names of the columns of a text file without a header line.
        decimal: What stands before the fraction of numbers in text: `.` or `,`.

    Raises:
        DataError: If the file cannot be read, or a column is missing.
    """
    table = open_table(path, columns=header, what=what, decimal=decimal)
    need_columns(columns, table.names, str(path), remedy)
    rows = False
    for piece in table.tables() if is_text(table) else cast(ParquetTable, table).tables(rows=ROWS):
        rows = True
        yield from slices(frame_of(piece))
    if not rows:
        yield pd.DataFrame({name: pd.Series([], dtype="str") for name in table.names})


def slices(frame: pd.DataFrame, chosen: Collection[str] | None = None) -> Iterator[pd.DataFrame]:
    """Cut a frame in blocks of at most `ROWS` rows."""
    frame = frame if chosen is None else frame[[c for c in frame.columns if c in chosen]]
    for start in range(0, max(1, len(frame)), ROWS):
        yield frame.iloc[start : start + ROWS]


def numbered(blocks: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
    """Yield blocks whose index counts the rows of all of them."""
    start = 0
    for block in blocks:
        yield block.set_axis(pd.RangeIndex(start, start + len(block)), axis=0)
        start += len(block)
