"""Lines of sparse text, libsvm's and libffm's, taken apart a block at a time."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from recgnn.data.readers.lines import numbered_lines
from recgnn.data.readers.origin import shown
from recgnn.data.readers.parquet import is_parquet
from recgnn.data.readers.tables import ROWS
from recgnn.errors import DataError
from recgnn.files import existing_files

CHARACTERS = 2**26  # of a block, where its lines are long
QID = "qid"
_TYPES = {"field": pa.uint64(), "index": pa.uint64(), "value": pa.float64()}


@dataclass(frozen=True)
class Lines:
    """A block of lines, taken apart into n labels and t features.

    Args:
        path: Their file.
        form: `index:value` or `field:index:value`; None where no line has a feature.
        numbers: Where the lines stand in the file, [n].
        labels: Finite numbers, [n].
        groups: What follows `qid:`, [n]; None where lines have none.
        row: The line of each feature, 0 to n - 1, ascending, [t].
        field: [t], or None in libsvm text.
        index: [t].
        value: [t].
    """

    path: Path
    form: str | None
    numbers: list[int]
    labels: np.ndarray
    groups: pd.Series | None
    row: np.ndarray
    field: np.ndarray | None
    index: np.ndarray
    value: np.ndarray

    @classmethod
    def parse(cls, path: Path, numbers: list[int], texts: list[str], form: str | None) -> Lines:
        """Take lines apart; the form is that of the first feature when None.

        Raises:
            DataError: For the first label, qid or feature that is none.
        """
        words = pc.ascii_split_whitespace(pa.array(texts))
        starts, sizes, flat = words.offsets.to_numpy()[:-1], words.value_lengths().to_numpy(), words.flatten()
        row = np.repeat(np.arange(len(texts)), sizes)
        labels = pd.to_numeric(flat.take(starts).to_pandas(), errors="coerce").to_numpy(np.float64, na_value=np.nan)
        for wrong in np.flatnonzero(~np.isfinite(labels))[:1]:
            raise DataError(
                f"{path}, line {numbers[wrong]}: {shown(flat[starts[wrong]].as_py())} is no label; expected 1 and 0, "
                "1 and -1, or numbers"
            )
        feature = np.ones(len(flat), dtype=bool)
        feature[starts] = False
        groups = _groups(path, numbers, flat, starts, sizes)
        if groups is not None:
            feature[starts + 1] = False
        row, flat = row[feature], flat.filter(feature)
        if len(flat) and form is None:
            form = "field:index:value" if flat[0].as_py().count(":") == 2 else "index:value"
        parts = {name: np.zeros(0, kind.to_pandas_dtype()) for name, kind in _TYPES.items() if name in (form or "")}
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
        none = np.zeros(0)
        index, value = parts.get("index", none.astype(np.uint64)), parts.get("value", none)
        return cls(path, form, numbers, labels, groups, row, parts.get("field"), index, value)

    @property
    def counts(self) -> np.ndarray:
        """How many features each line has, [n]."""
        return np.bincount(self.row, minlength=len(self.labels))

    def of(self, numbers: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Yield the distinct numbers, given one for each feature, and which features have them, in order."""
        codes = numbers.astype(np.min_scalar_type(numbers.max(initial=0)))  # short ones are sorted faster
        order = np.argsort(codes, kind="stable")
        found, starts = np.unique(codes[order], return_index=True)
        yield from zip(found.tolist(), np.split(order, starts[1:]), strict=False)

    def refused(self, row: int, why: str) -> DataError:
        """Return an error that names a line."""
        return DataError(f"{self.path}, line {self.numbers[row]}: {why}")


def _groups(
    path: Path, numbers: list[int], flat: pa.Array, starts: np.ndarray, sizes: np.ndarray
) -> pd.Series | None:
    """Return what follows the `qid:` of every line, which stands behind the label; None where no line has it.

    Raises:
        DataError: For a line that has none where another has.
    """
    second = flat.take(np.minimum(starts + 1, len(flat) - 1))
    there = pc.match_substring_regex(second, f"^{QID}:.").to_numpy(zero_copy_only=False) & (sizes > 1)
    if not there.any():
        return None
    if not there.all():
        line = numbers[int(there.argmin())]
        raise DataError(f"{path}, line {line}: no {QID}: behind the label, which other lines have")
    return pc.utf8_slice_codeunits(second, len(QID) + 1).to_pandas()


def blocks_of(path: Path) -> Iterator[tuple[list[int], list[str]]]:
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


def is_sparse_text(path: str | Path) -> bool:
    """Return whether the first line of a file is a label, with features or nothing behind it."""
    path = existing_files(path, "table")[0]
    for _, line in numbered_lines(path) if not is_parquet(path) else ():
        words = line.partition("#")[0].split()
        if words:
            return bool(re.fullmatch(r"[-+]?[0-9.]+(e[-+]?[0-9]+)?", words[0], re.IGNORECASE)) and all(
                re.match(rf"([0-9]+|{QID}):", word) for word in words[1:]
            )
    return False
