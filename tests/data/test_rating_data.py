"""The data of the rating task: a declared range, and training on validation too."""

from __future__ import annotations

import pandas as pd
import pytest

from recgnn.data import (
    FrameLog,
    GivenSplit,
    GraphDataModule,
    RatingRange,
    RatioSplit,
    SyntheticLog,
    WithoutValidation,
    prepare,
)
from recgnn.errors import ConfigError, DataError

FRAME = pd.DataFrame({"user": [1, 1, 2, 2], "item": [5, 6, 5, 7], "rating": [1.0, 9.0, 5.0, 0.5]})


def test_ratings_outside_the_declared_range_are_named() -> None:
    with pytest.raises(DataError) as caught:
        RatingRange(1, 5).apply(FRAME)
    for part in ("row 2", "user 1", "item 6", "rating 9 lies outside 1 to 5", "2 ratings", "drop: true"):
        assert part in str(caught.value)
    assert RatingRange(1, 5, drop=True).apply(FRAME)["rating"].tolist() == [1.0, 5.0]
    assert RatingRange(0.5, 9).apply(FRAME) is FRAME
    with pytest.raises(DataError, match="needs ratings"):
        RatingRange(1, 5).apply(FRAME.drop(columns="rating"))
    with pytest.raises(ConfigError, match="low < high"):
        RatingRange(5, 1)


def test_without_validation() -> None:
    frame = SyntheticLog(num_users=10, num_items=8, interactions_per_user=6).read().interactions
    inner = RatioSplit((0.5, 0.3, 0.2), seed=3)
    part, merged = inner.split(frame), WithoutValidation(inner).split(frame)
    assert (merged == 2).tolist() == (part == 2).tolist()
    assert (merged == 0).tolist() == (part != 2).tolist() and (part == 1).any()
    assert "validation added to train" in WithoutValidation(inner).describe()
    assert repr(WithoutValidation(inner)) == repr(WithoutValidation(RatioSplit((0.5, 0.3, 0.2), seed=3)))
    assert repr(WithoutValidation(inner)) != repr(WithoutValidation(RatioSplit((0.5, 0.3, 0.2), seed=4)))
    with pytest.raises(DataError, match="no validation part"):
        WithoutValidation(RatioSplit((0.8, 0, 0.2))).split(frame)
    with pytest.raises(DataError, match="is the test part"):
        WithoutValidation(GivenSplit(val="test")).split(frame)


def test_merging_validation_into_train(tmp_path) -> None:
    """The vocabulary is that of both: an item of validation alone is known."""
    rows = [(u, i, 3.0, "train") for u in range(4) for i in range(3)]
    rows += [(0, 9, 4.0, "val"), (1, 8, 2.0, "test"), (2, 9, 1.0, "test"), (3, 2, 1.0, "val"), (1, 1, 2.0, "test")]
    rows = [r for r in rows if r[:2] not in ((3, 2), (1, 1)) or r[3] != "train"]
    source = FrameLog(pd.DataFrame(rows, columns=["user", "item", "rating", "split"]))
    plain = GraphDataModule(source, split=GivenSplit(), cache_dir=str(tmp_path))
    merged = GraphDataModule(source, split=GivenSplit(), cache_dir=str(tmp_path), merge_val=True)
    assert plain.num_items == 3 and merged.num_items == 4
    assert len(plain.prepared.train) == 10 and len(plain.prepared.val) == 1 and len(plain.prepared.cold["test"]) == 2
    assert len(merged.prepared.train) == 12 and len(merged.prepared.val) == 0
    assert len(merged.prepared.test) == 2 and len(merged.prepared.cold["test"]) == 1
    assert merged.prepared.summary["split"].endswith("validation added to train")
    again = prepare(source, [], WithoutValidation(GivenSplit()), tmp_path)  # from the cache
    assert len(again.train) == 12 and len(again.cold["test"]) == 1


def test_a_log_without_ratings_says_so() -> None:
    source = SyntheticLog(num_users=10, num_items=8, interactions_per_user=6, ratings=False)
    data = GraphDataModule(source)
    with pytest.raises(DataError, match="the log has no ratings.*name the column"):
        data.ratings("train")
