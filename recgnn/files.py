"""Files that are whole or absent: written to a temporary name and moved into place."""

from __future__ import annotations

import ctypes
import glob
import hashlib
import math
import mmap
import os
import platform
import re
import shutil
import sys
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from recgnn.errors import ConfigError, DataError, RunError, did_you_mean, first_line

if TYPE_CHECKING:
    import numpy as np

MAPPED = 2**26  # bytes from which an array lies in a file


def cache_folder(cache_dir: str | Path | None = None) -> Path:
    """The folder of what can be made again: `cache_dir`, $RECGNN_CACHE or ~/.cache/recgnn."""
    chosen = cache_dir or os.environ.get("RECGNN_CACHE") or Path.home() / ".cache" / "recgnn"
    return Path(chosen).expanduser()


def large_array(shape: int | tuple[int, ...], kind: Any) -> np.ndarray:
    """Make an array for what is written once: in memory, or from 64 MiB in a file without a name, whose pages the
    system writes to disk, drops where memory is short, and reads again.

    It lies in $TMPDIR, else in /var/tmp (/tmp is memory on many systems). Where the system cannot reserve its bytes
    there (no room, not Linux), the array is in memory.

    Args:
        shape: Of the array, whose values are any.
        kind: Its dtype.
    """
    import numpy as np

    kind = np.dtype(kind)
    size = kind.itemsize * (math.prod(shape) if isinstance(shape, tuple) else shape)
    if size >= MAPPED:
        with suppress(OSError, AttributeError, ValueError):
            with tempfile.TemporaryFile(dir=os.environ.get("TMPDIR") or "/var/tmp") as file:
                os.posix_fallocate(file.fileno(), 0, size)
                return np.frombuffer(mmap.mmap(file.fileno(), size), kind).reshape(shape)
    return np.empty(shape, kind)


def existing_file(path: str | Path, what: str = "file") -> Path:
    """The path of a readable file.

    Args:
        path: Where it should be; `~` is expanded.
        what: What to call it in the error.

    Raises:
        DataError: If it is missing, a folder, or unreadable; names the nearest file of its folder.
    """
    path = Path(path).expanduser()
    if path.is_file():
        if not os.access(path, os.R_OK):
            raise DataError(f"{path}: the {what} cannot be read: permission denied")
        return path
    if path.is_dir():
        inside = ", ".join(sorted(p.name for p in path.iterdir() if p.is_file())[:5])
        raise DataError(
            f"{path}: is a folder, expected a {what}"
            + (f"; it holds {inside}" if inside else "; it holds no file")
        )
    if path.parent.is_dir():
        hint = did_you_mean(path.name, (p.name for p in path.parent.iterdir()))
        raise DataError(f"{path}: no such {what}{hint}")
    raise DataError(f"{path}: no such {what}; the folder {path.parent} does not exist")


def shipped(kind: str = "") -> dict[str, Path]:
    """The configurations that come with the package, by the name that a command takes.

    Args:
        kind: Empty for those of `fit` (`ngcf`, `recipes/lightgcn_gowalla`), or their folder: `suites`, `sweeps`.
    """
    package = Path(__file__).parent
    folder = next((f for f in (package / "conf", package.parent / "conf") if (f / "suites").is_dir()), package / "conf")
    files = [*folder.glob("*.yaml"), *folder.glob("recipes/*.yaml")] if not kind else (folder / kind).glob("*.yaml")
    return {str(path.relative_to(folder / kind).with_suffix("")): path for path in sorted(files)}


def configuration(path: str | Path, kind: str = "", what: str = "configuration file") -> Path:
    """A YAML file: the one at `path`, or the one of that name that comes with the package.

    Args:
        path: A path, `~` is expanded; or a name that `shipped` has.
        kind: As in `shipped`.
        what: What to call it in the error.

    Raises:
        ConfigError: If there is neither; names the nearest.
    """
    path, ours = Path(path).expanduser(), shipped(kind)
    if path.is_file():
        return path
    if str(path) in ours:
        return ours[str(path)]
    near = {p.name for p in path.parent.glob("*.yaml")} if path.parent.is_dir() else set()
    hint = did_you_mean(path.name, near | {*ours})
    place, name = f"conf/{kind}", str(path).removesuffix(path.suffix)
    if name.startswith(place) and (name := name.removeprefix(place).strip("/")) in ours:
        hint = f"; one comes with recgnn by the name {name}"
    raise ConfigError(f"{path}: no such {what}{hint}; `recgnn configs` lists those that come with recgnn")


def existing_files(path: str | Path, what: str = "file") -> list[Path]:
    """The readable files that a path names: itself, all that fit a pattern such as `logs/*.csv`, or a copy of a remote.

    Args:
        path: A path, a pattern, or an address such as `s3://bucket/log.parquet`, whose driver for fsspec is installed;
            what it names is kept in the cache.
        what: What to call it in the error.

    Raises:
        DataError: If there is none, or it cannot be had.
    """
    text = str(path)
    if "://" in text:
        import fsspec  # comes with Lightning; local files need none of it

        try:
            store = {"cache_storage": str(cache_folder() / "remote"), "check_files": True}
            found = fsspec.open_local(f"filecache::{text}", mode="rb", filecache=store)
        except Exception as error:  # what drivers raise has no common base
            raise DataError(f"{text}: the {what} cannot be had: {first_line(error)}") from error
        return [Path(name) for name in ([found] if isinstance(found, str) else sorted(found))]
    if any(sign in text for sign in "*?[") and not Path(text).expanduser().exists():
        names = sorted(glob.glob(str(Path(text).expanduser()), recursive=True))
        if not names:
            raise DataError(f"{text}: no {what} fits this pattern")
        return [existing_file(name, what) for name in names]
    return [existing_file(path, what)]


