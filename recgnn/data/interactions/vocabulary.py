"""Raw ids <-> rows 0..n-1, fitted on train."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recgnn.data.interactions.log import TITLE
from recgnn.data.readers.ids import known_ids
from recgnn.data.readers.origin import shown
from recgnn.data.readers.values import Type, texts_as
from recgnn.data.stored import reading
from recgnn.errors import DataError, nearest_names
from recgnn.files import atomic_path


class Vocabulary:
    """The known ids of users or items in row order, with how often each occurs and its attributes.

    Args:
        ids: Unique ids, integers or strings; row `i` is `ids[i]`.
        attributes: One row per id, in the same order (column `title` is used by `title`); or None.
        frequency: Occurrences of each id in train; zeros when None.
        kind: Type of the values that text ids were in training: of numbers, 3.0 and 03 are 3.

    Shapes:
        frequency: `[n]` int64.

    Raises:
        DataError: If ids repeat, are neither integers nor strings, or the lengths disagree.
    """

    def __init__(
        self,
        ids: Iterable[object],
        attributes: pd.DataFrame | None = None,
        frequency: np.ndarray | None = None,
        kind: Type = "text",
    ) -> None:
        self.kind = kind
        index = ids if isinstance(ids, pd.Index) else pd.Index(pd.Series([*ids]))
        integers = pd.api.types.is_integer_dtype(index.dtype)
        if not integers and not pd.api.types.is_string_dtype(index.dtype) and len(index):
            raise DataError(f"a vocabulary needs integer or string ids, got {index.dtype}")
        self.ids = index.astype(np.int64 if integers else "str")
        if not self.ids.is_unique:
            raise DataError(
                f"a vocabulary needs unique ids; {self.ids[self.ids.duplicated()][0]!r} repeats"
            )
        self.attributes = None if attributes is None else attributes.reset_index(drop=True)
        self.frequency = np.asarray(
            np.zeros(len(index)) if frequency is None else frequency, dtype=np.int64
        )
        if len(self.frequency) != len(index) or (
            attributes is not None and len(attributes) != len(index)
        ):
            raise DataError(
                f"a vocabulary of {len(index)} ids needs as many attributes and frequencies"
            )
        self._known = None if integers else pa.array(self.ids, type=pa.large_string())

    @classmethod
    def fit(cls, ids: pd.Series, table: pd.DataFrame | None = None) -> Vocabulary:
        """Fit the sorted unique ids of a column (integers by value, strings by code point) and their counts.

        Args:
            ids: Integer or string ids, repeated as they occur.
            table: Attributes; its column named as `ids` holds the id. Ids without a row get nulls.
        """
        if pd.api.types.is_integer_dtype(ids.dtype):
            unique, frequency = np.unique(ids.to_numpy(np.int64), return_counts=True)
            index = pd.Index(unique)
        else:
            counts = pc.value_counts(pa.array(ids, type=pa.large_string()))
            values, frequency = counts.field("values"), counts.field("counts").to_numpy()
            order = pc.array_sort_indices(values).to_numpy()
            index, frequency = (
                pd.Index(values.take(pa.array(order)).to_pandas(), dtype="str"),
                frequency[order],
            )
        attributes = None
        if table is not None:
            attributes = table.set_index(ids.name).reindex(index).reset_index(drop=True)
        return cls(index, attributes, frequency)

    def behind(self, earlier: Vocabulary) -> Vocabulary:
        """Return the ids of an earlier vocabulary, in its rows, and behind them those of this one that it lacks.

        Frequencies are this one's; attributes too, where it has them. Ids are text where those of either are.
        """
        integer = self.is_integer and earlier.is_integer
        old, own = (v.ids if integer else pd.Index(v.ids.astype("str")) for v in (earlier, self))
        index = old.append(own[~own.isin(old)])
        tables = [(v.attributes, i) for v, i in ((self, own), (earlier, old)) if v.attributes is not None]
        attributes = None
        if tables:
            first, *others = [table.set_axis(ids, axis=0).reindex(index) for table, ids in tables]
            for other in others:
                first = first.combine_first(other)[[*first.columns, *other.columns.difference(first.columns)]]
            attributes = first.reindex(index)
        frequency = np.zeros(len(index), dtype=np.int64)
        frequency[index.get_indexer(own)] = self.frequency
        return Vocabulary(index, attributes, frequency)

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        return f"Vocabulary({len(self)} {'integer' if self.is_integer else 'string'} ids)"

    @property
    def is_integer(self) -> bool:
        """Whether the ids are integers; they are strings otherwise."""
        return self._known is None

    def encode(self, ids: pd.Series | np.ndarray | Sequence[object]) -> np.ndarray:
        """Return the rows of raw ids, -1 where they are unknown.

        Args:
            ids: Numbers or text of any kind; `7`, `"7"` and `7.0` mean the same id.

        Shapes:
            ids: `[n]`; returns `[n]` int64.
        """
        if not len(ids):
            return np.zeros(0, dtype=np.int64)
        values = ids if isinstance(ids, pd.Series) else pd.Series(np.asarray(ids, dtype=object)).infer_objects()
        clean = self._clean(values)
        if self._known is not None:
            array = pa.array(clean, type=pa.large_string(), from_pandas=True)
            return pc.fill_null(pc.index_in(array, value_set=self._known), -1).to_numpy().astype(np.int64)
        if clean.dtype == np.int64:
            return self.ids.get_indexer(pd.Index(clean)).astype(np.int64)
        rows = self.ids.get_indexer(pd.Index(clean.fillna(0).astype(np.int64))).astype(np.int64)
        return np.where(clean.isna(), -1, rows)

    def _clean(self, ids: pd.Series) -> pd.Series:
        """Return raw ids in the vocabulary's type, NA where one is none."""
        return known_ids(ids, True) if self.is_integer else texts_as(ids, self.kind)

    def decode(self, rows: np.ndarray | Sequence[int]) -> np.ndarray:
        """Return raw ids of rows: int64, or an object array of str; the shape of `rows` is kept.

        Raises:
            IndexError: If a row is not in the vocabulary.
        """
        rows = np.asarray(rows, dtype=np.int64)
        if rows.size and (rows.min() < 0 or rows.max() >= len(self)):
            raise IndexError(f"rows must lie in 0..{len(self) - 1}")
        ids = self.ids.take(rows.ravel())
        return ids.to_numpy(np.int64 if self.is_integer else object).reshape(rows.shape)

    def parse(self, ids: Iterable[object]) -> list:
        """Return raw ids, as text or as numbers, in the vocabulary's type.

        Raises:
            DataError: Names the first that cannot be an id here.
        """
        values = pd.Series(list(ids), dtype=object)
        clean = self._clean(values.infer_objects())
        if clean.isna().any():
            wrong = values.iloc[int(clean.isna().to_numpy().argmax())]
            kind = "whole numbers" if self.is_integer else "text"
            raise DataError(f"{shown(wrong)} is no id here: ids are {kind} ({self._range()})")
        return clean.astype("int64" if self.is_integer else object).tolist()

    def require(self, ids: Iterable[object], what: str = "id") -> np.ndarray:
        """Return the rows of raw ids that must all be known.

        Args:
            ids: Raw ids; text is accepted for integer ids, and the other way round.
            what: "user" or "item", for the error.

        Raises:
            DataError: Names the first unknown ids, how many are unknown and known, and the nearest.
        """
        ids = list(ids)
        rows = self.encode(pd.Series(ids, dtype=object).infer_objects())
        if (rows < 0).any():
            unknown = [i for i, row in zip(ids, rows, strict=True) if row < 0]
            names = [shown(i) for i in unknown[:5]]
            if self.is_integer:
                names = [name.strip("'") for name in names]
                if not str(unknown[0]).strip().lstrip("+-").removesuffix(".0").rstrip(".").isdecimal():
                    raise DataError(f"{shown(unknown[0])} is no id here: ids are whole numbers ({self._range()})")
            first = ("" if len(unknown) == 1 else "s") + f" {', '.join(names)}" + (", ..." if len(unknown) > 5 else "")
            more = f" ({len(unknown)} of {len(ids)})" if len(unknown) > 1 else ""
            near = ", ".join(str(n) for n in self._nearest(unknown[0]))
            nearest = f"; nearest: {near}" if near else ""
            raise DataError(
                f"unknown {what}{first}{more}: {len(self)} {what}s are known ({self._range()}){nearest}"
            )
        return rows

    def title(self, rows: np.ndarray | Sequence[int]) -> np.ndarray | None:
        """Return titles of rows (an object array, None where unknown); None when there are no titles."""
        if self.attributes is None or TITLE not in self.attributes:
            return None
        rows = np.asarray(rows, dtype=np.int64)
        titles = self.attributes[TITLE].astype(object)
        return titles.where(titles.notna(), None).to_numpy(object)[rows.ravel()].reshape(rows.shape)

    def save(self, path: str | Path) -> None:
        """Write the vocabulary to one Parquet file."""
        columns = {"id": pa.array(self.ids), "frequency": pa.array(self.frequency)}
        if self.attributes is not None:
            for name, values in self.attributes.items():
                columns[f"attribute:{name}"] = pa.Array.from_pandas(values)
        kind = json.dumps({"integer": self.is_integer, "attributes": self.attributes is not None})
        table = pa.table(columns).replace_schema_metadata({"recgnn": kind})
        with atomic_path(path) as temporary:
            pq.write_table(table, temporary, compression="zstd", write_page_checksum=True)

    @classmethod
    def load(cls, path: str | Path) -> Vocabulary:
        """Read what `save` wrote.

        Raises:
            RunError: If the file is missing or broken.
        """
        with reading(path, "no vocabulary can be read"):
            table = pq.read_table(path, page_checksum_verification=True)
            kind = json.loads(table.schema.metadata[b"recgnn"])
            ids = table["id"].to_pandas()
            attributes = None
            if kind["attributes"]:
                names = [n for n in table.column_names if n.startswith("attribute:")]
                frame = table.select(names).replace_schema_metadata(None).to_pandas()
                attributes = frame.rename(columns=lambda n: n.removeprefix("attribute:"))
            index = pd.Index(ids, dtype=np.int64 if kind["integer"] else "str", name=None)
            return cls(index, attributes, table["frequency"].to_numpy())

    def _range(self) -> str:
        """`1 to 943`, or the first few when the ids are strings."""
        if not len(self):
            return "none"
        if self.is_integer:
            return f"{self.ids.min()} to {self.ids.max()}"
        return ", ".join(self.ids[:3]) + (", ..." if len(self) > 3 else "")

    def _nearest(self, wanted: object, count: int = 3) -> Sequence[object]:
        """Known ids like the wanted one: by value, or by spelling."""
        if self.is_integer:
            distance = np.abs(self.ids.to_numpy().astype(float) - float(str(wanted)))
            return [int(i) for i in self.ids[np.argsort(distance, kind="stable")[:count]]]
        return nearest_names(str(wanted), self.ids[:200_000].tolist(), count)
