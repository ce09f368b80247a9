"""Losses against loops over users and items, written from the formulas."""

from __future__ import annotations

from math import exp, log

import pytest
import torch

from recgnn.errors import ConfigError
from recgnn.nn import losses
from recgnn.nn.losses import BCE, BPR, Logistic, Multinomial, SampledSoftmax, Squared, SquaredError

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
    assert BPR()(positive, negative).mean().item() == pytest.approx(total / (B * N))


def test_bce() -> None:
    positive, negative = scores(B), scores(B, N, seed=1)
    total = 0.0
    for b in range(B):
        total -= log(sigmoid(positive[b].item()))
        for n in range(N):
            total -= log(1 - sigmoid(negative[b, n].item()))
    assert BCE()(positive, negative).mean().item() == pytest.approx(total / B)


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
    loss = SampledSoftmax(temperature)(positive, negative, *q).mean()
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
    assert SampledSoftmax(temperature).in_batch(matrix, ITEMS, log_q).mean().item() == pytest.approx(total / B)


def test_in_batch_softmax_of_one_item_only_is_zero() -> None:
    same = torch.zeros(3, dtype=torch.long)
    matrix = scores(3, 3).requires_grad_()
    loss = SampledSoftmax().in_batch(matrix, same).mean()
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
    loss = SampledSoftmax()(all_scores[:1], negative, log_q[:1], log_q[drawn])[0]
    (gradient,) = torch.autograd.grad(loss, all_scores)
    (expected,) = torch.autograd.grad(all_scores.logsumexp(0) - all_scores[0], all_scores)
    # the positive stands among the negatives once more, at 1 / q of them all: too little to see
    assert (gradient - expected).abs().max() < 0.01


def test_softmax_losses_agree_where_they_are_the_same() -> None:
    matrix, items = scores(4, 4), torch.arange(4)
    others = torch.stack([matrix[b][torch.arange(4) != b] for b in range(4)])
    in_batch, sampled = SampledSoftmax().in_batch(matrix, items), SampledSoftmax()(matrix.diagonal(), others)
    assert in_batch.tolist() == pytest.approx(sampled.tolist())


@pytest.mark.parametrize("margin", [-1e4, 1e4])
def test_extreme_scores_stay_finite(margin: float) -> None:
    for kind in (BPR(), BCE(), SampledSoftmax()):
        positive, negative = torch.full((2,), margin, requires_grad=True), torch.zeros(2, 3)
        loss = kind(positive, negative).mean()
        loss.backward()
        assert loss.isfinite() and positive.grad.isfinite().all(), kind


ROWS, COLUMNS = torch.tensor([0, 0, 1, 3, 3, 3]), torch.tensor([4, 0, 2, 1, 0, 3])  # row 2 has none
KINDS = {"multinomial": Multinomial(), "logistic": Logistic(), "squared": Squared()}


def test_pick_is_indexing_with_its_gradient() -> None:
    x = scores(4, 5).requires_grad_()
    found = losses.pick(x, ROWS, COLUMNS)
    assert found.tolist() == [x[r, c].item() for r, c in zip(ROWS.tolist(), COLUMNS.tolist(), strict=True)]
    weight = scores(6, seed=1)
    (ours,) = torch.autograd.grad((found * weight).sum(), x)
    (theirs,) = torch.autograd.grad((x[ROWS, COLUMNS] * weight).sum(), x)
    assert ours.equal(theirs) and ours[2].eq(0).all()
    assert torch.autograd.gradcheck(lambda y: losses.pick(y, ROWS, COLUMNS) ** 2, x)


@pytest.mark.parametrize("how", ["transposed", "every second column"])
def test_pick_of_a_matrix_that_is_not_contiguous(how: str) -> None:
    x = (scores(5, 4) if how == "transposed" else scores(4, 10)).requires_grad_()
    view = x.T if how == "transposed" else x[:, ::2]
    found = losses.pick(view, ROWS, COLUMNS)
    assert found.equal(view[ROWS, COLUMNS])
    weight = scores(6, seed=1)
    (ours,) = torch.autograd.grad((found * weight).sum(), x)
    (theirs,) = torch.autograd.grad((view[ROWS, COLUMNS] * weight).sum(), x)
    assert ours.equal(theirs)


def test_pick_of_nothing() -> None:
    x, none = scores(2, 3).requires_grad_(), ROWS[:0]
    found = losses.pick(x, none, none)
    assert found.shape == (0,)
    assert torch.autograd.grad(found.sum() + x.sum(), x)[0].eq(1).all()


def dense_term(kind: str, s: torch.Tensor, target: float, row: torch.Tensor) -> torch.Tensor:
    """The loss of one entry s of a row of scores."""
    if kind == "multinomial":
        return -target * torch.log(s.exp() / row.exp().sum())
    if kind == "logistic":
        chance = 1 / (1 + torch.exp(-s))
        return -target * torch.log(chance) - (1 - target) * torch.log(1 - chance)
    return (target - s) ** 2


