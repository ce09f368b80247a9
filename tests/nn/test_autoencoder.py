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


def empty_at_the_ends() -> torch.Tensor:
    """Dense [5, 4] whose first and last rows and columns are empty, and a row between."""
    x = torch.zeros(5, 4, dtype=torch.float64)
    x[1, [1, 2]], x[3, 2] = torch.tensor([-2.0, 0.5]).double(), 3
    return x


MATRICES = {
    "mixed": matrix(),
    "empty at the ends": empty_at_the_ends(),
    "without an entry": torch.zeros(3, 4, dtype=torch.float64),
    "full": torch.arange(1, 7, dtype=torch.float64).reshape(2, 3),
    "one entry": torch.tensor([[0.0, 0, 7]], dtype=torch.float64),
    "without a row": torch.zeros(0, 4, dtype=torch.float64),
}


@pytest.fixture(params=MATRICES)
def dense(request) -> torch.Tensor:
    return MATRICES[request.param]


def csr_of(x: torch.Tensor):
    place, columns = x.nonzero().T
    return as_csr(place, columns, x[place, columns], *x.shape)


def unfolded(csr) -> torch.Tensor:
    """A CSR as a dense matrix, entry by entry."""
    dense = torch.zeros(len(csr.ptr) - 1, csr.num_cols, dtype=torch.float64)
    for row in range(len(dense)):
        for at in range(int(csr.ptr[row]), int(csr.ptr[row + 1])):
            dense[row, csr.col[at]] += csr.weight[at]
    return dense


def test_as_csr(dense) -> None:
    csr = csr_of(dense)
    assert_close(unfolded(csr), dense)
    assert csr.ptr.shape == (len(dense) + 1,) and csr.num_cols == dense.shape[1]


@pytest.mark.parametrize("bias", [True, False])
def test_a_sparse_layer_is_the_dense_one_for_every_matrix(dense, bias) -> None:
    torch.manual_seed(0)
    layer, csr = SparseLinear(dense.shape[1], 2, bias=bias).double(), csr_of(dense)
    assert (layer.bias is not None) is bias and layer.weight.shape == (dense.shape[1], 2)
    if bias:
        torch.nn.init.normal_(layer.bias)
    expected = [
        [
            sum((dense[b, c] * layer.weight[c, k] for c in range(dense.shape[1])), 0.0)
            + (layer.bias[k] if bias else 0.0)
            for k in range(2)
        ]
        for b in range(len(dense))
    ]
    found = layer(csr)
    assert found.shape == (len(dense), 2)
    assert_close(found.flatten().tolist(), [float(x) for row in expected for x in row])
    if not len(dense):
        return
    target = torch.randn_like(found)
    total = sum(target[b, k] * expected[b][k] for b in range(len(dense)) for k in range(2))
    parameters = list(layer.parameters())
    assert_close(torch.autograd.grad((found * target).sum(), parameters), torch.autograd.grad(total, parameters))
    weight = layer.weight.detach().requires_grad_()
    names = [name for name, _ in layer.named_parameters()]

    def of(*values: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), (csr,)) ** 2

    rest = [layer.bias.detach().requires_grad_()] if bias else []
    assert torch.autograd.gradcheck(of, (weight, *rest))


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


def test_transpose(dense) -> None:
    csr = csr_of(dense)
    t = transpose(csr)
    assert_close(unfolded(t), dense.T)
    assert t.num_cols == len(dense) and t.ptr.shape == (dense.shape[1] + 1,)
    for ours, theirs in zip(transpose(t), csr, strict=True):  # columns ascending in every row
        assert_close(ours, theirs)


def test_an_entry_that_stands_twice_counts_twice() -> None:
    csr = as_csr(torch.tensor([0, 0, 1]), torch.tensor([2, 2, 0]), torch.tensor([1.0, 3.0, 5.0]), 2, 3)
    layer = SparseLinear(3, 2, bias=False)
    assert_close(layer(csr), torch.stack([4 * layer.weight[2], 5 * layer.weight[0]]))
    (gradient,) = torch.autograd.grad(layer(csr).sum(), layer.weight)
    assert gradient.tolist() == [[5, 5], [0, 0], [4, 4]]


def test_masking_keeps_the_expectation() -> None:
    torch.manual_seed(0)
    values = torch.full((200_000,), 3.0)
    kept = mask_out(values, 0.4)
    assert set(kept.unique().tolist()) == {0.0, 5.0} and (values == 3).all()
    assert (kept == 0).float().mean().item() == pytest.approx(0.4, abs=0.005)
    assert kept.mean().item() == pytest.approx(3, abs=0.03)
    assert mask_out(values, 0.0).equal(values) and (mask_out(values, 1.0) == 0).all()
    assert (values == 3).all() and mask_out(values[:0], 0.5).shape == (0,)
    different = torch.linspace(1, 5, 1000)
    for found, value in zip(mask_out(different, 0.75).tolist(), different.tolist(), strict=True):
        assert found == 0 or found == pytest.approx(value / 0.25)


def test_every_activation() -> None:
    x = torch.linspace(-2, 2, 9)
    for name in ACTIVATIONS:
        expected = x if name == "identity" else getattr(torch.nn.functional, name)(x)
        assert_close(activation(name)(x), expected)
