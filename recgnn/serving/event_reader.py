"""Raw events as a trained CTR model sees them: encoded, with what their users did before."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from recgnn.data.clicks.field_encoders import FieldEncoders
from recgnn.data.clicks.history import Histories, History, packed, past_of_columns
from recgnn.data.clicks.prepared import FORMAT, listed
from recgnn.data.clicks.tables import EventTables
from recgnn.data.interactions.log import ITEM, TIMESTAMP, USER
from recgnn.data.readers.notation import Notation, read
from recgnn.data.readers.origin import Origin, shown
from recgnn.data.readers.values import texts_as
from recgnn.data.stored import read_summary, reading, verify
from recgnn.errors import ConfigError, DataError, RunError


class Encoded(NamedTuple):
    """Rows of the table of all fields and their values: ids [n, S], values [n, S] or None."""

    ids: Tensor
    values: Tensor | None

    def of(self, rows: Tensor | slice, columns: list[int] | slice = slice(None)) -> Encoded:
        """Some rows, and some columns of them."""
        return Encoded(self.ids[rows][:, columns], None if self.values is None else self.values[rows][:, columns])


class Liked(NamedTuple):
    """Positive events in the order of users and times.

    Shapes: user [P], item [P], time [P] seconds or None, moments [T] (each time once, ascending), key [P] (user and
    moment as one number, ascending).
    """

    user: np.ndarray
    item: np.ndarray
    time: np.ndarray | None
    moments: np.ndarray
    key: np.ndarray


class Memory(NamedTuple):
    """What some users did before, as ranges of a list of past events.

    Shapes:
        starts, lengths: [B], of the ranges.
        times: [B], when it is looked back from; or None.
        past: items [P] and times [P] or None of the past events.
        table: the items.
    """

    starts: Tensor
    lengths: Tensor
    times: Tensor | None
    past: tuple[Tensor, Tensor | None]
    table: Encoded

    def of(self, rows: Tensor | slice = slice(None)) -> History:
        """The past of some of the users, packed."""
        times = None if self.times is None else self.times[rows]
        return packed(self.starts[rows], self.lengths[rows], times, self.past, self.table)


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
        self.summary, files = read_summary(folder, FORMAT)
        verify(folder, files, listed(files))
        self.encoders = FieldEncoders.load(folder)
        self.tables = EventTables.load(folder)
        self.layout, self.names, self.types = self.summary["layout"], self.summary["columns"], self.summary["types"]
        self.times = {column: Notation(**how) for column, how in self.summary["times"].items()}
        with reading(folder, "no histories can be read"):
            history = self.summary["history"]
            self.history = Histories(**history) if history is not None and with_history else None
            self.item_slots = self.encoders.slots_of(self.history.item_fields) if self.history else []

    @property
    def columns(self) -> list[str]:
        """The columns of raw rows that the model reads."""
        own = list((self.history.columns or {}).values()) if self.history else []
        return list(dict.fromkeys([*self.encoders.reads, *own]))

    @property
    def needed(self) -> list[str]:
        """Those of them that raw rows must have: who, what, and the past where the model reads it."""
        past = [] if self.history is None else [USER] if self.history.columns is None else _columns_of(self.history)
        return [*(side for side in (USER, ITEM) if side in self.encoders.fields and side not in past), *past]

    def missing(self, frame: pd.DataFrame) -> list[str]:
        """Those that a frame lacks."""
        return [column for column in self.columns if column not in frame.columns]

    def encode(self, frame: pd.DataFrame) -> Encoded:
        """Raw rows as tensors."""
        ids, values = self.encoders.encode(frame)
        return Encoded(torch.from_numpy(ids), None if values is None else torch.from_numpy(values))

    @property
    def known(self) -> EventTables:
        """The users and items of the run's events.

        Raises:
            ConfigError: if the run has none.
        """
        if self.tables is None:
            raise ConfigError(
                f"{self.folder}: recommending needs events with columns user and item (at most 5,000,000 of them); "
                "this run can predict rows; for another one, name them (source.user, source.item)"
            )
        return self.tables

    @cached_property
    def encoded_items(self) -> Encoded:
        """The items of the run's events."""
        return self.encode(self.known.items)

    @cached_property
    def encoded_users(self) -> Encoded:
        """The users of the run's events, as they were in their last."""
        return self.encode(self.known.users)

    # ---- histories

    def past(self, frame: pd.DataFrame) -> History | None:
        """What the rows' users did before; None for a model that does not read it.

        Raises:
            DataError: Names the row and the column that is not as in training.
        """
        if self.history is None:
            return None
        times = None
        if TIMESTAMP in frame:
            how = self.times.get(TIMESTAMP, Notation())
            times, wrong = read(frame[TIMESTAMP], how, lenient=True)
            if wrong.any():
                row = int(wrong.argmax())
                place, value = Origin("the rows").at(row, TIMESTAMP), shown(frame[TIMESTAMP].iloc[row])
                raise DataError(f"{place}: {value}; expected {how.expected()}, as in the training data")
            times = None if np.isnan(times).all() else times.astype(np.float64)
        if self.history.columns is not None:
            return self._in_columns(self.history, frame, times, "the rows").of()
        users = texts_as(frame[USER], self.types.get(USER, "text"))
        codes = pd.Index(self.known.users[USER]).get_indexer(users)
        return self._of_users(self.history, codes, times).of()

    def memory(self, users: np.ndarray) -> Memory | None:
        """What users, -1 for unknown ones, did before now; None for a model that does not read it."""
        if self.history is None:
            return None
        if self.history.columns is None:
            return self._of_users(self.history, users, None)
        tables, own = self.known, _columns_of(self.history)
        if any(column not in tables.users for column in own):
            raise RunError(
                f"{self.folder}: an older version wrote it, without the users' last histories; train it again"
            )
        users = np.maximum(users, 0)  # nobody asks for the past of an unknown one
        times = None if tables.time is None else tables.time[tables.ptr[users + 1] - 1]
        return self._in_columns(self.history, tables.users[own].iloc[users], times, "the users' last histories")

    def _in_columns(self, history: Histories, frame: pd.DataFrame, times: np.ndarray | None, what: str) -> Memory:
        """The histories that columns hold."""
        past, items = past_of_columns(frame, history, times, what, self.times.get(TIMESTAMP))
        table = self.encode(items).of(slice(None), self.item_slots)
        item_times = None if past.item_times is None else torch.tensor(past.item_times)
        own = None if past.times is None else torch.tensor(past.times)
        items_then = torch.tensor(past.items), item_times
        return Memory(torch.tensor(past.starts), torch.tensor(past.lengths), own, items_then, table)

    def _of_users(self, history: Histories, codes: np.ndarray, times: np.ndarray | None) -> Memory:
        """The newest positive events of users, -1 for unknown ones: those before their times, or before now."""
        liked, own = self._liked, None
        first, end = np.searchsorted(liked.user, codes), np.searchsorted(liked.user, codes, side="right")
        if self.known.time is not None:
            own = np.where(codes >= 0, self.known.time[np.maximum(self.known.ptr[codes + 1] - 1, 0)], 0)
            if times is not None:
                untimed = np.isnan(times)
                own = np.where(untimed, own, times)
                moment = np.searchsorted(liked.moments, own)
                before = np.searchsorted(liked.key, codes.astype(np.int64) * (len(liked.moments) + 1) + moment)
                end = np.where(untimed, end, before)
        end = np.where(codes >= 0, end, first)
        starts = np.maximum(first, end - history.max_length)
        past = torch.from_numpy(liked.item), None if liked.time is None else torch.from_numpy(liked.time)
        seen_from = None if own is None else torch.from_numpy(own)
        table = self.encoded_items.of(slice(None), self.item_slots)
        return Memory(torch.from_numpy(starts), torch.from_numpy(end - starts), seen_from, past, table)

    @cached_property
    def _liked(self) -> Liked:
        """All positive events."""
        tables = self.known
        liked = tables.positive if tables.time is None else tables.positive & ~np.isnan(tables.time)
        user, item = tables.user[liked].astype(np.int64), tables.item[liked]
        if tables.time is None:
            return Liked(user, item, None, np.zeros(0), user)
        time = tables.time[liked]
        moments, moment = np.unique(time, return_inverse=True)
        return Liked(user, item, time, moments, user * (len(moments) + 1) + moment)


def _columns_of(history: Histories) -> list[str]:
    """The columns that hold histories, and their times where there are such."""
    return [*(history.columns or {}).values(), *([history.times] if history.times else [])]
