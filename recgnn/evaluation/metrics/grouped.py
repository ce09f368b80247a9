"""What reports look at closely: metrics by group, the metrics of each user, and the events themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from recgnn.evaluation.metrics.ranking import RankingMetric, match, of_users, padded
from recgnn.evaluation.metrics.states import State, joined
from recgnn.evaluation.metrics.ties import Ties


class GroupedRecall(State):
    """Recall@K by the activity of users and by the popularity of items.

    Args:
        k: K, the list length.
        user_group: group of every user, [U].
        item_group: group of every item, [I].
        num_user_groups: number of groups of users.
        num_item_groups: number of groups of items.
    """

    user_group: Tensor
    item_group: Tensor
    recalls: Tensor
    users: Tensor
    hits: Tensor
    labels: Tensor

    def __init__(
        self, k: int, user_group: Tensor, item_group: Tensor, num_user_groups: int, num_item_groups: int
    ) -> None:
        super().__init__()
        self.k, self.num_items = k, item_group.numel()
        with_padding = nn.functional.pad(item_group.long(), (0, 1))  # any group: it is never a hit
        self.register_buffer("user_group", user_group.long(), persistent=False)
        self.register_buffer("item_group", with_padding, persistent=False)
        self.add_sum("recalls", num_user_groups, dtype=torch.float)
        self.add_sum("users", num_user_groups)
        self.add_sum("hits", num_item_groups)
        self.add_sum("labels", num_item_groups)

    def update(
        self, users: Tensor, items: Tensor, label_rows: Tensor, label_items: Tensor, ties: Ties | None = None
    ) -> None:
        """Count a block of users [B]; the rest as in `RankingMetrics.update`."""
        items = padded(items[:, : self.k], self.num_items)
        hits, count, labels, first = match(items, label_rows, label_items, self.num_items)
        group = self.user_group[users]
        found = hits.sum(1).float()
        if ties is not None:
            found[ties.rows] = ties.chance[:, : self.k].sum(1).float()
        self.recalls = self.recalls.index_add(0, group, found / count.clamp(min=1))
        self.users = self.users.index_add(0, group, (count > 0).long())
        self.hits = self.hits.index_add(0, self.item_group[items].flatten(), hits.flatten().long())
        self.labels = self.labels.index_add(0, self.item_group[labels], first.long())

    def compute(self) -> dict[str, Tensor]:
        """Compute the values and counts of all groups, over all users and all processes.

        Returns:
            `by_user`, the mean recall@K of the users of a group, and `by_user_count`, how many they are; `by_item`, the
            share of the labels on items of a group that were found, and `by_item_count`, how many labels. NaN where
            a group is empty.
        """
        return {
            "by_user": self.recalls / self.users,
            "by_user_count": self.users,
            "by_item": self.hits / self.labels,
            "by_item_count": self.labels,
        }


class GroupedErrors(State):
    """RMSE, MAE and mean of predicted numbers by group, NaN where a group is empty, and the groups' `count`.

    Args:
        num_groups: G.
    """

    squared: Tensor
    absolute: Tensor
    total: Tensor
    count: Tensor

    def __init__(self, num_groups: int) -> None:
        super().__init__()
        for name in ("squared", "absolute", "total"):
            self.add_sum(name, num_groups, dtype=torch.float64)
        self.add_sum("count", num_groups)

    def update(self, predictions: Tensor, labels: Tensor, group: Tensor) -> None:
        """Count a batch: predictions [B], labels [B], group [B] of 0..G-1."""
        error = predictions.double() - labels.double()
        self.squared = self.squared.index_add(0, group, error.square())
        self.absolute = self.absolute.index_add(0, group, error.abs())
        self.total = self.total.index_add(0, group, predictions.double())
        self.count = self.count.index_add(0, group, torch.ones_like(group))

    def compute(self) -> dict[str, Tensor]:
        """Compute the values of all groups, over all rows and all processes, each [G] (a scalar for one group)."""
        return {
            "rmse": (self.squared / self.count).sqrt(),
            "mae": self.absolute / self.count,
            "predicted": self.total / self.count,
            "count": self.count,
        }


class UserRankings(State):
    """The metrics of each user's list, over all processes.

    Args:
        num_items: I, the size of the catalogue.
        ks: the list lengths to report.
        metrics: what is measured.
    """

    users: list[Tensor]
    values: list[Tensor]

    def __init__(self, num_items: int, ks: Sequence[int], metrics: Sequence[RankingMetric]) -> None:
        super().__init__()
        self.num_items, self.ks, self.metrics = num_items, list(ks), list(metrics)
        self.add_rows("users", "values")

    def update(
        self, users: Tensor, items: Tensor, label_rows: Tensor, label_items: Tensor, ties: Ties | None = None
    ) -> None:
        """Keep a block of users [B], none of them twice; the rest as in `RankingMetrics.update`."""
        hits, label_count, _, _ = match(items[:, : max(self.ks)], label_rows, label_items, self.num_items)
        counted = label_count > 0
        self.users.append(users[counted])
        self.values.append(of_users(self.metrics, self.ks, hits, label_count, ties).float().T[counted])

    def compute(self) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the users, and every metric by its name: [U], and [U] each."""
        names = [f"{metric.name}@{k}" for metric in self.metrics for k in self.ks]
        return joined(self.users), dict(zip(names, joined(self.values).unbind(1), strict=True))


class EventSample(NamedTuple):
    """Events: predictions [n], labels [n], a field's values [n], groups [n] (-1 where there are none), and whether
    these are all there were."""

    predictions: Tensor
    labels: Tensor
    values: Tensor
    groups: Tensor
    complete: bool


class SampledEvents(State):
    """The first events of each process, at most about `most`, to look at closely."""

    predictions: list[Tensor]
    labels: list[Tensor]
    values: list[Tensor]
    groups: list[Tensor]
    seen: Tensor
    most = 2**22

    def __init__(self) -> None:
        super().__init__()
        self.add_rows("predictions", "labels", "values", "groups")
        self.add_sum("seen")
        self.held = 0

    def update(self, predictions: Tensor, labels: Tensor, values: Tensor | None, groups: Tensor | None) -> None:
        """Keep a batch: predictions [B], labels [B], values [B] and groups [B] integers or None."""
        self.seen = self.seen + labels.numel()
        if self.held < self.most:
            none = torch.full_like(labels, -1, dtype=torch.long)
            self.predictions.append(predictions.detach().float())
            self.labels.append(labels.float())
            self.values.append(none if values is None else values.long())
            self.groups.append(none if groups is None else groups.long())
            self.held += labels.numel()

    def compute(self) -> EventSample:
        """Return the events of all processes."""
        predictions, labels, values, groups = map(joined, (self.predictions, self.labels, self.values, self.groups))
        return EventSample(predictions, labels, values, groups, labels.numel() == int(self.seen))
