"""Events as vectors of their features, their sums and their pairs; fields with few values stay small matrices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from recgnn.nn.embedding import FieldEmbedding, FieldSum, look_up
from recgnn.nn.losses import single


class Vectors(NamedTuple):
    """The vectors of B events' features, times their values.

    Shapes:
        wide: [B, S', D] of the slots of fields with many rows.
        weights: [B, R] of all rows of the fields with few: the value of the feature that an event has, else 0.
        rows: [R, D] these rows.
    """

    wide: Tensor
    weights: Tensor
    rows: Tensor


class EventVectors(nn.Module):
    """Looks up the vectors of events' features, from one table for all fields, or from several at once.

    A field with one slot and at most D / 2 rows (a number, a gender) is not copied into a vector per event: with its
    rows V and the event's weights n, whose only value other than 0 is that of the feature, the vector is n V, and what
    is linear in it is computed with V first. That gives the same, at less cost.

    Args:
        field_dims: rows of each field, [F].
        slots: the field of each slot, ascending, [S].
        dim: D.

    Shapes: ids [B, S], values [B, S] or None (all 1).
    """

    sum_wide: nn.Module
    wide: Tensor
    narrow: Tensor
    shift: Tensor
    rows: Tensor
    many: Tensor
    of_row: Tensor

    def __init__(self, field_dims: Sequence[int], slots: Sequence[int], dim: int):
        super().__init__()
        self.dim = dim
        few = [f for f, n in enumerate(field_dims) if n <= dim // 2 and list(slots).count(f) == 1]
        starts = torch.tensor([0, *field_dims]).cumsum(0)
        many = sorted(set(slots) - set(few))
        wide = [s for s, f in enumerate(slots) if f not in few]
        narrow = [s for s, f in enumerate(slots) if f in few]
        sizes = [field_dims[f] for f in few]
        shift = torch.tensor([0, *sizes]).cumsum(0)[:-1] - starts[few] if few else torch.zeros(0, dtype=torch.long)
        self.sum_wide = FieldSum([many.index(slots[s]) for s in wide]) if wide else nn.Identity()
        rows = [torch.arange(int(starts[f]), int(starts[f]) + field_dims[f]) for f in few]
        put = self.register_buffer
        put("wide", torch.tensor(wide, dtype=torch.long), persistent=False)
        put("narrow", torch.tensor(narrow, dtype=torch.long), persistent=False)
        put("shift", shift, persistent=False)  # from a row of the table to a place among those of few
        put("rows", torch.cat(rows) if rows else torch.zeros(0, dtype=torch.long), persistent=False)
        put("many", torch.tensor(many, dtype=torch.long), persistent=False)
        of_row = [f for f in few for _ in range(field_dims[f])]
        put("of_row", torch.tensor(of_row, dtype=torch.long), persistent=False)

    def forward(self, tables: Sequence[FieldEmbedding], ids: Tensor, values: Tensor | None = None) -> list[Vectors]:
        """Look up the vectors in each table, one of which has D columns."""
        wide = ids.index_select(1, self.wide)
        found = look_up(tables, torch.cat([wide.flatten(), self.rows.to(ids.dtype)]))
        x = None if values is None else values.index_select(1, self.wide)
        if x is not None and self.training and not x.is_cuda and bool((x == 1).all()):
            x = None  # nothing but categories: no need to multiply by ones, forward and backward
        place = ids.index_select(1, self.narrow).long() + self.shift
        own = found[0].new_ones(place.shape)
        own = own if values is None else values.index_select(1, self.narrow).to(own.dtype)
        weights = found[0].new_zeros(ids.shape[0], self.rows.numel()).scatter(1, place, own)
        parts = [(v[: wide.numel()].view(*wide.shape, v.shape[1]), v[wide.numel() :]) for v in found]
        return [Vectors(v if x is None else v * x[..., None], weights, rows) for v, rows in parts]

    def linear(self, layer: nn.Linear, vectors: Vectors) -> Tensor:
        """Apply a linear layer to the fields' vectors side by side, `layer([e_1, …, e_F])`: [B, out]."""
        blocks = layer.weight.view(layer.out_features, -1, self.dim)  # of each field
        x = self.sum_wide(vectors.wide).flatten(1)
        found = F.linear(x, blocks.index_select(1, self.many).flatten(1), layer.bias)
        if not self.rows.numel():
            return found
        return found + F.linear(vectors.weights, (blocks.index_select(1, self.of_row) * vectors.rows).sum(2))

    def deep(self, layers: nn.Sequential, vectors: Vectors) -> Tensor:
        """Apply `layers`, the first of which is linear, to the fields' vectors side by side."""
        first, *others = layers
        assert isinstance(first, nn.Linear)
        x = self.linear(first, vectors)
        for layer in others:
            x = layer(x)
        return x


def sum_of(vectors: Vectors) -> Tensor:
    """Sum the vectors of events' features, times their values: [B, D]."""
    return vectors.wide.sum(1) + vectors.weights @ vectors.rows


def pairs_of(vectors: Vectors) -> Tensor:
    r"""Sum all pairs of features by inner product, in O(nk) (`Rendle, 2010 <https://doi.org/10.1109/ICDM.2010.127>`_,
    lemma 3.1).

    .. math:: \sum_{i<j} \langle v_i, v_j \rangle x_i x_j
        = \frac12 \sum_f \Big[\Big(\sum_i v_{if} x_i\Big)^2 - \sum_i v_{if}^2 x_i^2\Big]

    In half precision the difference of squares cancels, so it is taken in single precision: [B].
    """
    return _Pairs.apply(*(single(x) for x in vectors))


def field_pairs(x: Tensor, sum_fields: FieldSum) -> Tensor:
    """Sum the pairs of features by their fields, of the features' vectors times values, x [B, S, D]: [B, F, F], zeros
    below the diagonal."""
    of_fields = sum_fields(x)
    return without_self(of_fields @ of_fields.mT, sum_fields(x.square().sum(2)))


def without_self(products: Tensor, squares: Tensor) -> Tensor:
    """Keep each pair of features once: of the symmetric products of fields' sums [B, F, F] what is above the diagonal,
    and on it half of what is left without the squares of the fields' features [B, F]."""
    within = (products.diagonal(dim1=1, dim2=2) - squares) / 2
    return products.triu(1) + torch.diag_embed(within)


class _Pairs(torch.autograd.Function):
    """Half the square of the sum of vectors, less half the sum of their squares; each one's gradient is the sum of the
    others."""

    @staticmethod
    def forward(ctx, wide: Tensor, weights: Tensor, rows: Tensor) -> Tensor:
        with torch.autocast(wide.device.type, enabled=False):
            total = torch.addmm(wide.sum(1), weights, rows)
            squares = weights.square() @ rows.square().sum(1)
            if wide.shape[1]:
                squares = squares + torch.linalg.vector_norm(wide.flatten(1), dim=1).square()
        ctx.save_for_backward(wide, weights, rows, total)
        return 0.5 * (total.square().sum(1) - squares)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
        wide, weights, rows, total = ctx.saved_tensors
        with torch.autocast(wide.device.type, enabled=False):
            of_wide = (total[:, None] - wide).mul_(gradient[:, None, None])
            of_rows = weights.T @ (gradient[:, None] * total) - (weights.square().T @ gradient)[:, None] * rows
            of_weights = None
            if ctx.needs_input_grad[1]:
                of_weights = gradient[:, None] * (total @ rows.T - weights * rows.square().sum(1))
        return of_wide, of_weights, of_rows
