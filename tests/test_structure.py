"""The plan of the house, held against the files: which room may know which, and a model's three files."""

from __future__ import annotations

import ast
import inspect
from functools import cache
from pathlib import Path

import pytest

from recgnn import models
from recgnn.models.base import Model

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "recgnn"
SHARED = {"errors", "files"}
DATA = {"data", "data.readers", "data.interactions", "data.clicks"}
ARROWS = {  # each room, and the rooms that it may know; rooms further down know those above them alone
    "errors": set(),
    "files": {"errors"},
    "data": SHARED,  # what its rooms share: cache.py, shard.py
    "data.readers": SHARED | {"data"},
    "data.interactions": SHARED | {"data", "data.readers"},
    "data.clicks": SHARED | {"data", "data.readers", "data.interactions"},
    "data.datasets": SHARED | DATA,
    "nn": SHARED,
    "models": {"errors", "nn"},
    "evaluation": SHARED | DATA,
    "training": SHARED | DATA | {"nn", "models", "evaluation"},
    "serving": SHARED | DATA | {"nn", "models", "training"},
    "comparison": SHARED | DATA | {"evaluation", "training"},
    "cli": SHARED | DATA | {"data.datasets", "nn", "models", "evaluation", "training", "serving", "recgnn.data"},
    "search": SHARED | {"data", "cli", "comparison", "evaluation", "training"},
}
COMMANDS = {"fit", "validate", "test", "recommend", "similar", "predict", "evaluate", "export", "compare", "benchmark",
            "pipeline", "tune", "dashboard", "configs", "env", "serve", "completion"}  # fmt: skip
HEAVY = {"lightning", "pytorch_lightning", "torchmetrics", "torch_geometric"}
OF_TRAINING = {"serving": {"run_folder"}, "comparison": {"run_folder"}}  # the modules of training that they may know


def modules() -> dict[str, Path]:
    """All modules of the package by name."""
    names = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        names[".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")] = path
    return names


MODULES = modules()


def imported(source: str, top_level: bool = False) -> set[str]:
    """Every module that a file imports: `from a import b` counts as a and a.b.

    Args:
        source: the file's text.
        top_level: only what importing the file imports: nothing within functions or under `if TYPE_CHECKING`.
    """
    names: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            names.update({node.module, *(f"{node.module}.{alias.name}" for alias in node.names)})
        checking = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        if top_level and (checking or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)):
            return
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(source))
    return names


@cache
def imports_of(module: str, top_level: bool = False) -> frozenset[str]:
    return frozenset(imported(MODULES[module].read_text("utf-8"), top_level))


def room_of(module: str) -> str:
    """`recgnn.data.clicks.fields` is in the room data.clicks; `recgnn.data` itself is a facade, a room of its own."""
    parts = module.split(".")[1:]
    if not parts or module == "recgnn.data":
        return module
    inner = parts[0] == "data" and len(parts) > 1 and (PACKAGE / "data" / parts[1]).is_dir()
    return ".".join(parts[: 2 if inner else 1])


def breaches(room: str) -> list[str]:
    """What the files of a room import from rooms that it may not know."""
    found = []
    for module in MODULES:
        if room_of(module) != room:
            continue
        for name in imports_of(module) & MODULES.keys():
            other = room_of(name)
            part = name.removeprefix("recgnn.training").lstrip(".")
            hidden = other == "training" and room in OF_TRAINING and part not in {"", *OF_TRAINING[room]}
            if other not in (room, "recgnn", *ARROWS[room]) or hidden:
                found.append(f"{module} imports {name}")
    return found


@pytest.mark.parametrize("room", ARROWS)
def test_arrows_point_one_way(room: str) -> None:
    assert any(room_of(module) == room for module in MODULES), "the room is there"
    assert not breaches(room)


def test_every_module_has_a_room() -> None:
    rooms = {room_of(module) for module in MODULES}
    assert rooms == ARROWS.keys() | COMMANDS | {"recgnn", "recgnn.data", "__main__"}


def test_the_root_is_the_list_of_the_commands() -> None:
    files = {path.stem for path in PACKAGE.glob("*.py")}
    assert files == COMMANDS | {"__init__", "__main__", "errors", "files"}


def test_the_arrows_have_no_circle() -> None:
    known: list[str] = []
    for room, others in ARROWS.items():
        assert others - {"recgnn.data"} <= set(known), f"{room} knows a room that is further down"
        known.append(room)


def closure(module: str) -> dict[str, str]:
    """All that importing a module imports, and by whom: the packages around it, and theirs, too."""
    found, waiting = {}, [module]
    while waiting:
        importer = waiting.pop()
        parts = importer.split(".")
        around = {".".join(parts[:n]) for n in range(1, len(parts))}
        for name in imports_of(importer, top_level=True) | around:
            if name not in found:
                found[name] = importer
                waiting += [name] if name in MODULES else []
    return found


