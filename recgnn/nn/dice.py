"""Dice, the activations of sequence models by name, and perceptrons that have them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, distributed, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from recgnn.nn.autoencoder import Activation, activation
from recgnn.nn.mlp import MLP

UnitActivation = Literal[Activation, "dice", "prelu", "leaky_relu"]


class _Dice(torch.autograd.Function):
    """Dice by the batch's statistics, in two thirds of the time of separate operations."""

    @staticmethod
    def forward(ctx, x: Tensor, alpha: Tensor, mean: Tensor, var: Tensor, momentum: float, eps: float) -> Tensor:
        p, mean, rstd = torch.native_batch_norm(x, None, None, mean, var, True, momentum, eps)
        p.sigmoid_()
        ctx.save_for_backward(x, p, alpha, mean, rstd)
        ctx.eps = eps
        return torch.addcmul(alpha, p, 1 - alpha).mul_(x).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, p, alpha, mean, rstd = ctx.saved_tensors
        of_x = gradient * x
        of_p = of_x * p
        of_alpha = of_x.sum(0, dtype=alpha.dtype) - of_p.sum(0, dtype=alpha.dtype)
        of_p.addcmul_(of_p, p, value=-1)  # g x p (1 - p)
        wanted = [True, False, False]
        grad = torch.ops.aten.native_batch_norm_backward(
            of_p, x, 1 - alpha, None, None, mean, rstd, True, ctx.eps, wanted
        )[0]
        return grad.addcmul_(gradient, torch.addcmul(alpha, p, 1 - alpha).to(x.dtype)), of_alpha, None, None, None, None


class _SharedDice(torch.autograd.Function):
    """Dice by the statistics of all processes' rows, of which one may have none; called by all of them at once."""

    @staticmethod
    def forward(ctx, x: Tensor, alpha: Tensor, mean: Tensor, var: Tensor, momentum: float, eps: float) -> Tensor:
        own = torch.stack([*torch.var_mean(x.double(), 0, correction=0), torch.full_like(mean, len(x)).double()])
        every = own.new_zeros(distributed.get_world_size(), *own.shape)
        every[distributed.get_rank()] = own.nan_to_num()  # of no rows
        distributed.all_reduce(every)
        squares, means, rows = every.unbind(1)
        ctx.rows, ctx.several = rows.sum(0), rows.sum(0) > 1
        of_all = (rows * means).sum(0) / ctx.rows.clamp(min=1)
        square = (rows * (squares + (means - of_all).square())).sum(0)
        moved = momentum * ctx.several
        mean.lerp_(of_all.to(mean.dtype), moved.to(mean.dtype))
        var.lerp_((square / (ctx.rows - 1).clamp(min=1)).to(var.dtype), moved.to(var.dtype))
        of_all = torch.where(ctx.several, of_all, mean).to(mean.dtype)
        rstd = (torch.where(ctx.several, square / ctx.rows.clamp(min=1), var) + eps).rsqrt().to(mean.dtype)
        p = ((x - of_all) * rstd).sigmoid_()
        ctx.save_for_backward(x, p, alpha, of_all, rstd)
        return torch.addcmul(alpha, p, 1 - alpha).mul_(x).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, p, alpha, mean, rstd = ctx.saved_tensors
        of_x = gradient * x
        of_alpha = (of_x * (1 - p)).sum(0, dtype=alpha.dtype)
        of_s, s = of_x * (1 - alpha) * p * (1 - p), (x - mean) * rstd
        sums = torch.stack([of_s.sum(0), (of_s * s).sum(0)]).double()
        distributed.all_reduce(sums)
        sums = (sums * ctx.several / ctx.rows.clamp(min=1)).to(s.dtype)
        grad = gradient * torch.addcmul(alpha, p, 1 - alpha) + (of_s - sums[0] - s * sums[1]) * rstd
        return grad.to(x.dtype), of_alpha, None, None, None, None


class Dice(nn.Module):
    r"""The data adaptive activation of DIN (`Zhou et al., 2018 <https://arxiv.org/abs/1706.06978>`_, section 5.2).

    .. math::
        f(s) = p(s) s + (1 - p(s)) \alpha s, \quad
        p(s) = \sigma\left(\frac{s - E[s]}{\sqrt{Var[s] + \epsilon}}\right)

    Mean and variance are those of the rows that are given, on several processes of all of theirs, and moving averages
    in evaluation; packed rows have no padding that would enter them. A single row has no variance: then the moving
    averages are used.

    Args:
        dim: C.
        eps: epsilon.
        momentum: what a batch adds to the moving averages.

    Shapes: [N, C]; [N, C].
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, dim: int, eps: float = 1e-8, momentum: float = 0.1):
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.alpha = nn.Parameter(torch.zeros(dim))
        self.register_buffer("running_mean", torch.zeros(dim))
        self.register_buffer("running_var", torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        shared = self.training and distributed.is_available() and distributed.is_initialized()
        if shared and distributed.get_world_size() > 1:
            return _SharedDice.apply(x, self.alpha, self.running_mean, self.running_var, self.momentum, self.eps)
        if self.training and x.shape[0] > 1:
            return _Dice.apply(x, self.alpha, self.running_mean, self.running_var, self.momentum, self.eps)
        alpha = self.alpha.to(x.dtype)
        p = F.batch_norm(x, self.running_mean, self.running_var, eps=self.eps).sigmoid()
        return (alpha + (1 - alpha) * p) * x

    def extra_repr(self) -> str:
        return f"{self.alpha.numel()}"


def unit_activation(name: UnitActivation, dim: int) -> nn.Module:
    """Make the activation of a name, for rows of `dim` values."""
    if name == "dice":
        return Dice(dim)
    if name == "prelu":
        return nn.PReLU(dim)
    return nn.LeakyReLU() if name == "leaky_relu" else activation(name)


def deep(
    in_dim: int,
    hidden_dims: Sequence[int],
    activation_name: UnitActivation,
    dropout: float = 0.0,
    batch_norm: bool = False,
) -> MLP:
    """Make an `MLP` of one output with any of these activations."""
    layers = MLP(in_dim, hidden_dims, "identity", dropout, batch_norm, out_dim=1)
    for place, layer in enumerate(layers):
        if isinstance(layer, nn.Linear):
            width = layer.out_features
        elif isinstance(layer, nn.Identity):
            layers[place] = unit_activation(activation_name, width)
    return layers
