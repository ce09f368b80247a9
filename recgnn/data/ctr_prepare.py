"""From a table of events to encoded parts: labelled, split, fields fitted on train; cached by content."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from recgnn.data.cache import prepared_once
from recgnn.data.events import EventSource, events_of, labels_of
from recgnn.data.field_encoders import FieldEncoders
from recgnn.data.fields import Field, check_values, declared, guess
from recgnn.data.log import PARTS, SPLIT, TIMESTAMP, USER, Origin, Source, clean_times
from recgnn.data.split import LeaveOneOut, Split, TemporalSplit
from recgnn.errors import ConfigError, DataError, RunError, did_you_mean
from recgnn.files import atomic_folder, atomic_path

FORMAT = 2
"""Version of what `prepare_events` computes and `save` writes; part of the cache key."""
_ARRAYS = ("ids", "values", "labels", "groups")


@dataclass(frozen=True)
class EventPart:
    """The events of train, val or test, encoded.

    Shapes:
        ids: `[n, S]` int32 rows of the table of all fields.
        values: `[n, S]` float32, or None where every feature is 1.
        labels: `[n]` float32, 0 or 1.
        groups: `[n]` int32, whose events are ranked against each other (the users); or None.
    """

    ids: np.ndarray
    values: np.ndarray | None
    labels: np.ndarray
    groups: np.ndarray | None

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class PreparedEvents:
    """Encoded parts, the encoding, and what was done to get there.

    Args:
        train: What models learn from.
        val: What they are chosen by.
        test: What they are measured by.
        encoders: The encoding, fitted on train.
        summary: Counts and descriptions, plain JSON types.
    """

    train: EventPart
    val: EventPart
    test: EventPart
    encoders: FieldEncoders
    summary: dict

    @property
    def name(self) -> str:
        return self.summary["name"]

    def save(self, folder: str | Path) -> None:
        """Writes the fields, an array file per column and summary.json, all or nothing.

        Raises:
            RunError: If the folder cannot be written.
        """
        with atomic_folder(folder) as temporary:
            self.encoders.save(temporary)
            for name in PARTS:
                for kind in _ARRAYS:
                    array = getattr(getattr(self, name), kind)
                    if array is not None:
                        np.save(temporary / f"{name}.{kind}.npy", array, allow_pickle=False)
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
                files = {kind: folder / f"{name}.{kind}.npy" for kind in _ARRAYS}
                arrays = {k: _array(f) if f.is_file() else None for k, f in files.items()}
                if len({len(a) for a in arrays.values() if a is not None} | {summary[name]}) != 1:
                    raise ValueError("arrays and summary do not belong together")
                parts[name] = EventPart(**arrays)
        except (OSError, LookupError, TypeError, ValueError, EOFError) as error:
            raise RunError(f"{folder}: no prepared events can be read: {str(error).splitlines()[0]}") from error
        return cls(**parts, encoders=FieldEncoders.load(folder), summary=summary)

    def describe(self) -> str:
        """The summary as a compact block of text."""
        s = self.summary
        rates = ", ".join(f"{part} {s[part]:,} ({s['positive'][part]:.1%} positive)" for part in PARTS if s[part])
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
    return np.load(path, mmap_mode="r", allow_pickle=False) if path.stat().st_size > 2**20 else np.load(path)


def prepare_events(
    source: Source | EventSource,
    label: str,
    fields: dict[str, str | dict | Field] | None,
    split: Split,
    group: str | None = None,
    cache_dir: str | Path | None = None,
) -> PreparedEvents:
    """Reads, labels, splits and encodes events; the result is cached by content.

    Args:
        source: Where the events come from.
        label: A column of 0 and 1, or a rule such as `rating >= 4`.
        fields: By column; None guesses.
        split: Gives every event its part.
        group: The column whose events are ranked against each other; None: `user` if there is one.
        cache_dir: Folder of the cache; $RECGNN_CACHE or ~/.cache/recgnn when None.

    Raises:
        DataError: For labels, fields or parts that cannot be.
    """
    stated = None if fields is None else {n: v.as_dict() if isinstance(v, Field) else v for n, v in fields.items()}
    kind = f"{type(split).__module__}.{type(split).__qualname__} {split!r}"
    steps = [source.fingerprint(), label, json.dumps(stated), kind, str(group), f"events format {FORMAT}"]
    return prepared_once(
        PreparedEvents, "events", steps, lambda: compute_events(source, label, fields, split, group), cache_dir
    )


def compute_events(
    source: Source | EventSource,
    label: str,
    fields: dict[str, str | dict | Field] | None,
    split: Split,
    group: str | None,
) -> PreparedEvents:
    """`prepare_events` without the cache."""
    frame, name = events_of(source)
    labels, labelled = labels_of(frame, label)
    if USER not in frame and (getattr(split, "by", None) == "user" or isinstance(split, LeaveOneOut)):
        raise ConfigError(f"{name}: the events have no column user to split by; take RatioSplit with by: all")
    if group is not None and group not in frame:
        there = ", ".join(map(str, frame.columns[:20]))
        near = did_you_mean(group, [str(c) for c in frame.columns])
        raise ConfigError(f"group: {name} has no column {group!r}{near}; there are: {there}")
    for column in sorted({labelled, SPLIT} & set(fields or {})):
        raise ConfigError(f"fields: {column!r} holds the {'split' if column == SPLIT else 'label'} and is no field")
    check_values(frame)
    timed = isinstance(split, TemporalSplit) or getattr(split, "order", "") == "time"
    if timed and TIMESTAMP in frame:
        times = clean_times(frame[TIMESTAMP], TIMESTAMP, Origin(name))
        part = np.asarray(split.split(frame.assign(**{TIMESTAMP: times})))
    else:
        part = np.asarray(split.split(frame))
    train = frame[part == 0]
    excluded = {labelled, SPLIT}
    columns = [c for c in frame.columns if c not in excluded]
    found = guess(train, excluded) if fields is None else declared(fields, columns)
    found = {column: field for column, field in found.items() if field.kind != "drop"}
    encoders = FieldEncoders(found).fit(train)
    whose = group or (USER if USER in frame else None)
    groups = None if whose is None else pd.factorize(frame[whose], use_na_sentinel=False)[0].astype(np.int32)
    parts = {}
    for code, part_name in enumerate(PARTS):
        rows = np.flatnonzero(part == code)
        ids, values = encoders.encode(frame.iloc[rows])
        parts[part_name] = EventPart(ids, values, labels[rows], None if groups is None else groups[rows])
    if not 0 < parts["train"].labels.mean() < 1:
        raise DataError(f"{name}: all labels ({label}) of the train part are the same; choose another split")
    summary = {
        "format": FORMAT,
        "name": name,
        "label": label,
        "group": whose,
        "fields": len(encoders.names),
        "rows": sum(encoders.dims),
        **{p: len(parts[p]) for p in PARTS},
        "positive": {p: float(parts[p].labels.mean()) if len(parts[p]) else 0.0 for p in PARTS},
        "split": split.describe(),
        "val_is_test": split.val_is_test,
        "guessed": fields is None,
    }
    if split.val_is_test:
        parts["val"] = parts["test"]
        summary["val"], summary["positive"]["val"] = summary["test"], summary["positive"]["test"]
    return PreparedEvents(**parts, encoders=encoders, summary=summary)
