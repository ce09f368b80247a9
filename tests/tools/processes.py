"""Commands in processes of their own, forked from one that has imported everything: in a fraction of a new one's time.

That process is started once, trains nothing, and so has no threads that would not survive a fork.
"""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import resource
import shutil
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path

paths = [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
os.environ["PYTHONPATH"] = os.pathsep.join(paths)  # by which that process, too, finds what it imports
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.tools.preload"])


class Command:
    """`python -m recgnn.<name> …` in a process of its own, with the methods of `subprocess.Popen` that tests need.

    Args:
        name: The command; `__main__` for `recgnn <command>`.
        options: Its options; `&&` and further ones, to run it again in the same process.
        cwd: Its working folder.
        environment: Variables to set.
        file_size: The largest file that it may write, in bytes.
    """

    def __init__(
        self, name: str, *options: object, cwd: Path, environment: dict | None = None, file_size: int | None = None
    ):
        self.output = Path(tempfile.mkdtemp(prefix="recgnn-process-"))
        arguments = (name, [*map(str, options)], str(cwd), self.output, environment or {}, file_size)
        self.process = _context.Process(target=_run, args=arguments, daemon=True)
        self.process.start()

    @property
    def returncode(self) -> int | None:
        return self.process.exitcode

    def communicate(self, timeout: float) -> tuple[str, str]:
        """Wait for the end; returns standard output and standard error."""
        self.process.join(timeout)
        if self.process.exitcode is None:
            os.kill(self.process.pid, signal.SIGUSR2)  # it writes where each of its threads stands
            time.sleep(2)
            out, err = self.texts()
            self.kill()
            raise TimeoutError(f"no end within {timeout} s: {out} {err}")
        return self.texts()

    def texts(self) -> tuple[str, str]:
        """Return what it has written so far."""
        out, err = (self.output / name for name in ("out", "err"))
        return out.read_text(), err.read_text()

    def kill(self) -> None:
        if self.process.is_alive():
            self.process.kill()
            self.process.join(20)
        shutil.rmtree(self.output, ignore_errors=True)


def pair(name: str, *options: object, cwd: Path, strategy: str = "ddp", count: int = 2) -> list[Command]:
    """Start a command in processes that train, or measure, together, two by default: with gloo, on the CPU."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    together = ("--trainer.accelerator=cpu", f"--trainer.devices={count}", f"--trainer.strategy={strategy}")
    words = [word for one in (*options, "&&") for word in ((*together, one) if one == "&&" else (one,))][:-1]
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "NODE_RANK": "0"}
    ranks = [common | {"LOCAL_RANK": str(rank)} for rank in range(count)]
    return [Command(name, *words, cwd=cwd, environment=rank) for rank in ranks]


def _run(name: str, words: list[str], cwd: str, output: Path, environment: dict, file_size: int | None) -> None:
    """Be the process."""
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM):  # as of a process of a shell
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    for file, descriptor in (("out", 1), ("err", 2)):
        os.dup2(os.open(output / file, os.O_CREAT | os.O_WRONLY | os.O_APPEND), descriptor)
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False, buffering=1)
    faulthandler.register(signal.SIGUSR2, file=2, all_threads=True)
    os.environ |= environment
    os.chdir(cwd)
    sys.path.insert(0, cwd)
    if file_size is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))

    from lightning_utilities.core.rank_zero import rank_zero_only
    from matplotlib.figure import Figure

    from recgnn.cli import entry
    from tests.tools.figures import dot

    Figure.savefig = dot  # type: ignore[method-assign]
    rank_zero_only.rank = int(environment.get("LOCAL_RANK", 0))
    if name == "__main__":
        sys.argv = ["recgnn", *words]
        entry.console()
    else:
        while words:
            group, words = words[: [*words, "&&"].index("&&")], words[[*words, "&&"].index("&&") + 1 :]
            sys.argv = [f"recgnn.{name}", *group]
            entry.run(entry.main_of(name), group)
    sys.stdout.flush()
