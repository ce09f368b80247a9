"""The figures of a run: plain matplotlib `Figure`s, without pyplot, a screen or global state."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from recgnn.files import atomic_path

# Okabe and Ito's colours, which can be told apart with any colour vision
BLUE, ORANGE = "#0072B2", "#D55E00"
INK, GREY, GRID = "#222222", "#666666", "#E4E4E4"
DPI = 144
NEGATIVE = "\nnot normalised: the item with the larger size counts more; the sign alone says nothing"
STEPS = [1, 2, 5, 10]  # round numbers on the axes
MOST_GROUPS, FEW_GROUPS = 24, 8  # in one figure; with upright labels
GRIDS = [(1, 0), (1, 1), (2, 1), (3, 1), (2, 2)]  # rows and columns for 0..4 metrics


def learning_curves(rows: list[dict[str, Any]], monitor: str, best_epoch: int | None) -> Figure:
    """Draw the loss, and beside it up to four validation metrics, each on its own scale, where something was validated.

    Args:
        rows: dicts with `epoch` and any of `train/loss`, `val/loss`, `val/…`; one epoch may
            be spread over several. Missing and non-finite values are skipped.
        monitor: the metric that the best epoch was chosen by, drawn first. The others are those of
            the same list length (`@20`), in the order they were logged.
        best_epoch: the epoch to mark, or None.
    """
    names = _metrics_to_show(rows, monitor)
    if not names:
        best_epoch = None  # nothing chose it
    height, width = GRIDS[len(names)]
    figure = new_figure(10 if names else 6, 5.2 if height == 3 else 4.6)
    grid = figure.add_gridspec(height, 1 + width, width_ratios=[max(1, width)] + [1] * width)

    losses = figure.add_subplot(grid[:, 0])
    note = "" if best_epoch is None else f"dashed: best epoch {best_epoch}"
    frame(losses, "loss", note)
    train = _line(losses, rows, "train/loss", BLUE, "training")
    val = _line(losses, rows, "val/loss", ORANGE, "validation")
    if train and val:
        losses.legend(frameon=False, fontsize=9, labelcolor=INK)
    _epochs(losses, best_epoch, bool(train or val))

    for at, name in enumerate(names):
        panel = figure.add_subplot(grid[at // width, 1 + at % width])
        values = _line(panel, rows, name, ORANGE if name == monitor else BLUE)
        best = None if best_epoch is None else values.get(best_epoch)
        frame(panel, name.removeprefix("val/"), "" if best is None else f"{best:#.4g}")
        if best_epoch is not None and best is not None:
            panel.plot([best_epoch], [best], "o", color=INK, markersize=5.5, zorder=4)
        _epochs(panel, best_epoch, bool(values), last=at + width >= len(names))
    return figure


def group_bars(
    values: Iterable[float],
    counts: Iterable[int],
    labels: Sequence[str],
    xlabel: str,
    title: str,
    ylabel: str = "recall",
) -> Figure:
    """Draw one bar per group, with its value on top and the group's size at its label.

    At most 24 groups, the largest ones, are drawn, in the order given.

    Args:
        values: a value per group; NaN (an empty group) is a dash.
        counts: the number of users or labels in each group.
        labels: the groups' names.
        xlabel: the name of the grouping.
        title: the figure's title.
        ylabel: the name of the values.
    """
    groups = [(float(v), int(n), name) for v, n, name in zip(values, counts, labels, strict=True)]
    kept = sorted(sorted(range(len(groups)), key=lambda i: -groups[i][1])[:MOST_GROUPS])
    note = f"the {MOST_GROUPS} largest of {len(groups)}" if len(groups) > MOST_GROUPS else ""
    groups = [groups[i] for i in kept]
    few = len(groups) <= FEW_GROUPS
    heights = [value if math.isfinite(value) else 0.0 for value, _, _ in groups]
    places = range(len(groups))
    figure = new_figure(max(5.4, 1.4 + len(groups)) if few else min(10.0, 3.0 + 0.3 * len(groups)), 4.0)
    axes = figure.add_subplot()
    frame(axes, title, note)
    axes.grid(visible=False, axis="x")
    bars = axes.bar(places, heights, width=0.66, color=BLUE)
    texts = [f"{value:#.3g}" if math.isfinite(value) else "–" for value, _, _ in groups]
    axes.bar_label(bars, texts, padding=3, color=INK, fontsize=10 if few else 8, rotation=0 if few else 90)
    axes.set_xlim(-0.6, len(groups) - 0.4)
    axes.set_ylim(0, (1.12 if few else 1.25) * max(heights, default=0) or 1)
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=STEPS))
    between = "\n" if few else ", "
    axes.set_xticks(places, [f"{_short(name, 30)}{between}n = {count:,}" for _, count, name in groups])
    axes.tick_params(axis="x", length=0, labelrotation=0 if few else 90)
    axes.set_xlabel(xlabel, color=INK, fontsize=10, labelpad=7)
    axes.set_ylabel(ylabel, color=INK, fontsize=10, labelpad=7)
    return figure


def binary_curves(chances: Any, labels: Any, bins: int = 20) -> dict[str, Figure]:
    """Draw the ROC curve, precision by recall, and calibration: the share of positives by predicted probability.

    Args:
        chances: predicted probabilities of the events, [n].
        labels: 0 or 1, [n], of both classes.
        bins: points of the calibration, each of about equally many events.
    """
    chances, labels = np.asarray(chances, dtype=float), np.asarray(labels, dtype=float)
    order = np.argsort(-chances, kind="stable")
    label, chance = labels[order], chances[order]
    last = np.r_[chance[1:] != chance[:-1], True]  # equal chances count together
    hits, misses = np.cumsum(label)[last], np.cumsum(1 - label)[last]
    recall, fall_out = np.r_[0, hits / hits[-1]], np.r_[0, misses / misses[-1]]
    groups = np.array_split(order[::-1], min(bins, len(order)))
    calibration = np.array([(chances[g].mean(), labels[g].mean()) for g in groups if len(g)])
    rate = f"{labels.mean():.3g} positive"
    predicted, observed = calibration.T
    return {
        "roc": _curve(fall_out, recall, "false positive rate", "true positive rate", "ROC", diagonal=1.0),
        "precision_recall": _curve(
            recall[1:], hits / (hits + misses), "recall", "precision", "precision and recall", note=rate
        ),
        "calibration": _curve(
            predicted, observed, "predicted probability", "share of positives", "calibration",
            diagonal=1.05 * float(calibration.max()), note=rate, marker="o",
        ),
    }  # fmt: skip


def _curve(
    x: np.ndarray, y: np.ndarray, xlabel: str, ylabel: str, title: str,
    diagonal: float = 0.0, note: str = "", marker: str | None = None,
) -> Figure:  # fmt: skip
    """Draw one curve, with a dashed diagonal up to a value above 0."""
    figure = new_figure(5.4, 4.8)
    axes = figure.add_subplot()
    frame(axes, title, note)
    if diagonal:
        axes.plot([0, diagonal], [0, diagonal], color=GREY, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    axes.plot(x, y, color=BLUE, linewidth=1.8, marker=marker, markersize=4.5)
    axes.set_xlabel(xlabel, color=INK, fontsize=10, labelpad=7)
    axes.set_ylabel(ylabel, color=INK, fontsize=10, labelpad=7)
    return figure


def attention(names: list[str], weights: list[float], target: str) -> Figure:
    """Draw how much each past item counts for a target item, the newest on top.

    Args:
        names: of the past items, oldest first, [n].
        weights: theirs, [n].
        target: name of the target item.
    """
    negative = min(weights, default=0) < 0
    figure = new_figure(7.2, 1.6 + 0.2 * negative + 0.25 * len(names))
    axes = figure.add_subplot()
    frame(axes, f"attention for {_short(target)}")
    axes.barh(range(len(names)), weights, color=BLUE, height=0.7)
    axes.axvline(0, color=GREY, linewidth=1)
    axes.set_yticks(range(len(names)), [_short(name) for name in names], fontsize=8.5, color=INK)
    axes.set_xlabel(f"weight; the newest item on top{NEGATIVE * negative}", color=INK, fontsize=10, labelpad=7)
    return figure


def _short(name: str, most: int = 42) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"


def new_figure(width: float, height: float) -> Figure:
    """Make an empty figure with some room around its panels; sizes are in inches."""
    return Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=0.09, h_pad=0.09))


def save(figure: Figure, path: str | Path) -> Path:
    """Write a PNG, whole or not at all.

    Raises:
        RunError: the file cannot be written.
    """
    path = Path(path)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=DPI, format="png", facecolor="white")
    return path


def _metrics_to_show(rows: list[dict[str, Any]], monitor: str) -> list[str]:
    values = [(key, value) for row in rows for key, value in row.items() if key.startswith("val/")]
    there = (key for key, value in values if value is not None and (key == monitor or math.isfinite(value)))
    logged = dict.fromkeys(there)
    logged.pop("val/loss", None)  # it has its place beside the training loss
    length = monitor.partition("@")[2]
    alike = [name for name in logged if name != monitor and name.partition("@")[2] == length]
    return ([monitor, *alike] if monitor in logged else alike)[:4]


def _line(
    axes: Axes, rows: list[dict[str, Any]], name: str, colour: str, label: str | None = None
) -> dict[int, float]:
    """Draw a column of the rows and return its values by epoch."""
    pairs = [(row["epoch"], row[name]) for row in rows if row.get("epoch") is not None and row.get(name) is not None]
    values = {int(epoch): float(value) for epoch, value in pairs if math.isfinite(value)}
    values = dict(sorted(values.items()))
    if values:
        marker = "o" if len(values) < 13 else None
        axes.plot([*values], [*values.values()], color=colour, linewidth=1.8, marker=marker, markersize=4, label=label)
    return values


def _epochs(axes: Axes, best_epoch: int | None, drawn: bool, last: bool = True) -> None:
    """Dress the axis of epochs, and mark the best one."""
    if not drawn:
        axes.set_xticks([])
        axes.set_yticks([])
        axes.text(0.5, 0.5, "nothing logged", transform=axes.transAxes, ha="center", color=GREY)
        return
    if best_epoch is not None:
        axes.axvline(best_epoch, color=GREY, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    left, right = axes.dataLim.intervalx
    if left == right:
        axes.set_xlim(left - 1, right + 1)
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=STEPS, integer=True, min_n_ticks=1))
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=STEPS))
    axes.tick_params(labelbottom=last)
    if last:
        axes.set_xlabel("epoch", color=INK, fontsize=10)


def frame(axes: Axes, title: str, note: str = "") -> None:
    """Give axes their title, a note beside it, and the looks of all figures."""
    axes.set_title(title, loc="left", color=INK, fontsize=11, fontweight="bold", pad=8)
    axes.set_title(note, loc="right", color=GREY, fontsize=10, pad=8)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=GREY, labelsize=9, length=3)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(GREY)
