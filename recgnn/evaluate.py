"""`python -m recgnn.evaluate`: anybody's recommendations, of any tool, measured as a run is."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recgnn.cli.entry import run
from recgnn.cli.options import OptionParser
from recgnn.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from recgnn.data.interactions.prepared import PreparedLog
    from recgnn.evaluation.lists import Measured

DESCRIPTION = """\
Measure lists of recommendations, written by whatever tool, on the part of a run's data that the run was tested on, with
the same metrics: every user with a label counts, one without a list as zero; items that are not in the training data
and items that the user has already keep their places as misses. Without a run, the log and its parts come from a YAML
file (its section `data`) or from a table each.
"""
EXAMPLES = """\
examples:
  python -m recgnn.evaluate --recommendations recs.csv --run runs/a
  python -m recgnn.evaluate --recommendations recs.csv --run runs/a --output evaluated/recs
  python -m recgnn.compare runs/a evaluated/recs
  python -m recgnn.evaluate --recommendations recs.parquet --data clicks.yaml --ks 5,10
  python -m recgnn.evaluate --recommendations recs.csv --train train.csv --test test.csv
"""
KS = (10, 20)


def parser() -> OptionParser:
    """Build the parser of the command's options."""
    usage = "--recommendations FILE (--run DIR | --data FILE | --train FILE --test FILE) [options]"
    parser = OptionParser("evaluate", DESCRIPTION, usage, epilog=EXAMPLES)
    parser.add_argument(
        "--recommendations", required=True, metavar="FILE",
        help="csv, tsv, JSON lines or Parquet with a row for each recommended item, or a row for each user with lists "
        "in its cells; of a list with ranks the least comes first, of one with scores the highest, else the first row",
    )  # fmt: skip
    parser.add_argument(
        "--output", metavar="PATH", help="write the metrics to a .json file; or a folder, which compare takes as a line"
    )
    parser.add_argument("--name", metavar="NAME", help="name of the line in compare (default: that of the file)")
    of = parser.add_argument_group("what is measured on")
    of.add_argument("--run", metavar="DIR", help="run folder, as written by python -m recgnn.fit")
    of.add_argument("--data", metavar="FILE", help="YAML file with a section `data`, as for fit")
    for part in ("train", "val", "test"):
        of.add_argument(f"--{part}", metavar="FILE", help=f"table of the {part} part, with users and items")
    of.add_argument("--part", choices=("val", "test"), default="test", help="the part measured on (default: test)")
    of.add_argument("--ks", metavar="NUMBERS", help="lengths of lists (default: those of the run, else 10,20)")
    of.add_argument("--metrics", metavar="NAMES", help="as recall,ndcg (default: those of the run, else all)")
    columns = parser.add_argument_group("columns of the recommendations")
    for name in ("user", "item", "rank", "score"):
        columns.add_argument(f"--{name}", metavar="NAME", help=f"column of the {name}s (default: found)")
    columns.add_argument("--columns", metavar="NAMES", help="names of all columns of a file without a header line")
    return parser


def main(argv: list[str]) -> dict[str, float | None]:
    """Measure the lists named on the command line.

    Returns:
        The metrics by name.
    """
    options = parser().read(argv)
    _check(options)
    from recgnn.evaluation.lists import Labels, measure, read_lists
    from recgnn.evaluation.metrics.ranking import RANKING, check_ks
    from recgnn.training.report import part_metrics, print_metrics

    given = {name: getattr(options, name) for name in ("user", "item", "rank", "score")}
    log, ks, metrics = _log(options, given)
    if options.ks is not None:
        ks = [int(k) if k.strip().isdecimal() else 0 for k in options.ks.split(",")]
        if 0 in ks:
            raise ConfigError(f"--ks {options.ks}: expected numbers above 0, as 10,20")
    if options.metrics is not None:
        metrics = [name.strip() for name in options.metrics.split(",")]
    if other := [name for name in metrics if name not in RANKING]:
        raise ConfigError(f"--metrics: no metric is named {other[0]}{did_you_mean(other[0], RANKING)}; there are "
                          f"{', '.join(RANKING)}")  # fmt: skip
    ks, labels = check_ks(ks, log.num_items), Labels.of(log, options.part)
    header = None if options.columns is None else [name.strip() for name in options.columns.split(",")]
    lists = read_lists(options.recommendations, log, labels.users, given, header)
    measured = measure(lists, labels, log, ks, [RANKING[name]() for name in dict.fromkeys(metrics)])
    values = part_metrics({f"{options.part}/{name}": value for name, value in measured.values.items()}, options.part)
    print("\n".join(lists.told))
    print_metrics({options.part: values}, [f"{line} ({options.part})" for line in measured.told])
    if options.output:
        _write(options, log, values, measured, lists.told + measured.told)
    return values


