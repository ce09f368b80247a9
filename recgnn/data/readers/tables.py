"""Tables on disk -> frames: types that lose nothing, and the line of every mistake."""

from __future__ import annotations

import csv
import gzip
import io
import re
import zlib
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from recgnn.data.log import Origin
from recgnn.errors import DataError
from recgnn.files import existing_file

_SEPARATORS = ("::", "\t", ",", ";", "|", " ")
_NULLS = pa.array(["", "NA", "N/A", "NaN", "nan", "null", "NULL", "None"])
_STAND_IN = "\x1f"  # for separators of several characters


def read_table(
    path: str | Path,
    separator: str | None = None,
    columns: Sequence[str] | None = None,
    ids: Collection[str] = (),
    quotes: bool = True,
) -> tuple[pd.DataFrame, Origin]:
    """Reads a table of text (csv, tsv, any separator, also gzipped) or Parquet.

    Text columns become int64 or float64 only where nothing is lost (`007` stays text).

    Args:
        path: The file. Parquet is recognised by its content.
        separator: Of the fields; found out when None.
        columns: Names of the columns of a file without a header line.
        ids: Columns that hold ids: never null, never float.
        quotes: Whether a field may stand in double quotes.

    Returns:
        The frame, and where it came from.

    Raises:
        DataError: If the file is missing, empty, no text, or has lines of different lengths.
    """
    path = existing_file(path)
    if is_parquet(path):
        return read_parquet(path), Origin(str(path))
    text = read_text(path)
    if separator is None:
        separator = "\t" if path.suffix == ".tsv" else sniff(text)
    lines = _Lines(path, text, separator, quotes, header=columns is None)
    names = [str(c).strip() for c in columns] if columns is not None else lines.header()
    table = _parse(lines, names)
    if not table.num_rows:
        raise DataError(f"{path}: has a header line and no rows")
    frame = {n: typed(table[n], is_id=n in ids).to_pandas() for n in table.column_names}
    return pd.DataFrame(frame), Origin(str(path), lines.line_of)


def is_parquet(path: Path) -> bool:
    """Whether a file is Parquet, by its content.

    Raises:
        DataError: If its name says so, but it is none.
    """
    with open(path, "rb") as file:
        if file.read(4) == b"PAR1":
            return True
    if path.suffix == ".parquet":
        raise DataError(f"{path}: is named .parquet but is no Parquet file")
    return False


def read_parquet(path: str | Path) -> pd.DataFrame:
    """A Parquet file as a frame, without a saved index.

    Raises:
        DataError: If it is missing or broken.
    """
    path = existing_file(path)
    try:
        frame = pq.read_table(path).to_pandas(ignore_metadata=True)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: is no readable Parquet file: {first_line(error)}") from error
    return frame[[c for c in frame.columns if not re.fullmatch(r"__index_level_\d+__", str(c))]]


def read_text(path: str | Path) -> bytes:
    """The content of a text file as UTF-8, from UTF-8, UTF-16 with a mark, or else Latin-1; `.gz`
    unpacked.

    Raises:
        DataError: If it is missing, empty or no text.
    """
    path = existing_file(path)
    data = path.read_bytes()
    if data[:2] == b"\x1f\x8b":
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"{path}: is no readable gzip file: {first_line(error)}") from error
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        data = data.decode("utf-16", errors="replace").encode()
    data = data.removeprefix(b"\xef\xbb\xbf")
    if not data.strip():
        raise DataError(f"{path}: is empty")
    if b"\0" in data[:1_000_000]:
        raise DataError(f"{path}: is a binary file; expected text (csv, tsv) or Parquet")
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1").encode()
    return data


def typed(values: pa.ChunkedArray, is_id: bool = False) -> pa.ChunkedArray:
    """Text as int64 or float64 where every value is a plain number, else as text.

    Integers count as such only if they are written as Python would write them: `007` or `+1` keep
        the column text.

    Args:
        values: Strings without nulls.
        is_id: Ids are integers or text, never null: `12.0` in every row is 12, and nothing stands
            for null.
    """
    values = pc.utf8_trim_whitespace(values)
    if is_id:
        if pc.all(pc.ends_with(values, ".0")).as_py():
            whole = _integers(pc.utf8_slice_codeunits(values, 0, -2))
            return values if whole is None else whole
        whole = _integers(values)
        return values if whole is None else whole
    numbers = numbers_of(values)
    if numbers.null_count < len(numbers):
        whole = _integers(numbers)
        if whole is not None:
            return whole
        try:
            floats = numbers.cast(pa.float64())
            if not pc.any(pc.match_substring_regex(values, r"^[+-]?0[0-9]")).as_py():
                return floats
        except pa.ArrowInvalid:
            pass
    return pc.if_else(pc.equal(values, ""), pa.scalar(None, pa.string()), values)


