"""Prepared data: the parts in rows of the vocabularies, on disk and in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from recgnn.data.interactions.by_time import told_later
from recgnn.data.interactions.compound import Parts
from recgnn.data.interactions.log import ITEM, PARTS, RATING, TIMESTAMP, USER, WEIGHT
from recgnn.data.interactions.part_sizes import TEST, TRAIN, VAL
from recgnn.data.interactions.vocabulary import Vocabulary
from recgnn.data.readers.notation import Notation
from recgnn.data.stored import read_summary, reading, verify, write_summary
from recgnn.errors import RunError
from recgnn.files import atomic_folder, atomic_path, large_array

FORMAT = 5
"""Version of what `prepare` computes and `save` writes; part of the cache key."""

INTERACTIONS, COLD = "interactions.parquet", "cold.parquet"
_FILES = (INTERACTIONS, "users.parquet", "items.parquet")


@dataclass(frozen=True)
class Part:
    """The interactions of train, val or test, in the order of the log.

    Shapes:
        user, item: `[n]` int64 rows of the vocabularies.
        rating: `[n]` float32, or None.
        timestamp: `[n]` int64 or float64 seconds, or None.
        weight: `[n]` float32, or None.
    """

    user: np.ndarray
    item: np.ndarray
    rating: np.ndarray | None = None
    timestamp: np.ndarray | None = None
    weight: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.user)

    def in_order(self) -> Part:
        """Return the rows by time, user, item and rating, so that their order in the log does not matter."""
        columns = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) is not None}
        keys = [columns[name] for name in ("weight", "rating", "item", "user", "timestamp") if name in columns]
        order = np.lexsort(keys)
        return Part(**{name: values[order] for name, values in columns.items()})


@dataclass(frozen=True)
class PreparedLog:
    """A split log in rows of the vocabularies, which are fitted on train, and what was done to get
    there.

    Args:
        train: What models learn from.
        val: What they are chosen by; the test part itself under `GivenSplit(val="test")`; empty if
            not asked for.
        test: What they are measured by.
        users: User ids.
        items: Item ids, with titles where known.
        summary: Counts and descriptions, plain JSON types; see `format_summary`.
        cold: The rows of val and test with a user or item that is not in train, which is -1: no ranking can hold them,
            a rating model has an answer for them.
    """

    train: Part
    val: Part
    test: Part
    users: Vocabulary
    items: Vocabulary
    summary: dict
    cold: dict[str, Part] = field(default_factory=dict)

    @property
    def num_users(self) -> int:
        """U."""
        return len(self.users)

    @property
    def num_items(self) -> int:
        """I."""
        return len(self.items)

    @property
    def name(self) -> str:
        """The name of the data."""
        return self.summary["name"]

    @cached_property
    def identity(self) -> str:
        """A sha256 of whose rows a model's parameters are: the ids of users and items, in their order."""
        digest = hashlib.sha256()
        for vocabulary in (self.users, self.items):
            digest.update(pd.util.hash_array(vocabulary.ids.astype("str").to_numpy(object), categorize=False).tobytes())
        return digest.hexdigest()

    def rows_of(self, earlier: PreparedLog) -> dict[str, np.ndarray]:
        """Return the rows here of an earlier run's users, items and parts of users, -1 for none: by the size's name.

        Raises:
            RunError: If users' ids are made of other columns.
        """
        then, now = Parts(earlier.users), Parts(self.users)
        if then.names != now.names:
            of = [", ".join(p.removeprefix("part:") for p in parts.names) or "one column" for parts in (then, now)]
            raise RunError(f"{earlier.name}: its users are made of {of[0]}, and those of {self.name} of {of[1]}")
        users = self.users.encode(earlier.users.ids.to_series())
        parts = [users] if not now.names else [
            pd.Index(values).get_indexer(pd.Index(old)) for values, old in zip(now.values, then.values, strict=True)
        ]  # fmt: skip
        starts = np.cumsum([0, *now.sizes[:-1]])
        moved = [np.where(rows < 0, -1, rows + start) for rows, start in zip(parts, starts, strict=True)]
        return {"num_users": users, "num_items": self.items.encode(earlier.items.ids.to_series()),
                "part_sizes": np.concatenate(moved)}  # fmt: skip

    def new_since(self, earlier: PreparedLog) -> np.ndarray:
        """Return the rows of train that an earlier run's train does not have: same user, item and time, as often."""
        rows, then = self.rows_of(earlier), earlier.train
        old = {"user": rows["num_users"][then.user], "item": rows["num_items"][then.item]}
        own = {"user": self.train.user, "item": self.train.item}
        if then.timestamp is not None and self.train.timestamp is not None:
            old["time"], own["time"] = then.timestamp.astype(np.float64), self.train.timestamp.astype(np.float64)
        frames = [pd.DataFrame(columns) for columns in (own, old)]
        keys = [frame.assign(copy=frame.groupby([*frame], dropna=False).cumcount()) for frame in frames]
        found = keys[0].merge(keys[1], how="left", on=[*keys[0]], indicator=True)
        return np.flatnonzero(found["_merge"] == "left_only")

    def save(self, folder: str | Path) -> None:
        """Write Parquet files and summary.json (with their sha256), all or nothing.

        Raises:
            RunError: If the folder cannot be written.
        """
        with atomic_folder(folder) as temporary:
            self._write(temporary)

    def _write(self, folder: Path) -> None:
        parts = (
            [self.train, self.test]
            if self.summary["val_is_test"]
            else [self.train, self.val, self.test]
        )
        codes = (TRAIN, TEST) if self.summary["val_is_test"] else (TRAIN, VAL, TEST)
        _write_parts(folder / INTERACTIONS, parts, codes)
        names = [name for name in PARTS if name in self.cold and not (name == "val" and self.summary["val_is_test"])]
        if any(len(self.cold[name]) for name in names):
            _write_parts(folder / COLD, [self.cold[name] for name in names], [PARTS.index(name) for name in names])
        self.users.save(folder / "users.parquet")
        self.items.save(folder / "items.parquet")
        write_summary(folder, self.summary)

    @classmethod
    def load(cls, folder: str | Path) -> PreparedLog:
        """Read what `save` wrote.

        Raises:
            RunError: If something is missing, broken, or of another format version.
        """
        folder = Path(folder)
        summary, files = read_summary(folder, FORMAT)
        with reading(folder, "no prepared data can be read"):
            verify(folder, files, [*_FILES, *(name for name in (COLD,) if name in files)])
            users, items = (Vocabulary.load(folder / f"{name}.parquet") for name in ("users", "items"))
            parts = _read_parts(folder / INTERACTIONS, users, items)
            cold = _read_parts(folder / COLD, users, items) if COLD in files else {}
            cold = {name: part for name, part in cold.items() if len(part)}
            if summary["val_is_test"]:
                parts["val"] = parts["test"]
                cold |= {"val": cold["test"]} if "test" in cold else {}
            if any(len(parts[part]) != summary[part] for part in PARTS):
                raise ValueError("counts and summary do not belong together")
        return cls(**parts, users=users, items=items, summary=summary, cold=cold)


