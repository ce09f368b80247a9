"""Preparing: what is dropped, what is counted, what is cached."""

from __future__ import annotations

import json
import multiprocessing
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from recgnn.data import GraphDataModule
from recgnn.data.datasets.fixed_splits import Gowalla
from recgnn.data.datasets.synthetic import SyntheticLog
from recgnn.data.interactions.filters import Deduplicate, Filter, KCore, MinRating
from recgnn.data.interactions.log import InteractionLog, Source
from recgnn.data.interactions.prepare import PreparedLog, compute, format_summary, prepare
from recgnn.data.interactions.sources import FrameLog
from recgnn.data.interactions.split import GivenSplit, LeaveOneOut, RatioSplit, Split, TemporalSplit
from recgnn.data.interactions.usual_split import UsualSplit
from recgnn.errors import ConfigError, DataError, RunError

DATA = os.environ.get("RECGNN_DATA")


class _Rows(Split):
    """A split that is written down."""

    def __init__(self, codes: list[int]) -> None:
        self.codes = codes

    def split(self, frame: pd.DataFrame) -> np.ndarray:
        return np.array(self.codes, dtype=np.int8)

    def describe(self) -> str:
        return f"written down {self.codes}"


def _frame() -> pd.DataFrame:
    rows = [
        ("b", 30, 5.0, 1),
        ("a", 10, 4.0, 2),
        ("a", 20, 3.0, 3),
        ("a", 10, 2.0, 9),  # again: this later one is kept
        ("c", 10, 1.0, 4),  # user unknown in train
        ("b", 10, 5.0, 5),
        ("a", 40, 5.0, 6),  # item unknown in train
        ("b", 20, 4.0, 7),
    ]
    return pd.DataFrame(rows, columns=["user", "item", "rating", "timestamp"])


def test_every_step_by_hand(tmp_path: Path) -> None:
    items = pd.DataFrame({"item": [20, 30, 40], "title": ["twenty", "thirty", "forty"]})
    # left after removing the pair's first row: b30 a20 a10 c10 b10 a40 b20
    split = _Rows([0, 0, 0, 1, 1, 2, 2])
    prepared = prepare(FrameLog(_frame(), items=items), [], split, tmp_path)
    assert prepared.users.ids.tolist() == ["a", "b"]
    assert prepared.items.ids.tolist() == [10, 20, 30]
    assert prepared.items.frequency.tolist() == [1, 1, 1]
    assert prepared.items.title([0, 1, 2]).tolist() == [None, "twenty", "thirty"]
    assert prepared.train.user.tolist() == [1, 0, 0]
    assert prepared.train.item.tolist() == [2, 1, 0]
    assert prepared.train.rating.tolist() == [5, 3, 2]
    assert prepared.train.timestamp.tolist() == [1, 3, 9]
    assert (prepared.val.user.tolist(), prepared.val.item.tolist()) == ([1], [0])
    assert (prepared.test.user.tolist(), prepared.test.item.tolist()) == ([1], [1])
    summary = prepared.summary
    assert [(d["rows"], d["step"].split()[0]) for d in summary["dropped"]] == [
        (1, "one"),
        (1, "val"),
        (1, "test"),
    ]
    expected = {
        "read": 8,
        "users": 2,
        "items": 3,
        "train": 3,
        "val": 1,
        "test": 1,
        "interactions": 5,
    }
    assert {k: summary[k] for k in expected} == expected
    assert summary["density"] == pytest.approx(5 / 6)
    assert json.loads(json.dumps(summary)) == summary
    assert (prepared.name, prepared.num_users, prepared.num_items) == ("frame", 2, 3)
    text = format_summary(summary)
    assert "2 users, 3 items, 5 of 8 interactions" in text and "dropped 1: one row per" in text


def test_ones_own_deduplication_takes_the_place_of_the_default() -> None:
    split = _Rows([0] * 7)
    kept = compute(FrameLog(_frame()), [Deduplicate("max")], split).train
    assert kept.rating[(kept.user == 0) & (kept.item == 0)].tolist() == [4]


def test_a_split_may_drop_rows_and_leave_parts_out() -> None:
    prepared = compute(FrameLog(_frame()), [], _Rows([0, 0, 0, -1, 0, 0, 0]))
    assert {"step": "left out by the split", "rows": 1} in prepared.summary["dropped"]
    assert prepared.summary["warnings"] == ["there is no val part", "there is no test part"]
    assert len(prepared.val) == len(prepared.test) == 0