@pytest.mark.parametrize("room", ["serving", "comparison", "data.readers", "evaluation.lists", "cli.data_section"])
def test_what_serves_imports_no_trainer(room: str) -> None:
    modules = [name for name in MODULES if room_of(name) == room or name == f"recgnn.{room}"]
    assert modules
    for module in modules:
        found = closure(module)
        heavy = {name: by for name, by in found.items() if name.partition(".")[0] in HEAVY}
        assert not heavy, f"importing {module} imports {heavy}"
        direct = {name for name in imports_of(module) if name.partition(".")[0] in HEAVY}
        assert not direct, f"{module} imports {direct} later"


@pytest.mark.parametrize("room", ["nn", "models"])
def test_models_are_plain_torch(room: str) -> None:
    for module in (name for name in MODULES if room_of(name) == room):
        assert not {name for name in imports_of(module) if name.partition(".")[0] in HEAVY}, module


def test_only_the_data_modules_know_lightning() -> None:
    found = {name for name in MODULES if name.startswith("recgnn.data") and "lightning" in imports_of(name)}
    assert found == {"recgnn.data.clicks.module", "recgnn.data.interactions.module"}


@pytest.mark.parametrize(
    ("line", "always", "at_once"),
    [
        ("import recgnn.data.cache", True, True),
        ("from recgnn.data import cache", True, True),
        ("from recgnn.data.cache import x", True, True),
        ("try:\n    import recgnn.data.cache\nexcept ImportError:\n    pass", True, True),
        ("class A:\n    import recgnn.data.cache", True, True),
        ("def f():\n    import recgnn.data.cache", True, False),
        ("if TYPE_CHECKING:\n    import recgnn.data.cache", True, False),
        ("import recgnn.data.cached", False, False),
    ],
)
def test_the_reader_of_imports_sees_all_of_them(line: str, always: bool, at_once: bool) -> None:
    assert ("recgnn.data.cache" in imported(line)) is always
    assert ("recgnn.data.cache" in imported(line, top_level=True)) is at_once


# ---- models


def test_a_model_is_three_files_and_an_export() -> None:
    for name in models.__all__:
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
        own = (value for value in vars(module).values() if inspect.isclass(value) and issubclass(value, Model))
        found |= {value.__name__ for value in own if value.__module__ == module.__name__}
    bases = {"Model", "Recommender", "EmbeddingRecommender", "RowRecommender", "HistoryRecommender", "CTRModel"}
    assert found - bases == set(models.__all__)


def test_every_configuration_has_a_model() -> None:
    files = {getattr(models, name).__module__.rpartition(".")[2] for name in models.__all__}
    stems = {path.stem for path in (ROOT / "conf").glob("*.yaml")}
    assert files <= stems
    assert all(stem in files or stem.rpartition("_")[0] in files for stem in stems)  # a variant, as autorec_user


OF_DATA = {"num_users", "num_items", "field_dims", "slots", "field_names", "item_slots", "part_sizes"}


@pytest.mark.parametrize("name", models.__all__)
def test_constructors_are_typed_and_documented(name: str) -> None:
    """No **kwargs and no untyped argument: the command line and a reader see the same. No argument of a training."""
    model = getattr(models, name)
    documented = (inspect.getdoc(model) or "").partition("Args:")[2]
    for argument in list(inspect.signature(model.__init__).parameters.values())[1:]:
        assert argument.kind is argument.POSITIONAL_OR_KEYWORD and argument.annotation is not argument.empty, argument
        assert argument.name in OF_DATA or f"{argument.name}:" in documented, f"{argument.name} has no docstring"
        assert argument.name not in ("l2", "lr", "loss", "negatives", "optimizer", "ks", "metrics")


# ---- dead code


def test_no_public_function_is_dead() -> None:
    """Whatever is defined at the top of a module is used somewhere in recgnn or its benchmarks, or documented."""
    files = [path for folder in ("recgnn", "benchmarks") for path in (ROOT / folder).rglob("*.py")]
    used = set().union(*map(names, files))
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "conf").rglob("*")]
    told = "\n".join(path.read_text("utf-8") for path in pages if path.is_file())
    defined = {
        f"{module}.{node.name}": node.name
        for module, path in MODULES.items()
        for node in ast.parse(path.read_text("utf-8")).body
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
    }
    dead = {place for place, name in defined.items() if name not in used and name not in told}
    of_tests = {"training.wandb_keys.documented", "data.readers.tables.table_blocks", "data.clicks.events.labels_of"}
    assert dead <= {f"recgnn.{name}" for name in of_tests}, "those are what tests look at a larger whole by"


def names(path: Path) -> set[str]:
    """The names and attributes that a file uses, and those in its strings; not those that it defines or imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.Attribute):
            found.add(node.attr)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value.rpartition(".")[2])
    return found
