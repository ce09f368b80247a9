"""Optimizers of rows: against torch's own and loops over the papers' equations."""

from __future__ import annotations

from math import copysign, sqrt

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import StepLR
from torch.testing import assert_close

from recgnn.nn import optimizers
from recgnn.nn.embedding import FieldEmbedding
from recgnn.nn.optimizers import FTRL, LazyAdam, ProximalAdagrad, RowwiseAdagrad, Together

BATCHES = [[[0, 3, 3], [5, 0, 3]], [[2, 2, 2], [5, 4, 4]], [[0, 1, 2], [1, 0, 2]]]  # 6 is in none, rows come again
TARGET = torch.linspace(-1, 1, 9).view(3, 3)


def table(sparse: bool = True) -> FieldEmbedding:
    torch.manual_seed(0)
    return FieldEmbedding(7, 3, std=0.5, sparse=sparse)


def loss_of(embedding: FieldEmbedding, ids) -> torch.Tensor:
    return (embedding(torch.tensor(ids)) * TARGET).sin().sum()


def train(rule, **options) -> tuple[FieldEmbedding, torch.optim.Optimizer]:
    embedding = table()
    optimizer = rule(embedding.parameters(), **options)
    for ids in BATCHES:
        optimizer.zero_grad()
        loss_of(embedding, ids).backward()
        optimizer.step()
    return embedding, optimizer


def loop(update, **state) -> list[list[float]]:
    """The same training, a weight at a time: `update(w, g, state)` returns the new weight of a row in the batch."""
    embedding = table(sparse=False)
    weights = embedding.weight.detach().tolist()
    states = [[dict(state) for _ in range(3)] for _ in range(7)]
    for ids in BATCHES:
        with torch.no_grad():
            embedding.weight.copy_(torch.tensor(weights))
        (gradient,) = torch.autograd.grad(loss_of(embedding, ids), embedding.weight)
        for row in {i for event in ids for i in event}:
            weights[row] = update(weights[row], gradient[row].tolist(), states[row])
    return weights


def by_coordinate(rule):
    return lambda w, g, states: [rule(*x) for x in zip(w, g, states, strict=True)]


@pytest.mark.parametrize("at_once", [6, optimizers.AT_ONCE])
def test_lazy_adam_is_torchs(at_once, monkeypatch) -> None:
    """Whether two rows are moved at a time, or all of them."""
    monkeypatch.setattr(optimizers, "AT_ONCE", at_once)
    ours, _ = train(LazyAdam, lr=0.1)
    theirs, _ = train(torch.optim.SparseAdam, lr=0.1)
    assert_close(ours.weight, theirs.weight)
    assert_close(ours.weight[6], table().weight[6], rtol=0, atol=0)


@pytest.mark.parametrize("shape", [(5,), (5, 2, 3)])
def test_lazy_adam_of_dense_gradients_is_adam_whatever_the_shape(shape, monkeypatch) -> None:
    monkeypatch.setattr(optimizers, "AT_ONCE", 4)
    found = []
    for rule in (LazyAdam, torch.optim.Adam):
        weight = nn.Parameter(torch.linspace(-1, 1, 5).reshape(5, *[1] * (len(shape) - 1)).expand(shape).clone())
        optimizer = rule([weight], lr=0.1)
        for power in (2, 3):
            optimizer.zero_grad()
            weight.pow(power).sum().backward()
            optimizer.step()
        found.append(weight.detach())
    assert_close(*found)


def test_rowwise_adagrad() -> None:
    def update(w, g, states):
        states[0]["s"] += sum(x * x for x in g) / 3
        return [a - 0.1 * x / (sqrt(states[0]["s"]) + 1e-8) for a, x in zip(w, g, strict=True)]

    found, optimizer = train(RowwiseAdagrad, lr=0.1)
    assert_close(found.weight, torch.tensor(loop(update, s=0.0)))
    assert optimizer.state[found.weight]["sum"].shape == (7,)


def test_ftrl() -> None:
    alpha, beta, l1, l2 = 0.5, 1.0, 0.3, 0.2

    def update(w, g, state):
        sigma = (sqrt(state["n"] + g * g) - sqrt(state["n"])) / alpha
        state["z"] += g - sigma * w
        state["n"] += g * g
        if abs(state["z"]) <= l1:
            return 0.0
        return -(state["z"] - copysign(l1, state["z"])) / ((beta + sqrt(state["n"])) / alpha + l2)

    found, _ = train(FTRL, lr=alpha, l1=l1, l2=l2)
    expected = torch.tensor(loop(by_coordinate(update), z=0.0, n=0.0))
    assert_close(found.weight, expected)
    assert 0 < (expected == 0).sum() < 18


