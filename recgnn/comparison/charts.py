"""The figures of a table of runs."""

from __future__ import annotations

import math
import statistics
from typing import Any

from recgnn.comparison.found import Run
from recgnn.comparison.lines import Line
from recgnn.comparison.svg import Chart, Scale, number
from recgnn.comparison.tables import Table
from recgnn.comparison.written import seconds

BARS, MOST_POINTS = 4, 400  # metrics, points of a curve
ORDERED = {
    "by_activity": ("user activity", "interactions of the user in train"),
    "by_popularity": ("item popularity", "interactions of the item in train"),
    "by_rating": ("rating", "rating in test"),
    "by_label": ("label", "label in test"),
}


def charts(table: Table) -> list[str]:
    """All figures of a table for which its runs have the figures, as HTML."""
    drawn = [curves(table, "train/loss", "training loss"), curves(table, f"val/{table.metric}", "validation")]
    if len(table.lines) > 1:
        drawn += [bars(table, metric) for metric in table.metrics[:BARS]]
    drawn.append(times(table))
    groups = dict.fromkeys(name for line in table.lines for run in line.runs for name in run.content.get("groups", {}))
    drawn += [by_group(table, name) for name in groups if name != "calibration"]
    drawn.append(calibration(table) if "calibration" in groups else None)
    return [chart.html() for chart in drawn if chart is not None]


def label(line: Line, run: Run) -> str:
    """What to call a run."""
    return f"{line.name}, seed {run.seed}" if len(line.runs) > 1 else line.name


