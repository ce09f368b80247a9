"""The figure of a search: its history, and the metric by each parameter."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from optuna.trial import FrozenTrial, TrialState

from recgnn.evaluation.figures import BLUE, GREY, INK, ORANGE, STEPS, frame, new_figure
from recgnn.search.space import Parameter, Space

ACROSS = 3  # panels side by side, below the history


def search_figure(space: Space, trials: list[FrozenTrial], baseline: FrozenTrial | None) -> Figure:
    """Draw the metric of the trials in their order, and below it by each parameter.

    Args:
        space: the space that was searched.
        trials: the trials that have ended; failed ones are left out.
        baseline: the trial with the configuration's own values, marked by a line.
    """
    shown = [t for t in trials if "best_value" in t.user_attrs and t.state != TrialState.FAIL]
    down = math.ceil(len(space.parameters) / ACROSS)
    figure = new_figure(10, 3.4 + 2.7 * down)
    grid = figure.add_gridspec(1 + down, ACROSS, height_ratios=[1.25] + [1] * down)
    low, high = _limits(shown, better=-1 if space.goal == "maximize" else 1)
    history = figure.add_subplot(grid[0, :])
    _history(history, space, shown, baseline, (low, high))
    for at, parameter in enumerate(space.parameters):
        panel = figure.add_subplot(grid[1 + at // ACROSS, at % ACROSS])
        _slice(panel, parameter, shown, (low, high))
        panel.set_ylim(low, high)
        panel.yaxis.set_major_locator(MaxNLocator(5, steps=STEPS))
        panel.tick_params(labelleft=at % ACROSS == 0)
        _own_value(panel, baseline)
    history.set_ylim(low, high)
    return figure


def _history(
    axes: Axes, space: Space, trials: list[FrozenTrial], baseline: FrozenTrial | None, limits: tuple[float, float]
) -> None:
    note = "" if baseline is None else f"dashed: the configuration's own values, {baseline.values[0]:.4f}"
    frame(axes, space.metric, note)
    complete = [t for t in trials if t.state == TrialState.COMPLETE]
    best = np.maximum if space.goal == "maximize" else np.minimum
    so_far = best.accumulate(np.array([t.values[0] for t in complete]))
    axes.step([t.number for t in complete], so_far, where="post", color=ORANGE, linewidth=1.8, label="best so far")
    _points(axes, trials, [t.number for t in trials], limits)
    _own_value(axes, baseline)
    axes.set_xlabel("trial", color=INK, fontsize=10)
    axes.xaxis.set_major_locator(MaxNLocator(10, steps=STEPS, integer=True))
    axes.legend(frameon=False, fontsize=9, labelcolor=INK, loc="center left", bbox_to_anchor=(1, 0.5))


def _own_value(axes: Axes, baseline: FrozenTrial | None) -> None:
    if baseline is not None:
        axes.axhline(baseline.values[0], color=GREY, linewidth=1, linestyle=(0, (4, 3)), zorder=1)


def _slice(axes: Axes, parameter: Parameter, trials: list[FrozenTrial], limits: tuple[float, float]) -> None:
    frame(axes, parameter.name.removeprefix("model.").removeprefix("training."))
    values = [t.user_attrs["values"][parameter.name] for t in trials]
    if parameter.choices:
        names = list(dict.fromkeys([*map(str, parameter.choices), *map(str, values)]))
        _points(axes, trials, [names.index(str(value)) for value in values], limits)
        crowded = sum(map(len, names)) > 22
        axes.set_xticks(range(len(names)), names, rotation=25 if crowded else 0, ha="right" if crowded else "center")
        axes.set_xlim(-0.5, len(names) - 0.5)
        return
    known = [(t, v) for t, v in zip(trials, values, strict=True) if isinstance(v, int | float)]
    _points(axes, [t for t, _ in known], [v for _, v in known], limits)
    decades, room = 0.0, 0.04 * (parameter.high - parameter.low)
    low, high = parameter.low - room, parameter.high + room
    if parameter.log and all(v > 0 for _, v in known):
        low, high = parameter.low / 1.1, parameter.high * 1.1
        axes.set_xscale("log")
        decades = np.log10(parameter.high / parameter.low)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
        axes.xaxis.set_minor_locator(NullLocator())
    if decades < 0.7:
        axes.xaxis.set_major_locator(MaxNLocator(4, steps=STEPS))
    else:
        subs = [1, 2, 5] if decades < 1.4 else [1, 3] if decades < 2.2 else [1]
        axes.xaxis.set_major_locator(LogLocator(subs=subs, numticks=5))
    axes.set_xlim(low, high)


def _points(axes: Axes, trials: list[FrozenTrial], places: list[float], limits: tuple[float, float]) -> None:
    groups = [(TrialState.COMPLETE, "complete", "o", BLUE), (TrialState.PRUNED, "given up early", "x", GREY)]
    for state, label, marker, colour in groups:
        points = [(x, t.user_attrs["best_value"]) for x, t in zip(places, trials, strict=True) if t.state == state]
        if points:
            x, y = zip(*points, strict=True)
            y = np.clip(y, *limits)
            axes.scatter(x, y, marker=marker, color=colour, s=26, label=label, zorder=3, clip_on=False)


def _limits(trials: list[FrozenTrial], better: int) -> tuple[float, float]:
    """Bounds of the values; what is far worse than the rest lies on the edge, and does not flatten it."""
    values = np.sort([better * t.user_attrs["best_value"] for t in trials])  # the best first
    worst = min(values[-1], values[0] + 3 * (np.median(values) - values[0]))
    low, high = sorted((better * values[0], better * worst))
    room = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    return float(low - room), float(high + room)
