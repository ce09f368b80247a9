"""What models of sequences attend to."""

from __future__ import annotations

import pandas as pd
from lightning import LightningModule

from recgnn.evaluation.reports.common import NUM_SAMPLES

NUM_PAST = 25


def attended(data, model: LightningModule, batch) -> list[pd.DataFrame]:
    """How some events of a batch, positive and with a past, attend to it: target, past item, weight; newest last."""
    rows = ((batch.labels == 1) & (batch.history.lengths > 2)).nonzero().flatten()[:NUM_SAMPLES]
    if not rows.numel():
        return []
    past = batch.history.of(rows)
    values = None if batch.values is None else batch.values[rows]
    weights = model.attention(batch.ids[rows], values, past).split(past.lengths.tolist())
    names = data.item_names(past.ids[:, 0].cpu())
    targets = data.item_names(batch.ids[rows, data.item_slots[0]].cpu())
    tables, start = [], 0
    for number, (target, weight) in enumerate(zip(targets, weights, strict=True)):
        own = names[start : start + weight.numel()]
        start += weight.numel()
        columns = {"event": number, "target": target, "past item": own, "weight": weight.cpu().float().numpy()}
        tables.append(pd.DataFrame(columns))
    return tables
