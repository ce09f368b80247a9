"""JSON lines: a table of one JSON object a line, also gzipped; nested objects are left out, lists are kept."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.json

from recgnn.data.readers.decoding import check_utf8, chunks, plain_name
from recgnn.errors import DataError, first_line

PIECE = 2**24  # bytes that are read at a time; no line is longer
_LONG = re.compile(rb"[:,\[\s]-?[0-9]{19,}[,}\]\s]")
"""Integers that may be beyond 64 bits, which Arrow would round."""


class Piece(NamedTuple):
    """Some whole lines, and the number of the first."""

    text: bytes
    line: int


def is_json(path: Path, encoding: str | None = None) -> bool:
    """Return whether a file holds JSON lines, by its content.

    Raises:
        DataError: If it is one JSON array, which is no table of lines.
    """
    head = next(chunks(path, 2**16, encoding), b"").lstrip()
    if head.startswith(b"[") and plain_name(path).endswith(".json"):
        raise DataError(f"{path}: is one JSON array; expected JSON lines, an object a line: jq -c '.[]' writes them")
    if not head.startswith(b"{"):
        return False
    if plain_name(path).endswith((".json", ".jsonl", ".ndjson")):
        return True
    try:
        return isinstance(json.loads(head.splitlines()[0]), dict)
    except ValueError:
        return False


class JsonTable:
    """A table of JSON lines. Every column has one type in all lines: where numbers and texts mix it is text.

    Args:
        path: The file.
        encoding: Of the text; UTF-8, or UTF-16 with a mark, when None.
        on_bad_rows: Whether lines that are no JSON object are refused, or dropped and counted.

    Attributes:
        bad: The lines that were dropped.
        objects: The columns that are left out, since they hold objects.

    Raises:
        DataError: For the first line that is no JSON object.
    """

    def __init__(self, path: Path, encoding: str | None = None, on_bad_rows: str = "refuse") -> None:
        self.path, self.encoding = path, encoding
        self.drops, self.bad = on_bad_rows == "drop", list[str]()
        self.types: dict[str, pa.DataType] = {}
        for piece in self._pieces():
            for field in self._parsed(piece, {}).schema:
                known = self.types.get(field.name, pa.null())
                self.types[field.name] = _wider(known, field.type)
        self.objects = [name for name, kind in self.types.items() if _nested(kind)]
        self.types = {name: kind for name, kind in self.types.items() if not _nested(kind)}
        self.names = list(self.types)
        if not self.names:
            raise DataError(f"{path}: is empty, or its objects have no plain values")

    def tables(self, chosen: Collection[str] | None = None, rows: int = 0) -> Iterator[pa.Table]:
        """Yield the rows in pieces; absent values are null.

        Args:
            chosen: Which columns are wanted; all when None.
            rows: Not used: a piece has 16 MiB.
        """
        names = [name for name in self.names if chosen is None or name in chosen]
        self.bad.clear()
        for piece in self._pieces():
            found = self._parsed(piece, {name: self.types[name] for name in names})
            columns = {
                name: found[name].cast(self.types[name]) if name in found.column_names
                else pa.nulls(found.num_rows, self.types[name]) for name in names
            }  # fmt: skip
            yield pa.table(columns)

    def line_of(self, row: int) -> int:
        """Return the number of the line of a row."""
        bad = set(self.bad)
        numbers = (line for piece in self._pieces() for line, text in _numbered(piece) if text.decode() not in bad)
        return next(islice(numbers, row, None))

    def _pieces(self) -> Iterator[Piece]:
        held, line = b"", 1
        for chunk in chunks(self.path, PIECE, self.encoding):
            held += chunk
            cut = held.rfind(b"\n") + 1
            if not cut and len(held) > 2 * PIECE:
                raise DataError(f"{self.path}, line {line}: is longer than 32 MiB; expected JSON lines")
            if cut:
                yield self._checked(Piece(held[:cut], line))
                line += held.count(b"\n", 0, cut)
                held = held[cut:]
        if held.strip():
            yield self._checked(Piece(held, line))

    def _checked(self, piece: Piece) -> Piece:
        check_utf8(piece.text, self.path, piece.line)
        return piece

    def _parsed(self, piece: Piece, types: dict[str, pa.DataType]) -> pa.Table:
        """Return a piece's columns: those of `types`, or all, by the types that Arrow finds."""
        if not piece.text.strip():
            return pa.table({})
        if not _LONG.search(piece.text):
            with suppress(pa.ArrowInvalid):
                table = self._by_arrow(piece.text, types)
                if table.num_rows == sum(1 for _ in _numbered(piece)):  # Arrow lets an object go on in the next line
                    return table
        return self._by_python(piece, types)

    def _by_arrow(self, text: bytes, types: dict[str, pa.DataType]) -> pa.Table:
        other = "ignore" if types else "infer"
        options = pa.json.ParseOptions(explicit_schema=pa.schema(types), unexpected_field_behavior=other)
        reading = pa.json.ReadOptions(use_threads=False, block_size=len(text) + 1)
        table = pa.json.read_json(pa.py_buffer(text), reading, options)
        dates = {field.name: pa.string() for field in table.schema if pa.types.is_temporal(field.type)}
        return self._by_arrow(text, dates | _rest(table, dates)) if dates else table  # a text stays as it is written

    def _by_python(self, piece: Piece, types: dict[str, pa.DataType]) -> pa.Table:
        """Parse line by line: exact for long integers and for columns of texts and numbers, and names a broken line."""
        rows: list[dict[str, Any]] = []
        for line, text in _numbered(piece):
            try:
                row, why = json.loads(text, parse_int=_Written, parse_float=_Written), ""
            except (ValueError, RecursionError) as error:
                row, why = None, f": {first_line(error)}"
            if isinstance(row, dict):
                rows.append(row)
            elif self.drops:
                self.bad.append(text.decode())
            else:
                raise DataError(f"{self.path}, line {line}: is no JSON object{why}; mend it, or set on_bad_rows: drop")
        names = list(types) or list(dict.fromkeys(name for row in rows for name in row))
        return pa.table({name: _column([row.get(name) for row in rows]) for name in names})


