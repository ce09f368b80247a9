"""The fused sum of layers against powers of a dense matrix."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from recgnn.nn.layer_sum import before_layer_sum, layer_sum, layer_sum_rows, perturbed
from recgnn.nn.propagation import BipartiteOperator

U, M, D = 9, 7, 3
ROWS = {
    "distinct": (torch.tensor([4, 0, 8]), torch.tensor([6, 2])),
    "repeated": (torch.tensor([4, 0, 4, 8]), torch.tensor([1, 1])),
    "all": (torch.arange(U), torch.arange(M)),
    "no items": (torch.tensor([1]), torch.tensor([], dtype=torch.long)),
}


def make(norm: str = "sym") -> tuple[BipartiteOperator, torch.Tensor]:
    """An operator with an isolated user (8) and item (6), and the same as a dense matrix."""
    random = torch.Generator().manual_seed(1)
    rated = torch.rand(U, M, generator=random) < 0.4
    rated[8], rated[:, 6] = False, False
    dense = torch.zeros(U + M, U + M, dtype=torch.float64)
    dense[:U, U:], dense[U:, :U] = rated, rated.T
    degree = dense.sum(1, keepdim=True).clamp(min=1)
    dense = dense / degree if norm == "row" else dense / degree.sqrt() / degree.T.sqrt()
    return BipartiteOperator(rated.nonzero().T, U, M, norm), dense


def inputs(num_layers: int) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(2)
    x = torch.randn(U + M, D, generator=random, dtype=torch.float64)
    alpha = torch.randn(num_layers + 1, generator=random, dtype=torch.float64)
    return x, alpha


def dense_sum(dense: torch.Tensor, x: torch.Tensor, alpha: torch.Tensor) -> torch.Tensor:
    return sum(a * torch.linalg.matrix_power(dense, k) @ x for k, a in enumerate(alpha))


@pytest.mark.parametrize("norm", ["sym", "row"])
@pytest.mark.parametrize("num_layers", [0, 1, 3])
def test_layer_sum_is_the_sum_of_powers_with_its_gradients(norm: str, num_layers: int, monkeypatch) -> None:
    monkeypatch.setattr("recgnn.nn.propagation.ROWS", 4)  # products of 9 and 7 rows are made in place
    operator, dense = make(norm)
    x, alpha = (t.requires_grad_() for t in inputs(num_layers))
    expected = dense_sum(dense, x, alpha)
    before = x.detach().clone()
    with torch.no_grad():  # a path of its own
        assert_close(torch.cat(layer_sum(operator, (x[:U], x[U:]), alpha)), expected.detach(), atol=1e-6, rtol=1e-6)
    assert torch.equal(x, before), "it wrote over its input"
    out = torch.cat(layer_sum(operator, (x[:U], x[U:]), alpha))
    assert_close(out, expected, atol=1e-6, rtol=1e-6)
    g = torch.randn(U + M, D, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    right = torch.autograd.grad((expected * g).sum(), [x, alpha])
    for ours, theirs in zip(torch.autograd.grad((out * g).sum(), [x, alpha]), right, strict=True):
        assert_close(ours, theirs, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("alpha", [[1.0], [1 / 3] * 3, [0.25] * 4, [0.0, 1.0]])  # the last two have no inverse
def test_what_a_sum_of_layers_comes_from(alpha: list[float]) -> None:
    operator, dense = make()
    x, weights = inputs(len(alpha) - 1)[0][:, :1], torch.tensor(alpha, dtype=torch.float64)
    found = torch.cat(before_layer_sum(operator, (x[:U], x[U:]), weights))
    whole = dense_sum(dense, torch.eye(U + M, dtype=torch.float64), weights)
    nearest = whole @ torch.linalg.pinv(whole, rtol=1e-6) @ x
    assert_close(whole @ found, nearest, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("norm", ["sym", "row"])
@pytest.mark.parametrize("num_layers", [0, 1, 2, 4])
@pytest.mark.parametrize("rows", ROWS)
def test_layer_sum_rows_equals_dense_with_its_gradients(norm: str, num_layers: int, rows: str) -> None:
    operator, dense = make(norm)
    x, alpha = (t.requires_grad_() for t in inputs(num_layers))
    y, beta = (t.requires_grad_() for t in inputs(num_layers))
    users, items = ROWS[rows]
    user, item = layer_sum_rows(operator, (x[:U], x[U:]), alpha, users, items)
    full = dense_sum(dense, y, beta)
    close = {"atol": 1e-6, "rtol": 1e-6}  # the operator's weights are float32
    assert_close(user, full[users], **close)
    assert_close(item, full[U + items], **close)
    g = torch.randn(U + M, D, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    ((user * g[users]).sum() + (item * g[U + items]).square().sum()).backward()
    ((full[users] * g[users]).sum() + (full[U + items] * g[U + items]).square().sum()).backward()
    assert_close(x.grad, y.grad, **close)
    assert_close(alpha.grad, beta.grad, **close)


def test_several_sums_with_noise_and_their_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every propagated row moves by the noise in its own orthant, at which no gradient arrives."""
    monkeypatch.setattr(torch, "rand_like", lambda x: torch.arange(1.0, D + 1, dtype=x.dtype).expand(x.shape))
    operator, dense = make()
    (x, alpha), (y, beta) = ([t.requires_grad_() for t in (inputs(3)[0], torch.randn(2, 4).double())] for _ in "12")
    beta.data.copy_(alpha.data)
    users, items = ROWS["distinct"]
    user, item = layer_sum_rows(operator, (x[:U], x[U:]), alpha, users, items, noise=0.3)
    layers = [y]
    for _ in range(3):
        e = dense @ layers[-1]
        layers.append(e + e.sign() * 0.3 * torch.arange(1, D + 1) / 14**0.5)
    full = [sum(b * layer for b, layer in zip(row, layers, strict=True)) for row in beta]
    close = {"atol": 1e-6, "rtol": 1e-6}
    for m in range(2):
        assert_close(user[m], full[m][users], **close)
        assert_close(item[m], full[m][U + items], **close)
    (user.square().sum() + (item[0] * item[1]).sum()).backward()
    squares = sum(f[users].square().sum() for f in full)
    (squares + (full[0][U + items] * full[1][U + items]).sum()).backward()
    assert_close(x.grad, y.grad, **close)
    assert_close(alpha.grad, beta.grad, **close)


