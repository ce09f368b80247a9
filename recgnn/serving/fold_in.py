"""New users, items and interactions in a trained recommender, without training it again (`new_rows` of its model)."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch

from recgnn.data.interactions.log import ITEM, RATING, USER
from recgnn.data.interactions.prepare import Part, PreparedLog
from recgnn.data.interactions.vocabulary import Vocabulary
from recgnn.errors import DataError
from recgnn.files import large_array
from recgnn.models.base import Recommender
from recgnn.nn.folding import Entries
from recgnn.serving.columns import own_columns
from recgnn.serving.ids import clean_ratings, new_ids

WHAT = "the frame to fold in"


def fold_in(model: Recommender, prepared: PreparedLog, frame: pd.DataFrame) -> tuple[Recommender, PreparedLog]:
    """A model and its log, with the users, items and interactions of a frame added.

    First the new users get vectors of their own from the known items that they have, then the new items from all
    their users (see `Recommender.new_rows`); then all is propagated over the graph of the old and the new interactions.

    Args:
        model: trained; it is not changed.
        prepared: what it was trained on.
        frame: columns user, item and, for a model of ratings, rating.

    Raises:
        DataError: for a missing column, an impossible id or rating, or no row at all.
        ConfigError: for a model that cannot take in what is new.
    """
    old, train, users, items = prepared, *_with_rows(model.task == "rating", prepared, frame)
    if len(users) > old.num_users:
        known = train.item < old.num_items
        rating = None if train.rating is None else train.rating[known]
        part = Part(train.user[known], train.item[known], rating)
        rows = model.new_rows("user", _entries(part.user, part.item, part.rating, old.num_users, len(users)))
        model = _grown(model, part, len(users), old.num_items, rows)
    rows = {}
    if len(items) > old.num_items:
        rows = model.new_rows("item", _entries(train.item, train.user, train.rating, old.num_items, len(items)))
    model = _grown(model, train, len(users), len(items), rows)
    summary = old.summary | {"users": len(users), "items": len(items), "train": len(train)}
    return model, PreparedLog(train, old.val, old.test, users, items, summary, old.cold)


def _with_rows(rated: bool, prepared: PreparedLog, frame: pd.DataFrame) -> tuple[Part, Vocabulary, Vocabulary]:
    """The train part with the frame's interactions behind it, and the vocabularies with its new ids. A pair that train
    has stays as it is; one that the frame has twice counts once, its last time."""
    names = prepared.summary.get("columns", {})
    frame = own_columns(frame, names, (USER, ITEM, RATING) if rated else (USER, ITEM), WHAT)
    if not len(frame):
        raise DataError(f"{WHAT} has no rows")
    columns = {USER: new_ids(frame, USER, prepared.users, WHAT), ITEM: new_ids(frame, ITEM, prepared.items, WHAT)}
    columns |= {RATING: clean_ratings(frame, WHAT)} if rated else {}
    given = pd.DataFrame(columns).drop_duplicates([USER, ITEM], keep="last")
    old = prepared.train
    user, item = (_rows_of(v, given[side]) for v, side in ((prepared.users, USER), (prepared.items, ITEM)))
    width = max(prepared.num_items, int(item.max()) + 1)
    new = ~np.isin(user * width + item, old.user * width + old.item)
    rating = np.concatenate([old.rating, given[RATING].to_numpy()[new]]) if rated else None
    train = Part(np.concatenate([old.user, user[new]]), np.concatenate([old.item, item[new]]), rating)
    users = _extended(prepared.users, given[USER], train.user)
    return train, users, _extended(prepared.items, given[ITEM], train.item)


def _new_ids(vocabulary: Vocabulary, ids: pd.Series) -> pd.Index:
    """Those of the ids that a vocabulary lacks, each once."""
    return pd.Index(ids[vocabulary.encode(ids) < 0].unique()).sort_values()


def _rows_of(vocabulary: Vocabulary, ids: pd.Series) -> np.ndarray:
    """Rows of ids, those of new ones behind all others."""
    rows, new = vocabulary.encode(ids), _new_ids(vocabulary, ids)
    return np.where(rows < 0, len(vocabulary) + new.get_indexer(pd.Index(ids)), rows)


def _extended(vocabulary: Vocabulary, ids: pd.Series, rows: np.ndarray) -> Vocabulary:
    """A vocabulary with new ids behind the others, nothing known of them, and its frequencies counted in `rows`."""
    new = _new_ids(vocabulary, ids)
    attributes = vocabulary.attributes
    if attributes is not None:
        attributes = attributes.reindex(range(len(vocabulary) + len(new)))
    frequency = np.bincount(rows, minlength=len(vocabulary) + len(new))
    return Vocabulary(vocabulary.ids.append(new.astype(vocabulary.ids.dtype)), attributes, frequency)


def _entries(own: np.ndarray, others: np.ndarray, ratings: np.ndarray | None, start: int, stop: int) -> Entries:
    """What the nodes start..stop-1 of one side have of the other."""
    some = np.flatnonzero(own >= start)
    some = some[np.argsort(own[some], kind="stable")]
    values = np.ones(len(some), dtype=np.float32) if ratings is None else ratings[some]
    place, other = torch.from_numpy(own[some] - start), torch.from_numpy(others[some])
    return Entries(place, other, torch.from_numpy(values), stop - start)


def set_graph(model: Recommender, train: Part) -> None:
    """Give a model the training interactions, with ratings if it is trained for them."""
    edge_index = torch.from_numpy(np.stack([train.user, train.item], out=large_array((2, len(train)), np.int64)))
    rated = model.task == "rating" and train.rating is not None
    model.set_graph(edge_index, torch.from_numpy(train.rating) if rated else None)


def _grown(model: Recommender, train: Part, num_users: int, num_items: int, rows: dict) -> Recommender:
    """The model on a larger graph; the range and mean of the ratings stay those of its training."""
    grown = model.enlarged(num_users, num_items, rows)
    set_graph(grown, train)
    grown.low, grown.high, grown.mean = model.low, model.high, model.mean
    return grown
