"""Squared norms of embeddings and of whole tensors, for the L2 regularisation."""

from __future__ import annotations

import torch
from torch import Tensor


def embedding_l2(*embeddings: Tensor) -> Tensor:
    r"""Compute :math:`\frac{1}{2B}\sum \lVert e \rVert^2` over the batch's rows, as the LightGCN authors' code.

    Shapes: each [B, D] or [B, n, D]; repeated rows count each time; divided by the first one's B.
    """
    total = embeddings[0].square().sum()
    for rows in embeddings[1:]:
        total = total + rows.square().sum()
    return total / (2 * embeddings[0].shape[0])


class _HalfSquare(torch.autograd.Function):
    """Half the squared norm in one pass over the tensor each way, where `x.square().sum()` takes five."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return torch.dot(x.reshape(-1), x.reshape(-1)) / 2

    @staticmethod
    def backward(ctx, grad: Tensor):
        return grad * ctx.saved_tensors[0]


def half_square(x: Tensor) -> Tensor:
    r"""Compute :math:`\frac12 \lVert x \rVert^2` of a whole tensor: a scalar."""
    return _HalfSquare.apply(x)
