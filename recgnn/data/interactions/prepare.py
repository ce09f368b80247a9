"""From a source to prepared data: read, filter, split, number; cached by content."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import pandas as pd

from recgnn.data.cache import class_of, prepared_once, source_steps
from recgnn.data.interactions.big import BigLog
from recgnn.data.interactions.big_read import NotBeyondMemory
from recgnn.data.interactions.by_time import later_than_test
from recgnn.data.interactions.compound import with_known_parts
from recgnn.data.interactions.filters import Filter
from recgnn.data.interactions.log import ITEM, PARTS, RATING, TIMESTAMP, USER, WEIGHT, InteractionLog, Source
from recgnn.data.interactions.merging import merged, steps_of
from recgnn.data.interactions.prepared import FORMAT, Part, PreparedLog, format_summary
from recgnn.data.interactions.sources import TableLog
from recgnn.data.interactions.split import Split
from recgnn.data.interactions.summary import Asked, Counted, Facts, none_left, one_id, summary_of
from recgnn.data.interactions.vocabulary import Vocabulary
from recgnn.data.readers.origin import shown
from recgnn.data.stored import SUMMARY, digest_of
from recgnn.errors import ConfigError, DataError
from recgnn.files import cache_folder, existing_files

LARGE = 8  # a file larger than this part of the memory is prepared by DuckDB, where that is installed

__all__ = ["Engine", "Part", "PreparedLog", "compute", "format_summary", "prepare"]

def prepare(
    source: Source,
    filters: Sequence[Filter],
    split: Split,
    cache_dir: str | Path | None = None,
    positive: str | None = None,
    repeats: str = "merge",
    earlier: Path | None = None,
    engine: Engine | None = None,
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
        engine: What does it; in memory when None. The same bits follow.

    Raises:
        DataError: If nothing, or one user or item only, is left, or a part is empty.
        ConfigError: If DuckDB was asked for and cannot do it.
        RunError: If `cache_dir` cannot be written (without `cache_dir`: a warning, and no cache).
    """
    steps = [*source_steps(source), *map(_identity, filters), _identity(split)]
    steps += [f"positive {positive}, repeats {repeats}, format {FORMAT}, later rows told"]
    steps += [] if earlier is None else [f"behind {digest_of(earlier / SUMMARY)}"]
    asked = Asked(filters, split, positive, repeats, earlier)
    if engine is not None and engine.takes(source):
        try:
            big = cast(PreparedLog, engine.log(source, asked))
            return prepared_once(PreparedLog, "prepared", steps, lambda: big, cache_folder(cache_dir))
        except NotBeyondMemory:
            if engine.name != "auto":
                raise
    return prepared_once(PreparedLog, "prepared", steps, lambda: compute(source, *asked), cache_dir)


class Engine(NamedTuple):
    """What prepares a log: `memory`, `duckdb`, `ray`, or `auto`, DuckDB for large files; and what DuckDB may hold."""

    name: str = "auto"
    memory_limit: str = "2GB"

    def takes(self, source: Source) -> bool:
        """Tell whether a log is to be prepared beyond memory; what cannot be, `auto` prepares in memory after all."""
        if self.name != "auto":
            return self.name != "memory"
        if not isinstance(source, TableLog) or find_spec("duckdb") is None:
            return False
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 2**34
        return sum(file.stat().st_size for file in existing_files(source.path)) >= memory / LARGE


    def log(self, source: Source, asked: Asked) -> BigLog:
        """Return what prepares a log beyond memory."""
        if self.name == "ray":
            from recgnn.data.interactions.big_ray import RayLog

            return RayLog(source, asked, self.memory_limit)
        return BigLog(source, asked, self.memory_limit)


