"""Which past events models of sequences attend to."""

from __future__ import annotations

from itertools import islice
from typing import Any

import pandas as pd

NUM_PAST = 25
NUM_EVENTS = 20


def attended(data: Any, model: Any, batch: Any) -> list[pd.DataFrame]:
    """Show how some events of a batch, positive and with a past of three items or more, attend to it.

    Args:
        data: the data module, for the names of items.
        model: a model with a method `attention(ids, values, history)`, the weight of each past item, [N].
        batch: events with a history.

    Returns:
        A table of each event: number of the event, target, past item, weight; the newest item last.
    """
    rows = ((batch.labels == 1) & (batch.history.lengths > 2)).nonzero().flatten()[:NUM_EVENTS]
    if not rows.numel():
        return []
    past = batch.history.of(rows)
    values = None if batch.values is None else batch.values[rows]
    weights = model.attention(batch.ids[rows], values, past).cpu().float().split(past.lengths.tolist())
    past_items = iter(data.item_names(past.ids[:, 0].cpu()))
    targets = data.item_names(batch.ids[rows, data.item_slots[0]].cpu())
    tables = []
    for event, (target, weight) in enumerate(zip(targets, weights, strict=True)):
        names = list(islice(past_items, weight.numel()))
        tables.append(pd.DataFrame({"event": event, "target": target, "past item": names, "weight": weight.numpy()}))
    return tables
