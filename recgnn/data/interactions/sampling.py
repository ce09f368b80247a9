"""Sampling of positives and negatives: tensor operations on the device of their inputs, no Python per row.

Negatives are exact without rejection. Let the items lie on a line, item i on an interval of integer length
w_i (all ones for uniform sampling), total W, and let a user's known items be cut out. A uniform draw t in
[0, W - W_u) is mapped back past the cuts that lie before it by one binary search, and lands in the interval of
an item that the user does not know. No loop, no retry, no synchronisation with the host.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from recgnn.data.interactions.graph import UserItems
from recgnn.errors import Checked, NonNegative, Size

RESOLUTION = 2**40  # total integer weight of the items under popularity sampling, while U * W fits 63 bits


def random_below(limit: Tensor, generator: torch.Generator) -> Tensor:
    """Draw integers of [0, limit) by a `generator`, elementwise, for limits up to 2^52."""
    draw = torch.rand(limit.shape, dtype=torch.float64, device=limit.device, generator=generator)
    return torch.minimum((draw * limit).long(), limit - 1).clamp_(min=0)


class NegativeSampler:
    """Draws items that a user does not know, item i with probability ∝ count_i^alpha among them.

    A user who knows every item has no negative; for such a user any item is drawn.

    Args:
        known: the items to avoid, per user.
        num_items: I.
        counts: how often each item occurs in train, [I]; needed where alpha > 0. Items never seen count as one.
        alpha: 0 samples uniformly, 0.75 is word2vec's choice, 1 by popularity.
    """

    def __init__(self, known: UserItems, num_items: int, counts: Tensor | None = None, alpha: float = 0.0):
        ptr, items = known
        device = items.device
        if alpha > 0 and counts is not None:
            p = counts.double().clamp(min=1) ** alpha
            total = min(RESOLUTION, 2**62 // ptr.numel())
            weight = (p / p.sum() * total).round().long().clamp(min=1)
        else:
            weight = torch.ones(num_items, dtype=torch.long, device=device)
        self.ptr = ptr
        self.upper = weight.cumsum(0)  # upper end of each item's interval, [I]
        self.total = int(self.upper[-1])
        cut = torch.nn.functional.pad(weight[items].cumsum(0), (1, 0))  # [E+1], over all users
        user = torch.repeat_interleave(torch.arange(ptr.numel() - 1, device=device), ptr.diff())
        before = cut[:-1] - cut[ptr[user]]  # known weight of the user before this item
        start = self.upper[items] - weight[items] - before  # where the cut lies on the shortened line
        self.cut, self.keys = cut, user * (self.total + 1) + start  # ascending over all edges
        self.free = self.total - (cut[ptr[1:]] - cut[ptr[:-1]])  # W - W_u, [U]

    def __call__(self, users: Tensor, num: int, generator: torch.Generator) -> Tensor:
        """`num` negatives for each of `users` [B]: item rows, [B, num]."""
        users = users[:, None].expand(-1, num)
        free = self.free[users]
        none_left = free <= 0
        t = random_below(torch.where(none_left, self.total, free), generator)
        passed = torch.searchsorted(self.keys, users * (self.total + 1) + t, right=True)
        passed = passed.clamp(min=self.ptr[users], max=self.ptr[users + 1])
        shift = self.cut[passed] - self.cut[self.ptr[users]]
        t = t + torch.where(none_left, 0, shift)
        return torch.searchsorted(self.upper, t, right=True)

    def shared(self, num: int, generator: torch.Generator) -> Tensor:
        """Draw `num` items for a whole batch by a `generator`, not caring who knows them: [num]."""
        total = torch.full((num,), self.total, device=self.upper.device)
        return torch.searchsorted(self.upper, random_below(total, generator), right=True)


class Negatives(Checked, ABC):
    """What stands against each positive in training. A subclass draws it.

    Attributes:
        num: how many per positive, or per batch.
        exponent: items are drawn in proportion to their training count to this power; for the softmax's correction.
    """

    num: int = 1
    exponent: float = 0.0

    def prepare(self, known: UserItems, num_items: int, counts: Tensor) -> Negatives:
        """Take what is drawn from, and return itself.

        Args:
            known: each user's items.
            num_items: I.
            counts: interactions of each item in the training data, [I].
        """
        return self

    @abstractmethod
    def __call__(self, users: Tensor, generator: torch.Generator) -> Tensor | None:
        """Draw the negatives of a batch: users [B]; [B, n], or [n] for all of them, or None for the other positives."""


class Uniform(Negatives):
    """Items that the user does not have in the training data, all equally likely.

    Args:
        num: how many per positive.
    """

    def __init__(self, num: Size = 1):
        self.num = num

    def prepare(self, known: UserItems, num_items: int, counts: Tensor) -> Negatives:
        self.sampler = NegativeSampler(known, num_items, counts, self.exponent)
        return self

    def __call__(self, users: Tensor, generator: torch.Generator) -> Tensor | None:
        return self.sampler(users, self.num, generator)


class Popularity(Uniform):
    """Items that the user does not have in the training data, the popular ones more often.

    Args:
        num: how many per positive.
        exponent: items are drawn in proportion to their training count to this power.
    """

    def __init__(self, num: Size = 1, exponent: NonNegative = 0.75):
        super().__init__(num)
        self.exponent = exponent


class Shared(Popularity):
    """Items drawn once for the whole batch, whoever has them, the popular ones more often.

    Args:
        num: how many per batch.
        exponent: items are drawn in proportion to their training count to this power.
    """

    def __call__(self, users: Tensor, generator: torch.Generator) -> Tensor | None:
        return self.sampler.shared(self.num, generator)


class InBatch(Negatives):
    """The other positives of the batch."""

    exponent = 1.0

    def __call__(self, users: Tensor, generator: torch.Generator) -> Tensor | None:
        return None


def user_uniform(known: UserItems, active: Tensor, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw `size` users uniformly from `active` [A] by a `generator`, each with one of its `known` items: two of
    [size]."""
    limit = torch.full((size,), active.numel(), device=active.device)
    users = active[random_below(limit, generator)]
    start = known.ptr[users]
    return users, known.items[start + random_below(known.ptr[users + 1] - start, generator)]
