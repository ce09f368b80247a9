"""Losses against loops over users and items, written from the formulas."""

from __future__ import annotations

from math import exp, log

import pytest
import torch

from recgnn import losses

B, N = 6, 4
ITEMS = torch.tensor([3, 1, 3, 0, 3, 2])  # item 3 three times


def scores(*shape: int, seed: int = 0) -> torch.Tensor:
    return 2 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def sigmoid(x: float) -> float:
    return 1 / (1 + exp(-x))


def test_bpr() -> None:
    positive, negative = scores(B), scores(B, N, seed=1)
    total = 0.0
    for b in range(B):
        for n in range(N):
            total -= log(sigmoid(positive[b].item() - negative[b, n].item()))
    assert losses.bpr(positive, negative).item() == pytest.approx(total / (B * N))


def test_bce() -> None:
    positive, negative = scores(B), scores(B, N, seed=1)
    total = 0.0
    for b in range(B):
        total -= log(sigmoid(positive[b].item()))
        for n in range(N):
            total -= log(1 - sigmoid(negative[b, n].item()))
    assert losses.bce(positive, negative).item() == pytest.approx(total / B)


@pytest.mark.parametrize("temperature", [1.0, 0.2])
@pytest.mark.parametrize("corrected", ["no", "per row", "shared"])
def test_sampled_softmax(temperature: float, corrected: str) -> None:
    positive, negative = scores(B), scores(B, N, seed=1)
    q = None, None
    if corrected != "no":
        q = -scores(B, seed=2).abs(), -scores(*((B, N) if corrected == "per row" else (N,)), seed=3).abs()
    total = 0.0
    for b in range(B):
        own = positive[b].item() / temperature - (q[0][b].item() if corrected != "no" else 0)
        others = []
        for n in range(N):
            log_q = 0 if corrected == "no" else (q[1][b, n] if corrected == "per row" else q[1][n]).item()
            others.append(negative[b, n].item() / temperature - log_q)
        total -= log(exp(own) / (exp(own) + sum(map(exp, others))))
    loss = losses.sampled_softmax(positive, negative, *q, temperature)
    assert loss.item() == pytest.approx(total / B)


@pytest.mark.parametrize("temperature", [1.0, 0.2])
@pytest.mark.parametrize("corrected", [False, True])
def test_in_batch_softmax_leaves_out_repeated_positives(temperature: float, corrected: bool) -> None:
    matrix = scores(B, B)
    frequency = torch.tensor([0.1, 0.2, 0.2, 0.5], dtype=torch.float64)
    log_q = frequency.log()[ITEMS] if corrected else None
    total = 0.0
    for b in range(B):
        weights = {}
        for column in range(B):
            if column == b or ITEMS[column] != ITEMS[b]:
                shift = log(frequency[ITEMS[column]]) if corrected else 0
                weights[column] = exp(matrix[b, column].item() / temperature - shift)
        total -= log(weights[b] / sum(weights.values()))
    assert losses.in_batch_softmax(matrix, ITEMS, log_q, temperature).item() == pytest.approx(total / B)


def test_in_batch_softmax_of_one_item_only_is_zero() -> None:
    same = torch.zeros(3, dtype=torch.long)
    matrix = scores(3, 3).requires_grad_()
    loss = losses.in_batch_softmax(matrix, same)
    loss.backward()
    assert loss.item() == 0 and matrix.grad.isfinite().all()


def test_correction_makes_the_sampled_softmax_estimate_the_full_one() -> None:
    """With many negatives drawn at the rate q, corrected for q, the gradient is that of the softmax over all items."""
    torch.manual_seed(0)
    all_scores = torch.tensor([2.0, 0.5, -1.0, 0.0, 1.0], dtype=torch.float64, requires_grad=True)
    q = torch.tensor([0.05, 0.5, 0.25, 0.1, 0.1], dtype=torch.float64)
    drawn = torch.multinomial(q, 200_000, replacement=True)
    log_q = (q * drawn.numel()).log()  # the expected number of times that an item is drawn
    negative = all_scores[drawn][None]
    loss = losses.sampled_softmax(all_scores[:1], negative, log_q[:1], log_q[drawn])
    (gradient,) = torch.autograd.grad(loss, all_scores)
    (expected,) = torch.autograd.grad(all_scores.logsumexp(0) - all_scores[0], all_scores)
    # the positive stands among the negatives once more, at 1 / q of them all: too little to see
    assert (gradient - expected).abs().max() < 0.01


def test_softmax_losses_agree_where_they_are_the_same() -> None:
    matrix, items = scores(4, 4), torch.arange(4)
    others = torch.stack([matrix[b][torch.arange(4) != b] for b in range(4)])
    in_batch, sampled = losses.in_batch_softmax(matrix, items), losses.sampled_softmax(matrix.diagonal(), others)
    assert in_batch.item() == pytest.approx(sampled.item())


def test_embedding_l2() -> None:
    user, positive, negative = scores(B, 3), scores(B, 3, seed=1), scores(B, N, 3, seed=2)
    total = sum(x * x for e in (user, positive, negative) for x in e.flatten().tolist())
    assert losses.embedding_l2(user, positive, negative).item() == pytest.approx(total / (2 * B))
    shared = scores(N, 3, seed=3)
    total = sum(x * x for e in (user, shared) for x in e.flatten().tolist())
    assert losses.embedding_l2(user, shared).item() == pytest.approx(total / (2 * B))


@pytest.mark.parametrize("margin", [-1e4, 1e4])
def test_extreme_scores_stay_finite(margin: float) -> None:
    for name in ("bpr", "bce", "sampled_softmax"):
        positive, negative = torch.full((2,), margin, requires_grad=True), torch.zeros(2, 3)
        loss = getattr(losses, name)(positive, negative)
        loss.backward()
        assert loss.isfinite() and positive.grad.isfinite().all(), name
