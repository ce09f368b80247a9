"""The run folder: what is in it, and reading its checkpoints safely. Imports no Lightning: serving reads it too."""

from __future__ import annotations

import pickle
import sys
import zipfile
from collections.abc import Container
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import Any

from recgnn.data.stored import read_json, write_json
from recgnn.errors import RunError, first_line

BEST, LAST = "best.ckpt", "last.ckpt"
PIPELINE = "pipeline.yaml"  # of a folder that puts two runs together
FORMAT = 2  # of checkpoints
LOCK = ".lock"  # held while a process writes to a run folder
PARTS = {"epoch": int, "global_step": int, "pytorch-lightning_version": str, "loops": dict, "callbacks": dict,
         "optimizer_states": list, "lr_schedulers": list}  # of a checkpoint, as Lightning writes it  # fmt: skip
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
    if not any((folder / name).is_file() for name in ("config.yaml", PIPELINE)):
        raise RunError(f"{folder}: is not a run folder, it has no config.yaml{_nearby(folder)}")
    return folder


def _nearby(folder: Path) -> str:
    places = [folder, *folder.parents][:3]
    configs: list[Path] = []
    with suppress(OSError):  # folders that go away meanwhile
        for place, depth in product(filter(Path.is_dir, places), ("*", "*/*")):
            configs += sorted(place.glob(f"{depth}/config.yaml"))
    found = list(dict.fromkeys(str(c.parent) for c in configs))  # the nearest first
    return f"; run folders nearby: {', '.join(found[:5])}" if found else "; python -m recgnn.fit makes one"


def best_checkpoint(run: Path) -> Path:
    """The checkpoint that a run is used by: best.ckpt, or last.ckpt where nothing was validated.

    Raises:
        RunError: If there is none, or the one that was measured is gone.
    """
    best, last = (run / "checkpoints" / name for name in (BEST, LAST))
    if best.is_file():
        return best
    if (run / PIPELINE).is_file():
        raise RunError(f"{run}: is a pipeline of several runs; take one of those that {PIPELINE} names")
    if not last.is_file():
        raise RunError(f"{run}: has no checkpoint (checkpoints/{BEST}); the training ended before its first epoch did")
    results = run / "metrics.json"
    content = read_json(results) if results.is_file() else {}
    if content.get("val") and "refit" not in content:
        raise RunError(f"{best}: is gone, and the run was measured by it; copy {LAST} there to use the last epoch")
    return last


def read_checkpoint(path: str | Path, tables: bool = True) -> dict[str, Any]:
    """A checkpoint's content: tensors and plain values only; anything else is refused and not executed.

    Args:
        path: the file.
        tables: whether tables that lie beside it (see `table_files`) are read, too.

    Raises:
        RunError: If the file is missing, damaged, or holds anything else.
    """
    import torch  # takes seconds; comparing runs reads no checkpoint

    path = Path(path).expanduser()
    if not path.is_file():
        raise RunError(f"{path}: no such checkpoint")
    try:
        with zipfile.ZipFile(path) as archive:
            if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
                raise RunError(f"{path}: refused: it is compressed, which no checkpoint is; nothing was unpacked")
            if (damaged := archive.testzip()) is not None:
                raise RunError(f"{path}: is damaged: the checksum of {damaged} is wrong; use another checkpoint")
        content = torch.load(path, map_location="cpu", weights_only=True)
    except RunError:
        raise
    except Exception as error:
        bare = isinstance(error, zipfile.BadZipFile) and path.read_bytes()[:1] == b"\x80"
        if bare or isinstance(error, pickle.UnpicklingError):
            raise RunError(
                f"{path}: refused: it holds something other than tensors and plain values, which could run code when "
                "loaded; nothing was executed. Use checkpoints written by recgnn only"
            ) from error
        reason = first_line(error)
        raise RunError(f"{path}: is damaged and cannot be read ({reason}); use another checkpoint") from error
    if not isinstance(content, dict) or not isinstance(content.get("state_dict"), dict):
        raise RunError(f"{path}: is not a checkpoint of recgnn: it has no state_dict")
    for name, kind in PARTS.items():
        if name in content and not isinstance(content[name], kind):
            raise RunError(f"{path}: is not a checkpoint of recgnn: its {name} is {type(content[name]).__name__}")
    if tables and "tables" in content:
        from recgnn.training.table_files import completed

        return completed(content, path)
    return content


def about_model(checkpoint: dict[str, Any], path: str | Path) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Return what a checkpoint says of its model: the path of its class, its arguments, and what it was trained for.

    Raises:
        RunError: If it does not say so.
    """
    about = checkpoint.get("recgnn")
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise RunError(f"{path}: the checkpoint was written by another version of recgnn; train it again")
    name, arguments, trained = (about.get(key) for key in ("model", "arguments", "trained"))
    if not (isinstance(name, str) and isinstance(arguments, dict) and isinstance(trained, dict)):
        raise RunError(f"{path}: is not a checkpoint of recgnn: it does not say what its model is")
    return name, arguments, trained


def count_test_read(run: Path) -> None:
    """Count in metrics.json that the test part was read once more; where that cannot be written, say so.

    Args:
        run: A run folder; of one that is not finished nothing is counted.
    """
    path = run / "metrics.json"
    if not path.is_file():
        return
    try:
        content = read_json(path, sealed=True)
        write_json(path, content | {"test_reads": int(content.get("test_reads") or 0) + 1}, sealed=True)
    except (RunError, TypeError, ValueError) as error:
        print(f"note: that the test part was read is not counted: {first_line(error)}", file=sys.stderr)


def check_class(path: str, own: Container[str], run: Path, trust: bool) -> None:
    """Refuse a class that a run folder names and that is neither recgnn's own nor of a module imported already.

    A run folder may come from somebody else, and importing a module runs its code.

    Args:
        path: The dotted path of the class.
        own: The paths of recgnn's own classes that can stand there.
        run: The run folder.
        trust: Whether the module may be imported.

    Raises:
        RunError: If it may not.
    """
    module = path.rpartition(".")[0]
    if path not in own and module not in sys.modules and not trust:
        raise RunError(
            f"{run}: {path} is not one of recgnn's, and loading it would run code of {module or 'nowhere'}; if you "
            "trust that, import the module first, or use load(run, trust=True) (--trust)"
        )
