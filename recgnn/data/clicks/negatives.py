"""Events that did not happen: sampled items for logs of positive events alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from recgnn.data.clicks.owners import Timeline, has_value
from recgnn.data.interactions.graph import UserItems
from recgnn.data.interactions.log import ITEM, PARTS, USER
from recgnn.data.interactions.sampling import NegativeSampler, random_below
from recgnn.data.interactions.vocabulary import Vocabulary
from recgnn.data.readers.origin import shown
from recgnn.data.readers.values import as_text
from recgnn.errors import Checked, DataError


class Candidates(Checked, ABC):
    """Items that are nearly right for a user, of which a share of the negatives is drawn. A subclass reads them.

    Negatives are then items that the user does not have in the event's part or an earlier one: with those of later
    parts left out, too, the positives to come would be the only candidates that were never negatives.

    Attributes:
        share: of the negatives that is drawn from them; the others are drawn from all items.
    """

    share: float = 0.5

    @abstractmethod
    def read(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return the candidates of each user, and the events that they were learnt from: columns user and item."""

    @abstractmethod
    def fingerprint(self) -> str:
        """Return a text that changes with the candidates."""

    @abstractmethod
    def describe(self) -> str:
        """Return what they are, in words."""


class Drawn(NamedTuple):
    """How negatives are drawn: how many for each event, the seed, and what a share of them is drawn from."""

    number: int = 0
    seed: int = 42
    hard: Candidates | None = None


def with_negatives(
    frame: pd.DataFrame, line: Timeline, part: np.ndarray, how: Drawn, of_items: Collection[str] = ()
) -> tuple[pd.DataFrame, np.ndarray]:
    """Events, each followed by as many of the same user, time and context with an item that the user never had.

    Items are drawn uniformly from those of the whole log, or a share of them from candidates; then an item is one that
    the user did not have in the event's part or an earlier one (see `Candidates`). What belongs to an item is read in
    the same way for all events, so that it does not tell sampled ones apart: as it was in the item's last other event
    at or before the moment, else in its first one. Events without a user are each of a user of their own.

    Args:
        frame: Positive events, with columns `user` and `item`.
        line: Their users, items and times.
        part: Their parts, [n].
        how: Negatives are drawn.
        of_items: The columns that belong to an item.

    Returns:
        The frame of n (1 + count) rows, and the rows of `frame` that they are made of.

    Raises:
        DataError: If a user has every item, or the candidates were learnt from validation or test.
    """
    users, items, count = torch.from_numpy(line.users), torch.from_numpy(line.items), how.number
    num_items = int(items.max()) + 1
    had = UserItems.from_pairs(users, items, int(users.max()) + 1)
    full = (had.ptr.diff() >= num_items).nonzero().flatten()
    if full.numel():
        user = shown(frame[USER].iloc[int((users == full[0]).nonzero()[0])])
        raise DataError(f"negatives: user {user} has every one of the {num_items:,} items; there is none to sample")
    generator = torch.Generator().manual_seed(how.seed)
    if how.hard is None:
        drawn = NegativeSampler(had, num_items)(users, count, generator)  # [n, count]
    else:
        drawn = _hard(frame, users, items, torch.from_numpy(part), how.hard, count, generator)
    whole = torch.cat([items[:, None], drawn], 1).flatten().numpy()
    rows = np.repeat(np.arange(len(frame)), 1 + count)
    look = line.look(whole, rows)
    sources = {column: line.sources(look, has_value(frame[column])) for column in of_items}
    sources[ITEM] = line.order[look.first]
    found = {c: frame[c].iloc[sources.get(c, rows)].reset_index(drop=True) for c in frame.columns}
    return pd.DataFrame(found), rows


def _hard(
    frame: pd.DataFrame, users: Tensor, items: Tensor, part: Tensor, hard: Candidates, count: int,
    generator: torch.Generator,
) -> Tensor:  # fmt: skip
    """Draw negatives, a share of them from candidates; where a user has none left, from all items: [n, count]."""
    num_users, num_items, number = int(users.max()) + 1, int(items.max()) + 1, round(hard.share * count)
    ids = [Vocabulary(_texts(frame[side], codes, num)) for side, codes, num in
           ((USER, users, num_users), (ITEM, items, num_items))]  # fmt: skip

    def keys_of(pairs: pd.DataFrame) -> Tensor:
        user, item = (torch.from_numpy(ids[place].encode(pairs[side])) for place, side in enumerate((USER, ITEM)))
        return (user * num_items + item)[(user >= 0) & (item >= 0)]

    candidates, learnt_from = map(keys_of, hard.read())
    keys, late = users * num_items + items, part > 0
    learnt = late & torch.isin(keys, learnt_from) & ~torch.isin(keys, keys[part == 0])
    if learnt.any():
        row = int(learnt.nonzero()[0])
        such = f"user {shown(frame[USER].iloc[row])} with item {shown(frame[ITEM].iloc[row])}"
        raise DataError(f"hard_negatives: {hard.describe()} learnt from {int(learnt.sum()):,} events of validation or "
                        f"test, such as {such}; expected a run that was trained with the same split")  # fmt: skip
    drawn = torch.empty(len(users), count, dtype=torch.long)
    for code in (*range(len(PARTS)), -1):  # -1 are the events of no part
        rows = (part == code).nonzero().flatten()
        if not len(rows):
            continue
        had = keys[(part >= 0) & (part <= code)] if code >= 0 else keys
        of, known = users[rows], UserItems.from_pairs(had // num_items, had % num_items, num_users)
        drawn[rows] = NegativeSampler(known, num_items)(of, count, generator)
        left = candidates[~torch.isin(candidates, had)]
        near = UserItems.from_pairs(left // num_items, left % num_items, num_users)
        limit = near.ptr.diff()[of]
        some = limit > 0
        place = random_below(limit[some, None].expand(-1, number), generator)
        drawn[rows[some], :number] = near.items[near.ptr[of[some], None] + place]
    return drawn


def _texts(column: pd.Series, codes: Tensor, number: int) -> pd.Index:
    """Return the values of a column by their code, as text, [number]."""
    first = np.zeros(number, dtype=np.int64)
    first[codes.numpy()[::-1]] = np.arange(len(codes))[::-1]
    texts = as_text(column.iloc[first])
    return pd.Index(texts.fillna("").to_numpy(object), dtype="str")