def _same(one: PreparedLog, other: PreparedLog) -> None:
    assert one.summary == other.summary
    for part in ("train", "val", "test"):
        for column in ("user", "item", "rating", "timestamp"):
            left, right = (getattr(getattr(p, part), column) for p in (one, other))
            if left is None:
                assert right is None
            else:
                assert left.dtype == right.dtype and (left == right).all()
                assert right.flags.writeable
    for table in ("users", "items"):
        left, right = getattr(one, table), getattr(other, table)
        assert left.ids.equals(right.ids) and (left.frequency == right.frequency).all()


@pytest.mark.parametrize("complete", [True, False])
def test_save_and_load(tmp_path: Path, complete: bool) -> None:
    source = SyntheticLog(ratings=complete, timestamps=complete)
    prepared = compute(source, [], RatioSplit())
    prepared.save(tmp_path / "p")
    _same(prepared, PreparedLog.load(tmp_path / "p"))
    assert sorted(p.name for p in (tmp_path / "p").iterdir()) == [
        "interactions.parquet",
        "items.parquet",
        "summary.json",
        "users.parquet",
    ]


def test_validation_on_test_is_said(tmp_path: Path) -> None:
    frame = SyntheticLog().read().interactions
    frame["split"] = np.where(np.arange(len(frame)) % 5 == 0, "test", "train")
    for _ in range(2):
        prepared = prepare(FrameLog(frame), [], GivenSplit(val="test"), tmp_path)
        assert prepared.val is prepared.test
        assert prepared.summary["interactions"] == 720
        assert "best-on-test" in prepared.summary["warnings"][0]


class _Counted(Source):
    """Counts its reads in a file."""

    name = "counted"

    def __init__(self, log: str) -> None:
        self.log = log

    def read(self) -> InteractionLog:
        with open(self.log, "a") as file:
            file.write("read\n")
        return SyntheticLog(num_users=300).read()

    def fingerprint(self) -> str:
        return "same"


def test_the_cache_knows_source_filters_and_split(tmp_path: Path) -> None:
    log = tmp_path / "log"
    source = _Counted(str(log))
    first = prepare(source, [], RatioSplit(), tmp_path)
    _same(first, prepare(source, [], RatioSplit(), tmp_path))
    assert log.read_text().count("read") == 1
    prepare(source, [KCore(2, 2)], RatioSplit(), tmp_path)
    prepare(source, [KCore(2, 3)], RatioSplit(), tmp_path)
    prepare(source, [KCore(2, 3)], RatioSplit(seed=1), tmp_path)
    assert log.read_text().count("read") == 4


