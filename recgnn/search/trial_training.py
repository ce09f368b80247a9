"""The training of one trial: `fit`, measured on the validation part only, which can be given up."""

from __future__ import annotations

import io
import math
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer

from recgnn.cli.fitting import FitCLI
from recgnn.errors import ConfigError, did_you_mean
from recgnn.search.space import MISSING, Space

BETTER = {"max": "greater", "min": "smaller"}


class Watch(Callback):
    """Record the metric of each epoch, and stop a training that is given up.

    Args:
        space: tells the metric and its direction.
        give_up: called with the number of values so far and the newest one; True ends the training.
    """

    def __init__(self, space: Space, give_up: Callable[[int, float], bool]):
        self.metric, self.goal = space.metric, space.goal
        self.sign = 1 if space.goal == "maximize" else -1
        self.give_up, self.pruned = give_up, False
        self.history: list[tuple[int, float]] = []  # (epoch, value)
        self.epochs = 0

    @property
    def best(self) -> tuple[int, float] | None:
        """The best epoch and its value; None if nothing was measured."""
        return max(self.history, key=lambda pair: (self.sign * pair[1], -pair[0]), default=None)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        value = float(trainer.callback_metrics[self.metric])
        if trainer.sanity_checking or not math.isfinite(value):
            return
        self.history.append((trainer.current_epoch, value))
        if self.give_up(len(self.history), value):
            self.pruned = trainer.should_stop = True

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.epochs = trainer.current_epoch + 1


class TrialCLI(FitCLI):
    """`fit` with a callback that follows it; the test part is never used.

    Args:
        argv: the options of `fit`.
        watch: the callback.
    """

    def __init__(self, argv: list[str], watch: Watch):
        self.watch = watch
        super().__init__(argv)

    def training_callbacks(self, callbacks: list, checkpoints: Path) -> list:
        return [self.watch, *super().training_callbacks(callbacks, checkpoints)]

    def before_fit(self) -> None:
        """Refuse a metric that is not measured.

        Raises:
            ConfigError: Names those that are.
        """
        known = [name for name in self.model.metric_names if name.startswith("val/")]
        if self.watch.metric not in known:
            hint = did_you_mean(self.watch.metric, known) or f"; there are: {', '.join(known)}"
            raise ConfigError(f"metric {self.watch.metric} is not measured{hint}")
        name, mode = self.model.monitor
        if name == self.watch.metric and not self.watch.goal.startswith(mode):
            raise ConfigError(f"metric {name}: goal is {self.watch.goal}, but this one is better the {BETTER[mode]}")
        if not len(self.datamodule.prepared.val):
            raise ConfigError("a search needs a validation part, and the split leaves none")
        if self.trainer.world_size > 1:
            raise ConfigError(
                "a trial trains on one device; start the same command once a device instead, with one --output"
            )
        self.trainer.limit_test_batches = 0


def train(argv: list[str], folder: Path, watch: Watch) -> None:
    """Train with the options of `fit` into a run folder.

    One device, no dashboard and no simple methods, unless they say otherwise.

    Raises:
        RecGNNError: If an option cannot work.
        KeyboardInterrupt, Terminated: If it was interrupted.
    """
    quiet = ["--trainer.devices=1", "--trainer.logger=false", "--baselines=false"]
    if not sys.stderr.isatty():
        quiet.append("--trainer.enable_progress_bar=false")
    with redirect_stdout(io.StringIO()):
        TrialCLI([*quiet, *argv, f"--run_dir={folder}", "--overwrite=true"], watch)


def value_of(config: Any, name: str) -> Any:
    """Return an option's value in a configuration, with or without `init_args` in its name; MISSING if it has none.

    A class without arguments is its short name, as it is written in a space.
    """
    for part in name.split("."):
        if isinstance(config, dict) and part not in config:
            config = config.get("init_args")
        if not isinstance(config, dict) or part not in config:
            return MISSING
        config = config[part]
    if isinstance(config, dict) and config.keys() == {"class_path"}:
        return config["class_path"].rpartition(".")[2]
    return config
