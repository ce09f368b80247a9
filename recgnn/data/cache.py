"""Prepared data on disk, by content: made once, by one process at a time."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, Self, TypeVar

from recgnn.errors import RunError
from recgnn.files import cache_folder, locked


class Prepared(Protocol):
    """What can be kept in a folder."""

    def save(self, folder: str | Path) -> None:
        """Writes it, whole or not at all."""

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Reads it; a RunError where it is broken."""


P = TypeVar("P", bound=Prepared)


def prepared_once(
    kind: type[P], place: str, steps: Sequence[str], make: Callable[[], P], cache_dir: str | Path | None
) -> P:
    """What `make` returns, from the cache where it has been made before; other processes wait for the one at work.

    Args:
        kind: Its class.
        place: Folder within the cache.
        steps: Everything that it follows from.
        make: Makes it.
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


def _stored(kind: type[P], folder: Path) -> P | None:
    """The cache's entry, or None when it is absent or broken."""
    try:
        return kind.load(folder) if folder.is_dir() else None
    except RunError:
        return None
