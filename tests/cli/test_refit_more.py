"""`fit --refit`: what else may go wrong, and two processes."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pandas as pd
import pytest

from recgnn import load
from recgnn.cli.entry import main
from recgnn.errors import ConfigError
from recgnn.training import checkpoints

BASE = """\
seed_everything: 7
data:
  class_path: GraphDataModule
  init_args:
    source: {class_path: SyntheticLog, init_args: {num_users: 61, num_items: 40, seed: 3}}
    split: {class_path: RatioSplit, init_args: {by: all}}
    batch_size: 16
model:
  class_path: AutoRec
  init_args: {by: user, hidden_dims: [8]}
training: {l2: 1.0, lr: 0.02}
trainer: {accelerator: cpu, max_epochs: 4, enable_progress_bar: false, logger: false}
"""
KILLER = """\
import os, signal
from lightning import Callback

class Kill(Callback):
    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.current_epoch == 2 and batch_idx == 1:
            os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def base(here) -> list[str]:
    Path("base.yaml").write_text(BASE)
    return ["--config", "base.yaml"]


def content(run: Path | str) -> dict:
    return json.loads((Path(run) / "metrics.json").read_text())


def test_prepared_data_cannot_be_merged(base, here) -> None:
    """A folder of prepared data stays split as it is, so that there is nothing to train on once more."""
    main("fit", [*base, "--run_dir", "plain", "--trainer.max_epochs=1"])
    with pytest.raises(ConfigError, match="prepared"):
        main("fit", [*base, "--run_dir", "again", "--refit=true", "--data.prepared=plain/vocabulary"])
    assert not (here / "again").exists()


def test_a_scheduler_that_watches_validation_is_refused_before_the_first_half(base, here) -> None:
    scheduler = "--lr_scheduler={class_path: lightning.pytorch.cli.ReduceLROnPlateau, init_args: {monitor: val/rmse}}"
    with pytest.raises(ConfigError, match="val/rmse"):
        main("fit", [*base, "--run_dir", "run", "--refit=true", scheduler])
    assert not (here / "run").exists()


def test_a_full_disk_in_the_second_half_can_be_gone_on_from(base, here, monkeypatch) -> None:
    whole = main("fit", [*base, "--run_dir", "whole", "--refit=true"]).run_dir
    save = checkpoints.AtomicCheckpointIO.save_checkpoint

    def full(self, checkpoint, path, **options):
        if "selection" not in str(path):
            raise OSError(28, "No space left on device", str(path))
        return save(self, checkpoint, path, **options)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints.AtomicCheckpointIO, "save_checkpoint", full)
        with pytest.raises(OSError):
            main("fit", [*base, "--run_dir", "run", "--refit=true"])
    main("fit", [*base, "--run_dir", "run", "--refit=true", "--ckpt_path", "last"])
    assert content("run")["test"] == content(whole)["test"] and content("run")["refit"]["epochs"] > 0


def test_an_interrupted_first_half_over_an_older_run_leaves_nothing_of_that(base, here, start) -> None:
    """Killed in its first half, a refit has no checkpoint of the run it replaces, and goes on from its own."""
    Path("killer.py").write_text(KILLER)
    main("fit", [*base, "--run_dir", "run", "--training.lr=0.5"])
    options = ["--run_dir", "run", "--refit=true", "--overwrite=true"]
    process = start("fit", *base, *options, "--trainer.callbacks+=killer.Kill", cwd=here)
    whole = main("fit", [*base, "--run_dir", "whole", "--refit=true"]).run_dir
    _, err = process.communicate(timeout=600)
    assert process.returncode == -signal.SIGKILL, err
    assert not (here / "run/checkpoints").exists() and not (here / "run/metrics.json").exists()
    main("fit", [*base, "--run_dir", "run", "--refit=true", "--ckpt_path", "last"])
    assert content("run")["test"] == content(whole)["test"]
    pd.testing.assert_frame_equal(load("run").recommend(k=3), load(whole).recommend(k=3))


@pytest.mark.long
def test_two_processes_refit(base, here, together) -> None:
    out, _ = together("fit", *base, "--data.batch_size=8", "--refit=true", "--run_dir", "two", cwd=here)
    assert out.count("on training and validation data together") == 1
    found, half = content("two"), content("two/selection")
    assert half["test"] == {} and found["refit"]["epochs"] == half["best_epoch"] + 1
    assert found["dataset"]["train"] == half["dataset"]["train"] + half["dataset"]["val"]
    alone = ["--trainer.devices=1", "--trainer.strategy=auto"]
    main("test", ["--run", "two", *alone, "--output", "x.json"])
    assert json.loads(Path("x.json").read_text())["test"] == pytest.approx(found["test"], abs=1e-6)
