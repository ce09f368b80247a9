"""From one column of events to rows of an embedding table, fitted on train."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import pandas as pd

from recgnn.data.fields import Field, as_text
from recgnn.errors import DataError

UNKNOWN, MISSING = 0, 1  # rows of every vocabulary: values that train lacks (or that are rare there), no value
KNOWN = 2  # the first row of a known value
NULLS = ("NA", "N/A", "NaN", "nan", "null", "NULL", "None")  # what stands for no number in a table
Encoded = tuple[np.ndarray, np.ndarray | None]


class Encoder(ABC):
    """One column's encoding.

    Attributes:
        num_rows: rows in the embedding table.
        num_slots: features of an event, several where values are multiple.
        weighted: whether the features have values other than 1.
    """

    num_slots = 1
    weighted = False

    def __init__(self, field: Field) -> None:
        self.field = field

    @property
    @abstractmethod
    def num_rows(self) -> int:
        """Rows in the embedding table."""

    @abstractmethod
    def fit(self, column: pd.Series) -> None:
        """Learn from the column in train."""

    @abstractmethod
    def encode(self, column: pd.Series) -> Encoded:
        """Rows [n, slots] int32 and, where weighted, their values [n, slots] float32."""

    def state(self) -> tuple[dict, list[str] | None]:
        """What was learnt: plain numbers, and a vocabulary."""
        return {}, None

    def restore(self, numbers: dict, vocabulary: list[str] | None) -> None:
        """Take back what `state` gave."""
        return


class Categorical(Encoder):
    """One row per value of train, in order of frequency (ties by value), or per hash bucket."""

    def __init__(self, field: Field) -> None:
        super().__init__(field)
        self.values = pd.Index([], dtype="string")
        self.numeric = False  # whether train's values are numbers, so that the text 3.0 means 3

    @property
    def num_rows(self) -> int:
        return KNOWN + (len(self.values) if self.field.buckets is None else self.field.buckets)

    def texts(self, column: pd.Series) -> pd.Series:
        text = as_text(column)
        if self.numeric and not pd.api.types.is_numeric_dtype(column.dtype):
            text = text.mask(text.isin(NULLS))
            other = text.where(~text.str.fullmatch(r"-?(0|[1-9][0-9]*)").fillna(False))  # integers stay exact
            number = pd.to_numeric(other, errors="coerce")
            text = text.where(number.isna(), as_text(number.astype("Float64")))
        return text

    def fit(self, column: pd.Series) -> None:
        kind = column.dtype
        self.numeric = pd.api.types.is_numeric_dtype(kind) and not pd.api.types.is_bool_dtype(kind)
        if self.field.buckets is None:
            counts = self.texts(column).dropna().value_counts()
            counts = counts[counts >= self.field.min_count]
            order = np.lexsort((counts.index.to_numpy(object), -counts.to_numpy()))
            self.values = pd.Index(counts.index[order], dtype="string")

    def rows(self, text: pd.Series) -> np.ndarray:
        """The rows of texts, [n]."""
        missing = text.isna().to_numpy()
        if self.field.buckets is None:
            rows = self.values.get_indexer(text) + KNOWN
            rows[rows < KNOWN] = UNKNOWN
        else:
            digest = pd.util.hash_array(text.fillna("").to_numpy(object), categorize=True)
            rows = (digest % np.uint64(self.field.buckets)).astype(np.int64) + KNOWN
        rows[missing] = MISSING
        return rows.astype(np.int32)

    def encode(self, column: pd.Series) -> Encoded:
        return self.rows(self.texts(column))[:, None], None

    def state(self) -> tuple[dict, list[str] | None]:
        return {"numeric": self.numeric}, self.values.tolist()

    def restore(self, numbers: dict, vocabulary: list[str] | None) -> None:
        self.numeric = bool(numbers["numeric"])
        self.values = pd.Index(vocabulary or [], dtype="string")


class Multi(Categorical):
    """Several values of one text, each a feature of value 1 (`sum`) or 1/n (`mean`); none is a missing value."""

    weighted = True

    @property
    def num_slots(self) -> int:
        return self.field.max_values

    def fit(self, column: pd.Series) -> None:
        pieces = as_text(column).str.split(self.field.separator, regex=False).explode()
        super().fit(pieces)

    def encode(self, column: pd.Series) -> Encoded:
        which, texts = pd.factorize(as_text(column), use_na_sentinel=False)
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
    num_rows = 2  # the number's own row is UNKNOWN's, so to say: 0; 1 is missing

    def __init__(self, field: Field) -> None:
        super().__init__(field)
        self.mean, self.scale = 0.0, 1.0

    def fit(self, column: pd.Series) -> None:
        if self.field.transform == "standard":
            values = numbers(column)
            values = values[np.isfinite(values)]
            if len(values):
                self.mean, self.scale = float(values.mean()), float(values.std())
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


class LogBucket(Categorical):
    """A number's category floor(ln(x)^2) where x > 2, else int(x), as the winners of Criteo's contest."""

    def texts(self, column: pd.Series) -> pd.Series:
        values = numbers(column)
        finite = np.isfinite(values)
        large = finite & (values > 2)
        bucket = np.zeros(len(values), dtype=np.int64)
        bucket[large] = np.floor(np.log(values[large]) ** 2).astype(np.int64)
        bucket[finite & ~large] = values[finite & ~large].astype(np.int64)
        return pd.Series(bucket).astype("string").mask(~finite)


class Quantile(Categorical):
    """A number's category among about equally many values of train."""

    def __init__(self, field: Field) -> None:
        super().__init__(field)
        self.edges = np.zeros(0)

    def fit(self, column: pd.Series) -> None:
        values = numbers(column)
        values = values[np.isfinite(values)]
        if len(values):
            self.edges = np.unique(np.quantile(values, np.linspace(0, 1, self.field.bins + 1)[1:-1]))
        super().fit(column)

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
            found = (moments.dt.weekday >= 5).astype("Int64").mask(moments.isna())
        else:
            found = getattr(moments.dt, self.part).astype("Int64")
        return found.astype("string").reset_index(drop=True)


