"""The programs: `python -m recgnn.<command>` and `recgnn <command>`, with their exit codes."""

from __future__ import annotations

import errno
import gc
import io
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any

from recgnn.errors import RecGNNError, did_you_mean, printable

COMMANDS = {
    "fit": "train a model, test its best checkpoint and write a run folder",
    "validate": "measure a run on its validation data",
    "test": "measure a run on its test data",
    "recommend": "the best items for users",
    "similar": "the items most similar to given items",
    "predict": "a rating, probability or score for each row of a table",
    "serve": "a run behind HTTP, with a page to try it",
    "evaluate": "measure anybody's recommendations as a run is measured",
    "pipeline": "a retriever and a ranker as one run",
    "export": "a run as an ONNX model, a torch program or embeddings",
    "compare": "compare runs in tables and on a page of figures",
    "benchmark": "train several configurations with several seeds and compare them",
    "tune": "search for better values of a configuration",
    "dashboard": "build a W&B workspace for the runs of a project",
    "configs": "the configurations that come with recgnn, by name",
    "completion": "a script by which the shell completes commands and options",
    "env": "versions, threads and devices, to paste into a report",
}
MISTAKE, INTERRUPTED, TERMINATED = 2, 130, 143
OF_THE_SYSTEM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG)


class Terminated(SystemExit):
    """Raised in the main thread when the process receives SIGTERM; unwinds as Ctrl-C does."""


def import_heavy(name: str) -> None:
    """Import a module that takes seconds without the garbage collector, which leaves out what is there from then on.

    It would walk through all modules again and again: a fifth of the start of `fit`.
    """
    if name not in sys.modules and gc.isenabled():
        gc.disable()
        try:
            import_module(name)
        finally:
            gc.freeze()
            gc.enable()


def main_of(command: str) -> Callable[[list[str]], Any]:
    """Return the function that runs a command, given its options."""
    return import_module(f"recgnn.{command}").main


def main(command: str, argv: list[str]) -> Any:
    """Run a command with the options `argv`; returns what it returns, and raises what it raises."""
    return main_of(command)(argv)


def run(main: Callable[[list[str]], Any], argv: list[str] | None = None) -> None:
    """Run a command and turn its failures into exit codes.

    A person's mistake, also one in the code of their own classes, a disk that is full or must not be written, or memory
    that does not suffice, is one line on standard error and exit code 2; Ctrl-C is 130 and SIGTERM 143, each with the
    line that the command left as a note (how to continue). Any other exception is a bug and keeps its traceback.

    Args:
        main: The command's function.
        argv: Its options; those of this process by default.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr does what its encoding lacks
    try:
        with _sigterm_as_exception(), _own_code_told():
            main(sys.argv[1:] if argv is None else argv)
            sys.stdout.flush()
    except RecGNNError as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        sys.exit(MISTAKE)
    except (KeyboardInterrupt, Terminated) as stop:
        for note in getattr(stop, "__notes__", [])[-1:]:  # the outermost command's
            print(printable(note), file=sys.stderr)
        sys.exit(TERMINATED if isinstance(stop, Terminated) else INTERRUPTED)
    except MemoryError as error:
        told = f" ({error})" if str(error) else ""
        print(f"error: not enough memory{told}: make batches, widths or numbers of devices smaller", file=sys.stderr)
        sys.exit(MISTAKE)
    except BrokenPipeError:  # as of `recgnn recommend … | head`
        sys.stderr.close()
    except OSError as error:
        if error.errno not in OF_THE_SYSTEM:
            raise
        print(f"error: {error.filename or 'the output cannot be written'}: {error.strerror}", file=sys.stderr)
        with suppress(OSError, ValueError):  # what is left in the buffer must not fail once more
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(MISTAKE)


@contextmanager
def unwrapped_stops() -> Iterator[None]:
    """Raise Ctrl-C and SIGTERM as they are where a library has made an error of its own of them."""
    try:
        yield
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, KeyboardInterrupt | Terminated):
            cause = cause.__cause__ or cause.__context__
        if cause is None:
            raise
        raise cause from None


@contextmanager
def _own_code_told() -> Iterator[None]:
    """Raise an error in the code of a person's own classes as a line that names its place."""
    try:
        yield
    except RecGNNError:
        raise
    except Exception as error:
        from recgnn.cli.own_code import mistake_in_own_code

        if (mistake := mistake_in_own_code(error)) is None:
            raise
        raise mistake from error


@contextmanager
def _sigterm_as_exception() -> Iterator[None]:
    """Make SIGTERM raise `Terminated`, so that temporary files are removed and loggers are closed."""

    def stop(number: int, frame: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise Terminated(TERMINATED)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def console() -> None:
    """`recgnn <command> …`, the same as `python -m recgnn.<command> …`."""
    command = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if command in COMMANDS:
        if not sys.flags.safe_path:
            sys.path.append(os.getcwd())  # for a person's own.py, which `python -m` finds there, too
        run(main_of(command), sys.argv[2:])  # sys.argv stays as it is: Lightning starts further processes from it
        return
    if command == "--version":
        from recgnn import __version__

        print(f"recgnn {__version__}")
        return
    lines = "\n".join(f"  {name:10} {text}" for name, text in COMMANDS.items())
    usage = f"usage: recgnn <command> [options]\n\n{lines}\n\nrecgnn <command> --help explains its options."
    if command in ("-h", "--help"):
        print(usage)
        return
    kind = "option" if command.startswith("-") else "command"
    print(f"error: no {kind} {command}{did_you_mean(command, COMMANDS)}", file=sys.stderr)
    print(usage, file=sys.stderr)
    sys.exit(MISTAKE)
