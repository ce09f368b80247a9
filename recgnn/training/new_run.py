"""Where a run goes: the folder of a new or continued run, the same on every process, and what an earlier one left."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from lightning.pytorch.utilities import rank_zero_only

from recgnn.errors import RunError
from recgnn.training.run_folder import LAST, SELECTION, can_continue

ENVIRONMENT = "RECGNN_RUN_DIR"  # tells the other processes of a run which folder the first one chose
STARTED = ("SLURM_PROCID", "OMPI_COMM_WORLD_RANK", "JSM_NAMESPACE_RANK")  # set where a launcher started all processes


def rank() -> int:
    """The number of this process among those of a run; 0 for the first."""
    return getattr(rank_zero_only, "rank", 0)


def next_folder(base: Path) -> Path:
    """`base`/1, 2, …: the first number above those there are."""
    numbers = [int(p.name) for p in base.glob("[0-9]*") if p.name.isdigit()] if base.is_dir() else []
    return base / str(max(numbers, default=0) + 1)


def claimed_folder(base: Path) -> Path:
    """`next_folder`, made at once, so that two runs that begin together do not share one.

    Where a launcher starts all processes, each of which looks for itself, it is made later, by the first one.
    """
    if any(name in os.environ for name in STARTED) and os.environ.get("SLURM_NTASKS") != "1":  # an array's job is alone
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


def choose_folder(run_dir: str | None, base: Path, resume: bool, overwrite: bool) -> Path:
    """The folder of a new or continued run; every process of a run gets the same.

    Raises:
        RunError: If it holds a run already, or, to be continued, none.
    """
    if run_dir is None and rank() != 0 and ENVIRONMENT in os.environ:
        return Path(os.environ[ENVIRONMENT])
    if run_dir is None:
        folder = _agreed(lambda: latest_folder(base) if resume else claimed_folder(base))
    else:
        folder = Path(run_dir).expanduser()
        has_run = can_continue(folder) or (folder / "metrics.json").is_file()  # else killed in its first epoch
        if resume and not can_continue(folder):
            raise RunError(f"{folder}: has no checkpoints/{LAST} to continue from; leave --ckpt_path out to start it")
        if has_run and not resume and not overwrite and rank() == 0:
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
    if rank() == 0:
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
