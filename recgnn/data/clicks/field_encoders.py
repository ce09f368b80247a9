"""From whole events to rows of one embedding table for all fields: fitted on train, saved with the model."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from recgnn.data.clicks.encoders import KNOWN, UNKNOWN, Categorical, Encoded, Encoder, Multi, Time
from recgnn.data.clicks.fields import Field, as_field
from recgnn.data.clicks.number_encoders import LogBucket, Numeric, Quantile
from recgnn.data.clicks.vectors import IdVectors, ReadRun, Vectors, read_vectors
from recgnn.data.readers.lists import plain_lists
from recgnn.data.readers.notation import Notation, read
from recgnn.data.readers.origin import Origin
from recgnn.data.readers.times import UNSAID, Finder
from recgnn.data.stored import read_json, reading, write_json
from recgnn.errors import ConfigError, DataError
from recgnn.files import atomic_path

FILES = ("fields.json", "fields.parquet")


class FieldEncoders:
    """The encoding of whole events: fitted on train, saved with the model, applied to raw rows.

    Every feature of an event is a row of one table for all fields. Slot s of an event holds such a row and, where
    `weighted[s]`, a value x; elsewhere x is 1.

    Args:
        fields: by column.
    """

    def __init__(self, fields: dict[str, Field]) -> None:
        self.fields = fields
        self.times: dict[str, Notation] = {}  # how the moments of columns are written
        self.usual: dict[str, float] = {}  # the share of validation rows with a value that train does not have
        self.earlier: dict[str, int] = {}  # rows of each field in the run that this one starts from
        self.encoders: dict[str, Encoder] = {}
        self.columns: dict[str, str] = {}
        for column, field in fields.items():
            for name, encoder in encoders_of(column, field).items():
                self.encoders[name], self.columns[name] = encoder, column

    # ---- sizes

    @property
    def names(self) -> list[str]:
        """The fields, F of them."""
        return list(self.encoders)

    def words(self, name: str, rows: np.ndarray) -> list[str]:
        """The values of a categorical field, from rows of the table of all fields, [n]."""
        start = sum(self.dims[: self.names.index(name)])
        words = ["unknown", "missing", *cast(Categorical, self.encoders[name]).values]
        return [words[row - start] for row in rows.tolist()]

    @property
    def dims(self) -> list[int]:
        """Rows of each field in the table, [F]."""
        return [e.num_rows for e in self.encoders.values()]

    @property
    def slots(self) -> list[int]:
        """The field of each slot, [S], ascending."""
        return [i for i, e in enumerate(self.encoders.values()) for _ in range(e.num_slots)]

    @property
    def reads(self) -> list[str]:
        """The columns of raw rows that are read: the fields', then those that hold their numbers."""
        return list(dict.fromkeys([*self.fields, *(f.values for f in self.fields.values() if f.values is not None)]))

    @property
    def weighted(self) -> list[bool]:
        """Whether each slot has a value, [S]."""
        return [e.weighted for e in self.encoders.values() for _ in range(e.num_slots)]

    def slots_of(self, columns: list[str]) -> list[int]:
        """Return the slots of some columns, ascending."""
        of = [column for name, column in self.columns.items() for _ in range(self.encoders[name].num_slots)]
        return [slot for slot, column in enumerate(of) if column in columns]

    # ---- fitting and encoding

    def observe(self, frame: pd.DataFrame) -> FieldEncoders:
        """Learn from a block of train, of all fields or, of the items of a past, of theirs."""
        known = self._readable([column for column in self.fields if column in frame], frame)
        for name, encoder in self.encoders.items():
            if self.columns[name] in known and (encoder.grows or not self.earlier or isinstance(encoder, Vectors)):
                encoder.observe(known[self.columns[name]])
        return self

    def _readable(self, columns: Iterable[str], frame: pd.DataFrame) -> dict[str, pd.Series]:
        """Return columns as encoders take them: moments as seconds, infinite where they cannot be read."""
        found = {}
        for column in columns:
            series = plain_lists(_of(frame, column))
            if self.fields[column].kind == "time":
                if column not in self.times:
                    finder = Finder(column, self.fields[column].written(UNSAID))
                    finder.look(series, Origin("the events").at)
                    self.times[column] = finder.found()
                seconds, wrong = read(series, self.times[column], lenient=True)
                series = pd.Series(np.where(wrong, np.inf, seconds), name=column)
            found[column] = series
        return found

    def finish(self, strict: bool = True) -> FieldEncoders:
        """Settle what was learnt, when all blocks have been seen.

        Args:
            strict: whether every field must have a value in train.

        Raises:
            DataError: if no value of a field is kept.
        """
        for name, encoder in self.encoders.items():
            if encoder.grows or not self.earlier:
                encoder.finish()
            if strict and encoder.num_rows <= KNOWN and not isinstance(encoder, Numeric):
                raise DataError(
                    f"field {name!r}: no value of train is kept (min_count {encoder.field.min_count}); lower "
                    "min_count, or drop the field"
                )
        return self

    @classmethod
    def behind(cls, folder: Path, fields: dict[str, Field]) -> FieldEncoders:
        """Return an earlier run's encoding, to learn new values from train, which come behind those there are; what
        numbers are standardised by, and the bounds of their bins, stay as they are.

        Raises:
            ConfigError: if its fields are others.
        """
        found = cls.load(folder)
        own = ("vectors", "trained", "missing")  # may be those of another day
        for name in {**found.fields, **fields}:
            then, now = (of.get(name) for of in (found.fields, fields))
            if then is not None and now is not None and (then.vectors is None) == (now.vectors is None):
                same: dict[str, Any] = {option: getattr(now, option) for option in own}
                then = replace(then, **same)
            if then != now:
                told = ["none" if field is None else field.describe() for field in (now, then)]
                raise ConfigError(f"fields: {name} is {told[0]}, and {told[1]} in the run to start from, "
                                  f"{folder.parent}; its fields must be the same")  # fmt: skip
        found.fields = {name: fields[name] for name in found.fields}
        for name, encoder in found.encoders.items():
            encoder.field = found.fields[found.columns[name]]
        found.earlier = {name: encoder.num_rows for name, encoder in found.encoders.items()}
        return found

    def rows_of(self, earlier: FieldEncoders) -> np.ndarray:
        """Return the rows here of an earlier encoding's table of all fields: `[V]`, -1 for none."""
        found, start = [], 0
        for name, encoder in self.encoders.items():
            old = earlier.encoders[name]
            rows = np.arange(old.num_rows)
            if isinstance(encoder, Categorical) and isinstance(old, Categorical) and encoder.field.buckets is None:
                places = encoder.values.get_indexer(old.values)
                rows[KNOWN:] = np.where(places < 0, -1, places + KNOWN)
            found.append(np.where(rows < 0, -1, rows + start))
            start += encoder.num_rows
        return np.concatenate(found)

    def take_vectors(self, read_run: ReadRun | None) -> dict[str, IdVectors]:
        """Read the vectors of the fields that have given ones: by the field's name."""
        found: dict[str, IdVectors] = {}
        for name, encoder in self.encoders.items():
            if isinstance(encoder, Vectors):
                found[name] = read_vectors(self.columns[name], encoder.field, read_run)
                encoder.take(found[name].ids)
        return found

    def fit(self, frame: pd.DataFrame) -> FieldEncoders:
        """Learn from all of train at once."""
        return self.observe(frame).finish()

    def encode(self, frame: pd.DataFrame) -> Encoded:
        """Return rows of the table [n, S] int32, and values [n, S] float32 or None where no slot has any.

        A column that is not in the frame has no value in any row.
        """
        ids, values, start = [], [], 0
        some, readable = any(self.weighted), self._readable(self.fields, frame)
        for name, encoder in self.encoders.items():
            column, own = readable[self.columns[name]], encoder.field.values
            if isinstance(encoder, Categorical) and own is not None:
                rows, x = encoder.encode_valued(column, _of(frame, own))
            else:
                rows, x = encoder.encode(column)
            ids.append(rows + np.int32(start))
            if some:
                values.append(np.ones(rows.shape, dtype=np.float32) if x is None else x)
            start += encoder.num_rows
        return np.concatenate(ids, 1), np.concatenate(values, 1) if some else None

    def unknown(self, ids: np.ndarray) -> dict[str, int]:
        """Return how many events have a value, or several, that train does not have: by column.

        Shapes:
            ids: `[n, S]` rows of the table of all fields.
        """
        found = dict.fromkeys(self.fields, 0)
        starts, slots = np.cumsum([0, *self.dims]), np.array(self.slots)
        for place, (name, encoder) in enumerate(self.encoders.items()):
            if not isinstance(encoder, Numeric | Vectors):
                rows = int((ids[:, slots == place] == starts[place] + UNKNOWN).any(1).sum())
                found[self.columns[name]] = max(rows, found[self.columns[name]])
        return found

    def beyond(self) -> dict[str, int]:
        """Return how many events were encoded without some of their values, as a field takes so many: by column."""
        found = {self.columns[name]: encoder for name, encoder in self.encoders.items() if isinstance(encoder, Multi)}
        return {column: encoder.beyond for column, encoder in found.items() if encoder.beyond}

    def describe(self) -> list[str]:
        """Return a line per field."""
        lines = []
        for name, encoder in self.encoders.items():
            rows = f"{encoder.num_rows:,} rows" if isinstance(encoder, Categorical) else "one number"
            if isinstance(encoder, Multi):
                rows += f", {encoder.slots} values at most"
                if encoder.cut[0]:
                    rows += f"; max_values cuts {encoder.cut[1]:,} values of {encoder.cut[0]:,} rows of train"
            lines.append(f"{name}: {encoder.field.describe()} ({rows})")
        return lines

    # ---- files

    def save(self, folder: Path) -> None:
        """Write fields.json and fields.parquet (the vocabularies)."""
        plain, of, values = {}, [], []
        for name, encoder in self.encoders.items():
            plain[name], vocabulary = encoder.state()
            of += [name] * len(vocabulary or [])
            values += vocabulary or []
        content: dict[str, Any] = {"fields": {c: f.as_dict() for c, f in self.fields.items()}, "numbers": plain}
        content |= {"times": {column: asdict(how) for column, how in self.times.items()}, "unknown": self.usual}
        write_json(folder / FILES[0], content)
        owner = pa.array(of, pa.string()).dictionary_encode()
        table = pa.table({"field": owner, "value": pa.array(values, pa.string())})
        with atomic_path(folder / FILES[1]) as path:
            pq.write_table(table, path, compression="zstd", write_page_checksum=True)

    @classmethod
    def load(cls, folder: Path) -> FieldEncoders:
        """Read what `save` wrote.

        Raises:
            RunError: if something is missing or broken.
        """
        content = read_json(folder / FILES[0])
        with reading(folder, "no fields can be read"):
            table = pq.read_table(folder / FILES[1], page_checksum_verification=True).to_pandas()
            found = cls({c: as_field(options, c) for c, options in content["fields"].items()})
            values = {name: group["value"].tolist() for name, group in table.groupby("field", observed=True)}
            found.times = {column: Notation(**how) for column, how in content["times"].items()}
            found.usual = content["unknown"]
            for name, encoder in found.encoders.items():
                encoder.restore(content["numbers"][name], values.get(name))
        return found


def encoders_of(name: str, field: Field) -> dict[str, Encoder]:
    """Return the encoders of a field, by the names of the fields that it becomes."""
    if field.kind == "time":
        return {f"{name}.{part}": Time(field, part) for part in field.parts}
    if field.kind == "numeric":
        kinds = {"log2": LogBucket, "quantile": Quantile}
        found: dict[str, Encoder] = {name: kinds.get(field.transform, Numeric)(field)}
        return found | ({f"{name}.bins": Quantile(field)} if field.binned else {})
    if field.kind == "vector":
        return {name: Vectors(field)}
    beside: dict[str, Encoder] = {} if field.vectors is None else {f"{name}.vectors": Vectors(field)}
    return {name: (Multi if field.kind == "multi" else Categorical)(field), **beside}


def _of(frame: pd.DataFrame, column: str) -> pd.Series:
    """Return a column of a frame, without values where the frame lacks it."""
    return frame[column] if column in frame else pd.Series([None] * len(frame), dtype="string", name=column)
