"""A trained CTR model put to use: raw rows in, probabilities out; the best items for a user."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from recgnn.data.clicks.history import packed
from recgnn.data.clicks.tables import EventTables
from recgnn.data.interactions.graph import UserItems
from recgnn.data.interactions.log import ITEM, TITLE, USER
from recgnn.data.progress import progress
from recgnn.data.readers.origin import need_columns
from recgnn.data.readers.values import as_text
from recgnn.errors import ConfigError, DataError, did_you_mean
from recgnn.models.base import top_k
from recgnn.serving.event_reader import Encoded, EventReader
from recgnn.serving.field_vectors import vectors_of
from recgnn.serving.ids import HINT, check_fallback
from recgnn.serving.output import concatenated, ranked

BLOCK = 2**15  # events at once, less what their histories hold


class TrainedCTR(EventReader):
    """A finished run of a CTR model, put to use; `recgnn.load` makes it.

    Args:
        run: the run folder.
        model: the model of its checkpoint.

    Raises:
        RunError: if the folder lacks the fields, or they are damaged.
    """

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The frame with a column prediction, the probability of a positive label (or the number, for regression).

        Values that train does not have count as unknown, and columns that the frame lacks as having no value; columns
        that the model does not know are passed on. A model of sequences sees what the row's user liked before the
        row's time, in all of the run's data; all of it where the row has no time, and nothing for a user whom the data
        lack.

        Raises:
            DataError: for text in a numeric column, or histories that cannot be read.
        """
        found = torch.empty(len(frame))
        for start in range(0, len(frame), BLOCK):
            block = frame.iloc[start : start + BLOCK]
            found[start : start + BLOCK] = self.model.predict_events(*self.encode(block), self.past(block))
        return frame.assign(prediction=found.numpy())

    def score(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The frame with a column score, which is `predict`'s prediction."""
        return self.predict(frame).rename(columns={"prediction": "score"})

    # ---- recommending

    @cached_property
    def _seen(self) -> UserItems:
        """The items of each user's events."""
        return UserItems(torch.tensor(self.tables.ptr), torch.tensor(self.tables.item))

    def recommend(
        self,
        users: Iterable | None = None,
        k: int = 10,
        exclude_seen: bool = True,
        candidates: Iterable | pd.DataFrame | None = None,
        context: dict | None = None,
        exclude: Iterable | None = None,
        fallback: str | None = None,
    ) -> pd.DataFrame:
        """The k items that each user will most likely take: columns user, rank, item, score (a probability) and,
        where known, title.

        A candidate is scored with the user's fields and context as they were in the user's last event, and with all
        that the user liked. Where columns of the events hold histories, that is the history of the last event, and the
        event's own item if its label is 1.

        Args:
            users: raw ids; all users when None (those of `candidates`, where it is a frame).
            k: how many.
            exclude_seen: leave out what the user has an event with.
            candidates: raw ids of the items to choose from, or a frame with columns user and item, each user's own; all
                items when None.
            context: values of fields that are to stand instead of those of the user's last event.
            exclude: raw ids of items that are recommended to nobody.
            fallback: `popularity` recommends to a user of whom the data have no event the items of most positive
                events, their number being the score; a column source tells `model` from `popularity`. None: an error.
                (A new user whose features are known is one for `predict`.)

        Raises:
            DataError: for a user (see `fallback`) or an item that the data do not have.
            ConfigError: for k below 1, a context of no field, or events without users and items.
        """
        return concatenated(self.recommend_blocks(users, k, exclude_seen, candidates, context, exclude, fallback))

    def recommend_blocks(
        self,
        users: Iterable | None = None,
        k: int = 10,
        exclude_seen: bool = True,
        candidates: Iterable | pd.DataFrame | None = None,
        context: dict | None = None,
        exclude: Iterable | None = None,
        fallback: str | None = None,
    ) -> Iterator[pd.DataFrame]:
        """`recommend`, some users at a time."""
        tables = self._need_tables()
        if k < 1:
            raise ConfigError(f"k must be at least 1, found {k}")
        check_fallback(fallback)
        own = None
        if isinstance(candidates, pd.DataFrame):
            need_columns((USER, ITEM), candidates.columns, "candidates")
            own, users = candidates, candidates[USER].unique() if users is None else users
            candidates = own[ITEM].unique()
        names = tables.users[USER] if users is None else as_text(pd.Series(list(users)))
        codes = np.arange(len(names)) if users is None else _codes(tables.users[USER], names, USER, fallback)
        items = self._columns(candidates, exclude)
        if own is not None:
            theirs = _codes(tables.items[ITEM], own[ITEM], ITEM)
            asked, distinct = pd.factorize(names)
            whose = torch.from_numpy(distinct.get_indexer(as_text(own[USER])))
            own = UserItems.from_pairs(whose[whose >= 0], torch.from_numpy(theirs)[whose >= 0], len(distinct))
        people = self.encode(self._in_context(tables.users, context))
        popular = np.bincount(tables.item[tables.positive], minlength=len(tables.items))[items]
        popular = torch.tensor(popular, dtype=torch.float32)
        names, step = names.to_numpy(object), max(1, 2**22 // max(1, len(items)))
        with progress("recommending", len(codes)) as done:
            for start in range(0, max(1, len(codes)), step):
                block = codes[start : start + step]
                allowed = self._allowed(block, items, exclude_seen)
                if own is not None:
                    allowed &= self._places(own, asked[start : start + step], items)
                scores = torch.full(allowed.shape, -torch.inf)
                place, column = np.nonzero(allowed & (block >= 0)[:, None])
                scores[place, column] = self._scores(people, block, place, items[column])
                unknown = torch.from_numpy(block < 0)
                scores[unknown] = torch.where(torch.from_numpy(allowed)[unknown], popular, -torch.inf)
                source = None if fallback is None else np.where(block < 0, fallback, "model")
                found = top_k(scores, min(k, len(items)), None)
                yield self._frame(USER, names[start : start + step], items, *found, source)
                done(len(block))

    def _need_tables(self) -> EventTables:
        if self.tables is None:
            raise ConfigError(
                f"{self.run}: recommending takes events with columns user and item (at most 5,000,000 of them); this "
                "run can predict rows"
            )
        return self.tables

    def _columns(self, candidates: Iterable | None, exclude: Iterable | None) -> np.ndarray:
        """Rows of the items to choose from, in the order of the candidates."""
        known = self.tables.items[ITEM]
        items = np.arange(len(known)) if candidates is None else pd.unique(_codes(known, candidates, ITEM))
        return items if exclude is None else items[~np.isin(items, _codes(known, exclude, ITEM))]

    def _in_context(self, users: pd.DataFrame, context: dict | None) -> pd.DataFrame:
        for name in context or {}:
            if name not in self.encoders.fields:
                known = list(self.encoders.fields)
                near, there = did_you_mean(name, known), ", ".join(known)
                raise ConfigError(f"context: no field {name!r}{near}; there are: {there}")
        return users.assign(**(context or {}))

    def _allowed(self, users: np.ndarray, items: np.ndarray, exclude_seen: bool) -> np.ndarray:
        """Which of the items each user may be recommended, [B, I] bool."""
        allowed = np.ones((len(users), len(items)), dtype=bool)
        if exclude_seen:
            allowed &= ~self._places(self._seen, np.maximum(users, 0), items) | (users < 0)[:, None]
        return allowed

    def _places(self, table: UserItems, rows: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Which of the items stand in rows of a table: [B, I] bool."""
        column_of = np.full(len(self.tables.items), -1)
        column_of[items] = np.arange(len(items))
        place, found = (x.numpy() for x in table.of(torch.from_numpy(rows)))
        column, there = column_of[found], np.zeros((len(rows), len(items)), dtype=bool)
        there[place[column >= 0], column[column >= 0]] = True
        return there

    def _scores(self, people: Encoded, users: np.ndarray, place: np.ndarray, items: np.ndarray) -> Tensor:
        """Of pairs of a place in `users` [B] and an item, both [n] and ordered by place: [n]."""
        goods = self._encoded_items()
        of_items = self.encoders.slots_of([ITEM, *self.tables.items.columns])
        found, step = torch.empty(len(place)), BLOCK
        memory = self._memory(users)
        if memory is not None:
            starts, lengths, times, past_items, table = memory
            step = max(1, BLOCK * 4 // (1 + max([0, *lengths.tolist()])))
        for begin in range(0, len(place), step):
            row, what = (torch.from_numpy(x[begin : begin + step]) for x in (place, items))
            ids, values = people.of(torch.from_numpy(users)[row])
            ids[:, of_items] = goods.ids[what][:, of_items]
            if values is not None:
                values[:, of_items] = goods.values[what][:, of_items]
            past = None
            if memory is not None:
                past = packed(starts[row], lengths[row], None if times is None else times[row], past_items, table)
            found[begin : begin + step] = self.model.predict_events(ids, values, past)
        return found

    def _frame(
        self, key: str, ids: np.ndarray, items: np.ndarray, scores: Tensor, places: Tensor, source=None
    ) -> pd.DataFrame:
        table, rows = self.tables.items, items[places.numpy()]
        titles = table[TITLE].to_numpy(object)[rows] if TITLE in table else None
        return ranked(key, ids, scores.numpy(), table[ITEM].to_numpy(object)[rows], titles, source)

    # ---- representations

    def similar_items(
        self, items: Iterable, k: int = 10, candidates: Iterable | None = None, exclude: Iterable | None = None
    ) -> pd.DataFrame:
        """The k items whose vectors, of the field item, have the largest cosine with each item's: columns query, rank,
        item, score and, where known, title.

        Args:
            items: raw ids.
            k: how many.
            candidates: raw ids of the items to choose from; all when None.
            exclude: raw ids of items to leave out.

        Raises:
            ConfigError: for a model without such vectors, or k below 1.
            DataError: for an item that the data do not have, or train lacks.
        """
        self._need_tables()
        if k < 1:
            raise ConfigError(f"k must be at least 1, found {k}")
        known = self.tables.items[ITEM]
        vectors, trained = self._vectors(ITEM, known)
        queries, columns = _codes(known, items, ITEM), self._columns(candidates, exclude)
        if not trained[queries].all():
            name = known.iloc[queries[int((~trained[queries]).argmax())]]
            raise DataError(f"item {name!r} has no vector of its own: train lacks it, or it is rarer than min_count")
        columns = columns[trained[columns]]
        unit = torch.nn.functional.normalize(vectors, dim=1)
        frames = []
        for start in range(0, max(1, len(queries)), step := max(1, 2**22 // max(1, len(columns)))):
            block = queries[start : start + step]
            scores = unit[block] @ unit[columns].T
            scores[torch.from_numpy(block[:, None] == columns)] = -torch.inf
            found = scores.topk(min(k, len(columns)))
            frames.append(self._frame("query", known.to_numpy(object)[block], columns, *found))
        return concatenated(frames)

    def embeddings(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """The vectors of the fields user and item, a row for each value that train has, under the raw ids; no row where
        the model has no such field.

        Raises:
            ConfigError: for a model without such vectors.
        """
        self._need_tables()
        found = []
        for side, ids in ((USER, self.tables.users[USER]), (ITEM, self.tables.items[ITEM])):
            if side in self.encoders.fields:
                vectors, trained = self._vectors(side, ids)
                index = pd.Index(ids.to_numpy(object)[trained], name=side)
                found.append(pd.DataFrame(vectors.numpy()[trained], index=index))
            else:
                found.append(pd.DataFrame(index=pd.Index([], name=side)))
        return tuple(found)

    def _vectors(self, side: str, ids: pd.Series) -> tuple[Tensor, np.ndarray]:
        return vectors_of(self.model, self.encoders, side, ids)


def _codes(known: pd.Series, wanted: Iterable, what: str, fallback: str | None = None) -> np.ndarray:
    """The rows of raw ids; -1 for unknown ones, where there is a fallback.

    Raises:
        DataError: names the first that is unknown.
    """
    text = as_text(pd.Series(list(wanted)))
    codes = pd.Index(known).get_indexer(text)
    if fallback is None and (codes < 0).any():
        name = text.iloc[int((codes < 0).argmax())]
        near, hint = did_you_mean(name, known.head(10000)), f"; {HINT}" if what == USER else ""
        raise DataError(f"{what} {name!r} is not in the data of this run{near}{hint}")
    return codes
