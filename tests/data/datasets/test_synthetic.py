"""The made-up log."""

from __future__ import annotations

import pytest

from recgnn.data.datasets.synthetic import SyntheticLog
from recgnn.errors import ConfigError


def test_sizes_and_types() -> None:
    log = SyntheticLog(num_users=20, num_items=30, interactions_per_user=7).read()
    frame = log.interactions
    assert len(frame) == 140 and not frame.duplicated(["user", "item"]).any()
    assert (frame.groupby("user").size() == 7).all()
    assert set(frame["rating"]) <= {1, 2, 3, 4, 5}
    assert len(log.items) == 30 and log.items["title"].is_unique and len(log.users) == 20
    bare = SyntheticLog(ratings=False, timestamps=False).read().interactions
    assert [*bare.columns] == ["user", "item"]


def test_the_same_seed_gives_the_same_log() -> None:
    first, again, other = SyntheticLog(), SyntheticLog(), SyntheticLog(seed=1)
    assert first.read().interactions.equals(again.read().interactions)
    assert not first.read().interactions.equals(other.read().interactions)
    assert first.fingerprint() == again.fingerprint() != other.fingerprint()
    assert SyntheticLog(num_users=59).fingerprint() != first.fingerprint()


def test_own_cluster_is_met_and_liked_more() -> None:
    log = SyntheticLog(num_users=200).read()
    frame = log.interactions.merge(log.users, on="user").merge(log.items, on="item")
    own = frame["segment"].str[1:] == frame["genre"].str[1:]
    assert own.mean() > 0.5, "a quarter by chance"
    assert frame["rating"][own].mean() > frame["rating"][~own].mean() + 1


def test_impossible_sizes() -> None:
    with pytest.raises(ConfigError, match="interactions_per_user is 6; expected at most num_items, 5"):
        SyntheticLog(num_items=5, interactions_per_user=6)
