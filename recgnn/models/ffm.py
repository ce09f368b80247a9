"""Field-aware factorization machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from torch import Tensor

from recgnn.errors import ConfigError, NonNegative, Size
from recgnn.models.ctr import CTRModel
from recgnn.nn.interaction import pairs_by_field
from recgnn.nn.vectors import without_self


class FFM(CTRModel):
    r"""Field-aware factorization machine (`Juan et al., 2016 <https://doi.org/10.1145/2959100.2959134>`_).

    .. math:: \hat y(x) = w_0 + \sum_{i=1}^n w_i x_i
        + \sum_{i=1}^n \sum_{j=i+1}^n \langle v_{i,f_j}, v_{j,f_i} \rangle x_i x_j

    Every feature has a vector for each field, all in one row of one table, [V, F k].

    Args:
        embedding_dim: k.
        init_std: standard deviation of the vectors at the start.
    """

    prior = 10.0  # nothing behind the products could scale small vectors up again

    def __init__(
        self, field_dims: Sequence[int], slots: Sequence[int] | None = None, embedding_dim: Size = 8,
        init_std: NonNegative = 1e-2,
    ):  # fmt: skip
        super().__init__(field_dims, slots)
        self.linear = self.table(1)
        self.embedding = self.table(self.num_fields * embedding_dim, init_std)

    def forward(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        single = self.sum_fields.single  # each field has one feature: values are multiplied in with the pairs
        x = self.embedding(ids, None if single else values).unflatten(2, (self.num_fields, -1))  # [B, S, F, k]
        if single:
            pairs = pairs_by_field(x, values=values)
        else:
            pairs = pairs_by_field(self.sum_fields(x), x[:, range(len(self.slots)), self.sum_fields.slots])
        return self.first_order(ids, values) + pairs

    def field_pairs(self, ids: Tensor, values: Tensor | None) -> Tensor:
        x = self.embedding(ids, values).unflatten(2, (self.num_fields, -1))  # [B, S, F, k]
        own = x[:, range(len(self.slots)), self.sum_fields.slots]
        of_fields = self.sum_fields(x)
        pairs = (of_fields * of_fields.transpose(1, 2)).sum(3)
        return without_self(pairs, self.sum_fields(own.square().sum(2)))

    def field_vectors(self, field: int) -> NoReturn:
        raise ConfigError("FFM has a vector of each value for every other field, and none for the value as such")
