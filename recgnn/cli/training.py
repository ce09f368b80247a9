"""The command line: one LightningCLI, the run folder around it, and clear errors."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from pathlib import Path
from typing import Any

from recgnn.data.memory import keep_freed_memory
from recgnn.errors import ConfigError, DataError, RunError, did_you_mean

keep_freed_memory()
for name in ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.seed", "lightning.pytorch"):
    logging.getLogger(name).setLevel(logging.WARNING)
os.environ.setdefault("JSONARGPARSE_DEPRECATION_WARNINGS", "off")
for message in (
    "LightningCLI's args parameter",
    ".*does not have many workers",
    ".*is smaller than the logging interval",
    "Total length of .* across ranks is zero",
    ".*treespec, LeafSpec",
    "Sparse CSR tensor support is in beta",
    ".*configure_optimizers` will be overridden",
    "Be aware that when using `ckpt_path`, callbacks",
    "Checkpoint directory .* exists and is not empty",
    "The dirpath has changed from",
    ".*you set `limit",
    ".*Precision bf16-mixed is not supported by the model summary",
    "It is recommended to use .*sync_dist=True",
):
    warnings.filterwarnings("ignore", message=message)

import torch  # noqa: E402
from lightning import LightningDataModule, LightningModule, Trainer  # noqa: E402
from lightning.pytorch.callbacks import (  # noqa: E402
    Checkpoint,
    EarlyStopping,
    ModelCheckpoint,
    ProgressBar,
)
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, instantiate_class  # noqa: E402
from lightning.pytorch.utilities import rank_zero_only  # noqa: E402

from recgnn.data import *  # noqa: E402, F403  (their classes may be named without a module)
import recgnn.models  # noqa: E402, F401
from recgnn.cli.mistakes import check_files, check_names, mistake_in  # noqa: E402
from recgnn.cli.parser import LINKED, OfData, Parser  # noqa: E402
from recgnn.evaluation.reports import REPORTS, save_figures  # noqa: E402
from recgnn.training import report  # noqa: E402
from recgnn.training import run_folder as runs  # noqa: E402
from recgnn.training.artifacts import log_checkpoints  # noqa: E402
from recgnn.training.callbacks import EpochSeed, RunFolder  # noqa: E402
from recgnn.training.progress import EpochProgress  # noqa: E402

DEFAULTS = {"max_epochs": 300, "num_sanity_val_steps": 0, "enable_model_summary": False, "log_every_n_steps": 10}
PATIENCE = 20
if torch.backends.mps.is_available() and not torch.cuda.is_available():
    DEFAULTS["accelerator"] = "cpu"  # no float64 and no sparse product there


class RecCLI(LightningCLI):
    """LightningCLI with sizes linked from data to model, a run folder, and one command a time.

    Args:
        command: which.
        argv: its options.
        chosen: a finished first half of `fit --refit`, of which this is the second: trained on train and validation
            for as many epochs as were best on validation.
    """

    def __init__(self, command: str, argv: list[str], chosen: RecCLI | None = None):
        self.command, self.chosen = command, chosen
        self.stage = "fit" if chosen is None else "refit"  # or "select", the first half of two
        self.best_epoch: int | None = None  # where a training ended well
        self.run_dir: Path | None = None
        self.made: list[Path] = []  # folders that this run is to make, the run folder first
        try:
            super().__init__(
                LightningModule,
                LightningDataModule,
                subclass_mode_model=True,
                subclass_mode_data=True,
                save_config_callback=None,
                parser_class=Parser,
                seed_everything_default=42,
                trainer_defaults=DEFAULTS,
                parser_kwargs={"prog": "recgnn"},
                args=[command, *argv],
            )
        except BaseException as error:
            self._finish_loggers()
            if rank_zero_only.rank == 0:
                runs.remove_unfinished(self.made)
            if (mistake := mistake_in(error)) is not None and mistake is not error:
                raise mistake from error
            raise
        self._finish_loggers()

    def _finish_loggers(self) -> None:
        for logger in getattr(getattr(self, "trainer", None), "loggers", []):
            if hasattr(logger, "finish"):
                logger.finish()

    def subcommands(self) -> dict[str, set[str]]:
        return {self.command: LightningCLI.subcommands()[self.command]}

    def _add_subcommands(self, parser: LightningArgumentParser, **kwargs: Any) -> None:
        super()._add_subcommands(parser, **kwargs)
        self._subcommand_parsers[self.command].prog = f"python -m recgnn.{self.command}"

    def _add_instantiators(self) -> None:
        super()._add_instantiators()
        self.parser.add_instantiator(OfData(cli=self, key="model"), LightningModule, subclasses=True, prepend=True)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument("--run_dir", type=str | None, default=None, help="Run folder (runs/<model>-<data>/<n>).")
        parser.add_argument("--overwrite", type=bool, default=False, help="Replace a run that --run_dir holds.")
        parser.add_argument(
            "--refit",
            type=bool,
            default=False,
            help="Fit twice: choose the number of epochs on validation, then train on train and validation together "
            "for that many, and test that once.",
        )
        parser.add_argument(
            "--log_checkpoints",
            type=bool,
            default=False,
            help="Send the best and the last checkpoint to W&B, as an artifact that is a run folder once downloaded.",
        )
        if self.command != "fit":
            parser.add_argument("--run", type=str | None, default=None, help="The run folder to measure.")
            parser.add_argument("--output", type=str | None, default=None, help="The metrics, as a JSON file.")
        for name in LINKED:
            parser.link_arguments(
                "data",
                f"model.init_args.{name}",
                apply_on="instantiate",
                compute_fn=lambda data, name=name: getattr(data, name, None),
            )

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        config = self._get(self.config_init, "trainer")
        callbacks = config["callbacks"] or []
        callbacks = callbacks if isinstance(callbacks, list) else [callbacks]
        fitting = self.command == "fit"
        if fitting:
            checkpoints = self._choose_folder()
            callbacks = self._training_callbacks(callbacks, checkpoints)
            config["default_root_dir"] = str(self.run_dir)
        if config["logger"] in (None, True) and not config["barebones"]:
            config["logger"] = self._wandb() if fitting else False
        if fitting:
            self._introduce(config["logger"])
        own_bar = any(isinstance(callback, ProgressBar) for callback in callbacks)
        if config["enable_progress_bar"] is not False and not config["barebones"] and not own_bar:
            callbacks.append(EpochProgress())
        if hasattr(self.model, "task") and self.command != "validate":
            callbacks.append(REPORTS[self.model.task](self.run_dir))
        config["callbacks"] = callbacks
        if not config["plugins"]:
            config["plugins"] = [runs.AtomicCheckpointIO()]
        output = self._get(self.config, "output")
        if output and Path(output).suffix != ".json":
            raise ConfigError(f"--output {output}: expected a name that ends in .json")
        try:
            return super().instantiate_trainer(**kwargs)
        except (ValueError, TypeError, RuntimeError) as error:
            raise ConfigError(f"trainer: {' '.join(str(error).split())}") from error

    def _choose_folder(self) -> Path:
        """Decides where the run goes and what it goes on from; returns its folder of checkpoints."""
        resume = self._get(self.config, "ckpt_path") == "last"
        last = Path("checkpoints") / runs.LAST
        if self.stage == "refit":
            self.run_dir = self.chosen.run_dir.parent
            resume = resume and (self.run_dir / last).is_file()
            self.config_init[self.command]["ckpt_path"] = None
        else:
            subject = getattr(self.datamodule, "name", type(self.datamodule).__name__)
            base = Path("runs") / f"{type(self.model).__name__.lower()}-{subject}"
            given, overwrite = self._get(self.config, "run_dir"), self._get(self.config, "overwrite")
            new = given is None and not resume
            above = runs.missing(base) if new else []  # which are made with a new folder
            self.run_dir = runs.choose_folder(given, base, resume, overwrite)
            self.made = [self.run_dir, *above] if new else []
            if self._get(self.config, "refit"):
                self._check_refit()
                self.stage, self.run_dir = "select", self.run_dir / runs.SELECTION
            if resume and not (self.run_dir / last).is_file():
                raise RunError(f"{self.run_dir}: has no {last} to continue from; leave --ckpt_path out to start it")
            self.made = list(dict.fromkeys([*runs.missing(self.run_dir), *self.made]))
        if resume:
            self.config_init[self.command]["ckpt_path"] = str(self.run_dir / last)
        return self.run_dir / "checkpoints"

    def _check_refit(self) -> None:
        prepared = self.datamodule.prepared
        if not len(prepared.val) or prepared.summary["val_is_test"]:
            raise ConfigError(
                f"--refit needs a validation part apart from test, and the split has none "
                f"({prepared.summary['split']}); leave --refit out or choose another split"
            )
        if self.datamodule.prepared_folder is not None:
            raise ConfigError("--refit splits the data anew and cannot start from prepared data; give the source")
        scheduler = self._get(self.config, "lr_scheduler")
        watched = str(scheduler.get("init_args.monitor", "")) if scheduler else ""
        if watched.startswith("val/"):
            raise ConfigError(
                f"--refit: the scheduler watches {watched}, and its second half trains on the validation part; take "
                "one that follows the epochs, such as CosineAnnealingLR"
            )

    def _training_callbacks(self, callbacks: list, checkpoints: Path) -> list:
        """The configuration's callbacks with places for their checkpoints, and the usual ones where it has none."""
        name, mode = self.model.monitor
        validated = len(self.datamodule.prepared.val) > 0
        checkpoints = Path(os.path.realpath(checkpoints))
        best = None
        if self.stage == "refit":  # nothing is validated any more
            callbacks = [c for c in callbacks if not str(getattr(c, "monitor", None)).startswith("val/")]
        for callback in callbacks:
            if isinstance(callback, EarlyStopping | ModelCheckpoint) and callback.monitor:
                self._check_monitor(callback, validated)
            if isinstance(callback, ModelCheckpoint) and callback.dirpath is None:
                callback.dirpath = str(checkpoints)
                if best is None and callback.monitor and callback.save_top_k == 1 and not callback.filename:
                    best, callback.filename, callback._enable_version_counter = callback, "best", False
        extra: list = []
        if validated and not any(isinstance(c, EarlyStopping) for c in callbacks):
            extra.append(EarlyStopping(name, mode=mode, patience=PATIENCE))
        if validated and best is None:
            extra.append(
                ModelCheckpoint(checkpoints, "best", monitor=name, mode=mode, enable_version_counter=False)
            )
        folder = RunFolder(self.run_dir, (self.chosen or self)._config_text(self.run_dir), self.stage)
        last = ModelCheckpoint(
            checkpoints, "last", save_on_train_epoch_end=True, enable_version_counter=False
        )
        others = [c for c in callbacks + extra if not isinstance(c, Checkpoint)]
        savers = [c for c in callbacks + extra if isinstance(c, Checkpoint)]
        return [EpochSeed(), folder, *others, *savers, last]  # `last` keeps the state of all before it

    def _check_monitor(self, callback: EarlyStopping | ModelCheckpoint, validated: bool) -> None:
        what = f"{type(callback).__name__} watches {callback.monitor}"
        if not validated and callback.monitor.startswith("val/"):
            raise ConfigError(f"{what}, but the split leaves no validation part; remove it or choose a split with one")
        known = [*self.model.metric_names, "train/loss", "train/loss_epoch", "train/loss_step"]
        if callback.monitor not in known:
            raise ConfigError(
                f"{what}, which is not measured{did_you_mean(callback.monitor, known)}; change it with "
                "--trainer.callbacks, or take the usual callbacks with --trainer.callbacks null"
            )

    def _config_text(self, folder: Path) -> str:
        parser = self._parser(self.subcommand)
        config = self.config[self.subcommand].clone()
        for name, value in {"ckpt_path": None, "run_dir": None, "overwrite": False}.items():
            config[name] = value  # of this call, not of the run: the file is to be run again
        text = parser.dump(config, skip_link_targets=True, skip_none=False)
        return f"# python -m recgnn.fit --config {folder}/config.yaml --run_dir <another folder>\n{text}"

    def _wandb(self):
        from recgnn.training.wandb_logger import WandbLogger  # wandb takes a second to import

        return WandbLogger()

    def _introduce(self, loggers: Any) -> None:
        """Tell the loggers that want to know what is trained, on what, and where."""
        loggers = loggers if isinstance(loggers, list) else [loggers]
        model, subject = type(self.model).__name__, getattr(self.datamodule, "name", "data")
        name, place = f"{model.lower()}-{subject}", self.run_dir.parts[-2 if self.stage == "select" else -1 :]
        tags = [model, subject, *([self.model.task] if hasattr(self.model, "task") else [])]
        resumed = self._get(self.config, "ckpt_path") == "last"
        for logger in loggers:
            if hasattr(logger, "belong_to"):
                logger.belong_to(self.run_dir, "-".join([name, *place]), name, self.stage, tags, resumed)
        if self._get(self.config, "log_checkpoints") and not any(hasattr(x, "log_checkpoint") for x in loggers):
            raise ConfigError("--log_checkpoints true sends them to W&B, which is off; leave out --trainer.logger")

    def _add_configure_optimizers_method_to_model(self, subcommand: str | None) -> None:
        """As LightningCLI's, but a scheduler without an optimizer goes with the model's own."""
        scheduler = self._get(self.config_init, "lr_scheduler")
        if scheduler and not self._get(self.config_init, "optimizer"):
            own = self.model.configure_optimizers

            def configure_optimizers():
                optimizer = own()
                return LightningCLI.configure_optimizers(
                    self.model, optimizer, instantiate_class(optimizer, scheduler)
                )

            self.model.configure_optimizers = configure_optimizers
            return
        super()._add_configure_optimizers_method_to_model(subcommand)

    def _prepare_subcommand_kwargs(self, subcommand: str) -> dict[str, Any]:
        kwargs = super()._prepare_subcommand_kwargs(subcommand)
        if kwargs.get("ckpt_path") and kwargs["ckpt_path"] not in ("best", "hpc"):
            runs.read_checkpoint(kwargs["ckpt_path"])  # refuses what is not ours before Lightning opens it
            kwargs["weights_only"] = True
        if subcommand in ("validate", "test"):
            kwargs["verbose"] = False
        return kwargs

    def _parse_ckpt_path(self) -> None:
        path = self.config[self.command].get("ckpt_path")
        if path and path not in ("best", "last", "hpc"):
            runs.read_checkpoint(path)
        super()._parse_ckpt_path()

    # ---- around the commands

    def before_fit(self) -> None:
        if rank_zero_only.rank == 0:
            if self.stage == "select":
                print("first, the number of epochs is chosen on validation")
            elif self.stage == "refit":
                print(f"now, {self.chosen.best_epoch + 1} epochs on train and validation together")
            print(self.datamodule.describe(getattr(self.model, "task", "ranking")))
            parameters = sum(p.numel() for p in self.model.parameters())
            print(f"{type(self.model).__name__}: {parameters:,} parameters; run folder {self.run_dir}", flush=True)

    def after_fit(self) -> None:
        """Test the best checkpoint, write metrics.json and the learning curves, print the table."""
        if self.trainer.interrupted or self.trainer.fast_dev_run:
            return
        folder = next(c for c in self.trainer.callbacks if isinstance(c, RunFolder))
        folder.read_rows(self.trainer)
        best = runs.best_checkpoint(self.run_dir)
        self.best_epoch = int(runs.read_checkpoint(best)["epoch"])
        test: dict[str, float] = {}
        if len(self.datamodule.prepared.test) and self.stage != "select":
            self.trainer.test(
                self.model, datamodule=self.datamodule, ckpt_path=str(best), weights_only=True, verbose=False
            )
            test = report.part_metrics(self.trainer.callback_metrics, "test")
        if not self.trainer.is_global_zero:
            return
        summary = self.datamodule.prepared.summary
        content = report.results(folder.rows, test, self.best_epoch, self.trainer.current_epoch, summary)
        content |= {"groups": groups} if (groups := self._groups()) else {}
        rows = folder.rows
        if self.stage == "refit":
            content, rows = report.refitted(content, self.chosen.run_dir)
        runs.write_json(self.run_dir / "metrics.json", content)
        curves = report.curves(rows, self.model.monitor[0], content["best_epoch"])
        save_figures(self.trainer, self.run_dir, curves)
        self._log_results(content, folder.rows)
        if self.stage == "select":
            report.print_metrics({"val": content["val"]})
        else:
            task = getattr(self.model, "task", "ranking")
            report.print_fit(content, self.run_dir, self.datamodule.prepared, self.trainer.loggers, task)

    def _log_results(self, content: dict[str, Any], rows: list[dict[str, Any]]) -> None:
        """What is known at the end into the loggers, and the checkpoints where they are wanted."""
        sent = self._get(self.config, "log_checkpoints") and self.stage != "select"
        for logger in self.trainer.loggers:
            if hasattr(logger, "log_summary"):
                logger.log_summary(report.summary(content))
            if sent and hasattr(logger, "log_checkpoint"):
                log_checkpoints(logger, self.run_dir, type(self.model).__name__, self.datamodule.name, content, rows)
            logger.finalize("success")

    def _groups(self) -> dict[str, list[dict]]:
        """What the report on the test part found by group."""
        reports = [c for c in self.trainer.callbacks if isinstance(c, tuple(REPORTS.values()))]
        return reports[0].groups if reports else {}

    def before_test(self) -> None:
        self._need("test")

    def before_validate(self) -> None:
        self._need("val")

    def _need(self, part: str) -> None:
        prepared = self.datamodule.prepared
        if not len(getattr(prepared, part)):
            raise DataError(f"{prepared.name}: has no {part} part to measure on ({prepared.summary['split']})")

    def after_test(self) -> None:
        self._show("test")

    def after_validate(self) -> None:
        self._show("val")

    def _show(self, part: str) -> None:
        values = report.part_metrics(self.trainer.callback_metrics, part)
        output = self._get(self.config, "output")
        if self.trainer.is_global_zero:
            report.print_metrics({part: values})
            report.print_groups(self._groups())
            if output:
                runs.write_json(Path(output).expanduser(), {part: values})


