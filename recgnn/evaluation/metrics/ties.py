r"""Tied scores: lists whose order is chance count by their expectation over every order of the tied items.

From `McSherry and Najork, 2008 <https://doi.org/10.1007/978-3-540-78646-7_38>`_. Otherwise a metric would follow the
numbering of the items wherever a model cannot tell them apart.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn


class Ties(NamedTuple):
    """The tied items around each rank of the lists that have ties.

    A group is a run of items with equal scores, in the whole catalogue without what the user has; an item without an
    equal is a group of one. In double precision, so that sums over groups are exact.

    Shapes:
        rows: [b], which lists of the block.
        ahead: [b, K], items above the group of rank r.
        size: [b, K], items of that group.
        relevant: [b, K], relevant items of it.
        before: [b, K], relevant items above it.
    """

    rows: Tensor
    ahead: Tensor
    size: Tensor
    relevant: Tensor
    before: Tensor

    @property
    def chance(self) -> Tensor:
        """The chance that the item at each rank is relevant, [b, K]."""
        return self.relevant / self.size

    @property
    def inside(self) -> Tensor:
        """How many of its group's items stand above each rank, [b, K]."""
        return torch.arange(self.size.shape[1], dtype=torch.double, device=self.size.device) - self.ahead

    def upto(self, k: int) -> Ties:
        """Return the ties of the first k ranks."""
        return Ties(self.rows, *(x[:, :k] for x in self[1:]))


def ties_of(scores: Tensor, best: Tensor, label_rows: Tensor, label_items: Tensor) -> Ties | None:
    """Find the ties of a block of lists; None where there are none.

    Args:
        scores: of all items, -inf where an item is left out.
        best: the scores of the lists and of the item after them, if there is one.
        label_rows: the row that each label belongs to.
        label_items: the relevant item of each label; repeated labels count once.

    Shapes: scores [B, I], best [B, K] or [B, K + 1], label_rows [n], label_items [n] -> see `Ties`.
    """
    equal = (best[:, 1:] == best[:, :-1]) & (best[:, 1:] > -torch.inf)
    rows = equal.any(1).nonzero().flatten()
    if not rows.numel():
        return None
    best = best[rows]
    ranks = torch.arange(best.shape[1], device=best.device).expand_as(best)
    starts = torch.ones_like(best, dtype=torch.bool)
    starts[:, 1:] = best[:, 1:] != best[:, :-1]
    ahead = torch.where(starts, ranks, 0).cummax(1).values
    ends = torch.where(starts, ranks, best.shape[1]).flip(1).cummin(1).values.flip(1)  # the next start, from here on
    size = nn.functional.pad(ends[:, 1:], (0, 1), value=best.shape[1]) - ahead
    cut = equal[rows, -1].nonzero().flatten()  # the last group goes on beyond the list
    last = (scores[rows[cut]] == best[cut, -1:]).sum(1)
    size[cut] = torch.where(ahead[cut] == ahead[cut, -1:], last[:, None], size[cut])
    place = torch.full((scores.shape[0],), -1, device=rows.device)
    place[rows] = torch.arange(rows.numel(), device=rows.device)
    mine = place[label_rows] >= 0
    labels = (label_rows[mine].long() * scores.shape[1] + label_items[mine]).unique()
    score, of = scores.flatten()[labels], place[labels // scores.shape[1]]
    zeros = torch.zeros_like(best, dtype=torch.double)
    before = zeros.index_add(0, of, (score[:, None] > best[of]).double())
    relevant = zeros.index_add(0, of, (score[:, None] == best[of]).double())
    return Ties(rows, ahead.double(), size.double(), relevant * (best > -torch.inf), before)


def log_choose(n: Tensor, k: Tensor) -> Tensor:
    """Compute the log of the binomial coefficient, -inf where it is 0: n, k of one shape."""
    possible = (k >= 0) & (k <= n)
    n, k = n.clamp(min=0), torch.where(possible, k, torch.zeros_like(k))
    value = torch.lgamma(n + 1) - torch.lgamma(k + 1) - torch.lgamma(n - k + 1)
    return value.masked_fill(~possible, -torch.inf)


def chance_of_none(ties: Ties, k: int) -> Tensor:
    r"""Compute the chance that none of the first k ranks is relevant: [b].

    Of a group of n items with r relevant ones, m of which are shown, that is :math:`\binom{n-r}{m} / \binom{n}{m}`.
    """
    ties = ties.upto(k)
    shown = torch.minimum(ties.size, k - ties.ahead)
    chance = (log_choose(ties.size - ties.relevant, shown) - log_choose(ties.size, shown)).exp()
    return torch.where(ties.inside == 0, chance, torch.ones_like(chance)).prod(1)


def chance_of_first(ties: Ties, k: int) -> Tensor:
    r"""Compute the chance that the first relevant item stands at each of the first k ranks: [b, k].

    In a group of n items with r relevant ones, for the j-th from 0: :math:`\binom{n-j-1}{r-1} / \binom{n}{r}`.
    """
    ties = ties.upto(k)
    ways = log_choose(ties.size - ties.inside - 1, ties.relevant - 1) - log_choose(ties.size, ties.relevant)
    return ways.exp() * (ties.before == 0)


def expected_precisions(ties: Ties, k: int) -> Tensor:
    r"""Compute, at each of the first k ranks, the expectation of its precision if it is a hit, else 0: [b, k].

    With the j-th of a group from 0, p its chance and b relevant items above the group, the expected number of relevant
    items up to the rank, if that one is, is :math:`p (1 + b) + j \frac{r (r - 1)}{n (n - 1)}`.
    """
    ties = ties.upto(k)
    pairs = ties.relevant * (ties.relevant - 1) / (ties.size * (ties.size - 1)).clamp(min=1)
    ranks = torch.arange(1, k + 1, dtype=torch.double, device=ties.size.device)
    return (ties.chance * (1 + ties.before) + ties.inside * pairs) / ranks
