"""Sparse text, libsvm's and libffm's, as columns."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from recgnn.data.cache import fingerprint
from recgnn.data.clicks.events import EventSource, Known, part_files
from recgnn.data.clicks.fields import Field
from recgnn.data.clicks.sparse_lines import QID, Lines, blocks_of
from recgnn.data.interactions.log import PARTS, SPLIT
from recgnn.errors import ConfigError, DataError
from recgnn.files import existing_files

MAX_NUMBERS = 1000  # columns of libsvm text
MARK = ":"  # between an index and its value

ColumnKind = Literal["categorical", "numeric", "multi"]


class SparseText(EventSource):
    """Events as lines of sparse text: libffm's `label field:index:value ...` or libsvm's `label index:value ...`.

    Every value is the number x of its index. Labels are 1 and 0, or 1 and -1 (read as 0), or numbers. `qid:3` behind
    the label is the group of the line. What the columns are follows from all lines:

    - libffm: `field<number>` for each field. Where all its values are 1, the index as text, indices joined by `|` where
      a line repeats the field. Where some are not, `index:value`, joined by `|`; a field that a line lacks has no
      features there. Where the index is always the same, the value as a number, which is standardised as numbers are
      (`kinds: {field3: multi}` takes it as it stands).
    - libsvm, all values 1: `position1`, `position2`, ... with an index each where lines are equally long and every
      index has its place, as Frappe's; otherwise one column `indices`, joined by `|`.
    - libsvm, other values: `index<number>`, the number of each index, 0 where a line has none, if lines have at least
      half of the indices and these are at most 1,000; otherwise `indices`, as `index:value` joined by `|`.

    Args:
        path: The events, a file or a pattern such as `logs/*.ffm`; or None, with the three others.
        train: The events to learn from.
        val: Those to choose by.
        test: Those to measure by.
        kinds: By column, what the lines are not to decide: `multi` (indices, with their values where these are not 1),
            `categorical` or `numeric`, such as `field3: multi`; one of `indices: multi`, `index1: numeric` and
            `position1: categorical` decides for all of libsvm text.
        name: Short name of the data set; the file's stem when None.

    Raises:
        ConfigError: If neither or both of `path` and `train` are given, or a kind is none.
        DataError: On reading, with the file, the line and the mistake.
    """

    def __init__(
        self,
        path: str | Path | None = None,
        train: str | Path | None = None,
        val: str | Path | None = None,
        test: str | Path | None = None,
        kinds: dict[str, ColumnKind] | None = None,
        name: str | None = None,
    ) -> None:
        self.files = part_files("SparseText", path, train, val, test)
        self.kinds = dict(kinds or {})
        self.name = name or Path(self.files["train"]).stem

    @cached_property
    def layout(self) -> Layout:
        """What the columns are."""
        seen = Seen()
        for file in self.files.values():
            for lines in _lines(file, seen.form):
                seen.add(lines)
        return seen.layout(self.kinds, self.files["train"])

    def known(self) -> Known:
        """Return the fields, and the layout by which more lines can be read."""
        return Known(self.layout.fields(), QID if self.layout.grouped else None, self.layout.as_dict())

    def blocks(self, columns: Collection[str] | None = None) -> Iterator[pd.DataFrame]:
        """Yield the events in frames of at most `ROWS` rows, of all columns or of some."""
        for part, file in self.files.items():
            for frame in self.layout.blocks(file):
                if len(self.files) > 1:
                    codes = np.full(len(frame), PARTS.index(part), dtype=np.int8)
                    frame = frame.assign(**{SPLIT: pd.Categorical.from_codes(codes, pd.Index(PARTS))})
                yield frame if columns is None else frame[[*columns]]

    def events(self) -> pd.DataFrame:
        return pd.concat(self.blocks(), ignore_index=True)

    def fingerprint(self) -> str:
        paths = [path for file in self.files.values() for path in existing_files(file)]
        return fingerprint(self, [sorted(self.files), self.kinds, self.name], paths)


@dataclass
class Layout:
    """How lines become columns.

    Args:
        form: Of the features.
        stem: What columns are called: `field`, `position` or `index`, each with a number, or `indices`.
        kinds: By their numbers.
        longest: How many features of a column a line has at most, by number.
        valued: The numbers of the `multi` columns that have values other than 1.
        own: By number, the index that a numeric field has in every line.
        negative: The label of the negative events, 0 or -1; None where labels are numbers.
        grouped: Whether lines have a `qid`.
    """

    form: str
    stem: str
    kinds: dict[int, ColumnKind]
    longest: dict[int, int]
    valued: list[int]
    own: dict[int, int]
    negative: float | None
    grouped: bool

    def as_dict(self) -> dict:
        """Return the layout as plain values."""
        return asdict(self)

    @classmethod
    def of_dict(cls, content: dict) -> Layout:
        """Return the layout that `as_dict` gave, also after it was JSON."""
        by_number = {name: {int(k): v for k, v in content[name].items()} for name in ("kinds", "longest", "own")}
        return cls(**content | by_number)

    def name(self, code: int) -> str:
        """Return the name of the column of an index."""
        return self.stem if self.stem == "indices" else f"{self.stem}{code}"

    def fields(self) -> dict[str, Field]:
        """Return what the columns are to a model: their values are x, as they stand."""
        found = {}
        for code, kind in self.kinds.items():
            found[self.name(code)] = Field(kind)
            if kind == "multi":
                weights = MARK if code in self.valued else None
                found[self.name(code)] = Field(kind, combine="sum", max_values=self.longest[code], weights=weights)
        return found

    def blocks(self, path: str | Path, others: set[str] | None = None) -> Iterator[pd.DataFrame]:
        """Yield the label, the group and the columns of a file's lines.

        Args:
            path: The file.
            others: Takes the names of columns that are not of the layout; their features are left out.

        Raises:
            DataError: For the first line that does not fit.
        """
        for lines in _lines(path, self.form):
            own: dict[str, Any] = {"label": lines.labels}
            if self.negative is not None and np.isin(lines.labels, (self.negative, 1)).all():
                own = {"label": (lines.labels == 1).astype(np.int64)}
            if self.grouped and lines.groups is not None:
                own[QID] = lines.groups
            if self.stem == "position" and (other := lines.counts != len(self.kinds)).any():
                row = int(other.argmax())
                raise lines.refused(row, f"{lines.counts[row]} features, expected {len(self.kinds)} as in other lines")
            features = dict(lines.of(codes_of(lines, self.stem)))
            if others is not None:
                others.update(self.name(code) for code in features.keys() - self.kinds.keys())
            none = np.zeros(0, dtype=np.int64)
            yield pd.DataFrame(own | {self.name(c): self._column(c, features.get(c, none), lines) for c in self.kinds})

    def _column(self, code: int, own: np.ndarray, lines: Lines) -> np.ndarray | pd.Series:
        """Return a column of the features that are its own."""
        name, kind = self.name(code), self.kinds[code]
        row, index, value = lines.row[own], lines.index[own], lines.value[own]
        if kind != "multi" and (twice := np.diff(row) == 0).any():
            hint = f"; if its values are several, give kinds: {{{name}: multi}}" if self.stem == "field" else ""
            raise lines.refused(row[twice.argmax()], f"{name} stands twice{hint}")
        if kind == "numeric":
            if code in self.own and (other := index != self.own[code]).any():
                first = int(other.argmax())
                raise lines.refused(row[first], f"{name} is a number of index {self.own[code]}, found {index[first]}")
            numbers = np.full(len(lines.labels), 0.0 if self.stem == "index" else np.nan)
            numbers[row] = value
            return numbers
        if code not in self.valued and (other := value != 1).any():
            first = int(other.argmax())
            raise lines.refused(row[first], f"{name} has the value {value[first]:g}, where a category has the value 1")
        counts = np.bincount(row, minlength=len(lines.labels))
        ends = pa.array(np.append(0, counts.cumsum()), pa.int32())
        texts = pa.array(index).cast(pa.string())
        if code in self.valued:
            texts = pc.binary_join_element_wise(texts, pa.array(value).cast(pa.string()), MARK)
        joined = pc.binary_join(pa.ListArray.from_arrays(ends, texts), "|")
        return pc.if_else(counts > 0, joined, pa.scalar(None, pa.string())).to_pandas()


@dataclass
class Column:
    """What the lines show of a libffm field: its longest repetition, whether all values are 1, and its index where that
    is always the same."""

    longest: int = 0
    ones: bool = True
    index: int | None = None
    same: bool = True


@dataclass
class Seen:
    """What all lines show: of the fields of libffm text, and of the indices of libsvm text.

    Args:
        form: Of the features; None before the first.
        labels: The distinct ones, or some of them where they are more than two.
        grouped: Whether lines have a `qid`; None before the first.
        columns: libffm's, by number.
        rows: How many lines there are.
        widths: How many features the lines have: the fewest, the most, and all together.
        ones: Whether all values are 1.
        indices: The distinct ones of libsvm text, ascending.
        places: Where in the line each of them stands; None where one stands at several places.
    """

    form: str | None = None
    labels: set[float] = field(default_factory=set)
    grouped: bool | None = None
    columns: dict[int, Column] = field(default_factory=dict)
    rows: int = 0
    widths: tuple[int, int, int] = (2**62, 0, 0)
    ones: bool = True
    indices: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.uint64))
    places: np.ndarray | None = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    def add(self, lines: Lines) -> None:
        """Take a block into account.

        Raises:
            DataError: If some blocks have a `qid` and others have none.
        """
        self.form = self.form or lines.form
        self.labels |= set(np.unique(lines.labels)[:3].tolist())
        if self.grouped not in (None, lines.groups is not None):
            raise lines.refused(0, f"{QID}: stands behind the label of some lines, and not of others")
        self.grouped = lines.groups is not None
        if lines.field is not None:
            for code, own in lines.of(lines.field):
                column, index = self.columns.setdefault(code, Column()), lines.index[own]
                starts = np.flatnonzero(np.r_[True, np.diff(lines.row[own]) != 0])
                column.longest = max(column.longest, int(np.diff(np.r_[starts, len(own)]).max()))
                column.ones &= bool((lines.value[own] == 1).all())
                column.index = int(index[0]) if column.index is None else column.index
                column.same &= bool((index == column.index).all())
            return
        counts = lines.counts
        low, high, total = self.widths
        self.widths = min(low, int(counts.min())), max(high, int(counts.max())), total + len(lines.row)
        self.rows, self.ones = self.rows + len(counts), self.ones and bool((lines.value == 1).all())
        if self.widths[0] != self.widths[1] or not self.ones:
            self.places = None
        if self.places is None and len(self.indices) > MAX_NUMBERS:
            return  # one column for all of them
        both = np.concatenate([self.indices, lines.index])
        if self.places is None:
            self.indices = np.unique(both)
        else:
            self.indices, first, which = np.unique(both, return_index=True, return_inverse=True)
            places = np.concatenate([self.places, codes_of(lines, "position")])
            self.places = places[first] if (places == places[first][which]).all() else None

    def layout(self, given: dict[str, ColumnKind], path: str | Path) -> Layout:
        """Return the columns, some of whose kinds are given.

        Raises:
            ConfigError: If a name that is given is none of such a file's, or one of too many.
            DataError: Where no line has a feature.
        """
        if self.form is None:
            raise DataError(f"{path}: its lines have a label and no features")
        negative = next((low for low in (0.0, -1.0) if self.labels <= {low, 1.0}), None)
        stem, columns = "field", self.columns
        if not columns:
            stem = next(iter(given)).rstrip("0123456789") if given else self.stem()
            if given and stem == "index" and len(self.indices) > MAX_NUMBERS:
                raise ConfigError(f"kinds: {path} has more than {MAX_NUMBERS:,} indices, too many for a column each")
            positions = list(range(1, self.widths[1] + 1))
            codes = {"indices": [0], "index": self.indices.tolist(), "position": positions}
            columns = {c: Column(self.widths[1] if stem == "indices" else 1, self.ones) for c in codes.get(stem, [])}
        found = Layout(self.form, stem, {}, {}, [], {}, negative, bool(self.grouped))
        kinds = {found.name(code): self.kind_of(stem, column) for code, column in columns.items()}
        for name in given:
            if name not in kinds:
                names = "field1, field2, ..." if self.columns else "indices, or index1, ..., or position1, ..."
                raise ConfigError(f"kinds: no column {name!r} in {path}; there are {names}")
        for code, column in sorted(columns.items()):
            kind = (kinds | given)[found.name(code)]
            found.kinds[code], found.longest[code] = kind, column.longest
            if kind == "multi" and not column.ones:
                found.valued.append(code)
            if kind == "numeric" and column.index is not None:
                found.own[code] = column.index
        return found

    def stem(self) -> str:
        """Return what the columns of libsvm text are called."""
        if self.places is not None:
            return "position"
        dense = 2 * self.widths[2] >= self.rows * len(self.indices) and len(self.indices) <= MAX_NUMBERS
        return "index" if dense and not self.ones else "indices"

    def kind_of(self, stem: str, column: Column) -> ColumnKind:
        """Return the kind of a column."""
        if stem in ("index", "indices"):
            return "numeric" if stem == "index" else "multi"
        if column.longest > 1 or not (column.ones or column.same):
            return "multi"
        return "categorical" if column.ones else "numeric"


def codes_of(lines: Lines, stem: str) -> np.ndarray:
    """Return the number of the column of each feature, [t]."""
    if stem == "position":
        counts = lines.counts
        return np.arange(1, len(lines.row) + 1) - np.repeat(np.cumsum(counts) - counts, counts)
    numbers = {"field": lines.field, "index": lines.index, "indices": None}[stem]
    return np.zeros(len(lines.row), dtype=np.uint64) if numbers is None else numbers


def _lines(file: str | Path, form: str | None) -> Iterator[Lines]:
    """Yield the blocks of lines of a file, or of all that fit a pattern, taken apart.

    Raises:
        DataError: If there are none, or one that is none.
    """
    found = None
    for path in existing_files(file):
        for numbers, texts in blocks_of(path):
            found = Lines.parse(path, numbers, texts, form)
            form = found.form
            yield found
    if found is None:
        raise DataError(f"{file}: has no rows")
