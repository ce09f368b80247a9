"""Separated text (csv, tsv, any separator) as tables of strings, some whole records at a time."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from recgnn.data.readers.decoding import check_encoding, check_utf8, chunks, plain_name
from recgnn.data.readers.line_ends import check_endings, first_ending, last_ending
from recgnn.data.readers.origin import unique_columns
from recgnn.data.readers.quotes import QuotedFields, QuoteError, check_no_rows_inside, quoted_fields
from recgnn.data.readers.separator import sniff
from recgnn.errors import ConfigError, DataError, first_line, one_of

PIECE = 2**24  # bytes that are read at a time; no quoted field is longer
_STAND_IN = "\x1f"  # for separators of several characters
_BLANKS = [bytes([byte]) for byte in b" \t\v\f\x1c\x1d\x1e\x1f"]
_LINE_END = re.compile(rb"\r\n|\n|\r")


class Piece(NamedTuple):
    """Some whole records: their text, the number of their first line, and whether fields are quoted or hold line
    ends."""

    text: bytes
    line: int
    quoted: bool
    multiline: bool


class TextTable:
    """A table of separated text, also gzipped.

    A field may stand in double quotes, and then hold separators, line ends and, doubled, quotes. Blank lines are
    skipped.

    Args:
        path: The file.
        separator: Of the fields; found out when None.
        columns: Names of the columns of a file without a header line.
        quotes: Whether quotes mean anything; they are characters like others if not.
        encoding: Of the text; UTF-8, or UTF-16 with a mark, when None.
        on_bad_rows: Whether rows with another number of fields are refused, or dropped and counted.
        decimal: What stands before the fraction of numbers: `.`, or `,` as in 3,5, which is then read as 3.5.

    Attributes:
        bad: The rows that were dropped, as text.

    Raises:
        DataError: If the file is empty or no text, or two columns have one name.
        ConfigError: If the separator or the encoding cannot be.
    """

    def __init__(
        self,
        path: Path,
        separator: str | None = None,
        columns: Sequence[str] | None = None,
        quotes: bool = True,
        encoding: str | None = None,
        on_bad_rows: str = "refuse",
        decimal: str = ".",
    ) -> None:
        one_of("on_bad_rows", on_bad_rows, ("refuse", "drop"))
        one_of("decimal", decimal, (".", ","))
        self.decimal = decimal
        check_encoding(encoding)
        separator = "\t" if separator == "\\t" else separator
        if separator is not None and (not separator or set(separator) & set('"\n\r')):
            raise ConfigError(f"{path}: the separator is {separator!r}; expected one such as ',' or '::'")
        self.path, self.quotes, self.encoding = path, quotes, encoding
        self.drops, self.bad = on_bad_rows == "drop", list[str]()
        head = next(chunks(path, 2**16, encoding), b"")
        if not head.strip() and not any(chunk.strip() for chunk in chunks(path, PIECE, encoding)):
            raise DataError(f"{path}: is empty")
        tabs = plain_name(path).endswith(".tsv")
        self.written = separator or ("\t" if tabs else sniff(head, quotes))
        self.separator = self.written if len(self.written.encode()) == 1 else _STAND_IN
        self.has_header = columns is None
        self.names = [str(name).strip() for name in columns or ()]
        self._rows: list[int] = []  # of each piece that has been read
        if self.has_header:
            line, names, _ = self._header(next(self._pieces(size=2**16)))
            self.names = [name.strip().replace(self.separator, self.written) for name in names]
        unique_columns(self.names, f"{path}, line {line}" if self.has_header else str(path))

    def tables(
        self, chosen: Collection[str] | None = None, types: Mapping[str, pa.DataType] | None = None
    ) -> Iterator[pa.Table]:
        """Yield the rows as tables of trimmed strings without nulls.

        Args:
            chosen: Which columns are wanted; all when None.
            types: Of columns of numbers, if these are known: they are strings only in tables in which one is no number,
                and empty fields of all columns are null.

        Raises:
            DataError: Names the line of the mistake.
        """
        wanted = [name for name in self.names if chosen is None or name in chosen]
        self._rows.clear()
        self.bad.clear()
        for piece in self._pieces(len(self.names)):
            begin = self._header(piece)[2] if self.has_header and not self._rows else 0
            table = self._parsed(piece, begin, wanted, types or {})
            if self.decimal == ",":
                table = pa.table({name: self._with_points(table[name], name) for name in table.column_names})
            self._rows.append(table.num_rows)
            if table.num_rows:
                yield table

    def line_of(self, row: int) -> int:
        """Return the number of the line in which a row, of those that have been read, begins.

        Raises:
            IndexError: If it has not been read.
        """
        for piece, count in zip(self._pieces(), list(self._rows), strict=False):
            if row < count:
                header = self._header(piece)[0] if self.has_header and piece.line == 1 else 0
                records = _records(piece, self.separator, self.quotes)
                width = len(self.names)
                lines = (n for n, fields in records if n > header and (len(fields) == width or not self.drops))
                return next(islice(lines, row, None))
            row -= count
        raise IndexError(row)

    # ---- from bytes to whole records

    def _pieces(self, columns: int | None = None, size: int | None = None) -> Iterator[Piece]:
        """Yield the text in pieces that begin and end with a record, checked.

        Args:
            columns: How many there are, where fields that have swallowed rows are to be refused.
            size: How many bytes are read at a time; `PIECE` when None.
        """
        held, line, ending = b"", 1, b""
        stream = chunks(self.path, size or PIECE, self.encoding)
        following = next(stream, None)
        while following is not None:
            held, following = self._single(held, following), next(stream, None)
            last = following is None
            fields = None
            if self.quotes and b'"' in held:
                fields = quoted_fields(held, self.separator)
            ending = ending or first_ending(held, fields, last)
            cut = len(held) if last else last_ending(held, fields, ending)
            if fields is not None:
                self._check_closed(held, fields, line, ending, last)
            if cut:
                piece, held = held[:cut], held[cut:]
                data = np.frombuffer(piece, dtype=np.uint8)
                lines = int(np.count_nonzero(data == ending[-1])) if ending else 0
                yield self._checked(piece, data, lines, fields, line, ending, columns)
                line += lines

    def _single(self, held: bytes, following: bytes) -> bytes:
        """Return the text, with a separator of one byte."""
        if self.separator == self.written:
            return held + following
        if _STAND_IN.encode() in following:
            raise DataError(f"{self.path}: holds the control character 0x1f and cannot be split at {self.written!r}")
        return (held + following).replace(self.written.encode(), _STAND_IN.encode())

    def _check_closed(self, held: bytes, fields: QuotedFields, line: int, ending: bytes, last: bool) -> None:
        if fields.problem is not None:
            raise self._misquoted(held, fields.problem, line, ending)
        if fields.open_at is not None and (last or len(held) - fields.open_at > PIECE):
            error = QuoteError(fields.open_at, "a quoted field is not closed" + " within 16 MiB" * (not last))
            raise self._misquoted(held, error, line, ending)

    def _misquoted(self, text: bytes, error: QuoteError, line: int, ending: bytes) -> DataError:
        line += text.count((ending or b"\n")[-1:], 0, error.at)
        snippet = text[error.at : error.at + 20].splitlines()[0].decode("utf-8", "replace")
        return DataError(
            f"{self.path}, line {line}: {error.why}, at {snippet!r}; double the quotes inside of quoted fields, or say "
            "quotes: false where quotes are characters like others"
        )

    def _checked(
        self,
        text: bytes,
        data: np.ndarray,
        lines: int,
        fields: QuotedFields | None,
        line: int,
        ending: bytes,
        columns: int | None,
    ) -> Piece:
        """Return the piece, all of whose line ends outside of quotes are of one kind."""
        check_utf8(text, self.path, line)
        multiline = False
        if fields is not None:
            try:
                ends = np.flatnonzero(data == (ending or b"\n")[-1])
                multiline = check_no_rows_inside(text, _before(fields, len(text)), ends, self.separator, columns or 0)
            except QuoteError as error:
                raise self._misquoted(text, error, line, ending) from None
        plain = {b"": b"\r\n", b"\n": b"\r", b"\r": b"\n", b"\r\n": b""}[ending]  # ends that must not occur
        pairs = text.count(b"\r\n") if ending == b"\r\n" else lines
        if any(text.find(plain[n : n + 1]) >= 0 for n in range(len(plain))) or pairs != lines or (
            ending == b"\r\n" and text.count(b"\r") != lines
        ):
            check_endings(data, fields, ending, self.path, line)
            multiline = fields is not None
        return Piece(text, line, fields is not None, multiline)

    # ---- from records to tables

    def _header(self, piece: Piece) -> tuple[int, list[str], int]:
        """Return the line of the header, its fields, and where the rows begin in the text of the first piece."""
        stream = io.StringIO(piece.text[: 2**20].decode("utf-8", "ignore"), newline="")
        reader = _reader(stream, self.separator, self.quotes)
        line = 1
        for fields in reader:
            if any(name.strip() for name in fields):
                break
            line = reader.line_num + 1
        ends = (found.end() for found in _LINE_END.finditer(piece.text))
        return line, fields, next(islice(ends, reader.line_num - 1, None), len(piece.text))

    def _parsed(self, piece: Piece, begin: int, wanted: list[str], types: Mapping[str, pa.DataType]) -> pa.Table:
        """Return the rows of a piece, from a position on."""
        text = memoryview(piece.text)[begin:]
        if not piece.text[begin : begin + 2**16].strip(b"\r\n") and not bytes(text).strip(b"\r\n"):
            return pa.table({name: pa.array([], pa.string()) for name in wanted})
        try:
            table = pa.csv.read_csv(
                pa.BufferReader(pa.py_buffer(text)),
                pa.csv.ReadOptions(column_names=self.names, block_size=2**21),
                pa.csv.ParseOptions(
                    delimiter=self.separator,
                    quote_char='"' if piece.quoted else False,
                    newlines_in_values=piece.multiline,
                    invalid_row_handler=self._dropped if self.drops else None,
                ),
                pa.csv.ConvertOptions(
                    check_utf8=False,
                    column_types=dict.fromkeys(self.names, pa.string()) | dict(types),
                    null_values=[""],
                    strings_can_be_null=bool(types),
                    include_columns=wanted,
                ),
            )
        except pa.ArrowInvalid as error:
            if types and "conversion error" in str(error):
                return self._parsed(piece, begin, wanted, dict.fromkeys(types, pa.string()))
            separator = "tab" if self.written == "\t" else repr(self.written)
            raise DataError(
                f"{self.path}, {self._uneven(piece) or first_line(error)} (separator {separator}); quote fields that "
                "hold the separator, or name another"
            ) from error
        blanks = piece.multiline or not piece.text.isascii()
        for blank in _BLANKS:
            blanks = blanks or (blank in piece.text and (piece.quoted or blank != self.separator.encode()))
        for place, name in enumerate(wanted) if blanks or self.separator != self.written else ():
            values = table[name]
            if values.type != pa.string():
                continue
            if self.separator != self.written and piece.quoted:
                values = pc.replace_substring(values, _STAND_IN, self.written)
            table = table.set_column(place, name, pc.utf8_trim_whitespace(values))
        return table

    def _with_points(self, values: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
        """Return texts of which numbers with a comma have a point in its place.

        Raises:
            DataError: If numbers of the column have points as well, as 1.234,5 or 1.234 beside 0,5.
        """
        if values.type != pa.string():
            return values
        written = pc.match_substring_regex(values, r"^[-+]?[0-9]*,[0-9]+([eE][-+]?[0-9]+)?$")
        points = pc.match_substring_regex(values, r"^[-+]?[0-9]+\.[0-9]+(,[0-9]*)?$")
        if pc.any(points).as_py():
            grouped = pc.match_substring_regex(values, r"^[-+]?[0-9]{1,3}(\.[0-9]{3})+(,[0-9]*)?$")
            numbers = pc.match_substring_regex(values, r"^[-+]?[0-9.,]*$")
            if pc.any(written).as_py() or (pc.all(numbers).as_py() and pc.all(pc.equal(points, grouped)).as_py()):
                one = values.filter(points)[0].as_py()
                raise DataError(
                    f"{self.path}, column '{name}': {one!r} has a point, and decimal is ','; write numbers without "
                    "points between the thousands"
                )
        return pc.if_else(written, pc.replace_substring(values, ",", "."), values)

    def _dropped(self, row: pa.csv.InvalidRow) -> str:
        self.bad.append(row.text)
        return "skip"

    def _uneven(self, piece: Piece) -> str | None:
        """Return the first line that has another number of fields."""
        expected = len(self.names)
        for line, fields in _records(piece, self.separator, self.quotes):
            if len(fields) != expected:
                wanted = "the header has" if self.has_header else "expected"
                return f"line {line}: {len(fields)} field{'s' * (len(fields) != 1)} where {wanted} {expected}"
        return None


def _before(fields: QuotedFields, stop: int) -> QuotedFields:
    """Return the quoted fields that begin before a position."""
    count = int(np.searchsorted(fields.starts, stop))
    return QuotedFields(fields.starts[:count], fields.ends[:count])


def _reader(stream: io.StringIO, separator: str, quotes: bool) -> Any:
    csv.field_size_limit(2 * PIECE)
    return csv.reader(stream, delimiter=separator, quoting=csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE)


def _records(piece: Piece, separator: str, quotes: bool) -> Iterator[tuple[int, list[str]]]:
    """Number of the line and fields of every record that is not blank: slow, for headers and errors."""
    reader = _reader(io.StringIO(piece.text.decode("utf-8", "replace"), newline=""), separator, quotes)
    start = piece.line
    for fields in reader:
        if fields:
            yield start, fields
        start = piece.line + reader.line_num
