"""Calibration beside scikit-learn's, and as a part of a model."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import expit, logit
from sklearn.calibration import _SigmoidCalibration
from sklearn.isotonic import IsotonicRegression

from recgnn.evaluation.metrics.clicks import auc
from recgnn.models import LR
from recgnn.training import calibration
from recgnn.training.calibration import applied, cross_fitted, isotonic, platt, recommended


@pytest.fixture
def events() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits twice too large and one too high, labels, weights."""
    random = np.random.default_rng(0)
    right = random.normal(-1, 1, 3000)
    labels = (random.random(3000) < expit(right)).astype(np.float64)
    return 2 * right + 1, labels, random.integers(1, 4, 3000).astype(np.float64)


def test_platts_line_is_scikit_learns(events) -> None:
    logits, labels, weights = events
    found = platt(logits, labels, weights)
    theirs = _SigmoidCalibration().fit(logits, labels, weights)
    np.testing.assert_allclose(applied(found, logits), -theirs.a_ * logits - theirs.b_, atol=1e-3)
    assert (found[1, 1] - found[1, 0]) / 100 == pytest.approx(0.5, abs=0.05)


def test_isotonic_levels_are_scikit_learns(events) -> None:
    """Of fifty parts of equally many events; the curve goes through the middle of each level."""
    logits, labels, weights = events
    found = isotonic(logits, labels, weights)
    edges = np.unique(np.quantile(np.sort(logits), np.arange(1, calibration.MOST) / calibration.MOST))
    part = np.searchsorted(edges, logits, side="left")
    total, positive = (np.bincount(part, x) for x in (weights, weights * labels))
    rates = (positive + 0.5 * labels.mean()) / (total + 0.5)
    levels = IsotonicRegression().fit_transform(np.arange(len(rates)), rates, sample_weight=total)
    assert len(found[0]) - 2 == len(set(levels.round(12))) < calibration.MOST
    np.testing.assert_allclose(found[1, 1:-1], logit(np.unique(levels.round(12))), rtol=1e-6)
    middle = [np.average(logits[levels.round(12)[part] == level], weights=weights[levels.round(12)[part] == level])
              for level in np.unique(levels.round(12))]  # fmt: skip
    np.testing.assert_allclose(found[0, 1:-1], middle, rtol=1e-6)


@pytest.mark.parametrize("fit", [platt, isotonic])
def test_the_order_stays_and_the_loss_falls(fit, events) -> None:
    logits, labels, weights = events
    model = LR([3])
    before = model.calibrated(torch.tensor(logits))
    model.calibration = torch.tensor(fit(logits, labels, weights), dtype=torch.float32)
    after = model.calibrated(torch.tensor(logits))
    np.testing.assert_allclose(after, np.interp(logits, *model.calibration.numpy()), atol=1e-4)
    assert float(auc(after, torch.tensor(labels))) == pytest.approx(float(auc(before, torch.tensor(labels))), abs=1e-6)
    assert calibration.loss(after.numpy(), labels, weights) < calibration.loss(logits, labels, weights) - 0.05
    other = LR([3])
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.calibrated(before), model.calibrated(before))
    other.load_state_dict(LR([3]).state_dict())
    assert other.calibration is None


@pytest.mark.parametrize("fit", [platt, isotonic])
def test_few_events_of_one_logit_and_logits_the_wrong_way_round(fit) -> None:
    few = fit(np.zeros(3), np.array([0.0, 1.0, 0.0]), np.ones(3))
    assert np.isfinite(few).all() and (np.diff(few) > 0).all() and -1.2 < np.interp(0, *few) < 0
    wrong = fit(np.linspace(-3, 3, 200), np.repeat([1.0, 0.0], 100), np.ones(200))
    assert np.isfinite(wrong).all() and (np.diff(wrong) > 0).all()


def test_what_is_recommended_is_measured_on_events_that_it_was_not_fitted_to(events) -> None:
    logits, labels, weights = events
    losses = cross_fitted(logits, labels, weights)
    assert losses["none"] == pytest.approx(calibration.loss(logits, labels, weights))
    assert recommended(losses) in ("platt", "isotonic") and losses["platt"] < losses["none"] - 0.05
    right = cross_fitted((logits - 1) / 2, labels, weights)
    assert recommended(right) == "none" and right["isotonic"] > right["none"] - 0.002 * right["none"]
