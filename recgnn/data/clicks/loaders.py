"""Batches of encoded events: slices of tensors, or chunks from disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from recgnn.data.clicks.disk_order import DiskOrder, Rows, between, shuffled
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
    on disk and is read in chunks: for train, chunks in random order, several at once, shuffled together; each process
    reads its share of them.

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
        self.now, self.batch_size, self.cut, self.train = now, size, cut, part == "train"
        self.least = 2 if size > 2 else 1  # batch normalisation cannot take a batch of one event
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

    def _read(self, rows: slice | np.ndarray) -> list[Any]:
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
        if self.train and self.streamed:
            return self._on_disk().steps()
        if self.train:
            return self.now().steps(-(-self.count // self.cut), self.batch_size, self.least)
        start, stop = self._own()
        return -(-(stop - start) // self.batch_size)

    def _batch(self, columns: list[Any], rows: Tensor | slice) -> CTRBatch:
        chosen: list[Any] = [None if column is None else column[rows] for column in columns]
        ids, values, labels, groups, weights, starts, lengths, times = chosen
        past, items = cast(Any, self.past), cast(Any, self.items)
        history = None if past[0] is None else packed(starts, lengths, times, past, items)
        weights = None if weights is None else weights / self.mean_weight
        return CTRBatch(ids, spread(values, self.weighted, self.num_slots), labels, groups, history, weights)

    def __iter__(self) -> Iterator[CTRBatch]:
        if self.train:
            if self.streamed:
                yield from self._from_disk()
                return
            shard, first, stop = self._epoch()
            order = shard._replace(epoch=shard.epoch // self.cut).order(self.count)[first:stop]
            yield from (self._batch(self.columns, rows) for rows in shard.batches(order, self.batch_size, self.least))
            return
        start, stop = self._own()
        for first in range(start, stop, self.batch_size):
            last = min(first + self.batch_size, stop)
            if self.streamed:
                yield self._batch(self._read(slice(first, last)), slice(None))
            else:
                yield self._batch(self.columns, slice(first - start, last - start))

    def _epoch(self) -> tuple[Shard, int, int]:
        """The share of this process, and where the epoch begins and ends in the order of the pass."""
        shard, share = self.now(), -(-self.count // self.cut)
        first = min(shard.epoch % self.cut * share, self.count - share)
        return shard, first, first + share

    def _on_disk(self) -> DiskOrder:
        """The order of the epoch, of a part that stays on disk."""
        shard, first, stop = self._epoch()
        chunks: list[Rows] = [range(at, min(at + CHUNK, self.count)) for at in range(0, self.count, CHUNK)]
        of_pass = shard._replace(epoch=shard.epoch // self.cut).generator(0, device=torch.device("cpu"))
        pieces = between(shuffled(chunks, of_pass), first, stop)
        return DiskOrder(pieces, shard, self.batch_size, self.least, CHUNK, TOGETHER * CHUNK)

    def _from_disk(self) -> Iterator[CTRBatch]:
        """This process's batches of what is left of the epoch: of chunks, several of which are shuffled together."""
        order = self._on_disk()
        bounds, step = order.bounds(), 1
        at = bounds[0]
        rest: list[Any] | None = None
        for pieces, shuffle in order.groups(at):
            parts = [self._read(slice(p.start, p.stop) if isinstance(p, range) else p) for p in pieces]
            rows = shuffle.to(self.device)
            columns: list[Any] = [None if c[0] is None else torch.cat(c)[rows] for c in zip(*parts, strict=True)]
            del parts
            if rest is not None:
                columns = [None if c is None else torch.cat([r, c]) for r, c in zip(rest, columns, strict=True)]
            there = at + len(columns[2])
            first = at
            while step < len(bounds) and bounds[step] <= there:
                yield self._batch(columns, slice(at - first, bounds[step] - first))
                at, step = bounds[step], step + 1
            rest = [None if c is None else c[at - first :].clone() for c in columns]


def spread(values: Tensor | None, weighted: Tensor | None, num_slots: int) -> Tensor | None:
    """Values of all slots, 1 where none is stored: values [B, W] of the slots `weighted` [W] (None: of all); [B, S]."""
    if values is None or weighted is None:
        return values
    found = values.new_ones(values.shape[0], num_slots)
    found[:, weighted] = values
    return found
