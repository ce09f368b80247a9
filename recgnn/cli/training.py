"""LightningCLI for a plain model, a training that wraps it and a data module: what fit, validate and test share."""

from __future__ import annotations

from inspect import Parameter, signature
from pathlib import Path
from traceback import extract_tb
from typing import Annotated, Any, Literal

import torch
from jsonargparse import Namespace
from lightning import LightningDataModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, instantiate_class

from recgnn.cli.class_help import class_help
from recgnn.cli.classes import argument_names, default_arguments, path_of
from recgnn.cli.command_line import CommandLine
from recgnn.cli.messages import check_names, mistake_in
from recgnn.cli.parser import Parser
from recgnn.cli.process import set_up_process
from recgnn.data.interactions.usual_split import UsualSplit
from recgnn.errors import ConfigError, Count, Fraction, NonNegative, Range, Seed, Whole, check, hints_of
from recgnn.evaluation.reports import REPORTS
from recgnn.models.base import SIZES, Model
from recgnn.serving.vectors import vectors_of_run
from recgnn.training import sharded, torchrec_strategy  # noqa: F401  # which register their strategies
from recgnn.training.base import Training
from recgnn.training.checkpoints import AtomicCheckpointIO
from recgnn.training.from_run import Parent
from recgnn.training.progress import EpochProgress

set_up_process()
DEFAULTS: dict[str, Any] = {
    "max_epochs": 300,
    "num_sanity_val_steps": 0,
    "enable_model_summary": False,
    "log_every_n_steps": 10,
}
ENDLESS = Literal[-1] | Count
SOME = Count | Annotated[float, Range(0, 1, above=True)] | None
TRAINER: dict[str, Any] = {
    "max_epochs": ENDLESS | None,
    "min_epochs": Whole | None,
    "max_steps": ENDLESS,
    "min_steps": Whole | None,
    "limit_train_batches": SOME,
    "limit_val_batches": Count | Fraction | None,
    "limit_test_batches": Count | Fraction | None,
    "val_check_interval": SOME | str | dict[str, Any],
    "check_val_every_n_epoch": Count | None,
    "accumulate_grad_batches": Count,
    "gradient_clip_val": NonNegative | None,
    "log_every_n_steps": Whole | None,
    "num_sanity_val_steps": Literal[-1] | Whole | None,
}
"""What Lightning's Trainer accepts and fails at later, or takes for something else."""
TITLES = {
    "data": "data: what is learnt from",
    "model": "model: the architecture",
    "training": "training: the task, the loss, the optimizer and the metrics",
    "trainer": "trainer: Lightning's Trainer",
    "optimizer": "optimizer: in place of the training's own",
    "lr_scheduler": "lr_scheduler: the course of the learning rate",
}
if torch.backends.mps.is_available() and not torch.cuda.is_available():
    DEFAULTS["accelerator"] = "cpu"  # no float64 and no sparse product there


