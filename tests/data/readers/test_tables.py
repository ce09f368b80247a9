"""Reading tables: nothing is lost, and every mistake has its line."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from recgnn.data.readers import tables as blocks
from recgnn.data.readers import text
from recgnn.data.readers.tables import open_table, read_table, table_blocks
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


def test_a_blank_within_names_is_no_separator_where_another_cuts_most_lines(tmp_path: Path) -> None:
    text = "customer id,sku,n\nü 1,a 1,2\nü 2,a 2,3,x\nü 3,a 3,4\n"
    frame, _ = _read(tmp_path, text, on_bad_rows="drop")
    assert frame.to_dict("list") == {"customer id": ["ü 1", "ü 3"], "sku": ["a 1", "a 3"], "n": [2, 4]}


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


def test_quotes_within_fields_beside_quotes_that_open_none(tmp_path: Path) -> None:
    """A quote in the middle of a field is a character; the others are read one by one then, doubled ones too."""
    text = 'u,t\n1,5" pipe\n2,"a ""b"", c"\n3,""""\n4,"x"\n'
    frame, _ = _read(tmp_path, text, "q.csv")
    assert frame["t"].tolist() == [row[1] for row in csv.reader(text.splitlines())][1:]


def test_quotes_and_lines(tmp_path: Path) -> None:
    content = 'u,t\n1,"a, ""b""\nc"\n\n2,d\n'
    frame, origin = _read(tmp_path, content)
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


# ---- in blocks


def table(n: int = 50) -> pd.DataFrame:
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"label": random.integers(0, 2, n), "who": random.integers(0, 9, n)})
    frame["late"] = pd.array(np.where(np.arange(n) < 40, 3, 2**60 + 1), dtype="Int64")  # no float has that
    frame.loc[[1, 45], "late"] = None
    frame["number"] = np.where(np.arange(n) < 30, np.round(random.random(n) * 5), random.random(n))
    frame["tags"] = random.choice(["a|b", "c", "b|d|a", None], n)
    frame["mixed"] = np.where(np.arange(n) < 20, "7", "x")
    frame["empty"] = [None] * 25 + ["007"] * (n - 25)
    return frame


@pytest.fixture
def short(monkeypatch) -> None:
    monkeypatch.setattr(blocks, "ROWS", 7)


def as_text(frame: pd.DataFrame) -> list[list[str]]:
    return [["" if pd.isna(x) else f"{x:.12g}" if isinstance(x, float) else str(x) for x in row] for row in
            frame.astype(object).to_numpy().tolist()]  # fmt: skip


def test_parquet_in_blocks(tmp_path, short) -> None:
    whole = table()
    whole.to_parquet(tmp_path / "x.parquet", row_group_size=20)
    found = list(table_blocks(open_table(tmp_path / "x.parquet")))
    assert [len(b) for b in found] == [7] * 7 + [1]  # whatever the row groups
    assert as_text(pd.concat(found)) == as_text(whole)
    some = list(table_blocks(open_table(tmp_path / "x.parquet"), ["who", "nobody"]))
    assert all(list(b.columns) == ["who"] for b in some)


@pytest.mark.parametrize("header", [True, False])
def test_long_text_has_one_type_a_column(header, tmp_path, short, monkeypatch) -> None:
    """Integers in the first block and text in a later one are text in both; gaps do not make integers floats."""
    monkeypatch.setattr(blocks, "SMALL", 0)
    monkeypatch.setattr(text, "PIECE", 256)  # bytes
    whole = table()
    whole.to_csv(tmp_path / "x.csv", index=False, header=header)
    found = list(table_blocks(open_table(tmp_path / "x.csv", columns=None if header else list(whole.columns))))
    assert len(found) > 7 and max(map(len, found)) <= 7
    joined = pd.concat(found, ignore_index=True)
    assert as_text(joined) == as_text(whole)
    kinds = {name: {str(b[name].dtype).lower() for b in found} for name in whole.columns}
    assert kinds["mixed"] == kinds["empty"] == kinds["tags"] == {"str"}
    assert kinds["late"] == kinds["label"] | {"int64"} == {"int64"} and kinds["number"] == {"float64"}


def test_long_text_that_is_broken(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(blocks, "SMALL", 0)
    (tmp_path / "x.csv").write_text("a,b\n1,2\n3\n")
    with pytest.raises(DataError, match="x.csv, line 3: 1 field where the header has 2"):
        list(table_blocks(open_table(tmp_path / "x.csv")))
    (tmp_path / "y.csv").write_text("a,a\n1,2\n")
    with pytest.raises(DataError, match="two columns are named 'a'"):
        list(table_blocks(open_table(tmp_path / "y.csv")))
