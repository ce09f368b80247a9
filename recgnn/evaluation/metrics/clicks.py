"""Metrics of predicted clicks, over all events; NaN where one has no meaning."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from recgnn.evaluation.metrics.base import Metric

NUM_BINS = 20  # of the calibration error
STEPS, REACH = 2**17, 20.0  # a histogram of logits has that many steps, from -REACH to REACH


@dataclass
class Totals:
    """What is known exactly of any number of events, in double precision.

    Attributes:
        count: number of events; this and the others are weighted sums and means where events have weights.
        positives: number of events with label 1.
        chance: sum of the predicted probabilities.
        loss: mean cross entropy, in nats.
    """

    count: float
    positives: Tensor
    chance: Tensor
    loss: Tensor


@dataclass
class Events(Totals):
    """All events. Shapes: logits [n] in double precision, labels [n] likewise, groups [n] integers or None, weights [n]
    in double precision or None (all 1)."""

    logits: Tensor
    labels: Tensor
    groups: Tensor | None = None
    weights: Tensor | None = None

    @classmethod
    def of(
        cls, logits: Tensor, labels: Tensor, groups: Tensor | None = None, weights: Tensor | None = None
    ) -> Events:
        """Take events together.

        Shapes: logits [n], labels [n] of 0 and 1, groups [n] integers or None, weights [n] from 0 up or None.
        """
        logits, labels = logits.double(), labels.double()
        if weights is None:
            loss = nn.functional.binary_cross_entropy_with_logits(logits, labels)
            return cls(labels.numel(), labels.sum(), logits.sigmoid().sum(), loss, logits, labels, groups)
        w = weights.double()
        loss = nn.functional.binary_cross_entropy_with_logits(logits, labels, w, reduction="sum") / w.sum()
        positives, chance = (w * labels).sum(), (w * logits.sigmoid()).sum()
        return cls(float(w.sum()), positives, chance, loss, logits, labels, groups, w)


@dataclass
class LogitCounts(Totals):
    """More events than are held: how many of label 0 and 1 have each logit of `steps()`.

    Shapes: negative [STEPS], positive [STEPS], in double precision.
    """

    negative: Tensor
    positive: Tensor

    @staticmethod
    def places(logits: Tensor) -> Tensor:
        """Find the step of each logit: `logits` [n] -> [n]."""
        inside = logits.double().nan_to_num().clamp(-REACH, REACH)
        return ((inside / REACH + 1) / 2 * (STEPS - 1)).round().long()

    def steps(self) -> Tensor:
        """Return the logit of each step, [STEPS]."""
        return torch.linspace(-REACH, REACH, STEPS, dtype=torch.float64, device=self.positive.device)


class ClickMetric(Metric):
    """A metric of the logits of all events. A subclass defines `of_events`, and `of_counts` if it can.

    >>> class Accuracy(ClickMetric):
    ...     def of_events(self, events):
    ...         return ((events.logits > 0) == (events.labels == 1)).double().mean()
    >>> Accuracy().of_events(Events.of(torch.tensor([2.0, -1.0, 3.0, 0.5]), torch.tensor([1, 0, 1, 0])))
    tensor(0.7500, dtype=torch.float64)
    """

    @abstractmethod
    def of_events(self, events: Events) -> Tensor:
        """Compute the metric exactly, from all events."""

    def of_counts(self, events: LogitCounts) -> Tensor:
        """Compute the metric of more than ten million events, from their histogram; NaN where it cannot be."""
        return events.loss * torch.nan


class AUC(ClickMetric):
    """Area under the ROC curve: the chance that a positive has a higher logit than a negative, a tie counting half.

    NaN where all labels are the same.

    >>> AUC().of_events(Events.of(torch.tensor([0.1, 0.4, 0.35, 0.8]), torch.tensor([0, 0, 1, 1])))
    tensor(0.7500, dtype=torch.float64)
    """

    def of_events(self, events: Events) -> Tensor:
        return auc(events.logits, events.labels, events.weights)

    def of_counts(self, events: LogitCounts) -> Tensor:
        wins = (events.positive * (events.negative.cumsum(0) - events.negative / 2)).sum()
        return wins / (events.positives * (events.count - events.positives)) + 0 * events.loss  # NaN stays NaN


class LogLoss(ClickMetric):
    """Mean cross entropy, in nats.

    >>> LogLoss().of_events(Events.of(torch.zeros(2), torch.tensor([0, 1])))  # log 2
    tensor(0.6931, dtype=torch.float64)
    """

    higher_is_better = False

    def of_events(self, events: Totals) -> Tensor:
        return events.loss

    of_counts = of_events


class NormalisedEntropy(ClickMetric):
    """Log loss divided by that of predicting the mean label for every event.

    From `He et al., 2014 <https://doi.org/10.1145/2648584.2648589>`_. Below 1 is better than knowing the rate alone.

    >>> NormalisedEntropy().of_events(Events.of(torch.zeros(2), torch.tensor([0, 1])))
    tensor(1., dtype=torch.float64)
    """

    name = "ne"
    higher_is_better = False

    def of_events(self, events: Totals) -> Tensor:
        rate = events.positives / events.count
        return events.loss / -(torch.xlogy(rate, rate) + torch.xlogy(1 - rate, 1 - rate))

    of_counts = of_events


class GAUC(ClickMetric):
    """AUC within each group (user), its mean weighted by the number of events of the group.

    From `Zhou et al., 2018 <https://arxiv.org/abs/1706.06978>`_, eq. 9. Groups whose labels are all the same are left
    out, and events without a group (-1). NaN where there are no groups, and above ten million events.

    >>> logits, labels = torch.tensor([0.1, 0.4, 0.35, 0.8]), torch.tensor([1, 0, 0, 1])
    >>> GAUC().of_events(Events.of(logits, labels, torch.tensor([7, 7, 9, 9])))
    tensor(0.5000, dtype=torch.float64)
    """

    def of_events(self, events: Events) -> Tensor:
        if events.groups is None or not (known := events.groups >= 0).any():
            return events.loss * torch.nan
        weights = None if events.weights is None else events.weights[known]
        return grouped_auc(events.logits[known], events.labels[known], events.groups[known], weights)


class ECE(ClickMetric):
    r"""Expected calibration error: mean over events of \|predicted - observed\| in 20 bins of equally many events.

    Events with equal logits share the mean of their labels, so their order does not matter.

    >>> ECE().of_events(Events.of(torch.zeros(4), torch.tensor([0, 0, 0, 1])))
    tensor(0.2500, dtype=torch.float64)
    """

    higher_is_better = False

    def of_events(self, events: Events) -> Tensor:
        if events.weights is not None:
            return self._weighted(events, events.weights)
        chances, order = events.logits.sigmoid().sort()
        _, tie, size = torch.unique_consecutive(chances, return_inverse=True, return_counts=True)
        shared = chances.new_zeros(size.numel()).index_add_(0, tie, events.labels[order]) / size
        bins = torch.arange(events.count, device=order.device) * NUM_BINS // events.count
        gaps = chances.new_zeros(NUM_BINS).index_add_(0, bins, chances - shared[tie])
        return gaps.abs().sum() / events.count

    def _weighted(self, events: Events, weights: Tensor) -> Tensor:
        logit, of = events.logits.unique(return_inverse=True)
        zeros = torch.zeros_like(logit)
        total, positive = (zeros.index_add(0, of, x) for x in (weights, weights * events.labels))
        return self._of_steps(total, total * logit.sigmoid() - positive)

    def of_counts(self, events: LogitCounts) -> Tensor:
        total = events.negative + events.positive
        return self._of_steps(total, total * events.steps().sigmoid() - events.positive)

    @staticmethod
    def _of_steps(total: Tensor, gap: Tensor) -> Tensor:
        """Compute the error of ascending logits, whose events may be shared out among the bins.

        Shapes: total [k], how many events have each logit; gap [k], predicted less observed positives among them.
        """
        end = total.cumsum(0)
        bounds = torch.arange(NUM_BINS + 1, dtype=torch.float64, device=gap.device) * end[-1] / NUM_BINS
        step = torch.searchsorted(end, bounds).clamp(max=len(total) - 1)
        inside = (bounds - (end - total)[step]) / total[step].clamp(min=1e-300)
        before = (gap.cumsum(0) - gap)[step] + inside * gap[step]  # the gap of the events up to each bound
        return before.diff().abs().sum() / end[-1]


class Calibration(ClickMetric):
    """Predicted positives divided by observed ones: 1 is right, above 1 is too confident.

    >>> Calibration().of_events(Events.of(torch.zeros(4), torch.tensor([0, 0, 0, 1])))
    tensor(2., dtype=torch.float64)
    """

    higher_is_better = None

    def of_events(self, events: Totals) -> Tensor:
        return events.chance / events.positives

    of_counts = of_events


CLICKS: dict[str, type[ClickMetric]] = {
    m.name: m for m in (AUC, LogLoss, NormalisedEntropy, GAUC, ECE, Calibration)
}


def auc(scores: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """Compute the area under the ROC curve by ranks, ties counting half; NaN where there is one class.

    Shapes: scores [n], labels [n], weights [n] or None -> scalar.
    """
    return grouped_auc(scores, labels, torch.zeros_like(labels, dtype=torch.long), weights)


def grouped_auc(scores: Tensor, labels: Tensor, groups: Tensor, weights: Tensor | None = None) -> Tensor:
    """Average the AUC within each group, weighted by its size; groups of one class are left out.

    Shapes: scores [n], labels [n], groups [n], weights [n] of events or None -> scalar, NaN where no group is left.
    """
    if scores.isnan().any():
        return scores.new_full((), torch.nan, dtype=torch.float64)
    value, size = aucs(scores, labels, groups, weights)
    kept = ~value.isnan()
    return (value[kept] * size[kept]).sum() / size[kept].sum()


def aucs(
    scores: Tensor, labels: Tensor, groups: Tensor, weights: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Compute the AUC within each group, groups ascending, and each group's size; NaN where a group is of one class.

    With weights, a pair of a positive and a negative counts by the product of theirs, and a group by their sum.

    Shapes: scores [n], labels [n], groups [n], weights [n] or None -> [G], [G].
    """
    order = scores.argsort()
    order = order[groups[order].argsort(stable=True)]
    score, label, group = scores[order], labels[order].double(), groups[order]
    _, group, size = torch.unique_consecutive(group, return_inverse=True, return_counts=True)
    start = size.cumsum(0) - size
    rank = torch.arange(1, score.numel() + 1, dtype=torch.float64, device=score.device) - start[group]
    new = torch.ones_like(group, dtype=torch.bool)
    new[1:] = (score[1:] != score[:-1]) | (group[1:] != group[:-1])
    tie = new.cumsum(0) - 1
    if weights is not None:
        own = weights[order].double()
        zeros = own.new_zeros(size.numel())
        positives, negatives = own * label, own * (1 - label)
        tied = own.new_zeros(int(new.sum())).index_add(0, tie, negatives)
        below = tied.cumsum(0) - tied  # negatives with a lower score, in all groups
        beaten = below[tie] - below[tie[start]][group] + tied[tie] / 2
        positive, negative = (zeros.index_add(0, group, x) for x in (positives, negatives))
        return zeros.index_add(0, group, positives * beaten) / (positive * negative), positive + negative
    many = torch.zeros(int(new.sum()), dtype=torch.float64, device=score.device)
    rank = (many.index_add(0, tie, rank) / many.index_add(0, tie, torch.ones_like(rank)))[tie]
    zeros = torch.zeros(size.numel(), dtype=torch.float64, device=score.device)
    positive = zeros.index_add(0, group, label)
    negative = size - positive
    wins = zeros.index_add(0, group, rank * label) - positive * (positive + 1) / 2
    return wins / (positive * negative), size


