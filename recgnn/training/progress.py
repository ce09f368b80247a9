"""The progress of a training: a bar on a terminal, lines of epochs elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Any

from lightning import Trainer
from lightning.pytorch.callbacks import ProgressBar
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


class EpochProgress(ProgressBar):
    """One bar per run: the epoch's steps, and behind it the loss, the validation metric and its best value.

    Without a terminal an epoch has a line if it is better than those before, or if the last line is a while ago.
    """

    INTERVAL = 0.2  # seconds between redraws: the bar costs nothing however short the steps
    WHILE = 10.0  # seconds without a line

    def __init__(self):
        super().__init__()
        self.is_enabled = True
        self.bar: Progress | None = None
        self.best: tuple[float, int] | None = None
        self.drawn = self.told = 0.0
        self.validated = False

    def enable(self) -> None:
        self.is_enabled = True

    def disable(self) -> None:
        self.is_enabled = False

    def _open(self, trainer: Trainer, text: str, total: float) -> None:
        if not self.is_enabled or not trainer.is_global_zero or not sys.stderr.isatty():
            return
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}"),
            console=Console(stderr=True),
            transient=True,
        )
        self.task = self.bar.add_task(text, total=total, note="")
        self.bar.start()

    def _close(self) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = None

    def _step(self, done: int) -> None:
        now = time.monotonic()
        if self.bar is not None and now - self.drawn > self.INTERVAL:
            self.drawn = now
            self.bar.update(self.task, completed=done)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self._open(trainer, "training", self.total_train_batches)

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        self.started = time.monotonic()
        if self.bar is not None:
            last = trainer.max_epochs if trainer.max_epochs != -1 else "∞"
            self.bar.reset(
                self.task, total=self.total_train_batches, description=f"epoch {trainer.current_epoch}/{last}"
            )

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        self._step(batch_idx + 1)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        values = trainer.callback_metrics
        loss = "loss with L2" if pl_module.l2 else "loss"
        note = [f"{loss} {values['train/loss_epoch']:.4f}"] if "train/loss_epoch" in values else []
        (name, mode), better, now = pl_module.monitor, False, time.monotonic()
        if name in values and self.validated:
            self.validated = False
            value, epoch = float(values[name]), trainer.current_epoch
            better = self.best is None or (value > self.best[0] if mode == "max" else value < self.best[0])
            best = self.best = (value, epoch) if better or self.best is None else self.best
            note.append(f"{name} {value:.4f} (best {best[0]:.4f}, epoch {best[1]})")
        if self.bar is not None:
            self.bar.update(self.task, note="  ".join(note))
        elif self.is_enabled and trainer.is_global_zero and not sys.stderr.isatty():
            if better or now - self.told > self.WHILE:
                self.told, text = now, f"epoch {trainer.current_epoch}: {'  '.join(note)}  {now - self.started:.1f} s"
                print(text, file=sys.stderr, flush=True)

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        self.validated = True

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        self._close()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        self._close()

    def on_test_start(self, trainer: Any, pl_module: Any) -> None:
        total = trainer.num_test_batches[0] if trainer.num_test_batches else 0
        self._open(trainer, "testing", total)

    def on_test_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0) -> None:
        self._step(batch_idx + 1)

    def on_test_end(self, trainer: Any, pl_module: Any) -> None:
        self._close()

    def state_dict(self) -> dict[str, Any]:
        return {"best": list(self.best) if self.best else None}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best = tuple(state_dict["best"]) if state_dict.get("best") else None
