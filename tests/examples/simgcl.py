"""SimGCL, as an example of a loss on top of the task's: `python -m recgnn.fit --model simgcl.SimGCL ...`."""

import torch
from torch import Tensor
from torch.nn import functional as F

from recgnn.models import LightGCN
from recgnn.models.base import Pair


class SimGCL(LightGCN):
    """SimGCL (`Yu et al., 2022 <https://arxiv.org/abs/2112.08679>`_): LightGCN without layer 0, and a contrastive loss.

    Args:
        embedding_dim: D, the width of the embeddings.
        num_layers: K.
        noise: epsilon, the length of the noise that each propagated row gets.
        temperature: tau, which divides the cosines.
        weight: lambda, of the contrastive loss.
    """

    def __init__(
        self, num_users: int, num_items: int, embedding_dim: int = 64, num_layers: int = 3, noise: float = 0.1,
        temperature: float = 0.2, weight: float = 0.2,
    ):  # fmt: skip
        super().__init__(num_users, num_items, embedding_dim, num_layers, [0.0] + num_layers * [1 / num_layers])
        self.noise, self.temperature, self.weight = noise, temperature, weight

    def view(self) -> Pair:
        """Propagate with noise in the orthant of each row (eqs. 7 and 8): ([U, D], [I, D])."""
        x, total = (self.user_embedding.weight, self.item_embedding.weight), (0.0, 0.0)
        for weight in self.alpha[1:]:
            x = tuple(e + e.sign() * F.normalize(torch.rand_like(e)) * self.noise for e in self.operator(x))
            total = tuple(t + weight * e for t, e in zip(total, x, strict=True))
        return total

    def extra_loss(self, batch, outputs) -> Tensor:
        """InfoNCE between two views of the batch's users and of its positives (eq. 2)."""
        rows, loss = (batch.users.unique(), batch.positives.unique()), 0.0
        for of, one, two in zip(rows, self.view(), self.view(), strict=True):
            cosines = F.normalize(one[of]) @ F.normalize(two[of]).T
            loss = loss + F.cross_entropy(cosines / self.temperature, torch.arange(len(of), device=of.device))
        return self.weight * loss
