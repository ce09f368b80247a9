"""Errors of predicted numbers against scikit-learn's."""

from __future__ import annotations

import pytest
import torch
from sklearn.metrics import mean_absolute_error, root_mean_squared_error

from recgnn.evaluation.metrics.collections import ErrorMetrics


def test_equals_scikit_learn() -> None:
    predictions, labels = torch.randn(2, 101, generator=torch.Generator().manual_seed(0))
    metrics = ErrorMetrics()
    assert all(value.isnan() for value in metrics.compute().values())
    for at in range(0, 101, 25):
        metrics.update(predictions[at : at + 25], labels[at : at + 25])
    expected = {"rmse": root_mean_squared_error(labels, predictions), "mae": mean_absolute_error(labels, predictions)}
    assert {name: float(value) for name, value in metrics.compute().items()} == pytest.approx(expected)
    metrics.reset()
    metrics.update(torch.tensor([1.0]), torch.tensor([3.0]))
    assert {name: float(value) for name, value in metrics.compute().items()} == {"rmse": 2.0, "mae": 2.0}


def test_small_errors_among_many_are_kept() -> None:
    """Sums in double precision: a float would not take one in ten million."""
    metrics = ErrorMetrics(["mae"])
    metrics.update(torch.tensor([2.0**25]), torch.tensor([0.0]))
    for _ in range(64):
        metrics.update(torch.tensor([1.0]), torch.tensor([0.0]))
    assert float(metrics.compute()["mae"]) == (2**25 + 64) / 65
