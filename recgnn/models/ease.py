"""A linear autoencoder between items, in closed form."""

from __future__ import annotations

import torch
from torch import Tensor

from recgnn.errors import ConfigError, RunError
from recgnn.models.history import HistoryRecommender
from recgnn.nn.gram import available_memory, gram_blocks, invert_
from recgnn.nn.propagation import CSR, csr_matmul


class EASE(HistoryRecommender):
    r"""A linear autoencoder of users' rows, of which no item explains itself (`Steck, 2019
    <https://arxiv.org/abs/1905.03375>`_, eq. 8).

    .. math::
        \min_B \lVert X - X B \rVert^2 + \lambda \lVert B \rVert^2, \quad \mathrm{diag}(B) = 0: \quad
        B = I - P \, \mathrm{diag}(P)^{-1}, \quad P = (X^\top X + \lambda I)^{-1}

    :math:`\lambda` is the `l2` of the training. B has a weight for every pair of items: 4 I² bytes, in memory and in a
    checkpoint; it is computed in place, in blocks, by I³ operations.

    Raises:
        RunError: if the memory that there is does not hold B.
    """

    defaults = {"l2": 300.0}
    weight: Tensor

    def __init__(self, num_users: int, num_items: int):
        super().__init__(num_users, num_items)
        needed, there = 4.0 * num_items**2, available_memory()
        size = f"{needed / 1e9:,.2f} GB of memory for the weights between {num_items:,} items"
        if needed * 1.1 > there:
            raise RunError(
                f"EASE needs {size}, and {there / 1e9:,.2f} GB are available; filter items (data.filters KCore), or "
                "take GraphFilter or ItemKNN, whose memory follows the interactions"
            )
        self.remark = f"EASE needs {size}"
        self.register_buffer("weight", torch.zeros(num_items, num_items))

    @staticmethod
    def usual_l2(scale: float) -> float:
        """Return the regularisation for rankings of a log of some scale (see `RankingTraining.usual_l2`): the best one
        is 4 to 6 times the scale on MovieLens and Amazon Beauty, and it matters little."""
        return 5.0 * scale

    @torch.no_grad()
    def solve(self) -> None:
        """Compute B in place.

        Raises:
            ConfigError: if l2 is 0.
        """
        if self.l2 <= 0:
            raise ConfigError("EASE has no solution without regularisation; set --training.l2 above 0, such as 300")
        for items, common in gram_blocks(self.rows):
            self.weight[items] = common.to(self.weight.dtype)
        self.weight.diagonal().add_(self.l2)
        invert_(self.weight)
        self.weight.div_(-self.weight.diagonal().clone())
        self.weight.fill_diagonal_(0.0)

    def forward(self, rows: Tensor) -> Tensor:
        return rows @ self.weight

    def score_rows(self, rows: CSR) -> Tensor:
        return csr_matmul(rows, self.weight)
