"""Inputs that were once read wrongly without a word, in many variants: read rightly, or refused with the line."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recgnn.data import AdjacencyLog, EventTable, FrameLog, InteractionLog, TableLog, Vocabulary
from recgnn.data.readers.decoding import chunks
from recgnn.errors import DataError

ROWS = [f"{user},{item},{item % 5}" for user in range(1, 21) for item in range(user, user + 6)]
HEADER = "user,item,rating"


def log(path: Path) -> pd.DataFrame:
    return TableLog(path).read().interactions


def events(path: Path) -> pd.DataFrame:
    return EventTable(path).events()


READERS = [log, events]


def refused(path: Path, content: str | bytes, read=log) -> str:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError) as error:
        read(path)
    message = str(error.value)
    assert message.startswith(str(path)) and "\n" not in message
    return message.removeprefix(str(path))


# ---- quotes


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize(
    ("field", "line"),
    [
        ('"', 11),  # never closed
        ('"a"b', 11),  # text behind the closing quote
        ('"a" ', 11),
        ('"""', 11),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_quote_that_cannot_be_meant(field, line, end, read, tmp_path) -> None:
    rows = [f"{row},title" for row in ROWS]
    rows[9] = rows[9].removesuffix("title") + field
    message = refused(tmp_path / "x.csv", end.join([f"{HEADER},title", *rows, ""]), read)
    assert message.startswith(f", line {line}: a quoted field")


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("stop", [3, 4, 60])
def test_a_quote_that_closes_rows_later(stop, read, tmp_path) -> None:
    rows = [f"{row},film {n}" for n, row in enumerate(ROWS)]
    rows[2] = rows[2].replace("film", '"film')
    rows[stop] += '"'
    message = refused(tmp_path / "x.csv", "\n".join([f"{HEADER},title", *rows, ""]), read)
    assert message.startswith(", line 4: a quoted field holds ")


def test_a_table_of_items_with_a_quote(tmp_path) -> None:
    (tmp_path / "x.csv").write_text("\n".join([HEADER, *ROWS]))
    (tmp_path / "items.tsv").write_text(
        "item\ttitle\n" + "".join(f"{n}\tfilm {n}\n" for n in range(1, 30)) + '30\t"W\n'
    )
    with pytest.raises(DataError, match=r"items.tsv, line 31: a quoted field is not closed, at '\"W'"):
        TableLog(tmp_path / "x.csv", items=tmp_path / "items.tsv").read()
    assert (
        TableLog(tmp_path / "x.csv", items=tmp_path / "items.tsv", quotes=False).read().items["title"].iloc[-1] == '"W'
    )


def test_what_quotes_may_hold(tmp_path) -> None:
    """Line ends that are no rows, separators, quotes, and quotes inside of unquoted fields."""
    titles = ["a\nb, c", 'say "x", then\n"y"', '5" pipe', "", "x\r\ny"]
    pd.DataFrame({"user": range(5), "item": range(5), "title": titles}).to_csv(tmp_path / "x.csv", index=False)
    assert events(tmp_path / "x.csv")["title"].fillna("").tolist() == titles


# ---- lines


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("before", ["\n", "\n\n\n", "\r\n", "  \n"])
def test_blank_lines_before_the_header(before, read, tmp_path) -> None:
    end = "\r\n" if "\r" in before else "\n"
    (tmp_path / "x.csv").write_bytes((before + end.join([HEADER, *ROWS])).encode())
    frame = read(tmp_path / "x.csv")
    assert len(frame) == len(ROWS) and frame["user"].tolist()[:2] == [1, 1]


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("end", ["\r", "\r\n"])
def test_line_ends_of_two_kinds(end, read, tmp_path) -> None:
    lines = [HEADER, *ROWS]
    content = "\n".join(lines[:5]) + end + "\n".join(lines[5:])
    assert refused(tmp_path / "x.csv", content, read).startswith(", line 5: ends in CR")


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize(
    ("row", "count"), [("7,7", "2 fields"), ("7,7,7,7", "4 fields"), ("7", "1 field"), (" ", "1 field")]
)
def test_rows_of_another_length(row, count, read, tmp_path) -> None:
    message = refused(tmp_path / "x.csv", "\n".join([HEADER, *ROWS[:7], "", row, *ROWS[7:]]), read)
    assert message.startswith(f", line 10: {count} where the header has 3")


