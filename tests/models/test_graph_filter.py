"""GraphFilter and its settings for GF-CF, BSPM-EM and ChebyCF against dense formulas of their papers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.linalg import expm

from recgnn.models import GraphFilter, graph_filter
from recgnn.models.graph_filter import plateau

RATED = (torch.rand(30, 14, generator=torch.Generator().manual_seed(5)) < 0.3).double()


@pytest.fixture
def dense() -> dict[str, np.ndarray]:
    """The matrices of the papers for a graph whose item 13 has no user and user 29 no item."""
    r = RATED.clone().numpy()
    r[:, 13], r[29] = 0, 0
    users, items = np.maximum(1, r.sum(1)), np.maximum(1, r.sum(0))
    norm = np.diag(users**-0.5) @ r @ np.diag(items**-0.5)
    v = np.linalg.svd(norm)[2][:4].T
    return {"r": r, "P": norm.T @ norm, "V": v, "d": items}


def scores(r: np.ndarray, **options) -> np.ndarray:
    model = GraphFilter(*r.shape, dim=4, **{"sharpening": 0.0} | options).double()
    model.set_graph(torch.from_numpy(r).nonzero().T)
    model.solve()
    return model.score(torch.arange(len(r))).numpy()


def test_gf_cf(dense, monkeypatch) -> None:
    monkeypatch.setattr(graph_filter, "LEAST", 8)
    monkeypatch.setattr(graph_filter, "AT_ONCE", 1)
    r, p, v, d = dense.values()
    expected = r @ p + 0.3 * r @ np.diag(d**-0.5) @ v @ v.T @ np.diag(d**0.5)
    np.testing.assert_allclose(scores(r, alpha=0.3, beta=0.0, ideal_beta=0.5), expected, atol=1e-5)


def test_a_norm_by_degree(dense) -> None:
    r, p, v, d = dense.values()
    expected = r @ np.diag(d**-0.4) @ (p + 0.2 * v @ v.T) @ np.diag(d**0.4)
    np.testing.assert_allclose(scores(r, alpha=0.2, beta=0.4), expected, atol=1e-5)


def test_a_norm_by_the_users_degree(dense) -> None:
    """P is divided by its largest eigenvalue, so that sharpening means the same."""
    r, d = dense["r"], dense["d"]
    norm = np.diag(np.maximum(1, r.sum(1)) ** -0.3) @ r @ np.diag(d**-0.5)
    values, vectors = np.linalg.eigh(norm.T @ norm)
    p, v = norm.T @ norm / values[-1], vectors[:, -4:]
    expected = r @ np.diag(d**-0.4) @ (p + 0.2 * v @ v.T) @ np.diag(d**0.4) @ (np.eye(14) - 0.5 * p)
    found = scores(r, alpha=0.2, beta=0.4, gamma=0.3, sharpening=0.5)
    assert abs(values[-1] - 1) > 0.1
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("order", [1, 4])
def test_bspm(dense, order: int) -> None:
    r, p, v, d = dense.values()
    z = r @ p + 0.2 * r @ np.diag(d**-0.5) @ v @ v.T @ np.diag(d**0.5)
    steps = [np.eye(14), -1.2 * p, 1.2**2 * p @ p / 2, -(1.2**3) * p @ p @ p / 6, 1.2**4 * p @ p @ p @ p / 24]
    expected = z @ sum(steps[: order + 1])
    options = {"alpha": 0.2, "beta": 0.0, "ideal_beta": 0.5, "sharpening": 1.2}
    found = scores(r, sharpening_order=order, **options)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    if order == 4:
        np.testing.assert_allclose(scores(r, sharpening_order=12, **options), z @ expm(-1.2 * p), atol=1e-5)


def test_chebycf(dense) -> None:
    r, p, v, d = dense.values()
    values, vectors = np.linalg.eigh(np.eye(14) - 2 * p)
    h = np.polynomial.chebyshev.chebinterpolate(lambda x: (1 - np.sign(x) * abs(x) ** 1.5) / 2, 8)
    polynomial = vectors @ np.diag(np.polynomial.chebyshev.chebval(values, h)) @ vectors.T
    expected = r @ np.diag(d**-0.4) @ (polynomial + 0.2 * v @ v.T) @ np.diag(d**0.4)
    np.testing.assert_allclose(scores(r, alpha=0.2, beta=0.4, flatness=1.5, order=8), expected, atol=1e-5)
    np.testing.assert_allclose(plateau(1.5, 8), h, atol=1e-12)
    np.testing.assert_allclose(plateau(1.0, 3), [0.5, -0.5, 0, 0], atol=1e-12)  # of 1 - 2 P: P itself


def test_more_vectors_than_directions() -> None:
    """With fewer users than k, V holds what there is and zeros."""
    r = RATED[:3].numpy()
    model = GraphFilter(3, 14, dim=10).double()
    model.set_graph(torch.from_numpy(r).nonzero().T)
    model.solve()
    gram = (model.vectors.T @ model.vectors).numpy()
    np.testing.assert_allclose(gram, np.diag([1.0] * 3 + [0.0] * 7), atol=1e-8)
