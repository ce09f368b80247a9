"""Tables in blocks of rows, so that memory does not grow with their length."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from recgnn.data.readers.tables import first_line, is_parquet, null_text, numbers_of, read_table, sniff, typed
from recgnn.errors import DataError
from recgnn.files import existing_file

ROWS = 2**16  # of a block
SMALL = 2**26  # bytes of text that are read at once
PIECE = 2**24  # bytes of longer text, read at a time


def table_blocks(
    path: str | Path,
    separator: str | None = None,
    columns: Sequence[str] | None = None,
    chosen: Sequence[str] | None = None,
) -> Iterator[pd.DataFrame]:
    """A table of text or Parquet as frames of at most `ROWS` rows, every column of one type in all of them.

    Args:
        path: The file.
        separator: Of the fields; found out when None.
        columns: Names of the columns of a file without a header line.
        chosen: Which columns are wanted; all when None.

    Raises:
        DataError: If the file is missing, empty or broken.
    """
    path = existing_file(path)
    if is_parquet(path):
        yield from parquet_blocks(path, chosen)
    elif path.stat().st_size <= SMALL or path.suffix == ".gz":
        yield from slices(read_table(path, separator, columns)[0], chosen)
    else:
        yield from _text_blocks(path, separator, columns, chosen)


def slices(frame: pd.DataFrame, chosen: Sequence[str] | None = None) -> Iterator[pd.DataFrame]:
    """A frame in blocks."""
    frame = frame if chosen is None else frame[[c for c in frame.columns if c in chosen]]
    for start in range(0, max(1, len(frame)), ROWS):
        yield frame.iloc[start : start + ROWS]


def parquet_blocks(path: Path, chosen: Sequence[str] | None = None) -> Iterator[pd.DataFrame]:
    """A Parquet file in blocks, without a saved index; one empty frame where it has no rows.

    Raises:
        DataError: If it is broken; names the row that could not be read any more.
    """
    row = 0
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as table:
            names = [n for n in table.schema_arrow.names if not re.fullmatch(r"__index_level_\d+__", n)]
            names = names if chosen is None else [n for n in names if n in chosen]
            if not table.metadata.num_rows:
                yield frame_of(table.schema_arrow.empty_table().select(names))
            for batch in batches_of(table, names):
                yield frame_of(pa.Table.from_batches([batch]))
                row += batch.num_rows
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: is no readable Parquet file, from row {row + 1} on: {first_line(error)}") from error


def batches_of(table: pq.ParquetFile, columns: list[str] | None = None, rows: int | None = None) -> Iterator[object]:
    """The record batches of a file, some row groups at a time: read at once, Arrow would keep what it has read."""
    rows = rows or ROWS
    groups, count = [], 0
    for group in range(table.num_row_groups):
        groups.append(group)
        count += table.metadata.row_group(group).num_rows
        if count >= rows or group == table.num_row_groups - 1:
            yield from table.iter_batches(rows, row_groups=groups, columns=columns)
            groups, count = [], 0


def frame_of(table: pa.Table) -> pd.DataFrame:
    """A table as a frame; integers with gaps stay integers."""
    frame = {}
    for name in table.column_names:
        column = table[name]
        gaps = pa.types.is_integer(column.type) and column.null_count
        kinds = {pa.int64(): pd.Int64Dtype(), pa.int32(): pd.Int32Dtype(), pa.uint64(): pd.UInt64Dtype()}
        frame[name] = column.to_pandas(types_mapper=kinds.get) if gaps else column.to_pandas()
    return pd.DataFrame(frame, index=pd.RangeIndex(table.num_rows))


def _text_blocks(
    path: Path, separator: str | None, columns: Sequence[str] | None, chosen: Sequence[str] | None
) -> Iterator[pd.DataFrame]:
    """A long table of text: read once for the columns' types, and once for the values."""
    with open(path, "rb") as file:
        separator = separator or ("\t" if path.suffix == ".tsv" else sniff(file.read(2**16)))
    kinds: dict[str, str] = {}
    for table in _texts(path, separator, columns):
        for name in table.column_names:
            if kinds.get(name) != "text" and not null_text(table[name]):
                found = {pa.int64(): "integer", pa.float64(): "float"}.get(typed(table[name]).type, "text")
                kinds[name] = _wider(kinds.get(name, found), found)
    for table in _texts(path, separator, columns):
        names = [n for n in table.column_names if chosen is None or n in chosen]
        columns_of = {n: _as_kind(table[n], kinds.get(n, "text")) for n in names}
        yield from slices(frame_of(pa.table(columns_of)))


def _wider(one: str, other: str) -> str:
    return max(one, other, key=["integer", "float", "text"].index)


def _as_kind(values: pa.ChunkedArray, kind: str) -> pa.ChunkedArray:
    if kind == "text":
        trimmed = pa.compute.utf8_trim_whitespace(values)
        return pa.compute.if_else(pa.compute.equal(trimmed, ""), pa.scalar(None, pa.string()), trimmed)
    return numbers_of(values).cast(pa.int64() if kind == "integer" else pa.float64())


def _texts(path: Path, separator: str, columns: Sequence[str] | None) -> Iterator[pa.Table]:
    """The fields as text, in pieces."""
    read = pa.csv.ReadOptions(column_names=columns and list(columns), block_size=PIECE)
    parse = pa.csv.ParseOptions(delimiter=separator)
    row = 0
    try:
        with pa.csv.open_csv(path, read, parse) as reader:
            names = reader.schema.names
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise DataError(f"{path}, line 1: two columns are named '{twice}'; rename one")
        convert = pa.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False)
        with pa.csv.open_csv(path, read, parse, convert) as reader:
            for batch in reader:
                yield pa.Table.from_batches([batch]).rename_columns([name.strip() for name in names])
                row += batch.num_rows
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read from row {row + 1} on: {first_line(error)}") from error


@contextmanager
def progress(text: str, rows: int | None) -> Iterator[object]:
    """A bar of rows on a terminal; yields what takes how many more were done."""
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        TextColumn("{task.completed:,.0f} rows"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=not sys.stderr.isatty(),
    )
    with bar:
        task = bar.add_task(text, total=rows)
        yield lambda count: bar.advance(task, count)


def numbered(blocks: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
    """Blocks whose index counts the rows of all of them."""
    start = 0
    for block in blocks:
        yield block.set_axis(pd.RangeIndex(start, start + len(block)), axis=0)
        start += len(block)
