"""Sparse text, libsvm's and libffm's, as columns."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from recgnn.data.cache import fingerprint
from recgnn.data.clicks.events import EventSource, part_files
from recgnn.data.interactions.log import PARTS, SPLIT
from recgnn.data.readers.lines import numbered_lines
from recgnn.data.readers.origin import shown
from recgnn.data.readers.tables import ROWS
from recgnn.errors import ConfigError, DataError
from recgnn.files import existing_file

CHARACTERS = 2**26  # of a block, where its lines are long
MAX_NUMBERS = 1000  # columns of libsvm text
_TYPES = {"field": pa.uint64(), "index": pa.uint64(), "value": pa.float64()}

ColumnKind = Literal["categorical", "numeric", "multi"]


class SparseText(EventSource):
    """Events as lines of sparse text: libffm's `label field:index:value ...` or libsvm's `label index:value ...`.

    Labels are 1 and 0, or 1 and -1. What the columns are is decided by the first block of lines; later ones that do
    not fit are refused.

    - libffm: `field<number>` for each field. Text of the index where values are 1, indices joined by `|` where a line
      repeats the field; the value where the index is always the same and values differ.
    - libsvm, all values 1: `position1`, `position2`, ... with an index each where lines are equally long, as Frappe's;
      otherwise one column `indices`, joined by `|`.
    - libsvm, other values: `index<number>`, the number of each index, 0 where a line has none; at most 1,000 of them.

    Args:
        path: The events; or None, with the three others.
        train: The events to learn from.
        val: Those to choose by.
        test: Those to measure by.
        kinds: By column, what the first lines do not show: `multi` for a field that repeats only later, `indices:
            multi` where lines are equally long by chance, a field or an index that comes up only later.
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

    def blocks(self, columns: Collection[str] | None = None) -> Iterator[pd.DataFrame]:
        """Yield the events in frames of at most `ROWS` rows, of all columns or of some."""
        layout = None
        for part, file in self.files.items():
            path = existing_file(file)
            rows = 0
            for numbers, texts in _texts(path):
                lines = Lines.parse(path, numbers, texts, None if layout is None else layout.form)
                layout = layout or Layout.of(lines, self.kinds)
                frame = layout.frame(lines)
                rows += len(frame)
                if len(self.files) > 1:
                    codes = np.full(len(frame), PARTS.index(part), dtype=np.int8)
                    frame = frame.assign(**{SPLIT: pd.Categorical.from_codes(codes, pd.Index(PARTS))})
                yield frame if columns is None else frame[[*columns]]
            if not rows:
                raise DataError(f"{path}: has no rows")

    def events(self) -> pd.DataFrame:
        return pd.concat(self.blocks(), ignore_index=True)

    def fingerprint(self) -> str:
        return fingerprint(self, [sorted(self.files), self.kinds, self.name], list(self.files.values()))


