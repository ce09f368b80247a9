"""Negative sampling: never a known item, and exactly the promised distribution among the others."""

from __future__ import annotations

import pytest
import torch

from recgnn.data.interactions.graph import UserItems
from recgnn.data.interactions.sampling import (
    InBatch,
    NegativeSampler,
    Popularity,
    Shared,
    Uniform,
    random_below,
    user_uniform,
)
from recgnn.errors import ConfigError

M = 8
KNOWN = {
    0: {0, 1, 2},  # the first items
    1: {7, 3, 5},  # the last, and some between
    2: set(range(M)) - {4},  # all but one
    3: set(range(M)),  # everything
    4: set(),  # nothing
    5: {6},
    6: set(range(M)) - {0},  # all but the first
    7: set(range(M)) - {7},  # all but the last
}
COUNTS = torch.tensor([100, 1, 10, 40, 7, 0, 25, 3])


def sampler(alpha: float, known: dict[int, set[int]] = KNOWN) -> NegativeSampler:
    pairs = [(u, i) for u, items in known.items() for i in items]
    pairs = torch.tensor(pairs, dtype=torch.long).reshape(-1, 2)
    return NegativeSampler(UserItems.from_pairs(*pairs.T, len(known)), M, COUNTS, alpha)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def expected_rates(user: int, alpha: float) -> torch.Tensor:
    weight = [0.0 if i in KNOWN[user] else max(int(COUNTS[i]), 1) ** alpha for i in range(M)]
    return torch.tensor([w / sum(weight) for w in weight])


