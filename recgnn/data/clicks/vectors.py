"""Vectors that are known before training: of ids, from a file or from a run, beside or in place of learnt ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from recgnn.data.clicks.encoders import UNKNOWN, Categorical, Encoder
from recgnn.data.clicks.fields import Field, as_field
from recgnn.data.interactions.log import ITEM, USER
from recgnn.data.readers.origin import need_columns
from recgnn.data.readers.values import hashed, texts_as, type_of
from recgnn.data.stored import SUMMARY, digest_of, reading
from recgnn.errors import ConfigError, DataError, RunError, first_line


class IdVectors(NamedTuple):
    """Vectors by id.

    Attributes:
        ids: [n].
        vectors: [n, d] float32.
        pairs: Of a run: its training pairs, columns user and item, which must not be tested here.
        rule: Of a run: which rows it was trained on, such as `rating >= 4`; None for all.
    """

    ids: pd.Series
    vectors: np.ndarray
    pairs: pd.DataFrame | None = None
    rule: str | None = None


ReadRun = Callable[[str, str], IdVectors]
"""From a run folder and a side, user or item, to the vectors of that side."""


class Vectors(Categorical):
    """A row for each id of the file, whatever train has; other ids share the row of unknown ones."""

    grows = False

    def __init__(self, field: Field) -> None:
        super().__init__(field)
        self.lacking, self.rows_without, self.seen_rows = set[str](), 0, 0  # of train: ids and rows without a vector

    def take(self, ids: pd.Series) -> None:
        """Learn the ids that have vectors.

        Raises:
            DataError: If one repeats or is empty.
        """
        self.type = type_of(ids)
        texts = pd.Index(texts_as(ids, self.type), dtype="string")
        for wrong, told in ((texts.isna(), "is empty"), (texts.duplicated(), "has a vector already")):
            if wrong.any():
                row = int(wrong.argmax())
                raise DataError(f"{self.field.vectors}, row {row + 1}: the id {ids.iloc[row]} {told}; keep one of each")
        self.values = texts

    def observe(self, column: pd.Series) -> None:
        which, texts = self.distinct(column)
        without = (self.rows(texts) == UNKNOWN)[which]
        self.lacking.update(texts[np.unique(which[without])])
        self.rows_without, self.seen_rows = self.rows_without + int(without.sum()), self.seen_rows + len(column)

    def finish(self) -> None:
        """Nothing is left to learn."""

    def told(self, name: str, vectors: np.ndarray) -> str:
        """Tell, in a line, what the vectors are, and how much of train has none."""
        kind = "trained on" if self.field.trained else "frozen"
        shared = "a vector of zeros" if self.field.missing == "zero" else "a learnt vector"
        share = self.rows_without / max(1, self.seen_rows)
        none = f"{len(self.lacking):,} values of train have none ({share:.1%} of its events): they share {shared}"
        return f"{name}: {len(vectors):,} vectors of {vectors.shape[1]} from {self.field.vectors}, {kind}; {none}"


def read_vectors(column: str, field: Field, read_run: ReadRun | None) -> IdVectors:
    """Read the vectors of a field, brought to mean 0 and, over all numbers, variance 1.

    Args:
        column: Whose values have vectors.
        field: The field, which names a run, a Parquet or a NumPy file.
        read_run: Reads the vectors of a run.

    Raises:
        ConfigError: If they cannot be read for this column.
        DataError: If the file has no ids or vectors, or a number is not finite.
    """
    path, where = Path(str(field.vectors)).expanduser(), f"fields: {column}: vectors {field.vectors}"
    if not path.is_dir() and not (path.is_file() and path.suffix in (".npz", ".parquet")):
        what = "it is none of these" if path.exists() else "there is none"
        raise ConfigError(f"{where}: expected a run folder, a .parquet or a .npz file, and {what}")
    if path.is_dir() and (read_run is None or column not in (USER, ITEM)):
        raise ConfigError(f"{where}: a run has vectors of the columns user and item alone; take a file of vectors")
    try:
        if path.is_dir() and read_run is not None:
            found = read_run(str(path), column)
        else:
            found = _of_numpy(path) if path.suffix == ".npz" else _of_parquet(path, column)
        vectors = found.vectors.astype(np.float32)
    except (RunError, ValueError) as error:
        raise DataError(f"{where}: {first_line(error)}") from error
    if vectors.ndim != 2 or not vectors.size or len(vectors) != len(found.ids):
        raise DataError(f"{path}: {len(found.ids)} ids, vectors of the shape {vectors.shape}; expected one for each id")
    if (wrong := ~np.isfinite(vectors).all(1)).any():
        raise DataError(f"{path}, row {int(wrong.argmax()) + 1}: its vector has a number that is not finite")
    vectors = vectors - vectors.mean(0)
    return found._replace(vectors=vectors / max(float(vectors.std()), 1e-12))


def _of_numpy(path: Path) -> IdVectors:
    with reading(path, "no ids and vectors can be read"), np.load(path, allow_pickle=False) as arrays:
        return IdVectors(pd.Series(arrays["ids"]), arrays["vectors"])


def _of_parquet(path: Path, column: str) -> IdVectors:
    with reading(path, "no ids and vectors can be read"):
        table = pq.read_table(path, page_checksum_verification=True)
    key = next((name for name in (column, "id") if name in table.column_names), None)
    if key is None:
        raise DataError(f"{path}: has no column {column!r} or 'id'; its columns are {', '.join(table.column_names)}")
    others = {name: table.schema.field(name).type for name in table.column_names if name != key}
    lists = [name for name, kind in others.items() if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind)]
    numeric = [name for name, kind in others.items() if pa.types.is_floating(kind) or pa.types.is_integer(kind)]
    chosen = "vector" if "vector" in lists else lists[0] if len(lists) == 1 else None
    if chosen is None and (lists or not numeric):
        raise DataError(f"{path}: expected a column 'vector' of lists, or columns of numbers beside {key!r}")
    with reading(path, "its vectors are not all of one length"):
        columns = [table[name].to_numpy() for name in numeric]
        vectors = np.stack(columns, 1) if chosen is None else np.array(table[chosen].to_pylist(), dtype=np.float32)
    return IdVectors(table[key].to_pandas(), vectors)


def sources_of(fields: Mapping[str, str | dict | Field] | None) -> list[str]:
    """Return the sha256 of the files and runs that the vectors of declared fields come from."""
    given = [as_field(field, str(name)).vectors for name, field in (fields or {}).items()]
    found = []
    for path in (Path(one).expanduser() for one in given if one is not None):
        files = [path] if path.is_file() else [path / "vocabulary" / SUMMARY, *sorted(path.glob("checkpoints/*.ckpt"))]
        found += [f"vectors {path}", *(digest_of(file) for file in files if file.is_file())]
    return found


def told_vectors(encoders: Mapping[str, Encoder], vectors: Mapping[str, IdVectors]) -> list[str]:
    """Tell, in a line for each field that has them, what its vectors are, and where they may know the labels."""
    found = [e.told(name, vectors[name].vectors) for name, e in encoders.items() if isinstance(e, Vectors)]
    for name, own in vectors.items():
        if own.rule is not None:
            found.append(f"{name}: its run was trained on rows with {own.rule} alone; if these are the positives here, "
                         "the vectors know the labels of train: a run of all rows tells more")  # fmt: skip
    return found


def check_split(
    name: str, blocks: Callable[..., Iterable[pd.DataFrame]], part: np.ndarray, columns: Sequence[str],
    vectors: Mapping[str, IdVectors],
) -> None:  # fmt: skip
    """Refuse vectors of a run that was trained on what is tested here.

    Args:
        name: Of the events.
        blocks: Gives named columns of the events.
        part: Of each event, [n].
        columns: Of the events.
        vectors: By field.

    Raises:
        ConfigError: If the events have no users and items.
        DataError: Tells how many pairs of validation and test a run has seen.
    """
    runs = {field: own.pairs for field, own in vectors.items() if own.pairs is not None}
    if not runs:
        return
    need_columns((USER, ITEM), columns, f"vectors of a run: {name}", error=ConfigError)
    keys = np.concatenate([pair_keys(block) for block in blocks((USER, ITEM))])
    later = np.unique(keys[(part > 0) & ~np.isin(keys, keys[part == 0])])
    for field, pairs in runs.items():
        if seen := int(np.isin(later, pair_keys(pairs)).sum()):
            raise DataError(
                f"{field}: the run was trained on {seen:,} of the {len(later):,} pairs of user and item in {name}'s "
                "validation and test parts, which its vectors would give away; train it with the same split of the "
                "same rows"
            )


def pair_keys(frame: pd.DataFrame) -> np.ndarray:
    """Return a number for each pair of user and item, the same in every table: [n] uint64."""
    user, item = (hashed(frame[side]).astype(np.uint64) for side in (USER, ITEM))
    return user * np.uint64(0x9E3779B97F4A7C15) + item * np.uint64(0xC2B2AE3D27D4EB4F)