@dataclass(frozen=True)
class Lines:
    """A block of lines, taken apart into n labels and t features.

    Args:
        path: Their file.
        form: `index:value` or `field:index:value`.
        numbers: Where the lines stand in the file, [n].
        labels: 1, 0 or -1, [n].
        row: The line of each feature, 0 to n - 1, ascending, [t].
        field: [t], or None in libsvm text.
        index: [t].
        value: [t].
    """

    path: Path
    form: str
    numbers: list[int]
    labels: np.ndarray
    row: np.ndarray
    field: np.ndarray | None
    index: np.ndarray
    value: np.ndarray

    @classmethod
    def parse(cls, path: Path, numbers: list[int], texts: list[str], form: str | None) -> Lines:
        """Take lines apart; the form is that of the first feature when None.

        Raises:
            DataError: For the first label or feature that is none.
        """
        words = pc.ascii_split_whitespace(pa.array(texts))
        starts, flat = words.offsets.to_numpy()[:-1], words.flatten()
        row = np.repeat(np.arange(len(texts)), words.value_lengths())
        labels = pd.to_numeric(flat.take(starts).to_pandas(), errors="coerce").to_numpy(np.float64)
        for wrong in np.flatnonzero(~np.isin(labels, (-1, 0, 1)))[:1]:
            raise DataError(
                f"{path}, line {numbers[wrong]}: {shown(flat[starts[wrong]].as_py())} is no label; expected 1 and 0, "
                "or 1 and -1"
            )
        feature = np.ones(len(flat), dtype=bool)
        feature[starts] = False
        row, flat = row[feature], flat.filter(feature)
        if not len(flat) and form is None:
            raise DataError(f"{path}: its first {len(texts):,} lines have a label and no features")
        form = form or ("field:index:value" if flat[0].as_py().count(":") == 2 else "index:value")
        parts = {name: np.zeros(0, kind.to_pandas_dtype()) for name, kind in _TYPES.items() if name in form}
        if len(flat):
            joined = pc.binary_join(pa.ListArray.from_arrays([0, len(flat)], flat), "\n")[0].as_buffer()
            try:
                table = pa.csv.read_csv(
                    joined,
                    pa.csv.ReadOptions(column_names=list(parts), use_threads=False),  # counts the rows
                    pa.csv.ParseOptions(delimiter=":", quote_char=False),
                    pa.csv.ConvertOptions(column_types=_TYPES, null_values=[]),
                )
            except pa.ArrowInvalid as error:
                named = re.search(r"Row #(\d+)", str(error))
                wrong = int(named[1]) - 1 if named else 0
                raise DataError(
                    f"{path}, line {numbers[row[wrong]]}: {shown(flat[wrong].as_py())} is no feature; expected {form}"
                ) from error
            parts = {name: table[name].to_numpy() for name in parts}
        for wrong in np.flatnonzero(~np.isfinite(parts["value"]))[:1]:
            raise DataError(f"{path}, line {numbers[row[wrong]]}: {flat[wrong].as_py()} has no finite value")
        return cls(path, form, numbers, labels, row, parts.get("field"), parts["index"], parts["value"])

    def refused(self, row: int, why: str) -> DataError:
        """Return an error that names a line."""
        return DataError(f"{self.path}, line {self.numbers[row]}: {why}")


