"""From a source to prepared data: read, filter, split, number; cached by content."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from recgnn.data.cache import prepared_once
from recgnn.data.interactions.filters import Deduplicate, Filter
from recgnn.data.interactions.log import ITEM, PARTS, RATING, TIMESTAMP, USER, Source
from recgnn.data.interactions.prepared import FORMAT, Part, PreparedLog, format_summary
from recgnn.data.interactions.split import TEST, TRAIN, VAL, Split, unused_parts
from recgnn.data.interactions.vocabulary import Vocabulary
from recgnn.data.readers.origin import shown
from recgnn.errors import DataError

__all__ = ["Part", "PreparedLog", "compute", "format_summary", "prepare"]


def prepare(
    source: Source,
    filters: Sequence[Filter],
    split: Split,
    cache_dir: str | Path | None = None,
) -> PreparedLog:
    """Read, filter, split and number a log; the result is cached by content.

    One row is kept of each (user, item): by a `Deduplicate` among the filters, else by
    `Deduplicate("last")` before them. The vocabularies are fitted on train; rows of val and test
    with a user or item that is not in train are dropped and counted. Several processes may prepare the
    same data: one works, the others wait and read.

    Args:
        source: Where the log comes from.
        filters: Applied in order.
        split: Gives every row its part.
        cache_dir: Folder of the cache; $RECGNN_CACHE or ~/.cache/recgnn when None.

    Raises:
        DataError: If nothing, or one user or item only, is left, or a part is empty.
        RunError: If `cache_dir` cannot be written (without `cache_dir`: a warning, and no cache).
    """
    steps = [
        source.fingerprint(),
        *map(_identity, filters),
        _identity(split),
        f"format {FORMAT}",
    ]
    return prepared_once(PreparedLog, "prepared", steps, lambda: compute(source, filters, split), cache_dir)


def compute(source: Source, filters: Sequence[Filter], split: Split) -> PreparedLog:
    """`prepare` without the cache."""
    log = source.read()
    frame = log.interactions
    split = split.for_columns(frame.columns)
    dropped: list[dict] = []
    summary = {"format": FORMAT, "name": log.name, "read": len(frame), "columns": dict(log.columns)}
    if not any(isinstance(step, Deduplicate) for step in filters):
        filters = [Deduplicate("last"), *filters]
    for step in filters:
        kept = step.apply(frame)
        if len(kept) < len(frame):
            dropped.append({"step": step.describe(), "rows": len(frame) - len(kept)})
        if not len(kept):
            done = "; ".join(f"{d['step']} dropped {d['rows']:,}" for d in dropped)
            raise DataError(
                f"{log.name}: no interactions are left after the filters ({done}); loosen them"
            )
        frame = kept
    for column in (USER, ITEM):
        if frame[column].nunique() < 2:
            raise DataError(
                f"{log.name}: all {len(frame)} interactions have one {column}, "
                f"{shown(frame[column].iloc[0])}; several are needed: check which column is the "
                f"{column}, and loosen the filters"
            )

    part = np.asarray(split.split(frame))
    if (part < 0).any():
        dropped.append({"step": "left out by the split", "rows": int((part < 0).sum())})
    train = frame[part == TRAIN]
    users = Vocabulary.fit(train[USER], log.users)
    items = Vocabulary.fit(train[ITEM], log.items)
    parts, cold, warned = {}, {}, unused_parts(split, frame.columns)
    for code, name in enumerate(PARTS):
        parts[name], left = _numbered(frame[part == code] if code else train, users, items)
        unseen = len(left)
        if unseen:
            cold[name] = left
        if unseen:
            dropped.append(
                {"step": f"{name} rows with a user or item that is not in train", "rows": unseen, "cold": True}
            )
        if unseen and not len(parts[name]):
            raise DataError(
                f"{log.name}: the {name} part is empty: all its {unseen} rows have a user or item "
                "that is not in train; use a split within each user, or filter rare items with KCore"
            )
    if split.val_is_test:
        parts["val"] = parts["test"]
        if "test" in cold:
            cold["val"] = cold["test"]
        warned.append(
            "validated on the test part: figures are best-on-test, not an honest estimate"
        )
    asked = np.bincount(part[part >= 0], minlength=3)
    for code in (VAL, TEST):
        if not asked[code] and not (code == VAL and split.val_is_test):
            warned.append(f"there is no {PARTS[code]} part")
    unseen = sum(int(d["rows"]) for d in dropped if d.get("cold"))
    if unseen > 0.2 * (len(frame) - len(train)):
        others = len(frame) - len(train)
        warned.append(f"{unseen:,} of {others:,} val and test rows dropped: their users or items are not in train")
    used = sum(len(parts[name]) for name in PARTS if not (name == "val" and split.val_is_test))
    summary |= {
        "dropped": dropped,
        "users": len(users),
        "items": len(items),
        "interactions": used,
        "density": used / (len(users) * len(items)),
        **{name: len(parts[name]) for name in PARTS},
        "ratings": parts["train"].rating is not None,
        "timestamps": parts["train"].timestamp is not None,
        "split": split.describe(),
        "val_is_test": split.val_is_test,
        "warnings": warned,
    }
    return PreparedLog(**parts, users=users, items=items, summary=summary, cold=cold)


def _numbered(frame: pd.DataFrame, users: Vocabulary, items: Vocabulary) -> tuple[Part, Part]:
    """Return the part in rows of the vocabularies, and the rows of which they lack the user or the item (-1)."""
    columns = {"user": users.encode(frame[USER]), "item": items.encode(frame[ITEM])}
    columns |= {c: frame[c].to_numpy() for c in (RATING, TIMESTAMP) if c in frame}
    known = (columns["user"] >= 0) & (columns["item"] >= 0)
    inside, outside = (Part(**{k: v[rows] for k, v in columns.items()}) for rows in (known, ~known))
    return inside, outside


def _identity(step: Filter | Split) -> str:
    """Return a step with all its arguments, for the cache key."""
    kind = type(step)
    return f"{kind.__module__}.{kind.__qualname__} {step.describe()} {sorted(vars(step).items())}"
