"""What rankings are measured by: their quality, and who is served with what.

The ranking formulas are those of ``torch_geometric.metrics``. What is ours is how a block of lists
is held against its labels (one sort and one search for all metrics, no wait for the device) and the
guards around it. For a user with the set ``R`` of relevant items and a ranked list of ``K`` items:

============  ======================================================================================
recall@K      hits / ``|R|`` (not ``min(K, |R|)``, as LensKit has it)
precision@K   hits / ``K``, also where fewer than K items could be recommended
ndcg@K        sum of ``1 / log2(rank + 1)`` over hits / the same with ``min(K, |R|)`` hits on top
map@K         sum of precision@rank over hits / ``min(K, |R|)``
mrr@K         ``1 / rank`` of the first hit, 0 without one
hitrate@K     1 with a hit, else 0
coverage@K    share of the catalogue that is recommended to at least one user
popularity@K  mean train count of a recommended item
gini@K        Gini index of how often each item is recommended: 0 all alike, towards 1 few items
============  ======================================================================================

Relevance is binary. The first six are means over users with a relevant item. Users without one are
left out of everything: rows that only fill up a batch or a shard change nothing. Ties between
scores were broken by whoever ranked: a list's order is final. Without any user every value is 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch_geometric import metrics as pyg

from recgnn.errors import ConfigError, did_you_mean
from recgnn.evaluation.metrics.base import SumMetric

FORMULAS = {
    "recall": pyg.LinkPredRecall,
    "precision": pyg.LinkPredPrecision,
    "ndcg": pyg.LinkPredNDCG,
    "map": pyg.LinkPredMAP,
    "mrr": pyg.LinkPredMRR,
    "hitrate": pyg.LinkPredHitRatio,
}
BEYOND_ACCURACY = ("coverage", "popularity", "gini")


class Judged(NamedTuple):
    """A block of lists held against its labels, with the names that PyG's formulas read.

    Shapes: pred_rel_mat [B, K] (hits), label_count [B] (distinct relevant items), label_items [n]
    (sorted by row and item), label_first [n] (False where a label is repeated).
    """

    pred_rel_mat: Tensor
    label_count: Tensor
    label_items: Tensor
    label_first: Tensor

    @property
    def label_weight_sum(self) -> Tensor:
        """Labels have no weights: ``label_count``."""
        return self.label_count


def judge(topk: Tensor, label_rows: Tensor, label_items: Tensor, num_items: int) -> Judged:
    """Find the hits of a block of lists; arguments as in :meth:`RankingMetrics.update`."""
    stride = num_items + 1  # row and item as one number; item `num_items` is the padding
    labels = (label_rows.long() * stride + label_items.long()).sort().values
    first = torch.ones_like(labels, dtype=torch.bool)
    first[1:] = labels[1:] != labels[:-1]
    rows = labels.div(stride, rounding_mode="floor")
    count = labels.new_zeros(topk.size(0)).index_add(0, rows, first.long())
    if labels.numel() == 0:
        hits = torch.zeros_like(topk, dtype=torch.bool)
    else:
        shown = torch.arange(topk.size(0), device=topk.device).unsqueeze(1) * stride
        shown = shown + pad_unknown(topk, num_items)
        found = torch.searchsorted(labels, shown).clamp(max=labels.numel() - 1)
        hits = labels[found] == shown
    return Judged(hits, count, labels - rows * stride, first)


def pad_unknown(topk: Tensor, num_items: int) -> Tensor:
    """Make ids outside the catalogue ``num_items``: others would meet the items of another row."""
    return topk.long().masked_fill((topk < 0) | (topk >= num_items), num_items)


class RankingMetrics(SumMetric):
    """Top-K metrics of a recommender, by the conventions at the head of this module.

    All states are sums (of each metric over users, of users, of each item's recommendations), so
    processes that share the users out, none of them twice, get the figures of a single process.

    Args:
        ks: the list lengths to report.
        num_items: size of the catalogue.
        metrics: names from recall, precision, ndcg, map, mrr, hitrate.
        beyond_accuracy: also coverage, gini and, after :meth:`set_popularity`, popularity.

    Raises:
        ConfigError: unknown metric, K below 1, or lists shorter than the largest K.
    """

    def __init__(
        self,
        ks: Sequence[int],
        num_items: int,
        metrics: Sequence[str] = ("recall", "precision", "ndcg", "map", "mrr", "hitrate"),
        beyond_accuracy: bool = True,
    ) -> None:
        super().__init__()
        if not ks or any(not isinstance(k, int) or k < 1 for k in ks):
            raise ConfigError(f"ks: found {list(ks)}, expected numbers from 1 up, such as [10, 20]")
        for name in metrics:
            if name not in FORMULAS:
                hint = did_you_mean(name, FORMULAS) or f"; there are {', '.join(FORMULAS)}"
                raise ConfigError(f"metrics: no metric is named {name!r}{hint}")
        self.ks = sorted(set(ks))
        self.num_items = num_items
        self.beyond_accuracy = beyond_accuracy
        self.formulas = nn.ModuleDict(
            {f"{name}@{k}": FORMULAS[name](k) for name in dict.fromkeys(metrics) for k in self.ks}
        )
        self.add_sum("sums", len(self.formulas), dtype=torch.float)
        self.add_sum("num_users")
        if beyond_accuracy:
            self.add_sum("item_counts", len(self.ks), num_items)
        self.popularity: Tensor | None
        self.register_buffer("popularity", None, persistent=False)

    def set_popularity(self, counts: Tensor) -> None:
        """Give the train count of every item, for ``popularity@K``.

        Shapes: counts [I].
        """
        if counts.shape != (self.num_items,):
            raise ValueError(f"counts: shape {tuple(counts.shape)}, expected ({self.num_items},)")
        self.popularity = counts.detach().to(self.num_users.device)

    def update(self, topk: Tensor, label_rows: Tensor, label_items: Tensor) -> None:
        """Count a block of users.

        Args:
            topk: recommended items, best first; filled up with ``num_items`` where there are fewer.
                An item must not stand twice in a row: it would count as two hits (not checked).
            label_rows: the row of ``topk`` each label belongs to, 0..B-1.
            label_items: the relevant item of each label, 0..I-1; repeated labels count once.

        Shapes: topk [B, Kmax] with Kmax >= max(ks), label_rows [n], label_items [n].
        """
        longest = self.ks[-1]
        if topk.size(1) < longest:
            raise ConfigError(
                f"metrics at K={longest} need lists of {longest} items, found {topk.size(1)}; "
                f"use a smaller K, or fill the lists up with {self.num_items} (the number of items)"
            )
        block = judge(topk[:, :longest], label_rows, label_items, self.num_items)
        counted = block.label_count > 0
        self.num_users = self.num_users + counted.sum()
        if self.formulas:
            self.sums = self.sums + of_users(self.formulas, block).sum(1)
        if self.beyond_accuracy:
            topk = pad_unknown(topk, self.num_items)
            topk = topk.masked_fill(~counted.unsqueeze(1), self.num_items)
            new = self.item_counts.new_zeros(len(self.ks), self.num_items + 1)
            for row, k in zip(new, self.ks, strict=True):
                shown = topk[:, :k].flatten()
                row.index_add_(0, shown, torch.ones_like(shown))
            self.item_counts = self.item_counts + new[:, :-1]

    def compute(self) -> dict[str, Tensor]:
        """Every metric by its name, such as ``ndcg@20``, over all users and all processes."""
        means = self.sums / self.num_users.clamp(min=1)
        result = dict(zip(self.formulas, means, strict=True))
        if self.beyond_accuracy:
            for k, counts in zip(self.ks, self.item_counts, strict=True):
                result[f"coverage@{k}"] = (counts > 0).float().mean()
                if self.popularity is not None:
                    total = (counts * self.popularity).sum()
                    result[f"popularity@{k}"] = total / counts.sum().clamp(min=1)
                result[f"gini@{k}"] = gini(counts)
        return result


def of_users(formulas: nn.ModuleDict, block: Judged) -> Tensor:
    """Every metric of every user of a block: [M, B], 0 for users without a relevant item."""
    return torch.stack([formula._compute(block) for formula in formulas.values()])  # PyG's hook


def gini(counts: Tensor) -> Tensor:
    r"""Gini index of whole, non-negative counts; 0 where all are 0.

    .. math:: \frac{\sum_{i=1}^n (2i - n - 1) x_i}{n \sum_i x_i}, \quad x_1 \le \dots \le x_n

    Shapes: counts [n] -> scalar.
    """
    n = counts.numel()
    weights = torch.arange(1 - n, n, 2, device=counts.device)
    return (weights * counts.sort().values).sum() / (n * counts.sum()).clamp(min=1)


class GroupedRecall(SumMetric):
    """Recall@K by the activity of users and by the popularity of items.

    ``by_user[g]`` is the mean recall@K of the users in group g, ``by_item[g]`` the share of the
    labels on items of group g that were found, both NaN where the group is empty;
    ``by_user_count`` and ``by_item_count`` say how many users and labels they stand on.

    Args:
        k: list length.
        user_group: group of every user.
        item_group: group of every item.
        num_user_groups: number of groups of users.
        num_item_groups: number of groups of items.

    Shapes: user_group [U], item_group [I].
    """

    def __init__(
        self,
        k: int,
        user_group: Tensor,
        item_group: Tensor,
        num_user_groups: int,
        num_item_groups: int,
    ) -> None:
        super().__init__()
        self.k = k
        self.num_items = item_group.numel()
        with_padding = nn.functional.pad(item_group.long(), (0, 1))  # any group: it is never a hit
        self.register_buffer("user_group", user_group.long(), persistent=False)
        self.register_buffer("item_group", with_padding, persistent=False)
        self.add_sum("recalls", num_user_groups, dtype=torch.float)
        self.add_sum("users", num_user_groups)
        self.add_sum("hits", num_item_groups)
        self.add_sum("labels", num_item_groups)

    def update(self, users: Tensor, topk: Tensor, label_rows: Tensor, label_items: Tensor) -> None:
        """Count a block of users; the last three as in :meth:`RankingMetrics.update`.

        Shapes: users [B], topk [B, Kmax] with Kmax >= k, label_rows [n], label_items [n].
        """
        if topk.size(1) < self.k:
            raise ConfigError(f"recall@{self.k} by group: found lists of {topk.size(1)} items")
        topk = pad_unknown(topk[:, : self.k], self.num_items)
        hit, count, items, first = judge(topk, label_rows, label_items, self.num_items)
        group = self.user_group[users]
        self.recalls = self.recalls.index_add(0, group, hit.sum(dim=1) / count.clamp(min=1))
        self.users = self.users.index_add(0, group, (count > 0).long())
        self.hits = self.hits.index_add(0, self.item_group[topk].flatten(), hit.flatten().long())
        self.labels = self.labels.index_add(0, self.item_group[items], first.long())

    def compute(self) -> dict[str, Tensor]:
        """The values and counts of all groups, over all users and all processes."""
        return {
            "by_user": self.recalls / self.users,
            "by_user_count": self.users,
            "by_item": self.hits / self.labels,
            "by_item_count": self.labels,
        }
