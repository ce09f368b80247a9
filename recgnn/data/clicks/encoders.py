"""From one column of events to rows of an embedding table, fitted on train."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import pandas as pd

from recgnn.data.clicks.fields import Field
from recgnn.data.readers.values import NULLS, as_text, distinct_of, moments_of, numbers

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

    def state(self) -> tuple[dict, list[str] | None]:
        return {"numeric": bool(self.numeric)}, self.values.tolist()

    def restore(self, numbers: dict, vocabulary: list[str] | None) -> None:
        self.numeric = bool(numbers["numeric"])
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
    """Several values of one text, each a feature of value 1 (`sum`) or 1/n (`mean`); none is a missing value."""

    weighted = True

    @property
    def num_slots(self) -> int:
        return self.field.max_values

    def observe(self, column: pd.Series) -> None:
        which, values = distinct_of(column)
        pieces = as_text(values).reset_index(drop=True).str.split(self.field.separator, regex=False).explode()
        times = np.bincount(which, minlength=len(values))[pieces.index]
        if self.numeric is None:
            self.numeric = False
        if self.field.buckets is None:
            self.seen.add(self.texts(pieces), times)

    def encode(self, column: pd.Series) -> Encoded:
        which, texts = distinct_of(column)
        texts = as_text(texts)
        lists = [[] if pd.isna(t) else [p.strip() for p in t.split(self.field.separator)] for t in texts]
        lists = [[p for p in pieces if p][: self.num_slots] or [None] for pieces in lists]
        sizes = np.array([len(pieces) for pieces in lists], dtype=np.int64)
        owner = np.repeat(np.arange(len(lists)), sizes)
        place = np.arange(len(owner)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        ids = np.full((len(lists), self.num_slots), MISSING, dtype=np.int32)
        values = np.zeros((len(lists), self.num_slots), dtype=np.float32)
        ids[owner, place] = self.rows(pd.Series([p for pieces in lists for p in pieces], dtype="string"))
        values[owner, place] = 1
        if self.field.combine == "mean":
            values /= values.sum(1, keepdims=True).clip(min=1)
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
