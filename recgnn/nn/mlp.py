"""The multilayer perceptron of CTR models."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from recgnn.nn.autoencoder import Activation, activation


def linear(in_dim: int, out_dim: int) -> nn.Linear:
    """Make a linear layer of `in_dim` to `out_dim` with Xavier's weights and no bias at the start."""
    layer = nn.Linear(in_dim, out_dim)
    nn.init.xavier_normal_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


class MLP(nn.Sequential):
    """Linear, batch norm, activation and dropout, once for each width.

    Args:
        in_dim: width of the input.
        hidden_dims: widths of the layers.
        activation_name: of the hidden layers.
        dropout: rate at which hidden units are dropped in training.
        batch_norm: whether each linear layer is followed by batch normalisation.
        out_dim: width of a last linear layer without any of that; None for none.

    Shapes: [B, in_dim]; [B, last width].
    """

    def __init__(
        self,
        in_dim: int,
        hidden_dims: Sequence[int],
        activation_name: Activation = "relu",
        dropout: float = 0.0,
        batch_norm: bool = False,
        out_dim: int | None = None,
    ):
        layers: list[nn.Module] = []
        for width in hidden_dims:
            layers.append(linear(in_dim, width))
            layers += [nn.BatchNorm1d(width)] if batch_norm else []
            layers.append(activation(activation_name))
            layers += [nn.Dropout(dropout)] if dropout else []
            in_dim = width
        if out_dim is not None:
            layers.append(linear(in_dim, out_dim))
        super().__init__(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)
