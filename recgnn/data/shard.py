"""The share of the work that a process has, and the seeds of what it draws: an epoch's order, its negatives."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from recgnn.files import large_array

MASK = 2**64 - 1


class Steps(NamedTuple):
    """Steps of an epoch that were taken before the run was stopped: by how many processes, with how many rows each."""

    world: int
    size: int
    steps: int


class Position(NamedTuple):
    """Where an epoch goes on: the epoch, its steps until now, the seed of its order, and the state of this process's
    generator (see `Shard.own_generator`), where the processes are as many as before."""

    epoch: int
    done: tuple[Steps, ...]
    seed: int
    drawn: Tensor | None = None


class Shard(NamedTuple):
    """What a loader needs to know of the training around it.

    Args:
        device: where tensors go.
        rank: this process, 0..world-1.
        world: number of processes.
        epoch: counted from 0.
        seed: of everything that is drawn.
        done: the steps of this epoch that were taken before.
        drawn: the state of this process's own generator after them; None where it begins anew.
        owned: whether rows of users are divided over the processes (row r is that of process r mod world).
    """

    device: torch.device = torch.device("cpu")
    rank: int = 0
    world: int = 1
    epoch: int = 0
    seed: int = 0
    done: tuple[Steps, ...] = ()
    drawn: Tensor | None = None
    owned: bool = False

    @classmethod
    def of(cls, trainer: Any, seed: int | None, position: Position | None = None) -> Shard:
        """The share of a Lightning Trainer's process now; the whole without a Trainer."""
        if trainer is None:
            return cls(seed=seed or 0)
        where, epoch = trainer.strategy.root_device, trainer.current_epoch
        owned = getattr(trainer.strategy, "partition", None) is not None
        then = position if position is not None and position.epoch == epoch else Position(epoch, (), seed or 0)
        return cls(where, trainer.global_rank, trainer.world_size, epoch, then.seed, then.done, then.drawn, owned)

    def share(self, users: Tensor) -> Tensor:
        """This process's share of distinct users: those whose rows it has, or every world-th."""
        return users[users % self.world == self.rank] if self.owned else users[self.rank :: self.world]

    def generator(self, *of: int, device: torch.device | None = None) -> torch.Generator:
        """A generator that follows from the seed, the epoch and the numbers `of` alone."""
        return torch.Generator(device or self.device).manual_seed(epoch_seed(self.seed, self.epoch, *of))

    def own_generator(self) -> torch.Generator:
        """This process's generator of the epoch: as it was where the epoch goes on, one of its own where the processes
        are others now."""
        if self.drawn is None:
            return self.generator(self.rank + 1, *(number for steps in self.done for number in steps))
        found = torch.Generator(self.device)
        found.set_state(self.drawn)
        return found

    @property
    def taken(self) -> int:
        """The number of steps of the epoch that were taken before."""
        return sum(steps.steps for steps in self.done)

    def and_then(self, size: int, steps: int) -> tuple[Steps, ...]:
        """The steps of the epoch that were taken, with further ones of these processes, of `size` rows each."""
        if self.goes_on(size):
            return (*self.done[:-1], self.done[-1]._replace(steps=self.done[-1].steps + steps))
        return (*self.done, Steps(self.world, size, steps))

    def goes_on(self, size: int) -> bool:
        """Whether the last steps were taken by as many processes, with batches of `size`."""
        return bool(self.done) and self.done[-1][:2] == (self.world, size)

    def order(self, rows: int) -> Tensor:
        """The rows 0..rows-1 in the epoch's order, which all processes share."""
        if self.device.type != "cpu":
            return torch.randperm(rows, generator=self.generator(0), device=self.device)
        return torch.randperm(rows, generator=self.generator(0), out=torch.from_numpy(large_array(rows, "int64")))

    def left(self, rows: int, least: int = 1) -> int:
        """How many of the rows of an epoch are left; see `batches`."""
        for world, size, steps in self.done:
            rows -= cut_at(rows, size * world, least * world, steps)
        return rows

    def steps(self, rows: int, size: int, least: int = 1) -> int:
        """The number of steps of the epoch, those before included; see `batches`."""
        return self.taken + -(-self.left(rows, least) // (size * self.world))

    def batches(self, order: Tensor, size: int, least: int = 1) -> Iterator[Tensor]:
        """This process's batches of the rows that are left, each row in one batch of one process.

        A step takes the next `size` rows for each process. All processes take the same number of steps, and their
        batches of a step differ by one row at most: the last step, where it would have fewer than `least` rows for
        each, gets some of the step before it. Only where fewer rows than processes are left do rows come twice; and
        where rows of users are divided over the processes, whose batches must be of one size.

        Args:
            order: the rows of the epoch in its order, [n].
            size: rows of a batch.
            least: fewest rows of a batch.
        """
        order = order[order.numel() - self.left(order.numel(), least) :]
        width = size * self.world
        for step in range(-(-order.numel() // width)):
            first, stop = (cut_at(order.numel(), width, least * self.world, i) for i in (step, step + 1))
            rows = order[first:stop]
            rows = rows.repeat(self.world)[: self.world] if rows.numel() < self.world else rows
            if self.owned:
                rows = torch.cat([rows, rows[: -rows.numel() % self.world]])
            yield rows[self.rank :: self.world]


def cut_at(rows: int, width: int, least: int, step: int, steps: int | None = None) -> int:
    """Where a step begins when rows are taken `width` at a time, and the last step has `least` of them or more.

    >>> [cut_at(9, 4, 2, step) for step in range(4)]
    [0, 4, 7, 9]
    """
    steps = -(-rows // width) if steps is None else steps
    return rows if step >= steps else max(0, min(step * width, rows - least))


def epoch_seed(*values: int) -> int:
    """One seed from several numbers: xxHash64's rounds over them, 63 bits.

    >>> epoch_seed(42, 0, 0) == epoch_seed(42, 0, 0) != epoch_seed(42, 1, 0)
    True
    """
    first, second, fifth = 11400714785074694791, 14029467366897019727, 2870177450012600261
    total = fifth
    for value in values:
        total = (total + value % (2**61 - 1) * second) & MASK
        total = (total << 31 | total >> 33) & MASK
        total = total * first & MASK
    return (total + (len(values) ^ fifth ^ 3527539)) & (2**63 - 1)


def batch_size_for(rows: int, steps: int, bounds: tuple[int, int]) -> int:
    """Choose a batch size by the rows of an epoch: the power of two that makes about so many steps, within bounds.

    >>> batch_size_for(80_000, 100, (256, 2048)), batch_size_for(900, 100, (256, 2048))
    (1024, 256)
    """
    least, most = bounds
    return min(most, max(least, 2 ** round(math.log2(max(1.0, rows / steps)))))
