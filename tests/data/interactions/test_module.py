"""The data module: what an epoch visits, what is left out of a ranking, and what every process gets."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from recgnn.data import FrameLog, GivenSplit, GraphDataModule, RatioSplit, SyntheticLog
from recgnn.data.interactions.loaders import EvalBatch, Request
from recgnn.data.interactions.sampling import InBatch, Negatives, Popularity, Shared, Uniform
from recgnn.errors import ConfigError


def trainer(rank: int = 0, world: int = 1, epoch: int = 0, negatives: Negatives | None = None) -> SimpleNamespace:
    """A process of a Trainer, and the `Request` of what it trains."""
    return SimpleNamespace(
        global_rank=rank,
        world_size=world,
        current_epoch=epoch,
        strategy=SimpleNamespace(root_device=torch.device("cpu")),
        request=Request(negatives=negatives),
    )


@pytest.fixture(scope="module")
def module(tmp_path_factory):
    """Makes a data module of 31 users, with or without a Trainer."""
    cache = tmp_path_factory.mktemp("cache")

    def make(attached: SimpleNamespace | None = None, seed: int = 1, **arguments) -> GraphDataModule:
        source = arguments.pop("source", None) or SyntheticLog(num_users=31, num_items=40, interactions_per_user=11)
        data = GraphDataModule(source, cache_dir=str(cache), **({"batch_size": 32} | arguments))
        data.seed, data.trainer = seed, attached
        data.request = attached.request if attached else data.request
        data.setup("fit")
        return data

    return make


def pairs(batches) -> list[tuple[int, int]]:
    return [p for b in batches for p in zip(b.users.tolist(), b.positives.tolist(), strict=True)]


def log(data: GraphDataModule, *parts: str) -> dict[int, set[int]]:
    """Each user's items in some parts, from the prepared arrays."""
    items: dict[int, set[int]] = {u: set() for u in range(data.num_users)}
    for part in parts:
        rows = getattr(data.prepared, part)
        for user, item in zip(rows.user.tolist(), rows.item.tolist(), strict=True):
            items[user].add(item)
    return items


# ---- training batches


