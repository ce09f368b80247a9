"""Pipelines measured: both stages together, each alone, and what they cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import pandas as pd
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from recgnn.cli.data_section import protocol_of
from recgnn.cli.options import OptionParser
from recgnn.data.progress import progress
from recgnn.data.stored import write_json
from recgnn.errors import ConfigError
from recgnn.evaluation.groups import Group
from recgnn.evaluation.lists import Labels, Lists, Measured, measure
from recgnn.evaluation.metrics.ranking import RANKING, Recall, check_ks
from recgnn.serving.filters import Filters
from recgnn.serving.loading import load
from recgnn.serving.pipeline import Retrieved, TrainedPipeline
from recgnn.training.report import TITLES, part_metrics
from recgnn.training.run_folder import count_test_read

ALL_WEIGHTS = tuple(tenth / 10 for tenth in range(11))  # of the retrievers, from which validation chooses
SAMPLE_SEED = 0  # of the users for whom the ranker scores all items


class Asked(NamedTuple):
    """What is measured: lengths of lists, names of metrics, and for how many users the ranker scores all items."""

    ks: list[int]
    metrics: list[str]
    ranker_users: int


class Line(NamedTuple):
    """A system: metrics by name, those of each user and of groups, and milliseconds for a user."""

    values: dict[str, float | None]
    users: pd.DataFrame
    groups: dict[str, list[Group]]
    milliseconds: float


class Outcome(NamedTuple):
    """What a part says: the pipeline at each weight, the other systems by name, the candidates' recall, and notes."""

    pipeline: dict[float, Line]
    others: dict[str, Line]
    recall: float
    milliseconds: dict[str, float]
    notes: list[str]


def measured(pipeline: TrainedPipeline, part: str, asked: Asked, weights: Sequence[float]) -> Outcome:
    """Measure a pipeline as a run is: over all users with a label, ranking all items that they do not have before.

    The ranker knows of each user what came before the part. Each system is timed as it works on blocks of users.

    Args:
        pipeline: The pipeline.
        part: `val` or `test`.
        asked: What is measured.
        weights: Of the retrievers in the order of the candidates; a pipeline each.

    Raises:
        ConfigError: If there are fewer candidates than the longest list has items.
    """
    log, earlier = pipeline.prepared, pipeline.before(part)
    labels, ks = Labels.of(log, part), check_ks(asked.ks, log.num_items)
    longest, num = ks[-1], min(pipeline.plan.candidates, log.num_items)
    if num < longest:
        raise ConfigError(f"candidates is {num}: fewer than the {longest} items of the lists that are measured (ks)")
    known = Filters(seen=None if labels.repeats else labels.known)
    ranked, users = earlier.rank(), torch.from_numpy(labels.users)
    seconds: dict[str, float] = {}

    def timed(name: str, work: Callable[..., Any], *given: Any) -> Any:
        start = perf_counter()
        found = work(*given)
        seconds[name] = seconds.get(name, 0.0) + perf_counter() - start
        return found

    def shortened(candidates: Retrieved, scores: Tensor) -> Retrieved:
        best = scores.topk(longest)
        return Retrieved(candidates.items.gather(1, best.indices), best.values)

    retrieved: list[Retrieved] = []
    lists: dict[float, list[Retrieved]] = {weight: [] for weight in weights}
    names = _names(pipeline)
    alone: dict[str, list[Retrieved]] = {name: [] for name in names}
    with progress(f"measuring {part}", len(users)) as step:
        for some in users.split(earlier.at_once):

            def hide(scores: Tensor, some: Tensor = some) -> Tensor:
                return known.hide(scores, some, some)

            candidates = timed("retrieve", earlier.retrieve, some, hide)
            retrieved.append(Retrieved(candidates.items.int(), candidates.scores))
            answers = timed("rank", ranked, some, candidates)
            for weight in weights:
                scores = earlier.ordered(candidates, answers, weight)
                lists[weight].append(shortened(candidates, scores))
            for name, retriever in zip(names, earlier.retrievers, strict=True):
                alone[name].append(timed(name, earlier.best_of, retriever, some, longest, hide))
            step(len(some))
    chosen, every = _sampled(users, asked.ranker_users), list[Retrieved]()
    for some in chosen.split(earlier.at_once):
        scores = known.hide(torch.zeros(len(some), log.num_items), some, some)
        items = Retrieved(torch.arange(log.num_items).expand_as(scores), scores)
        answers = timed("all", ranked, some, items)
        every.append(shortened(items, earlier.ordered(items, answers, 0.0)))
    metrics = [RANKING[name]() for name in asked.metrics]

    def line(found: list[Retrieved], of: Tensor, seconds: float) -> tuple[Line, Measured]:
        result = measure(_lists(found, of), labels._replace(users=of.numpy()), log, ks, metrics)
        values = part_metrics({f"{part}/{name}": value for name, value in result.values.items()}, part)
        return Line(values, result.users, result.groups, 1000 * seconds / len(of)), result

    both = seconds["retrieve"] + seconds["rank"]
    outcome = Outcome({}, {}, 0.0, {name: 1000 * seconds[name] / len(users) for name in ("retrieve", "rank")}, [])
    for weight, found in lists.items():
        outcome.pipeline[weight], result = line(found, users, both)
    outcome.notes.extend(f"{told} ({part})" for told in result.told)
    for name, found in alone.items():
        outcome.others[name] = line(found, users, seconds[name])[0]
    if len(chosen):
        outcome.others[ALL_ITEMS] = line(every, chosen, seconds["all"])[0]
    recall = measure(_lists(retrieved, users), labels, log, [num], [Recall()])
    return outcome._replace(recall=recall.values[f"recall@{num}"])


