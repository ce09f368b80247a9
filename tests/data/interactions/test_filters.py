"""Filters against naive loops."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd
import pytest

from recgnn.data.interactions.filters import Deduplicate, KCore, MinRating
from recgnn.errors import ConfigError, DataError


def _random_frame(seed: int, rows: int = 300) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "user": random.integers(0, 40, rows),
            "item": random.choice([f"i{k}" for k in range(30)], rows),
            "rating": random.integers(1, 6, rows).astype(np.float32),
            "timestamp": random.integers(0, 50, rows),
        }
    )


def test_min_rating() -> None:
    frame = pd.DataFrame({"user": [1, 1, 2], "item": [1, 2, 3], "rating": np.float32([3.9, 4, 5])})
    assert MinRating(4).apply(frame)["item"].tolist() == [2, 3]
    with pytest.raises(DataError, match="needs ratings"):
        MinRating(4).apply(frame.drop(columns="rating"))


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(("users", "items"), [(5, 5), (8, 6), (1, 9), (30, 30)])
def test_k_core_against_a_loop(seed: int, users: int, items: int) -> None:
    frame = _random_frame(seed)
    rows = [*frame[["user", "item"]].itertuples(name=None)]
    while True:
        pairs = {r[1:] for r in rows}  # a repeated pair counts once
        of_user, of_item = Counter(p[0] for p in pairs), Counter(p[1] for p in pairs)
        kept = [r for r in rows if of_user[r[1]] >= users and of_item[r[2]] >= items]
        if len(kept) == len(rows):
            break
        rows = kept
    assert KCore(users, items).apply(frame).index.tolist() == [r[0] for r in rows]


@pytest.mark.parametrize("timestamps", [True, False])
@pytest.mark.parametrize("keep", ["last", "first", "max"])
def test_deduplicate_against_a_loop(keep: str, timestamps: bool) -> None:
    frame = _random_frame(3)
    if not timestamps:
        frame = frame.drop(columns="timestamp")
    best: dict[tuple, tuple] = {}
    for row, values in enumerate(frame.to_dict("records")):
        time = values.get("timestamp", 0)
        key = {"last": (time, row), "first": (-time, -row), "max": (values["rating"], time, row)}[
            keep
        ]
        pair = (values["user"], values["item"])
        best[pair] = max(best.get(pair, (key, row)), (key, row))
    assert Deduplicate(keep).apply(frame).index.tolist() == sorted(row for _, row in best.values())


def test_deduplicate_options() -> None:
    frame = _random_frame(0).drop_duplicates(["user", "item"])
    assert Deduplicate().apply(frame) is frame
    with pytest.raises(ConfigError, match="keep is 'best'"):
        Deduplicate("best")
    with pytest.raises(DataError, match="needs ratings"):
        Deduplicate("max").apply(frame.drop(columns="rating"))
