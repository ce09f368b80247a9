"""XSimGCL: LightGCN with noise at every layer, and a contrast between two of them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from recgnn.errors import ConfigError, NonNegative, Positive, Size
from recgnn.models.base import Pair
from recgnn.models.lightgcn import LightGCN
from recgnn.nn.layer_sum import layer_sum_rows
from recgnn.nn.losses import BPR


class XSimGCL(LightGCN):
    r"""XSimGCL (`Yu et al., 2023 <https://arxiv.org/abs/2209.02544>`_): a contrast of layers of one noisy propagation.

    .. math:: E^{(k)} = D^{-1/2} A D^{-1/2} E^{(k-1)} + \Delta^{(k)}, \quad E = \frac1K \sum_{k=1}^K E^{(k)}, \quad
        \hat y_{ui} = e_u^\top e_i

    .. math:: \mathcal L = \mathcal L_{rec} + \lambda \sum_n
        -\ln \frac{\exp(\cos(e_n, e_n^{(l)}) / \tau)}{\sum_m \exp(\cos(e_n, e_m^{(l)}) / \tau)}

    Each row of the noise has the length epsilon and lies in the orthant of the row that it is added to; there is none
    where it recommends. The contrast is the mean over the batch's users, plus that over its positives, each once.

    Args:
        embedding_dim: D, the width of the embeddings.
        num_layers: K.
        contrast_layer: l, of 1 to K, which the representations are contrasted with.
        noise: epsilon.
        temperature: tau.
        contrast_weight: lambda.
        init_std: standard deviation of the embeddings at the start.
    """

    defaults = {"loss": BPR, "l2": 1e-4, "lr": 1e-3}
    divisible = False  # the contrast is of the whole batch

    def __init__(
        self, num_users: int, num_items: int, embedding_dim: Size = 64, num_layers: Size = 2, contrast_layer: Size = 1,
        noise: NonNegative = 0.2, temperature: Positive = 0.15, contrast_weight: NonNegative = 0.2,
        init_std: NonNegative = 0.01,
    ):  # fmt: skip
        if contrast_layer > num_layers:
            raise ConfigError(f"XSimGCL.contrast_layer is {contrast_layer}; expected 1 to {num_layers} (num_layers)")
        weights = [0] + num_layers * [1 / num_layers]
        super().__init__(num_users, num_items, embedding_dim, num_layers, weights, init_std, "zero")
        self.noise, self.temperature, self.contrast_weight = noise, temperature, contrast_weight
        layer = F.one_hot(torch.tensor(contrast_layer), num_layers + 1)
        self.register_buffer("readouts", torch.stack([self.alpha, layer]), persistent=False)

    def outputs(self, batch: Any) -> Any:
        """Compute the representations as for LightGCN, and those that are contrasted, from one noisy propagation.

        Returns:
            Those of the batch's users [B, D], of its positives and negatives [B + ..., D], and the pairs
            (representation, layer) of its distinct users, each [n, D], and distinct positives, each [m, D].
        """
        asked = batch.positives if batch.negatives is None else torch.cat([batch.positives, batch.negatives.flatten()])
        (users, user_place), (items, item_place) = (x.unique(return_inverse=True) for x in (batch.users, asked))
        x, noise = (self.user_embedding.weight, self.item_embedding.weight), self.noise if self.training else 0.0
        user, item = layer_sum_rows(self.operator, x, self.get_buffer("readouts"), users, items, noise)
        positives = item_place[: len(batch.positives)].unique()
        return user[0][user_place], item[0][item_place], user.unbind(), item[:, positives].unbind()

    def extra_loss(self, batch: Any, outputs: Any) -> Tensor | float:
        _, _, users, items = outputs
        return self.contrast_weight * (self.contrast(users) + self.contrast(items))

    def contrast(self, pair: Pair) -> Tensor:
        """Compute InfoNCE of two views of n nodes, a `pair` of [n, D]: a scalar."""
        one, two = (F.normalize(x, dim=1) for x in pair)
        return F.cross_entropy(one @ two.T / self.temperature, torch.arange(len(one), device=one.device))
