"""What a user did before: past items of every event, strictly earlier, as ranges of one sorted list."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from recgnn.arguments import Size, check, hints_of
from recgnn.data.interactions.log import POSITION, TIMESTAMP, USER
from recgnn.data.readers.origin import Origin, need_columns
from recgnn.data.readers.values import clean_times
from recgnn.errors import ConfigError, DataError

MILLISECONDS = 1e11  # a time above it, in seconds, is after the year 5000


@dataclass
class Histories:
    """Which past events of a user an event sees: those with a positive label, strictly before it.

    An event of train sees such events of train alone, one of validation those of train and validation; the newest are
    kept. They are ordered by `timestamp`, or, without it, by `pos` or by row. An event without a user has no past.

    Args:
        item_fields: The columns of an item that are seen of a past one, such as `[item, genres]`; they are fields of
            the target too, and share its embeddings.
        max_length: How many past events at most.
        columns: Of tables that hold their histories already: by item field the column with the past values, oldest
            first, one text with separators.
        separator: Between them.
        times: The column with their times, in the units of `timestamp`, in the same form; or None.
    """

    item_fields: list[str]
    max_length: Size = 50
    columns: dict[str, str] | None = None
    separator: str = " "
    times: str | None = None

    def check(self, columns: list[str]) -> None:
        """Refuse what cannot be.

        Raises:
            ConfigError: For a field or column that is not there, or a value outside of its range.
        """
        if not self.item_fields:
            raise ConfigError("history: item_fields is empty; name the columns of an item, such as [item, genres]")
        check("history", vars(self), hints_of(Histories))
        wanted = [*self.item_fields, *(self.columns or {}).values(), *([self.times] if self.times else [])]
        wanted += [USER] if self.columns is None else []
        need_columns(wanted, columns, "history", error=ConfigError)
        if self.columns is not None and set(self.columns) != set(self.item_fields):
            raise ConfigError(
                f"history: columns are of {', '.join(self.columns)}, expected one for each of item_fields "
                f"({', '.join(self.item_fields)})"
            )

    def as_dict(self) -> dict:
        return asdict(self)


class History(NamedTuple):
    """Past items of a batch of B events, packed: those of the first event, oldest first, then of the second, …

    Shapes:
        ids: [N, H] rows of the table of all fields.
        values: [N, H], or None (all 1).
        lengths: [B].
        gaps: [N] seconds between a past event and this one; or None.
        items: [N] the row of each past item in `table`; or None.
        table: ids [I, H] and values [I, H] or None of all items, of which ids and values above are rows; or None.
    """

    ids: Tensor
    values: Tensor | None
    lengths: Tensor
    gaps: Tensor | None
    items: Tensor | None = None
    table: tuple[Tensor, Tensor | None] | None = None

    def of(self, rows: Tensor) -> History:
        """Return the past of some of the events, rows [n]."""
        lengths = self.lengths[rows]
        first = (self.lengths.cumsum(0) - self.lengths)[rows] - (lengths.cumsum(0) - lengths)
        place = torch.repeat_interleave(first, lengths) + torch.arange(int(lengths.sum()), device=rows.device)
        values, gaps, items = (None if x is None else x[place] for x in (self.values, self.gaps, self.items))
        return History(self.ids[place], values, lengths, gaps, items, self.table)


@dataclass(frozen=True)
class Past:
    """The past of n events, as ranges of a list of past events.

    Shapes:
        starts: `[n]` int64, the first of each event's.
        lengths: `[n]` int32.
        times: `[n]` float64, the events' own times; or None.
        items: `[P]` int32, the row of each past event's item in the table of items.
        item_times: `[P]` float64; or None.
    """

    starts: np.ndarray
    lengths: np.ndarray
    times: np.ndarray | None
    items: np.ndarray
    item_times: np.ndarray | None

    def of(self, rows: np.ndarray) -> Past:
        """Return the past of some of the events."""
        times = None if self.times is None else self.times[rows]
        return Past(self.starts[rows], self.lengths[rows], times, self.items, self.item_times)

    def seen_items(self) -> np.ndarray:
        """Return the rows of the items that some event sees in its past, each past event once."""
        change = np.zeros(len(self.items) + 1, dtype=np.int64)
        np.add.at(change, self.starts, 1)
        np.add.at(change, self.starts + self.lengths, -1)
        return self.items[change[:-1].cumsum() > 0]


def tuples(frame: pd.DataFrame, columns: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return which combination of the columns' values each row has, [n], and a row that has each combination."""
    codes = np.zeros(len(frame), dtype=np.int64)
    for column in columns:
        other, values = pd.factorize(frame[column], use_na_sentinel=False)
        codes, _ = pd.factorize(codes * len(values) + other)
    return codes, np.unique(codes, return_index=True)[1]


