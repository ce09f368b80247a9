"""What is trained on, which users are measured, and the loaders that make both on the training device."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from recgnn.data.interactions.graph import Rows, UserItems
from recgnn.data.interactions.sampling import Negatives, user_uniform
from recgnn.data.shard import Shard

Now = Callable[[], Shard]  # the share of this process, at the moment of asking
Pair = tuple[Tensor, Tensor]
Side = Literal["user", "item"]


class Request(NamedTuple):
    """What a training asks of the data.

    Args:
        task: `ranking` or `rating`.
        rows: whose rows of the interaction matrix a batch holds; None for batches of interactions.
        negatives: what stands against each positive; None for nothing.
        nothing: one empty batch an epoch, for models without gradient training.
    """

    task: Literal["ranking", "rating"] = "ranking"
    rows: Side | None = None
    negatives: Negatives | None = None
    nothing: bool = False


class TrainBatch(NamedTuple):
    """A training step's rows: users [B], positives [B], negatives [B, n], [n] (shared) or None (in-batch); the weights
    of the positives [B], of mean 1 over the training data, or None where they have none."""

    users: Tensor
    positives: Tensor
    negatives: Tensor | None
    weights: Tensor | None = None


class RatingBatch(NamedTuple):
    """Ratings: users [B], items [B], ratings [B], weights [B] or None. A user or item that is not in the training data
    is -1."""

    users: Tensor
    items: Tensor
    ratings: Tensor
    weights: Tensor | None = None


class RowBatch(NamedTuple):
    """Rows of the interaction matrix, by user or by item, as their entries.

    rows [B]; the place of an entry's row in `rows` [n], ascending; its column [n]; its value [n], a rating or one;
    negatives [n, k], columns to stand against each entry, or None; its weight [n], or None.
    """

    rows: Tensor
    place: Tensor
    columns: Tensor
    values: Tensor
    negatives: Tensor | None
    weights: Tensor | None = None


class EvalBatch(NamedTuple):
    """A block of users to rank for: users [B]; the items they have, to leave out, and the relevant ones, each as pairs
    of (place in `users`, item): seen_rows [n], seen_items [n], label_rows [m], label_items [m]; where repeats count,
    whether each label was known before [m]."""

    users: Tensor
    seen_rows: Tensor
    seen_items: Tensor
    label_rows: Tensor
    label_items: Tensor
    label_known: Tensor | None = None


class InteractionBatches:
    """One epoch of training batches of interactions, sampled on the device.

    With several processes each takes its share of every global batch; see `Shard.batches`.

    Args:
        pairs: users and items of the training part, ([n], [n]).
        sizes: (U, I).
        batch_size: interactions per step and process.
        now: the share of this process.
        negatives: what stands against each positive; None for nothing.
        by_user: draw users uniformly and then one of their items, instead of visiting every interaction.
        weights: of the interactions, [n]; or None.
        fresh: the places of those that are visited, [m]; None for all. The others are no negatives.
    """

    def __init__(
        self, pairs: Pair, sizes: tuple[int, int], batch_size: int, now: Now, negatives: Negatives | None,
        by_user: bool = False, weights: Tensor | None = None, fresh: Tensor | None = None,
    ):  # fmt: skip
        self.now, self.batch_size, self.by_user = now, batch_size, by_user
        self.users, self.items = (x.to(now().device) for x in pairs)
        self.num_users = sizes[0]
        self.negatives = prepared(negatives, lambda: self.known, sizes[1])
        if fresh is not None:
            self.users, self.items = self.users[fresh], self.items[fresh]
            vars(self).pop("known", None)
            weights = None if weights is None else weights[fresh]
        self.weights = None if weights is None else weights.to(now().device)

    @cached_property
    def known(self) -> UserItems:
        """The items of each user, of those that are visited."""
        return UserItems.from_pairs(self.users, self.items, self.num_users)

    @cached_property
    def active(self) -> Tensor:
        """The users who have some."""
        return (self.known.ptr.diff() > 0).nonzero().squeeze(1)

    def __len__(self) -> int:
        return self.now().steps(self.users.numel(), self.batch_size)

    def __iter__(self) -> Iterator[TrainBatch]:
        shard = self.now()
        self.own = own = shard.own_generator()
        for users, positives, weights in self._positives(shard, own):
            yield TrainBatch(users, positives, None if self.negatives is None else self.negatives(users, own), weights)

    def _positives(self, shard: Shard, own: torch.Generator) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
        count = self.users.numel()
        order = torch.empty(count, dtype=torch.int8) if self.by_user else shard.order(count)
        for rows in shard.batches(order, self.batch_size):
            if self.by_user:
                yield *user_uniform(self.known, self.active, rows.numel(), own), None
            else:
                yield self.users[rows], self.items[rows], None if self.weights is None else self.weights[rows]


class RatingBatches:
    """One epoch of training batches of ratings: users, items, ratings and perhaps weights [n], in the order of the
    epoch."""

    def __init__(self, columns: Sequence[Tensor], batch_size: int, now: Now):
        self.now, self.batch_size = now, batch_size
        self.columns = [x.to(now().device) for x in columns]

    def __len__(self) -> int:
        return self.now().steps(self.columns[0].numel(), self.batch_size)

    def __iter__(self) -> Iterator[RatingBatch]:
        shard = self.now()
        for rows in shard.batches(shard.order(self.columns[0].numel()), self.batch_size):
            yield RatingBatch(*(column[rows] for column in self.columns))


class RowBatches:
    """One epoch of training batches of rows of the interaction matrix, each row with an entry once.

    Args:
        rows: the row of each entry, [n].
        columns: its column, [n].
        values: its value, [n].
        sizes: (number of rows, number of columns).
        batch_size: rows per step and process.
        now: the share of this process.
        negatives: columns to stand against each entry; None for nothing.
        weights: of the entries, [n]; or None.
        fresh: the rows that are visited; None for all that have an entry.
    """

    def __init__(
        self, rows: Tensor, columns: Tensor, values: Tensor, sizes: tuple[int, int], batch_size: int, now: Now,
        negatives: Negatives | None, weights: Tensor | None = None, fresh: Tensor | None = None,
    ):  # fmt: skip
        self.now, self.batch_size = now, batch_size
        rows, columns, values = (x.to(now().device) for x in (rows, columns, values))
        self.matrix = Rows.from_entries(rows, columns, values, sizes[0])
        if weights is not None:
            weights = weights.to(rows.device)
        self.weights = None if weights is None else Rows.from_entries(rows, columns, weights, sizes[0])
        active = (self.matrix.ptr.diff() > 0).nonzero().squeeze(1)
        self.active = active if fresh is None else fresh.unique().to(rows.device)
        self.negatives = prepared(negatives, lambda: UserItems(self.matrix.ptr, self.matrix.columns), sizes[1])

    def __len__(self) -> int:
        return self.now().steps(self.active.numel(), self.batch_size)

    def __iter__(self) -> Iterator[RowBatch]:
        shard = self.now()
        self.own = own = shard.own_generator()
        for places in shard.batches(shard.order(self.active.numel()), self.batch_size):
            rows = self.active[places]
            place, columns, values = self.matrix.of(rows)
            negatives = None if self.negatives is None else self.negatives(rows[place], own)
            weights = None if self.weights is None else self.weights.of(rows)[2]
            yield RowBatch(rows, place, columns, values, negatives, weights)


class UserBlocks:
    """The users who have something in a part, in blocks; every process has its own, none twice.

    Args:
        labels: users and items of the part, ([n], [n]).
        seen: what they have already, ([m], [m]).
        num_users: U.
        size: users per block.
        now: the share of this process.
        repeats: whether what users have already is ranked too, and may be a label.
    """

    def __init__(self, labels: Pair, seen: Pair, num_users: int, size: int, now: Now, repeats: bool = False):
        shard, self.size, self.repeats = now(), size, repeats
        self.labels, self.seen = (
            UserItems.from_pairs(users.to(shard.device), items.to(shard.device), num_users)
            for users, items in (labels, seen)
        )
        self.users = shard.share((self.labels.ptr.diff() > 0).nonzero().squeeze(1))

    def __len__(self) -> int:
        return -(-self.users.numel() // self.size)

    def __iter__(self) -> Iterator[EvalBatch]:
        for users in self.users.split(self.size)[: len(self)]:  # nobody is one empty block to `split`
            batch = EvalBatch(users, *self.seen.of(users), *self.labels.of(users))
            if self.repeats:
                width = int(torch.cat([batch.seen_items, batch.label_items]).max()) + 1
                seen = batch.seen_rows * width + batch.seen_items
                known = torch.isin(batch.label_rows * width + batch.label_items, seen)
                batch = batch._replace(seen_rows=seen[:0], seen_items=seen[:0], label_known=known)
            yield batch


class RatingBlocks:
    """The ratings of a part in blocks; every process has its own, none twice."""

    def __init__(self, columns: tuple[Tensor, ...], size: int, now: Now):
        shard, self.size = now(), size
        self.columns = [x[shard.rank :: shard.world].to(shard.device) for x in columns]

    def __len__(self) -> int:
        return -(-self.columns[0].numel() // self.size)

    def __iter__(self) -> Iterator[RatingBatch]:
        blocks = (column.split(self.size)[: len(self)] for column in self.columns)
        yield from (RatingBatch(*block) for block in zip(*blocks, strict=True))


def prepared(negatives: Negatives | None, known_items: Callable[[], UserItems], num_items: int) -> Negatives | None:
    """Negatives that know whom they are for, where they ask."""
    if negatives is None or type(negatives).prepare is Negatives.prepare:
        return negatives
    known = known_items()
    return negatives.prepare(known, num_items, torch.bincount(known.items, minlength=num_items))
