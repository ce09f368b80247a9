"""Matrix factorisation, with and without biases."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from recgnn.data.interactions.loaders import RatingBatch
from recgnn.errors import ConfigError
from recgnn.models import MF
from recgnn.nn.folding import Entries
from recgnn.training.recommenders import RatingTraining


def with_biases(small) -> MF:
    torch.manual_seed(0)
    model = MF(small.users, small.items, 4, biases=True)
    torch.nn.init.normal_(model.user_bias)
    torch.nn.init.normal_(model.item_bias)
    return model


def test_score_is_the_inner_product_and_the_biases(small, on_graph) -> None:
    model = on_graph(with_biases(small)).model
    p, q = model.user_embedding.weight, model.item_embedding.weight
    expected = torch.zeros(small.users, small.items)
    for u in range(small.users):
        for i in range(small.items):
            expected[u, i] = (p[u] * q[i]).sum() + model.user_bias[u] + model.item_bias[i]
    assert_close(model.score(torch.arange(small.users)), expected.detach(), atol=1e-5, rtol=1e-5)


def test_no_biases_by_default(small) -> None:
    model = MF(small.users, small.items, 4)
    assert dict(model.named_parameters()).keys() == {"user_embedding.weight", "item_embedding.weight"}
    assert all(p.shape[1] == 4 for p in model.propagate())


@pytest.mark.parametrize("loss", ["bpr", "softmax", "bce"])
def test_training_step_with_biases(loss: str, small, on_graph, check_step, batch_for, naive_loss) -> None:
    training = on_graph(with_biases(small), loss=loss, l2=0.1)
    model, batch = training.model, batch_for(training)
    scores = model.user_embedding.weight @ model.item_embedding.weight.T
    scores = scores + model.user_bias[:, None] + model.item_bias
    expected = naive_loss(training, batch, scores, small.counts)
    found = training.data_loss(batch, model.outputs(batch))
    assert_close(found, expected, atol=1e-6, rtol=1e-6)
    parameters = list(model.parameters())
    for ours, theirs in zip(
        torch.autograd.grad(found, parameters, allow_unused=True),
        torch.autograd.grad(expected, parameters, allow_unused=True),
        strict=True,
    ):
        assert_close(ours, torch.zeros_like(ours) if theirs is None else theirs, atol=1e-6, rtol=1e-6)


def test_trains_with_biases(train) -> None:
    before, after, _ = train(lambda *sizes: MF(*sizes, 16, biases=True), lr=0.02, epochs=12)
    assert after > before + 0.05


def test_trains_in_bfloat16(train) -> None:
    before, after, _ = train(lambda *sizes: MF(*sizes, 16), lr=0.02, epochs=12, precision="bf16-mixed")
    assert after > before + 0.05


USERS, ITEMS = 6, 5  # user 5 and item 4 have no rating
RATED = [(0, 0, 1.0), (0, 1, 4.0), (1, 0, 4.5), (2, 2, 3.0), (3, 3, 5.0), (4, 1, 2.0), (1, 3, 3.5)]
MEAN = 23 / 7


@pytest.fixture
def of_ratings(on_ratings):
    return lambda biases, **options: trained_on_ratings(on_ratings, biases, **options)


def trained_on_ratings(on_ratings, biases: bool, **options):
    """A training on RATED whose model has parameters that are not small."""
    torch.manual_seed(0)
    user, item, rating = zip(*RATED, strict=True)
    model = MF(USERS, ITEMS, 4, biases=biases)
    training = on_ratings(model, torch.tensor([user, item]), torch.tensor(rating), task="rating", **options)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.7)
    with torch.no_grad():  # far above what was rated, and far below
        model.user_embedding.weight[5] = 3 * model.item_embedding.weight[4]
        model.user_embedding.weight[4] = -3 * model.item_embedding.weight[3]
    return training


def naive_rating(model: MF, user: int, item: int) -> torch.Tensor:
    """mean + e_u e_i + b_u + b_i, before it is clipped."""
    p = dict(model.named_parameters())
    total = MEAN + sum(p["user_embedding.weight"][user, k] * p["item_embedding.weight"][item, k] for k in range(4))
    return total + p["user_bias"][user] + p["item_bias"][item] if "user_bias" in p else total


@pytest.mark.parametrize("biases", [False, True])
def test_ratings_are_the_mean_and_the_score(biases: bool, of_ratings) -> None:
    model = of_ratings(biases).model
    rows = [torch.stack([naive_rating(model, u, i) for i in range(ITEMS)]) for u in range(USERS)]
    expected = torch.stack(rows).detach().float()
    assert_close(model.score(torch.arange(USERS)).float(), expected, atol=1e-5, rtol=1e-5)
    users, items = torch.tensor([5, 0, 2, 0]), torch.tensor([4, 3, 2, 3])
    assert_close(model.score_pairs(users, items).float(), expected[users, items], atol=1e-5, rtol=1e-5)
    everyone, everything = torch.ones(USERS, ITEMS).nonzero().T
    answers = model.predict_pairs(everyone, everything)
    assert expected.min() < 1 and expected.max() > 5, "some must be clipped"
    assert_close(answers, expected.clamp(1, 5).flatten(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("biases", [False, True])
@pytest.mark.parametrize("l2", [0.0, 0.3])
def test_loss_of_ratings_and_its_gradient(biases: bool, l2: float, of_ratings) -> None:
    training = of_ratings(biases, l2=l2)
    model = training.model
    entries = [RATED[n] for n in (1, 0, 3, 6, 2, 1)]  # users, items, and one rating that repeat
    users, items, ratings = (torch.tensor(x) for x in zip(*entries, strict=True))
    found = training.training_step(RatingBatch(users, items, ratings.double()), 0)
    total, p = 0.0, dict(model.named_parameters())
    for user, item, rating in entries:
        norm = (p["user_embedding.weight"][user] ** 2).sum() + (p["item_embedding.weight"][item] ** 2).sum()
        if biases:
            norm = norm + p["user_bias"][user] ** 2 + p["item_bias"][item] ** 2
        total = total + (rating - naive_rating(model, user, item)) ** 2 + l2 / 2 * norm
    expected = total / len(entries)
    close = {"atol": 1e-6, "rtol": 1e-6}  # the mean of train is a float32
    assert_close(found, expected, **close)
    for (name, value), ours, theirs in zip(
        p.items(), torch.autograd.grad(found, p.values()), torch.autograd.grad(expected, p.values()), strict=True
    ):
        assert torch.allclose(ours, theirs, atol=1e-6), name
        assert theirs.any() and ours.shape == value.shape


@pytest.mark.parametrize(("cold", "expected"), [(None, MEAN), (3.0, 3.0), (7.0, 7.0)])
def test_ratings_of_the_unknown(cold, expected, of_ratings) -> None:
    model = of_ratings(True, cold_rating=cold).model
    found = model.predict_pairs(torch.tensor([-1, 3, 2, -1]), torch.tensor([2, -1, 2, -1]))
    assert found[[0, 1, 3]].tolist() == pytest.approx([expected] * 3)
    rating = naive_rating(model, 2, 2).clamp(1, 5).item()
    assert found[2].item() == pytest.approx(rating, abs=1e-5) and abs(rating - expected) > 0.1


@pytest.mark.parametrize(("biases", "precision"), [(False, "32-true"), (True, "bf16-mixed")])
def test_it_learns_ratings(fit_ratings, biases: bool, precision: str) -> None:
    options = {"epochs": 12, "size": 128, "l2": 0.05, "lr": 0.05, "precision": precision}
    rmse, mean_rmse = fit_ratings(lambda *n: MF(*n, 8, biases=biases), **options)
    assert rmse < 0.93 * mean_rmse


def test_shares_are_of_the_vector_that_the_items_alone_give(small, on_graph) -> None:
    model = on_graph(with_biases(small)).model.float()
    user, targets = int(small.edges[0].bincount().argmax()), torch.tensor([1, 5])
    own = small.edges[1][small.edges[0] == user]

    def score(items: torch.Tensor) -> torch.Tensor:
        return model.score_history(torch.zeros_like(items), items, torch.ones(len(items)), 1)[0, targets]

    found = model.shares(user, Entries(torch.zeros_like(own), own, torch.ones(len(own)), 1), targets)
    assert found.shape == (len(own), 2) and len(own) > 1
    assert_close(found.sum(0), score(own) - score(own[:0]), atol=1e-5, rtol=1e-4)
    alone = torch.stack([score(item[None]) - score(own[:0]) for item in own])  # over 1 + 5 items, not n + 5
    assert_close(found, alone * 6 / (len(own) + 5), atol=1e-5, rtol=1e-4)


def test_shares_of_ratings_take_ridge_regression_apart(small, on_ratings) -> None:
    ratings = torch.rand(small.edges.shape[1], dtype=torch.double) * 4 + 1
    model = on_ratings(with_biases(small), small.edges, ratings, task="rating", l2=0.1).model.float()
    user, targets = int(small.edges[0].bincount().argmax()), torch.tensor([1, 5])
    mine = small.edges[0] == user
    own = Entries(torch.zeros_like(small.edges[1][mine]), small.edges[1][mine], ratings[mine].float(), 1)
    found = model.shares(user, own, targets).sum(0) + model.item_bias[targets] + model.mean
    assert_close(found.double(), model.score_history(*own)[0, targets].double(), atol=1e-5, rtol=1e-4)


def test_scores_by_cosine(small, on_graph, check_step, batch_for, naive_loss) -> None:
    """Ranked, trained and folded in by the same cosine, biases added to it."""
    torch.manual_seed(0)
    model = MF(small.users, small.items, 4, biases=True, normalize=True)
    torch.nn.init.normal_(model.item_bias)
    training = on_graph(model, loss="softmax", l2=0.0)
    p, q = model.user_embedding.weight, model.item_embedding.weight
    rows = []
    for u in range(small.users):
        cosines = [(p[u] * q[i]).sum() / (p[u].norm() * q[i].norm()) for i in range(small.items)]
        rows.append(torch.stack(cosines) + model.item_bias)
    expected = torch.stack(rows)
    assert_close(model.score(torch.arange(small.users)), expected.detach().float(), atol=1e-5, rtol=1e-5)
    batch = batch_for(training)
    found = training.data_loss(batch, model.outputs(batch))
    assert_close(found.double(), naive_loss(training, batch, expected, small.counts), atol=1e-6, rtol=1e-6)
    vectors = model.represent_users({"user_embedding.weight": 3 * p.detach(), "user_bias": model.user_bias}, None)
    assert_close(vectors[:, :4].norm(dim=1), torch.ones(small.users, dtype=vectors.dtype))


def test_cosines_are_no_ratings(small) -> None:
    with pytest.raises(ConfigError, match="RatingTraining is for the task rating, and MF is for ranking"):
        RatingTraining(MF(small.users, small.items, 4, normalize=True))
