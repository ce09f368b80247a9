"""The main metric of each task, and which of two values of a metric is the better one."""

from __future__ import annotations

_ERRORS: dict[str, bool | None] = {"rmse": False, "mae": False}
METRICS: dict[str, dict[str, bool | None]] = {
    "ranking": {
        **dict.fromkeys(("recall", "precision", "ndcg", "map", "mrr", "hitrate", "coverage"), True),
        **dict.fromkeys(("popularity", "gini")),
    },
    "rating": _ERRORS,
    "clicks": {"auc": True, "logloss": False, "ne": False, "gauc": True, "ece": False, "calibration": None},
    "regression": _ERRORS,
}
"""The metrics of each task in their usual order, and whether higher is better; None where neither direction is.

The same as the classes in `recgnn.evaluation.metrics` say (a test compares), which take torch.
"""
MAIN = {"ranking": "ndcg", "rating": "rmse", "clicks": "auc", "regression": "rmse"}
TASKS = {"ranking": "full ranking", "rating": "ratings", "clicks": "clicks", "regression": "numbers"}
OF_USERS = {"rmse": "mse", "gauc": "auc"}  # the column of users.parquet that stands for a metric of another name
_HIGHER = {name: higher for named in METRICS.values() for name, higher in named.items()}


def goodness(metric: str, value: float) -> float | None:
    """Turn a metric's value into a number that is higher for the better run; None if neither direction is better."""
    name = metric.partition("@")[0]
    if name == "calibration":
        return -abs(value - 1)
    higher = _HIGHER.get(name)
    return None if higher is None else value if higher else -value
