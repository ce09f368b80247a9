"""`python -m recgnn.benchmark`: a list of configurations, each trained with several seeds, and their comparison."""

from __future__ import annotations

import io
import sys
import traceback
from collections.abc import Sequence
from contextlib import redirect_stdout, suppress
from inspect import signature
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from lightning.pytorch.utilities import rank_zero_only

from recgnn import comparison as comparing
from recgnn.cli.options import OptionParser, option
from recgnn.errors import ConfigError, RecGNNError, did_you_mean
from recgnn.files import existing_file
from recgnn.training.run_folder import SELECTION, can_continue, read_json

FOLDER = Path("conf") / "suites"
SEEDS = (1, 2, 3)
FIELDS = ("description", "configs", "seeds", "options")


class Entry(NamedTuple):
    """A configuration, the name of its runs' folder, and options of `fit`."""

    name: str
    config: Path
    options: list[str]


class Suite(NamedTuple):
    """What is trained."""

    name: str
    entries: list[Entry]
    seeds: list[int]


def main(argv: list[str]) -> None:
    """Train a suite and compare its runs; finished runs are kept, and one that fails does not stop the others.

    Raises:
        SystemExit: with 1, at the end, if a run failed.
    """
    place = argv.index("--") if "--" in argv else len(argv)
    options, further = _parser().parse_args(argv[:place]), argv[place + 1 :]
    if (options.suite is None) == (options.configs is None):
        raise ConfigError("benchmark needs --suite (a name or a YAML file) or --configs (files), and not both")
    if options.suite is not None:
        suite = read_suite(find_suite(options.suite))
    else:
        files = [existing_file(path, "configuration") for path in options.configs]
        suite = Suite("benchmark", [Entry(file.stem, file, []) for file in files], list(SEEDS))
    seeds = suite.seeds if options.seeds is None else options.seeds
    further = ([f"--data.source.root={options.root}"] if options.root else []) + further
    folder = Path(options.runs or Path("runs") / suite.name).expanduser()
    finished, failed = train(suite.entries, seeds, folder, further)
    if finished and rank_zero_only.rank == 0:
        comparing.main([*map(str, finished), "--output", str(folder / "compare")])
    if failed:
        print(f"failed: {', '.join(map(str, failed))}; the same command tries them again", file=sys.stderr)
        sys.exit(1)


def _parser() -> OptionParser:
    parser = OptionParser(
        prog="python -m recgnn.benchmark",
        usage="python -m recgnn.benchmark --suite NAME [options] [-- options of fit]",
        description="Trains each configuration of a suite with each seed, and compares the runs (table and page). A "
        "seed sets the split as well as the training, so that the spread is that of the whole procedure. Runs that "
        "are finished are not trained again, and one that was stopped goes on. Options behind -- go to fit, as -- "
        "--trainer.max_epochs=5",
        allow_abbrev=False,
    )
    there = ", ".join(suites()) or "none here"
    parser.add_argument("--suite", help=f"a YAML file, or a name in {FOLDER} ({there})")
    parser.add_argument("--configs", nargs="+", metavar="FILE", help="configurations of fit, instead of a suite")
    parser.add_argument("--seeds", nargs="+", type=int, help="instead of the suite's (without a suite: 1 2 3)")
    parser.add_argument("--runs", help="where the run folders go (default: runs/<suite>); <runs>/compare has the page")
    parser.add_argument("--root", help="folder of the data set's files; downloaded when not given")
    return parser


def suites() -> list[str]:
    """The names of the suites in conf/suites."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def find_suite(name: str) -> Path:
    """The file of a suite, given by path or by name.

    Raises:
        ConfigError: if there is none.
    """
    for path in (Path(name).expanduser(), FOLDER / f"{name}.yaml"):
        if path.is_file():
            return path
    there = ", ".join(suites()) or f"none, {FOLDER} is looked for in the current folder"
    raise ConfigError(f"--suite {name}: no such suite{did_you_mean(name, suites())}; there are: {there}")


def read_suite(path: Path) -> Suite:
    """A suite's YAML: `configs` and, where wanted, `seeds`, `options` of fit and a `description`.

    A configuration is a path, relative to the suite's file, or a mapping: `config` (that path), `name` and `options`.

    Raises:
        ConfigError: if it is none, or names a file that is not there.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: cannot be read as YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict) or not isinstance(content.get("configs"), list) or not content["configs"]:
        raise ConfigError(f"{path}: expected a suite: a list `configs` of YAML files, perhaps `seeds` and `options`")
    check_fields(path, content, FIELDS)
    seeds = content.get("seeds", list(SEEDS))
    if not isinstance(seeds, list) or not seeds or not all(type(seed) is int for seed in seeds):
        raise ConfigError(f"{path}: seeds are {seeds!r}, expected a list of whole numbers, as [1, 2, 3]")
    common, entries = as_options(path, content.get("options")), []
    for given in content["configs"]:
        one = given if isinstance(given, dict) else {"config": given}
        check_fields(path, one, ("config", "name", "options"))
        config = existing_file(path.parent / str(one.get("config")), f"configuration (of {path})")
        options = [*common, *as_options(path, one.get("options"))]
        entries.append(Entry(str(one.get("name", config.stem)), config, options))
    names = [entry.name for entry in entries]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ConfigError(f"{path}: {', '.join(sorted(twice))} comes twice; give each a name of its own (name: …)")
    return Suite(path.stem, entries, seeds)


