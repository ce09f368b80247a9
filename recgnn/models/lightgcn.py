"""LightGCN: propagation on the user-item graph without weights or activation."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from recgnn.errors import ConfigError, Layers, NonNegative, Size
from recgnn.models.base import Pair
from recgnn.models.embedding import EmbeddingRecommender, each_side, message_shares
from recgnn.nn.folding import Entries, user_rows
from recgnn.nn.layer_sum import before_layer_sum, layer_sum, layer_sum_hops, layer_sum_rows
from recgnn.nn.losses import PairLoss, SampledSoftmax
from recgnn.nn.propagation import BipartiteOperator, csr_matmul


class LightGCN(EmbeddingRecommender):
    r"""LightGCN (`He et al., 2020 <https://arxiv.org/abs/2002.02126>`_): propagation without weights or activation.

    .. math:: E^{(k+1)} = D^{-1/2} A D^{-1/2} E^{(k)}, \quad E = \sum_{k=0}^{K} \alpha_k E^{(k)},
        \quad \hat y_{ui} = e_u^\top e_i

    (eqs. 3-8.)

    Args:
        embedding_dim: D, the width of the embeddings; 64 in the paper.
        num_layers: K; 3 in the paper.
        layer_weights: `uniform` (the paper's 1 / (K + 1)), `learned` (softmax of free parameters), or K + 1 numbers.
        init_std: standard deviation of the embeddings at the start.
        score_init: where scores start: `rates`, at the log of the items' frequency in train as far as the loss takes it
            off them (see `start_at`), or `zero`.

    >>> model = LightGCN(num_users=3, num_items=4, embedding_dim=8)
    >>> model.set_graph(torch.tensor([[0, 0, 1, 2], [1, 2, 0, 3]]))
    >>> scores, items = model.recommend(torch.tensor([0, 2]), k=2)
    >>> items.shape
    torch.Size([2, 2])
    """

    former = {"score_init": "zero"}
    defaults = {"loss": SampledSoftmax, "l2": 0.15, "l2_on": "representations", "lr": 3e-3}
    explanation = "what the paths through each of the user's items add to the score; exact, with the user's own vector"
    rest = "the user's own vector"
    divisible = True
    operator: BipartiteOperator

    def __init__(
        self, num_users: int, num_items: int, embedding_dim: Size = 128, num_layers: Layers = 2,
        layer_weights: Literal["uniform", "learned"] | list[float] = "uniform", init_std: NonNegative = 0.1,
        score_init: Literal["rates", "zero"] = "rates",
    ):  # fmt: skip
        super().__init__(num_users, num_items, embedding_dim, init_std)
        self.started = score_init == "zero"
        self.layer_logits: nn.Parameter | None = None
        if layer_weights == "learned":
            self.layer_logits = nn.Parameter(torch.zeros(num_layers + 1))
            return
        weights = [1 / (num_layers + 1)] * (num_layers + 1) if layer_weights == "uniform" else layer_weights
        if len(weights) != num_layers + 1:
            raise ConfigError(
                f"LightGCN.layer_weights is {layer_weights}; expected uniform, learned or a list of "
                f"{num_layers + 1} numbers (num_layers + 1)"
            )
        self.register_buffer("fixed_weights", torch.tensor(weights, dtype=torch.float32), persistent=False)

    @staticmethod
    def usual_l2(scale: float) -> float:
        """Return the regularisation for rankings of a log of some scale (see `RankingTraining.usual_l2`): the sparser,
        the more."""
        return 0.9 / scale**0.5

    @property
    def alpha(self) -> Tensor:
        """Return the layer weights, [K+1]."""
        return self.get_buffer("fixed_weights") if self.layer_logits is None else self.layer_logits.softmax(0)

    def set_graph(self, edge_index: Tensor, ratings: Tensor | None = None) -> None:
        super().set_graph(edge_index, ratings)
        self.operator = BipartiteOperator(edge_index, self.num_users, self.num_items, "sym")

    @torch.no_grad()
    def start_at(self, counts: Tensor, loss: PairLoss) -> None:
        r"""Start the first of the D coordinates so that scores are :math:`c \tau \ln q`, which a softmax corrected for
        popularity finds where users are all alike, and the rest learns from the first step on what tells them apart.

        From zero, an item that most users have was still not learnt when the rest had long overfitted. Done once, not
        on loaded weights; nothing for other losses, with sampled neighbourhoods, whose noise it would raise, without
        layer 0 (no sum of the others gives such scores), or with another `propagate`.

        Args:
            counts: interactions of the items in train, [I].
            loss: what the model will be trained by, with c, `popularity_correction`, and tau, `temperature`.
        """
        weight = loss.popularity_correction * getattr(loss, "temperature", 1.0)
        fits = type(self).propagate is LightGCN.propagate and self.operator.norm == "sym" and self.alpha[0] > 0
        whole = self.fan_out is None and self.partition is None
        if self.started or not fits or not whole or loss.cosine or not weight:
            return
        self.started = True
        rates = counts.clamp(min=1).double() / counts.clamp(min=1).sum()
        scores = weight * (rates.log() - (rates * rates.log()).sum())
        length = (rates * scores.square()).sum() ** 0.25  # of users' and, in the mean over rows, of items' coordinate
        if length < 1e-3:  # all items as frequent
            return
        if abs(self.alpha[::2].sum() - self.alpha[1::2].sum()) < 0.1:
            # Nothing of (sqrt d_u, -sqrt d_i), the vector of Â's eigenvalue -1, comes out of the sum of layers: let the
            # constant that is free in all scores be such that nothing of it is asked for.
            of_user, of_item = self.operator.user_degree.double().sqrt(), self.operator.item_degree.double().sqrt()
            scores += (length**2 * of_user.sum() - (of_item * scores).sum()) / of_item.sum()
        item = self.item_embedding.weight
        sums = (length.expand(self.num_users, 1), (scores / length)[:, None])
        start = before_layer_sum(self.operator, each_side(lambda x: x.to(item), sums), self.alpha)
        self.user_embedding.weight[:, :1], item[:, :1] = start

    def _load_from_state_dict(self, *args: Any) -> None:
        self.started = True
        super()._load_from_state_dict(*args)

    @property
    def layer_widths(self) -> list[int]:
        return [self.user_embedding.embedding_dim] * (self.alpha.shape[-1] - 1)

    def propagate(self) -> Pair:
        return layer_sum(self.operator, (self.user_embedding.weight, self.item_embedding.weight), self.alpha)

    def propagate_rows(self, users: Tensor, items: Tensor) -> Pair:
        if self.fan_out is not None and self.training:
            x, _, hops = self.hops((users, items))
            return layer_sum_hops(hops, x, self.alpha)
        x = self.user_embedding.weight, self.item_embedding.weight
        return layer_sum_rows(self.operator, x, self.alpha, users, items)

    def shares(self, user: int, entries: Entries, items: Tensor) -> Tensor:
        """Take the score apart, which is linear in what the items send to the user."""
        return message_shares(self, user, entries, items, steps=1)

    # ---- users that are not in the training data

    def propagate_layers(self) -> list[Pair]:
        layers = super().propagate_layers()
        for _ in self.alpha[1:]:
            layers.append(self.operator(layers[-1]))
        return layers

    def represent_users(self, rows: dict[str, Tensor], entries: Entries) -> Tensor:
        """Compute eqs. 3-4 at the new users alone."""
        csr, _ = user_rows(self.operator, entries)
        user = self.alpha[0] * rows["user_embedding.weight"]
        for weight, (_, items) in zip(self.alpha[1:], self.layers(), strict=False):
            user = user + weight * csr_matmul(csr, items)
        return user
