"""Events that did not happen: sampled items for logs of positive events alone."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pandas as pd
import torch

from recgnn.data.clicks.owners import Timeline, has_value
from recgnn.data.interactions.graph import UserItems
from recgnn.data.interactions.log import ITEM, USER
from recgnn.data.interactions.sampling import NegativeSampler
from recgnn.data.readers.origin import shown
from recgnn.errors import DataError


def with_negatives(
    frame: pd.DataFrame, line: Timeline, count: int, seed: int, of_items: Collection[str] = ()
) -> tuple[pd.DataFrame, np.ndarray]:
    """Events, each followed by as many of the same user, time and context with an item that the user never had.

    Items are drawn uniformly from those of the whole log. What belongs to an item is read in the same way for all
    events, so that it does not tell sampled ones apart: as it was in the item's last other event at or before the
    moment, else in its first one. Events without a user are each of a user of their own.

    Args:
        frame: Positive events, with columns `user` and `item`.
        line: Their users, items and times.
        count: Negatives for each.
        seed: Of the draw.
        of_items: The columns that belong to an item.

    Returns:
        The frame of n (1 + count) rows, and the rows of `frame` that they are made of.

    Raises:
        DataError: If a user has every item.
    """
    users, items = torch.from_numpy(line.users), torch.from_numpy(line.items)
    num_items = int(items.max()) + 1
    had = UserItems.from_pairs(users, items, int(users.max()) + 1)
    full = (had.ptr.diff() >= num_items).nonzero().flatten()
    if full.numel():
        user = shown(frame[USER].iloc[int((users == full[0]).nonzero()[0])])
        raise DataError(f"negatives: user {user} has every one of the {num_items:,} items; there is none to sample")
    drawn = NegativeSampler(had, num_items)(users, count, torch.Generator().manual_seed(seed))  # [n, count]
    whole = torch.cat([items[:, None], drawn], 1).flatten().numpy()
    rows = np.repeat(np.arange(len(frame)), 1 + count)
    look = line.look(whole, rows)
    sources = {column: line.sources(look, has_value(frame[column])) for column in of_items}
    sources[ITEM] = line.order[look.first]
    found = {c: frame[c].iloc[sources.get(c, rows)].reset_index(drop=True) for c in frame.columns}
    return pd.DataFrame(found), rows
