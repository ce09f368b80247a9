"""What is shown of each task, and which way is better."""

from __future__ import annotations

from recgnn.evaluation.metrics.ranking import PER_USER

MAIN = {"ranking": "ndcg", "rating": "rmse", "ctr": "auc", "regression": "rmse"}
LOWER = ("rmse", "mae", "logloss", "ne", "ece")
HIGHER = (*PER_USER, "auc", "gauc", "coverage")
SHOWN = {
    "ranking": ("ndcg", "recall", "mrr", "hitrate", "precision", "map", "coverage", "popularity", "gini"),
    "rating": ("rmse", "mae"),
    "ctr": ("auc", "logloss", "gauc", "ne", "ece", "calibration"),
    "regression": ("rmse", "mae"),
}
OF_USERS = {"rmse": "mse", "gauc": "auc"}  # what users.parquet has instead
TASKS = {
    "ranking": "full ranking",
    "rating": "ratings",
    "ctr": "clicks",
    "regression": "numbers",
}


def goodness(metric: str, value: float) -> float | None:
    """A number that is the higher the better; None for metrics that have no better."""
    base = metric.partition("@")[0]
    if base in HIGHER:
        return value
    if base in LOWER:
        return -value
    return -abs(value - 1) if base == "calibration" else None
