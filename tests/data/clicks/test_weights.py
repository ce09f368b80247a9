"""Weights of events: in the loss and in the metrics, against loops, repeated rows and scikit-learn's definition."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from lightning import Trainer

from recgnn.data import CTRDataModule, EventFrame
from recgnn.errors import ConfigError, DataError
from recgnn.evaluation.metrics.collections import ClickMetrics, ErrorMetrics
from recgnn.models import LR
from recgnn.training.clicks import ClickTraining

NAMES = ["auc", "logloss", "ne", "gauc", "ece", "calibration"]


def values(metrics) -> dict[str, float]:
    return {name: float(value) for name, value in metrics.compute().items()}


def events(seed: int, count: int = 60):
    random = np.random.default_rng(seed)
    logits = np.round(random.normal(size=count), 1)  # with ties
    labels = (random.random(count) < 0.4).astype(float)
    return logits, labels, random.integers(0, 4, count), random.integers(0, 4, count).astype(float)


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_a_whole_weight_is_that_many_events(seed: int, exact: bool, monkeypatch) -> None:
    if not exact:
        monkeypatch.setattr(ClickMetrics, "exact", 10)
    logits, labels, groups, weights = events(seed)
    weighted, repeated = ClickMetrics(NAMES), ClickMetrics(NAMES)
    for rows in np.array_split(np.arange(60), 3):
        weighted.update(*(torch.tensor(x[rows]) for x in (logits, labels, groups, weights)))
        again = np.repeat(rows, weights[rows].astype(int))
        repeated.update(*(torch.tensor(x[again]) for x in (logits, labels, groups)))
    found, expected = values(weighted), values(repeated)
    assert found.pop("ece") == pytest.approx(expected.pop("ece"), abs=0.02)  # events at a bound are shared out
    assert found == pytest.approx(expected, abs=1e-6, nan_ok=True)


def test_auc_and_log_loss_by_their_definitions() -> None:
    logits, labels, _, weights = events(9)
    metrics = ClickMetrics(["auc", "logloss"])
    metrics.update(*(torch.tensor(x) for x in (logits, labels)), None, torch.tensor(weights))
    won = total = loss = 0.0
    for i in range(60):
        chance = 1 / (1 + np.exp(-logits[i]))
        loss -= weights[i] * np.log(chance if labels[i] else 1 - chance)
        for j in range(60):
            if labels[i] == 1 and labels[j] == 0:
                pair = weights[i] * weights[j]
                total += pair
                won += pair * (float(logits[i] > logits[j]) + 0.5 * float(logits[i] == logits[j]))
    assert values(metrics) == pytest.approx({"auc": won / total, "logloss": loss / weights.sum()})


def test_errors_are_weighted_means() -> None:
    metrics = ErrorMetrics()
    metrics.update(torch.tensor([1.0, 2.0]), torch.tensor([2.0, 5.0]), torch.tensor([3.0, 1.0]))
    assert values(metrics) == pytest.approx({"rmse": np.sqrt((3 * 1 + 9) / 4), "mae": (3 + 3) / 4})


def data(tmp_path, weights, **options) -> CTRDataModule:
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"ad": random.integers(0, 5, 200), "label": random.integers(0, 2, 200), "w": weights})
    fields = {"ad": "categorical"}
    module = CTRDataModule(EventFrame(frame), weight="w", cache_dir=str(tmp_path), **{"fields": fields, **options})
    module.trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    module.setup("fit")
    return module


def test_the_loss_counts_events_by_their_weight_over_the_mean(tmp_path) -> None:
    weights = np.random.default_rng(1).integers(0, 5, 200) / 2
    module = data(tmp_path, weights, batch_size=32)
    training = ClickTraining(LR(module.field_dims, module.slots), l2=0.0)
    training.log = lambda *_, **__: None
    mean = module.prepared.train.weights.mean()
    parts = [getattr(module.prepared, part).weights for part in ("train", "val", "test")]
    assert sorted(np.concatenate(parts)) == sorted(np.float32(weights))
    for batch in module.train_dataloader():
        logits = training.model.logits(batch).double()
        expected = 0.0
        for logit, label, weight in zip(logits.tolist(), batch.labels.tolist(), batch.weights.tolist(), strict=True):
            expected += weight * np.log1p(np.exp(-logit if label else logit))
        assert training.training_step(batch, 0).item() == pytest.approx(expected / len(logits), rel=1e-5)
    assert np.isclose(sum(b.weights.sum() for b in module.train_dataloader()) * mean, parts[0].sum())
    assert "w" not in module.field_names and "events count by their w" in module.describe("clicks")


def test_the_column_of_weights_is_no_field_and_must_be_one(tmp_path) -> None:
    assert data(tmp_path, np.ones(200), fields=None).field_names == ["ad"]
    with pytest.raises(ConfigError, match="fields: 'w' holds the weight"):
        data(tmp_path, np.ones(200), fields={"w": "numeric", "ad": "categorical"}).prepared  # noqa: B018
    with pytest.raises(ConfigError, match="weight: frame: no column 'v'"):
        CTRDataModule(EventFrame(pd.DataFrame({"ad": [1, 2], "label": [0, 1]})), weight="v").prepared  # noqa: B018
    with pytest.raises(DataError, match="row 4, column 'w': -1"):
        data(tmp_path, np.where(np.arange(200) == 3, -1, 1)).prepared  # noqa: B018
    with pytest.raises(DataError, match="all weights .w. of the train part are 0"):
        data(tmp_path, np.zeros(200)).prepared  # noqa: B018
