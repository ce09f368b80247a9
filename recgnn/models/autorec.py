"""AutoRec: autoencoders of rating rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from recgnn.errors import Share, Size
from recgnn.models.autoencoder import RowRecommender
from recgnn.models.base import Rated
from recgnn.nn.autoencoder import Activation
from recgnn.nn.losses import pick, single


class AutoRec(RowRecommender):
    r"""AutoRec (`Sedhain et al., 2015 <https://doi.org/10.1145/2740908.2742726>`_): I-AutoRec by item, U-AutoRec by
    user.

    .. math::
        h(r) &= f(W \, g(V r + \mu) + b) \\
        \min_\theta &\sum_{i=1}^{R} \lVert r^{(i)} - h(r^{(i)}) \rVert_{\mathcal O}^2
            + \frac{\lambda}{2} (\lVert W \rVert_F^2 + \lVert V \rVert_F^2)

    The error, and so the gradient, is over observed ratings alone; an unobserved one is a 0 of the input. A training
    step's loss is that objective divided by R, with the batch's rows for all rows. Rows are recommended by their
    predicted ratings, which are not clipped there.

    Args:
        by: `item` rebuilds the ratings of an item, `user` those of a user.
        hidden_dims: widths of the hidden layers; one in the paper, several for its deep variant.
        hidden_activation: g.
        output_activation: f; `sigmoid` is stretched over the range of the training ratings.
        dropout: rate at which hidden units are dropped in training; 0 in the paper.
        input_dropout: rate at which ratings are hidden from the input in training; 0 in the paper.
        bias_init: `mean` starts b at the mean rating of each column, `zero` at 0, as the paper.
    """

    tasks = ("rating",)
    defaults = {"l2": 100.0, "lr": 1e-3}
    started: Tensor

    def __init__(
        self, num_users: int, num_items: int, by: Literal["item", "user"] = "item",
        hidden_dims: Sequence[Size] = (500,), hidden_activation: Activation = "sigmoid",
        output_activation: Activation = "identity", dropout: Share = 0.0, input_dropout: Share = 0.0,
        bias_init: Literal["mean", "zero"] = "mean",
    ):  # fmt: skip
        super().__init__(num_users, num_items, by, hidden_dims, hidden_activation, output_activation)
        self.dropout, self.input_dropout, self.bias_init = dropout, input_dropout, bias_init
        self.encoder_l2: float | None = None
        self.register_buffer("started", torch.tensor(bias_init == "zero"))

    def set_graph(self, edge_index: Tensor, ratings: Tensor | None = None) -> None:
        super().set_graph(edge_index, ratings)
        if ratings is not None and not self.started:
            self._start_bias(edge_index[1 if self.by == "user" else 0], ratings)

    @torch.no_grad()
    def _start_bias(self, columns: Tensor, ratings: Tensor) -> None:
        """Start b at the mean rating of each column, shrunk towards the mean of all ratings."""
        mean, prior = ratings.double().mean(), 5
        total = torch.zeros(self.num_columns, dtype=torch.float64).index_add_(0, columns, ratings.double())
        start = (total + prior * mean) / (torch.bincount(columns, minlength=self.num_columns) + prior)
        if self.output_activation == "sigmoid":
            low, high = self.low.double(), self.high.double()
            start = torch.logit(((start - low) / (high - low)).clamp(0.01, 0.99))
        self.decoder_bias.copy_(start)
        self.started.fill_(True)

    def encode(self, rows: Tensor | None, x: Tensor) -> Tensor:
        return F.dropout(super().encode(rows, x), self.dropout, self.training)

    def outputs(self, batch: Any) -> Any:
        """Predict the batch's ratings [n]."""
        csr = self.rows_of(batch)
        if self.input_dropout:
            csr = csr._replace(weight=F.dropout(csr.weight, self.input_dropout))
        output = self.finish(self.decode(self.encode(batch.rows, self.first(csr))))
        return Rated(pick(single(output), batch.place, batch.columns), [])

    def penalty(self, l2: float, batch: Any, outputs: Any) -> Tensor | float:
        """Compute the penalty of all weight matrices; the first layer, V, has its own weight `encoder_l2` where that is
        set."""
        first, *others = self.weights()
        total: Tensor | float = 0.0
        for weight, matrices in ((l2 if self.encoder_l2 is None else self.encoder_l2, [first]), (l2, others)):
            if weight:
                total = total + self.per_row(weight, matrices)
        return total
