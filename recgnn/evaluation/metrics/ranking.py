r"""Metrics of rankings: how good the lists are (per user), and what they show of the catalogue.

All of them look at the K items that a user is shown; relevance is binary. The metrics per user are means over the
users with at least one relevant item: the others are left out of everything, so rows that only fill up a batch change
nothing. Where scores tie, a metric per user is its expectation over every order of the tied items (see `ties`), so it
does not depend on how items are numbered; what is shown of the catalogue is counted by the lists as they are. Without
any user every mean is NaN.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor

from recgnn.errors import ConfigError, Count, DataError, check, expect_tensor
from recgnn.evaluation.metrics.base import Metric
from recgnn.evaluation.metrics.ties import Ties, chance_of_first, chance_of_none, expected_precisions


class RankingMetric(Metric):
    """A metric of each user's list, averaged over users. A subclass defines `of_users`.

    >>> class FirstIsRight(RankingMetric):
    ...     def of_users(self, hits, label_count, k):
    ...         return hits[:, 0].float()
    >>> FirstIsRight().name
    'firstisright'
    """

    @abstractmethod
    def of_users(self, hits: Tensor, label_count: Tensor, k: int) -> Tensor:
        """Compute the metric of each user.

        Args:
            hits: whether the item at each rank is relevant, best first.
            label_count: how many relevant items the user has; the value of a user with 0 is not read.
            k: K, the length of the lists; places that could not be filled are no hits.

        Shapes: hits [B, K] bool, label_count [B] -> [B].
        """

    def expected(self, ties: Ties, label_count: Tensor, k: int) -> Tensor | None:
        """Compute the expectation for lists with tied scores; None, the default, takes the lists as they are.

        Shapes: ties (see `Ties`) of b users, label_count [b] -> [b].
        """
        return None


class _Linear(RankingMetric):
    """A metric that is a sum over hits, so that its expectation is that of chances in place of hits."""

    def expected(self, ties: Ties, label_count: Tensor, k: int) -> Tensor:
        return self.of_users(ties.chance[:, :k], label_count, k)


class Recall(_Linear):
    """Share of the user's relevant items that are shown: hits / |R| (not min(K, \\|R\\|), as LensKit divides).

    >>> Recall().of_users(torch.tensor([[True, False, True]]), torch.tensor([4]), k=3)
    tensor([0.5000])
    """

    def of_users(self, hits: Tensor, label_count: Tensor, k: int) -> Tensor:
        return hits.sum(1) / label_count


class Precision(_Linear):
    """Share of the list that is relevant: hits / K, also where fewer than K items could be recommended.

    >>> Precision().of_users(torch.tensor([[True, False, True, False]]), torch.tensor([9]), k=4)
    tensor([0.5000])
    """

    def of_users(self, hits: Tensor, label_count: Tensor, k: int) -> Tensor:
        return hits.sum(1) / k


class NDCG(_Linear):
    r"""Normalised discounted cumulative gain (`Järvelin and Kekäläinen, 2002 <https://doi.org/10.1145/582415.582418>`_).

    .. math:: \sum_{r \in \text{hits}} \frac{1}{\log_2(r + 1)} \Big/ \sum_{r=1}^{\min(K, |R|)} \frac{1}{\log_2(r + 1)}

    over ranks r from 1: divided by the gain of a list with all hits on top.

    >>> NDCG().of_users(torch.tensor([[True, True, False], [False, False, True]]), torch.tensor([2, 1]), k=3)
    tensor([1.0000, 0.5000])
    """

    def of_users(self, hits: Tensor, label_count: Tensor, k: int) -> Tensor:
        discount = torch.arange(2, k + 2, dtype=torch.float, device=hits.device).log2()
        ideal = (1 / discount).cumsum(0)
        return (hits / discount).sum(1) / ideal[label_count.clamp(1, k) - 1]


class MAP(RankingMetric):
    """Mean average precision: the sum of precision@rank over hits, divided by min(K, \\|R\\|).

    >>> MAP().of_users(torch.tensor([[True, False, True, False]]), torch.tensor([2]), k=4)  # (1 + 2/3) / 2
    tensor([0.8333])
    """

    def of_users(self, hits: Tensor, label_count: Tensor, k: int) -> Tensor:
        precision = hits.cumsum(1) / torch.arange(1, k + 1, device=hits.device)
        return (precision * hits).sum(1) / label_count.clamp(max=k)

    def expected(self, ties: Ties, label_count: Tensor, k: int) -> Tensor:
        return expected_precisions(ties, k).sum(1) / label_count.clamp(max=k)


class MRR(RankingMetric):
    """Mean reciprocal rank: 1 / rank of the first hit, 0 without one.

    >>> MRR().of_users(torch.tensor([[False, True, True], [False, False, False]]), torch.tensor([2, 1]), k=3)
    tensor([0.5000, 0.0000])
    """

    def of_users(self, hits: Tensor, label_count: Tensor, k: int) -> Tensor:
        return (hits / torch.arange(1, k + 1, device=hits.device)).amax(1)

    def expected(self, ties: Ties, label_count: Tensor, k: int) -> Tensor:
        return (chance_of_first(ties, k) / torch.arange(1, k + 1, device=label_count.device)).sum(1)


class HitRate(RankingMetric):
    """Share of users with at least one hit: 1 with a hit, else 0.

    >>> HitRate().of_users(torch.tensor([[False, True, True], [False, False, False]]), torch.tensor([2, 1]), k=3)
    tensor([1., 0.])
    """

    def of_users(self, hits: Tensor, label_count: Tensor, k: int) -> Tensor:
        return hits.any(1).float()

    def expected(self, ties: Ties, label_count: Tensor, k: int) -> Tensor:
        return 1 - chance_of_none(ties, k)


class CatalogueMetric(Metric):
    """A metric of how often each item is recommended to the users with a relevant item. A subclass defines `of_counts`.

    >>> class Longest(CatalogueMetric):
    ...     higher_is_better = False
    ...     def of_counts(self, counts, train_counts):
    ...         return counts.max() / counts.sum()
    """

    higher_is_better: bool | None = None

    @abstractmethod
    def of_counts(self, counts: Tensor, train_counts: Tensor | None) -> Tensor:
        """Compute the metric.

        Args:
            counts: in how many lists each item stands.
            train_counts: interactions of each item in the training data, if they are known.

        Shapes: counts [I], train_counts [I] -> scalar.
        """


class Coverage(CatalogueMetric):
    """Share of the catalogue that is recommended to at least one user.

    >>> Coverage().of_counts(torch.tensor([5, 0, 1, 0]), None)
    tensor(0.5000)
    """

    higher_is_better = True

    def of_counts(self, counts: Tensor, train_counts: Tensor | None) -> Tensor:
        return (counts > 0).float().mean()


class Popularity(CatalogueMetric):
    """Mean number of training interactions of a recommended item; NaN where these are not known.

    >>> Popularity().of_counts(torch.tensor([3, 0, 1]), torch.tensor([100, 10, 20]))
    tensor(80.)
    """

    def of_counts(self, counts: Tensor, train_counts: Tensor | None) -> Tensor:
        if train_counts is None:
            return counts.new_full((), torch.nan, dtype=torch.float)
        return (counts * train_counts).sum() / counts.sum().clamp(min=1)


class Gini(CatalogueMetric):
    r"""Gini index of how often each item is recommended: 0 all alike, towards 1 few items; 0 without any list.

    .. math:: \frac{\sum_{i=1}^I (2i - I - 1) x_i}{I \sum_i x_i}, \quad x_1 \le \dots \le x_I

    >>> Gini().of_counts(torch.tensor([0, 0, 0, 8]), None)
    tensor(0.7500)
    """

    def of_counts(self, counts: Tensor, train_counts: Tensor | None) -> Tensor:
        n = counts.numel()
        weights = torch.arange(1 - n, n, 2, device=counts.device)
        return (weights * counts.sort().values).sum() / (n * counts.sum()).clamp(min=1)


PER_USER: dict[str, type[RankingMetric]] = {m.name: m for m in (Recall, Precision, NDCG, MAP, MRR, HitRate)}
BEYOND_ACCURACY: dict[str, type[CatalogueMetric]] = {m.name: m for m in (Coverage, Popularity, Gini)}
RANKING: dict[str, type[RankingMetric] | type[CatalogueMetric]] = {**PER_USER, **BEYOND_ACCURACY}


def check_ks(ks: Sequence[int], num_items: int | None = None) -> list[int]:
    """Check the lengths of the lists that are to be measured.

    Args:
        ks: the lengths.
        num_items: I, to check that the catalogue has that many items.

    Returns:
        The lengths in ascending order, each once.

    Raises:
        ConfigError: if there are none, or one is not a positive whole number.
        DataError: if the catalogue has fewer items.
    """
    check("RankingMetrics", {"ks": ks}, {"ks": Sequence[Count]})
    if not ks:
        raise ConfigError("ks: found none, expected one or more lengths, such as [10, 20]")
    if num_items is not None and max(ks) > num_items:
        raise DataError(
            f"there are {num_items} items after filtering, fewer than K = {max(ks)} to recommend; "
            f"set ks to at most {num_items} (--training.ks) or filter less"
        )
    return sorted(set(ks))


class Matches(NamedTuple):
    """A block of lists held against its labels.

    Shapes: hits [B, K] bool, label_count [B] (distinct relevant items), label_items [n] (sorted by row and item),
    label_first [n] (False where a label is repeated).
    """

    hits: Tensor
    label_count: Tensor
    label_items: Tensor
    label_first: Tensor


def match(items: Tensor, label_rows: Tensor, label_items: Tensor, num_items: int) -> Matches:
    """Find the hits of a block of lists: one sort and one search, without waiting for the device.

    Args:
        items: recommended items, best first; ids outside the catalogue hit nothing.
        label_rows: the row of `items` that each label belongs to.
        label_items: the relevant item of each label; repeated labels count once.
        num_items: I.

    Shapes: items [B, K], label_rows [n], label_items [n].
    """
    stride = num_items + 1  # row and item as one number; item `num_items` is the padding
    labels = (label_rows.long() * stride + label_items.long()).sort().values
    first = torch.ones_like(labels, dtype=torch.bool)
    first[1:] = labels[1:] != labels[:-1]
    rows = labels.div(stride, rounding_mode="floor")
    count = labels.new_zeros(items.size(0)).index_add(0, rows, first.long())
    if labels.numel() == 0:
        hits = torch.zeros_like(items, dtype=torch.bool)
    else:
        shown = torch.arange(items.size(0), device=items.device).unsqueeze(1) * stride + padded(items, num_items)
        place = torch.searchsorted(labels, shown).clamp(max=labels.numel() - 1)
        hits = labels[place] == shown
    return Matches(hits, count, labels - rows * stride, first)


def padded(items: Tensor, num_items: int) -> Tensor:
    """Replace ids outside the catalogue by `num_items`, since others would meet the items of another row: [B, K]."""
    return items.long().masked_fill((items < 0) | (items >= num_items), num_items)


def of_users(
    metrics: Sequence[RankingMetric], ks: Sequence[int], hits: Tensor, label_count: Tensor, ties: Ties | None = None
) -> Tensor:
    """Compute every one of `metrics` at every K (expected over `ties`, where there are any) for each user of a block,
    0 for users without a relevant item.

    Raises:
        ConfigError: If a metric does not give one value for each user.

    Shapes: hits [B, K], label_count [B] -> [M * len(ks), B].
    """
    if not metrics:
        return label_count.new_zeros(0, label_count.numel(), dtype=torch.float)
    found = [metric.of_users(hits[:, :k], label_count, k) for metric in metrics for k in ks]
    for (metric, _), value in zip(product(metrics, ks), found, strict=True):
        expect_tensor(metric, "of_users", value, label_count.shape, "a number for each user")
    values = torch.stack(found)
    if ties is not None:
        for row, (metric, k) in zip(values, product(metrics, ks), strict=True):
            expected = metric.expected(ties, label_count[ties.rows], k)
            if expected is not None:
                row[ties.rows] = expected.to(row.dtype)
    return values.masked_fill(label_count == 0, 0)
