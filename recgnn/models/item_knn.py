"""Nearest neighbours among items, by the users that they share."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from recgnn.errors import NonNegative, Size
from recgnn.models.history import HistoryRecommender
from recgnn.nn.gram import gram_blocks, product
from recgnn.nn.propagation import CSR


class ItemKNN(HistoryRecommender):
    r"""Item-based nearest neighbours (`Sarwar et al., 2001 <https://doi.org/10.1145/371920.372071>`_) with the cosine,
    shrunk towards 0 for items with few users (`Bell and Koren, 2007 <https://doi.org/10.1109/ICDM.2007.90>`_).

    .. math::
        \hat y_{ui} = \sum_{j \in I_u \cap N_k(i)} s_{ij}, \quad
        s_{ij} = \frac{|U_i \cap U_j|}{\sqrt{|U_i| |U_j|} + h}

    where :math:`N_k(i)` are the k items most similar to i.

    Args:
        num_neighbours: k.
        shrinkage: h.
    """

    neighbours: Tensor
    similarities: Tensor

    def __init__(self, num_users: int, num_items: int, num_neighbours: Size = 100, shrinkage: NonNegative = 10.0):
        super().__init__(num_users, num_items)
        size = num_items, min(num_neighbours, num_items)
        self.shrinkage = shrinkage
        self.register_buffer("neighbours", torch.zeros(size, dtype=torch.int32))
        self.register_buffer("similarities", torch.zeros(size))

    def refresh(self) -> None:
        self._matrix: Tensor | None = None

    @torch.no_grad()
    def solve(self) -> None:
        """Find the neighbours of every item, in blocks of items."""
        degree = torch.bincount(self.row_items, minlength=self.num_items).to(self.similarities.dtype)
        for items, common in gram_blocks(self.rows):
            cosine = common.to(degree.dtype) / ((degree[items, None] * degree).sqrt() + self.shrinkage).clamp(min=1e-9)
            cosine[torch.arange(items.numel(), device=items.device), items] = 0
            best, found = cosine.topk(self.neighbours.shape[1])
            self.similarities[items], self.neighbours[items] = best, found.int()
        self.refresh()

    def forward(self, rows: Tensor) -> Tensor:
        weights = self.similarities.to(rows.dtype)
        return F.embedding_bag(self.neighbours, rows.T.contiguous(), per_sample_weights=weights, mode="sum").T

    def score_rows(self, rows: CSR) -> Tensor:
        if self._matrix is None or self._matrix.device != self.similarities.device:
            targets, of = (self.similarities > 0).nonzero(as_tuple=True)
            places = torch.stack([self.neighbours[targets, of].long(), targets])
            values, size = self.similarities[targets, of], (self.num_items, self.num_items)
            self._matrix = torch.sparse_coo_tensor(places, values, size, check_invariants=False).coalesce()
        return product(rows, self._matrix)