def calibration_bins(logits: Tensor, labels: Tensor, bins: int = NUM_BINS) -> dict[str, Tensor]:
    """Cut events by their predicted probability into bins of equally many.

    Returns:
        The mean probability `predicted`, the share of positives `observed`, the number of events `rows`, and the
        `lowest` and `highest` probability of each bin.

    Shapes: logits [n], labels [n] -> each [min(bins, n)].
    """
    chances, order = logits.double().sigmoid().sort()
    parts = list(zip(chances.tensor_split(bins), labels[order].double().tensor_split(bins), strict=True))
    parts = [(chance, label) for chance, label in parts if chance.numel()]
    return {
        "predicted": torch.stack([chance.mean() for chance, _ in parts]),
        "observed": torch.stack([label.mean() for _, label in parts]),
        "rows": torch.tensor([chance.numel() for chance, _ in parts]),
        "lowest": torch.stack([chance[0] for chance, _ in parts]),
        "highest": torch.stack([chance[-1] for chance, _ in parts]),
    }


def by_group(logits: Tensor, labels: Tensor, groups: Tensor) -> dict[str, Tensor]:
    """Compute `auc` (NaN where a group is of one class), `logloss` and the number of `rows` of each `group`, ascending.

    Shapes: logits [n], labels [n], groups [n] integers -> each [G].
    """
    group, place, rows = groups.unique(return_inverse=True, return_counts=True)
    loss = nn.functional.binary_cross_entropy_with_logits(logits.double(), labels.double(), reduction="none")
    loss = torch.zeros(group.numel(), dtype=torch.float64, device=loss.device).index_add(0, place, loss) / rows
    return {"group": group, "auc": aucs(logits, labels, groups)[0], "logloss": loss, "rows": rows}
