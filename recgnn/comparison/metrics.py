"""The main metric of each task, and which of two values of a metric is the better one."""

from __future__ import annotations

from recgnn.evaluation.metrics.names import METRICS

MAIN = {"ranking": "ndcg", "rating": "rmse", "clicks": "auc", "regression": "rmse"}
TASKS = {"ranking": "full ranking", "rating": "ratings", "clicks": "clicks", "regression": "numbers"}
OF_USERS = {"rmse": "mse", "gauc": "auc"}  # the column of users.parquet that stands for a metric of another name
_HIGHER = {name: metric.higher_is_better for named in METRICS.values() for name, metric in named.items()}


def goodness(metric: str, value: float) -> float | None:
    """Turn a metric's value into a number that is higher for the better run; None if neither direction is better."""
    name = metric.partition("@")[0]
    if name == "calibration":
        return -abs(value - 1)
    higher = _HIGHER.get(name)
    return None if higher is None else value if higher else -value
