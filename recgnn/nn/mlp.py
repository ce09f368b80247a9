"""The multilayer perceptron of CTR models."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from recgnn.nn.autoencoder import Activation, activation


class MLP(nn.Sequential):
    """Linear, batch norm, activation and dropout, once for each width.

    Args:
        in_dim: width of the input.
        hidden_dims: widths of the layers.
        activation_name: behind each.
        dropout: rate.
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
            layers.append(nn.Linear(in_dim, width))
            nn.init.xavier_normal_(layers[-1].weight)
            nn.init.zeros_(layers[-1].bias)
            layers += [nn.BatchNorm1d(width)] if batch_norm else []
            layers.append(activation(activation_name))
            layers += [nn.Dropout(dropout)] if dropout else []
            in_dim = width
        if out_dim is not None:
            layers.append(nn.Linear(in_dim, out_dim))
            nn.init.xavier_normal_(layers[-1].weight)
            nn.init.zeros_(layers[-1].bias)
        super().__init__(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)
