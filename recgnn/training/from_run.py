"""Training that starts from another run: its parameters and optimizer state, by id, in a model that has grown."""

from __future__ import annotations

from typing import Any

import torch
from lightning import Callback
from torch import Tensor
from torch.optim import Optimizer

from recgnn.data.stored import digest_of, read_json
from recgnn.errors import DataError, RunError, shown
from recgnn.models.base import SIZES, Model
from recgnn.training import novelty
from recgnn.training import run_folder as runs

GROWING = ("num_users", "num_items", "field_dims", "part_sizes")  # sizes that grow with the data
PREFIX = "model."  # of the model's parameters in a training
Dims = tuple[str | None, ...]


class Parent:
    """The run that a training starts from.

    Args:
        path: Its run folder.

    Attributes:
        prepared: Folder of its data, by whose ids its parameters are known.

    Raises:
        RunError: If it is no run, or damaged.
    """

    def __init__(self, path: str) -> None:
        self.given, self.run = path, runs.existing_run(path)
        self.file = runs.best_checkpoint(self.run)
        self.checkpoint = runs.read_checkpoint(self.file)
        self.kind, self.arguments, self.trained = runs.about_model(self.checkpoint, self.file)
        self.prepared = self.run / "vocabulary"

    def check(self, training: Any, data: Any) -> None:
        """Refuse another model than the run's, and data that have nothing new.

        Raises:
            RunError: Names what differs.
            DataError: If there is nothing to train on.
        """
        model = training.model
        own = {"model": f"{type(model).__module__}.{type(model).__qualname__}", "task": model.task} | model.arguments
        then = {"model": self.kind, "task": self.trained.get("task")}
        then |= {name: value for name, value in model.former.items() if name in own} | self.arguments
        for name in dict.fromkeys([*own, *then]):
            if name not in SIZES and own.get(name) != then.get(name):
                raise RunError(
                    f"--from_run {self.given}: its {name} is {shown(then.get(name))}, and the configuration's "
                    f"{shown(own.get(name))}; only the data may be others"
                )
        if not hasattr(model, "solve") and not len(data.fresh):
            raise DataError(
                f"--from_run {self.given}: train has no row that this run was not trained on; give the log of the days "
                "since, and a split that has them in train (--data.split DailySplit)"
            )

    def told(self, data: Any, training: Any) -> str:
        """Tell in a line what is known from the run, what has come since, and what is trained on."""
        counts = ", ".join(f"{old:,} {name} and {new:,} new" for name, (old, new) in self.counts(data).items())
        fresh, total = len(data.fresh), len(data.prepared.train)
        if hasattr(training.model, "solve"):
            return f"from {self.given}: {counts}; solved anew on all {total:,} rows of train"
        graph = "the others are in the graph and among the seen items" if training.reads == "interactions" else \
            "the others are in the histories alone"  # fmt: skip
        rest = f" ({graph})" if fresh < total else ""
        return f"from {self.given}: {counts}; trained on {fresh:,} of {total:,} rows of train, which are new{rest}"

    def counts(self, data: Any) -> dict[str, list[int]]:
        """Return how many users and items, or values of fields, the run knew, and how many are new."""
        names, found = {"num_users": "users", "num_items": "items", "field_dims": "values"}, {}
        for size, rows in data.moved.items():
            if size in names:
                known, total = int((rows >= 0).sum()), getattr(data, size)
                found[names[size]] = [known, (sum(total) if isinstance(total, list) else total) - known]
        return found

    def tested(self) -> dict[str, float]:
        """Return what the run had on its own test part, as far as it is known."""
        results = self.run / "metrics.json"
        return (read_json(results).get("test") or {}) if results.is_file() else {}


class StartFrom(Callback):
    """Gives the model what a run has learnt, before the first epoch; nothing to a model that is solved.

    Args:
        parent: The run.
        measured: Whether the run as it was is measured on the test part, too.

    Attributes:
        before: What that gave.
        notes: What a reader should know.
    """

    def __init__(self, parent: Parent, measured: bool) -> None:
        self.parent, self.measured = parent, measured
        self.before: novelty.Measured | None = None
        self.notes: list[str] = []

    def state_dict(self) -> dict[str, Any]:
        """What was measured, for a run that is continued."""
        return {"before": None if self.before is None else self.before._asdict(), "notes": self.notes}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.notes = list(state_dict["notes"])
        self.before = None if state_dict["before"] is None else novelty.Measured(**state_dict["before"])

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        if trainer.ckpt_path or hasattr(pl_module.model, "solve"):
            return
        moved = {size: torch.from_numpy(rows) for size, rows in trainer.datamodule.moved.items()}
        self.notes += move(pl_module, trainer.optimizers[0], self.parent, moved)
        self.parent.checkpoint = {}  # as large as the model
        pl_module.model.refresh()
        if self.measured:
            self.before = novelty.measure(pl_module, trainer.datamodule)

    def compared(self, training: Any, data: Any) -> tuple[dict[str, Any], list[str]]:
        """Return what metrics.json is to say of the run and of what has been learnt since, and the lines that tell it.

        Args:
            training: The LightningModule, with the best epoch's parameters.
            data: The data module.
        """
        parent = self.parent
        about: dict[str, Any] = {"run": str(parent.run), "checkpoint": parent.file.name}
        about |= {"sha256": digest_of(parent.file)}
        about |= {"known_and_new": parent.counts(data), "trained_on": len(data.fresh)}
        if not self.measured:
            return about, self.notes
        now = novelty.measure(training, data)
        about |= {"now": now._asdict()} | ({} if self.before is None else {"as_it_was": self.before._asdict()})
        lines = novelty.told(self.before, now, training.monitor[0].removeprefix("val/"), parent.given, parent.tested())
        return about, [*self.notes, *lines]


