"""What an exported model is given: the names and shapes of its inputs, and examples to trace and check it with."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from recgnn.data.clicks.history import History
from recgnn.models import BST, CDAE
from recgnn.models.autoencoder import RowRecommender
from recgnn.serving.clicks import TrainedCTR
from recgnn.serving.recommender import TrainedRecommender

EVENTS = 6  # made up; with histories of 0 to 5 past items


class Input(NamedTuple):
    """One input: its name, the names (or numbers) of its dimensions, and an example."""

    name: str
    shape: tuple[str | int, ...]
    example: Tensor

    @property
    def dynamic(self) -> dict[int, str]:
        """The dimensions that may differ from one call to the next."""
        return {place: size for place, size in enumerate(self.shape) if isinstance(size, str)}

    def as_dict(self) -> dict:
        return {"name": self.name, "shape": list(self.shape), "type": str(self.example.dtype).removeprefix("torch.")}


def knows_times(trained: TrainedCTR) -> bool:
    """Whether the run's histories have times, and its model looks at them."""
    looks = isinstance(trained.model, BST) and trained.model.position_kind == "time"
    return looks and (Path(trained.run) / "vocabulary" / "train.times.npy").is_file()


def event_inputs(trained: TrainedCTR) -> list[Input]:
    """Those of a CTR model."""
    model, random = trained.model, torch.Generator().manual_seed(0)
    starts = torch.tensor([0, *model.field_dims]).cumsum(0)

    def rows(size: int, slots: list[int]) -> Tensor:
        fields = [model.slots[slot] for slot in slots]
        draws = [torch.randint(model.field_dims[f], (size,), generator=random) + starts[f] for f in fields]
        return torch.stack(draws, 1)

    def values(*shape: int) -> Tensor:
        return torch.rand(shape, generator=random)

    slots = list(range(len(model.slots)))
    found = [
        Input("ids", ("batch", len(slots)), rows(EVENTS, slots)),
        Input("values", ("batch", len(slots)), values(EVENTS, len(slots))),
    ]
    if trained.history is None:
        return found
    of_item, longest = trained.item_slots, EVENTS - 1
    past = rows(EVENTS * longest, of_item).view(EVENTS, longest, -1)
    found += [
        Input("history_ids", ("batch", "length", len(of_item)), past),
        Input("history_values", ("batch", "length", len(of_item)), values(*past.shape)),
        Input("history_lengths", ("batch",), torch.randperm(EVENTS, generator=random)),
    ]
    if knows_times(trained):
        gaps = (25 * values(EVENTS, longest)).exp2().sort(1, descending=True).values
        found.append(Input("history_gaps", ("batch", "length"), gaps))
    return found


def recommender_inputs(trained: TrainedRecommender) -> list[Input]:
    """Those of a model that recommends: users, or rows of the interaction matrix of train."""
    model, train = trained.model, trained.prepared.train
    if not isinstance(model, RowRecommender):
        return [Input("users", ("batch",), torch.arange(min(3, model.num_users)))]
    size = min(3, model.num_rows)
    row, column = (train.user, train.item) if model.by == "user" else (train.item, train.user)
    values = train.rating if model.task == "rating" else np.ones(len(row))
    kept = row < size
    rows = torch.zeros(size, model.num_columns)
    rows[row[kept], column[kept]] = torch.from_numpy(values[kept]).float()
    found = [Input("rows", ("batch", model.num_columns), rows)]
    return [*found, Input("users", ("batch",), torch.arange(size))] if isinstance(model, CDAE) else found


def native_answer(trained: TrainedCTR | TrainedRecommender, inputs: list[Tensor]) -> Tensor:
    """What the model itself says of inputs as its plain form is given them; of rows, those that are the first ones of
    train."""
    if isinstance(trained, TrainedCTR):
        return _of_events(trained, *inputs)
    model, size = trained.model, len(inputs[0])
    if not isinstance(model, RowRecommender):
        return model.score(inputs[0])
    if model.by == "user":
        return model.score(torch.arange(size))
    everybody = torch.arange(model.num_users)
    return torch.stack([model.score_pairs(everybody, torch.full_like(everybody, item)) for item in range(size)])


def _of_events(trained: TrainedCTR, ids: Tensor, values: Tensor, *past: Tensor) -> Tensor:
    """Of events [B] with or without padded histories, which are packed here."""
    if not past:
        return trained.model.predict_events(ids, values)
    lengths, gaps = past[2], past[3] if len(past) > 3 else None
    there = torch.arange(past[0].shape[1]) < lengths[:, None]
    history = History(past[0][there], past[1][there], lengths, None if gaps is None else gaps[there])
    return trained.model.predict_events(ids, values, history)
