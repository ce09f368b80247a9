"""The base class of autoencoders of rows of the interaction matrix: encoding, scores, new users."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from recgnn.errors import ConfigError, DataError, Size
from recgnn.models.base import Pair, Recommender, Side, with_mean
from recgnn.nn.autoencoder import Activation, Rows, SparseLinear, activation, as_csr
from recgnn.nn.folding import Entries
from recgnn.nn.losses import RowLoss
from recgnn.nn.norms import half_square
from recgnn.nn.propagation import CSR, select_rows

BiasInit = Literal["rates", "zero"]
AT_ONCE = 64  # rows that are encoded at a time for an explanation


class RowRecommender(Recommender):
    r"""A model :math:`\hat y = f(W z + b)` of a row of the interaction matrix, where z is its encoding.

    A subclass has `encode`, the layers before z, and `outputs`. Rows are R users of C = I columns or, by item,
    R items of C = U columns.

    Args:
        by: whose rows.
        hidden_dims: widths of the hidden layers, the last of which is z.
        hidden_activation: g, of the hidden layers.
        output_activation: f; `sigmoid` is stretched over the range of the training ratings.
        tied: W is the transposed weight of the first layer; for one hidden layer.
    """

    bias_init: str = "rates"
    former = {"bias_init": "zero"}
    explanation = "by how much the score falls without each of the user's items; they need not sum to it"
    rest = "what no single item explains"

    def __init__(
        self, num_users: int, num_items: int, by: Side, hidden_dims: Sequence[Size], hidden_activation: Activation,
        output_activation: Activation, tied: bool = False,
    ):  # fmt: skip
        super().__init__(num_users, num_items)
        if not hidden_dims:
            raise ConfigError(f"{type(self).__name__}.hidden_dims is empty; expected one width or more")
        if tied and len(hidden_dims) > 1:
            raise ConfigError("tied weights are for one hidden layer; give one width in hidden_dims")
        self.by = self.training_rows = by
        self.output_activation = output_activation
        self.num_rows, self.num_columns = (num_users, num_items) if by == "user" else (num_items, num_users)
        self.first = SparseLinear(self.num_columns, hidden_dims[0])  # V, mu
        hidden = [nn.Linear(m, n) for m, n in zip(hidden_dims[:-1], hidden_dims[1:], strict=True)]
        for layer in hidden:
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.hidden = nn.ModuleList(hidden)
        weight = None if tied else nn.init.xavier_uniform_(torch.empty(self.num_columns, hidden_dims[-1]))
        self.decoder_weight = None if weight is None else nn.Parameter(weight)
        self.decoder_bias = nn.Parameter(torch.zeros(self.num_columns))
        self.g, self.f = activation(hidden_activation), activation(output_activation)
        self._matrix: CSR | None = None
        self._codes: Tensor | None = None

    @torch.no_grad()
    def start_at(self, counts: Tensor, loss: RowLoss) -> None:
        """Start b, where it is still 0, at the scores that make each column as likely as it is in train, so that from
        the first step on everything else learns what tells rows apart.

        Args:
            counts: how many rows have each column, [C].
            loss: what the model will be trained by.
        """
        if self.bias_init == "zero" or self.decoder_bias.any():
            return
        rates = (counts.double() + 0.5) / (self.num_rows + 1)
        plain = loss.after_activation and self.output_activation == "identity"
        self.decoder_bias.copy_(rates if plain else rates.logit())

    # ---- the paper's equations

    @property
    def weight(self) -> Tensor:
        """Return the decoder's weight matrix W, [C, D]."""
        return self.first.weight if self.decoder_weight is None else self.decoder_weight

    def weights(self) -> list[Tensor]:
        """Return all weight matrices, which are regularised."""
        layers: list[Tensor] = [self.first.weight, *(layer.get_parameter("weight") for layer in self.hidden)]
        return layers if self.decoder_weight is None else [*layers, self.decoder_weight]

    def forward(self, rows: Tensor) -> Tensor:
        """Score dense rows, which need not be in the training data: [B, C], zeros where there is nothing; [B, C]."""
        return self.finish(self.decode(self.encode(None, self.first(self.inputs(rows)))))

    def encode(self, rows: Tensor | None, x: Tensor) -> Tensor:
        """Encode rows, from the first layer's sums: z [B, D].

        Args:
            rows: which training rows, [B]; None for rows that are not in the training data.
            x: the first layer's values, before its activation, [B, D_1].
        """
        z = self.g(x)
        for layer in self.hidden:
            z = self.g(layer(z))
        return z

    def decode(self, z: Tensor) -> Tensor:
        """Compute the scores before f: z [B, D]; [B, C]."""
        return torch.addmm(self.decoder_bias, z, self.weight.T)

    def finish(self, scores: Tensor) -> Tensor:
        """Apply f; a sigmoid is stretched over the range of the ratings: scores [B, C]; [B, C]."""
        if self.task == "rating" and self.output_activation == "sigmoid":
            return self.low + (self.high - self.low) * self.f(scores)
        return self.f(scores)

    def inputs(self, rows: Rows) -> Rows:
        """Scale the rows before they enter the first layer, in training and after it; as they are by default."""
        return rows

    def rows_of(self, batch: Any) -> CSR:
        """Return the rows of a training batch as they enter the first layer."""
        return self.inputs(as_csr(batch.place, batch.columns, batch.values, batch.rows.numel(), self.num_columns))

    # ---- scores

    def set_graph(self, edge_index: Tensor, ratings: Tensor | None = None) -> None:
        super().set_graph(edge_index, ratings)
        row, column = edge_index if self.by == "user" else edge_index.flip(0)
        values = torch.ones(row.numel()) if ratings is None else ratings
        order = torch.argsort(row * self.num_columns + column)
        self._matrix = self.inputs(
            as_csr(row[order], column[order], values[order], self.num_rows, self.num_columns)
        )

    def refresh(self) -> None:
        self._codes = None

    @torch.no_grad()
    def codes(self) -> Tensor:
        """Encode all training rows without corruption, once until training goes on: [R, D].

        Raises:
            DataError: If the model has no training log.
        """
        if self._codes is None:
            if self._matrix is None:
                raise DataError(f"{type(self).__name__} has not been given the training log (set_graph)")
            device = self.decoder_bias.device
            ptr, col, weight, _ = self._matrix
            matrix = self._matrix = CSR(ptr.to(device), col.to(device), weight.to(device), self.num_columns)
            blocks = torch.arange(self.num_rows, device=device).split(4096)
            with torch.autocast(device.type, enabled=False):
                codes = [self.encode(rows, self.first(select_rows(matrix, rows))) for rows in blocks]
            self._codes = torch.cat(codes)
        return self._codes

    def exportable(self) -> nn.Module:
        return self

    @torch.no_grad()
    def embeddings(self) -> Pair:
        """Return the representations whose inner product, with a bias, is the score before f: ([U, D], [I, D])."""
        return self._sides(self.codes(), self.weight.detach())

    @torch.no_grad()
    def score_vectors(self) -> Pair:
        codes, bias = self.codes(), self.decoder_bias.detach()[:, None]
        return self._sides(torch.cat([codes, torch.ones_like(codes[:, :1])], 1), torch.cat([self.weight, bias], 1))

    def _sides(self, rows: Tensor, columns: Tensor) -> Pair:
        """Order what belongs to rows and to columns as (users, items)."""
        return (rows, columns) if self.by == "user" else (columns, rows)

    @torch.no_grad()
    def score(self, users: Tensor) -> Tensor:
        """Score all items for `users` [B]: [B, I]."""
        codes = self.codes()
        with torch.autocast(codes.device.type, enabled=False):  # half precision has too few numbers to rank by
            if self.by == "user":
                return self.finish(self.decode(codes[users]))
            return self.finish(torch.addmm(self.decoder_bias[users][:, None], self.weight[users], codes.T))

    @torch.no_grad()
    def score_pairs(self, users: Tensor, items: Tensor) -> Tensor:
        rows, columns = (users, items) if self.by == "user" else (items, users)
        codes, scores = self.codes(), []
        for row, column in zip(rows.split(2**14), columns.split(2**14), strict=True):
            scores.append((codes[row] * self.weight[column]).sum(1) + self.decoder_bias[column])
        return self.finish(torch.cat(scores)) if scores else self.decoder_bias.new_zeros(0)

    @torch.no_grad()
    def score_history(self, place: Tensor, items: Tensor, values: Tensor, size: int) -> Tensor:
        if self.by == "item":
            raise ConfigError(
                f"{type(self).__name__} by item has parameters for each user and none for a new one; train it by user "
                "(by: user), or DAE or CDAE, to recommend from a history"
            )
        csr = self.inputs(as_csr(place, items, values, size, self.num_columns))
        with torch.autocast(self.decoder_bias.device.type, enabled=False):
            return self.finish(self.decode(self.encode(None, self.first(csr))))

    @torch.no_grad()
    def shares(self, user: int, entries: Entries, items: Tensor) -> Tensor:
        """Compute by how much the scores fall without each of the user's items."""
        if self.by == "item":
            raise ConfigError(
                f"{type(self).__name__} by item predicts from the item's users, so the user's items explain nothing"
            )
        count, device = entries.others.numel(), items.device
        found = []
        for left_out in torch.arange(-1, count, device=device).split(AT_ONCE):  # -1 leaves nothing out
            kept = (left_out[:, None] != torch.arange(count, device=device)).nonzero()
            place, own = kept.T
            rows = as_csr(place, entries.others[own], entries.values[own], left_out.numel(), self.num_columns)
            users = torch.full_like(left_out, user)
            scores = self.finish(self.decode(self.encode(users, self.first(self.inputs(rows)))))
            found.append(with_mean(scores, 1)[:, items])
        whole = torch.cat(found)
        return whole[:1] - whole[1:]

    def new_rows(self, side: Side, entries: Entries) -> dict[str, Tensor]:
        """Return no rows, because a new row is encoded as the training rows are."""
        if side != self.by:
            raise ConfigError(
                f"{type(self).__name__} by {self.by} has parameters for each {side} and none for a new one; train it "
                f"again, or take MF or a graph model, to take new {side}s in"
            )
        return {}

    def penalty(self, l2: float, batch: Any, outputs: Any) -> Tensor | float:
        r"""Compute :math:`\frac{\lambda}{2}\sum\lVert W\rVert^2` of all weight matrices, divided by R: λ is on the
        scale of the papers' objective, which is summed over all R rows, while a step's loss is a mean over rows."""
        return self.per_row(l2, self.weights())

    def per_row(self, l2: float, parameters: Sequence[Tensor]) -> Tensor | float:
        """Compute `l2` / 2 times the squared norm of parameters, divided by R."""
        return l2 / self.num_rows * sum(half_square(w) for w in parameters)