def numbers_of(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """The texts, trimmed, and null where they stand for none."""
    values = pc.utf8_trim_whitespace(values)
    null = pc.is_in(values, _NULLS)
    return pc.if_else(null, pa.scalar(None, pa.string()), values) if pc.any(null).as_py() else values


def null_text(values: pa.ChunkedArray) -> bool:
    """Whether every text stands for no value."""
    return pc.all(pc.is_in(pc.utf8_trim_whitespace(values), _NULLS)).as_py()


def _integers(values: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """The values as int64, or None if one would be written differently."""
    try:
        whole = values.cast(pa.int64())
    except pa.ArrowInvalid:
        return None
    return whole if whole.cast(pa.string()).equals(values) else None


class _Lines:
    """The text of a table, and (only when something is wrong) the line of its rows."""

    def __init__(self, path: Path, text: bytes, separator: str, quotes: bool, header: bool) -> None:
        if not separator:
            raise DataError(f"{path}: the separator is empty")
        if len(separator) > 1:
            text = text.replace(separator.encode(), _STAND_IN.encode())
            separator = _STAND_IN
        self.path, self.text, self.separator = path, text, separator
        self.quotes = quotes and b'"' in text
        self.has_header = header

    def records(self) -> Iterator[tuple[int, list[str]]]:
        """Yields (line number, fields) of every line that is not blank."""
        stream = io.TextIOWrapper(io.BytesIO(self.text), encoding="utf-8", newline="")
        quoting = csv.QUOTE_MINIMAL if self.quotes else csv.QUOTE_NONE
        reader = csv.reader(stream, delimiter=self.separator, quoting=quoting)
        start = 1
        try:
            for fields in reader:
                if fields:
                    yield start, fields
                start = reader.line_num + 1
        except csv.Error as error:
            where = f"{self.path}, line {start}"
            raise DataError(f"{where}: {error}; is a quote not closed?") from error

    def header(self) -> list[str]:
        names = [name.strip() for name in next(self.records())[1]]
        twice = next((n for n in names if names.count(n) > 1), None)
        if twice is not None:
            raise DataError(f"{self.path}, line 1: two columns are named '{twice}'; rename one")
        return names

    def line_of(self, row: int) -> int:
        for position, (line, _) in enumerate(self.records()):
            if position == row + self.has_header:
                return line
        raise IndexError(row)

    def first_uneven(self, expected: int) -> str | None:
        for line, fields in self.records():
            if len(fields) != expected:
                counted = f"{len(fields)} field{'s' * (len(fields) != 1)}"
                wanted = "the header has" if self.has_header else "expected"
                return f"line {line}: {counted} where {wanted} {expected}"
        return None


def _parse(lines: _Lines, names: list[str]) -> pa.Table:
    """All columns as strings."""
    try:
        return pa.csv.read_csv(
            pa.BufferReader(lines.text),
            read_options=pa.csv.ReadOptions(
                column_names=names, skip_rows_after_names=int(lines.has_header), block_size=1 << 24
            ),
            parse_options=pa.csv.ParseOptions(
                delimiter=lines.separator,
                quote_char='"' if lines.quotes else False,
                newlines_in_values=lines.quotes,
            ),
            convert_options=pa.csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
            ),
        )
    except pa.ArrowInvalid as error:
        where = lines.first_uneven(len(names)) or first_line(error)
        shown = "tab" if lines.separator == "\t" else repr(lines.separator.replace(_STAND_IN, "::"))
        raise DataError(
            f"{lines.path}, {where} (separator {shown}); quote fields that hold the "
            "separator, or name another"
        ) from error


def sniff(text: bytes) -> str:
    """The separator: the one that cuts the first lines into equally many fields, and the most."""
    head = [
        line for line in text[:65536].decode("utf-8", "ignore").splitlines()[:20] if line.strip()
    ]
    head = head[: max(1, len(head) - 1)] if len(text) > 65536 else head
    best, most = ",", 1
    for separator in _SEPARATORS:
        if len(separator) > 1:
            counts = {len(line.split(separator)) for line in head}
        else:
            counts = {len(fields) for fields in csv.reader(head, delimiter=separator)}
        if len(counts) == 1 and (count := counts.pop()) > most:
            best, most = separator, count
            if separator == "::":
                break
    if most == 1:  # uneven lines: go by the first one
        counted = {s: head[0].count(s) for s in _SEPARATORS}
        best = max(counted, key=counted.get) if any(counted.values()) else ","
    return best


def first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