def _check(options: Namespace) -> None:
    """Refuse options that contradict each other."""
    places = [f"--{name}" for name in ("run", "data", "train") if getattr(options, name) is not None]
    if len(places) != 1 or (options.train is None) != (options.test is None):
        found = ", ".join(places) or "none"
        raise ConfigError(f"what is measured on: expected --run, or --data, or --train and --test; found {found}")
    if options.val is not None and options.train is None:
        raise ConfigError("--val goes with --train and --test; to measure on the validation part: --part val")
    if options.output and _is_folder(options.output) and Path(options.output).expanduser().is_dir():
        folder = Path(options.output).expanduser()
        if any(folder.iterdir()) and {path.name for path in folder.iterdir()} != {"metrics.json", "users.parquet"}:
            raise ConfigError(f"--output {options.output}: holds other files; name a new folder")


def _is_folder(output: str) -> bool:
    return Path(output).suffix != ".json"


def _log(options: Namespace, given: dict[str, str | None]) -> tuple[PreparedLog, list[int], list[str]]:
    """The log, the lengths of lists and the names of the metrics."""
    from recgnn.cli.data_section import log_of, log_of_parts, protocol_of
    from recgnn.data.interactions.prepared import PreparedLog, format_summary
    from recgnn.evaluation.metrics.ranking import RANKING

    if options.run is not None:
        protocol = protocol_of(options.run, options.part)
        return PreparedLog.load(Path(options.run).expanduser() / "vocabulary"), *protocol

    ks, metrics = [*KS], list(RANKING)
    if options.data is not None:
        log, training = log_of(options.data)
        ks, metrics = training.get("ks") or ks, [m for m in training.get("metrics") or metrics if isinstance(m, str)]
    else:
        files = {part: file for part in ("train", "val", "test") if (file := getattr(options, part)) is not None}
        log = log_of_parts(files, given)
    print(format_summary(log.summary))
    return log, ks, metrics


def _write(
    options: Namespace, log: PreparedLog, values: dict[str, float | None], measured: Measured, told: list[str]
) -> None:
    """Write a JSON file; or a folder with the metrics of each user, too, and what compare needs to know of the part."""
    from recgnn.data.stored import digest_of, write_json
    from recgnn.files import atomic_folder

    output = Path(options.output).expanduser()
    content: dict[str, Any] = {options.part: values, "notes": told}
    if not _is_folder(options.output):
        write_json(output, content)
        return
    from recgnn.comparison.reading import USERS, of_parts

    about = {"name": options.name or Path(options.recommendations).name.split(".")[0], "file": options.recommendations}
    about |= {"part": of_parts(log, [getattr(log, options.part)], "ranking")}
    content |= {"groups": measured.groups, "recommendations": about, "dataset": log.summary}
    content |= {"seconds": None, "seconds_per_epoch": None}
    with atomic_folder(output) as folder:
        measured.users.to_parquet(folder / USERS, index=False, compression="zstd")
        sums = {"files": {USERS: digest_of(folder / USERS)}, "best_epoch": 0, "epochs": 0}
        write_json(folder / "metrics.json", content | sums, sealed=True)
    if options.part == "test":
        print(f"a line of a comparison: python -m recgnn.compare {options.run or 'runs'} {options.output}")


if __name__ == "__main__":
    run(main)
