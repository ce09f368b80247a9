"""The base class of CTR models: an event's logit from the values of its fields."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from inspect import signature
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from recgnn.errors import ConfigError, expect_tensor
from recgnn.models.base import Model
from recgnn.nn.embedding import FieldEmbedding, FieldSum, GivenVectors
from recgnn.nn.sequence import PaddedHistory


class Terms(NamedTuple):
    """The parts of the logits of B events: the bias; of fields [B, F]; of pairs of fields, those of a field with itself
    among them, [B, F, F], zeros below the diagonal; and what else there is, [B]."""

    bias: Tensor
    fields: Tensor
    pairs: Tensor
    rest: Tensor


class CTRModel(Model):
    r"""A model of the probability of a click, :math:`p = \sigma(\hat y(x))`. A subclass defines `forward`.

    An event is S features, rows of one table for all fields with values x: one for a categorical or a numeric field,
    several for a multi-valued one. Trained for regression, the logit itself is the answer.

    Args:
        field_dims: rows of each field, given by the data, [F].
        slots: the field of each feature of an event, given by the data, [S]; by default each field has one.
        field_names, item_slots: names of the fields [F], and the features that are the item; some models ask for them.

    Attributes:
        reads_history: whether `forward` takes a third argument `history`: what the user did before.
        usual_lr: the learning rate that suits the number of features, where it is not said; None for the default one.
        uses_times: whether it looks at the times of a history.
        calibration: a rising curve that is put on the logits after training: corners and their images, [2, K]; or None.
        prior: what the regularisation is over the number of training events, where it is not said: in how many events
            of a value its vector or weight is worth as much as they are.
    """

    linear: FieldEmbedding
    calibration: Tensor | None
    tasks = ("clicks", "regression")
    reads = "events"
    defaults = {"lr": 1e-3}
    explanation = "what each field and each pair of fields adds to the logit of the score; exact: they sum to it"
    prior = 300.0
    usual_lr: float | None = None
    uses_times = False

    def __init__(self, field_dims: Sequence[int], slots: Sequence[int] | None = None):
        super().__init__()
        self.field_dims, self.slots = list(field_dims), list(slots or range(len(field_dims)))
        self.num_fields, self.num_rows = len(self.field_dims), sum(self.field_dims)
        self.sum_fields = FieldSum(self.slots)
        self.bias = nn.Parameter(torch.zeros(()))
        self.given: Sequence[GivenVectors] = cast(Any, nn.ModuleList())
        self.register_buffer("calibration", None)
        self.reads_history = "history" in signature(self.forward).parameters

    def table(self, dim: int, std: float = 1e-4, num_rows: int | None = None) -> FieldEmbedding:
        """Make a table of vectors, [num_rows, dim], by default with a row for every value of every field; `std` at the
        start."""
        found = FieldEmbedding(num_rows or self.num_rows, dim, std)
        found.of_values = num_rows is None
        return found

    def set_vectors(self, given: Sequence[GivenVectors]) -> None:
        """Take the vectors of some fields' values, which every table of values maps to its own width."""
        self.given = cast(Any, nn.ModuleList(given))
        for table in self.tables():
            if table.of_values:
                table.take(given)

    def moved_rows(self, earlier: Any, rows: dict[str, Tensor]) -> dict[str, Tensor | None]:
        found: dict[str, Tensor | None] = {}
        for number, own in enumerate(self.given):
            field = max(f for f in range(self.num_fields) if sum(self.field_dims[:f]) <= own.start)
            offset = own.start - sum(self.field_dims[:field])
            moved = rows["field_dims"].split(earlier.field_dims)[field][offset:] - own.start
            found[f"given.{number}.vectors"] = moved if own.trained else torch.full_like(moved, -1)  # as they are now
        return found

    @abstractmethod
    def forward(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        """Compute the logits of events: ids [B, S], values [B, S] or None (all 1); [B]."""

    def logits(self, batch: Any) -> Tensor:
        """Compute the logits of a batch of events: [B]."""
        found = self(batch.ids, batch.values, *([batch.history] if self.reads_history else []))
        return expect_tensor(self, "forward", found, batch.ids.shape[:1], "a logit for each event")

    def outputs(self, batch: Any) -> Tensor:
        return self.logits(batch)

    def first_order(self, ids: Tensor, values: Tensor | None) -> Tensor:
        r"""Compute :math:`w_0 + \sum_i w_i x_i`of the features `ids` [B, S], for models that have a table `linear` of
        weights: [B]."""
        return self.bias + self.linear(ids, values).sum((1, 2))

    def tables(self) -> list[FieldEmbedding]:
        """Return all tables of vectors and weights."""
        return [module for module in self.modules() if isinstance(module, FieldEmbedding)]

    def rows_of_batch(self, batch: Any) -> list[tuple[FieldEmbedding, Tensor]]:
        """Return all tables, each with the distinct rows that the batch reads."""
        rows = present(batch.ids, batch.values)
        return [(table, rows) for table in self.tables()]

    @torch.no_grad()
    def predict_events(self, ids: Tensor, values: Tensor | None, history: Any = None) -> Tensor:
        """Predict the probabilities of events `ids` [B, S], or numbers where trained for regression: [B]."""
        return self.answers(self(ids, values, *([history] if self.reads_history else [])))

    def answers(self, logits: Tensor) -> Tensor:
        """Turn logits into probabilities, or into numbers where trained for regression: [B]; [B]."""
        return torch.sigmoid(self.calibrated(logits)) if self.task == "clicks" else logits.float()

    def calibrated(self, logits: Tensor) -> Tensor:
        """Put the calibration, if there is one, on logits: [B]; [B]."""
        logits = logits.float()
        if self.calibration is None:
            return logits
        corner, image = self.calibration
        slope = image.diff() / corner.diff()
        place = (logits.detach()[:, None] >= corner[1:-1]).sum(1)
        return image[place] + slope[place] * (logits - corner[place])

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Make room for the calibration and the given vectors that a state has, or for none."""
        own = state_dict.get(f"{prefix}calibration")
        self.calibration = None if own is None else torch.empty_like(own, device=self.bias.device)
        start, number = f"{prefix}given.", 0
        given = []
        while (about := state_dict.get(f"{start}{number}.about")) is not None and not self.given:
            vectors = torch.empty_like(state_dict[f"{start}{number}.vectors"], device=self.bias.device)
            given.append(GivenVectors(int(about[0]), vectors, bool(about[1])))
            number += 1
        if given:
            self.set_vectors(given)
        super()._load_from_state_dict(state_dict, prefix, *args)

    # ---- in use

    def field_vectors(self, field: int) -> Tensor:
        """Return the vectors of a field's values, in the order of its rows: [field_dims[field], D].

        Raises:
            ConfigError: if the model has no vector of a value.
        """
        table = getattr(self, "embedding", None)
        if not isinstance(table, FieldEmbedding):
            raise ConfigError(f"{type(self).__name__} has a weight for each value of a field, and no vectors of values")
        start = sum(self.field_dims[:field])
        return table(torch.arange(start, start + self.field_dims[field], device=table.weight.device)).detach()

    def field_pairs(self, ids: Tensor, values: Tensor | None) -> Tensor:
        """Compute what each pair of fields adds to the logits of `ids` [B, S]: [B, F, F], zeros below the diagonal.

        Raises:
            ConfigError: if the model is no sum of fields and pairs of fields.
        """
        raise ConfigError(f"{type(self).__name__} is no sum of fields and pairs of fields, so it explains no score")

    @torch.no_grad()
    def terms(self, ids: Tensor, values: Tensor | None = None) -> Terms:
        """Take the logits of events apart: ids [B, S], values [B, S] or None.

        Raises:
            ConfigError: if the model is no sum of fields and pairs of fields.
        """
        pairs, fields = self.field_pairs(ids, values), self.sum_fields(self.linear(ids, values).squeeze(2))
        rest = self(ids, values) - self.bias - fields.sum(1) - pairs.sum((1, 2))
        return Terms(self.bias.detach(), fields, pairs, rest)

    def exportable(self) -> nn.Module:
        return EventAnswers(self)


class EventAnswers(nn.Module):
    """The answers of a CTR model as a function of dense tensors, which exporters can trace.

    Shapes: ids [B, S], values [B, S], and for models that read histories those of `PaddedHistory`; [B].
    """

    def __init__(self, model: CTRModel):
        super().__init__()
        self.model = model

    def forward(
        self,
        ids: Tensor,
        values: Tensor,
        history_ids: Tensor | None = None,
        history_values: Tensor | None = None,
        history_lengths: Tensor | None = None,
        history_gaps: Tensor | None = None,
    ) -> Tensor:
        if history_ids is None or history_values is None or history_lengths is None:
            return self.model.answers(self.model(ids, values))
        history = PaddedHistory(history_ids, history_values, history_lengths, history_gaps)
        return self.model.answers(self.model(ids, values, history))


def present(ids: Tensor, values: Tensor | None) -> Tensor:
    """Return the distinct rows in `ids` whose value (in `values`, 1 where None) is not 0, ascending: [n]."""
    return (ids if values is None else ids[values != 0]).unique()
