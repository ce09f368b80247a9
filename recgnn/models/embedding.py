"""Recommenders by inner product: the losses, negatives and regularisation that they share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch_geometric.data import HeteroData

from recgnn.errors import ConfigError
from recgnn.models.base import Pair, Recommender, Task
from recgnn.nn import losses
from recgnn.nn.folding import Entries, features_of, neighbour_map

Loss = Literal["bpr", "softmax", "bce"]  # `mse`, for ratings, is MF's alone
Negatives = Literal["auto", "uniform", "popularity", "shared", "in_batch"]


def unique_rows(rows: Tensor) -> tuple[Tensor, Tensor | slice]:
    """Distinct rows and where each went. On a GPU the rows as they are: sorting them out would synchronise."""
    if rows.device.type == "cpu":
        return rows.unique(return_inverse=True)
    return rows, slice(None)


def pick(x: Pair, rows: Pair | None) -> Pair:
    """The rows (users, items) of a pair, or all of it."""
    return x if rows is None else (x[0][rows[0]], x[1][rows[1]])


class EmbeddingRecommender(Recommender):
    r"""A model that ranks items for users by the inner product of their representations.

    A subclass has the paper's `propagate` (all representations) and, where it is worth it, `propagate_rows` (the
    ones that a training step needs).

    Args:
        num_users: U, given by the data.
        num_items: I, given by the data.
        embedding_dim: D.
        loss: `bpr`, `softmax` (cross entropy of the positive among negatives) or `bce`.
        negatives: what stands against a positive: `uniform` or `popularity` (items that the user does not
            know, drawn per positive), `shared` (one draw by popularity for the whole batch) or `in_batch` (the
            other positives of the batch); the last two with `softmax` only. `auto` is `uniform` for `bpr` and
            `bce`, `in_batch` for `softmax`.
        num_negatives: how many per positive, or per batch for `shared`.
        popularity_alpha: exponent of the item counts for `popularity` and `shared`.
        popularity_correction: softmax only: subtracts this times the log of the item's sampling rate from its
            score. 1 estimates the softmax over all items, 0 does nothing.
        temperature: softmax only: divides the scores.
        l2: weight of the embeddings' L2 norm (see `losses.embedding_l2`), on the batch's layer-0 embeddings.
        lr: learning rate of Adam, the default optimizer.
        ks: lengths of the recommendation lists that are measured.
        task: see `Recommender`.
        cold_rating: see `Recommender`.
        init_std: standard deviation of the embeddings at the start.
    """

    def __init__(
        self,
        num_users: int,
        num_items: int,
        embedding_dim: int,
        loss: Loss,
        negatives: Negatives,
        num_negatives: int,
        popularity_alpha: float,
        popularity_correction: float,
        temperature: float,
        l2: float,
        lr: float,
        ks: Sequence[int],
        task: Task = "ranking",
        cold_rating: float | None = None,
        init_std: float = 0.1,
    ):
        super().__init__(num_users, num_items, lr, ks, task, cold_rating)
        if negatives == "auto":
            negatives = "in_batch" if loss == "softmax" else "uniform"
        if negatives in ("shared", "in_batch") and loss != "softmax":
            raise ConfigError(
                f"negatives: {negatives} needs loss: softmax, found loss: {loss}; use uniform or popularity negatives"
            )
        if num_negatives < 1 or embedding_dim < 1:
            raise ConfigError("num_negatives and embedding_dim must be at least 1")
        if temperature <= 0:
            raise ConfigError(f"temperature must be positive, found {temperature}")
        self.loss, self.negatives, self.num_negatives = loss, negatives, num_negatives
        self.popularity_alpha, self.popularity_correction = popularity_alpha, popularity_correction
        self.temperature, self.l2 = temperature, l2
        self.user_embedding = nn.Embedding(num_users, embedding_dim)
        self.item_embedding = nn.Embedding(num_items, embedding_dim)
        for embedding in (self.user_embedding, self.item_embedding):
            nn.init.normal_(embedding.weight, std=init_std)
        self.register_buffer("item_log_q", torch.zeros(num_items), persistent=False)
        self._table: Pair | None = None
        self._edges: Tensor | None = None
        self._layers: list[Pair] | None = None
        self._maps: dict[str, Tensor] = {}

    # ---- what a subclass defines

    def propagate(self) -> Pair:
        """The representations of all users and items: ([U, D'], [I, D'])."""
        return self.user_embedding.weight, self.item_embedding.weight

    def propagate_rows(self, users: Tensor, items: Tensor) -> Pair:
        """The representations of `users` [n] and `items` [m], distinct rows: ([n, D'], [m, D'])."""
        user, item = self.propagate()
        return user[users], item[items]

    def set_graph(self, graph: HeteroData) -> None:
        super().set_graph(graph)
        self._edges = graph["user", "rates", "item"].edge_index
        items = self._edges[1]
        counts = torch.bincount(items, minlength=self.num_items).clamp(min=1)
        self.item_log_q = (counts.double() / max(1, items.numel())).log().float()

    def refresh(self) -> None:
        self._table, self._layers, self._maps = None, None, {}

    # ---- scores

    @torch.no_grad()
    def embeddings(self) -> Pair:
        """The representations of all users and items, computed once until training goes on: ([U, D'], [I, D'])."""
        if self._table is None:
            user, item = self.propagate()
            self._table = user.float(), item.float()
        return self._table

    @torch.no_grad()
    def score(self, users: Tensor) -> Tensor:
        """Scores of all items for `users` [B]: [B, I]."""
        user, item = self.embeddings()
        with torch.autocast(user.device.type, enabled=False):
            return user[users] @ item.T

    @torch.no_grad()
    def score_pairs(self, users: Tensor, items: Tensor) -> Tensor:
        user, item = self.embeddings()
        pairs = zip(users.split(2**16), items.split(2**16), strict=True)
        return torch.cat([(user[u] * item[i]).sum(1) for u, i in pairs])

    # ---- users and items that train does not know

    def own_rows(self, side: Literal["user", "item"]) -> dict[str, Tensor]:
        """The parameters of which each user or item has a row, by name: [n, ...]."""
        return {f"{side}_embedding.weight": getattr(self, f"{side}_embedding").weight}

    def propagate_layers(self) -> list[Pair]:
        """Layers 0 to K of all users and items, of which `propagate` makes their representations: ([U, D], [I, D])."""
        return [(self.user_embedding.weight, self.item_embedding.weight)]

    @torch.no_grad()
    def layers(self) -> list[Pair]:
        """`propagate_layers`, computed once until training goes on."""
        if self._layers is None:
            self._layers = [(user.detach(), item.detach()) for user, item in self.propagate_layers()]
        return self._layers

    @torch.no_grad()
    def new_rows(self, side: Literal["user", "item"], entries: Entries) -> dict[str, Tensor]:
        """Layer 0 of new users (items): a linear map of the mean of their items' (users') layers, which is fitted in
        closed form on those of train (see `neighbour_map`)."""
        own = self.own_rows(side)
        other = torch.cat([layer[1 if side == "user" else 0] for layer in self.layers()], 1)
        if side not in self._maps:
            place, others = self._edges.to(other.device).flip(0) if side == "item" else self._edges.to(other.device)
            order = torch.argsort(place, stable=True)
            size = len(next(iter(own.values())))
            known = Entries(place[order], others[order], torch.ones(order.numel(), device=other.device), size)
            self._maps[side] = neighbour_map(known, other, torch.cat([x.reshape(size, -1) for x in own.values()], 1))
        found = features_of(entries, other) @ self._maps[side]
        parts = found.split([x[0].numel() for x in own.values()], 1)
        return {n: part.reshape(-1, *x.shape[1:]) for (n, x), part in zip(own.items(), parts, strict=True)}

    def represent_users(self, rows: dict[str, Tensor], entries: Entries) -> Tensor:
        """The representations of new users from their own rows (see `new_rows`) and what they have, where all that
        train knows stays as it is: [n, D']."""
        return rows["user_embedding.weight"]

    @torch.no_grad()
    def score_history(self, place: Tensor, items: Tensor, values: Tensor, size: int) -> Tensor:
        entries = Entries(place, items, values, size)
        user = self.represent_users(self.new_rows("user", entries), entries)
        return user @ self.embeddings()[1].T

    # ---- training

    @property
    def negative_sampling(self) -> dict | None:
        if self.negatives == "in_batch":
            return None
        alpha = 0.0 if self.negatives == "uniform" else self.popularity_alpha
        return {"num": self.num_negatives, "alpha": alpha, "shared": self.negatives == "shared"}

    def log_q(self, items: Tensor) -> Tensor | None:
        """The correction for how often `items` are met as negatives: like items, or None for none."""
        rate = {"uniform": 0.0, "in_batch": 1.0}.get(self.negatives, self.popularity_alpha)
        weight = rate * self.popularity_correction
        return weight * self.item_log_q[items] if weight else None

    def represent(self, users: Tensor, positives: Tensor, negatives: Tensor | None) -> Pair:
        """The representations of a batch: users [B, D'], and positives, then flattened negatives, [B + …, D']."""
        items = positives if negatives is None else torch.cat([positives, negatives.flatten()])
        users, user_place = unique_rows(users)
        items, item_place = unique_rows(items)
        user, item = self.propagate_rows(users, items)
        return user[user_place], item[item_place]

    def batch_loss(self, users: Tensor, positives: Tensor, negatives: Tensor | None) -> Tensor:
        """The loss of a batch without regularisation.

        Shapes: users [B], positives [B], negatives [B, n], or [n] when shared, or None for in-batch; a scalar.
        """
        return self.ranking_loss(*self.represent(users, positives, negatives), positives, negatives)

    def ranking_loss(self, user: Tensor, item: Tensor, positives: Tensor, negatives: Tensor | None) -> Tensor:
        """`batch_loss` from the representations that `represent` gives: a scalar."""
        size = positives.numel()
        if negatives is None:
            return losses.in_batch_softmax(user @ item.T, positives, self.log_q(positives), self.temperature)
        positive = (user * item[:size]).sum(-1)
        if negatives.dim() == 1:
            negative = user @ item[size:].T
            negative = negative.masked_fill(positives[:, None] == negatives, -torch.inf)  # not against itself
        else:
            negative = torch.einsum("bd,bnd->bn", user, item[size:].view(*negatives.shape, -1))
        if self.loss == "softmax":
            q = self.log_q(positives), self.log_q(negatives)
            return losses.sampled_softmax(positive, negative, *q, self.temperature)
        return (losses.bpr if self.loss == "bpr" else losses.bce)(positive, negative)

    def regularisation(self, batch, user: Tensor, item: Tensor) -> Tensor:
        """L2 of the batch's layer-0 embeddings: a scalar. `user` and `item` are the batch's representations."""
        users, positives, negatives = batch
        rows = [self.user_embedding(users), self.item_embedding(positives)]
        if negatives is not None:
            rows.append(self.item_embedding(negatives))
        return losses.embedding_l2(*rows)

    def training_step(self, batch, batch_idx: int) -> Tensor:
        user, item = self.represent(*batch)
        loss = self.ranking_loss(user, item, batch.positives, batch.negatives)
        if self.l2:
            loss = loss + self.l2 * self.regularisation(batch, user, item)
        self.log("train/loss", loss, on_step=True, on_epoch=True, batch_size=batch.users.numel())
        return loss
