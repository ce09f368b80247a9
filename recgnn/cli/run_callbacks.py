"""The callbacks of `fit`: those of the configuration, checked, and the usual ones: stopping, best.ckpt, last.ckpt."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning.pytorch.callbacks import Checkpoint, EarlyStopping, ModelCheckpoint

from recgnn.cli.training import described
from recgnn.data.stored import sealed_text
from recgnn.errors import ConfigError, did_you_mean, printable
from recgnn.training.callbacks import EpochSeed, RunFolder
from recgnn.training.from_run import StartFrom
from recgnn.training.position import EpochPosition, LastInEpoch

if TYPE_CHECKING:
    from recgnn.cli.fitting import FitCLI


def run_callbacks(cli: FitCLI, callbacks: list, checkpoints: Path) -> list:
    """Complete the callbacks of the configuration with the usual ones that it does not have.

    Args:
        cli: The command, whose data and model are there.
        callbacks: Those of the configuration; checkpoints without a folder of their own go to `checkpoints`.
        checkpoints: The run folder's folder of checkpoints.
    """
    validated = len(cli.datamodule.prepared.val) > 0 and _validates(cli)
    if validated and cli.stage != "refit":
        cli.notes += cli.model.look_at(cli.datamodule.prepared.val)
    name, mode = cli.model.monitor
    best = None
    if cli.stage == "refit":  # nothing is validated any more
        callbacks = [c for c in callbacks if not str(getattr(c, "monitor", None)).startswith("val/")]
    callbacks = [LastInEpoch(c, checkpoints) if LastInEpoch.is_meant_by(c) else c for c in callbacks]
    for callback in callbacks:
        if isinstance(callback, EarlyStopping | ModelCheckpoint) and callback.monitor:
            _check_monitor(cli, type(callback).__name__, str(callback.monitor), callback.mode, validated)
        if isinstance(callback, ModelCheckpoint) and callback.dirpath is None:
            callback.dirpath = str(checkpoints)
            if best is None and callback.monitor and callback.save_top_k == 1 and not callback.filename:
                best, callback.filename, callback._enable_version_counter = callback, "best", False
    scheduler = cli._get(cli.config, "lr_scheduler")
    if scheduler and scheduler.get("init_args.monitor") is not None:
        given = scheduler["init_args"]
        _check_monitor(cli, "the scheduler", str(given["monitor"]), str(given.get("mode")), validated)
    extra: list = []
    if cli.parent is not None:
        cli.parent.check(cli.model, cli.datamodule)
        tested = cli.stage != "select" and len(cli.datamodule.prepared.test) > 0
        extra.append(StartFrom(cli.parent, tested))
    if validated and not any(isinstance(c, EarlyStopping) for c in callbacks):
        stopping: dict[str, Any] = {"monitor": name, "mode": mode, "patience": cli.model.patience(cli.datamodule)}
        extra.append(EarlyStopping(**stopping))
        given = cli._get(cli.config, "trainer")  # config.yaml has it, too
        given["callbacks"] = [*(given["callbacks"] or []), described(EarlyStopping, stopping)]
    if validated and best is None:
        extra.append(ModelCheckpoint(checkpoints, "best", monitor=name, mode=mode, enable_version_counter=False))
    assert cli.run_dir is not None
    here = printable(str(cli.run_dir))
    header = f"# python -m recgnn.fit --config {here}/config.yaml --run_dir <another folder>\n"
    folder = RunFolder(cli.run_dir, sealed_text(header, (cli.chosen or cli).config_text()), cli.stage)
    last = ModelCheckpoint(checkpoints, "last", save_on_train_epoch_end=True, enable_version_counter=False)
    others = [c for c in callbacks + extra if not isinstance(c, Checkpoint)]
    savers = [c for c in callbacks + extra if isinstance(c, Checkpoint)]
    return [EpochSeed(), EpochPosition(), folder, *others, *savers, last]  # `last` keeps the state of all before it


def _validates(cli: FitCLI) -> bool:
    """Return whether the trainer is to validate at all."""
    trainer = cli._get(cli.config, "trainer")
    every, epochs = trainer["check_val_every_n_epoch"], trainer["max_epochs"]
    if every is not None and epochs is not None and -1 < epochs < every:
        raise ConfigError(f"trainer.check_val_every_n_epoch is {every}; expected at most max_epochs, {epochs}")
    return trainer["limit_val_batches"] != 0


def _check_monitor(cli: FitCLI, name: str, monitor: str, direction: str, validated: bool) -> None:
    what = f"{name} watches {monitor}"
    if not validated and monitor.startswith("val/"):
        raise ConfigError(f"{what}, but nothing is validated: the split leaves no validation part, or "
                          "--trainer.limit_val_batches is 0; remove it, or choose another")  # fmt: skip
    known = [*cli.model.metric_names, "train/loss", "train/loss_epoch", "train/loss_step"]
    if monitor not in known:
        raise ConfigError(
            f"{what}, which is not measured{did_you_mean(monitor, known)}; change it, or take the usual callbacks "
            f"(--trainer.callbacks null); there are: {', '.join(known)}"
        )
    metrics = {f"val/{metric.name}": metric for metric in cli.model.metrics["val"].metrics}
    metric = metrics.get(monitor.partition("@")[0])
    if metric is not None and metric.name in cli.model.metrics["val"].undefined:
        raise ConfigError(f"{what}, which has no meaning on this validation part; take {cli.model.monitor[0]}")
    if metric is not None and metric.higher_is_better is (direction == "min"):
        better, mode = ("higher", "max") if metric.higher_is_better else ("lower", "min")
        raise ConfigError(f"{what} with mode {direction}, and {better} is better; set mode: {mode}")
