"""Simple methods on the data of a ranking run, which tell whether a model is worth its training."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.distributed as dist

from recgnn.data.interactions.module import GraphDataModule
from recgnn.errors import RunError, first_line
from recgnn.evaluation.metrics.names import BASELINES, RANKING
from recgnn.models import EASE, GraphFilter, ItemKNN, Popularity
from recgnn.models.base import Recommender
from recgnn.nn.losses import SampledSoftmax
from recgnn.training.recommenders import RankingTraining
from recgnn.training.report import advice

MOST_ITEMS = 15_000  # of EASE, which takes I³ operations: beyond, minutes
SECONDS = 5.0  # of one core, that EASE may take where nobody has asked for it
USERS = 5_000  # of validation, by whom settings are chosen
CLEARLY = 0.95  # share of a simple method's value, below which a model is told to be worse
Values = dict[str, float | None]


class Method(NamedTuple):
    """A simple method: how it is made, where the search for its settings begins, and what is tried from there.

    Attributes:
        make: of settings, a model for the data.
        start: the settings without a validation part, or without a search.
        near: the settings to try next, of the best ones so far; None for no search.
    """

    make: Callable[..., Recommender]
    start: dict[str, Any]
    near: Callable[[dict[str, Any]], Iterable[dict[str, Any]]] | None = None


def beside(
    data: Any, like: Any, parts: Sequence[str], more: bool | None, chosen: dict[str, Any]
) -> dict[str, dict[str, Any]]:
    """Measure simple methods beside a run: the most popular items, which a run of these needs not, and others.

    Args:
        data: a `GraphDataModule`.
        like: the `RankingTraining` of the run, which says what is measured.
        parts: where, of `val` and `test`.
        more: whether ItemKNN and EASE or GraphFilter are fitted, too; None for EASE alone, with its usual l2, where it
            takes seconds and the run is none of EASE.
        chosen: what this returned for the first half of `fit --refit`.
    """
    found: dict[str, dict[str, Any]] = {}
    if not isinstance(like.model, Popularity):
        found["popularity"] = most_popular(data, like, parts)
    if more:
        return found | simple_methods(data, like, parts, chosen, methods_for(data))
    if more is None and not isinstance(like.model, EASE):
        left_out = "it would take long or more memory than there is"
        try:
            if methods := methods_for(data, search=False):
                return found | simple_methods(data, like, parts, chosen, methods)
        except (RunError, MemoryError, torch.OutOfMemoryError, torch.linalg.LinAlgError) as error:
            left_out = first_line(error)  # nobody asked for it, and the run is trained and tested
        told = "--baselines true fits it, or a linear filter, and ItemKNN"
        like.left_out = f"EASE was not fitted beside this run ({left_out}); {told}"
    return found


def most_popular(data: Any, like: Any, parts: Sequence[str]) -> dict[str, Values]:
    """Measure the most popular items.

    Args:
        data: a `GraphDataModule`.
        like: the `RankingTraining` of the run, which says what is measured.
        parts: where, of `val` and `test`.

    Returns:
        The metrics by part.
    """
    training = solved(Popularity(data.num_users, data.num_items), data, like)
    return {part: measured(training, data, part) for part in parts}


def simple_methods(
    data: Any, like: Any, parts: Sequence[str], chosen: dict[str, Any], methods: dict[str, Method]
) -> dict[str, dict[str, Any]]:
    """Fit methods to the training part, with settings that are chosen on validation, and measure them.

    Args:
        data: a `GraphDataModule`.
        like: the `RankingTraining` of the run, which says what is measured.
        parts: where, of `val` and `test`.
        chosen: what this returned for the first half of `fit --refit`, whose settings are taken.
        methods: by name.

    Returns:
        By name: `settings`, and the metrics by part.
    """
    found: dict[str, dict[str, Any]] = {}
    for name, method in methods.items():
        settings = chosen[name]["settings"] if name in chosen else best_settings(method, data, like)
        training = solved(method.make(**settings), data, like)
        found[name] = {"settings": settings} | {part: measured(training, data, part) for part in parts}
    return found


def seconds_of_ease(data: Any) -> float:
    """Estimate the seconds that EASE takes on one core: to count and invert the pairs of items, and to score and rank
    all items for all users on two parts, with factors measured on logs of 1,200 to 9,000 items. MovieLens-1M takes 5,
    a log of 4,000 items and 100,000 rows of 5,000 users 2.

    Args:
        data: a `GraphDataModule`.
    """
    items, users = data.num_items, data.edge_index[0]
    pairs = float(users.bincount().float().square().sum())
    return 1.4e-11 * items**3 + 8e-9 * pairs + items * (5e-10 * users.numel() + 2.6e-8 * data.num_users)


def methods_for(data: Any, search: bool = True) -> dict[str, Method]:
    """Return the simple methods for the data, by name: ItemKNN, and EASE or, where EASE would take minutes or does not
    fit, GraphFilter.

    Args:
        data: a `GraphDataModule`.
        search: False for EASE alone, with its usual l2, and for nothing where it takes longer than seconds.
    """
    sizes = (data.num_users, data.num_items)

    def ease(l2: float) -> Recommender:
        model = EASE(*sizes)
        model.l2 = l2
        return model

    def nearer(setting: str, factor: float) -> Callable[[dict[str, Any]], Iterable[dict[str, Any]]]:
        return lambda best: [best | {setting: best[setting] * factor}, best | {setting: best[setting] / factor}]

    found: list[dict[str, Any]] = [{}]
    if data.num_items <= MOST_ITEMS and (search or seconds_of_ease(data) <= SECONDS):
        with suppress(RunError):  # of memory that it needs
            found = [{"l2": RankingTraining(EASE(*sizes)).usual_l2(data)}]
    if dist.is_available() and dist.is_initialized():
        dist.broadcast_object_list(found)  # what is free differs between processes, and all measure the same methods
    (usual,) = found
    if not search:
        return {"ease": Method(ease, usual)} if usual else {}
    knn = Method(
        lambda **settings: ItemKNN(*sizes, **settings),
        {"num_neighbours": 100, "shrinkage": 10.0},
        lambda best: [best | {"num_neighbours": k} for k in (25, 400)] + [best | {"shrinkage": h} for h in (0.0, 99.0)],
    )
    if usual:
        return {"item_knn": knn, "ease": Method(ease, usual, nearer("l2", 4.0))}
    start = {"dim": 256, "alpha": 0.3}
    graph = Method(lambda **settings: GraphFilter(*sizes, **settings), start, nearer("alpha", 3.0))
    return {"item_knn": knn, "graph_filter": graph}


def of_run(folder: Path, names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Fit the simple methods, the most popular items among them, to the data of a finished ranking run.

    Args:
        folder: the run folder.
        names: of the metrics to measure, such as `ndcg@10`; those of a person's own are left out.
    """
    data = GraphDataModule(prepared=str(folder / "vocabulary"))
    known = [(name, int(k)) for name, _, k in (name.partition("@") for name in names) if name in RANKING]
    metrics, ks = dict.fromkeys(name for name, _ in known), {k for _, k in known}
    like = RankingTraining(Popularity(data.num_users, data.num_items), metrics=[*metrics], ks=[*ks])
    parts = [part for part in ("val", "test") if len(getattr(data.prepared, part))]
    return {"popularity": most_popular(data, like, parts), **simple_methods(data, like, parts, {}, methods_for(data))}


