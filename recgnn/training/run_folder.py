"""The run folder: where it is, what is in it, and reading its checkpoints safely."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.utilities import rank_zero_only

from recgnn.errors import RunError
from recgnn.files import atomic_path

BEST, LAST = "best.ckpt", "last.ckpt"
SELECTION = "selection"  # folder, inside a run of `fit --refit`, of the run that chose its number of epochs
ENVIRONMENT = "RECGNN_RUN_DIR"  # tells the other processes of a run which folder the first one chose
STARTED = ("SLURM_PROCID", "OMPI_COMM_WORLD_RANK", "JSM_NAMESPACE_RANK")  # set where a launcher started all processes


def next_folder(base: Path) -> Path:
    """`base`/1, 2, …: the first number above those there are."""
    numbers = [int(p.name) for p in base.glob("[0-9]*") if p.name.isdigit()] if base.is_dir() else []
    return base / str(max(numbers, default=0) + 1)


def claimed_folder(base: Path) -> Path:
    """`next_folder`, made at once, so that two runs that begin together do not share one.

    Where a launcher starts all processes, each of which looks for itself, it is made later, by the first one.
    """
    if any(name in os.environ for name in STARTED):
        return next_folder(base)
    while True:
        with suppress(FileExistsError):  # another run was quicker
            folder = next_folder(base)
            folder.mkdir(parents=True)
            return folder


def latest_folder(base: Path) -> Path:
    """The newest numbered folder under `base` that can be continued.

    Raises:
        RunError: If there is none.
    """
    found = [p for p in base.glob("[0-9]*") if p.name.isdigit() and can_continue(p)]
    if not found:
        raise RunError(
            f"--ckpt_path last: no run with checkpoints/{LAST} under {base}; name the run to continue with --run_dir"
        )
    return max(found, key=lambda p: int(p.name))


def can_continue(folder: Path) -> bool:
    """Whether a run folder, or the first half of a refitted run in it, has a last checkpoint."""
    return any((folder / half / "checkpoints" / LAST).is_file() for half in ("", SELECTION))


def choose_folder(run_dir: str | None, base: Path, resume: bool, overwrite: bool) -> Path:
    """The folder of a new or continued run; every process of a run gets the same.

    Raises:
        RunError: If it holds a run already, or, to be continued, none.
    """
    if run_dir is None and rank_zero_only.rank != 0 and ENVIRONMENT in os.environ:
        return Path(os.environ[ENVIRONMENT])
    if run_dir is None:
        folder = _agreed(lambda: latest_folder(base) if resume else claimed_folder(base))
    else:
        folder = Path(run_dir).expanduser()
        has_run = any(any((folder / half / "checkpoints").glob("*.ckpt")) for half in ("", SELECTION))
        if resume and not can_continue(folder):
            raise RunError(f"{folder}: has no checkpoints/{LAST} to continue from; leave --ckpt_path out to start it")
        if has_run and not resume and not overwrite and rank_zero_only.rank == 0:
            raise RunError(
                f"{folder}: holds a run already; continue it with --ckpt_path last, replace it with "
                "--overwrite true, or choose another --run_dir"
            )
        if (folder / "config.yaml").is_file() and not (folder / "vocabulary").is_dir():
            raise RunError(f"{folder}: holds a config.yaml that is not of a run; choose another --run_dir")
    os.environ[ENVIRONMENT] = str(folder)
    return folder


def _agreed(choose: Callable[[], Path]) -> Path:
    """What the first process chooses. Under torchrun the others start by themselves, and may look when it has made its
    folder already: they read it from the store by which processes find each other."""
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return choose()
    from torch.distributed import TCPStore  # which not every build of torch has

    store = TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False)
    key = f"{ENVIRONMENT}/{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}"
    if rank_zero_only.rank == 0:
        store.set(key, str(choose()))
    return Path(store.get(key).decode())


def clear(folder: Path, selection: bool = True) -> None:
    """Removes what an earlier run left in a run folder, with or without the half that chose its number of epochs;
    nothing where the folder is none."""
    if selection and (folder / SELECTION / "config.yaml").is_file():
        shutil.rmtree(folder / SELECTION, ignore_errors=True)
    if (folder / "config.yaml").is_file() and (folder / "vocabulary").is_dir():
        for name in ("checkpoints", "figures"):
            shutil.rmtree(folder / name, ignore_errors=True)
        for name in ("metrics.csv", "metrics.json", "users.parquet"):
            (folder / name).unlink(missing_ok=True)


def missing(folder: Path) -> list[Path]:
    """The folder and those above it that are not there, the innermost first."""
    return [path for path in (folder, *folder.parents) if not path.exists()]


def remove_unfinished(made: list[Path]) -> None:
    """Removes the run folder of a failed run, unless it has a checkpoint to go on from.

    Args:
        made: the folders that the run made: its own, then those above it, which go as far as they are empty.
    """
    if not made or any((made[0] / "checkpoints").glob("*.ckpt")):
        return
    shutil.rmtree(made[0], ignore_errors=True)
    for folder in made[1:]:
        with suppress(OSError):
            folder.rmdir()


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
    configs = [c for p in places if p.is_dir() for d in ("*", "*/*") for c in p.glob(f"{d}/config.yaml")]
    found = sorted({str(c.parent) for c in configs})
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
    path = Path(path).expanduser()
    if not path.is_file():
        raise RunError(f"{path}: no such checkpoint")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if _is_whole(path):
            raise RunError(
                f"{path}: refused: it holds something other than tensors and plain values, which could run code when "
                "loaded; nothing was executed. Use checkpoints written by recgnn only"
            ) from error
        raise RunError(f"{path}: is damaged: {str(error).splitlines()[0]}") from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise RunError(f"{path}: is damaged and cannot be read ({reason}); use another checkpoint") from error
    if not isinstance(content, dict) or "state_dict" not in content:
        raise RunError(f"{path}: is not a checkpoint of recgnn: it has no state_dict")
    return content


def _is_whole(path: Path) -> bool:
    """Whether a file that cannot be read is at least a complete archive, or might be a pickle."""
    with path.open("rb") as file:
        head = file.read(2)
    return zipfile.is_zipfile(path) if head == b"PK" else head[:1] == b"\x80"


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes checkpoints whole or not at all, and says so in one line when the disk is full."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        with atomic_path(path) as temporary:
            try:
                torch.save(checkpoint, temporary)
            except RuntimeError as error:  # torch's own writer reports a full disk so
                if "PytorchStreamWriter" not in str(error) and "unexpected pos" not in str(error):
                    raise
                raise OSError(None, "the disk is full or the file too large", str(temporary)) from error


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Writes a JSON file, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON file; empty where there is none or it is broken."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
