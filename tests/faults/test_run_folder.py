"""Damage, full disks and several processes at a run folder: refused in one line, or nothing is changed."""

from __future__ import annotations

import errno
import os
import pickle
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from filelock import FileLock

from recgnn import load
from recgnn.cli.entry import main
from recgnn.comparison import reading
from recgnn.data import CTRDataModule, EventTable
from recgnn.data.clicks import prepare
from recgnn.data.clicks.prepared import PreparedEvents
from recgnn.data.interactions.prepared import PreparedLog
from recgnn.errors import RecGNNError, RunError
from recgnn.training.run_folder import LOCK

FLIPS = 40


def of_log(run: Path) -> Any:
    """All that is read of a log's prepared data."""
    prepared = PreparedLog.load(run / "vocabulary")
    parts = [vars(part) for part in (prepared.train, prepared.val, prepared.test)]
    sides = [(v.ids.tolist(), v.frequency, v.attributes) for v in (prepared.users, prepared.items)]
    return parts, sides, prepared.summary


def of_events(run: Path) -> Any:
    """All that is read of events' prepared data, by `test` and by what serves."""
    prepared = PreparedEvents.load(run / "vocabulary")
    parts = [vars(part) for part in (prepared.train, prepared.val, prepared.test)]
    trained = load(run)
    tables = vars(trained.tables)
    return parts, [e.state() for e in trained.encoders.encoders.values()], prepared.summary, tables


def of_results(run: Path) -> Any:
    """All that is compared."""
    found = reading.read(run, {})
    return found.content, found.settings, found.seed, found.part, found.epochs, found.of_users("ndcg@5")


CASES = [
    *(("tiny_run", f"vocabulary/{name}", of_log)
      for name in ("summary.json", "interactions.parquet", "users.parquet", "items.parquet")),
    *(("click_run", f"vocabulary/{name}", of_events)
      for name in ("summary.json", "fields.json", "fields.parquet", "users.parquet", "items.parquet",
                   "meetings.parquet", "train.ids.npy", "test.labels.npy", "val.groups.npy")),
    *(("tiny_run", name, of_results) for name in ("metrics.json", "metrics.csv", "users.parquet", "config.yaml")),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "name", "read"), CASES, ids=[f"{c[0]}/{c[1]}" for c in CASES])
def test_a_flipped_bit_changes_nothing_or_is_refused(kind, name, read: Callable, request, tmp_path) -> None:
    run = shutil.copytree(request.getfixturevalue(kind), tmp_path / "run")
    path, random, refused = run / name, np.random.default_rng(3), 0
    whole, expected = path.read_bytes(), pickle.dumps(read(run))
    for place in random.choice(len(whole), FLIPS):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << int(random.integers(8))
        path.write_bytes(flipped)
        try:
            found = pickle.dumps(read(run))
        except RecGNNError as error:
            refused += 1
            assert "\n" not in str(error)
        else:
            assert found == expected, f"bit of byte {place}"
    assert refused > (0 if name.endswith("json") else FLIPS * 0.7)
    path.unlink()
    if name not in ("metrics.csv", "users.parquet") or "vocabulary" in name:
        with pytest.raises(RecGNNError):
            read(run)


@pytest.mark.parametrize(
    ("command", "file"),
    [("test", "test.ids.npy"), ("validate", "val.labels.npy"), ("predict", "fields.parquet"),
     ("recommend", "meetings.parquet")],
)  # fmt: skip
def test_each_command_notices_what_it_reads(command, file, click_run, here, entry) -> None:
    run = shutil.copytree(click_run, here / "run")
    path = run / "vocabulary" / file
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    (here / "rows.csv").write_text("user,item,place\n1,1,home\n")
    code, _, err = entry(command, "--run", run, *(["--input", "rows.csv"] if command == "predict" else []))
    assert code == 2 and err == f"error: {path}: is damaged (its sha256 has changed)\n"
    shutil.copyfile(click_run / "vocabulary" / file, path)
    other = run / "vocabulary/train.ids.npy"  # which none of them reads
    other.write_bytes(other.read_bytes()[:-1] + b"x")
    assert entry(command, "--run", run, *(["--input", "rows.csv"] if command == "predict" else []))[0] == 0


