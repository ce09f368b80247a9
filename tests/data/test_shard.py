"""The seeds of epochs, against CPython's hash of a tuple, whose rounds they are; the rows of an epoch, shared out."""

from itertools import product

import pytest
import torch

from recgnn.data.shard import Shard, Steps, epoch_seed


@pytest.mark.parametrize("values", [*product([0, 1, 42, 2**31, 2**40 + 7, 2**61 + 3], [0, 5, 299], [0, 3])])
def test_seeds_are_the_hash_of_their_numbers(values: tuple[int, ...]) -> None:
    assert epoch_seed(*values) == hash(values) & (2**63 - 1)


def test_seeds_differ() -> None:
    cases = [*product([0, 2**31, 2**32], range(20), range(4))]
    assert len({epoch_seed(*case) for case in cases}) == len(cases)


def epoch(rows: int, size: int, least: int, segments: list[tuple[int, int]]) -> list[list[list[int]]]:
    """The batches of each process, one after the other, of an epoch whose segments are (processes, steps or all)."""
    found, done = [], ()
    for world, steps in segments:
        batches = []
        for rank in range(world):
            shard = Shard(rank=rank, world=world, seed=3, done=done)
            own = [batch.tolist() for batch in shard.batches(shard.order(rows), size, least)]
            assert shard.steps(rows, size, least) == shard.taken + len(own)
            batches.append(own[:steps])
        assert len({len(own) for own in batches}) == 1, "all take as many steps"
        for step in zip(*batches, strict=True):
            sizes = [len(batch) for batch in step]
            assert max(sizes) - min(sizes) <= 1 and max(sizes) <= size
        done = Shard(world=world, done=done).and_then(size, len(batches[0]))
        found += [batch for own in batches for batch in own]
    return found


@pytest.mark.parametrize("least", [1, 2])
@pytest.mark.parametrize("segments", [[(1, None)], [(2, None)], [(2, 3), (1, None)], [(2, 2), (3, None)],
                                      [(3, 1), (2, 1), (1, 2), (2, None)], [(2, 1), (2, 1), (2, None)]])  # fmt: skip
def test_every_row_is_in_one_batch(segments, least: int) -> None:
    for rows in (33, 34, 37, 40, 41, 47):
        batches = epoch(rows, 4, least, segments)
        assert sorted(row for batch in batches for row in batch) == list(range(rows))
        assert min(map(len, batches)) >= least


def test_fewer_rows_than_processes_come_twice_rather_than_let_one_wait() -> None:
    assert [len(batch) for batch in epoch(2, 4, 1, [(3, None)])] == [1, 1, 1]


def test_batches_are_of_one_size_where_processes_need_it() -> None:
    """Those that own rows of users, of which they send each other as many."""
    shards = [Shard(rank=rank, world=3, owned=True) for rank in range(3)]
    batches = [[batch.tolist() for batch in shard.batches(shard.order(31), 4)] for shard in shards]
    assert all(len({len(batch) for batch in step}) == 1 for step in zip(*batches, strict=True))
    visited = [row for own in batches for batch in own for row in batch]
    assert {*visited} == {*range(31)} and len(visited) == 33


def test_as_many_processes_go_on_as_they_would_have() -> None:
    whole = epoch(41, 4, 2, [(2, None)])
    parts = epoch(41, 4, 2, [(2, 2), (2, 1), (2, None)])
    assert sorted(whole) == sorted(parts)
    assert Shard(world=2, done=(Steps(2, 4, 3),)).and_then(4, 5) == (Steps(2, 4, 8),)


def test_own_draws_go_on_or_begin_anew() -> None:
    shard = Shard(rank=1, world=2, seed=3)
    generator = shard.own_generator()
    first = torch.rand(5, generator=generator)
    state, then = generator.get_state(), torch.rand(5, generator=generator)
    again = shard._replace(done=(Steps(2, 4, 1),), drawn=state).own_generator()
    assert torch.rand(5, generator=again).equal(then)
    other = shard._replace(world=3, done=(Steps(2, 4, 1),)).own_generator()
    assert not torch.rand(5, generator=other).equal(first)
