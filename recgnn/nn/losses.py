"""Losses, one class each, which a configuration names; and the functions that they share with the models.

A loss is given scores and returns a loss for each row, whose (weighted) mean is descended; it knows nothing of models
or data. There is a kind for each task: `PairLoss` (positives against negatives), `RowLoss` (rows of the interaction
matrix; a scalar), `RatingLoss` and `EventLoss`. A pair or event loss that gives a scalar, its mean, works where rows
have no weights.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recgnn.errors import Checked, ConfigError, NonNegative, Positive, expect_tensor

FOR_EACH = "a number for each positive"
LogQ = Callable[[Tensor], Tensor | None]


class Loss(Checked, nn.Module, ABC):
    """The base class of all losses.

    Attributes:
        defaults: training arguments that suit it, in place of the model's, such as `{"l2": 1e-3}`.
    """

    defaults: ClassVar[dict[str, Any]] = {}


def weighted_mean(losses: Tensor, weights: Tensor | None) -> Tensor:
    """Average the losses of rows [B], each by its weight [B], of mean 1 over the training data: a scalar.

    Args:
        losses: one of each row, or a scalar.
        weights: of the rows, or None.

    Raises:
        ConfigError: if there are weights and the loss gave a scalar.
    """
    if weights is None:
        return losses.mean()
    if losses.dim() == 0:
        raise ConfigError("rows have weights, and the loss gives one number; let it give one for each row")
    return (losses * weights).mean()


def of_each(loss: Loss, method: str, losses: Tensor, rows: Tensor, what: str = FOR_EACH) -> Tensor:
    """Return what a loss gave for some rows, if it is a number for each, or one, their mean.

    Args:
        loss: of any class.
        method: of it, that gave `losses`.
        losses: what it gave.
        rows: any tensor of the rows, [B, ...].
        what: what was expected, in words.

    Raises:
        ConfigError: if it is something else (see `expect_tensor`).
    """
    of_all = isinstance(losses, Tensor) and losses.dim() == 0
    return losses if of_all else expect_tensor(loss, method, losses, rows.shape[:1], what)


class PairLoss(Loss):
    """A loss of positives against sampled negatives. A subclass defines `forward`.

    Where it also defines `in_batch(scores [B, C], items [C], log_q [C] or None)`, the other positives of the batch can
    be its negatives; C = B, or, with `--trainer.strategy sharded`, the positives of all processes, one's own first. One
    of the batch alone defines `of_representations` instead of `forward`.

    Attributes:
        popularity_correction: the weight of the log of an item's sampling rate, which is subtracted from its score; 0
            for none.
        negatives: the negatives that suit it where none are asked for, by name.
        cosine: whether it is trained on the cosines of the representations instead of their inner products. Ranked are
            the inner products in any case: the lengths that training by cosines gives make a better ranking than none.
    """

    popularity_correction: float = 0.0
    cosine: ClassVar[bool] = False
    negatives: ClassVar[str] = "uniform"

    def forward(
        self, positive: Tensor, negative: Tensor, positive_log_q: Tensor | None = None,
        negative_log_q: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """Compute the loss of each positive.

        Shapes: positive [B]; negative [B, n], -inf where an item is no negative; positive_log_q [B] and negative_log_q
            [n] or [B, n], logs of sampling rates times `popularity_correction`, or None; [B].
        """
        raise AttributeError(f"{type(self).__name__} does not define forward")

    def of_representations(
        self, user: Tensor, item: Tensor, positives: Tensor, negatives: Tensor | None, log_q: LogQ
    ) -> Tensor:
        """Compute the loss of each positive, [B], from the representations.

        Args:
            user: representations of the batch's users, [B, D].
            item: those of its positives, then of its negatives, [B + ..., D].
            positives: items, [B].
            negatives: items, [B, n], or [n] for all, or None for the other positives of the batch.
            log_q: the weighted log rate at which items are sampled, like `positives` and `negatives`; or None.
        """
        size = positives.numel()
        if self.cosine:
            user, item = F.normalize(user, dim=1), F.normalize(item, dim=1)
        if negatives is None:
            losses = self.in_batch(user @ item.T, positives, log_q(positives))  # type: ignore[operator]  # see above
            return of_each(self, "in_batch", losses, user)
        positive = (user * item[:size]).sum(-1)
        if negatives.dim() == 1:
            negative = user @ item[size:].T
            negative = negative.masked_fill(positives[:, None] == negatives, -torch.inf)  # not against itself
        else:
            negative = torch.einsum("bd,bnd->bn", user, item[size:].view(*negatives.shape, -1))
        losses = self(positive, negative, log_q(positives), log_q(negatives))
        return of_each(self, "forward", losses, user)


class BPR(PairLoss):
    r"""Bayesian personalised ranking (`Rendle et al., 2009 <https://arxiv.org/abs/1205.2618>`_).

    .. math:: -\frac{1}{Bn}\sum \ln\sigma(\hat y_{ui} - \hat y_{uj})

    >>> float(BPR()(torch.tensor([2.0]), torch.tensor([[2.0, 2.0]])))  # doctest: +ELLIPSIS
    0.6931...
    """

    defaults = {"l2": 1e-3, "l2_on": "embeddings"}

    def forward(
        self, positive: Tensor, negative: Tensor, positive_log_q: Tensor | None = None,
        negative_log_q: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        return F.softplus(negative - positive[:, None]).mean(1)


class BCE(PairLoss):
    """Logistic loss with label 1 for the positive and 0 for its negatives, summed.

    >>> float(BCE()(torch.tensor([0.0]), torch.tensor([[0.0]])))  # doctest: +ELLIPSIS
    1.3862...
    """

    def forward(
        self, positive: Tensor, negative: Tensor, positive_log_q: Tensor | None = None,
        negative_log_q: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        return F.softplus(-positive) + F.softplus(negative).sum(1)


class SampledSoftmax(PairLoss):
    r"""Cross entropy of the positive among itself and its negatives.

    .. math:: -\ln\frac{e^{s_i}}{e^{s_i} + \sum_j e^{s_j}}, \quad s = \hat y / \tau - c \ln q

    With q the rate at which an item is met as a negative and c = 1, it estimates the softmax over all items
    (`Bengio & Senecal, 2008 <https://doi.org/10.1109/TNN.2007.912312>`_).

    Args:
        temperature: tau, which divides the scores.
        popularity_correction: c; 0 leaves the scores as they are.

    >>> float(SampledSoftmax()(torch.tensor([0.0]), torch.tensor([[0.0, 0.0, 0.0]])))  # ln 4  # doctest: +ELLIPSIS
    1.3862...
    """

    negatives = "in_batch"

    def __init__(self, temperature: Positive = 1.0, popularity_correction: NonNegative = 1.0):
        super().__init__()
        self.temperature, self.popularity_correction = temperature, popularity_correction

    def forward(
        self, positive: Tensor, negative: Tensor, positive_log_q: Tensor | None = None,
        negative_log_q: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        positive, negative = positive / self.temperature, negative / self.temperature
        if positive_log_q is not None and negative_log_q is not None:
            positive = positive - positive_log_q
            negative = negative - negative_log_q
        return torch.logsumexp(torch.cat([positive[:, None], negative], 1), 1) - positive

    def in_batch(self, scores: Tensor, items: Tensor, log_q: Tensor | None = None) -> Tensor:
        """Compute the loss of each positive, [B], with the batch's other positives as the negatives.

        A column that is the row's own positive again is left out.

        Args:
            scores: every user of the batch with every positive of the batch, their own first, [B, C]; C = B, or the
                positives of several processes' batches.
            items: the positives, [C].
            log_q: weighted log of the items' frequency in the training data, [C], or None for no correction.
        """
        logits = scores / self.temperature
        if log_q is not None:
            logits = logits - log_q
        diagonal = torch.arange(scores.shape[0], device=items.device)
        again = items[: diagonal.numel(), None] == items
        again[diagonal, diagonal] = False
        return F.cross_entropy(logits.masked_fill(again, -torch.inf), diagonal, reduction="none")


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
    """Convert x [...] of half precision to single, which sums over many columns need."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def pick(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return x[rows, columns] for distinct places: x [B, C], rows [n], columns [n]; [n]."""
    return _Pick.apply(x, rows * x.shape[1] + columns)


