"""Simple methods on the data of a click run, which tell whether a model is worth its training."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from scipy.special import logit
from torch import Tensor

from recgnn.data.clicks.encoders import MISSING
from recgnn.data.clicks.loaders import EventBatches
from recgnn.data.clicks.number_encoders import Numeric
from recgnn.data.clicks.prepared import EventPart, PreparedEvents
from recgnn.data.shard import Shard
from recgnn.models.lr import LR
from recgnn.training.base import Training
from recgnn.training.clicks import ClickTraining
from recgnn.training.report import advice

PASSES, PATIENCE = 30, 3  # of LR over train
TREES, WAIT = 1000, 50  # of LightGBM
Values = dict[str, float | None]
Score = Callable[[str], Tensor]


def beside(
    data: Any, like: Training, parts: Sequence[str], more: bool | None, chosen: dict[str, Any]
) -> dict[str, dict[str, Any]]:
    """Measure simple methods beside a run: the constant rate, and others if asked.

    Args:
        data: a `CTRDataModule`.
        like: the training of the run, which says what is measured.
        parts: where, of `val` and `test`.
        more: whether LR and LightGBM are fitted, too.
        chosen: not used: these methods have no settings to choose.
    """
    return {"constant": constant(data, like, parts)} | (simple_methods(data, like, parts) if more else {})


def constant(data: Any, like: Training, parts: Sequence[str]) -> dict[str, Any]:
    """Measure the mean label of train as everybody's probability.

    Args:
        data: a `CTRDataModule`.
        like: the training of the run, which says what is measured.
        parts: where, of `val` and `test`.

    Returns:
        The metrics by part.
    """
    train = data.prepared.train
    value = float(logit(np.average(train.labels, weights=train.weights)))
    return measured(data, like, parts, lambda part: torch.full((len(getattr(data.prepared, part)),), value))


def simple_methods(data: Any, like: Training, parts: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Fit LR and, where it is installed, LightGBM to the encoded train part, stopped on validation, and measure them.

    Args:
        data: a `CTRDataModule`.
        like: the training of the run, which says what is measured.
        parts: where, of `val` and `test`.
    """
    found = {"lr": measured(data, like, parts, fitted_lr(data))}
    if find_spec("lightgbm") is not None:
        found["lightgbm"] = measured(data, like, parts, fitted_trees(data))
    return found


def measured(data: Any, like: Training, parts: Sequence[str], score: Score) -> dict[str, Values]:
    """Measure logits of parts by the metrics of a run."""
    found: dict[str, Values] = {}
    where = data.shard().device  # so that processes can gather them
    for part in parts:
        rows, metrics = getattr(data.prepared, part), like.metrics[part].to(where)
        columns = (torch.from_numpy(np.array(x)) for x in (rows.labels, rows.groups, rows.weights) if x is not None)
        labels, *others = (column.to(where) for column in columns)
        groups = others.pop(0) if rows.groups is not None else None
        metrics.update(score(part).to(where), labels, groups, *others)
        values = {name: float(value) for name, value in metrics.compute().items()}
        found[part] = {name: value if math.isfinite(value) else None for name, value in values.items()}
        metrics.reset()
    return found


def fitted_lr(data: Any) -> Score:
    """Train logistic regression with its own defaults until validation no longer improves."""
    prepared, epoch = data.prepared, [0]
    model = LR(data.field_dims, data.slots)
    training = ClickTraining(model)
    size, _ = data.usual_pace()
    model.l2 = LR.prior / len(prepared.train)
    optimizer = training.configure_optimizers()
    batches = EventBatches(prepared, "train", size, lambda: Shard(epoch=epoch[0]))

    @torch.no_grad()
    def score(part: str) -> Tensor:
        rows = EventBatches(prepared, part, data.eval_batch_size, Shard)
        return torch.cat([model.logits(batch) for batch in rows])

    best, state = math.inf, model.state_dict()
    for epoch[0] in range(PASSES):
        for batch in batches:
            optimizer.zero_grad()
            outputs = model.outputs(batch)
            (training.data_loss(batch, outputs) + training.penalty(batch, outputs)).backward()
            optimizer.step()
        labels = torch.from_numpy(np.array(prepared.val.labels))
        loss = float(training.loss(score("val"), labels).mean()) if len(labels) else -epoch[0]
        if loss < best:
            best, since, state = loss, 0, {name: value.clone() for name, value in model.state_dict().items()}
        elif (since := since + 1) == PATIENCE:
            break
    model.load_state_dict(state)
    return score


def fitted_trees(data: Any) -> Score:
    """Fit LightGBM to the encoded rows: the place of a category in order of frequency, a number as it is encoded."""
    import lightgbm

    prepared = data.prepared
    sets: list[Any] = []
    for part in (prepared.train, prepared.val):
        reference = sets[0] if sets else None
        sets.append(lightgbm.Dataset(table_of(prepared, part), part.labels, reference, part.weights))
    options = {"objective": "binary", "metric": "binary_logloss", "verbosity": -1, "seed": 42}
    options |= {"num_threads": torch.get_num_threads(), "deterministic": True}
    stop: list[Any] = [lightgbm.early_stopping(WAIT, verbose=False)] if len(prepared.val) else []
    trees = lightgbm.train(options, sets[0], TREES if stop else 100, sets[1:] if stop else None, callbacks=stop)

    def score(part: str) -> Tensor:
        return torch.from_numpy(trees.predict(table_of(prepared, getattr(prepared, part)), raw_score=True)).float()

    return score


def table_of(prepared: PreparedEvents, part: EventPart) -> np.ndarray:
    """Return events as trees take them: a column for each slot with the row of its field, or with the number; NaN where
    there is none, [n, S]."""
    found = np.array(part.ids, dtype=np.float32)
    weighted, own, start, slot = prepared.encoders.weighted, 0, 0, 0
    for encoder in prepared.encoders.encoders.values():
        for place in range(slot, slot + encoder.num_slots):
            found[:, place] -= start
            if weighted[place] and part.values is not None:
                x = part.values[:, own]
                if isinstance(encoder, Numeric):
                    found[:, place] = np.where(found[:, place] == MISSING, np.nan, x)
                else:
                    found[:, place] = np.where(x == 0, np.nan, found[:, place])
                own += 1
        start, slot = start + encoder.num_rows, slot + encoder.num_slots
    return found


def remarks(content: dict[str, Any], like: Training) -> list[str]:
    """Say where a run is worse than the constant rate or than LR, and what to try.

    Args:
        content: metrics.json, with `baselines`.
        like: the training of the run.
    """
    part = "val" if content["val"] else "test"
    own, others, where = content[part], content.get("baselines", {}), "validation" if part == "val" else "test"
    found = []
    if (entropy := own.get("ne")) is not None and entropy > 1:
        found.append(
            f"on {where} the normalised entropy is {entropy:.3f}: the probabilities are worse than the mean label for "
            "everybody; try --training.calibrate platt, a larger --training.l2, or --data.epochs_per_pass 4"
        )
    simple = others.get("lr", {}).get(part, {}).get("auc")
    if own.get("auc") is not None and simple is not None and own["auc"] < simple:
        usual = "try a larger --training.l2" + " or --model.dropout" * ("dropout" in like.model.arguments)
        found.append(
            f"on {where} the AUC is {own['auc']:.4f}, below that of LR ({simple:.4f}): {advice(content, usual)}, or "
            "--model LR"
        )
    return found
