"""What the data module of graph recommenders yields, and the loaders that make it on the training device."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from recgnn.data.interactions.graph import Rows, UserItems
from recgnn.data.interactions.sampling import NegativeSampler, user_uniform

if TYPE_CHECKING:
    from recgnn.data.interactions.module import GraphDataModule


class TrainBatch(NamedTuple):
    """A training step's rows: users [B], positives [B], negatives [B, n], [n] (shared) or None (in-batch)."""

    users: Tensor
    positives: Tensor
    negatives: Tensor | None


class RatingBatch(NamedTuple):
    """Ratings: users [B], items [B], ratings [B]. A user or item that train lacks is -1; none is in training."""

    users: Tensor
    items: Tensor
    ratings: Tensor


class RowBatch(NamedTuple):
    """Rows of the interaction matrix, by user or by item, as their entries.

    rows [B]; the place of an entry's row in `rows` [n], ascending; its column [n]; its value [n], a rating or one;
    negatives [n, k], columns to stand against each entry, or None.
    """

    rows: Tensor
    place: Tensor
    columns: Tensor
    values: Tensor
    negatives: Tensor | None


class EvalBatch(NamedTuple):
    """A block of users to rank for: users [B]; what they know, to leave out, and what is right, each as pairs of
    (place in `users`, item): seen_rows [n], seen_items [n], label_rows [m], label_items [m]."""

    users: Tensor
    seen_rows: Tensor
    seen_items: Tensor
    label_rows: Tensor
    label_items: Tensor


