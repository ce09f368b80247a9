"""Which folder a run gets, when several processes start by themselves; and what of a run is fixed."""

from __future__ import annotations

from pathlib import Path

import pytest
from lightning.pytorch.utilities import rank_zero_only
from torch.distributed import TCPStore

from recgnn.cli.entry import main
from recgnn.errors import ConfigError, RunError
from recgnn.training import new_run


@pytest.fixture
def store(monkeypatch) -> TCPStore:
    """The store and the environment that torchrun gives its processes."""
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(store.port))
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "0")
    return store


def chosen(monkeypatch: pytest.MonkeyPatch, rank: int, resume: bool = False) -> Path:
    """The folder that a process of this rank takes, in an environment of its own."""
    monkeypatch.delenv(new_run.ENVIRONMENT, raising=False)
    monkeypatch.setattr(rank_zero_only, "rank", rank)
    folder = new_run.choose_folder(None, Path("runs/mf-log"), resume, overwrite=False)
    monkeypatch.delenv(new_run.ENVIRONMENT)
    return folder


def test_a_process_of_torchrun_that_looks_late_takes_the_same_folder(store, here, monkeypatch):
    (here / "runs/mf-log/4").mkdir(parents=True)
    first = chosen(monkeypatch, 0)
    assert first.is_dir()  # it is quick
    assert first == Path("runs/mf-log/5") and chosen(monkeypatch, 1) == first
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")  # torchrun starts all of them once more
    assert chosen(monkeypatch, 0) == chosen(monkeypatch, 1) == Path("runs/mf-log/6")


def test_runs_that_begin_together_do_not_share_a_folder(here, monkeypatch):
    assert [chosen(monkeypatch, 0).name for _ in range(3)] == ["1", "2", "3"]
    monkeypatch.setenv("SLURM_PROCID", "0")  # every process looks for itself, before the first one makes it
    assert chosen(monkeypatch, 0) == chosen(monkeypatch, 1) == Path("runs/mf-log/4")


def test_each_job_of_an_array_has_a_folder_of_its_own(here, monkeypatch):
    monkeypatch.setenv("SLURM_PROCID", "0")
    monkeypatch.setenv("SLURM_NTASKS", "1")
    assert [chosen(monkeypatch, 0).name for _ in range(3)] == ["1", "2", "3"]


def test_a_run_that_was_killed_before_its_first_last_checkpoint_is_begun_again(here, monkeypatch):
    monkeypatch.setattr(rank_zero_only, "rank", 0)
    (here / "a/checkpoints").mkdir(parents=True)
    (here / "a/checkpoints/best.ckpt").touch()
    with pytest.raises(RunError, match="leave --ckpt_path out"):
        new_run.choose_folder("a", Path("runs/x"), resume=True, overwrite=False)
    assert new_run.choose_folder("a", Path("runs/x"), resume=False, overwrite=False) == Path("a")
    (here / "a/checkpoints/last.ckpt").touch()
    with pytest.raises(RunError, match="--ckpt_path last"):
        new_run.choose_folder("a", Path("runs/x"), resume=False, overwrite=False)


def test_a_folder_that_is_named_is_taken_also_where_an_earlier_run_had_another(here, monkeypatch):
    monkeypatch.setenv(new_run.ENVIRONMENT, "a")  # which the first process of that run told the others
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    assert new_run.choose_folder("b", Path("runs/x"), resume=False, overwrite=True) == Path("b")


def test_the_newest_run_is_continued_by_all(store, here, monkeypatch):
    with pytest.raises(RunError, match="no run with checkpoints/last.ckpt"):
        chosen(monkeypatch, 0, resume=True)
    (here / "runs/mf-log/2/checkpoints").mkdir(parents=True)
    (here / "runs/mf-log/2/checkpoints/last.ckpt").touch()
    assert chosen(monkeypatch, 0, resume=True) == chosen(monkeypatch, 1, resume=True) == Path("runs/mf-log/2")


@pytest.mark.parametrize("command", ["test", "validate"])
@pytest.mark.parametrize("option", [["--model.lr=3"], ["--model", "MF"]])
def test_the_model_of_a_run_is_not_to_be_changed(command, option, tiny_run):
    with pytest.raises(ConfigError, match=f"^{option[0].partition('=')[0]}: the model of a run is fixed"):
        main(command, ["--run", str(tiny_run), *option])
