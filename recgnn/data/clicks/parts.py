"""Events before they are encoded: their labels and parts, sampled ones, and what came before them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd

from recgnn.data.clicks.asked import Asked, Chosen
from recgnn.data.clicks.events import EventSource, check_classes, label_columns, labels_of
from recgnn.data.clicks.field_encoders import FieldEncoders
from recgnn.data.clicks.fields import Guess, as_field, declared, guess
from recgnn.data.clicks.history import Past, order_of, past_of, past_of_columns, tuples
from recgnn.data.clicks.negatives import with_negatives
from recgnn.data.clicks.owners import Timeline, has_value, owners_of
from recgnn.data.interactions.filters import codes
from recgnn.data.interactions.log import ITEM, PARTS, POSITION, SPLIT, TIMESTAMP, USER
from recgnn.data.interactions.split import LeaveOneOut, RatioSplit, Split, TemporalSplit
from recgnn.data.interactions.usual_split import WithoutValidation
from recgnn.data.readers.lists import hold_lists, without_lists
from recgnn.data.readers.notation import Notation, plain, read
from recgnn.data.readers.origin import Origin, need_columns
from recgnn.data.readers.tables import numbered
from recgnn.data.readers.times import Finder, clean_times, need_times
from recgnn.errors import ConfigError, DataError

Blocks = Callable[..., Iterator[pd.DataFrame]]  # of all columns, or of those that are named


class Labelled(NamedTuple):
    """Events in blocks, their labels [n], their parts [n], the columns that are no fields, how columns of times are
    written, the fields if these are chosen already, and the events' times [n] where the split goes by them."""

    blocks: Blocks
    labels: np.ndarray
    part: np.ndarray
    excluded: set[str]
    times: dict[str, Notation]
    chosen: Chosen | None = None
    seconds: np.ndarray | None = None


def of_frame(frame: pd.DataFrame) -> Blocks:
    """Return a frame as one block, of the columns that are asked for."""
    return lambda columns=None: iter([frame if columns is None else frame[[*columns]]])


def blocks_of(source: EventSource, dropped: list[int]) -> Blocks:
    """Return the events of a source in numbered blocks, with lists as JSON, and without the rows that are dropped for
    want of a time, whose number each pass adds to a list."""
    drops = source.written.on_missing == "drop"

    def blocks(columns: Collection[str] | None = None) -> Iterator[pd.DataFrame]:
        wanted, missing = columns if columns is None or not drops else {*columns, TIMESTAMP}, 0
        for block in numbered(source.blocks(wanted)):
            if drops and TIMESTAMP in block:
                timed = plain(block[TIMESTAMP]).notna()
                block, missing = block[timed], missing + int((~timed).sum())
            yield without_lists(block if columns is None else block[[c for c in block.columns if c in columns]])
        dropped.append(missing)

    return blocks


def known_times(frame: pd.DataFrame, events: Labelled, asked: Asked) -> Notation | None:
    """Return the notation of the column `timestamp`; None where there is none, or its rows cannot all be read."""
    if TIMESTAMP not in frame:
        return None
    try:
        if TIMESTAMP not in events.times:
            events.times[TIMESTAMP] = clean_times(frame[TIMESTAMP], TIMESTAMP, Origin(), asked.written)[1]
    except DataError:
        return None
    how = events.times[TIMESTAMP]
    return how if asked.written.on_missing != "refuse" or not np.isnan(read(frame[TIMESTAMP], how)[0]).any() else None


class Whole(NamedTuple):
    """All events at once, without sampled ones: labels [n], what they are ordered by [n], times [n] or None, and how
    columns of times are written."""

    frame: pd.DataFrame
    labels: np.ndarray
    order: np.ndarray
    times: np.ndarray | None
    written: dict[str, Notation]


def finders_of(asked: Asked, columns: list[str]) -> dict[str, Finder]:
    """Return a finder for each column of times that is needed and not known yet."""
    fields = {str(name): as_field(given, str(name)) for name, given in (asked.fields or {}).items()}
    timed = {name: field for name, field in fields.items() if field.kind == "time" and name in columns}
    found = {name: Finder(name, field.written(asked.written)) for name, field in timed.items()}
    if asked.times is not None:
        found.pop(TIMESTAMP, None)
    elif TIMESTAMP in columns:
        needed = asked.fields is None or asked.negatives or asked.history is not None or _by_time(asked.split)
        if needed and TIMESTAMP not in found:
            found[TIMESTAMP] = Finder(TIMESTAMP, asked.written)
    return found


def times_of(finders: dict[str, Finder], asked: Asked) -> dict[str, Notation]:
    """Return how columns of times are written."""
    known = {} if asked.times is None else {TIMESTAMP: asked.times}
    return {name: finder.found() for name, finder in finders.items()} | known