def same_with_gradient(ours: torch.Tensor, theirs: torch.Tensor, x: torch.Tensor) -> None:
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(*(torch.autograd.grad(loss, x)[0] for loss in (ours, theirs)))


@pytest.mark.parametrize("kind", KINDS)
def test_all_columns(kind: str) -> None:
    x = scores(4, 5).requires_grad_()
    target = torch.zeros(4, 5)
    target[ROWS, COLUMNS] = 1
    total = sum(dense_term(kind, x[r, c], target[r, c].item(), x[r]) for r in range(4) for c in range(5))
    same_with_gradient(KINDS[kind](x, ROWS, COLUMNS), total / 4, x)
    assert torch.autograd.gradcheck(lambda y: KINDS[kind](y, ROWS, COLUMNS), x)


@pytest.mark.parametrize("kind", ["logistic", "squared"])
def test_sampled_columns_count_every_draw(kind: str) -> None:
    x = scores(4, 5).requires_grad_()
    negatives = torch.tensor([[1, 1, 2], [2, 3, 1], [0, 0, 0], [2, 4, 4], [4, 4, 2], [2, 2, 4]])
    total = 0.0
    for row, column, others in zip(ROWS.tolist(), COLUMNS.tolist(), negatives.tolist(), strict=True):
        total = total + dense_term(kind, x[row, column], 1, x[row])
        for other in others:
            total = total + dense_term(kind, x[row, other], 0, x[row])
    same_with_gradient(KINDS[kind](x, ROWS, COLUMNS, negatives), total / 4, x)
    assert torch.autograd.gradcheck(lambda y: KINDS[kind](y, ROWS, COLUMNS, negatives), x)


def test_the_multinomial_loss_is_not_of_a_sample() -> None:
    with pytest.raises(ConfigError, match="Multinomial is over all items"):
        Multinomial()(scores(4, 5), ROWS, COLUMNS, COLUMNS[:, None])


def test_a_temperature_is_positive() -> None:
    with pytest.raises(ConfigError, match="SampledSoftmax.temperature is 0.0; expected a number above 0"):
        SampledSoftmax(temperature=0.0)


def test_observed_squared() -> None:
    x, ratings = scores(4, 5).requires_grad_(), scores(6, seed=1)
    entries = zip(ROWS.tolist(), COLUMNS.tolist(), ratings.tolist(), strict=True)
    total = sum((rating - x[row, column]) ** 2 for row, column, rating in entries)

    def observed_squared(y: torch.Tensor) -> torch.Tensor:
        return SquaredError()(losses.pick(y, ROWS, COLUMNS), ratings).sum() / 4

    same_with_gradient(observed_squared(x), total / 4, x)
    (gradient,) = torch.autograd.grad(observed_squared(x), x)
    observed = torch.zeros(4, 5, dtype=torch.bool)
    observed[ROWS, COLUMNS] = True
    assert (gradient[~observed] == 0).all() and (gradient[observed] != 0).all()
    assert torch.autograd.gradcheck(observed_squared, x)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [-1e4, 1e4])
def test_extreme_scores_of_rows_stay_finite(kind: str, size: float) -> None:
    x = torch.full((4, 5), size)
    x[0] = -size
    x.requires_grad_()
    found = [KINDS[kind](x, ROWS, COLUMNS)]
    if kind != "multinomial":
        found.append(KINDS[kind](x, ROWS, COLUMNS, COLUMNS[:, None]))
    for loss in found:
        assert loss.isfinite() and torch.autograd.grad(loss, x)[0].isfinite().all()


@pytest.mark.parametrize("layout", ["per positive", "shared", "in batch"])
def test_inner_products_of_every_layout_of_negatives(layout: str) -> None:
    """Positives, then negatives, in one tensor; a shared item that is the row's own is left out."""
    user, all_items, q = scores(B, 3), scores(5, 3, seed=1), scores(5, seed=2)
    negatives = {
        "per positive": torch.tensor([[1, 1], [2, 3], [0, 4], [4, 4], [1, 0], [0, 1]]),
        "shared": torch.tensor([3, 4, 4, 1]),
        "in batch": None,
    }[layout]
    asked = ITEMS if negatives is None else torch.cat([ITEMS, negatives.flatten()])
    loss = SampledSoftmax(0.7)
    found = loss.of_representations(user, all_items[asked], ITEMS, negatives, lambda items: q[items])
    total = 0.0
    for b, item in enumerate(ITEMS.tolist()):
        others = ITEMS if negatives is None else negatives[b] if negatives.dim() == 2 else negatives
        kept = [j for j in others.tolist() if j != item or layout == "per positive"]
        weights = [exp(float(user[b] @ all_items[j]) / 0.7 - float(q[j])) for j in [item, *kept]]
        total -= log(weights[0] / sum(weights))
    assert found.mean().item() == pytest.approx(total / B)
