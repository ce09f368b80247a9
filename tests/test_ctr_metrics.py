"""The metrics of CTR models against scikit-learn's and against sums by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss, roc_auc_score

from recgnn.metrics import CTRMetrics, auc, grouped_auc


def drawn(n: int = 3000, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits with many ties, labels that follow them, and groups of uneven size, some of one class."""
    random = np.random.default_rng(seed)
    logits = np.round(random.normal(size=n), 1)
    labels = (random.random(n) < 1 / (1 + np.exp(-logits))).astype(np.float32)
    groups = random.integers(0, 40, size=n) ** 2 // 30
    labels[groups == 3], labels[groups == 5] = 1, 0
    return tuple(map(torch.from_numpy, (logits.astype(np.float32), labels, groups)))


def test_auc_with_ties_is_scikit_learns() -> None:
    logits, labels, _ = drawn()
    assert auc(logits, labels).item() == pytest.approx(roc_auc_score(labels, logits), abs=1e-12)
    constant = torch.zeros_like(logits)
    assert auc(constant, labels).item() == 0.5
    assert auc(labels, labels).item() == 1 and auc(-labels, labels).item() == 0
    assert auc(logits, torch.ones_like(labels)).isnan()


def test_auc_by_group_is_weighted_and_leaves_single_classes_out() -> None:
    logits, labels, groups = drawn()
    total, weight = 0.0, 0
    for group in groups.unique():
        rows = groups == group
        if 0 < labels[rows].mean() < 1:
            total += roc_auc_score(labels[rows], logits[rows]) * int(rows.sum())
            weight += int(rows.sum())
    assert weight < len(labels)
    assert grouped_auc(logits, labels, groups).item() == pytest.approx(total / weight, abs=1e-12)


def computed(*parts) -> dict[str, float]:
    metric = CTRMetrics()
    for part in parts:
        metric.update(*part)
    return {k: v.item() for k, v in metric.compute().items()}


def test_all_of_them() -> None:
    logits, labels, groups = drawn()
    found = computed((logits[:1000], labels[:1000], groups[:1000]), (logits[1000:], labels[1000:], groups[1000:]))
    chances = 1 / (1 + np.exp(-logits.double().numpy()))
    rate = labels.double().mean().item()
    loss = log_loss(labels, chances)
    assert found["auc"] == pytest.approx(roc_auc_score(labels, logits), abs=1e-12)
    assert found["logloss"] == pytest.approx(loss, abs=1e-9)
    assert found["ne"] == pytest.approx(loss / -(rate * np.log(rate) + (1 - rate) * np.log(1 - rate)), abs=1e-9)
    assert found["calibration"] == pytest.approx(chances.sum() / labels.sum().item(), abs=1e-9)
    assert found["gauc"] == pytest.approx(grouped_auc(logits, labels, groups).item())
    assert found.keys() == set(CTRMetrics.names)


def test_calibration_error_by_hand() -> None:
    """Forty events of 20 chances: in each bin of two the label's mean is the chance, then 0.1 too low."""
    chances = torch.linspace(0.025, 0.975, 20).repeat_interleave(2).double()
    labels = torch.tensor([0.0, 1.0]).repeat(20)
    found = computed((torch.logit(chances).float(), labels))
    assert found["ece"] == pytest.approx((chances - 0.5).abs().mean().item(), abs=1e-6)
    exact = computed((torch.full((40,), 0.0), labels))
    assert exact["ece"] == pytest.approx(0, abs=1e-6) and exact["calibration"] == pytest.approx(1)


def test_no_groups_no_events() -> None:
    logits, labels, _ = drawn(50)
    found = computed((logits, labels, None))
    assert np.isnan(found["gauc"]) and not np.isnan(found["auc"])
    assert all(np.isnan(v) for v in computed().values())


def test_one_class_has_no_auc_but_a_loss() -> None:
    found = computed((torch.randn(9), torch.ones(9), torch.zeros(9)))
    assert np.isnan(found["auc"]) and np.isnan(found["gauc"]) and found["logloss"] > 0


def test_two_processes_are_one() -> None:
    """What the states are joined to is what one process has."""
    logits, labels, groups = drawn()
    one, two, both = CTRMetrics(), CTRMetrics(), CTRMetrics()
    one.update(logits[::2], labels[::2], groups[::2])
    two.update(logits[1::2], labels[1::2], groups[1::2])
    for name in ("logits", "labels", "groups"):
        setattr(both, name, torch.cat(getattr(one, name) + getattr(two, name)))
    both._update_count = 1
    expected = computed((logits, labels, groups))
    for name, value in both.compute().items():
        assert value.item() == pytest.approx(expected[name], abs=1e-12), name


def test_large_logits_stay_finite() -> None:
    found = computed((torch.tensor([90.0, -90, 80, -80]), torch.tensor([1.0, 0, 0, 1])))
    assert found["logloss"] == pytest.approx(40, abs=1e-6) and found["auc"] == 0.75
