"""`python -m recgnn.tune`: a search for better values of a configuration."""

from __future__ import annotations

import shlex
import time
from argparse import Namespace
from functools import partial
from pathlib import Path

from recgnn.cli.entry import Terminated, run, unwrapped_stops
from recgnn.cli.options import OptionParser, taken
from recgnn.errors import ConfigError

DESCRIPTION = """\
Search for better values of a configuration, by a metric on its validation data; test data are never looked at.
The first trial has the configuration's own values, the following ones are drawn by Optuna from the space, a W&B sweep
file. A search that was stopped continues when the same command is typed again; several processes may share --output.
Options of fit hold for every trial: --data.source.root DIR, --training.ks '[10]' …
"""
EXAMPLES = """\
example:
  python -m recgnn.tune --config conf/ngcf.yaml --space conf/sweeps/ngcf.yaml --trials 20
"""
OF_FIT = (
    *("config", "seed_everything", "optimizer", "lr_scheduler", "trainer", "model", "training", "data"),
    "log_checkpoints",
)
NOT_FOR_TRIALS = ("run_dir", "overwrite", "refit", "ckpt_path", "print_config")


def parser() -> OptionParser:
    """Build the parser of the command's options."""
    parser = OptionParser("tune", DESCRIPTION, "--config FILE --space FILE [options] [options of fit]", epilog=EXAMPLES)
    parser.add_argument("--config", required=True, action="append", metavar="FILE", help="as for fit")
    parser.add_argument("--space", required=True, metavar="FILE", help="W&B sweep file: values and metric")
    parser.add_argument(
        "--trials",
        type=int,
        metavar="N",
        help="number of trials, with those of earlier calls (default: run_cap, or 20)",
    )
    parser.add_argument(
        "--output", metavar="DIR", help="folder of the search (default: runs/tune/<name of the space file>)"
    )
    parser.add_argument("--timeout", type=float, metavar="SECONDS", help="start no further trial after that")
    parser.add_argument("--seed", type=int, default=42, metavar="N", help="seed of the draws (default: 42)")
    parser.add_argument("--max_epochs", type=int, metavar="N", help="short for --trainer.max_epochs")
    parser.add_argument(
        "--prune",
        choices=("hyperband", "median", "none"),
        help="how bad trials are stopped early (default: hyperband if the space has early_terminate, else median)",
    )
    parser.add_argument(
        "--keep", choices=("best", "all"), default="best", help="trials whose checkpoints are kept (default: best)"
    )
    parser.add_argument("--on", metavar="ray", help="train on a Ray cluster, with --output where all its nodes see it")
    parser.add_argument(
        "--workers", type=int, metavar="N", help="with --on: trials at once (default: its GPUs, or its nodes)"
    )
    return parser


def main(argv: list[str]) -> None:
    """Train trials, and write trials.csv, search.png and a runnable best.yaml into the output folder."""
    options, further = _parse(argv)
    from recgnn.search.space import read_space

    space = read_space(options.space)
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
    search = Search(space, further, output, prune, options.seed, options.keep == "all")
    if search.trials:
        print(f"{output}: continues after {len(search.trials)} trials")
    started, command = time.monotonic(), shlex.join(["python", "-m", "recgnn.tune", *argv])

    def tell(trial) -> None:
        print(results.line(search, trial, trials), flush=True)
        with search.alone():
            results.write_table(search)
            if search.best is not None and search.best.number == trial.number:
                results.write_best(search, command)

    try:
        with unwrapped_stops():
            if options.on is not None:
                _search_on_ray(argv, options)
            else:
                search.run(trials, options.timeout, tell)
    except (KeyboardInterrupt, Terminated) as stop:
        stop.add_note(f"stopped; the same command continues: {command}")
        raise
    if search.best is not None:
        with search.alone():  # once more: another process may have been killed before it wrote them
            results.write_table(search)
            results.write_best(search, command)
        results.write_figure(search)
    results.show(search, time.monotonic() - started)


def _search_on_ray(argv: list[str], options: Namespace) -> None:
    """Run the same command in several tasks, which draw from the study that is in the output folder."""
    from recgnn.cli.entry import main
    from recgnn.cli.on_ray import nodes, started

    own = taken(taken(argv, "on")[1], "workers")[1]
    searches = started([partial(main, "tune", own)] * (options.workers or nodes(options.on)), options.on)
    for wait in searches:
        wait()


def _parse(argv: list[str]):
    """Parse the command's own options, and those of `fit` for every trial."""
    own = parser()
    options, further = own.parse_known_args(argv)
    for text in further:
        name = text.partition("=")[0].removeprefix("--")
        if not text.startswith("--"):
            continue
        if name in NOT_FOR_TRIALS:
            raise ConfigError(f"--{name} is not for a search: each trial has a run folder of its own under --output")
        if "." not in name and name.removesuffix("+") not in OF_FIT:
            own.check_name(text)
    for name, least in {"trials": 1, "timeout": 0, "seed": 0, "max_epochs": 1, "workers": 1}.items():
        if getattr(options, name) is not None and getattr(options, name) < least:
            raise ConfigError(f"--{name} is {getattr(options, name)}; expected at least {least}")
    further = [f"--config={path}" for path in options.config] + further
    if options.max_epochs is not None:
        further.append(f"--trainer.max_epochs={options.max_epochs}")
    return options, further


if __name__ == "__main__":
    run(main)
