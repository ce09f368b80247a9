"""Training for ratings and rankings: predictions that are clipped and complete, their errors, and what is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from lightning import Trainer
from torch.testing import assert_close

from recgnn.data import FrameLog, GivenSplit, GraphDataModule
from recgnn.data.interactions.loaders import RatingBatch
from recgnn.errors import DataError
from recgnn.models import MF
from recgnn.models.base import Recommender
from recgnn.training.recommenders import RankingTraining, RatingTraining

# What a model says, [U, I], and what is known: ratings from 2 to 4.5, of mean 3.1.
SAYS = [[-7.0, 2.0, 3.25], [4.5, 4.75, 1e6], [1.9, 2.1, 3.0], [3.5, -0.0, 4.4]]
USER, ITEM, RATING = [0, 0, 1, 2, 3], [0, 1, 2, 2, 0], [2.0, 4.5, 3.5, 2.5, 3.0]
LOW, HIGH, MEAN = 2.0, 4.5, 3.1
PAIRS = torch.tensor([USER, ITEM])


class Says(Recommender):
    """Has an answer for everything."""

    tasks = ("rating", "ranking")

    def __init__(self, num_users: int = 4, num_items: int = 3):
        super().__init__(num_users, num_items)
        self.register_buffer("says", torch.tensor(SAYS))

    def score(self, users: torch.Tensor) -> torch.Tensor:
        return self.says[users]


def rated(cold_rating: float | None = None) -> RatingTraining:
    training = RatingTraining(Says(), cold_rating=cold_rating)
    training.set_graph(PAIRS, torch.tensor(RATING))
    return training


def answer(user: int, item: int, cold: float) -> float:
    if user < 0 or item < 0:
        return cold
    return min(max(SAYS[user][item], LOW), HIGH)


COLD = [(None, MEAN), (0.5, 0.5)]  # the cold rating is not clipped


@pytest.mark.parametrize(("cold_rating", "cold"), COLD)
def test_ratings_are_clipped_and_new_users_and_items_get_the_cold_one(cold_rating, cold) -> None:
    model = rated(cold_rating).model
    pairs = [(u, i) for u in (3, -1, 0, 1, 2) for i in (-1, 2, 0, 1)]
    users, items = torch.tensor(pairs).T
    found = model.predict_pairs(users, items)
    assert found.tolist() == pytest.approx([answer(u, i, cold) for u, i in pairs])
    assert found.dtype == torch.float32 and users.tolist() == [u for u, _ in pairs]
    assert {LOW, HIGH, 3.25} <= set(found.tolist())
    assert model.predict_pairs(users[:0], users[:0]).shape == (0,)


def test_scores_for_a_ranking_are_not_clipped_and_new_users_and_items_have_none() -> None:
    model = Says()
    model.task = "ranking"
    model.set_graph(PAIRS)
    found = model.predict_pairs(torch.tensor([0, 1, -1, 2]), torch.tensor([0, 2, 1, -1]))
    assert found[:2].tolist() == [-7, 1e6] and found[2:].isnan().all()


def test_the_scale_of_ratings_is_that_of_the_last_graph() -> None:
    training = rated()
    training.set_graph(PAIRS, torch.tensor([1.0, 10.0, 1.0, 1.0, 1.0]))
    found = training.model.predict_pairs(torch.tensor([0, 1, -1]), torch.tensor([0, 2, 0]))
    assert found.tolist() == pytest.approx([1, 10, 2.8])
    assert not any(name.endswith("low") for name in training.state_dict())


def test_the_mean_of_many_ratings_is_exact() -> None:
    """A million ratings of 3.7, and one of 5: a sum in float32 would be off."""
    ratings = torch.full((1_000_000,), 3.7)
    ratings[0] = 5
    model = Says()
    model.set_graph(torch.zeros(2, len(ratings), dtype=torch.long), ratings)
    assert float(model.mean) == np.float32(ratings.double().numpy().mean())


@pytest.mark.parametrize("part", ["val", "test"])
def test_errors_equal_numpys(part) -> None:
    training, random = rated(3.0), np.random.default_rng(0)
    users, items = random.integers(-1, 4, 50), random.integers(-1, 3, 50)
    ratings = random.uniform(1, 5, 50).astype(np.float32)
    says = np.array([answer(u, i, 3.0) for u, i in zip(users, items, strict=True)])
    for at in range(0, 50, 3):
        block = (torch.tensor(x[at : at + 3]) for x in (users, items, ratings))
        step = getattr(training, "validation_step" if part == "val" else "test_step")(RatingBatch(*block), at)
        assert_close(step["predictions"], torch.tensor(says[at : at + 3]).float())
    logged = {}
    training.log = lambda name, value, **_: logged.update({name: float(value)})
    getattr(training, f"on_{'validation' if part == 'val' else 'test'}_epoch_end")()
    error = says - ratings
    expected = {f"{part}/rmse": np.sqrt(np.mean(error**2)), f"{part}/mae": np.mean(np.abs(error))}
    assert logged == pytest.approx(expected, rel=1e-6)
    metrics = training.metrics[part]
    metrics.update(torch.tensor([1.0]), torch.tensor([2.5]))
    assert float(metrics.compute()["rmse"]) == 1.5, "the epoch's end begins anew"


def given() -> GraphDataModule:
    """Train as above; in test a known pair, a new user, a new item, and both."""
    rows = [(f"u{u}", f"i{i}", r, "train") for u, i, r in zip(USER, ITEM, RATING, strict=True)]
    rows += [("u1", "i1", 4.0, "val"), ("u2", "i0", 2.5, "val"), ("stranger", "i1", 5.0, "val")]
    rows += [("u0", "i2", 1.0, "test"), ("u3", "new", 4.0, "test"), ("x", "i0", 2.0, "test"), ("x", "new", 5.0, "test")]
    frame = pd.DataFrame(rows, columns=["user", "item", "rating", "split"])
    return GraphDataModule(FrameLog(frame), split=GivenSplit(), eval_batch_size=2)


@pytest.mark.parametrize(("cold_rating", "cold"), COLD)
def test_cold_ratings_count_in_a_trainers_errors(cold_rating, cold) -> None:
    data, training = given(), RatingTraining(Says(), cold_rating=cold_rating)
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    (found,) = trainer.validate(training, data, verbose=False)
    error = np.array([HIGH - 4, LOW - 2.5, cold - 5])  # 4.75 and 1.9 are clipped
    assert found == pytest.approx({"val/rmse": np.sqrt((error**2).mean()), "val/mae": np.abs(error).mean()}, rel=1e-6)
    (found,) = trainer.test(training, data, verbose=False)
    error = np.array([3.25 - 1, cold - 4, cold - 2, cold - 5])
    assert found == pytest.approx({"test/rmse": np.sqrt((error**2).mean()), "test/mae": np.abs(error).mean()}, rel=1e-6)


def test_ratings_that_cannot_be_predicted() -> None:
    with pytest.raises(DataError, match="all 5 ratings of the training part are 2.5: there is nothing to predict"):
        RatingTraining(Says()).set_graph(PAIRS, torch.full((5,), 2.5))


def test_lists_longer_than_the_catalogue_are_refused_before_training() -> None:
    with pytest.raises(DataError, match="there are 3 items after filtering, fewer than K = 4"):
        RankingTraining(MF(4, 3), ks=[4]).setup("fit")
