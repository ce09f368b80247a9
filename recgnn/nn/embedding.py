"""One table for the features of all fields, and their sums by field."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class FieldEmbedding(nn.Module):
    """The vectors of an event's features, from one table for all fields.

    Args:
        num_rows: V, over all fields.
        dim: D.
        std: standard deviation of the table at the start.

    Shapes: ids [B, S], values [B, S] or None (all 1); the features' vectors times their values, [B, S, D].
    """

    def __init__(self, num_rows: int, dim: int, std: float = 1e-2):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_rows, dim))
        nn.init.normal_(self.weight, std=std)

    def forward(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        vectors = F.embedding(ids, self.weight)
        return vectors if values is None else vectors * values[..., None]

    def extra_repr(self) -> str:
        return f"{self.weight.shape[0]}, {self.weight.shape[1]}"


class FieldSum(nn.Module):
    """Sums slots into fields; nothing to do where each field has one slot.

    Args:
        slots: the field of each slot, ascending, [S].

    Shapes: [B, S, …]; [B, F, …].
    """

    def __init__(self, slots: Sequence[int]):
        super().__init__()
        self.num_fields = max(slots) + 1
        self.single = self.num_fields == len(slots)
        self.register_buffer("slots", torch.tensor(slots), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.single:
            return x
        return x.new_zeros(x.shape[0], self.num_fields, *x.shape[2:]).index_add_(1, self.slots, x)
