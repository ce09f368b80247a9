"""What the inner-product recommenders share: negatives, losses, regularisation, ranking."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch.testing import assert_close

from recgnn.errors import ConfigError, DataError
from recgnn.models import MF, LightGCN
from recgnn.models.base import Recommender
from recgnn.models.embedding import unique_rows

KINDS = [
    {"loss": "bpr"},
    {"loss": "bpr", "negatives": "popularity", "num_negatives": 3},
    {"loss": "bce", "num_negatives": 4},
    {"loss": "softmax"},
    {"loss": "softmax", "temperature": 0.3, "popularity_correction": 0.5},
    {"loss": "softmax", "negatives": "uniform", "num_negatives": 3},
    {"loss": "softmax", "negatives": "popularity", "num_negatives": 3, "popularity_alpha": 0.5},
    {"loss": "softmax", "negatives": "shared", "num_negatives": 5, "temperature": 0.5},
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: " ".join(map(str, k.values())))
def test_loss_and_regularisation_of_every_kind(kind: dict, small, on_graph, check_step) -> None:
    torch.manual_seed(0)
    model = on_graph(MF(small.users, small.items, 4, l2=0.1, ks=[3], **kind))
    check_step(model, lambda: (model.user_embedding.weight, model.item_embedding.weight))


def test_l2_zero_leaves_regularisation_out(small, on_graph, batch_for) -> None:
    model = on_graph(MF(small.users, small.items, 4, l2=0.0, ks=[3]))
    model.regularisation = None  # not called
    batch = batch_for(model)
    assert_close(model.training_step(batch, 0), model.batch_loss(*batch))


@pytest.mark.parametrize(
    ("options", "request_"),
    [
        ({}, {"num": 1, "alpha": 0.0, "shared": False}),
        ({"loss": "bce", "num_negatives": 4}, {"num": 4, "alpha": 0.0, "shared": False}),
        ({"negatives": "popularity", "popularity_alpha": 0.5}, {"num": 1, "alpha": 0.5, "shared": False}),
        ({"loss": "softmax"}, None),
        ({"loss": "softmax", "negatives": "shared", "num_negatives": 64}, {"num": 64, "alpha": 0.75, "shared": True}),
    ],
)
def test_what_is_asked_of_the_data(options: dict, request_: dict | None) -> None:
    assert MF(3, 3, 2, **options).negative_sampling == request_


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"negatives": "in_batch"}, "in_batch needs loss: softmax"),
        ({"negatives": "shared"}, "shared needs loss: softmax"),
        ({"loss": "bce", "negatives": "in_batch"}, "found loss: bce"),
        ({"loss": "softmax", "temperature": 0.0}, "temperature must be positive"),
        ({"temperature": -1.0}, "temperature must be positive"),
        ({"num_negatives": 0}, "at least 1"),
        ({"embedding_dim": 0}, "at least 1"),
        ({"ks": []}, "ks must be"),
        ({"ks": [10, 0]}, "ks must be"),
    ],
)
def test_mistakes(options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        MF(5, 5, **options)


def test_lists_longer_than_the_catalogue(small) -> None:
    model = MF(small.users, small.items, 4, ks=[3, 10])
    model._trainer = SimpleNamespace(datamodule=SimpleNamespace(graph=small.graph))
    with pytest.raises(DataError, match="7 items"):
        model.setup("fit")


def test_unique_rows() -> None:
    rows = torch.tensor([5, 2, 5, 9, 2])
    distinct, place = unique_rows(rows)
    assert sorted(distinct.tolist()) == [2, 5, 9] and torch.equal(distinct[place], rows)


def test_score_and_recommend(small, on_graph) -> None:
    model = on_graph(MF(small.users, small.items, 4, ks=[3])).eval()
    users, expected = torch.tensor([4, 1, 4]), {}
    for row, u in enumerate(users.tolist()):
        for i in range(small.items):
            expected[row, i] = (model.user_embedding.weight[u] * model.item_embedding.weight[i]).sum().item()
    scores = model.score(users)
    assert scores.shape == (3, small.items) and not scores.requires_grad
    assert all(scores[at].item() == pytest.approx(value, abs=1e-6) for at, value in expected.items())

    seen = torch.tensor([0, 0, 1]), torch.tensor([2, 5, 0])
    best, items = model.recommend(users, small.items, seen)
    for row in range(3):
        hidden = [i for r, i in zip(*map(torch.Tensor.tolist, seen), strict=True) if r == row]
        order = sorted((i for i in range(small.items) if i not in hidden), key=lambda i: -expected[row, i])
        assert items[row, : len(order)].tolist() == order
        assert set(items[row, len(order) :].tolist()) == set(hidden) and best[row, len(order) :].isneginf().all()
    assert_close(model.score(users), scores), "ranking does not spoil the scores"


def test_embeddings_are_computed_once_until_training_goes_on(small, on_graph) -> None:
    model = on_graph(LightGCN(small.users, small.items, 4, ks=[3]))
    model.eval()
    table = model.embeddings()
    assert model.embeddings()[0] is table[0]
    with torch.no_grad():
        model.user_embedding.weight.add_(1)
    model.on_validation_epoch_start()
    assert not torch.allclose(model.embeddings()[0], table[0])


def test_stale_embeddings_do_not_outlive_a_step(train) -> None:
    model = None

    def make(*sizes: int) -> MF:
        nonlocal model
        model = MF(*sizes, 8, lr=0.05)
        return model

    train(make, epochs=2)
    assert_close(model.embeddings()[0], model.user_embedding.weight.detach())


def test_log_q_is_the_frequency_in_train(small, on_graph) -> None:
    model = on_graph(MF(small.users, small.items, 4, loss="softmax", ks=[3]))
    total = int(small.counts.sum())
    expected = torch.tensor([max(int(c), 1) / total for c in small.counts]).double().log()
    assert_close(model.log_q(torch.arange(small.items)), expected, atol=1e-6, rtol=1e-6)
    assert on_graph(MF(9, 7, 4, loss="softmax", popularity_correction=0.0, ks=[3])).log_q(torch.tensor([0])) is None


def test_a_recommender_has_to_define_score() -> None:
    with pytest.raises(AttributeError, match="does not define score"):
        Recommender(2, 2, 0.1, [1]).score(torch.tensor([0]))


def test_monitor_and_hyper_parameters() -> None:
    model = MF(4, 5, 2, ks=[20, 5, 5])
    assert model.ks == [5, 20] and model.monitor == ("val/ndcg@5", "max")
    assert model.hparams["embedding_dim"] == 2 and model.hparams["num_users"] == 4


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: " ".join(map(str, k.values())))
def test_every_kind_trains(kind: dict, train) -> None:
    before, after, trainer = train(lambda *sizes: MF(*sizes, 16, lr=0.02, **kind), epochs=12)
    assert after > before + 0.05
    assert trainer.callback_metrics["train/loss"].isfinite()
