"""Metrics, one class each, and the collections that count those of a task together.

The classes need torch alone; the collections are imported when asked for, since torchmetrics takes as long as torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from recgnn.evaluation.metrics.base import Metric
from recgnn.evaluation.metrics.clicks import (
    AUC,
    ECE,
    GAUC,
    Calibration,
    ClickMetric,
    LogLoss,
    NormalisedEntropy,
)
from recgnn.evaluation.metrics.names import METRICS
from recgnn.evaluation.metrics.ranking import (
    MAP,
    MRR,
    NDCG,
    CatalogueMetric,
    Coverage,
    Gini,
    HitRate,
    Popularity,
    Precision,
    RankingMetric,
    Recall,
    check_ks,
)
from recgnn.evaluation.metrics.regression import MAE, RMSE, ErrorMetric

if TYPE_CHECKING:
    from recgnn.evaluation.metrics.collections import ClickMetrics, ErrorMetrics, RankingMetrics

__all__ = [
    "AUC",
    "Calibration",
    "CatalogueMetric",
    "ClickMetric",
    "ClickMetrics",
    "Coverage",
    "ECE",
    "ErrorMetric",
    "ErrorMetrics",
    "GAUC",
    "Gini",
    "HitRate",
    "LogLoss",
    "MAE",
    "MAP",
    "METRICS",
    "MRR",
    "Metric",
    "NDCG",
    "NormalisedEntropy",
    "Popularity",
    "Precision",
    "RMSE",
    "RankingMetric",
    "RankingMetrics",
    "Recall",
    "check_ks",
]


def __getattr__(name: str) -> Any:
    if name in ("ClickMetrics", "ErrorMetrics", "RankingMetrics"):
        from recgnn.evaluation.metrics import collections

        return getattr(collections, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
