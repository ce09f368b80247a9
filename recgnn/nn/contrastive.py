"""Losses of cosines, for models by inner product: they are trained on the angles alone, and ranked by inner product."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from recgnn.errors import NonNegative, Positive, Share
from recgnn.nn.losses import LogQ, PairLoss, single


class CosineLoss(PairLoss):
    """A loss of the cosines of positives against those of many negatives. A subclass defines `forward`.

    By default the negatives are drawn for the batch from all items alike, so that popular items keep high cosines. As
    the batch's other positives they are popular ones: then popularity is left to the vectors' lengths, which grow with
    the steps from a small `init_std`; that suits large, sparse logs.
    """

    cosine = True
    negatives = "shared"
    defaults = {"l2": 1e-5, "num_negatives": 1024, "popularity_alpha": 0.0}

    def in_batch(self, scores: Tensor, items: Tensor, log_q: Tensor | None = None) -> Tensor:
        """Compute the loss of each positive, [B], with the batch's other positives as the negatives.

        Args:
            scores: cosines of every user of the batch with every positive of the batch, their own first, [B, C].
            items: the positives, [C]; a column that is the row's own positive is no negative.
            log_q: not used: these losses correct for no sampling rate.
        """
        own = items[: scores.shape[0], None]
        return self(scores.diagonal(), scores.masked_fill(own == items, -torch.inf))


class BSL(CosineLoss):
    r"""The bilateral softmax loss (`Wu et al., 2024 <https://arxiv.org/abs/2312.12882>`_): trained by cosine, ranked by
    inner product.

    .. math:: -\frac{y_{ui}}{\tau_1} + \tau_2 \ln \sum_j e^{y_{uj} / \tau_1}, \quad y = \cos(e_u, e_i)

    As in the authors' code, the positive is not in the sum. Sampling rates are not corrected for.

    Args:
        tau1: divides the cosines.
        tau2: weight of the negatives; below 1 trusts the positives more, above 1 less.

    >>> bool(BSL(tau1=0.5)(torch.tensor([0.5]), torch.tensor([[0.0, 0.0]])).isclose(torch.tensor(2.0).log() - 1))
    True
    """

    def __init__(self, tau1: Positive = 0.15, tau2: Positive = 1.0):
        super().__init__()
        self.tau1, self.tau2 = tau1, tau2

    def forward(
        self, positive: Tensor, negative: Tensor, positive_log_q: Tensor | None = None,
        negative_log_q: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        # less than one opposite negative is no negative at all
        others = _LogSumExp.apply(single(negative), 1 / self.tau1).clamp(min=-1 / self.tau1)
        return self.tau2 * others - positive / self.tau1


class _LogSumExp(torch.autograd.Function):
    """ln sum_j exp(c x_j) of each row of x [B, n], [B], whose exponentials are kept for the way back."""

    @staticmethod
    def forward(ctx, x: Tensor, factor: float) -> Tensor:
        top = x.amax(1, keepdim=True).clamp(min=torch.finfo(x.dtype).min)
        powers = torch.sub(x, top).mul_(factor).exp_()
        total = powers.sum(1)
        ctx.save_for_backward(powers, total)
        ctx.factor = factor
        return factor * top[:, 0] + total.log()

    @staticmethod
    def backward(ctx, grad: Tensor):
        powers, total = ctx.saved_tensors
        return powers * (ctx.factor * grad / total.clamp(min=1e-30))[:, None], None


class CosineContrastive(CosineLoss):
    r"""SimpleX's cosine contrastive loss (`Mao et al., 2021 <https://arxiv.org/abs/2109.12613>`_, eq. 1): trained by
    cosine, ranked by inner product.

    .. math:: (1 - y_{ui}) + \frac{w}{n} \sum_j \max(0, y_{uj} - m), \quad y = \cos(e_u, e_i)

    Args:
        margin: m, of the cosine, below which a negative counts nothing.
        negative_weight: w, of the negatives.

    >>> float(CosineContrastive(margin=0.5, negative_weight=2.0)(torch.tensor([0.5]), torch.tensor([[1.0, 0.0]])))
    1.0
    """

    negatives = "uniform"  # not the user's own items, which weigh much here
    defaults = {"l2": 1e-5, "num_negatives": 64}

    def __init__(self, margin: Share = 0.4, negative_weight: NonNegative = 100.0):
        super().__init__()
        self.margin, self.negative_weight = margin, negative_weight

    def forward(
        self, positive: Tensor, negative: Tensor, positive_log_q: Tensor | None = None,
        negative_log_q: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        return 1 - positive + self.negative_weight * (negative - self.margin).relu().mean(1)


class DirectAU(PairLoss):
    r"""Alignment of positives and uniformity of the batch (`Wang et al., 2022 <https://arxiv.org/abs/2206.12811>`_):
    trained by cosine, ranked by inner product.

    .. math:: \lVert \tilde e_u - \tilde e_i \rVert^2 + \frac\gamma2 \left(
        \ln \operatorname*{mean}_{u \ne u'} e^{-2 \lVert \tilde e_u - \tilde e_{u'} \rVert^2}
        + \ln \operatorname*{mean}_{i \ne i'} e^{-2 \lVert \tilde e_i - \tilde e_{i'} \rVert^2} \right)

    (eqs. 5-6), the means over pairs of the batch's rows, the representations of length 1. It has no negatives. The
    uniformity is one number of the batch; where rows have weights, they weigh the alignment, and their mean in the
    batch, on average 1, the uniformity.

    Args:
        gamma: weight of the uniformity.
    """

    negatives = "in_batch"
    defaults = {"l2": 1e-5}

    def __init__(self, gamma: NonNegative = 1.0):
        super().__init__()
        self.gamma = gamma

    def of_representations(
        self, user: Tensor, item: Tensor, positives: Tensor, negatives: Tensor | None, log_q: LogQ
    ) -> Tensor:
        user, item = F.normalize(user, dim=1), F.normalize(item, dim=1)
        return (user - item).square().sum(1) + self.gamma / 2 * (uniformity(user) + uniformity(item))


def uniformity(x: Tensor) -> Tensor:
    r"""Compute :math:`\ln` of the mean of :math:`e^{-2 \lVert x_a - x_b \rVert^2}` over pairs of rows of x [n, D] of
    length 1: a scalar; 0 of a single row."""
    size, twice = len(x), 2 * x
    if size < 2:
        return x.new_zeros(())
    powers = single(twice @ twice.T).exp()  # -2 |a - b|^2 = 4 cos(a, b) - 4
    return ((powers.sum() - powers.trace()) / (size * (size - 1))).log() - 4
