"""A log and its parts from the data section of a YAML file, or from a table for each part: without a trainer."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any

import pandas as pd

import recgnn.data as data
from recgnn.data.interactions.log import ITEM, SPLIT, USER, Source
from recgnn.data.interactions.prepare import compute, prepare
from recgnn.data.interactions.prepared import PreparedLog
from recgnn.data.interactions.sources import FrameLog, TableLog
from recgnn.data.interactions.split import GivenSplit
from recgnn.data.interactions.usual_split import UsualSplit, WithoutValidation
from recgnn.data.readers.tables import open_table
from recgnn.data.stored import read_json, read_yaml
from recgnn.errors import ConfigError, RunError, did_you_mean, first_line, printable
from recgnn.evaluation.lists import columns_of
from recgnn.evaluation.metrics.ranking import RANKING
from recgnn.training.run_folder import existing_run

READ = ("source", "filters", "split", "cache_dir", "positive", "repeats", "merge_val", "prepared")
NOT_READ = ("batch_size", "sampling", "eval_batch_size")  # of the data module, which change no part


def log_of(path: str | Path) -> tuple[PreparedLog, dict[str, Any]]:
    """Prepare the log of a YAML file, as `fit --config` would.

    Args:
        path: A file with a section `data`, such as a configuration of `fit` or a run's config.yaml.

    Returns:
        The log, and the file's section `training`, empty where there is none.

    Raises:
        ConfigError: If the file has no such section, or names a class or an option that does not exist.
        DataError: As `prepare`.
    """
    config = read_yaml(Path(path).expanduser())
    if not isinstance(config, dict) or not isinstance(config.get("data"), dict):
        raise ConfigError(f"{path}: has no section `data`, with a source and perhaps filters and a split")
    section, training = config["data"], config.get("training")
    if (kind := str(section.get("class_path", "GraphDataModule")).rpartition(".")[2]) != "GraphDataModule":
        raise ConfigError(f"{path}: data of class {kind} has no rankings to measure; expected a GraphDataModule")
    given = {k: v for k, v in (section.get("init_args", section)).items() if k not in ("class_path", *NOT_READ)}
    if unknown := [name for name in given if name not in READ]:
        raise ConfigError(f"{path}: data has no option {unknown[0]!r}{did_you_mean(unknown[0], READ)}")
    if given.get("prepared"):
        return PreparedLog.load(given["prepared"]), _arguments(training)
    source = made(given.get("source"), "source", f"{path}: data.source")
    split = made(given.get("split") or UsualSplit(), "split", f"{path}: data.split")
    filters = [made(one, "filter", f"{path}: data.filters") for one in given.get("filters") or []]
    asked = (given.get("cache_dir"), given.get("positive"), given.get("repeats") or "merge")
    split = WithoutValidation(split) if given.get("merge_val") else split
    return prepare(source, filters, split, *asked), _arguments(training)


def log_of_parts(files: Mapping[str, str], given: Mapping[str, str | None]) -> PreparedLog:
    """Prepare a log whose parts are a table each.

    Args:
        files: The tables by part: `train`, `test` and perhaps `val`.
        given: Names of the columns `user` and `item` where a table has such, which are else found.

    Raises:
        DataError: If a table cannot be read, or has no such columns.
    """
    frames = []
    for part, path in files.items():
        names = open_table(path).names
        known = {role: name for role in (USER, ITEM) if (name := given.get(role)) in names}
        found = columns_of(names, known, path)
        log = TableLog(path, found[USER], found[ITEM], rating="", timestamp="", weight="").read()
        frames.append(log.interactions[[USER, ITEM]].assign(**{SPLIT: part}))
    for side in (USER, ITEM):
        if len({frame[side].dtype for frame in frames}) > 1:  # numbers in one file, text in another
            frames = [frame.assign(**{side: frame[side].astype("str")}) for frame in frames]
    source = FrameLog(pd.concat(frames, ignore_index=True), name=Path(files["train"]).name.split(".")[0])
    return compute(source, [], GivenSplit() if "val" in files else GivenSplit(val=0.0))


def protocol_of(folder: str | Path, part: str = "test") -> tuple[list[int], list[str]]:
    """Read the lengths of lists, and the metrics of rankings, that a run was measured by.

    Raises:
        RunError: If it is not finished, or its protocol ranks nothing.
    """
    run = existing_run(folder)
    if not (run / "metrics.json").is_file():
        raise RunError(f"{run}: is not finished (no metrics.json), and does not say what it is measured by")
    content = read_json(run / "metrics.json", sealed=True)
    names = list(content.get(part) or content.get("test") or content.get("val") or {})
    found = [match for name in names if (match := re.fullmatch(r"([a-z]+)@(\d{1,9})", name)) and match[1] in RANKING]
    if not found:
        told = printable(", ".join(map(str, names[:4])))
        raise RunError(f"{run}: its protocol ranks nothing, it has {told}; expected a run of a ranking, or --data with "
                       "a GraphDataModule")  # fmt: skip
    ks, metrics = (list(dict.fromkeys(match[place] for match in found)) for place in (2, 1))
    return [int(k) for k in ks], metrics


def made(given: Any, what: str, where: str) -> Any:
    """Make the source, filter or split that a configuration describes by its class, with arguments or without.

    Args:
        given: A short name, a dotted path, or a mapping of class_path and init_args; an object stays as it is.
        what: `source`, `filter` or `split`.
        where: Its place, for the error.

    Raises:
        ConfigError: If there is no such class, or it has no such argument.
    """
    base = {"source": Source, "filter": data.Filter, "split": data.Split}[what]
    if isinstance(given, base):
        return given
    given = given if isinstance(given, dict) else {"class_path": given}
    path, arguments = given.get("class_path"), _arguments(given)
    if not path:
        raise ConfigError(f"{where}: names no class; expected class_path: …")
    module, _, name = str(path).rpartition(".")
    try:
        cls = getattr(import_module(module or "recgnn.data"), name)
    except (ImportError, AttributeError, ValueError) as error:
        near = did_you_mean(name, data.NAMES)
        raise ConfigError(f"{where}: no {what} is named {path}{near}: {first_line(error)}") from error
    if not (isinstance(cls, type) and issubclass(cls, base)):
        raise ConfigError(f"{where}: {path} is no {what}")
    if unknown := [key for key in arguments if key not in signature(cls).parameters]:
        near = did_you_mean(unknown[0], signature(cls).parameters)
        raise ConfigError(f"{where}: {name} has no option {unknown[0]!r}{near}")
    try:
        return cls(**arguments)
    except TypeError as error:
        raise ConfigError(f"{where}: {name}: {error}") from error


def _arguments(given: Any) -> dict[str, Any]:
    """The arguments of a class in a configuration, whether under init_args or beside the class."""
    given = given if isinstance(given, dict) else {}
    inner = given.get("init_args")
    return dict(inner) if isinstance(inner, dict) else {k: v for k, v in given.items() if k != "class_path"}
