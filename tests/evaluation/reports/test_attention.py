"""The table of attended items: names and weights of the right past items."""

from __future__ import annotations

from types import SimpleNamespace

import torch

from recgnn.data.clicks.history import History
from recgnn.evaluation.reports.attention import attended


def test_weights_stand_beside_their_items() -> None:
    past = History(torch.arange(10, 19)[:, None], None, torch.tensor([3, 1, 0, 5]), None)
    batch = SimpleNamespace(
        ids=torch.tensor([[0, 4], [0, 5], [0, 6], [0, 7]]),
        values=None,
        labels=torch.tensor([1.0, 1, 1, 1]),
        history=past,
    )
    data = SimpleNamespace(item_slots=[1], item_names=lambda rows: [f"item {row}" for row in rows.tolist()])
    model = SimpleNamespace(attention=lambda ids, values, history: history.ids[:, 0] / 100)
    one, two = attended(data, model, batch)  # the others have too short a past
    assert one["target"].unique() == ["item 4"] and two["target"].unique() == ["item 7"]
    assert one["past item"].tolist() == ["item 10", "item 11", "item 12"]
    assert two["past item"].tolist() == [f"item {i}" for i in range(14, 19)]
    assert [round(100 * w) for w in two["weight"]] == list(range(14, 19))
    batch.labels = torch.zeros(4)
    assert attended(data, model, batch) == []
