"""LightGCN's weighted sum of propagated layers, fused into one differentiable step."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from recgnn.nn.propagation import CSR, BipartiteOperator, Pair, csr_matmul, multiply_into, scatter_rows, select_rows
from recgnn.nn.sampling import Hop, SampledHop


def layer_sum(operator: BipartiteOperator, x: Pair, alpha: Tensor) -> Pair:
    r"""Compute :math:`\sum_{k=0}^{K} \alpha_k \hat A^k x` for all nodes, differentiable in x and alpha: ([U, D], [I,
    D]).

    Args:
        operator: Â, without self-loops.
        x: ([U, D], [I, D]).
        alpha: layer weights, [K+1].
    """
    user, item = x
    out_user, out_item = alpha[0] * user, alpha[0] * item
    if torch.is_grad_enabled():
        for weight in alpha[1:]:
            user, item = operator((user, item))
            out_user, out_item = out_user + weight * user, out_item + weight * item
        return out_user, out_item
    ui, _, iu, _ = operator.halves()
    on_cpu = user.device.type == "cpu"
    next_user, *next_items = (torch.empty_like(side) if on_cpu else None for side in (user, item, item))
    for layer, weight in enumerate(alpha[1:]):
        next_item = multiply_into(next_items[layer % 2], iu, user)
        user, item = multiply_into(next_user, ui, item), next_item  # in the place of the layer before
        out_user.addcmul_(user, weight)
        out_item.addcmul_(item, weight)
    return out_user, out_item


@torch.no_grad()
def before_layer_sum(operator: BipartiteOperator, sums: Pair, alpha: Tensor, steps: int = 30) -> Pair:
    r"""Find what `layer_sum` maps to given `sums` ([U, 1], [I, 1]), or as close as there is, by conjugate gradients on
    the normal equations (CGLS, `Björck, 1996 <https://doi.org/10.1137/1.9781611971484>`_, section 7.4; the symmetric
    normalisation makes the map its own transpose): ([U, 1], [I, 1]).

    Args:
        operator: Â, without self-loops, normalised symmetrically.
        sums: what is to come out.
        alpha: layer weights, [K+1].
        steps: how many at most, each of two maps.
    """
    sizes = [len(side) for side in sums]

    def mapped(x: Tensor) -> Tensor:
        user, item = x.split(sizes)
        return torch.cat(layer_sum(operator, (user, item), alpha))

    left = torch.cat(sums)
    found, slope = torch.zeros_like(left), mapped(left)
    step, size = slope, slope.square().sum()
    enough = 1e-12 * size
    for _ in range(steps):
        if size <= enough:
            break
        change = mapped(step)
        length = size / change.square().sum()
        found, left = found + length * step, left - length * change
        slope, before = mapped(left), size
        size = slope.square().sum()
        step = slope + size / before * step
    user, item = found.split(sizes)
    return user, item


def layer_sum_hops(hops: Sequence[Hop | SampledHop], x: Pair, alpha: Tensor) -> Pair:
    r"""Estimate `layer_sum` at a batch's nodes over sampled neighbourhoods, differentiable in x and alpha, by Horner's
    rule, :math:`\alpha_0 x + \hat A_1 (\alpha_1 x + \hat A_2 (\dots))`: ([n, D], [m, D]).

    Args:
        hops: the outermost first (see `sampled_hops`).
        x: at the nodes that the outermost reads.
        alpha: layer weights, [K+1].
    """
    user, item = alpha[-1] * x[0], alpha[-1] * x[1]
    for weight, hop in zip(alpha[:-1].flip(0), hops, strict=True):
        x, (side_user, side_item) = hop.own(x), hop((user, item))
        user, item = torch.addcmul(side_user, x[0], weight), torch.addcmul(side_item, x[1], weight)
    return user, item


def layer_sum_rows(
    operator: BipartiteOperator, x: Pair, alpha: Tensor, users: Tensor, items: Tensor, noise: float = 0.0
) -> Pair:
    r"""Compute the rows `users` [n] and `items` [m] of `layer_sum`, differentiable in x and alpha: ([n, D], [m, D]).

    A training step needs only its batch's rows. So the last product forward is restricted to them, and
    backward the sum is taken by Horner's rule, :math:`G + \hat A^T(G + \hat A^T(\dots))`, with K products and
    one scatter in all, whatever the number of layers, and of sums.

    Args:
        operator: Â, without self-loops.
        x: ([U, D], [I, D]).
        alpha: layer weights, [K+1], or those of M sums, [M, K+1], which then gives ([M, n, D], [M, m, D]).
        users: [n], each once where there is noise.
        items: [m], each once where there is noise.
        noise: length of the noise that every propagated row gets (see `perturbed`).
    """
    return _LayerSumRows.apply(*x, alpha, users, items, operator.halves(), noise)


def perturbed(x: Tensor, length: float) -> Tensor:
    """Add noise of a length to each row of x [n, D], in the row's own orthant (XSimGCL, eq. 3); in place."""
    return x.add_(F.normalize(torch.rand_like(x), dim=1).mul_(x.sign()), alpha=length) if length else x


