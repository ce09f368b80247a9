"""Interactions of features: pairs by field, hashed cross products, and cross layers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from recgnn.nn.losses import single


def pairs_by_field(x: Tensor, own: Tensor | None = None, values: Tensor | None = None) -> Tensor:
    r"""Sum all pairs of features, each with a vector for the other's field (`Juan et al., 2016
    <https://doi.org/10.1145/2959100.2959134>`_), in single precision at least.

    .. math:: \sum_{i<j} \langle v_{i,f_j}, v_{j,f_i} \rangle x_i x_j
        = \frac12 \Big[\sum_{f,g} \langle X_{fg}, X_{gf} \rangle - \sum_i \lVert v_{i,f_i} x_i \rVert^2\Big],
        \quad X_{fg} = \sum_{i: f_i = f} v_{i,g} x_i

    Args:
        x: X, of each field the sum of its features' vectors (times values) for each other field, [B, F, F, k].
        own: each feature's vector (times its value) for its own field, [B, S, k]; None where each field has one
            feature, which is in no pair with itself.
        values: the features' values, where x is without them, [B, F]; without a gradient, and with `own` None.

    Shapes: [B].
    """
    across = (_across_dense if torch.compiler.is_compiling() else _AcrossFields.apply)(single(x), own is None, values)
    return across if own is None else across - 0.5 * single(own).square().sum((1, 2))


def _across_dense(x: Tensor, between: bool, values: Tensor | None) -> Tensor:
    """What `_AcrossFields` computes, for exporters, which cannot trace that it writes in place."""
    pairs = (x * x.transpose(1, 2)).sum(3)  # [B, F, F]
    if values is not None:
        pairs = pairs * (values[:, :, None] * values[:, None])
    return 0.5 * (pairs * (1 - torch.eye(x.shape[1], device=x.device)) if between else pairs).sum((1, 2))


class _AcrossFields(torch.autograd.Function):
    """Half the product of x [B, F, F, k] with its transpose by fields, which is its gradient: [B]."""

    @staticmethod
    def forward(ctx, x: Tensor, between: bool, values: Tensor | None) -> Tensor:
        other = x.transpose(1, 2).clone(memory_format=torch.contiguous_format)
        if between:  # different fields alone
            other.diagonal(dim1=1, dim2=2).zero_()
        if values is not None:
            other *= (values[:, :, None] * values[:, None]).to(x.dtype)[..., None]
        ctx.save_for_backward(other)
        with torch.autocast(x.device.type, enabled=False):
            return 0.5 * torch.bmm(x.flatten(1)[:, None], other.flatten(1)[:, :, None]).view(-1)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None, None]:
        return ctx.saved_tensors[0] * gradient[:, None, None, None], None, None


class CrossIndex(nn.Module):
    """Finds the row of each pair of features in a table of cross products.

    Where all pairs of all fields' values are at most `max_rows`, each has a row of its own; else they are hashed.

    Args:
        field_dims: rows of each field, [F].
        slots: the field of each slot, [S].
        max_rows: rows of the table at most.
        pairs: which pairs of slots; all by default.

    Shapes: ids [B, S] in the table of all fields; [B, P].
    """

    left: Tensor
    right: Tensor
    left_start: Tensor
    right_start: Tensor
    width: Tensor
    block: Tensor
    same: Tensor

    def __init__(
        self,
        field_dims: Sequence[int],
        slots: Sequence[int],
        max_rows: int,
        pairs: Sequence[tuple[int, int]] | None = None,
    ):
        super().__init__()
        if pairs is None:
            pairs = [(a, b) for a in range(len(slots)) for b in range(a + 1, len(slots))]
        blocks: dict[tuple[int, int], int] = {}
        total = 0
        for a, b in pairs:
            key = (slots[a], slots[b])
            if key not in blocks:
                blocks[key] = total
                total += field_dims[key[0]] * field_dims[key[1]]
        self.exact = total <= max_rows
        self.dims, self.fields = list(field_dims), [(slots[a], slots[b]) for a, b in pairs]
        self.num_rows = max(1, total if self.exact else max_rows)
        starts = torch.tensor([0, *field_dims[:-1]]).cumsum(0)
        put = self.register_buffer
        put("left", torch.tensor([a for a, _ in pairs], dtype=torch.long), persistent=False)
        put("right", torch.tensor([b for _, b in pairs], dtype=torch.long), persistent=False)
        of = [slots[a] for a, _ in pairs], [slots[b] for _, b in pairs]
        put("left_start", starts[of[0]], persistent=False)
        put("right_start", starts[of[1]], persistent=False)
        put("width", torch.tensor([field_dims[f] for f in of[1]], dtype=torch.long), persistent=False)
        put("block", torch.tensor([blocks[key] for key in zip(*of, strict=True)], dtype=torch.long), persistent=False)
        put("same", torch.tensor([f == g for f, g in zip(*of, strict=True)], dtype=torch.bool), persistent=False)

    def moved_rows(self, earlier: CrossIndex, rows: Tensor) -> Tensor | None:
        """Return the rows here of an earlier index's rows, -1 for none; None where either hashes.

        Shapes:
            rows: of the earlier values in the table of all fields, -1 for none, [V]; [earlier.num_rows].
        """
        if not (self.exact and earlier.exact):
            return None
        found = torch.full((earlier.num_rows,), -1)
        own = dict(zip(self.fields, self.block.tolist(), strict=True))
        for (low, high), start in zip(earlier.fields, earlier.block.tolist(), strict=True):
            left, right = (r.split(earlier.dims)[field] for r, field in ((rows, low), (rows, high)))
            first, second = left - sum(self.dims[:low]), right - sum(self.dims[:high])
            block = own[low, high] + first[:, None] * self.dims[high] + second
            block = block.masked_fill((left < 0)[:, None] | (right < 0), -1)
            found[start : start + block.numel()] = block.flatten()
        return found

    def forward(self, ids: Tensor) -> Tensor:
        ids = ids.long()
        left, right = ids[:, self.left], ids[:, self.right]
        low, high = torch.minimum(left, right), torch.maximum(left, right)
        left, right = torch.where(self.same, low, left), torch.where(self.same, high, right)  # one row for {i, j}
        if self.exact:
            return self.block + (left - self.left_start) * self.width + right - self.right_start
        return hashed(left, right) % self.num_rows


def hashed(left: Tensor, right: Tensor) -> Tensor:
    """Hash pairs of rows to numbers below 2^31, the same on every machine: like `left` and `right`, [n]."""
    x = (left * 0x9E3779B1 + right * 0x85EBCA77 + 0x165667B1) & 0xFFFFFFFF
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        x = ((x ^ (x >> shift)) * factor) & 0xFFFFFFFF
    return (x ^ (x >> 16)) & 0x7FFFFFFF


class CrossNet(nn.Module):
    r"""Cross layers with a full matrix (`Wang et al., 2021 <https://arxiv.org/abs/2008.13535>`_, eq. 1).

    .. math:: x_{l+1} = x_0 \odot (W_l x_l + b_l) + x_l

    Args:
        dim: width.
        num_layers: how many.

    Shapes: [B, dim]; [B, dim].
    """

    def __init__(self, dim: int, num_layers: int):
        super().__init__()
        layers = [nn.Linear(dim, dim) for _ in range(num_layers)]
        for layer in layers:
            nn.init.xavier_normal_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        start = x
        for layer in self.layers:
            x = start * layer(x) + x
        return x