def test_adagrad_with_l1() -> None:
    def update(w, g, state):
        state["s"] += g * g
        rate = 0.2 / (sqrt(state["s"]) + 1e-8)
        moved = w - rate * g
        return copysign(max(0.0, abs(moved) - rate * 0.5), moved)

    found, _ = train(ProximalAdagrad, lr=0.2, l1=0.5)
    expected = torch.tensor(loop(by_coordinate(update), s=0.0))
    assert_close(found.weight, expected)
    assert 0 < (expected == 0).sum() < 18


@pytest.mark.parametrize("rule", [LazyAdam, RowwiseAdagrad, FTRL, ProximalAdagrad])
def test_gradients_that_are_not_coalesced_and_dense_ones(rule) -> None:
    """A row that stands twice counts with its sum; a dense gradient is one of every row."""
    rows, values = torch.tensor([[4, 1, 4]]), torch.tensor([[1.0, 2, 3], [4, 5, 6], [-2, 1, 1]])
    summed = torch.tensor([[0.0] * 3, [4, 5, 6], [0] * 3, [0] * 3, [-1, 3, 4], [0] * 3, [0] * 3])
    moved = []
    for gradient in (torch.sparse_coo_tensor(rows, values, (7, 3)), summed):
        embedding = table()
        embedding.weight.grad = gradient
        rule(embedding.parameters()).step()
        moved.append(embedding.weight.detach())
    assert_close(moved[0][[1, 4]], moved[1][[1, 4]])
    assert_close(moved[0][[0, 2, 3, 5, 6]], table().weight[[0, 2, 3, 5, 6]], rtol=0, atol=0)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.table, self.other = FieldEmbedding(7, 3, 0.5, True), FieldEmbedding(7, 3, 0.5, True)
        self.head = nn.Linear(3, 1)

    def forward(self, ids) -> torch.Tensor:
        ids = torch.tensor(ids)
        return self.head((self.table(ids) + self.other(ids)).tanh()).square().sum()

    def optimizer(self) -> Together:
        rules = [torch.optim.Adam(self.head.parameters(), lr=0.02, fused=True)]
        return Together([*rules, LazyAdam(self.table.parameters(), 0.1), FTRL(self.other.parameters(), 0.2, l1=0.01)])


def steps(net: Net, optimizer, scheduler=None, count: int = 3) -> None:
    for ids in BATCHES[:count]:
        optimizer.zero_grad()
        net(ids).backward()
        optimizer.step()
        if scheduler:
            scheduler.step()


def test_several_as_one_are_each_alone() -> None:
    one, apart = Net(), Net()
    steps(one, one.optimizer())
    own = [torch.optim.Adam(apart.head.parameters(), lr=0.02), torch.optim.SparseAdam(apart.table.parameters(), 0.1)]
    own.append(FTRL(apart.other.parameters(), 0.2, l1=0.01))
    for ids in BATCHES:
        apart.zero_grad()
        apart(ids).backward()
        for optimizer in own:
            optimizer.step()
    for a, b in zip(one.parameters(), apart.parameters(), strict=True):
        assert_close(a, b)


def test_several_go_on_from_a_checkpoint(tmp_path) -> None:
    """State and learning rates, written and read with weights_only; a scheduler moves every rate."""
    whole = Net()
    optimizer = whole.optimizer()
    scheduler = StepLR(optimizer, 1, gamma=0.5)
    steps(whole, optimizer, scheduler)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.02 / 8, 0.1 / 8, 0.2 / 8])
    steps(whole, optimizer, scheduler)

    first = Net()
    optimizer = first.optimizer()
    steps(first, optimizer, StepLR(optimizer, 1, gamma=0.5))
    torch.save([first.state_dict(), optimizer.state_dict()], tmp_path / "x.pt")
    second = Net()
    optimizer = second.optimizer()
    scheduler = StepLR(optimizer, 1, gamma=0.5)
    weights, state = torch.load(tmp_path / "x.pt", weights_only=True)
    second.load_state_dict(weights)
    optimizer.load_state_dict(state)
    scheduler.last_epoch = 3
    steps(second, optimizer, scheduler)
    for a, b in zip(whole.parameters(), second.parameters(), strict=True):
        assert_close(a, b, rtol=0, atol=0)
