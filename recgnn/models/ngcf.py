"""Neural graph collaborative filtering."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recgnn.errors import Share, Size
from recgnn.models.base import Pair
from recgnn.models.embedding import BY_MESSAGES, EmbeddingRecommender, each_side, message_shares, pick
from recgnn.nn.folding import Entries, user_rows
from recgnn.nn.norms import embedding_l2
from recgnn.nn.propagation import BipartiteOperator, NGCFLayer, Norm, csr_matmul


class NGCF(EmbeddingRecommender):
    r"""NGCF (`Wang et al., 2019 <https://arxiv.org/abs/1905.08108>`_).

    .. math:: E^{(l)} = \mathrm{LeakyReLU}\left((\mathcal L + I) E^{(l-1)} W_1^{(l)}
        + \mathcal L E^{(l-1)} \odot E^{(l-1)} W_2^{(l)}\right), \quad
        e^* = e^{(0)} \Vert \cdots \Vert e^{(L)}, \quad \hat y_{ui} = {e_u^*}^\top e_i^*

    (eqs. 7, 9, 10.) Dropout, off at evaluation: message dropout is applied to a layer's output, as the authors
    do; node dropout silences nodes as senders (section 2.4.2). `variant="authors"` follows the published code
    where it differs: the layer (see `NGCFLayer`), L2-normalised layers in the concatenation, node dropout on single
    edges (drawn per layer, the same in both directions), and L2 on the concatenated representations (`l2_on` or not).

    Args:
        embedding_dim: D, the width of the embeddings.
        layer_dims: output width of each propagation layer.
        variant: `paper` or `authors`.
        message_dropout: share of a layer's outputs that is dropped in training.
        node_dropout: share of nodes (edges for `authors`) that send nothing in training.
        normalize: score by the cosine of :math:`e_u^*` and :math:`e_i^*`, which is not the paper's; a loss then needs a
            temperature, such as `SampledSoftmax(temperature=0.1)`.
    """

    explanation = BY_MESSAGES
    rest = "the user's own vector"
    divisible = True
    former = {"normalize": False}
    operator: BipartiteOperator

    def __init__(
        self, num_users: int, num_items: int, embedding_dim: Size = 64, layer_dims: Sequence[Size] = (64, 64, 64),
        variant: Literal["paper", "authors"] = "paper", message_dropout: Share = 0.1, node_dropout: Share = 0.0,
        normalize: bool = False,
    ):  # fmt: skip
        super().__init__(num_users, num_items, embedding_dim)
        self.normalize = normalize
        self.variant, self.message_dropout, self.node_dropout = variant, message_dropout, node_dropout
        dims = [embedding_dim, *layer_dims]
        self.convs = nn.ModuleList(NGCFLayer(a, b, variant) for a, b in zip(dims, dims[1:], strict=False))
        for embedding in (self.user_embedding, self.item_embedding):
            nn.init.xavier_uniform_(embedding.weight)

    def set_graph(self, edge_index: Tensor, ratings: Tensor | None = None) -> None:
        super().set_graph(edge_index, ratings)
        norm: Norm = "sym" if self.variant == "paper" else "row_self_loops"
        self.operator = BipartiteOperator(edge_index, self.num_users, self.num_items, norm)

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
            senders, drop = self._drop_nodes(x)
            side, x = hop(senders, drop), hop.own(x)
            x = each_side(lambda e: F.dropout(e, self.message_dropout, self.training), each_side(conv, side, x))
            kept = x if self.variant == "paper" else each_side(F.normalize, x)
            layers.append(pick(kept, hop.place))
        return each_side(lambda *parts: self.directions(torch.cat(parts, 1)), *layers)

    def _drop_nodes(self, x: Pair) -> tuple[Pair, float]:
        """Silence some nodes as senders; return all nodes, and the rate at which single edges are to be dropped."""
        if not self.training or self.node_dropout == 0:
            return x, 0.0
        if self.variant == "authors":
            return x, self.node_dropout
        return each_side(lambda e: e * F.dropout(e.new_ones(e.shape[0], 1), self.node_dropout), x), 0.0

    def penalty(self, l2: float, batch: Any, outputs: Any) -> Tensor | float:
        if self.variant == "paper":
            return super().penalty(l2, batch, outputs)
        return l2 * embedding_l2(*outputs)

    def shares(self, user: int, entries: Entries, items: Tensor) -> Tensor:
        return message_shares(self, user, entries, items)

    # ---- users that are not in the training data

    def propagate_layers(self) -> list[Pair]:
        layers = super().propagate_layers()
        for conv in self.convs:
            layers.append(each_side(conv, self.operator(layers[-1]), layers[-1]))
        return layers

    def represent_users(self, rows: dict[str, Tensor], entries: Entries) -> Tensor:
        """Compute every layer at the new users alone."""
        csr, own = user_rows(self.operator, entries)
        x = rows["user_embedding.weight"]
        kept = [x]
        for conv, (_, items) in zip(self.convs, self.layers(), strict=False):
            x = conv(csr_matmul(csr, items) + own * x, x)
            kept.append(x if self.variant == "paper" else F.normalize(x, dim=1))
        return self.directions(torch.cat(kept, 1))
