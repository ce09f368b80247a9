"""The data module of CTR models: encoded events, batches as slices of tensors."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from lightning import LightningDataModule
from torch import Tensor

from recgnn.data.ctr_prepare import PreparedEvents, prepare_events
from recgnn.data.events import EventSource
from recgnn.data.fields import Field
from recgnn.data.log import Source
from recgnn.data.split import RatioSplit, Split, WithoutValidation
from recgnn.errors import ConfigError


class CTRBatch(NamedTuple):
    """Events: ids [B, S] rows of the table of all fields, values [B, S] or None (all 1), labels [B], groups [B] or
    None."""

    ids: Tensor
    values: Tensor | None
    labels: Tensor
    groups: Tensor | None


class CTRDataModule(LightningDataModule):
    """Turns a table of events with a label into tensors of fields.

    Every value of every field is a row of one table; fields are fitted on train and saved with the model. Batches
    are slices of tensors on the training device, in an order that follows from the seed, the epoch and the rank.

    Args:
        source: where the events come from: `EventTable`, `Frappe`, or a log with its user and item tables, such as
            `MovieLens100K` or `TableLog`.
        label: a column of 0 and 1, or a rule such as `rating >= 4`; its column is no field.
        fields: what the columns are, by name: a kind (`categorical`, `numeric`, `multi`, `time`, `drop`) or a mapping
            with options (see `Field`). Columns that are not named are left out. None guesses, and says what.
        split: how train, validation and test are made; by default 8:1:1 of all events, at random.
        group: column whose events are ranked against each other for gAUC; `user` by default, if there is one.
        batch_size: events per training step and process.
        eval_batch_size: events per step of evaluation.
        cache_dir: where prepared data are kept; `$RECGNN_CACHE` or `~/.cache/recgnn` by default.
        prepared: a folder of prepared data, as a run's `vocabulary`; then source, fields and split are not used.
        merge_val: train on the validation part too, as the second half of `fit --refit` does.
    """

    def __init__(
        self,
        source: Source | EventSource | None = None,
        label: str = "label",
        fields: dict[str, str | Field] | None = None,
        split: Split | None = None,
        group: str | None = None,
        batch_size: int = 4096,
        eval_batch_size: int = 2**15,
        cache_dir: str | None = None,
        prepared: str | None = None,
        merge_val: bool = False,
    ):
        super().__init__()
        if source is None and prepared is None:
            raise ConfigError("data needs a source (data.init_args.source), for example class_path: MovieLens100K")
        if batch_size < 1 or eval_batch_size < 1:
            raise ConfigError("batch_size and eval_batch_size must be at least 1")
        self.source, self.label, self.fields, self.group = source, label, fields, group
        self.split = split or RatioSplit(by="all")
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size
        self.cache_dir, self.prepared_folder, self.merge_val = cache_dir, prepared, merge_val
        self.seed: int | None = None

    @cached_property
    def prepared(self) -> PreparedEvents:
        """The events, labelled, split and encoded; from the cache where that has been done before."""
        if self.prepared_folder is not None:
            return PreparedEvents.load(self.prepared_folder)
        split = WithoutValidation(self.split) if self.merge_val else self.split
        return prepare_events(self.source, self.label, self.fields, split, self.group, self.cache_dir)

    @property
    def name(self) -> str:
        return self.prepared.name

    def describe(self, task: str) -> str:
        """What the data are, as text."""
        return self.prepared.describe()

    # ---- sizes, which models are given

    @property
    def field_dims(self) -> list[int]:
        return self.prepared.encoders.dims

    @property
    def field_names(self) -> list[str]:
        return self.prepared.encoders.names

    @property
    def slots(self) -> list[int]:
        return self.prepared.encoders.slots

    # ---- Lightning

    def prepare_data(self) -> None:
        _ = self.prepared

    def setup(self, stage: str) -> None:
        if self.seed is None:
            self.seed = torch.initial_seed()

    def train_dataloader(self) -> EventBatches:
        return EventBatches(self, "train")

    def val_dataloader(self) -> EventBatches:
        return EventBatches(self, "val")

    def test_dataloader(self) -> EventBatches:
        return EventBatches(self, "test")


class EventBatches:
    """Batches of a part: shuffled, and of equal number on all processes, for train; in order, each event once, else."""

    def __init__(self, data: CTRDataModule, part: str):
        self.data, self.trainer, self.train = data, data.trainer, part == "train"
        rows = getattr(data.prepared, part)
        device = self.trainer.strategy.root_device if self.trainer else torch.device("cpu")
        self.rank, self.world = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        arrays = (rows.ids, rows.values, rows.labels, rows.groups)
        share = slice(None) if self.train else slice(self.rank, None, self.world)
        self.columns = [None if a is None else torch.from_numpy(np.array(a[share])).to(device) for a in arrays]
        self.size = data.batch_size if self.train else data.eval_batch_size
        self.count = len(rows)

    def __len__(self) -> int:
        own = -(-self.count // self.world) if self.train else self.columns[0].shape[0]
        return -(-own // self.size)

    def order(self) -> Tensor:
        """This process's share of the epoch's order."""
        epoch = self.trainer.current_epoch if self.trainer else 0
        device = self.columns[0].device
        generator = torch.Generator(device).manual_seed(hash((self.data.seed or 0, epoch, 0)) & (2**63 - 1))
        order = torch.randperm(self.count, generator=generator, device=device)
        if self.world > 1:
            share = -(-self.count // self.world)
            order = torch.cat([order, order[: share * self.world - self.count]])[self.rank :: self.world]
        return order

    def __iter__(self) -> Iterator[CTRBatch]:
        if self.train:
            for rows in self.order().split(self.size):
                yield CTRBatch(*(None if c is None else c[rows] for c in self.columns))
        else:
            for start in range(0, self.columns[0].shape[0], self.size):
                yield CTRBatch(*(None if c is None else c[start : start + self.size] for c in self.columns))
