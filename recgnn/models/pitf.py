"""Pairwise interaction tensor factorisation: ranks tags for a user and an item."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from recgnn.errors import NonNegative, Size
from recgnn.models.base import Pair, Recommender, Side
from recgnn.models.embedding import EmbeddingRecommender
from recgnn.nn.folding import Entries
from recgnn.nn.losses import BPR


class PITF(EmbeddingRecommender):
    r"""PITF (`Rendle & Schmidt-Thieme, 2010 <https://doi.org/10.1145/1718487.1718498>`_): ranks tags for a user and an
    item, by the loss `BPR` over tags.

    .. math:: \hat y_{u,i,t} = \langle u, t^U \rangle + \langle i, t^I \rangle

    (eq. 8.) The pair is the data's user, an id of several columns (`user: [userId, movieId]`), and the tag its item. So
    the values of any field are ranked, given those of any others: each of these has vectors of its own, and what is
    ranked has vectors for each. A pair that is not in the training data is ranked for by its parts.

    Args:
        part_sizes: how many values each part of a user has, given by the data.
        embedding_dim: D, the width of the embeddings of each part.
        init_std: standard deviation of the embeddings at the start.
    """

    defaults = {"loss": BPR, "l2": 5e-2, "lr": 2e-3}

    def __init__(
        self, num_users: int, num_items: int, part_sizes: Sequence[int], embedding_dim: Size = 64,
        init_std: NonNegative = 0.1,
    ):  # fmt: skip
        Recommender.__init__(self, num_users, num_items)
        self.user_embedding: PartEmbedding = PartEmbedding(num_users, part_sizes, embedding_dim)  # type: ignore
        self.item_embedding = nn.Embedding(num_items, len(part_sizes) * embedding_dim)
        for weight in self.parameters():
            nn.init.normal_(weight, std=init_std)
        self.part_sizes = list(part_sizes)
        self.edge_index: Tensor | None = None
        self.refresh()

    def set_parts(self, codes: Tensor) -> None:
        """Take the parts of each user's id, each numbered by itself: `codes` [U, F]."""
        self.num_users = len(codes)
        self.user_embedding.set_parts(codes)
        self.refresh()

    def propagate(self) -> Pair:
        return self.user_embedding(slice(None)), self.item_embedding.weight

    def propagate_rows(self, users: Tensor, items: Tensor) -> Pair:
        return self.user_embedding(users), self.item_embedding(items)

    def new_rows(self, side: Side, entries: Entries) -> dict[str, Tensor]:
        return Recommender.new_rows(self, side, entries)


class PartEmbedding(nn.Module):
    """The vectors of the parts of ids, side by side.

    Args:
        num_ids: n.
        sizes: how many values each of F parts has.
        dim: D.

    Shapes: ids [B]; [B, F D].
    """

    rows: Tensor

    def __init__(self, num_ids: int, sizes: Sequence[int], dim: int):
        super().__init__()
        self.table = nn.Embedding(sum(sizes), dim)
        self.register_buffer("rows", torch.zeros(num_ids, len(sizes), dtype=torch.long))
        self.register_buffer("starts", torch.tensor([0, *sizes[:-1]]).cumsum(0), persistent=False)

    def set_parts(self, codes: Tensor) -> None:
        """Take the parts of each id, each numbered by itself: `codes` [n, F]."""
        self.rows = codes.to(self.rows.device) + self.get_buffer("starts")

    def forward(self, ids: Tensor | slice) -> Tensor:
        return self.table(self.rows[ids]).flatten(-2)
