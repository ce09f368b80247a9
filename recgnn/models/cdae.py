"""CDAE: a denoising autoencoder with a node for the user."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from recgnn.errors import Fraction, Size
from recgnn.models.autoencoder import RowRecommender
from recgnn.models.base import Side
from recgnn.nn.autoencoder import Activation, mask_out
from recgnn.nn.folding import Entries
from recgnn.nn.losses import Logistic


class CDAE(RowRecommender):
    r"""Collaborative denoising autoencoder (`Wu et al., 2016 <https://doi.org/10.1145/2835776.2835837>`_).

    .. math::
        z_u &= h(W^\top \tilde y_u + V_u + b) \\
        \hat y_{ui} &= f({W'_i}^\top z_u + b'_i) \\
        \min &\sum_u \sum_{i} \ell(y_{ui}, \hat y_{ui}) + \frac\lambda 2
            (\lVert W \rVert^2 + \lVert W' \rVert^2 + \lVert V \rVert^2 + \lVert b \rVert^2 + \lVert b' \rVert^2)

    An entry of y is 0 in :math:`\tilde y` with probability q and else divided by 1 - q; the user node V_u is never
    corrupted, nor is the target. The inner sum is over all items, or over those of the user and sampled others. A
    training step's loss is the objective divided by U, with the batch's users for all. Without a user node (zero) the
    model recommends to a user who is not in the training data.

    Args:
        hidden_dim: D.
        hidden_activation: h.
        output_activation: f, `identity` or `sigmoid`.
        tied: the decoder W' is W, as in the authors' code.
        corruption_rate: q; 1 leaves the user node alone, which is matrix factorisation.
    """

    defaults = {"loss": Logistic, "l2": 10.0, "lr": 3e-3}

    def __init__(
        self, num_users: int, num_items: int, hidden_dim: Size = 200, hidden_activation: Activation = "sigmoid",
        output_activation: Literal["identity", "sigmoid"] = "identity", tied: bool = False,
        corruption_rate: Fraction = 0.5,
    ):  # fmt: skip
        super().__init__(num_users, num_items, "user", [hidden_dim], hidden_activation, output_activation, tied)
        self.corruption_rate = corruption_rate
        self.user_node = nn.Embedding(num_users, hidden_dim)  # V
        nn.init.normal_(self.user_node.weight, std=0.01)

    @staticmethod
    def usual_l2(scale: float) -> float:
        """Return the regularisation for rankings of a log of some scale (see `RankingTraining.usual_l2`): encoder and
        decoder together shrink what rows have in common by its square."""
        return 0.2 * scale

    def forward(self, rows: Tensor, users: Tensor) -> Tensor:  # type: ignore[override]  # one argument more
        """Score dense rows, with the nodes of their `users` [B]; -1 for a user who is not in the training data."""
        node = self.user_node(users.clamp(min=0)) * (users >= 0)[:, None]
        return self.finish(self.decode(super().encode(None, self.first(self.inputs(rows)) + node)))

    def encode(self, rows: Tensor | None, x: Tensor) -> Tensor:
        return super().encode(rows, x if rows is None else x + self.user_node(rows))

    def new_rows(self, side: Side, entries: Entries) -> dict[str, Tensor]:
        """Return user nodes of zero."""
        rows = super().new_rows(side, entries)
        return rows | {"user_node.weight": torch.zeros(entries.size, self.user_node.embedding_dim)}

    def outputs(self, batch: Any) -> Any:
        """Score the batch's corrupted rows, before f: [B, I]."""
        csr = self.rows_of(batch)
        corrupted = self.first(csr._replace(weight=mask_out(csr.weight, self.corruption_rate)))
        return self.decode(self.encode(batch.rows, corrupted))

    def penalty(self, l2: float, batch: Any, outputs: Any) -> Tensor | float:
        """Compute the penalty of the weight matrices, both biases and the batch's user nodes."""
        assert self.first.bias is not None
        whole = [*self.weights(), self.first.bias, self.decoder_bias]
        node = self.user_node(batch.rows).square().sum() / (2 * batch.rows.numel())
        return self.per_row(l2, whole) + l2 * node
