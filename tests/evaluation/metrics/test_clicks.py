"""The metrics of clicks against scikit-learn's and against sums by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss, roc_auc_score

from recgnn.evaluation.metrics.clicks import CLICKS, auc, grouped_auc
from recgnn.evaluation.metrics.collections import ClickMetrics


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
    metric = ClickMetrics()
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
    assert found.keys() == set(CLICKS)


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
    one, two, both = ClickMetrics(), ClickMetrics(), ClickMetrics()
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


def test_auc_of_few_events() -> None:
    """Each pair of a positive and a negative, one by one."""
    random = np.random.default_rng(0)
    for n in (2, 3, 10, 200):
        scores, labels = random.integers(4, size=n) / 2, np.r_[0, 1, random.integers(2, size=n - 2)]
        wins = [(p > q) + 0.5 * (p == q) for p in scores[labels == 1] for q in scores[labels == 0]]
        found = auc(torch.from_numpy(scores), torch.from_numpy(labels))
        assert found.item() == pytest.approx(np.mean(wins), abs=1e-12)


def test_no_events_have_no_auc() -> None:
    none = torch.zeros(0)
    assert auc(none, none).isnan() and auc(none, none, none).isnan()


def test_group_auc_by_hand() -> None:
    """Groups 7 (3 events, all pairs right), 2 (4 events, one of 4 pairs right, one a tie) and 5 (one class)."""
    groups = torch.tensor([7, 2, 5, 2, 7, 2, 5, 7, 2])
    scores = torch.tensor([0.1, 0.5, 0.9, 0.2, 0.8, 0.5, 0.1, 0.2, 0.9])
    labels = torch.tensor([0.0, 1, 1, 1, 1, 0, 1, 0, 0])
    # group 2: positives 0.5 and 0.2, negatives 0.5 and 0.9: a tie and three wrong
    assert grouped_auc(scores, labels, groups).item() == pytest.approx((1 * 3 + 0.125 * 4) / 7)
    assert grouped_auc(scores[labels == 1], labels[labels == 1], groups[labels == 1]).isnan()


def test_equal_scores_of_two_groups_are_no_tie() -> None:
    scores, labels = torch.tensor([0.1, 0.5, 0.5, 0.9]), torch.tensor([0.0, 1, 0, 1])
    assert grouped_auc(scores, labels, torch.tensor([0, 0, 1, 1])).item() == 1


def test_figures_by_hand() -> None:
    """Two positives of four: chances 0.8 and 0.25 for them, 0.5 and 0.25 for the others."""
    chances = torch.tensor([0.8, 0.25, 0.5, 0.25])
    found = computed((torch.logit(chances), torch.tensor([1.0, 1, 0, 0]), torch.tensor([0, 1, 0, 1])))
    loss = -(np.log(0.8) + np.log(0.25) + np.log(0.5) + np.log(0.75)) / 4
    gaps = abs(0.8 - 1) + abs(0.5 - 0) + 2 * abs(0.25 - 0.5)  # the two of 0.25 share a rate of one half
    expected = {
        "auc": (1 + 1 + 0 + 0.5) / 4, "logloss": loss, "ne": loss / np.log(2), "gauc": (1 + 0.5) / 2,
        "ece": gaps / 4, "calibration": 1.8 / 2,
    }  # fmt: skip
    assert found == pytest.approx(expected, abs=1e-6)


def test_calibration_error_of_bins_of_uneven_size() -> None:
    """103 events in 20 bins of five or six: what each bin is off, over all events."""
    random = np.random.default_rng(1)
    chances = random.permutation(np.linspace(0.01, 0.99, 103))
    labels = (random.random(103) < chances**2).astype(np.float32)
    order = np.argsort(chances)
    bins = np.arange(103) * 20 // 103
    off = [abs((chances[order][bins == b] - labels[order][bins == b]).sum()) for b in range(20)]
    found = computed((torch.logit(torch.from_numpy(chances)), torch.from_numpy(labels)))
    assert found["ece"] == pytest.approx(sum(off) / 103, abs=1e-6)


def test_events_without_a_group_are_no_group() -> None:
    logits, labels = torch.tensor([0.1, 0.4, 0.35, 0.8, 0.9, 0.0]), torch.tensor([1, 0, 0, 1, 0, 1])
    metrics = ClickMetrics(["gauc", "auc"])
    metrics.update(logits, labels, torch.tensor([7, 7, 9, 9, -1, -1]))
    found = metrics.compute()
    assert found["gauc"] == 0.5 and found["auc"] == auc(logits, labels)
    metrics.reset()
    metrics.update(logits, labels, torch.full((6,), -1))
    assert metrics.compute()["gauc"].isnan()


def test_the_order_of_events_does_not_matter() -> None:
    logits, labels, groups = drawn()
    mixed = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    assert computed((logits[mixed], labels[mixed], groups[mixed])) == pytest.approx(
        computed((logits, labels, groups)), abs=1e-12
    )


def test_a_reset_forgets() -> None:
    logits, labels, groups = drawn(200)
    metric = ClickMetrics()
    metric.update(-logits, labels, groups)
    metric.compute()
    metric.reset()
    metric.update(logits, labels, groups)
    assert {k: v.item() for k, v in metric.compute().items()} == computed((logits, labels, groups))


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float64])
def test_metrics_of_other_precisions(kind) -> None:
    logits, labels, groups = drawn(500)
    found = computed((logits.to(kind), labels, groups))
    assert found == pytest.approx(computed((logits.to(kind).float(), labels, groups)))


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_a_model_that_gives_nan_has_no_auc(share) -> None:
    logits, labels, groups = drawn(200)
    logits[: int(200 * share)] = torch.nan
    found = computed((logits, labels, groups))
    assert np.isnan(found["logloss"])
    assert np.isnan(found["auc"]) and np.isnan(found["gauc"])


def test_counts_by_logit_are_near_the_exact_values() -> None:
    """Beyond `exact` events: one half counted, then the other; AUC, ECE to a rounding, the sums exactly."""
    random = np.random.default_rng(1)
    logits = torch.from_numpy(random.normal(size=20_000) * 2 - 1).float()
    labels = (torch.from_numpy(random.random(20_000)) < torch.sigmoid(1.3 * logits)).float()
    exact = computed((logits, labels))
    metric = ClickMetrics()
    metric.exact = 3000
    for part in range(0, 20_000, 1700):
        metric.update(logits[part : part + 1700], labels[part : part + 1700])
    found = {k: v.item() for k, v in metric.compute().items()}
    assert sum(x.numel() for x in metric.logits) == 0 and metric.counts.sum() == 20_000
    for name in ("logloss", "ne", "calibration"):
        assert found[name] == pytest.approx(exact[name], rel=1e-9)
    assert found["auc"] == pytest.approx(exact["auc"], abs=1e-5)
    assert found["ece"] == pytest.approx(exact["ece"], abs=1e-4) and exact["ece"] > 0.01
    assert np.isnan(found["gauc"])
    metric.reset()
    metric.update(logits[:1000], labels[:1000])
    assert metric.compute()["auc"].item() == pytest.approx(roc_auc_score(labels[:1000], logits[:1000]), abs=1e-12)


def test_counts_of_ties_and_of_far_logits() -> None:
    """Few values: nearly all events tie, and two lie outside the steps."""
    logits = torch.tensor([-50.0, 0, 0, 0, 2, 2, 50])
    labels = torch.tensor([0.0, 1, 0, 0, 1, 0, 1])
    metric = ClickMetrics()
    metric.exact = 0
    metric.update(logits, labels)
    found = metric.compute()
    assert found["auc"].item() == pytest.approx(roc_auc_score(labels, logits), abs=1e-9)
    assert found["logloss"].item() == pytest.approx(torch.nn.functional.binary_cross_entropy_with_logits(
        logits.double(), labels.double()).item())  # fmt: skip
    metric.update(torch.tensor([torch.nan, 1.0]), torch.tensor([0.0, 1.0]))
    assert metric.compute()["logloss"].isnan() and metric.compute()["auc"].isnan()
