"""The order of events on disk: every event once, however often the epoch was stopped and whoever shares it."""

from __future__ import annotations

import numpy as np
import pytest

from recgnn.data.clicks.disk_order import DiskOrder
from recgnn.data.shard import Shard


def epoch(rows: int, segments: list[tuple[int, int]], size: int = 5) -> list[list[list[int]]]:
    """The batches of each segment of an epoch of (processes, steps or all), one after the other."""
    found, done = [], ()
    pieces = [range(at, min(at + 8, rows)) for at in range(0, rows, 8)]
    for world, steps in segments:
        batches = []
        for rank in range(world):
            shard = Shard(rank=rank, world=world, seed=3, done=done)
            order = DiskOrder(pieces, shard, size, 2, 8, 24)
            bounds = order.bounds()
            own = [np.concatenate([np.asarray(p) for p in part])[o.numpy()] for part, o in order.groups(bounds[0])]
            own = np.concatenate(own).tolist()
            cut = [own[a - bounds[0] : b - bounds[0]] for a, b in zip(bounds[:-1], bounds[1:], strict=True)]
            assert order.steps() == shard.taken + len(cut) and len(own) == bounds[-1] - bounds[0]
            batches.append(cut[:steps])
        assert len({len(cut) for cut in batches}) == 1, "all take as many steps"
        done = Shard(world=world, done=done).and_then(size, len(batches[0]))
        found.append([batch for cut in batches for batch in cut])
    return found


@pytest.mark.parametrize("segments", [[(1, None)], [(3, None)], [(2, 9), (1, None)], [(2, 7), (3, None)],
                                      [(3, 1), (2, 6), (1, 2), (2, 2), (2, None)]])  # fmt: skip
def test_every_event_is_in_one_batch(segments) -> None:
    for rows in (203, 204, 211):
        batches = [batch for part in epoch(rows, segments) for batch in part]
        assert sorted(row for batch in batches for row in batch) == list(range(rows))
        assert min(map(len, batches)) >= 2 and max(map(len, batches)) == 5


def test_as_many_processes_go_on_as_they_would_have() -> None:
    (whole,) = epoch(203, [(2, None)])
    assert sorted(whole) == sorted(batch for part in epoch(203, [(2, 3), (2, 4), (2, None)]) for batch in part)


def test_what_is_left_is_in_another_order_for_others() -> None:
    """And shuffled: a process that is alone now does not go through what the one had, and then through the other's."""
    _, rest = epoch(203, [(2, 7), (1, None)])
    order = [row for batch in rest for row in batch]
    assert abs(np.corrcoef(order, np.arange(len(order)))[0, 1]) < 0.5
