"""What the manual makes of the repository's files and of docstrings."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import pytest

BUILD = Path(__file__).parents[1] / "docs/manual"
pytest.importorskip("latex2mathml", reason="the manual's packages (extra docs) are not installed")
pytest.importorskip("mkdocs", reason="the manual's packages (extra docs) are not installed")


def module(name: str):
    spec = importlib.util.spec_from_file_location(f"manual_{name}", BUILD / f"{name}.py")
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("See `a paper <https://b.org/x>`_.", "See [a paper](https://b.org/x)."),
        ("as :class:`X` and :func:`~a.b` do, \\|R\\|", "as `X` and `a.b` do, |R|"),
    ],
)
def test_docstrings_become_markdown(text, expected) -> None:
    assert module("rst").markdown(text) == expected


def test_formulas_become_mathml() -> None:
    text = "Before.\n\n.. math:: a + \\frac{b}\n    {c}\n\nAfter :math:`x^2`.\n\n.. math::\n\n    y\n\nEnd."
    found = module("rst").markdown(text)
    assert ".. math" not in found and found.count("<math") == 3 and found.count("<mfrac>") == 1
    places = [found.index(part) for part in ("Before.", "<mfrac>", "After", "<msup>", "End.")]
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("source", "text", "expected"),
    [
        ("index.md", "[S](docs/start.md), [C](CONTRIBUTING.md#style)", "[S](start.md), [C](contributing.md#style)"),
        ("howto/train.md", "[a](../models.md#x) ![b](../run.png)", "[a](../models.md#x) ![b](../run.png)"),
        ("howto/own_classes.md", "[a](../../CONTRIBUTING.md)", "[a](../contributing.md)"),
        ("index.md", "[n](notebooks/1.ipynb) [w](https://w.org)", "n [w](https://w.org)"),
        ("models.md", "[r](../benchmarks/RESULTS.md)", "[r](results.md)"),
    ],
)  # fmt: skip
def test_links_lead_to_pages(source, text, expected) -> None:
    page = SimpleNamespace(file=SimpleNamespace(src_uri=source))
    assert module("pages").on_page_markdown(text, page, None, None) == expected


def test_there_is_a_page_for_each_model_with_its_configuration() -> None:
    import recgnn.models

    pages = module("pages").models()
    assert pages.keys() == set(recgnn.models.__all__)
    assert "::: recgnn.models.lightgcn.LightGCN" in pages["LightGCN"] and "class_path: LightGCN" in pages["LightGCN"]
    assert all("## Configuration" in page for page in pages.values())
