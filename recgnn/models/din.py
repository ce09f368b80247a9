"""DIN."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from recgnn.errors import ConfigError, one_of
from recgnn.models.ctr import CTRModel, L2On, TableOptimizer
from recgnn.nn.dice import UnitActivation, deep
from recgnn.nn.embedding import FieldEmbedding
from recgnn.nn.segments import segment_softmax, segment_sum
from recgnn.nn.sequence import ActivationUnit, ItemSide, ItemVectors, rows_of_batch


class DIN(CTRModel):
    r"""Deep Interest Network (`Zhou et al., 2018 <https://arxiv.org/abs/1706.06978>`_): past items, weighted by what
    they say of the target.

    .. math:: \hat y(x) = \mathrm{MLP}([e_1, \dots, e_F, \sum_j a(h_j, t) h_j])

    with the vectors h of the past items and t of the target item, from the same table (see `ActivationUnit`). An
    event without a history has a sum of 0.

    Args:
        field_dims: rows of each field, given by the data.
        slots: the field of each feature, given by the data.
        item_slots: the features that past items have too, given by the data.
        embedding_dim: D.
        hidden_dims: widths of the deep part's layers.
        attention: `din`, weights as they are, so that their sum tells how much interest there is; `softmax`, whose
            sum is 1; or `none`, all 1: the paper's base model.
        attention_dims: widths of the activation unit's layers.
        attention_activation: behind each of them.
        attention_dropout: behind each of them.
        activation: behind each of the deep part's layers.
        dropout: behind each of them.
        batch_norm: in each of them.
        init_std: standard deviation of the embeddings at the start.
        l2: lambda of the embeddings.
        l2_on: of the whole `table`, of the rows of the `batch`, or `mba`: the paper's mini-batch aware regularisation
            (section 5.1), the rows of the batch, each over the number of training events that have it (`set_counts`):
            :math:`\frac\lambda 2 \sum_{j \in B} \frac{1}{n_j} \lVert w_j \rVert^2`.
        lr: learning rate of Adam.
        table_optimizer: of the tables: `adam`, or (at the batch's cost) `lazy_adam` or `rowwise_adagrad`.
        table_lr: learning rate of the tables; `lr` when None.
    """

    def __init__(
        self,
        field_dims: Sequence[int],
        slots: Sequence[int] | None = None,
        item_slots: Sequence[int] | None = None,
        embedding_dim: int = 16,
        hidden_dims: Sequence[int] = (200, 80),
        attention: Literal["din", "softmax", "none"] = "din",
        attention_dims: Sequence[int] = (80, 40),
        attention_activation: UnitActivation = "dice",
        attention_dropout: float = 0.0,
        activation: UnitActivation = "dice",
        dropout: float = 0.0,
        batch_norm: bool = False,
        init_std: float = 1e-2,
        l2: float = 1e-6,
        l2_on: Literal[L2On, "mba"] = "table",
        lr: float = 1e-3,
        table_optimizer: TableOptimizer = "adam",
        table_lr: float | None = None,
    ):
        super().__init__(field_dims, slots, lr, l2, "batch" if l2_on == "mba" else l2_on, table_optimizer, table_lr)
        one_of("attention", attention, ("din", "softmax", "none"))
        self.l2_on, self.attention_kind = l2_on, attention
        self.embedding = self.table(embedding_dim, init_std)
        self.items = ItemSide(self.slots, item_slots)
        width = self.items.num_fields * embedding_dim
        self.unit = None
        if attention != "none":
            self.unit = ActivationUnit(width, attention_dims, attention_activation, attention_dropout)
        self.mlp = deep(self.num_fields * embedding_dim + width, hidden_dims, activation, dropout, batch_norm)
        self.register_buffer("counts", None, persistent=False)

    def setup(self, stage: str) -> None:
        super().setup(stage)
        if stage == "fit" and self.l2_on == "mba":
            self.set_counts(self.trainer.datamodule.row_counts())
            self._ddp_params_and_buffers_to_ignore = ["counts"]  # the same on every rank

    def set_counts(self, counts: Tensor) -> None:
        """Take the number of training events that have each row, as target, context or past item: [V]."""
        self.counts = counts.to(self.bias.device)

    def weights(self, vectors: ItemVectors) -> Tensor:
        """The weights of the past items: [N]."""
        if self.unit is None:
            return vectors.history.new_ones(vectors.history.shape[0])
        scores = self.unit(vectors.history, vectors.target, vectors.segments)
        return segment_softmax(scores, vectors.segments) if self.attention_kind == "softmax" else scores

    def forward(self, ids: Tensor, values: Tensor | None = None, history=None) -> Tensor:
        vectors = self.items(self.embedding, ids, values, history)
        past = vectors.history if self.unit is None else vectors.history * self.weights(vectors)[:, None]
        x = torch.cat([vectors.fields.flatten(1), segment_sum(past, vectors.segments)], 1)
        return self.bias + self.mlp(x).squeeze(1)

    @torch.no_grad()
    def attention(self, ids: Tensor, values: Tensor | None, history) -> Tensor:
        """The weight of each past item, as `forward` has it: [N]."""
        return self.weights(self.items(self.embedding, ids, values, history))

    def logits(self, batch) -> Tensor:
        return self(batch.ids, batch.values, batch.history)

    def rows_of_batch(self, batch) -> list[tuple[FieldEmbedding, Tensor]]:
        return [(self.embedding, rows_of_batch(batch.ids, batch.values, batch.history))]

    def regularisation(self, batch) -> Tensor:
        if self.l2_on != "mba":
            return super().regularisation(batch)
        if self.counts is None:
            raise ConfigError("l2_on: mba needs how often train has each value, which these data do not tell")
        ((table, rows),) = self.rows_of_batch(batch)
        return (table(rows).square().sum(1) / self.counts[rows].clamp(min=1)).sum() / 2
