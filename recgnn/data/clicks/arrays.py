"""The arrays of prepared events, written a block at a time as they are encoded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pandas as pd

from recgnn.data.clicks.asked import Asked
from recgnn.data.clicks.field_encoders import FieldEncoders
from recgnn.data.clicks.history import Histories, Past
from recgnn.data.clicks.owners import has_value
from recgnn.data.clicks.parts import Labelled
from recgnn.data.clicks.prepared import EVENT_ARRAYS, FRESH
from recgnn.data.interactions.log import PARTS, USER
from recgnn.data.readers.origin import Origin
from recgnn.data.readers.values import clean_weights, hashed
from recgnn.errors import DataError


def write_parts(
    events: Labelled, encoders: FieldEncoders, grouped: str | None, pasts: dict[str, Past], folder: Path,
    step: Callable[[int], None], asked: Asked,
) -> tuple[int, dict[str, float]]:  # fmt: skip
    """Write every part's arrays, a block at a time; returns how many events have no user, and the share of those of
    validation (or test) with a value that train does not have, by column.

    Raises:
        DataError: If all weights of train are 0.
    """
    unknown: Counter[str] = Counter()
    told = min((code for code in (1, 2) if (events.part == code).any()), default=0)
    weighted = np.flatnonzero(encoders.weighted)
    shapes = {"ids": (len(encoders.slots),), "labels": ()}
    shapes |= {"values": (len(weighted),)} if len(weighted) else {}
    shapes |= {"groups": ()} if grouped is not None else {}
    shapes |= {"weights": ()} if asked.weight is not None else {}
    total = 0.0  # of train's weights
    unnamed = 0
    with ExitStack() as stack:
        files = {}
        for code, name in enumerate(PARTS):
            for kind, shape in shapes.items():
                file = stack.enter_context(open(folder / f"{name}.{kind}.npy", "wb"))
                described = np.dtype(EVENT_ARRAYS[kind]).str, False, (int((events.part == code).sum()), *shape)
                header = dict(zip(("descr", "fortran_order", "shape"), described, strict=True))
                np.lib.format.write_array_header_1_0(file, header)
                files[code, kind] = file
        start = 0
        for block in events.blocks():
            stop = start + len(block)
            ids, values = encoders.encode(block)
            unknown.update(encoders.unknown(ids[events.part[start:stop] == told]))
            arrays = {"ids": ids, "labels": events.labels[start:stop]}
            arrays |= {"values": values[:, weighted]} if values is not None else {}
            arrays |= {"groups": hashed(block[grouped])} if grouped is not None else {}
            if asked.weight is not None:
                where = Origin("the events", start=start)
                arrays["weights"] = clean_weights(block[asked.weight], asked.weight, where).to_numpy()
                total += float(arrays["weights"][events.part[start:stop] == 0].sum())
            if USER in block:
                named = has_value(block[USER]) if grouped != USER else arrays["groups"] >= 0
                unnamed += int((~named).sum())
            for code in range(len(PARTS)):
                rows = events.part[start:stop] == code
                for kind, array in arrays.items():
                    files[code, kind].write(np.ascontiguousarray(array[rows], dtype=EVENT_ARRAYS[kind]).data)
            start = stop
            step(len(block))
    for name, past in pasts.items():
        own = {"starts": past.starts, "lengths": past.lengths, "times": past.times}
        own |= {"past_items": past.items, "past_times": past.item_times}
        for kind, past_array in own.items():
            if past_array is not None:
                np.save(folder / f"{name}.{kind}.npy", past_array)
    if asked.weight is not None and not total:
        raise DataError(f"all weights ({asked.weight}) of the train part are 0; expected some above 0")
    rows = max(1, int((events.part == told).sum()))
    return unnamed, {column: unknown[column] / rows for column in encoders.fields}


def write_items(items: pd.DataFrame, encoders: FieldEncoders, history: Histories, folder: Path) -> None:
    """Write the features of the items that occur in a past."""
    slots = encoders.slots_of(history.item_fields)
    ids, values = encoders.encode(items)
    np.save(folder / "item.ids.npy", ids[:, slots])
    if values is not None and np.array(encoders.weighted)[slots].any():
        np.save(folder / "item.values.npy", values[:, slots])


def write_fresh(events: Labelled, until: float | None, folder: Path) -> None:
    """Write the rows of train later than a moment (all, where times are not known), in an order that follows from their
    times and features alone."""
    ids, seconds = np.load(folder / "train.ids.npy", mmap_mode="r"), np.zeros(int((events.part == 0).sum()))
    fresh = np.arange(len(seconds))
    if events.seconds is not None:
        seconds = events.seconds[events.part == 0]
        fresh = np.flatnonzero(~(seconds <= (-np.inf if until is None else until)))
    keys = [events.labels[events.part == 0][fresh], *np.asarray(ids[fresh]).T, seconds[fresh]]
    np.save(folder / FRESH, fresh[np.lexsort(keys)])
