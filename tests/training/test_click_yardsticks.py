"""Simple methods on click data: what they are given, and what they reach on labels of a known rule."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from recgnn.data import CTRDataModule, EventFrame
from recgnn.models import LR
from recgnn.training.click_yardsticks import constant, remarks, simple_methods, table_of
from recgnn.training.clicks import ClickTraining

PARTS = ("val", "test")


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> CTRDataModule:
    """Clicks that depend on the ad alone, beside a number and a list that say nothing."""
    random, n = np.random.default_rng(0), 4000
    ad = random.integers(0, 30, n)
    frame = pd.DataFrame({"ad_id": ad, "price": random.lognormal(3, 1, n), "tags": random.choice(["a|b", "b", ""], n)})
    frame.loc[:9, "price"] = np.nan
    frame["label"] = (random.random(n) < 1 / (1 + np.exp(-random.normal(0, 2, 30)[ad]))).astype(int)
    return CTRDataModule(EventFrame(frame), cache_dir=str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="module")
def like(data) -> ClickTraining:
    return ClickTraining(LR(data.field_dims, data.slots), metrics=["auc", "logloss", "ne"])


def test_the_constant_is_the_rate_of_train(data, like) -> None:
    found = constant(data, like, PARTS)
    rate = data.prepared.train.labels.mean()
    for part in PARTS:
        own = getattr(data.prepared, part).labels.mean()
        assert found[part]["auc"] == 0.5 and found[part]["ne"] == pytest.approx(1, abs=0.01)
        expected = -own * np.log(rate) - (1 - own) * np.log(1 - rate)
        assert found[part]["logloss"] == pytest.approx(expected, rel=1e-5)


def test_simple_methods_find_the_ads(data, like) -> None:
    found = simple_methods(data, like, PARTS)
    assert "lr" in found and all(0.7 < found[name][part]["auc"] and found[name][part]["ne"] < 0.85
                                 for name in found for part in PARTS)  # fmt: skip


def test_trees_are_given_places_and_numbers_and_gaps(data) -> None:
    found, part = table_of(data.prepared, data.prepared.train), data.prepared.train
    names = [data.field_names[slot] for slot in data.slots]
    assert names == ["ad_id", "price", "price.bins", "tags", "tags"]
    assert set(found[:, 0]) == set(range(2, 32))
    missing = part.ids[:, 1] - data.field_dims[0] == 1
    assert 0 < missing.sum() <= 10 and (np.isnan(found[:, 1]) == missing).all()
    assert abs(np.nanmean(found[:, 1])) < 0.01 and np.nanstd(found[:, 1]) == pytest.approx(1, abs=0.01)
    assert set(found[missing, 2]) == {1.0} and len(set(found[:, 2])) == 17
    assert set(found[~np.isnan(found[:, 4]), 4]) == {2.0} and set(found[:, 3]) == {1.0, 2.0, 3.0}


def test_remarks_name_what_is_too_little() -> None:
    fine = {"val": {"auc": 0.7, "ne": 0.9}, "baselines": {"lr": {"val": {"auc": 0.69}}}}
    plain, deep = (SimpleNamespace(model=SimpleNamespace(arguments=names)) for names in ({}, {"dropout": 0.0}))
    assert remarks(fine, plain) == []
    worse = {"val": {"auc": 0.6, "ne": 1.05}, "baselines": fine["baselines"]}
    wrong, low = remarks(worse, plain)
    assert "dropout" not in low and "--training.l2 or --model.dropout, or --model LR" in remarks(worse, deep)[1]
    assert "raise --trainer.max_epochs, or --model LR" in remarks(worse | {"best_epoch": 4, "epochs": 5}, deep)[1]
    assert "normalised entropy is 1.050: the probabilities are worse than the mean label" in wrong
    assert "on validation the AUC is 0.6000, below that of LR (0.6900)" in low
    assert remarks({"val": {}, "test": {"auc": None}}, plain) == []
