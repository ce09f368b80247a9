"""Ranked lists and their labels, as any block of users may have them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

USERS, ITEMS, LONGEST = 57, 40, 12


class Ranked(NamedTuple):
    """Lists with padding at the end [57, 12] of 40 items; labels in random order, some repeated, some users without."""

    items: Tensor
    rows: Tensor
    labels: Tensor

    @property
    def relevant(self) -> list[set[int]]:
        return [set(self.labels[self.rows == user].tolist()) for user in range(USERS)]

    def blocks(self, size: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """The same users in blocks, rows counted from the start of each block."""
        for start in range(0, USERS, size):
            inside = (self.rows >= start) & (self.rows < start + size)
            yield self.items[start : start + size], self.rows[inside] - start, self.labels[inside]


@pytest.fixture(scope="session")
def ranked() -> Ranked:
    random = torch.Generator().manual_seed(0)
    items = torch.rand(USERS, ITEMS, generator=random).argsort(dim=1)[:, :LONGEST]
    length = torch.randint(3, LONGEST + 1, (USERS, 1), generator=random)
    items = items.where(torch.arange(LONGEST) < length, ITEMS)
    rows = torch.randint(0, USERS, (USERS * 4,), generator=random)
    rows = rows[rows % 5 != 0]  # every fifth user has no label
    labels = torch.randint(0, ITEMS, (rows.numel(),), generator=random)
    found = Ranked(items, rows, labels)
    assert labels.numel() > sum(map(len, found.relevant)), "the tests want repeated labels"
    return found