def test_every_interaction_once_an_epoch(module) -> None:
    data = module()
    train = data.prepared.train
    loader = data.train_dataloader()
    batches = list(loader)
    assert len(loader) == len(batches) == -(-len(train) // 32)
    assert [b.users.numel() for b in batches[:-1]] == [32] * (len(batches) - 1)
    visited = pairs(batches)
    assert Counter(visited) == Counter(zip(train.user.tolist(), train.item.tolist(), strict=True))
    assert visited != list(zip(train.user.tolist(), train.item.tolist(), strict=True)), "shuffled"
    assert all(b.negatives is None for b in batches), "nobody asks for negatives"


def test_negatives_as_the_training_asks(module) -> None:
    for negatives in (Uniform(3), Popularity(3)):
        data = module(trainer(negatives=negatives))
        known = log(data, "train")
        for batch in data.train_dataloader():
            assert batch.negatives.shape == (batch.users.numel(), 3)
            for user, items in zip(batch.users.tolist(), batch.negatives.tolist(), strict=True):
                assert not known[user] & set(items)
    assert all(b.negatives.shape == (5,) for b in module(trainer(negatives=Shared(5))).train_dataloader())
    assert all(b.negatives is None for b in module(trainer(negatives=InBatch())).train_dataloader())


def drawn(module, sampling: str, seed: int = 1, epoch: int = 0, rank: int = 0, world: int = 1) -> list[list[int]]:
    loader = module(trainer(rank, world, epoch, Uniform(3)), seed, sampling=sampling).train_dataloader()
    return [torch.cat([b.users, b.positives, b.negatives.flatten()]).tolist() for b in loader]


@pytest.mark.parametrize("sampling", ["interaction", "user"])
def test_seed_epoch_and_rank_decide_all(module, sampling: str) -> None:
    first = drawn(module, sampling)
    torch.manual_seed(77)
    assert drawn(module, sampling) == first
    assert drawn(module, sampling, seed=2) != first
    assert drawn(module, sampling, epoch=1) != first
    assert drawn(module, sampling, rank=0, world=2) != drawn(module, sampling, rank=1, world=2)


def test_a_second_pass_of_one_loader_follows_the_epoch(module) -> None:
    attached = trainer(negatives=Uniform(3))
    loader = module(attached).train_dataloader()
    first, again = list(loader), list(loader)
    assert all(torch.equal(a.users, b.users) for a, b in zip(first, again, strict=True))
    attached.current_epoch = 1
    assert pairs(loader) != pairs(first) and Counter(pairs(loader)) == Counter(pairs(first))


@pytest.mark.parametrize("world", [2, 3, 7])
def test_processes_share_an_epoch(module, world: int) -> None:
    ranks = []
    for rank in range(world):
        data = module(trainer(rank, world, negatives=Uniform(3)), batch_size=10)
        loader = data.train_dataloader()
        batches = list(loader)
        assert len(loader) == len(batches), "the length that Lightning is told"
        ranks.append(batches)
    assert len({len(batches) for batches in ranks}) == 1, "the same number of steps everywhere"
    for step in zip(*ranks, strict=True):
        sizes = [b.users.numel() for b in step]
        assert max(sizes) - min(sizes) <= 1, "of the same size"
    train = data.prepared.train
    visited = Counter(p for batches in ranks for p in pairs(batches))
    assert visited == Counter(zip(train.user.tolist(), train.item.tolist(), strict=True))
    negatives = [torch.cat([b.negatives for b in batches]).tolist() for batches in ranks]
    assert negatives[0] != negatives[1], "each process draws its own"


def test_user_sampling(module) -> None:
    data = module(trainer(negatives=Uniform(3)), sampling="user")
    loader, train = data.train_dataloader(), log(data, "train")
    batches = list(loader)
    assert len(loader) == len(batches) and sum(b.users.numel() for b in batches) == len(data.prepared.train)
    assert all(item in train[user] for user, item in pairs(batches))
    shares = [module(trainer(r, 2), sampling="user").train_dataloader() for r in (0, 1)]
    assert len({len(list(loader)) for loader in shares}) == 1


# ---- blocks of users to rank


def blocks(data: GraphDataModule, part: str) -> list[EvalBatch]:
    loader = data.val_dataloader() if part == "val" else data.test_dataloader()
    batches = list(loader)
    assert len(loader) == len(batches)
    return batches


def read(batches: list[EvalBatch], kind: str) -> dict[int, list[int]]:
    """Each user's seen or label items, as the blocks have them."""
    items: dict[int, list[int]] = {}
    for batch in batches:
        rows, values = getattr(batch, f"{kind}_rows"), getattr(batch, f"{kind}_items")
        for place, user in enumerate(batch.users.tolist()):
            assert user not in items, "no user twice"
            items[user] = values[rows == place].tolist()
    return items


@pytest.mark.parametrize(("part", "masked"), [("val", ["train"]), ("test", ["train", "val"])])
@pytest.mark.parametrize("world", [1, 2])
def test_blocks_have_every_user_once_with_seen_and_labels(module, part: str, masked: list[str], world: int) -> None:
    ranks = [blocks(module(trainer(rank, world), eval_batch_size=5), part) for rank in range(world)]
    data = module()
    right, known = log(data, part), log(data, *masked)
    ranked = [{u for b in batches for u in b.users.tolist()} for batches in ranks]
    assert sum(map(len, ranked)) == len(set.union(*ranked)), "processes have no user in common"
    together = [b for batches in ranks for b in batches]
    labels, seen = read(together, "label"), read(together, "seen")
    assert labels.keys() == seen.keys() == {u for u, items in right.items() if items}
    assert all(sorted(labels[u]) == sorted(right[u]) and sorted(seen[u]) == sorted(known[u]) for u in labels)
    assert all(not set(labels[u]) & set(seen[u]) for u in labels), "nothing that is right is masked"
    assert max(b.users.numel() for b in together) == 5


def given(val: float | str) -> dict:
    """A log that comes split, and its validation part."""
    rows = [(u, (u * 3 + k) % 12, "test" if k > 5 else "train") for u in range(9) for k in range(8)]
    rows = [r for r in rows if r[0] != 4 or r[2] == "train"]  # user 4 has no test item
    frame = pd.DataFrame(rows, columns=["user", "item", "split"])
    return {"source": FrameLog(frame, user="user", item="item"), "split": GivenSplit(val=val)}


def test_validation_on_the_test_part(module) -> None:
    """The papers' protocol: both parts are the same, and neither masks the other."""
    data = module(**given("test"))
    assert data.prepared.summary["val_is_test"]
    right, known = log(data, "test"), log(data, "train")
    for part in ("val", "test"):
        labels, seen = read(blocks(data, part), "label"), read(blocks(data, part), "seen")
        assert {u: set(items) for u, items in labels.items()} == {u: i for u, i in right.items() if i}
        assert 4 not in labels and all(set(seen[u]) == known[u] for u in seen)


def test_validation_drawn_from_train(module) -> None:
    data = module(**given(0.2))
    right, known = log(data, "test"), log(data, "train", "val")
    labels, seen = read(blocks(data, "test"), "label"), read(blocks(data, "test"), "seen")
    assert all(set(labels[u]) == right[u] and set(seen[u]) == known[u] for u in labels)


def test_without_a_validation_part(module) -> None:
    data = module(split=RatioSplit((0.8, 0.0, 0.2)))
    assert blocks(data, "val") == []
    seen, known = read(blocks(data, "test"), "seen"), log(data, "train")
    assert all(set(seen[u]) == known[u] for u in seen)


# ---- the module itself


def test_graph_and_sizes(module) -> None:
    data = module()
    train = data.prepared.train
    assert (data.num_users, data.num_items) == (len(data.prepared.users), len(data.prepared.items))
    edge_index = data.graph["user", "rates", "item"].edge_index
    assert np.array_equal(edge_index.numpy(), np.stack([train.user, train.item]))
    assert np.array_equal(data.edge_index.numpy(), np.stack([train.user, train.item]))
    assert data.graph is data.graph and data.name == "synthetic"


def test_prepared_folder_stands_in_for_the_source(module, tmp_path) -> None:
    data = module()
    data.prepared.save(tmp_path / "vocabulary")
    again = GraphDataModule(prepared=str(tmp_path / "vocabulary"))
    for part in ("train", "val", "test"):
        assert all(torch.equal(a, b) for a, b in zip(data.pairs(part), again.pairs(part), strict=True))


def test_seed_is_that_of_the_run(module) -> None:
    torch.manual_seed(1234)
    data = module(seed=None)
    assert data.seed == 1234
    torch.manual_seed(5)
    data.setup("test")
    assert data.seed == 1234, "chosen once"


def test_mistakes() -> None:
    with pytest.raises(ConfigError, match="source"):
        GraphDataModule()
    with pytest.raises(ConfigError, match="batch_size"):
        GraphDataModule(SyntheticLog(), batch_size=0)
    with pytest.raises(ConfigError, match="eval_batch_size"):
        GraphDataModule(SyntheticLog(), eval_batch_size=0)
