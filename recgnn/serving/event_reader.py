"""Raw events as a trained CTR model sees them: encoded, with what their users did before."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from recgnn.data.clicks.field_encoders import FieldEncoders
from recgnn.data.clicks.history import Histories, History, packed, past_of_columns
from recgnn.data.clicks.tables import EventTables
from recgnn.data.interactions.log import TIMESTAMP, USER
from recgnn.data.readers.origin import Origin
from recgnn.data.readers.values import as_text, clean_times
from recgnn.errors import RunError


class Encoded(NamedTuple):
    """Rows of the table of all fields and their values: ids [n, S], values [n, S] or None."""

    ids: Tensor
    values: Tensor | None

    def of(self, rows, columns=slice(None)) -> Encoded:
        """Some rows, and some columns of them."""
        return Encoded(*(None if x is None else x[rows][:, columns] for x in self))


class Liked(NamedTuple):
    """Positive events in the order of users and times; without times, the last three are None.

    Shapes: user [P], item [P], time [P] seconds, moments [T] (each time once, ascending), key [P] (user and moment as
    one number, ascending).
    """

    user: np.ndarray
    item: np.ndarray
    time: np.ndarray | None
    moments: np.ndarray | None
    key: np.ndarray | None


class EventReader:
    """Reads raw events as a run's model needs them.

    Args:
        folder: the run's prepared data.
        with_history: whether the model reads histories.

    Raises:
        RunError: if the folder lacks the fields, or they are damaged.
    """

    def __init__(self, folder: Path, with_history: bool):
        self.folder = folder
        self.encoders = FieldEncoders.load(folder)
        self.tables = EventTables.load(folder)
        try:
            history = json.loads((folder / "summary.json").read_text(encoding="utf-8"))["history"]
        except (OSError, ValueError, LookupError) as error:
            raise RunError(f"{folder}: its summary cannot be read: {error}") from error
        self.history = Histories(**history) if history is not None and with_history else None
        self.item_slots = self.encoders.slots_of(self.history.item_fields) if self.history else []

    @property
    def columns(self) -> list[str]:
        """The columns of raw rows that the model reads."""
        own = list((self.history.columns or {}).values()) if self.history else []
        return [*self.encoders.fields, *own]

    def missing(self, frame: pd.DataFrame) -> list[str]:
        """Those that a frame lacks."""
        return [column for column in self.columns if column not in frame.columns]

    def encode(self, frame: pd.DataFrame) -> Encoded:
        """Raw rows as tensors."""
        ids, values = self.encoders.encode(frame)
        return Encoded(torch.from_numpy(ids), None if values is None else torch.from_numpy(values))

    @cached_property
    def encoded_items(self) -> Encoded:
        """The items of the run's events."""
        return self.encode(self.tables.items)

    # ---- histories

    def past(self, frame: pd.DataFrame) -> History | None:
        """What the rows' users did before; None for a model that does not read it."""
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
        if any(column not in frame for column in self._history_columns()):
            return None
        return packed(*self._in_columns(frame, times, "the rows"))

    def _history_columns(self) -> list[str]:
        """The columns that hold histories, and their times where there are such."""
        return [*self.history.columns.values(), *([self.history.times] if self.history.times else [])]

    def _in_columns(self, frame: pd.DataFrame, times: np.ndarray | None, what: str) -> tuple:
        """The histories that columns hold, as `packed` takes them."""
        past, items = past_of_columns(frame, self.history, times, what)
        arrays = (past.starts, past.lengths, past.times, past.items, past.item_times)
        starts, lengths, own, which, when = (None if a is None else torch.from_numpy(a) for a in arrays)
        return starts, lengths, own, (which, when), self.encode(items).of(slice(None), self.item_slots)

    def _packed(self, codes: np.ndarray, times: np.ndarray | None) -> History:
        """The past of users, -1 for unknown ones: before their times, or all of it."""
        return packed(*self._ranges(codes, times), *self._liked_items())

    @cached_property
    def _liked(self) -> Liked:
        """All positive events."""
        tables = self.tables
        user, item = tables.user[tables.positive].astype(np.int64), tables.item[tables.positive]
        if tables.time is None:
            return Liked(user, item, None, None, None)
        time = tables.time[tables.positive]
        moments, moment = np.unique(time, return_inverse=True)
        return Liked(user, item, time, moments, user * (len(moments) + 1) + moment)

    def _liked_items(self) -> tuple[tuple[Tensor, Tensor | None], Encoded]:
        """Items and times of all positive events, and the table of items."""
        item, time = self._liked.item, self._liked.time
        past = torch.from_numpy(item), None if time is None else torch.from_numpy(time)
        return past, self.encoded_items.of(slice(None), self.item_slots)

    def _ranges(self, codes: np.ndarray, times: np.ndarray | None) -> tuple[Tensor, Tensor, Tensor | None]:
        """Where the newest of each user's past begins among the positive events, its length, and the time to see it
        from: the row's, or the user's last."""
        liked, tables, own = self._liked, self.tables, None
        first, end = np.searchsorted(liked.user, codes), np.searchsorted(liked.user, codes, side="right")
        if liked.time is not None:
            own = np.where(codes >= 0, tables.time[np.maximum(tables.ptr[codes + 1] - 1, 0)], 0)
            if times is not None:
                untimed = np.isnan(times)
                own = np.where(untimed, own, times)
                moment = np.searchsorted(liked.moments, own)
                before = np.searchsorted(liked.key, codes.astype(np.int64) * (len(liked.moments) + 1) + moment)
                end = np.where(untimed, end, before)
        end = np.where(codes >= 0, end, first)
        starts = np.maximum(first, end - self.history.max_length)
        own = None if own is None else torch.from_numpy(own)
        return torch.from_numpy(starts), torch.from_numpy(end - starts), own

    def memory(self, users: np.ndarray) -> tuple | None:
        """What users did before, by now: the ranges of a list of past events, their lengths, the time to see them from
        or None, that list, and the table of its items; None for a model that does not look at it."""
        if self.history is None:
            return None
        if self.history.columns is None:
            return *self._ranges(users, None), *self._liked_items()
        tables, own = self.tables, self._history_columns()
        if any(column not in tables.users for column in own):
            raise RunError(
                f"{self.folder}: written by an older version, without its users' histories; train it again to recommend"
            )
        users = np.maximum(users, 0)  # nobody asks for the past of an unknown one
        times = None if tables.time is None else tables.time[tables.ptr[users + 1] - 1]
        return self._in_columns(tables.users[own].iloc[users], times, "the users' last histories")