def main(command: str, argv: list[str] | None = None) -> RecCLI:
    """Run `fit`, `validate` or `test`; returns the cli with `.trainer`, `.model` and `.datamodule`.

    Args:
        command: which.
        argv: its options, as on the command line; those of this process by default.

    Raises:
        RecGNNError: for a person's mistake.
    """
    argv = [{"--help_all": "--help"}.get(option, option) for option in (sys.argv[1:] if argv is None else argv)]
    if command in ("validate", "test"):
        argv = of_run(argv)
    check_names(argv)
    check_files(argv)
    cli = RecCLI(command, argv)
    if cli.stage == "select" and cli.best_epoch is not None:
        again = [f"--trainer.max_epochs={cli.best_epoch + 1}", "--data.init_args.merge_val=true"]
        return RecCLI(command, [*argv, *again], chosen=cli)
    return cli


def of_run(argv: list[str]) -> list[str]:
    """`--run DIR` spelled out: the run's configuration, prepared data and best checkpoint."""
    for place, option in enumerate(argv):
        if option == "--run" or option.startswith("--run="):
            value = option.partition("=")[2] or (argv[place + 1] if place + 1 < len(argv) else "")
            rest = argv[:place] + argv[place + (1 if "=" in option else 2) :]
            run = runs.existing_run(value)
            if fixed := [o.partition("=")[0] for o in rest if o.startswith("--model")]:
                raise ConfigError(f"{fixed[0]}: the model of a run is fixed; leave it out, or train another run")
            own = [f"--config={run / 'config.yaml'}", f"--data.init_args.prepared={run / 'vocabulary'}"]
            own += ["--run_dir=null", "--trainer.logger=false", "--trainer.callbacks=null"]
            if not any(o.startswith("--ckpt_path") for o in rest):
                own.append(f"--ckpt_path={runs.best_checkpoint(run)}")
            return own + rest
    return argv
