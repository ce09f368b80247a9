"""Metrics of lists with tied scores against the mean over every order of the tied items."""

from itertools import permutations

import numpy as np
import pytest
import torch

from recgnn.evaluation.metrics.collections import RankingMetrics
from recgnn.evaluation.metrics.ranking import MAP, MRR, NDCG, PER_USER, HitRate, Precision, Recall
from recgnn.evaluation.metrics.ties import ties_of

KS = [1, 2, 3, 5]


def naive(order, labels, k):
    """The metrics of one list, by loops."""
    hits = [item in labels for item in order[:k]]
    ranks = [rank for rank, hit in enumerate(hits, 1) if hit]
    ideal = sum(1 / np.log2(r + 1) for r in range(1, min(k, len(labels)) + 1))
    precisions = [sum(hits[:r]) / r for r in ranks]
    return {
        "recall": len(ranks) / len(labels),
        "precision": len(ranks) / k,
        "ndcg": sum(1 / np.log2(r + 1) for r in ranks) / ideal,
        "map": sum(precisions) / min(k, len(labels)),
        "mrr": 1 / ranks[0] if ranks else 0.0,
        "hitrate": float(bool(ranks)),
    }


def expected(scores, labels, k):
    """The mean over all orders that sort the scores; items of score -inf are never shown."""
    items = [i for i in range(len(scores)) if scores[i] > -np.inf]
    orders = [o for o in permutations(items) if all(scores[a] >= scores[b] for a, b in zip(o, o[1:], strict=False))]
    values = [naive(order, labels, k) for order in orders]
    return {name: np.mean([v[name] for v in values]) for name in values[0]}


def measured(scores, labels, ks=KS):
    """The project's: one metric per name and K over all users."""
    scores = torch.tensor(scores)
    rows = torch.tensor([row for row, own in enumerate(labels) for _ in own])
    items = torch.tensor([item for own in labels for item in own])
    best, shown = scores.topk(min(max(ks) + 1, scores.shape[1]))
    ties = ties_of(scores, best, rows, items)
    metrics = RankingMetrics(scores.shape[1], ks, [*PER_USER])
    shown = shown.masked_fill(best == -torch.inf, scores.shape[1])[:, : max(ks)]
    metrics.update(shown, rows, items, ties)
    return {name: float(value) for name, value in metrics.compute().items()}, metrics.note


@pytest.mark.parametrize("seed", range(12))
def test_every_metric_is_the_mean_over_all_orders(seed):
    random = np.random.default_rng(seed)
    levels = int(random.integers(1, 5))
    scores = random.integers(0, levels, (4, 7)).astype(np.float32)
    scores[random.random(scores.shape) < 0.15] = -np.inf
    labels = [sorted(random.choice(7, int(random.integers(1, 4)), replace=False).tolist()) for _ in range(4)]
    labels = [[i for i in own if row[i] > -np.inf] or [int(row.argmax())]
              for own, row in zip(labels, scores, strict=True)]  # fmt: skip
    found, _ = measured(scores, labels)
    for k in KS:
        wanted = [expected(row, own, k) for row, own in zip(scores, labels, strict=True)]
        for name in PER_USER:
            assert found[f"{name}@{k}"] == pytest.approx(np.mean([w[name] for w in wanted]), abs=1e-6), (name, k)


def test_known_values_of_a_collapsed_model():
    """All 4 items tie, one is relevant: it stands at each rank with chance 1/4."""
    found, note = measured(np.zeros((1, 4), np.float32), [[2]], ks=[2])
    assert found["recall@2"] == pytest.approx(1 / 2)
    assert found["mrr@2"] == pytest.approx((1 + 1 / 2) / 4)
    assert found["ndcg@2"] == pytest.approx((1 + 1 / np.log2(3)) / 4)
    assert "100%" in note


def test_a_list_without_ties_is_left_alone():
    scores = torch.tensor([[3.0, 2.0, 1.0, -torch.inf, -torch.inf]])
    assert ties_of(scores, scores.topk(4).values, torch.tensor([0]), torch.tensor([1])) is None


def test_renumbering_the_items_changes_nothing():
    random = np.random.default_rng(0)
    scores = np.round(random.random((30, 40)) * 3).astype(np.float32)
    labels = [random.choice(40, 3, replace=False).tolist() for _ in range(30)]
    number = random.permutation(40)
    again = np.empty_like(scores)
    again[:, number] = scores
    one, _ = measured(scores, labels)
    other, _ = measured(again, [number[own].tolist() for own in labels])
    assert one == pytest.approx(other, abs=1e-6)


def test_a_label_that_stands_twice_counts_once():
    one, _ = measured(np.zeros((1, 4), np.float32), [[2, 2]], ks=[2])
    other, _ = measured(np.zeros((1, 4), np.float32), [[2]], ks=[2])
    assert one == other


def test_a_metric_of_ones_own_takes_the_list_as_it_is():
    class First(Recall):
        def of_users(self, hits, label_count, k):
            return hits[:, 0].float()

        def expected(self, ties, label_count, k):
            return None

    metrics = RankingMetrics(3, [1], [First()])
    scores = torch.zeros(1, 3)
    best, items = scores.topk(2)
    row, label = torch.tensor([0]), items[0, :1]
    metrics.update(items[:, :1], row, label, ties_of(scores, best, row, label))
    assert metrics.compute() == {"first@1": torch.tensor(1.0)}


def test_all_metrics_of_users_have_an_expectation():
    assert {type(m()) for m in PER_USER.values()} == {Recall, Precision, NDCG, MAP, MRR, HitRate}
