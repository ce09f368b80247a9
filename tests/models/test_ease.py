"""EASE against the inverse of the dense matrix."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recgnn.errors import ConfigError, RunError
from recgnn.models import EASE, ease
from recgnn.nn import gram


def test_weights_equal_the_dense_formula(monkeypatch) -> None:
    rated = torch.rand(40, 13, generator=torch.Generator().manual_seed(0)) < 0.3
    monkeypatch.setattr(gram, "ITEMS", 5)
    monkeypatch.setattr(gram.invert_, "__defaults__", (5,))
    model = EASE(40, 13).double()
    model.l2 = 3.0
    model.set_graph(rated.nonzero().T)
    model.solve()
    x = rated.double().numpy()
    p = np.linalg.inv(x.T @ x + 3.0 * np.eye(13))
    b = np.eye(13) - p / np.diag(p)
    np.testing.assert_allclose(model.weight.numpy(), b, atol=1e-12)
    np.testing.assert_allclose(model.score(torch.tensor([7, 0])).numpy(), x[[7, 0]] @ b, atol=1e-12)


def test_what_it_needs_is_told_and_refused(monkeypatch) -> None:
    assert EASE(3, 1000).remark == "EASE needs 0.00 GB of memory for the weights between 1,000 items"
    monkeypatch.setattr(ease, "available_memory", lambda: 1e9)
    with pytest.raises(RunError, match=r"^EASE needs 1.60 GB .* 20,000 items, and 1.00 GB are available; filter items"):
        EASE(3, 20_000)


def test_it_needs_regularisation(small) -> None:
    model = EASE(small.users, small.items)
    model.set_graph(small.edges)
    with pytest.raises(ConfigError, match="set --training.l2 above 0"):
        model.solve()
