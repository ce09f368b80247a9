"""The seeds of epochs, against CPython's hash of a tuple, whose rounds they are."""

from itertools import product

import pytest

from recgnn.data.shard import epoch_seed


@pytest.mark.parametrize("values", [*product([0, 1, 42, 2**31, 2**40 + 7, 2**61 + 3], [0, 5, 299], [0, 3])])
def test_seeds_are_the_hash_of_their_numbers(values: tuple[int, ...]) -> None:
    assert epoch_seed(*values) == hash(values) & (2**63 - 1)


def test_seeds_differ() -> None:
    cases = [*product([0, 2**31, 2**32], range(20), range(4))]
    assert len({epoch_seed(*case) for case in cases}) == len(cases)
