"""Events before they are encoded: their labels and parts, sampled ones, and what came before them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd

from recgnn.data.clicks.events import check_classes, label_columns, labels_of
from recgnn.data.clicks.fields import Field
from recgnn.data.clicks.history import Histories, Past, order_of, past_of, past_of_columns, tuples
from recgnn.data.clicks.negatives import with_negatives
from recgnn.data.interactions.log import PARTS, POSITION, SPLIT, TIMESTAMP, USER
from recgnn.data.interactions.split import LeaveOneOut, RatioSplit, Split, TemporalSplit, WithoutValidation
from recgnn.data.readers.origin import Origin, need_columns
from recgnn.data.readers.values import clean_times
from recgnn.errors import ConfigError, DataError

Blocks = Callable[..., Iterator[pd.DataFrame]]  # of all columns, or of those that are named


class Asked(NamedTuple):
    """What is to be made of events; see `prepare_events`."""

    label: str
    fields: dict[str, str | dict | Field] | None
    split: Split
    group: str | None
    task: str
    negatives: int = 0
    negatives_seed: int = 42
    history: Histories | None = None


class Labelled(NamedTuple):
    """Events in blocks, their labels [n], their parts [n], and the columns that are no fields."""

    blocks: Blocks
    labels: np.ndarray
    part: np.ndarray
    excluded: set[str]


def of_frame(frame: pd.DataFrame) -> Blocks:
    return lambda columns=None: iter([frame if columns is None else frame[[*columns]]])


class Whole(NamedTuple):
    """All events at once, without sampled ones: labels [n], what they are ordered by [n], times [n] or None."""

    frame: pd.DataFrame
    labels: np.ndarray
    order: np.ndarray
    times: np.ndarray | None


def whole_of(name: str, frame: pd.DataFrame, asked: Asked) -> Whole:
    """Return the events, or the positive ones alone, where negatives are to be sampled."""
    columns = [str(c) for c in frame.columns]
    if asked.history is not None:
        asked.history.check(columns)
    _check_columns(name, columns, asked.split, asked.group)
    if asked.negatives and not _has_label(frame, asked):
        labels = np.ones(len(frame), dtype=np.float32)
    else:
        labels = labels_of(frame, asked.label, asked.task)
    if asked.negatives:
        frame, labels = frame[labels == 1].reset_index(drop=True), labels[labels == 1]
    return Whole(frame, labels, *order_of(frame, name))


def _has_label(frame: pd.DataFrame, asked: Asked) -> bool:
    """Return whether events have a label; a log of positive events alone needs none."""
    return asked.label != "label" or asked.label in frame


def with_past(name: str, whole: Whole, asked: Asked) -> tuple[Labelled, dict[str, Past], pd.DataFrame | None]:
    """Events with sampled negatives, with the past of each, or with both; and the items that occur in a past."""
    frame, _, order, times = whole
    history = asked.history
    if asked.negatives:
        labelled = set(label_columns(list(frame.columns), asked.label)) if _has_label(frame, asked) else set()
        frame, labels, part = with_negatives(
            frame, _split(name, frame, asked.split), asked.negatives, asked.negatives_seed
        )
        order = np.repeat(order, 1 + asked.negatives)
        times = None if times is None else np.repeat(times, 1 + asked.negatives)
        events = Labelled(of_frame(frame), labels, part, {SPLIT, *labelled})
    else:
        events = parts_of(name, of_frame(frame), asked)
    if history is None:
        return events, {}, None
    rows = {part: np.flatnonzero(events.part == code) for code, part in enumerate(PARTS)}
    if history.columns is not None:
        own = set(history.columns.values()) | ({history.times} if history.times else set())
        past, items = past_of_columns(frame, history, times, name)
        pasts = {part: past.of(chosen) for part, chosen in rows.items()}
        return events._replace(excluded=events.excluded | own), pasts, items
    codes, first = tuples(frame, history.item_fields)
    users, _ = pd.factorize(frame[USER], use_na_sentinel=False)
    pasts = {}
    for code, part_name in enumerate(PARTS):
        seen = (events.labels == 1) & (events.part >= 0) & (events.part <= code)
        pasts[part_name] = past_of(users, order, times, codes, seen, rows[part_name], history.max_length)
    return events, pasts, frame[history.item_fields].iloc[first].reset_index(drop=True)


def parts_of(name: str, blocks: Blocks, asked: Asked) -> Labelled:
    """Return labels [n] uint8 (or float32, numbers) and parts [n] int8."""
    label, split, task = asked.label, asked.split, asked.task
    found, keys = [], []
    looked_at = _looked_at(name, blocks, asked)
    for block in blocks(looked_at):
        own = labels_of(block, label, task)
        found.append(own.astype(np.uint8) if task == "clicks" else own)
        keys.append(block[[c for c in (USER, TIMESTAMP, POSITION, SPLIT) if c in block and _needed(split, c)]])
    labels = np.concatenate(found)
    if not len(labels):
        raise DataError(f"{name}: holds no events")
    check_classes(labels.min(), labels.max(), len(labels), label)
    part = _split(name, pd.concat(keys, ignore_index=True), split)
    return Labelled(blocks, labels, part, {*label_columns(looked_at, label), SPLIT})


def _looked_at(name: str, blocks: Blocks, asked: Asked) -> list[str]:
    """Return the columns that labels and parts follow from."""
    columns = [str(c) for c in next(iter(blocks())).columns]
    _check_columns(name, columns, asked.split, asked.group)
    known = (USER, TIMESTAMP, POSITION, SPLIT)
    found = [c for c in columns if c in known and _needed(asked.split, c)]
    return list(dict.fromkeys([*found, *label_columns(columns, asked.label)]))


def _split(name: str, frame: pd.DataFrame, split: Split) -> np.ndarray:
    """Return parts [n] int8."""
    timed = isinstance(split, TemporalSplit) or getattr(split, "order", "") == "time"
    if timed and TIMESTAMP in frame:
        frame = frame.assign(**{TIMESTAMP: clean_times(frame[TIMESTAMP], TIMESTAMP, Origin(name))})
    return np.asarray(split.split(frame)).astype(np.int8)


def _needed(split: Split, column: str) -> bool:
    """Return whether a split looks at a column; one that we do not know may look at all of them."""
    if isinstance(split, WithoutValidation):
        return _needed(split.of, column)
    return not (isinstance(split, RatioSplit) and split.by == "all" and split.order == "random")


def _check_columns(name: str, columns: list[str], split: Split, group: str | None) -> None:
    split = split.of if isinstance(split, WithoutValidation) else split
    if USER not in columns and (getattr(split, "by", None) == "user" or isinstance(split, LeaveOneOut)):
        raise ConfigError(f"{name}: the events have no column user to split by; take RatioSplit with by: all")
    need_columns([] if group is None else [group], columns, f"group: {name}", error=ConfigError)
