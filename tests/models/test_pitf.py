"""PITF against its equation, one user, film and tag at a time, and its ids of two columns from a log to a ranking."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from recgnn.data import FrameLog, GraphDataModule, RatioSplit
from recgnn.data.interactions.loaders import TrainBatch
from recgnn.errors import ConfigError
from recgnn.models import MF, PITF
from recgnn.training.recommenders import RankingTraining

PAIRS = torch.tensor([[0, 2], [0, 1], [1, 2], [2, 0]])  # user and film
TAGS = 5


def make(**options) -> PITF:
    torch.manual_seed(0)
    model = PITF(4, TAGS, [3, 3], 2, init_std=1.0, **options).double()
    model.set_parts(PAIRS)
    return model


def tables(model: PITF) -> tuple[Tensor, ...]:
    """Users, films, and the tags' vectors for each of them."""
    users, films = model.user_embedding.table.weight.split([3, 3])
    return users, films, model.item_embedding.weight[:, :2], model.item_embedding.weight[:, 2:]


def naive(model: PITF, pair: int, tag: int) -> Tensor:
    users, films, tag_user, tag_film = tables(model)
    user, film = PAIRS[pair].tolist()
    total = torch.zeros((), dtype=torch.float64)
    for d in range(2):
        total = total + users[user, d] * tag_user[tag, d] + films[film, d] * tag_film[tag, d]
    return total


def test_scores_and_ranking() -> None:
    model = make()
    expected = [[naive(model, pair, tag).item() for tag in range(TAGS)] for pair in (3, 0)]
    assert_close(model.score(torch.tensor([3, 0])), torch.tensor(expected), check_dtype=False, atol=1e-6, rtol=1e-6)
    _, tags = model.recommend(torch.tensor([3, 0]), 3)
    assert tags.tolist() == [sorted(range(TAGS), key=lambda t: -row[t])[:3] for row in expected]


def test_bpr_over_tags_with_its_gradient() -> None:
    model = make()
    training = RankingTraining(model, l2=0.1, num_negatives=2, ks=[3])
    training.log = lambda *_, **__: None
    batch = TrainBatch(torch.tensor([0, 2, 0]), torch.tensor([1, 4, 3]), torch.tensor([[0, 2], [1, 1], [4, 2]]))
    loss = torch.zeros((), dtype=torch.float64)
    users, films, tag_user, tag_film = tables(model)
    for pair, tag, others in zip(*(x.tolist() for x in batch[:3]), strict=True):
        user, film = PAIRS[pair].tolist()
        rows = [users[user], films[film]] + [t[row] for row in (tag, *others) for t in (tag_user, tag_film)]
        loss = loss + 0.1 / 2 * sum((row * row).sum() for row in rows) / 3
        for other in others:
            loss = loss - torch.log(torch.sigmoid(naive(model, pair, tag) - naive(model, pair, other))) / 2 / 3
    found, parameters = training.training_step(batch, 0), list(model.parameters())
    assert_close(found, loss)
    for ours, theirs in zip(*(torch.autograd.grad(x, parameters) for x in (found, loss)), strict=True):
        assert_close(ours, theirs)


def test_with_ids_of_one_column_it_is_matrix_factorisation() -> None:
    pitf, mf = PITF(4, TAGS, [4], 3), MF(4, TAGS, 3)
    pitf.set_parts(torch.arange(4)[:, None])
    mf.user_embedding.weight.data, mf.item_embedding.weight.data = [p.data for p in pitf.parameters()]
    assert_close(pitf.score(torch.arange(4)), mf.score(torch.arange(4)))


def test_it_has_no_way_to_add_what_has_no_vector() -> None:
    with pytest.raises(ConfigError, match="PITF has no way to add a new user without training"):
        make().score_history(torch.tensor([0]), torch.tensor([1]), torch.ones(1), 1)


def test_it_learns_what_users_and_films_have_in_common(trainer_for) -> None:
    """A user has tags of their own, a film too: most pairs of the test part are known by their parts alone."""
    random = np.random.default_rng(0)
    pairs = [(u, f) for u in range(30) for f in random.choice(30, 6, replace=False)]
    rows = [(u, f"film {f}", tag) for u, f in pairs for tag in (f"own {u % 10}", f"about {f % 10}")]
    log = FrameLog(pd.DataFrame(rows, columns=["person", "film", "tag"]), ["person", "film"], "tag")
    data = GraphDataModule(log, split=RatioSplit(by="all"), batch_size=32)
    data.prepare_data()
    assert data.part_sizes == [30, 30] and not data.prepared.cold
    torch.manual_seed(0)
    model = PITF(data.num_users, data.num_items, data.part_sizes, 8)
    training = RankingTraining(model, ks=[5], num_negatives=5, lr=0.01)
    trainer = trainer_for(15)
    trainer.fit(training, data)
    assert float(trainer.callback_metrics["val/ndcg@5"]) > 0.9
