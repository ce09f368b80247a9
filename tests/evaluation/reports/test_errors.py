"""Errors by group and of each user, of ratings and of numbers, against sums by hand."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from recgnn.evaluation.reports import REPORTS, errors
from recgnn.evaluation.reports.errors import Levels

TRAINING = SimpleNamespace(device="cpu")


def test_ratings(trainer, tmp_path) -> None:
    report = REPORTS["rating"](tmp_path)
    report.on_test_start(trainer, TRAINING)
    users, items = torch.tensor([0, 3, -1, 3]), torch.tensor([4, -1, 0, 1])
    ratings, predictions = torch.tensor([1.0, 3, 1, 2.4]), torch.tensor([2.0, 1, 1, 3.4])
    for number, rows in enumerate(([0, 1], [2, 3])):
        batch = SimpleNamespace(users=users[rows], items=items[rows], ratings=ratings[rows])
        report.on_test_batch_end(trainer, TRAINING, {"predictions": predictions[rows]}, batch, number)
    report.on_test_end(trainer, TRAINING)
    found = {name: [tuple(group.values()) for group in groups] for name, groups in report.groups.items()}
    both = pytest.approx(np.sqrt((4 + 1) / 2))
    assert found["by_activity"] == [("0", 1, 0, 0), ("1", 1, 1, 1), ("4", 2, both, 1.5)]
    assert found["by_popularity"] == [("0", 1, 2, 2), ("1", 1, 1, 1), ("2", 1, pytest.approx(1), pytest.approx(1)),
                                      ("4", 1, 0, 0)]  # fmt: skip
    assert [g["group"] for g in report.groups["by_rating"]] == ["1", "2", "3"]
    assert [g["predicted"] for g in report.groups["by_rating"]] == pytest.approx([1.5, 3.4, 1])
    table = pd.read_parquet(tmp_path / "users.parquet")
    assert table["user"].tolist() == ["u0", "u3"] and table["rows"].tolist() == [1, 2]  # new users have no line
    assert table["mse"].tolist() == pytest.approx([1, 2.5]) and table["mae"].tolist() == pytest.approx([1, 1.5])
    samples = trainer.loggers[0].tables["ratings"]
    assert samples.to_dict("list") == {"user": ["u0"], "item": ["i4"], "title": ["Title 4"], "rating": [1],
                                       "predicted": [2]}  # fmt: skip


def test_without_new_users_there_is_no_group_of_them(trainer) -> None:
    report = REPORTS["rating"](None)
    report.on_test_start(trainer, TRAINING)
    batch = SimpleNamespace(users=torch.tensor([0]), items=torch.tensor([1]), ratings=torch.tensor([1.0]))
    report.on_test_batch_end(trainer, TRAINING, {"predictions": torch.tensor([2.0])}, batch, 0)
    report.on_test_end(trainer, TRAINING)
    assert [g["group"] for g in report.groups["by_activity"]] == ["1", "4"]
    assert report.groups["by_activity"][1] == {"group": "4", "rows": 0, "rmse": None, "mae": None}


def test_numbers(trainer, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(errors, "raw_groups", lambda prepared, groups: [f"g{group}" for group in groups])
    report = REPORTS["regression"](tmp_path)
    report.on_test_start(trainer, TRAINING)
    labels, groups = torch.tensor([1.0, 2, 2, 5]), torch.tensor([70, 9, 70, 9])
    batch = SimpleNamespace(labels=labels, groups=groups)
    report.on_test_batch_end(trainer, TRAINING, {"logits": torch.tensor([3.0, 2, 5, 5])}, batch, 0)
    report.on_test_end(trainer, TRAINING)
    assert [(g["group"], g["rows"], g["predicted"]) for g in report.groups["by_label"]] == [
        ("1", 1, 3), ("2", 2, 3.5), ("5", 1, 5),
    ]  # fmt: skip
    table = pd.read_parquet(tmp_path / "users.parquet")
    assert table.to_dict("list") == {"user": ["g9", "g70"], "mse": [0, 6.5], "mae": [0, 2.5], "rows": [2, 2]}
    assert (tmp_path / "figures/predicted_by_label.png").exists()


def test_levels() -> None:
    few = Levels(torch.tensor([3.0, 1, 3, 4.5]))
    assert few.names == ["1", "3", "4.5"]
    assert few.nearest(torch.tensor([-9.0, 1.9, 2.1, 3.7, 3.8, 99])).tolist() == [0, 0, 1, 1, 2, 2]
    many = Levels(torch.arange(1000.0) ** 2)
    assert len(many.names) == 10
    gaps = (torch.tensor([100.0, 5000, 990_000])[:, None] - many.values).abs()
    assert many.nearest(torch.tensor([100.0, 5000, 990_000])).tolist() == gaps.argmin(1).tolist()
