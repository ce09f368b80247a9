"""The encoding of raw rows as plain files: encoding.json, vocabulary.parquet and the users' histories."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recgnn.data.clicks.encoders import (
    KNOWN,
    MISSING,
    UNKNOWN,
    Categorical,
    Encoder,
    Multi,
    Time,
)
from recgnn.data.clicks.number_encoders import LogBucket, Numeric, Quantile
from recgnn.data.interactions.log import ITEM, TIMESTAMP, USER
from recgnn.data.readers.notation import Notation
from recgnn.data.readers.values import as_text
from recgnn.data.stored import write_json
from recgnn.serving.clicks import TrainedCTR
from recgnn.serving.exporting.inputs import knows_times

FORMAT = 2
HISTORIES = "histories.parquet"


def encoding_of(trained: TrainedCTR) -> dict:
    """How raw rows become the inputs of the model: plain JSON types."""
    encoders, fields, start = trained.encoders, [], 0
    for name, encoder in encoders.encoders.items():
        column = encoders.columns[name]
        own = {"name": name, "column": column, "start": start, "rows": encoder.num_rows, "slots": encoder.num_slots}
        own |= {"time": asdict(encoders.times[column])} if isinstance(encoder, Time) else {}
        fields.append(own | {"unknown": encoders.usual.get(column, 0.0)} | _kind_of(encoder))
        start += encoder.num_rows
    rows = {"unknown": UNKNOWN, "missing": MISSING, "first_known": KNOWN}
    needed = [side for side in (USER, ITEM) if side in trained.encoders.fields]
    return {"format": FORMAT, "rows": rows, "fields": fields, "history": history_of(trained), "names": trained.names,
            "needed": needed}  # fmt: skip


def _kind_of(encoder: Encoder) -> dict:
    """The particulars of a field's encoding."""
    if isinstance(encoder, Numeric):
        log = encoder.field.transform == "log"
        return {"kind": "number", "log": log, "mean": encoder.mean, "scale": encoder.scale}
    assert isinstance(encoder, Categorical)
    common: dict[str, Any] = {"type": encoder.type or "text", "buckets": encoder.field.buckets}
    field = encoder.field
    if isinstance(encoder, Multi):
        common |= {"separator": field.separator, "weights": field.weights}
        padding = "" if field.padding is None else str(field.padding)
        return {"kind": "multi", **common, "combine": "mean" if field.averaged else "sum", "padding": padding}
    if isinstance(encoder, Quantile):
        return {"kind": "quantile", **common, "edges": np.asarray(encoder.edges).tolist()}
    if isinstance(encoder, Time):
        return {"kind": "time", **common, "part": encoder.part}
    if isinstance(encoder, LogBucket):
        return {"kind": "log2", **common, "range": encoder.range}
    return {"kind": "categorical", **common, "value_column": field.values}


def history_of(trained: TrainedCTR) -> dict | None:
    """The columns of raw rows that hold histories: those of the run's data, or `history_<field>` where it made them."""
    if trained.history is None:
        return None
    own = trained.history
    times = (own.times or "history_times") if knows_times(trained) else None
    return {
        "columns": {field: (own.columns or {}).get(field, f"history_{field}") for field in own.item_fields},
        "separator": own.separator,
        "times": times,
        "timestamp": TIMESTAMP if times else None,
        "time": asdict(trained.times.get(TIMESTAMP, Notation())),
        "padding": "" if own.padding is None else str(own.padding),
        "user_type": trained.types.get(USER, "text"),
        "max_length": own.max_length,
    }


def write_encoding(trained: TrainedCTR, folder: Path, check: dict[str, Any]) -> None:
    """Write encoding.json, with what the consumer can `check`, and vocabulary.parquet: the known values of each field
    and their rows within it."""
    write_json(folder / "encoding.json", encoding_of(trained) | {"check": check})
    of: list[str] = []
    values: list[str] = []
    rows: list[int] = []
    for name, encoder in trained.encoders.encoders.items():
        known = encoder.values.tolist() if isinstance(encoder, Categorical) else []
        of += [name] * len(known)
        values += known
        rows += range(KNOWN, KNOWN + len(known))
    columns = {"field": pa.array(of, pa.string()).dictionary_encode(), "value": pa.array(values, pa.string())}
    table = pa.table(columns | {"row": pa.array(rows, pa.int64())})
    pq.write_table(table, folder / "vocabulary.parquet", compression="zstd")


def has_histories(trained: TrainedCTR) -> bool:
    """Whether the run made its histories itself, and keeps them."""
    if trained.history is None or trained.history.columns is not None or trained.tables is None:
        return False
    return set(trained.history.item_fields) <= set(trained.tables.items)


def write_histories(trained: TrainedCTR, folder: Path) -> None:
    """Write histories.parquet, where the run made its histories itself: what each user liked, oldest first, under the
    names of the columns of histories; `history_times` where the events have times, and the time of the user's `last`
    event."""
    if not has_histories(trained) or trained.history is None:
        return
    tables = trained.known
    liked = np.flatnonzero(tables.positive)
    offsets = pa.array(np.searchsorted(tables.user[liked], np.arange(len(tables.users) + 1)), pa.int32())
    columns: dict[str, pa.Array] = {USER: pa.array(tables.users[USER], pa.string())}
    for field in trained.history.item_fields:
        values = pa.array(as_text(tables.items[field]), pa.string(), from_pandas=True)
        columns[f"history_{field}"] = pa.ListArray.from_arrays(offsets, values.take(pa.array(tables.item[liked])))
    if tables.time is not None:
        columns["history_times"] = pa.ListArray.from_arrays(offsets, pa.array(tables.time[liked], pa.float64()))
        columns["last"] = pa.array(tables.time[tables.ptr[1:] - 1], pa.float64())
    pq.write_table(pa.table(columns), folder / HISTORIES, compression="zstd")