class _LayerSumRows(torch.autograd.Function):
    """Noise is a constant to the gradient: the sign of a row has none."""

    @staticmethod
    def forward(ctx, x_user, x_item, alpha, users, items, halves: tuple[CSR, CSR, CSR, CSR], noise: float):
        ui, _, iu, _ = halves
        layers_user, layers_item = [x_user[users]], [x_item[items]]
        num_layers = alpha.shape[-1] - 1
        on_cpu = x_user.device.type == "cpu"
        for k in range(1, num_layers + 1):
            if k == num_layers and on_cpu:
                layers_user.append(perturbed(csr_matmul(select_rows(ui, users), x_item), noise))
                layers_item.append(perturbed(csr_matmul(select_rows(iu, items), x_user), noise))
            else:
                x_user, x_item = perturbed(csr_matmul(ui, x_item), noise), perturbed(csr_matmul(iu, x_user), noise)
                layers_user.append(x_user[users])
                layers_item.append(x_item[items])
        all_user, all_item = torch.stack(layers_user), torch.stack(layers_item)  # [K+1, n, D]
        ctx.halves = halves
        ctx.save_for_backward(alpha, users, items, all_user, all_item)
        weights = alpha[..., None, None]  # a sum of products keeps float32 under autocast, a matrix product would not
        return (weights * all_user).sum(-3), (weights * all_item).sum(-3)

    @staticmethod
    def backward(ctx, grad_user, grad_item):
        ui, ui_t, iu, iu_t = ctx.halves
        alpha, users, items, layers_user, layers_item = ctx.saved_tensors
        grads = [grad[..., None, :, :] for grad in (grad_user, grad_item)]  # [(M), 1, n, D]
        grad_alpha = None
        if ctx.needs_input_grad[2]:
            grad_alpha = (layers_user * grads[0]).sum((-2, -1)) + (layers_item * grads[1]).sum((-2, -1))
        by_layer = [alpha[..., None, None] * grad for grad in grads]
        if alpha.dim() > 1:
            by_layer = [sums.sum(0) for sums in by_layer]
        *lower, last = zip(*by_layer, strict=True)
        # Â^T: the item half of a gradient comes from the users' outputs, through R_ui^T, and the other way round
        sum_user = scatter_rows(last[0], users, ui.ptr.numel() - 1)
        sum_item = scatter_rows(last[1], items, iu.ptr.numel() - 1)
        for user, item in reversed(lower):
            sum_user, sum_item = csr_matmul(iu_t, sum_item), csr_matmul(ui_t, sum_user)
            sum_user.index_add_(0, users, user)
            sum_item.index_add_(0, items, item)
        return sum_user, sum_item, grad_alpha, None, None, None, None
