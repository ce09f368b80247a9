"""What recommenders are measured by: ratings that are clipped and complete, their errors, and what cannot be."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from lightning import Trainer
from torch.testing import assert_close

from recgnn.data import FrameLog, GivenSplit, GraphDataModule
from recgnn.data.interactions.graph import to_hetero
from recgnn.data.interactions.loaders import RatingBatch
from recgnn.data.interactions.prepare import Part
from recgnn.errors import ConfigError, DataError
from recgnn.evaluation.evaluations import RankingEvaluation, RatingEvaluation
from recgnn.models import MF, AutoRec
from recgnn.models.base import Recommender

# What a model says, [U, I], and what is known: ratings from 2 to 4.5, of mean 3.1.
SAYS = [[-7.0, 2.0, 3.25], [4.5, 4.75, 1e6], [1.9, 2.1, 3.0], [3.5, -0.0, 4.4]]
USER, ITEM, RATING = [0, 0, 1, 2, 3], [0, 1, 2, 2, 0], [2.0, 4.5, 3.5, 2.5, 3.0]
LOW, HIGH, MEAN = 2.0, 4.5, 3.1


class Says(Recommender):
    """Has an answer for everything."""

    def __init__(self, num_users: int, num_items: int, task: str = "rating", cold_rating: float | None = None):
        super().__init__(num_users, num_items, lr=0.1, ks=[2], task=task, cold_rating=cold_rating)
        self.register_buffer("says", torch.tensor(SAYS))

    def score(self, users: torch.Tensor) -> torch.Tensor:
        return self.says[users]


def graph(rating: list[float] | None, user: list[int] = USER, item: list[int] = ITEM):
    values = None if rating is None else np.array(rating, dtype=np.float32)
    return to_hetero(Part(np.array(user), np.array(item), values), 4, 3)


def made(**options) -> Says:
    model = Says(4, 3, **options)
    model.set_graph(graph(RATING))
    return model


def answer(user: int, item: int, cold: float) -> float:
    if user < 0 or item < 0:
        return cold
    return min(max(SAYS[user][item], LOW), HIGH)


COLD = [(None, MEAN), (3.0, 3.0), (0.5, 0.5), (9.0, 9.0)]  # the cold rating is not clipped


@pytest.mark.parametrize(("cold_rating", "cold"), COLD)
def test_ratings_are_clipped_and_the_unknown_get_the_cold_one(cold_rating, cold) -> None:
    model = made(cold_rating=cold_rating)
    pairs = [(u, i) for u in (3, -1, 0, 1, 2) for i in (-1, 2, 0, 1)]
    users, items = torch.tensor(pairs).T
    found = model.predict_pairs(users, items)
    assert found.tolist() == pytest.approx([answer(u, i, cold) for u, i in pairs])
    assert found.dtype == torch.float32 and users.tolist() == [u for u, _ in pairs]
    assert {LOW, HIGH, 3.25} <= set(found.tolist())
    nobody = users[:0]
    assert model.predict_pairs(nobody, nobody).shape == (0,)


def test_scores_for_a_ranking_are_not_clipped_and_the_unknown_have_none() -> None:
    model = Says(4, 3, task="ranking")
    model.set_graph(graph(None))
    found = model.predict_pairs(torch.tensor([0, 1, -1, 2]), torch.tensor([0, 2, 1, -1]))
    assert found[:2].tolist() == [-7, 1e6] and found[2:].isnan().all()


def test_what_is_known_of_ratings_is_that_of_the_last_graph() -> None:
    model = made()
    assert (float(model.evaluation.low), float(model.evaluation.high)) == (LOW, HIGH)
    assert float(model.evaluation.mean) == pytest.approx(MEAN)
    model.set_graph(graph([1.0, 10.0, 1.0, 1.0, 1.0]))
    found = model.predict_pairs(torch.tensor([0, 1, -1]), torch.tensor([0, 2, 0]))
    assert found.tolist() == pytest.approx([1, 10, 2.8])
    assert not any("evaluation.low" in name for name in model.state_dict())


def test_the_mean_of_many_ratings_is_exact() -> None:
    """A million ratings of 3.7, and one of 5: a sum in float32 would be off."""
    values = np.full(1_000_000, 3.7, dtype=np.float32)
    values[0] = 5
    evaluation, nobody = RatingEvaluation(None), np.zeros(len(values), dtype=np.int64)
    evaluation.set_graph(to_hetero(Part(nobody, nobody, values), 1, 1))
    assert float(evaluation.mean) == np.float32(values.astype(np.float64).mean())


@pytest.mark.parametrize("part", ["val", "test"])
@pytest.mark.parametrize("size", [2, 3, 100])
def test_errors_equal_numpys(part, size) -> None:
    model, random = made(cold_rating=3.0), np.random.default_rng(0)
    users, items = random.integers(-1, 4, 50), random.integers(-1, 3, 50)
    ratings = random.uniform(1, 5, 50).astype(np.float32)
    says = np.array([answer(u, i, 3.0) for u, i in zip(users, items, strict=True)])
    for at in range(0, 50, size):
        block = (torch.tensor(x[at : at + size]) for x in (users, items, ratings))
        step = getattr(model, "validation_step" if part == "val" else "test_step")(RatingBatch(*block), at)
        assert_close(step["predictions"], torch.tensor(says[at : at + size]).float())
    found = model.evaluation.metrics[part].compute()
    error = says - ratings
    assert float(found["rmse"]) == pytest.approx(np.sqrt(np.mean(error**2)), rel=1e-6)
    assert float(found["mae"]) == pytest.approx(np.mean(np.abs(error)), rel=1e-6)
    logged = {}
    model.log = lambda name, value, **_: logged.update({name: float(value)})
    getattr(model, f"on_{'validation' if part == 'val' else 'test'}_epoch_end")()
    assert logged == {f"{part}/rmse": float(found["rmse"]), f"{part}/mae": float(found["mae"])}
    metrics = model.evaluation.metrics[part]
    metrics.update(torch.tensor([1.0]), torch.tensor([2.5]))
    assert float(metrics.compute()["rmse"]) == 1.5, "the epoch's end begins anew"


def given() -> GraphDataModule:
    """Train as above; in test a known pair, a new user, a new item, and both."""
    rows = [(f"u{u}", f"i{i}", r, "train") for u, i, r in zip(USER, ITEM, RATING, strict=True)]
    rows += [("u1", "i1", 4.0, "val"), ("u2", "i0", 2.5, "val"), ("stranger", "i1", 5.0, "val")]
    rows += [("u0", "i2", 1.0, "test"), ("u3", "new", 4.0, "test"), ("x", "i0", 2.0, "test"), ("x", "new", 5.0, "test")]
    frame = pd.DataFrame(rows, columns=["user", "item", "rating", "split"])
    return GraphDataModule(FrameLog(frame), split=GivenSplit(), eval_batch_size=2)


@pytest.mark.parametrize(("cold_rating", "cold"), COLD[:2])
def test_cold_ratings_count_in_a_trainers_errors(cold_rating, cold) -> None:
    data = given()
    names = [[f"u{n}" for n in range(4)], [f"i{n}" for n in range(3)]]
    assert [list(v.decode(np.arange(len(v)))) for v in (data.prepared.users, data.prepared.items)] == names
    model = Says(4, 3, cold_rating=cold_rating)
    options = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = Trainer(accelerator="cpu", **options)
    (found,) = trainer.validate(model, data, verbose=False)
    error = np.array([HIGH - 4, LOW - 2.5, cold - 5])  # 4.75 and 1.9 are clipped
    right = {"val/rmse": np.sqrt((error**2).mean()), "val/mae": np.abs(error).mean()}
    assert found == {name: pytest.approx(value, rel=1e-6) for name, value in right.items()}
    (found,) = trainer.test(model, data, verbose=False)
    error = np.array([3.25 - 1, cold - 4, cold - 2, cold - 5])
    right = {"test/rmse": np.sqrt((error**2).mean()), "test/mae": np.abs(error).mean()}
    assert found == {name: pytest.approx(value, rel=1e-6) for name, value in right.items()}


MODELS = {
    "AutoRec": lambda: AutoRec(4, 3, hidden_dims=[2]),
    "MF": lambda: MF(4, 3, 2, loss="mse"),
    "neither": lambda: Says(4, 3),
}


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_ratings_that_cannot_be_predicted(make) -> None:
    with pytest.raises(DataError, match="the log has no ratings, and the model predicts ratings"):
        make().set_graph(graph(None))
    with pytest.raises(DataError, match="all 5 ratings of train are 2.5: there is nothing to predict"):
        make().set_graph(graph([2.5] * 5))
    make().set_graph(graph(RATING))


def test_ratings_are_not_needed_for_a_ranking() -> None:
    for rating in (None, [2.5] * 5):
        model = MF(4, 3, 2, ks=[2])
        model.set_graph(graph(rating))
        assert model.evaluation.metrics["val"].popularity.sum() == 5


def test_what_chooses_the_best_epoch() -> None:
    rating, ranking = RatingEvaluation(None), RankingEvaluation(9, [5, 3, 5])
    assert rating.monitor == ("val/rmse", "min") and set(rating.metric_names) == {"val/rmse", "val/mae"}
    assert ranking.monitor == ("val/ndcg@3", "max") and ranking.ks == [3, 5]
    assert {"val/ndcg@3", "val/recall@5", "val/coverage@3"} <= set(ranking.metric_names)
    for evaluation, values in ((rating, rating.metrics["val"].compute()), (ranking, ranking.metrics["val"].compute())):
        assert evaluation.monitor[0].removeprefix("val/") in values


@pytest.mark.parametrize("ks", [[], [0], [3, -1]])
def test_lists_that_cannot_be(ks) -> None:
    with pytest.raises(ConfigError, match="ks must be one or more positive list lengths"):
        RankingEvaluation(9, ks)


def test_lists_longer_than_the_catalogue() -> None:
    RankingEvaluation(5, [5]).check()
    with pytest.raises(DataError, match="there are 5 items after filtering, fewer than K = 6"):
        RankingEvaluation(5, [6]).check()
    RatingEvaluation(None).check()