def numbers(column: pd.Series) -> np.ndarray:
    """A column as float64, NaN where there is none.

    Raises:
        DataError: for text that is no number; names the first.
    """
    if pd.api.types.is_numeric_dtype(column.dtype):
        return column.to_numpy(np.float64, na_value=np.nan)
    text = as_text(column)
    text = text.mask(text.isin(NULLS))
    values = pd.to_numeric(text, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    wrong = np.isnan(values) & text.notna().to_numpy()
    if wrong.any():
        row = int(wrong.argmax())
        raise DataError(
            f"row {row + 1}, column '{column.name}': {str(text.iloc[row])!r} is no number; declare the field "
            "categorical, or mend the column"
        )
    return values


def moments_of(column: pd.Series) -> pd.Series:
    """Seconds or dates as moments in UTC, NaT where there is none."""
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        return pd.to_datetime(column, utc=True)
    if pd.api.types.is_numeric_dtype(column.dtype):
        return pd.to_datetime(column, unit="s", utc=True, errors="coerce")
    text = as_text(column)
    seconds = pd.to_numeric(text.mask(text.isin(NULLS)), errors="coerce").astype("Float64")
    moments = pd.to_datetime(seconds, unit="s", utc=True, errors="coerce")
    dates = pd.to_datetime(text.where(seconds.isna()), utc=True, errors="coerce", format="ISO8601")
    return moments.where(seconds.notna(), dates)


def encoders_of(name: str, field: Field) -> dict[str, Encoder]:
    """The encoders of a field, by the names of the fields that it becomes."""
    if field.kind == "time":
        return {f"{name}.{part}": Time(field, part) for part in field.parts}
    if field.kind == "numeric":
        kinds = {"log2": LogBucket, "quantile": Quantile}
        return {name: kinds.get(field.transform, Numeric)(field)}
    return {name: (Multi if field.kind == "multi" else Categorical)(field)}
