"""LightGCN."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch_geometric.data import HeteroData

from recgnn.errors import ConfigError
from recgnn.models.base import Pair
from recgnn.models.embedding import EmbeddingRecommender, Loss, Negatives
from recgnn.nn.folding import Entries, user_rows
from recgnn.nn.layer_sum import layer_sum, layer_sum_rows
from recgnn.nn.propagation import BipartiteOperator, csr_matmul


class LightGCN(EmbeddingRecommender):
    r"""LightGCN (`He et al., 2020 <https://arxiv.org/abs/2002.02126>`_): propagation without weights or activation.

    .. math:: E^{(k+1)} = D^{-1/2} A D^{-1/2} E^{(k)}, \quad E = \sum_{k=0}^{K} \alpha_k E^{(k)},
        \quad \hat y_{ui} = e_u^\top e_i

    (eqs. 3-8; layer K is `LightGCNConv` applied K times.)

    Args:
        num_users: U, given by the data.
        num_items: I, given by the data.
        embedding_dim: D, the width of the embeddings.
        num_layers: K.
        layer_weights: `uniform` (the paper's 1 / (K + 1)), `learned` (softmax of free parameters), or K + 1 numbers.
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
        num_layers: int = 3,
        layer_weights: str | list[float] = "uniform",
        loss: Loss = "bpr",
        negatives: Negatives = "auto",
        num_negatives: int = 1,
        popularity_alpha: float = 0.75,
        popularity_correction: float = 1.0,
        temperature: float = 1.0,
        l2: float = 1e-3,
        lr: float = 5e-3,
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
        if num_layers < 0:
            raise ConfigError(f"num_layers must be at least 0, found {num_layers}")
        if layer_weights == "learned":
            self.layer_logits = nn.Parameter(torch.zeros(num_layers + 1))
        elif layer_weights == "uniform":
            self.register_buffer("fixed_weights", torch.full((num_layers + 1,), 1 / (num_layers + 1)), persistent=False)
        elif isinstance(layer_weights, str) or len(layer_weights) != num_layers + 1:
            raise ConfigError(
                f"layer_weights must be uniform, learned or {num_layers + 1} numbers (num_layers + 1), "
                f"found {layer_weights}"
            )
        else:
            self.register_buffer("fixed_weights", torch.tensor(layer_weights, dtype=torch.float32), persistent=False)
        self.learned = layer_weights == "learned"
        self.operator: BipartiteOperator | None = None

    @property
    def alpha(self) -> Tensor:
        """The layer weights, [K+1]."""
        return self.layer_logits.softmax(0) if self.learned else self.fixed_weights

    def set_graph(self, graph: HeteroData) -> None:
        super().set_graph(graph)
        edge_index = graph["user", "rates", "item"].edge_index
        self.operator = BipartiteOperator(edge_index, self.num_users, self.num_items, "sym")

    def propagate(self) -> Pair:
        x = self.user_embedding.weight, self.item_embedding.weight
        return layer_sum(self.operator, x, self.alpha)

    def propagate_rows(self, users: Tensor, items: Tensor) -> Pair:
        x = self.user_embedding.weight, self.item_embedding.weight
        return layer_sum_rows(self.operator, x, self.alpha, users, items)

    # ---- users that train does not know

    def propagate_layers(self) -> list[Pair]:
        layers = super().propagate_layers()
        for _ in self.alpha[1:]:
            layers.append(self.operator(layers[-1]))
        return layers

    def represent_users(self, rows: dict[str, Tensor], entries: Entries) -> Tensor:
        """Eqs. 3-4 at the new users alone."""
        csr, _ = user_rows(self.operator, entries)
        user = self.alpha[0] * rows["user_embedding.weight"]
        for weight, (_, items) in zip(self.alpha[1:], self.layers(), strict=False):
            user = user + weight * csr_matmul(csr, items)
        return user
