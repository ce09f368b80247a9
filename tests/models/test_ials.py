"""iALS against the normal equations of one user, or item, at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recgnn.errors import ConfigError
from recgnn.models import iALS
from recgnn.nn import folding
from recgnn.nn.folding import Entries


def solved(own: np.ndarray, x: np.ndarray, alpha: float, ridge: float, nu: float) -> np.ndarray:
    """The vectors of the rows of weights `own` [n, N], by the gradient of the objective being 0, one at a time."""
    rows = []
    for weights in own:
        a = alpha * sum(np.outer(v, v) for v in x)
        a = a + sum(w * np.outer(v, v) for w, v in zip(weights, x, strict=True))
        a = a + ridge * ((weights > 0).sum() + alpha * len(x)) ** nu * np.eye(x.shape[1])
        rows.append(np.linalg.solve(a, sum(w * v for w, v in zip(weights, x, strict=True))))
    return np.array(rows)


@pytest.mark.parametrize(("weighted", "nu", "at_once"), [(False, 1.0, 2**21), (True, 0.5, 40)])
def test_iterations_equal_the_normal_equations(weighted: bool, nu: float, at_once: int, small, monkeypatch) -> None:
    monkeypatch.setattr(folding, "AT_ONCE", at_once)
    torch.manual_seed(0)
    model = iALS(small.users, small.items, 4, alpha=0.2, nu=nu, num_iterations=2).double()
    model.l2, x = 0.05, model.item_embedding.weight.detach().numpy().copy()
    own = torch.zeros(small.users, small.items, dtype=torch.double)
    weights = 2 * torch.rand(small.edges.shape[1], dtype=torch.double) if weighted else None
    own[tuple(small.edges)] = torch.ones(()).double() if weights is None else weights
    model.confidences = weights
    model.set_graph(small.edges)
    model.solve()
    for _ in range(2):
        user = solved(own.numpy(), x, 0.2, 0.05, nu)
        x = solved(own.T.numpy(), user, 0.2, 0.05, nu)
    user = solved(own.numpy(), x, 0.2, 0.05, nu)
    np.testing.assert_allclose(model.embeddings()[0], user, rtol=1e-5, atol=1e-7)  # in single precision
    np.testing.assert_allclose(model.embeddings()[1], x, rtol=1e-5, atol=1e-7)  # in single precision


def test_a_new_user_is_one_of_training_with_the_same_items(small) -> None:
    model = iALS(small.users, small.items, 4)
    model.l2 = 0.05
    model.set_graph(small.edges)
    model.solve()
    place, items = small.edges
    scores = model.score_history(place, items, torch.ones(len(items)), small.users)
    torch.testing.assert_close(scores, model.score(torch.arange(small.users)), atol=1e-5, rtol=1e-4)
    nobody = Entries(*torch.zeros(2, 0, dtype=torch.long), torch.zeros(0), 2)
    assert not model.new_rows("user", nobody)["user_embedding.weight"].any()


def test_it_needs_regularisation(small) -> None:
    model = iALS(small.users, small.items, 4)
    model.set_graph(small.edges)
    with pytest.raises(ConfigError, match="set --training.l2 above 0"):
        model.solve()


def test_shares_take_the_solution_apart(small) -> None:
    """Hu et al., 2008, eq. 7: y_i^T W^u y_j c_uj, with the inverse W^u."""
    torch.manual_seed(0)
    model = iALS(small.users, small.items, 4, alpha=0.2).double()
    model.l2, weights = 0.05, 2 * torch.rand(small.edges.shape[1], dtype=torch.double)
    model.confidences = weights
    model.set_graph(small.edges)
    model.solve()
    y, targets = model.item_embedding.weight.detach(), torch.tensor([1, 5])
    user = int(small.edges[0].bincount().argmax())
    mine = small.edges[0] == user
    own, c = small.edges[1][mine], weights[mine]
    w = torch.linalg.inv(0.2 * y.T @ y + y[own].T @ (c[:, None] * y[own])
                         + 0.05 * (len(own) + 0.2 * small.items) * torch.eye(4))  # fmt: skip
    found = model.shares(user, Entries(torch.zeros_like(own), own, c, 1), targets)
    expected = torch.stack([c[j] * y[targets] @ w @ y[item] for j, item in enumerate(own)])
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(found.sum(0).float(), model.score(torch.tensor([user]))[0, targets])