def compute(
    source: Source, filters: Sequence[Filter], split: Split, positive: str | None = None, repeats: str = "merge",
    earlier: Path | None = None,
) -> PreparedLog:  # fmt: skip
    """`prepare` without the cache.

    Raises:
        DataError: If a part is empty, or nothing is left after the filters.
        ConfigError: If a filter or the split gives what is no rows, or no parts of them.
    """
    log = source.read()
    if not isinstance(log, InteractionLog):
        raise DataError(f"{type(source).__name__}.read gave a {type(log).__name__}, expected an InteractionLog of rows")
    named, split = split, split.for_columns(log.interactions.columns)
    asked = Asked(filters, split, positive, repeats, earlier)
    frame, dropped = _filtered(log.name, log.interactions, asked)
    part = np.asarray(split.split(frame))
    if part.shape != (len(frame),) or part.dtype.kind not in "iu" or not ((part >= -1) & (part < len(PARTS))).all():
        told = f"an array of {part.dtype}, {part.shape}"
        expected = f"({len(frame)},), 0, 1 or 2 for train, val and test, and -1 for none"
        raise ConfigError(f"{type(split).__name__}.split gave {told}, expected whole numbers, {expected}")
    if (part < 0).any():
        dropped.append({"step": "left out by the split", "rows": int((part < 0).sum())})
    frames = {name: frame[part == code] for code, name in enumerate(PARTS)}
    sizes = {name: len(rows) for name, rows in frames.items()}  # before anything is lost
    if split.follows_log and asked.repeats == "merge":
        frames, lost = merged(frames, asked)
        dropped += [{"step": step, "rows": rows} for step, rows in lost.items() if rows]
    train = frames["train"]
    users, items = Vocabulary.fit(train[USER], log.users), Vocabulary.fit(train[ITEM], log.items)
    if earlier is not None:
        before = PreparedLog.load(earlier)
        users, items = users.behind(before.users), items.behind(before.items)
    users = with_known_parts(users, log.users)
    parts, cold = {}, {}
    for name, rows in frames.items():
        parts[name], cold[name] = _numbered(rows, users, items)
    if earlier is not None:
        parts["train"] = parts["train"].in_order()
    left, unknown = ({name: len(part) for name, part in of.items()} for of in (parts, cold))
    ratings, train_part = parts["train"].rating, parts["train"]
    counted = Counted(
        dropped, sizes, left, unknown, len(np.unique(parts["test"].user)),
        None if ratings is None else [float(ratings.min()), float(ratings.max())],
        train_part.timestamp is not None, train_part.weight is not None,
        later_than_test(train_part.timestamp, parts["test"].timestamp),
    )  # fmt: skip
    facts = Facts(log.name, len(log), log.times, log.columns, log.notes, [*log.interactions.columns])
    summary = summary_of(facts, asked, named, counted, len(users), len(items))
    if split.val_is_test:
        parts["val"], cold["val"] = parts["test"], cold["test"]
    cold = {name: part for name, part in cold.items() if len(part)}
    return PreparedLog(**parts, users=users, items=items, summary=summary, cold=cold)


def _filtered(name: str, frame: pd.DataFrame, asked: Asked) -> tuple[pd.DataFrame, list[dict]]:
    """Return the rows that are kept, and what was dropped."""
    dropped: list[dict] = []
    for step in steps_of(asked):
        kept: Any = step.apply(frame)
        if not isinstance(kept, pd.DataFrame) or not {*frame.columns} <= {*kept.columns} or len(kept) > len(frame):
            whole = isinstance(kept, pd.DataFrame)
            told = f"{len(kept):,} rows of {', '.join(map(str, kept))}" if whole else type(kept).__name__
            raise ConfigError(f"{type(step).__name__}.apply gave {told}, expected some rows of the frame, as they are")
        if len(kept) < len(frame):
            dropped.append({"step": step.describe(), "rows": len(frame) - len(kept)})
        if not len(kept):
            raise none_left(name, dropped)
        frame = kept
    for column in (USER, ITEM):
        if frame[column].nunique() < 2:
            raise one_id(name, len(frame), column, shown(frame[column].iloc[0]))
    return frame, dropped


def _numbered(frame: pd.DataFrame, users: Vocabulary, items: Vocabulary) -> tuple[Part, Part]:
    """Return the part in rows of the vocabularies, and the rows of which they lack the user or the item (-1)."""
    columns = {"user": users.encode(frame[USER]), "item": items.encode(frame[ITEM])}
    columns |= {c: frame[c].to_numpy() for c in (RATING, TIMESTAMP, WEIGHT) if c in frame}
    known = (columns["user"] >= 0) & (columns["item"] >= 0)
    inside, outside = (Part(**{k: v[rows] for k, v in columns.items()}) for rows in (known, ~known))
    return inside, outside


def _identity(step: Filter | Split) -> str:
    """Return a step with all its arguments, for the cache key."""
    return f"{class_of(step)} {step.describe()} {sorted(vars(step).items())}"
