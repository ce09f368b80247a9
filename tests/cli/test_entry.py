"""The programs: their help, which needs no torch, their exit codes, and the line that continues a stopped training."""

from __future__ import annotations

import errno
import io
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import recgnn
from recgnn.cli import entry as programs
from recgnn.cli.entry import COMMANDS, Terminated, main, unwrapped_stops
from recgnn.errors import ConfigError

STOPPER = """\
import os, signal
from lightning import Callback

class Stop(Callback):
    def __init__(self, number: int, epoch: int = 1):
        self.number, self.epoch = number, epoch

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.current_epoch == self.epoch and batch_idx == 2:
            os.kill(os.getpid(), self.number)
"""


def console(monkeypatch, capsys, *argv: str) -> tuple[int, str, str]:
    monkeypatch.setattr("sys.argv", ["recgnn", *argv])
    monkeypatch.setattr("sys.path", list(sys.path))
    code = 0
    try:
        programs.console()
    except SystemExit as stop:
        code = stop.code or 0
    return code, *capsys.readouterr()


def test_console(monkeypatch, capsys, tiny_run, here) -> None:
    code, out, _ = console(monkeypatch, capsys)
    assert code == 0 and all(f"  {command} " in out for command in COMMANDS)
    code, out, _ = console(monkeypatch, capsys, "--version")
    assert code == 0 and out == f"recgnn {recgnn.__version__}\n"
    code, _, err = console(monkeypatch, capsys, "recomend")
    assert code == 2 and "did you mean 'recommend'?" in err
    code, out, _ = console(monkeypatch, capsys, "recommend", "--run", str(tiny_run), "--users", "1", "--k", "3")
    assert code == 0 and len(out.splitlines()) == 4
    Path("own_of_entry.py").write_text("from recgnn.models import MF\nclass Own(MF): pass\n")
    data = "data: {class_path: GraphDataModule, init_args: {source: SyntheticLog}}"
    Path("own.yaml").write_text(f"{data}\nmodel: {{class_path: own_of_entry.Own}}\n")
    code, out, _ = console(monkeypatch, capsys, "fit", "--config", "own.yaml", "--print_config")
    assert code == 0 and "class_path: own_of_entry.Own" in out, "as `python -m` finds it"
    root = {path.stem for path in Path(recgnn.__file__).parent.glob("*.py")}
    assert root == {*COMMANDS, "errors", "files", "__init__", "__main__"}, "the root is the list of the commands"


@pytest.mark.parametrize("command", COMMANDS)
def test_help(entry, command) -> None:
    code, out, _ = entry(command, "--help")
    lines = out.splitlines()
    assert code == 0 and lines[0].startswith(f"usage: python -m recgnn.{command} ")
    assert len(lines) <= 80 and max(map(len, lines)) <= 120
    assert f"python -m recgnn.{command} " in out.split("example")[1], "an example of it"


def test_every_option_is_in_help_all(entry) -> None:
    code, out, _ = entry("fit", "--help_all")
    assert code == 0
    for option in ("--trainer.gradient_clip_val", "--data", "--model", "--training", "--lr_scheduler", "--refit"):
        assert f"  {option} " in out
    assert "(<class" not in out and "<lambda>" not in out


def stopped(error: BaseException, capsys) -> tuple[int, str]:
    """Exit code and standard error of a command that ends in `error`."""

    def command(argv: list[str]) -> None:
        raise error

    with pytest.raises(SystemExit) as stop:
        programs.run(command, [])
    return stop.value.code, capsys.readouterr().err


def test_exit_codes(capsys) -> None:
    assert stopped(ConfigError("no"), capsys) == (2, "error: no\n")
    interrupt, terminated = KeyboardInterrupt(), Terminated(143)
    interrupt.add_note("inner")
    interrupt.add_note("outer: go on with this")
    assert stopped(interrupt, capsys) == (130, "outer: go on with this\n")
    assert stopped(terminated, capsys) == (143, "")
    with pytest.raises(ZeroDivisionError):
        programs.run(lambda argv: 1 / 0, [])


