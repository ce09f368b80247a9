"""The parts of autoencoders of interaction rows: a sparse first layer, activations, corruption."""

from __future__ import annotations

from typing import Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recgnn.nn.propagation import CSR, csr_matmul

Activation = Literal["identity", "sigmoid", "tanh", "relu", "elu", "selu"]
ACTIVATIONS: dict[str, type[nn.Module]] = {
    "identity": nn.Identity,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "elu": nn.ELU,
    "selu": nn.SELU,
}


Rows = TypeVar("Rows", CSR, Tensor)  # of a matrix, sparse or dense


def activation(name: Activation) -> nn.Module:
    """Make the activation of a name."""
    return ACTIVATIONS[name]()


class _RowsTimesWeight(torch.autograd.Function):
    """X W for a batch of sparse rows X, with gradient X^T g by the same kernel on X transposed."""

    @staticmethod
    def forward(ctx, weight: Tensor, csr: CSR) -> Tensor:
        ctx.csr = csr
        return csr_matmul(csr, weight)

    @staticmethod
    def backward(ctx, grad: Tensor):
        return csr_matmul(transpose(ctx.csr), grad.contiguous()), None


def transpose(csr: CSR) -> CSR:
    """Transpose a matrix in compressed rows."""
    rows = csr.ptr.numel() - 1
    row = torch.repeat_interleave(torch.arange(rows, device=csr.ptr.device), csr.ptr.diff())
    order = torch.argsort(csr.col, stable=True)
    ptr = F.pad(torch.bincount(csr.col, minlength=csr.num_cols).cumsum(0), (1, 0))
    return CSR(ptr, row[order], csr.weight[order], rows)


def as_csr(place: Tensor, columns: Tensor, values: Tensor, num_rows: int, num_columns: int) -> CSR:
    """Compress entries that are sorted by row: place [n], columns [n], values [n]."""
    ptr = F.pad(torch.bincount(place, minlength=num_rows).cumsum(0), (1, 0))
    return CSR(ptr, columns, values, num_columns)


class SparseLinear(nn.Module):
    """A linear layer y = X W + b of sparse rows, whose cost follows their entries, forward and backward.

    Args:
        num_columns: C.
        dim: D.
        bias: whether there is b.

    Shapes: a CSR [B, C], or (at its own cost) a dense tensor; [B, D].
    """

    def __init__(self, num_columns: int, dim: int, bias: bool = True):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_columns, dim))
        self.bias = nn.Parameter(torch.zeros(dim)) if bias else None
        nn.init.xavier_uniform_(self.weight)

    def forward(self, rows: CSR | Tensor) -> Tensor:
        y = rows @ self.weight if isinstance(rows, Tensor) else _RowsTimesWeight.apply(self.weight, rows)
        return y if self.bias is None else y + self.bias

    def extra_repr(self) -> str:
        return f"{self.weight.shape[0]}, {self.weight.shape[1]}, bias={self.bias is not None}"


def mask_out(values: Tensor, rate: float) -> Tensor:
    """Corrupt values by mask-out: each becomes 0 with probability `rate`, else is divided by 1 - `rate`, so that its
    expectation stays (`Wu et al., 2016 <https://doi.org/10.1145/2835776.2835837>`_, section 3.1): new values, [n]."""
    return F.dropout(values, rate, training=True) if rate < 1 else torch.zeros_like(values)
