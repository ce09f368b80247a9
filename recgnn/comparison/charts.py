"""The charts of a table of runs: learning curves, test metrics, training times, groups, calibration."""

from __future__ import annotations

import statistics
from typing import Any

import numpy as np
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from recgnn.comparison.chart import Chart, literal, look
from recgnn.comparison.reading import Run
from recgnn.comparison.row import Row
from recgnn.comparison.tables import Table
from recgnn.evaluation.figures import GREY, INK, STEPS

BARS, MOST_POINTS, MARKED = 4, 400, 12  # metrics with bars, points of a curve, points that are still marked
SEED: dict[str, Any] = {"joined": False, "markersize": 4, "markerfacecolor": "white"}  # the point of a single seed
ORDERED = {  # groups that follow each other: subject, axis
    "by_activity": ("user activity", "interactions of the user in train"),
    "by_popularity": ("item popularity", "interactions of the item in train"),
    "by_rating": ("rating", "rating in test"),
    "by_label": ("label", "label in test"),
}

def charts(table: Table) -> list[Chart]:
    """Draw all charts of a table for which its runs have the values, each of the same size."""
    height = max(3.4, 0.9 + 0.24 * len(table.rows))
    drawn = [curves(table, "train/loss", height), curves(table, f"val/{table.metric}", height)]
    if len(table.rows) > 1:
        drawn += [bars(table, metric, height) for metric in table.metrics[:BARS]]
    drawn.append(times(table, height))
    groups = dict.fromkeys(name for row in table.rows for run in row.runs for name in run.content.get("groups", {}))
    drawn += [by_group(table, name, height) for name in groups if name != "calibration"]
    drawn.append(calibration(table, height))
    return [chart for chart in drawn if chart is not None]


def label(row: Row, run: Run) -> str:
    """Name a run."""
    return f"{row.name}, seed {run.seed}" if len(row.runs) > 1 else row.name


