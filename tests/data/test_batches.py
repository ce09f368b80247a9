"""Batches of rows and of ratings: every entry once, in an order that seed, epoch and rank decide."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from recgnn.data import FrameLog, GivenSplit, GraphDataModule, SyntheticLog
from recgnn.data.batches import InteractionBatches, RatingBatch, RowBatches


def trainer(rank: int = 0, world: int = 1, epoch: int = 0, **model) -> SimpleNamespace:
    return SimpleNamespace(
        strategy=SimpleNamespace(root_device=torch.device("cpu")),
        lightning_module=SimpleNamespace(**model),
        global_rank=rank,
        world_size=world,
        current_epoch=epoch,
    )


def module(attached: SimpleNamespace, **options) -> GraphDataModule:
    source = SyntheticLog(num_users=23, num_items=15, interactions_per_user=6)
    data = GraphDataModule(source, **{"batch_size": 4, **options})
    data.trainer, data.seed = attached, 1
    return data


def entries(batches: list, by: str) -> list[tuple[int, int, float]]:
    """(user, item, value) of all entries."""
    found = []
    for b in batches:
        rows = b.rows[b.place].tolist()
        pairs = zip(rows, b.columns.tolist(), b.values.tolist(), strict=True)
        found += [(r, c, v) if by == "user" else (c, r, v) for r, c, v in pairs]
    return found


@pytest.mark.parametrize("by", ["user", "item"])
@pytest.mark.parametrize("task", ["rating", "ranking"])
def test_every_entry_once_an_epoch(by, task) -> None:
    data = module(trainer(training_rows=by, task=task))
    loader, train = data.train_dataloader(), data.prepared.train
    batches = list(loader)
    values = train.rating.tolist() if task == "rating" else [1.0] * len(train)
    log = list(zip(train.user.tolist(), train.item.tolist(), values, strict=True))
    assert isinstance(loader, RowBatches) and len(loader) == len(batches)
    assert Counter(entries(batches, by)) == Counter(log)
    rows = torch.cat([b.rows for b in batches]).tolist()
    assert sorted(rows) == sorted({e[by == "item"] for e in log}) and rows != sorted(rows), "shuffled"
    assert all(b.rows.numel() == 4 for b in batches[:-1]) and all(b.negatives is None for b in batches)
    for b in batches:
        order = (b.place * 1000 + b.columns).tolist()
        assert order == sorted(order)


def test_negatives_are_not_known_to_the_user() -> None:
    request = {"num": 3, "alpha": 0.0, "shared": False}
    data = module(trainer(training_rows="user", task="ranking", negative_sampling=request))
    train = data.prepared.train
    known = set(zip(train.user.tolist(), train.item.tolist(), strict=True))
    drawn = set()
    for b in data.train_dataloader():
        assert b.negatives.shape == (b.columns.numel(), 3)
        for user, items in zip(b.rows[b.place].tolist(), b.negatives.tolist(), strict=True):
            assert not known & {(user, item) for item in items}
            drawn |= set(items)
    assert len(drawn) > 10


def rows_of(**options) -> list[list[int]]:
    return [b.rows.tolist() for b in module(trainer(training_rows="user", **options)).train_dataloader()]


def test_seed_epoch_and_rank_decide_the_order() -> None:
    first = rows_of()
    torch.manual_seed(99)
    assert rows_of() == first
    assert rows_of(epoch=1) != first
    assert rows_of(rank=0, world=2) != rows_of(rank=1, world=2)
    attached = trainer(training_rows="user")
    loader = module(attached).train_dataloader()
    again = [b.rows.tolist() for b in loader]
    assert again == first
    attached.current_epoch = 1
    assert [b.rows.tolist() for b in loader] == rows_of(epoch=1)


@pytest.mark.parametrize("world", [2, 3])
def test_processes_share_the_rows(world) -> None:
    ranks = []
    for rank in range(world):
        loader = module(trainer(rank, world, training_rows="user")).train_dataloader()
        ranks.append([b.rows.tolist() for b in loader])
        assert len(loader) == len(ranks[-1])
    assert len({tuple(map(len, batches)) for batches in ranks}) == 1, "as many steps, of the same sizes"
    visited = Counter(row for batches in ranks for rows in batches for row in rows)
    assert set(visited) == set(range(23)) and visited.total() - 23 < world


def test_interactions_with_their_ratings() -> None:
    data = module(trainer(task="rating"), batch_size=16)
    loader, train = data.train_dataloader(), data.prepared.train
    assert isinstance(loader, InteractionBatches)
    batches = list(loader)
    assert all(isinstance(b, RatingBatch) for b in batches) and len(batches) == len(loader)
    found = [e for b in batches for e in zip(b.users.tolist(), b.items.tolist(), b.ratings.tolist(), strict=True)]
    log = list(zip(train.user.tolist(), train.item.tolist(), train.rating.tolist(), strict=True))
    assert Counter(found) == Counter(log) and found != log


def given() -> FrameLog:
    """Users a, b and items x, y in train; user c and item z in test alone."""
    rows = [("a", "x", 1, "train"), ("a", "y", 2, "train"), ("b", "x", 3, "train")]
    rows += [("a", "z", 5, "test"), ("c", "x", 2, "test"), ("c", "z", 1, "test"), ("b", "y", 4.5, "test")]
    frame = pd.DataFrame(rows, columns=["user", "item", "rating", "split"])
    return FrameLog(frame)


@pytest.mark.parametrize("world", [1, 2, 7])
def test_ratings_of_a_part_once_and_the_cold_ones_too(world) -> None:
    found = []
    for rank in range(world):
        data = GraphDataModule(given(), split=GivenSplit(val=0), eval_batch_size=2)
        data.trainer = trainer(rank, world, task="rating")
        blocks = data.test_dataloader()
        batches = list(blocks)
        assert len(blocks) == len(batches) and all(b.users.numel() <= 2 for b in batches)
        found += [e for b in batches for e in zip(b.users.tolist(), b.items.tolist(), b.ratings.tolist(), strict=True)]
        assert list(data.val_dataloader()) == []
    assert sorted(found) == [(-1, -1, 1.0), (-1, 0, 2.0), (0, -1, 5.0), (1, 1, 4.5)]


def test_cold_rows_are_kept_in_a_run(tmp_path) -> None:
    from recgnn.data import PreparedLog

    prepared = GraphDataModule(given(), split=GivenSplit(val=0)).prepared
    prepared.save(tmp_path / "x")
    loaded = PreparedLog.load(tmp_path / "x")
    assert loaded.cold.keys() == {"test"}
    for name in ("user", "item", "rating"):
        np.testing.assert_array_equal(getattr(loaded.cold["test"], name), getattr(prepared.cold["test"], name))
    assert len(loaded.test) == 1 and len(loaded.cold["test"]) == 3
    (dropped,) = loaded.summary["dropped"]
    assert dropped["rows"] == 3 and dropped["cold"] is True
