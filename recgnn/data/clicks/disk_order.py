"""The order of an epoch of events that stay on disk: which of them a process reads, group by group."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from recgnn.data.shard import Shard, Steps, cut_at

Rows = range | np.ndarray  # rows that follow each other, or ascending ones


class DiskOrder(NamedTuple):
    """The chunks of an epoch in random order, shared out among the processes; some at a time are shuffled together.

    The order follows from the seed, the epoch and the steps that were taken before, so that each process knows what all
    have read, and what is left of a stopped epoch is divided anew among any number of them.

    Args:
        pieces: the chunks of the epoch.
        shard: the share of this process.
        size: events per batch and process.
        least: fewest events of a batch.
        chunk: events that are read at once.
        group: events that are shuffled together.
    """

    pieces: list[Rows]
    shard: Shard
    size: int
    least: int
    chunk: int
    group: int

    @property
    def before(self) -> tuple[Steps, ...]:
        """The steps by other processes, or with other batches."""
        return self.shard.done[:-1] if self.shard.goes_on(self.size) else self.shard.done

    def left(self) -> list[Rows]:
        """What these others have left of the epoch, in its order."""
        pieces = self.pieces
        for number, steps in enumerate(self.before):
            each = (self._left_by(pieces, rank, steps, number) for rank in range(steps.world))
            pieces = shuffled([rows for one in each for rows in one], self._generator(0, number, 0))
        return pieces

    def steps(self) -> int:
        """The number of steps of the epoch, those that were taken included: the same for all processes."""
        return sum(steps.steps for steps in self.before) + steps_of(self.left(), self.shard.world, self.size)

    def bounds(self) -> list[int]:
        """Where this process's batches that are left begin and end, in its own rows."""
        pieces = self.left()
        steps, own = steps_of(pieces, self.shard.world, self.size), count(self._own(pieces))
        taken = self.shard.taken - sum(steps.steps for steps in self.before)
        return [cut_at(own, self.size, self.least, step, steps) for step in range(taken, steps + 1)]

    def groups(self, first: int) -> Iterator[tuple[list[Rows], Tensor]]:
        """This process's rows from `first` on, those together that are shuffled together, and their order."""
        own = self._own(self.left())
        for start in range(first // self.group * self.group, count(own), self.group):
            rows = between(own, start, start + self.group)
            order = self._order(count(rows), self.shard.rank, len(self.before), start)
            yield rows, order[max(0, first - start) :]

    def _own(self, pieces: list[Rows]) -> list[Rows]:
        return share_of(pieces, self.shard.rank, self.shard.world)

    def _left_by(self, pieces: list[Rows], rank: int, taken: Steps, number: int) -> list[Rows]:
        """What a process has left of its share after the steps that were taken: of one group some, the later ones."""
        own = share_of(pieces, rank, taken.world)
        steps = steps_of(pieces, taken.world, taken.size)
        read = cut_at(count(own), taken.size, self.least, taken.steps, steps)
        start = read // self.group * self.group
        half = between(own, start, start + self.group)
        rest = self._order(count(half), rank, number, start)[read - start :].numpy()
        rows = np.sort(np.concatenate([np.asarray(piece) for piece in half])[rest]) if half else np.zeros(0, np.int64)
        cut = [rows[at : at + self.chunk] for at in range(0, len(rows), self.chunk)]
        return [*cut, *between(own, start + self.group, count(own))]

    def _order(self, rows: int, rank: int, number: int, start: int) -> Tensor:
        return torch.randperm(rows, generator=self._generator(rank + 1, number, start))

    def _generator(self, *of: int) -> torch.Generator:
        return self.shard.generator(*of, device=torch.device("cpu"))


def shuffled(pieces: list[Rows], generator: torch.Generator) -> list[Rows]:
    """Put pieces in random order."""
    return [pieces[i] for i in torch.randperm(len(pieces), generator=generator).tolist()]


def count(pieces: list[Rows]) -> int:
    """Count the rows of pieces."""
    return sum(map(len, pieces))


def between(pieces: list[Rows], start: int, stop: int) -> list[Rows]:
    """Return the rows start..stop-1 of pieces that follow each other."""
    found, at = [], 0
    for piece in pieces:
        part = piece[max(0, start - at) : max(0, stop - at)]
        found += [part] if len(part) else []
        at += len(piece)
    return found


def share_of(pieces: list[Rows], rank: int, world: int) -> list[Rows]:
    """Return a process's share, of one size up to one row; where there are fewer rows than processes, some have one
    that another has too."""
    rows = count(pieces)
    start = min(rows * rank // world, max(0, rows - 1))
    return between(pieces, start, max(start + 1, rows * (rank + 1) // world))


def steps_of(pieces: list[Rows], world: int, size: int) -> int:
    """Return how many steps the processes take for pieces."""
    share = -(-count(pieces) // world)
    return -(-share // size)
