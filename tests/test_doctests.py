"""The `>>>` examples of the docstrings; tests/serving/test_loading.py runs those that need a run."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = [path for path in sorted((ROOT / "recgnn").rglob("*.py")) if ">>> " in path.read_text("utf-8")]
FILES = [path for path in FILES if path.parent.name != "serving"]
NAMES = [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in FILES]


@pytest.mark.parametrize("name", NAMES)
def test_examples(name: str, here) -> None:
    """Each in an empty folder."""
    module = importlib.import_module(name)
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    found = doctest.testmod(module, optionflags=options, report=True)
    assert found.attempted and not found.failed


def test_the_public_interface_has_examples() -> None:
    public = "nn.losses", "evaluation.metrics.ranking", "models.lightgcn", "models.fm"
    assert {f"recgnn.{name}" for name in public} <= set(NAMES)
