"""What a report of a problem needs."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

from recgnn import __version__


def test_the_version_has_its_section_in_the_changelog() -> None:
    text = (Path(__file__).parents[1] / "CHANGELOG.md").read_text("utf-8")
    assert re.search(rf"^## {re.escape(__version__)} - \d{{4}}-\d\d-\d\d$", text, re.M)


def test_versions_threads_and_devices(entry, monkeypatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0123456789abcdef")
    code, out, _ = entry("env")
    facts = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert code == 0 and facts["recgnn"] == __version__
    for name in ("torch", "lightning", "torch-geometric", "pandas"):
        assert facts[name] == metadata.version(name)
    assert {"python", "cores", "devices", "cache"} <= facts.keys() and "0123456789" not in out
