"""`python -m recgnn.tune`: a search for better values of a configuration."""

from __future__ import annotations

import shlex
import sys
import time
from pathlib import Path

from recgnn.cli.options import OptionParser
from recgnn.errors import ConfigError, did_you_mean

DESCRIPTION = """\
Search for better values of a configuration, by a metric of its validation part; test data are never looked at.
The first trial has the configuration's own values, the next ones what Optuna draws from the space, a W&B sweep file.
A search that was stopped goes on when the same command is typed again; several processes may share one --output.
Further options are those of fit and hold for every trial: --data.source.root DIR, --model.ks '[10]' …"""
OF_FIT = ("config", "seed_everything", "optimizer", "lr_scheduler", "trainer", "model", "data", "log_checkpoints")
NOT_HERE = ("run_dir", "overwrite", "refit", "ckpt_path", "print_config")


def main(argv: list[str]) -> None:
    """`tune`: trains trials, and leaves trials.csv, search.png and a runnable best.yaml in its output folder."""
    parser = _parser()
    options, rest = parser.parse_known_args(argv)
    _check_rest(rest, [o for action in parser._actions for o in action.option_strings])
    fit = [f"--config={path}" for path in options.config]
    fit += rest
    if options.max_epochs is not None:
        fit.append(f"--trainer.max_epochs={options.max_epochs}")
    from recgnn.search.space import read_space

    space = read_space(options.space)
    for name, least in {"trials": 1, "timeout": 0, "seed": 0, "max_epochs": 1}.items():
        if getattr(options, name) is not None and getattr(options, name) < least:
            raise ConfigError(f"--{name} is {getattr(options, name)}; expected at least {least}")
    prune = options.prune or ("hyperband" if space.hyperband else "median")
    if prune == "hyperband" and space.hyperband is None:
        raise ConfigError(f"--prune hyperband: {space.path} has no early_terminate; add one, or take --prune median")
    try:
        from recgnn.search import results
        from recgnn.search.search import Search
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("optuna", "sqlalchemy"):
            raise
        raise ConfigError('tune needs Optuna: pip install "recgnn[tune]"') from error
    output = Path(options.output or Path("runs/tune") / space.path.stem).expanduser()
    trials = options.trials or space.run_cap or 20
    search = Search(space, fit, output, prune, options.seed, options.keep == "all")
    if search.trials:
        print(f"{output}: goes on after {len(search.trials)} trials")
    started, command = time.monotonic(), shlex.join(["python", "-m", "recgnn.tune", *argv])

    def tell(trial) -> None:
        print(results.line(search, trial, trials), flush=True)
        with search.alone():
            results.write_table(search)
            if search.best is not None and search.best.number == trial.number:
                results.write_best(search, command)

    try:
        search.run(trials, options.timeout, tell)
    except KeyboardInterrupt:
        print(f"stopped; the same command goes on: {command}", file=sys.stderr)
        raise
    if search.best is not None:
        results.write_figure(search)
    results.show(search, time.monotonic() - started)


def _parser() -> OptionParser:
    from argparse import RawDescriptionHelpFormatter

    parser = OptionParser(
        prog="python -m recgnn.tune",
        description=DESCRIPTION,
        allow_abbrev=False,
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", required=True, action="append", help="as for fit; may be given several times")
    parser.add_argument("--space", required=True, help="a W&B sweep file: what to search, and by which metric")
    parser.add_argument(
        "--trials", type=int, help="how many in all, with those of earlier calls (default: the space's run_cap, or 20)"
    )
    parser.add_argument("--output", help="folder of the search (default: runs/tune/<name of the space file>)")
    parser.add_argument("--timeout", type=float, help="seconds after which no trial is started any more")
    parser.add_argument("--seed", type=int, default=42, help="of what is drawn from the space (default: 42)")
    parser.add_argument("--max_epochs", type=int, help="of each trial; short for --trainer.max_epochs")
    parser.add_argument(
        "--prune",
        choices=("hyperband", "median", "none"),
        help="how bad trials are given up (default: hyperband as in the space's early_terminate, median without one)",
    )
    parser.add_argument(
        "--keep", choices=("best", "all"), default="best", help="whose checkpoints to keep (default: best)"
    )
    return parser


def _check_rest(rest: list[str], own: list[str]) -> None:
    """Refuse what is neither an option of this command nor one of fit that trials can have."""
    for text in rest:
        name = text.partition("=")[0].removeprefix("--")
        if not text.startswith("--"):
            continue
        if name in NOT_HERE:
            raise ConfigError(f"--{name} is not for a search: each trial has a run folder of its own under --output")
        if "." not in name and name.removesuffix("+") not in OF_FIT:
            raise ConfigError(f"unknown option --{name}{did_you_mean('--' + name, own)}; --help lists the options")