class RowLoss(Loss):
    """A loss of rows of zeros and ones, from the scores of all columns, per row. A subclass defines `forward`.

    Attributes:
        after_activation: whether it is given the model's output, or the scores before the last activation.
    """

    after_activation: ClassVar[bool] = False

    @abstractmethod
    def forward(
        self,
        scores: Tensor,
        rows: Tensor,
        columns: Tensor,
        negatives: Tensor | None = None,
        *,
        weights: Tensor | None = None,
    ) -> Tensor:
        """Compute the loss of a batch, without making its rows dense.

        Args:
            scores: [B, C].
            rows: rows of the ones, which are distinct places, [n].
            columns: their columns, [n].
            negatives: for each one sampled columns of zeros, which may repeat, [n, k]; None takes all zeros of the row.
            weights: of the ones' terms, [n]; None for 1, not given where the log has none. Those of zeros are 1.

        Shapes: a scalar.
        """


def zeros_at(scores: Tensor, rows: Tensor, negatives: Tensor) -> Tensor:
    """Return the scores of sampled zeros: scores [B, C], rows [n], negatives [n, k]; [n k]."""
    return torch.gather(scores.reshape(-1), 0, (rows[:, None] * scores.shape[1] + negatives).flatten())


class Multinomial(RowLoss):
    r"""Cross entropy of a softmax over all columns (Mult-DAE, `Liang et al., 2018 <https://arxiv.org/abs/1802.05814>`_).

    .. math:: -\frac1B \sum_{b,c} y_{bc} \ln \mathrm{softmax}(s_b)_c
    """

    def forward(self, scores, rows, columns, negatives=None, weights=None) -> Tensor:
        if negatives is not None:
            raise ConfigError("the loss Multinomial is over all items: leave negatives out, or take Logistic")
        scores = single(scores)
        totals, ones = torch.logsumexp(scores, 1)[rows], pick(scores, rows, columns)
        total = totals.sum() - ones.sum() if weights is None else (weights * (totals - ones)).sum()
        return total / scores.shape[0]


