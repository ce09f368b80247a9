"""Work in a forked process, which starts with everything imported: at a hundredth of the cost of a new one."""

from __future__ import annotations

import contextlib
import gc
import importlib.util
import os
import pickle
import resource
import select
import shutil
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

MEMORY = 3 * 2**30  # that a case may add to what the process has


class Outcome(NamedTuple):
    """How a process ended: its exit code (negative for a signal, None where it hung), its output, its result."""

    code: int | None
    out: str
    err: str
    result: Any = None

    @property
    def refused(self) -> bool:
        """Whether it ended as a person's mistake does: exit code 2 and one line."""
        return self.code == 2 and self.err.startswith("error: ") and self.err.count("\n") == 1

    @property
    def told(self) -> str:
        return (self.err.strip().splitlines() or [""])[-1][:300]


def forked(work: Callable[[], Any], folder: Path, limit: float = 90, stop: tuple[float, int] | None = None) -> Outcome:
    """Run `work` in a forked process.

    Args:
        work: What to do; what it returns is the result of the outcome.
        folder: The process's working folder.
        limit: Seconds after which it is ended, as one that hangs.
        stop: Seconds after which it is sent a signal, and which.
    """
    beside = folder.with_name(f"{folder.name}.outcome")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir()
    sys.stdout.flush()
    sys.stderr.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks in a process with threads
        pid = os.fork()
    if not pid:
        _child(work, folder, beside)
    handle = os.pidfd_open(pid)
    if stop is not None and not select.select([handle], [], [], stop[0])[0]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, stop[1])
    hung = not select.select([handle], [], [], limit)[0]
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)  # and what it has started
    status = os.waitpid(pid, 0)[1]
    os.close(handle)
    result = beside / "result"
    out, err = ((beside / name).read_text(errors="replace") for name in ("out", "err"))
    found = pickle.loads(result.read_bytes()) if result.is_file() else None
    shutil.rmtree(beside, ignore_errors=True)
    return Outcome(None if hung else os.waitstatus_to_exitcode(status), out, err, found)


def _child(work: Callable[[], Any], folder: Path, beside: Path) -> None:
    """Be the forked process; does not return."""
    code = 1
    try:
        os.setsid()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        for name, descriptor in (("out", 1), ("err", 2)):
            os.dup2(os.open(beside / name, os.O_CREAT | os.O_WRONLY | os.O_APPEND), descriptor)
        sys.stdin, sys.stdout, sys.stderr = open(os.devnull), open(1, "w", closefd=False), open(2, "w", closefd=False)
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
        os.chdir(folder)
        os.environ |= {"RECGNN_CACHE": str(beside / "cache"), "HOME": str(beside)}
        result, code = work(), 0
        (beside / "result").write_bytes(pickle.dumps(result))
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def command(name: str, *argv: object) -> Callable[[], None]:
    """Return `python -m recgnn.<name> …` as work."""
    words = [str(word) for word in argv]

    def work() -> None:
        from recgnn.cli import entry

        sys.argv = [f"recgnn.{name}", *words]
        sys.modules["__main__"].__spec__ = importlib.util.find_spec(f"recgnn.{name}")  # of which Lightning starts more
        entry.run(entry.main_of(name), words)

    return work


def imported(work: Callable[[], Any]) -> Callable[[], list[str]]:
    """Return work that tells the modules that there are after `work`."""

    def told() -> list[str]:
        with contextlib.suppress(SystemExit):
            work()
        return list(sys.modules)

    return told


def import_all(names: Sequence[str]) -> None:
    """Import modules that processes to come will need, and keep the collector from touching them in every fork."""
    for name in names:
        if name not in sys.modules and not name.startswith("__"):
            with contextlib.suppress(BaseException):
                importlib.import_module(name)
    gc.collect()
    gc.freeze()
