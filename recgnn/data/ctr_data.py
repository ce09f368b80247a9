"""The data module of CTR models: encoded events, batches as slices of tensors."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
import torch
from lightning import LightningDataModule
from torch import Tensor

from recgnn.data.ctr_prepare import EventPart, PreparedEvents, prepare_events
from recgnn.data.encoders import Categorical, Multi
from recgnn.data.events import EventSource
from recgnn.data.fields import Field
from recgnn.data.log import Source
from recgnn.data.split import RatioSplit, Split, WithoutValidation
from recgnn.errors import ConfigError, did_you_mean, one_of

IN_MEMORY = 2**30  # bytes of a part up to which it lies on the training device
CHUNK, TOGETHER = 2**16, 8  # events read at once from a larger one, and chunks that are shuffled together


class CTRBatch(NamedTuple):
    """Events: ids [B, S] rows of the table of all fields, values [B, S] or None (all 1), labels [B], groups [B] or
    None."""

    ids: Tensor
    values: Tensor | None
    labels: Tensor
    groups: Tensor | None


class ReportedField(NamedTuple):
    """A field by whose values something is shown: its slot in `ids`, its first row, and its values by row."""

    name: str
    slot: int
    start: int
    values: list[str]


class CTRDataModule(LightningDataModule):
    """Turns a table of events with a label into tensors of fields.

    Every value of every field is a row of one table; fields are fitted on train and saved with the model. Tables are
    read and encoded in blocks, and parts that are larger than a gigabyte stay on disk, so that memory does not grow
    with them. The order of batches follows from the seed, the epoch and the rank.

    Args:
        source: where the events come from: `EventTable`, `Frappe`, or a log with its user and item tables, such as
            `MovieLens100K` or `TableLog`.
        label: a column of 0 and 1, or a rule such as `rating >= 4`; its column is no field.
        fields: what the columns are, by name: a kind (`categorical`, `numeric`, `multi`, `time`, `drop`) or a mapping
            with options (see `Field`). Columns that are not named are left out. None guesses, and says what.
        split: how train, validation and test are made; by default 8:1:1 of all events, at random.
        group: column whose events are ranked against each other for gAUC; `user` by default, if there is one.
        task: `ctr`, labels are 0 or 1; or `regression`, they are numbers.
        batch_size: events per training step and process.
        eval_batch_size: events per step of evaluation.
        cache_dir: where prepared data are kept; `$RECGNN_CACHE` or `~/.cache/recgnn` by default.
        prepared: a folder of prepared data, as a run's `vocabulary`; then source, fields and split are not used.
        merge_val: train on the validation part too, as the second half of `fit --refit` does.
        report_by: the field by whose values the AUC on test is shown; by default the first that has 2 to 24 values
            and one in each event, and "" for none.
    """

    def __init__(
        self,
        source: Source | EventSource | None = None,
        label: str = "label",
        fields: dict[str, str | Field] | None = None,
        split: Split | None = None,
        group: str | None = None,
        task: Literal["ctr", "regression"] = "ctr",
        batch_size: int = 4096,
        eval_batch_size: int = 2**15,
        cache_dir: str | None = None,
        prepared: str | None = None,
        merge_val: bool = False,
        report_by: str | None = None,
    ):
        super().__init__()
        if source is None and prepared is None:
            raise ConfigError("data needs a source (data.init_args.source), for example class_path: MovieLens100K")
        if batch_size < 1 or eval_batch_size < 1:
            raise ConfigError("batch_size and eval_batch_size must be at least 1")
        one_of("data.init_args.task", task, ("ctr", "regression"))
        self.source, self.label, self.fields, self.group, self.task = source, label, fields, group, task
        self.split = split or RatioSplit(by="all")
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size
        self.cache_dir, self.prepared_folder, self.merge_val = cache_dir, prepared, merge_val
        self.report_by = report_by
        self.seed: int | None = None

    @cached_property
    def prepared(self) -> PreparedEvents:
        """The events, labelled, split and encoded; from the cache where that has been done before."""
        if self.prepared_folder is not None:
            return PreparedEvents.load(self.prepared_folder)
        split = WithoutValidation(self.split) if self.merge_val else self.split
        return prepare_events(self.source, self.label, self.fields, split, self.group, self.cache_dir, self.task)

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

    def reported_field(self) -> ReportedField | None:
        """The field of `report_by`.

        Raises:
            ConfigError: if there is none of that name, or it is no category.
        """
        encoders, start, slot, able = self.prepared.encoders, 0, 0, {}
        for name, encoder in encoders.encoders.items():
            if isinstance(encoder, Categorical) and not isinstance(encoder, Multi) and encoder.field.buckets is None:
                able[name] = ReportedField(name, slot, start, ["unknown", "missing", *encoder.values])
            start, slot = start + encoder.num_rows, slot + encoder.num_slots
        if self.report_by == "":
            return None
        if self.report_by is None:
            return next((field for field in able.values() if 4 <= len(field.values) <= 26), None)
        if self.report_by not in able:
            near = did_you_mean(self.report_by, able)
            there = ", ".join(able)
            raise ConfigError(f"report_by: no field {self.report_by!r} of categories{near}; there are: {there}")
        return able[self.report_by]

    # ---- Lightning

    def prepare_data(self) -> None:
        _ = self.prepared

    def setup(self, stage: str) -> None:
        self.reported_field()  # refused before anything is trained
        if self.seed is None:
            self.seed = torch.initial_seed()

    def train_dataloader(self) -> EventBatches:
        return EventBatches(self, "train")

    def val_dataloader(self) -> EventBatches:
        return EventBatches(self, "val")

    def test_dataloader(self) -> EventBatches:
        return EventBatches(self, "test")


class EventBatches:
    """Batches of a part: shuffled, and of equal number on all processes, for train; in order, each event once, else.

    A part of at most `IN_MEMORY` bytes lies on the training device, and a batch is a slice of it. A larger one stays
    on disk and is read in chunks: for train, chunks in random order, several at once, shuffled together.
    """

    def __init__(self, data: CTRDataModule, part: str):
        self.data, self.trainer, self.train = data, data.trainer, part == "train"
        self.rows: EventPart = getattr(data.prepared, part)
        self.device = self.trainer.strategy.root_device if self.trainer else torch.device("cpu")
        self.rank, self.world = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        self.size = data.batch_size if self.train else data.eval_batch_size
        self.count = len(self.rows)
        self.num_slots = self.rows.ids.shape[1]
        weighted = data.prepared.encoders.weighted
        self.weighted = None if all(weighted) else torch.tensor(np.flatnonzero(weighted), device=self.device)
        self.streamed = self.rows.size > IN_MEMORY
        self.columns = None if self.streamed else self._read(slice(*self._own()))

    def _own(self) -> tuple[int, int]:
        """The events of this process, for what is not shuffled; all, for train."""
        if self.train:
            return 0, self.count
        return self.count * self.rank // self.world, self.count * (self.rank + 1) // self.world

    def _read(self, rows: slice) -> list[Tensor | None]:
        """Columns of some events, on the device. Files are opened anew, so that what was read does not stay mapped."""
        found = []
        for array in (self.rows.ids, self.rows.values, self.rows.labels, self.rows.groups):
            if isinstance(array, np.memmap) and self.streamed:
                array = np.load(array.filename, mmap_mode="r")
            found.append(None if array is None else torch.from_numpy(np.array(array[rows])).to(self.device))
        return found

    def __len__(self) -> int:
        if self.train:
            own = self._share()
        else:
            start, stop = self._own()
            own = stop - start
        return -(-own // self.size)

    def _generator(self, device: torch.device | str = "cpu") -> torch.Generator:
        epoch = self.trainer.current_epoch if self.trainer else 0
        return torch.Generator(device).manual_seed(hash((self.data.seed or 0, epoch, 0)) & (2**63 - 1))

    def _batch(self, columns: list[Tensor | None], rows: Tensor | slice) -> CTRBatch:
        ids, values, labels, groups = (None if column is None else column[rows] for column in columns)
        return CTRBatch(ids, spread(values, self.weighted, self.num_slots), labels, groups)

    def __iter__(self) -> Iterator[CTRBatch]:
        if self.train:
            yield from self._shuffled_chunks() if self.streamed else self._shuffled()
            return
        start, stop = self._own()
        for first in range(start, stop, self.size):
            last = min(first + self.size, stop)
            if self.streamed:
                yield self._batch(self._read(slice(first, last)), slice(None))
            else:
                yield self._batch(self.columns, slice(first - start, last - start))

    def _shuffled(self) -> Iterator[CTRBatch]:
        """This process's share of a random order of all events."""
        order = torch.randperm(self.count, generator=self._generator(self.device), device=self.device)
        if self.world > 1:
            order = torch.cat([order, order[: self._share() * self.world - self.count]])[self.rank :: self.world]
        for rows in order.split(self.size):
            yield self._batch(self.columns, rows)

    # ---- chunks from disk

    def _chunks(self) -> list[int]:
        """Where chunks begin and end: of equal length, as far as may be, and as many on each process."""
        number = self.world * max(1, -(-self.count // (self.world * CHUNK)))
        return [self.count * i // number for i in range(number + 1)]

    def _share(self) -> int:
        """Events of an epoch of each process; where it has fewer of its own, some come twice."""
        if not self.streamed or self.world == 1:
            return -(-self.count // self.world)
        bounds = self._chunks()
        return (len(bounds) - 1) // self.world * int(max(np.diff(bounds)))

    def _shuffled_chunks(self) -> Iterator[CTRBatch]:
        generator, bounds = self._generator(), self._chunks()
        order = torch.randperm(len(bounds) - 1, generator=generator)[self.rank :: self.world].tolist()
        left, rest = self._share(), None
        for start in range(0, len(order), TOGETHER):
            parts = [self._read(slice(bounds[i], bounds[i + 1])) for i in order[start : start + TOGETHER]]
            parts = [rest, *parts] if rest is not None else parts
            columns = [None if column[0] is None else torch.cat(column) for column in zip(*parts, strict=True)]
            del parts
            rows = torch.randperm(len(columns[2]), generator=generator).to(self.device)
            if start + TOGETHER >= len(order) and len(rows) < left:
                rows = torch.cat([rows, rows[: left - len(rows)]])
            last = start + TOGETHER >= len(order)
            whole = len(rows) if last else len(rows) // self.size * self.size
            for batch in rows[:whole].split(self.size):
                yield self._batch(columns, batch)
            left -= whole
            rest = None if last else [None if c is None else c[rows[whole:]] for c in columns]


def spread(values: Tensor | None, weighted: Tensor | None, num_slots: int) -> Tensor | None:
    """Values of all slots, 1 where none is stored: values [B, W] of the slots `weighted` [W] (None: of all); [B, S]."""
    if values is None or weighted is None:
        return values
    found = values.new_ones(values.shape[0], num_slots)
    found[:, weighted] = values
    return found
