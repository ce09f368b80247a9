"""Tests of evaluation look at figures."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module", autouse=True)
def figures_are_drawn(drawing) -> Iterator[None]:
    """Draw figures, which other tests save as dots."""
    with drawing():
        yield
