"""Whose a column of the events is: the item's, the user's or the event's own; and what an item's was at a moment."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from recgnn.data.clicks.fields import Field
from recgnn.data.interactions.log import ITEM, POSITION, RATING, SPLIT, TIMESTAMP, USER
from recgnn.data.readers.lists import flat_pieces
from recgnn.data.readers.values import as_text, distinct_of

Kind = Literal["item", "user", "event", "unclear"]
KEYS = (USER, ITEM, TIMESTAMP, POSITION, SPLIT)
ALIKE = 0.8  # of all that chance leaves open, how much the events of one owner agree in what is its own
TRACE, SURE = 0.0025, 3.0  # share of pairs, and standard errors, from which agreement is no chance
FEW = 5  # pairs of events that tell nothing yet
SAMPLE, LAGS, WINDOW = 2**17, 8, 32


class Owner(NamedTuple):
    """Whose a column is, and how that is told."""

    kind: Kind
    told: str


class Look(NamedTuple):
    """Where the events lie, in a `Timeline`, that tell of some items at some moments: each [m].

    Args:
        first: The item's first event.
        last: Its last one at or before the moment, or a place before `first`.
        own: The event itself, which is not looked at while there is another; or -1.
        draw: From 0 to 1, which of several events of one moment it is.
    """

    first: np.ndarray
    last: np.ndarray
    own: np.ndarray
    draw: np.ndarray


class Pairs(NamedTuple):
    """Events to compare: rows of an event, of one before it of the same item and another user, and, for chance, of one
    of the same time as that but of another item; and whether the second is the one just before. Each [p]."""

    event: np.ndarray
    before: np.ndarray
    chance: np.ndarray
    next: np.ndarray


class Timeline:
    """The events of each item, in order.

    Without times, the order of the rows stands in for them; nothing does where the rows are grouped by item.

    Args:
        users: Codes of the users, [n].
        items: Codes of the items from 0, [n].
        times: Of the events, [n]; or None.
    """

    def __init__(self, users: np.ndarray, items: np.ndarray, times: np.ndarray | None) -> None:
        self.users, self.items = users, items.astype(np.int64)
        if times is None:
            grouped = len(items) > 1 and (items[1:] == items[:-1]).mean() > 0.5
            times = np.arange(len(items)) * (not grouped)
        moments, self.rank = np.unique(np.nan_to_num(times, nan=-np.inf), return_inverse=True)
        self.width = len(moments) + 1
        key = self.items * self.width + self.rank
        self.order = np.argsort(key, kind="stable")
        self.key = key[self.order]

    def look(self, items: np.ndarray, rows: np.ndarray) -> Look:
        """Return where to look for items [m] at the moments of the events `rows` [m]."""
        first = np.searchsorted(self.key, np.arange(int(self.items.max()) + 1) * self.width)[items]
        last = np.searchsorted(self.key, items * self.width + self.rank[rows], side="right") - 1
        place = np.empty(len(self.order), dtype=np.int64)
        place[self.order] = np.arange(len(place))
        own = np.where(self.items[rows] == items, place[rows], -1)
        return Look(first, last, own, np.random.default_rng(0).random(len(items)))

    def sources(self, look: Look, known: np.ndarray) -> np.ndarray:
        """Return the rows that tell what the items had: the last that is known, else the first later one; [m].

        Of several of one moment it is one at random: the last of them would be one that sampled events have more often.

        Args:
            look: Where to look.
            known: Which events tell it, [n] bool.
        """
        places = np.flatnonzero(known[self.order])
        if not len(places):
            return self.order[look.first]
        count = np.append(0, known[self.order].cumsum())  # of those before a place
        key = self.key[places]
        starts = np.flatnonzero(np.append(True, key[1:] != key[:-1]))  # of one item and moment
        run = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(key)))
        starts = np.append(starts, len(key))
        at, own = count[look.last + 1] - 1, count[look.own]
        is_own = (look.own >= 0) & known[self.order[look.own]]
        at = at - (is_own & (own == at) & (starts[run[at]] == at))  # alone
        found = np.where((at >= 0) & (places[at] >= look.first), at, count[look.first])
        found = np.minimum(found, len(places) - 1)
        begin, end = starts[run[found]], starts[run[found] + 1]
        beside = is_own & (begin <= own) & (own < end) & (end - begin > 1)
        drawn = begin + (look.draw * (end - begin - beside)).astype(np.int64)
        place = places[drawn + (beside & (drawn >= own))]
        same = self.items[self.order[place]] == self.items[self.order[look.first]]
        return self.order[np.where(same, place, look.first)]

    @cached_property
    def neighbour(self) -> np.ndarray:
        """Return for each event the one before it of the same user and another item, else the one after; -1: none."""
        order = np.lexsort((self.rank, self.users))
        one, other = order[:-1], order[1:]
        good = (self.users[one] == self.users[other]) & (self.items[one] != self.items[other])
        found = np.full(len(order), -1)
        found[one[good]] = other[good]
        found[other[good]] = one[good]
        return found

    @cached_property
    def pairs(self) -> Pairs:
        """Return the pairs of events of each item, at most eight for each event and of at most 131,072 events."""
        size, random = len(self.order), np.random.default_rng(0)
        places = np.arange(size) if size <= SAMPLE else np.sort(random.integers(size, size=SAMPLE))
        clock = np.lexsort((random.random(size), self.rank))
        tick = np.empty(size, dtype=np.int64)
        tick[clock] = np.arange(size)
        window = max(2, min(WINDOW, size // 50))
        found = []
        for lag in range(1, LAGS + 1):
            later = places[places >= lag]
            event, before = self.order[later], self.order[later - lag]
            good = (self.items[event] == self.items[before]) & (self.users[event] != self.users[before])
            event, before = event[good], before[good]
            chance = np.full(len(event), -1)
            for _ in range(4):
                open_ = np.flatnonzero(chance < 0)
                near = tick[before[open_]] + random.integers(-window, window + 1, len(open_))
                drawn, one = clock[near.clip(0, size - 1)], event[open_]
                good = (self.items[drawn] != self.items[one]) & (self.users[drawn] != self.users[one])
                chance[open_[good]] = drawn[good]
            found.append(np.stack([event, before, chance, np.full(len(event), lag == 1)])[:, chance >= 0])
        event, before, chance, just = np.concatenate(found, 1)
        return Pairs(event, before, chance, just.astype(bool))


def owners_of(
    frame: pd.DataFrame, fields: Mapping[str, Field], line: Timeline, said: Mapping[str, Kind], sampled: bool = False
) -> dict[str, Owner]:
    """Return whose each field is that is not a key, a time or a place in the log, and each column of their numbers.

    It is the item's if events of an item by different users agree in it (at least 0.8 of what chance leaves open), and
    no less than those of a user about different items; then one odd row, a gap or a new value does not matter. It
    stays with the user or the event if events of an item agree in it by chance alone, apart from what their users
    have. What is neither is unclear: it changes with the event and depends on the item.

    Args:
        frame: Events.
        fields: By column.
        line: The same events' users, items and times.
        said: Whose columns are, where that is known.
        sampled: Whether the events are to get sampled negatives: then a rating, which follows from the event, is
            unclear, unless it is said whose it is.
    """
    found: dict[str, Owner] = {}
    numbers = {field.values: Field("numeric") for field in fields.values() if field.values is not None}
    for column, field in {**numbers, **fields}.items():
        if column in KEYS:
            continue
        exact, codings = _coded(frame[column], field)
        kind, why = said.get(column), ""
        if kind is None and sampled and column == RATING:
            kind, why = "unclear", "it is given after the event"
        if kind is None:
            kind, why = _owner(codings, line)
        why = f"of the item{_changes(exact, line)}" if kind == "item" else why or f"of the {kind}"
        found[column] = Owner(kind, why)
    return found


def has_value(column: pd.Series) -> np.ndarray:
    """Return which rows have a value, [n] bool; blanks are none."""
    if pd.api.types.is_numeric_dtype(column.dtype):
        return column.notna().to_numpy()
    which, values = distinct_of(column)
    return as_text(values).notna().to_numpy()[which]


def _coded(column: pd.Series, field: Field) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return which value each row has, -1 for none, exactly, and as agreement is looked for, perhaps in two ways; [n].

    Numbers agree that are in one of 20 parts of equally many, or in one half. Lists agree by one of their values, drawn
    so that two agree with the probability of their Jaccard similarity (Broder, 1997).
    """
    which, values = distinct_of(column)
    plain = pd.api.types.is_numeric_dtype(values.dtype) or pd.api.types.is_datetime64_any_dtype(values.dtype)
    codes = np.where(values.isna(), -1, np.arange(len(values))) if plain else pd.factorize(as_text(values))[0]
    if field.kind == "numeric":
        numbers = pd.to_numeric(values, errors="coerce").to_numpy(np.float64, na_value=np.nan)
        codes = np.where(np.isfinite(numbers), codes, -1)
        all_numbers = numbers[which]
        sample = all_numbers[:: max(1, len(which) // SAMPLE)]
        sample = sample[np.isfinite(sample)]
        cuts = [np.unique(np.quantile(sample, np.arange(1, n) / n)) if len(sample) else sample for n in (20, 2)]
        parts = [np.where(codes < 0, -1, np.searchsorted(cut, numbers)) for cut in cuts]
        return codes[which], [part[which] for part in parts]
    if field.kind == "multi":
        pieces, owner = flat_pieces(values, field.separator)
        digest = pd.Series(pd.util.hash_array(pieces.to_numpy(zero_copy_only=False)), index=owner, dtype=np.uint64)
        least = digest.groupby(level=0).min()
        drawn = np.full(len(values), -1)
        drawn[least.index] = pd.factorize(least)[0]
        return codes[which], [drawn[which]]
    return codes[which], [codes[which]]


def _owner(codings: list[np.ndarray], line: Timeline) -> tuple[Kind, str]:
    """Return whose a column is, and why it is unclear."""
    codes, pairs = codings[0], line.pairs
    rows = np.flatnonzero(line.neighbour >= 0)
    rows = rows[:: max(1, len(rows) // SAMPLE)]
    one, other = codes[rows], codes[line.neighbour[rows]]
    for gaps in (False, True):  # leaving them out, or as a value of their own
        known = (one >= 0) & (other >= 0) | gaps
        by_user = (one == other)[known].mean() if known.any() else 0.0
        event, before, chance = codes[pairs.event], codes[pairs.before], codes[pairs.chance]
        known = pairs.next & ((event >= 0) & (before >= 0) & (chance >= 0) | gaps)
        same, luck = (event == before)[known], (event == chance)[known]
        if _beyond(same, luck) >= ALIKE and by_user <= same.mean():
            return "item", ""
    by_user = (one == other).mean() if len(rows) >= FEW else 0.0
    luck = np.square(np.bincount(codes + 1) / len(codes)).sum()
    if luck < 1 and by_user < 0.98:
        if pairs.next.sum() < FEW:
            return "unclear", "too few items have events of several users, which would show whose it is"
        if any(_depends(coding, line) for coding in codings):
            return "unclear", "it depends on the item, but changes with the event"
    return "user" if luck < 1 and by_user - luck >= ALIKE * (1 - luck) else "event", ""


def _beyond(same: np.ndarray, luck: np.ndarray) -> float:
    """Return the share of agreement among what chance leaves open (Cohen's kappa): 0 where there is too little."""
    expected = luck.mean() if len(luck) >= FEW else 1.0
    return 0.0 if expected == 1 else (same.mean() - expected) / (1 - expected)


def _depends(codes: np.ndarray, line: Timeline) -> bool:
    """Return whether events of an item agree more or less than by chance, in what they do not have from their users."""
    event, before, chance = codes[line.pairs.event], codes[line.pairs.before], codes[line.pairs.chance]
    neighbour = line.neighbour[line.pairs.event]
    there = neighbour >= 0
    differs = there & (event != codes[neighbour])
    looked = differs if there.mean() >= 0.5 else differs | ~there
    total = there.sum() if there.mean() >= 0.5 else len(there)
    same, luck = event == before, event == chance
    more, less = (same & ~luck & looked).sum(), (luck & ~same & looked).sum()
    return bool(abs(more - less) > max(SURE * np.sqrt(more + less), TRACE * total))


def _changes(exact: np.ndarray, line: Timeline) -> str:
    """Return, for the summary, how many items have several values, and how many gaps there are."""
    rows = line.order[exact[line.order] >= 0]
    items, values = line.items[rows], exact[rows]
    changed = np.unique(items[1:][(items[1:] == items[:-1]) & (values[1:] != values[:-1])])
    gaps, told = len(exact) - len(rows), []
    if len(changed):
        what = "has several values" if len(changed) == 1 else "have several values"
        if len(changed) == 1 and len(np.unique(values[items == changed[0]])) == 2:
            what = "has two values"
        told.append(f"{len(changed):,} of {len(np.unique(items)):,} items {what}; the last before the event counts")
    if gaps:
        told.append(f"{gaps:,} gaps")
    return f" ({'; '.join(told)})" if told else ""
