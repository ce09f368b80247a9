"""The interactions as a graph: PyG's HeteroData, and each user's items in compressed rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from recgnn.data.interactions.prepare import Part
from recgnn.files import large_array

if TYPE_CHECKING:
    from torch_geometric.data import HeteroData


def to_hetero(part: Part, num_users: int, num_items: int) -> HeteroData:
    """The bipartite graph of a part of the log.

    Node types `user` and `item`, edge types `(user, rates, item)` and its reverse `(item, rated_by, user)`,
    each with `edge_index` [2, E] and, where the log has them, `rating` [E] and `time` [E].
    """
    from torch_geometric.data import HeteroData  # which takes longer to import than all else

    graph = HeteroData()
    graph["user"].num_nodes, graph["item"].num_nodes = num_users, num_items
    edge_index = torch.stack([torch.tensor(part.user), torch.tensor(part.item)])
    forward, backward = graph["user", "rates", "item"], graph["item", "rated_by", "user"]
    forward.edge_index, backward.edge_index = edge_index, edge_index.flip(0)
    for name, values in (("rating", part.rating), ("time", part.timestamp)):
        if values is not None:
            forward[name] = backward[name] = torch.tensor(values)
    return graph


def chained(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Concatenate arrays of one type, each [n]; one alone is returned as it is."""
    if len(arrays) == 1:
        return arrays[0]
    return np.concatenate(arrays, out=large_array(sum(map(len, arrays)), arrays[0].dtype))


def compressed(rows: Tensor, num_rows: int) -> Tensor:
    """Where each row's entries begin, for entries sorted by row: [R+1]."""
    return F.pad(torch.bincount(rows, minlength=num_rows).cumsum(0), (1, 0))


def entries_of(ptr: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """The entries of `rows` [B] in compressed rows: the place of the row in `rows`, and that of the entry, [n]."""
    start = ptr[rows]
    count = ptr[rows + 1] - start
    place = torch.repeat_interleave(torch.arange(rows.numel(), device=rows.device), count)
    first = count.cumsum(0) - count
    return place, torch.arange(place.numel(), device=rows.device) - first[place] + start[place]


class UserItems(NamedTuple):
    """Each user's items, ascending: ptr [U+1], items [E]."""

    ptr: Tensor
    items: Tensor

    @classmethod
    def from_pairs(cls, user: Tensor, item: Tensor, num_users: int) -> UserItems:
        """From users [n] and items [n]; a pair that repeats counts once."""
        width = int(item.max()) + 1 if item.numel() else 1
        on_cpu = user.device.type == "cpu"
        key = torch.from_numpy(large_array(user.numel(), "int64")) if on_cpu else torch.empty_like(user)
        torch.mul(user, width, out=key).add_(item)
        if on_cpu:
            key.numpy().sort()  # in place, in a tenth of torch's time
        else:
            key = key.sort().values
        if (key[1:] == key[:-1]).any():
            key = key.unique_consecutive()
            user = key // width
        return cls(compressed(user, num_users), key.remainder_(width))

    def to(self, device: torch.device) -> UserItems:
        """Copy to a device."""
        return UserItems(self.ptr.to(device), self.items.to(device))

    def of(self, users: Tensor) -> tuple[Tensor, Tensor]:
        """Pairs (row, item) of `users` [B]: row is the place of the user in `users`, 0..B-1."""
        row, entry = entries_of(self.ptr, users)
        return row, self.items[entry]


class Rows(NamedTuple):
    """The rows of a sparse matrix, columns ascending: ptr [R+1], columns [E], values [E]."""

    ptr: Tensor
    columns: Tensor
    values: Tensor

    @classmethod
    def from_entries(cls, row: Tensor, column: Tensor, value: Tensor, num_rows: int) -> Rows:
        """Make compressed rows of entries in any order, each [n]."""
        order = torch.argsort(row * (int(column.max()) + 1 if column.numel() else 1) + column)
        return cls(compressed(row, num_rows), column[order], value[order])

    def of(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The entries (place in `rows`, column, value) of `rows` [B], each [n]."""
        place, entry = entries_of(self.ptr, rows)
        return place, self.columns[entry], self.values[entry]
