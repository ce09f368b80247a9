"""From one column of numbers to rows of an embedding table, or to one row and a value, fitted on train."""

from __future__ import annotations

import numpy as np
import pandas as pd

from recgnn.data.clicks.encoders import MISSING, Categorical, Encoded, Encoder
from recgnn.data.clicks.fields import Field
from recgnn.data.readers.values import distinct_of, numbers


class Numeric(Encoder):
    """A number, or its logarithm, as the value of one feature: standardised, or as it is; without one, the feature
    `missing`."""

    weighted = True
    grows = False

    @property
    def num_rows(self) -> int:
        """Two: the number's own row is UNKNOWN's, so to say; the other is for a missing one."""
        return 2

    def __init__(self, field: Field) -> None:
        super().__init__(field)
        self.mean, self.scale = 0.0, 1.0
        self.count, self.squares = 0, 0.0  # of deviations from the mean

    def taken(self, column: pd.Series) -> np.ndarray:
        """Return the numbers of a column, or sign(x) ln(1 + |x|) of them, [n]."""
        values = numbers(column)
        return np.sign(values) * np.log1p(np.abs(values)) if self.field.transform == "log" else values

    def observe(self, column: pd.Series) -> None:
        values = self.taken(column)
        values = values[np.isfinite(values)]
        if self.field.transform == "linear" or not len(values):
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
        values = self.taken(column)
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

    def observe(self, column: pd.Series) -> None:
        if self.field.buckets is None:
            which, texts = self.distinct(column)
            self.seen.add(texts, np.bincount(which, minlength=len(texts)))


class LogBucket(Bucket):
    """The category floor(ln(x)^2) where x > 2, else int(x), as the winners of Criteo's contest; numbers beyond train's
    range are in the category of its lowest or highest number."""

    def __init__(self, field: Field) -> None:
        super().__init__(field)
        self.range: list[int] | None = None  # of train's categories

    def observe(self, column: pd.Series) -> None:
        buckets, finite = self._buckets(column)
        if finite.any():
            own = [int(buckets[finite].min()), int(buckets[finite].max())]
            self.range = own if self.range is None else [min(own[0], self.range[0]), max(own[1], self.range[1])]
        super().observe(column)

    def _buckets(self, column: pd.Series) -> tuple[np.ndarray, np.ndarray]:
        """Return the category of each number, [n], and which are numbers, [n]."""
        values = numbers(column)
        finite = np.isfinite(values)
        large = finite & (values > 2)
        bucket = np.zeros(len(values), dtype=np.int64)
        bucket[large] = np.floor(np.log(values[large]) ** 2).astype(np.int64)
        bucket[finite & ~large] = values[finite & ~large].astype(np.int64)
        return bucket, finite

    def texts(self, column: pd.Series) -> pd.Series:
        bucket, finite = self._buckets(column)
        bucket = bucket if self.range is None else bucket.clip(self.range[0], self.range[1])
        return pd.Series(bucket).astype("string").mask(~finite)

    def state(self) -> tuple[dict, list[str] | None]:
        return {"type": "number", "range": self.range}, self.values.tolist()

    def restore(self, numbers: dict, vocabulary: list[str] | None) -> None:
        super().restore(numbers, vocabulary)
        self.range = numbers["range"]


class Quantile(Bucket):
    """The category among about equally many values of train."""

    grows = False

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
        return {"type": "number", "edges": self.edges.tolist()}, self.values.tolist()

    def restore(self, numbers: dict, vocabulary: list[str] | None) -> None:
        super().restore(numbers, vocabulary)
        self.edges = np.array(numbers["edges"])
