"""The share of the work that a process has, and the seeds of what it draws: an epoch's order, its negatives."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch

MASK = 2**64 - 1


class Shard(NamedTuple):
    """What a loader needs to know of the training around it.

    Args:
        device: where tensors go.
        rank: this process, 0..world-1.
        world: number of processes.
        epoch: counted from 0.
        seed: of everything that is drawn.
        owned: whether rows of users are divided over the processes (row r is that of process r mod world).
    """

    device: torch.device = torch.device("cpu")
    rank: int = 0
    world: int = 1
    epoch: int = 0
    seed: int = 0
    owned: bool = False

    @classmethod
    def of(cls, trainer: Any, seed: int | None) -> Shard:
        """The share of a Lightning Trainer's process now; the whole without a Trainer."""
        if trainer is None:
            return cls(seed=seed or 0)
        where = trainer.strategy.root_device
        owned = getattr(trainer.strategy, "partition", None) is not None
        return cls(where, trainer.global_rank, trainer.world_size, trainer.current_epoch, seed or 0, owned)

    def share(self, users: torch.Tensor) -> torch.Tensor:
        """This process's share of distinct users: those whose rows it has, or every world-th."""
        return users[users % self.world == self.rank] if self.owned else users[self.rank :: self.world]

    def generator(self, rank: int, device: torch.device | None = None) -> torch.Generator:
        """A generator that follows from the seed, the epoch and `rank` alone."""
        return torch.Generator(device or self.device).manual_seed(epoch_seed(self.seed, self.epoch, rank))

    def shuffled(self, size: int) -> torch.Tensor:
        """This process's share of 0..size-1 in the epoch's order; all shares have one size: the epoch's first ones
        are repeated where they do not divide evenly."""
        order = torch.randperm(size, generator=self.generator(0), device=self.device)
        if self.world > 1:
            order = torch.cat([order, order[: -(-size // self.world) * self.world - size]])[self.rank :: self.world]
        return order


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
