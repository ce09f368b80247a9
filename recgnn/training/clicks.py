"""Training of CTR models: for clicks and for numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from recgnn.data.clicks.loaders import EventBatches
from recgnn.data.shard import Shard
from recgnn.errors import ConfigError, NonNegative, Positive
from recgnn.evaluation.metrics import ClickMetric, ErrorMetric
from recgnn.evaluation.metrics.collections import ClickMetrics, ErrorMetrics
from recgnn.models.base import Task
from recgnn.models.ctr import CTRModel
from recgnn.nn.embedding import FieldEmbedding, GivenVectors
from recgnn.nn.losses import CrossEntropy, EventLoss, Loss, MeanSquaredError, of_each, weighted_mean
from recgnn.nn.norms import half_square
from recgnn.nn.optimizers import FTRL, LazyAdam, ProximalAdagrad, RowwiseAdagrad, Together
from recgnn.training.base import Training
from recgnn.training.calibration import FITS, Calibration, cross_fitted, recommended
from recgnn.training.checkpoints import AtomicCheckpointIO
from recgnn.training.run_folder import read_checkpoint

ROW_OPTIMIZERS = {"lazy_adam": LazyAdam, "rowwise_adagrad": RowwiseAdagrad}
WIDE_OPTIMIZERS = {"ftrl": FTRL, "adagrad": ProximalAdagrad}


class ClickTraining(Training):
    r"""Trains a CTR model by the cross entropy of clicks, and measures its probabilities.

    The regularisation is :math:`\frac\lambda 2 \lVert E \rVert^2` of the whole embedding tables, or of the batch's rows
    (each counted once, per event of the batch).

    Args:
        model: a CTR model.
        loss: the cross entropy when None.
        l2: lambda, of embeddings and linear weights; when None, the model's `prior` c over the N events of train, by
            which a value with n events is drawn to 0 with the weight of c / n of an event (on `batch`, c over the mean
            n; on `mba`, c over the batch size); 0 where no data are at hand.
        l2_on: the whole `table` in every step; the rows of the `batch`; or `mba`, DIN's mini-batch aware
            regularisation (`Zhou et al., 2018 <https://arxiv.org/abs/1706.06978>`_, section 5.1): the rows of the
            batch, each over the number of training events that have it,
            :math:`\frac\lambda 2 \sum_{j \in B} \frac{1}{n_j} \lVert w_j \rVert^2`.
        lr: learning rate of Adam; when None the model's default, or what suits the number of its features.
        table_optimizer: what moves the tables: `adam`, every row in every step; or, at a cost that follows the batch
            and not the vocabulary, `lazy_adam` or `rowwise_adagrad`, the rows of the batch. Everything else is moved
            by Adam.
        table_lr: learning rate of the tables; `lr` when None.
        wide_optimizer: Wide & Deep: what moves the wide part: `same` as the tables, or (as in the paper) `ftrl`, or
            `adagrad`, both with an L1 penalty in place of `l2` and at the batch's cost.
        wide_lr: learning rate of that.
        wide_l1: lambda of its L1 penalty, which makes weights exactly 0.
        metrics: what is measured, by name, or a class of one's own; the first chooses the best epoch.
        calibrate: what is put on the best epoch's logits, fitted on validation and kept with the model: `platt`, a
            straight line; `isotonic`, a rising curve; or `none`. The order of events stays as it is. The run tells
            which would lower the log loss.
    """

    task: ClassVar[Task] = "clicks"
    reads = "events"
    default_loss: ClassVar[type[Loss]] = CrossEntropy
    counts: Tensor | None

    def __init__(
        self,
        model: CTRModel,
        loss: EventLoss | None = None,
        l2: NonNegative | None = None,
        l2_on: Literal["table", "batch", "mba"] = "table",
        lr: Positive | None = None,
        table_optimizer: Literal["adam", "lazy_adam", "rowwise_adagrad"] = "adam",
        table_lr: Positive | None = None,
        wide_optimizer: Literal["same", "ftrl", "adagrad"] = "same",
        wide_lr: Positive = 0.05,
        wide_l1: NonNegative = 0.0,
        metrics: Sequence[str | ClickMetric | ErrorMetric] | None = None,
        calibrate: Calibration = "none",
    ):
        super().__init__(model, loss or self.default_loss(), l2, lr)
        self.l2_said, self.lr_said, self.calibrate = l2 is not None, lr is not None, calibrate
        if calibrate != "none" and self.task != "clicks":
            raise ConfigError(f"calibrate: {calibrate} is for probabilities, and the task is {self.task}; take none")
        self.l2_on, self.table_optimizer, self.wide_optimizer = l2_on, table_optimizer, wide_optimizer
        self.own_table_lr, self.wide_lr, self.wide_l1 = table_lr, wide_lr, wide_l1
        if table_optimizer != "adam" and self.l2 and l2_on == "table":
            raise ConfigError(
                f"l2_on: table takes a pass over every row in every step, which {table_optimizer} is there to avoid; "
                "set l2_on: batch (the rows of the batch), or l2: 0"
            )
        self.wide_tables: list[FieldEmbedding] = []
        if wide_optimizer != "same":
            if not hasattr(model, "wide_tables"):
                raise ConfigError(f"wide_optimizer is for the wide part of WideDeep; {type(model).__name__} has none")
            self.wide_tables = cast(Any, model).wide_tables()
        for table in model.tables():
            table.sparse = table_optimizer != "adam" or table in self.wide_tables
        self.register_buffer("counts", None, persistent=False)
        for part in ("val", "test"):
            self.metrics[part] = self.new_metrics(metrics)

    @property
    def table_lr(self) -> float:
        """The learning rate of the tables."""
        return self.lr if self.own_table_lr is None else self.own_table_lr

    def chosen(self, data: Any) -> dict[str, Any]:
        """Choose batch size, epochs of a pass and regularisation by the number of events (see the arguments)."""
        if not hasattr(data, "usual_pace"):
            return {}
        size, cut = data.usual_pace()
        said = {"data.batch_size": data.batch_size, "data.epochs_per_pass": data.epochs_per_pass}
        found = {n: v for n, v in {"data.batch_size": size, "data.epochs_per_pass": cut}.items() if said[n] is None}
        if not self.l2_said and (self.table_optimizer == "adam" or self.l2_on != "table"):
            events = len(data.prepared.train)
            mean = events * len(data.slots) / sum(data.field_dims)
            over = {"table": events, "batch": mean, "mba": size}[self.l2_on]
            found["training.l2"] = float(f"{self.model.prior / over:.2g}")
        if not self.lr_said and self.model.usual_lr is not None:
            found["training.lr"] = float(f"{self.model.usual_lr:.2g}")
        return found

    def patience(self, data: Any) -> int:
        """Return the epochs of two passes over train, or of 300 steps, at most ten passes, where that is more."""
        if not hasattr(data, "usual_pace"):
            return super().patience(data)
        size, cut = data.usual_pace()
        return cut * min(10, max(2, math.ceil(300 * size / len(data.prepared.train))))

    def new_metrics(self, metrics: Sequence[Any] | None) -> nn.Module:
        """What is measured on a part; all there is where no metrics are named."""
        return ClickMetrics() if metrics is None else ClickMetrics(metrics)

    def setup(self, stage: str) -> None:
        data = cast(Any, self.trainer).datamodule
        task = getattr(data, "task", None)
        if task is None:
            raise ConfigError(
                f"{type(self.model).__name__} reads events with a label, and {type(data).__name__} gives interactions; "
                "take data of class CTRDataModule, or a model that recommends"
            )
        if task != self.task:
            raise ConfigError(
                f"the training is for {self.task} and the data for {task}; set data.init_args.task to {self.task}, or "
                "choose another class under `training`"
            )
        self.check_sizes(data)
        prepared, merged = data.prepared, getattr(data, "merge_val", False)
        if self.calibrate != "none" and not merged and (not len(prepared.val) or prepared.summary["val_is_test"]):
            raise ConfigError(
                f"calibrate: {self.calibrate} needs a validation part apart from test, and the split has none "
                f"({prepared.summary['split']}); take none, or another split"
            )
        if not self.model.given and (vectors := prepared.vectors()):
            self.model.set_vectors([GivenVectors(s, torch.from_numpy(v), trained) for s, v, trained in vectors])
        if stage == "fit" and self.l2_on == "mba":
            self.set_counts(data.row_counts())
            self._ddp_params_and_buffers_to_ignore = ["counts"]  # the same on every rank

    def look_at(self, val: Any) -> list[str]:
        wanted, metrics = self.monitor[0], self.metrics["val"]
        if self.task != "clicks":
            return []
        labels, first = np.unique(val.labels, return_index=True)
        rows = np.union1d(np.arange(min(len(val), 2**20)), first)  # all that any metric asks: both labels, and groups
        groups = None if val.groups is None else torch.from_numpy(val.groups[rows])
        guess = torch.rand(len(rows), generator=torch.Generator().manual_seed(0))
        metrics.update(guess, torch.from_numpy(val.labels[rows]), groups)
        metrics.undefined = {name for name, value in metrics.compute().items() if not value.isfinite()}
        metrics.reset()
        if wanted == self.monitor[0]:
            return []
        why = f"all labels of the validation part are {labels[0]:g}" if len(labels) == 1 else "of the validation part"
        return [f"{wanted} has no meaning ({why}): the best epoch is chosen by {self.monitor[0]}"]

    def set_counts(self, counts: Tensor) -> None:
        """Take the number of training events that have each row, as target, context or past item: `counts` [V]."""
        self.counts = counts.to(self.model.bias.device)

    # ---- training

    def data_loss(self, batch: Any, outputs: Any) -> Tensor:
        losses = self.loss(outputs.float(), batch.labels)
        of_each(self.loss, "forward", losses, batch.labels, "a number for each event")
        return weighted_mean(losses, batch.weights)

    def penalty(self, batch: Any, outputs: Any) -> Tensor | float:
        return self.l2 * self.regularisation(batch)

    def regularisation(self, batch: Any) -> Tensor | float:
        """Half the squared norm of the tables, or of the batch's rows: a scalar."""
        if self.l2_on == "table":
            return sum(half_square(t.weight) for t in self.model.tables() if t not in self.wide_tables)
        own = [(table, rows) for table, rows in self.model.rows_of_batch(batch) if table not in self.wide_tables]
        if self.l2_on == "batch":
            return sum(table.half_square(rows) for table, rows in own) / batch.labels.numel()
        if self.counts is None:
            raise ConfigError("l2_on: mba needs how often the training events have each value: see set_counts")
        counts = self.counts.clamp(min=1)
        return sum((table.again(rows).square().sum(1) / counts[rows]).sum() / 2 for table, rows in own)

    def configure_optimizers(self) -> Optimizer:
        own: list[tuple[Sequence[FieldEmbedding], Callable[[list], Optimizer]]] = []
        if self.wide_tables:
            rule = WIDE_OPTIMIZERS[self.wide_optimizer]
            own.append((self.wide_tables, lambda weights: rule(weights, lr=self.wide_lr, l1=self.wide_l1)))
        if self.table_optimizer != "adam":
            others = [table for table in self.model.tables() if table not in self.wide_tables]
            own.append((others, lambda weights: ROW_OPTIMIZERS[self.table_optimizer](weights, lr=self.table_lr)))
        if not own:
            return super().configure_optimizers()
        weights = [[table.weight for table in tables if table.shards is None] for tables, _ in own]
        taken = {id(weight) for group in weights for weight in group}
        rest = self.adam([parameter for parameter in self.parameters() if id(parameter) not in taken])
        return Together([rest, *(made(group) for (_, made), group in zip(own, weights, strict=True) if group)])

    def on_train_start(self) -> None:
        self.model.calibration = None

    # ---- measuring

    def settle(self, data: Any, best: Path, first: Training | None) -> tuple[dict[str, Any], list[str]]:
        """Fit the calibration to the best epoch on validation, and write it into the checkpoint.

        Returns:
            The log loss on validation with each calibration, each fifth by what the others gave (see `cross_fitted`).
        """
        curve, found, notes = None, {}, list[str]()
        checkpoint = read_checkpoint(best)
        if first is not None:
            curve = first.model.calibration
        elif self.task == "clicks" and len(np.unique(data.prepared.val.labels)) == 2:
            self.trainer.strategy.load_model_state_dict(checkpoint)
            self.model.calibration, alone = None, Shard(data.shard().device)
            self.to(alone.device)
            events = self._logits(EventBatches(data.prepared, "val", data.eval_batch_size, lambda: alone))
            losses = cross_fitted(*events)
            found = {"calibration": {"method": self.calibrate, "val_logloss": losses}}
            best_one = recommended(losses)
            change = f"from {losses['none']:.4f} to {losses[best_one]:.4f}"
            if self.calibrate == "none" != best_one:
                notes.append(f"--training.calibrate {best_one} would lower the log loss of validation {change}")
            fitted = FITS[self.calibrate](*events)
            curve = None if fitted is None else torch.tensor(fitted, dtype=torch.float32)
            self.model.calibration = curve if curve is None else curve.to(self.model.bias.device)
        if curve is not None and self.trainer.is_global_zero:
            checkpoint = read_checkpoint(best, tables=False)
            checkpoint["state_dict"]["model.calibration"] = curve.cpu()
            AtomicCheckpointIO().save_checkpoint(checkpoint, best)
        self.trainer.strategy.barrier()
        return found, notes

    @torch.no_grad()
    def _logits(self, batches: EventBatches) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the logits of events, of at most 2^20 at even distances, with their labels and weights, [n] each."""
        self.model.eval()
        self.model.refresh()
        found = [(self.model.logits(batch).float(), batch.labels, batch.weights) for batch in batches]
        columns = [(x, y, torch.ones_like(y) if w is None else w) for x, y, w in found]
        logits, labels, weights = (torch.cat(column) for column in zip(*columns, strict=True))
        step = -(-len(logits) // 2**20)
        return tuple(x[::step].double().cpu().numpy() for x in (logits, labels, weights))  # type: ignore[return-value]

    def measure(self, part: str, batch: Any) -> dict[str, Tensor]:
        logits = self.model.calibrated(self.model.logits(batch))
        self.metrics[part].update(logits, batch.labels, batch.groups, batch.weights)
        return {"logits": logits}


class RegressionTraining(ClickTraining):
    """Trains a CTR model to predict a number by the squared error; its arguments are those of `ClickTraining`."""

    task = "regression"
    default_loss = MeanSquaredError

    def new_metrics(self, metrics: Sequence[Any] | None) -> nn.Module:
        return ErrorMetrics() if metrics is None else ErrorMetrics(metrics)

    def measure(self, part: str, batch: Any) -> dict[str, Tensor]:
        logits = self.model.logits(batch).float()
        self.metrics[part].update(logits, batch.labels, batch.weights)
        return {"logits": logits}
