"""What an exported model is given: the names and shapes of its inputs, and examples to trace and check it with."""

from __future__ import annotations

from inspect import signature
from typing import NamedTuple

import torch
from torch import Tensor, nn

from recgnn.data.clicks.history import History
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
        """Return name, shape and type as plain values."""
        return {"name": self.name, "shape": list(self.shape), "type": str(self.example.dtype).removeprefix("torch.")}


def knows_times(trained: TrainedCTR) -> bool:
    """Whether the run's histories have times, and its model uses them."""
    return trained.model.uses_times and (trained.run / "vocabulary" / "train.times.npy").is_file()


def inputs_of(trained: TrainedCTR | TrainedRecommender, form: nn.Module) -> list[Input]:
    """The inputs of a model's exportable form, which names them by its arguments (see `Model.exportable`)."""
    made = _of_events(trained) if isinstance(trained, TrainedCTR) else _of_recommender(trained)
    return [made[name] for name in signature(form.forward).parameters if name in made]


def _of_events(trained: TrainedCTR) -> dict[str, Input]:
    """Events of made-up values."""
    model, random = trained.model, torch.Generator().manual_seed(0)
    starts = torch.tensor([0, *model.field_dims]).cumsum(0)

    def rows(size: int, slots: list[int]) -> Tensor:
        fields = [model.slots[slot] for slot in slots]
        draws = [torch.randint(model.field_dims[f], (size,), generator=random) + starts[f] for f in fields]
        return torch.stack(draws, 1)

    def values(*shape: int) -> Tensor:
        return torch.rand(shape, generator=random)

    slots = list(range(len(model.slots)))
    made = [
        Input("ids", ("batch", len(slots)), rows(EVENTS, slots)),
        Input("values", ("batch", len(slots)), values(EVENTS, len(slots))),
    ]
    if trained.history is not None:
        of_item, longest = trained.item_slots, EVENTS - 1
        past = rows(EVENTS * longest, of_item).view(EVENTS, longest, -1)
        made += [
            Input("history_ids", ("batch", "length", len(of_item)), past),
            Input("history_values", ("batch", "length", len(of_item)), values(*past.shape)),
            Input("history_lengths", ("batch",), torch.randperm(EVENTS, generator=random)),
        ]
        if knows_times(trained):
            gaps = (25 * values(EVENTS, longest)).exp2().sort(1, descending=True).values
            made.append(Input("history_gaps", ("batch", "length"), gaps))
    return {i.name: i for i in made}


def _of_recommender(trained: TrainedRecommender) -> dict[str, Input]:
    """The first users, and the first rows of the interaction matrix of the training part."""
    model, train = trained.model, trained.prepared.train
    sizes = [(model.num_users, train.user), (model.num_items, train.item)]
    (num_rows, row), (num_columns, column) = sizes if model.training_rows != "item" else sizes[::-1]
    rows, kept = torch.zeros(min(3, num_rows), num_columns), row < min(3, num_rows)
    ratings = torch.tensor(train.rating[kept]) if model.task == "rating" and train.rating is not None else 1.0
    rows[row[kept], column[kept]] = ratings
    made = [Input("users", ("batch",), torch.arange(len(rows))), Input("rows", ("batch", num_columns), rows)]
    return {i.name: i for i in made}


def native_answer(trained: TrainedCTR | TrainedRecommender, inputs: list[Input]) -> Tensor:
    """The answer of the run's own model to inputs; to rows, which must be the first ones of the training part."""
    if isinstance(trained, TrainedCTR):
        return _answer_to_events(trained, *(i.example for i in inputs))
    model, size = trained.model, len(inputs[0].example)
    if inputs[0].name == "rows" and model.training_rows == "item":
        return model.score(torch.arange(model.num_users))[:, :size].T
    return model.score(torch.arange(size))


def _answer_to_events(trained: TrainedCTR, ids: Tensor, values: Tensor, *past: Tensor) -> Tensor:
    """The answer to events [B] with or without padded histories, which are packed here."""
    if not past:
        return trained.model.predict_events(ids, values)
    lengths, gaps = past[2], past[3] if len(past) > 3 else None
    there = torch.arange(past[0].shape[1]) < lengths[:, None]
    history = History(past[0][there], past[1][there], lengths, None if gaps is None else gaps[there])
    return trained.model.predict_events(ids, values, history)
