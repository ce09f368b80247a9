"""ItemKNN against a loop over users and items."""

from __future__ import annotations

import math

import pytest
import torch

from recgnn.models import ItemKNN
from recgnn.nn import gram


@pytest.mark.parametrize(("neighbours", "shrinkage"), [(3, 0.0), (2, 5.0), (50, 1.5)])
def test_scores_equal_a_loop(neighbours: int, shrinkage: float, monkeypatch) -> None:
    random = torch.Generator().manual_seed(2)
    rated = torch.rand(300, 11, generator=random) < torch.linspace(0.1, 0.5, 11) * torch.rand(300, 1, generator=random)
    rated[:, 10] = False
    monkeypatch.setattr(gram, "ITEMS", 4)
    model = ItemKNN(300, 11, neighbours, shrinkage).double()
    model.set_graph(rated.nonzero().T)
    model.solve()
    have = [{i for i in range(11) if rated[u, i]} for u in range(300)]
    users_of = [{u for u in range(300) if rated[u, i]} for i in range(11)]

    def similarity(i: int, j: int) -> float:
        norm = math.sqrt(len(users_of[i]) * len(users_of[j])) + shrinkage
        return len(users_of[i] & users_of[j]) / norm if norm and i != j else 0.0

    scores = model.score(torch.arange(300))
    for i in range(11):
        by = sorted((similarity(i, j) for j in range(11) if j != i), reverse=True)
        least = by[neighbours - 1] if neighbours <= len(by) else 0.0
        assert neighbours >= len(by) or least == 0 or by[neighbours] < least - 1e-12, "no tie decides here"
        for u in range(300):
            expected = sum(similarity(i, j) for j in have[u] if similarity(i, j) >= least)
            assert scores[u, i].item() == pytest.approx(expected, abs=1e-12), (u, i)
