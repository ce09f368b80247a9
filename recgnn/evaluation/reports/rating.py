"""A closer look at the predicted ratings of the test part."""

from __future__ import annotations

from typing import Any

import pandas as pd
import torch
from lightning import LightningModule, Trainer

from recgnn.evaluation.metrics.grouped import GroupedErrors, quantile_groups
from recgnn.evaluation.reports.common import (
    NUM_GROUPS,
    NUM_SAMPLES,
    Report,
    as_groups,
    draw,
    log_table,
    save_figures,
    save_users,
)

NUM_LEVELS = 10


class RatingReport(Report):
    """Looks at the test's ratings: RMSE and MAE by user activity and by item popularity, the mean prediction of each
    rating, a table of samples, and the errors of each user that train knows."""

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        data = trainer.datamodule
        self.samples, self.labels, self.errors, self.of = [], {}, {}, {}
        columns = dict(zip(("by_activity", "by_popularity"), data.pairs("train"), strict=True))
        sizes = {"by_activity": data.num_users, "by_popularity": data.num_items}
        for name, rows in columns.items():
            groups, labels = quantile_groups(torch.bincount(rows, minlength=sizes[name]), NUM_GROUPS)
            self._add(name, ["0", *labels], torch.cat([groups + 1, groups.new_zeros(1)]), pl_module)  # -1 is cold
        self.levels = torch.unique(data.ratings("train"))
        if self.levels.numel() > NUM_LEVELS:
            self.levels = torch.unique(self.levels.quantile(torch.linspace(0, 1, NUM_LEVELS)))
        self._add("by_rating", [f"{float(x):.3g}" for x in self.levels], None, pl_module)
        self.levels = self.levels.to(pl_module.device)
        self.users = GroupedErrors(data.num_users + 1).to(pl_module.device)  # the last: those that train lacks

    def _add(self, name: str, labels: list[str], of: torch.Tensor | None, pl_module: LightningModule) -> None:
        self.labels[name], self.errors[name] = labels, GroupedErrors(len(labels)).to(pl_module.device)
        self.of[name] = None if of is None else of.to(pl_module.device)

    def on_test_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0) -> None:
        predictions, ratings = outputs["predictions"], batch.ratings
        self.errors["by_activity"].update(predictions, ratings, self.of["by_activity"][batch.users])
        self.errors["by_popularity"].update(predictions, ratings, self.of["by_popularity"][batch.items])
        self.users.update(predictions, ratings, batch.users.where(batch.users >= 0, len(self.users.count) - 1))
        level = (ratings[:, None] - self.levels).abs().argmin(1)
        self.errors["by_rating"].update(predictions, ratings, level)
        if batch_idx == 0 and trainer.is_global_zero:
            self.samples = self._samples(trainer.datamodule.prepared, predictions, batch)

    def _samples(self, prepared, predictions: torch.Tensor, batch) -> list[dict[str, Any]]:
        known = ((batch.users >= 0) & (batch.items >= 0)).nonzero().squeeze(1)
        rows = known[torch.linspace(0, known.numel() - 1, min(NUM_SAMPLES, known.numel())).long()].cpu()
        if not rows.numel():
            return []
        user, item = batch.users.cpu()[rows].numpy(), batch.items.cpu()[rows].numpy()
        titles = prepared.items.title(item)
        columns = {"user": prepared.users.decode(user), "item": prepared.items.decode(item)}
        columns |= {} if titles is None else {"title": titles}
        columns |= {"rating": batch.ratings.cpu()[rows].numpy(), "predicted": predictions.cpu()[rows].numpy()}
        return pd.DataFrame(columns).astype({"user": str, "item": str}).to_dict("records")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for name, metric in self.errors.items():  # all processes take part
            values = {k: v.reshape(-1).tolist() for k, v in metric.compute().items()}
            count, predicted = values.pop("count"), values.pop("predicted")
            values = {"predicted": predicted, **values} if name == "by_rating" else values
            groups = as_groups(self.labels[name], count, **values)
            self.groups[name] = [g for g in groups if g["rows"] or g["group"] != "0" or name == "by_rating"]
        errors = self.users.compute()
        if not trainer.is_global_zero:
            return
        rows = errors["count"][:-1].nonzero().squeeze(1).cpu()
        of_users = {"mse": errors["rmse"].square(), "mae": errors["mae"], "rows": errors["count"]}
        users = trainer.datamodule.prepared.users.decode(rows.numpy())
        save_users(self.folder, users, {name: value.cpu()[rows] for name, value in of_users.items()})
        drawn = {
            "rmse_by_activity": draw(
                self.groups["by_activity"], "rmse", "ratings of the user in train", "RMSE by user activity"
            ),
            "rmse_by_popularity": draw(
                self.groups["by_popularity"], "rmse", "ratings of the item in train", "RMSE by item popularity"
            ),
            "predicted_by_rating": draw(
                self.groups["by_rating"], "predicted", "rating in test", "mean predicted rating", "predicted rating"
            ),
        }
        save_figures(trainer, self.folder, drawn)
        log_table(trainer, "ratings", self.samples)
