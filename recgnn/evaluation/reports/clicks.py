"""A closer look at the predicted clicks of the test part."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch

from recgnn.data.clicks.encoders import Categorical
from recgnn.data.clicks.prepared import PreparedEvents
from recgnn.data.clicks.tables import EventTables
from recgnn.data.interactions.log import USER
from recgnn.data.readers.values import hashed
from recgnn.evaluation import figures
from recgnn.evaluation.groups import as_groups
from recgnn.evaluation.metrics.clicks import auc, by_group, calibration_bins
from recgnn.evaluation.metrics.grouped import SampledEvents
from recgnn.evaluation.reports.attention import NUM_PAST, attended
from recgnn.evaluation.reports.common import Report, draw, in_order, log_table, save_figures, save_users

NUM_VALUES = 24


class ClickReport(Report):
    """Look at the test's probabilities.

    Draws ROC, precision and recall, calibration, and AUC by the values of a field; a model with a method `attention`
    shows what it attends to. Writes the metrics of each group (user), where there are at most about 4 million events a
    process.
    """

    def on_test_start(self, trainer, pl_module) -> None:
        self.sample = SampledEvents().to(pl_module.device)
        self.field = trainer.datamodule.reported_field()
        self.attended: list[pd.DataFrame] = []

    def on_test_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0) -> None:
        values = None if self.field is None else batch.ids[:, self.field.slot] - self.field.start
        self.sample.update(outputs["logits"], batch.labels, values, batch.groups)
        able = hasattr(pl_module.model, "attention") and batch.history is not None
        if batch_idx == 0 and trainer.is_global_zero and able:
            self.attended = attended(trainer.datamodule, pl_module.model, batch)

    def on_test_end(self, trainer, pl_module) -> None:
        *columns, complete = self.sample.compute()  # all processes take part
        logits, labels, values, groups = (column.cpu() for column in columns)
        if not trainer.is_global_zero or not 0 < labels.mean() < 1:
            return
        known = groups >= 0
        if complete and known.any():
            of_users = by_group(logits[known], labels[known], groups[known])
            save_users(self.folder, raw_groups(trainer.datamodule.prepared, of_users.pop("group").numpy()), of_users)
        bins = calibration_bins(logits, labels)
        spans = [f"{a:.3g} to {b:.3g}" for a, b in zip(bins.pop("lowest"), bins.pop("highest"), strict=True)]
        self.groups["calibration"] = as_groups(spans, bins.pop("rows"), **bins)
        drawn = figures.binary_curves(logits.sigmoid().numpy(), labels.numpy())
        if self.field is not None:
            name = self.field.name
            rows, sizes = values.unique(return_counts=True)
            kept = sizes.argsort(descending=True, stable=True)[:NUM_VALUES].sort().values
            aucs = torch.stack([auc(logits[values == row], labels[values == row]) for row in rows[kept]])
            names = [self.field.values[row] for row in rows[kept].tolist()]
            self.groups[f"by_{name}"] = in_order(as_groups(names, sizes[kept], auc=aucs))
            drawn[f"auc_by_{name}"] = draw(self.groups[f"by_{name}"], "auc", name, f"AUC by {name}", "AUC")
        if self.attended:
            shown = max(self.attended, key=lambda table: min(len(table), NUM_PAST))
            past, weights = shown["past item"].tolist(), shown["weight"].tolist()
            drawn["attention"] = figures.attention(past[-NUM_PAST:], weights[-NUM_PAST:], shown["target"].iloc[0])
            log_table(trainer, "attention", pd.concat(self.attended))
        save_figures(trainer, self.folder, drawn)


def raw_groups(prepared: PreparedEvents, groups: np.ndarray) -> np.ndarray:
    """Look up the values that the numbers of groups stand for, as text; the number itself where they are not known.

    Shapes: groups [n] -> [n] of str.
    """
    name, tables = prepared.summary["group"], EventTables.load(prepared.folder)
    encoder = prepared.encoders.encoders.get(name)
    values = pd.Series([], dtype="string")
    if tables is not None and name == USER:
        values = tables.users[USER]
    elif isinstance(encoder, Categorical):
        values = pd.Series(encoder.values, dtype="string")
    known = pd.Series(values.to_numpy(object), index=hashed(values))
    found = known[~known.index.duplicated()].reindex(groups)
    return found.where(found.notna(), found.index.astype("str")).to_numpy(object)