def whole_of(name: str, frame: pd.DataFrame, asked: Asked) -> Whole:
    """Return the events, or the positive ones alone, where negatives are to be sampled.

    Raises:
        DataError: If there is no positive event, or one has no item.
    """
    columns = [str(c) for c in frame.columns]
    if asked.history is not None:
        asked.history.check(columns)
    _check_columns(name, columns, asked.split, asked.group)
    if asked.negatives and not _has_label(frame, asked):
        labels = np.ones(len(frame), dtype=np.float32)
    else:
        labels = labels_of(frame, asked.label, asked.task)
    if asked.negatives:
        need_columns((USER, ITEM), columns, f"negatives: {name}", error=ConfigError)
        if not (labels == 1).any():
            raise DataError(f"{name}: no event has label 1 ({asked.label}); negatives are sampled for those")
        empty = (labels == 1) & ~has_value(frame[ITEM])
        if empty.any():
            raise DataError(
                f"{name}, row {int(empty.argmax()) + 1}, column '{ITEM}': empty; expected an item in every event that "
                "negatives are sampled for"
            )
        frame, labels = frame[labels == 1].reset_index(drop=True), labels[labels == 1]
    finders = finders_of(asked, columns)
    for column, finder in finders.items():
        finder.look(frame[column], asked.at)
    times = times_of(finders, asked)
    found = Whole(_named(frame), labels, *order_of(frame, times.get(TIMESTAMP)), times)
    if found.times is not None:
        need_times(found.times, TIMESTAMP, asked.written, asked.at)
    return found


def _has_label(frame: pd.DataFrame, asked: Asked) -> bool:
    """Return whether events have a label; a log of positive events alone needs none."""
    return asked.label != "label" or asked.label in frame


def with_past(name: str, whole: Whole, asked: Asked) -> tuple[Labelled, dict[str, Past], pd.DataFrame | None]:
    """Events with sampled negatives, with the past of each, or with both; and the items that occur in a past."""
    frame, _, order, times, written = whole
    history = asked.history
    own = set()
    if history is not None and history.columns is not None:
        own = set(history.columns.values()) | ({history.times} if history.times else set())
    if asked.negatives:
        events, rows = _sampled(whole, asked, own)
        frame, order, times = next(events.blocks()), order[rows], None if times is None else times[rows]
    else:
        events = parts_of(name, of_frame(frame), [str(c) for c in frame.columns], asked)
        events, rows = events._replace(excluded=events.excluded | own), np.arange(len(frame))
    if history is None:
        return events, {}, None
    wanted = {part: np.flatnonzero(events.part == code) for code, part in enumerate(PARTS)}
    if history.columns is not None:
        past, items = past_of_columns(frame, history, times, name, written.get(TIMESTAMP))
        return events, {part: past.of(chosen) for part, chosen in wanted.items()}, items
    which, first = tuples(frame, history.item_fields)
    users = codes(whole.frame[USER])[rows]
    pasts = {}
    for code, part_name in enumerate(PARTS):
        seen = (events.labels == 1) & (events.part >= 0) & (events.part <= code)
        pasts[part_name] = past_of(users, order, times, which, seen, wanted[part_name], history.max_length)
    return events, pasts, frame[history.item_fields].iloc[first].reset_index(drop=True)


def _sampled(whole: Whole, asked: Asked, own: set[str]) -> tuple[Labelled, np.ndarray]:
    """Return events with sampled negatives, and the rows of the whole that they are made of.

    A field that changes with the event and depends on the item is left out: what it would have been in an event that
    did not happen is not known, and any guess would tell such events apart.

    Args:
        whole: The positive ones.
        asked: What is to be made of them.
        own: Columns that hold histories.
    """
    frame = whole.frame
    excluded = {SPLIT, *own, *asked.weights}
    if _has_label(frame, asked):
        excluded.update(label_columns(list(frame.columns), asked.label))
    part, _ = _split(frame, asked, whole.written)
    line = Timeline(codes(frame[USER]), codes(frame[ITEM]), whole.times)
    fields, left_out, reasons = fields_of(asked, frame[part == 0], excluded, None)
    owners = owners_of(frame, fields, line, asked.said, sampled=True)
    for column, field in [*fields.items()]:
        for name in (column, field.values or column):
            if name in owners and owners[name].kind == "unclear":
                left_out[column] = f"{owners[name].told}; item_fields, user_fields or event_fields says whose {name} is"
                fields.pop(column, None)
    if not fields:
        raise ConfigError(f"fields: none is left: {'; '.join(f'{name}: {why}' for name, why in left_out.items())}")
    of_items = [column for column, owner in owners.items() if owner.kind == "item"]
    events, rows = with_negatives(frame, line, part, asked.drawn, of_items)
    labels = np.zeros(len(rows), dtype=np.float32)
    labels[:: 1 + asked.negatives] = 1
    chosen = Chosen(fields, left_out, reasons, owners)
    seconds = None if whole.times is None else whole.times[rows]
    return Labelled(of_frame(events), labels, part[rows], excluded, whole.written, chosen, seconds), rows


