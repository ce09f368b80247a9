"""The most popular items, for everybody alike."""

from __future__ import annotations

import torch
from torch import Tensor

from recgnn.errors import ConfigError
from recgnn.models.base import Side
from recgnn.models.history import HistoryRecommender
from recgnn.nn.folding import Entries
from recgnn.nn.propagation import CSR


class Popularity(HistoryRecommender):
    r"""The items with the most training interactions, the same for everybody: the least that a model must beat.

    .. math:: \hat y_{ui} = |U_i|
    """

    counts: Tensor

    def __init__(self, num_users: int, num_items: int):
        super().__init__(num_users, num_items)
        self.register_buffer("counts", torch.zeros(num_items), persistent=False)  # known by the run's data

    def set_graph(self, edge_index: Tensor, ratings: Tensor | None = None) -> None:
        super().set_graph(edge_index, ratings)
        self.counts = torch.bincount(edge_index[1], minlength=self.num_items).float()

    def solve(self) -> None:
        """Do nothing: the counts come with the training data."""

    def forward(self, rows: Tensor) -> Tensor:
        return self.counts.expand(rows.shape[0], -1)

    def score_rows(self, rows: CSR) -> Tensor:
        return self.counts.repeat(rows.ptr.numel() - 1, 1)

    def similarity(self, items: Tensor) -> Tensor:
        raise ConfigError("Popularity ranks everything alike for everybody, so no item is similar to another")

    def shares(self, user: int, entries: Entries, items: Tensor) -> Tensor:
        raise ConfigError("Popularity ranks everything alike for everybody, so nothing that a user has counts")

    def new_rows(self, side: Side, entries: Entries) -> dict[str, Tensor]:
        return {}
