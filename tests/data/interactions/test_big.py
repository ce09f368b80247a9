"""A log that DuckDB prepares gives the bits that it gives in memory."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("duckdb", reason="pip install 'recgnn[duckdb]'")

from recgnn.data import (
    GivenSplit,
    GraphDataModule,
    KCore,
    LeaveOneOut,
    MinRating,
    RatioSplit,
    TableLog,
    TemporalSplit,
    Where,
)
from recgnn.data.interactions import big, big_read, big_users, prepare
from recgnn.data.interactions.filters import Deduplicate, RatingRange
from recgnn.data.interactions.prepared import PreparedLog
from recgnn.data.interactions.split import Split
from recgnn.data.readers import tables
from recgnn.errors import ConfigError, DataError, RecGNNError


def log(seed: int, rows: int = 1000) -> pd.DataFrame:
    """Rows with repeats, equal times, and users of all sizes."""
    draw = np.random.default_rng(seed)
    user, item = (200 * draw.random(rows) ** 2).astype(int), (90 * draw.random(rows) ** 2).astype(int)
    return pd.DataFrame(
        {
            "user": user * 7919 % 1009 - 3, "item": [f"{'éü '[i % 2]}{i}" for i in item],
            "rating": draw.integers(1, 6, rows).astype(float), "timestamp": 1_600_000_000 + draw.integers(0, 500, rows),
            "kind": np.array(["buy", "view"])[draw.integers(0, 2, rows)],
        }
    )  # fmt: skip


def both(source: TableLog, folder, **options) -> list[PreparedLog | str]:
    """What both engines make of a log, or say of it."""
    found: list[PreparedLog | str] = []
    for engine in ("memory", "duckdb"):
        data = GraphDataModule(source, engine=engine, cache_dir=str(folder / engine), memory_limit="200MB", **options)
        try:
            found.append(data.prepared)
        except RecGNNError as error:
            found.append(str(error))
    return found


def assert_same(one: PreparedLog, other: PreparedLog) -> None:
    assert one.summary == other.summary
    assert one.cold.keys() == other.cold.keys()
    pairs = [(getattr(one, part), getattr(other, part)) for part in ("train", "val", "test")]
    for ours, theirs in [*pairs, *((one.cold[part], other.cold[part]) for part in one.cold)]:
        for name, values in vars(ours).items():
            assert (values is None) == (getattr(theirs, name) is None)
            if values is not None:
                np.testing.assert_array_equal(values, getattr(theirs, name))
                assert values.dtype == getattr(theirs, name).dtype
    for side in ("users", "items"):
        ours, theirs = getattr(one, side), getattr(other, side)
        pd.testing.assert_index_equal(ours.ids, theirs.ids)
        np.testing.assert_array_equal(ours.frequency, theirs.frequency)
        assert (ours.attributes is None) == (theirs.attributes is None)
        if ours.attributes is not None:
            pd.testing.assert_frame_equal(ours.attributes, theirs.attributes)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch) -> None:
    """Of some hundred rows, so that a log has many."""
    monkeypatch.setattr(tables, "SMALL", 0)
    for module in (big, big_read, big_users):
        monkeypatch.setattr(module, "ROWS", 300)


CASES = {
    "usual": {},
    "at random": {"split": RatioSplit()},
    "one of each": {"split": LeaveOneOut(), "filters": [MinRating(2)]},
    "one of each at random": {"split": LeaveOneOut(order="random")},
    "by moment": {"split": TemporalSplit()},
    "by date": {"split": TemporalSplit(test_start=1_600_000_400, val_start=1_600_000_300)},
    "core": {"filters": [MinRating(2), KCore(4, 4), Where("kind == 'buy'"), KCore(2, 2)]},
    "core at random": {"filters": [KCore(5, 5)], "split": RatioSplit((0.6, 0.2, 0.2), seed=3)},
    "highest": {"filters": [Deduplicate("max"), RatingRange(1, 4, drop=True)], "split": RatioSplit()},
    "positives": {"positive": "rating >= 3"},
    "all repeats": {"repeats": "keep"},
    "twice": {"merge_val": True},
    "nothing left": {"filters": [MinRating(4), MinRating(9)]},
    "no test": {"split": TemporalSplit(test_start=1_700_000_000)},
}


@pytest.mark.parametrize("name", CASES)
def test_both_engines_give_the_same(name: str, tmp_path) -> None:
    log(len(name)).to_parquet(tmp_path / "x.parquet", row_group_size=700)
    one, other = both(TableLog(tmp_path / "x.parquet"), tmp_path, **CASES[name])
    if isinstance(one, str):
        assert one == other
    else:
        assert not isinstance(other, str), other
        assert_same(one, other)


@pytest.mark.parametrize("split", [GivenSplit(), GivenSplit(val=0.2), GivenSplit(val="test"), None])
@pytest.mark.parametrize("with_val", [True, False])
def test_given_parts(split: Split | None, with_val: bool, tmp_path) -> None:
    frame = log(5)
    draw = np.random.default_rng(1).random(len(frame))
    frame["split"] = np.where(draw < 0.7, "train", np.where((draw < 0.8) & with_val, "valid", "test"))
    frame.to_parquet(tmp_path / "x.parquet")
    one, other = both(TableLog(tmp_path / "x.parquet"), tmp_path, split=split)
    assert one == other if isinstance(one, str) else assert_same(one, other) is None


def test_several_files_of_text_with_weights_tables_and_missing_times(tmp_path) -> None:
    frame = log(6).assign(weight=np.random.default_rng(2).random(1000))
    when = pd.to_datetime(frame["timestamp"], unit="s").dt.strftime("%d/%m/%Y %H:%M:%S")
    frame["when"] = when.where(frame.index % 9 > 0, "")
    frame = frame.drop(columns="timestamp")
    for number in range(3):
        frame[number::3].to_csv(tmp_path / f"x{number}.csv", index=False)
    items = pd.DataFrame({"item": frame["item"].unique()[::2]}).assign(name=lambda f: "The " + f["item"], year=1990)
    items.to_csv(tmp_path / "items.csv", index=False)
    for missing in ("keep", "drop", "refuse"):
        source = TableLog(tmp_path / "x*.csv", timestamp="when", items=tmp_path / "items.csv", on_missing=missing,
                          keep="rating >= 2", time_format="%d/%m/%Y %H:%M:%S")  # fmt: skip
        one, other = both(source, tmp_path / missing, split=RatioSplit() if missing == "drop" else None)
        if missing == "refuse":
            assert one == other
        else:
            assert_same(one, other)


@pytest.mark.parametrize("ids", [["1", "2", "03", "4"], ["1.0", "2.0", "3.0", "4.0"], ["1", "2.0", "3", "4"]])
def test_ids_of_text_files_are_of_the_same_kind(ids: list[str], tmp_path) -> None:
    frame = log(7, 400).drop(columns="kind")
    frame["user"] = np.array(ids)[np.random.default_rng(1).integers(0, 4, 400)]
    frame.to_csv(tmp_path / "x.csv", index=False)
    assert_same(*both(TableLog(tmp_path / "x.csv"), tmp_path))


@pytest.mark.parametrize("odd", [" padded ", "NA"])
def test_auto_prepares_in_memory_what_duckdb_cannot(odd: str, tmp_path, monkeypatch) -> None:
    """What shows only as the rows are read, too."""
    monkeypatch.setattr(prepare, "LARGE", 1e12)  # every file is large
    frame = log(8)
    frame.loc[::50, "item"] = odd
    frame.to_parquet(tmp_path / "x.parquet")
    source = TableLog(tmp_path / "x.parquet")
    with pytest.raises(ConfigError, match="engine duckdb: .*x.parquet: ids in column 'item'"):
        _ = GraphDataModule(source, engine="duckdb", cache_dir=str(tmp_path / "asked")).prepared
    by_itself = GraphDataModule(source, cache_dir=str(tmp_path / "auto")).prepared
    assert_same(by_itself, GraphDataModule(source, engine="memory", cache_dir=str(tmp_path / "memory")).prepared)
    assert odd.strip() in by_itself.items.ids


def test_what_needs_the_whole_log_is_refused(tmp_path) -> None:
    log(8).to_parquet(tmp_path / "x.parquet")
    with pytest.raises(ConfigError, match="duckdb: the split RatioSplit needs the whole log; take engine: memory"):
        _ = GraphDataModule(TableLog(tmp_path / "x.parquet"), split=RatioSplit(by="all"), engine="duckdb",
                            cache_dir=str(tmp_path)).prepared  # fmt: skip
    with pytest.raises(ConfigError, match="data.memory_limit is 'much'"):
        GraphDataModule(TableLog(tmp_path / "x.parquet"), memory_limit="much")
    frame = log(8)
    frame.loc[700, "item"] = None
    frame.to_parquet(tmp_path / "y.parquet")
    with pytest.raises(DataError, match="row 701, column 'item': no item id"):
        _ = GraphDataModule(TableLog(tmp_path / "y.parquet"), engine="duckdb", cache_dir=str(tmp_path)).prepared
    assert not list((tmp_path / "prepared").glob(".tmp-*"))
