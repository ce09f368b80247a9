"""Factorization machine."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from recgnn.errors import NonNegative, Size
from recgnn.models.ctr import CTRModel
from recgnn.nn.vectors import EventVectors, field_pairs, pairs_of, sum_of


class FM(CTRModel):
    r"""Factorization machine (`Rendle, 2010 <https://doi.org/10.1109/ICDM.2010.127>`_), in O(nk).

    .. math:: \hat y(x) = w_0 + \sum_{i=1}^n w_i x_i + \sum_{i=1}^n \sum_{j=i+1}^n \langle v_i, v_j \rangle x_i x_j

    Args:
        embedding_dim: k.
        init_std: standard deviation of the embeddings at the start.

    >>> import torch
    >>> model = FM(field_dims=[3, 2])  # rows 0 to 2 are values of the first field, 3 and 4 of the second
    >>> model(torch.tensor([[0, 3], [2, 4]])).shape
    torch.Size([2])
    """

    prior = 10.0  # nothing behind the products could scale small vectors up again

    def __init__(
        self, field_dims: Sequence[int], slots: Sequence[int] | None = None, embedding_dim: Size = 16,
        init_std: NonNegative = 1e-2,
    ):  # fmt: skip
        super().__init__(field_dims, slots)
        self.linear = self.table(1)
        self.embedding = self.table(embedding_dim, init_std)
        self.vectors = EventVectors(self.field_dims, self.slots, embedding_dim)

    def field_pairs(self, ids: Tensor, values: Tensor | None) -> Tensor:
        return field_pairs(self.embedding(ids, values), self.sum_fields)

    def forward(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        weights, vectors = self.vectors([self.linear, self.embedding], ids, values)
        return self.bias + sum_of(weights).squeeze(1) + pairs_of(vectors)
