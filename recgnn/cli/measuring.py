"""The CLI of `validate` and `test`: measure a run on one part of its data."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from lightning.pytorch.cli import LightningArgumentParser

from recgnn.cli.classes import path_of
from recgnn.cli.fitting import groups_of
from recgnn.cli.received import settings_of
from recgnn.cli.training import TrainingCLI
from recgnn.data.stored import reading, write_json
from recgnn.errors import ConfigError, DataError, RunError
from recgnn.models.base import SIZES
from recgnn.training import report
from recgnn.training import run_folder as runs


class MeasureCLI(TrainingCLI):
    """Measure a run and print a table of metrics.

    Args:
        command: `validate` or `test`.
        argv: Its options.
    """

    def __init__(self, command: Literal["validate", "test"], argv: list[str]):
        self.checkpoint: dict[str, Any] | None = None
        self.measured: Path | None = None  # the run folder
        if argv and not argv[0].startswith("-"):
            argv = ["--run", *argv]
        run, rest = taken("--run", argv)
        super().__init__(command, argv if run is None else self._options(run, rest))

    def _options(self, given: str, argv: list[str]) -> list[str]:
        """Spell out a run folder: its model and settings as far as they are to be trusted, and its prepared data."""
        if not given:
            raise ConfigError("--run: expected the folder of a run")
        if fixed := [o.partition("=")[0] for o in argv if o.startswith("--model") and ".help" not in o]:
            raise ConfigError(f"{fixed[0]}: the model of a run is fixed; leave it out, or train another run")
        run, (path, argv) = runs.existing_run(given), taken("--ckpt_path", argv)
        checkpoint = runs.best_checkpoint(run) if path is None else Path(path)
        if path in ("best", "last"):
            checkpoint = run / "checkpoints" / f"{path}.ckpt"
        if path == "":
            raise ConfigError("--ckpt_path: expected best, last or the file of a checkpoint")
        self.checkpoint, self.measured = runs.read_checkpoint(checkpoint), run
        trust = "--trust" in argv
        return settings_of(run, self.checkpoint, trust) + [word for word in argv if word != "--trust"]

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        super().add_arguments_to_parser(parser)
        parser.add_argument("--run", type=str | None, default=None, help="The run folder to measure.")
        parser.add_argument("--output", type=str | None, default=None, help="The metrics, as a JSON file.")

    def prepare_trainer(self, config: Any, callbacks: list) -> None:
        """Check where the result goes.

        Raises:
            ConfigError: If its name does not end in .json.
        """
        super().prepare_trainer(config, callbacks)
        output = self._get(self.config, "output")
        if output and Path(output).suffix != ".json":
            raise ConfigError(f"--output {output}: expected a name that ends in .json")

    def _prepare_subcommand_kwargs(self, subcommand: str) -> dict[str, Any]:
        """Load the weights; Lightning is given no checkpoint, of which it would take more than that."""
        kwargs = super()._prepare_subcommand_kwargs(subcommand)
        if path := kwargs.pop("ckpt_path", None):
            self.checkpoint = runs.read_checkpoint(path)
        if self.checkpoint is not None:
            name, arguments, _ = runs.about_model(self.checkpoint, path or "the run's checkpoint")
            model, mismatch = self.model.model, "the checkpoint is of another model or other data"
            sizes = {size: model.arguments[size] for size in SIZES if size in model.arguments}
            other = [size for size, value in sizes.items() if arguments.get(size) != value]
            if name != path_of(type(model)) or other:
                raise RunError(f"{mismatch}: {name} {', '.join(other)}; here {path_of(type(model))}")
            with reading(mismatch, "its weights do not fit"):
                self.model.load_state_dict(self.checkpoint["state_dict"])
        return kwargs | {"verbose": False}

    @property
    def part(self) -> str:
        """The part of the data that is measured: `val` or `test`."""
        return "val" if self.command == "validate" else "test"

    def before_validate(self) -> None:
        """Refuse a part that is empty.

        Raises:
            DataError: If the data have no such part.
        """
        prepared = self.datamodule.prepared
        if not len(getattr(prepared, self.part)):
            raise DataError(f"{prepared.name}: has no {self.part} part to measure on ({prepared.summary['split']})")

    def after_validate(self) -> None:
        """Print what was measured, and write it where it is asked for."""
        values = report.part_metrics(self.trainer.callback_metrics, self.part)
        output = self._get(self.config, "output")
        if self.trainer.is_global_zero:
            report.print_metrics({self.part: values}, [self.model.metrics[self.part].note])
            report.print_groups(groups_of(self.trainer))
            if self.part == "test" and self.measured is not None:
                runs.count_test_read(self.measured)
            if output:
                write_json(Path(output).expanduser(), {self.part: values})

    before_test, after_test = before_validate, after_validate


def taken(name: str, argv: list[str]) -> tuple[str | None, list[str]]:
    """Take an option out of others; returns its value, None where it is not given, and the others."""
    for place, option in enumerate(argv):
        found, sign, value = option.partition("=")
        if found == name:
            after = place + (1 if sign else 2)
            return value if sign else "".join(argv[place + 1 : after]), argv[:place] + argv[after:]
    return None, argv