def number(value: float) -> str:
    """Write a value in few characters: 0.2727, 12.5, 3,600."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def measured(row: Row, metric: str) -> list[tuple[Run, float]]:
    """Return the runs that have a test metric, with its value."""
    values = [(run, run.content["test"].get(metric)) for run in row.runs]
    return [(run, value) for run, value in values if value is not None and value == value]


def curves(table: Table, column: str, height: float) -> Chart | None:
    """Draw a column of metrics.csv by epoch, a curve for each run; of validation, its best epoch is marked.

    None if no run has two epochs.
    """
    found = []
    for place, row in enumerate(table.rows):
        for run in row.runs:
            if column in run.epochs:
                points = run.epochs[["epoch", column]].to_numpy(float)
                points = points[np.isfinite(points).all(axis=1)]
                found.append((place, row, run, points[:: -(-len(points) // MOST_POINTS) or 1].T))
    if max((len(epochs) for *_, (epochs, _) in found), default=0) < 2:
        return None
    loss = column == "train/loss"
    several = loss and len({row.model for row in table.rows}) > 1
    note = "each model's own loss: heights do not compare" if several else ""
    chart = Chart(f"Learning curves: {'training loss' if loss else f'validation {table.metric}'}", height, note)
    every = np.concatenate([values for *_, (_, values) in found])
    log = loss and every.min() > 0 and every.max() / every.min() > 8
    chart.axes.set_yscale("log" if log else "linear")
    chart.axes.xaxis.set_major_locator(MaxNLocator(6, steps=STEPS, integer=True))
    chart.label("epoch", ("loss" if loss else table.metric) + (" (logarithmic)" if log else ""))
    for place, row, run, (epochs, values) in found:
        if not len(epochs):
            continue
        name = label(row, run)
        tips = [f"{name}, epoch {int(e)}: {number(v)}" for e, v in zip(epochs, values, strict=True)]
        marked = len(epochs) <= MARKED
        chart.plot(place, epochs, values, tips if marked else [name], marked, markersize=3.5)
        best = np.flatnonzero(epochs == run.content["best_epoch"])
        if not loss and len(best):
            at = int(best[0])
            tip = f"{name}, best epoch {int(epochs[at])}: {number(values[at])}"
            chart.plot(place, epochs[[at]], values[[at]], [tip])
    return chart


def bars(table: Table, metric: str, height: float) -> Chart | None:
    """Draw a test metric of all rows: mean, each seed, standard deviation. From 0, unless all values are close, and yet
    differ by a thousandth."""
    shown = [(place, row, mean) for place, row in enumerate(table.rows) if (mean := row.mean(metric)) is not None]
    if not shown:
        return None
    ends = [mean + sign * (row.spread(metric) or 0) for _, row, mean in shown for sign in (-1, 1)]
    ends += [value for _, row, _ in shown for value in row.values(metric)]
    low, high = min(ends), max(ends)
    from_zero = low >= 0 and (high == 0 or not 1e-3 <= (high - low) / high <= 0.25)
    several = any(len(row.runs) > 1 for _, row, _ in shown)
    notes = ["mean of the seeds (dots), ± standard deviation"] * several + ["not from 0"] * (not from_zero)
    chart = Chart(f"Test {metric}", height, "; ".join(notes))
    for at, (place, row, mean) in enumerate(shown):
        spread = row.spread(metric)
        told = f"{row.name}: {number(mean)}" + ("" if spread is None else f" ± {spread:.2g} over {len(row.runs)} runs")
        if from_zero:
            chart.tell(chart.axes.barh(at, mean, 0.7, color=look(place)[0], alpha=0.8)[0], place, [told])
        if spread is not None:
            chart.axes.errorbar(mean, at, xerr=spread, color=INK, linewidth=1.2, capsize=3)
        if len(row.runs) > 1:
            runs = measured(row, metric)
            tips = [f"{label(row, run)}: {number(value)}" for run, value in runs]
            values = [value for _, value in runs]
            chart.plot(place, values, [at] * len(runs), tips, **SEED, markeredgecolor=look(place)[0])
        if not from_zero:
            chart.plot(place, [mean], [at], [told])
        value = f"{mean:.4f}" if abs(mean) < 10 else number(mean)
        chart.axes.text(1.02, at, value, transform=chart.axes.get_yaxis_transform(), va="center", fontsize=9, color=INK)
    names = [literal(row.name if len(row.name) < 27 else f"{row.name[:26]}…") for _, row, _ in shown]
    chart.axes.set_yticks(range(len(shown)), names, color=INK)
    chart.axes.set_ylim(len(shown) - 0.4, -0.6)
    chart.axes.grid(visible=False, axis="y")
    chart.axes.xaxis.set_major_locator(MaxNLocator(5, steps=STEPS))
    chart.label(metric)
    return chart


def times(table: Table, height: float) -> Chart | None:
    """Draw the main metric by the time of training, a point for each run and a larger one for the mean."""
    metric = table.metric
    timed = [(place, row) for place, row in enumerate(table.rows) if row.seconds == row.seconds]
    rows = [(place, row, mean) for place, row in timed if (mean := row.mean(metric)) is not None]
    if not rows:
        return None
    several = any(len(row.runs) > 1 for _, row, _ in rows)
    chart = Chart(f"Test {metric} against training time", height, "large: mean of the seeds" if several else "")
    chart.axes.set_xscale("log")
    chart.axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    chart.axes.xaxis.set_major_formatter(lambda value, _: number(value))
    chart.axes.xaxis.set_minor_locator(NullLocator())
    chart.label("seconds, training and validation (logarithmic)", metric)
    for place, row, mean in rows:
        if len(row.runs) > 1:
            runs = measured(row, metric)
            seconds = [max(run.content["seconds"], 0.1) for run, _ in runs]
            tips = [f"{label(row, run)}: {number(value)} in {number(run.content['seconds'])} s" for run, value in runs]
            chart.plot(place, seconds, [value for _, value in runs], tips, **SEED, markeredgecolor=look(place)[0])
        time = max(row.seconds, 0.1)
        chart.plot(place, [time], [mean], [f"{row.name}: {number(mean)} in {number(time)} s"], markersize=8)
    return chart


def by_group(table: Table, name: str, height: float) -> Chart | None:
    """Draw a metric by groups of users, items or events: the mean over the runs, a line for each row."""
    found = {place: of_group(row, name) for place, row in enumerate(table.rows)}
    first = next((records for records in found.values() if records), [])
    found = {place: records for place, records in found.items() if records and len(records) == len(first)}
    if not any(record["value"] is not None for records in found.values() for record in records):
        return None
    value = first[0]["name"]
    subject, axis = ORDERED.get(name, (name.removeprefix("by_"), name.removeprefix("by_")))
    chart = Chart(f"{value} by {subject}", height)
    for place, records in found.items():
        known = [(x, r) for x, r in enumerate(records) if r["value"] is not None]
        told = table.rows[place].name
        tips = [f"{told}, {r['group']} (n = {r['rows']:,.0f}): {number(r['value'])}" for _, r in known]
        chart.plot(place, [x for x, _ in known], [r["value"] for _, r in known], tips, joined=name in ORDERED)
    groups = [record["group"] for record in first]
    sizes = [f"\nn = {record['rows']:,.0f}" if len(first) <= 5 else "" for record in first]
    crowded = sum(map(len, groups)) > 40
    texts = [literal(group) + size for group, size in zip(groups, sizes, strict=True)]
    chart.axes.set_xticks(range(len(groups)), texts)
    chart.axes.tick_params(axis="x", labelrotation=90 if crowded else 0)
    chart.axes.set_xlim(-0.5, len(groups) - 0.5)
    chart.label(axis, value)
    return chart


def of_group(row: Row, name: str) -> list[dict[str, Any]]:
    """Average a metric by group over the runs that have as many groups as the first one.

    The bounds of groups may differ a little with the split; they are those of the first run.
    """
    several = [run.content["groups"][name] for run in row.runs if run.content.get("groups", {}).get(name)]
    if name in ("by_activity", "by_popularity") and not all(records[0]["group"] == "0" for records in several):
        several = [[r for r in records if r["group"] != "0"] for records in several]  # not in the training data
    several = [records for records in several if len(records) == len(several[0])]
    keys = [key for key in several[0][0] if key not in ("group", "rows")] if several and several[0] else []
    if not keys:
        return []
    key = "rmse" if "rmse" in keys and name != "by_rating" else keys[0]
    found = []
    for records in zip(*several, strict=True):
        values = [r[key] for r in records if r.get(key) is not None]
        mean, rows = statistics.mean(values) if values else None, statistics.mean(r["rows"] for r in records)
        found.append({"group": records[0]["group"], "rows": rows, "name": key, "value": mean})
    return found


def calibration(table: Table, height: float) -> Chart | None:
    """Draw the share of positives by predicted probability, in bins of equally many events; the mean over the runs."""
    found = []
    for place, row in enumerate(table.rows):
        several = [bins for run in row.runs if (bins := run.content.get("groups", {}).get("calibration"))]
        several = [bins for bins in several if len(bins) == len(several[0])]
        if several:
            points = [[[b["predicted"], b["observed"]] for b in bins] for bins in several]
            found.append((place, row, np.mean(points, axis=0).T))
    if not found:
        return None
    chart = Chart("Calibration", height, "each point: a twentieth of the events; dashed: as predicted")
    chart.axes.axline((0, 0), slope=1, color=GREY, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    for place, row, (predicted, observed) in found:
        tips = [f"{row.name}: predicted {number(p)}, observed {number(o)}"
                for p, o in zip(predicted, observed, strict=True)]  # fmt: skip
        chart.plot(place, predicted, observed, tips, markersize=4)
    chart.label("predicted probability", "share of positives")
    return chart
