"""`python -m recgnn.benchmark`: train several configurations with several seeds, and compare the runs."""

from __future__ import annotations

import io
import sys
import traceback
from collections.abc import Callable
from contextlib import redirect_stdout, suppress
from functools import partial
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recgnn.cli.entry import Terminated, run
from recgnn.cli.options import OptionParser, option
from recgnn.errors import ConfigError, RecGNNError
from recgnn.files import configuration

if TYPE_CHECKING:
    from recgnn.comparison.suites import Entry

DESCRIPTION = """\
Train each configuration of a suite with each seed, and compare the runs (tables and a page). A seed sets the split as
well as the training, so that the spread is that of the whole procedure. Finished runs are not trained again, and a run
that was stopped is continued. Options after -- go to fit, as in: -- --trainer.max_epochs=5
"""
EXAMPLES = """\
examples:
  python -m recgnn.benchmark --suite ml-100k
  python -m recgnn.benchmark --configs conf/mf.yaml conf/lightgcn.yaml --seeds 1 2 --runs runs/mine
"""


def parser() -> OptionParser:
    """Build the parser of the command's options."""
    parser = OptionParser("benchmark", DESCRIPTION, "--suite NAME [options] [-- options of fit]", epilog=EXAMPLES)
    parser.add_argument("--suite", metavar="NAME", help="YAML file of a suite, or the name of one in conf/suites")
    parser.add_argument("--configs", nargs="+", metavar="FILE", help="configurations of fit, in place of a suite")
    parser.add_argument(
        "--seeds", nargs="+", type=int, metavar="N", help="seeds (default: those of the suite, or 1 2 3)"
    )
    parser.add_argument(
        "--runs",
        metavar="DIR",
        help="folder of the run folders (default: runs/<suite>); the page is in its folder compare",
    )
    parser.add_argument(
        "--baselines",
        choices=("yes", "no"),
        default="yes",
        help="rankings: show EASE (or GraphFilter) and ItemKNN beside the runs, fitted to their data with settings "
        "chosen on validation (default: yes)",
    )
    parser.add_argument("--on", metavar="ray", help="train on a Ray cluster, a run on each of its GPUs or CPUs")
    parser.add_argument(
        "--root", metavar="DIR", help="folder with the files of the data set (default: they are downloaded)"
    )
    return parser


def main(argv: list[str]) -> None:
    """Train a suite and compare its runs. A run that fails does not stop the others.

    Raises:
        SystemExit: With code 1, at the end, if a run failed.
    """
    place = argv.index("--") if "--" in argv else len(argv)
    options, further = parser().read(argv[:place]), argv[place + 1 :]
    if (options.suite is None) == (options.configs is None):
        raise ConfigError("benchmark needs --suite (a name or a YAML file) or --configs (files), and not both")
    from recgnn.comparison.suites import SEEDS, Entry, Suite, read_suite

    if options.suite is not None:
        suite = read_suite(options.suite)
    else:
        files = [configuration(path) for path in options.configs]
        suite = Suite("benchmark", [Entry(file.stem, file, {}) for file in files], list(SEEDS))
    seeds = suite.seeds if options.seeds is None else options.seeds
    further = ([f"--data.source.root={options.root}"] if options.root else []) + further
    folder = Path(options.runs or Path("runs") / suite.name).expanduser()
    try:
        finished, failed = train(suite.entries, seeds, folder, further, options.on)
    except (KeyboardInterrupt, Terminated) as stop:
        stop.add_note("stopped; the same command continues")
        raise
    if finished and _is_first_process():
        from recgnn.comparison import compare
        from recgnn.training.yardsticks import of_run

        compare([*finished], folder / "compare", simple=of_run if options.baselines == "yes" else None)
    if failed:
        print(f"failed: {', '.join(map(str, failed))}; the same command tries them again", file=sys.stderr)
        sys.exit(1)


