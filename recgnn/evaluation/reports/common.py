"""What reports on the test part have in common: groups, figures, tables, the file of users."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from lightning import Callback, Trainer
from lightning.pytorch.utilities import rank_zero_only

from recgnn.evaluation import figures
from recgnn.files import atomic_path

NUM_GROUPS, NUM_SAMPLES = 5, 20
USERS = "users.parquet"  # file of a run folder: the metrics of each user on the test part


class Report(Callback):
    """A closer look at the test part.

    Args:
        folder: where figures/ and users.parquet go; None leaves no files.
    """

    def __init__(self, folder: Path | None):
        self.folder = folder
        self.groups: dict[str, list[dict[str, Any]]] = {}  # for metrics.json


def as_groups(labels: list[str], counts: list[int], **values: list[float]) -> list[dict[str, Any]]:
    """A record per group: its label, how many rows it stands on, and its values; None where it is empty."""
    return [
        {"group": label, "rows": int(n)} | {k: v[i] if n else None for k, v in values.items()}
        for i, (label, n) in enumerate(zip(labels, counts, strict=True))
    ]


def draw(groups: list[dict[str, Any]], value: str, xlabel: str, title: str, ylabel: str | None = None):
    """A bar per group."""
    heights = [float("nan") if g[value] is None else g[value] for g in groups]
    labels, rows = [g["group"] for g in groups], [g["rows"] for g in groups]
    return figures.group_bars(heights, rows, labels, xlabel, title, ylabel or value.partition("@")[0])


def log_table(trainer: Trainer, name: str, rows: list[dict[str, Any]]) -> None:
    """A table into every logger that takes tables."""
    for logger in trainer.loggers:
        if hasattr(logger, "log_table") and rows:
            logger.log_table(name, dataframe=pd.DataFrame(rows))


@rank_zero_only
def save_figures(trainer: Trainer, folder: Path | None, drawn: dict[str, Any]) -> None:
    """Figures into figures/*.png and into every logger that takes figures."""
    for name, figure in drawn.items():
        shown = figure if folder is None else figures.save(figure, folder / "figures" / f"{name}.png")
        for logger in trainer.loggers:
            if hasattr(logger, "log_figure"):
                logger.log_figure(f"figures/{name}", shown)


@rank_zero_only
def save_users(folder: Path | None, users: np.ndarray, values: dict[str, torch.Tensor]) -> None:
    """The metrics of each user on the test part into users.parquet: column `user` (raw ids), and a column per metric.

    Shapes: users [n], values [n] each.
    """
    if folder is None:
        return
    columns = {name: value.cpu().numpy() for name, value in values.items()}
    columns = {name: v.astype(np.float32) if v.dtype == np.float64 else v for name, v in columns.items()}
    with atomic_path(folder / USERS) as path:
        pd.DataFrame({"user": users, **columns}).to_parquet(path, index=False, compression="zstd")
