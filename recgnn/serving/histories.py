"""The histories of users who were not in the training data, from lists or a frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain

import numpy as np
import pandas as pd
import torch

from recgnn.data.interactions.log import ITEM, RATING, USER
from recgnn.data.interactions.vocabulary import Vocabulary
from recgnn.data.readers.origin import Origin, need_columns
from recgnn.data.readers.values import as_text
from recgnn.errors import ConfigError, DataError
from recgnn.nn.folding import Entries
from recgnn.serving.ids import HINT, clean_ratings, required

WHAT = "the histories"
Histories = Sequence[Sequence] | Mapping[object, Sequence] | pd.DataFrame


def histories_of(
    histories: Histories,
    ratings: Sequence[Sequence[float]] | None,
    vocabulary: Vocabulary,
    highest: float | None,
    lenient: bool,
) -> tuple[np.ndarray, Entries]:
    """Return the users' names [n], and the items that each of them has; a repeated item counts once, its last time.

    Args:
        histories: Raw item ids, a list for each user, by name or in order; or a frame with columns user, item and
            perhaps rating.
        ratings: Of the items of lists.
        vocabulary: Of the items.
        highest: The rating of an item without one; None where there are no ratings.
        lenient: Whether unknown items are left out and histories may be empty.

    Raises:
        DataError: If a row has no user, if ratings do not fit or are no numbers, and, unless lenient, if an item is
            unknown or a history empty.
        ConfigError: If ratings are given beside a frame.
    """
    values: np.ndarray | None = None
    items: list | pd.Series
    if isinstance(histories, pd.DataFrame):
        need_columns((USER, ITEM), histories.columns, WHAT)
        if ratings is not None:
            raise ConfigError("the ratings of a frame of histories are its column rating; leave ratings out")
        nobody = as_text(histories[USER]).isna().to_numpy()
        if nobody.any():
            raise DataError(f"{Origin(WHAT).at(int(nobody.argmax()), USER)}: no user id; remove the row or fill it in")
        place, distinct = pd.factorize(histories[USER])
        names, items = np.asarray(distinct), histories[ITEM]
        if highest is not None and RATING in histories:
            values = clean_ratings(histories, WHAT).to_numpy()
    else:
        lists = [*histories.values()] if isinstance(histories, Mapping) else [*histories]
        for one in lists:
            if isinstance(one, str) or not hasattr(one, "__len__"):
                raise DataError(f"{WHAT} are {histories!r}; expected a list of item ids for each user, as [[50, 181]]")
        lengths = np.array([len(one) for one in lists], dtype=np.int64)
        numbers = np.arange(len(lists))
        names = np.array([*histories], dtype=object) if isinstance(histories, Mapping) else numbers
        place, items = np.repeat(numbers, lengths), list(chain(*lists))
        values = None if ratings is None else _values(ratings, lengths, place)
    rows = vocabulary.encode(items) if lenient or not len(items) else required(items, vocabulary, ITEM)
    if values is None:
        values = np.full(len(rows), 1.0 if highest is None else highest, dtype=np.float32)
    found = _sorted(place, rows, values, len(names), len(vocabulary))
    if not lenient and (found.counts == 0).any():
        empty = names[int((found.counts == 0).int().argmax())]
        raise DataError(f"the history of user {empty} is empty; give at least one item; {HINT}")
    return names, found


def _values(ratings: Sequence[Sequence[float]], lengths: np.ndarray, place: np.ndarray) -> np.ndarray:
    """The ratings of all histories, one after the other, `[n]` float32."""
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
    of, items, ratings = (torch.from_numpy(np.asarray(x)[chosen]) for x in (place, rows, values))
    return Entries(of, items, ratings, size)
