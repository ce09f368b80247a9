"""Errors in the code of a person's own classes, told by their place."""

from __future__ import annotations

import sysconfig
from linecache import getline
from pathlib import Path
from traceback import walk_tb
from types import FrameType

from recgnn.cli import entry
from recgnn.errors import RunError

ENTRY = entry.__file__
RECGNN, STDLIB = str(Path(__file__).parents[1]), sysconfig.get_path("stdlib")
LIBRARIES = ("site-packages", "dist-packages")


def mistake_in_own_code(error: BaseException | None) -> RunError | None:
    """Say where an error was raised in code that is neither recgnn's nor a library's, or below it; None for others.

    An error that a library has made of another one is what that was. What the operating system refuses is no mistake in
    the code.
    """
    while isinstance(error, Exception) and getattr(error, "errno", None) not in entry.OF_THE_SYSTEM:
        frames = [at for at in walk_tb(error.__traceback__) if at[0].f_code.co_filename != ENTRY]
        own = [number for number, (frame, _) in enumerate(frames) if number and _is_own(frame)]  # not what calls recgnn
        if own:
            frame, line = frames[own[-1]]
            ours = [at for at in frames[own[-1] + 1 :] if at[0].f_code.co_filename.startswith(RECGNN)]
            code = getline(frame.f_code.co_filename, line).strip()
            text = " ".join(str(error).split())
            below = f"; raised in {_place(*ours[-1])}" if ours else ""
            return RunError(f"{_place(frame, line)}: `{code}`: {type(error).__name__}: {text[:400]}{below}")
        error = error.__cause__ or error.__context__
    return None


def _is_own(frame: FrameType) -> bool:
    file = frame.f_code.co_filename
    return not file.startswith((RECGNN, STDLIB, "<")) and not set(LIBRARIES) & set(Path(file).parts)


def _place(frame: FrameType, line: int) -> str:
    """Write a place as `Hinge.forward (own.py, line 12)`."""
    file, here = Path(frame.f_code.co_filename), Path.cwd()
    told = file.relative_to(here) if file.is_relative_to(here) else file
    return f"{frame.f_code.co_qualname} ({told}, line {line})"
