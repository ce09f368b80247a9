"""Squared norms against sums over every number."""

from __future__ import annotations

import pytest
import torch

from recgnn.nn.norms import embedding_l2, half_square

B, N = 6, 4


def scores(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_embedding_l2() -> None:
    user, positive, negative = scores(B, 3), scores(B, 3, seed=1), scores(B, N, 3, seed=2)
    total = sum(x * x for e in (user, positive, negative) for x in e.flatten().tolist())
    assert embedding_l2(user, positive, negative).item() == pytest.approx(total / (2 * B))
    shared = scores(N, 3, seed=3)
    total = sum(x * x for e in (user, shared) for x in e.flatten().tolist())
    assert embedding_l2(user, shared).item() == pytest.approx(total / (2 * B))


def test_half_square_has_the_tensor_as_its_gradient() -> None:
    x = scores(3, 4)[:, ::2].requires_grad_()  # not contiguous
    assert half_square(x).item() == pytest.approx(sum(v * v for v in x.flatten().tolist()) / 2)
    assert torch.autograd.gradcheck(half_square, x)
