"""Logistic regression with all pairs of features."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from recgnn.models.ctr import CTRModel, L2On
from recgnn.nn.embedding import FieldEmbedding
from recgnn.nn.interaction import CrossIndex


class Poly2(CTRModel):
    r"""A polynomial of degree 2 (`Chang et al., 2010 <https://jmlr.org/papers/v11/chang10a.html>`_).

    .. math:: \hat y(x) = w_0 + \sum_{i=1}^n w_i x_i + \sum_{i=1}^n \sum_{j=i+1}^n w_{ij} x_i x_j

    Each pair of values has a weight of its own where there are at most `max_crosses` of them, else pairs are hashed
    into so many.

    Args:
        field_dims: rows of each field, given by the data.
        slots: the field of each feature, given by the data.
        max_crosses: weights of pairs at most.
        l2: lambda of the weights.
        l2_on: of the whole `table`, or of the rows of the `batch`.
        lr: learning rate of Adam.
    """

    def __init__(
        self,
        field_dims: Sequence[int],
        slots: Sequence[int] | None = None,
        max_crosses: int = 2**22,
        l2: float = 1e-6,
        l2_on: L2On = "table",
        lr: float = 1e-3,
    ):
        super().__init__(field_dims, slots, lr, l2, l2_on)
        self.linear = FieldEmbedding(self.num_rows, 1, std=1e-4)
        self.index = CrossIndex(self.field_dims, self.slots, max_crosses)
        self.crosses = FieldEmbedding(self.index.num_rows, 1, std=1e-4)

    def regularisation(self, ids: Tensor) -> Tensor:
        if self.l2_on == "table":
            return super().regularisation(ids)
        rows, pairs = ids.unique(), self.index(ids).unique()
        norm = self.linear(rows).square().sum() + self.crosses(pairs).square().sum()
        return norm / (2 * ids.shape[0])

    def forward(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        pairs = None if values is None else values[:, self.index.left] * values[:, self.index.right]
        crossed = self.crosses(self.index(ids), pairs).sum((1, 2))
        return self.first_order(ids, values) + crossed
