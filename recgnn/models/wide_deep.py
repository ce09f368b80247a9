"""Wide & Deep."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from recgnn.errors import ConfigError, did_you_mean
from recgnn.models.ctr import CTRModel, L2On
from recgnn.nn.autoencoder import Activation
from recgnn.nn.embedding import FieldEmbedding
from recgnn.nn.interaction import CrossIndex
from recgnn.nn.mlp import MLP


class WideDeep(CTRModel):
    r"""Wide & Deep (`Cheng et al., 2016 <https://arxiv.org/abs/1606.07792>`_).

    .. math:: \hat y(x) = w^\top [x, \phi(x)] + b + \mathrm{MLP}([e_1, \dots, e_F])

    The wide part is linear in the features and in the cross products :math:`\phi` of the declared pairs of fields,
    which are hashed into `max_crosses` rows where they have more; the deep part sees each field's embedding.

    Args:
        field_dims: rows of each field, given by the data.
        slots: the field of each feature, given by the data.
        field_names: names of the fields, given by the data.
        crosses: pairs of fields whose cross products the wide part has, such as `[[user, item]]`.
        max_crosses: weights of cross products at most.
        embedding_dim: D.
        hidden_dims: widths of the deep part's layers.
        activation: behind each of them.
        dropout: behind each of them.
        batch_norm: in each of them.
        init_std: standard deviation of the embeddings at the start.
        l2: lambda of embeddings and wide weights.
        l2_on: of the whole `table`, or of the rows of the `batch`.
        lr: learning rate of Adam.
    """

    def __init__(
        self,
        field_dims: Sequence[int],
        slots: Sequence[int] | None = None,
        field_names: Sequence[str] | None = None,
        crosses: Sequence[Sequence[str]] = (),
        max_crosses: int = 2**20,
        embedding_dim: int = 16,
        hidden_dims: Sequence[int] = (400, 400, 400),
        activation: Activation = "relu",
        dropout: float = 0.0,
        batch_norm: bool = False,
        init_std: float = 1e-2,
        l2: float = 1e-6,
        l2_on: L2On = "table",
        lr: float = 1e-3,
    ):
        super().__init__(field_dims, slots, lr, l2, l2_on)
        self.linear = FieldEmbedding(self.num_rows, 1, std=1e-4)
        self.embedding = FieldEmbedding(self.num_rows, embedding_dim, init_std)
        self.mlp = MLP(self.num_fields * embedding_dim, hidden_dims, activation, dropout, batch_norm, out_dim=1)
        pairs = self._pairs(crosses, list(field_names or []))
        self.index = CrossIndex(self.field_dims, self.slots, max_crosses, pairs) if pairs else None
        self.crosses = nn.Parameter(torch.zeros(self.index.num_rows)) if pairs else None

    def _pairs(self, crosses: Sequence[Sequence[str]], names: list[str]) -> list[tuple[int, int]]:
        """The pairs of slots of the declared pairs of fields."""
        found = []
        for cross in crosses:
            if len(cross) != 2 or cross[0] == cross[1]:
                raise ConfigError(f"crosses: expected pairs of two fields, found {list(cross)}")
            for name in cross:
                if name not in names:
                    raise ConfigError(
                        f"crosses: no field {name!r}{did_you_mean(name, names)}; there are: {', '.join(names)}"
                    )
            low, high = sorted(names.index(name) for name in cross)
            of = [[s for s, f in enumerate(self.slots) if f == field] for field in (low, high)]
            found += [(a, b) for a in of[0] for b in of[1]]
        return found

    def regularisation(self, ids: Tensor) -> Tensor:
        norm = super().regularisation(ids)
        if self.index is None:
            return norm
        if self.l2_on == "table":
            return norm + self.crosses.square().sum() / 2
        return norm + self.crosses[self.index(ids).unique()].square().sum() / (2 * ids.shape[0])

    def forward(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        wide = self.first_order(ids, values)
        if self.index is not None:
            weight = self.crosses[self.index(ids)]
            if values is not None:
                weight = weight * values[:, self.index.left] * values[:, self.index.right]
            wide = wide + weight.sum(1)
        return wide + self.mlp(self.sum_fields(self.embedding(ids, values)).flatten(1)).squeeze(1)
