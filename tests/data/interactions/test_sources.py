"""Sources: hand-made files with known answers."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from recgnn.data.interactions.sources import AdjacencyLog, AtomicLog, FrameLog, TableLog
from recgnn.errors import DataError


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "shop.csv"
    path.write_text("userId,movieId,rating,timestamp,device\n1,10,4,100,x\n2,20,3.5,90,y\n")
    (tmp_path / "movies.csv").write_text("movieId;title;rating\n20;B;R\n10;A;PG\n")
    return path


def test_table_log(table: Path) -> None:
    source = TableLog(table, "userId", "movieId", items=table.with_name("movies.csv"))
    log = source.read()
    assert log.interactions.to_dict("list") == {
        "user": [1, 2],
        "item": [10, 20],
        "rating": [4.0, 3.5],
        "timestamp": [100, 90],
        "device": ["x", "y"],
    }
    assert log.items.to_dict("list") == {
        "item": [20, 10],
        "title": ["B", "A"],
        "rating": ["R", "PG"],
    }
    assert log.name == source.name == "shop"


def test_table_log_options(table: Path) -> None:
    options = {"user": "userId", "item": "movieId", "name": "x"}
    bare = TableLog(table, rating="", timestamp="", **options).read()
    assert [*bare.interactions.columns] == ["user", "item", "device"] and bare.name == "x"
    titled = TableLog(table, title="device", **options).read()
    assert titled.items.to_dict("list") == {"item": [10, 20], "title": ["x", "y"]}
    headless = table.with_name("u.data")
    headless.write_text("1\t10\t4\n2\t20\t3\n")
    log = TableLog(headless, columns=["user", "item", "rating"]).read()
    assert log.interactions["rating"].tolist() == [4, 3]
    with pytest.raises(DataError, match=r"holds numbers, not names: 1, 10, 4; .*columns=\["):
        TableLog(headless).read()


def test_table_log_and_parquet_agree(table: Path) -> None:
    pd.read_csv(table).to_parquet(table.with_name("shop.parquet"))
    logs = [
        TableLog(table.with_name(n), "userId", "movieId").read()
        for n in ("shop.csv", "shop.parquet")
    ]
    pd.testing.assert_frame_equal(logs[0].interactions, logs[1].interactions)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, r"shop.csv: no column 'user' \(did you mean 'userId'\?\); found: userId, movieId"),
        ({"user": "userId", "item": "movieID"}, r"no column 'movieID' \(did you mean 'movieId'"),
        ({"user": "userId", "item": "userId"}, "column 'userId' is chosen twice"),
        ({"user": "userId", "item": "movieId", "rating": "stars"}, "no column 'stars'"),
        ({"user": "userId", "item": "movieId", "rating": "device"}, "line 2, column 'device': 'x'"),
        ({"user": "userId", "item": "movieId", "separator": ";"}, "check the separator"),
        ({"user": "userId", "item": "movieId", "title": "name"}, "no column 'name'"),
    ],
)
def test_table_log_mistakes(table: Path, options: dict, message: str) -> None:
    with pytest.raises(DataError, match=message) as error:
        TableLog(table, **options).read()
    assert "\n" not in str(error.value)


def test_table_log_names_file_and_line_of_a_side_table(table: Path) -> None:
    movies = table.with_name("movies.csv")
    movies.write_text("movieId,title\n10,A\n\n10,B\n")
    with pytest.raises(DataError, match="movies.csv, line 4, column 'movieId': item 10 has a row"):
        TableLog(table, "userId", "movieId", items=movies).read()
    movies.write_text("id,title\n10,A\n")
    with pytest.raises(DataError, match="movies.csv: no column 'movieId'"):
        TableLog(table, "userId", "movieId", items=movies).read()


def test_the_fingerprint_follows_content_and_arguments(table: Path) -> None:
    first = TableLog(table, "userId", "movieId").fingerprint()
    assert first == TableLog(str(table), "userId", "movieId").fingerprint()
    assert first != TableLog(table, "userId", "movieId", rating="").fingerprint()
    assert first != TableLog(table, "userId", "movieId", name="other").fingerprint()
    table.write_text(table.read_text().replace("3.5", "3"))
    assert first != TableLog(table, "userId", "movieId").fingerprint()


def test_atomic_log(tmp_path: Path) -> None:
    folder = tmp_path / "ml"
    folder.mkdir()
    inter = folder / "ml.inter"
    inter.write_text(
        "user_id:token\titem_id:token\trating:float\ttimestamp:float\n1\ta\t4\t9\n2\tb\t3\t8\n"
    )
    (folder / "ml.item").write_text(
        'item_id:token\tmovie_title:token_seq\tyear:token\na\t"A\t07\nb\tB\t08\n'
    )
    log = AtomicLog(folder).read()
    assert log.interactions.to_dict("list") == {
        "user": [1, 2],
        "item": ["a", "b"],
        "rating": [4.0, 3.0],
        "timestamp": [9, 8],
    }
    assert log.items.to_dict("list") == {
        "item": ["a", "b"],
        "title": ['"A', "B"],
        "year": ["07", "08"],
    }
    assert log.users is None and log.name == "ml"
    before = AtomicLog(inter).fingerprint()
    (folder / "ml.user").write_text("user_id:token\tage:float\n1\t30\n")
    assert AtomicLog(inter).read().users["age"].tolist() == [30]
    assert AtomicLog(inter).fingerprint() != before
    with pytest.raises(DataError, match="ml.inter: no column 'uid'"):
        AtomicLog(inter, user="uid").read()
    inter.write_text("user_id,item_id\n1,2\n")
    with pytest.raises(DataError, match="ml.inter, line 1: 'user_id,item_id' has no type"):
        AtomicLog(inter).read()
    (folder / "two.inter").write_text("")
    with pytest.raises(DataError, match="expected one .inter file, found ml.inter, two.inter"):
        AtomicLog(folder).read()


def test_adjacency_log(tmp_path: Path) -> None:
    train, test = tmp_path / "train.txt", tmp_path / "test.txt"
    train.write_text("0 5 6\n1 7\n2 \n\n")
    test.write_text("0 7\n1\n2 5  6\n")
    frame = AdjacencyLog(train, test).read().interactions
    assert frame[["user", "item", "split"]].values.tolist() == [
        [0, 5, "train"],
        [0, 6, "train"],
        [1, 7, "train"],
        [0, 7, "test"],
        [2, 5, "test"],
        [2, 6, "test"],
    ]
    assert [*AdjacencyLog(train).read().interactions.columns] == ["user", "item"]
    assert AdjacencyLog(train, val=test).read().interactions["split"].tolist()[-1] == "val"
    train.write_text("ann 007 8\n")
    assert AdjacencyLog(train).read().interactions["item"].tolist() == ["007", "8"]
    assert AdjacencyLog(train).name == tmp_path.name
    test.write_text("0,7\n1,8\n")
    with pytest.raises(DataError, match="test.txt: no line has an item"):
        AdjacencyLog(train, test).read()
    with pytest.raises(DataError, match=r"no such file \(did you mean 'test.txt'\?\)"):
        AdjacencyLog(train, tmp_path / "tset.txt").read()


def test_frame_log() -> None:
    frame = pd.DataFrame(
        {"u": ["a", "b"], "i": [1, 2], "stars": [5, 4], "rating": [0, 0], "x": [7, 8]}
    )
    items = pd.DataFrame({"i": [1, 2], "name": ["one", "two"]})
    source = FrameLog(frame, "u", "i", rating="stars", items=items)
    log = source.read()
    assert log.interactions.to_dict("list") == {
        "user": ["a", "b"],
        "item": [1, 2],
        "rating": [5.0, 4.0],
        "x": [7, 8],
    }
    assert log.items["title"].tolist() == ["one", "two"]
    before = source.fingerprint()
    assert before == FrameLog(frame.copy(), "u", "i", rating="stars", items=items).fingerprint()
    changed = frame.assign(x=[[1], [2]])
    assert before != FrameLog(changed, "u", "i", rating="stars", items=items).fingerprint()
    with pytest.raises(DataError, match="the frame: no column 'user'"):
        FrameLog(frame).read()
    with pytest.raises(DataError, match="two columns are named 'u'"):
        FrameLog(frame.rename(columns={"x": "u"}), "u", "i").read()


def test_a_large_table_is_read_in_vectorised_steps(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    size = 200_000
    frame = pd.DataFrame(
        {
            "user": random.integers(0, 9_999, size),
            "item": random.integers(0, 999, size),
            "rating": random.integers(1, 6, size),
            "timestamp": random.integers(0, 10**9, size),
        }
    )
    frame.to_csv(tmp_path / "r.csv", index=False)
    start = time.process_time()
    log = TableLog(tmp_path / "r.csv").read()
    assert time.process_time() - start < 3, "a fifth of a second on an idle machine"
    assert (log.interactions["timestamp"] == frame["timestamp"]).all()


@pytest.mark.parametrize("text", ["user item\nann a b\n", "user_id item_id\n1 2 3\n4 5\n", "Users Items\na b\n"])
def test_a_header_line_is_no_user(text: str, tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text(text)
    with pytest.raises(DataError, match="train.txt, line 1: names columns"):
        AdjacencyLog(tmp_path / "train.txt").read()


def test_benchmark_files_are_the_parts(tmp_path: Path) -> None:
    head = "user_id:token\titem_id:token\trating:float\n"
    for part, rows in (("train", "1\ta\t3\n2\t7\t4\n"), ("valid", "1\t7\t2\n"), ("test", "2\ta\t5\n")):
        (tmp_path / f"x.{part}.inter").write_text(head + rows)
    (tmp_path / "x.item").write_text("item_id:token\ttitle:token_seq\n7\tSeven\na\tA film\n")
    for path in (tmp_path, tmp_path / "x.valid.inter"):
        source = AtomicLog(path)
        frame = source.read().interactions.sort_values(["split", "user"])
        assert frame[["user", "item", "rating"]].values.tolist() == [
            [1, "a", 3.0], [2, "7", 4.0], [1, "7", 2.0], [2, "a", 5.0],
        ]  # fmt: skip
        assert frame["split"].astype(str).tolist() == ["train", "train", "val", "test"]
        assert source.read().items["title"].tolist() == ["Seven", "A film"]
    assert AtomicLog(tmp_path / "x.test.inter").name == "x"
    (tmp_path / "y.inter").write_text(head + "1\ta\t3\n")
    with pytest.raises(DataError, match="expected one .inter file, found x.test.inter"):
        AtomicLog(tmp_path).read()
    assert len(AtomicLog(tmp_path / "y.inter").read()) == 1


def test_atomic_sequences_are_lists_and_vectors_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "x.inter").write_text("user_id:token\titem_id:token\ttags:token_seq\n1\ta\tred  blue\n2\tb\t\n")
    head = "item_id:token\ttitle:token_seq\tclass:token_seq\tvector:float_seq\n"
    (tmp_path / "x.item").write_text(head + 'a\tThe "A"\tDrama "War"\t0.1 0.2\nb\tB\t7\t0.3 0.4\n')
    log = AtomicLog(tmp_path).read()
    assert [json.loads(cell) for cell in log.interactions["tags"]] == [["red", "blue"], []]
    assert [json.loads(cell) for cell in log.items["class"]] == [["Drama", '"War"'], ["7"]]
    assert log.items["title"].tolist() == ['The "A"', "B"] and "vector" not in log.items
    assert log.notes == ("columns of vectors (float_seq), which no field can be, are left out: vector",)
    assert AtomicLog(tmp_path, title="class").read().items["title"].tolist() == ['Drama "War"', "7"]


def test_a_comma_before_the_fraction(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("user;item;rating;weight;note\n1;a,1;3,5;1e0;x,y\n2;b;4;0,25;1,2,3\n")
    frame = TableLog(path, decimal=",").read().interactions
    assert frame[["rating", "weight"]].values.tolist() == [[3.5, 1.0], [4.0, 0.25]]
    assert frame["item"].tolist() == ["a,1", "b"] and frame["note"].tolist() == ["x,y", "1,2,3"]
    with pytest.raises(DataError, match="log.csv, line 2, column 'rating': '3,5'; expected a finite number"):
        TableLog(path).read()
    assert TableLog(path).fingerprint() != TableLog(path, decimal=",").fingerprint()
    for ratings in ("1.234,5", "1.234", "0,5\n2;b;1.5"):
        path.write_text(f"user;item;rating\n1;a;{ratings}\n")
        with pytest.raises(DataError, match=r"column 'rating': '1\.[234,5]+' has a point, and decimal is ','"):
            TableLog(path, decimal=",").read()
    path.write_text("user;item;version;day;latitude\n1;a;1.2.3;01.02.2020;48.85\n")
    assert TableLog(path, decimal=",").read().interactions.iloc[0, 2:].tolist() == ["1.2.3", "01.02.2020", 48.85]


def test_events_and_predictions_with_commas(tmp_path: Path) -> None:
    from recgnn.data.clicks.events import EventTable
    from recgnn.data.readers.tables import text_blocks

    path = tmp_path / "events.csv"
    path.write_text("price;label\n3,5;1\n-0,25;0\n")
    assert EventTable(path, decimal=",").events()["price"].tolist() == [3.5, -0.25]
    (block,) = text_blocks(path, decimal=",")
    assert block["price"].tolist() == ["3.5", "-0.25"]
