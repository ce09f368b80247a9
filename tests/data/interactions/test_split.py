"""Splits against RecBole's rule and naive loops."""

from __future__ import annotations

import os

import numpy as np
import pandas as pd
import pytest

from recgnn.data.datasets.movielens import MovieLens1M, MovieLens100K
from recgnn.data.datasets.synthetic import SyntheticLog
from recgnn.data.interactions.log import InteractionLog
from recgnn.data.interactions.part_sizes import part_sizes
from recgnn.data.interactions.split import GivenSplit, LeaveOneOut, RatioSplit, TemporalSplit
from recgnn.errors import ConfigError, DataError

DATA = os.environ.get("RECGNN_DATA")
needs_data = pytest.mark.skipif(not DATA, reason="RECGNN_DATA names no folder of real data")


def _frame() -> pd.DataFrame:
    return SyntheticLog(num_users=30, interactions_per_user=11, seed=1).read().interactions


def _recbole_sizes(total: int, ratios: tuple[float, ...]) -> list[int]:
    """The rule, one group at a time."""
    sizes = [int(ratio * total) for ratio in ratios]
    sizes[0] = total - sizes[1] - sizes[2]
    for part in (2, 1):
        if sizes[0] <= 1:
            break
        if 0 < ratios[part] * total < 1:
            sizes[part] += 1
            sizes[0] -= 1
    return sizes


@pytest.mark.parametrize("ratios", [(0.8, 0.1, 0.1), (0.5, 0.3, 0.2), (0.9, 0.0, 0.1)])
def test_part_sizes_are_recboles(ratios: tuple[float, ...]) -> None:
    counts = np.arange(1, 200)
    sizes = np.stack(part_sizes(counts, ratios), axis=1)
    assert sizes.tolist() == [_recbole_sizes(int(n), ratios) for n in counts]


@needs_data
def test_movielens_100k_has_recboles_sizes() -> None:
    frame = MovieLens100K(root=DATA).read().interactions
    part = RatioSplit((0.8, 0.1, 0.1)).split(frame)
    assert np.bincount(part).tolist() == [80_808, 9_596, 9_596]


def test_ratio_within_users_at_random() -> None:
    frame = _frame()
    part = RatioSplit(seed=3).split(frame)
    for _, codes in pd.Series(part).groupby(frame["user"].to_numpy()):
        assert np.bincount(codes, minlength=3).tolist() == _recbole_sizes(11, (0.8, 0.1, 0.1))
    assert (part == RatioSplit(seed=3).split(frame)).all()
    assert (part != RatioSplit(seed=4).split(frame)).any()


def test_ratio_within_users_by_time_and_by_pos() -> None:
    frame = _frame()
    part = RatioSplit((0.6, 0.2, 0.2), order="time").split(frame)
    for _, rows in frame.assign(part=part).groupby("user"):
        assert rows.sort_values("timestamp")["part"].is_monotonic_increasing
    ranked = frame.assign(pos=frame.groupby("user")["timestamp"].rank()).drop(columns="timestamp")
    assert (RatioSplit((0.6, 0.2, 0.2), order="time").split(ranked) == part).all()
    with pytest.raises(DataError, match="needs timestamps"):
        RatioSplit(by="all", order="time").split(ranked)


def test_ratio_over_all_rows() -> None:
    frame = _frame()
    assert np.bincount(RatioSplit(by="all").split(frame)).tolist() == [264, 33, 33]
    part = RatioSplit(by="all", order="time").split(frame)
    ordered = part[np.argsort(frame["timestamp"].to_numpy(), kind="stable")]
    assert (np.diff(ordered) >= 0).all()


def test_leave_one_out_by_time() -> None:
    frame = pd.DataFrame(
        {
            "user": [1, 2, 1, 1, 2, 3, 3, 3, 3],
            "item": [1, 2, 3, 4, 5, 6, 7, 8, 9],
            "timestamp": [9, 1, 5, 7, 2, 4, 4, 4, 1],
        }
    )
    # user 2 has two rows and stays in train; equal times of user 3 go by row
    assert LeaveOneOut().split(frame).tolist() == [2, 0, 0, 1, 0, 0, 1, 2, 0]
    assert LeaveOneOut(val=False).split(frame).tolist() == [2, 0, 0, 0, 2, 0, 0, 2, 0]
    given = LeaveOneOut(order="given").split(frame)
    assert given.tolist() == [0, 0, 1, 2, 0, 0, 0, 1, 2]
    by_rank = frame.rename(columns={"timestamp": "pos"})
    assert (LeaveOneOut().split(by_rank) == LeaveOneOut().split(frame)).all()
    random = LeaveOneOut(order="random").split(frame)
    assert np.bincount(random).tolist() == [5, 2, 2]
    with pytest.raises(DataError, match="needs timestamps"):
        LeaveOneOut().split(frame.drop(columns="timestamp"))
    with pytest.raises(DataError, match="at least three interactions"):
        LeaveOneOut().split(frame.iloc[[1, 4]])