@dataclass
class Layout:
    """What the columns are, found out from a first block of lines.

    Args:
        form: Of the features.
        stem: What columns are called: `field`, `position` or `index`, each with a number, or `indices`.
        kinds: By their numbers.
        width: How many features a line has, in `position`.
        own: The index that a numeric field has in every line.
        negative: The label of the negative events, 0 or -1; None before the first.
    """

    form: str
    stem: str
    kinds: dict[int, ColumnKind]
    width: int
    own: dict[int, int] = field(default_factory=dict)
    negative: float | None = None

    @classmethod
    def of(cls, lines: Lines, given: dict[str, ColumnKind]) -> Layout:
        """Return the columns of the first block.

        Raises:
            ConfigError: If a name that is given is none of such a file's.
            DataError: For more numbers than columns can hold.
        """
        counts = np.bincount(lines.row, minlength=len(lines.labels))
        ones = lines.value == 1
        if lines.field is not None:
            stem = "field"
        elif given:
            stem = next(iter(given)).rstrip("0123456789")
        elif not ones.all():
            stem = "index"
        else:
            stem = "position" if (counts == counts[0]).all() else "indices"
        may = ("field[0-9]+",) if lines.field is not None else ("indices", "index[0-9]+")
        for name in given:
            if not any(re.fullmatch(each, name) for each in may) or not name.startswith(stem):
                names = "field1, field2, ..." if lines.field is not None else "indices, or index1, index2, ..."
                raise ConfigError(f"kinds: no column {name!r} in {lines.path}; there are {names}")
        found = cls(lines.form, stem, {}, int(counts[0]))
        found.kinds = {code: found.kind_of(lines, own) for code, own in found.features_of(lines)}
        found.kinds |= {int(name.removeprefix(stem) or 0): kind for name, kind in given.items()}
        found.kinds = dict(sorted(found.kinds.items()))
        if stem == "index" and len(found.kinds) > MAX_NUMBERS:
            first = int(ones.argmin())
            raise lines.refused(
                lines.row[first],
                f"index {lines.index[first]} has the value {lines.value[first]:g}, and a column for each of "
                f"{len(found.kinds):,} indices is too much (at most {MAX_NUMBERS:,}); without a column each, values "
                "have to be 1",
            )
        return found

    def kind_of(self, lines: Lines, own: np.ndarray) -> ColumnKind:
        """Return the kind of a column, by the features that are its own."""
        if self.stem == "index":
            return "numeric"
        if self.stem == "indices" or (np.diff(lines.row[own]) == 0).any():
            return "multi"
        return "categorical" if (lines.value[own] == 1).all() else "numeric"

    def name(self, code: int) -> str:
        return self.stem if self.stem == "indices" else f"{self.stem}{code}"

    def features_of(self, lines: Lines) -> Iterator[tuple[int, np.ndarray]]:
        """Yield the number of each column and which features are its own, in order."""
        if self.stem == "position":
            counts = np.bincount(lines.row, minlength=len(lines.labels))
            codes = np.arange(1, len(lines.row) + 1) - np.repeat(np.cumsum(counts) - counts, counts)
        else:
            numbers = {"field": lines.field, "index": lines.index, "indices": np.zeros_like(lines.index)}
            codes = np.asarray(numbers[self.stem])
        codes = codes.astype(np.min_scalar_type(codes.max(initial=0)))  # short ones are sorted faster
        order = np.argsort(codes, kind="stable")
        found, starts = np.unique(codes[order], return_index=True)
        yield from zip(found.tolist(), np.split(order, starts[1:]), strict=False)

    def frame(self, lines: Lines) -> pd.DataFrame:
        """Return the label and the columns of a block.

        Raises:
            DataError: For the first line that does not fit.
        """
        low = lines.labels != 1
        if low.any() and self.negative is None:
            self.negative = lines.labels[low][0]
        if (mixed := low & (lines.labels != self.negative)).any():
            raise lines.refused(int(mixed.argmax()), "labels 0 and -1 in one data set; expected 1 and one of them")
        if self.stem == "position":
            counts = np.bincount(lines.row, minlength=len(lines.labels))
            if (other := counts != self.width).any():
                row = int(other.argmax())
                raise lines.refused(
                    row,
                    f"{counts[row]} features where lines before have {self.width}; if lines differ, give kinds: "
                    "{indices: multi}",
                )
        features = dict(self.features_of(lines))
        for code, own in features.items():
            if code not in self.kinds:
                hint = f"{{{self.name(code)}: {self.kind_of(lines, own)}}}"
                raise lines.refused(lines.row[own[0]], f"the first lines have no {self.name(code)}; give kinds: {hint}")
        none = np.zeros(0, dtype=np.int64)
        made = {self.name(c): self._column(c, features.get(c, none), lines) for c in self.kinds}
        return pd.DataFrame({"label": (~low).astype(np.int64), **made})

    def _column(self, code: int, own: np.ndarray, lines: Lines) -> np.ndarray | pd.Series:
        """Return a column of the features that are its own."""
        name, kind = self.name(code), self.kinds[code]
        row, index, value = lines.row[own], lines.index[own], lines.value[own]
        if kind != "multi" and (twice := np.diff(row) == 0).any():
            several = self.stem == "field" and (value == 1).all()
            hint = f"; if its values are several, give kinds: {{{name}: multi}}" if several else ""
            raise lines.refused(row[twice.argmax()], f"{name} stands twice{hint}")
        if kind == "numeric":
            if len(own) and (other := index != self.own.setdefault(code, int(index[0]))).any():
                first = int(other.argmax())
                raise lines.refused(
                    row[first],
                    f"{name} has index {index[first]}, and {self.own[code]} before; with values other than 1 a field "
                    "has one index, of a number",
                )
            numbers = np.full(len(lines.labels), 0.0 if self.stem == "index" else np.nan)
            numbers[row] = value
            return numbers
        if (other := value != 1).any():
            first = int(other.argmax())
            number = self.stem == "field" and kind == "categorical"
            hint = f"; if it is a number, give kinds: {{{name}: numeric}}" if number else ""
            raise lines.refused(
                row[first], f"{name} has the value {value[first]:g}, where a category has the value 1{hint}"
            )
        counts = np.bincount(row, minlength=len(lines.labels))
        ends = pa.array(np.append(0, counts.cumsum()), pa.int32())
        joined = pc.binary_join(pa.ListArray.from_arrays(ends, pa.array(index).cast(pa.string())), "|")
        return pc.if_else(counts > 0, joined, pa.scalar(None, pa.string())).to_pandas()


def _texts(path: Path) -> Iterator[tuple[list[int], list[str]]]:
    """Yield numbers and texts of lines, a block at a time, without comments (#) and lines that are blank."""
    numbers, texts, size = [], [], 0
    for number, line in numbered_lines(path):
        text = line.partition("#")[0].strip()
        if text:
            numbers.append(number)
            texts.append(text)
            size += len(text)
        if len(texts) >= ROWS or size > CHARACTERS:
            yield numbers, texts
            numbers, texts, size = [], [], 0
    if texts:
        yield numbers, texts