def order_of(frame: pd.DataFrame, name: str, strict: bool = True) -> tuple[np.ndarray, np.ndarray | None]:
    """Return what events are ordered by, [n], and their times in seconds, [n], or None where these are unknown.

    Args:
        frame: Events, in any order.
        name: What to call them in an error.
        strict: Whether times that cannot be are refused; else the rows' order stands in for them.

    Raises:
        DataError: For times of mixed units, or none.
    """
    if TIMESTAMP in frame:
        try:
            times = clean_times(frame[TIMESTAMP], TIMESTAMP, Origin(name)).to_numpy(np.float64)
            check_units(times, f"{name}, column '{TIMESTAMP}'")
            return times, times
        except DataError:
            if strict:
                raise
    if POSITION in frame and pd.api.types.is_numeric_dtype(frame[POSITION].dtype):
        return frame[POSITION].to_numpy(np.float64), None
    return np.arange(len(frame), dtype=np.float64), None


def check_units(times: np.ndarray, where: str) -> None:
    """Refuse times of which some are seconds and some, by their size, milliseconds.

    Raises:
        DataError: Names a row of each.
    """
    large = times >= MILLISECONDS
    small = (times > 0) & (times < MILLISECONDS / 10)
    if large.any() and small.any():
        one, other = int(small.argmax()), int(large.argmax())
        raise DataError(
            f"{where}: times are of mixed units: row {one + 1} has {times[one]:.0f} and row {other + 1} "
            f"{times[other]:.0f}; make them all seconds"
        )


def past_of(
    users: np.ndarray,
    order: np.ndarray,
    times: np.ndarray | None,
    items: np.ndarray,
    seen: np.ndarray,
    wanted: np.ndarray,
    max_length: int,
) -> Past:
    """Return the past of the events `wanted` among the events `seen`: of the same user, strictly earlier, the newest.

    Args:
        users: Codes of the users from 0, [n].
        order: What events are ordered by, [n]; equal values are not earlier.
        times: Their times, [n]; or None.
        items: Their items' rows, [n].
        seen: Which events may be seen, [n] bool.
        wanted: Which events' past it is, rows, [m].
        max_length: How many are kept.
    """
    rows = np.flatnonzero(seen)
    rows = rows[np.lexsort((rows, order[rows], users[rows]))]
    values, rank = np.unique(order, return_inverse=True)
    key = users.astype(np.int64) * (len(values) + 1) + rank
    first = np.searchsorted(key[rows], users[wanted].astype(np.int64) * (len(values) + 1))
    end = np.searchsorted(key[rows], key[wanted])  # the first that is not earlier
    starts = np.maximum(first, end - max_length)
    own, theirs = (None, None) if times is None else (times[wanted], times[rows])
    return Past(starts, (end - starts).astype(np.int32), own, items[rows].astype(np.int32), theirs)


