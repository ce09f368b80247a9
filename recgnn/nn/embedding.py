"""One table for the features of all fields, and their sums by field."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


class FieldEmbedding(nn.Embedding):
    """The vectors of an event's features, from one table for all fields.

    Args:
        num_rows: V, over all fields.
        dim: D.
        std: standard deviation of the table at the start.
        sparse: whether the gradient is sparse: the batch's rows, each once, for an optimizer that moves only those
            (see `recgnn.optim`).

    Shapes: ids [B, S], values [B, S] or None (all 1); the features' vectors times their values, [B, S, D].
    """

    def __init__(self, num_rows: int, dim: int, std: float = 1e-2, sparse: bool = False):
        super().__init__(num_rows, dim, sparse=sparse, _weight=torch.empty(num_rows, dim).normal_(std=std))

    def forward(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        if torch.is_grad_enabled() and self.weight.requires_grad and (self.sparse or not self.weight.is_cuda):
            vectors = _Lookup.apply(self.weight, ids, self.sparse)
        else:
            vectors = F.embedding(ids, self.weight)
        return vectors if values is None else vectors * values[..., None]

    def half_square(self, rows: Tensor) -> Tensor:
        """Half the squared norm of rows, each of which stands once in `rows` [n]: a scalar."""
        if self.sparse:
            return _HalfSquareOfRows.apply(self.weight, rows)
        return self(rows).square().sum() / 2


class _Lookup(torch.autograd.Function):
    """Rows of a table. Backward, what a row gets in several places is summed before it meets the table, which is
    many times larger."""

    @staticmethod
    def forward(ctx, weight: Tensor, ids: Tensor, sparse: bool) -> Tensor:
        ctx.save_for_backward(ids)
        ctx.shape, ctx.sparse = weight.shape, sparse
        return F.embedding(ids, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None, None]:
        (ids,) = ctx.saved_tensors
        num_rows, dim = ctx.shape
        gradient = gradient.reshape(-1, dim)
        if not ctx.sparse and num_rows <= ids.numel():
            return gradient.new_zeros(ctx.shape).index_add_(0, ids.reshape(-1), gradient), None, None
        rows, place = ids.reshape(-1).unique(return_inverse=True)
        summed = gradient.new_zeros(rows.numel(), dim).index_add_(0, place, gradient)
        if ctx.sparse:
            return _of_rows(rows, summed, ctx.shape), None, None
        return gradient.new_zeros(ctx.shape).index_copy_(0, rows.long(), summed), None, None


class _HalfSquareOfRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx, weight: Tensor, rows: Tensor) -> Tensor:
        vectors = F.embedding(rows, weight)
        ctx.save_for_backward(rows, vectors)
        ctx.shape = weight.shape
        return vectors.square().sum() / 2

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        rows, vectors = ctx.saved_tensors
        return _of_rows(rows, gradient * vectors, ctx.shape), None


def _of_rows(rows: Tensor, values: Tensor, shape: Sequence[int]) -> Tensor:
    """A sparse tensor of rows, ascending and each once."""
    return torch.sparse_coo_tensor(rows.long()[None], values, shape, check_invariants=False, is_coalesced=True)


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
