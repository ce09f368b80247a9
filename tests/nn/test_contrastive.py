"""Losses of cosines against loops over the rows, written from the papers' equations, with their gradients."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from recgnn.errors import ConfigError
from recgnn.models import MF
from recgnn.nn.contrastive import BSL, CosineContrastive, DirectAU
from recgnn.training.recommenders import RankingTraining

USERS = torch.tensor([0, 1, 0, 2, 3, 1])
ITEMS = torch.tensor([3, 1, 3, 0, 3, 2])  # item 3 three times
NEGATIVES = {
    "per positive": torch.tensor([[1, 1], [2, 3], [0, 4], [4, 4], [1, 0], [0, 1]]),
    "shared": torch.tensor([3, 4, 4, 1]),
    "in batch": None,
}
BEST = {"BSL": BSL(tau1=0.3, tau2=0.8), "CCL": CosineContrastive(margin=0.1, negative_weight=3.0)}


def table(rows: int, seed: int) -> Tensor:
    return torch.randn(rows, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).requires_grad_()


def cosine(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum() / (a * a).sum().sqrt() / (b * b).sum().sqrt()


def others_of(row: int, layout: str) -> tuple[list[int], int]:
    """The negatives of a row, without its own positive unless drawn for it, and how many there are with it."""
    negatives = NEGATIVES[layout]
    if layout == "per positive":
        return negatives[row].tolist(), 2
    candidates = (ITEMS if negatives is None else negatives).tolist()
    return [j for j in candidates if j != ITEMS[row]], len(candidates)


def naive(name: str, user: Tensor, item: Tensor, layout: str) -> list[Tensor]:
    losses = []
    for row, (u, i) in enumerate(zip(USERS.tolist(), ITEMS.tolist(), strict=True)):
        positive = cosine(user[u], item[i])
        others, size = others_of(row, layout)
        cosines = [cosine(user[u], item[j]) for j in others]
        if name == "BSL":
            losses.append(-positive / 0.3 + 0.8 * torch.log(sum(torch.exp(c / 0.3) for c in cosines)))
        else:
            losses.append(1 - positive + 3.0 * sum((c - 0.1).clamp(min=0) for c in cosines) / size)
    return losses


def of_tables(loss, user: Tensor, item: Tensor, negatives: Tensor | None) -> Tensor:
    asked = ITEMS if negatives is None else torch.cat([ITEMS, negatives.flatten()])
    return loss.of_representations(user[USERS], item[asked], ITEMS, negatives, lambda _: None)


def assert_same(ours: Tensor, theirs: list[Tensor], *tables: Tensor) -> None:
    """The losses of the rows, and the gradients of their weighted sum."""
    theirs_ = torch.stack(theirs)
    torch.testing.assert_close(ours, theirs_)
    weights = torch.linspace(0.5, 2, len(theirs)).double()
    for a, b in zip(*(torch.autograd.grad((x * weights).sum(), tables) for x in (ours, theirs_)), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("layout", NEGATIVES)
@pytest.mark.parametrize("name", BEST)
def test_cosines_against_every_layout_of_negatives(name: str, layout: str) -> None:
    user, item = table(4, 0), table(5, 1)
    assert_same(of_tables(BEST[name], user, item, NEGATIVES[layout]), naive(name, user, item, layout), user, item)


def test_direct_au() -> None:
    user, item = table(4, 0), table(5, 1)

    def spread(rows: list[Tensor]) -> Tensor:
        unit = [row / (row * row).sum().sqrt() for row in rows]
        pairs = [(a, b) for n, a in enumerate(unit) for b in unit[n + 1 :]]
        return torch.log(sum(torch.exp(-2 * ((a - b) ** 2).sum()) for a, b in pairs) / len(pairs))

    uniformity = (spread([user[u] for u in USERS]) + spread([item[i] for i in ITEMS])) / 2
    apart = [2 - 2 * cosine(user[u], item[i]) for u, i in zip(USERS, ITEMS, strict=True)]
    assert_same(of_tables(DirectAU(0.7), user, item, None), [a + 0.7 * uniformity for a in apart], user, item)


@pytest.mark.parametrize("loss", [*BEST.values(), DirectAU()], ids=lambda x: type(x).__name__)
def test_lengths_do_not_matter_in_training(loss) -> None:
    user, item = table(4, 0), table(5, 1)
    longer = of_tables(loss, 7 * user, item / 3, None)
    torch.testing.assert_close(longer, of_tables(loss, user, item, None))


@pytest.mark.parametrize("loss", [*BEST.values(), DirectAU()], ids=lambda x: type(x).__name__)
def test_a_batch_without_negatives_is_finite(loss) -> None:
    """The last batch of an epoch may be one row, or several of one item."""
    user, item = table(4, 0), table(5, 1)
    for rows in (1, 2):
        same = torch.full((rows,), 3)
        found = loss.of_representations(user[:rows], item[same], same, None, lambda _: None)
        gradients = torch.autograd.grad(found.sum(), (user, item))
        assert found.isfinite().all() and all(g.isfinite().all() and g.any() for g in gradients)


def test_the_bilateral_softmax_without_negatives_attracts_alone() -> None:
    found = BSL(0.5, 2.0)(torch.tensor([0.25]), torch.full((1, 3), -torch.inf))
    assert found.item() == pytest.approx(-0.5 + 2.0 * math.log(math.exp(-1 / 0.5)))  # as one opposite negative


def test_they_train_by_cosine_and_rank_by_inner_product() -> None:
    training = RankingTraining(MF(3, 4, 2), BSL(), l2=0.0)
    negatives = training.negatives  # a draw for the batch, all items alike
    assert (type(negatives).__name__, negatives.num, negatives.exponent) == ("Shared", 1024, 0)
    assert training.log_q(ITEMS) is None
    user, item = training.model.embeddings()
    torch.testing.assert_close(training.model.score(torch.tensor([1])), (user @ item.T)[1:2])


@pytest.mark.parametrize("negatives", ["uniform", "popularity", "shared"])
def test_direct_au_takes_no_drawn_negatives(negatives: str) -> None:
    with pytest.raises(ConfigError, match="negatives: the loss DirectAU has none; leave training.negatives out"):
        RankingTraining(MF(3, 4, 2), DirectAU(), negatives=negatives)
