"""Every metric against a loop over users that is written from its definition."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from torch_geometric import metrics as pyg

from recgnn.errors import ConfigError
from recgnn.evaluation.metrics.collections import ErrorMetrics, RankingMetrics
from recgnn.evaluation.metrics.grouped import GroupedErrors, GroupedRecall, quantile_groups
from recgnn.evaluation.metrics.ranking import Gini

NAMES = ("recall", "precision", "ndcg", "map", "mrr", "hitrate")


def naive(topk: list[list[int]], relevant: list[set[int]], k: int, num_items: int, popularity=None):
    """The definitions, one user at a time; ids >= num_items are padding."""
    rows: list[dict[str, float]] = []
    counts = [0] * num_items
    for ranked, wanted in zip(topk, relevant, strict=True):
        if not wanted:
            continue
        hits = [rank for rank, item in enumerate(ranked[:k], start=1) if item in wanted]
        best = min(k, len(wanted))
        rows.append(
            {
                "recall": len(hits) / len(wanted),
                "precision": len(hits) / k,
                "ndcg": sum(1 / math.log2(r + 1) for r in hits)
                / sum(1 / math.log2(r + 1) for r in range(1, best + 1)),
                "map": sum((i + 1) / r for i, r in enumerate(hits)) / best,
                "mrr": 1 / hits[0] if hits else 0.0,
                "hitrate": float(bool(hits)),
            }
        )
        for item in ranked[:k]:
            if item < num_items:
                counts[item] += 1
    result = {f"{n}@{k}": sum(row[n] for row in rows) / len(rows) for n in NAMES}
    result[f"coverage@{k}"] = sum(c > 0 for c in counts) / num_items
    if popularity is not None:
        result[f"popularity@{k}"] = sum(
            c * p for c, p in zip(counts, popularity, strict=True)
        ) / sum(counts)
    # the mean absolute difference over all pairs, halved and divided by the mean
    pairs = sum(abs(a - b) for a in counts for b in counts)
    result[f"gini@{k}"] = pairs / (2 * num_items * sum(counts))
    return result


def random_log(seed: int, users: int = 57, items: int = 40, kmax: int = 12):
    """Ranked lists with padding at the end, and labels in random order with repeats and gaps."""
    gen = torch.Generator().manual_seed(seed)
    topk = torch.rand(users, items, generator=gen).argsort(dim=1)[:, :kmax]
    length = torch.randint(3, kmax + 1, (users, 1), generator=gen)
    topk = topk.where(torch.arange(kmax) < length, items)
    rows = torch.randint(0, users, (users * 4,), generator=gen)
    rows = rows[rows % 5 != 0]  # every fifth user has no label
    labels = torch.randint(0, items, (rows.numel(),), generator=gen)
    relevant = [set(labels[rows == u].tolist()) for u in range(users)]
    assert rows.numel() > sum(map(len, relevant)), "the test wants repeated labels"
    return topk, rows, labels, relevant


def blocks(topk, rows, labels, size):
    """The same users in blocks, rows counted from the start of each block."""
    for start in range(0, len(topk), size):
        inside = (rows >= start) & (rows < start + size)
        yield topk[start : start + size], rows[inside] - start, labels[inside]


def assert_close(found: dict, expected: dict):
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert float(found[name]) == pytest.approx(value, rel=2e-6, abs=1e-7), name


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("size", [1, 10, 57])
def test_equals_the_definitions(seed, size):
    topk, rows, labels, relevant = random_log(seed)
    popularity = torch.randint(1, 500, (40,), generator=torch.Generator().manual_seed(seed))
    metrics = RankingMetrics(ks=[10, 5, 1], num_items=40)
    metrics.set_popularity(popularity)
    for _ in range(2):  # the second round after a reset
        for block in blocks(topk, rows, labels, size):
            metrics.update(*block)
        expected = {}
        for k in (1, 5, 10):
            expected |= naive(topk.tolist(), relevant, k, 40, popularity.tolist())
        assert_close(metrics.compute(), expected)
        metrics.reset()


def test_hand_made():
    metrics = RankingMetrics(ks=[3], num_items=6)
    topk = torch.tensor([[0, 1, 2], [3, 4, 5], [0, 1, 2], [5, 0, 6]])
    # user 0: {0, 2, 4, 5}; user 1: none; user 2: {2}; user 3: {1}, with one item only padded
    metrics.update(topk, torch.tensor([0, 2, 0, 0, 0, 3]), torch.tensor([4, 2, 0, 5, 2, 1]))
    discount = [1 / math.log2(r + 1) for r in (1, 2, 3)]
    expected = {
        "recall@3": (2 / 4 + 1 + 0) / 3,
        "precision@3": (2 / 3 + 1 / 3 + 0) / 3,
        "ndcg@3": ((discount[0] + discount[2]) / sum(discount) + discount[2] + 0) / 3,
        "map@3": ((1 + 2 / 3) / 3 + 1 / 3 + 0) / 3,
        "mrr@3": (1 + 1 / 3 + 0) / 3,
        "hitrate@3": 2 / 3,
        "coverage@3": 4 / 6,  # 0 1 2 5; what user 1 saw does not count
        "gini@3": (-1 + 2 + 3 * 2 + 5 * 3) / (6 * 8),  # counts 0 0 1 2 2 3
    }
    assert_close(metrics.compute(), expected)


def test_equals_pyg_on_clean_input():
    topk, rows, labels, _ = random_log(3)
    topk = torch.rand(57, 40, generator=torch.Generator().manual_seed(3)).argsort(dim=1)[:, :12]
    pairs = torch.stack([rows, labels]).unique(dim=1)
    keep = topk[pairs[0].unique()]  # PyG's coverage and popularity count users without labels too
    popularity = torch.arange(40)
    reference = pyg.LinkPredMetricCollection(
        {
            "recall@10": pyg.LinkPredRecall(10),
            "ndcg@10": pyg.LinkPredNDCG(10),
            "map@10": pyg.LinkPredMAP(10),
        }
    )
    coverage = pyg.LinkPredCoverage(10, 40)
    average = pyg.LinkPredAveragePopularity(10, popularity)
    reference.update(topk, pairs)
    coverage.update(keep, pairs)
    average.update(keep, pairs)
    metrics = RankingMetrics(40, [10], metrics=["recall", "ndcg", "map"])
    metrics.set_popularity(popularity)
    metrics.update(topk, rows, labels)
    found = metrics.compute()
    for name, metric in reference.items():
        assert float(found[name]) == pytest.approx(float(metric.compute()), rel=1e-6), name
    assert float(found["coverage@10"]) == pytest.approx(float(coverage.compute()))
    assert float(found["popularity@10"]) == pytest.approx(float(average.compute()))


def test_pitfalls():
    metrics = RankingMetrics(5, [2])
    # padding of any kind hits nothing, not even a label of the row before or after
    for padding in ([5, 6], [-1, -1], [-2, -1], [99, -7]):
        topk = torch.tensor([padding, [5, 5], padding])
        metrics.update(topk, torch.tensor([0, 1, 1, 2]), torch.tensor([4, 0, 4, 0]))
    assert all(float(v) == 0 for v in metrics.compute().values())
    metrics.reset()
    # a repeated label is one label
    metrics.update(torch.tensor([[3, 1]]), torch.tensor([0, 0, 0]), torch.tensor([3, 3, 3]))
    found = metrics.compute()
    assert float(found["recall@2"]) == float(found["ndcg@2"]) == float(found["map@2"]) == 1.0
    metrics.reset()
    # nobody has a label
    none = torch.tensor([], dtype=torch.long)
    metrics.update(torch.tensor([[3, 1]]), none, none)
    assert all(float(v) == 0 for v in metrics.compute().values())


def test_a_value_read_between_blocks_is_not_stale():
    metrics = RankingMetrics(3, [1], metrics=["recall"])
    one = (torch.tensor([[0]]), torch.tensor([0]), torch.tensor([0]))
    two = (torch.tensor([[0]]), torch.tensor([0]), torch.tensor([1]))
    metrics.update(*one)
    assert float(metrics.compute()["recall@1"]) == 1
    metrics.update(*two)
    assert float(metrics.compute()["recall@1"]) == 0.5


def test_clear_errors():
    with pytest.raises(ConfigError, match="'ndgc'.*did you mean 'ndcg'"):
        RankingMetrics(10, [5], metrics=["ndgc"])
    with pytest.raises(ConfigError, match="'x'; there are recall, precision"):
        RankingMetrics(10, [5], metrics=["x"])
    for ks in ([], [0], [5, -1], [2.5]):
        with pytest.raises(ConfigError, match="expected numbers from 1 up"):
            RankingMetrics(10, ks)
    metrics = RankingMetrics(10, [5, 20])
    with pytest.raises(ConfigError, match="lists of 20 items, found 10"):
        metrics.update(torch.zeros(2, 10, dtype=torch.long), torch.tensor([0]), torch.tensor([0]))


def test_no_state_in_checkpoints_and_its_own_precision():
    module = torch.nn.Module()
    module.metrics = RankingMetrics(40, [5])
    module.metrics.set_popularity(torch.arange(40))
    module.ratings = ErrorMetrics()
    assert not module.state_dict()
    expected = copy.deepcopy(module.metrics)
    module.to(torch.bfloat16)
    topk, rows, labels, _ = random_log(0)
    for metrics in (module.metrics, expected):
        for _ in range(20):
            metrics.update(topk, rows, labels)
    assert module.metrics.compute() == expected.compute()
    module.ratings.update(torch.full((1000,), 1.25), torch.full((1000,), 1.0))
    module.ratings.update(torch.full((1,), 1.25), torch.full((1,), 1.0))
    assert float(module.ratings.compute()["rmse"]) == 0.25


def test_usable_after_inference_mode():
    metrics = RankingMetrics(40, [5])
    topk, rows, labels, _ = random_log(0)
    with torch.inference_mode():
        metrics.update(topk, rows, labels)
        first = metrics.compute()
        metrics.reset()
    metrics.update(topk, rows, labels)
    assert metrics.compute() == first


def test_update_never_waits_for_the_device():
    """A meta tensor has a shape but no values: reading one, which makes a GPU wait, fails."""
    metrics = RankingMetrics(40, [5, 10]).to("meta")
    groups = GroupedRecall(10, torch.arange(57) % 3, torch.arange(40) % 4, 3, 4).to("meta")
    topk = torch.zeros(57, 12, dtype=torch.long, device="meta")
    rows = torch.zeros(90, dtype=torch.long, device="meta")
    metrics.update(topk, rows, rows)
    groups.update(rows[:57], topk, rows, rows)
    with pytest.raises(RuntimeError, match="meta"):
        bool(metrics.num_users > 0)


def test_grouped_recall():
    topk, rows, labels, relevant = random_log(4)
    users = torch.randperm(80, generator=torch.Generator().manual_seed(1))[:57]
    user_group, item_group = torch.arange(80) % 3, torch.arange(40) % 4
    metric = GroupedRecall(10, user_group, item_group, 4, 5)  # one group stays empty in each
    for at, block in zip(range(0, 57, 10), blocks(topk, rows, labels, 10), strict=True):
        metric.update(users[at : at + 10], *block)
    found = metric.compute()
    for g in range(3):
        recalls = [
            len(relevant[b] & set(topk[b, :10].tolist())) / len(relevant[b])
            for b in range(57)
            if relevant[b] and users[b] % 3 == g
        ]
        assert int(found["by_user_count"][g]) == len(recalls)
        assert float(found["by_user"][g]) == pytest.approx(sum(recalls) / len(recalls))
    for g in range(4):
        wanted = [(b, i) for b in range(57) for i in relevant[b] if i % 4 == g]
        hits = sum(i in topk[b, :10].tolist() for b, i in wanted)
        assert int(found["by_item_count"][g]) == len(wanted)
        assert float(found["by_item"][g]) == pytest.approx(hits / len(wanted))
    assert math.isnan(found["by_user"][3]) and math.isnan(found["by_item"][4])
    overall = RankingMetrics(40, [10], metrics=["recall"])
    overall.update(topk, rows, labels)
    weighted = (found["by_user"] * found["by_user_count"])[:3].sum() / found["by_user_count"].sum()
    assert float(weighted) == pytest.approx(float(overall.compute()["recall@10"]))


def test_quantile_groups():
    counts = torch.tensor([5, 1, 9, 2, 30, 7, 3, 4])
    group, labels = quantile_groups(counts, 4)
    assert labels == ["1-2", "3-4", "5-7", "9-30"]
    assert group.tolist() == [2, 0, 3, 0, 3, 2, 1, 1]
    group, labels = quantile_groups(torch.tensor([1] * 9 + [50]), 4)  # ties stay together
    assert labels == ["1", "50"] and group.tolist() == [0] * 9 + [1]
    gen = torch.Generator().manual_seed(0)
    counts = (torch.rand(10_000, generator=gen) * -3).exp().mul(5000).long()
    group, labels = quantile_groups(counts, 5)
    assert torch.bincount(group).tolist() == pytest.approx([2000] * 5, rel=0.05)
    for g, label in enumerate(labels):
        low, high = map(int, label.split("-"))
        assert torch.equal(group == g, (counts >= low) & (counts <= high))


def test_gini():
    assert float(Gini().of_counts(torch.tensor([4, 4, 4, 4]), None)) == 0
    assert float(Gini().of_counts(torch.tensor([0, 0, 0, 8]), None)) == pytest.approx(3 / 4)  # (n - 1) / n
    assert float(Gini().of_counts(torch.tensor([0, 0]), None)) == 0


def test_rating_metrics():
    pred, target = torch.randn(101), torch.randn(101)
    metrics = ErrorMetrics()
    for at in range(0, 101, 25):
        metrics.update(pred[at : at + 25], target[at : at + 25])
    found = metrics.compute()
    errors = [p - t for p, t in zip(pred.tolist(), target.tolist(), strict=True)]
    assert float(found["rmse"]) == pytest.approx(math.sqrt(sum(e * e for e in errors) / 101))
    assert float(found["mae"]) == pytest.approx(sum(map(abs, errors)) / 101)
    metrics.reset()
    metrics.update(torch.tensor([1.0]), torch.tensor([3.0]))
    assert {n: float(v) for n, v in metrics.compute().items()} == {"rmse": 2.0, "mae": 2.0}


def _worker(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    topk, rows, labels, _ = random_log(5)
    metrics = RankingMetrics(40, [5, 10])
    metrics.set_popularity(torch.arange(40))
    groups = GroupedRecall(10, torch.arange(57) % 3, torch.arange(40) % 4, 3, 4)
    parts = blocks(topk, rows, labels, 10)
    for number, block in enumerate(parts):
        if number % 2 == rank:
            metrics.update(*block)
            groups.update(torch.arange(len(block[0])) + 10 * number, *block)
    if rank == 1:  # a row that only fills the shard up
        none = torch.tensor([], dtype=torch.long)
        metrics.update(topk[:1], none, none)
        groups.update(torch.tensor([0]), topk[:1], none, none)
    torch.save((metrics.compute(), groups.compute()), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_processes_equal_one(tmp_path):
    torch.multiprocessing.spawn(_worker, (str(tmp_path),), nprocs=2)
    topk, rows, labels, _ = random_log(5)
    metrics = RankingMetrics(40, [5, 10])
    metrics.set_popularity(torch.arange(40))
    metrics.update(topk, rows, labels)
    groups = GroupedRecall(10, torch.arange(57) % 3, torch.arange(40) % 4, 3, 4)
    groups.update(torch.arange(57), topk, rows, labels)
    for rank in range(2):
        ranking, grouped = torch.load(tmp_path / f"{rank}.pt")
        assert_close(ranking, {n: float(v) for n, v in metrics.compute().items()})
        for name, value in groups.compute().items():
            torch.testing.assert_close(grouped[name], value)


def rated(size: int = 101) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Predictions, ratings and groups 0, 1 and 3 of 5."""
    gen = torch.Generator().manual_seed(3)
    target = torch.randint(1, 6, (size,), generator=gen).float()
    group = torch.tensor([0, 1, 3])[torch.randint(3, (size,), generator=gen)]
    return target + torch.randn(size, generator=gen), target, group


