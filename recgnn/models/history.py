"""The base class of models that score a user's row of interactions, so that a new user needs no fold-in."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recgnn.errors import ConfigError
from recgnn.models.base import Recommender, Side, with_mean
from recgnn.nn.folding import Entries
from recgnn.nn.propagation import CSR, dense_rows, select_rows

AT_ONCE = 64  # items of a user that are scored at a time


class HistoryRecommender(Recommender):
    """A model that scores items for a user by the items that the user has, and knows nothing else of the user.

    A user who is not in the training data is scored exactly as one who is and has the same items. A subclass defines
    `forward`, for dense rows of the interaction matrix, and `score_rows` where sparse ones are cheaper. A weight of a
    row of the log is not used.

    Args:
        num_users: U, given by the data.
        num_items: I, given by the data.
    """

    training_rows = "user"
    explanation = "what each of the user's items adds to the score, by its weight for this item; exact: they sum to it"
    row_ptr: Tensor
    row_items: Tensor
    ones: Tensor

    def __init__(self, num_users: int, num_items: int):
        super().__init__(num_users, num_items)
        nothing = torch.zeros(0, dtype=torch.long)
        for name, value in (("row_ptr", nothing.new_zeros(num_users + 1)), ("row_items", nothing), ("ones", nothing)):
            self.register_buffer(name, value, persistent=False)  # known by the run's data

    @abstractmethod
    def forward(self, rows: Tensor) -> Tensor:
        """Score dense rows of ones and zeros, which need not be in the training data: [B, I]; [B, I]."""

    def score_rows(self, rows: CSR) -> Tensor:
        """Score sparse rows [B, I]: a new tensor, [B, I]."""
        return self(dense_rows(rows))

    def set_graph(self, edge_index: Tensor, ratings: Tensor | None = None) -> None:
        users, items = edge_index
        self.row_ptr = F.pad(torch.bincount(users, minlength=self.num_users).cumsum(0), (1, 0))
        self.row_items = items[torch.argsort(users * self.num_items + items)]
        self.ones = torch.ones(items.numel(), device=items.device)
        super().set_graph(edge_index, ratings)

    @property
    def rows(self) -> CSR:
        """The training matrix, [U, I]."""
        return CSR(self.row_ptr, self.row_items, self.ones, self.num_items)

    @torch.no_grad()
    def score(self, users: Tensor) -> Tensor:
        with torch.autocast(users.device.type, enabled=False):
            return self.score_rows(select_rows(self.rows, users))

    @torch.no_grad()
    def score_history(self, place: Tensor, items: Tensor, values: Tensor, size: int) -> Tensor:
        return self.score_rows(Entries(place, items, values, size).rows(values, self.num_items))

    @torch.no_grad()
    def similarity(self, items: Tensor) -> Tensor:
        """Score all items for somebody who has nothing but one of `items` [B]: [B, I]."""
        places = torch.arange(items.numel(), device=items.device)
        return self.score_history(places, items, torch.ones(items.numel(), device=items.device), items.numel())

    @torch.no_grad()
    def shares(self, user: int, entries: Entries, items: Tensor) -> Tensor:
        """Score `items` by each of the user's items alone, of which a linear score is the sum."""
        places = torch.arange(entries.others.numel(), device=items.device)
        found = []
        for own in places.split(AT_ONCE):
            alone = places[: own.numel()], entries.others[own], entries.values[own]
            found.append(with_mean(self.score_history(*alone, own.numel()), 1)[:, items])
        return torch.cat(found)

    def exportable(self) -> nn.Module:
        return self

    def new_rows(self, side: Side, entries: Entries) -> dict[str, Tensor]:
        """Return no rows for new users, who are scored by what they have."""
        if side == "item":
            raise ConfigError(
                f"{type(self).__name__} has weights between the items of the training data and none for a new one; "
                "train it again, or take MF or a graph model, to take new items in"
            )
        return {}
