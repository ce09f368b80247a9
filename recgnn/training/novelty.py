"""What a run that starts from another has forgotten, and what has drifted: metrics on known and new users and items."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from recgnn.data.clicks.encoders import UNKNOWN, Categorical
from recgnn.data.interactions.log import ITEM, USER
from recgnn.evaluation.groups import Group, as_groups
from recgnn.evaluation.metrics.clicks import auc
from recgnn.evaluation.metrics.grouped import GroupedErrors, GroupedRecall, SampledEvents

GROUPS = ("known", "new")
Known = dict[str, Tensor]


class Measured(NamedTuple):
    """A model on the test part: its metrics, and one of them on known and on new users and items, or events."""

    metrics: dict[str, float | None]
    groups: dict[str, list[Group]]


@torch.no_grad()
def measure(training: Any, data: Any) -> Measured:
    """Measure a training's model, as it is now, on the test part; what it has counted before is forgotten.

    Args:
        training: The LightningModule.
        data: The data module, whose `moved` says what was known.
    """
    was = training.training
    training.eval()
    training.model.refresh()
    rows = {name: torch.from_numpy(moved) for name, moved in data.moved.items()}
    kind: Any = {"ranking": Rankings, "rating": Ratings}.get(training.task, Events)
    metrics, groups = training.metrics["test"], kind(training, data, rows)
    for batch in data.test_dataloader():
        groups.update(batch, training.measure("test", batch))
    values = {name: float(value) for name, value in metrics.compute().items()}
    metrics.reset()
    found = {side: [{k: _finite(v) for k, v in g.items()} for g in of] for side, of in groups.compute().items()}
    training.model.refresh()
    training.train(was)
    return Measured({name: _finite(value) for name, value in values.items()}, found)


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def new_ones(size: int, rows: Tensor, device: torch.device) -> Tensor:
    """Return which of `size` rows are new, given those of what was known, -1 for none: [size] int64, 0 or 1; one more
    for row -1, which is new."""
    found = torch.ones(size + 1, dtype=torch.long)
    found[rows[rows >= 0]] = 0
    return found.to(device)


class Rankings:
    """Recall of known and new users, and of labels that are known and new items."""

    def __init__(self, training: Any, data: Any, rows: Known) -> None:
        device, self.k = training.device, training.ks[0]
        users, items = (new_ones(n, rows[name], device)[:-1] for name, n in
                        (("num_users", data.num_users), ("num_items", data.num_items)))  # fmt: skip
        self.recall = GroupedRecall(self.k, users, items, 2, 2).to(device)

    def update(self, batch: Any, answers: dict[str, Any]) -> None:
        """Count the lists of a batch."""
        self.recall.update(batch.users, answers["items"], batch.label_rows, batch.label_items, answers.get("ties"))

    def compute(self) -> dict[str, list[Group]]:
        """Return the recall of known and new users and items."""
        values = {name: value.cpu() for name, value in self.recall.compute().items()}
        return {
            f"{side}s": as_groups(GROUPS, values[f"by_{side}_count"], **{f"recall@{self.k}": values[f"by_{side}"]})
            for side in (USER, ITEM)
        }


class Ratings:
    """Errors on the ratings of known and new users, and of known and new items."""

    def __init__(self, training: Any, data: Any, rows: Known) -> None:
        device = training.device
        sizes = {"users": ("num_users", data.num_users), "items": ("num_items", data.num_items)}
        self.new = {side: new_ones(n, rows[name], device) for side, (name, n) in sizes.items()}
        self.errors = {side: GroupedErrors(2).to(device) for side in sizes}

    def update(self, batch: Any, answers: dict[str, Any]) -> None:
        """Count the errors of a batch."""
        for side, errors in self.errors.items():
            errors.update(answers["predictions"], batch.ratings, self.new[side][getattr(batch, side)])

    def compute(self) -> dict[str, list[Group]]:
        """Return the RMSE of known and new users and items."""
        found = {side: {k: v.cpu() for k, v in errors.compute().items()} for side, errors in self.errors.items()}
        return {side: as_groups(GROUPS, values["count"], rmse=values["rmse"]) for side, values in found.items()}


class Events:
    """AUC (of numbers: RMSE) of the events of known and new users and items; where there are no such fields, of events
    without and with a new value."""

    def __init__(self, training: Any, data: Any, rows: Known) -> None:
        encoders, device = data.prepared.encoders, training.device
        self.task, self.new = training.task, new_ones(sum(data.field_dims), rows["field_dims"], device)
        self.slots: dict[str, list[int]] = {}
        start = 0
        for place, (name, encoder) in enumerate(encoders.encoders.items()):
            if isinstance(encoder, Categorical):
                self.new[start + UNKNOWN] = 1
                if name in (USER, ITEM):
                    self.slots[f"{name}s"] = [slot for slot, field in enumerate(data.slots) if field == place]
            start += encoder.num_rows
        self.slots = self.slots or {"values": list(range(len(data.slots)))}
        self.sample = SampledEvents().to(device)

    def update(self, batch: Any, answers: dict[str, Any]) -> None:
        """Count the logits of a batch."""
        new = self.new[batch.ids.long()]
        code = torch.stack([new[:, slots].amax(1) << place for place, slots in enumerate(self.slots.values())]).sum(0)
        self.sample.update(answers["logits"], batch.labels, code, None)

    def compute(self) -> dict[str, list[Group]]:
        """Return the metrics of events with known and with new users and items."""
        logits, labels, codes, *_ = self.sample.compute()
        found = {}
        for place, side in enumerate(self.slots):
            of = [(logits[own], labels[own]) for value in (0, 1) for own in [(codes >> place & 1) == value]]
            counts = torch.tensor([len(y) for _, y in of])
            name = "auc" if self.task == "clicks" else "rmse"
            values = [auc(x, y) if name == "auc" else (x - y).square().mean().sqrt() for x, y in of]
            found[side] = as_groups(GROUPS, counts, **{name: torch.stack(values)})
        return found


def told(before: Measured | None, now: Measured, name: str, run: str, earlier: dict[str, Any]) -> list[str]:
    """Tell, in two lines at most, how the run compares with that it starts from.

    Args:
        before: What the earlier run had on this test part; None for a model that is solved anew.
        now: What this one has.
        name: The metric that chooses the best epoch.
        run: The earlier run.
        earlier: What that had on its own test part.
    """
    lines = []
    if before is not None:
        values = (earlier.get(name), before.metrics.get(name), now.metrics.get(name))
        own, there, here = ("–" if value is None else f"{value:.4f}" for value in values)
        lines.append(f"{name}: {here} here, {there} with {run} as it was, which had {own} on its own test part (drift)")
    parts = []
    for side, groups in now.groups.items():
        metric = next(key for key in groups[0] if key not in ("group", "rows"))
        for place, group in enumerate(groups):
            then = None if before is None else before.groups[side][place][metric]
            if group["rows"]:
                was = "" if then is None else f" (was {then:.4f}{_forgotten(then, group[metric], metric, place)})"
                shown = "–" if group[metric] is None else f"{group[metric]:.4f}"
                parts.append(f"{group['group']} {side} {shown}{was}")
    return [*lines, f"{metric}: {', '.join(parts)}"] if parts else lines


def _forgotten(then: float, now: float | None, metric: str, place: int) -> str:
    """Return `: forgotten` where known ones (place 0) have become worse."""
    worse = now is not None and (now > then if metric == "rmse" else now < then)
    return ": forgotten" if place == 0 and worse else ""
