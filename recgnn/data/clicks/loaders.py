"""Batches of encoded events: slices of tensors, or chunks from disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from recgnn.data.clicks.history import History, packed
from recgnn.data.clicks.prepared import EVENT_ARRAYS, EventPart, PreparedEvents
from recgnn.data.shard import Shard

IN_MEMORY = 2**30  # bytes of a part up to which it lies on the training device
CHUNK, TOGETHER = 2**16, 8  # events read at once from a larger one, and chunks that are shuffled together


class CTRBatch(NamedTuple):
    """Events: ids [B, S] rows of the table of all fields, values [B, S] or None (all 1), labels [B], groups [B] or
    None, the events' past or None, and their weights [B], of mean 1 in train, or None (all 1)."""

    ids: Tensor
    values: Tensor | None
    labels: Tensor
    groups: Tensor | None
    history: History | None = None
    weights: Tensor | None = None


class EventBatches:
    """Batches of a part: shuffled, and of equal number on all processes, for train; in order, each event once, else.

    A part of at most `IN_MEMORY` bytes lies on the training device, and a batch is a slice of it. A larger one stays
    on disk and is read in chunks: for train, chunks in random order, several at once, shuffled together.

    Args:
        prepared: the encoded events.
        part: `train`, `val` or `test`.
        size: events per batch and process.
        now: the share of this process.
        cut: into how many epochs a pass over train is cut, all of one length; the last may repeat a few events.
        fresh: the rows of the part that are visited, [m]; None for all.
    """

    def __init__(
        self, prepared: PreparedEvents, part: str, size: int, now: Callable[[], Shard], cut: int = 1,
        fresh: np.ndarray | None = None,
    ):  # fmt: skip
        self.now, self.size, self.cut, self.train = now, size, cut, part == "train"
        self.rows: EventPart = getattr(prepared, part)
        prepared.verify("test" if self.rows is prepared.test else part)
        if fresh is not None:
            arrays = {kind: getattr(self.rows, kind) for kind in EVENT_ARRAYS}
            chosen = {kind: np.array(array[fresh]) for kind, array in arrays.items() if array is not None}
            self.rows = replace(self.rows, **chosen)
        shard = now()
        self.device, self.rank, self.world = shard.device, shard.rank, shard.world
        self.count = len(self.rows)
        self.num_slots = self.rows.ids.shape[1]
        weighted = prepared.encoders.weighted
        self.weighted = None if all(weighted) else torch.tensor(np.flatnonzero(weighted), device=self.device)
        self.streamed = self.rows.size > IN_MEMORY
        own = prepared.train.weights
        self.mean_weight = 1.0 if own is None else float(own.mean(dtype=np.float64))
        self.past = tuple(self._whole(a) for a in (self.rows.past_items, self.rows.past_times))
        self.items = tuple(self._whole(a) for a in (prepared.item_ids, prepared.item_values))
        self.columns: list[Any] = [] if self.streamed else self._read(slice(*self._own()))

    def _own(self) -> tuple[int, int]:
        """The events of this process, for what is not shuffled; all, for train."""
        if self.train:
            return 0, self.count
        return self.count * self.rank // self.world, self.count * (self.rank + 1) // self.world

    def _whole(self, array: np.ndarray | None) -> Tensor | None:
        return None if array is None else torch.from_numpy(np.array(array)).to(self.device)

    def _read(self, rows: slice) -> list[Any]:
        """Columns of some events, on the device. Files are opened anew, so that what was read does not stay mapped."""
        found: list[Tensor | None] = []
        part = self.rows
        others = part.starts, part.lengths, part.times
        for array in (part.ids, part.values, part.labels, part.groups, part.weights, *others):
            if isinstance(array, np.memmap):
                array = np.load(str(array.filename), mmap_mode="r" if self.streamed else None)
            own = None if array is None else np.array(array[rows]) if self.streamed else array[rows]
            found.append(None if own is None else torch.from_numpy(own).to(self.device))
        return found

    def __len__(self) -> int:
        if self.train:
            return -(-self._share() // self.size)
        start, stop = self._own()
        return -(-(stop - start) // self.size)

    def _batch(self, columns: list[Any], rows: Tensor | slice) -> CTRBatch:
        chosen: list[Any] = [None if column is None else column[rows] for column in columns]
        ids, values, labels, groups, weights, starts, lengths, times = chosen
        past, items = cast(Any, self.past), cast(Any, self.items)
        history = None if past[0] is None else packed(starts, lengths, times, past, items)
        weights = None if weights is None else weights / self.mean_weight
        return CTRBatch(ids, spread(values, self.weighted, self.num_slots), labels, groups, history, weights)

    def __iter__(self) -> Iterator[CTRBatch]:
        if self.train:
            now = self.now()
            generator = now._replace(epoch=now.epoch // self.cut).generator
            step = now.epoch % self.cut
            yield from self._shuffled_chunks(generator, step) if self.streamed else self._shuffled(generator, step)
            return
        start, stop = self._own()
        for first in range(start, stop, self.size):
            last = min(first + self.size, stop)
            if self.streamed:
                yield self._batch(self._read(slice(first, last)), slice(None))
            else:
                yield self._batch(self.columns, slice(first - start, last - start))

    def _shuffled(self, generator: Callable[..., torch.Generator], step: int) -> Iterator[CTRBatch]:
        """This process's share of a part of a random order of all events."""
        order = torch.randperm(self.count, generator=generator(0), device=self.device)
        if self.world > 1:
            order = torch.cat([order, order[: -self.count % self.world]])[self.rank :: self.world]
        first = min(step * self._share(), len(order) - self._share())
        for rows in cut(order[first : first + self._share()], self.size):
            yield self._batch(self.columns, rows)

    # ---- chunks from disk

    def _chunks(self) -> list[int]:
        """Where chunks begin and end: of equal length, as far as may be, and as many on each process."""
        number = self.world * max(1, -(-self.count // (self.world * CHUNK)))
        return [self.count * i // number for i in range(number + 1)]

    def _share(self) -> int:
        """Events of an epoch of each process; where it has fewer of its own, some come twice."""
        if not self.streamed or self.world * self.cut == 1:
            return -(-self.count // (self.world * self.cut))
        bounds = self._chunks()
        return -(-((len(bounds) - 1) // self.world) // self.cut) * int(max(np.diff(bounds)))

    def _shuffled_chunks(self, of_seed: Callable[..., torch.Generator], step: int) -> Iterator[CTRBatch]:
        generator, bounds = of_seed(0, torch.device("cpu")), self._chunks()
        order = torch.randperm(len(bounds) - 1, generator=generator)[self.rank :: self.world].tolist()
        own = -(-len(order) // self.cut)
        first = min(step * own, len(order) - own)
        order = order[first : first + own]
        left, rest = self._share(), None
        for start in range(0, len(order), TOGETHER):
            parts = [self._read(slice(bounds[i], bounds[i + 1])) for i in order[start : start + TOGETHER]]
            parts = [rest, *parts] if rest is not None else parts
            columns: list[Any] = [None if c[0] is None else torch.cat(c) for c in zip(*parts, strict=True)]
            del parts
            rows = torch.randperm(len(columns[2]), generator=generator).to(self.device)
            if start + TOGETHER >= len(order) and len(rows) < left:
                rows = torch.cat([rows, rows[: left - len(rows)]])
            last = start + TOGETHER >= len(order)
            whole = len(rows) if last else len(rows) // self.size * self.size
            for batch in cut(rows[:whole], self.size):
                yield self._batch(columns, batch)
            left -= whole
            rest = None if last else [None if c is None else c[rows[whole:]] for c in columns]


def cut(rows: Tensor, size: int) -> list[Tensor]:
    """Rows in batches. A last batch of one event, which batch normalisation could not take, gets a second one from the
    batch before it."""
    batches = list(rows.split(size))
    if size > 1 and len(batches) > 1 and batches[-1].numel() == 1:
        batches[-2:] = [batches[-2][:-1], torch.cat([batches[-2][-1:], batches[-1]])]
    return batches


def spread(values: Tensor | None, weighted: Tensor | None, num_slots: int) -> Tensor | None:
    """Values of all slots, 1 where none is stored: values [B, W] of the slots `weighted` [W] (None: of all); [B, S]."""
    if values is None or weighted is None:
        return values
    found = values.new_ones(values.shape[0], num_slots)
    found[:, weighted] = values
    return found
