"""Sampled neighbourhoods: every neighbour as likely, and in the mean what a loop over all neighbours gives."""

from __future__ import annotations

from math import sqrt

import pytest
import torch
from torch.testing import assert_close

from recgnn.nn.layer_sum import layer_sum_hops
from recgnn.nn.propagation import CSR, BipartiteOperator, dense_rows
from recgnn.nn.sampling import among, sampled_hops, sampled_rows, spread

EDGES = [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (1, 1), (1, 4), (2, 1), (2, 2), (3, 1), (3, 3), (3, 4)]  # user 4: none
USERS, ITEMS, COPIES, ALPHA = 5, 6, 4000, [0.4, 0.3, 0.2, 0.1]


def copies(norm: str = "sym") -> BipartiteOperator:
    """Many copies of the graph beside each other, which are sampled independently."""
    user, item = torch.tensor(EDGES).T
    number = torch.arange(COPIES)[:, None]
    edges = torch.stack([(user + number * USERS).flatten(), (item + number * ITEMS).flatten()])
    return BipartiteOperator(edges, COPIES * USERS, COPIES * ITEMS, norm).double()


def near(found: torch.Tensor, expected: torch.Tensor) -> None:
    """The mean over the copies, [COPIES, ...], within 5 of its standard errors; and it does differ between them."""
    error = found.std(0) / sqrt(COPIES)
    assert (found.std(0) > 1e-3).any()
    assert ((found.mean(0) - expected).abs() <= 5 * error + 1e-7).all()


@pytest.mark.parametrize(("size", "count"), [(5, 2), (7, 6), (4, 1), (12, 4)])
def test_every_number_is_as_likely_and_drawn_once(size: int, count: int) -> None:
    torch.manual_seed(0)
    drawn = spread(torch.tensor([size] * 20_000 + [2**31 - 1] * 2, dtype=torch.int32), count)
    own = drawn[:20_000]
    assert (own.diff(dim=1) > 0).all() and own.min() == 0 and own.max() == size - 1 and drawn.min() == 0
    counts, expected = torch.bincount(own.flatten()), 20_000 * count / size
    assert ((counts - expected).abs() < 5 * sqrt(expected)).all()
    assert (drawn[20_000:] > size).any(), "a row of its own size"


def test_rows_by_hand() -> None:
    """Of three entries two, each for one and a half; a row of two as it is; an empty one."""
    csr = CSR(torch.tensor([0, 3, 5, 5]), torch.tensor([1, 2, 4, 0, 3]), torch.tensor([1.0, 2, 4, 8, 16]), 5)
    torch.manual_seed(0)
    found = dense_rows(sampled_rows(csr, torch.tensor([1, 0, 2, 0, 0]), 2)).tolist()
    assert found[0] == [8, 0, 0, 16, 0] and found[2] == [0] * 5
    possible = [[0, 1.5, 3, 0, 0], [0, 1.5, 0, 0, 6], [0, 0, 3, 0, 6]]
    assert all(found[row] in possible for row in (1, 3, 4))


def test_columns_are_counted_among_the_distinct_ones() -> None:
    csr = CSR(torch.tensor([0, 2, 2, 5]), torch.tensor([30, 0, 10, 30, 0]), torch.tensor([1.0, 2, 3, 4, 5]), 40)
    distinct, place, (found, back) = among(torch.tensor([20, 30, 20]), csr)
    assert distinct.tolist() == [0, 10, 20, 30] and place.tolist() == [2, 3, 2]
    assert torch.equal(dense_rows(found), dense_rows(csr)[:, distinct])
    assert torch.equal(dense_rows(back), dense_rows(found).T)


@pytest.mark.parametrize("norm", ["sym", "row", "sym_self_loops", "row_self_loops"])
def test_one_layer_in_the_mean(norm: str) -> None:
    """A sum over the neighbours, one after the other; what a hop does not sample costs nothing but variance."""
    torch.manual_seed(0)
    x = torch.randn(USERS, 2, dtype=torch.float64), torch.randn(ITEMS, 2, dtype=torch.float64)
    items, users = ([[b for a, b in pairs if a == n] for n in range(6)] for pairs in (EDGES, [e[::-1] for e in EDGES]))
    loops = norm.endswith("loops")
    expected = []
    for u in range(USERS):
        total = x[0][u] / (len(items[u]) + 1) if loops else torch.zeros(2, dtype=torch.float64)
        for i in items[u]:
            degree, other = len(items[u]) + loops, len(users[i]) + loops
            total = total + x[1][i] * (1 / sqrt(degree * other) if norm.startswith("sym") else 1 / degree)
        expected.append(total)
    batch = torch.arange(COPIES * USERS), torch.arange(0)
    (own, others), place, (hop,) = sampled_hops(copies(norm), batch, [2])
    assert torch.equal(own[place[0]], batch[0])
    found = hop((x[0][own % USERS], x[1][others % ITEMS]))[0].view(COPIES, USERS, 2)
    near(found, torch.stack(expected))
    assert_close(found[:, 2], expected[2].expand(COPIES, 2), atol=1e-7, rtol=1e-6)  # a user of two items


def dense(x: tuple[torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Equation 8 of LightGCN by a dense adjacency."""
    a = torch.zeros(USERS, ITEMS, dtype=torch.float64)
    a[tuple(torch.tensor(EDGES).T)] = 1
    a = a / (a.sum(1, keepdim=True) * a.sum(0)).clamp(min=1).sqrt()
    user, item = x
    total = ALPHA[0] * user, ALPHA[0] * item
    for weight in ALPHA[1:]:
        user, item = a @ item, a.T @ user
        total = total[0] + weight * user, total[1] + weight * item
    return total


def test_layers_and_gradient_in_the_mean() -> None:
    """Three layers, of one user and one item of each copy: a sum with a weight each, and its gradient."""
    torch.manual_seed(0)
    x = torch.randn(USERS, 2, dtype=torch.float64), torch.randn(ITEMS, 2, dtype=torch.float64)
    weight = torch.randn(2, dtype=torch.float64)
    whole = [layer.clone().requires_grad_() for layer in x]
    user, item = dense(tuple(whole))
    ((user[0] + item[1]) * weight).sum().backward()
    batch = torch.arange(COPIES) * USERS, torch.arange(COPIES) * ITEMS + 1
    nodes, _, hops = sampled_hops(copies(), batch, [2, 1, 2])
    own = [layer[n % len(layer)].requires_grad_() for layer, n in zip(x, nodes, strict=True)]
    found = layer_sum_hops(hops, tuple(own), torch.tensor(ALPHA, dtype=torch.float64))
    near(found[0], user[0].detach())
    near(found[1], item[1].detach())
    (sum(found) * weight).sum().backward()
    for ours, theirs, at in zip(own, whole, nodes, strict=True):
        by_copy = torch.zeros(COPIES * len(theirs), 2, dtype=torch.float64)
        by_copy[at] = ours.grad
        near(by_copy.view(COPIES, len(theirs), 2), theirs.grad)