# ---- encodings


@pytest.mark.parametrize("read", READERS)
def test_a_byte_that_is_not_utf8(read, tmp_path) -> None:
    content = "\n".join([HEADER, *(f"ü{row}" for row in ROWS), ""]).encode() + b"\xfc1,2,3\n"
    assert refused(tmp_path / "x.csv", content, read).startswith(f", line {len(ROWS) + 2}: byte 0xfc is not UTF-8")
    (tmp_path / "y.csv").write_bytes("\n".join([HEADER, "ü,2,3"]).encode("latin-1"))
    assert TableLog(tmp_path / "y.csv", encoding="latin-1").read().interactions["user"].tolist() == ["ü"]
    assert EventTable(tmp_path / "y.csv", encoding="cp1252").events()["user"].tolist() == ["ü"]


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf16_cut_short_or_without_a_mark(encoding, read, tmp_path) -> None:
    content = "\n".join([HEADER, *ROWS]).encode(encoding)
    refused(tmp_path / "x.csv", content[:-1], read)
    if encoding != "utf-16":
        assert "NUL byte" in refused(tmp_path / "x.csv", content, read)


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("line", [2, 9])
def test_a_mark_in_the_middle(line, read, tmp_path) -> None:
    """As in two files that were joined; at the start it is none of the text, whatever the encoding."""
    rows = [HEADER, *ROWS]
    rows[line - 1] = "\ufeff" + rows[line - 1]
    for end in ("\n", "\r\n"):
        message = refused(tmp_path / "x.csv", end.join(rows), read)
        assert message.startswith(f", line {line}: holds a byte order mark")
    for encoding in ("utf-8-sig", "utf-16"):  # a second mark, after that of the encoding
        (tmp_path / "z.csv").write_text("\ufeff" + "\n".join([HEADER, *ROWS]), encoding=encoding)
        with pytest.raises(DataError, match="z.csv, line 1: holds a byte order mark"):
            read(tmp_path / "z.csv")
    for encoding in ("utf-8", "utf-16-le"):
        (tmp_path / "y.csv").write_text("\ufeff" + "\n".join([HEADER, *ROWS]), encoding=encoding)
        frame = EventTable(tmp_path / "y.csv", encoding=encoding).events()
        assert list(frame) == HEADER.split(",") and len(frame) == len(ROWS)


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("zipped", [False, True])
def test_a_nul_far_down(zipped, read, tmp_path) -> None:
    rows = ROWS * 2000
    content = "\n".join([HEADER, *rows, "a\0b,1,1", ""]).encode()
    content = gzip.compress(content, 1, mtime=0) if zipped else content
    assert refused(tmp_path / "x.csv", content, read).startswith(f", line {len(rows) + 2}: holds a NUL byte")


# ---- ids

LARGE = 1234567890123456780  # 19 digits; neighbours have one float


@pytest.mark.parametrize(
    "column",
    [
        [LARGE, LARGE + 1], [str(LARGE), str(LARGE + 1)], [f"{LARGE}.0", f" {LARGE + 1} "],
        np.array([LARGE, LARGE + 1], dtype=np.uint64), pd.array([LARGE, LARGE + 1], dtype="Int64"),
        pd.Categorical([str(LARGE), str(LARGE + 1)]), [str(LARGE), LARGE + 1],
    ],
)  # fmt: skip
def test_an_integer_id_is_known_however_it_is_given(column) -> None:
    known = Vocabulary.fit(pd.Series([LARGE, LARGE + 1, LARGE + 2], name="user"))
    assert known.encode(pd.Series(column)).tolist() == [0, 1]
    assert known.require(list(pd.Series(column))).tolist() == [0, 1]
    with_gap = pd.concat([pd.Series(column).astype(object), pd.Series([None], dtype=object)])
    assert known.encode(with_gap).tolist() == [0, 1, -1]