@pytest.mark.parametrize("alpha", [0.0, 0.75])
@pytest.mark.parametrize("user", [u for u in KNOWN if len(KNOWN[u]) < M])
def test_known_items_are_never_drawn_and_the_others_at_their_rate(user: int, alpha: float) -> None:
    size = 60_000
    drawn = sampler(alpha)(torch.full((size // 4,), user), 4, seeded())
    assert drawn.shape == (size // 4, 4) and drawn.dtype == torch.long
    counts, rates = torch.bincount(drawn.flatten(), minlength=M), expected_rates(user, alpha)
    assert counts.numel() == M
    assert not counts[list(KNOWN[user])].any()
    free = rates > 0
    chi_square = ((counts - size * rates)[free].square() / (size * rates[free])).sum()
    assert chi_square < 35, "with at most 7 degrees of freedom, one in 100,000"
    for column in drawn.T:  # each of the `num` draws, not only all together
        share = torch.bincount(column, minlength=M) / column.numel()
        assert (share - rates).abs().max() < 0.025


def test_uniform_needs_no_counts_and_ignores_them() -> None:
    known = UserItems.from_pairs(torch.tensor([0, 0]), torch.tensor([1, 2]), 1)
    users = torch.zeros(500, dtype=torch.long)
    without, with_counts = NegativeSampler(known, M), NegativeSampler(known, M, COUNTS, 0.0)
    assert torch.equal(without(users, 3, seeded()), with_counts(users, 3, seeded()))


@pytest.mark.parametrize("alpha", [0.0, 0.75])
def test_a_user_who_knows_everything_gets_some_item(alpha: float) -> None:
    drawn = sampler(alpha)(torch.full((5000,), 3), 2, seeded())
    assert drawn.min() >= 0 and drawn.max() < M
    assert drawn.unique().numel() == M


@pytest.mark.parametrize("alpha", [0.0, 0.75])
def test_users_in_one_batch_do_not_meet(alpha: float) -> None:
    users = torch.randint(len(KNOWN), (20_000,), generator=seeded(1))
    drawn = sampler(alpha)(users, 5, seeded(2))
    for user, items in zip(users.tolist(), drawn.tolist(), strict=True):
        assert len(KNOWN[user]) == M or not KNOWN[user] & set(items)
    for user in (2, 6, 7):
        (only,) = set(range(M)) - KNOWN[user]
        assert (drawn[users == user] == only).all()


@pytest.mark.parametrize("alpha", [0.0, 0.75])
def test_no_known_item_at_all(alpha: float) -> None:
    drawn = sampler(alpha, {0: set(), 1: set()})(torch.tensor([0, 1, 1]), 1000, seeded())
    assert drawn.unique().numel() == M and drawn.max() < M


@pytest.mark.parametrize("alpha", [0.0, 0.75])
def test_random_logs(alpha: float) -> None:
    """Many random sets of known items, in any order: never one of them is drawn, and every other one is."""
    for seed in range(20):
        known = torch.rand(12, 9, generator=seeded(seed)) < seed / 20
        pairs = known.nonzero()[torch.randperm(int(known.sum()), generator=seeded(seed))]
        counts = known.sum(0)
        draw = NegativeSampler(UserItems.from_pairs(*pairs.T, 12), 9, counts, alpha)
        items = draw(torch.arange(12), 600, seeded(seed))
        met = torch.zeros(12, 9, dtype=torch.bool).scatter_(1, items, True)
        some_left = ~known.all(1)
        assert torch.equal(met[some_left], ~known[some_left])


def test_many_users_and_a_heavy_tail_stay_exact() -> None:
    """Large weights times many users must not overflow: items of count 1 beside one of count 10^9."""
    users = 200_000
    own = torch.arange(users) % M
    draw = NegativeSampler(
        UserItems.from_pairs(torch.arange(users), own, users),
        M,
        torch.tensor([10**9, 1, 1, 1, 1, 1, 1, 1]),
        1.0,
    )
    items = draw(torch.arange(users), 1, seeded()).squeeze(1)
    assert (items != own).all() and items.min() >= 0 and items.max() < M
    assert (items[own != 0] == 0).float().mean() > 0.9999
    rare = torch.bincount(items[own == 0], minlength=M)[1:] / (own == 0).sum()
    assert (rare - 1 / 7).abs().max() < 0.02


@pytest.mark.parametrize("alpha", [0.0, 0.75])
def test_shared_negatives(alpha: float) -> None:
    drawn = sampler(alpha).shared(60_000, seeded())
    assert drawn.shape == (60_000,)
    share = torch.bincount(drawn, minlength=M) / 60_000
    assert (share - expected_rates(4, alpha)).abs().max() < 0.01


def test_the_generator_decides() -> None:
    draw, users = sampler(0.75), torch.arange(8).repeat(50)
    first = draw(users, 3, seeded(4))
    torch.manual_seed(99)
    assert torch.equal(draw(users, 3, seeded(4)), first)
    assert not torch.equal(draw(users, 3, seeded(5)), first)
    assert torch.equal(draw.shared(100, seeded(4)), draw.shared(100, seeded(4)))
    generator = seeded(4)
    assert not torch.equal(draw(users, 3, generator), draw(users, 3, generator)), "it goes on"


def test_random_below() -> None:
    limit = torch.tensor([1, 2, 7, 2**52]).repeat(20_000)
    drawn = random_below(limit, seeded()).view(-1, 4)
    assert (drawn >= 0).all() and (drawn < limit.view(-1, 4)).all()
    assert (drawn[:, 0] == 0).all()
    for column, size in ((1, 2), (2, 7)):
        share = torch.bincount(drawn[:, column], minlength=size) / 20_000
        assert (share - 1 / size).abs().max() < 0.02
    assert abs(drawn[:, 3].double().mean().item() / 2**52 - 0.5) < 0.01


def test_user_uniform() -> None:
    items_of = {0: [3], 2: [0, 1, 2, 5, 6, 7], 3: [4, 1]}  # user 1 has none
    pairs = torch.tensor([(u, i) for u, items in items_of.items() for i in items])
    known = UserItems.from_pairs(*pairs.T, 4)
    users, items = user_uniform(known, torch.tensor([0, 2, 3]), 60_000, seeded())
    assert users.shape == items.shape == (60_000,)
    for user, own in items_of.items():
        mine = items[users == user]
        assert abs(mine.numel() / 60_000 - 1 / 3) < 0.01, "whatever the number of its items"
        share = torch.bincount(mine, minlength=M) / mine.numel()
        expected = torch.tensor([1 / len(own) if i in own else 0.0 for i in range(M)])
        assert (share - expected).abs().max() < 0.01 and not share[expected == 0].any()
    again = user_uniform(known, torch.tensor([0, 2, 3]), 60_000, seeded())
    assert torch.equal(users, again[0]) and torch.equal(items, again[1])


def test_the_named_negatives_draw_at_their_rates() -> None:
    """By class: the exponent that each tells the softmax's correction is that of what it draws."""
    pairs = torch.tensor([(u, i) for u, items in KNOWN.items() for i in items])
    known = UserItems.from_pairs(*pairs.T, len(KNOWN))
    users = torch.full((20_000,), 5)
    for kind, exponent, shape, like in (
        (Uniform(3), 0.0, (20_000, 3), 5),
        (Popularity(3), 0.75, (20_000, 3), 5),
        (Popularity(3, 0.5), 0.5, (20_000, 3), 5),
        (Shared(60_000, 0.5), 0.5, (60_000,), 4),  # whoever has them: as for user 4, who has nothing
    ):
        assert kind.exponent == exponent
        drawn = kind.prepare(known, M, COUNTS)(users, seeded())
        assert drawn.shape == shape
        share = torch.bincount(drawn.flatten(), minlength=M) / drawn.numel()
        assert (share - expected_rates(like, exponent)).abs().max() < 0.01, kind
    assert InBatch().prepare(known, M, COUNTS)(users, seeded()) is None and InBatch().exponent == 1
    for kind in (Uniform, Popularity, Shared):
        with pytest.raises(ConfigError, match="num is 0; expected a whole number from 1"):
            kind(0)
