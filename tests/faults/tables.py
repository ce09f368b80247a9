"""Generated tables: written in many notations, damaged in many ways, and read by Python's csv or pyarrow alone."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import random
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from tests.faults.forked import forked

ODD = (
    "", " ", "NA", "nan", "null", "None", "-1", "0", "007", "1.0", "2.50", " 3 ", "+4", "1e3", "1e400", "-inf", "inf",
       "9" * 19, "9" * 20, "9" * 5000, str(2**53 + 1), "-0", "true", "abc", "12abc", "é", "№", "\u200b7", "٣", "0x10",
       "\0", "a\nb", "a\r\nb", 'say "x"', "[1, 2]", '{"a": 1}', "=1+1", "2020-01-01", "a" * 70_000, "1;2", "1|2",
    "'1'", "\ufeff1", "1,5", "1_000",
)  # fmt: skip
MARKS = "\",;\t\n\r\0é|' №1"
SEPARATORS = ((",", ".csv"), (",", ".csv"), ("\t", ".tsv"), (";", ".csv"), ("|", ".txt"))
Rows = list[list[str]]


class Table(NamedTuple):
    """A generated table.

    Attributes:
        path: Its file.
        separator: Of its text.
        told: What was done to it.
        good: Whether nothing was done that it could be refused for.
        read: Names and rows as an independent reader has them, fields without blanks around them; None where it
            refuses the file.
    """

    path: Path
    separator: str
    told: str
    good: bool
    read: tuple[list[str], Rows] | None

    def column(self, name: str) -> list[str]:
        """Return the values of a column that there is."""
        assert self.read is not None
        place = self.read[0].index(name)
        return [row[place] for row in self.read[1]]


# ---- faults of cells, of text, of bytes


def odd_cell(draw: random.Random, rows: Rows) -> str:
    row = draw.randrange(1, len(rows))
    column, value = draw.randrange(len(rows[row])), draw.choice(ODD)
    rows[row][column] = value
    return f"cell {row + 1}/{rows[0][column % len(rows[0])]} = {value[:24]!r}"


def odd_cells(draw: random.Random, rows: Rows) -> str:
    """The same odd value in a tenth of a column."""
    column, value = draw.randrange(len(rows[0])), draw.choice(ODD)
    for row in draw.sample(range(1, len(rows)), max(1, len(rows) // 10)):
        rows[row][column] = value
    return f"a tenth of {rows[0][column]} = {value[:24]!r}"


def doubled_column(draw: random.Random, rows: Rows) -> str:
    one, other = draw.sample(range(len(rows[0])), 2)
    rows[0][one] = rows[0][other]
    return f"two columns {rows[0][one]}"


def renamed_column(draw: random.Random, rows: Rows) -> str:
    column = draw.randrange(len(rows[0]))
    old = rows[0][column]
    rows[0][column] = draw.choice([f"{old}s", old.upper(), f" {old} ", "", f"{old}\n", "7", f'"{old}', "prediction"])
    return f"column {old} is {rows[0][column]!r}"


def dropped_column(draw: random.Random, rows: Rows) -> str:
    column = draw.randrange(len(rows[0]))
    name = rows[0][column]
    for row in rows:
        del row[column]
    return f"no column {name}"


def uneven(draw: random.Random, rows: Rows) -> str:
    row = draw.randrange(1, len(rows))
    if draw.random() < 0.5:
        rows[row].append(draw.choice(["", "7", "x"]))
        return f"a field too many in row {row + 1}"
    del rows[row][draw.randrange(len(rows[row]))]
    return f"a field too few in row {row + 1}"


def header_again(draw: random.Random, rows: Rows) -> str:
    rows.insert(draw.randrange(1, len(rows)), list(rows[0]))
    return "the header twice"


def no_header(draw: random.Random, rows: Rows) -> str:
    del rows[0]
    return "no header"


def few_rows(draw: random.Random, rows: Rows) -> str:
    del rows[draw.choice([0, 1, 2, 3]) :]
    return f"{len(rows)} lines"


def inserted(draw: random.Random, text: str) -> tuple[str, str]:
    place, mark = draw.randrange(len(text) + 1), draw.choice(MARKS)
    return text[:place] + mark + text[place:], f"{mark!r} at {place}"


def deleted(draw: random.Random, text: str) -> tuple[str, str]:
    place, count = draw.randrange(len(text) + 1), draw.choice([1, 1, 3, 20])
    return text[:place] + text[place + count :], f"{count} letters less at {place}"


def other_end(draw: random.Random, text: str) -> tuple[str, str]:
    lines = text.splitlines(keepends=True)
    place = draw.randrange(max(1, len(lines)))
    lines[place : place + 1] = (
        [lines[place].rstrip("\r\n") + draw.choice(["\r", "\n", "\r\n", "\n\r"])] if lines else []
    )
    return "".join(lines), f"another end of line {place + 1}"


def blank_lines(draw: random.Random, text: str) -> tuple[str, str]:
    lines = text.splitlines(keepends=True)
    place, what = draw.randrange(len(lines) + 1), draw.choice(["\n", "\n\n", " \n", "\t\n", "#\n"])
    return "".join([*lines[:place], what, *lines[place:]]), f"{what!r} before line {place + 1}"


def flipped(draw: random.Random, content: bytes) -> tuple[bytes, str]:
    damaged, place, bit = bytearray(content), draw.randrange(max(1, len(content))), draw.randrange(8)
    if damaged:
        damaged[place] ^= 1 << bit
    return bytes(damaged), f"bit {bit} of byte {place}"


def cut(draw: random.Random, content: bytes) -> tuple[bytes, str]:
    place = draw.randrange(len(content) + 1)
    return content[:place], f"cut at byte {place}"


def junk(draw: random.Random, content: bytes) -> tuple[bytes, str]:
    place, what = (
        draw.choice([0, len(content)]),
        draw.choice([b"\0", b"\xff\xfe", b"\x1a", b"PAR1", b"\xfc", b"\x1f\x8b"]),
    )
    return content[:place] + what + content[place:], f"{what!r} at byte {place}"


OF_ROWS: list[Callable[[random.Random, Rows], str]] = [
    odd_cell, odd_cell, odd_cell, odd_cells, doubled_column, renamed_column, dropped_column, uneven, header_again,
    no_header, few_rows,
]  # fmt: skip
OF_TEXT: list[Callable[[random.Random, str], tuple[str, str]]] = [inserted, inserted, deleted, other_end, blank_lines]
OF_BYTES: list[Callable[[random.Random, bytes], tuple[bytes, str]]] = [flipped, cut, junk]


# ---- generated files


def generate(draw: random.Random, folder: Path, names: tuple[str, ...], given: list, stem: str = "table") -> Table:
    """Write a table of some rows in a notation and with faults that are drawn.

    Args:
        draw: Decides everything.
        folder: Where it is written.
        names: Its columns.
        given: Its rows.
        stem: The name of the file.
    """
    rows = [list(names), *([str(value) for value in row] for row in given)]
    told: list[str] = []
    if draw.random() < 0.5:  # what may be written otherwise without another meaning
        order = draw.sample(range(len(names)), len(names))
        rows = [[row[place] for place in order] for row in rows]
    if draw.random() < 0.2:
        for number, row in enumerate(rows):
            row.append("note" if not number else draw.choice(["", "x", "1", "ä; b", 'c "d"', "e, f"]))
    harmless = draw.random() < 0.2
    if not harmless:
        for _ in range(draw.choice([0, 1, 1, 1, 2])):
            told.append(draw.choice(OF_ROWS)(draw, rows))
            if len(rows) < 2 or len(rows[0]) < 2:
                break
    if draw.random() < 0.15:
        return _parquet(draw, folder / f"{stem}.parquet", rows, told, harmless)
    separator, suffix = draw.choice(SEPARATORS)
    stream = io.StringIO(newline="")
    quoting = draw.choice([csv.QUOTE_MINIMAL, csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
    csv.writer(stream, delimiter=separator, lineterminator=draw.choice(["\n", "\r\n"]), quoting=quoting).writerows(rows)
    text = stream.getvalue()
    if not harmless and (not told or draw.random() < 0.2):
        text, what = draw.choice(OF_TEXT)(draw, text)
        told.append(what)
    encoding = draw.choice(["utf-8"] * 5 + ["utf-8-sig", "utf-16"] + ([] if harmless else ["latin-1", "utf-16-le"]))
    content = text.encode(encoding, errors="replace")
    told += [encoding] if encoding in ("latin-1", "utf-16-le") else []
    zipped = draw.random() < 0.15
    content = gzip.compress(content, 1, mtime=0) if zipped else content
    if not harmless and draw.random() < 0.2:
        content, what = draw.choice(OF_BYTES)(draw, content)
        told.append(what)
    path = folder / f"{stem}{suffix}{'.gz' if zipped else ''}"
    path.write_bytes(content)
    notation = f"{path.name}, {encoding}, {separator!r}"
    return Table(path, separator, "; ".join([notation, *told]), not told, read_text(content, separator, zipped))


def _parquet(draw: random.Random, path: Path, rows: Rows, told: list[str], harmless: bool) -> Table:
    names, body = (rows[0], rows[1:]) if rows else ([], [])
    body = [row for row in body if len(row) == len(names)]
    arrays = [_array(draw, [row[place] for row in body]) for place in range(len(names))]
    table = pa.Table.from_arrays(arrays, names=names) if names else pa.table({"x": [1]})
    pq.write_table(table, path, write_page_checksum=True, row_group_size=draw.choice([7, 100, 10_000]))
    if not harmless and draw.random() < 0.5:
        content, what = draw.choice(OF_BYTES)(draw, path.read_bytes())
        path.write_bytes(content)
        told.append(what)
    read = forked(lambda: read_parquet(path), path.parent).result
    return Table(path, ",", "; ".join([path.name, *told]), not told, read)


def _array(draw: random.Random, values: list[str]) -> pa.Array:
    """Return a column of a type that can hold its values."""
    for kind in draw.sample(["int64", "float64"], 2) if draw.random() < 0.7 else []:
        numbers = [None if value == "" else value for value in values]
        try:
            array = pa.array(numbers, pa.string()).cast(kind)
        except pa.ArrowInvalid:
            continue
        if [None if v is None else str(v).removesuffix(".0") for v in array.to_pylist()] == numbers:
            return array
    return pa.array(values, pa.string()).dictionary_encode() if draw.random() < 0.2 else pa.array(values, pa.string())


def read_text(content: bytes, separator: str, zipped: bool) -> tuple[list[str], Rows] | None:
    """Read text as Python's strict csv does; None where the file cannot be meant."""
    try:
        if zipped:
            content = gzip.decompress(content)
        marked = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        text = content.decode("utf-16" if marked else "utf-8-sig")
        csv.field_size_limit(10**9)
        lines = list(csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True))
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error):
        return None
    rows = [[field.strip() for field in line] for line in lines if line]
    while rows and len(rows[0]) == 1 and not rows[0][0]:  # blanks before the header
        del rows[0]
    if not rows or "\0" in text or any(len(row) != len(rows[0]) for row in rows) or len({*rows[0]}) < len(rows[0]):
        return None
    return rows[0], rows[1:]


def read_parquet(path: Path) -> tuple[list[str], Rows] | None:
    """Read Parquet as pyarrow does; fields as text."""
    table = pq.read_table(path, page_checksum_verification=True)
    table.validate(full=True)
    columns = [
        ["" if value is None else str(value).strip() for value in column.to_pylist()] for column in table.columns
    ]
    if len({*table.column_names}) < len(columns) or not columns:
        return None
    return list(table.column_names), [list(row) for row in zip(*columns, strict=True)]
