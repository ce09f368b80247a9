"""From one column of categories, or of moments, to rows of an embedding table, fitted on train."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import pandas as pd
import pyarrow as pa

from recgnn.data.clicks.fields import Field
from recgnn.data.readers.lists import flat, padding_in, pieces_of
from recgnn.data.readers.types import kind_of
from recgnn.data.readers.values import Type, as_text, distinct_of, texts_as, type_of
from recgnn.errors import DataError

CELLS = 2**29  # of all rows of train and the values of each: what is kept where nobody says how many
UNKNOWN, MISSING = 0, 1  # rows of every vocabulary: values that are not in train (or that are rare there), no value
KNOWN = 2  # the first row of a known value
Encoded = tuple[np.ndarray, np.ndarray | None]


class Encoder(ABC):
    """One column's encoding.

    Attributes:
        num_rows: rows in the embedding table.
        num_slots: features of an event, several where values are multiple.
        weighted: whether the features have values other than 1.
    """

    weighted = False

    @property
    def num_slots(self) -> int:
        """Features of an event."""
        return 1

    def __init__(self, field: Field) -> None:
        self.field = field

    @property
    @abstractmethod
    def num_rows(self) -> int:
        """Rows in the embedding table."""

    @abstractmethod
    def observe(self, column: pd.Series) -> None:
        """Learn from a block of the column in train."""

    def finish(self) -> None:
        """Settle what was learnt, when all blocks have been seen; nothing by default."""
        return

    @abstractmethod
    def encode(self, column: pd.Series) -> Encoded:
        """Return rows [n, slots] int32 and, where weighted, their values [n, slots] float32."""

    def state(self) -> tuple[dict, list[str] | None]:
        """Return what was learnt: plain numbers, and a vocabulary."""
        return {}, None

    def restore(self, numbers: dict, vocabulary: list[str] | None) -> None:
        """Take back what `state` gave."""
        return


class Categorical(Encoder):
    """One row per value of train, in order of frequency (ties by value), or per hash bucket."""

    def __init__(self, field: Field) -> None:
        super().__init__(field)
        self.values: pd.Index = pd.Index([], dtype="string")
        self.type: Type | None = None  # of train's values: how others are read
        self.seen = Tally()

    @property
    def num_rows(self) -> int:
        return KNOWN + (len(self.values) if self.field.buckets is None else self.field.buckets)

    def texts(self, column: pd.Series) -> pd.Series:
        """Return the values as text, NA where there is none."""
        return texts_as(column, self.type or "text")

    def distinct(self, column: pd.Series) -> tuple[np.ndarray, pd.Series]:
        """Return the place of each row's value among the distinct ones, [n], and these as text."""
        which, values = distinct_of(column)
        return which, self.texts(values)

    def observe(self, column: pd.Series) -> None:
        which, values = distinct_of(column)
        if self.type != "text" and values.notna().any():
            self.see(type_of(values))
        if self.field.buckets is None:
            self.seen.add(as_text(values), np.bincount(which, minlength=len(values)))

    def see(self, kind: Type) -> None:
        """Take the type of a block of values into account."""
        if self.type is None or self.type == kind:
            self.type = kind
        else:
            self.type = "number" if {self.type, kind} == {"integer", "number"} else "text"

    def finish(self) -> None:
        if self.field.buckets is None:
            counts = self.seen.counts()
            if self.type == "bool" or isinstance(self, Multi):  # elsewhere a value has one text already
                counts = counts.groupby(self.texts(counts.index.to_series()).to_numpy()).sum()
            counts = counts[counts >= self.field.min_count]
            order = np.lexsort((counts.index.to_numpy(object), -counts.to_numpy()))
            self.values = pd.Index(counts.index[order], dtype="string")
        self.seen = Tally()

    def rows(self, text: pd.Series) -> np.ndarray:
        """Return the rows of texts, [n]."""
        missing = text.isna().to_numpy()
        if self.field.buckets is None:
            rows = self.values.get_indexer(pd.Index(text)) + KNOWN
            rows[rows < KNOWN] = UNKNOWN
        else:
            digest = pd.util.hash_array(text.fillna("").to_numpy(object), categorize=True)
            rows = (digest % np.uint64(self.field.buckets)).astype(np.int64) + KNOWN
        rows[missing] = MISSING
        return rows.astype(np.int32)

    def encode(self, column: pd.Series) -> Encoded:
        which, texts = self.distinct(column)
        return self.rows(texts)[which][:, None], None

    def state(self) -> tuple[dict, list[str] | None]:
        return {"type": self.type or "text"}, self.values.tolist()

    def restore(self, numbers: dict, vocabulary: list[str] | None) -> None:
        self.type = numbers["type"]
        self.values = pd.Index(vocabulary or [], dtype="string")


class Tally:
    """Counts of texts, a block at a time."""

    def __init__(self) -> None:
        self.total = pd.Series([], index=pd.Index([], dtype="string"), dtype="int64")
        self.waiting: list[pd.Series] = []
        self.size = 0

    def add(self, texts: pd.Series, counts: np.ndarray) -> None:
        """Count texts (NA left out), each of which may stand several times."""
        block = pd.Series(counts, index=pd.Index(texts, dtype="string"))
        self.waiting.append(block[block.index.notna()])
        self.size += len(texts)
        if self.size > max(2**20, len(self.total)):
            self._merge()

    def _merge(self) -> None:
        self.total = pd.concat([self.total, *self.waiting]).groupby(level=0).sum()
        self.waiting, self.size = [], 0

    def counts(self) -> pd.Series:
        """All of them, by text."""
        self._merge()
        return self.total