def fields_of(asked: Asked, train: pd.DataFrame, excluded: set[str], labels: np.ndarray | None) -> Guess:
    """Return the fields, declared or guessed, and why other columns are none; see `guess`.

    Raises:
        ConfigError: For a declaration of what is no field, or of lists that are not several values.
        DataError: Where no column can be a field.
    """
    for column in sorted(excluded & set(map(str, asked.fields or {}))):
        label = "label" if asked.history is None else "label or the history"
        what = {SPLIT: "split", asked.weight: "weight"}.get(column, label)
        raise ConfigError(f"fields: {column!r} holds the {what} and is no field")
    need_columns(asked.whose, train.columns, "item_fields, user_fields, event_fields", error=ConfigError)
    if asked.fields is None and asked.earlier is not None:
        return Guess(declared(FieldEncoders.load(asked.earlier).fields, list(train.columns)), {}, {})
    if asked.fields is None:
        return guess(train, excluded, labels)
    found = declared(asked.fields, [c for c in train.columns if c not in excluded])
    for column, field in found.items():
        if field.kind != "multi" and hold_lists(train[column]):
            raise ConfigError(f"fields: column {column!r} holds lists; it is {field.kind}, expected multi")
    return Guess(found, {}, {})


def _named(frame: pd.DataFrame) -> pd.DataFrame:
    """Return events whose blank users are missing ones."""
    if USER not in frame or (named := has_value(frame[USER])).all():
        return frame
    return frame.assign(**{USER: frame[USER].where(named)})


def parts_of(name: str, blocks: Blocks, columns: list[str], asked: Asked) -> Labelled:
    """Return labels [n] uint8 (or float32, numbers) and parts [n] int8.

    Raises:
        DataError: If there are no events, or their labels are of one class.
    """
    label, split, task = asked.label, asked.split, asked.task
    found, keys = [], []
    finders = finders_of(asked, columns)
    looked_at = list(dict.fromkeys([*_looked_at(name, columns, asked), *finders]))
    for block in blocks(looked_at):
        for column, finder in finders.items():
            finder.look(block[column], asked.at)
        own = labels_of(block, label, task)
        found.append(own.astype(np.uint8) if task == "clicks" else own)
        keys.append(_named(block[[c for c in (USER, TIMESTAMP, POSITION, SPLIT) if c in block and _needed(split, c)]]))
    labels = np.concatenate(found)
    if not len(labels):
        raise DataError(f"{name}: holds no events")
    check_classes(labels.min(), labels.max(), len(labels), label)
    times = times_of(finders, asked)
    part, seconds = _split(pd.concat(keys, ignore_index=True), asked, times)
    excluded = {*label_columns(looked_at, label), SPLIT, *asked.weights}
    return Labelled(blocks, labels, part, excluded, times, None, seconds)


def _looked_at(name: str, columns: list[str], asked: Asked) -> list[str]:
    """Return the columns that labels and parts follow from."""
    _check_columns(name, columns, asked.split, asked.group)
    known = (USER, TIMESTAMP, POSITION, SPLIT)
    found = [c for c in columns if c in known and _needed(asked.split, c)]
    return list(dict.fromkeys([*found, *label_columns(columns, asked.label)]))


def _split(
    frame: pd.DataFrame, asked: Asked, times: dict[str, Notation]
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return parts [n] int8, and times [n] where the split goes by them."""
    seconds = None
    if TIMESTAMP in frame and _by_time(asked.split):
        seconds, _ = read(frame[TIMESTAMP], times[TIMESTAMP])
        need_times(seconds, TIMESTAMP, asked.written, asked.at)
        frame = frame.assign(**{TIMESTAMP: seconds})
    return np.asarray(asked.split.split(frame)).astype(np.int8), seconds


def _by_time(split: Split) -> bool:
    """Return whether a split goes by time."""
    split = split.of if isinstance(split, WithoutValidation) else split
    return isinstance(split, TemporalSplit) or getattr(split, "order", "") == "time"


def _needed(split: Split, column: str) -> bool:
    """Return whether a split looks at a column; one that we do not know may look at all of them."""
    if isinstance(split, WithoutValidation):
        return _needed(split.of, column)
    return not (isinstance(split, RatioSplit) and split.by == "all" and split.order == "random")


def _check_columns(name: str, columns: list[str], split: Split, group: str | None) -> None:
    split = split.of if isinstance(split, WithoutValidation) else split
    if USER not in columns and (getattr(split, "by", None) == "user" or isinstance(split, LeaveOneOut)):
        raise ConfigError(f"{name}: the events have no column user to split by; take RatioSplit with by: all, or "
            "name the column (source.user)")
    need_columns([] if group is None else [group], columns, f"group: {name}", error=ConfigError)
