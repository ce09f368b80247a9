"""A closer look at the predicted ratings or numbers of the test part."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pandas as pd
import torch
from torch import Tensor

from recgnn.evaluation.groups import NUM_GROUPS, as_groups, quantile_groups
from recgnn.evaluation.metrics.grouped import GroupedErrors, SampledEvents
from recgnn.evaluation.reports.clicks import raw_groups
from recgnn.evaluation.reports.common import (
    NUM_SAMPLES,
    Report,
    draw,
    flat,
    log_table,
    save_figures,
    save_users,
)

NUM_LEVELS = 10


class Levels:
    """At most ten numbers that stand for the labels near them: the labels themselves, or their quantiles."""

    def __init__(self, labels: Tensor) -> None:
        self.values = labels.unique()
        if self.values.numel() > NUM_LEVELS:
            some = labels[:: labels.numel() // 2**24 + 1]  # torch's quantile takes no more
            self.values = some.quantile(torch.linspace(0, 1, NUM_LEVELS, device=some.device)).unique()
        self.names = [f"{float(value):.3g}" for value in self.values]

    def nearest(self, labels: Tensor) -> Tensor:
        """Find the level of each label: [n] -> [n]."""
        return torch.bucketize(labels, (self.values[1:] + self.values[:-1]) / 2)


class Grouping(NamedTuple):
    """Errors by group: the groups' labels, the group of each row of a batch, and what was counted."""

    labels: list[str]
    group_of: Callable[[Any], Tensor]
    errors: GroupedErrors


def error_groups(labels: list[str], errors: dict[str, Tensor]) -> list[dict[str, Any]]:
    """Make a record of each group from its errors."""
    return as_groups(labels, errors["count"], **{name: errors[name] for name in ("predicted", "rmse", "mae")})


def save_errors(report: Report, users: Any, errors: dict[str, Tensor]) -> None:
    """Write the mean squared and the mean absolute error of each user, [n] each."""
    values = {"mse": errors["rmse"].square(), "mae": errors["mae"], "rows": errors["count"]}
    save_users(report.folder, users, values)


class RatingReport(Report):
    """Look at the test's ratings.

    Draws RMSE by user activity and by item popularity and the mean prediction of each rating; makes a table of samples;
    and writes the errors of each user of the training data.
    """

    def on_test_start(self, trainer, pl_module) -> None:
        data, device = trainer.datamodule, pl_module.device
        self.samples, self.groupings = pd.DataFrame(), dict[str, Grouping]()

        def add(name: str, labels: list[str], group_of: Callable[[Any], Tensor]) -> None:
            self.groupings[name] = Grouping(labels, group_of, GroupedErrors(len(labels)).to(device))

        def of_column(rows: Tensor, size: int) -> tuple[list[str], Tensor]:
            groups, labels = quantile_groups(torch.bincount(rows, minlength=size), NUM_GROUPS)
            return ["0", *labels], torch.cat([groups + 1, groups.new_zeros(1)]).to(device)  # row -1, the last, is new

        users, items = data.pairs("train")
        labels, of_user = of_column(users, data.num_users)
        add("by_activity", labels, lambda batch: of_user[batch.users])
        labels, of_item = of_column(items, data.num_items)
        add("by_popularity", labels, lambda batch: of_item[batch.items])
        levels = Levels(data.ratings("train").to(device))
        add("by_rating", levels.names, lambda batch: levels.nearest(batch.ratings))
        self.users = GroupedErrors(data.num_users + 1).to(device)  # the last: new users

    def on_test_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0) -> None:
        predictions = outputs["predictions"]
        for grouping in self.groupings.values():
            grouping.errors.update(predictions, batch.ratings, grouping.group_of(batch))
        self.users.update(predictions, batch.ratings, batch.users % len(self.users.count))
        if batch_idx == 0 and trainer.is_global_zero:
            self.samples = self._samples(trainer.datamodule.prepared, predictions, batch)

    def _samples(self, prepared: Any, predictions: Tensor, batch: Any) -> pd.DataFrame:
        known = ((batch.users >= 0) & (batch.items >= 0)).nonzero().squeeze(1).cpu()
        rows = known[torch.linspace(0, known.numel() - 1, min(NUM_SAMPLES, known.numel())).long()]
        user, item, rating, predicted = (
            column.cpu()[rows].numpy() for column in (batch.users, batch.items, batch.ratings, predictions)
        )
        titles = prepared.items.title(item)
        columns = {"user": prepared.users.decode(user).astype(str), "item": prepared.items.decode(item).astype(str)}
        columns |= {} if titles is None else {"title": titles}
        return pd.DataFrame(columns | {"rating": rating, "predicted": predicted})

    def on_test_end(self, trainer, pl_module) -> None:
        computed = {name: flat(grouping.errors.compute()) for name, grouping in self.groupings.items()}
        errors = flat(self.users.compute())  # all processes take part
        if not trainer.is_global_zero:
            return
        for name, values in computed.items():
            groups = error_groups(self.groupings[name].labels, values)
            if name != "by_rating":  # the mean prediction of a group of users tells nothing; no new ones, no group
                groups = [{k: v for k, v in group.items() if k != "predicted"} for group in groups]
                groups = groups if groups[0]["rows"] else groups[1:]
            self.groups[name] = groups
        rows = errors["count"][:-1].nonzero().squeeze(1)
        users = trainer.datamodule.prepared.users.decode(rows.numpy())
        save_errors(self, users, {name: value[rows] for name, value in errors.items()})
        drawn = {
            f"rmse_by_{by}": draw(
                self.groups[f"by_{by}"], "rmse", f"ratings of the {side} in train", f"RMSE by {side} {by}"
            )
            for side, by in (("user", "activity"), ("item", "popularity"))
        }
        drawn["predicted_by_rating"] = draw(
            self.groups["by_rating"], "predicted", "rating in test", "mean predicted rating", "predicted rating"
        )
        save_figures(trainer, self.folder, drawn)
        log_table(trainer, "ratings", self.samples)


class RegressionReport(Report):
    """Look at the test's numbers.

    Draws the mean prediction by the label, and writes the errors of each group (user), where there are at most about
    4 million events a process.
    """

    def on_test_start(self, trainer, pl_module) -> None:
        self.sample = SampledEvents().to(pl_module.device)

    def on_test_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0) -> None:
        self.sample.update(outputs["logits"], batch.labels, None, batch.groups)

    def on_test_end(self, trainer, pl_module) -> None:
        sample = self.sample.compute()  # all processes take part
        if not trainer.is_global_zero or not sample.labels.numel():
            return

        def errors_by(group: Tensor, size: int) -> dict[str, Tensor]:
            errors = GroupedErrors(size).to(group.device)
            errors.update(sample.predictions, sample.labels, group)
            return flat(errors.compute())

        if sample.complete and sample.groups.min() >= 0:
            users, group = sample.groups.unique(return_inverse=True)
            raw = raw_groups(trainer.datamodule.prepared, users.cpu().numpy())
            save_errors(self, raw, errors_by(group, users.numel()))
        levels = Levels(sample.labels)
        groups = error_groups(levels.names, errors_by(levels.nearest(sample.labels), len(levels.names)))
        self.groups = {"by_label": groups}
        figure = draw(groups, "predicted", "label", "mean prediction by label", "prediction")
        save_figures(trainer, self.folder, {"predicted_by_label": figure})
