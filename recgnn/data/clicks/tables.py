"""The users and items of events, and who met what when: what a model of clicks needs to recommend."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from recgnn.data.clicks.history import Histories
from recgnn.data.clicks.owners import has_value
from recgnn.data.interactions.log import ITEM, PARTS, TIMESTAMP, TITLE, USER
from recgnn.data.readers.lists import pieces_of
from recgnn.data.readers.values import as_text
from recgnn.data.stored import reading
from recgnn.files import atomic_path

EARLIER, BEFORE = "users_before.parquet", "before"  # and its column of the part that a row stands before
FILES = ("users.parquet", "items.parquet", "meetings.parquet", EARLIER)
MOST = 5_000_000  # events up to which these tables are made


@dataclass(frozen=True)
class EventTables:
    """Users and items of the events, as raw values, and their meetings in order.

    Args:
        users: Column `user` (text) and the fields of the user and of the context, as they were in the user's last
            event; where columns of the events hold their histories, those of that event too, with its own item behind
            them if its label is 1: all that the data tell of the user's past. [U] rows.
        items: Column `item` (text), the fields that belong to an item, as they were known last, and `title` where it is
            known; [I] rows.
        user: Rows of the users of all events, ascending, and U where there is none, [n].
        item: Rows of their items, within a user in the order of the events, [n].
        positive: Whether their label is 1, [n].
        time: Their times in seconds, or None, [n].
        part: Which part they are in, 0 train, 1 validation, 2 test, -1 none, [n].
        earlier: The users as they were before validation and before test, when these are to be measured: the rows of
            `users`, of the last event of an earlier part, with the code of the part in a column `before`.
    """

    users: pd.DataFrame
    items: pd.DataFrame
    user: np.ndarray
    item: np.ndarray
    positive: np.ndarray
    time: np.ndarray | None
    part: np.ndarray
    earlier: pd.DataFrame

    @classmethod
    def of(
        cls,
        frame: pd.DataFrame,
        labels: np.ndarray,
        order: np.ndarray,
        times: np.ndarray | None,
        part: np.ndarray,
        fields: list[str],
        of_items: list[str],
        titles: pd.DataFrame | None,
        histories: Histories | None = None,
    ) -> EventTables:
        """From events with columns `user` and `item`.

        Args:
            frame: Events, [n] rows.
            labels: 0 or 1, [n].
            order: What they are ordered by, [n].
            times: Their times in seconds, [n]; or None.
            part: Which part they are in, [n].
            fields: The columns that are fields, or hold their numbers.
            of_items: Those of them that belong to an item.
            titles: Columns `item` and `title`; or None.
            histories: What is seen of the past.
        """
        if not (there := has_value(frame[ITEM])).all():
            frame, labels, order, part = frame[there], labels[there], order[there], part[there]
            times = None if times is None else times[there]
        user, users = pd.factorize(as_text(frame[USER]))
        user[user < 0] = len(users)  # of nobody, behind everybody's
        item, items = pd.factorize(as_text(frame[ITEM]))
        order = np.nan_to_num(order, nan=-np.inf)  # without a time, long ago
        rows = np.lexsort((order, user))
        item_table = pd.DataFrame({ITEM: pd.Series(items, dtype="string")})
        by_item = np.lexsort((order, item))
        for column in of_items:
            rows_of = _last(item, by_item, has_value(frame[column]))
            item_table[column] = frame[column].iloc[rows_of].reset_index(drop=True)
        if titles is not None:
            known = pd.Series(titles[TITLE].to_numpy(), index=as_text(titles[ITEM]).to_numpy())
            item_table[TITLE] = known[~known.index.duplicated()].reindex(item_table[ITEM].to_numpy()).to_numpy()
        others = [c for c in fields if c in frame and c not in (*of_items, USER, ITEM)]

        def users_in(some: np.ndarray) -> pd.DataFrame:
            """Return the users as they were in the last of some rows, which are in order."""
            which, first = np.unique(user[some][::-1], return_index=True)
            last = some[::-1][first][which < len(users)]
            table = frame[others].iloc[last].reset_index(drop=True)
            table.insert(0, USER, pd.Series(users[which[which < len(users)]], dtype="string"))
            if histories is not None and histories.columns is not None:
                table = table.assign(**_pasts(frame.iloc[last], labels[last] > 0, histories))
            return table

        earlier = []
        for code in range(1, len(PARTS)):
            earlier.append(users_in(rows[(part[rows] >= 0) & (part[rows] < code)]))
            earlier[-1][BEFORE] = code
        return cls(users_in(rows), item_table, user[rows].astype(np.int32), item[rows].astype(np.int32),
                   labels[rows] > 0, None if times is None else times[rows], part[rows].astype(np.int8),
                   pd.concat(earlier, ignore_index=True))  # fmt: skip

    @property
    def ptr(self) -> np.ndarray:
        """Where each user's events begin and end, [U+1]."""
        return np.searchsorted(self.user, np.arange(len(self.users) + 1))

    def before(self, part: str) -> EventTables:
        """Return the tables as they were before `val` or `test`: with the users who had been seen, and their events."""
        code = PARTS.index(part)
        users = self.earlier[self.earlier[BEFORE] == code].drop(columns=BEFORE).reset_index(drop=True)
        user = np.append(pd.Index(users[USER]).get_indexer(self.users[USER]), -1)[self.user]
        kept = (user >= 0) & (self.part >= 0) & (self.part < code)
        return replace(self, users=users, user=user[kept].astype(np.int32), item=self.item[kept],
                       positive=self.positive[kept], time=None if self.time is None else self.time[kept],
                       part=self.part[kept])  # fmt: skip

    def save(self, folder: Path) -> None:
        """Write users.parquet, items.parquet, meetings.parquet and users_before.parquet."""
        columns = {"user": self.user, "item": self.item, "positive": self.positive, "part": self.part}
        columns |= {} if self.time is None else {"time": self.time}
        tables = [pa.Table.from_pandas(self.users, preserve_index=False)]
        tables += [pa.Table.from_pandas(self.items, preserve_index=False), pa.table(columns)]
        tables += [pa.Table.from_pandas(self.earlier, preserve_index=False)]
        for name, table in zip(FILES, tables, strict=True):
            with atomic_path(folder / name) as path:
                pq.write_table(table, path, compression="zstd", write_page_checksum=True)

    @classmethod
    def load(cls, folder: Path) -> EventTables | None:
        """Read what `save` wrote; None where nothing was written.

        Raises:
            RunError: If a file is missing or broken.
        """
        if not any((folder / name).is_file() for name in FILES):
            return None
        with reading(folder, "users and items cannot be read"):
            users, items, met, earlier = (
                pq.read_table(folder / name, page_checksum_verification=True) for name in FILES
            )
            time = met["time"].to_numpy() if "time" in met.column_names else None
            user, item, positive, part = (met[name].to_numpy() for name in ("user", "item", "positive", "part"))
            return cls(users.to_pandas(), items.to_pandas(), user, item, positive, time, part, earlier.to_pandas())


def _last(item: np.ndarray, rows: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return the last event of each item where something is known, else any: [I].

    Args:
        item: Of each event, codes from 0, [n].
        rows: The events in order, [n].
        known: Where it is, [n] bool.
    """
    found = np.zeros(int(item.max()) + 1, dtype=np.int64)
    for chosen in (rows, rows[known[rows]]):
        found[item[chosen]] = chosen  # the last one stays
    return found


def _pasts(events: pd.DataFrame, liked: np.ndarray, histories: Histories) -> dict[str, list[str]]:
    """Return the columns of histories as they are after events, in JSON: an event's item is the newest, where its label
    is 1."""
    columns = histories.columns or {}
    own = {columns[field]: as_text(events[field]) for field in histories.item_fields}
    if histories.times is not None:
        own[histories.times] = as_text(events[TIMESTAMP])
    found = {}
    for column, values in own.items():
        past = pieces_of(events[column], histories.separator, True)
        newest = values.fillna("").tolist()
        found[column] = [json.dumps([*p, v] if yes else p) for p, v, yes in zip(past, newest, liked, strict=True)]
    return found
