"""Metrics of predicted clicks."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from recgnn.evaluation.metrics.base import OwnPrecision


class CTRMetrics(OwnPrecision, Metric):
    r"""What a CTR model is measured by, over all events and all processes.

    - ``auc``: area under the ROC curve: the chance that a positive has a higher logit than a negative, a tie counting
      half.
    - ``logloss``: mean cross entropy, in nats.
    - ``ne``: normalised entropy, the log loss divided by that of the mean label for every event
      (`He et al., 2014 <https://doi.org/10.1145/2648584.2648589>`_).
    - ``gauc``: AUC within each group (user), its mean weighted by the group's events; groups of one class are left out
      (`Zhou et al., 2018 <https://arxiv.org/abs/1706.06978>`_, eq. 9). NaN where there are no groups.
    - ``ece``: expected calibration error, the mean over events of \|predicted - observed\| in 20 bins of equally many
      events.
    - ``calibration``: predicted positives over observed ones; 1 is right.

    They are exact for at most `exact` events a process. Beyond, events are counted by logit, in 2^17 steps from -20 to
    20: then AUC and calibration error are those of logits rounded to 0.0003, and gauc is not measured (NaN).
    """

    names = ("auc", "logloss", "ne", "gauc", "ece", "calibration")
    full_state_update = False
    is_differentiable = False
    bins = 20
    exact = 10_000_000
    steps, reach = 2**17, 20.0

    def __init__(self) -> None:
        super().__init__()
        for name in ("logits", "labels", "groups"):
            self.add_state(name, [], dist_reduce_fx="cat")
        self.add_state("counts", torch.zeros(2, self.steps, dtype=torch.long), dist_reduce_fx="sum")
        self.add_state("sums", torch.zeros(2, dtype=torch.float64), dist_reduce_fx="sum")  # of losses, of chances
        self.held = 0

    def reset(self) -> None:
        super().reset()
        self.held = 0

    def update(self, logits: Tensor, labels: Tensor, groups: Tensor | None = None) -> None:
        """Count a batch.

        Shapes: logits [B], labels [B] of 0 and 1, groups [B] integers or None.
        """
        self.logits.append(logits.detach().float())
        self.labels.append(labels.float())
        self.groups.append(torch.full_like(labels, -1, dtype=torch.long) if groups is None else groups.long())
        self.held += logits.numel()
        if self.held > self.exact:
            self._count()

    def _count(self) -> None:
        """Put the events that are held into the counts."""
        logits, labels = _joined(self.logits).double(), _joined(self.labels).double()
        if logits.isnan().any():
            logits = torch.full_like(logits, torch.nan)
        place = ((logits.nan_to_num().clamp(-self.reach, self.reach) / self.reach + 1) / 2 * (self.steps - 1)).round()
        for label in (0, 1):
            self.counts[label] += torch.bincount(place[labels == label].long(), minlength=self.steps)
        loss = nn.functional.binary_cross_entropy_with_logits(logits, labels, reduction="sum")
        self.sums += torch.stack([loss, torch.sigmoid(logits).sum()])
        empty = _joined(self.logits)[:0]  # not nothing: all processes have to have something to gather
        self.logits, self.labels, self.groups, self.held = [empty], [empty], [empty.long()], 0

    def compute(self) -> dict[str, Tensor]:
        """Every metric by its name; NaN where it has no meaning."""
        if self.counts.any():
            self._count()
            return self._of_counts()
        logits, labels, groups = (_joined(x) for x in (self.logits, self.labels, self.groups))
        if not logits.numel():
            return dict.fromkeys(self.names, torch.tensor(torch.nan))
        logits, labels = logits.double(), labels.double()
        chances = torch.sigmoid(logits)
        order = chances.argsort()
        _, tie, size = torch.unique_consecutive(chances[order], return_inverse=True, return_counts=True)
        shared = torch.zeros_like(size, dtype=torch.float64).index_add_(0, tie, labels[order]) / size
        bins = torch.arange(order.numel(), device=order.device) * self.bins // order.numel()
        gaps = torch.zeros(self.bins, dtype=torch.float64, device=order.device)
        gaps = gaps.index_add_(0, bins, chances[order] - shared[tie])  # equal chances share their labels' mean
        loss = nn.functional.binary_cross_entropy_with_logits(logits, labels)
        return {
            "auc": auc(logits, labels),
            **_of_sums(loss, chances.sum(), labels.sum(), labels.numel()),
            "gauc": grouped_auc(logits, labels, groups) if groups.min() >= 0 else loss * torch.nan,
            "ece": gaps.abs().sum() / order.numel(),
        }

    def _of_counts(self) -> dict[str, Tensor]:
        negative, positive = self.counts.double()
        total = negative + positive
        count, ones = total.sum(), positive.sum()
        wins = (positive * (negative.cumsum(0) - negative / 2)).sum()
        logits = torch.linspace(-self.reach, self.reach, self.steps, dtype=torch.float64, device=total.device)
        gap = total * torch.sigmoid(logits) - positive  # of a step; its events are shared out among the bins it spans
        bounds = torch.arange(self.bins + 1, dtype=torch.float64, device=total.device) * count / self.bins
        end = total.cumsum(0)
        before = _up_to(bounds, end, total, gap)
        return {
            "auc": wins / (ones * (count - ones)) + 0 * self.sums[0],
            **_of_sums(self.sums[0] / count, self.sums[1], ones, int(count)),
            "gauc": total.new_tensor(torch.nan),
            "ece": before.diff().abs().sum() / count,
        }


def _of_sums(loss: Tensor, chances: Tensor, ones: Tensor, count: int) -> dict[str, Tensor]:
    """What the mean loss, the sum of chances and the number of positives tell."""
    rate = ones / count
    entropy = -(torch.xlogy(rate, rate) + torch.xlogy(1 - rate, 1 - rate))
    return {"logloss": loss, "ne": loss / entropy, "calibration": chances / ones}


def _up_to(bounds: Tensor, end: Tensor, total: Tensor, amount: Tensor) -> Tensor:
    """The amount of the first `bounds` events, where steps have `total` events and end after `end` of them."""
    step = torch.searchsorted(end, bounds).clamp(max=end.numel() - 1)
    inside = (bounds - (end - total)[step]) / total[step].clamp(min=1)
    return (amount.cumsum(0) - amount)[step] + inside * amount[step]


class Clicks(NamedTuple):
    """Events: logits [n], labels [n], what they are of [n], groups [n] (-1 where there are none); and whether these are
    all there were."""

    logits: Tensor
    labels: Tensor
    of: Tensor
    groups: Tensor
    complete: bool


class ClickSample(OwnPrecision, Metric):
    """The events of all processes, to look at closely: at most about `most` of each process, the first.

    Shapes: logits [B], labels [B], of [B] integers, groups [B] integers or None.
    """

    full_state_update = False
    is_differentiable = False
    most = 2**22

    def __init__(self) -> None:
        super().__init__()
        for name in ("logits", "labels", "of", "groups"):
            self.add_state(name, [], dist_reduce_fx="cat")
        self.add_state("seen", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")
        self.held = 0

    def update(self, logits: Tensor, labels: Tensor, of: Tensor, groups: Tensor | None = None) -> None:
        """Keep a batch."""
        self.seen = self.seen + logits.numel()
        if self.held < self.most:
            self.logits.append(logits.detach().float())
            self.labels.append(labels.float())
            self.of.append(of.long())
            self.groups.append(torch.full_like(labels, -1, dtype=torch.long) if groups is None else groups.long())
            self.held += logits.numel()

    def compute(self) -> Clicks:
        """What was kept."""
        columns = [_joined(x) for x in (self.logits, self.labels, self.of, self.groups)]
        return Clicks(*columns, complete=columns[0].numel() == int(self.seen))


def _joined(x: list[Tensor] | Tensor) -> Tensor:
    if isinstance(x, Tensor):
        return x
    return torch.cat(x) if x else torch.zeros(0)


def auc(scores: Tensor, labels: Tensor) -> Tensor:
    """Area under the ROC curve by ranks, ties counting half; NaN where there is one class: [n], [n] -> scalar."""
    return grouped_auc(scores, labels, torch.zeros_like(labels, dtype=torch.long))


def grouped_auc(scores: Tensor, labels: Tensor, groups: Tensor) -> Tensor:
    """Mean over groups, weighted by their sizes, of the AUC within each; groups of one class are left out.

    Shapes: scores [n], labels [n], groups [n]; a scalar, NaN where no group is left.
    """
    if scores.isnan().any():
        return scores.new_full((), torch.nan, dtype=torch.float64)
    value, size = aucs(scores, labels, groups)
    kept = ~value.isnan()
    return (value[kept] * size[kept]).sum() / size[kept].sum()


def aucs(scores: Tensor, labels: Tensor, groups: Tensor) -> tuple[Tensor, Tensor]:
    """The AUC within each group, groups ascending, NaN where one is of one class; and how many events each has.

    Shapes: scores [n], labels [n], groups [n]; [G], [G].
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
    many = torch.zeros(int(tie[-1]) + 1, dtype=torch.float64, device=score.device)
    rank = (many.index_add(0, tie, rank) / many.index_add(0, tie, torch.ones_like(rank)))[tie]
    zeros = torch.zeros(size.numel(), dtype=torch.float64, device=score.device)
    positive = zeros.index_add(0, group, label)
    negative = size - positive
    wins = zeros.index_add(0, group, rank * label) - positive * (positive + 1) / 2
    return wins / (positive * negative), size


def calibration_bins(logits: Tensor, labels: Tensor, bins: int = 20) -> dict[str, Tensor]:
    """Events by their predicted chance, in bins of equally many: the mean chance ``predicted``, the share of positives
    ``observed``, ``rows``, and the ``lowest`` and ``highest`` chance.

    Shapes: logits [n], labels [n]; each [min(bins, n)].
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