@pytest.mark.parametrize("file", ["interactions.parquet", "users.parquet", "summary.json"])
@pytest.mark.parametrize("damage", ["missing", "cut", "flipped", "other format"])
def test_a_broken_cache_entry_is_made_again(tmp_path: Path, file: str, damage: str) -> None:
    source = SyntheticLog()
    first = prepare(source, [], LeaveOneOut(), tmp_path)
    (entry,) = (p for p in (tmp_path / "prepared").iterdir() if p.is_dir())
    path = entry / file
    content = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "flipped":
        for position in range(40, len(content) // 2):
            content[position] ^= 0x55
        path.write_bytes(content)
    else:
        summary = entry / "summary.json"
        summary.write_text(summary.read_text().replace('"format": ', '"format": 99'))
    with pytest.raises(RunError):
        PreparedLog.load(entry)
    _same(first, prepare(source, [], LeaveOneOut(), tmp_path))
    _same(first, PreparedLog.load(entry))
    assert not [p for p in (tmp_path / "prepared").iterdir() if p.name.startswith(".")]


def _prepare_in_process(log: str, cache: str, barrier, results) -> None:
    barrier.wait()
    prepared = prepare(_Counted(log), [], RatioSplit(), cache)
    results.put((prepared.train.user.sum().item(), prepared.summary["train"]))


def test_processes_at_once_prepare_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(4), context.Queue()
    arguments = (str(tmp_path / "log"), str(tmp_path / "cache"), barrier, results)
    processes = [context.Process(target=_prepare_in_process, args=arguments) for _ in range(4)]
    for process in processes:
        process.start()
    found = {results.get(timeout=60) for _ in processes}
    for process in processes:
        process.join(20)
    assert len(found) == 1 and all(p.exitcode == 0 for p in processes)
    assert (tmp_path / "log").read_text().count("read") == 1


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be written"):
        prepare(SyntheticLog(), [], RatioSplit(), tmp_path / "file")
    monkeypatch.setenv("RECGNN_CACHE", str(tmp_path / "file"))
    with pytest.warns(UserWarning, match="not cached: .* set RECGNN_CACHE"):
        assert prepare(SyntheticLog(), [], RatioSplit()).num_users == 60


@pytest.mark.parametrize(
    ("frame", "filters", "split", "message"),
    [
        ({"user": [1, 1], "item": [1, 2]}, [], RatioSplit(), "have one user, 1; several are"),
        ({"user": [1, 2], "item": [1, 1]}, [], RatioSplit(), "have one item, 1"),
        ({"user": [1, 2], "item": [1, 2]}, [KCore(9, 9)], RatioSplit(), "k-core.*dropped 2"),
        ({"user": [1, 2], "item": [1, 2]}, [MinRating(3)], RatioSplit(), "needs ratings"),
        (
            {"user": [1, 2, 3], "item": [1, 2, 3]},
            [],
            _Rows([0, 0, 2]),
            "the test part is empty: all its 1 rows",
        ),
    ],
)
def test_logs_that_cannot_be_prepared(tmp_path: Path, frame, filters, split, message) -> None:
    with pytest.raises(DataError, match=message) as error:
        prepare(FrameLog(pd.DataFrame(frame)), filters, split, tmp_path)
    assert "\n" not in str(error.value)
    assert not [p for p in (tmp_path / "prepared").iterdir() if p.is_dir()]


def test_a_source_of_ones_own_must_give_a_log(tmp_path: Path) -> None:
    class Table(SyntheticLog):
        def read(self):
            return super().read().interactions

    with pytest.raises(DataError, match="^Table.read gave a DataFrame, expected an InteractionLog"):
        prepare(Table(), [], RatioSplit(), tmp_path)


@pytest.mark.skipif(not DATA, reason="RECGNN_DATA names no folder of real data")
def test_gowalla_as_published(tmp_path: Path) -> None:
    for _ in range(2):
        prepared = prepare(Gowalla(root=DATA), [], GivenSplit(val="test"), tmp_path)
        assert (prepared.num_users, prepared.num_items) == (29_858, 40_981)
        assert (len(prepared.train), len(prepared.test)) == (810_128, 217_242)
        assert prepared.summary["dropped"] == []


GIVEN = pd.DataFrame(
    {
        "user": [1, 1, 1, 1, 2, 2, 2, 2, 1],
        "item": [1, 2, 3, 4, 4, 3, 2, 1, 5],
        "split": [*["train"] * 6, "val", "test", "train"],
    }
)


def test_parts_that_the_data_came_with_are_the_default_split(tmp_path: Path) -> None:
    prepared = GraphDataModule(FrameLog(GIVEN), cache_dir=str(tmp_path)).prepared
    assert prepared.summary["split"].startswith("given") and not prepared.summary["warnings"]
    for part in ("train", "val", "test"):
        rows, own = getattr(prepared, part), GIVEN[GIVEN["split"] == part]
        found = zip(prepared.users.decode(rows.user), prepared.items.decode(rows.item), strict=True)
        assert sorted(found) == sorted(zip(own["user"], own["item"], strict=True)), part


def test_another_split_is_obeyed_and_told(tmp_path: Path) -> None:
    split = _Rows([0, 0, 0, 0, 0, 0, 2, 1, 0])
    told = GraphDataModule(FrameLog(GIVEN), split=split, cache_dir=str(tmp_path)).describe("ranking")
    assert "written down" in told and "the data's own parts (train, val, test) are not used" in told
    drawn = GraphDataModule(SyntheticLog(), cache_dir=str(tmp_path)).describe("ranking")
    assert "0.8/0.1/0.1 of each user" in drawn and "own parts" not in drawn


def test_validation_parts_alone_are_given_parts_too() -> None:
    prepared = compute(FrameLog(GIVEN[GIVEN["split"] != "test"]), [], GivenSplit())
    assert len(prepared.val) == 1 and not len(prepared.test)
    assert "there is no test part" in prepared.summary["warnings"]


def test_how_much_of_train_is_later_than_test_is_told() -> None:
    """Two users: the second one's train rows all come after the first one's test row, and no row after his own."""
    frame = pd.DataFrame({"user": [1] * 4 + [2] * 4, "item": [1, 2, 3, 4, 3, 4, 1, 2]})
    frame["timestamp"] = 1_000_000_000 + np.array([0, 1, 2, 3, 10, 11, 12, 13])
    split = RatioSplit((0.5, 0.25, 0.25), order="time")
    prepared = compute(FrameLog(frame), [], split)
    assert prepared.summary["later"] == 0.25
    told = "  25% of train is later than a test row, on average; --data.split TemporalSplit has one moment for all"
    assert told in format_summary(prepared.summary)
    moment = compute(FrameLog(frame), [], TemporalSplit(test_start=1_000_000_012))
    ordered = compute(FrameLog(frame.assign(timestamp=frame["timestamp"] - 1_000_000_000)), [], split)
    untimed = compute(FrameLog(frame.drop(columns="timestamp")), [], RatioSplit())
    assert (moment.summary["later"], ordered.summary["later"], untimed.summary["later"]) == (0.0, None, None)
    for quiet in (moment, ordered, untimed):
        assert "later" not in format_summary(quiet.summary)


def test_the_usual_split_says_that_it_follows_the_times() -> None:
    note = "parts follow the time within each user (equal times: the order of the rows); --data.split RatioSplit"
    for split, times, told in ((UsualSplit(), True, True), (UsualSplit(), False, False), (RatioSplit(), True, False),
                               (RatioSplit(order="time"), True, False)):  # fmt: skip
        summary = compute(SyntheticLog(timestamps=times), [], split).summary
        assert any(text.startswith(note) for text in summary["warnings"]) == told
        assert summary["split"] == (RatioSplit(order="time") if told else split.for_columns([])).describe()


def test_few_users_left_by_one_moment_are_told() -> None:
    late = pd.DataFrame({"user": range(40), "item": np.arange(40) % 5, "timestamp": 1_000_000_000 + np.arange(40)})
    again = late.head(4).assign(item=lambda f: (f["item"] + 1) % 5, timestamp=1_000_000_100)
    log = FrameLog(pd.concat([late, again], ignore_index=True))
    told = compute(log, [], TemporalSplit(test_start=1_000_000_100)).summary["warnings"]
    assert any(text.startswith("only 4 of 40 users have test rows, since one moment holds for all") for text in told)
    whole = compute(SyntheticLog(), [], RatioSplit(order="time")).summary["warnings"]
    assert not any("have test rows" in text for text in whole)


class Wrong(RatioSplit):
    def __init__(self, given: Any):
        super().__init__()
        self.given = given

    def split(self, frame: pd.DataFrame) -> Any:
        return self.given


class WrongFilter(Filter):
    def __init__(self, given: Any):
        self.given = given

    def apply(self, frame: pd.DataFrame) -> Any:
        return self.given(frame)

    def describe(self) -> str:
        return "wrong"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"split": Wrong([0, 1])}, r"^Wrong.split gave an array of int64, \(2,\), expected whole numbers"),
        ({"split": Wrong(["train"] * 40)}, r"^Wrong.split gave an array of <U5, \(40,\)"),
        ({"split": Wrong([3] * 40)}, r"^Wrong.split gave an array of int64, \(40,\)"),
        ({"filters": [WrongFilter(lambda frame: frame["user"] > 1)]}, "^WrongFilter.apply gave Series, expected some"),
        ({"filters": [WrongFilter(lambda frame: frame[["user"]])]}, "^WrongFilter.apply gave 40 rows of user,"),
    ],
)
def test_what_ones_own_filters_and_splits_give(options, told, tmp_path) -> None:
    rows = pd.DataFrame({"user": [n % 8 for n in range(40)], "item": [n // 8 for n in range(40)]})
    options = {"filters": (), "split": RatioSplit()} | options
    with pytest.raises(ConfigError, match=told):
        prepare(FrameLog(rows), **options, cache_dir=tmp_path)
