"""Metrics by name and of one's own, what is refused, and what importing them costs."""

from __future__ import annotations

import doctest
from importlib import import_module

import pytest
import torch

from recgnn.errors import ConfigError
from recgnn.evaluation.metrics import METRICS, CatalogueMetric, ClickMetric, ErrorMetric, RankingMetric
from recgnn.evaluation.metrics.collections import ClickMetrics, ErrorMetrics, RankingMetrics


class LastIsRight(RankingMetric):
    def of_users(self, hits, label_count, k):
        return hits[:, -1].float() / (label_count > 0)  # NaN where there is no label: not read


class Largest(CatalogueMetric):
    def __init__(self, name: str = "largest"):
        self.name = name

    def of_counts(self, counts, train_counts):
        return counts.max()


class MaximumLog(ErrorMetric):
    name = "msle"

    def of_rows(self, predictions, labels):
        return (predictions.log1p() - labels.log1p()).square()


class Accuracy(ClickMetric):
    def of_events(self, events):
        return ((events.logits > 0) == (events.labels == 1)).double().mean()


def test_metrics_of_ones_own_stand_beside_named_ones() -> None:
    ranking = RankingMetrics(6, [3, 2], ["recall", LastIsRight(), Largest(), Largest("most"), "coverage"])
    assert ranking.names == [
        f"{name}@{k}" for name in ("recall", "lastisright", "largest", "most", "coverage") for k in (2, 3)
    ]
    ranking.update(torch.tensor([[0, 1, 2], [3, 1, 5], [1, 4, 0]]), torch.tensor([0, 0, 2]), torch.tensor([1, 2, 1]))
    found = {name: float(value) for name, value in ranking.compute().items()}
    expected = {"recall@2": 0.75, "recall@3": 1, "lastisright@2": 0.5, "lastisright@3": 0.5, "largest@2": 2,
                "largest@3": 2, "most@2": 2, "most@3": 2, "coverage@2": 0.5, "coverage@3": 4 / 6}  # fmt: skip
    assert found == pytest.approx(expected)

    errors = ErrorMetrics([MaximumLog(), "mae"])
    errors.update(torch.tensor([1.0, 3.0]), torch.tensor([3.0, 3.0]))
    assert errors.compute()["msle"].item() == pytest.approx(torch.tensor(2.0).log().item() ** 2 / 2)

    clicks = ClickMetrics([Accuracy(), "auc"])
    clicks.update(torch.tensor([2.0, -1.0, 3.0, 0.5]), torch.tensor([1.0, 0, 1, 0]))
    assert {name: float(value) for name, value in clicks.compute().items()} == {"accuracy": 0.75, "auc": 1.0}
    clicks.exact = 0
    clicks.update(torch.tensor([2.0]), torch.tensor([1.0]))
    assert clicks.compute()["accuracy"].isnan()  # it does not say how to count from a histogram


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        (["recall", "ndgc"], "no metric is named 'ndgc' .did you mean 'ndcg'.*; there are recall, precision, ndcg"),
        (["recall", "recall"], "two are named 'recall'"),
        ([Largest("recall"), "recall"], "two are named 'recall'"),
        (["recall", Accuracy()], "found a Accuracy, expected a name .recall.* or a RankingMetric or CatalogueMetric"),
        ([], "expected a list such as .recall, precision."),
        ("recall", "expected a list such as .recall, precision."),
    ],
)
def test_metrics_that_cannot_be(metrics, message) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        RankingMetrics(9, [2], metrics)
    assert "\n" not in str(raised.value)


def test_what_tells_the_best_epoch() -> None:
    assert RankingMetrics(40, [20, 10]).monitor == ("ndcg@10", "max")
    assert RankingMetrics(9, [3], ["gini", "mrr", "recall"]).monitor == ("mrr@3", "max")
    assert ErrorMetrics().monitor == ("rmse", "min") and ErrorMetrics(["mae", "rmse"]).monitor == ("mae", "min")
    assert ClickMetrics().monitor == ("auc", "max")
    assert ClickMetrics(["calibration", "logloss", "auc"]).monitor == ("logloss", "min")
    with pytest.raises(ConfigError, match="popularity, gini cannot tell which epoch is best"):
        _ = RankingMetrics(9, [3], ["popularity", "gini"]).monitor


def test_directions() -> None:
    """As the papers have them; calibration is best at 1, popularity and gini have no better."""
    ways = {name: kind.higher_is_better for table in METRICS.values() for name, kind in table.items()}
    assert {name for name, way in ways.items() if way is False} == {"rmse", "mae", "logloss", "ne", "ece"}
    assert {name for name, way in ways.items() if way is None} == {"popularity", "gini", "calibration"}
    assert all(kind.name == name for table in METRICS.values() for name, kind in table.items())


@pytest.mark.parametrize("name", ["ranking", "regression", "clicks", "collections"])
def test_examples_of_docstrings(name) -> None:
    found = doctest.testmod(import_module(f"recgnn.evaluation.metrics.{name}"))
    assert found.attempted and not found.failed
