"""The run folder: what is in it, and reading its checkpoints safely. Imports no Lightning: serving reads it too."""

from __future__ import annotations

import json
import math
import pickle
import zipfile
from pathlib import Path
from typing import Any

from recgnn.errors import RunError
from recgnn.files import atomic_path

BEST, LAST = "best.ckpt", "last.ckpt"
FORMAT = 2  # of checkpoints
SELECTION = "selection"  # folder, inside a run of `fit --refit`, of the run that chose its number of epochs


def can_continue(folder: Path) -> bool:
    """Whether a run folder, or the first half of a refitted run in it, has a last checkpoint."""
    return any((folder / half / "checkpoints" / LAST).is_file() for half in ("", SELECTION))


def existing_run(folder: str | Path) -> Path:
    """The folder of a run.

    Raises:
        RunError: If it is none; names the runs nearby.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise RunError(f"{folder}: no such run folder{_nearby(folder)}")
    if not (folder / "config.yaml").is_file():
        raise RunError(f"{folder}: is not a run folder, it has no config.yaml{_nearby(folder)}")
    return folder


def _nearby(folder: Path) -> str:
    places = [folder, *folder.parents][:3]
    configs = [c for p in places if p.is_dir() for d in ("*", "*/*") for c in sorted(p.glob(f"{d}/config.yaml"))]
    found = list(dict.fromkeys(str(c.parent) for c in configs))  # the nearest first
    return f"; run folders nearby: {', '.join(found[:5])}" if found else "; python -m recgnn.fit makes one"


def best_checkpoint(run: Path) -> Path:
    """The checkpoint that a run is used by: best.ckpt, or last.ckpt where nothing was validated.

    Raises:
        RunError: If there is none.
    """
    for name in (BEST, LAST):
        if (run / "checkpoints" / name).is_file():
            return run / "checkpoints" / name
    raise RunError(f"{run}: has no checkpoint (checkpoints/{BEST}); the training ended before its first epoch did")


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """A checkpoint's content: tensors and plain values only; anything else is refused and not executed.

    Raises:
        RunError: If the file is missing, damaged, or holds anything else.
    """
    import torch  # takes seconds; comparing runs reads no checkpoint

    path = Path(path).expanduser()
    if not path.is_file():
        raise RunError(f"{path}: no such checkpoint")
    try:
        if _head(path) != b"\x80":  # a pickle has no checksums
            with zipfile.ZipFile(path) as archive:
                if (damaged := archive.testzip()) is not None:
                    raise RunError(f"{path}: is damaged: the checksum of {damaged} is wrong; use another checkpoint")
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if _is_whole(path):
            raise RunError(
                f"{path}: refused: it holds something other than tensors and plain values, which could run code when "
                "loaded; nothing was executed. Use checkpoints written by recgnn only"
            ) from error
        raise RunError(f"{path}: is damaged: {str(error).splitlines()[0]}") from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, NotImplementedError, zipfile.BadZipFile) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise RunError(f"{path}: is damaged and cannot be read ({reason}); use another checkpoint") from error
    if not isinstance(content, dict) or "state_dict" not in content:
        raise RunError(f"{path}: is not a checkpoint of recgnn: it has no state_dict")
    return content


def _is_whole(path: Path) -> bool:
    """Whether a file that cannot be read is at least a complete archive, or might be a pickle."""
    return _head(path) == b"\x80" or zipfile.is_zipfile(path)


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(1)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Writes a JSON file, whole or not at all; numbers that are not finite become null, which every reader knows."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(_finite(content), indent=2, allow_nan=False) + "\n", encoding="utf-8")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON file; empty where there is none or it is broken."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
