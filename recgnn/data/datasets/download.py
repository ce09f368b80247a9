"""Files from elsewhere: downloaded under a temporary name, checked, safely unpacked."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
import zipfile
import zlib
from pathlib import Path

from recgnn.data.progress import progress
from recgnn.errors import DataError
from recgnn.files import atomic_path, sha256_of

_CHUNK = 1 << 18
MOST = 200  # times that a zip file of text may grow


def download(url: str, path: str | Path, sha256: str | None = None, timeout: float = 6.0) -> None:
    """Download a file; `path` is there only when all of it has come and is right.

    Args:
        url: Its address.
        path: The file to write.
        sha256: Of its content, if that is known.
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
        expected, received = int(response.headers.get("Content-Length") or 0), 0
        with response, open(temporary, "wb") as file, progress(Path(path).name, expected or None, "bytes") as step:
            while True:
                try:
                    chunk = response.read(_CHUNK)
                except (OSError, http.client.HTTPException) as error:
                    raise DataError(f"{url}: broke off: {error}") from error
                if not chunk:
                    break
                file.write(chunk)
                received += len(chunk)
                step(len(chunk))
        if expected and received != expected:
            raise DataError(f"{url}: broke off after {received:,} of {expected:,} bytes; try again")
        if sha256 is not None and sha256_of(temporary) != sha256:
            raise DataError(f"{url}: its sha256 is {sha256_of(temporary)}, expected {sha256}")


def unpack(archive: str | Path, folder: str | Path) -> None:
    """Unpack a zip file; no member may lie outside `folder`.

    Raises:
        DataError: If the archive is broken, encrypted or unpacks to a size that no data set has, or a member would
            leave the folder.
    """
    root = Path(folder).resolve()
    try:
        with zipfile.ZipFile(archive) as file:
            size, packed = sum(member.file_size for member in file.infolist()), Path(archive).stat().st_size
            if size > max(MOST * packed, 2**24):
                raise DataError(f"{archive}: {packed:,} bytes that unpack to {size:,} are no data; not unpacked")
            for name in file.namelist():
                if not (root / name).resolve().is_relative_to(root) or "\\" in name:
                    raise DataError(
                        f"{archive}: its member '{name}' would leave the folder; not unpacked"
                    )
            file.extractall(root)
    except (zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, EOFError, RuntimeError) as error:
        raise DataError(f"{archive}: is no readable zip file: {error}") from error
