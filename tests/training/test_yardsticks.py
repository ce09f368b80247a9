"""The simple methods beside a run: what they are measured by, how they are chosen, and what is told of the run."""

from __future__ import annotations

import math
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from recgnn.cli.entry import main
from recgnn.data import GraphDataModule, RatioSplit, SyntheticLog
from recgnn.data.stored import read_json
from recgnn.models import DAE, EASE, MF, ItemKNN, Popularity
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
    methods = methods_for(data)
    found = simple_methods(data, like, ["val", "test"], {}, methods)
    assert list(found) == ["item_knn", "ease"]
    l2, best = found["ease"]["settings"]["l2"], found["ease"]["val"]["recall@5"]
    for other in (l2 * 4, l2 / 4):
        given = {"ease": {"settings": {"l2": other}}, "item_knn": found["item_knn"]}
        assert simple_methods(data, like, ["val"], given, methods)["ease"]["val"]["recall@5"] <= best
    monkeypatch.setattr(yardsticks, "MOST_ITEMS", 39)
    assert list(methods_for(data)) == ["item_knn", "graph_filter"]
    assert methods_for(data, search=False) == {}


def ease_by_numpy(train: tuple, seen: list[tuple], labels: tuple, l2: float, k: int = 5) -> float:
    """The mean recall@k of EASE, from the formula for dense rows of 61 users and 40 items."""
    x = np.zeros((61, 40))
    x[train] = 1
    p = np.linalg.inv(x.T @ x + l2 * np.eye(40))
    scores = x @ (np.eye(40) - p / np.diag(p))
    for pairs in seen:
        scores[pairs] = -np.inf
    recalls = []
    for user in np.unique(labels[0]):
        own = labels[1][labels[0] == user]
        recalls.append(np.isin(own, np.argsort(-scores[user])[:k]).mean())
    return float(np.mean(recalls))


def test_ease_stands_beside_a_run_that_says_nothing_of_it(data, like) -> None:
    """With 5 times the scale of train, without a search."""
    train, val, test = (tuple(x.numpy() for x in data.pairs(part)) for part in ("train", "val", "test"))
    l2 = float(f"{5 * len(train[0]) / (61 * 40) ** 0.5:.2g}")
    found = beside(data, like, ["val", "test"], None, {})
    assert list(found) == ["popularity", "ease"] and found["ease"]["settings"] == {"l2": l2}
    assert found["ease"]["val"]["recall@5"] == pytest.approx(ease_by_numpy(train, [train], val, l2), abs=1e-6)
    assert found["ease"]["test"]["recall@5"] == pytest.approx(ease_by_numpy(train, [train, val], test, l2), abs=1e-6)
    assert list(beside(data, like, ["val"], True, {})) == ["popularity", "item_knn", "ease"]


def test_ease_does_not_stand_beside_itself_nor_where_it_takes_long(data, like, monkeypatch) -> None:
    own = RankingTraining(EASE(61, 40), metrics=["recall"], ks=[5])
    assert list(beside(data, own, ["val"], None, {})) == ["popularity"]
    assert list(beside(data, RankingTraining(Popularity(61, 40), ks=[5]), ["val"], None, {})) == ["ease"]
    monkeypatch.setattr(yardsticks, "SECONDS", 0.0)
    assert list(beside(data, like, ["val"], None, {})) == ["popularity"]
    nothing = {"val": {"recall@5": 0.5}, "test": {}}
    assert "EASE was not fitted beside this run (it would take long" in remarks(nothing, like)[0]
    like.left_out = ""
    assert list(beside(data, like, ["val"], False, {})) == ["popularity"] and not remarks(nothing, like)


def test_an_ease_that_nobody_asked_for_may_fail(data, like, monkeypatch) -> None:
    """A run that is trained and tested is told all the same."""

    def fail(model: EASE) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(EASE, "solve", fail)
    assert list(beside(data, like, ["val"], None, {})) == ["popularity"]
    with pytest.raises(torch.OutOfMemoryError):
        beside(data, like, ["val"], True, {})


