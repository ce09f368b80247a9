"""Events that did not happen: sampled items for logs of positive events alone."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch

from recgnn.data.interactions.graph import UserItems
from recgnn.data.interactions.log import ITEM, POSITION, SPLIT, TIMESTAMP, USER
from recgnn.data.interactions.sampling import NegativeSampler
from recgnn.data.readers.origin import shown
from recgnn.errors import ConfigError, DataError

OF_EVENTS = (USER, ITEM, TIMESTAMP, POSITION, SPLIT)


def with_negatives(
    frame: pd.DataFrame, part: np.ndarray, count: int, seed: int
) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Events, each followed by as many of the same user, time and context with an item that the user never had.

    What belongs to an item (see `columns_of`) goes with it. Items are drawn uniformly from those of the whole log.

    Args:
        frame: Positive events, with columns `user` and `item`.
        part: Their parts, [n].
        count: Negatives for each.
        seed: Of the draw.

    Returns:
        The frame of n (1 + count) rows, its labels (float32) and its parts.

    Raises:
        ConfigError: Without user or item.
        DataError: If a user has every item.
    """
    for column in (USER, ITEM):
        if column not in frame:
            raise ConfigError(f"negatives: the events have no column {column}; negatives need users and items")
    users = torch.from_numpy(pd.factorize(frame[USER], use_na_sentinel=False)[0])
    codes, known = pd.factorize(frame[ITEM], use_na_sentinel=False)
    items = torch.from_numpy(codes)
    of = UserItems.from_pairs(users, items, int(users.max()) + 1)
    full = (of.ptr.diff() >= len(known)).nonzero().flatten()
    if full.numel():
        user = shown(frame[USER].iloc[int((users == full[0]).nonzero()[0])])
        raise DataError(f"negatives: user {user} has every one of the {len(known):,} items; there is none to sample")
    drawn = NegativeSampler(of, len(known))(users, count, torch.Generator().manual_seed(seed))  # [n, count]
    whole = torch.cat([items[:, None], drawn], 1).flatten().numpy()
    rows = np.repeat(np.arange(len(frame)), 1 + count)
    first = np.zeros(len(known), dtype=np.int64)
    first[items.numpy()[::-1]] = np.arange(len(frame))[::-1]  # an event of each item
    mine = columns_of(frame, ITEM)
    found = {c: frame[c].iloc[first[whole] if c in mine else rows].reset_index(drop=True) for c in frame.columns}
    labels = np.zeros(len(rows), dtype=np.float32)
    labels[:: 1 + count] = 1
    return pd.DataFrame(found), labels, np.repeat(part, 1 + count)


def columns_of(frame: pd.DataFrame, key: str) -> list[str]:
    """Return the columns that belong to a key (`user` or `item`), itself first: they have one value for each of its.

    A column of a single value says nothing, and belongs to nobody. The other key, the time and the place in the log
    are the event's, also where each item happens to have one user or one moment.
    """
    keys, values = pd.factorize(frame[key], use_na_sentinel=False)
    found = [key]
    for column in frame.columns:
        if column in (key, *OF_EVENTS):
            continue
        other, distinct = pd.factorize(frame[column], use_na_sentinel=False)
        if 1 < len(distinct) and len(np.unique(keys.astype(np.int64) * len(distinct) + other)) == len(values):
            found.append(column)
    return found
