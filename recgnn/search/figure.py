"""The picture of a search: its history, and the metric by each parameter."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from optuna.trial import FrozenTrial, TrialState

from recgnn.evaluation.figures import BLUE, GREY, INK, ORANGE, STEPS, frame
from recgnn.search.space import Parameter, Space

ACROSS = 3  # panels side by side, below the history


def search_figure(space: Space, trials: list[FrozenTrial], baseline: FrozenTrial | None) -> Figure:
    """Draw the trials' values in their order, and below them by each parameter.

    Args:
        space: what was searched.
        trials: those that have ended; failed ones are left out.
        baseline: the one with the configuration's own values, marked by a line.
    """
    shown = [t for t in trials if "best_value" in t.user_attrs and t.state != TrialState.FAIL]
    down = math.ceil(len(space.parameters) / ACROSS)
    figure = Figure(figsize=(10, 3.4 + 2.7 * down), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08)
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
        if baseline is not None:
            panel.axhline(baseline.value, color=GREY, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    history.set_ylim(low, high)
    return figure


def _history(
    axes: Axes, space: Space, trials: list[FrozenTrial], baseline: FrozenTrial | None, limits: tuple[float, float]
) -> None:
    note = "" if baseline is None else f"dashed: the configuration's own values, {baseline.value:.4f}"
    frame(axes, space.metric, note)
    better = max if space.goal == "maximize" else min
    complete = [t for t in trials if t.state == TrialState.COMPLETE]
    so_far = [better(t.value for t in complete[: i + 1]) for i in range(len(complete))]
    axes.step([t.number for t in complete], so_far, where="post", color=ORANGE, linewidth=1.8, label="best so far")
    _points(axes, trials, [t.number for t in trials], limits)
    if baseline is not None:
        axes.axhline(baseline.value, color=GREY, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    axes.set_xlabel("trial", color=INK, fontsize=10)
    axes.xaxis.set_major_locator(MaxNLocator(10, steps=STEPS, integer=True))
    axes.legend(frameon=False, fontsize=9, labelcolor=INK, loc="center left", bbox_to_anchor=(1, 0.5))


def _slice(axes: Axes, parameter: Parameter, trials: list[FrozenTrial], limits: tuple[float, float]) -> None:
    frame(axes, parameter.name.removeprefix("model."))
    values = [t.user_attrs["values"][parameter.name] for t in trials]
    if parameter.choices:
        names = list(dict.fromkeys([*map(str, parameter.choices), *map(str, values)]))
        _points(axes, trials, [names.index(str(value)) for value in values], limits)
        axes.set_xticks(range(len(names)), names, rotation=20 if max(map(len, names)) > 8 else 0)
        axes.set_xlim(-0.5, len(names) - 0.5)
        return
    known = [(t, v) for t, v in zip(trials, values, strict=True) if isinstance(v, int | float)]
    _points(axes, [t for t, _ in known], [v for _, v in known], limits)
    if parameter.log and all(v > 0 for _, v in known):
        axes.set_xscale("log")
        narrow = parameter.high < 5 * parameter.low
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=STEPS) if narrow else LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlim(parameter.low / 1.1, parameter.high * 1.1)
    else:
        room = 0.04 * (parameter.high - parameter.low)
        axes.set_xlim(parameter.low - room, parameter.high + room)
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=STEPS))


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