def past_of_columns(
    frame: pd.DataFrame, histories: Histories, times: np.ndarray | None, name: str
) -> tuple[Past, pd.DataFrame]:
    """Return the past of events that hold it already, and the table of items that occur in it.

    Raises:
        DataError: For lists of different length, times that are no numbers, unsorted, or later than the event.
    """
    columns = histories.columns or {}
    lists = {field: _split_lists(frame[columns[field]], histories.separator) for field in histories.item_fields}
    first = lists[histories.item_fields[0]]
    lengths = np.array([len(x) for x in first], dtype=np.int64)
    for field, values in lists.items():
        _same_lengths(name, columns[field], lengths, values, columns[histories.item_fields[0]])
    flat = pd.DataFrame({field: [v for values in lists[field] for v in values] for field in lists}, dtype="str")
    codes, rows = tuples(flat, histories.item_fields)
    table = flat.iloc[rows].reset_index(drop=True)
    item_times = None
    if histories.times is not None:
        item_times = _times(frame, histories, lengths, times, name)
    starts = np.cumsum(lengths) - lengths
    kept = np.minimum(lengths, histories.max_length)
    past = Past(starts + lengths - kept, kept.astype(np.int32), times if item_times is not None else None,
                codes.astype(np.int32), item_times)  # fmt: skip
    return past, table


def _split_lists(column: pd.Series, separator: str) -> list[list[str]]:
    """Return the values of each row's list."""
    text = column.astype("string").fillna("").str.strip()
    return [t.split(separator) if t else [] for t in text]


def _same_lengths(name: str, column: str, lengths: np.ndarray, values: list, other: str) -> None:
    wrong = np.array([len(x) for x in values]) != lengths
    if wrong.any():
        row = int(wrong.argmax())
        raise DataError(
            f"{name}, row {row + 1}, column '{column}': {len(values[row])} past values where '{other}' has "
            f"{lengths[row]}; they go together"
        )


def _times(
    frame: pd.DataFrame, histories: Histories, lengths: np.ndarray, times: np.ndarray | None, name: str
) -> np.ndarray:
    column = str(histories.times)
    if times is None:
        raise DataError(f"{name}: past times (column '{column}') need the events' own, a column '{TIMESTAMP}'")
    values = _split_lists(frame[column], histories.separator)
    _same_lengths(name, column, lengths, values, next(iter((histories.columns or {}).values())))
    flat = [v for row in values for v in row]
    found = pd.to_numeric(pd.Series(flat, dtype="str"), errors="coerce").to_numpy(np.float64)
    owner = np.repeat(np.arange(len(lengths)), lengths)

    def refuse(wrong: np.ndarray, what: str) -> None:
        if wrong.any():
            place = int(wrong.argmax())
            raise DataError(f"{name}, row {owner[place] + 1}, column '{column}': {flat[place]} {what}")

    refuse(np.isnan(found), "is no time; expected seconds")
    check_units(np.concatenate([times, found]), f"{name}, columns '{TIMESTAMP}' and '{column}'")
    refuse(np.r_[False, (owner[1:] == owner[:-1]) & (found[1:] < found[:-1])], "comes after a later time; oldest first")
    refuse(found > times[owner], "is later than the event itself")
    return found


def packed(
    starts: Tensor,
    lengths: Tensor,
    times: Tensor | None,
    past: tuple[Tensor, Tensor | None],
    table: tuple[Tensor, Tensor | None],
) -> History:
    """Return the past items of a batch.

    Args:
        starts: of each event's range, [B].
        lengths: of it, [B].
        times: the events' times, [B]; or None.
        past: items [P] and times [P] or None of the list of past events.
        table: ids [I, H] and values [I, H] or None of the items.
    """
    lengths = lengths.long()
    first = starts - (lengths.cumsum(0) - lengths)
    total = int(lengths.sum())
    place = torch.repeat_interleave(first, lengths, output_size=total) + torch.arange(total, device=lengths.device)
    items = past[0][place].long()
    gaps = None
    if times is not None and past[1] is not None:
        gaps = (torch.repeat_interleave(times, lengths, output_size=total) - past[1][place]).float()
    return History(table[0][items], None if table[1] is None else table[1][items], lengths, gaps, items, table)
