"""The data module of CTR models: encoded events, batches as slices of tensors."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, cast

import numpy as np
import torch
from lightning import LightningDataModule
from torch import Tensor

from recgnn.data.clicks.encoders import Categorical, Multi
from recgnn.data.clicks.fields import Field
from recgnn.data.clicks.history import Histories
from recgnn.data.clicks.loaders import EventBatches
from recgnn.data.clicks.negatives import Candidates, Drawn
from recgnn.data.clicks.number_encoders import Bucket
from recgnn.data.clicks.owners import Kind
from recgnn.data.clicks.prepare import prepare_events
from recgnn.data.clicks.prepared import PreparedEvents
from recgnn.data.clicks.screen import screen
from recgnn.data.clicks.tables import EventTables
from recgnn.data.clicks.vectors import ReadRun
from recgnn.data.interactions.log import ITEM, TITLE, AnySource
from recgnn.data.interactions.split import Split
from recgnn.data.interactions.usual_split import UsualSplit, WithoutValidation
from recgnn.data.shard import Position, Shard, batch_size_for
from recgnn.errors import Checked, ConfigError, Count, Range, Seed, did_you_mean


class ReportedField(NamedTuple):
    """A field by whose values something is shown: its slot in `ids`, its first row, and its values by row."""

    name: str
    slot: int
    start: int
    values: list[str]


class CTRDataModule(Checked, LightningDataModule):
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
        split: how train, validation and test are made; by default the parts that the data came with (`GivenSplit()`),
            where they did, or else 8:1:1 of all events, at random.
        group: column whose events are ranked against each other for gAUC; `user` by default, if there is one.
        task: `clicks`, labels are 0 or 1; or `regression`, they are numbers.
        batch_size: events per training step and process; by default what makes about 150 steps a pass over train, from
            256 to 4,096.
        epochs_per_pass: into how many epochs a pass over train is cut, so that validation comes so often; by default 1
            where the batch size is said, else 4 in passes of 100 steps or more, in which an early best would be missed.
        eval_batch_size: events per step of evaluation.
        cache_dir: where prepared data are kept; `$RECGNN_CACHE` or `~/.cache/recgnn` by default.
        prepared: a folder of prepared data, as a run's `vocabulary`; then source, fields and split are not used.
        merge_val: train on the validation part too, as the second half of `fit --refit` does.
        negatives: for logs of positive events alone: so many are sampled for each, with the same user, time and
            context and an item that the user never had; events with another label, if any, are left out.
        negatives_seed: of that draw.
        hard_negatives: what a share of the negatives is drawn from instead of all items, as
            `{class_path: TopOfRun, init_args: {run: runs/ease}}`: items that a retriever takes for the user's, which a
            ranker of its candidates must tell from them.
        item_fields: columns that belong to the item; where it is not said whose a column is, it is found out, and told
            (see `owners_of`). Sampled events have those of their own item, as they were known at their time; a column
            that depends on the item and changes with the event is left out of them.
        user_fields: columns that belong to the user.
        event_fields: columns that belong to the event, and are known before it, whatever the item.
        screen: tell, before training, which fields give the label away (see `screen`).
        history: what events see of their users' past (see `Histories`), for models of sequences.
        report_by: the field by whose values the AUC on test is shown; by default the first that has 2 to 24 values
            and one in each event, and is no number in bins; "" for none.
        weight: column with the weight of each event, from 0 up, which counts in the loss (over its mean in train) and
            in the metrics; sampled events have that of the event that they stand beside.

    Attributes:
        earlier: the prepared data of the run that training starts from, its `vocabulary` folder, set before the data
            are prepared: values of fields keep their rows, and of the events of train those are visited that are later
            than all that it was trained on; all, where the split of either does not go by time.
        read_run: reads the vectors of a run, for fields that have such; `fit` sets it.
    """

    earlier: Path | None = None
    epoch_position: Position | None = None  # where a stopped epoch goes on
    read_run: ReadRun | None = None

    usual_by: Literal["user", "all"] = "all"  # see UsualSplit

    def __init__(
        self,
        source: AnySource | None = None,
        label: str = "label",
        fields: dict[str, str | dict | Field] | None = None,
        split: Split | None = None,
        group: str | None = None,
        task: Literal["clicks", "regression"] = "clicks",
        batch_size: Count | None = None,
        epochs_per_pass: Count | None = None,
        eval_batch_size: Count = 2**15,
        cache_dir: str | None = None,
        prepared: str | None = None,
        merge_val: bool = False,
        negatives: Annotated[int, Range(0, 10_000)] = 0,
        negatives_seed: Seed = 42,
        hard_negatives: Candidates | None = None,
        item_fields: list[str] | None = None,
        user_fields: list[str] | None = None,
        event_fields: list[str] | None = None,
        screen: bool = True,
        history: Histories | None = None,
        report_by: str | None = None,
        weight: str | None = None,
    ):
        super().__init__()
        if source is None and prepared is None:
            raise ConfigError("data needs a source (data.init_args.source), for example class_path: MovieLens100K")
        self.source, self.label, self.fields, self.group, self.task = source, label, fields, group, task
        self.split = split or UsualSplit(self.usual_by)
        self.batch_size, self.epochs_per_pass, self.eval_batch_size = batch_size, epochs_per_pass, eval_batch_size
        self.cache_dir, self.prepared_folder, self.merge_val = cache_dir, prepared, merge_val
        self.negatives, self.negatives_seed, self.history = negatives, negatives_seed, history
        if hard_negatives is not None and not negatives:
            raise ConfigError("hard_negatives needs negatives, the number that is drawn for each event")
        self.hard_negatives = hard_negatives
        self.report_by, self.screen, self.weight = report_by, screen, weight
        self.whose: dict[str, Kind] = {}
        for kind, columns in (("item", item_fields), ("user", user_fields), ("event", event_fields)):
            for column in columns or []:
                if column in self.whose:
                    raise ConfigError(f"{kind}_fields: {column!r} is in {self.whose[column]}_fields too; take one")
                self.whose[column] = cast(Kind, kind)
        self.seed: int | None = None

    @cached_property
    def prepared(self) -> PreparedEvents:
        """The events, labelled, split and encoded; from the cache where that has been done before."""
        if self.prepared_folder is not None:
            return PreparedEvents.load(self.prepared_folder, parts=())  # the others when they are used
        split = WithoutValidation(self.split) if self.merge_val else self.split
        assert self.source is not None  # or there is a prepared folder
        return prepare_events(
            self.source, self.label, self.fields, split, self.group, self.cache_dir, self.task,
            Drawn(self.negatives, self.negatives_seed, self.hard_negatives), self.history, self.whose, self.weight,
            self.earlier, self.read_run,
        )  # fmt: skip

    @cached_property
    def moved(self) -> dict[str, np.ndarray]:
        """The rows here of the earlier run's values, by the name of their numbers."""
        assert self.earlier is not None
        return self.prepared.rows_of(PreparedEvents.load(self.earlier, parts=()))

    @property
    def fresh(self) -> np.ndarray | None:
        """The rows of train that are visited where training starts from another run, [m]; else None."""
        return None if self.earlier is None else self.prepared.fresh

    @property
    def name(self) -> str:  # type: ignore[override]  # Lightning's is a plain attribute
        """The name of the data."""
        return self.prepared.name

    def describe(self, task: str, verbose: bool = False) -> str:
        """What the data are, as text; verbose: every field."""
        wanted = self.screen and self.task == "clicks" and not self.merge_val
        found = screen(self.prepared) if wanted else []
        return "\n".join([self.prepared.describe(verbose), *(f"  note: {line}" for line in found)])

    # ---- sizes, which models are given

    @property
    def field_dims(self) -> list[int]:
        """Rows of each field, [F]."""
        return self.prepared.encoders.dims

    @property
    def field_names(self) -> list[str]:
        """Names of the fields, [F]."""
        return self.prepared.encoders.names

    @property
    def slots(self) -> list[int]:
        """The field of each feature of an event, [S]."""
        return self.prepared.encoders.slots

    @property
    def item_slots(self) -> list[int] | None:
        """The features that are the item and its fields; None without an item."""
        return self.prepared.item_slots

    def usual_pace(self) -> tuple[int, int]:
        """Return the batch size and the epochs of a pass over train, as said or else by the number of its events."""
        size = self.batch_size or batch_size_for(len(self.prepared.train), 150, (256, 4096))
        cut = self.batch_size is None and self.fresh is None and len(self.prepared.train) >= 100 * size
        return size, self.epochs_per_pass or (4 if cut else 1)

    def row_counts(self) -> Tensor:
        """How many events of train have each row of the table of all fields, as their own or in their past, with a
        value other than 0: [V]."""
        loader, size = EventBatches(self.prepared, "train", self.usual_pace()[0], Shard), sum(self.field_dims)
        counts = torch.zeros(size, dtype=torch.long)
        for batch in loader:
            parts = [(torch.arange(len(batch.ids)), batch.ids, batch.values)]
            if batch.history is not None:
                of = torch.repeat_interleave(torch.arange(len(batch.ids)), batch.history.lengths)
                parts.append((of, batch.history.ids, batch.history.values))
            keys = []
            for event, ids, values in parts:
                key = event[:, None] * size + ids
                keys.append(key.flatten() if values is None else key[values != 0])
            counts += torch.bincount(torch.cat(keys).unique() % size, minlength=size)
        return counts

    def item_names(self, rows: Tensor) -> list[str]:
        """What the target items or past items are called: titles where they are known, else their raw ids.

        Args:
            rows: of the first item field, in the table of all fields, [n].
        """
        name = self.prepared.summary["history"]["item_fields"][0]
        found = self.prepared.encoders.words(name, rows.numpy())
        return found if name != ITEM else [self._titles.get(word) or word for word in found]

    @cached_property
    def _titles(self) -> dict[str, str]:
        """The titles of items, by raw id, as far as they are known."""
        tables = EventTables.load(self.prepared.folder)
        if tables is None or TITLE not in tables.items:
            return {}
        return dict(zip(tables.items[ITEM], tables.items[TITLE].fillna(""), strict=True))

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
            named = [field for name, field in able.items() if not isinstance(encoders.encoders[name], Bucket)]
            return next((field for field in named if 4 <= len(field.values) <= 26), None)
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

    def shard(self) -> Shard:
        """The share of the work that this process has now."""
        return Shard.of(self.trainer, self.seed, self.epoch_position)

    def train_dataloader(self) -> EventBatches:
        size, cut = self.usual_pace()
        return EventBatches(self.prepared, "train", size, self.shard, cut, self.fresh)

    def val_dataloader(self) -> EventBatches:
        return EventBatches(self.prepared, "val", self.eval_batch_size, self.shard)

    def test_dataloader(self) -> EventBatches:
        return EventBatches(self.prepared, "test", self.eval_batch_size, self.shard)
