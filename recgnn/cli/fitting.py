"""The CLI of `fit`: run folder, best.ckpt, last.ckpt, loggers before training; test, metrics.json, figures after it."""

from __future__ import annotations

import io
import os
import shlex
from contextlib import ExitStack, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

from recgnn.cli.classes import path_of
from recgnn.cli.entry import Terminated
from recgnn.cli.run_callbacks import run_callbacks
from recgnn.cli.training import TrainingCLI
from recgnn.data.stored import digest_of, write_json
from recgnn.errors import ConfigError, RunError
from recgnn.evaluation.reports import Report, save_figures
from recgnn.files import locked
from recgnn.training import click_yardsticks, new_run, report, yardsticks
from recgnn.training import run_folder as runs
from recgnn.training.artifacts import log_checkpoints
from recgnn.training.callbacks import RunFolder
from recgnn.training.checkpoints import AtomicCheckpointIO
from recgnn.training.from_run import Parent, StartFrom

LAST = Path("checkpoints") / runs.LAST
YARDSTICKS = {"ranking": yardsticks, "clicks": click_yardsticks}
"""By task, the simple methods that are measured beside a run."""


class Processes(NamedTuple):
    """The processes of a run as one of them sees them: how many are on its node, on how many nodes, and Lightning's
    environment of the cluster, which tells it its ranks."""

    devices: int
    num_nodes: int
    environment: Any


