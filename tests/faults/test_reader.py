"""The reader of tables against independent ones (Python's csv in strict mode, pyarrow) on generated tables.

`RECGNN_FAULTS=10000 pytest tests/faults/test_reader.py` generates that many tables for each property.
"""

from __future__ import annotations

import csv
import gzip
import io
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pytest

from recgnn.data.readers import tables, text
from recgnn.data.readers.tables import open_table, read_table, table_blocks
from recgnn.errors import DataError

hypothesis = pytest.importorskip("hypothesis")
from hypothesis import HealthCheck, assume, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

EXAMPLES = int(os.environ.get("RECGNN_FAULTS", 40))
HEALTH = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much]
many = settings(max_examples=EXAMPLES, deadline=None, derandomize=EXAMPLES < 1000, suppress_health_check=HEALTH)
PIECES = st.sampled_from([48, 200, 2**24])
NULLS = ("", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "null", "NULL", "None", "\\N")


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@pytest.fixture(autouse=True)
def sizes(monkeypatch) -> None:
    """Restore the sizes of pieces and blocks that a test sets."""
    monkeypatch.setattr(text, "PIECE", text.PIECE)
    monkeypatch.setattr(tables, "ROWS", 5)


def strings(path: Path, **options) -> tuple[list[str], list[list[str]]]:
    """Names and rows, as they are written."""
    table = open_table(path, **options)
    found = list(table.tables())
    return table.names, [list(row.values()) for piece in found for row in piece.to_pylist()]


def records(content: str, separator: str) -> tuple[list[tuple[int, list[str]]], tuple[int, int] | None]:
    """What Python's strict csv reads: line and fields of records that are not blank; and the lines of its refusal."""
    reader = csv.reader(io.StringIO(content, newline=""), delimiter=separator, strict=True)
    found, start = [], 1
    try:
        for fields in reader:
            if fields:
                found.append((start, fields))
            start = reader.line_num + 1
    except csv.Error:
        return found, (start, reader.line_num)
    return found, None


def line_of(error: pytest.ExceptionInfo) -> int:
    assert "\n" not in str(error.value)
    found = re.search(r", line (\d+)", str(error.value))
    assert found, error.value
    return int(found[1])


CELLS = st.text(st.sampled_from('ab 1"",;\t\n\r№é0.|'), max_size=8)


@st.composite
def written(draw) -> tuple[list[str], list[list[str]], str, str, bytes]:
    """A table that Python's csv has written: names, rows, separator, line end, and the bytes."""
    separator = draw(st.sampled_from([",", ";", "\t", "|"]))
    end = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    width = draw(st.integers(1, 4))
    rows = draw(st.lists(st.lists(CELLS, min_size=width, max_size=width), min_size=1, max_size=12))
    names = [f"c{n}" for n in range(width)]
    stream = io.StringIO(newline="")
    plain = not any(mark in cell for row in rows for cell in row for mark in "\r\n")  # csv may leave those unquoted
    quoting = draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])) if plain else csv.QUOTE_ALL
    csv.writer(stream, delimiter=separator, lineterminator=end, quoting=quoting).writerows([names, *rows])
    content = stream.getvalue()
    return names, rows, separator, end, (content if draw(st.booleans()) else content.removesuffix(end)).encode()


@many
@given(made=written(), piece=PIECES)
def test_what_csv_writes_is_read_as_csv_and_arrow_read_it(made, piece, folder) -> None:
    names, rows, separator, _, content = made
    path = folder / "w.csv"
    path.write_bytes(content)
    text.PIECE = piece
    try:
        found = strings(path, separator=separator)
    except DataError as error:  # the one thing that is refused although it can be written
        assert "as if it held" in str(error) and any("\n" in cell or "\r" in cell for row in rows for cell in row)
        return
    assert found == (names, [[cell.strip() for cell in row] for row in rows])
    parse = pa.csv.ParseOptions(delimiter=separator, newlines_in_values=True)
    convert = pa.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False)
    whole = pa.csv.read_csv(pa.BufferReader(content), parse_options=parse, convert_options=convert)
    assert [[cell.strip() for cell in row.values()] for row in whole.to_pylist()] == found[1]


@many
@given(body=st.text(st.sampled_from('a1,""\n\n\r \t'), min_size=1, max_size=40), piece=PIECES, header=st.booleans())
def test_any_text_is_read_as_csv_reads_it_or_refused_with_the_line(body, piece, header, folder) -> None:
    content = "x,y\n" + body if header else "x,y\r\n" + body
    expected, refusal = records(content, ",")
    uneven = next((line for line, fields in expected if len(fields) != 2), None)
    path = folder / "a.csv"
    path.write_text(content, encoding="utf-8", newline="")
    text.PIECE = piece
    ends = re.findall("\r\n|\n|\r", content)
    try:
        _, rows = strings(path, separator=",")
    except DataError as error:
        line = line_of(pytest.ExceptionInfo.from_exception(error))
        mixed = len({*ends}) > 1 and "where others end in" in str(error)
        swallowed = '"' in body and "as if it held" in str(error)
        if refusal is not None and "quoted field" in str(error):
            assert len({*ends}) > 1 or refusal[0] <= line <= refusal[1]
        elif not mixed and not swallowed:
            assert uneven is not None and (len({*ends}) > 1 or line == uneven), error
        return
    assert refusal is None and uneven is None
    assert rows == [[cell.strip() for cell in fields] for _, fields in expected[1:]]


