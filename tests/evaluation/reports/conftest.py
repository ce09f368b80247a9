"""A trainer and a log, as far as reports look at them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch


class Names:
    """Users or items: row n is called <prefix>n."""

    def __init__(self, prefix: str, titles: bool = False):
        self.prefix, self.titles = prefix, titles

    def decode(self, rows):
        return np.array([f"{self.prefix}{row}" for row in rows], dtype=object)

    def title(self, rows):
        return [f"Title {row}" for row in rows] if self.titles else None


class Tables:
    """A logger that keeps tables and figures."""

    def __init__(self):
        self.tables, self.figures = {}, {}

    def log_table(self, name, dataframe):
        self.tables[name] = dataframe

    def log_figure(self, name, figure):
        self.figures[name] = figure


@pytest.fixture
def trainer() -> SimpleNamespace:
    """Train: users 0..3 have 1, 1, 4 and 4 interactions; items 0..4 have 4, 2, 2, 1 and 1."""
    users = torch.tensor([0, 1, 2, 2, 2, 2, 3, 3, 3, 3])
    items = torch.tensor([0, 0, 0, 1, 2, 3, 0, 1, 2, 4])
    ratings = torch.tensor([1.0, 2, 1, 3, 2, 1, 3, 2, 1, 2])
    prepared = SimpleNamespace(users=Names("u"), items=Names("i", titles=True), num_users=4, num_items=5)
    data = SimpleNamespace(
        num_users=4, num_items=5, prepared=prepared, pairs=lambda part: (users, items), ratings=lambda part: ratings
    )
    return SimpleNamespace(datamodule=data, is_global_zero=True, loggers=[Tables()])