@pytest.mark.parametrize("unknown", ["9" * 19, "9" * 30, "9" * 5000, "-" + "9" * 5000, "1e3", "", "x", "1.5", True])
def test_what_is_no_known_integer(unknown) -> None:
    known = Vocabulary.fit(pd.Series([1, 2, 1000], name="user"))
    assert known.encode(pd.Series([unknown, "1"], dtype=object)).tolist() == [-1, 0]
    with pytest.raises(DataError) as error:
        known.require([unknown], "user")
    assert len(str(error.value)) < 200


@pytest.mark.parametrize("written", [["3", "7"], [3, 7], [3.0, 7.0], [3.0, 7.0, None], [" 3", "7 "]])
def test_a_text_id_is_known_however_it_is_given(written) -> None:
    known = Vocabulary.fit(pd.Series(["3", "7", "x"], name="item"))
    assert known.encode(pd.Series(written)).tolist()[:2] == [0, 1]


@pytest.mark.parametrize("write", [str, "{}.0".format, "{:03}".format, float])
@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_items_whose_ids_are_written_otherwise(write, form, tmp_path) -> None:
    (tmp_path / "x.csv").write_text("\n".join([HEADER, *ROWS]))
    items = pd.DataFrame({"item": [write(n) for n in range(1, 26)], "title": [f"film {n}" for n in range(1, 26)]})
    path = tmp_path / f"items.{form}"
    items.to_csv(path, index=False) if form == "csv" else items.to_parquet(path)
    found = TableLog(tmp_path / "x.csv", items=path).read().items
    assert found["item"].tolist() == list(range(1, 26)) and found["title"].iloc[4] == "film 5"


def test_a_table_of_other_ids_is_refused() -> None:
    frame = pd.DataFrame({"user": [1, 2], "item": [1, 2]})
    with pytest.raises(DataError, match="the items table: none of its 2 items, such as 'a', is in the log"):
        FrameLog(frame, items=pd.DataFrame({"item": ["a", "b"], "title": ["A", "B"]})).read()


@pytest.mark.parametrize("low", [2**53, 10**18, 2**63 - 20])
@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_large_ids_in_a_column_with_a_gap(low, form, tmp_path) -> None:
    ids = [low + n for n in range(15)] + [None]
    frame = pd.DataFrame({"who": pd.array(ids, dtype="Int64"), "label": [0, 1] * 8})
    path = tmp_path / f"x.{form}"
    frame.to_csv(path, index=False) if form == "csv" else frame.to_parquet(path)
    found = EventTable(path).events()["who"]
    assert [None if pd.isna(x) else int(x) for x in found] == ids


def test_ids_of_any_length_stay_apart(tmp_path) -> None:
    ids = ["9" * 20, "9" * 19 + "8", "9" * 40, "1"]
    (tmp_path / "x.csv").write_text("user,item\n" + "".join(f"{i},{i}\n" for i in ids))
    for frame in (log(tmp_path / "x.csv"), events(tmp_path / "x.csv")):
        assert frame["user"].astype(str).tolist() == ids
    assert (
        FrameLog(pd.DataFrame({"user": [int(i) for i in ids], "item": ids})).read().interactions["user"].tolist() == ids
    )


@pytest.mark.parametrize("cells", [[[1], [2]], [{"a": 1}, {"a": 2}], [b"x", b"y"], [1, "a"], [None, 1]])
def test_cells_that_are_no_ids(cells, tmp_path) -> None:
    with pytest.raises(DataError, match="column 'user': ") as error:
        InteractionLog(pd.DataFrame({"user": pd.Series(cells, dtype=object), "item": [1, 2]}))
    assert "\n" not in str(error.value)


# ---- times


