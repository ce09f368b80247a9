"""Neural graph collaborative filtering."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch_geometric.data import HeteroData

from recgnn.models.base import Pair
from recgnn.models.embedding import EmbeddingRecommender, Loss, Negatives, pick
from recgnn.nn import losses
from recgnn.nn.folding import Entries, user_rows
from recgnn.nn.propagation import BipartiteOperator, NGCFConv, csr_matmul


class NGCF(EmbeddingRecommender):
    r"""NGCF (`Wang et al., 2019 <https://arxiv.org/abs/1905.08108>`_).

    .. math:: E^{(l)} = \mathrm{LeakyReLU}\left((\mathcal L + I) E^{(l-1)} W_1^{(l)}
        + \mathcal L E^{(l-1)} \odot E^{(l-1)} W_2^{(l)}\right), \quad
        e^* = e^{(0)} \Vert \cdots \Vert e^{(L)}, \quad \hat y_{ui} = {e_u^*}^\top e_i^*

    (eqs. 7, 9, 10.) Dropout, off at evaluation: message dropout is applied to a layer's output, as the authors
    do; node dropout silences nodes as senders (section 2.4.2). `variant="authors"` follows the published code
    where it differs: the layer (see `NGCFConv`), L2-normalised layers in the concatenation, node dropout on single
    edges (drawn per layer, the same in both directions), and L2 on the concatenated representations.

    Args:
        num_users: U, given by the data.
        num_items: I, given by the data.
        embedding_dim: D, the width of the embeddings.
        layer_dims: output width of each propagation layer.
        variant: `paper` or `authors`.
        message_dropout: share of a layer's outputs that is dropped in training.
        node_dropout: share of nodes (edges for `authors`) that send nothing in training.
        loss: `bpr`, `softmax` (of the positive among negatives) or `bce`.
        negatives: what stands against a positive: `uniform` or `popularity` (items that the user does not know),
            `shared` (one draw for the batch) or `in_batch` (its other positives); `auto` goes by the loss.
        num_negatives: how many per positive, or per batch for `shared`.
        popularity_alpha: exponent of the item counts for `popularity` and `shared` negatives.
        popularity_correction: weight of the log of an item's frequency, taken off its score in the softmax.
        temperature: divides the scores in the softmax.
        l2: weight of the squared norm of the batch's embeddings.
        lr: learning rate of Adam.
        ks: lengths of the recommendation lists that are measured.
    """

    def __init__(
        self,
        num_users: int,
        num_items: int,
        embedding_dim: int = 64,
        layer_dims: Sequence[int] = (64, 64, 64),
        variant: Literal["paper", "authors"] = "paper",
        message_dropout: float = 0.1,
        node_dropout: float = 0.0,
        loss: Loss = "bpr",
        negatives: Negatives = "auto",
        num_negatives: int = 1,
        popularity_alpha: float = 0.75,
        popularity_correction: float = 1.0,
        temperature: float = 1.0,
        l2: float = 1e-3,
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
        )
        self.variant, self.message_dropout, self.node_dropout = variant, message_dropout, node_dropout
        dims = [embedding_dim, *layer_dims]
        self.convs = nn.ModuleList(NGCFConv(a, b, variant) for a, b in zip(dims, dims[1:], strict=False))
        for embedding in (self.user_embedding, self.item_embedding):
            nn.init.xavier_uniform_(embedding.weight)
        self.operator: BipartiteOperator | None = None

    def set_graph(self, graph: HeteroData) -> None:
        super().set_graph(graph)
        edge_index = graph["user", "rates", "item"].edge_index
        norm = "sym" if self.variant == "paper" else "row_self_loops"
        self.operator = BipartiteOperator(edge_index, self.num_users, self.num_items, norm)

    def propagate(self) -> Pair:
        return self._propagate(None)

    def propagate_rows(self, users: Tensor, items: Tensor) -> Pair:
        return self._propagate((users, items))

    def _propagate(self, rows: Pair | None) -> Pair:
        """All representations, or those of `rows`, for which the last layer is computed at these rows alone."""
        x = self.user_embedding.weight, self.item_embedding.weight
        layers = [pick(x, rows)]
        for conv in self.convs:
            senders, drop = self._drop_nodes(x)
            if conv is self.convs[-1] and rows is not None:
                side = self.operator.rows(senders, *rows, drop)
                x, rows = pick(x, rows), None
            else:
                side = self.operator(senders, drop)
            x = tuple(
                F.dropout(conv.transform(s, e), self.message_dropout, self.training)
                for s, e in zip(side, x, strict=True)
            )
            kept = x if self.variant == "paper" else tuple(F.normalize(e, dim=1) for e in x)
            layers.append(pick(kept, rows))
        return tuple(torch.cat(parts, 1) for parts in zip(*layers, strict=True))

    def _drop_nodes(self, x: Pair) -> tuple[Pair, float]:
        """The nodes as senders, some silenced, and the rate at which single edges are to be dropped."""
        if not self.training or self.node_dropout == 0:
            return x, 0.0
        if self.variant == "authors":
            return x, self.node_dropout
        return tuple(e * F.dropout(e.new_ones(e.shape[0], 1), self.node_dropout) for e in x), 0.0

    def regularisation(self, batch, user: Tensor, item: Tensor) -> Tensor:
        if self.variant == "paper":
            return super().regularisation(batch, user, item)
        return losses.embedding_l2(user, item)

    # ---- users that train does not know

    def propagate_layers(self) -> list[Pair]:
        layers = super().propagate_layers()
        for conv in self.convs:
            side = self.operator(layers[-1])
            layers.append(tuple(conv.transform(s, e) for s, e in zip(side, layers[-1], strict=True)))
        return layers

    def represent_users(self, rows: dict[str, Tensor], entries: Entries) -> Tensor:
        """Every layer at the new users alone."""
        csr, own = user_rows(self.operator, entries)
        x = rows["user_embedding.weight"]
        kept = [x]
        for conv, (_, items) in zip(self.convs, self.layers(), strict=False):
            x = conv.transform(csr_matmul(csr, items) + own * x, x)
            kept.append(x if self.variant == "paper" else F.normalize(x, dim=1))
        return torch.cat(kept, 1)