@needs_data
def test_leave_one_out_of_movielens_1m_uses_pos() -> None:
    frame = MovieLens1M(root=DATA).read().interactions
    assert "timestamp" not in frame
    part = LeaveOneOut().split(frame)
    latest = frame.groupby("user")["pos"].transform("max")
    assert ((part == 2) == (frame["pos"] == latest)).all()
    assert np.bincount(part).tolist() == [1_000_209 - 2 * 6_040, 6_040, 6_040]


@pytest.mark.parametrize("seed", range(5))
def test_temporal_split_has_no_leak(seed: int) -> None:
    random = np.random.default_rng(seed)
    time = random.integers(0, 30, 400)  # many ties
    frame = pd.DataFrame({"user": random.integers(0, 9, 400), "item": 1, "timestamp": time})
    part = TemporalSplit().split(frame)
    assert time[part == 0].max() < time[part == 1].min()
    assert time[part == 1].max() < time[part == 2].min()
    sizes = np.bincount(part)
    assert sizes[2] >= 40 and sizes[1] + sizes[2] >= 80, "ties go to the later part"


def test_temporal_split_at_given_moments() -> None:
    frame = pd.DataFrame({"user": 1, "item": range(6), "timestamp": np.arange(6) * 86_400})
    split = TemporalSplit(val_start="1970-01-03", test_start=5 * 86_400)
    assert split.split(frame).tolist() == [0, 0, 1, 1, 1, 2]
    assert TemporalSplit(test_start="1970-01-05").split(frame).tolist() == [0, 0, 0, 0, 2, 2]
    with pytest.raises(DataError, match="test part .* empty: the log spans 0 to 432000"):
        TemporalSplit(test_start="1999-01-01").split(frame)
    with pytest.raises(DataError, match="train part .* empty"):
        TemporalSplit().split(frame.assign(timestamp=7))
    with pytest.raises(DataError, match="needs timestamps"):
        TemporalSplit().split(frame.drop(columns="timestamp").assign(pos=1))
    for options in ({"val_start": 1}, {"val_start": 2, "test_start": 2}, {"test_start": "soon"}):
        with pytest.raises(ConfigError, match="TemporalSplit"):
            TemporalSplit(**options)


@pytest.mark.parametrize(
    ("times", "start"),
    [("ms", "2024-01-03"), ("%d/%m/%Y", "2024-01-03"), ("%d/%m/%Y", 1_704_240_000), ("%Y%m%d", 20240103),
     ("s", "2024-01-03T01:00+01:00"), ("s", 1_704_240_000_000)],
)  # fmt: skip
def test_a_start_in_any_notation(times, start) -> None:
    days = pd.date_range("2024-01-01", periods=20)
    seconds = days.astype("datetime64[s]").astype(np.int64)
    values = {"s": seconds, "ms": seconds * 1000}.get(times, days.strftime(times) if "%" in times else None)
    log = InteractionLog(pd.DataFrame({"user": 1, "item": range(20), "timestamp": values}))
    split = TemporalSplit(test_start=start)
    assert split.split(log.interactions).tolist() == [0] * 2 + [2] * 18
    assert str(start) in split.describe()
    with pytest.raises(DataError, match="empty: the log spans 2024-01-01 to 2024-01-20"):
        TemporalSplit(test_start="2025-01-01").split(log.interactions)


@pytest.mark.parametrize("split", [TemporalSplit(), RatioSplit(order="time"), RatioSplit(by="all", order="time"),
                                   LeaveOneOut(), RatioSplit()])  # fmt: skip
