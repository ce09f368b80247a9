"""Which metrics have a short name, by task: for whoever needs names and directions alone (no torchmetrics)."""

from __future__ import annotations

from collections.abc import Mapping

from recgnn.evaluation.metrics.base import Metric
from recgnn.evaluation.metrics.clicks import CLICKS
from recgnn.evaluation.metrics.ranking import BEYOND_ACCURACY, PER_USER, RANKING
from recgnn.evaluation.metrics.regression import ERRORS

METRICS: dict[str, Mapping[str, type[Metric]]] = {
    "ranking": RANKING,
    "rating": ERRORS,
    "clicks": CLICKS,
    "regression": ERRORS,
}

BASELINES = {"popularity": "most popular", "item_knn": "ItemKNN", "ease": "EASE", "graph_filter": "GraphFilter"}
BASELINES |= {"constant": "constant rate", "lr": "LR", "lightgbm": "LightGBM"}
"""What the simple methods beside a run are called, by their name in metrics.json."""

__all__ = ["BASELINES", "BEYOND_ACCURACY", "CLICKS", "ERRORS", "METRICS", "PER_USER", "RANKING"]
