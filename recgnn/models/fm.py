"""Factorization machine."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from recgnn.models.ctr import CTRModel, L2On
from recgnn.nn.embedding import FieldEmbedding
from recgnn.nn.interaction import pairs_by_inner_product


class FM(CTRModel):
    r"""Factorization machine (`Rendle, 2010 <https://doi.org/10.1109/ICDM.2010.127>`_), in O(nk).

    .. math:: \hat y(x) = w_0 + \sum_{i=1}^n w_i x_i + \sum_{i=1}^n \sum_{j=i+1}^n \langle v_i, v_j \rangle x_i x_j

    Args:
        field_dims: rows of each field, given by the data.
        slots: the field of each feature, given by the data.
        embedding_dim: k.
        init_std: standard deviation of the embeddings at the start.
        l2: lambda of embeddings and weights.
        l2_on: of the whole `table`, or of the rows of the `batch`.
        lr: learning rate of Adam.
    """

    def __init__(
        self,
        field_dims: Sequence[int],
        slots: Sequence[int] | None = None,
        embedding_dim: int = 16,
        init_std: float = 1e-2,
        l2: float = 1e-6,
        l2_on: L2On = "table",
        lr: float = 1e-3,
    ):
        super().__init__(field_dims, slots, lr, l2, l2_on)
        self.linear = FieldEmbedding(self.num_rows, 1, std=1e-4)
        self.embedding = FieldEmbedding(self.num_rows, embedding_dim, init_std)

    def forward(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        return self.first_order(ids, values) + pairs_by_inner_product(self.embedding(ids, values))
