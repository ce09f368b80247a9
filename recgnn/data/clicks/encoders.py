"""From one column of events to rows of an embedding table, fitted on train."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from recgnn.data.clicks.fields import Field
from recgnn.data.readers.values import NULLS, as_text, distinct_of, moments_of, numbers
from recgnn.errors import DataError

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
        self.weighted = self.weighted or field.values is not None
        self.values: pd.Index = pd.Index([], dtype="string")
        self.numeric: bool | None = None  # whether train's values are numbers, so that the text 3.0 means 3
        self.seen = Tally()

    @property
    def num_rows(self) -> int:
        return KNOWN + (len(self.values) if self.field.buckets is None else self.field.buckets)

    def texts(self, column: pd.Series) -> pd.Series:
        """Return the values as text, NA where there is none."""
        text = as_text(column)
        if self.numeric and not pd.api.types.is_numeric_dtype(column.dtype):
            text = text.mask(text.isin(NULLS))
            other = text.where(~text.str.fullmatch(r"-?(0|[1-9][0-9]*)").fillna(False))  # integers stay exact
            number = pd.to_numeric(other, errors="coerce")
            text = text.where(number.isna(), as_text(number.astype("Float64")))
        return text

    def distinct(self, column: pd.Series) -> tuple[np.ndarray, pd.Series]:
        """Return the place of each row's value among the distinct ones, [n], and these as text."""
        which, values = distinct_of(column)
        return which, self.texts(values)

    def observe(self, column: pd.Series) -> None:
        if self.numeric is None:
            kind = column.dtype
            self.numeric = pd.api.types.is_numeric_dtype(kind) and not pd.api.types.is_bool_dtype(kind)
        if self.field.buckets is None:
            which, texts = self.distinct(column)
            self.seen.add(texts, np.bincount(which, minlength=len(texts)))

    def finish(self) -> None:
        if self.field.buckets is None:
            counts = self.seen.counts()
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

    def encode_valued(self, column: pd.Series, own: pd.Series) -> Encoded:
        """Encode values of which each has a number x in a column of its `own`; one of the two alone is no value."""
        rows, x = self.encode(column)[0], as_float32(numbers(own))[:, None]
        there = (rows != MISSING) & np.isfinite(x)
        return np.where(there, rows, np.int32(MISSING)), np.where(there, x, np.float32(1))

    def state(self) -> tuple[dict, list[str] | None]:
        return {"numeric": bool(self.numeric)}, self.values.tolist()

    def restore(self, numbers: dict, vocabulary: list[str] | None) -> None:
        self.numeric = bool(numbers["numeric"])
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
    """Several values of one text, each a feature of value 1, or of the number x beside it: as it is (`sum`), or over
    the sum of all |x| (`mean`). None of them is a missing value, or no feature where they have numbers."""

    weighted = True

    @property
    def num_slots(self) -> int:
        return self.field.max_values

    def pieces(self, column: pd.Series) -> Pieces:
        """Take the column's texts apart.

        Raises:
            DataError: For an x that is no finite number, or that has no value.
        """
        which, distinct = distinct_of(column)
        texts = pa.array(as_text(distinct).tolist(), pa.large_string(), from_pandas=True)
        lists = pc.split_pattern(texts, self.field.separator)
        flat = pc.utf8_trim_whitespace(lists.flatten())
        there = pc.not_equal(flat, "")
        flat, owner = flat.filter(there), pc.list_parent_indices(lists).filter(there).to_numpy()
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
        which, owner, code, words, _ = self.pieces(column)
        if self.numeric is None:
            self.numeric = False
        if self.field.buckets is None:
            times = np.bincount(code, np.bincount(which)[owner], minlength=len(words))
            self.seen.add(self.texts(words), times.astype(np.int64))

    def encode(self, column: pd.Series) -> Encoded:
        which, owner, code, words, x = self.pieces(column)
        sizes = np.bincount(owner, minlength=int(which.max(initial=-1)) + 1)
        place = np.arange(len(owner)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        kept = place < self.num_slots
        owner, place = owner[kept], place[kept]
        ids = np.full((len(sizes), self.num_slots), MISSING, dtype=np.int32)
        values = np.zeros((len(sizes), self.num_slots), dtype=np.float32)
        ids[owner, place] = self.rows(words)[code[kept]]
        values[owner, place] = x[kept]
        if self.field.weights is None:
            values[sizes == 0, 0] = 1
        if self.field.averaged:
            total = np.abs(values).sum(1, keepdims=True)
            values /= np.where(total > 0, total, 1)
        return ids[which], values[which]


class Numeric(Encoder):
    """A number as the value of one feature: standardised, or as it is; without one, the feature `missing`."""

    weighted = True

    @property
    def num_rows(self) -> int:
        """Two: the number's own row is UNKNOWN's, so to say; the other is for a missing one."""
        return 2

    def __init__(self, field: Field) -> None:
        super().__init__(field)
        self.mean, self.scale = 0.0, 1.0
        self.count, self.squares = 0, 0.0  # of deviations from the mean

    def observe(self, column: pd.Series) -> None:
        values = numbers(column)
        values = values[np.isfinite(values)]
        if self.field.transform != "standard" or not len(values):
            return
        mean, count = float(values.mean()), len(values)  # Chan et al., 1983: means and squares of two parts as one
        gap, both = mean - self.mean, self.count + count
        self.squares += float(np.square(values - mean).sum()) + gap**2 * self.count * count / both
        self.mean, self.count = self.mean + gap * count / both, both

    def finish(self) -> None:
        self.scale = float(np.sqrt(self.squares / max(self.count, 1)))
        if self.scale <= 1e-9 * abs(self.mean) or self.scale == 0:  # no more than rounding
            self.scale = 1.0

    def encode(self, column: pd.Series) -> Encoded:
        values = numbers(column)
        missing = ~np.isfinite(values)
        scaled = np.where(missing, 1.0, (values - self.mean) / self.scale).astype(np.float32)
        return np.where(missing, MISSING, 0).astype(np.int32)[:, None], scaled[:, None]

    def state(self) -> tuple[dict, list[str] | None]:
        return {"mean": self.mean, "scale": self.scale}, None

    def restore(self, numbers: dict, vocabulary: list[str] | None) -> None:
        self.mean, self.scale = numbers["mean"], numbers["scale"]


class Bucket(Categorical):
    """A number's category."""

    def distinct(self, column: pd.Series) -> tuple[np.ndarray, pd.Series]:
        which, values = distinct_of(pd.Series(numbers(column)))
        return which, self.texts(values)


class LogBucket(Bucket):
    """The category floor(ln(x)^2) where x > 2, else int(x), as the winners of Criteo's contest."""

    def texts(self, column: pd.Series) -> pd.Series:
        values = numbers(column)
        finite = np.isfinite(values)
        large = finite & (values > 2)
        bucket = np.zeros(len(values), dtype=np.int64)
        bucket[large] = np.floor(np.log(values[large]) ** 2).astype(np.int64)
        bucket[finite & ~large] = values[finite & ~large].astype(np.int64)
        return pd.Series(bucket).astype("string").mask(~finite)


class Quantile(Bucket):
    """The category among about equally many values of train."""

    def __init__(self, field: Field) -> None:
        super().__init__(field)
        self.edges = np.zeros(0)
        self.sample: list[np.ndarray] = []
        self.stride, self.offset = 1, 0

    def observe(self, column: pd.Series) -> None:
        """Keep every value, or at even distances every second, fourth, … where there are more than 2^21."""
        values = numbers(column)
        values = values[np.isfinite(values)]
        self.sample.append(values[-self.offset % self.stride :: self.stride])
        self.offset += len(values)
        if sum(map(len, self.sample)) > 2**21:
            self.sample, self.stride = [np.concatenate(self.sample)[::2]], 2 * self.stride

    def finish(self) -> None:
        values = np.concatenate(self.sample) if self.sample else np.zeros(0)
        if len(values):
            self.edges = np.unique(np.quantile(values, np.linspace(0, 1, self.field.bins + 1)[1:-1]))
        self.sample = []
        which, texts = self.distinct(pd.Series(values))
        self.seen.add(texts, np.bincount(which, minlength=len(texts)) * self.stride)
        super().finish()

    def texts(self, column: pd.Series) -> pd.Series:
        values = numbers(column)
        bucket = np.searchsorted(self.edges, values, side="right")
        return pd.Series(bucket).astype("string").mask(~np.isfinite(values))

    def state(self) -> tuple[dict, list[str] | None]:
        return {"numeric": False, "edges": self.edges.tolist()}, self.values.tolist()

    def restore(self, numbers: dict, vocabulary: list[str] | None) -> None:
        super().restore(numbers, vocabulary)
        self.edges = np.array(numbers["edges"])


class Time(Categorical):
    """A part of a moment, in UTC, from seconds or dates."""

    def __init__(self, field: Field, part: str) -> None:
        super().__init__(field)
        self.part = part

    def texts(self, column: pd.Series) -> pd.Series:
        moments = moments_of(column)
        if self.part == "weekend":
            found = (moments.dt.day_of_week >= 5).astype("Int64").mask(moments.isna())
        else:
            found = getattr(moments.dt, "day_of_week" if self.part == "weekday" else self.part).astype("Int64")
        return found.astype("string").reset_index(drop=True)


def encoders_of(name: str, field: Field) -> dict[str, Encoder]:
    """Return the encoders of a field, by the names of the fields that it becomes."""
    if field.kind == "time":
        return {f"{name}.{part}": Time(field, part) for part in field.parts}
    if field.kind == "numeric":
        kinds = {"log2": LogBucket, "quantile": Quantile}
        return {name: kinds.get(field.transform, Numeric)(field)}
    return {name: (Multi if field.kind == "multi" else Categorical)(field)}
