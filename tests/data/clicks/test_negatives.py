"""Sampled negatives: uniform over the items that the user never had, whatever repeats in the log."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chisquare

from recgnn.data.clicks.negatives import columns_of, with_negatives
from recgnn.errors import DataError


def test_a_user_who_repeats_an_item_gets_every_other_item_equally_often() -> None:
    had = [0, 0, 0, 1, 2, 2]  # three distinct items of ten
    others = [(1, item) for item in range(3, 10)]
    frame = pd.DataFrame([(0, item) for item in had] + others, columns=["user", "item"])
    events, labels, _ = with_negatives(frame, np.zeros(len(frame)), 500, seed=1)
    drawn = events["item"][(labels == 0) & (events["user"] == 0)]
    counts = drawn.value_counts().reindex(range(10), fill_value=0)
    assert (counts[:3] == 0).all()
    assert chisquare(counts[3:]).pvalue > 1e-3


def test_a_user_has_every_item_by_distinct_items_alone() -> None:
    frame = pd.DataFrame({"user": [0, 0, 0, 1], "item": [0, 0, 0, 1]})  # three events of two items
    events, labels, _ = with_negatives(frame, np.zeros(4), 1, seed=1)
    assert events["item"][(labels == 0) & (events["user"] == 0)].tolist() == [1, 1, 1]
    with pytest.raises(DataError, match="user 0 has every one of the 2 items"):
        with_negatives(pd.DataFrame({"user": [0, 0, 1], "item": [0, 1, 1]}), np.zeros(3), 1, seed=1)


def test_user_and_time_are_never_the_items() -> None:
    columns = {"user": list("abcd"), "item": [1, 2, 3, 4], "timestamp": [5, 6, 7, 8], "colour": list("rgbw")}
    frame = pd.DataFrame(columns)
    assert columns_of(frame, "item") == ["item", "colour"]
    events, labels, _ = with_negatives(frame, np.zeros(4), 2, seed=1)
    negatives = events[labels == 0]
    assert negatives["user"].tolist() == list("aabbccdd")
    assert negatives["timestamp"].tolist() == [5, 5, 6, 6, 7, 7, 8, 8]
    own = dict(zip(frame["item"], frame["user"], strict=True))
    assert all(own[item] != user for user, item in zip(negatives["user"], negatives["item"], strict=True))
    assert (negatives["colour"] == negatives["item"].map(dict(zip([1, 2, 3, 4], "rgbw", strict=True)))).all()
