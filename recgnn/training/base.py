"""The LightningModule around any model: optimizer, regularisation, and measuring on validation and test."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, NoReturn, cast

import torch
from lightning import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer

from recgnn.errors import Checked, ConfigError, NonNegative, Positive, RunError, shown
from recgnn.models.base import Model, Task
from recgnn.nn.losses import Loss
from recgnn.training.run_folder import FORMAT


def suited(model: type[Model], loss: type | None, by_log: bool = False) -> dict[str, Any]:
    """Return the training arguments that suit a model with a loss: the model's where the loss is its own (or none is
    given), else the loss's before the model's; `by_log` without the model's `l2` where it has a rule for it."""
    own = model.defaults.get("loss")
    of_loss = getattr(loss or own, "defaults", {})
    found = of_loss | model.defaults if loss in (None, own) else model.defaults | of_loss
    if by_log and "l2" not in of_loss and hasattr(model, "usual_l2"):
        found.pop("l2", None)
    return found


class Training(Checked, LightningModule):
    """How a model learns and how it is measured. A subclass is for a task and defines `data_loss` and `measure`.

    Args:
        model: the model; its `task` becomes this training's.
        loss: the loss; the model's default, or the task's, when None.
        l2: weight of the L2 regularisation (see the model's `penalty`); the model's default when None.
        lr: learning rate of Adam, the default optimizer; the model's default when None.

    Attributes:
        task: what this class trains for.
        reads: what its models read, `interactions` or `events`.
        metrics: what is counted for `val` and for `test`.
        suited: the arguments that suit the model with the loss, where they are not given (see `suited`).

    Raises:
        ConfigError: if model and task, or model and loss, do not fit.
    """

    task: ClassVar[Task]
    reads: ClassVar[str]
    by_log: ClassVar[bool] = False  # whether the size of the log chooses l2 for models that have a rule (`usual_l2`)
    default_loss: ClassVar[type[Loss] | None] = None  # where none is given, nor by the model
    model: Any
    loss: Any
    metrics: Any

    def __init__(self, model: Model, loss: Loss | None, l2: NonNegative | None, lr: Positive | None):
        super().__init__()
        name = type(model).__name__
        if self.task not in model.tasks:
            raise ConfigError(
                f"{type(self).__name__} is for the task {self.task}, and {name} is for {' or '.join(model.tasks)}; "
                "leave `training` out, or choose another model"
            )
        self.suited = {"l2": 0.0, "lr": 1e-3} | suited(type(model), type(loss))
        l2 = self.suited["l2"] if l2 is None else l2
        lr = self.suited["lr"] if lr is None else lr
        self.model, self.loss, self.lr = model, loss, lr
        model.task, model.l2 = self.task, l2
        self.solved = not hasattr(model, "solve")
        self.own_loss = type(model).extra_loss is not Model.extra_loss
        self.metrics = nn.ModuleDict()
        self.total: Tensor | float = 0.0  # of the epoch's losses: whether it is finite is looked at once an epoch
        self.first: Tensor | float = torch.inf  # loss, before anything was learnt
        self.not_a_number: Tensor | bool = False  # among the predictions that are being measured
        if not self.solved:  # nothing to descend, but Lightning trains what has a parameter
            self.automatic_optimization = False
            self.nothing = nn.Parameter(torch.zeros(()))

    @property
    def l2(self) -> float:
        """The weight of the regularisation."""
        return self.model.l2

    @l2.setter
    def l2(self, value: float) -> None:
        self.model.l2 = value

    @property
    def monitor(self) -> tuple[str, str]:
        """The validation metric that chooses the best epoch, and its direction, `max` or `min`."""
        name, mode = self.metrics["val"].monitor
        return f"val/{name}", mode

    def look_at(self, val: Any) -> list[str]:
        """Find the metrics that have no meaning on the validation data, so that another chooses the best epoch.

        Args:
            val: the prepared validation part.

        Returns:
            What a reader should know, in lines; nothing by default.

        Raises:
            ConfigError: if no metric has a meaning.
        """
        return []

    @property
    def metric_names(self) -> list[str]:
        """The names under which validation metrics are logged."""
        return [f"val/{name}" for name in self.metrics["val"].names]

    def check_sizes(self, data: Any) -> None:
        """Refuse data of other sizes than the model was made for.

        Raises:
            ConfigError: names the size.
        """
        for name in ("num_users", "num_items", "field_dims", "slots", "part_sizes"):
            own, wanted = getattr(self.model, name, None), getattr(data, name, None)
            if own is not None and wanted is not None and own != wanted:
                kind = type(self.model).__name__
                own, wanted = shown(own), shown(wanted)
                raise ConfigError(f"{kind}.{name} is {own}, and the data have {wanted}; make the model for these data")

    def chosen(self, data: Any) -> dict[str, Any]:
        """Choose what the configuration leaves to the size of the data: values by dotted option; none by default.

        Args:
            data: the data module, prepared.
        """
        return {}

    def patience(self, data: Any) -> int:
        """Return the number of epochs without a better value after which training ends, where none is given.

        Args:
            data: the data module, prepared.
        """
        return 20

    def settle(self, data: Any, best: Path, first: Training | None) -> tuple[dict[str, Any], list[str]]:
        """Do what is to be done with the best checkpoint before it is tested; nothing by default.

        Args:
            data: the data module.
            best: the checkpoint.
            first: the training of the first half of `fit --refit`, in its second one.

        Returns:
            What metrics.json shall have of it, and what a reader should know, in lines.
        """
        return {}, []

    # ---- what a subclass defines

    def data_loss(self, batch: Any, outputs: Any) -> Tensor:
        """The task's loss of a training batch: a scalar.

        Args:
            batch: a batch of the data module.
            outputs: what the model's `outputs` gave for it.
        """
        raise AttributeError(f"{type(self).__name__} does not define data_loss")

    def measure(self, part: str, batch: Any) -> dict[str, Any]:
        """Count a batch of a `part`, `val` or `test`, in the metrics; returns the model's answers."""
        raise AttributeError(f"{type(self).__name__} does not define measure")

    def penalty(self, batch: Any, outputs: Any) -> Tensor | float:
        """Compute the weighted L2 regularisation of a step, from a `batch` and the `outputs` for it: a scalar."""
        return self.model.penalty(self.l2, batch, outputs)

    # ---- training

    def training_step(self, batch: Any, batch_idx: int) -> Tensor | None:
        """The task's loss, plus the L2 penalty, plus the model's own loss."""
        if not self.automatic_optimization:
            if not self.solved:
                self.model.solve()
                self.solved = True
            cast(Any, self.optimizers()).step()  # counts as a step, so that a checkpoint is written
            return None
        outputs = self.model.outputs(batch)
        loss = self.data_loss(batch, outputs)
        if not (loss.requires_grad or self.own_loss):
            self._refuse_loss(outputs)
        if self.l2:
            loss = loss + self.penalty(batch, outputs)
        if self.own_loss:
            loss = loss + self.model.extra_loss(batch, outputs)
        if batch_idx == 0 and self.current_epoch == 0:
            self.first = loss.detach()
        self.total = self.total + loss.detach()
        self.log("train/loss", loss, on_step=True, on_epoch=True, batch_size=batch[0].shape[0])
        return loss

    def _refuse_loss(self, outputs: Any) -> NoReturn:
        """Tell whether it is the loss or the model's `outputs` that have no gradient."""
        parts = outputs if isinstance(outputs, tuple) else (outputs,)
        of_model = not any(getattr(part, "requires_grad", False) for part in parts)
        name = f"{type(self.model).__name__}.outputs" if of_model else f"{type(self.loss).__name__}.forward"
        raise ConfigError(
            f"{name} gave numbers without a gradient, so that nothing can be learnt; expected what torch computes from "
            f"{'the parameters' if of_model else 'the scores'}, without detach, item or numpy"
        )

    def configure_optimizers(self) -> Optimizer:
        if not self.automatic_optimization:
            return torch.optim.SGD([self.nothing], lr=0.0)
        return self.adam(self.parameters())

    def adam(self, parameters: Any) -> Optimizer:
        """Return Adam of `parameters`, fused unless gradients are clipped, which Lightning refuses together in mixed
        precision."""
        clipped = self._trainer is not None and self.trainer.gradient_clip_val is not None
        return torch.optim.Adam(parameters, lr=self.lr, fused=not clipped)

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """As Lightning's, which refuses sparse gradients."""
        moved: list[Any] = [parameter for parameter in self.parameters() if parameter.grad is not None]
        sparse = [parameter for parameter in moved if parameter.grad.is_sparse]
        if not gradient_clip_val or not sparse:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
            return
        for parameter in sparse:
            parameter.grad = parameter.grad.coalesce()
        gradients = [p.grad.values() if p.grad.is_sparse else p.grad for p in moved]
        if gradient_clip_algorithm == "value":
            for gradient in gradients:
                gradient.clamp_(-gradient_clip_val, gradient_clip_val)
            return
        norm = torch.stack([gradient.norm() for gradient in gradients]).norm()
        for gradient in gradients:
            gradient.mul_((gradient_clip_val / (norm + 1e-6)).clamp(max=1.0))

    def on_train_epoch_start(self) -> None:
        self.total = 0.0
        self.model.refresh()

    def check_loss(self) -> None:
        """Stop where the loss is not finite, before anything is measured or saved.

        Raises:
            RunError: says what to change.
        """
        if not torch.as_tensor(self.total).isfinite():
            raise RunError(
                f"the loss of {type(self.model).__name__} is not finite in epoch {self.current_epoch}: the training "
                f"diverged; lower the learning rate (--training.lr, now {self.lr:g}), or clip gradients "
                "(--trainer.gradient_clip_val 1.0)"
            )

    def on_train_epoch_end(self) -> None:
        self.check_loss()
        first, mean = float(self.first), float(self.total) / max(1, self.trainer.num_training_batches)
        if self.current_epoch == 0 and mean > first + abs(first) / 2:
            self.print(
                f"note: the loss rose in the first epoch, from {first:.4g} to {mean:.4g}; try a lower rate "
                f"(--training.lr, now {self.lr:g}) or less regularisation (--training.l2, now {self.l2:g})"
            )
        if not self.automatic_optimization:
            self.trainer.should_stop = True

    # ---- measuring

    def begin_measuring(self) -> None:
        """Forget what was computed before the last steps."""
        self.model.refresh()

    def on_validation_epoch_start(self) -> None:
        self.check_loss()
        self.begin_measuring()

    def validation_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        return self._measured("val", batch)

    def on_validation_epoch_end(self) -> None:
        self._finish("val")

    def on_test_epoch_start(self) -> None:
        self.begin_measuring()

    def test_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        return self._measured("test", batch)

    def on_test_epoch_end(self) -> None:
        self._finish("test")

    def _measured(self, part: str, batch: Any) -> dict[str, Any]:
        answers = self.measure(part, batch)
        for values in answers.values():
            if isinstance(values, Tensor):
                self.not_a_number = self.not_a_number | values.isnan().any()
        return answers

    def _finish(self, part: str) -> None:
        if self.not_a_number:
            raise RunError(
                f"{type(self.model).__name__} predicts values that are not numbers: its weights are not finite; train "
                "it with a lower learning rate (--training.lr), or use another checkpoint"
            )
        metrics = self.metrics[part]
        for name, value in metrics.compute().items():
            self.log(f"{part}/{name}", value.float(), prog_bar=f"{part}/{name}" == self.monitor[0])
        metrics.reset()
        self.model.refresh()

    # ---- checkpoints

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what makes the model again: its class, its arguments, and what it was trained for."""
        model, kind = self.model, type(self.model)
        checkpoint["recgnn"] = {
            "format": FORMAT,
            "model": f"{kind.__module__}.{kind.__qualname__}",
            "arguments": model.arguments,
            "trained": {name: getattr(model, name) for name in ("task", "l2", "cold_rating") if hasattr(model, name)},
            "data": self._identity(),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse the parameters of another task, or of other users, items or values, whose rows would go to others now.

        Raises:
            RunError: says what to do.
        """
        task = checkpoint["recgnn"].get("trained", {}).get("task", self.task)
        if task != self.task:
            raise RunError(f"the checkpoint was trained for {task}, and {type(self).__name__} is for {self.task}")
        theirs, ours = checkpoint["recgnn"].get("data"), self._identity()
        if None not in (theirs, ours) and theirs != ours:
            what = "users and items" if self.reads == "interactions" else "fields and values"
            raise RunError(
                f"the checkpoint was trained on other {what} than the data have now, whose parameters would go to "
                "others; use the run's own data, or train without --ckpt_path"
            )

    def _identity(self) -> str | None:
        """Whose rows the parameters are; None where no data are attached."""
        data = None if self._trainer is None else getattr(self._trainer, "datamodule", None)
        return getattr(getattr(data, "prepared", None), "identity", None)
