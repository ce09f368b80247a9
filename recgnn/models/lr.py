"""Logistic regression."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from recgnn.models.ctr import CTRModel


class LR(CTRModel):
    r"""Logistic regression, the linear baseline (`Richardson et al., 2007
    <https://doi.org/10.1145/1242572.1242643>`_).

    .. math:: \hat y(x) = w_0 + \sum_{i=1}^n w_i x_i

    """

    defaults = {"lr": 1e-2}
    prior = 4.0

    def __init__(self, field_dims: Sequence[int], slots: Sequence[int] | None = None):
        super().__init__(field_dims, slots)
        self.linear = self.table(1)

    def field_pairs(self, ids: Tensor, values: Tensor | None) -> Tensor:
        """Return zeros: there are no pairs."""
        return self.bias.new_zeros(len(ids), self.num_fields, self.num_fields)

    def forward(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        return self.first_order(ids, values)
