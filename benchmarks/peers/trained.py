"""What recgnn's sides share: how long the Trainer's epochs take."""

from __future__ import annotations

import harness
from lightning import Callback, Trainer

from recgnn.training.callbacks import EpochSeed
from recgnn.training.progress import EpochProgress


class Clock(Callback):
    """The wall and CPU seconds of all epochs, each from before its first batch to behind its last."""

    def __init__(self):
        self.total, self.span = harness.Span(), harness.Span()

    def on_train_epoch_start(self, trainer, pl_module) -> None:
        self.span.start()

    def on_train_epoch_end(self, trainer, pl_module) -> None:
        self.span.stop()
        self.total.wall, self.total.cpu = self.total.wall + self.span.wall, self.total.cpu + self.span.cpu


def fit(model, data, epochs: int, precision: str = "32-true") -> harness.Span:
    """Trains with the seeding callback and the progress bar, without evaluation, checkpoints and loggers."""
    clock = Clock()
    trainer = Trainer(
        max_epochs=epochs,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        precision=precision,
        callbacks=[EpochSeed(), EpochProgress(), clock],
    )
    trainer.fit(model, datamodule=data)
    return clock.total
