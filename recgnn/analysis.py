"""A closer look at the test part: figures by group, and samples of what was recommended or predicted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_only

from recgnn import figures
from recgnn.metrics import ClickSample, GroupedErrors, GroupedRecall, auc, quantile_groups

NUM_GROUPS, NUM_SAMPLES, NUM_LEVELS, NUM_VALUES, NUM_PAST = 5, 20, 10, 24, 25


class RecommendationReport(Callback):
    """Looks at the test's recommendations: recall by user activity and by item popularity as figures, and a table
    of sample users with what they liked, what they were shown and what of it was right.

    Args:
        folder: where figures/ goes; None leaves no files.
    """

    def __init__(self, folder: Path | None):
        self.folder = folder
        self.samples: list[dict[str, Any]] = []
        self.groups: dict[str, list[dict[str, Any]]] = {}

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        data = trainer.datamodule
        users, items = data.pairs("train")
        self.k, self.samples = pl_module.ks[0], []
        user_groups, self.user_labels = quantile_groups(torch.bincount(users, minlength=data.num_users), NUM_GROUPS)
        item_groups, self.item_labels = quantile_groups(torch.bincount(items, minlength=data.num_items), NUM_GROUPS)
        self.recall = GroupedRecall(
            self.k, user_groups, item_groups, len(self.user_labels), len(self.item_labels)
        ).to(pl_module.device)

    def on_test_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0) -> None:
        self.recall.update(batch.users, outputs["items"], batch.label_rows, batch.label_items)
        if batch_idx == 0 and trainer.is_global_zero:
            self.samples = self._samples(trainer.datamodule.prepared, outputs["items"], batch)

    def _samples(self, prepared, items: torch.Tensor, batch) -> list[dict[str, Any]]:
        def names(rows: torch.Tensor) -> list[str]:
            titles = prepared.items.title(rows.cpu().numpy())
            return [str(x) for x in (prepared.items.decode(rows.cpu().numpy()) if titles is None else titles)]

        samples = []
        for row in range(min(NUM_SAMPLES, batch.users.numel())):
            right = batch.label_items[batch.label_rows == row]
            shown = items[row, :10]
            shown = shown[shown < prepared.num_items]
            samples.append(
                {
                    "user": str(prepared.users.decode(batch.users[row : row + 1].cpu().numpy())[0]),
                    "history": " | ".join(names(batch.seen_items[batch.seen_rows == row][:10])),
                    "recommended": " | ".join(names(shown)),
                    "hits": " | ".join(names(shown[torch.isin(shown, right)])),
                    "number of hits": int(torch.isin(shown, right).sum()),
                }
            )
        return samples

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # all processes take part; torchmetrics makes a scalar of a single group
        values = {k: v.reshape(-1).tolist() for k, v in self.recall.compute().items()}
        name = f"recall@{self.k}"
        self.groups = {
            "by_activity": as_groups(self.user_labels, values["by_user_count"], **{name: values["by_user"]}),
            "by_popularity": as_groups(self.item_labels, values["by_item_count"], **{name: values["by_item"]}),
        }
        if not trainer.is_global_zero:
            return
        drawn = {
            "recall_by_activity": draw(
                self.groups["by_activity"], name, "interactions of the user in train", f"{name} by user activity"
            ),
            "recall_by_popularity": draw(
                self.groups["by_popularity"], name, "interactions of the item in train", f"{name} by item popularity"
            ),
        }
        save_figures(trainer, self.folder, drawn)
        log_table(trainer, "recommendations", self.samples)


class RatingReport(Callback):
    """Looks at the test's ratings: RMSE and MAE by user activity and by item popularity, the mean prediction of each
    rating, and a table of samples.

    Args:
        folder: where figures/ goes; None leaves no files.
    """

    def __init__(self, folder: Path | None):
        self.folder = folder
        self.samples: list[dict[str, Any]] = []
        self.groups: dict[str, list[dict[str, Any]]] = {}

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

    def _add(self, name: str, labels: list[str], of: torch.Tensor | None, pl_module: LightningModule) -> None:
        self.labels[name], self.errors[name] = labels, GroupedErrors(len(labels)).to(pl_module.device)
        self.of[name] = None if of is None else of.to(pl_module.device)

    def on_test_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0) -> None:
        predictions, ratings = outputs["predictions"], batch.ratings
        self.errors["by_activity"].update(predictions, ratings, self.of["by_activity"][batch.users])
        self.errors["by_popularity"].update(predictions, ratings, self.of["by_popularity"][batch.items])
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
        if not trainer.is_global_zero:
            return
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


class CTRReport(Callback):
    """Looks at the test's probabilities: ROC, precision and recall, calibration, and AUC by the values of a field.

    Args:
        folder: where figures/ goes; None leaves no files.
    """

    def __init__(self, folder: Path | None):
        self.folder = folder
        self.groups: dict[str, list[dict[str, Any]]] = {}

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.sample = ClickSample().to(pl_module.device)
        self.field = trainer.datamodule.reported_field()
        self.attended: list[pd.DataFrame] = []

    def on_test_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0) -> None:
        of = torch.zeros_like(batch.labels) if self.field is None else batch.ids[:, self.field.slot] - self.field.start
        self.sample.update(outputs["logits"], batch.labels, of)
        if batch_idx == 0 and trainer.is_global_zero and hasattr(pl_module, "attention") and batch.history is not None:
            self.attended = attended(trainer.datamodule, pl_module, batch)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        logits, labels, of = (x.cpu() for x in self.sample.compute())  # all processes take part
        if not trainer.is_global_zero or not 0 < labels.float().mean() < 1:
            return
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


class NumberReport(Callback):
    """Looks at the test's numbers: the mean prediction by the label, in groups of about equally many events.

    Args:
        folder: where figures/ goes; None leaves no files.
    """

    def __init__(self, folder: Path | None):
        self.folder = folder
        self.groups: dict[str, list[dict[str, Any]]] = {}

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.sample = ClickSample().to(pl_module.device)

    def on_test_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0) -> None:
        self.sample.update(outputs["logits"], batch.labels, torch.zeros_like(batch.labels))

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        predicted, labels, _ = (x.cpu() for x in self.sample.compute())  # all processes take part
        if not trainer.is_global_zero:
            return
        levels = labels.quantile(torch.linspace(0, 1, NUM_LEVELS)) if len(labels) < 2**24 else labels[:NUM_LEVELS]
        levels = levels.unique()
        errors = GroupedErrors(len(levels))
        errors.update(predicted, labels, (labels[:, None] - levels).abs().argmin(1))
        values = {k: v.reshape(-1).tolist() for k, v in errors.compute().items()}
        groups = as_groups([f"{float(x):.3g}" for x in levels], values.pop("count"), **values)
        self.groups = {"by_label": groups}
        figure = draw(groups, "predicted", "label", "mean prediction by label", "prediction")
        save_figures(trainer, self.folder, {"predicted_by_label": figure})


REPORTS = {  # by a model's task
    "ranking": RecommendationReport,
    "rating": RatingReport,
    "ctr": CTRReport,
    "regression": NumberReport,
}


def as_groups(labels: list[str], counts: list[int], **values: list[float]) -> list[dict[str, Any]]:
    """A record per group: its label, how many rows it stands on, and its values; None where it is empty."""
    return [
        {"group": label, "rows": int(n)} | {k: v[i] if n else None for k, v in values.items()}
        for i, (label, n) in enumerate(zip(labels, counts, strict=True))
    ]


def draw(groups: list[dict[str, Any]], value: str, xlabel: str, title: str, ylabel: str | None = None):
    """A bar per group."""
    heights = [float("nan") if g[value] is None else g[value] for g in groups]
    labels, rows = [g["group"] for g in groups], [g["rows"] for g in groups]
    return figures.group_bars(heights, rows, labels, xlabel, title, ylabel or value.partition("@")[0])


def log_table(trainer: Trainer, name: str, rows: list[dict[str, Any]]) -> None:
    """A table into every logger that takes tables."""
    for logger in trainer.loggers:
        if hasattr(logger, "log_table") and rows:
            logger.log_table(name, pd.DataFrame(rows))


@rank_zero_only
def save_figures(trainer: Trainer, folder: Path | None, drawn: dict[str, Any]) -> None:
    """Figures into figures/*.png and into every logger that takes figures."""
    for name, figure in drawn.items():
        if folder is not None:
            figures.save(figure, folder / "figures" / f"{name}.png")
        for logger in trainer.loggers:
            if hasattr(logger, "log_figure"):
                logger.log_figure(f"figures/{name}", figure)
