"""Matrix factorisation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from recgnn.models.base import Pair
from recgnn.models.embedding import EmbeddingRecommender, Negatives
from recgnn.nn import losses
from recgnn.nn.folding import Entries, ridge_rows

MIN_RIDGE = 0.01  # per rating, of a new user or item, where the model was trained with less


class MF(EmbeddingRecommender):
    r"""Matrix factorisation (`Koren et al., 2009 <https://doi.org/10.1109/MC.2009.263>`_), the baseline; with
    `loss="bpr"` it is BPR-MF (`Rendle et al., 2009 <https://arxiv.org/abs/1205.2618>`_).

    .. math:: \hat y_{ui} = e_u^\top e_i \; (+ b_u + b_i)

    With `loss="mse"` it predicts ratings: to the score the mean rating of train is added, and the squared error of a
    batch's ratings is minimised,

    .. math:: \frac 1 B \sum_{(u,i)} (r_{ui} - \bar r - \hat y_{ui})^2
        + \frac{\lambda}{2B} \sum_{(u,i)} (\lVert e_u \rVert^2 + \lVert e_i \rVert^2 + b_u^2 + b_i^2)

    Args:
        num_users: U, given by the data.
        num_items: I, given by the data.
        embedding_dim: D, the width of the embeddings.
        biases: add a bias per user and item.
        loss: `bpr`, `softmax` (of the positive among negatives) or `bce` to rank; `mse` to predict ratings.
        negatives: what stands against a positive: `uniform` or `popularity` (items that the user does not know),
            `shared` (one draw for the batch) or `in_batch` (its other positives); `auto` goes by the loss.
        num_negatives: how many per positive, or per batch for `shared`.
        popularity_alpha: exponent of the item counts for `popularity` and `shared` negatives.
        popularity_correction: weight of the log of an item's frequency, taken off its score in the softmax.
        temperature: divides the scores in the softmax.
        l2: lambda, weight of the squared norm of the batch's embeddings, and for `mse` of its biases.
        init_std: standard deviation of the embeddings at the start.
        cold_rating: `mse` only: the rating of users and items that train lacks; None for the mean of train.
        lr: learning rate of Adam.
        ks: lengths of the recommendation lists that are measured.
    """

    def __init__(
        self,
        num_users: int,
        num_items: int,
        embedding_dim: int = 64,
        biases: bool = False,
        loss: Literal["bpr", "softmax", "bce", "mse"] = "bpr",
        negatives: Negatives = "auto",
        num_negatives: int = 1,
        popularity_alpha: float = 0.75,
        popularity_correction: float = 1.0,
        temperature: float = 1.0,
        l2: float = 1e-2,
        init_std: float = 0.1,
        cold_rating: float | None = None,
        lr: float = 2e-3,
        ks: Sequence[int] = (10, 20),
    ):
        super().__init__(
            num_users,
            num_items,
            embedding_dim,
            loss,
            negatives,
            num_negatives,
            popularity_alpha,
            popularity_correction,
            temperature,
            l2,
            lr,
            ks,
            "rating" if loss == "mse" else "ranking",
            cold_rating,
            init_std,
        )
        self.user_bias = nn.Parameter(torch.zeros(num_users)) if biases else None
        self.item_bias = nn.Parameter(torch.zeros(num_items)) if biases else None

    def propagate(self) -> Pair:
        return self._with_biases(
            self.user_embedding.weight, self.item_embedding.weight, self.user_bias, self.item_bias
        )

    def propagate_rows(self, users: Tensor, items: Tensor) -> Pair:
        user, item = self.user_embedding(users), self.item_embedding(items)
        if self.user_bias is None:
            return user, item
        return self._with_biases(user, item, self.user_bias[users], self.item_bias[items])

    def score(self, users: Tensor) -> Tensor:
        scores = super().score(users)
        return scores + self.evaluation.mean if self.loss == "mse" else scores

    def score_pairs(self, users: Tensor, items: Tensor) -> Tensor:
        scores = super().score_pairs(users, items)
        return scores + self.evaluation.mean if self.loss == "mse" else scores

    # ---- users and items that train does not know

    def own_rows(self, side: Literal["user", "item"]) -> dict[str, Tensor]:
        bias = getattr(self, f"{side}_bias")
        return super().own_rows(side) | ({} if bias is None else {f"{side}_bias": bias})

    @torch.no_grad()
    def new_rows(self, side: Literal["user", "item"], entries: Entries) -> dict[str, Tensor]:
        """For ratings, the minimum of the objective, the other side fixed: ridge regression on the node's ratings."""
        if self.loss != "mse":
            return super().new_rows(side, entries)
        others = self.own_rows("item" if side == "user" else "user").values()
        vectors, *bias = others
        targets = entries.values - self.evaluation.mean
        if bias:
            targets = targets - bias[0][entries.others]
            vectors = torch.cat([vectors, torch.ones_like(vectors[:, :1])], 1)
        found = ridge_rows(entries, vectors, targets, max(self.l2 / 2, MIN_RIDGE))
        rows = {f"{side}_embedding.weight": found[:, : self.user_embedding.embedding_dim]}
        return rows | ({f"{side}_bias": found[:, -1]} if bias else {})

    def represent_users(self, rows: dict[str, Tensor], entries: Entries) -> Tensor:
        user, bias = rows["user_embedding.weight"], rows.get("user_bias")
        return self._with_biases(user, user, bias, bias)[0]

    def score_history(self, place: Tensor, items: Tensor, values: Tensor, size: int) -> Tensor:
        scores = super().score_history(place, items, values, size)
        return scores + self.evaluation.mean if self.loss == "mse" else scores

    # ---- training

    @property
    def negative_sampling(self) -> dict | None:
        return None if self.loss == "mse" else super().negative_sampling

    def training_step(self, batch, batch_idx: int) -> Tensor:
        if self.loss != "mse":
            return super().training_step(batch, batch_idx)
        users, items, ratings = batch
        user, item = self.user_embedding(users), self.item_embedding(items)
        scores, rows = (user * item).sum(1) + self.evaluation.mean, [user, item]
        if self.user_bias is not None:
            rows += [self.user_bias[users], self.item_bias[items]]
            scores = scores + rows[2] + rows[3]
        loss = (scores - ratings).square().mean()
        if self.l2:
            loss = loss + self.l2 * losses.embedding_l2(*rows)
        self.log("train/loss", loss, on_step=True, on_epoch=True, batch_size=users.numel())
        return loss

    @staticmethod
    def _with_biases(user: Tensor, item: Tensor, user_bias: Tensor | None, item_bias: Tensor | None) -> Pair:
        """The biases as two more dimensions, so that the inner product has them: (e_u, b_u, 1), (e_i, 1, b_i)."""
        if user_bias is None:
            return user, item
        return (
            torch.cat([user, user_bias[:, None], torch.ones_like(user[:, :1])], 1),
            torch.cat([item, torch.ones_like(item[:, :1]), item_bias[:, None]], 1),
        )
