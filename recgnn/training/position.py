"""A run that is stopped inside an epoch goes on there: which rows were visited, and what was drawn."""

from __future__ import annotations

from typing import Any

import torch
from lightning import Callback
from lightning.pytorch.callbacks import ModelCheckpoint

from recgnn.data.shard import Position, Steps
from recgnn.data.stored import reading

KEY = "position"  # in a checkpoint


class EpochPosition(Callback):
    """Keeps in a checkpoint that is written inside an epoch which of its rows all processes have visited, and the state
    of their random numbers.

    Any number of processes goes on with the rows that are left, each of which is visited once. As many processes as
    before, with batches of the same size, go on as they would have.
    """

    stopped = False  # inside the epoch that goes on
    saved: dict[str, Any] | None = None  # of this process, until the first step
    reloading: int | None = None  # how often the loaders are made anew otherwise

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        loops, loader = trainer.fit_loop, trainer.train_dataloader
        progress, epochs = loops.epoch_loop.batch_progress, loops.epoch_progress.current
        steps = progress.current.processed
        if not steps or progress.is_last_batch or epochs.processed != epochs.completed:
            return  # between two epochs
        if not hasattr(trainer.datamodule, "epoch_position") or not hasattr(loader, "now"):
            return
        shard = trainer.datamodule.shard()
        done = shard.and_then(loader.batch_size, steps - shard.taken)
        own = getattr(loader, "own", None)
        logged = loops.epoch_loop._results.items()  # the sums of what is logged by epoch
        mine = {
            "own": None if own is None else own.get_state(),
            "random": torch.get_rng_state(),
            "device": torch.cuda.get_rng_state() if shard.device.type == "cuda" else None,
            "total": torch.as_tensor(pl_module.total, device="cpu"),
            "logged": {k: [m.value.cpu(), m.cumulated_batch_size.cpu()] for k, m in logged if m.meta.is_mean_reduction},
        }
        ranks = [mine] * trainer.world_size
        if trainer.world_size > 1:
            torch.distributed.all_gather_object(ranks, mine)
        found = {"epoch": trainer.current_epoch, "seed": shard.seed, "done": [list(steps) for steps in done]}
        checkpoint[KEY] = found | {"ranks": ranks}

    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        if KEY not in checkpoint or trainer.state.fn != "fit" or not hasattr(trainer.datamodule, "epoch_position"):
            return
        with reading(trainer.ckpt_path, "says where its epoch goes on, and that cannot be read"):
            stored = checkpoint[KEY]
            done = tuple(Steps(*map(int, steps)) for steps in stored["done"])
            ranks = stored["ranks"]
            self.saved = dict(ranks[trainer.global_rank]) if len(ranks) == trainer.world_size else {}
            epoch, seed = int(stored["epoch"]), int(stored["seed"])
            trainer.datamodule.epoch_position = Position(epoch, done, seed, self.saved.get("own"))
            self.stopped = True

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        if self.reloading is not None:
            trainer.reload_dataloaders_every_n_epochs, self.reloading = self.reloading, None

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        if self.stopped:  # the next epoch may have another number of steps
            self.stopped, trainer.datamodule.epoch_position = False, None
            self.reloading, trainer.reload_dataloaders_every_n_epochs = trainer.reload_dataloaders_every_n_epochs, 1

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if self.saved is None:
            return
        for hooks in (*trainer.callbacks, pl_module):  # which Lightning does not call where an epoch goes on
            hooks.on_train_epoch_start(*(() if hooks is pl_module else (trainer, pl_module)))
        if not self.saved:
            return
        with reading(trainer.ckpt_path, "its random numbers cannot be read"):
            torch.set_rng_state(self.saved["random"])
            pl_module.total = self.saved["total"].to(pl_module.device)
            if self.saved["device"] is not None and pl_module.device.type == "cuda":
                torch.cuda.set_rng_state(self.saved["device"])

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self.saved is None:
            return
        results, logged, self.saved = trainer.fit_loop.epoch_loop._results, self.saved.get("logged", {}), None
        for name in logged.keys() & results.keys():
            value, size = (x.to(results[name].value.device) for x in logged[name])
            results[name].value, results[name].cumulated_batch_size = (
                value + results[name].value,
                size + results[name].cumulated_batch_size,
            )


class LastInEpoch(ModelCheckpoint):
    """Writes last.ckpt inside epochs, every so many steps or so much time; at an epoch's end another writes it.

    Args:
        given: The `ModelCheckpoint` of the configuration, with `every_n_train_steps` or `train_time_interval`.
        folder: The folder of the checkpoints.
    """

    def __init__(self, given: ModelCheckpoint, folder: Any):
        steps, interval = given._every_n_train_steps or None, given._train_time_interval
        super().__init__(
            folder, "last", every_n_train_steps=steps, train_time_interval=interval, enable_version_counter=False
        )  # fmt: skip

    @staticmethod
    def is_meant_by(callback: Any) -> bool:
        """Whether a callback of the configuration asks for it: a saver by steps or time that watches nothing and has no
        name of its own."""
        return (
            isinstance(callback, ModelCheckpoint) and callback.monitor is None and callback.filename is None
            and callback.dirpath is None and bool(callback._every_n_train_steps or callback._train_time_interval)
        )  # fmt: skip

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if not trainer.is_last_batch and (batch_idx + 1) % trainer.accumulate_grad_batches == 0:
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
