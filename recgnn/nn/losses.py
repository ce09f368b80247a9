"""Losses on scores and embeddings: plain functions of tensors."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F


def bpr(positive: Tensor, negative: Tensor) -> Tensor:
    r"""Bayesian personalised ranking (`Rendle et al., 2009 <https://arxiv.org/abs/1205.2618>`_).

    .. math:: -\frac{1}{Bn}\sum \ln\sigma(\hat y_{ui} - \hat y_{uj})

    Shapes: positive [B], negative [B, n]; a scalar.
    """
    return F.softplus(negative - positive[:, None]).mean()


def bce(positive: Tensor, negative: Tensor) -> Tensor:
    """Logistic loss with label 1 for positives and 0 for negatives, summed per positive, mean over the batch.

    Shapes: positive [B], negative [B, n]; a scalar.
    """
    return F.softplus(-positive).mean() + F.softplus(negative).sum(1).mean()


def sampled_softmax(
    positive: Tensor,
    negative: Tensor,
    positive_log_q: Tensor | None = None,
    negative_log_q: Tensor | None = None,
    temperature: float = 1.0,
) -> Tensor:
    r"""Cross entropy of the positive among itself and its negatives.

    .. math:: -\ln\frac{e^{s_i}}{e^{s_i} + \sum_j e^{s_j}}, \quad s = \hat y / \tau - \ln q

    With q the rate at which an item is met as a negative, it estimates the softmax over all items
    (`Bengio & Senecal, 2008 <https://doi.org/10.1109/TNN.2007.912312>`_).

    Shapes: positive [B], negative [B, n], positive_log_q [B], negative_log_q [n] or [B, n]; a scalar.
    """
    positive, negative = positive / temperature, negative / temperature
    if positive_log_q is not None:
        positive = positive - positive_log_q
        negative = negative - negative_log_q
    return (torch.logsumexp(torch.cat([positive[:, None], negative], 1), 1) - positive).mean()


def in_batch_softmax(
    scores: Tensor, items: Tensor, log_q: Tensor | None = None, temperature: float = 1.0
) -> Tensor:
    """`sampled_softmax` in which the batch's other positives are the negatives.

    A column that is the row's own positive again is left out.

    Args:
        scores: every user of the batch with every positive of the batch, [B, B].
        items: the positives, [B].
        log_q: log of the items' frequency in train, [B], or None for no correction.
        temperature: divides the scores.
    """
    logits = scores / temperature
    if log_q is not None:
        logits = logits - log_q
    diagonal = torch.arange(items.numel(), device=items.device)
    again = items[:, None] == items
    again[diagonal, diagonal] = False
    return F.cross_entropy(logits.masked_fill(again, -torch.inf), diagonal)


def embedding_l2(*embeddings: Tensor) -> Tensor:
    r""":math:`\frac{1}{2B}\sum \lVert e \rVert^2` over the batch's rows, as the LightGCN authors' code.

    Shapes: each [B, D] or [B, n, D]; repeated rows count each time; divided by the first one's B.
    """
    return sum(e.square().sum() for e in embeddings) / (2 * embeddings[0].shape[0])


RowLoss = Literal["multinomial", "logistic", "squared"]


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
    r""":math:`\frac12 \lVert x \rVert^2` of a whole tensor: a scalar."""
    return _HalfSquare.apply(x)


class _Pick(torch.autograd.Function):
    """x.flatten()[index] for distinct places, whose gradient is written in place instead of added up."""

    @staticmethod
    def forward(ctx, x: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(index)
        ctx.shape = x.shape
        return x.reshape(-1)[index]

    @staticmethod
    def backward(ctx, grad: Tensor):
        (index,) = ctx.saved_tensors
        whole = grad.new_zeros(ctx.shape)
        whole.view(-1)[index] = grad
        return whole, None


def single(x: Tensor) -> Tensor:
    """At least single precision: sums over many columns need it."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def pick(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """x[rows, columns] of a matrix at distinct places: x [B, C], rows [n], columns [n]; [n]."""
    return _Pick.apply(x, rows * x.shape[1] + columns)


def observed_squared(output: Tensor, rows: Tensor, columns: Tensor, ratings: Tensor) -> Tensor:
    r"""Squared error over the observed entries alone, per row (AutoRec, eq. 2).

    .. math:: \frac{1}{B}\sum_{(b,c) \in \mathcal O} (r_{bc} - \hat r_{bc})^2

    Shapes: output [B, C], and distinct entries: rows [n], columns [n], ratings [n]; a scalar.
    """
    return (pick(single(output), rows, columns) - ratings).square().sum() / output.shape[0]


def all_columns(output: Tensor, rows: Tensor, columns: Tensor, kind: RowLoss) -> Tensor:
    r"""Loss of rows of zeros and ones over all columns, per row, without ever making the rows dense.

    With scores s and targets y:

    - `multinomial`: :math:`-\sum_c y_c \ln \mathrm{softmax}(s)_c`
    - `logistic`: :math:`-\sum_c y_c \ln\sigma(s_c) + (1 - y_c) \ln(1 - \sigma(s_c))`
    - `squared`: :math:`\sum_c (y_c - s_c)^2`

    Shapes: output [B, C] (the scores), and the distinct places of the ones: rows [n], columns [n]; a scalar.
    """
    output = single(output)
    ones = pick(output, rows, columns)
    if kind == "multinomial":
        total = torch.logsumexp(output, 1)[rows].sum() - ones.sum()
    elif kind == "logistic":
        total = F.softplus(output).sum() - ones.sum()
    else:
        total = output.square().sum() + (1 - 2 * ones).sum()
    return total / output.shape[0]


def sampled_columns(
    output: Tensor, rows: Tensor, columns: Tensor, negatives: Tensor, kind: RowLoss
) -> Tensor:
    """`all_columns` over the ones and, for each of them, sampled zeros, which may repeat (CDAE, section 3.3).

    Shapes: output [B, C], rows [n], columns [n], negatives [n, k]; a scalar.
    """
    output = single(output)
    ones = pick(output, rows, columns)
    zeros = torch.gather(output.reshape(-1), 0, (rows[:, None] * output.shape[1] + negatives).flatten())
    if kind == "multinomial":
        raise ValueError("the multinomial loss is over all columns")
    if kind == "logistic":
        total = F.softplus(-ones).sum() + F.softplus(zeros).sum()
    else:
        total = (1 - ones).square().sum() + zeros.square().sum()
    return total / output.shape[0]
