"""AUC by the values of a field, calibration, the metrics of each user, and attention, from a few events."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score

from recgnn.evaluation.reports import REPORTS, clicks
from recgnn.evaluation.reports.common import in_order

TRAINING = SimpleNamespace(device="cpu", model=torch.nn.Linear(1, 1))


def test_events(trainer, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(clicks, "raw_groups", lambda prepared, groups: [f"g{group}" for group in groups])
    field = SimpleNamespace(name="hour", slot=1, start=100, values=["unknown", "missing", "9", "10"])
    trainer.datamodule.reported_field = lambda: field
    random = np.random.default_rng(0)
    logits, hours = random.normal(size=400).round(1), random.integers(0, 4, 400)
    labels, groups = (random.random(400) < 1 / (1 + np.exp(-logits))).astype(float), random.integers(0, 5, 400)
    hours[hours == 1] = 3
    report = REPORTS["clicks"](tmp_path)
    report.on_test_start(trainer, TRAINING)
    for at in range(0, 400, 150):
        part = slice(at, at + 150)
        ids = torch.from_numpy(np.stack([hours[part] * 0, hours[part] + 100], 1))
        batch = SimpleNamespace(
            ids=ids, labels=torch.tensor(labels[part]), groups=torch.tensor(groups[part]), history=None
        )
        report.on_test_batch_end(trainer, TRAINING, {"logits": torch.tensor(logits[part])}, batch, at)
    report.on_test_end(trainer, TRAINING)
    found = report.groups["by_hour"]
    assert [group["group"] for group in found] == ["9", "10", "unknown"]
    for group, row in zip(found, (2, 3, 0), strict=True):
        own = hours == row
        assert group["rows"] == own.sum() and group["auc"] == pytest.approx(roc_auc_score(labels[own], logits[own]))
    bins = report.groups["calibration"]
    assert len(bins) == 20 and sum(bin["observed"] * bin["rows"] for bin in bins) == pytest.approx(labels.sum())
    users = pd.read_parquet(tmp_path / "users.parquet")
    assert users["user"].tolist() == [f"g{n}" for n in range(5)]
    expected = [roc_auc_score(labels[groups == n], logits[groups == n]) for n in range(5)]
    assert users["auc"].tolist() == pytest.approx(expected, rel=1e-6)
    assert sorted(path.stem for path in (tmp_path / "figures").iterdir()) == [
        "auc_by_hour", "calibration", "precision_recall", "roc",
    ]  # fmt: skip


def test_one_class_has_nothing_to_draw(trainer, tmp_path) -> None:
    trainer.datamodule.reported_field = lambda: None
    report = REPORTS["clicks"](tmp_path)
    report.on_test_start(trainer, TRAINING)
    batch = SimpleNamespace(labels=torch.ones(3), groups=None, history=None)
    report.on_test_batch_end(trainer, TRAINING, {"logits": torch.zeros(3)}, batch, 0)
    report.on_test_end(trainer, TRAINING)
    assert report.groups == {} and list(tmp_path.iterdir()) == []


def test_numbers_are_in_order_and_words_as_they_are() -> None:
    def order(*labels: str) -> list[str]:
        return [group["group"] for group in in_order([{"group": label} for label in labels])]

    assert order("unknown", "10", "9", "-1.5", "missing") == ["-1.5", "9", "10", "unknown", "missing"]
    assert order("b", "10", "9", "unknown") == ["b", "10", "9", "unknown"]
