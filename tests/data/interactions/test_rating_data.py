"""Ratings in the data: rows that train knows nothing of, the range that was declared, train and validation merged."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from recgnn.data import FrameLog, GivenSplit, GraphDataModule, LeaveOneOut, RatingRange, RatioSplit, SyntheticLog
from recgnn.data.interactions.prepare import PreparedLog, compute, format_summary, prepare
from recgnn.data.interactions.split import TemporalSplit
from recgnn.data.interactions.usual_split import WithoutValidation
from recgnn.data.stored import write_json
from recgnn.errors import ConfigError, DataError, RunError

ROWS = [
    ("a", 10, 1.0, "train"),
    ("a", 20, 2.0, "train"),
    ("b", 10, 3.0, "train"),
    ("b", 20, 4.0, "val"),  # again in test: known by then, and no label
    ("z", 10, 5.0, "val"),  # user z is not in train
    ("a", 30, 1.5, "test"),  # nor is item 30
    ("b", 20, 2.5, "test"),
    ("y", 30, 3.5, "test"),
    ("a", 40, 4.5, "val"),
]
ONCE = [row for row in ROWS if row != ("b", 20, 4.0, "val")]


def frame(rows: list = ROWS) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["user", "item", "rating", "split"])


def rows_of(part) -> list[tuple]:
    return list(zip(*(x.tolist() for x in (part.user, part.item, part.rating)), strict=True))


COLD = {"val": [(-1, 0, 5.0), (0, -1, 4.5)], "test": [(0, -1, 1.5), (-1, -1, 3.5)]}


# ---- cold rows


def test_cold_rows_by_hand(tmp_path: Path) -> None:
    rows = [*ONCE, ("b", 50, 3.0, "train"), ("a", 50, 2.0, "val")]
    prepared = prepare(FrameLog(frame(rows)), [], GivenSplit(), tmp_path)
    assert prepared.users.ids.tolist() == ["a", "b"] and prepared.items.ids.tolist() == [10, 20, 50]
    assert {name: rows_of(part) for name, part in prepared.cold.items()} == COLD
    assert rows_of(prepared.val) == [(0, 2, 2.0)] and rows_of(prepared.test) == [(1, 1, 2.5)]
    again = prepare(FrameLog(frame(rows)), [], GivenSplit(), tmp_path)  # from the cache
    assert {name: rows_of(part) for name, part in again.cold.items()} == COLD
    for name, part in again.cold.items():
        for column in ("user", "item", "rating"):
            assert getattr(part, column).dtype == getattr(prepared.cold[name], column).dtype
        assert part.timestamp is None
    dropped = {d["step"]: d["rows"] for d in prepared.summary["dropped"] if d.get("cold")}
    assert dropped == {f"{name} rows with a user or item that is not in train": 2 for name in ("val", "test")}
    assert "  cold 2: val rows" in format_summary(prepared.summary, "rating")
    assert "  dropped 2: val rows" in format_summary(prepared.summary)
    assert any(w.startswith("4 of 6 val and test rows dropped") for w in prepared.summary["warnings"])


def test_rated_has_the_cold_rows_at_the_end(tmp_path: Path) -> None:
    rows = [*ONCE, ("b", 50, 3.0, "train"), ("a", 50, 2.0, "val")]
    data = GraphDataModule(FrameLog(frame(rows)), split=GivenSplit(), cache_dir=str(tmp_path))
    for part, known in (("val", [(0, 2, 2.0)]), ("test", [(1, 1, 2.5)]), ("train", rows_of(data.prepared.train))):
        users, items, ratings = data.rated(part)
        assert list(zip(users.tolist(), items.tolist(), ratings.tolist(), strict=True)) == known + COLD.get(part, [])
        assert (users.dtype, items.dtype, ratings.dtype) == (torch.int64, torch.int64, torch.float32)
        assert data.ratings(part).tolist() == [r for _, _, r in known]


def test_only_one_part_may_have_cold_rows(tmp_path: Path) -> None:
    rows = [*ROWS[:4], ("b", 40, 1.0, "train"), ("a", 40, 2.0, "test"), ("q", 10, 5.0, "test")]
    compute(FrameLog(frame(rows)), [], GivenSplit()).save(tmp_path / "p")
    loaded = PreparedLog.load(tmp_path / "p")
    assert {name: rows_of(part) for name, part in loaded.cold.items()} == {"test": [(-1, 0, 5.0)]}


def test_a_part_of_cold_rows_alone_is_refused() -> None:
    with pytest.raises(DataError, match="all its 2 rows have a user or item that is not in train"):
        compute(FrameLog(frame()), [], GivenSplit())


@pytest.mark.parametrize("columns", [["rating"], ["timestamp"], ["rating", "timestamp"], []])
def test_cold_rows_keep_the_columns_there_are(tmp_path: Path, columns: list[str]) -> None:
    table = SyntheticLog(num_users=30, interactions_per_user=4).read().interactions
    table = table[["user", "item", *columns]]
    compute(FrameLog(table), [], RatioSplit((0.5, 0.2, 0.3), by="all")).save(tmp_path / "p")
    loaded = PreparedLog.load(tmp_path / "p")
    assert len(loaded.cold["test"])
    for part in loaded.cold.values():
        assert ((part.user < 0) | (part.item < 0)).all()
        for column in ("rating", "timestamp"):
            values = getattr(part, column)
            assert (values is not None and len(values) == len(part)) if column in columns else values is None


def test_nothing_cold_no_file(tmp_path: Path) -> None:
    prepared = compute(SyntheticLog(), [], RatioSplit())
    prepared.save(tmp_path / "p")
    assert prepared.cold == {} and not (tmp_path / "p/cold.parquet").exists()
    assert PreparedLog.load(tmp_path / "p").cold == {}


def test_validated_on_test_the_cold_rows_are_the_same(tmp_path: Path) -> None:
    train = [(u, i, float(1 + (u + i) % 5), "train") for u in range(5) for i in range(6) if (u + i) % 4]
    test = [(u, i, float(1 + u), "test") for u in range(5) for i in range(6) if not (u + i) % 4]
    table = frame([*train, *test, (99, 1, 5.0, "test")])  # 1 of 9 rows of test, below a fifth
    assert len(test) == 8
    prepared = compute(FrameLog(table), [], GivenSplit(val="test"))
    prepared.save(tmp_path / "p")
    for log in (prepared, PreparedLog.load(tmp_path / "p")):
        assert rows_of(log.cold["val"]) == rows_of(log.cold["test"]) == [(-1, int(log.items.encode([1])[0]), 5.0)]
    assert not [w for w in prepared.summary["warnings"] if "dropped" in w], "a row is counted once"


def test_every_file_has_its_checksum_and_another_format_is_refused(tmp_path: Path) -> None:
    compute(FrameLog(frame([*ONCE, ("b", 50, 3.0, "train"), ("a", 50, 2.0, "val")])), [], GivenSplit()).save(tmp_path)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["files"] == {
        f"{name}.parquet": hashlib.sha256((tmp_path / f"{name}.parquet").read_bytes()).hexdigest()
        for name in ("cold", "interactions", "items", "users")
    }
    del summary["sha256"]
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    with pytest.raises(RunError, match="summary.json: has no checksum: it is damaged, or of another version"):
        PreparedLog.load(tmp_path)
    write_json(tmp_path / "summary.json", summary | {"format": 1}, sealed=True)
    with pytest.raises(RunError, match="written in format 1, this version reads 5"):
        PreparedLog.load(tmp_path)


@pytest.mark.parametrize("damage", ["missing", "cut", "swapped"])
def test_damaged_cold_rows_are_noticed(tmp_path: Path, damage: str) -> None:
    compute(FrameLog(frame([*ONCE, ("b", 50, 3.0, "train"), ("a", 50, 2.0, "val")])), [], GivenSplit()).save(tmp_path)
    path = tmp_path / "cold.parquet"
    content = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes(content[:100] if damage == "cut" else (tmp_path / "interactions.parquet").read_bytes())
    with pytest.raises(RunError):
        PreparedLog.load(tmp_path)


def test_no_ratings_no_ratings(tmp_path: Path) -> None:
    data = GraphDataModule(SyntheticLog(ratings=False), cache_dir=str(tmp_path))
    for ask in (data.ratings, data.rated):
        with pytest.raises(DataError, match="no ratings") as error:
            ask("train")
        assert "rating" in str(error.value).partition(";")[2] and "\n" not in str(error.value)


# ---- the range of ratings


def test_a_range_that_holds_changes_nothing() -> None:
    table = frame()
    assert RatingRange(1, 5).apply(table) is table
    assert RatingRange(1.0, 4.9).describe() != RatingRange(1, 5).describe()


@pytest.mark.parametrize("bad", [7.0, 0.5])
def test_a_rating_out_of_range_is_named(bad: float) -> None:
    table = frame([*ROWS[:3], ("uma", 20, bad, "train"), ("b", 30, 9.0, "train"), *ROWS[4:]])
    with pytest.raises(DataError) as error:
        compute(FrameLog(table), [RatingRange(1, 5)], RatioSplit())
    message = str(error.value)
    for words in ("row 4", "user uma", "item 20", f"rating {bad:g}", "1 to 5", "2 ratings", "drop: true"):
        assert words in message, message
    assert "\n" not in message


def test_the_row_is_that_of_the_log_whatever_was_dropped_before() -> None:
    """The first of a pair's two rows goes first; the bad rating is the log's fourth."""
    table = frame([("a", 10, 1.0, "train"), *ROWS[:2], ("uma", 20, 9.0, "train")])
    with pytest.raises(DataError, match=r"row 4 \(user uma, item 20\): rating 9"):
        compute(FrameLog(table), [RatingRange(1, 5)], RatioSplit())


def test_ratings_out_of_range_may_be_dropped() -> None:
    table = frame([*ROWS, ("a", 10, 7.0, "train")])
    kept = RatingRange(1.5, 4.5, drop=True).apply(table)
    assert kept["rating"].tolist() == [2.0, 3.0, 4.0, 1.5, 2.5, 3.5, 4.5]
    assert kept.index.tolist() == [1, 2, 3, 5, 6, 7, 8]
    single = np.float32(table["rating"] / 10)  # 0.1 is not 0.1 in single precision
    assert len(RatingRange(0.1, 0.7).apply(table.assign(rating=single))) == len(table)


@pytest.mark.parametrize(("low", "high"), [(5, 1), (3, 3), (float("nan"), 5), (1, float("inf"))])
def test_a_range_upside_down(low: float, high: float) -> None:
    with pytest.raises(ConfigError, match="low < high|expected a number"):
        RatingRange(low, high)


def test_a_range_needs_ratings() -> None:
    with pytest.raises(DataError, match="RatingRange needs ratings and the log has none"):
        compute(SyntheticLog(ratings=False), [RatingRange(1, 5)], RatioSplit())


def test_dropping_is_another_cache_entry(tmp_path: Path) -> None:
    def length(drop: bool) -> int:
        return prepare(SyntheticLog(), [RatingRange(2, 5, drop=drop)], RatioSplit(), tmp_path).summary["interactions"]

    low = (SyntheticLog().read().interactions["rating"] < 2).sum()
    assert low > 0
    assert length(True) == 720 - low
    with pytest.raises(DataError):
        length(False)


# ---- validation added to train


SPLITS = [RatioSplit(by="all"), RatioSplit(seed=3), LeaveOneOut(), TemporalSplit()]


@pytest.mark.parametrize("split", SPLITS, ids=lambda s: type(s).__name__)
def test_validation_rows_become_train(split) -> None:
    table = SyntheticLog(num_users=40).read().interactions
    plain, merged = split.split(table), WithoutValidation(split).split(table)
    assert (plain == 1).any()
    assert merged[plain == 1].tolist() == [0] * (plain == 1).sum()
    assert (merged[plain != 1] == plain[plain != 1]).all()
    assert (split.split(table) == plain).all(), "the other split is as it was"
    assert WithoutValidation(split).describe() == f"{split.describe()}; validation added to train"


def test_a_validation_part_that_there_is_not() -> None:
    table = SyntheticLog().read().interactions
    for split in (RatioSplit((0.8, 0, 0.2)), LeaveOneOut(val=False)):
        with pytest.raises(DataError, match="no validation part") as error:
            WithoutValidation(split).split(table)
        assert split.describe() in str(error.value) and "--refit" in str(error.value)
    table["split"] = np.where(np.arange(len(table)) % 5 == 0, "test", "train")
    with pytest.raises(DataError, match="the validation part is the test part"):
        compute(FrameLog(table), [], WithoutValidation(GivenSplit(val="test")))


def test_its_identity_is_stable_and_its_own(tmp_path: Path) -> None:
    one, same = (WithoutValidation(RatioSplit(seed=3)) for _ in range(2))
    others = [WithoutValidation(s) for s in (RatioSplit(seed=4), RatioSplit(by="all", seed=3), LeaveOneOut())]
    others.append(RatioSplit(seed=3))
    assert repr(one) == repr(same) and one.describe() == same.describe()
    assert all(repr(other) != repr(one) for other in others)
    for split in (one, *others):
        assert not re.search(r"0x[0-9a-f]{4,}|object at", repr(split) + repr(sorted(vars(split).items())))
    for split in (one, same, *others, one):
        prepare(SyntheticLog(), [], split, tmp_path)
    assert len([p for p in (tmp_path / "prepared").iterdir() if p.is_dir()]) == 5


def test_a_merged_module_trains_on_both_parts(tmp_path: Path) -> None:
    source = SyntheticLog(num_users=50, interactions_per_user=5)
    options = {"split": RatioSplit((0.4, 0.4, 0.2), by="all"), "cache_dir": str(tmp_path)}
    plain, merged = (GraphDataModule(source, merge_val=m, **options) for m in (False, True))

    def raw(data: GraphDataModule, *parts: str, cold: bool = False) -> set[tuple]:
        log, rows = data.prepared, set()
        for part in (getattr(log, name) for name in parts):
            rows |= set(zip(log.users.decode(part.user), log.items.decode(part.item), part.rating, strict=True))
        return rows

    split = options["split"].split(source.read().interactions)
    table = source.read().interactions.assign(part=split)
    both = table[table["part"] < 2]
    assert raw(merged, "train") == set(both[["user", "item", "rating"]].itertuples(index=False, name=None))
    assert raw(plain, "train", "val") < raw(merged, "train"), "what was cold in validation is trained on"
    assert len(merged.prepared.val) == 0 and "val" not in merged.prepared.cold
    assert set(merged.prepared.users.ids) == set(both["user"]) and set(merged.prepared.items.ids) == set(both["item"])
    counts = both["item"].value_counts()
    assert merged.prepared.items.frequency.tolist() == [counts[i] for i in merged.prepared.items.ids]
    assert raw(plain, "test") <= raw(merged, "test"), "and fewer rows of test are cold"
    for data in (plain, merged):
        assert len(data.rated("test")[0]) == (split == 2).sum()
    assert merged.graph["user", "rates", "item"].edge_index.shape[1] == len(both)
