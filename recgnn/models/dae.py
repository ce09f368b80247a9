"""The denoising autoencoder of users' rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from recgnn.errors import ConfigError, NonNegative, Size
from recgnn.models.autoencoder import RowRecommender
from recgnn.nn.autoencoder import Activation, Rows, mask_out
from recgnn.nn.losses import Multinomial
from recgnn.nn.propagation import CSR

Corruption = Literal["mask", "gaussian"]


class DAE(RowRecommender):
    r"""A denoising autoencoder (`Vincent et al., 2008 <https://doi.org/10.1145/1390156.1390294>`_) of what users
    chose; with the multinomial loss it is Mult-DAE (`Liang et al., 2018 <https://arxiv.org/abs/1802.05814>`_).

    .. math::
        z = g(V^\top \tilde y + \mu), \quad s = W z + b, \quad
        \tilde y_i = \begin{cases} 0 & \text{with probability } q \\ y_i / (1 - q) & \text{else} \end{cases}

    or, with Gaussian corruption, :math:`\tilde y = y + \epsilon, \epsilon \sim \mathcal N(0, q^2)` on every item. The
    loss is against y, never against its corruption, over all items.

    Args:
        hidden_dims: widths of the hidden layers.
        hidden_activation: g.
        corruption: `mask` or `gaussian`.
        corruption_rate: q: the rate at which items are masked, or the noise's standard deviation.
        normalise: divide a user's row by its Euclidean length before it is corrupted, as Mult-DAE.
    """

    defaults = {"loss": Multinomial, "l2": 100.0, "lr": 3e-3}

    def __init__(
        self, num_users: int, num_items: int, hidden_dims: Sequence[Size] = (200,),
        hidden_activation: Activation = "tanh", corruption: Corruption = "mask", corruption_rate: NonNegative = 0.2,
        normalise: bool = False,
    ):  # fmt: skip
        super().__init__(num_users, num_items, "user", hidden_dims, hidden_activation, "identity")
        if corruption == "mask" and corruption_rate > 1:
            raise ConfigError(f"DAE.corruption_rate is {corruption_rate}; expected a share of the items, from 0 to 1")
        self.corruption, self.corruption_rate, self.normalise = corruption, corruption_rate, normalise

    @staticmethod
    def usual_l2(scale: float) -> float:
        """Return the regularisation for rankings of a log of some scale (see `RankingTraining.usual_l2`): encoder and
        decoder together shrink what rows have in common by its square."""
        return 2.0 * scale

    def inputs(self, rows: Rows) -> Rows:
        if not self.normalise:
            return rows
        if isinstance(rows, Tensor):
            return rows / (rows != 0).sum(1, keepdim=True).clamp(min=1).sqrt()
        csr = rows
        count = csr.ptr.diff().clamp(min=1).to(csr.weight.dtype)  # of ones
        return csr._replace(weight=csr.weight / torch.repeat_interleave(count.sqrt(), csr.ptr.diff()))

    def corrupted(self, csr: CSR) -> Tensor:
        """Corrupt rows (`csr`, B of them) and compute the first layer's sums: [B, D_1]."""
        if self.corruption == "mask":
            return self.first(csr._replace(weight=mask_out(csr.weight, self.corruption_rate)))
        size = csr.ptr.numel() - 1
        noise = torch.randn(size, self.num_columns, dtype=csr.weight.dtype, device=csr.weight.device)
        return self.first(csr) + self.corruption_rate * noise @ self.first.weight

    def outputs(self, batch: Any) -> Any:
        """Score the batch's corrupted rows: [B, I]."""
        return self.decode(self.encode(batch.rows, self.corrupted(self.rows_of(batch))))
