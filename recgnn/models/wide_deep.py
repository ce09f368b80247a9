"""Wide & Deep."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn
from torch.optim import Optimizer

from recgnn.errors import ConfigError, did_you_mean, one_of
from recgnn.models.ctr import CTRModel, L2On, TableOptimizer, present
from recgnn.nn.autoencoder import Activation
from recgnn.nn.embedding import FieldEmbedding
from recgnn.nn.interaction import CrossIndex
from recgnn.nn.losses import half_square
from recgnn.nn.mlp import MLP
from recgnn.nn.optimizers import FTRL, ProximalAdagrad
from recgnn.nn.vectors import EventVectors, sum_of


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
        table_optimizer: of the tables: `adam`, or (at the batch's cost) `lazy_adam` or `rowwise_adagrad`.
        table_lr: learning rate of the tables; `lr` when None.
        wide_optimizer: of the wide part: `same` as the tables', or (as in the paper) `ftrl`, or `adagrad`, both with
            an L1 penalty in place of `l2` and at the batch's cost.
        wide_lr: learning rate of that.
        wide_l1: lambda of its L1 penalty, which makes weights exactly 0.
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
        table_optimizer: TableOptimizer = "adam",
        table_lr: float | None = None,
        wide_optimizer: Literal["same", "ftrl", "adagrad"] = "same",
        wide_lr: float = 0.05,
        wide_l1: float = 0.0,
    ):
        super().__init__(field_dims, slots, lr, l2, l2_on, table_optimizer, table_lr)
        one_of("wide_optimizer", wide_optimizer, ("same", "ftrl", "adagrad"))
        self.wide_optimizer, self.wide_lr, self.wide_l1 = wide_optimizer, wide_lr, wide_l1
        sparse = None if wide_optimizer == "same" else True
        self.linear = self.table(1, sparse=sparse)
        self.embedding = self.table(embedding_dim, init_std)
        self.vectors = EventVectors(self.field_dims, self.slots, embedding_dim)
        self.mlp = MLP(self.num_fields * embedding_dim, hidden_dims, activation, dropout, batch_norm, out_dim=1)
        pairs = self._pairs(crosses, list(field_names or []))
        self.index = CrossIndex(self.field_dims, self.slots, max_crosses, pairs) if pairs else None
        self.crosses = self.table(1, 0.0, self.index.num_rows, sparse) if pairs else None

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

    def wide_tables(self) -> list[FieldEmbedding]:
        """Those of the wide part."""
        return [self.linear] if self.crosses is None else [self.linear, self.crosses]

    def pairs(self, ids: Tensor, values: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The rows of the cross products, and their values: [B, P]."""
        x = None if values is None else values[:, self.index.left] * values[:, self.index.right]
        return self.index(ids), x

    def rows_of_batch(self, batch) -> list[tuple[FieldEmbedding, Tensor]]:
        rows = [(self.embedding, present(batch.ids, batch.values))]
        if self.wide_optimizer != "same":
            return rows
        rows.append((self.linear, rows[0][1]))
        return rows if self.crosses is None else [*rows, (self.crosses, present(*self.pairs(batch.ids, batch.values)))]

    def regularisation(self, batch) -> Tensor:
        if self.l2_on == "table" and self.wide_optimizer != "same":
            return half_square(self.embedding.weight)
        return super().regularisation(batch)

    def configure_optimizers(self) -> Optimizer:
        if self.wide_optimizer == "same":
            return super().configure_optimizers()

        def wide(weights: list[nn.Parameter]) -> Optimizer:
            rule = FTRL if self.wide_optimizer == "ftrl" else ProximalAdagrad
            return rule(weights, lr=self.wide_lr, l1=self.wide_l1)

        own = [(self.wide_tables(), wide)]
        if self.table_optimizer != "adam":
            own.append(([self.embedding], self._of_tables))
        return self.optimizers_of(own)

    def forward(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        weights, x = self.vectors([self.linear, self.embedding], ids, values)
        wide = self.bias + sum_of(weights).squeeze(1)
        if self.index is not None:
            wide = wide + self.crosses(*self.pairs(ids, values)).sum((1, 2))
        return wide + self.vectors.deep(self.mlp, x).squeeze(1)
