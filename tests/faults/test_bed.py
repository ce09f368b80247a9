"""The long fault run can fail, and its generators hold for the readers: a quick part of it, without commands."""

from __future__ import annotations

import faulthandler
import os
import random
import shutil
import signal
from collections import Counter
from pathlib import Path

import pytest

from recgnn import load
from recgnn.data import TableLog
from recgnn.errors import DataError, RecGNNError
from tests.faults.__main__ import table
from tests.faults.crashes import counted
from tests.faults.damage import difference, flip
from tests.faults.forked import Outcome, forked
from tests.faults.inputs import integer, need
from tests.faults.tables import generate, read_text
from tests.faults.texts import checked, damaged_yaml, ks, real, whole
from tests.faults.world import judged, same

CASES = int(os.environ.get("RECGNN_FAULTS", 40))
ROWS = [(user, item, 1 + (user * item) % 5) for user in range(1, 13) for item in range(1, 13) if (user + item) % 3]


def test_a_process_is_judged_by_its_end(tmp_path) -> None:
    def one_line() -> None:
        os.write(2, b"error: no\n")
        raise SystemExit(2)

    assert forked(lambda: 7, tmp_path) == Outcome(0, "", "", 7)
    refused = forked(one_line, tmp_path)
    assert refused.refused and judged(refused, "x").outcome == "refused"
    assert judged(forked(lambda: 1 / 0, tmp_path), "x").outcome == "traceback"
    crash = lambda: (faulthandler.disable(), os.kill(os.getpid(), signal.SIGSEGV))  # noqa: E731  # without its dump
    assert judged(forked(crash, tmp_path), "x").outcome == "traceback"
    assert judged(forked(signal.pause, tmp_path, limit=0.2), "x").outcome == "hang"
    assert forked(signal.pause, tmp_path, stop=(0.1, signal.SIGKILL)).code == -signal.SIGKILL
    assert judged(Outcome(2, "", "a warning\nerror: no\n"), "x").outcome == "unclear"
    assert judged(Outcome(0, "", ""), "x") is None
    assert checked("x", lambda: need(False, "no")).outcome == "silent wrong"


@pytest.mark.parametrize("before", [False, True])
def test_a_process_ends_at_its_nth_move(before, tmp_path) -> None:
    def moves() -> None:
        for number in range(3):
            Path(str(number)).touch()
            os.replace(str(number), f"moved{number}")

    assert forked(counted(moves, 0, before), tmp_path).result == 3
    shutil.rmtree(tmp_path)
    tmp_path.mkdir()
    assert forked(counted(moves, 2, before), tmp_path).code == 137
    assert {path.name for path in tmp_path.iterdir()} == ({"moved0", "1"} if before else {"moved0", "moved1"})


def test_answers_are_compared(tmp_path) -> None:
    assert same({"a": [1, "x", 0.25]}, {"a": ["1", "x", "0.250001"]}) and not same({"a": [1]}, {"a": [2]})
    assert difference({"a": [1, {"b": 3}]}, {"a": [1, {"b": 4}]}) == "/a/1/b: 3, expected 4"
    assert [integer(text) for text in ("007", "7.0", "-0", "+4", "x7", "٣")] == ["7", "7", "0", "4", "x7", "٣"]
    assert (whole(1)("2"), whole(1)("0"), whole(1)("x"), whole(1)("2x")) == (True, False, False, None)
    assert (real(0)("1e-3"), real(0)("nan"), ks("[5, 10]"), ks("[0]")) == (True, False, True, False)
    counts = {("bits", "fit"): Counter(right=2, hang=1)}
    assert [line.split("|")[3].strip() for line in table(counts).splitlines()[2:]] == ["3", "3"]


@pytest.mark.parametrize("number", range(CASES))
def test_a_generated_table_is_read_or_refused(number, tmp_path) -> None:
    """What is accepted has the rows that Python's csv or pyarrow finds; what is good is accepted."""
    given = generate(random.Random(number), tmp_path, ("user", "item", "rating"), ROWS)
    try:
        found = TableLog(given.path).read().interactions
    except DataError as error:
        assert not given.good and "\n" not in str(error), error
        return
    assert given.read is not None, given.told
    for name in ("user", "item"):
        assert [integer(str(x)) for x in found[name]] == [integer(x) for x in given.column(name)], given.told


@pytest.mark.parametrize("number", range(CASES // 2))
def test_a_flipped_bit_is_refused_or_harmless(number, tiny_run, tmp_path) -> None:
    run = shutil.copytree(tiny_run, tmp_path / "run")
    files = sorted([*(run / "vocabulary").iterdir(), run / "checkpoints/best.ckpt"])
    draw = random.Random(number)
    path = files[number % len(files)]
    told = flip(draw, path)
    expected = load(tiny_run).recommend(users=[1, 2, 3], k=5)
    try:
        found = load(run).recommend(users=[1, 2, 3], k=5)
    except RecGNNError as error:
        assert "\n" not in str(error)
        return
    assert found.equals(expected), f"{path.name}, {told}"


def test_faults_of_yaml_differ() -> None:
    config = {"model": {"class_path": "MF", "init_args": {"embedding_dim": 8}}, "trainer": {"max_epochs": 1}}
    texts = [damaged_yaml(random.Random(number), config)[0] for number in range(60)]
    assert len({*texts}) > 40


def test_an_independent_reader_refuses_what_cannot_be_meant() -> None:
    assert read_text(b"a,b\n 1 ,2\n\n", ",", False) == (["a", "b"], [["1", "2"]])
    for content in (b'a,b\n"1,2\n', b"a,b\n1\n", b"a,a\n1,2\n", b"\xff\n", b"a,b\n1,\0\n", b""):
        assert read_text(content, ",", False) is None
