"""What a user did before: past items of every event, strictly earlier, as ranges of one sorted list."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from recgnn.data.interactions.log import ITEM, POSITION, TIMESTAMP, USER
from recgnn.data.readers.lists import flat, padding_in, pieces_of, plain_lists
from recgnn.data.readers.notation import Notation, read
from recgnn.data.readers.origin import need_columns
from recgnn.errors import ConfigError, DataError, Size, check, hints_of

NAMED = "if it has another name, tell the source (source.user, source.item, source.timestamp)"
"""How to mend it where a column is missing that has one name in all events."""


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
            first: a list (also in JSON), or one text with separators.
        separator: Between them. Blanks are no items; between other separators one keeps its place, where other columns
            have a value there.
        times: The column with their times, written as `timestamp` is, in the same form; or None.
        padding: What fills the lists of the first of `item_fields` up, and is no item; "" where there is none. When
            None, the data are looked at, and refused where one value seems to be that.
    """

    item_fields: list[str]
    max_length: Size = 50
    columns: dict[str, str] | None = None
    separator: str = " "
    times: str | None = None
    padding: str | int | float | None = None

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
        need_columns(wanted, columns, "history", NAMED * ({USER, ITEM} & {*wanted} - {*columns} != set()), ConfigError)
        if self.columns is not None and set(self.columns) != set(self.item_fields):
            raise ConfigError(
                f"history: columns are of {', '.join(self.columns)}, expected one for each of item_fields "
                f"({', '.join(self.item_fields)})"
            )

    def as_dict(self) -> dict:
        """Return its options; padding that was looked for and not found is none."""
        return asdict(self) | {"padding": "" if self.padding is None else self.padding}


class History(NamedTuple):
    """Past items of a batch of B events, packed: those of the first event, oldest first, then of the second.

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


def order_of(frame: pd.DataFrame, how: Notation | None) -> tuple[np.ndarray, np.ndarray | None]:
    """Return what events are ordered by, [n], and their times in seconds, [n], or None where these are unknown.

    Without times, the column `pos` or the rows' order stands in for them.

    Args:
        frame: Events, in any order.
        how: How the column `timestamp` is written; None where there are no times.
    """
    if how is not None:
        times = read(frame[TIMESTAMP], how)[0].astype(np.float64)
        return times, times
    if POSITION in frame and pd.api.types.is_numeric_dtype(frame[POSITION].dtype):
        return frame[POSITION].to_numpy(np.float64), None
    return np.arange(len(frame), dtype=np.float64), None


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
        order: What events are ordered by, [n]; equal values are not earlier, and NaN has no past and is in none.
        times: Their times, [n]; or None.
        items: Their items' rows, [n].
        seen: Which events may be seen, [n] bool.
        wanted: Which events' past it is, rows, [m].
        max_length: How many are kept.
    """
    rows = np.flatnonzero(seen & ~np.isnan(order))
    rows = rows[np.lexsort((rows, order[rows], users[rows]))]
    values, rank = np.unique(order, return_inverse=True)
    key = users.astype(np.int64) * (len(values) + 1) + rank
    first = np.searchsorted(key[rows], users[wanted].astype(np.int64) * (len(values) + 1))
    end = np.searchsorted(key[rows], key[wanted])  # the first that is not earlier
    end = np.where(np.isnan(order[wanted]), first, end)
    starts = np.maximum(first, end - max_length)
    own, theirs = (None, None) if times is None else (times[wanted], times[rows])
    return Past(starts, (end - starts).astype(np.int32), own, items[rows].astype(np.int32), theirs)


def past_of_columns(
    frame: pd.DataFrame, histories: Histories, times: np.ndarray | None, name: str, how: Notation | None
) -> tuple[Past, pd.DataFrame]:
    """Return the past of events that hold it already, and the table of items that occur in it.

    An event without a time is looked back from its newest past item.

    Args:
        frame: Events, with the columns of histories.
        histories: Which these are.
        times: The events' own, in seconds, [n]; or None.
        name: What to call the events in an error.
        how: The notation of times, the events' and the past ones.

    Raises:
        DataError: For lists of different length, times that are no numbers, unsorted, or later than the event.
    """
    columns = histories.columns or {}
    wanted = {field: columns[field] for field in histories.item_fields}
    wanted |= {histories.times: histories.times} if histories.times is not None else {}
    lists = {f: pieces_of(plain_lists(frame[column]), histories.separator, True) for f, column in wanted.items()}
    first = lists[histories.item_fields[0]]
    lengths = np.array([len(x) for x in first], dtype=np.int64)
    for field, values in lists.items():
        _same_lengths(name, wanted[field], lengths, values, columns[histories.item_fields[0]])
    if histories.padding is None and (found := padding_in(first)):
        raise DataError(f"{name}, column '{columns[histories.item_fields[0]]}': {found}")
    flats = {field: flat(values)[0] for field, values in lists.items()}
    there = np.zeros(int(lengths.sum()), dtype=bool)
    for field in histories.item_fields:
        there |= flats[field] != ""
    there &= flats[histories.item_fields[0]] != ("" if histories.padding is None else str(histories.padding))
    owner = np.repeat(np.arange(len(lengths)), lengths)[there]
    lengths = np.bincount(owner, minlength=len(lengths))
    items = pd.DataFrame({field: flats[field][there] for field in histories.item_fields}, dtype="str")
    codes, rows = tuples(items, histories.item_fields)
    table = items.iloc[rows].reset_index(drop=True)
    item_times = None
    if histories.times is not None:
        column = histories.times
        if times is None:
            raise DataError(f"{name}: past times (column '{column}') need the events' own, a column '{TIMESTAMP}'")
        past_times = pd.Series(flats[column][there], dtype="str")
        item_times = _times(past_times, owner, times, f"{name}, row %d, column '{column}'", how or Notation())
        untimed = np.isnan(times) & (lengths > 0)
        times = np.where(untimed, item_times[np.maximum(np.cumsum(lengths) - 1, 0)], times) if untimed.any() else times
    starts = np.cumsum(lengths) - lengths
    kept = np.minimum(lengths, histories.max_length)
    past = Past(starts + lengths - kept, kept.astype(np.int32), times if item_times is not None else None,
                codes.astype(np.int32), item_times)  # fmt: skip
    return past, table


def _same_lengths(name: str, column: str, lengths: np.ndarray, values: list, other: str) -> None:
    wrong = np.array([len(x) for x in values]) != lengths
    if wrong.any():
        row = int(wrong.argmax())
        raise DataError(
            f"{name}, row {row + 1}, column '{column}': {len(values[row])} past values where '{other}' has "
            f"{lengths[row]}; they go together"
        )


def _times(past: pd.Series, owner: np.ndarray, times: np.ndarray, place: str, how: Notation) -> np.ndarray:
    """Return the seconds of past times, one after the other, of the events `owner`."""
    found, wrong = read(past, how, lenient=True)

    def refuse(wrong: np.ndarray, what: str) -> None:
        if wrong.any():
            row = int(wrong.argmax())
            raise DataError(f"{place % (owner[row] + 1)}: {past.iloc[row]} {what}")

    refuse(wrong | np.isnan(found), f"is no time; expected {how.expected()}, as in '{TIMESTAMP}'")
    refuse(np.r_[False, (owner[1:] == owner[:-1]) & (found[1:] < found[:-1])], "comes after a later time; oldest first")
    refuse(found > times[owner], "is later than the event itself")
    return found.astype(np.float64)


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
