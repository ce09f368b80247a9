"""The study of a search: Optuna's, in a SQLite file of the output folder that several processes may use."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import optuna
from filelock import FileLock, Timeout
from optuna.trial import TrialState
from sqlalchemy import URL
from sqlalchemy.exc import SQLAlchemyError

from recgnn.errors import RunError
from recgnn.files import locked

FILE, NAME, LOCK = "study.db", "search", ".lock"


def open_study(
    folder: Path, goal: Literal["maximize", "minimize"], pruner: optuna.pruners.BasePruner, what: dict[str, Any]
) -> optuna.Study:
    """Open the study of a folder, or create it.

    Args:
        folder: the folder of `study.db`.
        goal: `maximize` or `minimize`.
        pruner: decides when a trial is given up.
        what: metric, space and configuration of the search; a study goes on only with the same ones.

    Raises:
        RunError: If the folder's study has trials of another search, or cannot be read.
    """
    file = folder / FILE
    url = URL.create("sqlite", database=str(file.absolute())).render_as_string()
    with locked(folder / LOCK):
        try:
            storage = optuna.storages.RDBStorage(url, engine_kwargs={"connect_args": {"timeout": 60}})
            if NAME in optuna.get_all_study_names(storage):
                study = optuna.load_study(study_name=NAME, storage=storage, pruner=pruner)
                differing = difference(study.user_attrs, what)
                if differing is None:
                    return study
                if any("best_value" in t.user_attrs or t.state == TrialState.RUNNING for t in study.trials):
                    raise RunError(f"{folder}: holds a search of something else ({differing}); choose another --output")
                optuna.delete_study(study_name=NAME, storage=storage)  # nothing was trained
            study = optuna.create_study(study_name=NAME, storage=storage, pruner=pruner, direction=goal)
        except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
            reason = str(error.__cause__ or error).splitlines()[0]
            raise RunError(f"{file}: cannot be used as the search's data base: {reason}") from error
        for name, value in what.items():
            study.set_user_attr(name, value)
    return study


def is_held(lock: Path) -> bool:
    """Whether a process holds a lock file."""
    if not lock.is_file():
        return False
    try:
        with FileLock(lock, timeout=0):
            pass
    except Timeout:
        return True
    lock.unlink(missing_ok=True)
    return False


def plain(name: str) -> str:
    """Return an option's name without `init_args`: both spellings are the same option."""
    return name.replace(".init_args.", ".")


def difference(stored: dict[str, Any], now: dict[str, Any]) -> str | None:
    """Name the first setting in which two searches differ; None if they are the same."""
    for part, value in now.items():
        old, new = (x if isinstance(x, dict) else {part: x} for x in (stored.get(part, {}), value))
        for name in dict.fromkeys([*old, *new]):
            if old.get(name) != new.get(name):
                return f"{plain(name)}: {old.get(name, 'absent')} there, {new.get(name, 'absent')} now"
    return None
