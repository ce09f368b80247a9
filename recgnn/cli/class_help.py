"""The help on one class of a configuration: `--model.help LightGCN`, `--data.source.help TableLog`."""

from __future__ import annotations

import re
import textwrap
from inspect import Parameter, cleandoc, getdoc, signature
from typing import Any

from docstring_parser import parse

from recgnn.cli.classes import PLACES, class_named, classes_at, default_arguments
from recgnn.cli.command_line import CommandLine
from recgnn.errors import describe, hints_of
from recgnn.models.base import SIZES

WIDTH, COLUMN = 118, 32
LINK = re.compile(r"`([^`<]+?)\s*<[^>`]+>`_")


def class_help(line: CommandLine) -> str:
    """Describe the class that a command line asks about; without a name, list the classes of that place.

    Args:
        line: Options of which one asks for help.

    Raises:
        ConfigError: If there is no such class.
    """
    assert line.help is not None
    place, name = line.help
    chosen = line.training if place == "training" and line.model is not None else line.classes.get(place)
    if name is None and chosen is None:
        rows = [_row(f"  {known}", summary_of(cls), one_line=True) for known, cls in classes_at(place).items()]
        return "\n".join([f"--{place}: a {PLACES[place].what}", "", *rows, "", f"--{place}.help NAME explains one", ""])
    cls = class_named(place, name) if name is not None else chosen
    assert cls is not None
    descriptions = argument_descriptions(cls)
    defaults = default_arguments(cls, line.model, line.classes.get("training.loss")) if place == "training" else {}
    rows, hints = [], hints_of(cls)
    for parameter in signature(cls).parameters.values():
        if parameter.name in (*SIZES, "model") or parameter.kind in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD):
            continue
        default = shown(defaults.get(parameter.name, parameter.default))
        kind = f"{describe(hints[parameter.name])}; " if parameter.name in hints else ""
        text = f"{descriptions.get(parameter.name, '').rstrip('.')} ({kind}{default})"
        rows.append(_row(f"  --{place}.{parameter.name}", text.strip()))
    head = textwrap.fill(summary_of(cls), WIDTH)
    return "\n".join([f"--{place} {cls.__name__}", "", head, "", *(rows or ["  It has no options."]), ""])


def argument_descriptions(cls: type) -> dict[str, str]:
    """Read the descriptions of a constructor's arguments in the docstrings of a class and its bases."""
    found: dict[str, str] = {}
    for one in reversed(cls.__mro__):
        for parameter in parse(cleandoc(one.__doc__ or "")).params:
            found[parameter.arg_name] = plain(parameter.description or "")
    return found


def summary_of(cls: type) -> str:
    """Return the first paragraph of a class's docstring, on one line and without the addresses of links."""
    return plain((getdoc(cls) or "").split("\n\n")[0])


def plain(text: str) -> str:
    """Put a text of a docstring on one line, without the addresses of links."""
    return LINK.sub(r"\1", " ".join(text.split())).replace(":math:", "")


def shown(default: Any) -> str:
    """Show a default as a configuration has it."""
    if default is Parameter.empty:
        return "required"
    if isinstance(default, dict):
        default = default["class_path"].rpartition(".")[2]
    if isinstance(default, tuple):
        default = list(default)
    return f"default: {'null' if default is None else default}"


def _row(head: str, text: str, one_line: bool = False) -> str:
    """Set an option or a class and its description in two columns."""
    if one_line:
        return f"{head:22}{textwrap.shorten(text, WIDTH - 22, placeholder=' …')}"
    lines = textwrap.wrap(text, WIDTH - COLUMN)
    first = f"{head:{COLUMN}}{lines.pop(0)}" if len(head) < COLUMN - 1 else head
    return "\n".join([first, *(" " * COLUMN + line for line in lines)])
