"""One table for the features of all fields, and their sums by field."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

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
            (see `recgnn.nn.optimizers`).

    Attributes:
        of_values: whether its rows are those of the table of all fields.
        shards: the table, where its rows lie on several processes; there is no `weight` then.

    Shapes: ids [B, S], values [B, S] or None (all 1); the features' vectors times their values, [B, S, D].
    """

    of_values = True
    shards: Any = None

    def __init__(self, num_rows: int, dim: int, std: float = 1e-2, sparse: bool = False):
        super().__init__(num_rows, dim, sparse=sparse, _weight=torch.empty(num_rows, dim).normal_(std=std))
        self.std, self.given = std, list[GivenVectors]()
        self.maps = nn.ParameterList()

    def take(self, given: Sequence[GivenVectors]) -> None:
        """Take the vectors of some rows from elsewhere (`given`), each by a learnt linear map to D."""
        self.given = list(given)
        std = [self.std / own.vectors.shape[1] ** 0.5 for own in given]  # their numbers have variance 1
        shapes = [(own.vectors.shape[1], self.embedding_dim) for own in given]
        self.maps = nn.ParameterList(self.weight.new_empty(s).normal_(std=d) for s, d in zip(shapes, std, strict=True))

    def forward(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        (vectors,) = look_up([self], ids)
        return vectors if values is None else vectors * values[..., None]

    def half_square(self, rows: Tensor) -> Tensor:
        """Compute half the squared norm of distinct rows [n]: a scalar."""
        if self.sparse:
            return _HalfSquareOfRows.apply(self.weight, rows)
        return self.again(rows).square().sum() / 2

    def again(self, rows: Tensor) -> Tensor:
        """Return the vectors of distinct rows [n] that the batch has read: [n, D]."""
        return self(rows) if self.shards is None else self.shards.again(rows)


def look_up(tables: Sequence[FieldEmbedding], ids: Tensor) -> tuple[Tensor, ...]:
    """Look up the rows `ids` (of any shape) in several tables with the same number of rows: for each, `[..., D]`."""
    weights = [table.weight for table in tables]
    custom = tables[0].shards is None and (any(table.sparse for table in tables) or not weights[0].is_cuda)
    found: tuple[Tensor, ...]
    if tables[0].shards is not None:
        found = tuple(table.shards(ids) for table in tables)
    elif custom and torch.is_grad_enabled() and any(weight.requires_grad for weight in weights):
        found = _LookUp.apply(ids, [table.sparse for table in tables], *weights)
    else:
        found = tuple(F.embedding(ids, weight) for weight in weights)
    if not any(table.given for table in tables):
        return found
    return tuple(_with_given(table, ids, x) for table, x in zip(tables, found, strict=True))


def _with_given(table: FieldEmbedding, ids: Tensor, x: Tensor) -> Tensor:
    """Put the given vectors in their places: ids of any shape, x [..., D]; [..., D]."""
    for own, linear in zip(table.given, table.maps, strict=True):
        x = own(ids, x, linear)
    return x


class GivenVectors(nn.Module):
    """Vectors that are known before training, of some consecutive rows of the table of all fields.

    Args:
        start: the first of these rows.
        vectors: [n, d].
        trained: whether they are trained on, or stay as they are.

    Shapes: ids of any shape, x [..., D] what other rows have, linear [d, D]; [..., D].
    """

    vectors: Tensor

    def __init__(self, start: int, vectors: Tensor, trained: bool = False):
        super().__init__()
        self.start, self.trained = start, trained
        self.register_buffer("about", torch.tensor([start, int(trained)]))  # for whoever makes the model again
        if trained:
            self.vectors = nn.Parameter(vectors.clone())
        else:
            self.register_buffer("vectors", vectors)

    def forward(self, ids: Tensor, x: Tensor, linear: Tensor) -> Tensor:
        place = ids.long() - self.start
        own = (place >= 0) & (place < self.vectors.shape[0])
        if torch.compiler.is_compiling():  # of a fixed number of places
            y = F.embedding(place.clamp(0, self.vectors.shape[0] - 1), self.vectors) @ linear
            return torch.where(own[..., None], y.to(x.dtype), x)
        rows, which = place[own].unique(return_inverse=True)
        return x.index_put((own,), (self.vectors[rows] @ linear).to(x.dtype)[which])


class _LookUp(torch.autograd.Function):
    """Rows of tables. Backward, the gradients of a row that is read in several places are summed before they are added
    to the table, which is many times larger; the places are sorted once for all tables."""

    @staticmethod
    def forward(ctx, ids: Tensor, sparse: list[bool], *weights: Tensor) -> tuple[Tensor, ...]:
        ctx.save_for_backward(ids)
        ctx.sparse, ctx.shapes = sparse, [weight.shape for weight in weights]
        return tuple(F.embedding(ids, weight) for weight in weights)

    @staticmethod
    @once_differentiable
    def backward(ctx, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (ids,) = ctx.saved_tensors
        flat = ids.reshape(-1)
        by_place = [g.reshape(-1, shape[1]) for g, shape in zip(gradients, ctx.shapes, strict=True)]
        if not any(ctx.sparse) and ctx.shapes[0][0] <= flat.numel():  # few rows: straight into the table
            found = [g.new_zeros(s).index_add_(0, flat, g) for g, s in zip(by_place, ctx.shapes, strict=True)]
            return None, None, *found
        rows, sums = summed_by_row(flat, torch.cat(by_place, 1) if len(by_place) > 1 else by_place[0])
        found = []
        for own, sparse, shape in zip(sums.split([s[1] for s in ctx.shapes], 1), ctx.sparse, ctx.shapes, strict=True):
            own = own.contiguous()
            dense = None if sparse else own.new_zeros(shape).index_copy_(0, rows.long(), own)
            found.append(_of_rows(rows, own, shape) if dense is None else dense)
        return None, None, *found


def summed_by_row(ids: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the distinct ids, ascending, and for each the sum of its rows of x: ids [n], x [n, D]; [m], [m, D]."""
    if ids.is_cuda or not ids.numel() or x.dtype not in (torch.float32, torch.float64):
        rows, place = ids.unique(return_inverse=True)
        return rows, x.new_zeros(rows.numel(), x.shape[1]).index_add_(0, place, x)
    ids, order = ids.sort(stable=True)
    first = torch.ones_like(ids, dtype=torch.bool)
    torch.ne(ids[1:], ids[:-1], out=first[1:])
    starts = first.nonzero().squeeze(1)
    return ids[starts], F.embedding_bag(order, x, starts, mode="sum")


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


def _of_rows(rows: Tensor, values: Tensor, shape: torch.Size) -> Tensor:
    """Make a sparse tensor of distinct rows, ascending."""
    return torch.sparse_coo_tensor(rows.long()[None], values, shape, check_invariants=False, is_coalesced=True)


class FieldSum(nn.Module):
    """Sums slots into fields; nothing to do where each field has one slot.

    Args:
        slots: the field of each slot, ascending, [S].

    Shapes: [B, S, …]; [B, F, …].
    """

    slots: Tensor

    def __init__(self, slots: Sequence[int]):
        super().__init__()
        self.num_fields = max(slots) + 1
        self.single = self.num_fields == len(slots)
        self.register_buffer("slots", torch.tensor(slots), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.single:
            return x
        if torch.compiler.is_compiling():  # onnxruntime's additions at equal indices race (microsoft/onnxruntime#23396)
            fields = torch.arange(self.num_fields, device=x.device)
            return torch.tensordot(x, (self.slots[:, None] == fields).to(x.dtype), ([1], [0])).movedim(-1, 1)
        return x.new_zeros(x.shape[0], self.num_fields, *x.shape[2:]).index_add_(1, self.slots, x)
