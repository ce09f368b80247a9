"""From a table of events to encoded parts: labelled, split, fields fitted on train; cached by content."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd

from recgnn.data.cache import class_of, prepared_once, source_steps
from recgnn.data.clicks.arrays import write_fresh, write_items, write_parts
from recgnn.data.clicks.asked import Asked, Chosen
from recgnn.data.clicks.events import EventSource, Known, events_of
from recgnn.data.clicks.field_encoders import FieldEncoders
from recgnn.data.clicks.fields import Field
from recgnn.data.clicks.history import Histories, order_of
from recgnn.data.clicks.negatives import Drawn
from recgnn.data.clicks.owners import Kind, Timeline, owners_of
from recgnn.data.clicks.parts import (
    Labelled,
    Whole,
    blocks_of,
    fields_of,
    known_times,
    of_frame,
    parts_of,
    whole_of,
    with_past,
)
from recgnn.data.clicks.prepared import FORMAT, VECTORS, PreparedEvents
from recgnn.data.clicks.tables import MOST, EventTables
from recgnn.data.clicks.vectors import IdVectors, ReadRun, check_split, sources_of, told_vectors
from recgnn.data.interactions.by_time import later_than_test, told_later
from recgnn.data.interactions.filters import codes
from recgnn.data.interactions.log import ITEM, PARTS, USER, AnySource, Source
from recgnn.data.interactions.split import Split
from recgnn.data.interactions.usual_split import notes_of
from recgnn.data.memory import release_memory
from recgnn.data.progress import progress
from recgnn.data.readers.lists import without_lists
from recgnn.data.readers.origin import Origin, need_columns
from recgnn.data.readers.times import Written
from recgnn.data.readers.values import type_of
from recgnn.data.stored import SUMMARY, digest_of, read_json, write_summary
from recgnn.errors import ConfigError, DataError, did_you_mean
from recgnn.files import cache_folder, temporary_beside, writing


def prepare_events(
    source: AnySource,
    label: str,
    fields: dict[str, str | dict | Field] | None,
    split: Split,
    group: str | None = None,
    cache_dir: str | Path | None = None,
    task: str = "clicks",
    drawn: Drawn | None = None,
    history: Histories | None = None,
    whose: Mapping[str, Kind] | None = None,
    weight: str | None = None,
    earlier: Path | None = None,
    read_run: ReadRun | None = None,
) -> PreparedEvents:
    """Read, label, split and encode events; the result is cached by content.

    Args:
        source: Where the events come from.
        label: A column of 0 and 1, or a rule such as `rating >= 4`.
        fields: By column; None guesses.
        split: Gives every event its part.
        group: The column whose events are ranked against each other; None: `user` if there is one.
        cache_dir: Folder of the cache; $RECGNN_CACHE or ~/.cache/recgnn when None.
        task: `clicks`, labels are 0 or 1; or `regression`, they are numbers.
        drawn: How negatives are sampled for each positive event; events with another label, if any, are left out.
        history: What events are to see of their users' past.
        whose: Whether columns belong to the item, the user or the event, as far as that is said.
        weight: The column with the weight of each event; None: all count alike.
        earlier: Folder of prepared events whose values keep their rows; new ones come behind them.
        read_run: Reads the vectors of a run, for fields that have such.

    Raises:
        DataError: For labels, fields or parts that cannot be.
    """
    drawn = drawn or Drawn()
    stated = None if fields is None else {n: v.as_dict() if isinstance(v, Field) else v for n, v in fields.items()}
    steps = [*source_steps(source), label, json.dumps(stated), f"{class_of(split)} {split!r}"]
    steps += [str(group), f"{task}, events format {FORMAT}"]
    steps += [f"negatives {drawn.number}, seed {drawn.seed}"] * (drawn.number > 0)
    steps += [] if drawn.hard is None else [f"{drawn.hard.share} of {drawn.hard.fingerprint()}"]
    steps += [] if history is None else [json.dumps(asdict(history))]
    steps += ["with last histories"] if history is not None and history.columns is not None else []
    steps += [json.dumps(whose)] * bool(whose) + [f"weight {weight}"] * (weight is not None)
    steps += sources_of(fields)
    steps += [] if earlier is None else [f"behind {digest_of(earlier / SUMMARY)}"]
    place, scratch = cache_folder(cache_dir) / "events", list[tempfile.TemporaryDirectory]()

    def make() -> PreparedEvents:
        beside = Path(tempfile.gettempdir()) if scratch else place  # once more, where the cache's disk is full
        scratch.append(_scratch(beside))
        asked = Asked(label, fields, split, group, task, drawn, history, whose or {}, weight, earlier=earlier)
        asked = asked._replace(read_run=read_run)
        try:
            with writing(beside, Path(scratch[-1].name)):
                return compute_events(source, asked, Path(scratch[-1].name))
        except BaseException:
            scratch[-1].cleanup()
            raise

    found = prepared_once(PreparedEvents, place.name, steps, make, cache_dir)
    if scratch:
        release_memory()
    for folder in scratch:
        if found.folder == Path(folder.name):  # there is no cache; it goes with the process
            _kept.append(folder)
        else:
            folder.cleanup()
    return found


def _scratch(beside: Path) -> tempfile.TemporaryDirectory:
    """Return a temporary folder, on the cache's disk if it can be; those of dead processes are removed."""
    try:
        beside.mkdir(parents=True, exist_ok=True)
        prefix = f"{temporary_beside(beside / 'events').name}-"
        return tempfile.TemporaryDirectory(prefix=prefix, dir=beside, ignore_cleanup_errors=True)
    except OSError:
        return tempfile.TemporaryDirectory(ignore_cleanup_errors=True)


