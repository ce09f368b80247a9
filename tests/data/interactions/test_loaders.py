"""Batches of whole rows and of ratings: what an epoch visits, and what every process gets."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from recgnn.data import FrameLog, GivenSplit, GraphDataModule, RatioSplit, SyntheticLog
from recgnn.data.interactions.loaders import EvalBatch, RatingBatch, Request, RowBatch, RowBatches, TrainBatch
from recgnn.data.interactions.sampling import InBatch, Uniform
from recgnn.data.shard import Shard

USERS, ITEMS = 31, 40


def trainer(rank: int = 0, world: int = 1, epoch: int = 0, **asks) -> SimpleNamespace:
    """A process of a Trainer, and the `Request` of what it trains."""
    return SimpleNamespace(
        global_rank=rank,
        world_size=world,
        current_epoch=epoch,
        strategy=SimpleNamespace(root_device=torch.device("cpu")),
        request=Request(**asks),
    )


@pytest.fixture(scope="module")
def module(tmp_path_factory):
    """Makes a data module for a Trainer."""
    cache = tmp_path_factory.mktemp("cache")

    def make(attached: SimpleNamespace | None = None, seed: int = 1, **arguments) -> GraphDataModule:
        source = arguments.pop("source", None) or SyntheticLog(num_users=USERS, num_items=ITEMS)
        split = arguments.pop("split", None) or RatioSplit(by="all")
        data = GraphDataModule(source, split=split, cache_dir=str(cache), **({"batch_size": 7} | arguments))
        data.seed, data.trainer = seed, attached
        data.request = attached.request if attached else data.request
        data.setup("fit")
        return data

    return make


def log(data: GraphDataModule, by: str, rated: bool) -> dict[int, dict[int, float]]:
    """The rows of train as dictionaries: {row: {column: rating or 1}}."""
    part, rows = data.prepared.train, {}
    for user, item, rating in zip(part.user.tolist(), part.item.tolist(), part.rating.tolist(), strict=True):
        row, column = (user, item) if by == "user" else (item, user)
        rows.setdefault(row, {})[column] = rating if rated else 1.0
    return rows


def entries(batch: RowBatch) -> dict[int, tuple[list[int], list[float]]]:
    """The columns and values of each row of a batch, in the order they have there."""
    found = {row: ([], []) for row in batch.rows.tolist()}
    assert len(found) == batch.rows.numel(), "no row twice"
    rows = batch.rows.tolist()
    for place, column, value in zip(batch.place.tolist(), batch.columns.tolist(), batch.values.tolist(), strict=True):
        found[rows[place]][0].append(column)
        found[rows[place]][1].append(value)
    return found


# ---- rows of the interaction matrix


@pytest.mark.parametrize("task", ["rating", "ranking"])
@pytest.mark.parametrize("by", ["user", "item"])
def test_every_row_once_an_epoch_with_all_its_entries(module, by: str, task: str) -> None:
    data = module(trainer(rows=by, task=task))
    expected = log(data, by, task == "rating")
    loader = data.train_dataloader()
    batches = list(loader)
    assert len(loader) == len(batches) == -(-len(expected) // 7)
    assert [b.rows.numel() for b in batches[:-1]] == [7] * (len(batches) - 1)
    order = [row for b in batches for row in b.rows.tolist()]
    assert sorted(order) == sorted(expected), "every row with an entry, once"
    assert order != sorted(order), "shuffled"
    for batch in batches:
        assert batch.negatives is None, "nobody asks for negatives"
        assert (batch.place.diff() >= 0).all(), "sorted by row"
        for row, (columns, values) in entries(batch).items():
            assert columns == sorted(expected[row])
            assert values == [expected[row][column] for column in columns]
    if task == "rating":
        assert {v for b in batches for v in b.values.tolist()} > {2.0, 5.0}


def test_rows_without_an_entry_are_not_visited(module) -> None:
    """Item 4 is in test alone; train has no row of it."""
    rows = [(1, 1), (1, 2), (2, 2), (2, 3), (3, 1)]
    frame = pd.DataFrame(rows, columns=["user", "item"]).assign(split="train")
    frame.loc[len(frame)] = (3, 4, "test")
    frame.loc[len(frame)] = (2, 1, "test")
    data = module(
        trainer(rows="item"), source=FrameLog(frame), split=GivenSplit(val=0), batch_size=2
    )
    ids = data.prepared.items.decode(torch.cat([b.rows for b in data.train_dataloader()]).numpy())
    assert sorted(ids) == [1, 2, 3]


def test_negatives_of_rows_are_not_known(module) -> None:
    data = module(trainer(rows="user", negatives=Uniform(3)))
    known = log(data, "user", False)
    drawn = Counter()
    for batch in data.train_dataloader():
        assert batch.negatives.shape == (batch.columns.numel(), 3)
        for place, items in zip(batch.place.tolist(), batch.negatives.tolist(), strict=True):
            assert not known[int(batch.rows[place])].keys() & set(items)
            drawn.update(items)
    assert len(drawn) == ITEMS, "any other item may be drawn"


def drawn(module, seed: int = 1, rank: int = 0, world: int = 1, epoch: int = 0) -> list[list[int]]:
    attached = trainer(rank, world, epoch, rows="user", negatives=Uniform(3))
    return [torch.cat([b.rows, b.negatives.flatten()]).tolist() for b in module(attached, seed).train_dataloader()]


def test_seed_epoch_and_rank_decide_rows_and_negatives(module) -> None:
    first = drawn(module)
    torch.manual_seed(99)
    assert drawn(module) == first
    assert drawn(module, seed=2) != first
    assert drawn(module, epoch=1) != first
    one, other = (drawn(module, rank=rank, world=2) for rank in (0, 1))
    assert not {row for batch in one for row in batch[:4]} == {row for batch in other for row in batch[:4]}


def test_a_second_pass_follows_the_epoch(module) -> None:
    attached = trainer(rows="item", task="rating")
    loader = module(attached).train_dataloader()
    orders = []
    for epoch in (0, 0, 1):
        attached.current_epoch = epoch
        orders.append(torch.cat([b.rows for b in loader]).tolist())
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[0]) == sorted(orders[2])


@pytest.mark.parametrize("by", ["user", "item"])
@pytest.mark.parametrize("world", [2, 3])
def test_processes_share_the_rows(module, world: int, by: str) -> None:
    """31 users, 40 items: 2 and 3 processes cannot share either out evenly, or not both."""
    ranks = []
    for rank in range(world):
        loader = module(
            trainer(rank, world, rows=by, negatives=Uniform(3) if by == "user" else None), batch_size=4
        ).train_dataloader()
        ranks.append(list(loader))
        assert len(loader) == len(ranks[-1]), "the length that Lightning is told"
    assert len({len(batches) for batches in ranks}) == 1, "the same number of steps everywhere"
    sizes = [[b.rows.numel() for b in step] for step in zip(*ranks, strict=True)]
    assert all(max(step) - min(step) <= 1 for step in sizes), "of the same size"
    visited = Counter(row for batches in ranks for b in batches for row in b.rows.tolist())
    assert visited == Counter([*log(module(), by, False)])
    assert len({tuple(b.rows.tolist()) for b in (batches[0] for batches in ranks)}) == world
    if by == "user":
        assert len({tuple(batches[0].negatives.flatten()[:12].tolist()) for batches in ranks}) == world


def test_without_a_trainer_there_are_batches_of_interactions(module) -> None:
    assert all(isinstance(b, TrainBatch) for b in module().train_dataloader())


# ---- ratings to train on


def triples(batches) -> list[tuple[int, int, float]]:
    return [row for b in batches for row in zip(*(x.tolist() for x in b if x is not None), strict=True)]


def of_part(data: GraphDataModule, *parts) -> list[tuple[int, int, float]]:
    columns = ([x.tolist() for x in (part.user, part.item, part.rating)] for part in parts)
    return [row for column in columns for row in zip(*column, strict=True)]


@pytest.mark.parametrize("world", [1, 2, 3])
def test_ratings_come_with_their_users_and_items(module, world: int) -> None:
    ranks = []
    for rank in range(world):
        data = module(trainer(rank, world, task="rating"), batch_size=10)
        loader = data.train_dataloader()
        ranks.append(list(loader))
        assert len(loader) == len(ranks[-1]) and all(isinstance(b, RatingBatch) for b in ranks[-1])
    expected = of_part(data, data.prepared.train)
    sizes = [[b.users.numel() for b in step] for step in zip(*ranks, strict=True)]
    assert all(max(step) - min(step) <= 1 for step in sizes)
    visited = Counter(row for batches in ranks for row in triples(batches))
    assert visited == Counter(expected) and len(set(expected)) == len(expected)
    assert triples(ranks[0]) != expected[: len(triples(ranks[0]))], "shuffled"


def test_the_order_of_ratings_follows_seed_and_epoch(module) -> None:
    def order(seed: int = 1, epoch: int = 0) -> list:
        return triples(module(trainer(epoch=epoch, task="rating"), seed).train_dataloader())

    first = order()
    assert order() == first and order(seed=2) != first and order(epoch=1) != first
    assert sorted(order(epoch=1)) == sorted(first)


# ---- ratings to measure


def cold_log() -> FrameLog:
    """Users 1 to 8 and items 1 to 9; user 77 and item 99 are in val and test alone."""
    pairs = [(u, i) for u in range(1, 9) for i in range(1, 10)]
    rows = [(u, i, 1 + (u + i) % 5, "train") for u, i in pairs if (u + i) % 3]
    rows += [(u, i, 1 + u * i % 5, ("val", "test")[u % 2]) for u, i in pairs if not (u + i) % 3]
    rows += [(77, 2, 4, "test"), (3, 99, 2, "test"), (77, 99, 5, "test"), (77, 5, 1, "val")]
    return FrameLog(pd.DataFrame(rows, columns=["user", "item", "rating", "split"]).astype({"rating": float}))


@pytest.mark.parametrize("size", [None, 5])
@pytest.mark.parametrize("world", [1, 3, 40])
@pytest.mark.parametrize("part", ["val", "test"])
def test_blocks_have_every_rating_once_and_the_cold_ones(module, part: str, world: int, size: int | None) -> None:
    """With 40 processes some have nothing to do."""
    found, sizes = [], []
    for rank in range(world):
        data = module(trainer(rank, world, task="rating"), source=cold_log(), split=GivenSplit(), eval_batch_size=size)
        loader = data.val_dataloader() if part == "val" else data.test_dataloader()
        batches = list(loader)
        assert len(loader) == len(batches)
        assert all(isinstance(b, RatingBatch) for b in batches)
        sizes.append([b.users.numel() for b in batches])
        found += triples(batches)
    prepared = data.prepared
    expected = of_part(data, getattr(prepared, part))
    user, item = (int(v.encode([n])[0]) for v, n in ((prepared.users, 3), (prepared.items, 2)))
    five = int(prepared.items.encode([5])[0])
    expected += [(-1, item, 4.0), (user, -1, 2.0), (-1, -1, 5.0)] if part == "test" else [(-1, five, 1.0)]
    assert Counter(found) == Counter(expected)
    if world == 40:
        assert [] in sizes
    else:
        assert max(map(max, sizes)) <= (size or 10**6)
        totals = [sum(s) for s in sizes]
        assert max(totals) - min(totals) <= 1, "shared evenly"


def test_cold_ratings_are_not_ranked(module) -> None:
    data = module(trainer(), source=cold_log(), split=GivenSplit())
    batches = list(data.test_dataloader())
    assert batches and all(isinstance(b, EvalBatch) for b in batches)
    labels = sum(b.label_items.numel() for b in batches)
    assert labels == len(data.prepared.test) and min(int(b.label_items.min()) for b in batches) >= 0
    assert min(int(b.users.min()) for b in batches) >= 0


# ---- without a data module


def test_a_loader_needs_tensors_and_a_shard_alone() -> None:
    """The shard is asked for anew in each epoch."""
    rows, columns, shards = torch.tensor([0, 0, 2, 3, 3]), torch.tensor([1, 0, 2, 1, 2]), [Shard(seed=5)]
    loader = RowBatches(rows, columns, torch.arange(5.0), (4, 3), 2, lambda: shards[-1], Uniform(2))
    orders = []
    for epoch in range(8):
        shards.append(Shard(epoch=epoch, seed=5))
        batches = list(loader)
        orders.append([row for b in batches for row in b.rows.tolist()])
        found = [(b.rows[p].item(), c) for b in batches for p, c in zip(b.place, b.columns.tolist(), strict=True)]
        assert sorted(found) == [(0, 0), (0, 1), (2, 2), (3, 1), (3, 2)]
        (zero,) = (b for b in batches if 0 in b.rows)
        assert (zero.negatives[zero.rows[zero.place] == 0] == 2).all(), "the one column that row 0 does not have"
    assert len({tuple(order) for order in orders}) > 2


def test_models_without_gradients_get_one_empty_batch(module) -> None:
    assert len(list(module(trainer(nothing=True)).train_dataloader())) == 1


def test_negatives_of_the_batch_alone_need_no_further_copy_of_the_log(module) -> None:
    data = module(trainer(negatives=InBatch()))
    loader = data.train_dataloader()
    assert all(batch.negatives is None for batch in loader) and "known" not in vars(loader)
    assert loader.users.data_ptr() == data.prepared.train.user.__array_interface__["data"][0]


def test_drawn_users_are_shared_out_among_the_processes(module) -> None:
    """Two processes draw as many users as there are interactions together, in equal numbers of batches."""
    drawn = []
    for rank in range(2):
        loader = module(trainer(rank, 2, negatives=Uniform()), sampling="user").train_dataloader()
        batches = list(loader)
        assert len(batches) == len(loader)
        drawn.append(sum(batch.users.numel() for batch in batches))
    count = module(trainer()).pairs("train")[0].numel()
    assert drawn == [-(-count // 2), count // 2]
