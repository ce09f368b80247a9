"""CDAE: a denoising autoencoder with a node for the user."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from recgnn.errors import ConfigError, one_of
from recgnn.models.autoencoder import RowRecommender
from recgnn.nn import losses
from recgnn.nn.autoencoder import Activation, mask_out
from recgnn.nn.folding import Entries


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
    model recommends to a user who was not in train.

    Args:
        num_users: U, given by the data.
        num_items: I, given by the data.
        hidden_dim: D.
        hidden_activation: h.
        output_activation: f, `identity` or `sigmoid`.
        tied: the decoder W' is W, as in the authors' code.
        corruption_rate: q; 1 leaves the user node alone, which is matrix factorisation.
        loss: `logistic`, the cross entropy of the sigmoid of the output before f, or `squared`.
        num_negatives: items that the user does not know, sampled per item of the user; 5 in the paper; 0 takes the
            loss over all items.
        l2: lambda, on the scale of the loss summed over all users.
        lr: learning rate of Adam.
        ks: lengths of the recommendation lists that are measured.
    """

    def __init__(
        self,
        num_users: int,
        num_items: int,
        hidden_dim: int = 200,
        hidden_activation: Activation = "sigmoid",
        output_activation: Literal["identity", "sigmoid"] = "identity",
        tied: bool = False,
        corruption_rate: float = 0.5,
        loss: Literal["logistic", "squared"] = "logistic",
        num_negatives: int = 0,
        l2: float = 10.0,
        lr: float = 3e-3,
        ks: Sequence[int] = (10, 20),
    ):
        super().__init__(
            num_users, num_items, "user", [hidden_dim], hidden_activation, output_activation, tied=tied, lr=lr, ks=ks
        )
        if not 0 <= corruption_rate <= 1:
            raise ConfigError(f"corruption_rate must be from 0 to 1, found {corruption_rate}")
        if num_negatives < 0:
            raise ConfigError(f"num_negatives must be 0 (all items) or more, found {num_negatives}")
        one_of("output_activation", output_activation, ("identity", "sigmoid"))
        one_of("loss", loss, ("logistic", "squared"))
        self.corruption_rate, self.loss, self.num_negatives, self.l2 = corruption_rate, loss, num_negatives, l2
        self.user_node = nn.Embedding(num_users, hidden_dim)  # V
        nn.init.normal_(self.user_node.weight, std=0.01)

    @property
    def negative_sampling(self) -> dict | None:
        return {"num": self.num_negatives, "alpha": 0.0, "shared": False} if self.num_negatives else None

    def encode(self, rows: Tensor | None, x: Tensor) -> Tensor:
        return super().encode(rows, x if rows is None else x + self.user_node(rows))

    def new_rows(self, side: Literal["user", "item"], entries: Entries) -> dict[str, Tensor]:
        """A user node of zero."""
        rows = super().new_rows(side, entries)
        return rows | {"user_node.weight": torch.zeros(entries.size, self.user_node.embedding_dim)}

    def training_step(self, batch, batch_idx: int) -> Tensor:
        csr = self.rows_of(batch)
        corrupted = self.first(csr._replace(weight=mask_out(csr.weight, self.corruption_rate)))
        scores = self.decode(self.encode(batch.rows, corrupted))
        if self.loss == "squared":
            scores = self.finish(scores)
        if batch.negatives is None:
            loss = losses.all_columns(scores, batch.place, batch.columns, self.loss)
        else:
            loss = losses.sampled_columns(scores, batch.place, batch.columns, batch.negatives, self.loss)
        if self.l2:
            whole = [*self.weights(), self.first.bias, self.decoder_bias]
            node = self.user_node(batch.rows).square().sum() / (2 * batch.rows.numel())
            loss = loss + self.penalty(self.l2, whole) + self.l2 * node
        self.log("train/loss", loss, on_step=True, on_epoch=True, batch_size=batch.rows.numel())
        return loss
