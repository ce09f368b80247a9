"""Wide & Deep: logistic regression with crosses beside a perceptron on embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from recgnn.errors import ConfigError, Count, NonNegative, Share, Size, did_you_mean
from recgnn.models.ctr import CTRModel, present
from recgnn.nn.autoencoder import Activation
from recgnn.nn.embedding import FieldEmbedding
from recgnn.nn.interaction import CrossIndex
from recgnn.nn.mlp import MLP
from recgnn.nn.vectors import EventVectors, sum_of


class WideDeep(CTRModel):
    r"""Wide & Deep (`Cheng et al., 2016 <https://arxiv.org/abs/1606.07792>`_).

    .. math:: \hat y(x) = w^\top [x, \phi(x)] + b + \mathrm{MLP}([e_1, \dots, e_F])

    The wide part is linear in the features and in the cross products :math:`\phi` of the declared pairs of fields,
    which are hashed into `max_crosses` rows where they have more; the deep part sees each field's embedding.

    Args:
        crosses: pairs of fields whose cross products the wide part has, such as `[[user, item]]`.
        max_crosses: weights of cross products at most.
        embedding_dim: D.
        hidden_dims: widths of the deep part's layers.
        activation: of the hidden layers.
        dropout: rate at which hidden units are dropped in training.
        batch_norm: whether the hidden layers are batch-normalised.
        init_std: standard deviation of the embeddings at the start.
    """

    def __init__(
        self, field_dims: Sequence[int], slots: Sequence[int] | None = None, field_names: Sequence[str] | None = None,
        crosses: Sequence[Sequence[str]] = (), max_crosses: Count = 2**20, embedding_dim: Size = 16,
        hidden_dims: Sequence[Size] = (400, 400, 400), activation: Activation = "relu", dropout: Share = 0.2,
        batch_norm: bool = False, init_std: NonNegative = 1e-2,
    ):  # fmt: skip
        super().__init__(field_dims, slots)
        self.linear = self.table(1)
        self.embedding = self.table(embedding_dim, init_std)
        self.vectors = EventVectors(self.field_dims, self.slots, embedding_dim)
        self.mlp = MLP(self.num_fields * embedding_dim, hidden_dims, activation, dropout, batch_norm, out_dim=1)
        pairs = self._pairs(crosses, list(field_names or []))
        self.index = CrossIndex(self.field_dims, self.slots, max_crosses, pairs) if pairs else None
        self.crosses = None if self.index is None else self.table(1, 0.0, self.index.num_rows)

    def _pairs(self, crosses: Sequence[Sequence[str]], names: list[str]) -> list[tuple[int, int]]:
        """Return the pairs of slots that belong to the declared pairs of fields."""
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

    def wide_tables(self) -> list[FieldEmbedding]:
        """Return the tables of the wide part."""
        return [self.linear] if self.crosses is None else [self.linear, self.crosses]

    def pairs(self, ids: Tensor, values: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Return the rows of the cross products of `ids` [B, S], and their values: [B, P]."""
        assert self.index is not None
        x = None if values is None else values[:, self.index.left] * values[:, self.index.right]
        return self.index(ids), x

    def moved_rows(self, earlier: Any, rows: dict[str, Tensor]) -> dict[str, Tensor | None]:
        found = super().moved_rows(earlier, rows)
        if self.index is not None:
            found["crosses.weight"] = self.index.moved_rows(earlier.index, rows["field_dims"])
        return found

    def rows_of_batch(self, batch: Any) -> list[tuple[FieldEmbedding, Tensor]]:
        rows = present(batch.ids, batch.values)
        own = [(self.embedding, rows), (self.linear, rows)]
        return own if self.crosses is None else [*own, (self.crosses, present(*self.pairs(batch.ids, batch.values)))]

    def forward(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        weights, x = self.vectors([self.linear, self.embedding], ids, values)
        wide = self.bias + sum_of(weights).squeeze(1)
        if self.crosses is not None:
            wide = wide + self.crosses(*self.pairs(ids, values)).sum((1, 2))
        return wide + self.vectors.deep(self.mlp, x).squeeze(1)
