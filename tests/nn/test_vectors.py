"""Vectors of events against the plain lookup, side by side: whichever fields have few rows."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from recgnn.nn.embedding import FieldEmbedding
from recgnn.nn.vectors import EventVectors, pairs_of, sum_of

DIMS, SLOTS = [5, 2, 9, 3], [0, 1, 2, 2, 3]  # the third field has two slots


def double_sum(x: torch.Tensor) -> torch.Tensor:
    """All pairs of features by inner product: x [B, S, D]; [B]."""
    return sum((x[:, i] * x[:, j]).sum(1) for i in range(x.shape[1]) for j in range(i + 1, x.shape[1]))


@pytest.mark.parametrize("dim", [2, 4, 7, 10, 40])  # of few rows: none; one; two; all but those of two slots
@pytest.mark.parametrize("valued", [True, False])
def test_they_are_those_of_a_plain_lookup(dim, valued) -> None:
    torch.manual_seed(0)
    starts = torch.tensor([0, 5, 7, 7, 16])
    ids = torch.stack([torch.randint(0, DIMS[f], (6,)) for f in SLOTS], 1) + starts
    values = torch.randn(6, 5, dtype=torch.float64) if valued else None
    table, linear = FieldEmbedding(19, dim).double(), FieldEmbedding(19, 1).double()
    vectors, layer = EventVectors(DIMS, SLOTS, dim), nn.Linear(4 * dim, 3).double()
    weights, x = vectors([linear, table], ids, values)
    plain = nn.functional.embedding(ids, table.weight) * (1 if values is None else values[..., None])
    one = nn.functional.embedding(ids, linear.weight) * (1 if values is None else values[..., None])
    fields = torch.stack([plain[:, 0], plain[:, 1], plain[:, 2] + plain[:, 3], plain[:, 4]], 1)
    found = [sum_of(weights).squeeze(1), sum_of(x), pairs_of(x), vectors.linear(layer, x)]
    expected = [one.sum((1, 2)), plain.sum(1), double_sum(plain), layer(fields.flatten(1))]
    parameters = [table.weight, linear.weight, *layer.parameters()]
    for ours, theirs in zip(found, expected, strict=True):
        assert_close(ours, theirs)
    gradients = [
        torch.autograd.grad(sum(part.sin().sum() for part in parts), parameters, allow_unused=True)
        for parts in (found, expected)
    ]
    for ours, theirs in zip(*gradients, strict=True):
        assert_close(ours, theirs)


def test_gradients_of_pairs() -> None:
    torch.manual_seed(0)
    wide, weights, rows = (torch.randn(*shape, dtype=torch.float64, requires_grad=True)
                           for shape in ((4, 3, 2), (4, 5), (5, 2)))  # fmt: skip
    from recgnn.nn.vectors import Vectors

    assert torch.autograd.gradcheck(lambda *parts: pairs_of(Vectors(*parts)), (wide, weights, rows))
