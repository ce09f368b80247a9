"""Deep Interest Network: a CTR model that weights a user's past items by the target item."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from recgnn.errors import NonNegative, Share, Size
from recgnn.models.ctr import CTRModel
from recgnn.nn.dice import UnitActivation, deep
from recgnn.nn.embedding import FieldEmbedding
from recgnn.nn.segments import segment_softmax, segment_sum
from recgnn.nn.sequence import ActivationUnit, ItemSide, ItemVectors, rows_of_batch


class DIN(CTRModel):
    r"""Deep Interest Network (`Zhou et al., 2018 <https://arxiv.org/abs/1706.06978>`_): past items, weighted by their
    relevance to the target.

    .. math:: \hat y(x) = \mathrm{MLP}([e_1, \dots, e_F, \sum_j a(h_j, t) h_j])

    with the vectors h of the past items and t of the target item, from the same table (see `ActivationUnit`). An
    event without a history has a sum of 0.

    Args:
        embedding_dim: D.
        hidden_dims: widths of the deep part's layers.
        attention: `din`, weights as they are, so that their sum tells how much interest there is; `softmax`, whose
            sum is 1; or `none`, all 1: the paper's base model.
        attention_dims: widths of the activation unit's layers.
        attention_activation: of these layers.
        attention_dropout: rate at which units of these layers are dropped in training.
        activation: of the deep part's layers.
        dropout: rate at which hidden units are dropped in training.
        batch_norm: whether the hidden layers are batch-normalised.
        init_std: standard deviation of the embeddings at the start.
    """

    explanation = "how much weight the unit gives to each past item for this one; not a share of the score"

    def __init__(
        self, field_dims: Sequence[int], slots: Sequence[int] | None = None, item_slots: Sequence[int] | None = None,
        embedding_dim: Size = 16, hidden_dims: Sequence[Size] = (200, 80),
        attention: Literal["din", "softmax", "none"] = "din", attention_dims: Sequence[Size] = (80, 40),
        attention_activation: UnitActivation = "dice", attention_dropout: Share = 0.0,
        activation: UnitActivation = "dice", dropout: Share = 0.2, batch_norm: bool = False,
        init_std: NonNegative = 1e-2,
    ):  # fmt: skip
        super().__init__(field_dims, slots)
        self.attention_kind = attention
        self.embedding = self.table(embedding_dim, init_std)
        self.items = ItemSide(self.slots, item_slots)
        width = self.items.num_fields * embedding_dim
        self.unit = None
        if attention != "none":
            self.unit = ActivationUnit(width, attention_dims, attention_activation, attention_dropout)
        self.mlp = deep(self.num_fields * embedding_dim + width, hidden_dims, activation, dropout, batch_norm)

    def weights(self, vectors: ItemVectors) -> Tensor:
        """Compute the weights of the past items: [N]."""
        if self.unit is None:
            return vectors.history.new_ones(vectors.history.shape[0])
        scores = self.unit(vectors.history, vectors.target, vectors.segments)
        return segment_softmax(scores, vectors.segments) if self.attention_kind == "softmax" else scores

    def forward(self, ids: Tensor, values: Tensor | None = None, history: Any = None) -> Tensor:
        vectors = self.items(self.embedding, ids, values, history)
        past = vectors.history if self.unit is None else vectors.history * self.weights(vectors)[:, None]
        x = torch.cat([vectors.fields.flatten(1), segment_sum(past, vectors.segments)], 1)
        return self.bias + self.mlp(x).squeeze(1)

    @torch.no_grad()
    def attention(self, ids: Tensor, values: Tensor | None, history: Any) -> Tensor:
        """Return the weight of each past item in `forward` of `ids` [B, S]: [N]."""
        return self.weights(self.items(self.embedding, ids, values, history))

    def rows_of_batch(self, batch: Any) -> list[tuple[FieldEmbedding, Tensor]]:
        return [(self.embedding, rows_of_batch(batch.ids, batch.values, batch.history))]
