"""The one reader of tables: text or Parquet, whole or in blocks of rows, for whoever asks."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa

from recgnn.data.readers.origin import Origin, need_columns
from recgnn.data.readers.parquet import ParquetTable, is_parquet
from recgnn.data.readers.text import TextTable
from recgnn.data.readers.types import Kind, as_kind, frame_of, kind_of, typed, wider
from recgnn.errors import DataError
from recgnn.files import existing_file

ROWS = 2**16  # of a block
SMALL = 2**26  # bytes of text that are held, so that they need not be read twice


def open_table(
    path: str | Path,
    separator: str | None = None,
    columns: Sequence[str] | None = None,
    quotes: bool = True,
    encoding: str | None = None,
    what: str = "file",
) -> TextTable | ParquetTable:
    """Open a table of text (csv, tsv, any separator, also gzipped) or Parquet, which is recognised by its content.

    Args:
        path: The file.
        separator: Of the fields of text; found out when None.
        columns: Names of the columns of a text file without a header line.
        quotes: Whether fields of text may stand in double quotes.
        encoding: Of text; UTF-8, or UTF-16 with a mark, when None.
        what: What to call the file where it is missing.

    Raises:
        DataError: If the file is missing, empty or neither.
    """
    file = existing_file(path, what)
    return ParquetTable(file) if is_parquet(file) else TextTable(file, separator, columns, quotes, encoding)


def read_table(
    path: str | Path,
    separator: str | None = None,
    columns: Sequence[str] | None = None,
    ids: Collection[str] = (),
    quotes: bool = True,
    encoding: str | None = None,
) -> tuple[pd.DataFrame, Origin]:
    """Read a whole table.

    Text columns become int64 or float64 only where nothing is lost (`007` stays text); integers with gaps stay
    integers.

    Args:
        path, separator, columns, quotes, encoding: See `open_table`.
        ids: Columns that hold ids: never null, never float.

    Returns:
        The frame, and where it came from.

    Raises:
        DataError: If the file cannot be read or has no rows; names the line of the mistake.
    """
    table = open_table(path, separator, columns, quotes, encoding)
    origin = Origin(str(table.path), table.line_of if isinstance(table, TextTable) else None)
    found = list(table.tables())
    if isinstance(table, ParquetTable):
        return frame_of(pa.concat_tables(found)), origin
    if not found:
        raise DataError(f"{table.path}: has a header line and no rows")
    joined = pa.concat_tables(found)
    found.clear()
    return frame_of(pa.table({n: typed(joined[n], is_id=n in ids) for n in joined.column_names})), origin


def table_blocks(table: TextTable | ParquetTable, chosen: Collection[str] | None = None) -> Iterator[pd.DataFrame]:
    """Read a table as frames of at most `ROWS` rows, every column of one type in all of them.

    Args:
        table: See `open_table`.
        chosen: Which columns are wanted; all when None.

    Raises:
        DataError: If the file cannot be read or has no rows; names the line or the row of the mistake.
    """
    if isinstance(table, ParquetTable):
        for batch in table.tables(chosen, ROWS):
            yield from slices(frame_of(batch))
        return
    kinds: dict[str, Kind | None] = {}
    held: list[pa.Table] | None = []
    for piece in table.tables(chosen):
        if held is not None:
            held.append(piece)
            if sum(part.nbytes for part in held) <= SMALL:
                continue
        for part in [piece] if held is None else held:
            for name in part.column_names:
                if kinds.get(name) != "text":
                    kinds[name] = wider(kinds.get(name), kind_of(part[name]))
        held = None
    if held is not None and not held:
        raise DataError(f"{table.path}: has a header line and no rows")
    if held:
        joined = pa.concat_tables(held)
        held.clear()
        yield from slices(frame_of(pa.table({name: typed(joined[name]) for name in joined.column_names})))
        return
    for piece in table.tables(chosen):
        made = {name: as_kind(piece[name], kinds[name] or "text") for name in piece.column_names}
        yield from slices(frame_of(pa.table(made)))


def text_blocks(
    path: str | Path, columns: Iterable[str] = (), remedy: str = "", what: str = "table"
) -> Iterator[pd.DataFrame]:
    """Read a table as frames of at most `ROWS` rows, every column of a text file as it is written.

    What the values mean is left to the encoding that they are read for. A table without rows is one empty frame.

    Args:
        path: The file.
        columns: Columns that it must have.
        remedy: How to mend it where one is missing.
        what: What to call the file where it is missing.

    Raises:
        DataError: If the file cannot be read, or a column is missing.
    """
    table = open_table(path, what=what)
    need_columns(columns, table.names, str(path), remedy)
    rows = False
    for piece in table.tables() if isinstance(table, TextTable) else table.tables(rows=ROWS):
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
