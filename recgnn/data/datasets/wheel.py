"""Files of a data set out of a published Python package: for MovieLens 100K, where its owner's site fails."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

from recgnn.errors import DataError
from recgnn.files import atomic_path, sha256_of


def from_wheel(requirement: str, sha256: str, members: Mapping[str, str], folder: str | Path) -> None:
    """Take single files out of a published Python package; nothing is installed.

    Args:
        requirement: The package and its version, such as "recbole==1.2.1".
        sha256: Of the wheel.
        members: Maps paths inside the wheel to file names in `folder`.
        folder: The folder to write to.

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
