"""The base class of CTR models: an event's logit, its loss, regularisation and evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recgnn.errors import ConfigError
from recgnn.losses import half_square
from recgnn.models.base import MeasuredModel
from recgnn.models.evaluation import ClickEvaluation
from recgnn.nn.embedding import FieldEmbedding, FieldSum

L2On = Literal["table", "batch"]


class CTRModel(MeasuredModel):
    r"""A model of the probability of a click, :math:`p = \sigma(\hat y(x))`. A subclass defines `forward`.

    An event is S features, rows of one table for all fields with values x: one for a categorical or a numeric field,
    several for a multi-valued one. The loss is the mean cross entropy, plus

    .. math:: \frac\lambda 2 \lVert E \rVert^2

    of the whole embedding table, or of the batch's rows (each counted once, per event of the batch).

    Args:
        field_dims: rows of each field, given by the data, [F].
        slots: the field of each feature of an event, given by the data, [S].
        lr: learning rate of Adam, the default optimizer.
        l2: lambda of the embeddings and of the linear weights.
        l2_on: the whole `table` in every step, or the rows of the `batch`.
    """

    task = "ctr"

    def __init__(self, field_dims: Sequence[int], slots: Sequence[int], lr: float, l2: float, l2_on: L2On):
        super().__init__(ClickEvaluation(), lr)
        if l2 < 0 or l2_on not in ("table", "batch"):
            raise ConfigError(f"l2 must be 0 or more and l2_on table or batch, found {l2} and {l2_on}")
        self.field_dims, self.slots = list(field_dims), list(slots or range(len(field_dims)))
        self.num_fields, self.num_rows = len(self.field_dims), sum(self.field_dims)
        self.l2, self.l2_on = l2, l2_on
        self.sum_fields = FieldSum(self.slots)
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        """Logits of events: ids [B, S], values [B, S] or None (all 1); [B]."""
        raise NotImplementedError

    def first_order(self, ids: Tensor, values: Tensor | None) -> Tensor:
        r""":math:`w_0 + \sum_i w_i x_i`, of the models that have a table `linear` of weights: [B]."""
        return self.bias + self.linear(ids, values).sum((1, 2))

    def tables(self) -> list[FieldEmbedding]:
        """The tables that are regularised."""
        return [module for module in self.modules() if isinstance(module, FieldEmbedding)]

    def regularisation(self, ids: Tensor) -> Tensor:
        """Half the squared norm of the tables, or of the batch's rows: a scalar."""
        if self.l2_on == "table":
            return sum(half_square(table.weight) for table in self.tables())
        rows = ids.unique()
        return sum(F.embedding(rows, table.weight).square().sum() for table in self.tables()) / (2 * ids.shape[0])

    def training_step(self, batch, batch_idx: int) -> Tensor:
        loss = F.binary_cross_entropy_with_logits(self(batch.ids, batch.values).float(), batch.labels)
        if self.l2:
            loss = loss + self.l2 * self.regularisation(batch.ids)
        self.log("train/loss", loss, on_step=True, on_epoch=True, batch_size=batch.labels.numel())
        return loss

    @torch.no_grad()
    def predict_events(self, ids: Tensor, values: Tensor | None) -> Tensor:
        """Probabilities of events: [B]."""
        return torch.sigmoid(self(ids, values).float())