def test_noise_has_a_length_and_the_rows_signs() -> None:
    x = torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
    x[0] = 0  # a node without neighbours stays where it is
    found = perturbed(x.clone(), 0.5) - x
    assert_close(found.norm(dim=1)[1:], torch.full((49,), 0.5))
    assert found[0].eq(0).all() and (found * x >= 0).all() and (found[1:].abs().std(0) > 0.01).all()


def test_fixed_alpha_needs_no_gradient() -> None:
    operator, _ = make()
    x, alpha = inputs(2)
    x.requires_grad_()
    users, items = ROWS["distinct"]
    user, _ = layer_sum_rows(operator, (x[:U], x[U:]), alpha, users, items)
    user.sum().backward()
    assert x.grad.abs().sum() > 0 and alpha.grad is None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: the path of full products cannot run")
def test_gpu_equals_cpu() -> None:
    operator, _ = make()
    results = []
    for device in ("cpu", "cuda"):
        x, alpha = (t.to(device).requires_grad_() for t in inputs(3))
        users, items = (t.to(device) for t in ROWS["repeated"])
        user, item = layer_sum_rows(operator.to(device), (x[:U], x[U:]), alpha, users, items)
        (user.square().sum() + item.sum()).backward()
        results.append([t.detach().cpu() for t in (user, item, x.grad, alpha.grad)])
    for cpu, gpu in zip(*results, strict=True):
        assert_close(gpu, cpu)
