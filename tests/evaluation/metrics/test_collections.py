"""Metrics counted together: rankings against a loop over users that is written from the definitions."""

from __future__ import annotations

import copy
import math

import pytest
import torch

from recgnn.errors import ConfigError
from recgnn.evaluation.metrics.collections import ErrorMetrics, RankingMetrics
from recgnn.evaluation.metrics.grouped import GroupedRecall

NAMES = ("recall", "precision", "ndcg", "map", "mrr", "hitrate")


def naive(lists: list[list[int]], relevant: list[set[int]], k: int, num_items: int, popularity: list[int]):
    """The definitions, one user at a time; ids >= num_items are padding."""
    rows: list[dict[str, float]] = []
    counts = [0] * num_items
    for ranked, wanted in zip(lists, relevant, strict=True):
        if not wanted:
            continue
        hits = [rank for rank, item in enumerate(ranked[:k], start=1) if item in wanted]
        best = min(k, len(wanted))
        gains = [1 / math.log2(rank + 1) for rank in range(1, k + 1)]
        rows.append(
            {
                "recall": len(hits) / len(wanted),
                "precision": len(hits) / k,
                "ndcg": sum(gains[rank - 1] for rank in hits) / sum(gains[:best]),
                "map": sum((i + 1) / rank for i, rank in enumerate(hits)) / best,
                "mrr": 1 / hits[0] if hits else 0.0,
                "hitrate": float(bool(hits)),
            }
        )
        for item in ranked[:k]:
            if item < num_items:
                counts[item] += 1
    # gini: the mean absolute difference over all pairs, halved and divided by the mean
    pairs = sum(abs(a - b) for a in counts for b in counts)
    return {f"{n}@{k}": sum(row[n] for row in rows) / len(rows) for n in NAMES} | {
        f"coverage@{k}": sum(c > 0 for c in counts) / num_items,
        f"popularity@{k}": sum(c * p for c, p in zip(counts, popularity, strict=True)) / sum(counts),
        f"gini@{k}": pairs / (2 * num_items * sum(counts)),
    }


def floats(values: dict[str, torch.Tensor]) -> dict[str, float]:
    return {name: float(value) for name, value in values.items()}


@pytest.mark.parametrize("size", [1, 10, 57])
def test_equals_the_definitions(ranked, size):
    popularity = torch.randint(1, 500, (40,), generator=torch.Generator().manual_seed(1))
    metrics = RankingMetrics(40, [10, 5, 1, 5])
    metrics.set_popularity(popularity)
    expected = {}
    for k in (1, 5, 10):
        expected |= naive(ranked.items.tolist(), ranked.relevant, k, 40, popularity.tolist())
    for _ in range(2):  # the second round after a reset
        for block in ranked.blocks(size):
            metrics.update(*block)
        found = floats(metrics.compute())
        assert found == pytest.approx(expected, rel=2e-6, abs=1e-7) and list(found) == metrics.names
        metrics.reset()


def test_hand_made():
    metrics = RankingMetrics(num_items=6, ks=[3])
    metrics.set_popularity(torch.tensor([8, 0, 4, 0, 0, 0]))
    items = torch.tensor([[0, 1, 2], [3, 4, 5], [0, 1, 2], [5, 0, 6]])
    # user 0: {0, 2, 4, 5}, 2 twice; user 1: none; user 2: {2}; user 3: {1}, with one item only padded
    metrics.update(items, torch.tensor([0, 2, 0, 0, 0, 3, 0]), torch.tensor([4, 2, 0, 5, 2, 1, 2]))
    discount = [1 / math.log2(r + 1) for r in (1, 2, 3)]
    expected = {
        "recall@3": (2 / 4 + 1 + 0) / 3,
        "precision@3": (2 / 3 + 1 / 3 + 0) / 3,
        "ndcg@3": ((discount[0] + discount[2]) / sum(discount) + discount[2] + 0) / 3,
        "map@3": ((1 + 2 / 3) / 3 + 1 / 3 + 0) / 3,
        "mrr@3": (1 + 1 / 3 + 0) / 3,
        "hitrate@3": 2 / 3,
        "coverage@3": 4 / 6,  # 0 1 2 5; what user 1 saw does not count
        "popularity@3": (3 * 8 + 2 * 4) / 8,
        "gini@3": (-1 + 2 + 3 * 2 + 5 * 3) / (6 * 8),  # counts 0 0 1 2 2 3
    }
    assert floats(metrics.compute()) == pytest.approx(expected)


