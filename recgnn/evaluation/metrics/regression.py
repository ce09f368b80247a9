"""Metrics of predicted numbers, such as ratings."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor

from recgnn.evaluation.metrics.base import Metric


class ErrorMetric(Metric):
    """A function of the mean error over all rows. A subclass defines `of_rows`, and `of_mean` where it is not the mean.

    >>> class Bias(ErrorMetric):
    ...     higher_is_better = None
    ...     def of_rows(self, predictions, labels):
    ...         return predictions - labels
    """

    higher_is_better: bool | None = False

    @abstractmethod
    def of_rows(self, predictions: Tensor, labels: Tensor) -> Tensor:
        """Compute the error of each row: predictions [B], labels [B] -> [B]."""

    def of_mean(self, mean: Tensor) -> Tensor:
        """Compute the metric from the mean of all rows' errors, a scalar or one of each group."""
        return mean


class RMSE(ErrorMetric):
    """Root mean squared error over all rows; NaN without any.

    >>> import torch
    >>> metric = RMSE()
    >>> metric.of_mean(metric.of_rows(torch.tensor([3.0, 5.0]), torch.tensor([4.0, 12.0])).mean())
    tensor(5.)
    """

    def of_rows(self, predictions: Tensor, labels: Tensor) -> Tensor:
        return (predictions - labels).square()

    def of_mean(self, mean: Tensor) -> Tensor:
        return mean.sqrt()


class MAE(ErrorMetric):
    """Mean absolute error over all rows; NaN without any.

    >>> import torch
    >>> MAE().of_rows(torch.tensor([3.0, 5.0]), torch.tensor([4.0, 12.0])).mean()
    tensor(4.)
    """

    def of_rows(self, predictions: Tensor, labels: Tensor) -> Tensor:
        return (predictions - labels).abs()


ERRORS: dict[str, type[ErrorMetric]] = {m.name: m for m in (RMSE, MAE)}
