"""The base class of recommenders by inner product: representations, scores, vectors of new users and items."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recgnn.errors import ConfigError, NonNegative, Size
from recgnn.models.base import Pair, Recommender, Side, with_mean
from recgnn.nn.folding import DAMPING, Entries, features_of, neighbour_map
from recgnn.nn.losses import SampledSoftmax
from recgnn.nn.norms import embedding_l2
from recgnn.nn.partition import DividedOperator, Partition
from recgnn.nn.propagation import large
from recgnn.nn.sampling import Hop, SampledHop, sampled_hops


def unique_rows(rows: Tensor) -> tuple[Tensor, Tensor | slice]:
    """Return the distinct rows of [n] and the place of each row among them; on a GPU the rows as they are, since
    finding duplicates would synchronise."""
    if rows.device.type == "cpu":
        return rows.unique(return_inverse=True)
    return rows, slice(None)


def pick(x: Pair, rows: Pair | None) -> Pair:
    """Select the rows (users, items) of a pair `x`; all of it when `rows` is None."""
    return x if rows is None else (x[0][rows[0]], x[1][rows[1]])


def each_side(function: Callable[..., Tensor], *pairs: Pair) -> Pair:
    """Apply a function to the users' tensors [U, ...] and to the items' [I, ...] of pairs."""
    users, items = zip(*pairs, strict=True)
    return function(*users), function(*items)


class EmbeddingRecommender(Recommender):
    r"""A model that scores items for users by the inner product of their representations.

    A subclass has the paper's `propagate` (all representations, with a gradient) and, where it is worth it,
    `propagate_rows` (those that a training step needs).

    Args:
        num_users: U, given by the data.
        num_items: I, given by the data.
        embedding_dim: D.
        init_std: standard deviation of the embeddings at the start.

    Attributes:
        fan_out: see `sample`; None where all neighbours are read.
        normalize: whether scores are cosines (see `directions`).
    """

    fan_out: Sequence[int] | None = None
    normalize = False
    defaults = {"loss": SampledSoftmax, "l2": 0.1, "l2_on": "representations", "lr": 2e-3}
    explanation = (
        "what each of the user's items adds to the vector that these items alone would give a new user; an "
        " approximation, since the user's vector was learnt freely"
    )
    rest = "what was learnt beyond these items"

    def __init__(self, num_users: int, num_items: int, embedding_dim: Size, init_std: NonNegative = 0.1):
        super().__init__(num_users, num_items)
        self.user_embedding = nn.Embedding(num_users, embedding_dim)
        self.item_embedding = nn.Embedding(num_items, embedding_dim)
        for embedding in (self.user_embedding, self.item_embedding):
            nn.init.normal_(embedding.weight, std=init_std)
        self.edge_index: Tensor | None = None
        self.refresh()

    # ---- what a subclass defines

    def propagate(self) -> Pair:
        """Compute the representations of all users and items, with a gradient: ([U, D'], [I, D'])."""
        return self.user_embedding.weight, self.item_embedding.weight

    def propagate_rows(self, users: Tensor, items: Tensor) -> Pair:
        """Compute the representations of distinct `users` [n] and `items` [m], with a gradient: ([n, D'], [m, D'])."""
        return pick(self.propagate(), (users, items))

    def directions(self, x: Tensor) -> Tensor:
        """Divide representations x [n, D'] by their lengths, where scores are cosines; else return x."""
        return F.normalize(x, dim=1) if self.normalize else x

    def set_graph(self, edge_index: Tensor, ratings: Tensor | None = None) -> None:
        room = large(edge_index.numel(), edge_index.device, torch.int32).view(2, -1)
        self.edge_index = room.copy_(edge_index)  # for new users and items alone
        super().set_graph(edge_index, ratings)

    def refresh(self) -> None:
        self._table: Pair | None = None
        self._layers: list[Pair] | None = None
        self._maps: dict[str, Tensor] = {}

    # ---- training

    def sample(self, fan_out: Sequence[int]) -> None:
        if not self.divisible:
            super().sample(fan_out)
        if len(fan_out) != len(self.layer_widths):
            raise ConfigError(
                f"fan_out is {list(fan_out)}, and {type(self).__name__} has {len(self.layer_widths)} layers; give a "
                "number for each, the first for the batch's own neighbours"
            )
        self.fan_out = fan_out
        self.user_embedding.sparse = self.item_embedding.sparse = True

    def hops(self, rows: Pair | None) -> tuple[Pair, Pair | None, Sequence[Hop | SampledHop]]:
        """Return how the layers are computed: layer 0, the places in it of the users and items (`rows`) that are
        wanted, None for all of it, and a hop for each further layer, the last of which is at these rows alone."""
        operator: Any = getattr(self, "operator", None)
        if rows is not None and self.training and self.fan_out is not None:
            (users, items), place, sampled = sampled_hops(operator, rows, self.fan_out)
            return (self.user_embedding(users), self.item_embedding(items)), place, sampled
        x = self.user_embedding.weight, self.item_embedding.weight
        count = len(self.layer_widths)
        return x, rows, [Hop(operator, None, rows)] * (count - 1) + [Hop(operator, rows, None)] * min(count, 1)

    def represent(self, users: Tensor, items: Tensor) -> Pair:
        """Compute the representations of users [B] and items [m], which may repeat: ([B, D'], [m, D'])."""
        if self.partition is not None:
            return self.partition.at(self.propagate_rows, users, items)
        users, user_place = unique_rows(users)
        items, item_place = unique_rows(items)
        user, item = self.propagate_rows(users, items)
        return user[user_place], item[item_place]

    def outputs(self, batch: Any) -> Any:
        """Compute the representations of the batch's users [B, D'], and of its positives, then its negatives, [B + …,
        D']; a subclass may add more behind them."""
        items = batch.positives
        if batch.negatives is not None:
            items = torch.cat([items, batch.negatives.flatten()])
        return self.represent(batch.users, items)

    def penalty(self, l2: float, batch: Any, outputs: Any) -> Tensor | float:
        """Compute `l2` times `embedding_l2` of the batch's layer-0 embeddings, or of its representations (`l2_on`)."""
        if self.l2_on == "representations":
            return l2 * embedding_l2(*outputs[:2])
        drawn = [] if batch.negatives is None else [batch.negatives]
        if self.partition is not None:
            items = torch.cat([batch.positives, *(x.flatten() for x in drawn)])
            own = lambda *rows: (self.user_embedding(rows[0]), self.item_embedding(rows[1]))  # noqa: E731
            return l2 * embedding_l2(*self.partition.at(own, batch.users, items))
        return l2 * embedding_l2(self.user_embedding(batch.users), *map(self.item_embedding, [batch.positives, *drawn]))

    def forward(self, users: Tensor, items: Tensor) -> Tensor:
        """Score pairs of users [B] and items [B], with a gradient: [B]."""
        user, item = self.represent(users, items)
        return (user * item).sum(1)

    # ---- several processes

    @property
    def layer_widths(self) -> list[int]:
        """The widths of the layers that are multiplied with the adjacency; none of a model without a graph."""
        return []

    def divide(self, partition: Partition, device: torch.device) -> dict[str, int]:
        """Keep the rows of users and items that a process owns, of the parameters and of the graph; called again, of
        the graph.

        Args:
            partition: which rows.
            device: where the graph goes.

        Returns:
            The names of the parameters of which it has some rows, and how many all processes have.
        """
        totals = {"user": self.num_users, "item": self.num_items}
        names = {name: total for side, total in totals.items() for name in self.own_rows(side)}  # type: ignore[arg-type]
        if self.partition is None:
            for name in names:
                value = self.get_parameter(name)
                value.data = partition.own(value.data)
        self.partition, self.edge_index = partition, None
        if hasattr(self, "operator"):
            whole: Any = self.operator
            self.add_module("operator", DividedOperator(whole, partition, device))
        return names

    # ---- scores

    @torch.no_grad()
    def embeddings(self) -> Pair:
        if self._table is None:
            user, item = self.propagate()
            if self.partition is not None:  # a process ranks for its own users
                item = self.partition.gather(item, self.num_items)
            self._table = user.float(), item.float()
        return self._table

    @torch.no_grad()
    def score(self, users: Tensor) -> Tensor:
        user, item = self.embeddings()
        rows = users if self.partition is None else users // self.partition.world
        with torch.autocast(user.device.type, enabled=False):
            return user[rows] @ item.T

    @torch.no_grad()
    def score_pairs(self, users: Tensor, items: Tensor) -> Tensor:
        user, item = self.embeddings()
        pairs = zip(users.split(2**16), items.split(2**16), strict=True)
        return torch.cat([(user[u] * item[i]).sum(1) for u, i in pairs])

    @torch.no_grad()
    def shares(self, user: int, entries: Entries, items: Tensor) -> Tensor:
        """Divide the scores that the user's items alone would give, by the linear map of `new_rows`."""
        count = entries.others.numel()
        alone = Entries(torch.arange(count, device=items.device), entries.others, entries.values, count + 1)
        vectors = self.represent_users(EmbeddingRecommender.new_rows(self, "user", alone), alone)
        of_mean = (vectors[:-1] - vectors[-1:]) * (1 + DAMPING) / (count + DAMPING)  # the last one has nothing
        return of_mean @ with_mean(self.embeddings()[1])[items].T

    def exportable(self) -> nn.Module:
        return InnerProduct(*self.score_vectors())

    # ---- users and items that are not in the training data

    def own_rows(self, side: Side) -> dict[str, Tensor]:
        """Return the parameters that have a row for each user or item (`side`), by name: [n, ...]."""
        return {f"{side}_embedding.weight": getattr(self, f"{side}_embedding").weight}

    def propagate_layers(self) -> list[Pair]:
        """Compute the layers 0 to K that `propagate` combines, of all users and items: ([U, D], [I, D]) each."""
        return [(self.user_embedding.weight, self.item_embedding.weight)]

    @torch.no_grad()
    def layers(self) -> list[Pair]:
        """Return `propagate_layers`, computed once until training goes on."""
        if self._layers is None:
            self._layers = [(user.detach(), item.detach()) for user, item in self.propagate_layers()]
        return self._layers

    @torch.no_grad()
    def new_rows(self, side: Side, entries: Entries) -> dict[str, Tensor]:
        """Compute layer 0 of new users (items): a linear map of the mean of their items' (users') layers, which is
        fitted in closed form on the training data (see `neighbour_map`)."""
        own = self.own_rows(side)
        other = torch.cat([layer[1 if side == "user" else 0] for layer in self.layers()], 1)
        if side not in self._maps:
            assert self.edge_index is not None, "set_graph comes first"
            edges = self.edge_index.to(other.device).long()
            place, others = edges.flip(0) if side == "item" else edges
            order = torch.argsort(place, stable=True)
            size = len(next(iter(own.values())))
            known = Entries(place[order], others[order], torch.ones(order.numel(), device=other.device), size)
            self._maps[side] = neighbour_map(known, other, torch.cat([x.reshape(size, -1) for x in own.values()], 1))
        vectors = features_of(entries, other) @ self._maps[side]
        parts = vectors.split([x[0].numel() for x in own.values()], 1)
        return {n: part.reshape(-1, *x.shape[1:]) for (n, x), part in zip(own.items(), parts, strict=True)}

    def represent_users(self, rows: dict[str, Tensor], entries: Entries) -> Tensor:
        """Compute the representations of new users from their rows (see `new_rows`) and their items (`entries`), while
        everything trained stays as it is: [n, D']."""
        return rows["user_embedding.weight"]

    @torch.no_grad()
    def score_history(self, place: Tensor, items: Tensor, values: Tensor, size: int) -> Tensor:
        entries = Entries(place, items, values, size)
        user = self.represent_users(self.new_rows("user", entries), entries)
        return user @ self.embeddings()[1].T


BY_MESSAGES = (
    "what the paths through each of the user's items add to the score: integrated gradients over what these items send "
    "to the user; an approximation of a score that is not linear in them"
)


@torch.no_grad()
def message_shares(
    model: EmbeddingRecommender, user: int, entries: Entries, items: Tensor, steps: int = 32
) -> Tensor:
    r"""Divide scores by integrated gradients (`Sundararajan et al., 2017 <https://arxiv.org/abs/1703.01365>`_, eq. 1)
    over the weights w of the messages from the user's items, from none of them to all.

    .. math:: \phi_{ji} = w_j \int_0^1 \frac{\partial \hat y_{ui}(t w)}{\partial w_j} dt

    They sum to what the score is above that without messages, but for the error of the midpoint rule; the vectors of
    the items stay as they are. Where the score is linear in the messages one step is exact.

    Args:
        model: whose `represent_users` propagates to the user alone.
        user: row of the user.
        entries: what this one user has, n items.
        items: rows of the scored items, [m]; -1 is the mean of all items.
        steps: of the midpoint rule.

    Shapes: [n, m].
    """
    count = entries.others.numel()
    part = (torch.arange(steps, device=items.device) + 0.5) / steps
    sent = part.repeat_interleave(count).requires_grad_()
    place = torch.arange(steps, device=items.device).repeat_interleave(count)
    rows = {name: x[user].expand(steps, *x.shape[1:]) for name, x in model.own_rows("user").items()}
    targets = with_mean(model.embeddings()[1])[items]
    with torch.enable_grad():
        vectors = model.represent_users(rows, Entries(place, entries.others.repeat(steps), sent, steps))
        scores = (vectors @ targets.to(vectors.dtype).T).mean(0)
        found = [torch.autograd.grad(score, sent, retain_graph=True)[0] for score in scores]
    return torch.stack(found, 1).view(steps, count, items.numel()).sum(0)


class InnerProduct(nn.Module):
    """Scores of all items by the inner product with fixed vectors, `user` [U, D] and `item` [I, D]: users [B]; [B,
    I]."""

    def __init__(self, user: Tensor, item: Tensor):
        super().__init__()
        self.register_buffer("user", user.detach())
        self.register_buffer("item", item.detach())

    def forward(self, users: Tensor) -> Tensor:
        return nn.functional.embedding(users, self.get_buffer("user")) @ self.get_buffer("item").T
