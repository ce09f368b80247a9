"""What named public data sets share: found in a folder or downloaded once, and checked."""

from __future__ import annotations

import sys
import urllib.parse
from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from recgnn.data.cache import fingerprint
from recgnn.data.clicks.events import EventSource
from recgnn.data.datasets.download import download, unpack
from recgnn.data.interactions.log import ITEM, SPLIT, USER, InteractionLog, Source
from recgnn.errors import DataError
from recgnn.files import atomic_folder, cache_folder, locked, sha256_of

Layout = tuple[tuple[str, ...], Callable[[Path], Any]]
"""Names of files (`?` marks those that may be absent), and the method that reads them from a folder."""


class PublicData:
    """A public data set in one of several layouts of files.

    Args:
        root: A folder with the files: the owner's (unpacked or as a zip file) or Parquet. None: they are downloaded,
            once.
        cache_dir: Folder of the downloads; $RECGNN_CACHE or ~/.cache/recgnn when None.

    Raises:
        DataError: On reading, if the files are not there and cannot be had.
    """

    name: str
    urls: tuple[str, ...] = ()
    """Of the owner's files; none where they have to be put into a folder by hand."""
    inside: tuple[str, ...] = ()
    """Folders in which the owner's archive has its files, besides one of the data set's name."""

    def __init__(self, root: str | Path | None = None, cache_dir: str | Path | None = None) -> None:
        self.root = root
        self.cache_dir = cache_dir

    @abstractmethod
    def layouts(self) -> list[Layout]:
        """Return the sets of files that are known, and their readers."""

    def files(self) -> list[Path]:
        """Return the files that are read."""
        return self.locate()[1]

    def fingerprint(self) -> str:
        """Return a hash of the options and the files."""
        return fingerprint(self, self.name, self.files())

    def locate(self) -> tuple[Path, list[Path], Callable[[Path], Any]]:
        """Return the folder, its files and their reader; download them when no root was given.

        Raises:
            DataError: If there are none.
        """
        if self.root is not None:
            root = Path(self.root).expanduser()
            found = self._found(root) or self._zipped(root)
            if found is None:
                layouts = (", ".join(f for f in files if not f.startswith("?")) for files, _ in self.layouts())
                remedy = ", or the owner's zip file" if self.urls else "; they have to be put there by hand"
                raise DataError(f"{root}: holds no {self.name}; expected {' or '.join(layouts)}{remedy}")
            return found
        folder = cache_folder(self.cache_dir) / "datasets" / self.name
        found = self._found(folder)
        if found is None:
            with locked(folder.with_name(f"{self.name}.lock")):
                found = self._found(folder)
                if found is None:
                    with atomic_folder(folder) as temporary:
                        self._fetch(temporary)
                        if self._found(temporary) is None:
                            raise DataError(f"{self.name}: what was downloaded is not the data set")
                    found = self._found(folder)
        assert found is not None
        return found

    def _found(self, root: Path) -> tuple[Path, list[Path], Callable[[Path], Any]] | None:
        for folder in (root, *(root / name for name in (self.name, *self.inside))):
            for names, reader in self.layouts():
                if all((folder / n).is_file() for n in names if not n.startswith("?")):
                    files = [folder / n.removeprefix("?") for n in names]
                    return folder, [path for path in files if path.is_file()], reader
        return None

    def _zipped(self, root: Path) -> tuple[Path, list[Path], Callable[[Path], Any]] | None:
        """Return the owner's zip file, unpacked into the cache."""
        for archive in (root, root / f"{self.name}.zip", root / self.name / f"{self.name}.zip"):
            if archive.suffix == ".zip" and archive.is_file():
                name = f"{self.name}-{sha256_of(archive)[:12]}"
                folder = cache_folder(self.cache_dir) / "datasets" / name
                with locked(folder.with_name(f"{name}.lock")):
                    if self._found(folder) is None:
                        with atomic_folder(folder) as temporary:
                            unpack(archive, temporary)
                return self._found(folder)
        return None

    def _fetch(self, folder: Path) -> None:
        """Download the owner's files into a folder."""
        if not self.urls:
            raise DataError(f"{self.name}: cannot be downloaded by itself; give the folder that holds it as root")
        say(f"{self.name}: downloading from {urllib.parse.urlsplit(self.urls[0]).netloc} ...")
        try:
            for url in self.urls:
                path = folder / url.rsplit("/", 1)[1]
                download(url, path)
                if path.suffix == ".zip":
                    unpack(path, folder)
                    path.unlink()
        except DataError as error:
            raise DataError(f"{self.name}: {error}; {self._by_hand()}") from error

    def _by_hand(self) -> str:
        return f"or download {' and '.join(self.urls)} by hand and give the folder as root"


class PublicLog(PublicData, Source):
    """A public log, checked by its published counts; see `PublicData`.

    Raises:
        DataError: On reading, if the files are not there and cannot be had, or are not those that were published.
    """

    counts: dict[str, int] = {}
    """Published numbers of users, items and train, test or all interactions."""

    def read(self) -> InteractionLog:
        folder, _, reader = self.locate()
        log = reader(folder)
        frame = log.interactions
        found = {"users": frame[USER].nunique(), "items": frame[ITEM].nunique(), "interactions": len(frame)}
        if SPLIT in frame:
            found |= frame[SPLIT].value_counts().to_dict()
        for what, published in self.counts.items():
            if found[what] != published:
                raise DataError(
                    f"{folder}: holds {found[what]:,} {what}, {self.name} was published with {published:,}; the files "
                    "are damaged or of another version: remove the folder to get them anew, or read them with TableLog "
                    "or AdjacencyLog"
                )
        return log


class PublicEvents(PublicData, EventSource):
    """A public table of events; see `PublicData`."""

    def events(self) -> pd.DataFrame:
        folder, _, reader = self.locate()
        return reader(folder)


def say(text: str) -> None:
    """Print `text` as one line on stderr: what is being waited for."""
    print(text, file=sys.stderr)