@pytest.mark.parametrize("when", ["9" * 20, "1e300", str(2**64 - 1), str(2**63), "-1e19", "inf", "nan"])
def test_times_beyond_all_times(when, tmp_path) -> None:
    rows = [f"{user},{item},{1_700_000_000 + user}" for user in range(3) for item in range(3)]
    message = refused(tmp_path / "x.csv", "\n".join(["user,item,timestamp", *rows, f"4,1,{when}"]))
    assert message.startswith(", line 11, column 'timestamp': ")
    frame = pd.DataFrame({"user": [1, 2], "item": [1, 2], "timestamp": np.array([1, 2**64 - 1], dtype=np.uint64)})
    with pytest.raises(DataError, match="row 2, column 'timestamp': 18446744073709551615"):
        InteractionLog(frame)


# ---- columns and parts


def test_parts_with_other_columns(tmp_path) -> None:
    (tmp_path / "a.csv").write_text("label,who,genre\n1,2,3\n0,2,3\n")
    (tmp_path / "b.csv").write_text("label,genres,who\n1,2,3\n0,2,3\n")
    (tmp_path / "c.csv").write_text("who,genre,label\n2,3,1\n2,3,0\n")
    with pytest.raises(
        DataError, match=r"b.csv: no column 'genre' \(did you mean 'genres'\?\); found: label, genres, who"
    ):
        EventTable(train=tmp_path / "a.csv", test=tmp_path / "b.csv").events()
    found = EventTable(train=tmp_path / "a.csv", test=tmp_path / "c.csv").events()
    assert found["genre"].tolist() == [3] * 4 and found["label"].tolist() == [1, 0, 1, 0]


def test_two_columns_of_a_name_in_parquet(tmp_path) -> None:
    table = pa.Table.from_arrays([pa.array([1, 2])] * 3, names=["user", "item", "user"])
    pq.write_table(table, tmp_path / "x.parquet")
    for read in READERS:
        with pytest.raises(DataError, match="two columns are named 'user'"):
            read(tmp_path / "x.parquet")


def test_a_header_line_in_a_file_of_lists(tmp_path) -> None:
    (tmp_path / "train.txt").write_text("user item item\n0 1 2\n1 2 3\n")
    with pytest.raises(DataError, match="train.txt, line 1: names columns"):
        AdjacencyLog(tmp_path / "train.txt").read()
    for line, odd in (("0: 1 2", "'0:'"), ("0 [1, 2]", r"'\[1,'"), ("0 1, 2", "'1,'")):
        (tmp_path / "train.txt").write_text(f"5 7\n{line}\n")
        with pytest.raises(DataError, match=f"train.txt, line 2: {odd}; expected `user item item ...`"):
            AdjacencyLog(tmp_path / "train.txt").read()
    (tmp_path / "train.txt").write_text("u0 a b\nu1 b c\n")
    assert len(AdjacencyLog(tmp_path / "train.txt").read()) == 4


@pytest.mark.parametrize("separator", ["::", "ab", "§", " | ", "\\t"])
def test_separators_of_several_letters(separator, tmp_path) -> None:
    rows = [row.replace(",", "\t" if separator == "\\t" else separator) for row in [HEADER, *ROWS * 400]]
    (tmp_path / "x.txt").write_text("\n".join(rows), encoding="utf-8")
    for frame in (TableLog(tmp_path / "x.txt", separator=separator).read().interactions,
                  EventTable(tmp_path / "x.txt", separator=separator).events()):  # fmt: skip
        assert len(frame) == len(ROWS) * 400 and frame["item"].iloc[-1] == 25


def test_a_gzip_file_that_grows_beyond_all_tables(tmp_path) -> None:
    path = tmp_path / "x.csv.gz"
    path.write_bytes(gzip.compress(b"1,2\n" * 2**23 * 3))  # 100 MB in 100 kB
    with pytest.raises(DataError, match=r"x.csv.gz: [\d,]+ bytes that unpack to 500 times as many are no table"):
        for _ in chunks(path, 2**20):
            pass
    path.write_bytes(gzip.compress(b"1,2\n" * 2**20))
    assert sum(map(len, chunks(path, 2**20))) == 2**22
