"""Interactions of features against double loops; rows of pairs against every pair there is."""

from __future__ import annotations

from itertools import combinations_with_replacement, product

import pytest
import torch
from torch.testing import assert_close

from recgnn.nn.interaction import CrossIndex, CrossNet, hashed, pairs_by_field

DIMS, SLOTS = [3, 4], [0, 0, 1]  # a field of two values and one of one; rows 0..2 and 3..6
STARTS = [0, 3]


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


@pytest.mark.parametrize("slots", [[0, 1, 2], [0, 0, 0], [0, 1, 1, 1, 2, 2]])
def test_pairs_by_field(slots) -> None:
    """Each feature has a vector for each field; the sums that are asked for are made by a loop."""
    fields, k = max(slots) + 1, 2
    v = drawn(3, len(slots), fields, k)
    x, own = torch.zeros(3, fields, fields, k).double(), torch.zeros(3, len(slots), k).double()
    expected = torch.zeros(3, dtype=torch.float64)
    for b, (i, f) in product(range(3), enumerate(slots)):
        x[b, f] += v[b, i]
        own[b, i] = v[b, i, f]
        for j in range(i + 1, len(slots)):
            expected[b] += v[b, i, slots[j]] @ v[b, j, f]
    assert_close(pairs_by_field(x, own), expected)
    if len(set(slots)) == len(slots):  # one feature a field: no pair within one
        assert_close(pairs_by_field(x), expected)
        values = drawn(3, fields).double()
        assert_close(pairs_by_field(x, values=values), pairs_by_field(x * values[..., None, None]))
        assert torch.autograd.gradcheck(lambda v: pairs_by_field(v, values=values), (x.clone().requires_grad_(),))
    assert torch.autograd.gradcheck(pairs_by_field, (x.requires_grad_(), own.requires_grad_()))
    assert torch.autograd.gradcheck(pairs_by_field, (x,))


def every_pair() -> tuple[torch.Tensor, list]:
    """Events that hold every pair of values, and of each event its pairs of (row, row)."""
    ids = torch.tensor(list(product(range(3), range(3), range(3, 7))))
    return ids, [[(a, b), (a, c), (b, c)] for a, b, c in ids.tolist()]


def test_a_row_of_its_own_for_each_pair() -> None:
    index = CrossIndex(DIMS, SLOTS, 21)  # 3 x 3 and 3 x 4 pairs, as many rows as there are at most
    ids, pairs = every_pair()
    rows: dict[frozenset, set] = {}
    for own, found in zip(pairs, index(ids).tolist(), strict=True):
        for pair, row in zip(own, found, strict=True):
            rows.setdefault(frozenset(pair), set()).add(row)
    expected = {frozenset(p) for p in combinations_with_replacement(range(3), 2)}
    expected |= {frozenset(p) for p in product(range(3), range(3, 7))}
    assert rows.keys() == expected
    assert all(len(found) == 1 for found in rows.values())  # {i, j} is {j, i}, and whichever slot has them
    one = [found.pop() for found in rows.values()]
    assert index.exact and len(set(one)) == len(one) == 18 and 0 <= min(one) and max(one) < index.num_rows == 21


def scrambled(left: int, right: int) -> int:
    """The hash with Python's integers, which do not overflow."""
    x = (left * 0x9E3779B1 + right * 0x85EBCA77 + 0x165667B1) % 2**32
    x = ((x ^ (x >> 16)) * 0x7FEB352D) % 2**32
    x = ((x ^ (x >> 15)) * 0x846CA68B) % 2**32
    return (x ^ (x >> 16)) % 2**31


def test_one_row_too_few_and_pairs_are_hashed() -> None:
    index = CrossIndex(DIMS, SLOTS, 20)
    ids, pairs = every_pair()
    assert not index.exact and index.num_rows == 20
    expected = [[scrambled(min(pair), max(pair)) % 20 for pair in own] for own in pairs]
    assert index(ids).tolist() == index(ids.int()).tolist() == expected


@pytest.mark.parametrize("left", [0, 1, 2**31 - 1])
@pytest.mark.parametrize("right", [0, 2, 2**31 - 2])
def test_hashes_of_large_rows_do_not_overflow(left, right) -> None:
    found = hashed(torch.tensor([left]), torch.tensor([right])).item()
    assert found == scrambled(left, right) and 0 <= found < 2**31


def test_chosen_pairs_alone() -> None:
    index = CrossIndex(DIMS, SLOTS, 100, [(0, 2), (1, 2)])
    ids = torch.tensor([[0, 2, 3], [2, 0, 6]])
    assert index.num_rows == 12  # both pairs of slots are of the same two fields
    assert index(ids).tolist() == [[0 * 4 + 0, 2 * 4 + 0], [2 * 4 + 3, 0 * 4 + 3]]


@pytest.mark.parametrize("layers", [0, 1, 3])
def test_cross_layers(layers) -> None:
    net = CrossNet(4, layers).double()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter)
    x = drawn(2, 4)
    expected = []
    for start in x:
        value = start
        for layer in net.layers:
            value = torch.stack(
                [start[i] * (sum(layer.weight[i, j] * value[j] for j in range(4)) + layer.bias[i]) + value[i]
                 for i in range(4)]
            )  # fmt: skip
        expected.append(value)
    assert_close(net(x), torch.stack(expected))
