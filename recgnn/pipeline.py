"""`python -m recgnn.pipeline`: a retriever and a ranker as one run, measured together and apart."""

from __future__ import annotations

from argparse import Namespace
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from recgnn.cli.entry import run
from recgnn.cli.options import OptionParser
from recgnn.errors import ConfigError, Count, Fraction, Range, RunError, check, did_you_mean
from recgnn.files import existing_file

if TYPE_CHECKING:
    from recgnn.cli.stages import Outcome
    from recgnn.serving.pipeline import Plan, TrainedPipeline

DESCRIPTION = """\
Put runs together as the two stages that they are in practice: retrievers (graph models, EASE …) choose candidates for a
user, a model of clicks ranks them with the user's fields, context and past. Several retrievers are merged by reciprocal
ranks. What is measured: the candidates, the pipeline, each stage alone, the ranker over all items, and their times. The
folder is a run: recommend, test, compare and recgnn.load take it. Its parts stay where they are; a part that is trained
anew is refused.
"""
EXAMPLES = """\
examples:
  python -m recgnn.pipeline --retriever runs/ease --ranker runs/din --run_dir runs/ease-din
  python -m recgnn.pipeline --retriever runs/ease --retriever runs/lightgcn --ranker runs/din --run_dir runs/both
  python -m recgnn.pipeline --config pipeline.yaml     (a file of these options: retriever, ranker, candidates …)
  python -m recgnn.recommend --run runs/ease-din --users 196 --k 10
"""
DEFAULTS = {"retriever": None, "ranker": None, "candidates": 100, "blend": "auto", "ranker_users": 1000,
            "run_dir": None, "overwrite": False, "trust": False}  # fmt: skip


def parser() -> OptionParser:
    """Build the parser of the command's options."""
    usage = "--retriever RUN [--retriever RUN …] --ranker RUN --run_dir DIR [options]"
    parser = OptionParser("pipeline", DESCRIPTION, usage, epilog=EXAMPLES)
    parser.add_argument("--config", metavar="FILE", help="YAML file of these options; the command line goes before it")
    parser.add_argument("--retriever", action="append", metavar="RUN", help="run of a model of interactions")
    parser.add_argument("--ranker", metavar="RUN", help="run of a model of clicks")
    parser.add_argument("--candidates", type=int, metavar="N", help="items that the ranker gets (default: 100)")
    parser.add_argument(
        "--blend",
        metavar="W",
        help="order candidates by (1 - W) ranker + W retriever, both standardised over a user's candidates; 0: the "
        "ranker alone (default: auto, the best of 0, 0.1 … 1 on validation)",
    )
    parser.add_argument(
        "--ranker_users", type=int, metavar="N",
        help="test users for whom the ranker scores all items, to compare; 0 for none (default: 1000)",
    )  # fmt: skip
    parser.add_argument("--run_dir", metavar="DIR", help="folder to write")
    parser.add_argument("--overwrite", action="store_const", const=True, help="replace a pipeline that is there")
    parser.add_argument(
        "--trust", action="store_const", const=True, help="import modules of models that are not recgnn's own"
    )
    return parser


def main(argv: list[str]) -> TrainedPipeline:
    """Make and measure the pipeline named on the command line; returns it."""
    options = _options(parser().read(argv))
    from recgnn.cli.data_section import protocol_of
    from recgnn.cli.stages import ALL_WEIGHTS, Asked, best_weight, measured, show
    from recgnn.serving.agreement import agreement
    from recgnn.serving.loading import load
    from recgnn.serving.pipeline import Plan, TrainedPipeline

    folder, fixed = Path(options.run_dir).expanduser(), options.blend != "auto"
    _check_folder(folder, options.overwrite)
    plan = Plan([Path(one) for one in options.retriever], Path(options.ranker), options.candidates,
                options.blend if fixed else 0.0)  # fmt: skip
    plan.check()
    ks, metrics = protocol_of(plan.retrievers[0])
    asked, metric = Asked(ks, metrics, options.ranker_users), f"{'ndcg' if 'ndcg' in metrics else metrics[0]}@{ks[0]}"
    *retrievers, ranker = [load(one, options.trust) for one in (*plan.retrievers, plan.ranker)]
    pipeline = TrainedPipeline(folder, plan, retrievers, ranker)
    parts, notes = ["val", "test"], list[str]()
    for one in pipeline.retrievers:
        found, told = agreement(one, pipeline.ranker)
        parts = [part for part in parts if part in found]
        notes.append(f"{one.run}, {plan.ranker}: {told}")
    notes.append(f"{plan.ranker}: {pipeline.told_of_users()}, before the part that is measured")
    outcomes: dict[str, Outcome] = {}
    if "val" in parts:
        weights = [plan.blend] if fixed else ALL_WEIGHTS
        outcomes["val"] = measured(pipeline, "val", asked._replace(ranker_users=0), weights)
    if not fixed:
        told = "0: there is no validation to choose it by (--blend says otherwise)"
        if "val" in parts:
            plan = plan._replace(blend=best_weight(outcomes["val"], metric))
            tried = f"the best of {len(ALL_WEIGHTS)} by {metric} on validation"
            hint = "--blend 0: the ranker alone"
            if plan.blend == 1:
                hint = "the ranker adds nothing there: train it with a history, and with data.hard_negatives"
            told = f"{plan.blend:g}: {tried} ({hint})"
        notes.append(f"blend {told}")
    print("\n".join(notes))
    pipeline.plan = plan
    outcomes["test"] = measured(pipeline, "test", asked, [plan.blend])
    _write(pipeline, outcomes, notes)
    show(outcomes, plan.blend, pipeline, ks)
    print(f"next        python -m recgnn.recommend --run {folder} --k 10 --output recommendations.csv")
    print(f"            python -m recgnn.compare {' '.join(map(str, plan.retrievers))} {folder}")
    return pipeline


