"""Metrics, one class each, and the collections that count those of a task together.

The classes need torch alone; the collections are imported when asked for, since torchmetrics takes as long as torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from recgnn.evaluation.metrics.base import Metric
from recgnn.evaluation.metrics.clicks import ClickMetric
from recgnn.evaluation.metrics.names import METRICS
from recgnn.evaluation.metrics.ranking import CatalogueMetric, RankingMetric, check_ks
from recgnn.evaluation.metrics.regression import ErrorMetric

if TYPE_CHECKING:
    from recgnn.evaluation.metrics.collections import ClickMetrics, ErrorMetrics, RankingMetrics

__all__ = ["CatalogueMetric", "ClickMetric", "ClickMetrics", "ErrorMetric", "ErrorMetrics", "METRICS", "Metric",
           "RankingMetric", "RankingMetrics", "check_ks"]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in ("ClickMetrics", "ErrorMetrics", "RankingMetrics"):
        from recgnn.evaluation.metrics import collections

        return getattr(collections, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
