"""The split that the data choose."""

from __future__ import annotations

import numpy as np
import pandas as pd

from recgnn.data.interactions.split import GivenSplit, RatioSplit
from recgnn.data.interactions.usual_split import UsualSplit


def test_the_usual_split_follows_time_within_users_where_there_are_times() -> None:
    random = np.random.default_rng(0)
    times = random.permutation(60) // 2
    frame = pd.DataFrame({"user": np.repeat([1, 2, 3], 20), "item": range(60), "timestamp": times})
    usual = UsualSplit()
    part, late = usual.split(frame), RatioSplit(order="time").split(frame)
    assert (part == late).all() and (part != RatioSplit().split(frame)).any()
    for _, rows in frame.assign(part=part).groupby("user"):
        ends = rows.groupby("part")["timestamp"].agg(["min", "max"])
        assert ends["max"].shift().iloc[1:].le(ends["min"].iloc[1:]).all()
        same = rows.sort_values("timestamp", kind="stable")  # equal times stay as they stand in the log
        assert same["part"].is_monotonic_increasing
    untimed = frame.drop(columns="timestamp")
    assert (usual.split(untimed) == RatioSplit().split(untimed)).all()
    assert (UsualSplit("all").split(frame) == RatioSplit(by="all").split(frame)).all()
    given = frame.assign(split=pd.Categorical(["train", "val", "test"] * 20, categories=["train", "val", "test"]))
    assert (usual.split(given) == GivenSplit().split(given)).all()
    for taken in (usual.for_columns(frame.columns), usual.for_columns(untimed.columns)):
        assert usual.chosen(taken.describe()).describe() == taken.describe()
    assert usual.chosen("another") is None
