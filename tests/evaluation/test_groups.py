"""Groups of users and items."""

from __future__ import annotations

import pytest
import torch

from recgnn.evaluation.groups import quantile_groups


def test_quantile_groups() -> None:
    group, labels = quantile_groups(torch.tensor([5, 1, 9, 2, 30, 7, 3, 4]), 4)
    assert labels == ["1-2", "3-4", "5-7", "9-30"]
    assert group.tolist() == [2, 0, 3, 0, 3, 2, 1, 1]
    group, labels = quantile_groups(torch.tensor([1] * 9 + [50]), 4)  # ties stay together
    assert labels == ["1", "50"] and group.tolist() == [0] * 9 + [1]
    counts = (torch.rand(10_000, generator=torch.Generator().manual_seed(0)) * -3).exp().mul(5000).long()
    group, labels = quantile_groups(counts, 5)
    assert torch.bincount(group).tolist() == pytest.approx([2000] * 5, rel=0.05)
    for g, label in enumerate(labels):
        low, high = map(int, label.split("-"))
        assert torch.equal(group == g, (counts >= low) & (counts <= high))
