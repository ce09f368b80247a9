"""Logistic regression with all pairs of features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from recgnn.errors import Count
from recgnn.models.ctr import CTRModel, present
from recgnn.nn.embedding import FieldEmbedding
from recgnn.nn.interaction import CrossIndex

LOGIT_STEP = 0.5  # at most, by which a step of Adam moves the logit of an event, all of whose weights move alike


class Poly2(CTRModel):
    r"""A polynomial of degree 2 (`Chang et al., 2010 <https://jmlr.org/papers/v11/chang10a.html>`_).

    .. math:: \hat y(x) = w_0 + \sum_{i=1}^n w_i x_i + \sum_{i=1}^n \sum_{j=i+1}^n w_{ij} x_i x_j

    Each pair of values has a weight of its own where there are at most `max_crosses` of them, else pairs are hashed
    into so many.

    Args:
        max_crosses: weights of pairs at most.
    """

    prior = 4.0

    def __init__(self, field_dims: Sequence[int], slots: Sequence[int] | None = None, max_crosses: Count = 2**22):
        super().__init__(field_dims, slots)
        self.linear = self.table(1)
        self.index = CrossIndex(self.field_dims, self.slots, max_crosses)
        self.crosses = self.table(1, num_rows=self.index.num_rows)
        self.usual_lr = min(1e-2, LOGIT_STEP / (len(self.slots) + len(self.index.left)))

    def pairs(self, ids: Tensor, values: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Return the rows of the pairs of features of `ids` [B, S], and their values: [B, P]."""
        x = None if values is None else values[:, self.index.left] * values[:, self.index.right]
        return self.index(ids), x

    def moved_rows(self, earlier: Any, rows: dict[str, Tensor]) -> dict[str, Tensor | None]:
        own = self.index.moved_rows(earlier.index, rows["field_dims"])
        return {**super().moved_rows(earlier, rows), "crosses.weight": own}

    def rows_of_batch(self, batch) -> list[tuple[FieldEmbedding, Tensor]]:
        pairs = self.pairs(batch.ids, batch.values)
        return [(self.linear, present(batch.ids, batch.values)), (self.crosses, present(*pairs))]

    def field_pairs(self, ids: Tensor, values: Tensor | None) -> Tensor:
        slots, size = self.sum_fields.slots, self.num_fields
        place = slots[self.index.left] * size + slots[self.index.right]
        crosses = self.crosses(*self.pairs(ids, values)).squeeze(2)
        return crosses.new_zeros(len(ids), size * size).index_add(1, place, crosses).unflatten(1, (size, size))

    def forward(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        return self.first_order(ids, values) + self.crosses(*self.pairs(ids, values)).sum((1, 2))
