"""The house's plan, held against the files: a model's three files, and which room may know which."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest

from recgnn import models
from recgnn.models.base import Recommender
from recgnn.models.ctr import CTRModel

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "recgnn"
FORBIDDEN = {
    "data": {"recgnn.nn", "recgnn.models", "recgnn.cli.training", "recgnn.nn.losses"},
    "nn": {"recgnn.data", "recgnn.models", "recgnn.cli.training", "lightning", "pytorch_lightning"},
    "models": {"recgnn.data", "recgnn.cli.training"},
}
WITH_LIGHTNING = {"graph_data.py", "ctr_data.py"}  # the data modules


def imported(source: str, folder: str = "") -> set[str]:
    """Every module that a file imports, wherever in it: `from a import b` counts as a and a.b."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = ["recgnn", folder][: 3 - node.level] if node.level else []
            module = ".".join(filter(None, [*parts, node.module]))
            names.update({module, *(f"{module}.{alias.name}" for alias in node.names)})
    return names


def breaches(names: set[str], forbidden: set[str]) -> set[str]:
    return {n for n in names for f in forbidden if n == f or n.startswith(f + ".")}


@pytest.mark.parametrize("name", models.__all__)
def test_a_model_is_three_files_and_an_export(name: str) -> None:
    model = getattr(models, name)
    file = model.__module__.rpartition(".")[2]
    assert model.__module__ == f"recgnn.models.{file}"
    for path in (f"recgnn/models/{file}.py", f"conf/{file}.yaml", f"tests/models/test_{file}.py"):
        assert (ROOT / path).is_file(), f"{name} has no {path}"
    assert f"class_path: {name}\n" in (ROOT / f"conf/{file}.yaml").read_text(encoding="utf-8")


def test_no_model_is_forgotten() -> None:
    found = set()
    for path in (PACKAGE / "models").glob("[!_]*.py"):
        module = __import__(f"recgnn.models.{path.stem}", fromlist=["x"])
        found |= {
            name
            for name, value in vars(module).items()
            if inspect.isclass(value)
            and issubclass(value, Recommender | CTRModel)
            and value.__module__ == module.__name__
        }
    bases = {"MeasuredModel", "Recommender", "EmbeddingRecommender", "RowRecommender", "CTRModel"}
    assert found - bases == set(models.__all__)


def test_every_configuration_has_a_model() -> None:
    files = {getattr(models, name).__module__.rpartition(".")[2] for name in models.__all__}
    stems = {path.stem for path in (ROOT / "conf").glob("*.yaml")}
    assert files <= stems
    assert all(stem in files or stem.rpartition("_")[0] in files for stem in stems)  # a variant, as autorec_user


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_arrows_point_one_way(folder: str) -> None:
    files = sorted((PACKAGE / folder).rglob("*.py"))
    assert files
    found = {path.name: breaches(imported(path.read_text("utf-8"), folder), FORBIDDEN[folder]) for path in files}
    assert not {name: names for name, names in found.items() if names}


def test_only_the_data_modules_know_lightning() -> None:
    files = (PACKAGE / "data").rglob("*.py")
    found = {path.name for path in files if breaches(imported(path.read_text("utf-8"), "data"), {"lightning"})}
    assert found <= WITH_LIGHTNING


@pytest.mark.parametrize(
    "line",
    ["import recgnn.data.log", "from recgnn import data", "from recgnn.data import X", "from ..data.log import X",
     "from .. import data", "def f():\n    import recgnn.data"],
)  # fmt: skip
def test_the_reader_of_imports_sees_all_of_them(line: str) -> None:
    assert breaches(imported(line, "models"), {"recgnn.data"})
    assert not breaches(imported("import recgnn.database\nfrom .base import data", "models"), {"recgnn.data"})


def test_constructors_have_typed_plain_arguments() -> None:
    """No **kwargs and no untyped argument: the command line and a reader see the same."""
    for name in models.__all__:
        for parameter in list(inspect.signature(getattr(models, name).__init__).parameters.values())[1:]:
            assert parameter.kind is parameter.POSITIONAL_OR_KEYWORD, f"{name}: {parameter}"
            assert parameter.annotation is not parameter.empty, f"{name}: {parameter}"
