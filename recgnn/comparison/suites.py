"""Suites of `python -m recgnn.benchmark`: YAML files that list configurations to train and compare."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from recgnn.data.stored import read_yaml
from recgnn.errors import ConfigError, Seed, describe, did_you_mean, fits, shown
from recgnn.files import configuration, existing_file

SEEDS = (1, 2, 3)
LONGEST = 200  # bytes of a name: file systems take 255, and work in progress has longer ones
FIELDS = ("description", "configs", "seeds", "options")


class Entry(NamedTuple):
    """A configuration to train: name of its folder of runs, YAML file, and options of `fit` by dotted name."""

    name: str
    config: Path
    options: dict[str, Any]


class Suite(NamedTuple):
    """A list of configurations and the seeds to train each with."""

    name: str
    entries: list[Entry]
    seeds: list[int]


def read_suite(path: str | Path) -> Suite:
    """Read a suite: `configs` and optionally `seeds`, `options` of fit and a `description`.

    A configuration is a path, relative to the suite's file, or a mapping of `config` (that path), `name` and `options`.

    Args:
        path: The suite's path, or the name of one that comes with the package.

    Raises:
        ConfigError: If the file is no suite.
        DataError: If it names a configuration that does not exist.
    """
    path = configuration(path, "suites", "suite")
    content = read_yaml(path)
    if not isinstance(content, dict) or not isinstance(content.get("configs"), list) or not content["configs"]:
        raise ConfigError(f"{path}: expected a suite: a list `configs` of YAML files, perhaps `seeds` and `options`")
    _check_fields(path, content, FIELDS)
    seeds = content.get("seeds", list(SEEDS))
    if not seeds or not fits(seeds, list[Seed]):
        raise ConfigError(f"{path}: seeds are {seeds!r}; expected {describe(list[Seed])}, as [1, 2, 3]")
    common, entries = _options(path, content), []
    for given in content["configs"]:
        one = given if isinstance(given, dict) else {"config": given}
        _check_fields(path, one, ("config", "name", "options"))
        config = existing_file(path.parent / str(one.get("config")), f"configuration (of {path})")
        entries.append(Entry(str(one.get("name", config.stem)), config, common | _options(path, one)))
        name = entries[-1].name
        if not re.fullmatch(r"[^/\\.][^/\\]*", name) or not name.isprintable() or len(name.encode()) > LONGEST:
            expected = f"printable, without / or \\, at most {LONGEST} bytes"
            raise ConfigError(f"{path}: name {shown(name)} is no name of a folder ({expected})")
    names = [entry.name for entry in entries]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ConfigError(f"{path}: {', '.join(sorted(twice))} is listed twice; give each a name of its own (name: …)")
    return Suite(path.stem, entries, seeds)


def _check_fields(path: Path, content: dict[str, Any], known: Sequence[str]) -> None:
    for name in content:
        if name not in known:
            near = did_you_mean(name, known) or f"; there are {', '.join(known)}"
            raise ConfigError(f"{path}: no field is named {name!r}{near}")


def _options(path: Path, content: dict[str, Any]) -> dict[str, Any]:
    options = content.get("options") or {}
    if not isinstance(options, dict):
        raise ConfigError(f"{path}: options are {options!r}, expected option: value, as trainer.max_epochs: 5")
    return options
