"""Metrics by group and of each user, and events that are kept, against loops written from their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from recgnn.evaluation.metrics.collections import ErrorMetrics, RankingMetrics
from recgnn.evaluation.metrics.grouped import GroupedErrors, GroupedRecall, SampledEvents, UserRankings
from recgnn.evaluation.metrics.ranking import Precision, Recall


def test_grouped_recall(ranked):
    users = torch.randperm(80, generator=torch.Generator().manual_seed(1))[:57]
    metric = GroupedRecall(10, torch.arange(80) % 3, torch.arange(40) % 4, 4, 5)  # one group stays empty in each
    for at, block in zip(range(0, 57, 10), ranked.blocks(10), strict=True):
        metric.update(users[at : at + 10], *block)
    found = metric.compute()
    shown, relevant = [set(row) for row in ranked.items[:, :10].tolist()], ranked.relevant
    for g in range(3):
        own = [u for u in range(57) if relevant[u] and users[u] % 3 == g]
        recalls = [len(relevant[u] & shown[u]) / len(relevant[u]) for u in own]
        assert int(found["by_user_count"][g]) == len(recalls)
        assert float(found["by_user"][g]) == pytest.approx(sum(recalls) / len(recalls))
    for g in range(4):
        wanted = [(u, i) for u in range(57) for i in relevant[u] if i % 4 == g]
        assert int(found["by_item_count"][g]) == len(wanted)
        assert float(found["by_item"][g]) == pytest.approx(sum(i in shown[u] for u, i in wanted) / len(wanted))
    assert math.isnan(found["by_user"][3]) and math.isnan(found["by_item"][4])


def test_the_mean_of_users_is_the_metric(ranked):
    metrics = RankingMetrics(40, [5, 10], ["recall", "precision"])
    users = UserRankings(40, [5, 10], [Recall(), Precision()])
    for start, block in zip(range(0, 57, 10), ranked.blocks(10), strict=True):
        metrics.update(*block)
        users.update(torch.arange(start, start + len(block[0])), *block)
    found, values = users.compute()
    assert found.tolist() == [user for user, items in enumerate(ranked.relevant) if items]
    for name, value in metrics.compute().items():
        assert values[name].mean().item() == pytest.approx(value.item(), rel=1e-6), name


def test_no_metric_of_users():
    """Where only the catalogue is measured."""
    users = UserRankings(5, [2], [])
    users.update(torch.tensor([3]), torch.tensor([[0, 1]]), torch.tensor([0]), torch.tensor([4]))
    found, values = users.compute()
    assert found.item() == 3 and values == {}


def rated(size: int = 101) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Predictions, ratings and groups 0, 1 and 3 of 5."""
    random = torch.Generator().manual_seed(3)
    labels = torch.randint(1, 6, (size,), generator=random).float()
    group = torch.tensor([0, 1, 3])[torch.randint(3, (size,), generator=random)]
    return labels + torch.randn(size, generator=random), labels, group


def test_grouped_errors():
    columns = rated()
    metric, overall = GroupedErrors(5), ErrorMetrics()
    for at in range(0, 101, 25):
        metric.update(*(column[at : at + 25] for column in columns))
    found = metric.compute()
    assert found.keys() == {"rmse", "mae", "predicted", "count"}
    prediction, label, group = (column.double().numpy() for column in columns)
    for number in range(5):
        own = group == number
        assert int(found["count"][number]) == own.sum()
        if number in (2, 4):
            assert all(math.isnan(found[name][number]) for name in ("rmse", "mae", "predicted"))
            continue
        error = prediction[own] - label[own]
        assert float(found["rmse"][number]) == pytest.approx(np.sqrt(np.mean(error**2)))
        assert float(found["mae"][number]) == pytest.approx(np.mean(np.abs(error)))
        assert float(found["predicted"][number]) == pytest.approx(np.mean(prediction[own]))
    overall.update(*columns[:2])
    total = (found["rmse"].nan_to_num() ** 2 * found["count"]).sum() / found["count"].sum()
    assert float(total.sqrt()) == pytest.approx(float(overall.compute()["rmse"]))
    metric.reset()
    metric.update(torch.tensor([1.0]), torch.tensor([3.0]), torch.tensor([4]))
    assert metric.compute()["rmse"].tolist()[4] == 2 and metric.compute()["count"].tolist() == [0, 0, 0, 0, 1]


def test_grouped_errors_keep_small_ones_among_many():
    """Sums in double precision: a million small errors, added one batch after another."""
    metric, size = GroupedErrors(1), 10_000
    group = torch.zeros(size, dtype=torch.long)
    metric.update(torch.full((1,), 1001.0), torch.full((1,), 1.0), group[:1])
    for _ in range(100):
        metric.update(torch.full((size,), 1.01), torch.full((size,), 1.0), group)
    error = float(torch.tensor(1.01)) - 1
    expected = math.sqrt((1000**2 + 10**6 * error**2) / (10**6 + 1))
    assert float(metric.compute()["rmse"]) == pytest.approx(expected, rel=1e-9)


def test_grouped_errors_of_two_processes_equal_one():
    """What would be gathered from the other process is taken from a second metric."""
    columns = rated()
    group = columns[2]
    first = (torch.arange(101) % 2 == 0) & (group != 1) | (group == 3)  # groups 1 and 3 stand on one process alone
    own, other, whole = GroupedErrors(5), GroupedErrors(5), GroupedErrors(5)
    own.update(*(column[first] for column in columns))
    other.update(*(column[~first] for column in columns))
    whole.update(*columns)

    def gather(value: torch.Tensor, **_) -> list[torch.Tensor]:
        (name,) = [n for n in ("squared", "absolute", "total", "count") if getattr(own, n) is value]
        return [value, getattr(other, name)]

    own.dist_sync_fn, own.distributed_available_fn = gather, lambda: True
    torch.testing.assert_close(own.compute(), whole.compute(), equal_nan=True)


def test_events_are_kept_up_to_a_number():
    sample, labels = SampledEvents(), torch.tensor([1.0, 0, 1])
    sample.update(torch.tensor([0.5, 0, 2]), labels, torch.tensor([7, 8, 9]), None)
    kept = sample.compute()
    assert kept.predictions.tolist() == [0.5, 0, 2] and kept.values.tolist() == [7, 8, 9]
    assert kept.groups.tolist() == [-1] * 3 and kept.complete
    sample.most = 3
    sample.update(torch.ones(3), labels, None, torch.tensor([1, 1, 1]))
    kept = sample.compute()
    assert kept.labels.tolist() == labels.tolist() and not kept.complete
