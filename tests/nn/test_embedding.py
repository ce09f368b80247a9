"""The table of all fields and the sums by field against loops; the perceptron's layers in order."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from recgnn.nn.embedding import FieldEmbedding, FieldSum
from recgnn.nn.mlp import MLP


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(6))


@pytest.mark.parametrize("kind", [torch.int32, torch.int64])
def test_vectors_times_values(kind) -> None:
    table = FieldEmbedding(7, 3)
    ids, x = torch.tensor([[0, 6, 2], [5, 5, 1]], dtype=kind), drawn(2, 3)
    expected = torch.zeros(2, 3, 3)
    for b in range(2):
        for s in range(3):
            expected[b, s] = table.weight[int(ids[b, s])] * x[b, s]
    assert_close(table(ids, x), expected)
    assert_close(table(ids), table.weight[ids.long()])


def test_gradients_of_repeated_rows_add_up() -> None:
    table = FieldEmbedding(4, 2)
    ids, x = torch.tensor([[1, 1, 3]]), torch.tensor([[0.5, 2.0, 0.0]])
    table(ids, x).sum().backward()
    assert_close(table.weight.grad, torch.tensor([[0.0, 0], [2.5, 2.5], [0, 0], [0, 0]]))


@pytest.mark.parametrize("std", [0.01, 0.5])
def test_the_start_has_the_deviation_asked_for(std) -> None:
    torch.manual_seed(0)
    table = FieldEmbedding(500, 20, std)
    assert table.weight.std().item() == pytest.approx(std, rel=0.05)
    assert abs(table.weight.mean().item()) < 0.05 * std


@pytest.mark.parametrize("slots", [[0, 1, 2], [0, 0, 1], [0, 1, 1, 1, 2, 2]])
@pytest.mark.parametrize("behind", [(), (3,), (2, 3)])
def test_slots_are_summed_into_fields(slots, behind) -> None:
    x = drawn(4, len(slots), *behind)
    expected = torch.zeros(4, max(slots) + 1, *behind)
    for b in range(4):
        for s, field in enumerate(slots):
            expected[b, field] += x[b, s]
    found = FieldSum(slots)
    assert found.num_fields == max(slots) + 1
    assert_close(found(x), expected)
    assert_close(torch.export.export(found, (x,)).module()(x), expected)


def test_places_of_slots_are_no_part_of_a_checkpoint() -> None:
    assert not FieldSum([0, 0, 1]).state_dict()


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("out_dim", [None, 1])
def test_a_perceptron_by_hand(batch_norm, out_dim) -> None:
    """In evaluation, with running means other than those of the start; nothing but a line behind the last width."""
    torch.manual_seed(0)
    mlp = MLP(3, [4, 2], "tanh", dropout=0.3, batch_norm=batch_norm, out_dim=out_dim).double()
    for name, value in mlp.state_dict().items():
        if value.is_floating_point():
            value.copy_(torch.rand_like(value) + 0.5 if "running_var" in name else torch.randn_like(value))
    linear = [m for m in mlp.modules() if isinstance(m, torch.nn.Linear)]
    norms = [m for m in mlp.modules() if isinstance(m, torch.nn.BatchNorm1d)]
    assert [tuple(m.weight.shape) for m in linear] == [(4, 3), (2, 4), (1, 2)][: 2 + (out_dim == 1)]
    assert len(norms) == 2 * batch_norm
    x = expected = drawn(5, 3).double()
    for number, layer in enumerate(linear):
        expected = expected @ layer.weight.T + layer.bias
        if number < 2:
            if batch_norm:
                n = norms[number]
                expected = (expected - n.running_mean) / (n.running_var + n.eps).sqrt() * n.weight + n.bias
            expected = torch.tanh(expected)
    assert_close(mlp.eval()(x), expected)


@pytest.mark.parametrize("num_rows", [6, 50])  # fewer rows than ids, and more
@pytest.mark.parametrize("kind", [torch.int32, torch.int64])
def test_gradients_are_torchs(num_rows, kind) -> None:
    torch.manual_seed(0)
    ids = torch.randint(0, 6, (5, 4), dtype=kind)
    values, weight = torch.randn(5, 4), torch.randn(5, 4, 3)
    dense, sparse = FieldEmbedding(num_rows, 3), FieldEmbedding(num_rows, 3, sparse=True)
    theirs = torch.nn.Embedding(num_rows, 3)
    for table in (dense, sparse):
        table.load_state_dict(theirs.state_dict())
        ((table(ids, values) * weight).sin().sum() + 0.5 * table.half_square(ids.unique())).backward()
    rows = theirs.weight[ids.unique().long()]
    ((theirs(ids) * values[..., None] * weight).sin().sum() + 0.25 * rows.square().sum()).backward()
    assert_close(dense.weight.grad, theirs.weight.grad)
    assert sparse.weight.grad.is_sparse and sparse.weight.grad.to_dense().shape == (num_rows, 3)
    assert_close(sparse.weight.grad.to_dense(), theirs.weight.grad)
    assert set(sparse.weight.grad.coalesce().indices()[0].tolist()) == set(ids.flatten().tolist())