def curves(table: Table, column: str, what: str) -> Chart | None:
    """A column of metrics.csv by epoch, a curve for each run; the best epoch marked on validation."""
    found = []
    for place, line in enumerate(table.lines):
        for run in line.runs:
            if column not in run.epochs:
                continue
            rows = run.epochs[["epoch", column]].replace([math.inf, -math.inf], math.nan).dropna()
            rows = rows.iloc[:: max(1, -(-len(rows) // MOST_POINTS))]
            if len(rows):
                found.append((place, line, run, rows["epoch"].tolist(), rows[column].tolist()))
    if not found:
        return None
    name = column.removeprefix("val/").replace("train/loss", "loss")
    values = [v for *_, ys in found for v in ys]
    log = column == "train/loss" and min(values) > 0 and max(values) / min(values) > 8
    several = name == "loss" and len({line.model for line in table.lines}) > 1
    note = "each model's own loss: heights do not compare" if several else ""
    chart = Chart(f"Learning curves: {what} {name if what == 'validation' else ''}".strip(), note=note)
    x = Scale(0, max(1, max(e for *_, epochs, _ in found for e in epochs)), chart.x0, chart.x1, exact=True)
    y = Scale(min(values), max(values), chart.y0, chart.y1, log=log)
    chart.x_axis(x, "epoch", whole=True)
    chart.y_axis(y, name + (" (logarithmic)" if log else ""))
    for place, line, run, epochs, ys in found:
        tips = [f"{label(line, run)}, epoch {int(e)}: {number(v)}" for e, v in zip(epochs, ys, strict=True)]
        chart.curve(place, [(x(e), y(v)) for e, v in zip(epochs, ys, strict=True)], tips)
        if len(epochs) == 1:
            chart.marker(place, x(epochs[0]), y(ys[0]), tips[0], 0.9)
    for place, line, run, epochs, ys in found:
        best = run.content["best_epoch"]
        if what == "validation" and best in epochs:
            value = ys[epochs.index(best)]
            tip = f"{label(line, run)}, best epoch {int(best)}: {number(value)}"
            chart.marker(place, x(best), y(value), tip, 0.9)
    return chart


def bars(table: Table, metric: str) -> Chart | None:
    """A test metric of all lines: mean, each seed, and the standard deviation. From 0, unless all values are alike."""
    lines = [(place, line) for place, line in enumerate(table.lines) if line.values(metric)]
    if not lines:
        return None
    ends = [line.mean(metric) + sign * (line.spread(metric) or 0) for _, line in lines for sign in (-1, 1)]
    ends += [value for _, line in lines for value in line.values(metric)]
    low, high = min(ends), max(ends)
    from_zero = low >= 0 and (high == 0 or (high - low) / high > 0.25)
    names = [line.name for _, line in lines]
    left = 20 + min(190, max(int(6.9 * len(name)) for name in names))
    several = any(len(line.runs) > 1 for _, line in lines)
    note = "mean of the seeds (dots), ± standard deviation" if several else ""
    note += "" if from_zero else f"{'; ' if note else ''}not from 0"
    chart = Chart(f"Test {metric}", height=58 + 30 * len(lines), left=left, note=note)
    x = Scale(0 if from_zero else low, high * 1.05 if from_zero else high, chart.x0, chart.x1 - 58, exact=from_zero)
    chart.x_axis(x, metric)
    for row, (place, line) in enumerate(lines):
        middle, mean, spread = chart.y1 + 30 * row + 16, line.mean(metric), line.spread(metric)
        name = line.name if len(line.name) * 6.9 <= 190 else line.name[:26] + "…"
        chart.text(chart.x0 - 8, middle + 4, name, "row", "end")
        if from_zero:
            chart.bar(place, chart.x0, middle - 9, x(mean) - chart.x0, 18)
        if spread is not None:
            chart.whisker(place, x(mean - spread), x(mean + spread), middle)
        for run in line.runs:
            value = run.content["test"].get(metric)
            if value is not None and len(line.runs) > 1:
                chart.marker(place, x(value), middle, f"{label(line, run)}: {number(value)}", 0.55, open_=True)
        told = f"{number(mean)}" + ("" if spread is None else f" ± {spread:.2g} over {len(line.runs)} runs")
        if from_zero:
            chart.marker(place, x(mean), middle, f"{line.name}: {told}", 0.01)
        else:
            chart.marker(place, x(mean), middle, f"{line.name}: {told}")
        chart.text(chart.x1, middle + 4, f"{mean:.4f}" if abs(mean) < 10 else number(mean), "value", "end")
    return chart


def times(table: Table) -> Chart | None:
    """The main metric by the time of training, a marker for each run and a larger one for the mean."""
    lines = [(place, line) for place, line in enumerate(table.lines) if line.values(table.metric)]
    points = [
        (place, line, run, max(run.content["seconds"], 0.1), run.content["test"][table.metric])
        for place, line in lines
        for run in line.runs
        if table.metric in run.content["test"]
    ]
    if not points:
        return None
    note = "large: mean of the seeds" if any(len(line.runs) > 1 for _, line in lines) else ""
    chart = Chart(f"Test {table.metric} against training time", note=note)
    x = Scale(min(p[3] for p in points), max(p[3] for p in points), chart.x0, chart.x1, log=True)
    y = Scale(min(p[4] for p in points), max(p[4] for p in points), chart.y0, chart.y1)
    chart.x_axis(x, "seconds, training and validation (logarithmic)")
    chart.y_axis(y, table.metric)
    for place, line, run, time, value in points:
        tip = f"{label(line, run)}: {number(value)} in {number(time)} s"
        several = len(line.runs) > 1
        chart.marker(place, x(time), y(value), tip, 0.7 if several else 1.0, open_=several)
    for place, line in lines:
        if len(line.runs) > 1:
            time, value = max(seconds(line), 0.1), line.mean(table.metric)
            chart.marker(place, x(time), y(value), f"{line.name}: {number(value)} in {number(time)} s", 1.3)
    return chart


def by_group(table: Table, name: str) -> Chart | None:
    """What a run found for groups of users, items or events: the mean over the runs, a line for each setting."""
    found = {place: of_group(line, name) for place, line in enumerate(table.lines)}
    found = {place: records for place, records in found.items() if records}
    if not found:
        return None
    groups = [record["group"] for record in next(iter(found.values()))]
    found = {place: records for place, records in found.items() if len(records) == len(groups)}
    value = next(iter(found.values()))[0]["name"]
    subject, axis = ORDERED.get(name, (name.removeprefix("by_"), name.removeprefix("by_")))
    chart = Chart(f"{value} by {subject}", height=314, bottom=60)
    rows = [f"n = {record['rows']:,.0f}" for record in next(iter(found.values()))]
    places = chart.x_names(groups, rows, axis)
    values = [record["value"] for records in found.values() for record in records if record["value"] is not None]
    if not values:
        return None
    low, high = min(values), max(values)
    from_zero = low >= 0 and (high - low) / (high or 1) > 0.25
    y = Scale(0 if from_zero else low, high * 1.05 if from_zero else high, chart.y0 - 2, chart.y1, exact=from_zero)
    chart.y_axis(y, value)
    for place, records in found.items():
        known = [(x, r) for x, r in zip(places, records, strict=True) if r["value"] is not None]
        tips = [f"{table.lines[place].name}, {r['group']}: {number(r['value'])}" for _, r in known]
        points = [(x, y(r["value"])) for x, r in known]
        if name in ORDERED:
            chart.curve(place, points, tips)
        for point, tip in zip(points, tips, strict=True):
            chart.marker(place, *point, tip, 0.9)
    return chart


def of_group(line: Line, name: str) -> list[dict[str, Any]]:
    """The mean over the runs of what they found by group, group by group; of those with as many groups as the first.
    Groups' bounds may differ a little with the split: they are those of the first."""
    several = [run.content["groups"][name] for run in line.runs if run.content.get("groups", {}).get(name)]
    if name in ("by_activity", "by_popularity") and not all(records[0]["group"] == "0" for records in several):
        several = [[r for r in records if r["group"] != "0"] for records in several]  # those that train lacks
    several = [records for records in several if len(records) == len(several[0])]
    if not several or not several[0]:
        return []
    keys = [key for key in several[0][0] if key not in ("group", "rows")]
    key = "rmse" if "rmse" in keys and name != "by_rating" else keys[0]
    found = []
    for records in zip(*several, strict=True):
        values = [r[key] for r in records if r[key] is not None and r[key] == r[key]]
        mean, rows = statistics.mean(values) if values else None, statistics.mean(r["rows"] for r in records)
        found.append({"group": records[0]["group"], "rows": rows, "name": key, "value": mean})
    return found


def calibration(table: Table) -> Chart | None:
    """How often what was given a chance came about, in bins of equally many events; the mean over the runs."""
    found = []
    for place, line in enumerate(table.lines):
        several = [run.content["groups"]["calibration"] for run in line.runs
                   if run.content.get("groups", {}).get("calibration")]  # fmt: skip
        several = [bins for bins in several if len(bins) == len(several[0])]
        points = [
            tuple(statistics.mean(b[key] for b in bins) for key in ("predicted", "observed"))
            for bins in zip(*several, strict=True)
        ]
        found += [(place, line, points)] if points else []
    if not found:
        return None
    values = [value for *_, points in found for point in points for value in point]
    high = min(1.0, 1.05 * max(values))
    low = 0.0 if min(values) < 0.3 * high else max(0.0, min(values) - 0.05 * high)
    chart = Chart("Calibration", height=390, note="each point: a twentieth of the events; dashed: as predicted")
    x = Scale(low, high, chart.x0, chart.x1, exact=True)
    y = Scale(low, high, chart.y0, chart.y1, exact=True)
    chart.x_axis(x, "predicted probability")
    chart.y_axis(y, "share of positives")
    chart.rule(x(low), y(low), x(high), y(high), "ideal")
    for place, line, points in found:
        tips = [f"{line.name}: predicted {number(p)}, observed {number(o)}" for p, o in points]
        chart.curve(place, [(x(p), y(o)) for p, o in points], tips)
        for (predicted, observed), tip in zip(points, tips, strict=True):
            chart.marker(place, x(predicted), y(observed), tip, 0.6)
    return chart