@pytest.mark.parametrize(("users", "items", "rows", "few"), [(600, 9000, 80_000, False), (600, 4000, 80_000, True),
    (6000, 3700, 800_000, True), (100, 3700, 800_000, False), (600_000, 1000, 800_000, False)])  # fmt: skip
def test_how_long_ease_takes(users: int, items: int, rows: int, few: bool) -> None:
    data = SimpleNamespace(num_users=users, num_items=items, edge_index=torch.arange(rows).expand(2, -1) % users)
    assert (yardsticks.seconds_of_ease(data) < yardsticks.SECONDS) is few


def test_refit_takes_the_l2_of_its_first_half(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    source = ["--data.source=SyntheticLog", "--data.source.num_users=61", "--data.source.num_items=40"]
    main("fit", ["--data=GraphDataModule", *source, "--data.source.seed=3", "--model=MF", "--model.embedding_dim=2",
                 "--training.ks=[5]", "--trainer.max_epochs=1", "--trainer.logger=false", "--refit=true",
                 "--run_dir=run"])  # fmt: skip
    found, first = (read_json(Path(name) / "metrics.json") for name in ("run", "run/selection"))
    data = GraphDataModule(SyntheticLog(num_users=61, num_items=40, seed=3))
    train, val, test = (tuple(x.numpy() for x in data.pairs(part)) for part in ("train", "val", "test"))
    ease, l2 = found["baselines"]["ease"], float(f"{5 * len(train[0]) / (61 * 40) ** 0.5:.2g}")
    assert ease["settings"] == {"l2": l2} and ease["val"] == first["baselines"]["ease"]["val"]
    both = tuple(np.concatenate(x) for x in zip(train, val, strict=True))
    assert ease["test"]["recall@5"] == pytest.approx(ease_by_numpy(both, [both], test, l2), abs=1e-6)


def test_the_climb_goes_on_while_it_gets_better(data, like, monkeypatch) -> None:
    tried = []
    method = methods_for(data)["ease"]._replace(start={"l2": 200.0})

    def measured(training, data, part, users=None):
        assert part == "val"
        tried.append(training.model.l2)
        return {"recall@5": -abs(math.log(training.model.l2 / 3000))}

    monkeypatch.setattr(yardsticks, "measured", measured)
    assert best_settings(method, data, like) == {"l2": 3200.0}
    assert sorted(tried) == [50.0, 200.0, 800.0, 3200.0, 12800.0]


def test_most_popular_is_not_measured_beside_itself(data, like) -> None:
    assert list(beside(data, like, ["val"], False, {})) == ["popularity"]
    own = RankingTraining(Popularity(data.num_users, data.num_items), metrics=["recall"], ks=[5])
    assert beside(data, own, ["val"], False, {}) == {}


def test_without_validation_the_first_settings_are_taken(like) -> None:
    data = GraphDataModule(SyntheticLog(num_users=61, num_items=40, seed=3), split=RatioSplit((0.9, 0, 0.1)))
    method = methods_for(data)["ease"]
    assert best_settings(method, data, like) == method.start


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
        (0.2, {"popularity": 0.2, "ease": 0.3}, "--training.l2, or --model EASE$"),
        (0.2, {"popularity": 0.2, "ease": 0.21}, "--training.l2; neither is EASE \\(0.2100\\), so there may be little"),
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


def test_what_is_told_of_a_model_in_closed_form() -> None:
    def told(model, **others: float) -> str:
        return "".join(remarks(content(0.2, **others), RankingTraining(model(9, 20), metrics=["ndcg"], ks=[10])))

    assert "takes seconds; try other settings (python -m recgnn.tune), or --model EASE" in told(ItemKNN, ease=0.3)
    assert told(Popularity, ease=0.3) == ""
    assert told(EASE, popularity=0.3).endswith("tell users apart; try other settings (python -m recgnn.tune)")


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