def name_of(path: str | Path) -> str:
    """Return a short name for what a path, pattern or address names: of a file its own, else its folder's.

    >>> [name_of(path) for path in ("data/log.csv.gz", "logs/day-*.csv", "logs/*.csv", "*.csv")]
    ['log', 'day', 'logs', 'data']
    """
    own = (re.sub(r"[*?\[\]]+", "", part.split(".")[0]).strip("-_ ") for part in reversed(Path(path).parts))
    return next((part for part in own if part and part != "/"), "data")


def sha256_of(path: str | Path) -> str:
    """The sha256 of a file's content, in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, which is moved onto it on success and removed on failure.

    The content is on disk before the move, so that a power loss leaves the old file or the new one.

    Args:
        path: The file to write; its folder is made, the temporary name has its suffix.

    Raises:
        RunError: If it cannot be written (permission, full disk), naming the path and the reason.
    """
    path = Path(path).expanduser()
    temporary = temporary_beside(path)
    try:
        with writing(path, temporary):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            _to_disk(temporary)
            os.replace(temporary, path)
            _to_disk(path.parent)
    finally:
        with suppress(OSError):
            temporary.unlink()


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Yield an empty temporary folder beside `path`, which takes the place of `path` on success only.

    Where the system can exchange two folders in one move (Linux), `path` is there at every moment.

    Raises:
        RunError: If it cannot be written (permission, full disk), naming the path and the reason.
    """
    path = Path(path).expanduser()
    if path.is_file():
        raise RunError(f"{path}: cannot be written: a file stands where a folder is needed")
    temporary = temporary_beside(path)
    try:
        with writing(path, temporary):
            temporary.mkdir(parents=True)
            yield temporary
            for file in temporary.rglob("*"):
                _to_disk(file)
            if path.exists() and not _exchanged(temporary, path):
                old = temporary_beside(path)
                os.replace(path, old)
                os.replace(temporary, path)
                temporary = old
            elif temporary.exists() and not path.exists():
                os.replace(temporary, path)
            _to_disk(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def temporary_beside(path: Path) -> Path:
    """A name for work in progress beside `path`, which tells whose it is; what dead processes left there is removed.

    Raises:
        RunError: If `path` is empty, the current folder, or the root.
    """
    if not path.name:
        raise RunError(f"{path}: cannot be written: give the name of a new file or folder")
    sweep(path.parent.glob(f"{_host()}-*"))
    return path.with_name(f"{_host()}-{os.getpid()}-{uuid.uuid4().hex[:12]}-{path.name}")


def _host() -> str:
    """The beginning of the names of work in progress on this machine."""
    return f".tmp-{hashlib.sha256(platform.node().encode()).hexdigest()[:6]}"


def sweep(paths: Iterable[Path]) -> None:
    """Remove those of `paths` that are work in progress of this machine's dead processes."""
    for left in paths:
        if left.name.startswith(f"{_host()}-") and not _alive(left.name.split("-")[2]):
            with suppress(OSError):
                shutil.rmtree(left) if left.is_dir() else left.unlink()


def _alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except (ValueError, OSError):  # no number, or somebody else's process
        return True
    return True


def _to_disk(path: Path) -> None:
    """Wait until a file's content, or a folder's list of names, is on disk, as far as the system lets us."""
    with suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _exchanged(one: Path, other: Path) -> bool:
    """Exchange two folders in one move; False where the system cannot."""
    if sys.platform != "linux":
        return False
    with suppress(OSError, AttributeError):
        rename = ctypes.CDLL(None, use_errno=True).renameat2
        return rename(-100, os.fsencode(one), -100, os.fsencode(other), 2) == 0  # AT_FDCWD, RENAME_EXCHANGE
    return False


@contextmanager
def locked(path: str | Path, refusal: str | None = None) -> Iterator[None]:
    """Hold the lock file `path`, so that two processes do not do the same work at once; a killed process holds none.

    Args:
        path: The lock file.
        refusal: What to say instead of waiting where another process holds it; the file is removed at the end.

    Raises:
        RunError: If the lock file cannot be made, or with `refusal`.
    """
    path = Path(path).expanduser()
    with writing(path, path):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path)
        try:
            lock.acquire(timeout=3 if refusal is None else 0)
        except Timeout:
            if refusal is not None:
                raise RunError(refusal) from None
            print(f"waiting for another process ({path}) ...", file=sys.stderr)
            lock.acquire()
    try:
        yield
    finally:
        if refusal is not None:
            with suppress(OSError):
                path.unlink()
        lock.release()


@contextmanager
def writing(path: Path, temporary: Path) -> Iterator[None]:
    """Turn a failure to write `temporary` into one line about `path`; other files' errors pass.

    Raises:
        RunError: If `path` cannot be written.
    """
    try:
        yield
    except OSError as error:
        if isinstance(error.filename, str | os.PathLike):
            named, whole = Path(error.filename).absolute(), path.absolute()
            beside = temporary.absolute()
            if named not in (whole, beside, *whole.parents) and beside not in named.parents:
                raise
        if isinstance(error, FileExistsError | NotADirectoryError):
            raise RunError(
                f"{path}: cannot be written: a file stands where a folder is needed"
            ) from error
        reason = (error.strerror or str(error) or type(error).__name__).splitlines()[0]
        raise RunError(f"{path}: cannot be written: {reason}") from error
