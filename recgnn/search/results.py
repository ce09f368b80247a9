"""Results of a search: a line per trial, the table, trials.csv, best.yaml and search.png."""

from __future__ import annotations

import json
import math
import shlex
from typing import Any

import pandas as pd
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console
from rich.table import Table

from recgnn.cli.fitting import configuration
from recgnn.evaluation.figures import DPI
from recgnn.files import atomic_path
from recgnn.search.figure import search_figure
from recgnn.search.search import STATES, Search

SHOWN = 5  # trials in the table


def text(value: Any) -> str:
    """Write a value in few characters."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value)


def line(search: Search, trial: FrozenTrial, trials: int) -> str:
    """Tell how a trial ended, in one line."""
    attrs, best = trial.user_attrs, search.best
    head = f"trial {trial.number} ({len(search.trials)} of {trials})"
    if trial.state == TrialState.FAIL:
        return f"{head}  failed: {attrs['error']}"
    values = ", ".join(f"{k.rpartition('.')[2]} {text(v)}" for k, v in attrs["values"].items())
    what = f"{search.space.metric} {attrs['best_value']:.4f}"
    if trial.state == TrialState.PRUNED:
        what += f"  given up after {attrs['epochs']} epochs"
    else:
        what += f"  epoch {attrs['best_epoch']} of {attrs['epochs']}"
    note = "  the configuration's own values" if attrs.get("baseline") else f"  {values}"
    star = "  * the best" if best is not None and best.number == trial.number and not attrs.get("baseline") else ""
    return f"{head}  {what}  {attrs['seconds']:.0f} s{note}{star}"


def write_table(search: Search) -> None:
    """Write trials.csv, a row for each trial that has ended."""
    with atomic_path(search.output / "trials.csv") as path:
        pd.DataFrame([_row(search, trial) for trial in search.trials]).to_csv(path, index=False)


def write_figure(search: Search) -> None:
    """Write search.png."""
    figure = search_figure(search.space, search.trials, search.baseline)
    with atomic_path(search.output / "search.png") as path:
        figure.savefig(path, dpi=DPI, format="png", facecolor="white")


def write_best(search: Search, command: str) -> None:
    """Write best.yaml: the complete configuration of the best trial.

    Args:
        search: the search.
        command: the command that was typed.
    """
    best, baseline, metric = search.best, search.baseline, search.space.metric
    if best is None:
        return
    own = "" if baseline is None else f"; with the configuration's own values {baseline.value:.6f}"
    head = [
        f"# found by {command}",
        f"# trial {best.number} of {len(search.trials)}: {metric} {best.value:.6f}{own}",
        f"# python -m recgnn.fit --config {shlex.quote(str(search.output / 'best.yaml'))}",
    ]
    with atomic_path(search.output / "best.yaml") as path:
        options = [*search.options_of(best), f"--trials={len(search.trials)}"]
        content = "\n".join(head) + "\n" + configuration(options)
        path.write_text(content, encoding="utf-8")


def _row(search: Search, trial: FrozenTrial) -> dict[str, Any]:
    attrs = trial.user_attrs
    row = {"trial": trial.number, "state": STATES[trial.state], search.space.metric: attrs.get("best_value", math.nan)}
    row |= {name: attrs.get(name) for name in ("best_epoch", "epochs", "seconds")}
    row |= {k: json.dumps(v) if isinstance(v, list | dict) else v for k, v in attrs.get("values", {}).items()}
    return row | {"own_values": bool(attrs.get("baseline")), "error": attrs.get("error")}


def importances(search: Search) -> dict[str, float]:
    """Return how much of the metric depends on each parameter (PED-ANOVA), most first; empty below six trials."""
    complete = search.study.get_trials(states=(TrialState.COMPLETE,))
    if len(complete) < 6:
        return {}
    try:
        found = get_param_importances(search.study, evaluator=PedAnovaImportanceEvaluator())
    except (ValueError, RuntimeError):  # as when all values are the same
        return {}
    return dict(sorted(found.items(), key=lambda pair: -pair[1]))


def show(search: Search, seconds: float) -> None:
    """Print the best trials, the importance of parameters, the files written and the next commands."""
    trials, best, baseline, metric = search.trials, search.best, search.baseline, search.space.metric
    counts = {name: sum(t.state == state for t in trials) for state, name in STATES.items()}
    told = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    running = len(search.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)))
    told += f"; {running} still running in another process" if running else ""
    print(f"{len(trials)} trials: {told or 'none has ended'}; {seconds:.0f} s in this call")
    if best is None:
        return
    sign = -1 if search.space.goal == "maximize" else 1
    complete = [t for t in trials if t.state == TrialState.COMPLETE]
    complete.sort(key=lambda t: (sign * t.values[0], t.number))
    _print_table(search, complete[:SHOWN] + [t for t in complete[SHOWN:] if t.user_attrs.get("baseline")])
    if baseline is not None and best.number == baseline.number:
        print(f"the configuration's own values are the best so far: {metric} {best.value:.4f}")
    elif baseline is not None:
        print(f"{metric} {best.value:.4f}; with the configuration's own values {baseline.value:.4f}")
        print("from one seed each: a small difference may be chance; other --seed_everything would show it")
    if weights := importances(search):
        print("importance  " + ", ".join(f"{name} {weight:.2f}" for name, weight in weights.items()))
    print(f"best        {search.output}/best.yaml")
    print(f"all         {search.output}/trials.csv, {search.output}/search.png")
    config, run = (shlex.quote(str(p)) for p in (search.output / "best.yaml", search.folder(best.number)))
    print(f"next        python -m recgnn.fit --config {config}")
    print(f"            python -m recgnn.test --run {run}")


def _print_table(search: Search, trials: list[FrozenTrial]) -> None:
    """Print a column per trial, the best first."""
    table = Table()
    table.add_column("trial", overflow="fold")
    for trial in trials:
        own = " own" if trial.user_attrs.get("baseline") else ""
        table.add_column(f"{trial.number}{own}", justify="right")
    table.add_row(search.space.metric, *(f"{t.value:.4f}" for t in trials))
    for name in ("best_epoch", "epochs", "seconds"):
        cells = [text(t.user_attrs[name]) for t in trials]
        table.add_row(name.replace("_", " "), *cells, end_section=name == "seconds")
    for name in search.own:
        cells = [text(t.user_attrs["values"][name]) for t in trials]
        table.add_row(name.removeprefix("model.").removeprefix("training."), *cells)
    Console().print(table)
