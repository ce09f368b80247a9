"""The simple methods beside a run: what they are measured by, how they are chosen, and what is told of the run."""

from __future__ import annotations

import math
import re
from types import SimpleNamespace

import pytest

from recgnn.data import GraphDataModule, RatioSplit, SyntheticLog
from recgnn.models import DAE, MF, Popularity
from recgnn.nn.losses import BPR
from recgnn.training import yardsticks
from recgnn.training.recommenders import RankingTraining
from recgnn.training.yardsticks import beside, best_settings, methods_for, most_popular, of_run, remarks, simple_methods


@pytest.fixture(scope="module")
def data() -> GraphDataModule:
    return GraphDataModule(SyntheticLog(num_users=61, num_items=40, seed=3))


@pytest.fixture(scope="module")
def like(data) -> RankingTraining:
    return RankingTraining(MF(data.num_users, data.num_items, 4), metrics=["recall", "coverage"], ks=[5])


def test_the_most_popular_items_by_a_loop(data, like) -> None:
    """Where items tie at the end of a list, by chance: of n with one number of users, m are shown."""
    found = most_popular(data, like, ["val", "test"])
    train, val, test = ([x.tolist() for x in data.pairs(part)] for part in ("train", "val", "test"))
    count = [train[1].count(i) for i in range(40)]
    for part, labels, known in (("val", val, [train]), ("test", test, [train, val])):
        recalls = []
        for user in sorted(set(labels[0])):
            own = {i for u, i in zip(*labels, strict=True) if u == user}
            seen = {i for pairs in known for u, i in zip(*pairs, strict=True) if u == user}
            left, hits, places = [i for i in range(40) if i not in seen], 0.0, 5
            for number in sorted({count[i] for i in left}, reverse=True):
                tied = [i for i in left if count[i] == number]
                hits += min(1.0, places / len(tied)) * len(own & set(tied))
                places = max(0, places - len(tied))
            recalls.append(hits / len(own))
        assert found[part]["recall@5"] == pytest.approx(sum(recalls) / len(recalls), abs=1e-6)
    assert set(found["val"]) == {"recall@5", "coverage@5"}


def test_methods_are_chosen_on_validation_and_measured(data, like, monkeypatch) -> None:
    found = simple_methods(data, like, ["val", "test"], {})
    assert list(found) == ["item_knn", "ease"]
    l2, best = found["ease"]["settings"]["l2"], found["ease"]["val"]["recall@5"]
    for other in (l2 * 4, l2 / 4):
        given = {"ease": {"settings": {"l2": other}}, "item_knn": found["item_knn"]}
        assert simple_methods(data, like, ["val"], given)["ease"]["val"]["recall@5"] <= best
    monkeypatch.setattr(yardsticks, "MOST_ITEMS", 39)
    assert list(methods_for(data)) == ["item_knn", "graph_filter"]


def test_the_climb_goes_on_while_it_gets_better(data, like, monkeypatch) -> None:
    tried = []

    def measured(training, data, part, users=None):
        assert part == "val"
        tried.append(training.model.l2)
        return {"recall@5": -abs(math.log(training.model.l2 / 3000))}

    monkeypatch.setattr(yardsticks, "measured", measured)
    assert best_settings(methods_for(data)["ease"], data, like) == {"l2": 3200.0}
    assert sorted(tried) == [50.0, 200.0, 800.0, 3200.0, 12800.0]


def test_most_popular_is_not_measured_beside_itself(data, like) -> None:
    assert list(beside(data, like, ["val"], False, {})) == ["popularity"]
    own = RankingTraining(Popularity(data.num_users, data.num_items), metrics=["recall"], ks=[5])
    assert beside(data, own, ["val"], False, {}) == {}


def test_without_validation_the_first_settings_are_taken(like) -> None:
    data = GraphDataModule(SyntheticLog(num_users=61, num_items=40, seed=3), split=RatioSplit((0.9, 0, 0.1)))
    assert best_settings(methods_for(data)["ease"], data, like) == {"l2": 200.0}


def test_of_a_finished_run(data, tmp_path) -> None:
    data.prepared.save(tmp_path / "vocabulary")
    found = of_run(tmp_path, ["ndcg@10", "recall@3", "own@10"])
    assert list(found) == ["popularity", "item_knn", "ease"]
    assert set(found["ease"]["test"]) == {"ndcg@3", "ndcg@10", "recall@3", "recall@10"}


def content(own: float, **others: float) -> dict:
    baselines = {name: {"settings": {"l2": 50.0}, "val": {"ndcg@10": value}} for name, value in others.items()}
    return {"val": {"ndcg@10": own}, "test": {"ndcg@10": 0.0}, "baselines": baselines}


UP = SimpleNamespace(monitor=("val/ndcg@10", "max"))


@pytest.mark.parametrize(
    ("own", "others", "expected"),
    [
        (0.2, {"popularity": 0.2, "ease": 0.3}, "^on validation ndcg@10 is 0.2000, no better than the most"),
        (0.21, {"popularity": 0.2}, "^on validation ndcg@10 is 0.2100, hardly better than the most"),
        (0.22, {"popularity": 0.2}, None),
        (0.28, {"popularity": 0.2, "ease": 0.3, "item_knn": 0.25}, r"5 % worse than EASE \(0.3000, l2 50\)"),
        (0.286, {"popularity": 0.2, "ease": 0.3}, None),
        (0.2, {}, None),
    ],
)
def test_what_is_told(own: float, others: dict, expected: str | None) -> None:
    told = remarks(content(own, **others), UP)
    assert len(told) == (expected is not None)
    if expected:
        assert re.search(expected, told[0])


def test_another_loss_is_proposed_to_those_that_can_take_it() -> None:
    values = content(0.2, ease=0.3)
    for model, loss, told in ((MF, BPR(), True), (MF, None, False), (DAE, None, False)):
        training = RankingTraining(model(9, 20), loss, metrics=["ndcg"], ks=[10])
        assert ("try --training.loss SampledSoftmax, other" in remarks(values, training)[0]) is told


def test_a_metric_to_be_lowered() -> None:
    down = SimpleNamespace(monitor=("val/ndcg@10", "min"))
    told = remarks(content(2.0, popularity=1.0), down)
    assert "no better than the most popular" in told[0]
    assert not remarks(content(1.0, popularity=2.0, ease=0.97), down)


@pytest.mark.parametrize(("best", "raised"), [(29, True), (28, False), (0, False)])
def test_more_epochs_where_the_last_was_the_best(best: int, raised: bool) -> None:
    for others in ({"popularity": 0.3}, {"ease": 0.3}):
        [told] = remarks(content(0.2, **others) | {"best_epoch": best, "epochs": 30}, UP)
        assert ("(best epoch 29 of 30): raise --trainer.max_epochs, or --model EASE" in told) is raised
        assert ("try " in told) is not raised
