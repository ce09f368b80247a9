"""EASE against the inverse of the dense matrix."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recgnn.errors import ConfigError, RunError
from recgnn.models import EASE, GraphFilter, ItemKNN, ease, history
from recgnn.nn import gram
from recgnn.nn.folding import Entries


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


@pytest.mark.parametrize("kind", [EASE, ItemKNN, GraphFilter])
def test_shares_sum_to_the_score(kind, small, monkeypatch) -> None:
    """Of linear models: the weight that a dense row with one item alone gives."""
    monkeypatch.setattr(history, "AT_ONCE", 2)
    model = kind(small.users, small.items).double()
    model.l2 = 2.0
    model.set_graph(small.edges)
    model.solve()
    user, targets = int(small.edges[0].bincount().argmax()), torch.tensor([1, 5, 0])
    own = small.edges[1][small.edges[0] == user]
    found = model.shares(user, Entries(torch.zeros_like(own), own, torch.ones(len(own)).double(), 1), targets)
    expected = model(torch.eye(small.items).double()[own])[:, targets]
    torch.testing.assert_close(found, expected, atol=1e-9, rtol=1e-6)
    torch.testing.assert_close(found.sum(0), model.score(torch.tensor([user]))[0, targets], atol=1e-9, rtol=1e-6)
    assert len(own) > 2