def _options(given: Namespace) -> Namespace:
    """Put the options of the command line over those of the file, and these over the defaults.

    Raises:
        ConfigError: For what is missing, or is of the wrong kind.
    """
    from recgnn.data.stored import read_yaml

    options: dict[str, Any] = dict(DEFAULTS)
    if given.config is not None:
        content = read_yaml(existing_file(given.config, "configuration"))
        if not isinstance(content, dict):
            raise ConfigError(f"{given.config}: is no configuration: expected options such as `retriever:`")
        if unknown := [str(name) for name in content if name not in DEFAULTS]:
            raise ConfigError(f"{given.config}: no option {unknown[0]!r}{did_you_mean(unknown[0], DEFAULTS)}")
        options |= content
    options |= {name: value for name, value in vars(given).items() if value is not None and name != "config"}
    if isinstance(options["retriever"], str):
        options["retriever"] = [options["retriever"]]
    if isinstance(options["blend"], str) and options["blend"] != "auto":
        with suppress(ValueError):
            options["blend"] = float(options["blend"])
    for name in ("retriever", "ranker", "run_dir"):
        if not options[name]:
            raise ConfigError(f"--{name} is missing; --help lists the options")
    hints = {"retriever": list[str], "ranker": str, "candidates": Count, "blend": Fraction | Literal["auto"],
             "ranker_users": Annotated[int, Range(0)], "run_dir": str, "overwrite": bool, "trust": bool}  # fmt: skip
    check("", options, hints)
    return Namespace(**options)


def _check_folder(folder: Path, overwrite: bool) -> None:
    """Refuse a folder that holds anything but an earlier pipeline that is to be replaced.

    Raises:
        RunError: Names the folder.
    """
    from recgnn.training.run_folder import PIPELINE

    if folder.is_dir() and any(folder.iterdir()):
        if not (folder / PIPELINE).is_file():
            raise RunError(f"{folder}: holds other files; choose another --run_dir")
        if not overwrite:
            raise RunError(f"{folder}: holds a pipeline already; --overwrite replaces it, or choose another --run_dir")


def _write(pipeline: TrainedPipeline, outcomes: dict[str, Outcome], notes: list[str]) -> None:
    """Write the run folder: pipeline.yaml, metrics.json, users.parquet."""
    from recgnn.cli.stages import record
    from recgnn.comparison.reading import USERS, of_parts
    from recgnn.data.stored import digest_of, write_json
    from recgnn.files import atomic_folder

    plan, log, test = pipeline.plan, pipeline.prepared, outcomes["test"].pipeline[pipeline.plan.blend]
    models = [type(one.model).__name__ for one in (*pipeline.retrievers, pipeline.ranker)]
    settings, seeds = _settings(plan)
    about = {"name": f"{' + '.join(models[:-1])} > {models[-1]}", "file": str(pipeline.run), "settings": settings}
    about |= {"part": of_parts(log, [log.test], "ranking"), "seed": seeds}
    content: dict[str, Any] = {part: outcome.pipeline[plan.blend].values for part, outcome in outcomes.items()}
    content |= {"stages": {part: record(outcome) for part, outcome in outcomes.items()}}
    content |= {"recommendations": about, "groups": test.groups, "dataset": log.summary}
    content |= {"seconds": None, "seconds_per_epoch": None, "best_epoch": 0, "epochs": 0, "test_reads": 1,
                "trials": max(len(outcome.pipeline) for outcome in outcomes.values()),
                "notes": notes + [note for outcome in outcomes.values() for note in outcome.notes]}  # fmt: skip
    with atomic_folder(pipeline.run) as folder:
        plan.write(folder)
        test.users.to_parquet(folder / USERS, index=False, compression="zstd")
        write_json(folder / "metrics.json", content | {"files": {USERS: digest_of(folder / USERS)}}, sealed=True)


def _settings(plan: Plan) -> tuple[dict[str, Any], str]:
    """Return what makes another pipeline, by dotted name, and the seeds of its runs."""
    from recgnn.comparison.reading import makes_a_model
    from recgnn.data.stored import flat, read_yaml

    found: dict[str, Any] = {"candidates": plan.candidates, "retrievers": len(plan.retrievers)}
    seeds = []
    for place, part in enumerate([*plan.retrievers, plan.ranker]):
        config = read_yaml(part / "config.yaml")
        name = "ranker" if part is plan.ranker else f"retriever {place + 1}"
        found |= {f"{name}.{key}": value for key, value in flat(config).items() if makes_a_model(key)}
        seeds.append(str((config or {}).get("seed_everything")))
    return found, ", ".join(seeds)


if __name__ == "__main__":
    run(main)
