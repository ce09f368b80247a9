"""Metrics of predicted clicks."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from recgnn.metrics.base import OwnPrecision


class CTRMetrics(OwnPrecision, Metric):
    r"""What a CTR model is measured by, over all events and all processes, exactly.

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
    """

    names = ("auc", "logloss", "ne", "gauc", "ece", "calibration")
    full_state_update = False
    is_differentiable = False
    bins = 20

    def __init__(self) -> None:
        super().__init__()
        for name in ("logits", "labels", "groups"):
            self.add_state(name, [], dist_reduce_fx="cat")

    def update(self, logits: Tensor, labels: Tensor, groups: Tensor | None = None) -> None:
        """Count a batch.

        Shapes: logits [B], labels [B] of 0 and 1, groups [B] integers or None.
        """
        self.logits.append(logits.detach().float())
        self.labels.append(labels.float())
        self.groups.append(torch.full_like(labels, -1, dtype=torch.long) if groups is None else groups.long())

    def compute(self) -> dict[str, Tensor]:
        """Every metric by its name; NaN where it has no meaning."""
        logits, labels, groups = (_joined(x) for x in (self.logits, self.labels, self.groups))
        if not logits.numel():
            return dict.fromkeys(self.names, torch.tensor(torch.nan))
        logits, labels = logits.double(), labels.double()
        chances = torch.sigmoid(logits)
        loss = nn.functional.binary_cross_entropy_with_logits(logits, labels)
        rate = labels.mean()
        entropy = -(torch.xlogy(rate, rate) + torch.xlogy(1 - rate, 1 - rate))
        order = chances.argsort()
        _, tie, size = torch.unique_consecutive(chances[order], return_inverse=True, return_counts=True)
        shared = torch.zeros_like(size, dtype=torch.float64).index_add_(0, tie, labels[order]) / size
        bins = torch.arange(order.numel(), device=order.device) * self.bins // order.numel()
        gaps = torch.zeros(self.bins, dtype=torch.float64, device=order.device)
        gaps = gaps.index_add_(0, bins, chances[order] - shared[tie])  # equal chances share their labels' mean
        return {
            "auc": auc(logits, labels),
            "logloss": loss,
            "ne": loss / entropy,
            "gauc": grouped_auc(logits, labels, groups) if groups.min() >= 0 else loss * torch.nan,
            "ece": gaps.abs().sum() / order.numel(),
            "calibration": chances.sum() / labels.sum(),
        }


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
    kept = (positive > 0) & (negative > 0)
    value = wins[kept] / (positive * negative)[kept]
    return (value * size[kept]).sum() / size[kept].sum()
