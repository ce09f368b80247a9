"""The sparse first layer and the corruption, against dense products."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from recgnn.nn.autoencoder import ACTIVATIONS, SparseLinear, activation, as_csr, mask_out, transpose


def matrix() -> torch.Tensor:
    """Dense [4, 6] with an empty row and an empty column."""
    x = torch.zeros(4, 6, dtype=torch.float64)
    x[0, [1, 4]], x[1, 5], x[3, [0, 1, 5]] = torch.tensor([2.0, -1]).double(), 3, torch.tensor([1.0, 4, 0.5]).double()
    return x


def csr_of(x: torch.Tensor):
    place, columns = x.nonzero().T
    return as_csr(place, columns, x[place, columns], *x.shape)


def test_a_sparse_layer_is_the_dense_one() -> None:
    torch.manual_seed(0)
    layer, x = SparseLinear(6, 3).double(), matrix()
    torch.nn.init.normal_(layer.bias)
    found, expected = layer(csr_of(x)), x @ layer.weight + layer.bias
    assert_close(found, expected)
    target = torch.randn_like(found)
    ours = torch.autograd.grad((found * target).sum(), list(layer.parameters()))
    theirs = torch.autograd.grad((expected * target).sum(), list(layer.parameters()))
    assert_close(ours, theirs)
    assert (ours[0][2] == 0).all()  # a column without an entry
    assert torch.autograd.gradcheck(lambda w: product_of(w, x), layer.weight.detach().requires_grad_())


def product_of(weight: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    from recgnn.nn.autoencoder import _RowsTimesWeight

    return _RowsTimesWeight.apply(weight, csr_of(x))


def test_transpose() -> None:
    x = matrix()
    t = transpose(csr_of(x))
    dense = torch.zeros(6, 4, dtype=torch.float64)
    for row in range(6):
        for at in range(int(t.ptr[row]), int(t.ptr[row + 1])):
            dense[row, t.col[at]] = t.weight[at]
    assert_close(dense, x.T)
    assert t.num_cols == 4


def test_masking_keeps_the_expectation() -> None:
    torch.manual_seed(0)
    values = torch.full((200_000,), 3.0)
    kept = mask_out(values, 0.4)
    assert set(kept.unique().tolist()) == {0.0, 5.0} and (values == 3).all()
    assert (kept == 0).float().mean().item() == pytest.approx(0.4, abs=0.005)
    assert kept.mean().item() == pytest.approx(3, abs=0.03)
    assert mask_out(values, 0.0).equal(values) and (mask_out(values, 1.0) == 0).all()


def test_every_activation() -> None:
    x = torch.linspace(-2, 2, 9)
    for name in ACTIVATIONS:
        expected = x if name == "identity" else getattr(torch.nn.functional, name)(x)
        assert_close(activation(name)(x), expected)