def test_grouped_errors():
    pred, target, group = rated()
    metric = GroupedErrors(5)
    for at in range(0, 101, 25):
        metric.update(pred[at : at + 25], target[at : at + 25], group[at : at + 25])
    found = metric.compute()
    assert found.keys() == {"rmse", "mae", "predicted", "count"}
    p, t, g = pred.double().numpy(), target.double().numpy(), group.numpy()
    for number in range(5):
        own = g == number
        assert int(found["count"][number]) == own.sum()
        if number in (2, 4):
            assert all(math.isnan(found[name][number]) for name in ("rmse", "mae", "predicted"))
            continue
        error = p[own] - t[own]
        assert float(found["rmse"][number]) == pytest.approx(np.sqrt(np.mean(error**2)))
        assert float(found["mae"][number]) == pytest.approx(np.mean(np.abs(error)))
        assert float(found["predicted"][number]) == pytest.approx(np.mean(p[own]))
    rows, overall = found["count"], ErrorMetrics()
    overall.update(pred, target)
    total = (found["rmse"].nan_to_num() ** 2 * rows).sum() / rows.sum()
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


def test_grouped_errors_never_wait_for_the_device():
    metric = GroupedErrors(5).to("meta")
    metric.update(*(x.to("meta") for x in rated()))
    with pytest.raises(RuntimeError, match="meta"):
        bool(metric.count.sum() > 0)


def test_grouped_errors_of_two_processes_equal_one():
    """What would be gathered from the other process is taken from a second metric."""
    pred, target, group = rated()
    first = (torch.arange(101) % 2 == 0) & (group != 1) | (group == 3)  # groups 1 and 3 stand on one process alone
    own, other, whole = GroupedErrors(5), GroupedErrors(5), GroupedErrors(5)
    own.update(pred[first], target[first], group[first])
    other.update(pred[~first], target[~first], group[~first])
    whole.update(pred, target, group)

    def gather(value: torch.Tensor, **_) -> list[torch.Tensor]:
        (name,) = [n for n in ("squared", "absolute", "total", "count") if getattr(own, n) is value]
        return [value, getattr(other, name)]

    own.dist_sync_fn, own.distributed_available_fn = gather, lambda: True
    found, expected = own.compute(), whole.compute()
    assert found["count"].tolist() == torch.bincount(group, minlength=5).tolist()
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], equal_nan=True)