def train(
    entries: list[Entry], seeds: list[int], folder: Path, options: list[str], on: str | None = None
) -> tuple[list[Path], list[Path]]:
    """Train every entry with every seed, in `folder`/<name>/<seed>, one after another or on a Ray cluster.

    Returns:
        The run folders that are finished, and those that failed.
    """
    finished, failed = [], []
    planned = [(entry, seed, folder / entry.name / str(seed)) for entry in entries for seed in seeds]
    missing = [number for number, (*_, run_dir) in enumerate(planned) if not is_finished(run_dir)]
    calls: list[Callable[[], str]] = [partial(fit, *planned[number], options) for number in missing]
    if on is not None:
        from recgnn.cli.on_ray import started

        calls = started(calls, on)
    results = dict(zip(missing, calls, strict=True))
    for number, (entry, seed, run_dir) in enumerate(planned):
        head = f"{number + 1}/{len(planned)} {entry.name}, seed {seed}:"
        if number not in results:
            print(f"{head} finished already ({run_dir})", flush=True)
            finished.append(run_dir)
            continue
        try:
            result = results[number]()
        except RecGNNError as error:
            print(f"{head} failed: {error}", file=sys.stderr, flush=True)
            failed.append(run_dir)
        except Exception:  # a bug in one model does not stop the others
            traceback.print_exc()
            print(f"{head} failed", file=sys.stderr, flush=True)
            failed.append(run_dir)
        else:
            if _is_first_process():
                print(f"{head} {result} ({run_dir})", flush=True)
            finished.append(run_dir)
    return finished, failed


def is_finished(run_dir: Path) -> bool:
    """Whether `run_dir` holds a run with readable results."""
    from recgnn.data.stored import read_json

    try:
        return bool(read_json(run_dir / "metrics.json"))
    except RecGNNError:
        return False


def fit(entry: Entry, seed: int, run_dir: Path, options: list[str]) -> str:
    """Train one entry, or continue its run; returns its result as a few words."""
    from recgnn.data.stored import read_json
    from recgnn.fit import main as fit

    argv = ["--config", str(entry.config), f"--seed_everything={seed}", *split_seed(entry.config, seed)]
    argv += [f"--run_dir={run_dir}", "--overwrite=true", "--trainer.logger=false"]
    argv += [*(option(name, value) for name, value in entry.options.items()), *options]
    with redirect_stdout(io.StringIO()):
        cli = fit([*argv, "--ckpt_path=last"] if can_be_continued(run_dir, argv) else argv)
    content = read_json(run_dir / "metrics.json")
    assert cli is not None
    name = cli.model.monitor[0].removeprefix("val/")
    value = content.get("test", {}).get(name)
    return f"test {name} {value:.4f}, {content['seconds']:.0f} s" if value is not None else "trained"


def can_be_continued(run_dir: Path, argv: list[str]) -> bool:
    """Whether `run_dir` holds an unfinished run with exactly the options `argv`."""
    import yaml

    from recgnn.data.stored import read_yaml
    from recgnn.fit import main as fit
    from recgnn.training.run_folder import SELECTION, can_continue

    files = [file for file in (run_dir / "config.yaml", run_dir / SELECTION / "config.yaml") if file.is_file()]
    if not can_continue(run_dir) or not files:
        return False
    printed = io.StringIO()
    with redirect_stdout(printed), suppress(SystemExit):
        fit([*argv, "--print_config"])
    wanted = yaml.safe_load(printed.getvalue())
    try:
        stored = read_yaml(files[0])
    except RecGNNError:  # it is trained anew
        return False
    wanted |= dict.fromkeys(("run_dir", "ckpt_path")) | {"overwrite": False, "verbose": False}
    return _agree(wanted, stored)


def _agree(wanted: Any, stored: Any) -> bool:
    """Whether a run has the values of a configuration, where that does not leave them to be chosen."""
    if isinstance(wanted, dict) and isinstance(stored, dict) and wanted.keys() == stored.keys():
        return all(_agree(value, stored[name]) for name, value in wanted.items())
    return wanted is None or wanted == stored


def split_seed(config: Path, seed: int) -> list[str]:
    """Return the options that seed the split of a configuration; none if its split draws nothing at random."""
    from recgnn import data
    from recgnn.data.stored import read_yaml

    content = read_yaml(config)
    module: Any = (content.get("data") if isinstance(content, dict) else None) or {}
    module = module if isinstance(module, dict) else {"class_path": module}
    split = (module.get("init_args") or {}).get("split")
    if split is None:  # the data module's default, named so that it can be given a seed
        by = "all" if str(module.get("class_path")).endswith("CTRDataModule") else "user"
        return ["--data.split=RatioSplit", f"--data.split.by={by}", f"--data.split.seed={seed}"]
    name = split if isinstance(split, str) else str(split.get("class_path"))
    split_class = getattr(data, name.rpartition(".")[2], None)
    is_random = split_class is None or "seed" in signature(split_class).parameters
    return [f"--data.split.seed={seed}"] if is_random else []


def _is_first_process() -> bool:
    from recgnn.training.new_run import rank

    return rank() == 0


if __name__ == "__main__":
    run(main)
