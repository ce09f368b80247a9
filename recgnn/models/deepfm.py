"""DeepFM: a factorization machine and a perceptron on shared embeddings."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from recgnn.errors import NonNegative, Share, Size
from recgnn.models.ctr import CTRModel
from recgnn.nn.autoencoder import Activation
from recgnn.nn.mlp import MLP
from recgnn.nn.vectors import EventVectors, field_pairs, pairs_of, sum_of


class DeepFM(CTRModel):
    r"""DeepFM (`Guo et al., 2017 <https://arxiv.org/abs/1703.04247>`_): a factorization machine and a deep part on the
    same embeddings.

    .. math:: \hat y(x) = \hat y_{FM}(x) + \mathrm{MLP}([e_1, \dots, e_F])

    Args:
        embedding_dim: k.
        hidden_dims: widths of the deep part's layers.
        activation: of the hidden layers.
        dropout: rate at which hidden units are dropped in training.
        batch_norm: whether the hidden layers are batch-normalised.
        init_std: standard deviation of the embeddings at the start.
    """

    explanation = "what each field, each pair of fields and the perceptron add to the logit of the score"
    rest = "the perceptron"

    def __init__(
        self, field_dims: Sequence[int], slots: Sequence[int] | None = None, embedding_dim: Size = 16,
        hidden_dims: Sequence[Size] = (400, 400, 400), activation: Activation = "relu", dropout: Share = 0.2,
        batch_norm: bool = False, init_std: NonNegative = 1e-2,
    ):  # fmt: skip
        super().__init__(field_dims, slots)
        self.linear = self.table(1)
        self.embedding = self.table(embedding_dim, init_std)
        self.vectors = EventVectors(self.field_dims, self.slots, embedding_dim)
        self.mlp = MLP(self.num_fields * embedding_dim, hidden_dims, activation, dropout, batch_norm, out_dim=1)

    def field_pairs(self, ids: Tensor, values: Tensor | None) -> Tensor:
        return field_pairs(self.embedding(ids, values), self.sum_fields)

    def forward(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        weights, x = self.vectors([self.linear, self.embedding], ids, values)
        fm = self.bias + sum_of(weights).squeeze(1) + pairs_of(x)
        return fm + self.vectors.deep(self.mlp, x).squeeze(1)
