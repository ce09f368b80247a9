"""Files from elsewhere: downloaded under a temporary name, checked, safely unpacked."""

from __future__ import annotations

import http.client
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from recgnn.errors import DataError
from recgnn.files import atomic_path, sha256_of

_CHUNK = 1 << 18


def download(url: str, path: str | Path, sha256: str | None = None, timeout: float = 6.0) -> None:
    """Downloads a file; `path` is there only when all of it has come and is right.

    Args:
        url: Where from.
        path: Where to.
        sha256: What its content must have, if known.
        timeout: Seconds to wait for an answer, to begin with and in between.

    Raises:
        DataError: If it cannot be had, naming the address and the reason.
        RunError: If it cannot be written.
    """
    request = urllib.request.Request(url, headers={"User-Agent": "recgnn"})
    with atomic_path(path) as temporary:
        try:
            response = urllib.request.urlopen(request, timeout=timeout)
        except urllib.error.HTTPError as error:
            raise DataError(f"{url}: the server answers {error.code} {error.reason}") from error
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            raise DataError(f"{url}: cannot be reached: {reason}") from error
        with response, open(temporary, "wb") as file, _progress() as bar:
            expected = int(response.headers.get("Content-Length") or 0)
            task = bar.add_task(Path(path).name, total=expected or None)
            received = 0
            while True:
                try:
                    chunk = response.read(_CHUNK)
                except (OSError, http.client.HTTPException) as error:
                    raise DataError(f"{url}: broke off: {error}") from error
                if not chunk:
                    break
                file.write(chunk)
                received += len(chunk)
                bar.update(task, completed=received)
        if expected and received != expected:
            raise DataError(f"{url}: broke off after {received:,} of {expected:,} bytes; try again")
        if sha256 is not None and sha256_of(temporary) != sha256:
            raise DataError(f"{url}: its sha256 is {sha256_of(temporary)}, expected {sha256}")


def unpack(archive: str | Path, folder: str | Path) -> None:
    """Unpacks a zip file; no member may lie outside `folder`.

    Raises:
        DataError: If the archive is broken or a member would leave the folder.
    """
    root = Path(folder).resolve()
    try:
        with zipfile.ZipFile(archive) as file:
            for name in file.namelist():
                if not (root / name).resolve().is_relative_to(root) or "\\" in name:
                    raise DataError(
                        f"{archive}: its member '{name}' would leave the folder; not unpacked"
                    )
            file.extractall(root)
    except (zipfile.BadZipFile, zipfile.LargeZipFile, EOFError, NotImplementedError) as error:
        raise DataError(f"{archive}: is no readable zip file: {error}") from error


def from_wheel(
    requirement: str, sha256: str, members: Mapping[str, str], folder: str | Path
) -> None:
    """Takes single files out of a published Python package; nothing is installed.

    Args:
        requirement: What pip is asked for, such as "recbole==1.2.1".
        sha256: Of the wheel.
        members: From paths inside the wheel to file names in `folder`.
        folder: Where to.

    Raises:
        DataError: If pip cannot get it, or it is not the wheel that was expected.
    """
    options = ["--no-deps", "--only-binary=:all:", "--retries=1", "--timeout=10", "--no-input"]
    with tempfile.TemporaryDirectory() as temporary:
        command = [sys.executable, "-m", "pip", "download", *options, "-d", temporary, requirement]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise DataError(f"pip download {requirement}: {error}") from error
        if done.returncode:
            said = [line for line in done.stderr.splitlines() if line.strip()]
            reason = next(
                (line for line in said if line.startswith("ERROR")), said[-1] if said else "failed"
            )
            raise DataError(f"pip download {requirement}: {reason.removeprefix('ERROR: ')}")
        wheels = list(Path(temporary).glob("*.whl"))
        if len(wheels) != 1 or sha256_of(wheels[0]) != sha256:
            raise DataError(f"pip download {requirement}: not the wheel with sha256 {sha256}")
        with zipfile.ZipFile(wheels[0]) as file:
            for member, name in members.items():
                with atomic_path(Path(folder) / name) as target:
                    target.write_bytes(file.read(member))


def _progress() -> Progress:
    """A bar on stderr, shown on a terminal only."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
