"""Prepared data on disk, by content: made once, by one process at a time."""

from __future__ import annotations

import hashlib
import inspect
import json
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from types import CodeType
from typing import Any, Protocol, Self, TypeVar

import pandas as pd

from recgnn.errors import DataError, RunError, shown
from recgnn.files import cache_folder, existing_file, locked, sha256_of

_FORMAT = 2  # of fingerprints, and of how texts are read
_OWN = ("recgnn",)  # whose classes change with formats


class Prepared(Protocol):
    """Data that can be kept in a folder."""

    def save(self, folder: str | Path) -> None:
        """Write it, whole or not at all."""

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read it; raise RunError where it is broken."""


P = TypeVar("P", bound=Prepared)


def prepared_once(
    kind: type[P], place: str, steps: Sequence[str], make: Callable[[], P], cache_dir: str | Path | None
) -> P:
    """Return what `make` returns, from the cache where it has been made before; other processes wait for the first.

    Args:
        kind: Class of the data.
        place: Folder within the cache.
        steps: Everything that the data follow from.
        make: Makes the data.
        cache_dir: Folder of the cache; $RECGNN_CACHE or ~/.cache/recgnn when None.

    Raises:
        RunError: If `cache_dir` cannot be written (without `cache_dir`: a warning, and no cache).
    """
    key = hashlib.sha256("\n".join(steps).encode()).hexdigest()[:32]
    folder = cache_folder(cache_dir) / place / key
    if (cached := _stored(kind, folder)) is not None:
        return cached
    made: P | None = None
    try:
        with locked(folder.with_name(f"{key}.lock")):
            if (cached := _stored(kind, folder)) is not None:
                return cached
            made = make()
            made.save(folder)
            return _stored(kind, folder) or made
    except RunError as error:
        if cache_dir is not None:
            raise
        warnings.warn(f"the prepared data is not cached: {error}; set RECGNN_CACHE to a folder", stacklevel=3)
    return made or make()


def fingerprint(source: object, options: object, files: Sequence[str | Path | None]) -> str:
    """Return a sha256 over the class of a source, its options and the content of its files."""
    digests = [None if path is None else sha256_of(existing_file(path)) for path in files]
    stated = json.dumps([_FORMAT, class_of(source), options, digests], sort_keys=True, default=str)
    return hashlib.sha256(stated.encode()).hexdigest()


def source_steps(source: Any) -> list[str]:
    """Return what the prepared data of a source follow from, for the cache's key: its class and its fingerprint.

    Raises:
        DataError: If the fingerprint is no text.
    """
    text = source.fingerprint()
    if not isinstance(text, str):
        name = type(source).__name__
        raise DataError(f"{name}.fingerprint gave {shown(text)}, expected text that is another one where the rows are")
    return [class_of(source), text]


def class_of(step: object) -> str:
    """Return the class of a source, filter or split, for the cache's key: one's own with the digest of its code.

    The code is the text of the modules that have the class and its bases, or where there is none, as at a prompt, the
    instructions of its methods; what these modules import is not looked at.

    >>> class_of(object())
    'builtins.object'
    """
    kind = type(step)
    code: set[str] = set()
    for base in kind.__mro__:
        if base.__module__.partition(".")[0] not in {"builtins", *sys.stdlib_module_names, *_OWN}:
            module = sys.modules.get(base.__module__)
            try:
                code.add(inspect.getsource(module if getattr(module, "__file__", None) else base))  # type: ignore[arg-type]
            except (OSError, TypeError):
                code |= {repr(_instructions(value)) for value in vars(base).values()}
    digest = hashlib.sha256("".join(sorted(code)).encode()).hexdigest()[:16] if code else ""
    return f"{kind.__module__}.{kind.__qualname__}{digest and f' {digest}'}"


def _instructions(value: object) -> object:
    """The instructions and constants of a function, of functions within it too; None of anything else."""
    found = getattr(getattr(value, "__func__", value), "__code__", value)
    if not isinstance(found, CodeType):
        return None
    return found.co_code, [_instructions(x) if isinstance(x, CodeType) else x for x in found.co_consts]


def frame_digest(frame: pd.DataFrame | None) -> bytes:
    """Return a sha256 over a frame's columns, types and values."""
    if frame is None:
        return b"none"
    digest = hashlib.sha256(repr([(str(c), str(t)) for c, t in frame.dtypes.items()]).encode())
    for _, values in frame.items():
        try:
            hashes = pd.util.hash_pandas_object(values, index=False)
        except TypeError:  # lists and the like
            hashes = pd.util.hash_pandas_object(values.map(repr), index=False)
        digest.update(hashes.to_numpy().tobytes())
    return digest.digest()


def _stored(kind: type[P], folder: Path) -> P | None:
    """Return the cache's entry, or None when it is absent or broken."""
    try:
        return kind.load(folder) if folder.is_dir() else None
    except RunError:
        return None
