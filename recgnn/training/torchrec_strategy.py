"""`--trainer.strategy torchrec`: the tables of a model of clicks over several processes, the rest as with ddp."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.strategies import DDPStrategy, StrategyRegistry
from torch.optim import Optimizer

from recgnn.errors import ConfigError, did_you_mean
from recgnn.nn.optimizers import RowwiseAdagrad
from recgnn.nn.sharded_table import ShardedTable, torchrec_modules
from recgnn.training import table_files
from recgnn.training.from_run import StartFrom

PREFIX = "model."


class TorchRecStrategy(DDPStrategy):
    """Trains a model of clicks on several processes, each of which has an N-th of the rows of every table, by TorchRec:
    look-ups go to the process that has the row, where row-wise Adagrad moves it in the backward pass. Everything else
    is Lightning's `ddp`.

    A checkpoint has its tables beside it (see `table_files`), and is read by any number of processes. On one process it
    is the plain path.

    Args:
        plan: where a table lies, by its name in the model, such as `{embedding: row_wise, linear: "table_wise:0"}`;
            `row_wise`, over all processes, for those that are not named.
        kwargs: of Lightning's `DDPStrategy`.

    Attributes:
        tables: those that lie on all processes, by the names of their weights.
        num_parameters: of the model, on all processes together.
    """

    def __init__(self, plan: dict[str, str] | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.plan = dict(plan or {})
        self.tables: dict[str, ShardedTable] = {}
        self.num_parameters: int | None = None

    def setup(self, trainer: Any) -> None:
        """Hand the tables to TorchRec, and the rest to DDP."""
        if self.world_size > 1 and not self.tables:
            torchrec_modules()
            check(trainer, self.lightning_module)
            self._divide(self.lightning_module)
        super().setup(trainer)

    def _divide(self, training: Any) -> None:
        """Hand every table to TorchRec."""
        model = training.model
        self.num_parameters = sum(parameter.numel() for parameter in model.parameters())
        names = {id(table): name for name, table in model.named_modules()}
        own = [(names[id(table)], table) for table in model.tables()]
        if unknown := [name for name in self.plan if name not in [table for table, _ in own]]:
            known = [name for name, _ in own]
            raise ConfigError(
                f"trainer.strategy.plan: {type(model).__name__} has no table {unknown[0]}"
                f"{did_you_mean(unknown[0], known)}; there are: {', '.join(known)}"
            )
        eps = RowwiseAdagrad([next(model.parameters())]).defaults["eps"]
        for name, table in own:
            weight = table.weight.detach()
            place = self.plan.get(name, "row_wise")
            table.shards = ShardedTable(weight, training.table_lr, eps, place, self.root_device)
            table.weight, table.sparse = None, False
            self.tables[f"{PREFIX}{name}.weight"] = table.shards

    def optimizer_step(self, optimizer: Optimizer, closure: Any, *args: Any, **kwargs: Any) -> Any:
        """Let the rate of the tables follow a schedule as that of the rest does, before the step in whose backward pass
        they are moved."""
        training: Any = self.lightning_module
        for table in self.tables.values():
            table.set_lr(training.table_lr * optimizer.param_groups[0]["lr"] / training.lr)
        return super().optimizer_step(optimizer, closure, *args, **kwargs)

    # ---- checkpoints

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """Return what an optimizer keeps, with a group for the tables as one process has it, whose sums of squares lie
        beside the checkpoint."""
        state: dict[str, Any] = super().optimizer_state(optimizer)
        if not self.tables:
            return state
        training: Any = self.lightning_module
        first = sum(len(group["params"]) for group in state["param_groups"])
        own = RowwiseAdagrad([training.model.bias], lr=training.table_lr).state_dict()["param_groups"][0]
        own |= {"params": list(range(first, first + len(self.tables)))}
        if "initial_lr" in state["param_groups"][0]:
            rate = state["param_groups"][0]["lr"] / state["param_groups"][0]["initial_lr"]
            own |= {"initial_lr": training.table_lr, "lr": training.table_lr * rate}
        return state | {"param_groups": [*state["param_groups"], own]}

    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: Any, storage_options: Any = None) -> None:
        """Write a checkpoint, and the tables beside it; called by all processes."""
        if not self.tables:
            super().save_checkpoint(checkpoint, filepath, storage_options)
            return
        about = table_files.write(self.tables, Path(filepath), checkpoint["global_step"])
        super().save_checkpoint(checkpoint | {table_files.KEY: about}, filepath, storage_options)
        if self.is_global_zero:
            table_files.sweep(Path(filepath), about["folder"])

    def remove_checkpoint(self, filepath: Any) -> None:
        """Remove a checkpoint, and the tables beside it."""
        super().remove_checkpoint(filepath)
        if self.is_global_zero:
            table_files.sweep(Path(filepath), "")

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        """Take the parameters of a checkpoint, the tables among them."""
        state = dict(checkpoint["state_dict"])
        for name, table in self.tables.items():
            table.put(state.pop(name), None)
        super().load_model_state_dict({"state_dict": state}, strict)

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Take what optimizers keep, that of the tables among it."""
        states = checkpoint["optimizer_states"]
        if self.tables:
            *rest, last = states[0]["param_groups"]
            kept = dict(states[0]["state"])
            for (name, table), number in zip(self.tables.items(), last["params"], strict=True):
                table.put(checkpoint["state_dict"][name], kept.pop(number)["sum"])
            states = [states[0] | {"state": kept, "param_groups": rest}]
        super().load_optimizer_state_dict({"optimizer_states": states})


def check(trainer: Any, training: Any) -> None:
    """Refuse what cannot be trained with tables over several processes.

    Raises:
        ConfigError: says what to change.
    """
    name = "--trainer.strategy torchrec"
    if training.reads != "events":
        kind = type(training.model).__name__
        raise ConfigError(f"{name} is for models of clicks, and {kind} is none; take sharded or ddp")
    if training.table_optimizer != "rowwise_adagrad":
        raise ConfigError(
            f"{name} moves the batch's rows of the tables by row-wise Adagrad; set --training.table_optimizer "
            f"rowwise_adagrad (found {training.table_optimizer})"
        )
    if training.wide_tables:
        raise ConfigError(f"{name}: the wide part is a table as the others; set --training.wide_optimizer same")
    if trainer.gradient_clip_val or trainer.accumulate_grad_batches > 1:
        raise ConfigError(
            f"{name} moves the tables in each backward pass: leave gradient_clip_val and accumulate_grad_batches out"
        )
    if any(isinstance(callback, StartFrom) for callback in trainer.callbacks):
        raise ConfigError(f"--from_run moves whole tables; leave {name} out, or --from_run")


StrategyRegistry.register("torchrec", TorchRecStrategy, description="tables over the processes", override=True)
