"""Losses on scores and embeddings: plain functions of tensors."""

from __future__ import annotations

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