def _write_parts(path: Path, parts: Sequence[Part], codes: Sequence[int]) -> None:
    """Write parts one after the other, told apart by a column of codes."""
    columns = {}
    for name in (USER, ITEM, RATING, TIMESTAMP, WEIGHT):
        arrays = [getattr(part, name) for part in parts]
        if arrays[0] is not None:
            values = np.concatenate(arrays)
            columns[name] = values.astype(np.int32) if name in (USER, ITEM) else values
    columns["part"] = np.repeat(np.array(codes, dtype=np.int8), [len(part) for part in parts])
    with atomic_path(path) as temporary:
        pq.write_table(pa.table(columns), temporary, compression="lz4", write_page_checksum=True)


def _read_parts(path: Path, users: Vocabulary, items: Vocabulary) -> dict[str, Part]:
    """Read what `_write_parts` wrote."""
    with pq.ParquetFile(path, page_checksum_verification=True, pre_buffer=False) as file:  # a buffer would hold it all
        kinds = {f.name: np.int64 if f.name in (USER, ITEM) else f.type.to_pandas_dtype() for f in file.schema_arrow}
        columns = {name: large_array(file.metadata.num_rows, kind) for name, kind in kinds.items()}
        row = 0
        for batch in file.iter_batches(2**20):  # a large log fits in memory once
            for name, values in columns.items():
                values[row : row + len(batch)] = batch[name].to_numpy(zero_copy_only=False)
            row += len(batch)
    if row != file.metadata.num_rows:
        raise ValueError("its footer tells of another number of rows")
    code = columns.pop("part")
    for name, vocabulary in ((USER, users), (ITEM, items)):
        if columns[name].max(initial=0) >= max(1, len(vocabulary)):
            raise ValueError(f"{name} rows and vocabulary do not belong together")
    sizes = np.array([np.count_nonzero(code == number) for number in range(len(PARTS))])  # bincount needs 8 bytes a row
    ends = np.cumsum(sizes)
    return {
        part: Part(**{k: v[end - size : end] for k, v in columns.items()})
        for part, size, end in zip(PARTS, sizes, ends, strict=True)
    }


def format_summary(summary: dict, task: str = "ranking") -> str:
    """Return the summary as text, for a task: a rating model has an answer for rows that are not in train."""
    cold = "cold" if task == "rating" else "dropped"
    times = [] if summary["times"] is None else [f"  times: {Notation(**summary['times']).describe()}"]
    lines = [
        f"{summary['name']}: {summary['users']:,} users, {summary['items']:,} items, "
        f"{summary['interactions']:,} of {summary['read']:,} interactions (density {summary['density']:.3%})",
        *(f"  {cold if d.get('cold') else 'dropped'} {d['rows']:,}: {d['step']}" for d in summary["dropped"]),
        f"  train {summary['train']:,}, val {summary['val']:,}, test {summary['test']:,} ({summary['split']})",
        *(f"  {line}" for line in told_later(summary.get("later"))),
        *times,
    ]
    if task == "ranking" and summary["ratings"] is not None:
        low, high = summary["ratings"]
        rule = summary["positive"]
        told = "every row counts as positive" if rule in (None, "all") else f"positive are rows with {rule}"
        hint = f" (--data.positive 'rating >= {high - (high - low) / 4:g}' says otherwise)" if rule is None else ""
        lines.append(f"  ratings {low:g} to {high:g}: {told}{hint}")
    if summary["weights"]:
        lines.append("  rows have weights, which count in the loss over their mean")
    if summary["repeats"] == "keep":
        lines.append("  repeats are kept: what a user has may be recommended")
    return "\n".join([*lines, *(f"  note: {text}" for text in summary["warnings"])])
