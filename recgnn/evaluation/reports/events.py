"""A closer look at what was predicted of the events of the test part."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from lightning import LightningModule, Trainer

from recgnn.data.clicks.encoders import Categorical
from recgnn.data.clicks.prepare import hashed
from recgnn.data.clicks.prepared import PreparedEvents
from recgnn.data.clicks.tables import EventTables
from recgnn.data.interactions.log import USER
from recgnn.evaluation import figures
from recgnn.evaluation.metrics.clicks import auc, by_group, calibration_bins
from recgnn.evaluation.metrics.grouped import GroupedErrors
from recgnn.evaluation.metrics.grouped import SampledEvents as ClickSample
from recgnn.evaluation.reports.attention import NUM_PAST, attended
from recgnn.evaluation.reports.common import Report, as_groups, draw, log_table, save_figures, save_users

NUM_LEVELS, NUM_VALUES = 10, 24


class CTRReport(Report):
    """Looks at the test's probabilities: ROC, precision and recall, calibration, AUC by the values of a field, and the
    metrics of each group (user), where there are at most about 4 million events a process."""

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.sample = sample_on(pl_module.device)
        self.field = trainer.datamodule.reported_field()
        self.attended: list[pd.DataFrame] = []

    def on_test_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0) -> None:
        of = torch.zeros_like(batch.labels) if self.field is None else batch.ids[:, self.field.slot] - self.field.start
        self.sample.update(outputs["logits"], batch.labels, of, batch.groups)
        if batch_idx == 0 and trainer.is_global_zero and hasattr(pl_module, "attention") and batch.history is not None:
            self.attended = attended(trainer.datamodule, pl_module, batch)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        logits, labels, of, groups, complete = self.sample.compute()  # all processes take part
        logits, labels, of, groups = (x.cpu() for x in (logits, labels, of, groups))
        if not trainer.is_global_zero or not 0 < labels.float().mean() < 1:
            return
        if complete and groups.min() >= 0:
            values = by_group(logits, labels, groups)
            save_users(self.folder, raw_groups(trainer.datamodule.prepared, values.pop("group").numpy()), values)
        bins = {name: value.tolist() for name, value in calibration_bins(logits, labels).items()}
        spans = [f"{a:.3g} to {b:.3g}" for a, b in zip(bins.pop("lowest"), bins.pop("highest"), strict=True)]
        self.groups["calibration"] = as_groups(spans, bins.pop("rows"), **bins)
        drawn = figures.binary_curves(logits.sigmoid().numpy(), labels.numpy())
        if self.field is not None:
            name = self.field.name
            rows, sizes = of.unique(return_counts=True)
            rows = rows[sizes.argsort(descending=True, stable=True)][:NUM_VALUES].sort().values
            values = [float(auc(logits[of == row], labels[of == row])) for row in rows]
            counts = [int((of == row).sum()) for row in rows]
            self.groups[f"by_{name}"] = as_groups([self.field.values[row] for row in rows.tolist()], counts, auc=values)
            drawn[f"auc_by_{name}"] = draw(self.groups[f"by_{name}"], "auc", name, f"AUC by {name}", "AUC")
        if self.attended:
            one = max(self.attended, key=lambda table: min(len(table), NUM_PAST))
            drawn["attention"] = figures.attention(
                one["past item"].tolist()[-NUM_PAST:], one["weight"].tolist()[-NUM_PAST:], one["target"].iloc[0]
            )
            log_table(trainer, "attention", pd.concat(self.attended).to_dict("records"))
        save_figures(trainer, self.folder, drawn)


class NumberReport(Report):
    """Looks at the test's numbers: the mean prediction by the label, in groups of about equally many events, and the
    errors of each group (user), where there are at most about 4 million events a process."""

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.sample = sample_on(pl_module.device)

    def on_test_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0) -> None:
        self.sample.update(outputs["logits"], batch.labels, torch.zeros_like(batch.labels), batch.groups)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        predicted, labels, _, groups, complete = self.sample.compute()  # all processes take part
        predicted, labels, groups = (x.cpu() for x in (predicted, labels, groups))
        if not trainer.is_global_zero:
            return
        if complete and groups.numel() and groups.min() >= 0:
            users, which, rows = groups.unique(return_inverse=True, return_counts=True)
            by_user = GroupedErrors(len(users))
            by_user.update(predicted, labels, which)
            values = {name: value.reshape(-1) for name, value in by_user.compute().items()}
            values = {"mse": values["rmse"].square(), "mae": values["mae"], "rows": rows}
            save_users(self.folder, raw_groups(trainer.datamodule.prepared, users.numpy()), values)
        levels = labels.quantile(torch.linspace(0, 1, NUM_LEVELS)) if len(labels) < 2**24 else labels[:NUM_LEVELS]
        levels = levels.unique()
        errors = GroupedErrors(len(levels))
        errors.update(predicted, labels, (labels[:, None] - levels).abs().argmin(1))
        values = {k: v.reshape(-1).tolist() for k, v in errors.compute().items()}
        groups = as_groups([f"{float(x):.3g}" for x in levels], values.pop("count"), **values)
        self.groups = {"by_label": groups}
        figure = draw(groups, "predicted", "label", "mean prediction by label", "prediction")
        save_figures(trainer, self.folder, {"predicted_by_label": figure})


def sample_on(device: torch.device) -> ClickSample:
    """An empty sample; of no events, so that a process without any has something to gather."""
    sample = ClickSample().to(device)
    none = torch.zeros(0, device=device)
    sample.update(none, none, none.long(), none.long())
    return sample


def raw_groups(prepared: PreparedEvents, groups: np.ndarray) -> np.ndarray:
    """The values that numbers of groups stand for, as text; the number itself where they are not known.

    Shapes: groups [n]; [n] of str.
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
