"""The items that are left out of recommendations."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from recgnn.data.interactions.graph import UserItems
from recgnn.data.interactions.log import PARTS
from recgnn.errors import one_of

SEEN: dict[str, tuple[str, ...]] = {"all": PARTS, "train+val": PARTS[:2], "train": PARTS[:1], "none": ()}
"""What `exclude_seen` can be, and the parts of a run's data whose items are then left out for their users."""


def left_out(exclude_seen: str | bool) -> tuple[str, ...]:
    """Return the parts of the data whose items are left out; True means `all` of them and False `none`.

    Raises:
        ConfigError: For anything else.
    """
    named = {True: "all", False: "none"}[exclude_seen] if isinstance(exclude_seen, bool) else exclude_seen
    one_of("exclude_seen", named, SEEN)
    return SEEN[named]


class Filters(NamedTuple):
    """The items that are not recommended.

    Attributes:
        blocked: to nobody, [I] bool; None for none.
        candidates: each user's own items to choose from, by the user's place in the request; None for all.
        seen: the items that each user of the run has and that are left out; None for none.
    """

    blocked: Tensor | None = None
    candidates: UserItems | None = None
    seen: UserItems | None = None

    def hide(self, scores: Tensor, places: Tensor, users: Tensor) -> Tensor:
        """Set the scores [B, I] of these items to -inf, in place, for users [B] (-1: unknown) at `places` [B]."""
        if self.blocked is not None:
            scores.masked_fill_(self.blocked, -torch.inf)
        if self.candidates is not None:
            others = torch.ones_like(scores, dtype=torch.bool)
            others[self.candidates.of(places)] = False
            scores.masked_fill_(others, -torch.inf)
        if self.seen is not None:
            place, items = self.seen.of(users.clamp(min=0))
            known = users[place] >= 0
            scores[place[known], items[known]] = -torch.inf
        return scores
