"""What the manual makes of the repository's files and of docstrings."""

from __future__ import annotations

import importlib.util
import inspect
import re
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest
import yaml
from torch import nn

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
    assert "0.1880 with `BSL`" in pages["LightGCN"] and all("```mermaid" in page for page in pages.values())


def small(name: str) -> nn.Module:
    """A model of a few users, items and values."""
    sizes = {
        "num_users": 7, "num_items": 11, "field_dims": [7, 11, 5], "part_sizes": [7, 3], "item_slots": [1],
        "field_names": ["user", "item", "hour"], "crosses": [["user", "item"]],
    }  # fmt: skip
    model = getattr(importlib.import_module("recgnn.models"), name)
    return model(**{key: value for key, value in sizes.items() if key in inspect.signature(model).parameters})


def test_drawings_show_the_parts_that_the_models_have() -> None:
    told = yaml.safe_load((BUILD / "models.yaml").read_text("utf-8"))
    for name, about in told.items():
        assert {"idea", "use", "avoid", "drawing"} == about.keys() and about["idea"].count(". ") <= 2
        model, texts = small(name), re.findall(r'"([^"]*)"', about["drawing"])
        parts = {key.partition(".")[0] for key, _ in model.named_parameters()} - {"bias"}
        lacking = {part for part in parts if not any(re.search(rf"\b{part}\b", text) for text in texts)}
        assert not lacking, f"the drawing of {name} has no {lacking}"
        for part in (word for text in texts for word in re.findall(r"^\w+_\w+|^[a-z]+(?= ·|:)", text)):
            assert hasattr(model, part) or part == "score", f"the drawing of {name} has {part}, and the model has not"
        for part, shape in (found for text in texts for found in re.findall(r"^(\w+) · ([^,]*)", text)):
            sizes = {"U": 7, "I": 11, "V": 23}
            tensor = getattr(getattr(model, part), "weight", getattr(model, part))
            for letter, size in zip(shape.split(" × "), tensor.shape, strict=True):
                assert sizes.get(letter, size) == size, f"{name}: {part} is {tuple(tensor.shape)}, and drawn as {shape}"


@pytest.mark.parametrize(
    ("text", "ranks"),
    [
        ('flowchart TD\n  a["A"] --> b("B") --> c\n  a --> c', {"a": 0, "b": 1, "c": 2}),
        ('flowchart TD\n  a --> b\n  b -->|again| a\n  b --> c', {"a": 0, "b": 1, "c": 2}),  # a circle
    ],
)
def test_flowcharts_are_drawn(text, ranks) -> None:
    drawing = module("drawing")
    assert drawing.ranks(drawing.read(text)) == ranks
    picture = ElementTree.fromstring(drawing.svg(text))
    texts = [element.text for element in picture.iter("text") if element.get("class") is None]
    assert len(texts) == len(ranks) and len(list(picture.iter("rect"))) == len(ranks)
    assert len([p for p in picture.iter("path") if p.get("class") == "arrow"]) == text.count("-->")


@pytest.mark.parametrize("text", ["flowchart LR\n a --> b", "flowchart TD\n a -> b", "flowchart TD\n a --> "])
def test_what_is_no_flowchart_is_refused(text) -> None:
    with pytest.raises(ValueError, match="expected|is no|ends in an arrow"):
        module("drawing").read(text)


def test_broken_links_are_told(tmp_path) -> None:
    (tmp_path / "b").mkdir()
    links = ["b/b.html#x", "b/b.html#y", "c.html", "#here", "#there", "https://a.org/x", "https:/a", "mailto:a@b.org"]
    page = "".join(f'<a href="{link}">.</a>' for link in links)
    (tmp_path / "a.html").write_text(f'<p id="here">{page}</p>')
    (tmp_path / "b/b.html").write_text('<p id="x"><img src="../a.html"></p>')
    found = module("links").broken(tmp_path)
    assert [line.split()[1].rstrip(":") for line in found] == ["#there", "b/b.html#y", "c.html", "https:/a"]


def test_shapes_are_lines_of_their_own() -> None:
    text = "A.\n\nShapes: x [B]; [B, D].\n\nShapes:\n    ids: [N]\n    values: [N, H],\n        or None.\n\nB."
    found = module("rst").markdown(text)
    assert found.startswith("A.\n\n**Shapes:** x [B]; [B, D].\n\n**Shapes:**\n\n- ids: [N]\n- values: [N, H],\n")


def test_examples_are_code() -> None:
    text = "A.\n\n>>> x = [\n...     1]\n>>> x  # doctest: +ELLIPSIS\n[1]\n\nB."
    assert module("rst").markdown(text) == "A.\n\n```pycon\n>>> x = [\n...     1]\n>>> x\n[1]\n```\n\nB."
