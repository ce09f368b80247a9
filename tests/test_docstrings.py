"""What docstrings tell: that there are any, and parameters, shapes, units, errors and sources where a person meets
them.

Whole package: each public class, function and method has a docstring, its own or that of the method which it overrides,
and names the errors that it raises. The interface (what the manual's reference shows): each parameter is named.
"""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import re
from collections.abc import Iterator
from functools import cache
from types import FunctionType
from typing import Any, NamedTuple

from tests.test_structure import MODULES, ROOT

SOURCE = re.compile(r"https?://|doi\.org|\.\. math::|:math:|eqs?\. \d|section \d|>>> ")
SHAPE = re.compile(r"\[[A-Za-z0-9_ ,.+*]+\]|scalar|same shape|of the shape")
UNITS = {  # names of quantities, and the words of which one must stand in the docstring
    r"seconds|time|timeout|half_life|gaps?": r"second|order|minute|day|log2",
    r"(max_)?(memory|bytes)|limit_bytes": r"byte|MB|GB|MiB|GiB",
}


FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


class Place(NamedTuple):
    """A public function, class or method, and all docstrings that tell of it."""

    name: str
    thing: Any
    own: str
    told: str


def unwrapped(value: Any) -> Any:
    """What is behind a property, a class method or a decorator."""
    value = getattr(value, "__func__", getattr(value, "fget", getattr(value, "func", value)))
    return inspect.unwrap(value) if callable(value) else value


def of_class(module: str, cls: type) -> Iterator[Place]:
    classes = "\n".join(base.__dict__.get("__doc__") or "" for base in cls.__mro__ if base.__module__ in MODULES)
    yield Place(f"{module}.{cls.__qualname__}", cls, cls.__doc__ or "", classes)
    for name, value in vars(cls).items():
        if name.startswith("_") or not isinstance(unwrapped(value), FunctionType):
            continue
        docs = [unwrapped(base.__dict__.get(name)).__doc__ or "" for base in cls.__mro__ if name in base.__dict__]
        yield Place(f"{module}.{cls.__qualname__}.{name}", unwrapped(value), "".join(docs), "\n".join([*docs, classes]))


@cache
def places(module: str) -> tuple[Place, ...]:
    found: list[Place] = []
    try:
        contents = vars(importlib.import_module(module))
    except ModuleNotFoundError as error:
        if (error.name or "recgnn").startswith("recgnn"):
            raise
        return ()  # of an extra that is not installed
    for name, value in contents.items():
        if name.startswith("_") or getattr(value, "__module__", None) != module:
            continue
        if inspect.isclass(value):
            found += of_class(module, value)
        elif isinstance(unwrapped(value), FunctionType):
            found.append(Place(f"{module}.{name}", unwrapped(value), value.__doc__ or "", value.__doc__ or ""))
    return tuple(found)


def all_places() -> Iterator[Place]:
    for module in MODULES:
        yield from () if module.endswith("__main__") else places(module)


def interface() -> Iterator[Place]:
    """What the manual's reference shows, and the models."""
    spec = importlib.util.spec_from_file_location("manual_pages", ROOT / "docs/manual/pages.py")
    pages = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pages)
    shown = [name for _, names in pages.ROOMS.values() for name in names] + ["recgnn.models"]
    for module in MODULES:
        if any(module == name or module.startswith(f"{name}.") for name in shown):
            yield from places(module)


def parameters(thing: Any) -> list[inspect.Parameter]:
    if inspect.isclass(thing):
        thing = thing.__dict__.get("__init__", None) or (lambda self: None)
    told = inspect.signature(thing).parameters.values()
    return [p for p in told if not (p.name.startswith("_") or p.name in ("self", "cls") or "VAR" in p.kind.name)]


def named(word: str, text: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text) is not None


def test_all_that_is_public_has_a_docstring() -> None:
    assert not [place.name for place in all_places() if not place.own.strip()]


def test_every_parameter_of_the_interface_is_told() -> None:
    lacking = [
        f"{place.name}: {p.name}"
        for place in interface()
        for p in parameters(place.thing)
        if not named(p.name, place.told) and not (place.name.endswith(".forward") and "Shapes:" in place.told)
    ]
    assert not lacking, "\n".join(lacking)


@cache
def functions_of(module: str) -> dict[int, ast.AST]:
    """A module's functions by the line in which they, or their decorators, begin."""
    source = ast.parse(MODULES[module].read_text("utf-8"))
    nodes = [node for node in ast.walk(source) if isinstance(node, FUNCTIONS[:2])]
    return {min([node.lineno, *(one.lineno for one in node.decorator_list)]): node for node in nodes}


def raised(thing: Any) -> set[str]:
    """The classes of errors that a function raises itself."""
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, (*FUNCTIONS, ast.ClassDef)):
                continue
            if isinstance(node, ast.Try) and node.handlers and child in node.body:
                continue  # caught here
            if isinstance(child, ast.Raise) and isinstance(child.exc, ast.Call):
                found.add(ast.unparse(child.exc.func).rpartition(".")[2])
            within = set(found)
            visit(child)
            if isinstance(child, ast.With):
                found.difference_update({"ValueError"} - within)  # which `reading` tells as an error of the file

    visit(functions_of(thing.__module__)[thing.__code__.co_firstlineno])
    of_subclasses = {"NotImplementedError", "AttributeError"}  # of what a subclass defines
    return {name for name in found - of_subclasses if name[:1].isupper()}  # others make an error that they are told


def test_every_error_is_told() -> None:
    """But by the `main` of a command, all of which refuse options."""
    functions = [p for p in all_places() if isinstance(p.thing, FunctionType) and not p.name.endswith(".main")]
    lacking = [
        f"{p.name}: {error}"
        for p in functions
        for error in sorted(raised(p.thing))
        if not named(error, p.told) and not named("RecGNNError", p.told)
    ]
    assert not lacking, "\n".join(lacking)


def of_tensors(thing: Any) -> bool:
    hints = getattr(thing, "__annotations__", {})
    return any("Tensor" in str(hint) for hint in hints.values())


def test_every_shape_is_told() -> None:
    rooms = ("recgnn.nn.", "recgnn.models.", "recgnn.evaluation.metrics.")
    functions = [p for p in interface() if isinstance(p.thing, FunctionType) and p.name.startswith(rooms)]
    assert not [place.name for place in functions if of_tensors(place.thing) and not SHAPE.search(place.told)]


def test_every_unit_is_told() -> None:
    lacking = [
        f"{place.name}: {p.name}"
        for place in interface()
        for p in parameters(place.thing)
        for name, unit in UNITS.items()
        if re.fullmatch(name, p.name) and not re.search(unit, place.told, re.IGNORECASE)
    ]
    assert not lacking, "\n".join(lacking)


def test_every_model_loss_and_metric_has_a_source() -> None:
    from recgnn.evaluation.metrics.base import Metric
    from recgnn.models.base import Model
    from recgnn.nn.losses import Loss

    classes = [p for p in interface() if inspect.isclass(p.thing) and issubclass(p.thing, Model | Loss | Metric)]
    assert len(classes) > 50
    assert not [place.name for place in classes if not SOURCE.search(place.told)]


def test_there_are_enough_examples() -> None:
    """Of the interface; tests/test_doctests.py and tests/serving/test_loading.py run them."""
    count = len([1 for place in all_places() for _ in doctest.DocTestParser().get_examples(place.thing.__doc__ or "")])
    assert count >= 60, count
