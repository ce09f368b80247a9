"""Recall by group, the metrics of each user and the table of samples, of four users by hand."""

from __future__ import annotations

from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from recgnn.evaluation.metrics import RankingMetrics
from recgnn.evaluation.reports import REPORTS


def test_four_users(trainer, tmp_path) -> None:
    metrics = {"test": RankingMetrics(5, [2, 3], ["precision", "recall", "coverage"])}
    training = SimpleNamespace(metrics=metrics, device="cpu")
    report = REPORTS["ranking"](tmp_path)
    report.on_test_start(trainer, training)
    # users 2 and 0, then 3 and 1; 5 fills a list up; user 3 has no label
    first = SimpleNamespace(
        users=torch.tensor([2, 0]), seen_rows=torch.tensor([0, 1]), seen_items=torch.tensor([3, 0]),
        label_rows=torch.tensor([0, 0, 1]), label_items=torch.tensor([4, 0, 1]),
    )  # fmt: skip
    report.on_test_batch_end(trainer, training, {"items": torch.tensor([[4, 1, 5], [2, 1, 3]])}, first, 0)
    second = SimpleNamespace(users=torch.tensor([3, 1]), label_rows=torch.tensor([1]), label_items=torch.tensor([4]))
    report.on_test_batch_end(trainer, training, {"items": torch.tensor([[3, 5, 5], [2, 1, 4]])}, second, 1)
    report.on_test_end(trainer, training)

    activity, popularity = report.groups["by_activity"], report.groups["by_popularity"]
    assert [(g["group"], g["rows"], g["recall@2"]) for g in activity] == [("1", 2, 0.5), ("4", 1, 0.5)]
    assert [(g["group"], g["rows"]) for g in popularity] == [("1", 2), ("2", 1), ("4", 1)]
    assert [g["recall@2"] for g in popularity] == [0.5, 1, 0]  # labels 4 twice, 1, 0

    users = pd.read_parquet(tmp_path / "users.parquet").set_index("user")
    assert list(users.index) == ["u0", "u1", "u2"]
    assert list(users.columns) == ["precision@2", "precision@3", "recall@2", "recall@3"]
    assert users["precision@3"].tolist() == pytest.approx([1 / 3] * 3) and users["recall@2"].tolist() == [1, 0, 0.5]

    [logger] = trainer.loggers
    assert logger.tables["recommendations"].to_dict("records") == [
        {"user": "u2", "history": "Title 3", "recommended": "Title 4 | Title 1", "hits": "Title 4",
         "number of hits": 1},
        {"user": "u0", "history": "Title 0", "recommended": "Title 2 | Title 1 | Title 3", "hits": "Title 1",
         "number of hits": 1},
    ]  # fmt: skip
    assert sorted(path.name for path in (tmp_path / "figures").iterdir()) == [
        "recall_by_activity.png", "recall_by_popularity.png",
    ]  # fmt: skip
