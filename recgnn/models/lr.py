"""Logistic regression."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from recgnn.models.ctr import CTRModel, L2On, TableOptimizer


class LR(CTRModel):
    r"""Logistic regression, the linear baseline (`Richardson et al., 2007
    <https://doi.org/10.1145/1242572.1242643>`_).

    .. math:: \hat y(x) = w_0 + \sum_{i=1}^n w_i x_i

    Args:
        field_dims: rows of each field, given by the data.
        slots: the field of each feature, given by the data.
        l2: lambda of the weights.
        l2_on: of the whole `table`, or of the rows of the `batch`.
        lr: learning rate of Adam.
        table_optimizer: of the tables: `adam`, or (at the batch's cost) `lazy_adam` or `rowwise_adagrad`.
        table_lr: learning rate of the tables; `lr` when None.
    """

    def __init__(
        self,
        field_dims: Sequence[int],
        slots: Sequence[int] | None = None,
        l2: float = 1e-6,
        l2_on: L2On = "table",
        lr: float = 1e-3,
        table_optimizer: TableOptimizer = "adam",
        table_lr: float | None = None,
    ):
        super().__init__(field_dims, slots, lr, l2, l2_on, table_optimizer, table_lr)
        self.linear = self.table(1)

    def forward(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        return self.first_order(ids, values)
