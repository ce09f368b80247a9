"""Encoded events on disk: the parts, the encoding, and what was done to get there."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from recgnn.data.clicks.field_encoders import FieldEncoders
from recgnn.data.clicks.tables import FILES as TABLES
from recgnn.data.interactions.log import PARTS
from recgnn.errors import RunError
from recgnn.files import atomic_folder, atomic_path

FORMAT = 6
"""Version of what `prepare_events` computes and `save` writes; part of the cache key."""
EVENT_ARRAYS = {"ids": np.int32, "values": np.float32, "labels": np.float32, "groups": np.int64}
EVENT_ARRAYS |= {"starts": np.int64, "lengths": np.int32, "times": np.float64}
ALL_ARRAYS = (*EVENT_ARRAYS, "past_items", "past_times")
MAPPED = 2**20  # bytes from which an array stays on disk


@dataclass(frozen=True)
class EventPart:
    """The events of train, val or test, encoded.

    Shapes:
        ids: `[n, S]` int32 rows of the table of all fields.
        values: `[n, W]` float32 of the W slots that have values other than 1, or None where none has.
        labels: `[n]` float32, 0 or 1.
        groups: `[n]` int64, whose events are ranked against each other (the users, hashed); or None.
        starts, lengths, times, past_items, past_times: the events' past (see `Past`), or None.
    """

    ids: np.ndarray
    values: np.ndarray | None
    labels: np.ndarray
    groups: np.ndarray | None
    starts: np.ndarray | None = None
    lengths: np.ndarray | None = None
    times: np.ndarray | None = None
    past_items: np.ndarray | None = None
    past_times: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(getattr(self, kind).nbytes for kind in EVENT_ARRAYS if getattr(self, kind) is not None)


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
        item_ids: Rows of the table of all fields for the items that occur in histories, `[I, H]` int32; or None.
        item_values: Their values, `[I, H]` float32; or None where all are 1.
    """

    train: EventPart
    val: EventPart
    test: EventPart
    encoders: FieldEncoders
    summary: dict
    folder: Path
    item_ids: np.ndarray | None = None
    item_values: np.ndarray | None = None

    @property
    def name(self) -> str:
        return self.summary["name"]

    def save(self, folder: str | Path) -> None:
        """Write the fields, an array file per column and summary.json, all or nothing; arrays that lie on the same
        disk already are linked, not copied.

        Raises:
            RunError: If the folder cannot be written.
        """
        with atomic_folder(folder) as temporary:
            self.encoders.save(temporary)
            for name in PARTS:
                for kind in ALL_ARRAYS:
                    array = getattr(getattr(self, name), kind)
                    if array is not None and not (name == "val" and self.val is self.test):
                        _put(array, temporary / f"{name}.{kind}.npy")
            for kind, array in (("ids", self.item_ids), ("values", self.item_values)):
                if array is not None:
                    _put(array, temporary / f"item.{kind}.npy")
            for name in TABLES:
                if (self.folder / name).is_file():
                    _link(self.folder / name, temporary / name)
            with atomic_path(temporary / "summary.json") as path:
                path.write_text(json.dumps(self.summary, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: str | Path) -> PreparedEvents:
        """Read what `save` wrote; the arrays stay on disk until they are used.

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
                files = {kind: folder / f"{name}.{kind}.npy" for kind in ALL_ARRAYS}
                arrays = {k: _array(f) if f.is_file() else None for k, f in files.items()}
                own = [array for kind, array in arrays.items() if kind in EVENT_ARRAYS and array is not None]
                if {len(array) for array in own} != {summary[name]}:
                    raise ValueError("arrays and summary do not belong together")
                parts[name] = EventPart(**cast(dict[str, Any], arrays))
            files = {f"item_{kind}": folder / f"item.{kind}.npy" for kind in ("ids", "values")}
            items = {name: _array(file) for name, file in files.items() if file.is_file()}
        except (OSError, LookupError, TypeError, ValueError, EOFError) as error:
            raise RunError(f"{folder}: no prepared events can be read: {str(error).splitlines()[0]}") from error
        if summary["val_is_test"]:
            parts["val"] = parts["test"]
        train, val, test = (parts[name] for name in PARTS)
        return cls(train, val, test, FieldEncoders.load(folder), summary, folder, **items)

    @property
    def can_recommend(self) -> bool:
        """Whether it is known who met what (see `EventTables`)."""
        return (self.folder / TABLES[0]).is_file()

    @property
    def item_slots(self) -> list[int] | None:
        """The slots that past items have too, H of them; None where there are no histories."""
        return self.encoders.slots_of(self.summary["history"]["item_fields"]) if self.summary["history"] else None

    def describe(self) -> str:
        """Return the summary as a compact block of text."""
        s = self.summary
        shown = "{:.1%} positive" if s["task"] == "clicks" else "mean {:.4g}"
        rates = ", ".join(f"{part} {s[part]:,} ({shown.format(s['positive'][part])})" for part in PARTS if s[part])
        lines = [
            f"{s['name']}: {sum(s[part] for part in PARTS):,} events, label {s['label']}, "
            f"{len(self.encoders.names)} fields, {sum(self.encoders.dims):,} rows",
            f"  {rates} ({s['split']})",
            *(f"  {line}" for line in self.encoders.describe()),
        ]
        if s["history"]:
            mean = ", ".join(f"{part} {length:.1f}" for part, length in s["mean_history"].items() if s[part])
            seen = ", ".join(s["history"]["item_fields"])
            lines.append(f"  history: {seen} of at most {s['history']['max_length']} past items (mean: {mean})")
        lines += [f"  note: {note}" for note in s["notes"]]
        if s["guessed"]:
            lines.append("  the fields are guessed; data.init_args.fields declares them")
        return "\n".join(lines)


def _array(path: Path) -> np.ndarray:
    return np.load(path, mmap_mode="r", allow_pickle=False) if path.stat().st_size > MAPPED else np.load(path)


def _put(array: np.ndarray, path: Path) -> None:
    """Write an array to a file: as a link to its own, where it has one and the disk allows."""
    own = getattr(array, "filename", None)
    if own is None or not Path(own).is_file():
        np.save(path, array, allow_pickle=False)
        return
    _link(Path(own), path)


def _link(own: Path, path: Path) -> None:
    try:
        os.link(own, path)
    except OSError:
        shutil.copyfile(own, path)
