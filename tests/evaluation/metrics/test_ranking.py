"""The formulas of rankings against torch_geometric's, and by hand; hits against a loop."""

from __future__ import annotations

import pytest
import torch
from torch_geometric import metrics as pyg

from recgnn.errors import ConfigError, DataError
from recgnn.evaluation.metrics.ranking import (
    PER_USER,
    Coverage,
    Gini,
    Popularity,
    RankingMetric,
    Recall,
    check_ks,
    match,
    of_users,
)

PYG = {"recall": pyg.LinkPredRecall, "precision": pyg.LinkPredPrecision, "ndcg": pyg.LinkPredNDCG,
       "map": pyg.LinkPredMAP, "mrr": pyg.LinkPredMRR, "hitrate": pyg.LinkPredHitRatio}  # fmt: skip


@pytest.mark.parametrize("k", [1, 7])
@pytest.mark.parametrize("name", PER_USER)
def test_formulas_are_torch_geometrics(name, k, ranked) -> None:
    pairs = torch.stack([ranked.rows, ranked.labels]).unique(dim=1)  # torch_geometric counts repeated labels twice
    reference = PYG[name](k)
    reference.update(ranked.items[:, :k], pairs)
    hits, label_count, _, _ = match(ranked.items[:, :k], ranked.rows, ranked.labels, 40)
    values = PER_USER[name]().of_users(hits, label_count, k)[label_count > 0]
    assert 0 < len(values) < 57 and values.mean().item() == pytest.approx(reference.compute().item(), rel=1e-6)
    floats = PER_USER[name]().of_users(hits.float(), label_count, k)[label_count > 0]
    torch.testing.assert_close(floats, values)


def test_of_the_catalogue_against_torch_geometric() -> None:
    items = torch.rand(9, 40, generator=torch.Generator().manual_seed(3)).argsort(dim=1)[:, :5]
    counts, train = torch.bincount(items.flatten(), minlength=40), torch.arange(40) ** 2
    coverage, popularity = pyg.LinkPredCoverage(5, 40), pyg.LinkPredAveragePopularity(5, train)
    for reference, metric in ((coverage, Coverage()), (popularity, Popularity())):
        reference.update(items, torch.zeros(2, 1, dtype=torch.long))
        assert metric.of_counts(counts, train).item() == pytest.approx(reference.compute().item())
    assert Popularity().of_counts(counts, None).isnan()


def test_gini_is_half_the_mean_difference() -> None:
    counts = torch.tensor([3, 0, 7, 1, 1])
    pairs = sum(abs(a - b) for a in counts.tolist() for b in counts.tolist())
    assert Gini().of_counts(counts, None).item() == pytest.approx(pairs / (2 * 5 * 12))
    assert Gini().of_counts(torch.tensor([4, 4, 4]), None) == 0 == Gini().of_counts(torch.tensor([0, 0]), None)


def test_hits_by_a_loop(ranked) -> None:
    hits, count, labels, first = match(ranked.items, ranked.rows, ranked.labels, 40)
    relevant = ranked.relevant
    assert hits.tolist() == [[item in relevant[user] for item in row] for user, row in enumerate(ranked.items.tolist())]
    assert count.tolist() == [len(items) for items in relevant]
    assert sorted(labels[first].tolist()) == sorted(item for items in relevant for item in items)
    # padding of any kind hits nothing, not even a label of the row before or after
    for padding in ([5, 6], [-1, -1], [-2, -1], [99, -7]):
        block = torch.tensor([padding, [5, 5], padding])
        assert not match(block, torch.tensor([0, 1, 1, 2]), torch.tensor([4, 0, 4, 0]), 5).hits.any()
    none = torch.zeros(0, dtype=torch.long)
    assert not match(torch.tensor([[3, 1]]), none, none, 5).hits.any()


def test_a_metric_of_ones_own_must_tell_of_each_user() -> None:
    class Total(RankingMetric):
        def of_users(self, hits, label_count, k):
            return hits.sum() / k

    hits, label_count = torch.ones(3, 2, dtype=torch.bool), torch.ones(3, dtype=torch.long)
    with pytest.raises(ConfigError, match=r"^Total.of_users gave the shape \(\), expected a tensor of shape \(3,\)"):
        of_users([Recall(), Total()], [2], hits, label_count)


@pytest.mark.parametrize("ks", [[], [0], [5, -1], [2.5]])
def test_lists_that_cannot_be(ks) -> None:
    with pytest.raises(ConfigError, match="ks is .*expected a list, each a whole number from 1|ks: found none"):
        check_ks(ks)


def test_lists_longer_than_the_catalogue() -> None:
    assert check_ks([5, 3, 5], 5) == [3, 5]
    with pytest.raises(DataError, match="there are 5 items after filtering, fewer than K = 6"):
        check_ks([6, 2], 5)