def best_settings(method: Method, data: Any, like: Any) -> dict[str, Any]:
    """Climb from a method's first settings to better ones, as long as there are, by the metric that chooses epochs, on
    some users of the validation part; the first ones where there is no such part, or nothing is to be tried."""
    if method.near is None or not len(data.prepared.val) or data.prepared.summary["val_is_test"]:
        return method.start
    monitor, mode = like.metrics["val"].monitor
    tried: dict[str, float] = {}

    def value(settings: dict[str, Any]) -> float:
        if (key := str(settings)) not in tried:
            found = measured(solved(method.make(**settings), data, like), data, "val", USERS)[monitor] or 0.0
            tried[key] = found if mode == "max" else -found
        return tried[key]

    best = method.start
    while (better := max([best, *method.near(best)], key=value)) != best and len(tried) < 12:
        best = better
    return best


def solved(model: Recommender, data: Any, like: Any) -> RankingTraining:
    """Solve a model for the training part, in a training that measures what `like` does."""
    training = RankingTraining(model, l2=model.l2, metrics=like.metrics["val"].metrics, ks=like.ks)
    training.set_graph(data.edge_index)
    training.to(data.shard().device).eval()
    model.solve()  # type: ignore[operator]  # all the models here have it
    return training


@torch.no_grad()
def measured(training: RankingTraining, data: Any, part: str, users: int | None = None) -> Values:
    """Measure a solved model on a part; on about so many `users`, spread over all, where it is given."""
    blocks = data.val_dataloader() if part == "val" else data.test_dataloader()
    if users is not None:
        blocks.users = blocks.users[:: max(1, blocks.users.numel() // users)]
    metrics = training.metrics[part]
    for batch in blocks:
        training.measure(part, batch)
    values = {name: float(value) for name, value in metrics.compute().items()}
    metrics.reset()
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


def remarks(content: dict[str, Any], like: Any) -> list[str]:
    """Say that EASE was left out, and where a run is hardly better than the most popular items, or clearly worse than
    the best simple method, and what to try.

    Args:
        content: metrics.json, with `baselines`.
        like: the `RankingTraining` of the run.
    """
    monitor = like.monitor
    part = "val" if content["val"] else "test"
    name, sign = monitor[0].removeprefix("val/"), 1 if monitor[1] == "max" else -1
    own = content[part].get(name)
    others = {key: values[part].get(name) for key, values in content.get("baselines", {}).items() if part in values}
    others = {key: value for key, value in others.items() if value is not None}
    model, left_out = getattr(like, "model", None), [note for note in (getattr(like, "left_out", ""),) if note]
    if own is None or not others or isinstance(model, Popularity):
        return left_out

    def tries(usual: str) -> str:
        return advice(content, "try other settings (python -m recgnn.tune)" if hasattr(model, "solve") else usual)

    told, where = f"{name} is {own:.4f}", "on validation" if part == "val" else "on test"
    clearly = CLEARLY if sign > 0 else 1 / CLEARLY
    popular, ease = others.pop("popularity", None), others.get("ease")
    if popular is not None and sign * own * clearly <= sign * popular:
        how = "hardly" if sign * own > sign * popular else "no"
        usual = "try more steps an epoch (a smaller --data.batch_size), more patience, another --training.lr or "
        instead = "" if isinstance(model, EASE) else ", or --model EASE"
        if ease is not None and sign * ease * clearly <= sign * popular:
            instead = f"; neither is EASE ({ease:.4f}), so there may be little more to learn from this log"
        return left_out + [
            f"{where} {told}, {how} better than the most popular items for everybody ({popular:.4f}): the model does "
            f"not tell users apart; {tries(usual + '--training.l2')}{instead}"
        ]
    best = max(others, key=lambda key: sign * others[key], default="")
    if best and sign * own < sign * others[best] * clearly:
        settings = content["baselines"][best].get("settings", {})
        how = ", ".join(f"{name} {value:g}" for name, value in settings.items())
        usual = "try other values of --training.l2 and --training.lr (python -m recgnn.tune)"
        if hasattr(model, "propagate") and not isinstance(like.loss, SampledSoftmax):
            usual = usual.replace("try ", "try --training.loss SampledSoftmax, ")
        return left_out + [
            f"{where} {told}, more than 5 % worse than {BASELINES[best]} ({others[best]:.4f}, {how}), which takes "
            f"seconds; {tries(usual)}, or --model {BASELINES[best]}"
        ]
    return left_out
