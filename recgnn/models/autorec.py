"""AutoRec: autoencoders of rating rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F
from torch_geometric.data import HeteroData

from recgnn.errors import ConfigError, one_of
from recgnn.models.autoencoder import RowRecommender
from recgnn.nn import losses
from recgnn.nn.autoencoder import Activation


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
        num_users: U, given by the data.
        num_items: I, given by the data.
        by: `item` rebuilds the ratings of an item, `user` those of a user.
        hidden_dims: widths of the hidden layers; one in the paper, several for its deep variant.
        hidden_activation: g.
        output_activation: f; `sigmoid` is spread over the range of the ratings in train.
        dropout: rate at which hidden units are dropped in training; 0 in the paper.
        input_dropout: rate at which ratings are hidden from the input in training; 0 in the paper.
        bias_init: `mean` starts b at the mean rating of each column, `zero` at 0, as the paper.
        l2: lambda, of all weight matrices and of no bias.
        encoder_l2: lambda of V, where it is to be another (the authors' code has one for each); None for `l2`.
        cold_rating: the rating of users and items that train lacks, 3 in the paper; None for the mean of train.
        lr: learning rate of Adam.
    """

    def __init__(
        self,
        num_users: int,
        num_items: int,
        by: Literal["item", "user"] = "item",
        hidden_dims: Sequence[int] = (500,),
        hidden_activation: Activation = "sigmoid",
        output_activation: Activation = "identity",
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        bias_init: Literal["mean", "zero"] = "mean",
        l2: float = 100.0,
        encoder_l2: float | None = None,
        cold_rating: float | None = None,
        lr: float = 1e-3,
    ):
        super().__init__(
            num_users,
            num_items,
            by,
            hidden_dims,
            hidden_activation,
            output_activation,
            tied=False,
            lr=lr,
            task="rating",
            cold_rating=cold_rating,
        )
        one_of("bias_init", bias_init, ("mean", "zero"))
        for name, value in (("dropout", dropout), ("input_dropout", input_dropout)):
            if not 0 <= value < 1:
                raise ConfigError(f"{name} must be from 0 to below 1, found {value}")
        self.dropout, self.input_dropout, self.bias_init = dropout, input_dropout, bias_init
        self.l2, self.encoder_l2 = l2, l2 if encoder_l2 is None else encoder_l2
        self.register_buffer("started", torch.tensor(bias_init == "zero"))

    def set_graph(self, graph: HeteroData) -> None:
        super().set_graph(graph)
        if not self.started:
            edge = graph["user", "rates", "item"]
            self._start_bias(edge.edge_index[1 if self.by == "user" else 0], edge.rating)

    @torch.no_grad()
    def _start_bias(self, columns: Tensor, ratings: Tensor) -> None:
        """b at the columns' mean ratings, drawn to the mean of all by five ratings of that kind."""
        mean, prior = ratings.double().mean(), 5
        total = torch.zeros(self.num_columns, dtype=torch.float64).index_add_(0, columns, ratings.double())
        start = (total + prior * mean) / (torch.bincount(columns, minlength=self.num_columns) + prior)
        if self.output_activation == "sigmoid":
            low, high = self.evaluation.low.double(), self.evaluation.high.double()
            start = torch.logit(((start - low) / (high - low)).clamp(0.01, 0.99))
        self.decoder_bias.copy_(start)
        self.started.fill_(True)

    def encode(self, rows: Tensor | None, x: Tensor) -> Tensor:
        return F.dropout(super().encode(rows, x), self.dropout, self.training)

    def training_step(self, batch, batch_idx: int) -> Tensor:
        csr = self.rows_of(batch)
        if self.input_dropout:
            csr = csr._replace(weight=F.dropout(csr.weight, self.input_dropout))
        output = self.finish(self.decode(self.encode(batch.rows, self.first(csr))))
        loss = losses.observed_squared(output, batch.place, batch.columns, batch.values)
        first, *others = self.weights()
        for l2, weights in ((self.encoder_l2, [first]), (self.l2, others)):
            if l2:
                loss = loss + self.penalty(l2, weights)
        self.log("train/loss", loss, on_step=True, on_epoch=True, batch_size=batch.rows.numel())
        return loss