_kept: list[tempfile.TemporaryDirectory] = []


def compute_events(source: AnySource, asked: Asked, folder: Path) -> PreparedEvents:
    """`prepare_events` without the cache, into a folder.

    The events are read three times, block by block: for labels and parts, for the fields, which see train alone, and
    for the encoding, which is written as it is made. What grows with their number is two bytes an event, and the times
    and users that the split needs. Negatives and histories take the whole table at once.

    Raises:
        DataError: If all labels of the train part are the same, or an event is not what it should be.
    """
    titles, known, names, notes = None, Known(), dict[str, str](), tuple[str, ...]()
    untimed: list[int] = []  # rows that were dropped, by each pass
    if isinstance(source, EventSource):
        known = source.known()
        name, blocks, names = source.name, blocks_of(source, untimed), dict(source.names)
        asked = asked._replace(written=source.written, at=source.at)
    else:
        assert isinstance(source, Source)  # the only other kind
        log = source.read()
        frame, titles, joined = events_of(log)
        blocks, name, names, notes = of_frame(without_lists(frame)), log.name, dict(log.columns), log.notes
        asked = asked._replace(whose={**joined, **asked.whose}, times=log.times, at=Origin(name).at)
        asked = asked._replace(written=Written(on_missing="keep"))
    asked = asked.with_names({theirs: ours for ours, theirs in names.items()})
    columns = [str(c) for c in next(iter(blocks())).columns]
    if isinstance(source, EventSource):
        asked = asked._replace(whose={**source.owners, **asked.whose})
    strict = asked.fields is not None
    if known.fields is not None and not strict:
        asked = asked._replace(fields=cast(dict[str, str | dict | Field], known.fields))
    named, asked = asked.split, asked._replace(split=asked.split.for_columns(columns))
    need_columns(asked.weights, columns, f"weight: {name}", error=ConfigError)
    if asked.negatives or asked.history is not None:
        whole = whole_of(name, pd.concat(list(blocks()), ignore_index=True), asked)
        events, pasts, items = with_past(name, whole, asked)
    else:
        events, pasts, items = parts_of(name, blocks, columns, asked), {}, None
        whole = None
        if len(events.labels) <= MOST and {USER, ITEM} <= set(columns):
            frame = pd.concat(list(blocks()), ignore_index=True)
            whole = Whole(frame, events.labels, *order_of(frame, known_times(frame, events, asked)), {})
    labels, part = events.labels, events.part
    if asked.task == "clicks" and not 0 < labels[part == 0].mean() < 1:
        raise DataError(f"{name}: all labels ({asked.label}) of the train part are the same; choose another split")
    with progress(f"reading {name}", len(labels)) as step:
        past_items = None
        if items is not None and asked.history is not None and asked.history.columns is not None:
            past_items = items.iloc[pasts["train"].seen_items()]
        encoders, chosen, vectors = _fit(events, asked, past_items, strict, step)
    check_split(name, events.blocks, events.part, columns, vectors)
    for number, own in enumerate(vectors.values()):
        np.save(folder / VECTORS.format(number), own.vectors)
    grouped = asked.group or (USER if USER in columns else known.group)
    with progress(f"encoding {name}", len(labels)) as step:
        unnamed, encoders.usual = write_parts(events, encoders, grouped, pasts, folder, step, asked)
    if items is not None and asked.history is not None:
        write_items(items, encoders, asked.history, folder)
    owners, later = chosen.owners, None
    if whole is not None and whole.times is not None:
        own_part = part[:: 1 + asked.negatives]
        later = later_than_test(whole.times[own_part == 0], whole.times[own_part == 2])
    if whole is not None and {USER, ITEM} <= set(columns):
        if not asked.negatives:
            line = Timeline(codes(whole.frame[USER]), codes(whole.frame[ITEM]), whole.times)
            owners = owners_of(whole.frame, encoders.fields, line, asked.said)
        of_items = [column for column, owner in owners.items() if owner.kind == "item"]
        own_part = part[:: 1 + asked.negatives]  # sampled ones are nobody's events
        titles = source.titles if isinstance(source, EventSource) else titles
        EventTables.of(*whole[:4], own_part, encoders.reads, of_items, titles, asked.history).save(folder)
    until = None
    if events.seconds is not None:
        until = float(np.fmax.reduce(events.seconds[part == 0].astype(np.float64), initial=-np.inf))
    if asked.earlier is not None:
        write_fresh(events, read_json(asked.earlier / SUMMARY, sealed=True).get("until"), folder)
    counts = {p: int((part == code).sum()) for code, p in enumerate(PARTS)}
    positive = {p: float(labels[part == code].mean()) if counts[p] else 0.0 for code, p in enumerate(PARTS)}
    if asked.split.val_is_test:
        counts["val"], positive["val"] = counts["test"], positive["test"]
    hard = asked.drawn.hard
    near = "" if hard is None else f", {hard.share:.0%} of {hard.describe()}"
    summary = {
        "format": FORMAT,
        "name": name,
        "label": asked.label if not asked.negatives else f"{asked.negatives} sampled negatives for each event{near}",
        "negatives": asked.negatives,
        "group": grouped,
        "weight": asked.weight,
        "fields": len(encoders.names),
        "rows": sum(encoders.dims),
        **counts,
        "positive": positive,
        "task": asked.task,
        "split": asked.split.describe(),
        "val_is_test": asked.split.val_is_test,
        "columns": names,
        "decimal": getattr(source, "decimal", "."),
        "guessed": asked.fields is None,
        "owners": {column: owner.told for column, owner in owners.items() if owner.kind != "unclear"},
        "left_out": chosen.left_out,
        "reasons": chosen.reasons,
        "unnamed": unnamed // (1 + asked.negatives),
        "layout": known.layout,
        "vectors": list(vectors),
        "notes": [
            *told_vectors(encoders.encoders, vectors), *(getattr(source, "notes", ()) or notes),
            *notes_of(asked.split, named, columns), *told_later(later),
        ],  # fmt: skip
        "history": None if asked.history is None else asked.history.as_dict(),
        "times": {column: asdict(how) for column, how in events.times.items()},
        "untimed": max(untimed, default=0),
        "until": until,
        "types": {c: type_of(whole.frame[c]) for c in (USER, ITEM) if whole is not None and c in whole.frame},
        "mean_history": {p: float(pasts[p].lengths.mean()) if counts[p] else 0.0 for p in pasts},
    }
    encoders.save(folder)
    write_summary(folder, summary)
    return PreparedEvents.load(folder)


