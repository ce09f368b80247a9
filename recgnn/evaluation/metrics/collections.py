"""The metrics of a task, counted together: exact over batches and over processes that share the rows out."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from recgnn.errors import ConfigError, expect_tensor
from recgnn.evaluation.metrics.base import Metric, chosen, monitored
from recgnn.evaluation.metrics.clicks import CLICKS, STEPS, ClickMetric, Events, LogitCounts
from recgnn.evaluation.metrics.ranking import (
    RANKING,
    CatalogueMetric,
    RankingMetric,
    check_ks,
    match,
    of_users,
    padded,
)
from recgnn.evaluation.metrics.regression import ERRORS, ErrorMetric
from recgnn.evaluation.metrics.states import State, joined
from recgnn.evaluation.metrics.ties import Ties

MANY_TIES = 0.1  # share of lists, from which ties are told


class Metrics(State):
    """Metrics that are counted together."""

    metrics: Sequence[Metric]
    note: str = ""
    """What a reader of the values should know, in one line; set by `compute`."""
    undefined: Collection[str] = ()
    """Names of metrics that have no meaning on the data at hand."""

    @property
    def names(self) -> list[str]:
        """The names of the values that `compute` gives."""
        return [metric.name for metric in self.metrics]

    @property
    def monitor(self) -> tuple[str, str]:
        """The value that tells the best epoch, the first that has a meaning, and whether it is to be "max" or "min"."""
        return monitored([metric for metric in self.metrics if metric.name not in self.undefined])


class RankingMetrics(Metrics):
    """Top-K metrics of a recommender, at every K.

    Args:
        num_items: I, the size of the catalogue.
        ks: the list lengths to report.
        metrics: short names (recall, precision, ndcg, map, mrr, hitrate, coverage, popularity, gini), or metrics of
            your own.

    Raises:
        ConfigError: for an unknown metric, or a K below 1.

    >>> metrics = RankingMetrics(num_items=5, ks=[2], metrics=["recall", "ndcg"])
    >>> metrics.update(torch.tensor([[4, 0], [1, 2]]), torch.tensor([0, 1, 1]), torch.tensor([4, 2, 3]))
    >>> metrics.compute()
    {'recall@2': tensor(0.7500), 'ndcg@2': tensor(0.6934)}
    """

    metrics: list[RankingMetric | CatalogueMetric]
    sums: Tensor
    num_users: Tensor
    tied: Tensor
    item_counts: Tensor
    train_counts: Tensor | None

    def __init__(
        self, num_items: int, ks: Sequence[int], metrics: Sequence[str | RankingMetric | CatalogueMetric] = (*RANKING,)
    ) -> None:
        super().__init__()
        self.num_items, self.ks = num_items, check_ks(ks)
        self.metrics = chosen(metrics, RANKING, (RankingMetric, CatalogueMetric))
        self.per_user = [metric for metric in self.metrics if isinstance(metric, RankingMetric)]
        self.of_catalogue = [metric for metric in self.metrics if isinstance(metric, CatalogueMetric)]
        self.add_sum("sums", len(self.per_user) * len(self.ks), dtype=torch.float)
        self.add_sum("num_users")
        self.add_sum("tied")
        self.add_sum("item_counts", len(self.ks), num_items if self.of_catalogue else 0)
        self.register_buffer("train_counts", None, persistent=False)

    @property
    def names(self) -> list[str]:
        """The names of the values that `compute` gives, such as `ndcg@20`."""
        return [f"{metric.name}@{k}" for metric in self.metrics for k in self.ks]

    @property
    def monitor(self) -> tuple[str, str]:
        """The value that tells the best epoch, ndcg or else the first, at the least K, and "max" or "min"."""
        name, mode = monitored(self.metrics, "ndcg")
        return f"{name}@{self.ks[0]}", mode

    def set_popularity(self, counts: Tensor) -> None:
        """Give the number of training interactions of every item, for popularity: counts [I].

        Raises:
            ValueError: If there is not one for each item.
        """
        if counts.shape != (self.num_items,):
            raise ValueError(f"counts: shape {tuple(counts.shape)}, expected ({self.num_items},)")
        self.train_counts = counts.detach().to(self.num_users.device)

    def update(self, items: Tensor, label_rows: Tensor, label_items: Tensor, ties: Ties | None = None) -> None:
        """Count a block of users.

        Args:
            items: recommended items, best first; filled up with `num_items` where there are fewer. An item must not
                stand twice in a row: it would count as two hits (not checked).
            label_rows: the row of `items` that each label belongs to, 0..B-1.
            label_items: the relevant item of each label, 0..I-1; repeated labels count once.
            ties: the tied scores of the lists, which then count by expectation; None where there are none.

        Shapes: items [B, K] with K >= max(ks), label_rows [n], label_items [n].
        """
        longest = self.ks[-1]
        if items.size(1) < longest:
            raise ConfigError(
                f"metrics at K={longest} need lists of {longest} items, found {items.size(1)}; "
                f"use a smaller K, or fill the lists up with {self.num_items} (the number of items)"
            )
        hits, label_count, _, _ = match(items[:, :longest], label_rows, label_items, self.num_items)
        counted = label_count > 0
        self.num_users = self.num_users + counted.sum()
        self.sums = self.sums + of_users(self.per_user, self.ks, hits, label_count, ties).sum(1)
        if ties is not None:
            chance = (ties.ahead[:, : self.ks[0]] + ties.size[:, : self.ks[0]] > self.ks[0]).any(1)
            self.tied = self.tied + (chance & counted[ties.rows]).sum()
        if self.of_catalogue:
            shown = padded(items, self.num_items).masked_fill(~counted.unsqueeze(1), self.num_items)
            new = self.item_counts.new_zeros(len(self.ks), self.num_items + 1)
            for row, k in zip(new, self.ks, strict=True):
                row.index_add_(0, shown[:, :k].flatten(), torch.ones_like(shown[:, :k]).flatten())
            self.item_counts = self.item_counts + new[:, :-1]

    def compute(self) -> dict[str, Tensor]:
        """Compute every metric by its name, over all users and all processes."""
        means = iter(self.sums / self.num_users)
        share = float(self.tied / self.num_users.clamp(min=1))
        self.note = "" if share < MANY_TIES else (
            f"scores tie at the end of {share:.0%} of the top {self.ks[0]}: metrics are expectations over the order of "
            "the tied items"
        )
        values = []
        for metric in self.metrics:
            if isinstance(metric, CatalogueMetric):
                found = [metric.of_counts(counts, self.train_counts) for counts in self.item_counts]
                values += [expect_tensor(metric, "of_counts", value, (), "one number") for value in found]
            else:
                values += [next(means) for _ in self.ks]
        return dict(zip(self.names, values, strict=True))


class ErrorMetrics(Metrics):
    """Metrics of predicted numbers, from sums in double precision.

    Args:
        metrics: short names (rmse, mae), or metrics of your own.

    >>> metrics = ErrorMetrics(["rmse", "mae"])
    >>> metrics.update(torch.tensor([3.0, 5.0]), torch.tensor([4.0, 12.0]))
    >>> metrics.compute()
    {'rmse': tensor(5., dtype=torch.float64), 'mae': tensor(4., dtype=torch.float64)}
    """

    metrics: list[ErrorMetric]
    sums: Tensor
    count: Tensor

    def __init__(self, metrics: Sequence[str | ErrorMetric] = (*ERRORS,)) -> None:
        super().__init__()
        self.metrics = chosen(metrics, ERRORS, (ErrorMetric,))
        self.add_sum("sums", len(self.metrics), dtype=torch.float64)
        self.add_sum("count", dtype=torch.float64)

    def update(self, predictions: Tensor, labels: Tensor, weights: Tensor | None = None) -> None:
        """Count a batch: predictions [B], labels [B], weights [B] or None."""
        predictions, labels = predictions.detach().double(), labels.double()
        found = [(metric, metric.of_rows(predictions, labels)) for metric in self.metrics]
        told = "a number for each row"
        errors = torch.stack([expect_tensor(by, "of_rows", errors, labels.shape, told) for by, errors in found])
        self.sums = self.sums + (errors if weights is None else errors * weights).sum(1)
        self.count = self.count + (labels.numel() if weights is None else weights.double().sum())

    def compute(self) -> dict[str, Tensor]:
        """Compute every metric by its name, over all rows and all processes."""
        means = self.sums / self.count
        found = [(metric, metric.of_mean(mean)) for metric, mean in zip(self.metrics, means, strict=True)]
        return {by.name: expect_tensor(by, "of_mean", value, (), "one number") for by, value in found}


class ClickMetrics(Metrics):
    """Metrics of predicted clicks.

    They are exact for at most `exact` events a process. Beyond, events are counted by logit, in 2^17 steps from -20 to
    20: then AUC and calibration error are those of logits rounded to 0.0003, and gauc is not measured (NaN).

    Args:
        metrics: short names (auc, logloss, ne, gauc, ece, calibration), or metrics of your own.

    >>> metrics = ClickMetrics(["auc", "logloss"])
    >>> metrics.update(torch.tensor([0.1, 0.4, 0.35, 0.8]), torch.tensor([0.0, 0.0, 1.0, 1.0]))
    >>> {name: round(float(value), 4) for name, value in metrics.compute().items()}
    {'auc': 0.75, 'logloss': 0.6405}
    """

    exact = 10_000_000
    metrics: list[ClickMetric]
    logits: list[Tensor]
    labels: list[Tensor]
    groups: list[Tensor]
    weights: list[Tensor]
    counts: Tensor
    sums: Tensor

    def __init__(self, metrics: Sequence[str | ClickMetric] = (*CLICKS,)) -> None:
        super().__init__()
        self.metrics = chosen(metrics, CLICKS, (ClickMetric,))
        self.add_rows("logits", "labels", "groups", "weights")
        self.add_sum("counts", 2, STEPS, dtype=torch.float64)  # of label 0 and 1
        self.add_sum("sums", 2, dtype=torch.float64)  # of losses, of chances
        self.held = 0

    def reset(self) -> None:
        """Forget every event."""
        super().reset()
        self.held = 0

    def update(
        self, logits: Tensor, labels: Tensor, groups: Tensor | None = None, weights: Tensor | None = None
    ) -> None:
        """Count a batch: logits [B], labels [B] of 0 and 1, groups [B] integers, -1 for none, or None, weights [B] or
        None; of all batches, or of none."""
        if weights is not None:
            self.weights.append(weights.float())
        self.logits.append(logits.detach().float())
        self.labels.append(labels.float())
        self.groups.append(torch.full_like(labels, -1, dtype=torch.long) if groups is None else groups.long())
        self.held += logits.numel()
        if self.held > self.exact:
            self._count()

    def _count(self) -> None:
        """Move the events that are held into the histogram."""
        logits = joined(self.logits)
        if logits.isnan().any():
            logits = torch.full_like(logits, torch.nan)
        events = Events.of(logits, joined(self.labels), None, self._weights())
        places = LogitCounts.places(logits)
        for label in (0, 1):
            own = events.labels == label
            weights = None if events.weights is None else events.weights[own]
            self.counts[label] += torch.bincount(places[own], weights, minlength=STEPS)
        if events.count:
            self.sums += torch.stack([events.loss * events.count, events.chance])
        empty = logits[:0]  # not nothing: all processes need something to gather
        self.weights = [] if events.weights is None else [empty]
        self.logits, self.labels, self.groups, self.held = [empty], [empty], [empty.long()], 0

    def _weights(self) -> Tensor | None:
        """The weights of the events that are held; None where they have none."""
        held = joined(self.weights)
        return held if held.numel() else None

    def compute(self) -> dict[str, Tensor]:
        """Compute every metric by its name, over all events and all processes; NaN where it has no meaning."""
        if self.counts.any():
            self._count()
            negative, positive = self.counts.double()
            count = float(self.counts.sum())
            totals = LogitCounts(count, positive.sum(), self.sums[1], self.sums[0] / count, negative, positive)
            return {metric.name: metric.of_counts(totals) for metric in self.metrics}
        logits, groups = joined(self.logits), joined(self.groups)
        if not logits.numel():
            return dict.fromkeys(self.names, torch.tensor(torch.nan))
        events = Events.of(logits, joined(self.labels), groups if groups.max() >= 0 else None, self._weights())
        found = [(metric, metric.of_events(events)) for metric in self.metrics]
        return {by.name: expect_tensor(by, "of_events", value, (), "one number") for by, value in found}
