"""Factorization machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor

from recgnn.models.ctr import CTRModel, L2On, TableOptimizer
from recgnn.nn.vectors import EventVectors, pairs_of, sum_of


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
        table_optimizer: of the tables: `adam`, or (at the batch's cost) `lazy_adam` or `rowwise_adagrad`.
        table_lr: learning rate of the tables; `lr` when None.
        task: `ctr`, or `regression`: a number is predicted, with the squared error as the loss.
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
        table_optimizer: TableOptimizer = "adam",
        table_lr: float | None = None,
        task: Literal["ctr", "regression"] = "ctr",
    ):
        super().__init__(field_dims, slots, lr, l2, l2_on, table_optimizer, table_lr, task)
        self.linear = self.table(1)
        self.embedding = self.table(embedding_dim, init_std)
        self.vectors = EventVectors(self.field_dims, self.slots, embedding_dim)

    def forward(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        weights, vectors = self.vectors([self.linear, self.embedding], ids, values)
        return self.bias + sum_of(weights).squeeze(1) + pairs_of(vectors)
