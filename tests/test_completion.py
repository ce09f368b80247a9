"""Completion, as bash does it."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

import pytest

from recgnn.cli.entry import COMMANDS
from recgnn.completion import options_of, script
from recgnn.files import shipped
from recgnn.models import __all__ as MODELS

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")


@pytest.fixture(scope="module")
def completed(tmp_path_factory):
    file = tmp_path_factory.mktemp("completion") / "recgnn"
    file.write_text(script("bash"))

    def complete(*words: str) -> set[str]:
        ask = f'source {file}; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _recgnn; printf "%s\\n" "${{COMPREPLY[@]}}"'
        told = subprocess.run(["bash", "-c", ask, "bash", "recgnn", *words], capture_output=True, text=True, check=True)
        assert not told.stderr
        return set(told.stdout.split())

    return complete


def test_commands_options_and_names(here, completed) -> None:
    assert completed("") == {*COMMANDS, "--help", "--version"}
    assert completed("re") == {"recommend"}
    assert {"--run_dir", "--refit"} <= completed("fit", "--r")
    assert "--trainer.max_epochs" in completed("fit", "--trainer.")
    assert completed("recommend", "--run", "r", "--users_f") == {"--users_file"}
    assert completed("fit", "--config", "light") == {"lightgcn"}
    assert completed("fit", "--config", "ng", "--model", "D") == {name for name in MODELS if name.startswith("D")}
    assert completed("benchmark", "--suite", "") == set(shipped("suites"))
    Path("lights.yaml").touch()
    assert completed("fit", "--config", "light") == {"lightgcn", "lights.yaml"}
    assert completed("evaluate", "--lists", "l") == {"lights.yaml"}


def test_every_option_of_a_parser_is_there() -> None:
    from recgnn.recommend import parser

    assert {name for action in parser()._actions for name in action.option_strings if name[:2] == "--"} == set(
        options_of("recommend")
    )


def test_it_starts_no_python(completed) -> None:
    start = time.perf_counter()
    completed("fit", "--r")
    assert time.perf_counter() - start < 1


def test_the_command(entry) -> None:
    code, out, _ = entry("completion", "zsh")
    assert code == 0 and "bashcompinit" in out and out.endswith(script("bash"))
    code, _, error = entry("completion", "fish")
    assert code == 2 and "fish" in error
