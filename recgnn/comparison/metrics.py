"""The metrics shown for each task, and which of two values is the better one."""

from __future__ import annotations

MAIN = {"ranking": "ndcg", "rating": "rmse", "clicks": "auc", "regression": "rmse"}
TASKS = {"ranking": "full ranking", "rating": "ratings", "clicks": "clicks", "regression": "numbers"}
ORDER = {  # of the columns
    "ranking": ("ndcg", "recall", "mrr", "hitrate", "precision", "map", "coverage", "popularity", "gini"),
    "rating": ("rmse", "mae"),
    "clicks": ("auc", "logloss", "gauc", "ne", "ece", "calibration"),
    "regression": ("rmse", "mae"),
}
HIGHER = ("recall", "ndcg", "precision", "map", "mrr", "hitrate", "coverage", "auc", "gauc")
LOWER = ("rmse", "mae", "logloss", "ne", "ece")
OF_USERS = {"rmse": "mse", "gauc": "auc"}  # the column of users.parquet that stands for a metric of another name


def goodness(metric: str, value: float) -> float | None:
    """Turn a metric's value into a number that is higher for the better run; None if neither direction is better."""
    name = metric.partition("@")[0]
    if name in HIGHER:
        return value
    if name in LOWER:
        return -value
    return -abs(value - 1) if name == "calibration" else None
