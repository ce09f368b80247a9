"""Encoded events on disk: the parts, the encoding, and what was done to get there."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recgnn.data.clicks.encoders import KNOWN
from recgnn.data.clicks.field_encoders import FILES as FIELDS
from recgnn.data.clicks.field_encoders import FieldEncoders
from recgnn.data.clicks.tables import FILES as TABLES
from recgnn.data.interactions.log import PARTS
from recgnn.data.readers.notation import Notation
from recgnn.data.stored import SUMMARY, read_summary, reading, verify
from recgnn.files import atomic_folder

FORMAT = 13
"""Version of what `prepare_events` computes and `save` writes; part of the cache key."""
EVENT_ARRAYS = {"ids": np.int32, "values": np.float32, "labels": np.float32, "groups": np.int64}
EVENT_ARRAYS |= {"weights": np.float32, "starts": np.int64, "lengths": np.int32, "times": np.float64}
FRESH, VECTORS = "train.fresh.npy", "vectors.{}.npy"
ALL_ARRAYS = (*EVENT_ARRAYS, "past_items", "past_times")
FEW = 8  # fields that have a line each
MAPPED = 2**20  # bytes from which an array stays on disk


@dataclass(frozen=True)
class EventPart:
    """The events of train, val or test, encoded.

    Shapes:
        ids: `[n, S]` int32 rows of the table of all fields.
        values: `[n, W]` float32 of the W slots that have values other than 1, or None where none has.
        labels: `[n]` float32, 0 or 1.
        groups: `[n]` int64, whose events are ranked against each other (the users, hashed); or None.
        weights: `[n]` float32, how much each event counts; or None (all 1).
        starts, lengths, times, past_items, past_times: the events' past (see `Past`), or None.
    """

    ids: np.ndarray
    values: np.ndarray | None
    labels: np.ndarray
    groups: np.ndarray | None
    weights: np.ndarray | None = None
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
        files: The sha256 of the folder's files, by name.
        item_ids: Rows of the table of all fields for the items that occur in histories, `[I, H]` int32; or None.
        item_values: Their values, `[I, H]` float32; or None where all are 1.
        fresh: The rows of train that are trained on, `[m]` int64, where a run starts from another; None for all.
    """

    train: EventPart
    val: EventPart
    test: EventPart
    encoders: FieldEncoders
    summary: dict
    folder: Path
    files: dict[str, str]
    item_ids: np.ndarray | None = None
    item_values: np.ndarray | None = None
    fresh: np.ndarray | None = None

    @property
    def name(self) -> str:
        """The name of the data."""
        return self.summary["name"]

    @cached_property
    def identity(self) -> str:
        """A sha256 of whose rows a model's parameters are: the fields and their values, in their order."""
        digest = hashlib.sha256()
        for name, encoder in self.encoders.encoders.items():
            numbers, values = encoder.state()
            digest.update(json.dumps([name, numbers, encoder.num_rows], default=str).encode())
            digest.update(pd.util.hash_array(np.array(values or [], dtype=object), categorize=False).tobytes())
        return digest.hexdigest()

    def rows_of(self, earlier: PreparedEvents) -> dict[str, np.ndarray]:
        """Return the rows here of the values that an earlier run had, -1 for none, by their size's name."""
        return {"field_dims": self.encoders.rows_of(earlier.encoders)}

    def vectors(self) -> list[tuple[int, np.ndarray, bool]]:
        """Return the given vectors of fields: where their rows begin in the table of all fields, the vectors [n, d],
        whether they are trained on. Where ids without one have zeros, two such vectors stand before the others."""
        found: list[tuple[int, np.ndarray, bool]] = []
        start = 0
        for name, encoder in self.encoders.encoders.items():
            if name in self.summary.get("vectors", []):
                own = np.load(self.folder / VECTORS.format(len(found)))
                zeros = np.zeros((KNOWN * (encoder.field.missing == "zero"), own.shape[1]), dtype=own.dtype)
                found.append((start + KNOWN - len(zeros), np.concatenate([zeros, own]), encoder.field.trained))
            start += encoder.num_rows
        return found

    def save(self, folder: str | Path) -> None:
        """Write them to another folder, all or nothing; large files that lie on the same disk are linked, not copied.

        Raises:
            RunError: If the folder cannot be written.
        """
        with atomic_folder(folder) as temporary:
            for name in (*listed(self.files, *PARTS), SUMMARY):
                _put(self.folder / name, temporary / name)

    @classmethod
    def load(cls, folder: str | Path, parts: Sequence[str] = PARTS) -> PreparedEvents:
        """Read what `save` wrote; the arrays stay on disk until they are used.

        Args:
            folder: Where it lies.
            parts: Those whose arrays are verified at once; the others are by `verify`.

        Raises:
            RunError: If something is missing, broken, or of another format version.
        """
        folder = Path(folder)
        summary, files = read_summary(folder, FORMAT)
        verify(folder, files, listed(files, *parts))
        found: dict[str, Any] = {}
        with reading(folder, "no prepared events can be read"):
            for name in PARTS:
                if name == "val" and summary["val_is_test"]:
                    continue
                kinds = [kind for kind in ALL_ARRAYS if f"{name}.{kind}.npy" in files]
                arrays = {kind: _array(folder / f"{name}.{kind}.npy") for kind in kinds}
                own = [array for kind, array in arrays.items() if kind in EVENT_ARRAYS]
                if {len(array) for array in own} != {summary[name]} or not {"ids", "labels"} <= arrays.keys():
                    raise ValueError("arrays and summary do not belong together")
                every: dict[str, Any] = dict.fromkeys(ALL_ARRAYS) | arrays
                found[name] = EventPart(**every)
            if summary["val_is_test"]:
                found["val"] = found["test"]
            for kind in ("ids", "values"):
                if f"item.{kind}.npy" in files:
                    found[f"item_{kind}"] = _array(folder / f"item.{kind}.npy")
            if FRESH in files:
                found["fresh"] = np.load(folder / FRESH)
            return cls(**found, encoders=FieldEncoders.load(folder), summary=summary, folder=folder, files=files)

    def verify(self, *parts: str) -> None:
        """Compare the arrays of some parts, and the files that all share, with their checksums.

        Raises:
            RunError: If a file is missing or damaged.
        """
        verify(self.folder, self.files, listed(self.files, *parts))

    @property
    def can_recommend(self) -> bool:
        """Whether it is known who met what (see `EventTables`)."""
        return (self.folder / TABLES[0]).is_file()

    @property
    def item_slots(self) -> list[int] | None:
        """The slots that past items have too, H of them; None where there are no histories."""
        return self.encoders.slots_of(self.summary["history"]["item_fields"]) if self.summary["history"] else None

    def describe(self, verbose: bool = False) -> str:
        """Return the summary as a compact block of text; of many fields those of a kind in one line, unless verbose."""
        s = self.summary
        shown = "{:.1%} positive" if s["task"] == "clicks" else "mean {:.4g}"
        rates = ", ".join(f"{part} {s[part]:,} ({shown.format(s['positive'][part])})" for part in PARTS if s[part])
        lines = [
            f"{s['name']}: {sum(s[part] for part in PARTS):,} events, label {s['label']}, "
            f"{len(self.encoders.names)} fields, {sum(self.encoders.dims):,} rows",
            f"  {rates} ({s['split']})",
            *(f"  {line}" for line in self._fields(verbose)),
            *(f"  times of {column}: {Notation(**how).describe()}" for column, how in s["times"].items()),
        ]
        if s["untimed"]:
            lines.append(f"  left out: {s['untimed']:,} rows without a time")
        if s["unnamed"]:
            lines.append(f"  {s['unnamed']:,} events without a user: each is somebody else's, without a past")
        if s["weight"]:
            lines.append(f"  events count by their {s['weight']}, in the loss (over its mean) and in the metrics")
        if s["history"]:
            mean = ", ".join(f"{part} {length:.1f}" for part, length in s["mean_history"].items() if s[part])
            seen = ", ".join(s["history"]["item_fields"])
            lines.append(f"  history: {seen} of at most {s['history']['max_length']} past items (mean: {mean})")
        lines += [f"  note: {note}" for note in s["notes"]]
        if s["guessed"]:
            lines.append("  the fields are guessed; data.init_args.fields declares them")
        return "\n".join(lines)

    def _fields(self, verbose: bool) -> list[str]:
        """Return a line per field, with its owner, and per column that is left out, with the reason; or few lines."""
        of, owners = self.encoders.columns.values(), self.summary["owners"]
        lines = zip(self.encoders.describe(), of, strict=True)
        reasons = self.summary["reasons"]
        told = [
            line + (f", {owners[c]}" if c in owners else "") + (f": {reasons[c]}" if c in reasons else "")
            for line, c in lines
        ]
        told += [f"{column}: left out, {why}" for column, why in self.summary["left_out"].items()]
        if verbose or len(told) <= FEW:
            return told
        kinds: dict[str, list[str]] = {}
        for name, encoder in self.encoders.encoders.items():
            kinds.setdefault(encoder.field.describe(), []).append(name)
        if self.summary["left_out"]:
            kinds["left out"] = list(self.summary["left_out"])
        few = [f"{kind} ({len(n)}): {', '.join(n[:10])}{', …' * (len(n) > 10)}" for kind, n in kinds.items()]
        cut = [line for line in told if "max_values cuts" in line]
        return [*few[:FEW], *cut[:3], "--verbose true tells each field"]


def listed(files: Mapping[str, str], *parts: str) -> list[str]:
    """Return those of a folder's files that all parts share, and those of some parts."""
    arrays = [f"{part}.{kind}.npy" for part in parts for kind in ALL_ARRAYS]
    shared = (*TABLES, "item.ids.npy", "item.values.npy", FRESH)
    given = [name for name in files if name.startswith(VECTORS.partition("{")[0])]
    return [*FIELDS, *given, *(name for name in (*shared, *arrays) if name in files)]


def _array(path: Path) -> np.ndarray:
    return np.load(path, mmap_mode="r", allow_pickle=False) if path.stat().st_size > MAPPED else np.load(path)


def _put(own: Path, path: Path) -> None:
    """Give a file another place: as a link, where it is large and the disk allows."""
    try:
        if own.stat().st_size <= MAPPED:
            raise OSError
        os.link(own, path)
    except OSError:
        shutil.copyfile(own, path)