class Multi(Categorical):
    """Several values of a row, each a feature of value 1 (`sum`) or 1/n (`mean`); none is a missing value."""

    weighted = True

    def __init__(self, field: Field) -> None:
        super().__init__(field)
        self.slots = field.max_values or 1
        self.cut = [0, 0]  # rows of train that have more values than slots, and these values
        self.lengths = np.zeros(1, dtype=np.int64)  # of train's rows, how many have each

    @property
    def num_slots(self) -> int:
        return self.slots

    def lists(self, texts: pd.Series) -> list[list[str]]:
        """Return the values of each row, without what fills it up."""
        lists, padding = pieces_of(texts, self.field.separator), self.field.padding
        return lists if padding in (None, "") else [[p for p in pieces if p != str(padding)] for pieces in lists]

    def observe(self, column: pd.Series) -> None:
        which, texts = distinct_of(column)
        times, lists = np.bincount(which, minlength=len(texts)), self.lists(texts)
        if self.field.padding is None and not self.lengths.any() and (found := padding_in(lists, times.tolist())):
            raise DataError(f"column '{column.name}': {found}")
        values, sizes = flat(lists)
        more = np.bincount(sizes, times).astype(np.int64)
        self.lengths = np.pad(self.lengths, (0, max(0, len(more) - len(self.lengths))))
        self.lengths[: len(more)] += more
        if len(values) and self.type != "text":
            kind = kind_of(pa.chunked_array([pa.array(values, pa.string())]))
            self.see("number" if kind == "float" else kind or "text")
        if self.field.buckets is None:
            self.seen.add(pd.Series(values, dtype="string"), np.repeat(times, sizes))

    def finish(self) -> None:
        super().finish()
        longest, rows = len(self.lengths) - 1, max(1, int(self.lengths.sum()))
        self.slots = self.field.max_values or max(1, min(longest, CELLS // rows))
        beyond = self.lengths[self.slots + 1 :]
        self.cut = [int(beyond.sum()), int((beyond * np.arange(1, len(beyond) + 1)).sum())]

    def encode(self, column: pd.Series) -> Encoded:
        which, texts = distinct_of(column)
        lists: list[list] = [pieces[: self.slots] or [None] for pieces in self.lists(texts)]
        pieces, sizes = flat(lists)
        owner = np.repeat(np.arange(len(lists)), sizes)
        place = np.arange(len(owner)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        ids = np.full((len(lists), self.slots), MISSING, dtype=np.int32)
        values = np.zeros((len(lists), self.slots), dtype=np.float32)
        found, inverse = pd.factorize(pieces, use_na_sentinel=False)[::-1]
        ids[owner, place] = self.rows(self.texts(pd.Series(found, dtype="string")))[inverse]
        values[owner, place] = 1
        if self.field.combine == "mean":
            values /= values.sum(1, keepdims=True).clip(min=1)
        return ids[which], values[which]

    def state(self) -> tuple[dict, list[str] | None]:
        return {"type": self.type or "text", "slots": self.slots, "cut": self.cut}, self.values.tolist()

    def restore(self, numbers: dict, vocabulary: list[str] | None) -> None:
        super().restore(numbers, vocabulary)
        self.slots, self.cut = numbers["slots"], numbers["cut"]


class Time(Categorical):
    """A part of a moment, in UTC, from its seconds: NaN is no moment, and infinity one that cannot be read."""

    def __init__(self, field: Field, part: str) -> None:
        super().__init__(field)
        self.part = part

    def parts(self, column: pd.Series) -> tuple[np.ndarray, np.ndarray]:
        """Return the part of each moment, 0 where there is none, and which are moments: [n], [n]."""
        seconds = column.to_numpy(np.float64)
        known = np.isfinite(seconds)
        whole = np.floor(np.where(known, seconds, 0)).astype(np.int64)
        if self.part == "hour":
            return whole // 3600 % 24, known
        if self.part == "month":
            return whole.astype("datetime64[s]").astype("datetime64[M]").astype(np.int64) % 12 + 1, known
        day = (whole // 86_400 + 3) % 7  # 1970 began on a Thursday
        return day if self.part == "weekday" else (day >= 5).astype(np.int64), known

    def observe(self, column: pd.Series) -> None:
        part, known = self.parts(column)
        counts = np.bincount(part[known])
        if self.field.buckets is None:
            self.seen.add(pd.Series(np.flatnonzero(counts)).astype("string"), counts[counts > 0])

    def encode(self, column: pd.Series) -> Encoded:
        part, known = self.parts(column)
        rows = self.rows(pd.Series(np.arange(25)).astype("string"))[part]
        rows[~known] = np.where(np.isnan(column.to_numpy(np.float64)), MISSING, UNKNOWN)[~known]
        return rows[:, None], None
