"""Metrics of predicted ratings."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchmetrics import MeanAbsoluteError, MeanSquaredError

from recgnn.evaluation.metrics.base import OwnPrecision, SumMetric


class RatingMetrics(OwnPrecision, nn.Module):
    """RMSE and MAE of predicted ratings over all rows and all processes (torchmetrics)."""

    def __init__(self) -> None:
        super().__init__()
        self.rmse = MeanSquaredError(squared=False)
        self.mae = MeanAbsoluteError()

    def update(self, pred: Tensor, target: Tensor) -> None:
        """Count a batch.

        Shapes: pred [B], target [B].
        """
        self.rmse.update(pred.float(), target.float())
        self.mae.update(pred.float(), target.float())

    def compute(self) -> dict[str, Tensor]:
        """``rmse`` and ``mae``."""
        return {"rmse": self.rmse.compute(), "mae": self.mae.compute()}

    def reset(self) -> None:
        """Forget every batch."""
        self.rmse.reset()
        self.mae.reset()


class GroupedErrors(SumMetric):
    """RMSE, MAE and mean of predicted ratings by group, NaN where a group is empty, and the groups' ``count``.

    Args:
        num_groups: number of groups.
    """

    def __init__(self, num_groups: int) -> None:
        super().__init__()
        for name in ("squared", "absolute", "total"):
            self.add_sum(name, num_groups, dtype=torch.float64)
        self.add_sum("count", num_groups)

    def update(self, pred: Tensor, target: Tensor, group: Tensor) -> None:
        """Count a batch.

        Shapes: pred [B], target [B], group [B], 0..G-1.
        """
        error = pred.double() - target.double()
        self.squared = self.squared.index_add(0, group, error.square())
        self.absolute = self.absolute.index_add(0, group, error.abs())
        self.total = self.total.index_add(0, group, pred.double())
        self.count = self.count.index_add(0, group, torch.ones_like(group))

    def compute(self) -> dict[str, Tensor]:
        """The values of all groups, over all rows and all processes, each [G] (a scalar for one group)."""
        return {
            "rmse": (self.squared / self.count).sqrt(),
            "mae": self.absolute / self.count,
            "predicted": self.total / self.count,
            "count": self.count,
        }