def _fit(
    events: Labelled, asked: Asked, past_items: pd.DataFrame | None, strict: bool, step: Callable[[int], None]
) -> tuple[FieldEncoders, Chosen, dict[str, IdVectors]]:
    """Fit the encoding on train and the items of its past, where columns hold that; also choose the fields.

    Fields that are neither declared nor known to the source are guessed from the first block.
    """
    encoders: FieldEncoders | None = None
    vectors: dict[str, IdVectors] = {}
    chosen, start = events.chosen, 0
    for block in events.blocks():
        own = slice(start, start + len(block))
        train = block[events.part[own] == 0]
        start += len(block)
        if encoders is None and len(train):
            labels = events.labels[own][events.part[own] == 0]
            chosen = chosen or Chosen(*fields_of(asked, train, events.excluded, labels), {})
            of, earlier = chosen.fields, asked.earlier
            encoders = FieldEncoders(of) if earlier is None else FieldEncoders.behind(earlier, of)
            vectors = encoders.take_vectors(asked.read_run)
            encoders.times = {column: how for column, how in events.times.items() if column in encoders.fields}
            _check_item_fields(asked.history, encoders)
        if encoders is not None and len(train):
            encoders.observe(train)
        step(len(block))
    assert encoders is not None and chosen is not None, "no event of train, which splits refuse"
    if past_items is not None:
        encoders.observe(past_items)
    return encoders.finish(strict), chosen, vectors


def _check_item_fields(history: Histories | None, encoders: FieldEncoders) -> None:
    for name in [] if history is None else history.item_fields:
        if name not in encoders.fields:
            raise ConfigError(
                f"history: item_fields has {name!r}, which is no field of the events"
                f"{did_you_mean(name, encoders.fields)}; there are: {', '.join(encoders.fields)}"
            )
        if (own := encoders.fields[name].values) is not None:
            raise ConfigError(
                f"history: the numbers of {name!r} are in column {own!r}, which past items do not have; take a multi "
                "field with weights, or leave values out"
            )
