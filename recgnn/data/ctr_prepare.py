"""From a table of events to encoded parts: labelled, split, fields fitted on train; cached by content."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from recgnn.data.blocks import numbered, progress
from recgnn.data.cache import prepared_once
from recgnn.data.encoders import distinct_of
from recgnn.data.events import EventSource, check_classes, events_of, labels_of_block
from recgnn.data.field_encoders import FieldEncoders
from recgnn.data.fields import Field, as_text, check_values, declared, guess
from recgnn.data.log import PARTS, POSITION, SPLIT, TIMESTAMP, USER, Origin, Source, clean_times
from recgnn.data.split import LeaveOneOut, RatioSplit, Split, TemporalSplit, WithoutValidation
from recgnn.errors import ConfigError, DataError, RunError, did_you_mean
from recgnn.files import atomic_folder, atomic_path, cache_folder

FORMAT = 3
"""Version of what `prepare_events` computes and `save` writes; part of the cache key."""
_ARRAYS = {"ids": np.int32, "values": np.float32, "labels": np.float32, "groups": np.int64}
MAPPED = 2**20  # bytes from which an array stays on disk


@dataclass(frozen=True)
class EventPart:
    """The events of train, val or test, encoded.

    Shapes:
        ids: `[n, S]` int32 rows of the table of all fields.
        values: `[n, W]` float32 of the W slots that have values other than 1, or None where none has.
        labels: `[n]` float32, 0 or 1.
        groups: `[n]` int64, whose events are ranked against each other (the users, hashed); or None.
    """

    ids: np.ndarray
    values: np.ndarray | None
    labels: np.ndarray
    groups: np.ndarray | None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(getattr(self, kind).nbytes for kind in _ARRAYS if getattr(self, kind) is not None)


@dataclass(frozen=True)
class PreparedEvents:
    """Encoded parts, the encoding, and what was done to get there.

    Args:
        train: What models learn from.
        val: What they are chosen by.
        test: What they are measured by.
        encoders: The encoding, fitted on train.
        summary: Counts and descriptions, plain JSON types.
        folder: Where they were read from.
    """

    train: EventPart
    val: EventPart
    test: EventPart
    encoders: FieldEncoders
    summary: dict
    folder: Path

    @property
    def name(self) -> str:
        return self.summary["name"]

    def save(self, folder: str | Path) -> None:
        """Writes the fields, an array file per column and summary.json, all or nothing; arrays that lie on the same
        disk already are linked, not copied.

        Raises:
            RunError: If the folder cannot be written.
        """
        with atomic_folder(folder) as temporary:
            self.encoders.save(temporary)
            for name in PARTS:
                for kind in _ARRAYS:
                    array = getattr(getattr(self, name), kind)
                    if array is not None and not (name == "val" and self.val is self.test):
                        _put(array, temporary / f"{name}.{kind}.npy")
            with atomic_path(temporary / "summary.json") as path:
                path.write_text(json.dumps(self.summary, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: str | Path) -> PreparedEvents:
        """Reads what `save` wrote; the arrays stay on disk until they are used.

        Raises:
            RunError: If something is missing, broken, or of another format version.
        """
        folder = Path(folder)
        try:
            summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
            if summary["format"] != FORMAT:
                raise RunError(f"{folder}: written in format {summary['format']}, this version reads {FORMAT}")
            parts = {}
            for name in PARTS:
                if name == "val" and summary["val_is_test"]:
                    continue
                files = {kind: folder / f"{name}.{kind}.npy" for kind in _ARRAYS}
                arrays = {k: _array(f) if f.is_file() else None for k, f in files.items()}
                if len({len(a) for a in arrays.values() if a is not None} | {summary[name]}) != 1:
                    raise ValueError("arrays and summary do not belong together")
                parts[name] = EventPart(**arrays)
        except (OSError, LookupError, TypeError, ValueError, EOFError) as error:
            raise RunError(f"{folder}: no prepared events can be read: {str(error).splitlines()[0]}") from error
        if summary["val_is_test"]:
            parts["val"] = parts["test"]
        return cls(**parts, encoders=FieldEncoders.load(folder), summary=summary, folder=folder)

    def describe(self) -> str:
        """The summary as a compact block of text."""
        s = self.summary
        shown = "{:.1%} positive" if s["task"] == "ctr" else "mean {:.4g}"
        rates = ", ".join(f"{part} {s[part]:,} ({shown.format(s['positive'][part])})" for part in PARTS if s[part])
        lines = [
            f"{s['name']}: {sum(s[part] for part in PARTS):,} events, label {s['label']}, "
            f"{len(self.encoders.names)} fields, {sum(self.encoders.dims):,} rows",
            f"  {rates} ({s['split']})",
            *(f"  {line}" for line in self.encoders.describe()),
        ]
        if s["guessed"]:
            lines.append("  the fields are guessed; data.init_args.fields declares them")
        return "\n".join(lines)


def _array(path: Path) -> np.ndarray:
    return np.load(path, mmap_mode="r", allow_pickle=False) if path.stat().st_size > MAPPED else np.load(path)


def _put(array: np.ndarray, path: Path) -> None:
    """An array as a file: as a link to its own, where it has one and the disk allows."""
    own = getattr(array, "filename", None)
    if own is None or not Path(own).is_file():
        np.save(path, array, allow_pickle=False)
        return
    try:
        os.link(own, path)
    except OSError:
        shutil.copyfile(own, path)


def prepare_events(
    source: Source | EventSource,
    label: str,
    fields: dict[str, str | dict | Field] | None,
    split: Split,
    group: str | None = None,
    cache_dir: str | Path | None = None,
    task: str = "ctr",
) -> PreparedEvents:
    """Reads, labels, splits and encodes events; the result is cached by content.

    Args:
        source: Where the events come from.
        label: A column of 0 and 1, or a rule such as `rating >= 4`.
        fields: By column; None guesses.
        split: Gives every event its part.
        group: The column whose events are ranked against each other; None: `user` if there is one.
        cache_dir: Folder of the cache; $RECGNN_CACHE or ~/.cache/recgnn when None.
        task: `ctr`, labels are 0 or 1; or `regression`, they are numbers.

    Raises:
        DataError: For labels, fields or parts that cannot be.
    """
    stated = None if fields is None else {n: v.as_dict() if isinstance(v, Field) else v for n, v in fields.items()}
    kind = f"{type(split).__module__}.{type(split).__qualname__} {split!r}"
    steps = [source.fingerprint(), label, json.dumps(stated), kind, str(group), f"{task}, events format {FORMAT}"]
    place, scratch = "events", []

    def make() -> PreparedEvents:
        scratch.append(_scratch(cache_folder(cache_dir) / place))
        return compute_events(source, label, fields, split, group, Path(scratch[-1].name), task)

    found = prepared_once(PreparedEvents, place, steps, make, cache_dir)
    for folder in scratch:
        if found.folder == Path(folder.name):  # there is no cache; it goes with the process
            _kept.append(folder)
        else:
            folder.cleanup()
    return found


def _scratch(beside: Path) -> tempfile.TemporaryDirectory:
    """A temporary folder, on the cache's disk if it can be."""
    try:
        beside.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryDirectory(prefix=".tmp-", dir=beside, ignore_cleanup_errors=True)
    except OSError:
        return tempfile.TemporaryDirectory(ignore_cleanup_errors=True)