def move(training: Any, optimizer: Optimizer, parent: Parent, rows: dict[str, Tensor]) -> list[str]:
    """Put the parameters, buffers and optimizer state of a run into a training whose model may have grown.

    Args:
        training: The LightningModule.
        optimizer: Its optimizer.
        parent: The run.
        rows: The rows here of its users, items or values, -1 for none, by the name of the size.

    Returns:
        What starts anew, in lines.

    Raises:
        RunError: If a parameter does not fit.
    """
    model, notes = training.model, list[str]()
    earlier = type(model)(**parent.arguments)
    own = model.moved_rows(earlier, rows)
    places = {name: [(d, rows[size]) for d, size in enumerate(dims) if size] for name, dims in grown(model).items()}
    places |= {name: [(0, where)] for name, where in own.items() if where is not None}
    old = {k.removeprefix(PREFIX): v for k, v in parent.checkpoint["state_dict"].items() if k.startswith(PREFIX)}
    now = model.state_dict()
    for name, value in now.items():
        if name in own and own[name] is None:
            notes.append(f"{name} starts anew: its rows are hashed from the values' rows, which have moved")
        elif name in old and (value.is_floating_point() or value.dtype == torch.bool or not places[name]):
            _fits(name, value, old[name], places[name], parent)
            put(value, old[name].to(value), places[name])
    names = {id(p): name.removeprefix(PREFIX) for name, p in training.named_parameters()}
    shapes = {name: value.shape for name, value in old.items()}
    anew = [name for name, where in own.items() if where is None]
    if not _move_optimizer(optimizer, parent.checkpoint, names, shapes, places, anew):
        notes.append("the optimizer starts anew: it is another than the run's")
    return notes


def grown(model: Model) -> dict[str, Dims]:
    """Find which dimensions of a model's parameters and buffers grow with which size, by making small ones of its kind:
    by name, the name of the size or None for each dimension."""
    given = model.arguments
    sizes = [name for name in GROWING if given.get(name) is not None]
    small = {name: 11 if isinstance(given[name], int) else [3] * len(given[name]) for name in sizes}

    def shapes(more: str | None) -> dict[str, torch.Size]:
        arguments = dict(given)
        for name, value in small.items():
            step = int(name == more)
            arguments[name] = value + step if isinstance(value, int) else [*value[:-1], value[-1] + step]
        return {name: value.shape for name, value in type(model)(**arguments).state_dict().items()}

    with torch.random.fork_rng(devices=[]):
        base = shapes(None)
        others = {name: shapes(name) for name in sizes}
    return {
        name: tuple(next((s for s in sizes if others[s][name][d] == n + 1), None) for d, n in enumerate(shape))
        for name, shape in base.items()
    } | {name: () for name in model.state_dict().keys() - base.keys()}


def put(new: Tensor, old: Tensor, moves: list[tuple[int, Tensor]]) -> None:
    """Write an earlier tensor into a grown one, in place.

    Args:
        new: The grown one.
        old: The earlier one.
        moves: Dimensions, and where their entries go, -1 for nowhere; the other dimensions are equal.
    """
    if not moves:
        new.copy_(old)
        return
    (dim, rows), *rest = moves
    kept = (rows >= 0).nonzero().squeeze(1)
    there, old = rows[kept].to(new.device), old.index_select(dim, kept.to(old.device))
    part = new.index_select(dim, there)
    put(part, old, rest)
    new.index_copy_(dim, there, part)


def _fits(name: str, new: Tensor, old: Tensor, moves: list[tuple[int, Tensor]], parent: Parent) -> None:
    wanted = list(new.shape)
    for dim, rows in moves:
        wanted[dim] = len(rows)
    if list(old.shape) != wanted:
        raise RunError(
            f"--from_run {parent.given}: its {name} has the shape {list(old.shape)}, expected {wanted}; the run does "
            "not fit the configuration"
        )


def _move_optimizer(
    optimizer: Optimizer, checkpoint: dict[str, Any], names: dict[int, str], shapes: dict[str, torch.Size],
    places: dict[str, list[tuple[int, Tensor]]], anew: list[str],
) -> bool:  # fmt: skip
    """Put the state of a run's optimizer into a new one; returns whether it is one of the same kind."""
    states = checkpoint.get("optimizer_states") or [{}]
    now, then = optimizer.state_dict(), states[0]
    kinds = [[(sorted(g), len(g["params"])) for g in state.get("param_groups", [])] for state in (now, then)]
    if kinds[0] != kinds[1]:
        return False
    flat = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    found: dict[int, dict[str, Any]] = {}
    for number, state in then["state"].items():
        name = names[id(flat[number])]
        if name in anew:
            continue
        found[number] = dict(state)
        for key, value in state.items():
            if isinstance(value, Tensor) and value.dim() and name in shapes:
                if value.shape != shapes[name][: value.dim()]:  # as wide as the parameter, or a number for each row
                    raise RunError(f"the state {key} of {name} has the shape {list(value.shape)}; the run is damaged")
                found[number][key] = value.new_zeros(flat[number].shape[: value.dim()])
                put(found[number][key], value, [move for move in places[name] if move[0] < value.dim()])
    optimizer.load_state_dict(now | {"state": found})
    return True