class FitCLI(TrainingCLI):
    """Train a model into a run folder and test its best checkpoint.

    Args:
        argv: The options of `fit`.
        chosen: The finished first half of `fit --refit`, which chose the number of epochs; this is the second half.
        processes: Those of the run, where something else than Lightning or a launcher that it knows has started them.

    Attributes:
        stage: `fit`; `select` or `refit` for the halves of `fit --refit`.
        best_epoch: The best epoch, once the training has ended well.
        content, rows: What metrics.json and metrics.csv hold, then.
        held: The lock of the run folder; released when both halves have ended.
    """

    def __init__(self, argv: list[str], chosen: FitCLI | None = None, processes: Processes | None = None):
        self.chosen, self.processes = chosen, processes
        self.stage = "fit" if chosen is None else "refit"
        self.best_epoch: int | None = None
        self.content: dict[str, Any] = {}
        self.rows: list[dict[str, Any]] = []
        self.left_to_data: dict[str, Any] = {}
        self.notes: list[str] = []  # what a reader of the table should know
        self.made: list[Path] = []  # folders that this run makes, the run folder first
        self.held: ExitStack = ExitStack() if chosen is None else chosen.held
        try:
            super().__init__("fit", argv)
        except SystemExit as stop:  # which Lightning makes of Ctrl-C
            if isinstance(stop.__context__, KeyboardInterrupt):
                raise stop.__context__ from None
            raise
        finally:
            if self.stage != "select" or self.best_epoch is None:
                self.held.close()
        self._finish_loggers()

    def stopped(self, error: BaseException) -> None:
        self._finish_loggers()
        self.held.close()
        if new_run.rank() == 0:
            new_run.remove_unfinished(self.made)
        interrupt = error.__context__ if isinstance(error.__context__, KeyboardInterrupt) else error
        if self.run_dir is not None and isinstance(interrupt, KeyboardInterrupt | Terminated):
            folder = self.run_dir.parent if self.stage == "select" else self.run_dir
            config = shlex.quote(str(self.run_dir / "config.yaml"))
            interrupt.add_note(
                f"stopped; continue with: python -m recgnn.fit --config {config} --run_dir {shlex.quote(str(folder))} "
                "--ckpt_path last"
                if runs.can_continue(folder)
                else "stopped before the first epoch ended; there is nothing to continue"
            )

    def _finish_loggers(self) -> None:
        for logger in getattr(getattr(self, "trainer", None), "loggers", []):
            if hasattr(logger, "finish"):
                logger.finish()

    # ---- before training

    @property
    def plain_name(self) -> str:
        """The name of the model's class."""
        return type(self.model.model).__name__

    def instantiate_classes(self) -> None:
        """Make the objects, from a parent run where there is one.

        Raises:
            RunError: If the parent is a run of another kind.
        """
        if self.chosen is None and (given := self._get(self.config, "run_dir")) is not None:
            self._hold(Path(given).expanduser())  # before the data are prepared, which may take long
        if given := self._get(self.config, "from_run"):
            self.parent = Parent(given)
            if self.line.model is not None and (kind := path_of(self.line.model)) != self.parent.kind:
                raise RunError(f"--from_run {given}: is a run of {self.parent.kind}, and the configuration's is {kind}")
        super().instantiate_classes()

    def by_data(self) -> dict[str, Any]:
        """Return what is chosen by the size of the data; in the second half of `--refit` what was in the first, whose
        epochs are counted in these batches and which config.yaml tells."""
        self.left_to_data = super().by_data() if self.chosen is None else self.chosen.left_to_data
        return self.left_to_data

    def _hold(self, folder: Path) -> None:
        """Lock the run folder, so that no other process trains into it."""
        if new_run.rank() == 0:
            self.made += new_run.missing(folder)
            refusal = f"{folder}: another process is training this run; wait for its end, or choose another --run_dir"
            self.held.enter_context(locked(folder / runs.LOCK, refusal))

    def prepare_trainer(self, config: Any, callbacks: list) -> None:
        """Set the trainer's callbacks, logger and folder.

        Raises:
            ConfigError: If no checkpoint would be kept.
        """
        if config["barebones"] or config["enable_checkpointing"] is False:
            given = "barebones true" if config["barebones"] else "enable_checkpointing false"
            raise ConfigError(f"--trainer.{given}: no checkpoint would be kept, and fit tests the best; leave it out")
        self.run_dir = self._choose_folder()
        config["callbacks"] = self.training_callbacks(callbacks, self.run_dir / "checkpoints")
        config["default_root_dir"] = str(self.run_dir)
        if config["logger"] in (None, True):
            from recgnn.training.wandb_logger import WandbLogger  # wandb takes a second to import

            config["logger"] = WandbLogger()
        self._introduce(config["logger"])
        if self.processes is not None:  # config.yaml has what was asked for
            config["devices"], config["num_nodes"], environment = self.processes
            own = config["plugins"] or [AtomicCheckpointIO()]
            config["plugins"] = [*(own if isinstance(own, list) else [own]), environment]

    def _choose_folder(self) -> Path:
        """Decide where the run goes and what it continues from."""
        resume = self._get(self.config, "ckpt_path") == "last"
        if self.chosen is not None:
            assert self.chosen.run_dir is not None
            folder = self.chosen.run_dir.parent
            resume = resume and (folder / LAST).is_file()
            self.config_init[self.command]["ckpt_path"] = None
        else:
            subject = getattr(self.datamodule, "name", type(self.datamodule).__name__)
            base = Path("runs") / f"{self.plain_name.lower()}-{subject}"
            given, overwrite = self._get(self.config, "run_dir"), self._get(self.config, "overwrite")
            new = given is None and not resume
            above = new_run.missing(base) if new else []
            folder = new_run.choose_folder(given, base, resume, overwrite)
            self.made += [folder, *above] if new else []
            if given is None and folder.is_dir():
                self._hold(folder)
            if self._get(self.config, "refit"):
                self._check_refit()
                self.stage, folder = "select", folder / runs.SELECTION
            if resume and not (folder / LAST).is_file():
                raise RunError(f"{folder}: has no {LAST} to continue from; leave --ckpt_path out to start it")
            self.made = list(dict.fromkeys([*new_run.missing(folder), *self.made]))
        if resume:
            self.config_init[self.command]["ckpt_path"] = str(folder / LAST)
        return folder

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

    def training_callbacks(self, callbacks: list, checkpoints: Path) -> list:
        """Complete the callbacks of the configuration with the usual ones that it does not have.

        Args:
            callbacks: Those of the configuration; checkpoints without a folder of their own go to `checkpoints`.
            checkpoints: The run folder's folder of checkpoints.
        """
        return run_callbacks(self, callbacks, Path(os.path.realpath(checkpoints)))

    def _introduce(self, loggers: Any) -> None:
        """Tell the loggers that want to know what is trained, on what data, and in which folder."""
        assert self.run_dir is not None
        loggers = loggers if isinstance(loggers, list) else [loggers]
        subject = getattr(self.datamodule, "name", "data")
        name, place = f"{self.plain_name.lower()}-{subject}", self.run_dir.parts[-2 if self.stage == "select" else -1 :]
        resumed = self._get(self.config, "ckpt_path") == "last"
        for logger in loggers:
            if hasattr(logger, "belong_to"):
                tags = [self.plain_name, subject, self.model.task]
                logger.belong_to(self.run_dir, "-".join([name, *place]), name, self.stage, tags, resumed)
        if self._get(self.config, "log_checkpoints") and not any(hasattr(x, "log_checkpoint") for x in loggers):
            raise ConfigError("--log_checkpoints true sends them to W&B, which is off; leave out --trainer.logger")

    def before_fit(self) -> None:
        """Say what is trained now, before Lightning starts."""
        if new_run.rank() == 0:
            if self.stage == "select":
                print("first, the number of epochs is chosen on validation data")
            elif self.chosen is not None and self.chosen.best_epoch is not None:
                print(f"now, {self.chosen.best_epoch + 1} epochs on training and validation data together")
            for note in self.line.notes:
                print(f"note: {note}")
            print(self.datamodule.describe(self.model.task, self._get(self.config, "verbose")))
            parameters = sum(p.numel() for p in self.model.model.parameters())
            size = getattr(self.datamodule, "batch_size", None)
            batches = f"batches of {size:,}; " if size and not hasattr(self.model.model, "solve") else ""
            learnt = f"{parameters:,} parameters; " if parameters else ""
            print(f"{self.plain_name}: {learnt}{batches}run folder {self.run_dir}", flush=True)
            if hasattr(self.model.model, "solve"):
                print(f"{self.plain_name} is solved in closed form: loss, negatives, lr and optimizer are not used")
                if self.datamodule.prepared.summary.get("weights") and not self.model.model.weighted:
                    print("note: it does not use the weights of rows; iALS takes them as confidences")
            if self.model.model.remark:
                print(self.model.model.remark)
            if self.parent is not None:
                print(self.parent.told(self.datamodule, self.model), flush=True)

    def _prepare_subcommand_kwargs(self, subcommand: str) -> dict[str, Any]:
        kwargs = super()._prepare_subcommand_kwargs(subcommand)
        if path := kwargs.get("ckpt_path"):  # refuses what is not ours before Lightning opens it
            runs.about_model(runs.read_checkpoint(path), Path(path))
            kwargs["weights_only"] = True
        return kwargs

    # ---- after training

    def after_fit(self) -> None:
        """Test the best checkpoint, write metrics.json and the learning curves, print the table."""
        if self.trainer.fast_dev_run:  # type: ignore[attr-defined]  # made by Lightning's connectors
            return
        assert self.run_dir is not None
        folder = next(c for c in self.trainer.callbacks if isinstance(c, RunFolder))  # type: ignore[attr-defined]
        own = rows = folder.rows  # now: the test takes back those of its checkpoint
        reads = folder.test_reads
        best = runs.best_checkpoint(self.run_dir)
        self.best_epoch = int(runs.read_checkpoint(best)["epoch"])
        first = None if self.chosen is None else self.chosen.model
        more, told = self.model.settle(self.datamodule, best, first)
        test: dict[str, float | None] = {}
        if len(self.datamodule.prepared.test) and self.stage != "select":
            self.trainer.test(
                self.model, datamodule=self.datamodule, ckpt_path=str(best), weights_only=True, verbose=False
            )
            test = report.part_metrics(self.trainer.callback_metrics, "test")
            reads += 1
        start = next((c for c in self.trainer.callbacks if isinstance(c, StartFrom)), None)  # type: ignore[attr-defined]
        if start is not None:
            about, lines = start.compared(self.model, self.datamodule)
            more, told = more | {"from_run": about}, [*told, *lines]
        yardstick = YARDSTICKS.get(self.model.task)
        parts = [part for part in ("val", "test") if len(getattr(self.datamodule.prepared, part))]
        parts = [part for part in parts if part != "test" or self.stage != "select"]
        earlier = {} if self.chosen is None else self.chosen.content.get("baselines", {})
        asked = (self.model, parts, self._get(self.config, "baselines"), earlier)
        baselines = yardstick.beside(self.datamodule, *asked) if yardstick is not None else {}
        if not self.trainer.is_global_zero:
            return
        summary = self.datamodule.prepared.summary
        epochs = 0 if hasattr(self.model.model, "solve") else self.trainer.current_epoch
        content = report.results(own, test, self.best_epoch, epochs, summary)
        content |= more
        content |= {"groups": groups} if (groups := groups_of(self.trainer)) else {}
        content |= {"baselines": baselines} if baselines else {}
        content |= {"trials": self._get(self.config, "trials"), "test_reads": reads}
        if self.chosen is not None:
            content, rows = report.refitted(content, self.chosen.content), self.chosen.rows
        notes = [*self.notes, *told, *(metrics.note for metrics in self.model.metrics.values())]
        notes += yardstick.remarks(content, self.model) if yardstick is not None else []
        content |= {"notes": notes} if (notes := [note for note in dict.fromkeys(notes) if note]) else {}
        self.content, self.rows = content, rows
        written = [self.run_dir / name for name in ("config.yaml", "metrics.csv", "users.parquet")]
        sums = {"files": {path.name: digest_of(path) for path in written if path.is_file()}}
        save_figures(self.trainer, self.run_dir, report.curves(rows, self.model.monitor[0], content["best_epoch"]))
        write_json(self.run_dir / "metrics.json", content | sums, sealed=True)  # last: the run is finished now
        self._log_results(content, own)
        if self.stage == "select":
            report.print_metrics({"val": content["val"]})
        else:
            prepared = self.datamodule.prepared
            read = [cls for place, cls in self.line.classes.items() if place.partition(".")[0] in ("model", "training")]
            ours = all(cls.__module__.startswith("recgnn.") for cls in (*read, type(self.datamodule)))
            report.print_fit(content, self.run_dir, prepared, self.trainer.loggers, self.model.task, not ours)

    def _log_results(self, content: dict[str, Any], rows: list[dict[str, Any]]) -> None:
        """Send the final metrics to the loggers, and the checkpoints if that was asked for."""
        assert self.run_dir is not None
        sent = self._get(self.config, "log_checkpoints") and self.stage != "select"
        for logger in self.trainer.loggers:
            if hasattr(logger, "log_summary"):
                logger.log_summary(report.summary(content))
            if sent and hasattr(logger, "log_checkpoint"):
                log_checkpoints(logger, self.run_dir, self.plain_name, self.datamodule.name, content, rows)
            logger.finalize("success")


def configuration(argv: list[str]) -> str:
    """Return the complete configuration of options of `fit`, as YAML.

    Raises:
        ConfigError: If an option is unknown, or a value of the wrong type.
    """
    output = io.StringIO()
    try:
        with redirect_stdout(output):
            FitCLI([*argv, "--print_config"])
    except SystemExit as stop:
        if stop.code:
            raise
    return output.getvalue()


def groups_of(trainer: Any) -> dict[str, list[dict[str, Any]]]:
    """Return the metrics by group that the report on the test part has computed."""
    return next((callback.groups for callback in trainer.callbacks if isinstance(callback, Report)), {})