class _OnDevice:
    """What all loaders ask the trainer: the device, the model, and which share of the work is this process's."""

    def __init__(self, data: GraphDataModule):
        self.data, self.trainer = data, data.trainer

    @property
    def device(self) -> torch.device:
        return self.trainer.strategy.root_device if self.trainer else torch.device("cpu")

    @property
    def rank(self) -> int:
        return self.trainer.global_rank if self.trainer else 0

    @property
    def world(self) -> int:
        return self.trainer.world_size if self.trainer else 1

    def asked(self, name: str, otherwise=None):
        """What the model asks of its data."""
        model = self.trainer.lightning_module if self.trainer else None
        return getattr(model, name, otherwise)

    def generator(self, rank: int) -> torch.Generator:
        epoch = self.trainer.current_epoch if self.trainer else 0
        seed = hash((self.data.seed or 0, epoch, rank)) & (2**63 - 1)
        return torch.Generator(self.device).manual_seed(seed)

    def shuffled(self, size: int) -> Tensor:
        """This process's share of 0..size-1 in the epoch's order; all shares have one size."""
        order = torch.randperm(size, generator=self.generator(0), device=self.device)
        if self.world > 1:
            share = -(-size // self.world)
            order = torch.cat([order, order[: share * self.world - size]])[self.rank :: self.world]
        return order

    def negative_sampler(self) -> NegativeSampler | None:
        """The sampler of the negatives that the model asks for: items that a user has not in train."""
        self.request = self.asked("negative_sampling")
        if self.request is None:
            return None
        users, items = (x.to(self.device) for x in self.data.pairs("train"))
        known = UserItems.from_pairs(users, items, self.data.num_users)
        counts = torch.bincount(items, minlength=self.data.num_items)
        return NegativeSampler(known, self.data.num_items, counts, self.request["alpha"])


class InteractionBatches(_OnDevice):
    """One epoch of training batches of interactions, sampled on the device.

    With several processes each takes its share of every global batch. All have the same number of steps: where the
    interactions do not divide evenly, the epoch's first ones are visited again.
    """

    def __init__(self, data: GraphDataModule):
        super().__init__(data)
        self.users, self.items = (x.to(self.device) for x in data.pairs("train"))
        self.ratings = data.ratings("train").to(self.device) if self.asked("task") == "rating" else None
        self.known = UserItems.from_pairs(self.users, self.items, data.num_users)
        self.active = (self.known.ptr.diff() > 0).nonzero().squeeze(1)
        self.sample = self.negative_sampler()

    def __len__(self) -> int:
        per_step = self.data.batch_size * self.world
        return -(-self.users.numel() // per_step)

    def __iter__(self) -> Iterator[TrainBatch | RatingBatch]:
        own = self.generator(self.rank + 1)
        if self.ratings is not None:
            order = self.shuffled(self.users.numel())
            columns = (x[order].split(self.data.batch_size) for x in (self.users, self.items, self.ratings))
            yield from map(RatingBatch._make, zip(*columns, strict=True))
            return
        for users, positives in self._positives(own):
            if self.request is None:
                negatives = None
            elif self.request["shared"]:
                negatives = self.sample.shared(self.request["num"], own)
            else:
                negatives = self.sample(users, self.request["num"], own)
            yield TrainBatch(users, positives, negatives)

    def _positives(self, own: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        size = self.data.batch_size
        share = -(-self.users.numel() // self.world)
        if self.data.sampling == "user":
            for start in range(0, share, size):
                yield user_uniform(self.known, self.active, min(size, share - start), own)
            return
        order = self.shuffled(self.users.numel())
        users, items = self.users[order], self.items[order]
        yield from zip(users.split(size), items.split(size), strict=True)


class RowBatches(_OnDevice):
    """One epoch of training batches of rows of the interaction matrix: those of the users, or those of the items.

    Every row with an entry is visited once; several processes share them as `InteractionBatches` its interactions.
    """

    def __init__(self, data: GraphDataModule, by: str):
        super().__init__(data)
        users, items = data.pairs("train")
        values = data.ratings("train") if self.asked("task") == "rating" else torch.ones(users.numel())
        row, column, size = (users, items, data.num_users) if by == "user" else (items, users, data.num_items)
        self.matrix = Rows.from_entries(*(x.to(self.device) for x in (row, column, values)), size)
        self.active = (self.matrix.ptr.diff() > 0).nonzero().squeeze(1)
        self.sample = self.negative_sampler()

    def __len__(self) -> int:
        return -(-self.active.numel() // (self.data.batch_size * self.world))

    def __iter__(self) -> Iterator[RowBatch]:
        own = self.generator(self.rank + 1)
        for rows in self.active[self.shuffled(self.active.numel())].split(self.data.batch_size):
            place, columns, values = self.matrix.of(rows)
            negatives = None
            if self.sample is not None:
                negatives = self.sample(rows[place], self.request["num"], own)
            yield RowBatch(rows, place, columns, values, negatives)


class UserBlocks(_OnDevice):
    """The users who have something in a part, in blocks; every process has its own, none twice."""

    def __init__(self, data: GraphDataModule, part: str):
        super().__init__(data)
        users, items = (x.to(self.device) for x in data.pairs(part))
        self.labels = UserItems.from_pairs(users, items, data.num_users)
        self.seen = UserItems.from_pairs(*(x.to(self.device) for x in data.known(part)), data.num_users)
        self.users = (self.labels.ptr.diff() > 0).nonzero().squeeze(1)[self.rank :: self.world]
        self.size = data.eval_batch_size or min(4096, max(64, 2**25 // data.num_items))

    def __len__(self) -> int:
        return -(-self.users.numel() // self.size)

    def __iter__(self) -> Iterator[EvalBatch]:
        for users in self.users.split(self.size)[: len(self)]:  # nobody is one empty block to `split`
            yield EvalBatch(users, *self.seen.of(users), *self.labels.of(users))


class RatingBlocks(_OnDevice):
    """The ratings of a part in blocks, those of users and items that train lacks included; every process has its
    own, none twice."""

    SIZE = 2**16

    def __init__(self, data: GraphDataModule, part: str):
        super().__init__(data)
        self.size = data.eval_batch_size or self.SIZE
        self.columns = [x[self.rank :: self.world].to(self.device) for x in data.rated(part)]

    def __len__(self) -> int:
        return -(-self.columns[0].numel() // self.size)

    def __iter__(self) -> Iterator[RatingBatch]:
        blocks = (column.split(self.size)[: len(self)] for column in self.columns)
        yield from map(RatingBatch._make, zip(*blocks, strict=True))
