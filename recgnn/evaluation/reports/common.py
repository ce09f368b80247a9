"""What the reports on the test part share: groups, figures, tables, the file of users."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from lightning import Callback, Trainer
from lightning.pytorch.utilities import rank_zero_only
from matplotlib.figure import Figure
from torch import Tensor

from recgnn.evaluation import figures
from recgnn.evaluation.groups import Group
from recgnn.evaluation.reports import USERS
from recgnn.files import atomic_path

NUM_SAMPLES = 20


class Report(Callback):
    """A closer look at the test part.

    Args:
        folder: where figures/ and users.parquet go; None leaves no files.

    Attributes:
        groups: for metrics.json, the groups of each kind: their label `group`, their size `rows`, and their values.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self.groups: dict[str, list[Group]] = {}


def flat(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Bring computed values by group to the CPU, [G] each: torchmetrics makes a scalar of a single group."""
    return {name: value.reshape(-1).cpu() for name, value in values.items()}


def in_order(groups: list[Group]) -> list[Group]:
    """Sort groups by their labels where these are numbers, `unknown` and `missing` last; else leave them."""

    def place(group: Group) -> tuple[bool, float]:
        rest = group["group"] in ("unknown", "missing")
        return rest, 0.0 if rest else float(group["group"])

    try:
        return sorted(groups, key=place)
    except ValueError:
        return groups


def draw(groups: list[Group], value: str, xlabel: str, title: str, ylabel: str | None = None) -> Figure:
    """Draw a bar for each group."""
    heights = [float("nan") if g[value] is None else g[value] for g in groups]
    labels, rows = [g["group"] for g in groups], [g["rows"] for g in groups]
    return figures.group_bars(heights, rows, labels, xlabel, title, ylabel or value.partition("@")[0])


def log_table(trainer: Trainer, name: str, rows: pd.DataFrame) -> None:
    """Give a table to every logger that takes tables."""
    for logger in trainer.loggers:
        if hasattr(logger, "log_table") and len(rows):
            logger.log_table(name, dataframe=rows)


@rank_zero_only
def save_figures(trainer: Trainer, folder: Path | None, drawn: Mapping[str, Figure]) -> None:
    """Write figures into figures/*.png and give them to every logger that takes figures."""
    for name, figure in drawn.items():
        shown = figure if folder is None else figures.save(figure, folder / "figures" / f"{name}.png")
        for logger in trainer.loggers:
            if hasattr(logger, "log_figure"):
                logger.log_figure(f"figures/{name}", shown)


def save_users(folder: Path | None, users: np.ndarray, values: Mapping[str, Tensor]) -> None:
    """Write users.parquet: column `user` (raw ids), and a column for each metric.

    Shapes: users [n], values [n] each.
    """
    if folder is None:
        return
    columns = {name: value.cpu().numpy() for name, value in values.items()}
    columns = {name: v.astype(np.float32) if v.dtype == np.float64 else v for name, v in columns.items()}
    with atomic_path(folder / USERS) as path:
        pd.DataFrame({"user": users, **columns}).to_parquet(path, index=False, compression="zstd")