def test_a_checkpoint_of_another_family(tiny_run, click_run, here, entry) -> None:
    other = click_run / "checkpoints/best.ckpt"
    code, _, err = entry("test", "--run", tiny_run, "--ckpt_path", other)
    assert code == 2 and err.count("\n") == 1 and err.startswith("error: ")
    run = shutil.copytree(tiny_run, here / "run")
    shutil.copyfile(other, run / "checkpoints/best.ckpt")
    for command in ("test", "recommend"):
        code, _, err = entry(command, "--run", run)
        assert code == 2 and err.count("\n") == 1 and err.startswith("error: ")


@pytest.mark.parametrize("option", ["best", "hpc", ""])
def test_names_of_checkpoints_that_are_none(option, tiny, tiny_run, entry, here) -> None:
    code, _, err = entry("fit", "--config", tiny, "--run_dir", "x", f"--ckpt_path={option}")
    assert code == 2 and f"--ckpt_path {option}: expected last, or the file of a checkpoint" in err
    assert not (here / "x").exists()


# ---- several processes


def test_a_second_training_in_one_folder_is_refused_at_once(tiny, tiny_run, here, entry) -> None:
    run = shutil.copytree(tiny_run, here / "run")
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*.*")}
    base = ["fit", "--config", tiny, "--run_dir"]
    (here / "new").mkdir()
    with FileLock(run / LOCK), FileLock(here / "new" / LOCK):
        for words in ([*base, run, "--ckpt_path", "last"], [*base, run, "--overwrite=true"], [*base, "new"]):
            code, out, err = entry(*words)
            assert code == 2 and not out and "another process is training this run" in err and err.count("\n") == 1
    (run / LOCK).unlink()
    (here / "new" / LOCK).touch()  # as a killed process leaves it
    assert before == {path: path.stat().st_mtime_ns for path in run.rglob("*.*")}
    assert entry(*base, "new", "--trainer.max_epochs=1")[0] == 0
    assert not list(here.rglob(LOCK)), "it goes with the process"


def test_a_finished_run_that_goes_on_is_not_finished(tiny, here, monkeypatch) -> None:
    """Its old results are not those of its new checkpoints."""
    main("fit", ["--config", str(tiny), "--run_dir", "run", "--trainer.max_epochs=1"])

    def killed(*args: Any, **kwargs: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("recgnn.cli.fitting.FitCLI.after_fit", killed)
    with pytest.raises(KeyboardInterrupt):
        main("fit", ["--config", str(tiny), "--run_dir", "run", "--trainer.max_epochs=2", "--ckpt_path=last"])
    assert not Path("run/metrics.json").exists() and len(pd.read_csv("run/metrics.csv")) == 2


# ---- a full disk


def module(path: Path, **options: Any) -> CTRDataModule:
    rows = "".join(f"{n % 7},{n % 5},{n % 3 % 2}\n" for n in range(200))
    path.write_text("user,item,label\n" + rows)
    return CTRDataModule(EventTable(path), **options)


def full_disk(monkeypatch, times: int) -> None:
    """The disk is full when events are encoded, so many times."""
    encode, calls = prepare.write_parts, []

    def full(*args: Any) -> Any:
        calls.append(1)
        if len(calls) <= times:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return encode(*args)

    monkeypatch.setattr(prepare, "write_parts", full)


def test_a_full_cache_disk_goes_on_without_the_cache(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("RECGNN_CACHE", str(tmp_path / "cache"))
    full_disk(monkeypatch, 1)
    with pytest.warns(UserWarning, match="not cached: .*events: cannot be written: No space left.*set RECGNN_CACHE"):
        assert len(module(tmp_path / "x.csv").prepared.train) == 160
    assert not list((tmp_path / "cache").rglob(".tmp-*"))


@pytest.mark.parametrize(("times", "given"), [(2, False), (1, True)])
def test_no_disk_at_all_is_one_line(times, given, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("RECGNN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    full_disk(monkeypatch, times)
    options = {"cache_dir": str(tmp_path / "cache")} if given else {}
    with warnings.catch_warnings(), pytest.raises(RunError, match="cannot be written: No space left on device$"):
        warnings.simplefilter("ignore")
        _ = module(tmp_path / "x.csv", **options).prepared
    assert not list(tmp_path.rglob(".tmp-*"))


def test_what_a_killed_preparation_left_is_removed_by_the_next(tmp_path) -> None:
    module(tmp_path / "x.csv", cache_dir=str(tmp_path)).prepare_data()
    with prepare._scratch(tmp_path / "events") as alive:
        mine = Path(alive).name.split("-")
        dead = tmp_path / "events" / "-".join([*mine[:2], "999999999", *mine[3:]])
        dead.mkdir()
        with prepare._scratch(tmp_path / "events"):
            assert not dead.exists() and Path(alive).exists()
