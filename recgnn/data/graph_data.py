"""The data module of graph recommenders: a training graph, batches of interactions, blocks of users to rank for."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Literal, NamedTuple

import torch
from lightning import LightningDataModule
from torch import Tensor
from torch_geometric.data import HeteroData

from recgnn.data.filters import Filter
from recgnn.data.graph import UserItems, to_hetero
from recgnn.data.log import Source
from recgnn.data.prepare import PreparedLog, prepare
from recgnn.data.sampling import NegativeSampler, user_uniform
from recgnn.data.split import RatioSplit, Split
from recgnn.errors import ConfigError


class TrainBatch(NamedTuple):
    """A training step's rows: users [B], positives [B], negatives [B, n], [n] (shared) or None (in-batch)."""

    users: Tensor
    positives: Tensor
    negatives: Tensor | None


class EvalBatch(NamedTuple):
    """A block of users to rank for: users [B]; what they know, to leave out, and what is right, each as pairs of
    (place in `users`, item): seen_rows [n], seen_items [n], label_rows [m], label_items [m]."""

    users: Tensor
    seen_rows: Tensor
    seen_items: Tensor
    label_rows: Tensor
    label_items: Tensor


class GraphDataModule(LightningDataModule):
    """Turns an interaction log into a bipartite graph of its training part and the batches around it.

    Sampling and batching are tensor operations on the training device. Everything drawn in an epoch follows from
    the seed, the epoch and the rank, so that a resumed run goes on as it would have.

    Args:
        source: where the log comes from: `TableLog`, `AtomicLog`, `AdjacencyLog`, `FrameLog`, or a catalogue data
            set such as `MovieLens100K`.
        filters: applied in order: `MinRating`, `KCore`. Repeated user-item pairs are always merged.
        split: how train, validation and test are made; `RatioSplit()`, 8:1:1 per user at random, by default.
        batch_size: interactions per training step and process.
        sampling: `interaction` visits every interaction once an epoch, `user` draws users uniformly and then one of
            their items, as the LightGCN authors do.
        eval_batch_size: users per block of evaluation; by default as many as make about 2^25 scores.
        cache_dir: where prepared data are kept; `$RECGNN_CACHE` or `~/.cache/recgnn` by default.
        prepared: a folder of prepared data, as a run's `vocabulary`; then source, filters and split are not used.
    """

    def __init__(
        self,
        source: Source | None = None,
        filters: list[Filter] | None = None,
        split: Split | None = None,
        batch_size: int = 2048,
        sampling: Literal["interaction", "user"] = "interaction",
        eval_batch_size: int | None = None,
        cache_dir: str | None = None,
        prepared: str | None = None,
    ):
        super().__init__()
        if source is None and prepared is None:
            raise ConfigError("data needs a source (data.init_args.source), for example class_path: MovieLens100K")
        if batch_size < 1 or (eval_batch_size is not None and eval_batch_size < 1):
            raise ConfigError("batch_size and eval_batch_size must be at least 1")
        self.source, self.filters, self.split = source, filters or [], split or RatioSplit()
        self.batch_size, self.sampling, self.eval_batch_size = batch_size, sampling, eval_batch_size
        self.cache_dir, self.prepared_folder = cache_dir, prepared
        self.seed: int | None = None

    # ---- the log, prepared

    @cached_property
    def prepared(self) -> PreparedLog:
        """The log, checked, filtered, split and numbered; from the cache where it has been prepared before."""
        if self.prepared_folder is not None:
            return PreparedLog.load(self.prepared_folder)
        return prepare(self.source, self.filters, self.split, self.cache_dir)

    @property
    def name(self) -> str:
        return self.prepared.name

    @property
    def num_users(self) -> int:
        return self.prepared.num_users

    @property
    def num_items(self) -> int:
        return self.prepared.num_items

    @cached_property
    def graph(self) -> HeteroData:
        """The training interactions as PyG's HeteroData, on the CPU."""
        return to_hetero(self.prepared.train, self.num_users, self.num_items)

    def pairs(self, part: str) -> tuple[Tensor, Tensor]:
        """Users and items of a part (`train`, `val`, `test`), in the order of the log."""
        rows = getattr(self.prepared, part)
        return torch.tensor(rows.user), torch.tensor(rows.item)

    def known(self, part: str) -> tuple[Tensor, Tensor]:
        """What users know when `part` is predicted: train for validation; train and validation for test."""
        parts = ["train"]
        if part == "test" and not self.prepared.summary["val_is_test"]:
            parts.append("val")
        users, items = zip(*(self.pairs(p) for p in parts), strict=True)
        return torch.cat(users), torch.cat(items)

    # ---- Lightning

    def prepare_data(self) -> None:
        _ = self.prepared

    def setup(self, stage: str) -> None:
        if self.seed is None:
            self.seed = torch.initial_seed()

    def train_dataloader(self) -> InteractionBatches:
        return InteractionBatches(self)

    def val_dataloader(self) -> UserBlocks:
        return UserBlocks(self, "val")

    def test_dataloader(self) -> UserBlocks:
        return UserBlocks(self, "test")


class _OnDevice:
    """What both loaders ask the trainer: the device, and which share of the work is this process's."""

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


class InteractionBatches(_OnDevice):
    """One epoch of training batches, sampled on the device.

    With several processes each takes its share of every global batch. All have the same number of steps: where the
    interactions do not divide evenly, the epoch's first ones are visited again.
    """

    def __init__(self, data: GraphDataModule):
        super().__init__(data)
        self.users, self.items = (x.to(self.device) for x in data.pairs("train"))
        self.known = UserItems.from_pairs(self.users, self.items, data.num_users)
        self.active = (self.known.ptr.diff() > 0).nonzero().squeeze(1)
        model = self.trainer.lightning_module if self.trainer else None
        self.request = getattr(model, "negative_sampling", None)
        if self.request is not None:
            counts = torch.bincount(self.items, minlength=data.num_items)
            self.sampler = NegativeSampler(self.known, data.num_items, counts, self.request["alpha"])

    def __len__(self) -> int:
        per_step = self.data.batch_size * self.world
        return -(-self.users.numel() // per_step)

    def generator(self, rank: int) -> torch.Generator:
        epoch = self.trainer.current_epoch if self.trainer else 0
        seed = hash((self.data.seed or 0, epoch, rank)) & (2**63 - 1)
        return torch.Generator(self.device).manual_seed(seed)

    def __iter__(self) -> Iterator[TrainBatch]:
        own = self.generator(self.rank + 1)
        for users, positives in self._positives(own):
            if self.request is None:
                negatives = None
            elif self.request["shared"]:
                negatives = self.sampler.shared(self.request["num"], own)
            else:
                negatives = self.sampler(users, self.request["num"], own)
            yield TrainBatch(users, positives, negatives)

    def _positives(self, own: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        size = self.data.batch_size
        share = -(-self.users.numel() // self.world)
        if self.data.sampling == "user":
            for start in range(0, share, size):
                yield user_uniform(self.known, self.active, min(size, share - start), own)
            return
        order = torch.randperm(self.users.numel(), generator=self.generator(0), device=self.device)
        if self.world > 1:
            order = torch.cat([order, order[: share * self.world - order.numel()]])[self.rank :: self.world]
        users, items = self.users[order], self.items[order]
        yield from zip(users.split(size), items.split(size), strict=True)


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
