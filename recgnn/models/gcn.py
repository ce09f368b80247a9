"""Graph convolutional network on the user-item graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from recgnn.errors import Share, Size
from recgnn.models.base import Pair
from recgnn.models.embedding import BY_MESSAGES, EmbeddingRecommender, each_side, message_shares, pick
from recgnn.nn.folding import Entries, user_rows
from recgnn.nn.propagation import BipartiteOperator, GCNLayer, csr_matmul


class GCN(EmbeddingRecommender):
    r"""The GCN of `Kipf & Welling, 2017 <https://arxiv.org/abs/1609.02907>`_ on the user-item graph, with free
    embeddings as features: the baseline that LightGCN simplifies.

    .. math:: H^{(l+1)} = \mathrm{ReLU}\left(\tilde D^{-1/2} (A + I) \tilde D^{-1/2} H^{(l)} W^{(l)} + b^{(l)}\right)

    (eq. 2), the last layer without ReLU.

    Args:
        embedding_dim: D, the width of the embeddings.
        layer_dims: output width of each layer.
        readout: what represents a node: its `last` layer (as Kipf & Welling), or all layers side by side
            (`concat`, as NGCF).
        dropout: rate, on each layer's input but the first, as the authors; off at evaluation.
    """

    explanation = BY_MESSAGES
    rest = "the user's own vector"
    divisible = True
    operator: BipartiteOperator

    def __init__(
        self, num_users: int, num_items: int, embedding_dim: Size = 64, layer_dims: Sequence[Size] = (64, 64),
        readout: Literal["last", "concat"] = "last", dropout: Share = 0.0,
    ):  # fmt: skip
        super().__init__(num_users, num_items, embedding_dim)
        self.readout = readout
        self.dropout = nn.Dropout(dropout)
        dims = [embedding_dim, *layer_dims]
        self.convs = nn.ModuleList(GCNLayer(a, b) for a, b in zip(dims, dims[1:], strict=False))

    def set_graph(self, edge_index: Tensor, ratings: Tensor | None = None) -> None:
        super().set_graph(edge_index, ratings)
        self.operator = BipartiteOperator(edge_index, self.num_users, self.num_items, "sym_self_loops")

    @property
    def layer_widths(self) -> list[int]:
        return [conv.in_dim for conv in self.convs]  # type: ignore[misc]

    def propagate(self) -> Pair:
        return self._propagate(None)

    def propagate_rows(self, users: Tensor, items: Tensor) -> Pair:
        return self._propagate((users, items))

    def _propagate(self, rows: Pair | None) -> Pair:
        """Compute all representations, or those of `rows`, for which the last layer is computed at these rows alone."""
        x, place, hops = self.hops(rows)
        layers = [pick(x, place)]
        for conv, hop in zip(self.convs, hops, strict=True):
            if conv is not self.convs[0]:
                x = each_side(lambda e: self.dropout(e.relu()), x)
            x = each_side(conv, hop(x))
            layers.append(pick(x, hop.place))
        if self.readout == "last":
            return layers[-1]
        return each_side(lambda *parts: torch.cat(parts, 1), *layers)

    def shares(self, user: int, entries: Entries, items: Tensor) -> Tensor:
        return message_shares(self, user, entries, items)

    # ---- users that are not in the training data

    def propagate_layers(self) -> list[Pair]:
        layers = super().propagate_layers()
        for conv in self.convs:
            x = layers[-1] if len(layers) == 1 else each_side(torch.relu, layers[-1])
            layers.append(each_side(conv, self.operator(x)))
        return layers

    def represent_users(self, rows: dict[str, Tensor], entries: Entries) -> Tensor:
        """Compute every layer at the new users alone."""
        csr, own = user_rows(self.operator, entries)
        layers = [rows["user_embedding.weight"]]
        for conv, (_, items) in zip(self.convs, self.layers(), strict=False):
            x = layers[-1], items
            if conv is not self.convs[0]:
                x = each_side(torch.relu, x)
            layers.append(conv(csr_matmul(csr, x[1]) + own * x[0]))
        return layers[-1] if self.readout == "last" else torch.cat(layers, 1)