class TrainingCLI(LightningCLI):
    """One command of LightningCLI, run when it is made, with the sections data, model, training and trainer.

    Args:
        command: `fit`, `validate` or `test`.
        argv: Its options.

    Attributes:
        model: The training, a LightningModule; the plain model is its `.model`.
        datamodule: The data module.
        trainer: Lightning's Trainer.
        run_dir: The run folder of `fit`.

    Raises:
        RecGNNError: For a person's mistake.
    """

    model: Training
    run_dir: Path | None = None
    parent: Parent | None = None  # the run that training starts from

    def __init__(self, command: str, argv: list[str]):
        check_names(argv)
        self.command, self.line = command, CommandLine(argv)
        if self.line.help is not None:
            print(class_help(self.line), end="")
            raise SystemExit(0)
        try:
            super().__init__(
                Training,
                LightningDataModule,
                save_config_callback=None,
                parser_class=Parser,
                seed_everything_default=42,
                trainer_defaults=DEFAULTS,
                parser_kwargs={"prog": "recgnn"},
                args=[command, *({"--help_all": "--help"}.get(word, word) for word in self.line.argv)],
            )
        except BaseException as error:
            self.stopped(error)
            mistake = mistake_in(error) or self._mistake_in_optimizer(error)
            if mistake is not None and mistake is not error:
                raise mistake from error
            raise

    def _mistake_in_optimizer(self, error: BaseException) -> ConfigError | None:
        """Return what torch says of values that were given to an optimizer or a scheduler; None for other errors."""
        config = getattr(self, "config_init", None)
        given = [name for name in ("optimizer", "lr_scheduler") if config is not None and self._get(config, name)]
        raised_in = Path(extract_tb(error.__traceback__)[-1].filename)
        if given and isinstance(error, Exception) and raised_in.parent.name == "optim":
            return ConfigError(f"{' or '.join(given)}: {' '.join(str(error).split())}")
        return None

    def stopped(self, error: BaseException) -> None:
        """Clean up when the command did not end well; called with the reason."""

    # ---- the parser

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]  # this command only
        return {self.command: LightningCLI.subcommands()[self.command]}

    def _add_subcommands(self, parser: LightningArgumentParser, **kwargs: Any) -> None:
        super()._add_subcommands(parser, **kwargs)
        own = self._subcommand_parsers[self.command]
        own.prog = f"python -m recgnn.{self.command}"
        own.usage = f"{own.prog} [options]"

    def add_core_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_subclass_arguments(LightningDataModule, "data", required=True, fail_untyped=False)
        parser.add_subclass_arguments(Model, "model", required=True, fail_untyped=False, skip=set(SIZES))
        parser.add_subclass_arguments(Training, "training", required=False, fail_untyped=False, skip={"model"})
        arguments = default_arguments(self.line.training, self.line.model, self.line.classes.get("training.loss"))
        parser.set_defaults({"training": {"class_path": path_of(self.line.training), "init_args": arguments}})
        parser.add_lightning_class_args(Trainer, "trainer")
        parser.set_defaults({f"trainer.{name}": value for name, value in self.trainer_defaults.items()})

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument("--run_dir", type=str | None, default=None, help="Run folder (runs/<model>-<data>/<n>).")
        parser.add_argument("--overwrite", type=bool, default=False, help="Replace a run that --run_dir holds.")
        if self.command == "fit":  # Lightning's own means something else for the others
            told = "Tell every field of the data before training."
            parser.add_argument("--verbose", type=bool, default=False, help=told)
            told = "The folder of a run whose parameters, by id, training starts from."
            parser.add_argument("--from_run", type=str | None, default=None, help=told)
            told = "How many configurations were tried on the validation part, this one among them; compare tells it."
            parser.add_argument("--trials", type=Count | None, default=None, help=told)
        parser.add_argument(
            "--refit",
            type=bool,
            default=False,
            help="Fit twice: choose the number of epochs on validation data, then train on training and validation "
            "data together for that many epochs, and test that once.",
        )
        parser.add_argument(
            "--baselines",
            type=bool | None,
            default=None,
            help="Fit simple methods to the data too (of rankings: EASE or GraphFilter, and ItemKNN, with settings "
            "chosen on validation; of clicks: LR, and LightGBM where it is installed), and show them in the table; "
            "when null, of rankings EASE with its usual l2, where it takes 5 seconds or less.",
        )
        parser.add_argument(
            "--log_checkpoints",
            type=bool,
            default=False,
            help="Send the best and the last checkpoint to W&B, as an artifact that is a run folder once downloaded.",
        )

    def _add_arguments(self, parser: LightningArgumentParser) -> None:
        super()._add_arguments(parser)
        for name, title in TITLES.items():
            (parser.groups or {})[name].title = title

    def _parse_ckpt_path(self) -> None:
        """Refuse names that Lightning knows and we do not; no hyper-parameters are taken from a checkpoint."""
        path = self.config[self.command].get("ckpt_path")
        if path in ("", "best", "hpc") or (path == "last" and self.command != "fit"):
            last = "last, or " if self.command == "fit" else ""
            raise ConfigError(f"--ckpt_path {path}: expected {last}the file of a checkpoint")
        if path not in (None, "last") and self.config[self.command].get("from_run"):
            raise ConfigError(f"--ckpt_path {path} and --from_run both say what training starts from; give one of them")

    # ---- the objects

    def _set_seed(self) -> None:
        seed = self._get(self.config, "seed_everything")
        check("", {"seed_everything": seed}, {"seed_everything": bool | Seed | None})
        super()._set_seed()

    def _add_instantiators(self) -> None:
        """Make the data first, then the model with its sizes, then the training around the model."""
        made: dict[str, Any] = {}

        def make_data(cls: type, *args: Any, **kwargs: Any) -> Any:
            made["data"] = cls(*args, **kwargs)
            if hasattr(cls, "read_run"):
                made["data"].read_run = vectors_of_run
            if self.parent is not None:
                if not hasattr(cls, "earlier") or made["data"].prepared_folder is not None:
                    raise ConfigError(
                        f"--from_run adds to the run's users, items and values, and {cls.__name__} has prepared data "
                        "or none; give the source"
                    )
                made["data"].earlier = self.parent.prepared
            return made["data"]

        def make_model(cls: type[Model], *args: Any, **kwargs: Any) -> Model:
            made["model"] = cls(*args, **kwargs, **sizes_for(cls, made["data"]))
            return made["model"]

        def make_training(cls: type[Training], *args: Any, **kwargs: Any) -> Training:
            return cls(made["model"], *args, **kwargs)

        for make, base in ((make_data, LightningDataModule), (make_model, Model), (make_training, Training)):
            self.parser.add_instantiator(make, base, subclasses=True)

    def instantiate_classes(self) -> None:
        """Make the objects, with their arguments checked before the data are read.

        Raises:
            ConfigError: For a section that is null, or a value out of its range.
        """
        for section, cls in (("model", self.line.model), ("training", self.line.training)):
            given = self._get(self.config, section)
            if given is None:
                raise ConfigError(f"{section} is null; name a class, or leave it out")
            if cls is not None:  # before the data are read, which may take long
                check(cls.__name__, vars(given).get("init_args") or {}, hints_of(cls))
        self.config_init = self.parser.instantiate_classes(self.config)
        self.datamodule = self._get(self.config_init, "data")
        self.model = self._get(self.config_init, "training")
        for option, value in self.by_data().items():  # config.yaml has it, too
            section, _, name = option.partition(".")
            setattr({"data": self.datamodule, "training": self.model}[section], name, value)
            self._get(self.config, section)["init_args"][name] = value
        self._add_configure_optimizers_method_to_model(self.subcommand)
        self.trainer = self.instantiate_trainer()

    def by_data(self) -> dict[str, Any]:
        """Return what the configuration leaves to the size of the data: values by dotted option."""
        return self.model.chosen(self.datamodule)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Make Lightning's trainer.

        Raises:
            ConfigError: For arguments that it refuses.
        """
        config = self._get(self.config_init, "trainer")
        check("trainer", config, TRAINER)
        callbacks = config["callbacks"] or []
        self.prepare_trainer(config, callbacks if isinstance(callbacks, list) else [callbacks])
        own_bar = any(isinstance(callback, ProgressBar) for callback in config["callbacks"])
        if config["enable_progress_bar"] is not False and not config["barebones"] and not own_bar:
            config["callbacks"].append(EpochProgress())
        if self.command != "validate":
            config["callbacks"].append(REPORTS[self.model.task](self.run_dir))
        config["plugins"] = config["plugins"] or [AtomicCheckpointIO()]
        try:
            return super().instantiate_trainer(**kwargs)
        except (ValueError, TypeError, LookupError, ArithmeticError, RuntimeError, ImportError) as error:
            raise ConfigError(f"trainer: {' '.join(str(error).split())}") from error

    def prepare_trainer(self, config: Any, callbacks: list) -> None:
        """Set the trainer's callbacks, logger and folder.

        Args:
            config: The trainer's arguments, to be changed.
            callbacks: The callbacks of the configuration.
        """
        config["callbacks"] = callbacks
        if config["logger"] in (None, True):
            config["logger"] = False

    def _add_configure_optimizers_method_to_model(self, subcommand: str | None) -> None:
        """Override the optimizer, as LightningCLI does; a scheduler alone goes with the training's own optimizer."""
        scheduler = self._get(self.config_init, "lr_scheduler")
        if scheduler and not self._get(self.config_init, "optimizer"):
            own = self.model.configure_optimizers

            def configure_optimizers() -> Any:
                optimizer = own()
                return LightningCLI.configure_optimizers(self.model, optimizer, instantiate_class(optimizer, scheduler))

            self.model.configure_optimizers = configure_optimizers  # type: ignore[method-assign]
            return
        super()._add_configure_optimizers_method_to_model(subcommand)

    def config_text(self) -> str:
        """Return the complete configuration as YAML, without the options that belong to this call only."""
        config = self.config[self.subcommand].clone()
        for name, value in {"ckpt_path": None, "run_dir": None, "overwrite": False, "verbose": False}.items():
            if name in config:
                config[name] = value
        usual = getattr(self.datamodule, "split", None)
        if isinstance(usual, UsualSplit) and self.datamodule.prepared_folder is None:  # the one that was taken
            taken = usual.chosen(self.datamodule.prepared.summary["split"])
            values = {name: getattr(taken, name) for name in argument_names(type(taken))} if taken else {}
            config["data"]["init_args"]["split"] = described(type(taken), values) if taken else None
        return self._parser(self.subcommand).dump(config, skip_link_targets=True, skip_none=False, skip_validation=True)


def described(cls: type, given: dict[str, Any]) -> Namespace:
    """Return an object of a class, made with some arguments, as a complete configuration has it."""
    values = {name: parameter.default for name, parameter in signature(cls).parameters.items()} | given
    values = {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
    return Namespace(class_path=path_of(cls), init_args=Namespace(values))


def sizes_for(model: type[Model], data: Any) -> dict[str, Any]:
    """Take the sizes that a model's constructor needs from the data module.

    Raises:
        ConfigError: If the model reads other data.
    """
    parameters = signature(model).parameters
    wanted = [name for name in SIZES if name in parameters]
    missing = [n for n in wanted if not hasattr(data, n) and parameters[n].default is Parameter.empty]
    if missing:
        kind = {"interactions": "GraphDataModule", "events": "CTRDataModule"}[model.reads]
        raise ConfigError(
            f"model: {model.__name__} reads {model.reads}, and {type(data).__name__} does not give them; take data of "
            f"class {kind}, or another model"
        )
    return {name: getattr(data, name) for name in wanted if hasattr(data, name)}