@many
@given(made=written(), place=st.integers(0, 10**6), piece=PIECES)
def test_a_quote_too_many_never_swallows_rows(made, place, piece, folder) -> None:
    """One quote is put somewhere: the table is refused, or has all its rows."""
    names, rows, separator, end, content = made
    whole = content.decode()
    assume(len(names) > 1)
    at = place % (len(whole) + 1)
    broken = whole[:at] + '"' + whole[at:]
    path = folder / "q.csv"
    path.write_text(broken, encoding="utf-8", newline="")
    text.PIECE = piece
    try:
        _, found = strings(path, separator=separator)
    except DataError as error:
        assert line_of(pytest.ExceptionInfo.from_exception(error)) >= 1
        return
    expected, refusal = records(broken, separator)
    assert refusal is None and found == [[cell.strip() for cell in fields] for _, fields in expected[1:]]


@many
@given(made=written(), encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252", "latin-1"]),
       zipped=st.booleans(), cut=st.booleans())  # fmt: skip
def test_encodings_are_declared_or_certain(made, encoding, zipped, cut, folder) -> None:
    _, rows, separator, _, content = made
    whole = content.decode().replace("№", "ß")
    encoded = whole.encode(encoding)
    path = folder / "e.csv"
    encoded = encoded[:-1] if cut and encoding.startswith("utf-16") else encoded
    path.write_bytes(gzip.compress(encoded, mtime=0) if zipped else encoded)
    (folder / "plain.csv").write_text(whole, encoding="utf-8", newline="")
    try:
        expected = strings(folder / "plain.csv", separator=separator)
    except DataError:
        return
    certain = encoding in ("utf-8", "utf-8-sig", "utf-16") or (encoding != "utf-16-le" and whole.isascii())
    if len(encoded) < len(whole.encode(encoding)):
        with pytest.raises(DataError):
            strings(path, separator=separator, encoding=encoding)
        return
    assert strings(path, separator=separator, encoding=encoding) == expected
    if certain:
        assert strings(path, separator=separator) == expected
    else:
        with pytest.raises(DataError, match=r"line \d+"):
            strings(path, separator=separator)


INTEGERS = st.integers(-(2**63), 2**63 - 1)
COLUMNS = st.one_of(
    st.lists(st.one_of(st.none(), INTEGERS), min_size=3, max_size=9),
    st.lists(st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False)), min_size=3, max_size=9),
    st.lists(st.text(st.sampled_from("ab01.-+eE"), min_size=1, max_size=6), min_size=3, max_size=9),
    st.lists(st.integers(-(10**30), 10**30).map(str), min_size=3, max_size=9),
    st.lists(st.sampled_from(["007", "7", "7.0", "1e5", "+7", "0x7", "NA", "-0", "true"]), min_size=3, max_size=9),
)


@many
@given(values=COLUMNS, piece=PIECES, blocks=st.booleans())
def test_types_lose_nothing(values, piece, blocks, folder) -> None:
    """Whatever type a column gets, its values are those that were written, exactly."""
    path, whole = folder / "t.csv", ["" if v is None else str(v) for v in values]
    path.write_text("x,y\n" + "".join(f"{cell},1\n" for cell in whole), encoding="utf-8")
    text.PIECE, tables.SMALL = piece, 2**26 if blocks else 0
    frame = pd.concat(table_blocks(open_table(path)), ignore_index=True) if blocks else read_table(path)[0]
    column = frame["x"]
    assert len(column) == len(whole)
    for cell, found in zip(whole, column.astype(object), strict=True):
        if pd.isna(found):
            assert cell in NULLS
        elif isinstance(found, str):
            assert found == cell
        elif isinstance(found, (int, np.integer)):
            assert str(int(found)) == cell
        else:
            assert float(found) == float(cell) and not re.fullmatch(r"[+-]?(0\d+|\d{16,})", cell)
    if all(v is None or isinstance(v, int) for v in values) and any(v is not None for v in values):
        assert str(column.dtype).lower() == "int64"
    (pd.DataFrame({"x": column, "y": 1})).to_parquet(folder / "t.parquet", index=False)
    again = pd.concat(table_blocks(open_table(folder / "t.parquet")), ignore_index=True)["x"]
    assert again.astype(object).where(again.notna(), None).tolist() == column.astype(object).where(
        column.notna(), None).tolist()  # fmt: skip


@many
@given(flips=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 7)), min_size=1, max_size=3))
def test_flipped_bits_of_parquet_are_refused_or_harmless(flips, folder) -> None:
    path = folder / "p.parquet"
    frame = pd.DataFrame({"user": np.arange(60) * 7919, "title": [f"film №{n}" for n in range(60)]})
    table = pa.Table.from_pandas(frame, preserve_index=False)
    pa.parquet.write_table(table, path, write_page_checksum=True, row_group_size=25)
    content = bytearray(path.read_bytes())
    for at, bit in flips:
        content[at % len(content)] ^= 1 << bit
    path.write_bytes(content)
    try:
        pd.concat(table_blocks(open_table(path)), ignore_index=True)
    except DataError as error:
        assert "\n" not in str(error)