def test_nobody_has_a_label():
    metrics, none = RankingMetrics(5, [2], ["recall", "ndcg", "coverage", "gini"]), torch.tensor([], dtype=torch.long)
    metrics.update(torch.tensor([[3, 1]]), none, none)
    found = floats(metrics.compute())
    assert math.isnan(found.pop("recall@2")) and math.isnan(found.pop("ndcg@2"))
    assert set(found.values()) == {0}


def test_a_value_read_between_blocks_is_not_stale():
    metrics = RankingMetrics(3, [1], ["recall"])
    metrics.update(torch.tensor([[0]]), torch.tensor([0]), torch.tensor([0]))
    assert float(metrics.compute()["recall@1"]) == 1
    metrics.update(torch.tensor([[0]]), torch.tensor([0]), torch.tensor([1]))
    assert float(metrics.compute()["recall@1"]) == 0.5


def test_lists_that_are_too_short():
    with pytest.raises(ConfigError, match="lists of 20 items, found 10"):
        RankingMetrics(10, [5, 20]).update(torch.zeros(2, 10, dtype=torch.long), torch.tensor([0]), torch.tensor([0]))


def test_no_state_in_checkpoints_and_its_own_precision(ranked):
    module = torch.nn.Module()
    module.metrics, module.ratings = RankingMetrics(40, [5]), ErrorMetrics()
    module.metrics.set_popularity(torch.arange(40))
    assert not module.state_dict()
    expected = copy.deepcopy(module.metrics)
    module.to(torch.bfloat16)
    for metrics in (module.metrics, expected):
        for _ in range(20):
            metrics.update(*ranked)
    assert module.metrics.compute() == expected.compute()
    module.ratings.update(torch.full((1000,), 1.25), torch.full((1000,), 1.0))
    module.ratings.update(torch.full((1,), 1.25), torch.full((1,), 1.0))
    assert float(module.ratings.compute()["rmse"]) == 0.25


def test_usable_after_inference_mode(ranked):
    metrics = RankingMetrics(40, [5], ["recall", "coverage"])
    with torch.inference_mode():
        metrics.update(*ranked)
        first = metrics.compute()
        metrics.reset()
    metrics.update(*ranked)
    assert metrics.compute() == first


def test_update_never_waits_for_the_device(ranked):
    """A meta tensor has a shape but no values: reading one, which makes a GPU wait, fails."""
    metrics = RankingMetrics(40, [5, 10]).to("meta")
    groups = GroupedRecall(10, torch.arange(57) % 3, torch.arange(40) % 4, 3, 4).to("meta")
    errors = ErrorMetrics().to("meta")
    block = [part.to("meta") for part in ranked]
    metrics.update(*block)
    groups.update(block[0][:, 0], *block)
    errors.update(block[1].float(), block[1].float())
    with pytest.raises(RuntimeError, match="meta"):
        bool(metrics.num_users > 0)


def _worker(rank: int, folder: str, blocks: list) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    metrics = RankingMetrics(40, [5, 10])
    metrics.set_popularity(torch.arange(40))
    groups, errors = GroupedRecall(10, torch.arange(57) % 3, torch.arange(40) % 4, 3, 4), ErrorMetrics()
    for number, block in enumerate(blocks):
        if number % 2 == rank:
            metrics.update(*block)
            groups.update(torch.arange(len(block[0])) + 10 * number, *block)
            errors.update(block[0][:, 0].float(), block[0][:, 1].float())
    if rank == 1:  # a row that only fills the shard up
        none = torch.tensor([], dtype=torch.long)
        metrics.update(blocks[0][0][:1], none, none)
        groups.update(torch.tensor([0]), blocks[0][0][:1], none, none)
    torch.save((metrics.compute(), groups.compute(), errors.compute()), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_processes_equal_one(ranked, tmp_path):
    arguments = (str(tmp_path), list(ranked.blocks(10)))  # forked: nothing here has a gradient
    torch.multiprocessing.start_processes(_worker, arguments, nprocs=2, start_method="fork")
    metrics = RankingMetrics(40, [5, 10])
    metrics.set_popularity(torch.arange(40))
    metrics.update(*ranked)
    groups, errors = GroupedRecall(10, torch.arange(57) % 3, torch.arange(40) % 4, 3, 4), ErrorMetrics()
    groups.update(torch.arange(57), *ranked)
    errors.update(ranked.items[:, 0].float(), ranked.items[:, 1].float())
    for rank in range(2):
        for found, metric in zip(torch.load(tmp_path / f"{rank}.pt"), (metrics, groups, errors), strict=True):
            torch.testing.assert_close(found, metric.compute())