class _Written(str):
    """A number as it is written."""


def _column(values: list) -> pa.Array:
    """Return values of a column as an array: integers, numbers, booleans, lists; or text, where they are mixed."""
    there = [value for value in values if value is not None]
    if any(isinstance(value, dict) for value in there):
        return pa.array([{"": None} for _ in values])
    if there and all(isinstance(value, list) for value in there):
        lists = [None if value is None else _column(value).to_pylist() for value in values]
        try:
            return pa.array(lists)
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            return pa.array([None if x is None else [None if y is None else str(y) for y in x] for x in lists])
    if all(isinstance(value, _Written) for value in there):
        try:
            return pa.array([None if value is None else int(value) for value in values], pa.int64())
        except (ValueError, OverflowError):
            if not all(re.fullmatch(r"-?[0-9]+", value) for value in there):
                return pa.array([None if value is None else float(value) for value in values], pa.float64())
    elif all(isinstance(value, bool) for value in there):
        return pa.array(values, pa.bool_())
    texts = [None if value is None else value if isinstance(value, str) else json.dumps(value) for value in values]
    return pa.array([None if text is None else str(text) for text in texts], pa.string())


def _numbered(piece: Piece) -> Iterator[tuple[int, bytes]]:
    """Yield the number and the text of the lines that are not blank."""
    for place, text in enumerate(piece.text.split(b"\n")):
        if text.strip():
            yield piece.line + place, text


def _rest(table: pa.Table, but: Collection[str]) -> dict[str, pa.DataType]:
    return {field.name: field.type for field in table.schema if field.name not in but}


def _nested(kind: pa.DataType) -> bool:
    return pa.types.is_struct(kind) or (pa.types.is_list(kind) and _nested(kind.value_type))


def _wider(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    """Return the type that holds the values of both; text where nothing else does."""
    if one == other or pa.types.is_null(other):
        return one
    if pa.types.is_null(one):
        return other
    if _nested(one) or _nested(other):
        return one if _nested(one) else other
    if pa.types.is_list(one) and pa.types.is_list(other):
        return pa.list_(_wider(one.value_type, other.value_type))
    return pa.float64() if {one, other} == {pa.int64(), pa.float64()} else pa.string()
