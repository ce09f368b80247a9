"""What the catalogue's data sets share: found in a folder or downloaded once, and checked."""

from __future__ import annotations

import hashlib
import sys
import urllib.parse
from collections.abc import Callable
from pathlib import Path

from recgnn.data.datasets.download import download, unpack
from recgnn.data.log import ITEM, SPLIT, USER, InteractionLog, Source
from recgnn.errors import DataError
from recgnn.files import atomic_folder, cache_folder, locked, sha256_of

_FORMAT = 2

Reader = Callable[[Path], InteractionLog]


class CatalogLog(Source):
    """A public data set, checked by its published counts.

    Args:
        root: A folder with the files: the owner's (unpacked or as a zip file) or Parquet. None:
            they are downloaded, once.
        cache_dir: Folder of the downloads; $RECGNN_CACHE or ~/.cache/recgnn when None.

    Raises:
        DataError: On reading, if the files are not there and cannot be had, or are not what was
            published.
    """

    counts: dict[str, int]
    """Published numbers of users, items and train, test or all interactions."""
    urls: tuple[str, ...]

    def __init__(self, root: str | Path | None = None, cache_dir: str | Path | None = None) -> None:
        self.root = root
        self.cache_dir = cache_dir

    def layouts(self) -> list[tuple[tuple[str, ...], Reader]]:
        """Sets of files (`?` marks those that may be absent) and what reads them."""
        raise NotImplementedError

    def read(self) -> InteractionLog:
        folder, _, reader = self._locate()
        log = reader(folder)
        self._check(log, folder)
        return log

    def fingerprint(self) -> str:
        _, files, _ = self._locate()
        digests = [sha256_of(path) for path in files]
        return hashlib.sha256(f"{_FORMAT} {type(self).__qualname__} {digests}".encode()).hexdigest()

    def _locate(self) -> tuple[Path, list[Path], Reader]:
        """The folder, its files and their reader; downloads when no root was given."""
        if self.root is not None:
            root = Path(self.root).expanduser()
            found = self._found(root) or self._zipped(root)
            if found is None:
                wanted = " or ".join(
                    ", ".join(f for f in files if not f.startswith("?"))
                    for files, _ in self.layouts()
                )
                raise DataError(
                    f"{root}: holds no {self.name}; expected {wanted}, or the owner's zip file"
                )
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
        return found

    def _found(self, root: Path) -> tuple[Path, list[Path], Reader] | None:
        for folder in (root, root / self.name):
            for names, reader in self.layouts():
                if all((folder / n).is_file() for n in names if not n.startswith("?")):
                    files = [folder / n.removeprefix("?") for n in names]
                    return folder, [path for path in files if path.is_file()], reader
        return None

    def _zipped(self, root: Path) -> tuple[Path, list[Path], Reader] | None:
        """Unpacks the owner's zip file into the cache."""
        for archive in (root, root / f"{self.name}.zip", root / self.name / f"{self.name}.zip"):
            if archive.suffix == ".zip" and archive.is_file():
                folder = (
                    cache_folder(self.cache_dir)
                    / "datasets"
                    / f"{self.name}-{sha256_of(archive)[:12]}"
                )
                with locked(folder.with_name(f"{folder.name}.lock")):
                    if self._found(folder) is None:
                        with atomic_folder(folder) as temporary:
                            unpack(archive, temporary)
                return self._found(folder)
        return None

    def _fetch(self, folder: Path) -> None:
        """Downloads the owner's files into a folder."""
        host = urllib.parse.urlsplit(self.urls[0]).netloc
        say(f"{self.name}: downloading from {host} ...")
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

    def _check(self, log: InteractionLog, folder: Path) -> None:
        frame = log.interactions
        found = {
            "users": frame[USER].nunique(),
            "items": frame[ITEM].nunique(),
            "interactions": len(frame),
        }
        if SPLIT in frame:
            found |= frame[SPLIT].value_counts().to_dict()
        for what, published in self.counts.items():
            if found[what] != published:
                raise DataError(
                    f"{folder}: holds {found[what]:,} {what}, {self.name} was published with "
                    f"{published:,}; the files are damaged or of another version: remove the "
                    "folder to get them anew, or read them with TableLog or AdjacencyLog"
                )


def say(text: str) -> None:
    """One line on stderr: what is being waited for."""
    print(text, file=sys.stderr)
