"""The graph and the compressed rows against a hand-made log."""

from __future__ import annotations

import numpy as np
import torch

from recgnn.data.interactions.graph import UserItems, to_hetero
from recgnn.data.interactions.prepare import Part

USER, ITEM = np.array([2, 0, 2, 1, 0]), np.array([1, 3, 0, 3, 2])


def test_hetero_data() -> None:
    rating, time = np.array([5, 3, 1, 2, 4], dtype=np.float32), np.array([50, 40, 30, 20, 10])
    graph = to_hetero(Part(USER, ITEM, rating, time), num_users=4, num_items=5)
    graph.validate(raise_on_error=True)
    assert graph["user"].num_nodes == 4 and graph["item"].num_nodes == 5, "also those without an edge"
    assert set(graph.edge_types) == {("user", "rates", "item"), ("item", "rated_by", "user")}
    there, back = graph["user", "rates", "item"], graph["item", "rated_by", "user"]
    assert there.edge_index.dtype == torch.long
    assert there.edge_index.tolist() == [USER.tolist(), ITEM.tolist()], "in the order of the log"
    assert back.edge_index.tolist() == [ITEM.tolist(), USER.tolist()]
    for edges in (there, back):
        assert edges.rating.tolist() == rating.tolist() and edges.time.tolist() == time.tolist()


def test_hetero_data_of_a_log_without_ratings() -> None:
    graph = to_hetero(Part(USER, ITEM), num_users=3, num_items=4)
    assert set(graph["user", "rates", "item"].keys()) == {"edge_index"}


def test_the_graph_does_not_share_the_log() -> None:
    user = USER.copy()
    graph = to_hetero(Part(user, ITEM), 3, 4)
    user[:] = 0
    assert graph["user", "rates", "item"].edge_index[0].tolist() == USER.tolist()


def test_user_items_are_ascending() -> None:
    known = UserItems.from_pairs(torch.tensor(USER), torch.tensor(ITEM), num_users=4)
    assert known.ptr.tolist() == [0, 2, 3, 5, 5]
    assert known.items.tolist() == [2, 3, 3, 0, 1]
    assert all(torch.equal(a, b) for a, b in zip(known, known.to(torch.device("cpu")), strict=True))


def test_user_items_of_some_users() -> None:
    known = UserItems.from_pairs(torch.tensor(USER), torch.tensor(ITEM), num_users=4)
    row, item = known.of(torch.tensor([2, 3, 0, 2]))
    assert list(zip(row.tolist(), item.tolist(), strict=True)) == [(0, 0), (0, 1), (2, 2), (2, 3), (3, 0), (3, 1)]
    row, item = known.of(torch.tensor([], dtype=torch.long))
    assert row.numel() == item.numel() == 0


def test_no_interactions() -> None:
    nothing = torch.tensor([], dtype=torch.long)
    known = UserItems.from_pairs(nothing, nothing, num_users=2)
    assert known.ptr.tolist() == [0, 0, 0]
    row, item = known.of(torch.tensor([1, 0]))
    assert row.numel() == item.numel() == 0


def test_random_logs_against_dictionaries() -> None:
    for seed in range(5):
        random = np.random.default_rng(seed)
        user, item = random.integers(0, 30, 400), random.integers(0, 50, 400)
        items_of = {u: sorted(set(item[user == u].tolist())) for u in range(31)}  # a pair that repeats counts once
        known = UserItems.from_pairs(torch.tensor(user), torch.tensor(item), num_users=31)
        asked = random.integers(0, 31, 60)
        row, found = known.of(torch.tensor(asked))
        expected = [(place, i) for place, u in enumerate(asked) for i in items_of[u]]
        assert list(zip(row.tolist(), found.tolist(), strict=True)) == expected