def check_fields(path: Path, content: dict[str, Any], known: Sequence[str]) -> None:
    """Refuse a field that is not known."""
    for name in content:
        if name not in known:
            near = did_you_mean(name, known) or f"; there are {', '.join(known)}"
            raise ConfigError(f"{path}: no field is named {name!r}{near}")


def as_options(path: Path, given: dict[str, Any] | None) -> list[str]:
    """A mapping of options as the command line has them."""
    if given is not None and not isinstance(given, dict):
        raise ConfigError(f"{path}: options are {given!r}, expected option: value, as trainer.max_epochs: 5")
    return [option(name, value) for name, value in (given or {}).items()]


def train(
    entries: list[Entry], seeds: list[int], folder: Path, options: list[str]
) -> tuple[list[Path], list[Path]]:
    """Every entry with every seed, in `folder`/<name>/<seed>; the run folders of those finished and those failed."""
    finished, failed = [], []
    planned = [(entry, seed) for entry in entries for seed in seeds]
    for place, (entry, seed) in enumerate(planned, 1):
        run = folder / entry.name / str(seed)
        head = f"{place}/{len(planned)} {entry.name}, seed {seed}:"
        if (run / "metrics.json").is_file():
            print(f"{head} finished already ({run})", flush=True)
            finished.append(run)
            continue
        try:
            result = fit(entry, seed, run, options)
        except RecGNNError as error:
            print(f"{head} failed: {error}", file=sys.stderr, flush=True)
            failed.append(run)
        except Exception:  # whatever it is, the others are to be trained
            traceback.print_exc()
            print(f"{head} failed", file=sys.stderr, flush=True)
            failed.append(run)
        else:
            if rank_zero_only.rank == 0:
                print(f"{head} {result} ({run})", flush=True)
            finished.append(run)
    return finished, failed


def fit(entry: Entry, seed: int, run: Path, options: list[str]) -> str:
    """Train one entry; returns in a few words what came of it.

    Raises:
        KeyboardInterrupt: if it was interrupted.
    """
    from recgnn.cli.training import main as recgnn

    argv = ["--config", str(entry.config), f"--seed_everything={seed}", *split_seed(entry.config, seed)]
    argv += [f"--run_dir={run}", "--overwrite=true", "--trainer.logger=false", *entry.options, *options]
    with redirect_stdout(io.StringIO()):
        cli = recgnn("fit", [*argv, "--ckpt_path=last"] if begun(run, argv) else argv)
    if cli.trainer.interrupted:
        raise KeyboardInterrupt
    content = read_json(run / "metrics.json")
    name = cli.model.monitor[0].removeprefix("val/")
    value = content.get("test", {}).get(name)
    return f"test {name} {value:.4f}, {content['seconds']:.0f} s" if value is not None else "trained"


def begun(run: Path, argv: list[str]) -> bool:
    """Whether a run was stopped that had the very options of `argv`, so that it can go on from its last checkpoint."""
    from recgnn.cli.training import main as recgnn

    files = [file for file in (run / "config.yaml", run / SELECTION / "config.yaml") if file.is_file()]
    if not can_continue(run) or not files:
        return False
    asked = io.StringIO()
    with redirect_stdout(asked), suppress(SystemExit):
        recgnn("fit", [*argv, "--print_config"])
    wanted, own = (yaml.safe_load(text) for text in (asked.getvalue(), files[0].read_text("utf-8")))
    return own == wanted | dict.fromkeys(("run_dir", "ckpt_path")) | {"overwrite": False}


def split_seed(config: Path, seed: int) -> list[str]:
    """The options that give a configuration's split a seed; none where the split draws nothing."""
    from recgnn import data

    content: dict[str, Any] = yaml.safe_load(config.read_text(encoding="utf-8")) or {}
    module = content.get("data") or {}
    module = {"class_path": module} if isinstance(module, str) else module
    split = (module.get("init_args") or {}).get("split")
    if split is None:  # the default of the data modules, by name, so that it can be given a seed
        by = "all" if str(module.get("class_path")).endswith("CTRDataModule") else "user"
        return ["--data.split=RatioSplit", f"--data.split.by={by}", f"--data.split.seed={seed}"]
    name = split if isinstance(split, str) else str(split.get("class_path"))
    made = getattr(data, name.rpartition(".")[2], None)
    draws = made is None or "seed" in signature(made).parameters
    return [f"--data.split.seed={seed}"] if draws else []
