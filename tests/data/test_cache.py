"""Data that are prepared once: what the key of the cache follows from."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from recgnn.data.cache import class_of
from recgnn.data.interactions.prepare import prepare
from recgnn.data.interactions.split import RatioSplit

SOURCE = """
import pandas as pd
from recgnn.data import InteractionLog, Source

class Own(Source):
    name = "own"

    def read(self):
        rows = [(u, i) for u in range(12) for i in range(9) if (u + i) % 3]
        frame = pd.DataFrame(rows, columns=["user", "item"])
        return InteractionLog(frame[frame["item"] != LEFT_OUT], name="own")

    def fingerprint(self):
        return "the same"

class Other(Own):
    def read(self):
        log = super().read()
        return InteractionLog(log.interactions[log.interactions["user"] > 3], name="own")

LEFT_OUT = 99
"""


@pytest.fixture
def module_of(tmp_path, monkeypatch) -> Any:
    def written(text: str) -> Any:
        (tmp_path / "own_source.py").write_text(text)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "own_source", raising=False)
        sys.dont_write_bytecode, before = True, sys.dont_write_bytecode
        try:
            import linecache

            linecache.clearcache()
            return __import__("own_source")
        finally:
            sys.dont_write_bytecode = before

    return written


def test_changed_code_of_a_source_is_read_again(module_of, tmp_path) -> None:
    def items(source) -> int:
        return prepare(source, (), RatioSplit(seed=1), tmp_path / "cache").summary["items"]

    assert items(module_of(SOURCE).Own()) == 9
    assert items(module_of(SOURCE.replace("99", "4")).Own()) == 8


def test_a_subclass_has_data_of_its_own(module_of, tmp_path) -> None:
    own = module_of(SOURCE)
    users = [prepare(source(), (), RatioSplit(seed=1), tmp_path / "cache").summary["users"]
             for source in (own.Own, own.Other)]  # fmt: skip
    assert users == [12, 8]


def test_code_at_a_prompt_counts_too() -> None:
    script = "from recgnn.data.cache import class_of\nclass A:\n    def read(self): return {}\nprint(class_of(A()))"
    one, other, again = (
        subprocess.run([sys.executable, "-"], input=script.format(x), capture_output=True, text=True, check=True).stdout
        for x in (1, 2, 1)
    )
    assert one == again != other and one.startswith("__main__.A ")


def test_classes_of_the_package_are_known_by_their_names() -> None:
    assert class_of(RatioSplit()) == "recgnn.data.interactions.split.RatioSplit"
    assert class_of(Path()).count(" ") == 0
