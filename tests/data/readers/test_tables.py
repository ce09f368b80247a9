"""Reading tables: nothing is lost, and every mistake has its line."""

from __future__ import annotations

import gzip
from pathlib import Path

import pandas as pd
import pytest

from recgnn.data.readers.tables import read_table
from recgnn.errors import DataError


def _read(tmp_path: Path, text: str | bytes, name: str = "r.csv", **options):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_table(path, **options)


@pytest.mark.parametrize("separator", [",", "\t", ";", "|", "::", " "])
def test_the_separator_is_found_out(tmp_path: Path, separator: str) -> None:
    lines = [["u", "i", "r"], ["1", "a.b", "3.5"], ["2", "c", "4"]]
    frame, _ = _read(tmp_path, "\n".join(separator.join(fields) for fields in lines))
    assert frame.to_dict("list") == {"u": [1, 2], "i": ["a.b", "c"], "r": [3.5, 4.0]}


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        (["1", "-2"], [1, -2]),
        (["007", "8"], ["007", "8"]),
        (["1", "a"], ["1", "a"]),
        (["1.0", "2.0"], [1, 2]),
        (["1.0", "2"], ["1.0", "2"]),
        (["+1", "2"], ["+1", "2"]),
        (["NA", "null"], ["NA", "null"]),
        (["99999999999999999999", "1"], ["99999999999999999999", "1"]),
    ],
)
def test_ids_are_integers_only_where_nothing_is_lost(tmp_path: Path, written, kept) -> None:
    frame, _ = _read(tmp_path, "\n".join(["u,i"] + [f"{w},1" for w in written]), ids=["u", "i"])
    assert frame["u"].tolist() == kept


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        (["1.5", "NaN"], [1.5, None]),
        (["3", ""], [3, None]),
        (["08540", "11111"], ["08540", "11111"]),
        (["true", "false"], ["true", "false"]),
        (["12:30", ""], ["12:30", None]),
    ],
)
def test_other_columns_keep_what_they_say(tmp_path: Path, written, kept) -> None:
    frame, _ = _read(tmp_path, "\n".join(["x,i"] + [f"{w},1" for w in written]))
    assert frame["x"].astype(object).where(frame["x"].notna(), None).tolist() == kept


@pytest.mark.parametrize(
    ("encoded", "encoding"),
    [
        ("u,t\n1,Amélie\n".encode(), None),
        ("\ufeffu,t\r\n1,Amélie\r\n".encode(), None),
        ("u,t\n1,Amélie\n".encode("latin-1"), "latin-1"),
        ("u,t\n1,Amélie\n".encode("utf-16"), None),
        ("u,t\n1,Amélie\n".encode("utf-16-le"), "utf-16-le"),
        (gzip.compress("u,t\n1,Amélie\n".encode(), mtime=0), None),
    ],
)
def test_encodings(tmp_path: Path, encoded: bytes, encoding: str | None) -> None:
    assert _read(tmp_path, encoded, encoding=encoding)[0].to_dict("list") == {"u": [1], "t": ["Amélie"]}


def test_quotes_and_lines(tmp_path: Path) -> None:
    text = 'u,t\n1,"a, ""b""\nc"\n\n2,d\n'
    frame, origin = _read(tmp_path, text)
    assert frame["t"].tolist() == ['a, "b"\nc', "d"]
    assert [origin.line(row) for row in (0, 1)] == [2, 5]
    plain, _ = _read(tmp_path, 'u\tt\n1\t"a\n2\tb"\n', "r.tsv", quotes=False)
    assert plain["t"].tolist() == ['"a', 'b"']


def test_a_file_without_header(tmp_path: Path) -> None:
    frame, origin = _read(tmp_path, "1::5\n2::6\n", columns=["u", "i"])
    assert frame.to_dict("list") == {"u": [1, 2], "i": [5, 6]}
    assert origin.at(1, "i").endswith("r.csv, line 2, column 'i'")


def test_parquet_by_content(tmp_path: Path) -> None:
    frame = pd.DataFrame({"u": ["007"], "x": [1.5]}, index=[4])
    frame.to_parquet(tmp_path / "r.parquet")
    read, _ = read_table(tmp_path / "r.parquet")
    assert read.to_dict("list") == {"u": ["007"], "x": [1.5]}
    (tmp_path / "r.parquet").rename(tmp_path / "r.csv")
    assert len(read_table(tmp_path / "r.csv")[0]) == 1


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("", "r.csv", "is empty"),
        ("\n \n", "r.csv", "is empty"),
        ("u,i\n", "r.csv", "has a header line and no rows"),
        (b"\x89PNG\r\n\x00\x00", "r.csv", "is a binary file"),
        (b"PAR1garbage", "r.csv", "no readable Parquet"),
        ("u,i\n1,2\n", "r.parquet", "is no Parquet file"),
        (b"\x1f\x8bxx", "r.csv.gz", "no readable gzip"),
        ("u,i\n1,2\n1,2,3\n", "r.csv", "line 3: 3 fields where the header has 2"),
        ("u,i\n1,2\n\n1\n", "r.csv", "line 4: 1 field where the header has 2"),
        ("u,u\n1,2\n", "r.csv", "line 1: two columns are named 'u'"),
        ('u,i\n"1,2\n' + "3,4\n" * 50_000, "r.csv", "line 2: .*(quote|1 field)"),
    ],
)
def test_mistakes_are_one_line_with_the_place(tmp_path: Path, text, name, message) -> None:
    with pytest.raises(DataError, match=message) as error:
        _read(tmp_path, text, name)
    assert "\n" not in str(error.value) and str(tmp_path / name) in str(error.value)
