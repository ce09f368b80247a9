"""From one column of categories, or of moments, to rows of an embedding table, fitted on train."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from recgnn.data.clicks.fields import Field
from recgnn.data.readers.lists import LOOKED_AT, flat_pieces, padding_in, pieces_of
from recgnn.data.readers.types import kind_of
from recgnn.data.readers.values import Type, as_text, distinct_of, numbers, texts_as, type_of
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
    grows = True
    """Whether it learns more where a run goes on from another; else it keeps what it learnt first."""

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
        self.weighted = self.weighted or field.values is not None
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
            found = pd.Index(counts.index[order], dtype="string")
            self.values = self.values.append(found[~found.isin(self.values)])  # those of an earlier run keep their rows
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

    def encode_valued(self, column: pd.Series, own: pd.Series) -> Encoded:
        """Encode values of which each has a number x in a column of its `own`; one of the two alone is no value."""
        rows, x = self.encode(column)[0], as_float32(numbers(own))[:, None]
        there = (rows != MISSING) & np.isfinite(x)
        return np.where(there, rows, np.int32(MISSING)), np.where(there, x, np.float32(1))

    def state(self) -> tuple[dict, list[str] | None]:
        return {"type": self.type or "text"}, self.values.tolist()

    def restore(self, numbers: dict, vocabulary: list[str] | None) -> None:
        self.type = numbers["type"]
        self.values = pd.Index(vocabulary or [], dtype="string")


def as_float32(x: np.ndarray) -> np.ndarray:
    """Return numbers in single precision, infinite where they are beyond it."""
    with np.errstate(over="ignore"):
        return x.astype(np.float32)


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


class Pieces(NamedTuple):
    """The distinct texts of n rows, and their p values: the text of each row [n], of each value its text [p], its place
    [p] among the distinct words, and its x, [p] float32."""

    which: np.ndarray
    owner: np.ndarray
    code: np.ndarray
    words: pd.Series
    x: np.ndarray


class Multi(Categorical):
    """Several values of a row, each a feature of value 1, or of the number x beside it: as it is (`sum`), or over the
    sum of all |x| (`mean`). None of them is a missing value, or no feature where they have numbers."""

    weighted = True

    def __init__(self, field: Field) -> None:
        super().__init__(field)
        self.slots = field.max_values or 1
        self.cut = [0, 0]  # rows of train that have more values than slots, and these values
        self.lengths = np.zeros(1, dtype=np.int64)  # of train's rows, how many have each
        self.beyond = 0  # rows that were encoded without some of their values

    @property
    def num_slots(self) -> int:
        return self.slots

    def pieces(self, column: pd.Series) -> Pieces:
        """Take the column's lists and texts apart; what fills lists up is left out.

        Raises:
            DataError: For an x that is no finite number, or that has no value.
        """
        which, distinct = distinct_of(column)
        flat, owner = flat_pieces(distinct, self.field.separator)
        if self.field.padding not in (None, ""):
            there = pc.not_equal(flat, str(self.field.padding))
            flat, owner = flat.filter(there), owner[there.to_numpy(zero_copy_only=False)]
        values, x = (flat, np.ones(len(flat), dtype=np.float32)) if self.field.weights is None else self._apart(flat)
        for wrong in np.flatnonzero(~np.isfinite(x) | pc.equal(values, "").to_numpy(zero_copy_only=False))[:1]:
            row = int((which == owner[wrong]).argmax())
            number = int(column.index[row]) if pd.api.types.is_integer_dtype(column.index.dtype) else row
            raise DataError(
                f"row {number + 1}, column '{column.name}': {flat[wrong].as_py()!r}; expected a value and its number, "
                f"as tag{self.field.weights}0.5, or the value alone"
            )
        coded = values.dictionary_encode()
        words = pd.Series(coded.dictionary.to_pandas(), dtype="string")
        return Pieces(which, owner, coded.indices.to_numpy(), words, x)

    def _apart(self, pieces: pa.Array) -> tuple[pa.Array, np.ndarray]:
        """Return the values of pieces, and the numbers behind them, 1 where there is none and NaN where it is none."""
        parts = pc.split_pattern(pieces, self.field.weights, max_splits=1, reverse=True)
        first, flat = parts.offsets.to_numpy()[:-1], pc.utf8_trim_whitespace(parts.flatten())
        x, two = np.ones(len(pieces)), parts.value_lengths().to_numpy() == 2
        numbers = flat.take(first[two] + 1)
        try:
            x[two] = numbers.cast(pa.float64()).to_numpy()
        except pa.ArrowInvalid:
            x[two] = pd.to_numeric(numbers.to_pandas(), errors="coerce").to_numpy(np.float64, na_value=np.nan)
        return flat.take(first), as_float32(x)

    def observe(self, column: pd.Series) -> None:
        """See values, and how many there are in a row.

        Raises:
            DataError: If lists seem to be filled up with a value, and none is said to be padding.
        """
        which, owner, code, words, _ = self.pieces(column)
        times = np.bincount(which)
        if self.field.padding is None and not self.lengths.any():
            some = distinct_of(column)[1][:LOOKED_AT]
            if found := padding_in(pieces_of(some, self.field.separator), times.tolist()):
                raise DataError(f"column '{column.name}': {found}")
        more = np.bincount(np.bincount(owner, minlength=len(times)), times).astype(np.int64)
        self.lengths = np.pad(self.lengths, (0, max(0, len(more) - len(self.lengths))))
        self.lengths[: len(more)] += more
        if len(words) and self.type != "text":
            kind = kind_of(pa.chunked_array([pa.array(words, pa.string())]))
            self.see("number" if kind == "float" else kind or "text")
        if self.field.buckets is None:
            self.seen.add(words, np.bincount(code, times[owner], minlength=len(words)).astype(np.int64))

    def finish(self) -> None:
        super().finish()
        longest, rows = len(self.lengths) - 1, max(1, int(self.lengths.sum()))
        self.slots = self.field.max_values or max(self.slots, min(longest, CELLS // rows))
        beyond = self.lengths[self.slots + 1 :]
        self.cut = [int(beyond.sum()), int((beyond * np.arange(1, len(beyond) + 1)).sum())]

    def encode(self, column: pd.Series) -> Encoded:
        which, owner, code, words, x = self.pieces(column)
        sizes = np.bincount(owner, minlength=int(which.max(initial=-1)) + 1)
        place = np.arange(len(owner)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        self.beyond += int((sizes > self.slots)[which].sum())
        kept = place < self.slots
        owner, place = owner[kept], place[kept]
        ids = np.full((len(sizes), self.slots), MISSING, dtype=np.int32)
        values = np.zeros((len(sizes), self.slots), dtype=np.float32)
        ids[owner, place] = self.rows(self.texts(words))[code[kept]]
        values[owner, place] = x[kept]
        if self.field.weights is None:
            values[sizes == 0, 0] = 1
        if self.field.averaged:
            total = np.abs(values).sum(1, keepdims=True)
            values /= np.where(total > 0, total, 1)
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
