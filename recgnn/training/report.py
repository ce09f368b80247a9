"""What a run has to say at its end: metrics.json, the learning curves, the table."""

from __future__ import annotations

import math
import platform
import shlex
import statistics
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from recgnn.evaluation import figures
from recgnn.evaluation.metrics.names import BASELINES

TITLES = {"val": "validation", "test": "test"}


def part_metrics(values: dict[str, Any], part: str) -> dict[str, float | None]:
    """The metrics of a part, without its prefix: {"recall@10": 0.25, …}; None where one has no meaning."""
    found = {k.removeprefix(f"{part}/"): float(v) for k, v in values.items() if k.startswith(f"{part}/")}
    return {name: value if math.isfinite(value) else None for name, value in found.items()}


def versions() -> dict[str, str]:
    """What the figures were made with."""
    found = {"python": platform.python_version()}
    for name in ("recgnn", "torch", "lightning", "torch-geometric", "torchmetrics", "numpy", "pandas"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def results(
    rows: list[dict[str, Any]], test: dict[str, float | None], best_epoch: int, epochs: int, summary: dict[str, Any]
) -> dict[str, Any]:
    """The content of metrics.json; `rows` are metrics.csv's, and no epochs are those of a model that was solved."""
    best = next((row for row in rows if row["epoch"] == best_epoch), {})
    seconds = [row["seconds"] for row in rows]
    return {
        "val": part_metrics(best, "val"),
        "test": test,
        "best_epoch": best_epoch,
        "epochs": epochs,
        "seconds_per_epoch": round(statistics.median(seconds), 4) if seconds else None,
        "seconds": round(sum(r["seconds"] + r["evaluation_seconds"] for r in rows), 1),
        "dataset": summary,
        "versions": versions(),
    }


def refitted(content: dict[str, Any], first: dict[str, Any]) -> dict[str, Any]:
    """metrics.json of the second half of `fit --refit`, with what that of its first half says of the choice."""
    again = {name: content[name] for name in ("epochs", "seconds_per_epoch", "seconds")}
    chosen = {name: first[name] for name in ("val", "best_epoch", "epochs", "seconds_per_epoch")}
    seconds = round(first["seconds"] + content["seconds"], 1)
    of_val = first.get("baselines", {})
    both = {name: of_val.get(name, {}) | values for name, values in content.get("baselines", {}).items()}
    return content | chosen | {"seconds": seconds, "refit": again} | ({"baselines": both} if both else {})


def advice(content: dict[str, Any], otherwise: str) -> str:
    """Say what to try where a run is not good enough: more epochs where it still improved when it ended, else what is
    given."""
    epochs = content.get("epochs")
    if not epochs or content["best_epoch"] < epochs - 1:
        return otherwise
    return f"training ended while it still improved (best epoch {epochs - 1} of {epochs}): raise --trainer.max_epochs"


def summary(content: dict[str, Any]) -> dict[str, float]:
    """What the table of runs shows of metrics.json: the validation metrics of the best epoch, and times."""
    best = {f"best/{name}": value for name, value in content["val"].items() if value is not None}
    times = {"time/seconds": content["seconds"], "time/median_epoch_seconds": content["seconds_per_epoch"]}
    return {"best/epoch": content["best_epoch"], **best, **times}


def curves(rows: list[dict[str, Any]], monitor: str, best_epoch: int) -> dict[str, Any]:
    """The learning curves, as `save_figures` takes them; none of a model that was solved, which has no loss."""
    if not any(math.isfinite(row.get("train/loss", math.nan)) for row in rows):
        return {}
    return {"learning_curves": figures.learning_curves(rows, monitor, best_epoch)}


def print_metrics(parts: dict[str, dict[str, float | None]], notes: Iterable[str] = ()) -> None:
    """One table: a metric a row, validation and test beside each other; a dash where one has no meaning.

    Args:
        parts: metrics by part.
        notes: what a reader of them should know, each printed once below the table.
    """
    table = Table()
    table.add_column("metric")
    for part in parts:
        table.add_column(TITLES.get(part, part), justify="right")
    for name in dict.fromkeys(name for values in parts.values() for name in values):
        cells = ("" if name not in v else "–" if v[name] is None else f"{v[name]:.4f}" for v in parts.values())
        table.add_row(name, *cells)
    Console().print(table)
    for note in dict.fromkeys(notes):
        if note:
            print(f"note: {note}")


GROUPINGS = {
    "by_activity": "by ratings of the user in train",
    "by_popularity": "by ratings of the item in train",
    "by_rating": "by rating",
    "by_label": "by label",
}


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4f}"
    return "" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def print_groups(groups: dict[str, list[dict[str, Any]]]) -> None:
    """Ratings only: the errors by activity, popularity and rating, a table each."""
    for name, records in groups.items():
        if not records or "rmse" not in records[0]:
            continue
        table = Table(title=GROUPINGS[name], title_justify="left")
        for column in records[0]:
            table.add_column(column, justify="right")
        for record in records:
            table.add_row(*map(_cell, record.values()))
        Console().print(table)


def print_fit(content: dict[str, Any], run_dir: Path, prepared: Any, loggers: list, task: str, own: bool) -> None:
    """The table, where the run lies, and what to type next; for `own` classes, with the option that imports them."""
    parts = {part: content[part] for part in ("val", "test") if content[part]}
    seconds, epochs = content["seconds_per_epoch"] or 0, content["epochs"]
    took = f"best epoch {content['best_epoch']} of {epochs}, {seconds:.2f} s an epoch" if epochs else "solved"
    print(f"{took}, {content['seconds']:.0f} s in all")
    if "refit" in content:
        again = f"trained again on train and validation for {content['refit']['epochs']} epochs"
        print(f"{again if epochs else 'solved again on train and validation'}, and that tested")
    baselines, shown = content.get("baselines", {}), list(parts)
    for name, values in baselines.items():  # of several the last part alone; all are in metrics.json
        for part in shown if len(baselines) == 1 else shown[-1:]:
            parts[f"{BASELINES[name]}\n{TITLES[part]}"] = values[part]
    print_metrics(parts, content.get("notes", []))
    print_groups(content.get("groups", {}))
    print(f"figures     {run_dir}/figures")
    for logger in loggers:
        if command := getattr(logger, "sync_command", None):
            print(f"dashboard   {command}")
    run = shlex.quote(str(run_dir)) + " --trust" * own
    predict = f"python -m recgnn.predict --run {run} --input rows.csv --output predictions.parquet"
    commands = [f"python -m recgnn.test --run {run}"]
    if task in ("clicks", "regression"):
        if prepared.can_recommend:
            commands.insert(0, f"python -m recgnn.recommend --run {run} --k 10 --output recommendations.csv")
        commands.insert(0, predict)
    else:
        user, item = (shlex.quote(str(v.decode([0])[0])) for v in (prepared.users, prepared.items))
        shown = [
            f"python -m recgnn.recommend --run {run} --users {user} --k 10",
            f"python -m recgnn.similar --run {run} --items {item} --k 10",
        ]
        commands = shown + [predict] * (task == "rating") + commands
    for number, command in enumerate(commands):
        print(f"{'' if number else 'next':<11} {command}")
