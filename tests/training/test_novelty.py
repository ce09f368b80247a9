"""Known and new users and items: hand-made answers."""

from __future__ import annotations

from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from recgnn.data.clicks.field_encoders import FieldEncoders
from recgnn.data.clicks.fields import Field
from recgnn.data.interactions.loaders import EvalBatch, RatingBatch
from recgnn.training.novelty import Events, Measured, Rankings, Ratings, told

CPU = torch.device("cpu")
SIZES = SimpleNamespace(num_users=3, num_items=4)
ROWS = {"num_users": torch.tensor([2, 0]), "num_items": torch.tensor([3, -1, 0, 1])}  # new: user 1 and item 2


def test_recall_of_known_and_new_users_and_items() -> None:
    groups = Rankings(SimpleNamespace(device=CPU, ks=[2]), SIZES, ROWS)
    none = torch.zeros(0, dtype=torch.long)
    labels = torch.tensor([0, 0, 1, 1, 2]), torch.tensor([0, 2, 1, 2, 3])
    batch = EvalBatch(torch.tensor([0, 1, 2]), none, none, *labels)
    groups.update(batch, {"items": torch.tensor([[0, 1], [2, 3], [1, 3]])})
    assert groups.compute() == {
        "users": [{"group": "known", "rows": 2, "recall@2": 0.75}, {"group": "new", "rows": 1, "recall@2": 0.5}],
        "items": [{"group": "known", "rows": 3, "recall@2": pytest.approx(2 / 3)},
                  {"group": "new", "rows": 2, "recall@2": 0.5}],
    }  # fmt: skip


def test_errors_of_known_and_new_users_and_items() -> None:
    """Who is not in train at all is new."""
    groups = Ratings(SimpleNamespace(device=CPU), SIZES, ROWS)
    batch = RatingBatch(torch.tensor([0, 1, -1, 2]), torch.tensor([0, 1, 2, -1]), torch.tensor([1.0, 2, 3, 4]))
    groups.update(batch, {"predictions": torch.tensor([1.0, 4, 3, 1])})
    found = groups.compute()
    assert [g["rmse"] for g in found["users"]] == pytest.approx([4.5**0.5, 2**0.5])
    assert [g["rows"] for g in found["items"]] == [2, 2]
    assert [g["rmse"] for g in found["items"]] == pytest.approx([2**0.5, 4.5**0.5])


@pytest.mark.parametrize("columns", [["user", "place"], ["shop", "place"]])
def test_auc_of_known_and_new_users_or_values(columns: list[str]) -> None:
    frame = pd.DataFrame({columns[0]: ["a", "b", "c"], "place": ["x", "y", "x"]})
    encoders = FieldEncoders(dict.fromkeys(columns, Field())).fit(frame)
    data = SimpleNamespace(prepared=SimpleNamespace(encoders=encoders), field_dims=encoders.dims, slots=encoders.slots)
    rows = torch.tensor([0, 1, 2, 4, 5, 6, 7, 8])  # value b (row 3) is new
    groups = Events(SimpleNamespace(device=CPU, task="clicks"), data, {"field_dims": rows})
    tested = pd.DataFrame({columns[0]: ["a", "a", "b", "c", "z", "b"], "place": ["x", "y", "x", "q", "x", "x"]})
    ids = torch.from_numpy(encoders.encode(tested)[0])
    logits, labels = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]), torch.tensor([0.0, 1, 1, 0, 0, 1])
    groups.update(SimpleNamespace(ids=ids, labels=labels), {"logits": logits})
    if columns[0] == "user":  # known: rows 0, 1 and 3
        expected = {"users": [(3, 0.5), (3, 0.5)]}
    else:  # q is new, too
        expected = {"values": [(2, 1.0), (4, 0.5)]}
    found = groups.compute()
    assert {side: [(g["rows"], g["auc"]) for g in of] for side, of in found.items()} == expected


def test_what_is_forgotten_is_named() -> None:
    def measured(value: float, known: float, new: float) -> Measured:
        groups = [{"group": "known", "rows": 9, "recall@5": known}, {"group": "new", "rows": 3, "recall@5": new}]
        return Measured({"ndcg@5": value}, {"users": groups})

    lines = told(measured(0.3, 0.5, 0.1), measured(0.4, 0.45, 0.2), "ndcg@5", "runs/a", {"ndcg@5": 0.35})
    assert lines == [
        "ndcg@5: 0.4000 here, 0.3000 with runs/a as it was, which had 0.3500 on its own test part (drift)",
        "recall@5: known users 0.4500 (was 0.5000: forgotten), new users 0.2000 (was 0.1000)",
    ]
    assert told(None, measured(0.4, 0.45, 0.2), "ndcg@5", "runs/a", {}) == [
        "recall@5: known users 0.4500, new users 0.2000"]  # fmt: skip