class Logistic(RowLoss):
    r"""Cross entropy of each column by itself.

    .. math:: -\frac1B \sum_{b,c} y_{bc} \ln\sigma(s_{bc}) + (1 - y_{bc}) \ln(1 - \sigma(s_{bc}))

    With negatives, the sum is over the ones and the sampled zeros (CDAE, section 3.3).
    """

    def forward(self, scores, rows, columns, negatives=None, weights=None) -> Tensor:
        scores = single(scores)
        ones = pick(scores, rows, columns)
        if negatives is None:
            total = F.softplus(scores).sum() - ones.sum()
        else:
            total = F.softplus(-ones).sum() + F.softplus(zeros_at(scores, rows, negatives)).sum()
        if weights is not None:
            total = total + ((weights - 1) * F.softplus(-ones)).sum()
        return total / scores.shape[0]


class Squared(RowLoss):
    r"""Squared error of the model's output.

    .. math:: \frac1B \sum_{b,c} (y_{bc} - \hat y_{bc})^2

    With negatives, the sum is over the ones and the sampled zeros (CDAE, section 3.3).
    """

    after_activation = True

    def forward(self, scores, rows, columns, negatives=None, weights=None) -> Tensor:
        scores = single(scores)
        ones = pick(scores, rows, columns)
        if negatives is None:
            total = scores.square().sum() + (1 - 2 * ones).sum()
        else:
            total = (1 - ones).square().sum() + zeros_at(scores, rows, negatives).square().sum()
        if weights is not None:
            total = total + ((weights - 1) * (1 - ones).square()).sum()
        return total / scores.shape[0]


class RatingLoss(Loss):
    """The error of predicted ratings. A subclass defines `forward`."""

    @abstractmethod
    def forward(self, predictions: Tensor, ratings: Tensor) -> Tensor:
        """Compute the error of each rating: predictions [n], ratings [n]; [n].

        What is descended is their sum, divided by the rows of the interaction matrix in the batch (by n where a batch
        is of single ratings).
        """


class SquaredError(RatingLoss):
    r"""Squared error over the observed ratings alone, per row (AutoRec, eq. 2).

    .. math:: \frac{1}{B}\sum_{(b,c) \in \mathcal O} (r_{bc} - \hat r_{bc})^2
    """

    def forward(self, predictions: Tensor, ratings: Tensor) -> Tensor:
        return (predictions - ratings).square()


class EventLoss(Loss):
    """A loss of events from their logits. A subclass defines `forward`."""

    @abstractmethod
    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Compute the loss of each event: logits [B], labels [B]; [B]."""


class CrossEntropy(EventLoss):
    """Cross entropy of labels 0 and 1.

    >>> float(CrossEntropy()(torch.tensor([0.0]), torch.tensor([1.0])))  # doctest: +ELLIPSIS
    0.6931...
    """

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(logits, labels, reduction="none")


class MeanSquaredError(EventLoss):
    """Squared error of predicted numbers."""

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        return (logits - labels).square()
