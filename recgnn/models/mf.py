"""Matrix factorisation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from recgnn.errors import NonNegative, Size
from recgnn.models.base import Pair, Rated, Side, with_mean
from recgnn.models.embedding import EmbeddingRecommender, each_side
from recgnn.nn.folding import Entries, ridge_rows, ridge_shares
from recgnn.nn.losses import SampledSoftmax
from recgnn.nn.norms import embedding_l2

MIN_RIDGE = 0.01  # per rating, of a new user or item, where the model was trained with less


class MF(EmbeddingRecommender):
    r"""Matrix factorisation (`Koren et al., 2009 <https://doi.org/10.1109/MC.2009.263>`_), the baseline; with the
    loss `BPR` it is BPR-MF (`Rendle et al., 2009 <https://arxiv.org/abs/1205.2618>`_).

    .. math:: \hat y_{ui} = e_u^\top e_i \; (+ b_u + b_i) \; (+ \bar r)

    With `normalize` the embeddings are divided by their lengths first, so that :math:`e_u^\top e_i` is a cosine; a loss
    then needs a temperature, such as `SampledSoftmax(temperature=0.1)`.

    The mean training rating :math:`\bar r` is added where it is trained for ratings; the objective then is

    .. math:: \frac 1 B \sum_{(u,i)} (r_{ui} - \hat y_{ui})^2
        + \frac{\lambda}{2B} \sum_{(u,i)} (\lVert e_u \rVert^2 + \lVert e_i \rVert^2 + b_u^2 + b_i^2)

    Args:
        embedding_dim: D, the width of the embeddings.
        biases: add a bias per user and item.
        init_std: standard deviation of the embeddings at the start.
        normalize: score by cosine; for ranking alone.
    """

    tasks = ("ranking", "rating")
    defaults = {"loss": SampledSoftmax, "l2": 0.1, "lr": 2e-3}
    divisible = True
    former = {"normalize": False}

    def __init__(
        self, num_users: int, num_items: int, embedding_dim: Size = 128, biases: bool = False,
        init_std: NonNegative = 0.1, normalize: bool = False,
    ):  # fmt: skip
        super().__init__(num_users, num_items, embedding_dim, init_std)
        self.normalize = normalize
        if normalize:
            self.tasks = ("ranking",)  # type: ignore[assignment, misc]
        self.user_bias = nn.Parameter(torch.zeros(num_users)) if biases else None
        self.item_bias = nn.Parameter(torch.zeros(num_items)) if biases else None

    @staticmethod
    def usual_l2(scale: float) -> float:
        """Return the regularisation for rankings of a log of some scale (see `RankingTraining.usual_l2`): the sparser,
        the more."""
        return 0.7 / scale**0.5

    def propagate(self) -> Pair:
        user, item = each_side(self.directions, (self.user_embedding.weight, self.item_embedding.weight))
        return with_biases(user, item, self.user_bias, self.item_bias)

    def propagate_rows(self, users: Tensor, items: Tensor) -> Pair:
        user, item = each_side(self.directions, (self.user_embedding(users), self.item_embedding(items)))
        if self.user_bias is None or self.item_bias is None:
            return user, item
        return with_biases(user, item, self.user_bias[users], self.item_bias[items])

    def outputs(self, batch: Any) -> Any:
        if self.task == "ranking":
            return super().outputs(batch)
        users, items = batch.users, batch.items
        user, item = self.user_embedding(users), self.item_embedding(items)
        scores, rows = (user * item).sum(1) + self.mean, [user, item]
        if self.user_bias is not None and self.item_bias is not None:
            rows += [self.user_bias[users], self.item_bias[items]]
            scores = scores + rows[2] + rows[3]
        return Rated(scores, rows)

    def penalty(self, l2: float, batch: Any, outputs: Any) -> Tensor | float:
        if self.task == "ranking":
            return super().penalty(l2, batch, outputs)
        return l2 * embedding_l2(*outputs.rows)

    def score(self, users: Tensor) -> Tensor:
        scores = super().score(users)
        return scores + self.mean if self.task == "rating" else scores

    def score_vectors(self) -> Pair:
        user, item = self.embeddings()
        if self.task != "rating":
            return user, item
        mean = torch.full_like(item[:, :1], float(self.mean))
        return torch.cat([user, torch.ones_like(user[:, :1])], 1), torch.cat([item, mean], 1)

    def score_pairs(self, users: Tensor, items: Tensor) -> Tensor:
        scores = super().score_pairs(users, items)
        return scores + self.mean if self.task == "rating" else scores

    # ---- users and items that are not in the training data

    def own_rows(self, side: Side) -> dict[str, Tensor]:
        bias = getattr(self, f"{side}_bias")
        return super().own_rows(side) | ({} if bias is None else {f"{side}_bias": bias})

    @torch.no_grad()
    def new_rows(self, side: Side, entries: Entries) -> dict[str, Tensor]:
        """Compute, for ratings, the minimum of the objective with the other side fixed: ridge regression on the node's
        ratings."""
        if self.task == "ranking":
            return super().new_rows(side, entries)
        vectors, targets, ridge = self._regression(side, entries)
        rows = ridge_rows(entries, vectors, targets, ridge.to(vectors.dtype))
        own = {f"{side}_embedding.weight": rows[:, : self.user_embedding.embedding_dim]}
        return own | ({f"{side}_bias": rows[:, -1]} if self.user_bias is not None else {})

    def _regression(self, side: Side, entries: Entries) -> tuple[Tensor, Tensor, Tensor]:
        """The vectors of the other side, with a one for the bias where there is any, the targets of the entries, and
        the ridge of each node."""
        vectors, *bias = self.own_rows("item" if side == "user" else "user").values()
        targets = entries.values - self.mean
        if bias:
            targets = targets - bias[0][entries.others]
            vectors = torch.cat([vectors, torch.ones_like(vectors[:, :1])], 1)
        return vectors, targets, max(self.l2 / 2, MIN_RIDGE) * entries.counts.clamp(min=1)

    @torch.no_grad()
    def shares(self, user: int, entries: Entries, items: Tensor) -> Tensor:
        """Divide, for ratings, the score that ridge regression on the user's ratings gives."""
        if self.task == "ranking":
            return super().shares(user, entries, items)
        vectors, targets, ridge = self._regression("user", entries)
        return ridge_shares(vectors[entries.others], targets, ridge, with_mean(vectors)[items])

    def represent_users(self, rows: dict[str, Tensor], entries: Entries) -> Tensor:
        user, bias = self.directions(rows["user_embedding.weight"]), rows.get("user_bias")
        return with_biases(user, user, bias, bias)[0]

    def score_history(self, place: Tensor, items: Tensor, values: Tensor, size: int) -> Tensor:
        scores = super().score_history(place, items, values, size)
        return scores + self.mean if self.task == "rating" else scores


def with_biases(user: Tensor, item: Tensor, user_bias: Tensor | None, item_bias: Tensor | None) -> Pair:
    """Append the biases as two dimensions, so that the inner product adds them: (e_u, b_u, 1), (e_i, 1, b_i).

    Shapes: user [U, D], item [I, D], user_bias [U] and item_bias [I] or None; [U, D + 2], [I, D + 2].
    """
    if user_bias is None or item_bias is None:
        return user, item
    return (
        torch.cat([user, user_bias[:, None], torch.ones_like(user[:, :1])], 1),
        torch.cat([item, torch.ones_like(item[:, :1]), item_bias[:, None]], 1),
    )
