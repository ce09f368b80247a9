"""`--trainer.strategy sharded`: the rows of users and items divided over the processes, equal to one process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch.distributed as dist
from lightning.pytorch.strategies import DDPStrategy, StrategyRegistry
from torch import Tensor
from torch.nn import Module
from torch.optim import Optimizer

from recgnn.errors import ConfigError
from recgnn.nn.partition import Partition
from recgnn.training.from_run import StartFrom

PREFIX = "model."


class ShardedStrategy(DDPStrategy):
    """Trains a model of users and items on several processes, each of which has an N-th of the rows of users and items:
    parameters, gradients, optimizer state, layers and edges. What is learnt is what one process learns of the batches
    of all of them together, in-batch negatives included.

    A checkpoint holds all rows, as one process writes it. On one process it is the plain path.

    Attributes:
        partition: which rows this process has; None on one process.
        divided: the parameters of which it has some rows, and how many all have.
        num_parameters: of the model, on all processes together.
    """

    partition: Partition | None = None
    num_parameters: int | None = None

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self.divided: dict[str, int] = {}

    def setup(self, trainer: Any) -> None:
        """Divide the model, before it is moved to the device."""
        if self.world_size == 1:
            super().setup(trainer)
            return
        training: Any = self.lightning_module
        check(trainer, training)
        self.num_parameters = self.num_parameters or sum(p.numel() for p in training.model.parameters())
        self.partition = Partition(self.global_rank, self.world_size)
        divided = training.model.divide(self.partition, self.root_device)
        self.divided = {PREFIX + name: total for name, total in divided.items()}
        super(DDPStrategy, self).setup(trainer)
        for name, parameter in training.named_parameters():
            if name not in self.divided:
                dist.broadcast(parameter.data, 0)
                parameter.register_hook(self._summed)

    def _setup_model(self, model: Module) -> Any:
        return model if self.partition is not None else super()._setup_model(model)

    def _summed(self, gradient: Tensor) -> Tensor:
        """Sum the gradient of a parameter that every process has."""
        assert self.partition is not None
        gradient = gradient.clone()
        dist.all_reduce(gradient)
        self.partition.sent += int(gradient.nbytes * 2 * (self.world_size - 1) / self.world_size)
        return gradient

    def backward(self, closure_loss: Tensor, optimizer: Optimizer | None, *args: Any, **kwargs: Any) -> Tensor:
        """Descend the mean of all processes' losses: every gradient is the sum of what they add to it."""
        loss = closure_loss if self.partition is None else closure_loss / self.world_size
        return super().backward(loss, optimizer, *args, **kwargs)

    # ---- checkpoints: of all rows

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """Return the parameters with all rows, on the first process."""
        return {n: self._whole(x, self.divided.get(n)) for n, x in super().lightning_module_state_dict().items()}

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        """Take the own rows of a checkpoint's parameters."""
        state = {n: self._own(x, self.divided.get(n)) for n, x in checkpoint["state_dict"].items()}
        super().load_model_state_dict({"state_dict": state}, strict)

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """Return what an optimizer keeps, of all rows, on the first process."""
        state: dict[str, Any] = super().optimizer_state(optimizer)
        return state | {"state": self._each(optimizer, state["state"], self._whole)}

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Take what optimizers keep of the own rows."""
        pairs = zip(self.optimizers, checkpoint["optimizer_states"], strict=True)
        states = [whole | {"state": self._each(optimizer, whole["state"], self._own)} for optimizer, whole in pairs]
        super().load_optimizer_state_dict({"optimizer_states": states})

    def _each(self, optimizer: Optimizer, state: dict[int, dict[str, Any]], change: Any) -> dict[int, dict[str, Any]]:
        """Change what an optimizer keeps for each row."""
        assert self.lightning_module is not None
        names = {id(parameter): name for name, parameter in self.lightning_module.named_parameters()}
        flat = [names[id(parameter)] for group in optimizer.param_groups for parameter in group["params"]]
        return {
            number: {
                key: change(x, self.divided.get(flat[number])) if isinstance(x, Tensor) and x.dim() else x
                for key, x in own.items()
            }
            for number, own in state.items()
        }

    def _whole(self, x: Any, total: int | None) -> Any:
        if total is None or self.partition is None:
            return x
        return self.partition.gather(x.detach().to(self.root_device), total, everywhere=False)

    def _own(self, x: Any, total: int | None) -> Any:
        return x if total is None or self.partition is None else self.partition.own(x)


def check(trainer: Any, training: Any) -> None:
    """Refuse what cannot be trained with divided rows.

    Raises:
        ConfigError: says what to change.
    """
    model, name = training.model, type(training.model).__name__
    if not getattr(model, "divisible", False) or training.task != "ranking":
        raise ConfigError(
            f"--trainer.strategy sharded divides the users and items of MF, LightGCN, NGCF and GCN, trained for "
            f"rankings, and this is {name} for {training.task}; take --trainer.strategy ddp"
        )
    if model.fan_out is not None:
        raise ConfigError(
            "training.fan_out: a process of --trainer.strategy sharded cannot sample the edges of others' nodes; take "
            "--trainer.strategy ddp, or leave fan_out out"
        )
    if trainer.gradient_clip_val and str(trainer.gradient_clip_algorithm or "norm").endswith("norm"):
        raise ConfigError(
            "--trainer.gradient_clip_val: no process of --trainer.strategy sharded has the norm of all gradients; add "
            "--trainer.gradient_clip_algorithm value"
        )
    if any(isinstance(callback, StartFrom) for callback in trainer.callbacks):
        raise ConfigError("--from_run moves whole tables; leave --trainer.strategy sharded out, or --from_run")


StrategyRegistry.register(
    "sharded", ShardedStrategy, description="rows of users and items divided over the processes", override=True
)
