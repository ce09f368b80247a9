"""Tests of evaluation look at figures."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="module", autouse=True)
def figures_are_drawn(drawn) -> None:
    """Draw figures, which other tests save as dots."""
