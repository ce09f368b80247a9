"""Files of run folders and prepared data: JSON that knows its own checksum, checksums of the others, bounded YAML.

A file may come from somebody else. Whatever is wrong with it is told in one line that names it.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, NodeEvent

from recgnn.errors import ConfigError, RunError, first_line
from recgnn.files import atomic_path, sha256_of

SUMMARY = "summary.json"
HASHED_ONCE = 2**26  # bytes from which a file is hashed once a process, as long as it does not change
YAML = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # plain values only
LONGEST, MOST_NODES, DEEPEST = 2**21, 2**16, 64  # characters, expanded values and levels of YAML
SEAL = re.compile(r"^# sha256 ([0-9a-f]{64})\n", re.MULTILINE)
_hashed: dict[tuple[int, ...], str] = {}


@contextmanager
def reading(path: str | Path, what: str = "cannot be read") -> Iterator[None]:
    """Turn whatever fails while a stored file is read into one line about it.

    Raises:
        RunError: Names the file and the reason.
    """
    try:
        yield
    except RunError:
        raise
    except Exception as error:
        reason = error.strerror if isinstance(error, OSError) else None
        raise RunError(f"{path}: {what}: {reason or first_line(error)}") from error


# ---- checksums


def digest_of(path: Path) -> str:
    """Return the sha256 of a file; that of a large one is computed once for each state of it."""
    state = path.stat()
    if state.st_size < HASHED_ONCE:
        return sha256_of(path)
    key = state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns
    if key not in _hashed:
        _hashed[key] = sha256_of(path)
    return _hashed[key]


def verify(folder: Path, files: Mapping[str, str], names: Iterable[str]) -> None:
    """Compare files of a folder with their checksums.

    Args:
        folder: The folder.
        files: The sha256 of its files, by name.
        names: Those that are going to be read.

    Raises:
        RunError: If one is missing or damaged.
    """
    for name in names:
        with reading(folder / name):
            if not (folder / name).is_file():
                raise RunError(f"{folder / name}: is missing")
            if digest_of(folder / name) != files[name]:
                raise RunError(f"{folder / name}: is damaged (its sha256 has changed)")


# ---- JSON


def write_json(path: Path, content: dict[str, Any], sealed: bool = False) -> None:
    """Write a JSON file, whole or not at all; numbers that are not finite become null, which every reader knows.

    Args:
        path: The file.
        content: What it is to hold.
        sealed: Whether it is to hold the sha256 of its own content, too.
    """
    content = _finite(content)
    seal = {"sha256": _digest(content)} if sealed else {}
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content | seal, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def read_json(path: Path, sealed: bool = False) -> dict[str, Any]:
    """Read a JSON object, without its seal.

    Args:
        path: The file.
        sealed: Whether it must have one.

    Raises:
        RunError: If there is none, it cannot be read, or it is not what was sealed.
    """
    with reading(path):
        content = json.loads(_text(path))
        if not isinstance(content, dict):
            raise ValueError("expected an object, {…}")
        seal = content.pop("sha256", None)
        if sealed and not isinstance(seal, str):
            raise RunError(f"{path}: has no checksum: it is damaged, or of another version of recgnn; make it again")
        if isinstance(seal, str) and seal != _digest(content):
            raise RunError(f"{path}: is damaged (its sha256 has changed)")
    return content


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _text(path: Path) -> str:
    if path.exists() and not path.is_file():  # a folder, or a device that has no end
        raise RunError(f"{path}: is no file")
    return path.read_text(encoding="utf-8")


def _digest(content: dict[str, Any]) -> str:
    plain = json.loads(json.dumps(content))  # as it is read again
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def write_summary(folder: Path, summary: dict[str, Any]) -> None:
    """Write summary.json, with the sha256 of every other file of the folder."""
    files = {path.name: digest_of(path) for path in sorted(folder.iterdir()) if path.name != SUMMARY}
    write_json(folder / SUMMARY, summary | {"files": files}, sealed=True)


def read_summary(folder: Path, format: int) -> tuple[dict[str, Any], dict[str, str]]:
    """Read summary.json; returns the summary, and the sha256 of the folder's files by name.

    Raises:
        RunError: If it is missing, damaged, or of another format version.
    """
    summary = read_json(folder / SUMMARY, sealed=True)
    if summary.get("format") != format:
        raise RunError(f"{folder}: written in format {summary.get('format')}, this version reads {format}")
    files = summary.pop("files", None)
    if not isinstance(files, dict) or not isinstance(summary.get("name"), str):
        raise RunError(f"{folder / SUMMARY}: names no files or no data")
    return summary, files


# ---- YAML


def sealed_text(head: str, text: str) -> str:
    """Put a head and a line with the sha256 of `text` before it."""
    return f"{head}# sha256 {hashlib.sha256(text.encode()).hexdigest()}\n{text}"


def read_yaml(path: Path) -> Any:
    """Read a YAML file of plain values, within bounds; one with a seal must be as it was sealed.

    Raises:
        ConfigError: If it is no YAML, or beyond any real configuration.
        RunError: If it cannot be read, or is not what was sealed.
    """
    with reading(path):
        text = _text(path)
    check_bounds(text, str(path))
    if (seal := SEAL.search(text[:1000])) and hashlib.sha256(text[seal.end() :].encode()).hexdigest() != seal[1]:
        raise RunError(f"{path}: is damaged, or was changed after it was written (its sha256 differs)")
    try:
        return yaml.load(text, YAML)
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read as YAML: {' '.join(str(error).split())}") from error


def check_bounds(text: str, where: str) -> None:
    """Refuse YAML that is longer, deeper or, with its aliases, larger than any configuration; not YAML that is wrong.

    Args:
        text: The YAML.
        where: Where it comes from, for the error.

    Raises:
        ConfigError: Names the line.
    """
    if len(text) > LONGEST:
        raise ConfigError(f"{where}: has {len(text):,} characters; no configuration has more than {LONGEST:,}")
    count, sizes = 0, dict[str, int]()
    within: list[tuple[str | None, int]] = []  # anchor and first node of the collections around
    try:
        for event in yaml.parse(text, YAML):
            if isinstance(event, CollectionEndEvent):
                anchor, first = within.pop()
                sizes |= {anchor: count - first} if anchor else {}
                continue
            if not isinstance(event, NodeEvent):
                continue
            line = f"{where}, line {event.start_mark.line + 1}" if event.start_mark else where
            if isinstance(event, AliasEvent):
                if event.anchor in (anchor for anchor, _ in within):
                    raise ConfigError(f"{line}: *{event.anchor} stands within itself")
                count += sizes.get(str(event.anchor), 1)
            elif isinstance(event, CollectionStartEvent):
                within.append((event.anchor, count))
                count += 1
            else:
                sizes |= {event.anchor: 1} if event.anchor else {}
                count += 1
            if len(within) > DEEPEST:
                raise ConfigError(f"{line}: is nested more than {DEEPEST} deep; no configuration is")
            if count > MOST_NODES:
                raise ConfigError(f"{line}: expands to more than {MOST_NODES:,} values; no configuration does")
    except yaml.YAMLError:
        return  # told where it is read


def flat(config: Any, place: str = "") -> dict[str, Any]:
    """Flatten a configuration to dotted names: {"model.init_args.lr": 0.01, …}."""
    if not isinstance(config, dict) or not config:
        return {place: config}
    return {k: v for key, inner in config.items() for k, v in flat(inner, f"{place}.{key}" if place else key).items()}