def test_rows_without_a_time_are_train_and_leave_the_others(split) -> None:
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"user": random.integers(0, 4, 80), "item": 1, "timestamp": random.permutation(80) + 5.0})
    missing = np.arange(80) % 10 == 3
    part = split.split(frame.assign(timestamp=frame["timestamp"].mask(missing)))
    if getattr(split, "order", "time") == "random":
        assert (part == split.split(frame)).all()
        return
    assert (part[missing] == 0).all() and (part[~missing] == split.split(frame[~missing])).all()
    with pytest.raises(DataError, match="no row has one"):
        split.split(frame.assign(timestamp=np.nan))


def _given(parts: list[str]) -> pd.DataFrame:
    split = pd.Categorical(parts, categories=["train", "val", "test"])
    return pd.DataFrame({"user": 1, "item": range(len(parts)), "split": split})


def test_given_split() -> None:
    frame = _given(["train"] * 10 + ["test"] * 3)
    drawn = GivenSplit(val=0.2).split(frame)
    assert np.bincount(drawn).tolist() == [8, 2, 3] and (drawn[10:] == 2).all()
    assert np.bincount(GivenSplit().split(frame)).tolist() == [9, 1, 3]
    assert np.bincount(GivenSplit(val=0).split(frame)).tolist() == [10, 0, 3]
    paper = GivenSplit(val="test")
    assert paper.val_is_test and np.bincount(paper.split(frame)).tolist() == [10, 0, 3]
    own = _given(["train", "val", "test"])
    assert GivenSplit().split(own).tolist() == [0, 1, 2]
    for val in (0.1, "test"):
        with pytest.raises(DataError, match="validation part of its own"):
            GivenSplit(val=val).split(own)
    with pytest.raises(DataError, match="no split column"):
        GivenSplit().split(own.drop(columns="split"))
    for val in (1.0, -0.1, "tset"):
        with pytest.raises(ConfigError, match="GivenSplit.val is"):
            GivenSplit(val=val)


def test_an_empty_part_is_refused_unless_asked_for() -> None:
    frame = pd.DataFrame({"user": [1, 2], "item": [1, 2]})
    with pytest.raises(DataError, match="leaves the val part of 2 interactions empty"):
        RatioSplit().split(frame)
    assert RatioSplit((1, 0, 0)).split(frame).tolist() == [0, 0]
    for ratios in ((0, 1, 1), (1, 1), (1, -1, 1), (1, float("nan"), 1)):
        with pytest.raises(ConfigError, match="ratios is"):
            RatioSplit(ratios)
    with pytest.raises(ConfigError, match="by is 'item'; expected user or all"):
        RatioSplit(by="item")


def test_descriptions_differ_with_every_argument() -> None:
    splits = [
        RatioSplit(),
        RatioSplit((0.7, 0.2, 0.1)),
        RatioSplit(by="all"),
        RatioSplit(order="time"),
        RatioSplit(seed=1),
        LeaveOneOut(),
        LeaveOneOut(val=False),
        LeaveOneOut(order="random"),
        TemporalSplit(),
        TemporalSplit(test_start=5),
        TemporalSplit(val_start=3, test_start=5),
        GivenSplit(),
        GivenSplit(0.1),
        GivenSplit(0.1, seed=1),
        GivenSplit("test"),
    ]
    assert len({split.describe() for split in splits}) == len(splits)


def test_above_ten_million_rows_are_drawn_one_by_one(monkeypatch) -> None:
    monkeypatch.setattr("recgnn.data.interactions.split.EXACT", 1000)
    frame = pd.DataFrame(index=range(20_500))
    part = RatioSplit((0.7, 0.1, 0.2), by="all", seed=3).split(frame)
    shares = np.bincount(part) / len(part)
    np.testing.assert_allclose(shares, [0.7, 0.1, 0.2], atol=0.02)
    np.testing.assert_array_equal(part, RatioSplit((0.7, 0.1, 0.2), by="all", seed=3).split(frame))
    assert (part != RatioSplit((0.7, 0.1, 0.2), by="all", seed=4).split(frame)).any()


def test_shares_below_a_row_are_told_as_such() -> None:
    frame = pd.DataFrame({"user": 1, "item": range(100), "timestamp": range(100)})
    with pytest.raises(DataError, match="val part of 100 .* empty: a share of 0.0005 is less than one of 100"):
        TemporalSplit((0.9, 0.0005, 0.0995)).split(frame)
    with pytest.raises(DataError, match="too many rows have the same time"):
        TemporalSplit().split(frame.assign(timestamp=7))
