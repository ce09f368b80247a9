"""What is read from files: JSON lines, several files, remote ones, some rows only, broken rows."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from recgnn.data import EventTable, TableLog
from recgnn.data.readers.jsonlines import JsonTable, is_json
from recgnn.data.readers.tables import open_table, read_table, table_blocks
from recgnn.errors import ConfigError, DataError


def write(path: Path, rows: list) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


# ---- JSON lines


def test_json_lines_as_python_reads_them(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    values = [None, 1, -7, 2.5, True, "a", "1", "2020-01-02", "ü,\n\"", [1, 2], ["x"], [], {"a": 1}]
    rows = [{f"c{k}": values[random.integers(len(values))] for k in random.permutation(4)[:3]} for _ in range(200)]
    rows += [{"n": 12345678901234567890}, {"n": 3}, {"date": "2018-01-01 10:00:00"}]
    frame, _ = read_table(write(tmp_path / "log.jsonl", rows))
    assert len(frame) == len(rows) and "n" in frame and {"c0", "c1", "c2", "c3"} & set(frame.columns) == set()  # mixed
    assert frame["n"].dropna().tolist() == ["12345678901234567890", "3"]
    assert frame["date"].dropna().tolist() == ["2018-01-01 10:00:00"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, 2, None], [1, 2, None]), ([1, 2.5], [1.0, 2.5]), ([True, False, None], [True, False, None]),
        (["a", 7, 1.50], ["a", "7", "1.5"]), ([[1, 2], [], None], [[1, 2], [], None]), ([2**63, 1], [str(2**63), "1"]),
        ([["a"], ["b", "c"]], [["a"], ["b", "c"]]), (["01", "1"], ["01", "1"]),
    ],
)  # fmt: skip
def test_a_column_has_one_type(tmp_path: Path, values: list, expected: list) -> None:
    table = JsonTable(write(tmp_path / "a.jsonl", [{"x": value, "y": 0} for value in values]))
    assert [v for t in table.tables(["x"]) for v in t["x"].to_pylist()] == expected


def test_a_log_in_json_lines(tmp_path: Path) -> None:
    rows = [{"reviewerID": f"u{k % 3}", "asin": f"0{k}", "overall": 5.0, "unixReviewTime": k, "style": {"Size:": "S"}}
            for k in range(9)]  # fmt: skip
    path = tmp_path / "Beauty_5.json.gz"
    path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    log = TableLog(path, "reviewerID", "asin", "overall", "unixReviewTime").read()
    assert log.interactions["item"].tolist() == [f"0{k}" for k in range(9)]
    assert log.interactions["timestamp"].tolist() == list(range(9)) and "style" not in log.interactions


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"user": 1, "item": 2}\n\n{"user": 1, "item": \n{"user": 3, "item": 4}\n')
    with pytest.raises(DataError, match="log.jsonl, line 3: is no JSON object.*on_bad_rows: drop"):
        read_table(path)
    frame, origin = read_table(path, on_bad_rows="drop")
    assert frame["user"].tolist() == [1, 3] and "1 rows that cannot be read are left out" in origin.notes[0]
    assert origin.line(1) == 4
    (tmp_path / "array.json").write_text('[{"user": 1}]')
    with pytest.raises(DataError, match="is one JSON array; expected JSON lines"):
        read_table(tmp_path / "array.json")
    path.write_text('{"user": 1}\n3\n')
    with pytest.raises(DataError, match="line 2: is no JSON object"):
        read_table(path)


def test_a_csv_that_begins_with_a_brace_is_no_json(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("{user},item\n1,2\n")
    assert not is_json(tmp_path / "a.csv")


# ---- several files, remote files


def test_files_of_a_pattern_are_one_table(tmp_path: Path) -> None:
    for name, item in (("part-2.csv", "x"), ("part-1.csv", "7"), ("other.csv", "no")):
        (tmp_path / name).write_text(f"user,item,rating\n1,{item},3\n2,{item},4\n")
    log = TableLog(str(tmp_path / "part-*.csv"))
    assert log.read().interactions["item"].tolist() == ["7", "7", "x", "x"]  # one type for both
    blocks = list(table_blocks(open_table(str(tmp_path / "part-*.csv"))))
    assert pd.concat(blocks)["item"].tolist() == ["7", "7", "x", "x"]
    (tmp_path / "part-2.csv").write_text("user,item,rating\n1,x,3\n2,x,four\n")
    with pytest.raises(DataError, match="line 3 of part-2.csv, column 'rating': 'four'"):
        log.read()
    (tmp_path / "part-2.csv").write_text("user,item\n1,x\n")
    with pytest.raises(DataError, match="part-2.csv: no column 'rating'"):
        log.read()
    with pytest.raises(DataError, match="no file fits this pattern"):
        TableLog(str(tmp_path / "none-*.csv")).read()


def test_files_in_another_order_of_columns(tmp_path: Path) -> None:
    (tmp_path / "1.csv").write_text("user,item\n1,2\n")
    (tmp_path / "2.csv").write_text("item,user\n3,4\n")
    frame = TableLog(str(tmp_path / "*.csv")).read().interactions
    assert frame.values.tolist() == [[1, 2], [4, 3]]


def test_a_remote_file(tmp_path: Path, monkeypatch) -> None:
    import fsspec

    monkeypatch.setenv("RECGNN_CACHE", str(tmp_path))
    with fsspec.open("memory://logs/day.csv", "w") as file:
        file.write("user,item\n1,2\n3,4\n")
    source = TableLog("memory://logs/day.csv")
    assert source.read().interactions["item"].tolist() == [2, 4] and source.name == "day"
    assert len(source.fingerprint()) == 64
    with pytest.raises(DataError, match="memory://logs/none.csv: the file cannot be had"):
        TableLog("memory://logs/none.csv").read()
    with pytest.raises(DataError, match="nonsense://a.csv: the file cannot be had"):
        TableLog("nonsense://a.csv").read()


# ---- some rows only


def test_rows_of_one_kind_are_read(tmp_path: Path) -> None:
    rows = [(u, i, ("pv", "buy", "cart")[(u + i) % 3]) for u in range(30) for i in range(20)]
    frame = pd.DataFrame(rows, columns=["user", "item", "behavior"])
    frame.to_csv(tmp_path / "log.csv", index=False)
    frame.to_parquet(tmp_path / "log.parquet")
    expected = frame[frame.behavior == "buy"]
    for name in ("log.csv", "log.parquet"):
        log = TableLog(tmp_path / name, keep="behavior == 'buy'").read()
        assert log.interactions[["user", "item"]].values.tolist() == expected[["user", "item"]].values.tolist()
        assert log.notes == ("400 of 600 rows are left out (keep: behavior == 'buy')",)
        events = EventTable(tmp_path / name, keep="behavior == 'buy'").events()
        assert events[["user", "item"]].values.tolist() == expected[["user", "item"]].values.tolist()
    with pytest.raises(DataError, match="keep: no column 'behaviour' .did you mean 'behavior'"):
        TableLog(tmp_path / "log.csv", keep="behaviour == 'buy'").read()
    with pytest.raises(ConfigError, match="keep: 'behavior' is no rule"):
        TableLog(tmp_path / "log.csv", keep="behavior")


def test_the_line_of_a_mistake_among_kept_rows(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("user,item,rating,kind\n1,2,3,a\n1,3,x,b\n\n2,2,bad,a\n")
    with pytest.raises(DataError, match="line 5, column 'rating': 'bad'"):
        TableLog(tmp_path / "log.csv", keep="kind == 'a'").read()


# ---- broken rows


def test_broken_rows_are_named_or_dropped_and_counted(tmp_path: Path) -> None:
    lines = [f"{k},{k + 1},5" for k in range(100)]
    lines[20], lines[50], lines[51], lines[99] = "only one", "a,b,c,d,e", "x,y", "1,2,3,4"
    path = tmp_path / "log.csv"
    path.write_text("user,item,rating\n" + "\n".join(lines) + "\n")
    with pytest.raises(DataError, match="line 22: 1 field where the header has 3"):
        TableLog(path).read()
    log = TableLog(path, on_bad_rows="drop").read()
    assert log.interactions["user"].tolist() == [k for k in range(99) if k not in (20, 50, 51)]
    assert log.notes[0].endswith("4 rows that cannot be read are left out, such as 'only one', 'a,b,c,d,e', 'x,y'")
    source = EventTable(path, on_bad_rows="drop")
    assert len(source.events()) == 96 and "4 rows" in source.notes[0]
    table = open_table(path, on_bad_rows="drop")
    list(table.tables())
    assert [table.line_of(row) for row in (19, 20, 95)] == [21, 23, 100]


# ---- packed files


def zstd(content: bytes) -> bytes:
    return pa.compress(content, codec="zstd", asbytes=True)


PACKERS = [("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress), ("zst", zstd)]


@pytest.mark.parametrize(("end", "pack"), PACKERS)
def test_packed_text_is_unpacked_whatever_its_name(end, pack, tmp_path: Path) -> None:
    content = b"user\titem\n" + b"".join(b"%d\t%d\n" % (n, n * n) for n in range(5000))
    for name in (f"log.tsv.{end}", "log.tsv"):
        path = tmp_path / name
        path.write_bytes(pack(content))
        assert TableLog(path).read().interactions["item"].tolist() == [n * n for n in range(5000)]
    path.write_bytes(pack(content)[:-9])
    with pytest.raises(DataError, match="log.tsv: is no readable (gzip|bzip2|xz|Zstandard) file: "):
        TableLog(path).read()
    path.write_bytes(pack(b'{"user": 1, "item": 2}\n'))
    assert TableLog(path.rename(tmp_path / f"log.jsonl.{end}")).read().interactions["item"].tolist() == [2]


@pytest.mark.parametrize(
    ("begin", "message"),
    [(b"PK\x03\x04", "a zip archive or a workbook; unpack it"), (b"ARROW1\0\0", "an Arrow .Feather. file; write"),
     (b"SQLite format 3\0", "an SQLite database"), (b"[{", "one JSON array; expected JSON lines, .*jq -c")],
)  # fmt: skip
def test_files_of_other_kinds_are_called_by_their_name(begin, message, tmp_path: Path) -> None:
    (tmp_path / "log.json").write_bytes(begin + b" " * 100)
    with pytest.raises(DataError, match=f"log.json: is {message}") as error:
        TableLog(tmp_path / "log.json").read()
    assert "\n" not in str(error.value)