def test_exit_codes_of_processes(start, tiny, here) -> None:
    (here / "log.csv").write_text("user,item,rating\n1,2,x\n")
    forked = start("fit", "--config", tiny, "--data.source=TableLog", "--data.source.path=log.csv", cwd=here)
    words = [sys.executable, "-m", "recgnn.recommend", "--run", "x", "--history", "1", "--users", "1"]
    environment = os.environ | {"PYTHONPATH": str(Path(recgnn.__file__).parents[1])}
    own = subprocess.run(words, capture_output=True, text=True, timeout=600, env=environment)
    _, said = forked.communicate(timeout=600)
    expected = {"log.csv, line 2, column 'rating'": (forked, said), "--history is for users": (own, own.stderr)}
    for words, (process, err) in expected.items():
        assert process.returncode == 2
        assert err.startswith("error: ") and err.count("\n") == 1 and words in err
    assert [p.name for p in here.iterdir()] == ["log.csv"]


def test_a_stopped_training_says_how_it_continues(start, tiny, here, monkeypatch) -> None:
    monkeypatch.syspath_prepend(here)
    (here / "stopper.py").write_text(STOPPER)
    callback = "--trainer.callbacks+={{class_path: stopper.Stop, init_args: {{number: {:d}, epoch: {}}}}}"
    cases = {"late": (signal.SIGINT, 1, 130), "early": (signal.SIGTERM, 0, 143)}
    started = {
        name: start(
            "fit", "--config", tiny, "--run_dir", name, callback.format(number, epoch), cwd=here
        )
        for name, (number, epoch, _) in cases.items()
    }
    errors = {name: process.communicate(timeout=600)[1] for name, process in started.items()}
    for name, (_, _, code) in cases.items():
        assert started[name].returncode == code, errors[name]
        assert errors[name].count("\n") == 1, errors[name]
    assert "nothing to continue" in errors["early"] and not (here / "early").exists()
    [words] = re.findall(r"continue with: python -m recgnn\.fit (.*)", errors["late"])
    done = main("fit", [*shlex.split(words), "--trainer.callbacks=null"])
    assert done.trainer.current_epoch == 3 and pd.read_csv("late/metrics.csv")["epoch"].tolist() == [0, 1, 2]


# ---- where output goes


def written(monkeypatch, stream, text: str) -> int:
    monkeypatch.setattr(sys, "stdout", stream)
    try:
        programs.run(lambda argv: print(text), [])
    except SystemExit as stop:
        return stop.code
    return 0


def test_an_ascii_terminal_shows_escapes(monkeypatch) -> None:
    buffer = io.BytesIO()
    assert written(monkeypatch, io.TextIOWrapper(buffer, encoding="ascii"), "Δ ndcg, 1 € †") == 0
    assert buffer.getvalue() == rb"\u0394 ndcg, 1 \u20ac \u2020" + b"\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_output_that_cannot_be_written_is_one_line(monkeypatch, capsys) -> None:
    with open("/dev/full", "w") as full:
        assert written(monkeypatch, full, "x" * 100_000) == 2
    assert capsys.readouterr().err == "error: the output cannot be written: No space left on device\n"


def test_too_little_memory_is_a_line(capsys) -> None:
    with pytest.raises(SystemExit) as stop:
        programs.run(lambda argv: [None] * 10**18, [])
    assert stop.value.code == 2
    assert re.fullmatch(r"error: not enough memory: make .* smaller\n", capsys.readouterr().err)


@pytest.mark.parametrize(
    ("number", "code"), [(errno.EACCES, 2), (errno.EROFS, 2), (errno.ENAMETOOLONG, 2), (errno.ENOTDIR, None)]
)
def test_a_folder_that_must_not_be_written_is_one_line(number, code, capsys) -> None:
    def main(argv: list[str]) -> None:
        raise OSError(number, os.strerror(number), "runs/x")

    with pytest.raises(OSError if code is None else SystemExit) as stop:
        programs.run(main, [])
    if code is not None:
        assert stop.value.code == code
        assert capsys.readouterr().err == f"error: runs/x: {os.strerror(number)}\n"


def test_a_message_cannot_steer_the_terminal(capsys) -> None:
    def main(argv: list[str]) -> None:
        raise ConfigError("no field 'a\x1b]0;owned\x07\u202e' here")

    with pytest.raises(SystemExit):
        programs.run(main, [])
    assert capsys.readouterr().err == "error: no field 'a\\x1b]0;owned\\x07\\u202e' here\n"


def test_a_stop_that_a_library_made_an_error_of_is_a_stop() -> None:
    for stop in (KeyboardInterrupt(), Terminated(143)):
        with pytest.raises(type(stop)), unwrapped_stops():
            try:
                raise stop
            except BaseException as error:
                raise RuntimeError("the commit failed") from error
    with pytest.raises(ValueError, match="mine"), unwrapped_stops():
        raise ValueError("mine")
