"""The interactions as a graph: PyG's HeteroData, and each user's items in compressed rows."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torch_geometric.data import HeteroData

from recgnn.data.prepare import Part


def to_hetero(part: Part, num_users: int, num_items: int) -> HeteroData:
    """The bipartite graph of a part of the log.

    Node types `user` and `item`, edge types `(user, rates, item)` and its reverse `(item, rated_by, user)`,
    each with `edge_index` [2, E] and, where the log has them, `rating` [E] and `time` [E].
    """
    graph = HeteroData()
    graph["user"].num_nodes, graph["item"].num_nodes = num_users, num_items
    edge_index = torch.stack([torch.tensor(part.user), torch.tensor(part.item)])
    forward, backward = graph["user", "rates", "item"], graph["item", "rated_by", "user"]
    forward.edge_index, backward.edge_index = edge_index, edge_index.flip(0)
    for name, values in (("rating", part.rating), ("time", part.timestamp)):
        if values is not None:
            forward[name] = backward[name] = torch.tensor(values)
    return graph


class UserItems(NamedTuple):
    """Each user's items, ascending: ptr [U+1], items [E]."""

    ptr: Tensor
    items: Tensor

    @classmethod
    def from_pairs(cls, user: Tensor, item: Tensor, num_users: int) -> UserItems:
        order = torch.argsort(user * (int(item.max()) + 1 if item.numel() else 1) + item)
        return cls(F.pad(torch.bincount(user, minlength=num_users).cumsum(0), (1, 0)), item[order])

    def to(self, device: torch.device) -> UserItems:
        return UserItems(self.ptr.to(device), self.items.to(device))

    def of(self, users: Tensor) -> tuple[Tensor, Tensor]:
        """Pairs (row, item) of `users` [B]: row is the place of the user in `users`, 0..B-1."""
        start = self.ptr[users]
        count = self.ptr[users + 1] - start
        row = torch.repeat_interleave(torch.arange(users.numel(), device=users.device), count)
        first = count.cumsum(0) - count
        place = torch.arange(row.numel(), device=users.device) - first[row] + start[row]
        return row, self.items[place]
