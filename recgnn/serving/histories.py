"""What users who were not in train had, as lists or as a frame."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np
import pandas as pd
import torch

from recgnn.data.interactions.vocabulary import Vocabulary
from recgnn.data.log import ITEM, RATING, USER
from recgnn.errors import ConfigError, DataError
from recgnn.nn.folding import Entries
from recgnn.serving.ids import HINT, as_ids, clean_ratings, need_columns, required, typed

WHAT = "the histories"


def histories_of(
    histories: Sequence[Sequence] | pd.DataFrame,
    ratings: Sequence[Sequence[float]] | None,
    vocabulary: Vocabulary,
    highest: float | None,
    lenient: bool,
) -> tuple[np.ndarray, Entries]:
    """The users' names [n], and what each of them has; an item that stands twice counts once, its last time.

    Args:
        histories: raw item ids, a list a user; or a frame with columns user, item and perhaps rating.
        ratings: of the items of lists.
        vocabulary: of the items.
        highest: the rating of an item without one; None where there are no ratings.
        lenient: whether unknown items are left out and histories may be empty.

    Raises:
        DataError: for ratings that do not fit or are none, and, unless lenient, an unknown item or an empty history.
    """
    if isinstance(histories, pd.DataFrame):
        need_columns(histories, (USER, ITEM), WHAT)
        if ratings is not None:
            raise ConfigError("the ratings of a frame of histories are its column rating; leave ratings out")
        place, names = pd.factorize(histories[USER], use_na_sentinel=False)
        names, items, values = np.asarray(names), histories[ITEM], None
        if highest is not None and RATING in histories:
            values = clean_ratings(histories, WHAT).to_numpy()
    else:
        lengths = np.array([len(history) for history in histories], dtype=np.int64)
        names = np.arange(len(lengths))
        place, items = np.repeat(names, lengths), list(chain(*histories))
        values = None if ratings is None else _values(ratings, lengths, place)
    if not lenient:
        rows = required(items, vocabulary, ITEM) if len(items) else np.zeros(0, dtype=np.int64)
    elif isinstance(items, pd.Series):
        rows = vocabulary.encode(as_ids(items, vocabulary))
    else:
        rows = vocabulary.encode(typed(items, vocabulary))
    if values is None:
        values = np.full(len(rows), 1.0 if highest is None else highest, dtype=np.float32)
    found = _sorted(place, rows, values, len(names), len(vocabulary))
    if not lenient and (found.counts == 0).any():
        empty = names[int((found.counts == 0).int().argmax())]
        raise DataError(f"the history of user {empty} is empty; give at least one item; {HINT}")
    return names, found


def _values(ratings: Sequence[Sequence[float]], lengths: np.ndarray, place: np.ndarray) -> np.ndarray:
    if len(ratings) != len(lengths):
        raise DataError(f"{len(ratings)} lists of ratings for {len(lengths)} histories; give one for each")
    given = np.array([len(x) for x in ratings], dtype=np.int64)
    if (given != lengths).any():
        wrong = int((given != lengths).argmax())
        raise DataError(f"{given[wrong]} ratings for a history of {lengths[wrong]} items; give one for each")
    values = np.fromiter(chain.from_iterable(ratings), dtype=np.float32, count=int(given.sum()))
    if not np.isfinite(values).all():
        wrong = int(place[(~np.isfinite(values)).argmax()])
        raise DataError(f"the ratings of history {wrong} are {list(ratings[wrong])}; expected finite numbers")
    return values


def _sorted(place: np.ndarray, rows: np.ndarray, values: np.ndarray, size: int, num_items: int) -> Entries:
    """Entries by user and item, without unknown items (-1); of equal ones the last."""
    known = np.flatnonzero(rows >= 0)
    key = place[known] * num_items + rows[known]
    order = np.argsort(key, kind="stable")
    last = np.r_[np.diff(key[order]) != 0, np.ones(min(1, len(order)), dtype=bool)]
    chosen = known[order[last]]
    return Entries(*(torch.from_numpy(np.asarray(x)[chosen]) for x in (place, rows, values)), size)