ALL_ITEMS = "ranker over all items"


def _names(pipeline: TrainedPipeline) -> list[str]:
    """Return the names of the retrievers, told apart by number where they are of one model."""
    models = [type(one.model).__name__ for one in pipeline.retrievers]
    return [f"{model} {place}" if models.count(model) > 1 else model for place, model in enumerate(models, 1)]


def _sampled(users: Tensor, number: int) -> Tensor:
    if number >= len(users):
        return users
    order = torch.randperm(len(users), generator=torch.Generator().manual_seed(SAMPLE_SEED))
    return users[order[:number].sort().values]


def _lists(found: Sequence[Retrieved], users: Tensor) -> Lists:
    """Return lists of users [T] without the places that nothing fills."""
    items, scores = (torch.cat(x) for x in zip(*found, strict=True))
    there = scores > -torch.inf
    tied = torch.zeros_like(there)
    tied[:, 1:] = scores[:, 1:] == scores[:, :-1]
    row = there.nonzero()[:, 0]
    return Lists(users[row].numpy(), items[there].long().numpy(), tied[there].numpy(), [])


# ---- what is written and shown


def best_weight(outcome: Outcome, metric: str) -> float:
    """Return the weight whose pipeline is best by a metric; the ranker's own order where nothing is better."""
    return max(outcome.pipeline, key=lambda weight: (outcome.pipeline[weight].values[metric] or 0.0, -weight))


def record(outcome: Outcome) -> dict[str, Any]:
    """Return what metrics.json has of the stages of a part."""
    own = {"milliseconds": outcome.milliseconds, "candidate_recall": outcome.recall}
    others = {name: line.values | {"milliseconds": line.milliseconds, "users": len(line.users)}
              for name, line in outcome.others.items()}  # fmt: skip
    return own | {"alone": others} | ({"pipeline": {str(w): line.values for w, line in outcome.pipeline.items()}}
                                      if len(outcome.pipeline) > 1 else {})  # fmt: skip


def show(outcomes: dict[str, Outcome], weight: float, pipeline: TrainedPipeline, ks: Sequence[int]) -> None:
    """Print a table for each part: a line for each system."""
    shown = [f"{metric}@{k}" for metric in ("recall", "ndcg") for k in ks]
    num = min(pipeline.plan.candidates, len(pipeline.items))
    for part, outcome in outcomes.items():
        own = outcome.pipeline[weight]
        table = Table(title=TITLES[part], title_justify="left")
        table.add_column("system")
        for column in (*(name for name in shown if name in own.values), "ms a user", "users"):
            table.add_column(column, justify="right")
        for name, line in ({"pipeline": own} | outcome.others).items():
            cells = ["–" if (v := line.values[m]) is None else f"{v:.4f}" for m in shown if m in line.values]
            table.add_row(name, *cells, f"{line.milliseconds:.3f}", f"{len(line.users):,}")
        Console().print(table)
        times = ", ".join(f"{stage} {value:.3f}" for stage, value in outcome.milliseconds.items())
        print(f"recall of the {num} candidates {outcome.recall:.4f}; ms a user: {times}")
        if (every := outcome.others.get(ALL_ITEMS)) is not None and len(every.users) < len(own.users):
            some = own.users[own.users["user"].isin(every.users["user"])]
            same = ", ".join(f"{name} {some[name].mean():.4f}" for name in shown if name in some)
            print(f"note: the ranker scored all items for {len(every.users):,} users; the pipeline for these: {same}")
        for note in outcome.notes:
            print(f"note: {note}")


def remeasured(command: str, argv: list[str]) -> dict[str, float | None]:
    """Measure the pipeline that `validate` or `test` is given.

    Raises:
        ConfigError: For an option that only a model's run has.
    """
    parser = OptionParser(command, "Measure a pipeline.")
    parser.add_run()
    parser.add_argument("--output", metavar="FILE")
    options = parser.read(argv if argv[0].startswith("-") else ["--run", *argv])
    pipeline, part = load(options.run, options.trust), "val" if command == "validate" else "test"
    assert isinstance(pipeline, TrainedPipeline)
    asked = Asked(*protocol_of(options.run, part), ranker_users=0)
    weight = pipeline.plan.blend
    outcome = measured(pipeline, part, asked, [weight])
    show({part: outcome}, weight, pipeline, asked.ks)
    values = outcome.pipeline[weight].values
    if part == "test":
        count_test_read(Path(options.run).expanduser())
    if options.output:
        write_json(Path(options.output).expanduser(), {part: values})
    return values