_kept: list[tempfile.TemporaryDirectory] = []
Blocks = Callable[[], Iterator[pd.DataFrame]]


def compute_events(
    source: Source | EventSource,
    label: str,
    fields: dict[str, str | dict | Field] | None,
    split: Split,
    group: str | None,
    folder: Path,
    task: str = "ctr",
) -> PreparedEvents:
    """`prepare_events` without the cache, into a folder.

    The events are read three times, block by block: for labels and parts, for the fields, which see train alone, and
    for the encoding, which is written as it is made. What grows with their number is two bytes an event, and the times
    and users that the split needs.
    """
    if isinstance(source, EventSource):
        name, blocks = source.name, lambda columns=None: numbered(source.blocks(columns))
    else:
        frame, name = events_of(source)
        blocks = lambda columns=None: iter([frame if columns is None else frame[[*columns]]])  # noqa: E731
    labels, part, labelled = _parts(name, blocks, label, split, group, task)
    if task == "ctr" and not 0 < labels[part == 0].mean() < 1:
        raise DataError(f"{name}: all labels ({label}) of the train part are the same; choose another split")
    total = len(labels)
    with progress(f"reading {name}", total) as step:
        encoders, whose = _fit(blocks, fields, part, {labelled, SPLIT}, group, step)
    with progress(f"encoding {name}", total) as step:
        _encode(blocks, encoders, labels, part, whose, folder, step)
    counts = {p: int((part == code).sum()) for code, p in enumerate(PARTS)}
    positive = {p: float(labels[part == code].mean()) if counts[p] else 0.0 for code, p in enumerate(PARTS)}
    if split.val_is_test:
        counts["val"], positive["val"] = counts["test"], positive["test"]
    summary = {
        "format": FORMAT,
        "name": name,
        "label": label,
        "group": whose,
        "fields": len(encoders.names),
        "rows": sum(encoders.dims),
        **counts,
        "positive": positive,
        "task": task,
        "split": split.describe(),
        "val_is_test": split.val_is_test,
        "guessed": fields is None,
    }
    encoders.save(folder)
    (folder / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    return PreparedEvents.load(folder)


def _parts(
    name: str, blocks: Blocks, label: str, split: Split, group: str | None, task: str
) -> tuple[np.ndarray, np.ndarray, str]:
    """Labels [n] uint8 (or float32, numbers), parts [n] int8, and the column of the label."""
    labels, keys, columns = [], [], None
    for block in blocks():
        if columns is None:
            columns = [str(c) for c in block.columns]
            _check_columns(name, columns, split, group)
        found, labelled = labels_of_block(block, label, task)
        labels.append(found.astype(np.uint8) if task == "ctr" else found)
        keys.append(block[[c for c in (USER, TIMESTAMP, POSITION, SPLIT) if c in block and _needed(split, c)]])
    labels = np.concatenate(labels)
    if not len(labels):
        raise DataError(f"{name}: holds no events")
    check_classes(labels.min(), labels.max(), len(labels), label)
    frame = pd.concat(keys, ignore_index=True)
    timed = isinstance(split, TemporalSplit) or getattr(split, "order", "") == "time"
    if timed and TIMESTAMP in frame:
        frame[TIMESTAMP] = clean_times(frame[TIMESTAMP], TIMESTAMP, Origin(name))
    return labels, np.asarray(split.split(frame)).astype(np.int8), labelled


def _needed(split: Split, column: str) -> bool:
    """Whether a split looks at a column; one that we do not know may look at all of them."""
    if isinstance(split, WithoutValidation):
        return _needed(split.of, column)
    return not (isinstance(split, RatioSplit) and split.by == "all" and split.order == "random")


def _check_columns(name: str, columns: list[str], split: Split, group: str | None) -> None:
    split = split.of if isinstance(split, WithoutValidation) else split
    if USER not in columns and (getattr(split, "by", None) == "user" or isinstance(split, LeaveOneOut)):
        raise ConfigError(f"{name}: the events have no column user to split by; take RatioSplit with by: all")
    if group is not None and group not in columns:
        there, near = ", ".join(columns[:20]), did_you_mean(group, columns)
        raise ConfigError(f"group: {name} has no column {group!r}{near}; there are: {there}")


def _fit(
    blocks: Blocks,
    fields: dict[str, str | dict | Field] | None,
    part: np.ndarray,
    excluded: set[str],
    group: str | None,
    step: Callable[[int], None],
) -> tuple[FieldEncoders, str | None]:
    """The encoding, learnt from train, and the column of the groups. Fields are guessed from the first block."""
    for column in sorted(excluded & set(fields or {})):
        raise ConfigError(f"fields: {column!r} holds the {'split' if column == SPLIT else 'label'} and is no field")
    encoders, whose, start = None, group, 0
    for block in blocks():
        train = block[part[start : start + len(block)] == 0]
        start += len(block)
        if encoders is None and len(train):
            columns = [c for c in block.columns if c not in excluded]
            check_values(block)
            found = guess(train, excluded) if fields is None else declared(fields, columns)
            encoders = FieldEncoders({column: field for column, field in found.items() if field.kind != "drop"})
            whose = group or (USER if USER in block else None)
        if len(train):
            encoders.observe(train)
        step(len(block))
    return encoders.finish(), whose


def _encode(
    blocks: Blocks,
    encoders: FieldEncoders,
    labels: np.ndarray,
    part: np.ndarray,
    whose: str | None,
    folder: Path,
    step: Callable[[int], None],
) -> None:
    """Write every part's arrays, a block at a time."""
    weighted = np.flatnonzero(encoders.weighted)
    shapes = {"ids": (len(encoders.slots),), "values": (len(weighted),), "labels": (), "groups": ()}
    with ExitStack() as stack:
        files = {}
        for code, name in enumerate(PARTS):
            for kind, shape in shapes.items():
                if (kind == "values" and not len(weighted)) or (kind == "groups" and whose is None):
                    continue
                file = stack.enter_context(open(folder / f"{name}.{kind}.npy", "wb"))
                described = np.dtype(_ARRAYS[kind]).str, False, (int((part == code).sum()), *shape)
                header = dict(zip(("descr", "fortran_order", "shape"), described, strict=True))
                np.lib.format.write_array_header_1_0(file, header)
                files[code, kind] = file
        start = 0
        for block in blocks():
            stop = start + len(block)
            ids, values = encoders.encode(block)
            arrays = {"ids": ids, "labels": labels[start:stop]}
            arrays |= {"values": values[:, weighted]} if len(weighted) else {}
            arrays |= {"groups": _hashed(block[whose])} if whose is not None else {}
            for code in range(len(PARTS)):
                rows = part[start:stop] == code
                for kind, array in arrays.items():
                    files[code, kind].write(np.ascontiguousarray(array[rows], dtype=_ARRAYS[kind]).data)
            start = stop
            step(len(block))


def _hashed(column: pd.Series) -> np.ndarray:
    """A number for each value, the same in every block: [n] int64, not negative."""
    which, values = distinct_of(column)
    digest = pd.util.hash_array(as_text(values).fillna("").to_numpy(object), categorize=False)
    return (digest >> np.uint64(2)).astype(np.int64)[which]
