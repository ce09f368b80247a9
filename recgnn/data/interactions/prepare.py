"""From a source to prepared data: read, filter, split, number; cached by content."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from recgnn.data.cache import prepared_once
from recgnn.data.interactions.by_time import later_than_test
from recgnn.data.interactions.compound import with_known_parts
from recgnn.data.interactions.filters import Deduplicate, Filter, Positive, pair_keys
from recgnn.data.interactions.log import ITEM, PARTS, RATING, TIMESTAMP, USER, WEIGHT, InteractionLog, Source
from recgnn.data.interactions.prepared import FORMAT, Part, PreparedLog, format_summary
from recgnn.data.interactions.split import Split, TemporalSplit
from recgnn.data.interactions.usual_split import notes_of
from recgnn.data.interactions.vocabulary import Vocabulary
from recgnn.data.readers.origin import shown
from recgnn.data.stored import SUMMARY, digest_of
from recgnn.errors import DataError

__all__ = ["Part", "PreparedLog", "compute", "format_summary", "prepare"]

FEW, FEW_USERS = 0.2, 100  # share and number of users below which a test part says little


class Asked(NamedTuple):
    """What is to be made of a log; see `prepare`."""

    filters: Sequence[Filter]
    split: Split
    positive: str | None
    repeats: str
    earlier: Path | None = None


def prepare(
    source: Source,
    filters: Sequence[Filter],
    split: Split,
    cache_dir: str | Path | None = None,
    positive: str | None = None,
    repeats: str = "merge",
    earlier: Path | None = None,
) -> PreparedLog:
    """Read, filter, split and number a log; the result is cached by content.

    Of the rows of one user and item, one is kept: of the whole log where parts are drawn at random, and of each part
    where they are given or follow the log's times; then a row of val or test with a pair that is known before (test:
    from train and val) is no label and is dropped. The vocabularies are fitted on train; rows of val and test with a
    user or item that is not in train are dropped and counted. Several processes may prepare the same data: one works,
    the others wait and read.

    Args:
        source: Where the log comes from.
        filters: Applied in order.
        split: Gives every row its part.
        cache_dir: Folder of the cache; $RECGNN_CACHE or ~/.cache/recgnn when None.
        positive: The rule of the rows that are kept as positives; None or `all` for all.
        repeats: `merge`, or `keep` for all rows.
        earlier: Folder of prepared data whose users and items keep their rows: new ones come behind them, and the rows
            of train follow their times and ids, whatever the log's order.

    Raises:
        DataError: If nothing, or one user or item only, is left, or a part is empty.
        RunError: If `cache_dir` cannot be written (without `cache_dir`: a warning, and no cache).
    """
    steps = [source.fingerprint(), *map(_identity, filters), _identity(split)]
    steps += [f"positive {positive}, repeats {repeats}, format {FORMAT}, later rows told"]
    steps += [] if earlier is None else [f"behind {digest_of(earlier / SUMMARY)}"]
    asked = Asked(filters, split, positive, repeats, earlier)
    return prepared_once(PreparedLog, "prepared", steps, lambda: compute(source, *asked), cache_dir)


def compute(
    source: Source, filters: Sequence[Filter], split: Split, positive: str | None = None, repeats: str = "merge",
    earlier: Path | None = None,
) -> PreparedLog:  # fmt: skip
    """`prepare` without the cache.

    Raises:
        DataError: If a part is empty, or nothing is left after the filters.
    """
    log = source.read()
    if not isinstance(log, InteractionLog):
        raise DataError(f"{type(source).__name__}.read gave a {type(log).__name__}, expected an InteractionLog of rows")
    named, split = split, split.for_columns(log.interactions.columns)
    asked = Asked(filters, split, positive, repeats, earlier)
    frame, dropped = _filtered(log.name, log.interactions, asked)
    part = np.asarray(split.split(frame))
    if (part < 0).any():
        dropped.append({"step": "left out by the split", "rows": int((part < 0).sum())})
    frames = {name: frame[part == code] for code, name in enumerate(PARTS)}
    sizes = {name: len(rows) for name, rows in frames.items()}  # before anything is lost
    missing = [name for name in PARTS[1:] if not sizes[name] and not (name == "val" and split.val_is_test)]
    warned = [f"there is no {name} part" for name in missing]
    if split.follows_log and asked.repeats == "merge":
        frames = _merged(frames, asked, dropped)
    train = frames["train"]
    users, items = Vocabulary.fit(train[USER], log.users), Vocabulary.fit(train[ITEM], log.items)
    if earlier is not None:
        before = PreparedLog.load(earlier)
        users, items = users.behind(before.users), items.behind(before.items)
    users = with_known_parts(users, log.users)
    parts, cold = {}, {}
    for name, rows in frames.items():
        parts[name], left = _numbered(rows, users, items)
        if name == "train" and earlier is not None:
            parts[name] = parts[name].in_order()
        if not len(left):
            continue
        cold[name] = left
        dropped.append(
            {"step": f"{name} rows with a user or item that is not in train", "rows": len(left), "cold": True}
        )
        if not len(parts[name]):
            raise DataError(
                f"{log.name}: the {name} part is empty: all its {len(left)} rows have a user or item "
                "that is not in train; draw it at random within each user (--data.split RatioSplit), or filter rare "
                "items with KCore"
            )
    warned += [f"no label is left in the {name} part" for name in PARTS[1:] if sizes[name] and not len(parts[name])]
    unseen, others = sum(map(len, cold.values())), sizes["val"] + sizes["test"]
    if split.val_is_test:
        parts["val"] = parts["test"]
        if "test" in cold:
            cold["val"] = cold["test"]
        warned.append("validated on the test part: figures are best-on-test, not an honest estimate")
    if unseen > 0.2 * others:
        warned.append(f"{unseen:,} of {others:,} val and test rows dropped: their users or items are not in train")
    tested = len(np.unique(parts["test"].user))
    if isinstance(split, TemporalSplit) and 0 < tested < max(FEW_USERS, FEW * len(users)) and 2 * tested < len(users):
        warned.append(
            f"only {tested:,} of {len(users):,} users have test rows, since one moment holds for all; --data.split "
            "RatioSplit --data.split.order time tests each by its own latest rows"
        )
    used = sum(len(parts[name]) for name in PARTS if not (name == "val" and split.val_is_test))
    ratings = parts["train"].rating
    summary = {
        "format": FORMAT,
        "name": log.name,
        "read": len(log) + (0 if log.times is None or log.times.kept else log.times.untimed),
        "times": None if log.times is None else asdict(log.times),
        "columns": dict(log.columns),
        "dropped": dropped,
        "users": len(users),
        "items": len(items),
        "interactions": used,
        "density": used / (len(users) * len(items)),
        **{name: len(parts[name]) for name in PARTS},
        "ratings": None if ratings is None else [float(ratings.min()), float(ratings.max())],
        "timestamps": parts["train"].timestamp is not None,
        "weights": parts["train"].weight is not None,
        "positive": asked.positive,
        "repeats": asked.repeats,
        "split": split.describe(),
        "later": later_than_test(parts["train"].timestamp, parts["test"].timestamp),
        "val_is_test": split.val_is_test,
        "warnings": [*log.notes, *notes_of(split, named, log.interactions.columns), *warned],
    }
    return PreparedLog(**parts, users=users, items=items, summary=summary, cold=cold)


def _filtered(name: str, frame: pd.DataFrame, asked: Asked) -> tuple[pd.DataFrame, list[dict]]:
    """Return the rows that are kept, and what was dropped."""
    steps = [*asked.filters]
    if asked.positive not in (None, "all"):
        steps = [Positive(str(asked.positive)), *steps]
    if asked.repeats == "keep" or asked.split.follows_log:
        steps = [step for step in steps if not isinstance(step, Deduplicate)]  # within the parts, if at all
    elif not any(isinstance(step, Deduplicate) for step in steps):
        steps = [Deduplicate("last"), *steps]
    dropped: list[dict] = []
    for step in steps:
        kept = step.apply(frame)
        if len(kept) < len(frame):
            dropped.append({"step": step.describe(), "rows": len(frame) - len(kept)})
        if not len(kept):
            done = "; ".join(f"{d['step']} dropped {d['rows']:,}" for d in dropped)
            raise DataError(f"{name}: no interactions are left after the filters ({done}); loosen them")
        frame = kept
    for column in (USER, ITEM):
        if frame[column].nunique() < 2:
            raise DataError(
                f"{name}: all {len(frame)} interactions have one {column}, {shown(frame[column].iloc[0])}; several are "
                f"needed: check which column is the {column}, and loosen the filters"
            )
    return frame, dropped


def _merged(frames: dict[str, pd.DataFrame], asked: Asked, dropped: list[dict]) -> dict[str, pd.DataFrame]:
    """Merge repeated pairs within each part, and drop the labels that are known before."""
    merge = next((step for step in asked.filters if isinstance(step, Deduplicate)), Deduplicate("last"))
    found = {name: merge.apply(frame) for name, frame in frames.items()}
    if merged := sum(len(frames[name]) - len(found[name]) for name in frames):
        dropped.append({"step": f"{merge.describe()}, within each part", "rows": merged})
    joined = pair_keys(pd.concat(found.values(), ignore_index=True))
    pairs = dict(zip(found, np.split(joined, np.cumsum([len(frame) for frame in found.values()])[:-1]), strict=True))
    for name, before in (("val", ["train"]), ("test", ["train", "val"])):
        known = np.isin(pairs[name], np.concatenate([pairs[part] for part in before]))
        if known.any():
            found[name] = found[name][~known]
            step = f"{name} labels that are known from {' and '.join(before)}"
            dropped.append({"step": step, "rows": int(known.sum())})
    return found


def _numbered(frame: pd.DataFrame, users: Vocabulary, items: Vocabulary) -> tuple[Part, Part]:
    """Return the part in rows of the vocabularies, and the rows of which they lack the user or the item (-1)."""
    columns = {"user": users.encode(frame[USER]), "item": items.encode(frame[ITEM])}
    columns |= {c: frame[c].to_numpy() for c in (RATING, TIMESTAMP, WEIGHT) if c in frame}
    known = (columns["user"] >= 0) & (columns["item"] >= 0)
    inside, outside = (Part(**{k: v[rows] for k, v in columns.items()}) for rows in (known, ~known))
    return inside, outside


def _identity(step: Filter | Split) -> str:
    """Return a step with all its arguments, for the cache key."""
    kind = type(step)
    return f"{kind.__module__}.{kind.__qualname__} {step.describe()} {sorted(vars(step).items())}"
