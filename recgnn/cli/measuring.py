"""The CLI of `validate` and `test`: measure a run on one part of its data."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from lightning.pytorch.cli import LightningArgumentParser

from recgnn.cli.fitting import groups_of
from recgnn.cli.training import TrainingCLI
from recgnn.errors import ConfigError, DataError
from recgnn.training import report
from recgnn.training import run_folder as runs


class MeasureCLI(TrainingCLI):
    """Measure a run and print a table of metrics.

    Args:
        command: `validate` or `test`.
        argv: Its options.
    """

    def __init__(self, command: Literal["validate", "test"], argv: list[str]):
        super().__init__(command, options_of_run(argv))

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        super().add_arguments_to_parser(parser)
        parser.add_argument("--run", type=str | None, default=None, help="The run folder to measure.")
        parser.add_argument("--output", type=str | None, default=None, help="The metrics, as a JSON file.")

    def prepare_trainer(self, config: Any, callbacks: list) -> None:
        super().prepare_trainer(config, callbacks)
        output = self._get(self.config, "output")
        if output and Path(output).suffix != ".json":
            raise ConfigError(f"--output {output}: expected a name that ends in .json")

    def _prepare_subcommand_kwargs(self, subcommand: str) -> dict[str, Any]:
        return super()._prepare_subcommand_kwargs(subcommand) | {"verbose": False}

    @property
    def part(self) -> str:
        """The part of the data that is measured: `val` or `test`."""
        return "val" if self.command == "validate" else "test"

    def before_validate(self) -> None:
        prepared = self.datamodule.prepared
        if not len(getattr(prepared, self.part)):
            raise DataError(f"{prepared.name}: has no {self.part} part to measure on ({prepared.summary['split']})")

    def after_validate(self) -> None:
        values = report.part_metrics(self.trainer.callback_metrics, self.part)
        output = self._get(self.config, "output")
        if self.trainer.is_global_zero:
            report.print_metrics({self.part: values}, [self.model.metrics[self.part].note])
            report.print_groups(groups_of(self.trainer))
            if output:
                runs.write_json(Path(output).expanduser(), {self.part: values})

    before_test, after_test = before_validate, after_validate


def options_of_run(argv: list[str]) -> list[str]:
    """Spell out `--run DIR`: the run's configuration, prepared data and best checkpoint."""
    for place, option in enumerate(argv):
        name, sign, value = option.partition("=")
        if name != "--run":
            continue
        if not sign:
            value = argv[place + 1] if place + 1 < len(argv) else ""
        rest = argv[:place] + argv[place + (1 if sign else 2) :]
        run = runs.existing_run(value)
        if fixed := [o.partition("=")[0] for o in rest if o.startswith("--model") and ".help" not in o]:
            raise ConfigError(f"{fixed[0]}: the model of a run is fixed; leave it out, or train another run")
        own = [f"--config={run / 'config.yaml'}", f"--data.init_args.prepared={run / 'vocabulary'}"]
        own += ["--run_dir=null", "--trainer.logger=false", "--trainer.callbacks=null"]
        if not any(o.startswith("--ckpt_path") for o in rest):
            own.append(f"--ckpt_path={runs.best_checkpoint(run)}")
        return own + rest
    return argv
