"""What a run shows and leaves behind."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_only

from recgnn import figures, runs
from recgnn.data.prepare import PreparedLog
from recgnn.errors import RunError
from recgnn.files import atomic_path
from recgnn.metrics import GroupedRecall, quantile_groups

NUM_GROUPS, NUM_SAMPLES = 5, 20


class EpochSeed(Callback):
    """Makes what is drawn in an epoch (dropout, say) follow from the seed, the epoch and the rank alone, so that a
    run continued from an epoch's end is the run that was not interrupted."""

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        seed = trainer.datamodule.seed
        torch.manual_seed(hash((seed, trainer.current_epoch, trainer.global_rank)) & (2**63 - 1))


class RunFolder(Callback):
    """Writes config.yaml and vocabulary/ when a run starts, and a row of metrics.csv after each epoch.

    Args:
        folder: the run folder.
        config: the whole configuration, as YAML.
    """

    def __init__(self, folder: Path, config: str):
        self.folder, self.config = folder, config
        self.rows: list[dict[str, Any]] = []
        self.evaluation_seconds = 0.0

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The folder's first files (no earlier: all is checked now); statistics into the loggers."""
        stored = self.folder / "vocabulary"
        continued = bool(trainer.ckpt_path) and stored.is_dir()
        if continued:  # on every process: a mistake ends them all
            check_same_data(PreparedLog.load(stored), trainer.datamodule.prepared, self.folder)
        if trainer.is_global_zero:
            if not trainer.ckpt_path:
                runs.clear(self.folder)
            if not continued:
                trainer.datamodule.prepared.save(stored)
            with atomic_path(self.folder / "config.yaml") as path:
                path.write_text(self.config, encoding="utf-8")
        for logger in trainer.loggers:
            logger.log_hyperparams(yaml.safe_load(self.config))
        parameters = sum(p.numel() for p in pl_module.parameters())
        statistics = trainer.datamodule.prepared.summary
        for logger in trainer.loggers:
            logger.log_hyperparams({"data_statistics": statistics, "parameters": parameters})
            if hasattr(logger, "define_metrics"):
                logger.define_metrics({name: mode for name, mode in [pl_module.monitor]})

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """A run folder may have been moved: the savers' memory of their best files moves with it."""
        here = os.path.realpath(self.folder / "checkpoints")
        for state in checkpoint["callbacks"].values():
            there = state.get("dirpath") if isinstance(state, dict) else None
            if not there or Path(there).name != "checkpoints":
                continue
            for name in ("dirpath", "best_model_path", "kth_best_model_path", "last_model_path"):
                state[name] = state.get(name, "").replace(there, here, 1)
            state["best_k_models"] = {k.replace(there, here, 1): v for k, v in state["best_k_models"].items()}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.read_rows(trainer)
        for callback in trainer.early_stopping_callbacks:  # a run that was stopped early is not continued
            trainer.should_stop |= callback.wait_count >= callback.patience > 0

    def read_rows(self, trainer: Trainer) -> None:
        """The earlier rows of a continued run."""
        file = self.folder / "metrics.csv"
        if not self.rows and trainer.current_epoch > 0 and file.is_file():
            rows = pd.read_csv(file).to_dict("records")
            self.rows = [row for row in rows if row["epoch"] < trainer.current_epoch]

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.started, self.evaluation_seconds = time.perf_counter(), 0.0

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.evaluation_started = time.perf_counter()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.evaluation_seconds += time.perf_counter() - self.evaluation_started

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        seconds = time.perf_counter() - self.started - self.evaluation_seconds
        values = {k: float(v) for k, v in trainer.callback_metrics.items() if not k.endswith("_step")}
        values["train/loss"] = values.pop("train/loss_epoch", values.get("train/loss", float("nan")))
        if not any(k.startswith("val/") for k in values) or self.evaluation_seconds == 0:
            values = {k: v for k, v in values.items() if not k.startswith("val/")}
        rates = {f"lr/{i}": o.param_groups[0]["lr"] for i, o in enumerate(trainer.optimizers)}
        rates = {"lr": rates["lr/0"]} if len(rates) == 1 else rates
        row = {"epoch": trainer.current_epoch, "step": trainer.global_step, **values, **rates}
        row |= {"seconds": round(seconds, 4), "evaluation_seconds": round(self.evaluation_seconds, 4)}
        self.rows.append(row)
        for logger in trainer.loggers:
            values = {"time/epoch_seconds": seconds, "epoch": row["epoch"], **rates}
            logger.log_metrics(values, step=trainer.global_step)
        if trainer.is_global_zero:
            with atomic_path(self.folder / "metrics.csv") as path:
                pd.DataFrame(self.rows).to_csv(path, index=False)


def check_same_data(stored: PreparedLog, now: PreparedLog, folder: Path) -> None:
    """Refuse to go on with other data: what was test may have become train.

    Raises:
        RunError: if the parts differ.
    """
    for part in ("train", "val", "test"):
        old, new = getattr(stored, part), getattr(now, part)
        if not (np.array_equal(old.user, new.user) and np.array_equal(old.item, new.item)):
            raise RunError(
                f"{folder}: was trained on other data: its {part} part has {len(old):,} interactions, not the same as "
                f"the {len(new):,} now; use the run's own source, filters and split, or start a new run"
            )


class RecommendationReport(Callback):
    """Looks at the test's recommendations: recall by user activity and by item popularity as figures, and a table
    of sample users with what they liked, what they were shown and what of it was right.

    Args:
        folder: where figures/ goes; None leaves no files.
    """

    def __init__(self, folder: Path | None):
        self.folder = folder
        self.samples: list[dict[str, Any]] = []

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
        if not trainer.is_global_zero:
            return
        drawn = {
            "recall_by_activity": figures.group_bars(
                values["by_user"],
                values["by_user_count"],
                self.user_labels,
                "interactions of the user in train",
                f"recall@{self.k} by user activity",
            ),
            "recall_by_popularity": figures.group_bars(
                values["by_item"],
                values["by_item_count"],
                self.item_labels,
                "interactions of the item in train",
                f"recall@{self.k} by item popularity",
            ),
        }
        save_figures(trainer, self.folder, drawn)
        for logger in trainer.loggers:
            if hasattr(logger, "log_table") and self.samples:
                logger.log_table("recommendations", pd.DataFrame(self.samples))


@rank_zero_only
def save_figures(trainer: Trainer, folder: Path | None, drawn: dict[str, Any]) -> None:
    """Figures into figures/*.png and into every logger that takes figures."""
    for name, figure in drawn.items():
        if folder is not None:
            figures.save(figure, folder / "figures" / f"{name}.png")
        for logger in trainer.loggers:
            if hasattr(logger, "log_figure"):
                logger.log_figure(f"figures/{name}", figure)
