"""Deep & Cross Network V2: a CTR model with layers of explicit crosses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from recgnn.errors import Depth, NonNegative, Share, Size
from recgnn.models.ctr import CTRModel
from recgnn.nn.autoencoder import Activation
from recgnn.nn.interaction import CrossNet
from recgnn.nn.mlp import MLP


class DCNv2(CTRModel):
    r"""Deep & Cross Network V2 (`Wang et al., 2021 <https://arxiv.org/abs/2008.13535>`_).

    .. math::
        x_0 = [e_1, \dots, e_F], \quad x_{l+1} = x_0 \odot (W_l x_l + b_l) + x_l, \quad
        \hat y(x) = w^\top [x_L, \mathrm{MLP}(x_0)] + w_0

    or, stacked, :math:`w^\top \mathrm{MLP}(x_L) + w_0`.

    Args:
        embedding_dim: D.
        num_cross_layers: L.
        structure: `parallel` or `stacked`.
        hidden_dims: widths of the deep part's layers.
        activation: of the hidden layers.
        dropout: rate at which hidden units are dropped in training.
        batch_norm: whether the hidden layers are batch-normalised.
        init_std: standard deviation of the embeddings at the start.
    """

    def __init__(
        self, field_dims: Sequence[int], slots: Sequence[int] | None = None, embedding_dim: Size = 16,
        num_cross_layers: Depth = 3, structure: Literal["parallel", "stacked"] = "parallel",
        hidden_dims: Sequence[Size] = (400, 400, 400), activation: Activation = "relu", dropout: Share = 0.2,
        batch_norm: bool = False, init_std: NonNegative = 1e-2,
    ):  # fmt: skip
        super().__init__(field_dims, slots)
        width = self.num_fields * embedding_dim
        self.structure = structure
        self.embedding = self.table(embedding_dim, init_std)
        self.cross = CrossNet(width, num_cross_layers)
        self.mlp = MLP(width, hidden_dims, activation, dropout, batch_norm)
        last = hidden_dims[-1] if hidden_dims else width
        self.head = nn.Linear(last if structure == "stacked" else width + last, 1, bias=False)
        nn.init.xavier_normal_(self.head.weight)

    def forward(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        x = self.sum_fields(self.embedding(ids, values)).flatten(1)
        if self.structure == "stacked":
            deep = self.mlp(self.cross(x))
        else:
            deep = torch.cat([self.cross(x), self.mlp(x)], 1)
        return self.bias + self.head(deep).squeeze(1)
