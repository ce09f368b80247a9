"""What a run leaves in its folder beside checkpoints (config.yaml, vocabulary/, metrics.csv), and its epochs' seeds."""

from __future__ import annotations

import os
import time
from dataclasses import fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml
from lightning import Callback

from recgnn.data.shard import epoch_seed
from recgnn.data.stored import YAML, flat, read_json
from recgnn.errors import ConfigError, RunError
from recgnn.files import atomic_path
from recgnn.training import new_run
from recgnn.training.run_folder import BEST

RATES = (".lr", ".table_lr", ".wide_lr", ".wide_l1")  # ends of options that an optimizer keeps


class EpochSeed(Callback):
    """Makes what is drawn in an epoch (dropout, say) follow from the seed, the epoch and the rank alone, so that a
    run continued from an epoch's end is the run that was not interrupted."""

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        torch.manual_seed(epoch_seed(trainer.datamodule.seed, trainer.current_epoch, trainer.global_rank))


class RunFolder(Callback):
    """Writes config.yaml and vocabulary/ when a run starts, and a row of metrics.csv after each epoch.

    Args:
        folder: the run folder.
        config: the whole configuration, as YAML.
        stage: `fit`, or `select` or `refit` for the halves of `fit --refit`.
    """

    def __init__(self, folder: Path, config: str, stage: str = "fit"):
        self.folder, self.config, self.stage = folder, config, stage
        self.rows: list[dict[str, Any]] = []
        self.evaluation_seconds = 0.0
        self.test_reads = 0  # of this run before it was continued

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """The folder's first files (no earlier: all is checked now); statistics into the loggers."""
        stored = self.folder / "vocabulary"
        continued = bool(trainer.ckpt_path) and stored.is_dir()
        if continued:  # on every process: a mistake ends them all
            prepared = trainer.datamodule.prepared
            check_same_data(type(prepared).load(stored), prepared, self.folder)
        if continued and (results := self.folder / "metrics.json").is_file():
            self.test_reads = max(self.test_reads, int(read_json(results).get("test_reads") or 0))
        if trainer.is_global_zero:
            if not trainer.ckpt_path:
                if self.stage == "select":
                    new_run.clear(self.folder.parent)
                new_run.clear(self.folder, selection=self.stage == "fit")
            if not continued:
                trainer.datamodule.prepared.save(stored)
            with atomic_path(self.folder / "config.yaml") as path:
                path.write_text(self.config, encoding="utf-8")
        for logger in trainer.loggers:
            logger.log_hyperparams(yaml.load(self.config, YAML))
        parameters = getattr(trainer.strategy, "num_parameters", None)  # of all processes
        described = {
            "model_name": type(pl_module.model).__name__,
            "data_name": trainer.datamodule.name,
            "task": pl_module.task,
            "parameters": parameters or sum(p.numel() for p in pl_module.model.parameters()),
            "data_statistics": trainer.datamodule.prepared.summary,
        }
        for logger in trainer.loggers:
            logger.log_hyperparams(described)
            if hasattr(logger, "define_metrics"):
                logger.define_metrics({name: mode for name, mode in [pl_module.monitor]})

    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """A run folder may have been moved: the savers' memory of their best files moves with it. Savers of a run that
        goes on from another folder's checkpoint begin anew.

        Raises:
            RunError: if training is to go on and the best checkpoint until then is gone.
        """
        here = os.path.realpath(self.folder / "checkpoints")
        if os.path.dirname(os.path.realpath(trainer.ckpt_path or "")) != here:
            return
        for state in checkpoint["callbacks"].values():
            there = state.get("dirpath") if isinstance(state, dict) else None
            if not there or Path(there).name != "checkpoints":
                continue
            for name in ("dirpath", "best_model_path", "kth_best_model_path", "last_model_path"):
                state[name] = state.get(name, "").replace(there, here, 1)
            moved = {k.replace(there, here, 1): v for k, v in state["best_k_models"].items()}
            state["best_k_models"] = {k: v for k, v in moved.items() if os.path.dirname(k) == here}  # may be removed
            best = Path(state["best_model_path"])
            if trainer.state.fn == "fit" and best == Path(here, BEST) and not best.is_file():
                raise RunError(f"{best}: is gone, and none of the epochs to come may be as good; train the run anew")

    def state_dict(self) -> dict[str, Any]:
        """The rows, so that a continued run has those of its checkpoint; the rates of its optimizer; and how often the
        test part was read."""
        return {"test_reads": self.test_reads, "rows": self.rows, "rates": self.rates_of_optimizer}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the rows back; other rates are refused, since the optimizer and scheduler come with theirs.

        Raises:
            ConfigError: names the first option that would not be obeyed.
        """
        self.rows = [dict(row) for row in state_dict["rows"]]
        self.test_reads = int(state_dict.get("test_reads", 0))
        then, now = state_dict["rates"], self.rates_of_optimizer
        for name in sorted(then.keys() | now.keys()):
            if then.get(name) != now.get(name):
                raise ConfigError(
                    f"--{name.replace('.init_args', '')} is {now.get(name)}, and the run to be continued has "
                    f"{then.get(name)}: its optimizer goes on with that; leave the option as it was, or start a new run"
                )

    @cached_property
    def rates_of_optimizer(self) -> dict[str, Any]:
        """The options that an optimizer or scheduler keeps, by their dotted names."""
        options = flat(yaml.load(self.config, YAML) or {})
        return {n: v for n, v in options.items() if n.startswith(("optimizer", "lr_scheduler")) or n.endswith(RATES)}

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        self.patience = {callback: callback.patience for callback in trainer.early_stopping_callbacks}

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        for callback, patience in self.patience.items():
            callback.patience = patience  # as it is configured now, whatever the checkpoint says
        for callback in trainer.early_stopping_callbacks:  # a run that was stopped early is not continued
            trainer.should_stop |= callback.wait_count >= callback.patience > 0

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        self.started, self.trained, self.evaluation_seconds = time.perf_counter(), 0.0, 0.0
        rates = {f"lr/{i}": o.param_groups[0]["lr"] for i, o in enumerate(trainer.optimizers)}
        self.rates = {"lr": rates["lr/0"]} if len(rates) == 1 else rates  # before a scheduler sets the next epoch's

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        self.trained = time.perf_counter() - self.started - self.evaluation_seconds

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        self.evaluation_started = time.perf_counter()

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        self.evaluation_seconds += time.perf_counter() - self.evaluation_started

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        seconds, validated = self.trained, self.evaluation_seconds > 0
        rest = time.perf_counter() - self.started - seconds  # evaluation, and keeping the best checkpoint
        values = {k: float(v) for k, v in trainer.callback_metrics.items() if not k.endswith("_step")}
        values["train/loss"] = values.pop("train/loss_epoch", values.get("train/loss", float("nan")))
        if not validated:
            values = {k: v for k, v in values.items() if not k.startswith("val/")}
        rates = self.rates
        row = {"epoch": trainer.current_epoch, "step": trainer.global_step, **values, **rates}
        row |= {"seconds": round(seconds, 4), "evaluation_seconds": round(rest, 4)}
        self.rows.append(row)
        for logger in trainer.loggers:
            values = {"time/epoch_seconds": seconds, "epoch": row["epoch"], **rates}
            logger.log_metrics(values, step=trainer.global_step)
        if trainer.is_global_zero:
            (self.folder / "metrics.json").unlink(missing_ok=True)  # of a finished run that goes on
            with atomic_path(self.folder / "metrics.csv") as path:
                pd.DataFrame(self.rows).to_csv(path, index=False)


def check_same_data(stored: Any, now: Any, folder: Path) -> None:
    """Refuse to go on with other data: what was test may have become train.

    Raises:
        RunError: if the parts differ.
    """
    parts = [(part, getattr(stored, part), getattr(now, part)) for part in ("train", "val", "test")]
    old, new = (getattr(prepared, "cold", {}) for prepared in (stored, now))
    for part in sorted(old.keys() & new.keys()):
        parts.append((part, old[part], new[part]))
    for part, old, new in parts:
        columns = [f.name for f in fields(new)]
        if not all(_equal(getattr(old, c), getattr(new, c)) for c in columns if getattr(new, c) is not None):
            raise RunError(
                f"{folder}: was trained on other data: its {part} part has {len(old):,} rows, not the same as "
                f"the {len(new):,} now; use the run's own source, filters and split, or start a new run"
            )


def _equal(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two arrays are the same; those of one file are."""
    files = [getattr(array, "filename", None) for array in (one, other)]
    if None not in files and os.path.samefile(*map(str, files)):
        return True
    return np.array_equal(one, other)
