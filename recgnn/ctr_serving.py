"""A trained CTR model put to use: raw rows in, probabilities out; the best items for a user."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from recgnn import runs
from recgnn.data.event_tables import EventTables
from recgnn.data.field_encoders import FieldEncoders
from recgnn.data.fields import as_text
from recgnn.data.history import Histories, History, packed, past_of_columns
from recgnn.data.log import ITEM, TIMESTAMP, TITLE, USER, Origin, clean_times
from recgnn.errors import ConfigError, DataError, RunError, did_you_mean
from recgnn.models.base import best
from recgnn.models.ctr import CTRModel
from recgnn.rows import ranked

BLOCK = 2**15  # events at once, less what their histories hold


class Encoded(NamedTuple):
    """Rows of the table of all fields and their values: ids [n, S], values [n, S] or None."""

    ids: Tensor
    values: Tensor | None

    def of(self, rows, columns=slice(None)) -> Encoded:
        """Some rows, and some columns of them."""
        return Encoded(*(None if x is None else x[rows][:, columns] for x in self))


class TrainedCTR:
    """A finished run of a CTR model, loaded from its folder alone.

    Args:
        run: the run folder.
        model: the model of its checkpoint.

    Raises:
        RunError: if the folder lacks the fields, or they are damaged.
    """

    def __init__(self, run: Path, model: CTRModel):
        self.run = runs.existing_run(run)
        folder = self.run / "vocabulary"
        self.encoders = FieldEncoders.load(folder)
        self.tables = EventTables.load(folder)
        self.model = model.eval()
        try:
            history = json.loads((folder / "summary.json").read_text(encoding="utf-8"))["history"]
        except (OSError, ValueError, LookupError) as error:
            raise RunError(f"{folder}: its summary cannot be read: {error}") from error
        self.history = None if history is None else Histories(**history)
        self.item_slots = [] if history is None else self.encoders.slots_of(self.history.item_fields)
        self._items: Encoded | None = None

    @property
    def task(self) -> str:
        """`ctr` or `regression`."""
        return self.model.task

    @property
    def columns(self) -> list[str]:
        """The columns of raw rows that the model looks at."""
        own = list((self.history.columns or {}).values()) if self.history else []
        return [*self.encoders.fields, *own]

    def missing(self, frame: pd.DataFrame) -> list[str]:
        """Those that a frame lacks."""
        return [column for column in self.columns if column not in frame.columns]

    def encode(self, frame: pd.DataFrame) -> Encoded:
        """Raw rows as tensors."""
        ids, values = self.encoders.encode(frame)
        return Encoded(torch.from_numpy(ids), None if values is None else torch.from_numpy(values))

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

    # ---- histories

    def past(self, frame: pd.DataFrame) -> History | None:
        """What the rows' users did before; None for a model that does not look at it."""
        if self.history is None:
            return None
        times = None
        timed = as_text(frame[TIMESTAMP]).notna().to_numpy() if TIMESTAMP in frame else np.zeros(len(frame), dtype=bool)
        if timed.any():
            times = np.full(len(frame), np.nan)
            times[timed] = clean_times(frame[TIMESTAMP][timed], TIMESTAMP, Origin("the rows")).to_numpy(np.float64)
        if self.history.columns is not None:
            return self._past_of_columns(frame, times)
        if self.tables is None or USER not in frame:
            return None
        codes = pd.Index(self.tables.users[USER]).get_indexer(as_text(frame[USER]))
        return self._packed(codes, times)

    def _past_of_columns(self, frame: pd.DataFrame, times: np.ndarray | None) -> History | None:
        wanted = [*self.history.columns.values(), *([self.history.times] if self.history.times else [])]
        if any(column not in frame for column in wanted):
            return None
        past, items = past_of_columns(frame, self.history, times, "the rows")
        table = self.encode(items).of(slice(None), self.item_slots)
        arrays = (past.starts, past.lengths, past.times, past.items, past.item_times)
        starts, lengths, own, which, when = (None if a is None else torch.from_numpy(a) for a in arrays)
        return packed(starts, lengths, own, (which, when), table)

    def _packed(self, codes: np.ndarray, times: np.ndarray | None) -> History:
        """The past of users, -1 for unknown ones: before their times, or all of it."""
        starts, lengths, own = self._ranges(codes, times)
        return packed(starts, lengths, own, self._liked(), self._encoded_items().of(slice(None), self.item_slots))

    def _liked(self) -> tuple[Tensor, Tensor | None]:
        """Items and times of all positive events, in the order of users and times."""
        tables = self.tables
        time = None if tables.time is None else torch.from_numpy(tables.time[tables.positive])
        return torch.from_numpy(tables.item[tables.positive]), time

    def _ranges(self, codes: np.ndarray, times: np.ndarray | None) -> tuple[Tensor, Tensor, Tensor | None]:
        """Where the newest of each user's past begins among the positive events, its length, and the time to see it
        from: the row's, or the user's last."""
        tables = self.tables
        user = tables.user[tables.positive].astype(np.int64)
        first, end = np.searchsorted(user, codes), np.searchsorted(user, codes, side="right")
        if tables.time is None:
            times = None
        else:
            time = tables.time[tables.positive]
            last = np.where(codes >= 0, tables.time[np.maximum(tables.ptr[codes + 1] - 1, 0)], 0)
            untimed = np.ones(len(codes), dtype=bool) if times is None else np.isnan(times)
            moments = np.unique(time)
            key = user * (len(moments) + 1) + np.searchsorted(moments, time)
            times = np.where(untimed, last, 0 if times is None else times)
            before = np.searchsorted(key, codes.astype(np.int64) * (len(moments) + 1) + np.searchsorted(moments, times))
            end = np.where(untimed, end, before)
        end = np.where(codes >= 0, end, first)
        starts = np.maximum(first, end - self.history.max_length)
        own = None if times is None else torch.from_numpy(times)
        return torch.from_numpy(starts), torch.from_numpy(end - starts), own

    # ---- recommending

    def _encoded_items(self) -> Encoded:
        if self._items is None:
            self._items = self.encode(self.tables.items)
        return self._items

    def recommend(
        self,
        users: Iterable | None = None,
        k: int = 10,
        exclude_seen: bool = True,
        candidates: Iterable | None = None,
        context: dict | None = None,
    ) -> pd.DataFrame:
        """The k items that each user will most likely take: columns user, rank, item, score (a probability) and,
        where known, title.

        A candidate is scored with the user's fields and context as they were in the user's last event, and with all
        that the user liked.

        Args:
            users: raw ids; all users when None.
            k: how many.
            exclude_seen: leave out what the user has an event with.
            candidates: raw ids of the items to choose from; all when None.
            context: values of fields that are to stand instead of those of the user's last event.

        Raises:
            DataError: for a user or an item that the data do not have.
            ConfigError: for k below 1, a context of no field, or events without users and items.
        """
        return pd.concat(list(self.recommend_blocks(users, k, exclude_seen, candidates, context)), ignore_index=True)

    def recommend_blocks(
        self,
        users: Iterable | None = None,
        k: int = 10,
        exclude_seen: bool = True,
        candidates: Iterable | None = None,
        context: dict | None = None,
    ) -> Iterator[pd.DataFrame]:
        """`recommend`, some users at a time."""
        tables = self._need_tables()
        if k < 1:
            raise ConfigError(f"k must be at least 1, found {k}")
        users = np.arange(len(tables.users)) if users is None else _codes(tables.users[USER], users, "user")
        items = np.arange(len(tables.items)) if candidates is None else _codes(tables.items[ITEM], candidates, "item")
        people = self.encode(self._in_context(tables.users, context))
        step = max(1, 2**22 // len(items))
        for start in range(0, max(1, len(users)), step):
            block = users[start : start + step]
            scores = self._scores(people, block, items)
            yield self._frame(block, items, *best(scores, min(k, len(items)), self._seen(block, items, exclude_seen)))

    def _need_tables(self) -> EventTables:
        if self.tables is None:
            raise ConfigError(
                f"{self.run}: recommending takes events with columns user and item (at most 5,000,000 of them); this "
                "run can predict rows"
            )
        return self.tables

    def _in_context(self, users: pd.DataFrame, context: dict | None) -> pd.DataFrame:
        for name in context or {}:
            if name not in self.encoders.fields:
                known = list(self.encoders.fields)
                near, there = did_you_mean(name, known), ", ".join(known)
                raise ConfigError(f"context: no field {name!r}{near}; there are: {there}")
        return users.assign(**(context or {}))

    def _scores(self, people: Encoded, users: np.ndarray, items: np.ndarray) -> Tensor:
        """Of each user and item: [B, I]."""
        goods = self._encoded_items()
        of_items = self.encoders.slots_of([ITEM, *self.tables.items.columns])
        user, item = np.repeat(users, len(items)), np.tile(items, len(users))
        found = torch.empty(len(user))
        step, with_past = BLOCK, self.history is not None and self.history.columns is None
        if with_past:
            starts, lengths, times = self._ranges(users, None)
            table = goods.of(slice(None), self.item_slots)
            step = max(1, BLOCK * 4 // (1 + max([0, *lengths.tolist()])))
        for begin in range(0, len(user), step):
            who, what = (torch.from_numpy(x[begin : begin + step]) for x in (user, item))
            ids, values = people.of(who)
            ids[:, of_items] = goods.ids[what][:, of_items]
            if values is not None:
                values[:, of_items] = goods.values[what][:, of_items]
            past = None
            if with_past:
                row = torch.arange(begin, begin + len(who)) // len(items)
                own = None if times is None else times[row]
                past = packed(starts[row], lengths[row], own, self._liked(), table)
            found[begin : begin + step] = self.model.predict_events(ids, values, past)
        return found.view(len(users), len(items))

    def _seen(self, users: np.ndarray, items: np.ndarray, exclude: bool) -> tuple[Tensor, Tensor] | None:
        """Places of the events of users among the candidates: (row, column)."""
        if not exclude:
            return None
        tables, ptr = self.tables, self.tables.ptr
        lengths = ptr[users + 1] - ptr[users]
        rows = np.repeat(np.arange(len(users)), lengths)
        places = np.arange(len(rows)) + np.repeat(ptr[users] - (np.cumsum(lengths) - lengths), lengths)
        place_of = np.full(len(tables.items), -1)
        place_of[items] = np.arange(len(items))
        column = place_of[tables.item[places]]
        return torch.from_numpy(rows[column >= 0]), torch.from_numpy(column[column >= 0])

    def _frame(self, users: np.ndarray, items: np.ndarray, scores: Tensor, places: Tensor) -> pd.DataFrame:
        table, rows = self.tables.items, items[places.numpy()]
        titles = table[TITLE].to_numpy()[rows] if TITLE in table else None
        who, what = self.tables.users[USER].to_numpy()[users], table[ITEM].to_numpy()[rows]
        return ranked("user", who, scores.numpy(), what, titles)


def _codes(known: pd.Series, wanted: Iterable, what: str) -> np.ndarray:
    """The rows of raw ids.

    Raises:
        DataError: names the first that is unknown.
    """
    text = as_text(pd.Series(list(wanted)))
    codes = pd.Index(known).get_indexer(text)
    if (codes < 0).any():
        name = text.iloc[int((codes < 0).argmax())]
        raise DataError(f"{what} {name!r} is not in the data of this run{did_you_mean(name, known.head(10000))}")
    return codes
