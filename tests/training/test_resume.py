"""A run that was killed and continued ends as the run that was not."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import pandas as pd
import pytest

from recgnn.cli.entry import main
from recgnn.training import run_folder as runs

KILLER = """\
import os, signal
from lightning import Callback

class Kill(Callback):
    def __init__(self, epoch: int = -1):
        self.epoch = epoch

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.current_epoch == self.epoch and batch_idx == 2:
            os.kill(os.getpid(), signal.SIGKILL)

    def on_test_start(self, trainer, pl_module):
        os.kill(os.getpid(), signal.SIGKILL)
"""
NGCF = """\
seed_everything: 3
data:
  class_path: GraphDataModule
  init_args:
    source: {class_path: SyntheticLog, init_args: {num_users: 61, num_items: 40, seed: 3}}
    batch_size: 128
model:
  class_path: NGCF
  init_args: {embedding_dim: 8, layer_dims: [8, 8], message_dropout: 0.3, node_dropout: 0.2}
training: {lr: 0.02, ks: [5]}
optimizer: {class_path: torch.optim.Adam, init_args: {lr: 0.02}}
lr_scheduler: {class_path: torch.optim.lr_scheduler.StepLR, init_args: {step_size: 2, gamma: 0.7}}
trainer:
  accelerator: cpu
  max_epochs: 40
  enable_progress_bar: false
  callbacks:
    - {class_path: EarlyStopping, init_args: {monitor: val/ndcg@5, mode: max, patience: 3}}
"""
TIMES = ["seconds", "evaluation_seconds"]


def rows(run: Path) -> pd.DataFrame:
    return pd.read_csv(run / "metrics.csv").drop(columns=TIMES)


def results(run: Path) -> dict:
    content = json.loads((run / "metrics.json").read_text())
    return {key: content[key] for key in ("val", "test", "best_epoch", "epochs")}


@pytest.fixture(scope="module")
def killed(tmp_path_factory, start) -> dict[str, Path]:
    """The uninterrupted run, one killed in the middle of epoch 4, and one killed between training and test."""
    folder = tmp_path_factory.mktemp("resume")
    (folder / "ngcf.yaml").write_text(NGCF)
    (folder / "killer.py").write_text(KILLER)
    processes = [
        start(
            "fit",
            *("--config", "ngcf.yaml", "--run_dir", name),
            f"--trainer.callbacks+={{class_path: killer.Kill, init_args: {{epoch: {epoch}}}}}",
            cwd=folder,
        )
        for name, epoch in (("middle", 4), ("end", -1))
    ]
    main("fit", ["--config", str(folder / "ngcf.yaml"), "--run_dir", str(folder / "whole")])
    for process in processes:
        _, err = process.communicate(timeout=600)
        assert process.returncode == -signal.SIGKILL, err
    return {name: folder / name for name in ("whole", "middle", "end")}


@pytest.mark.parametrize("name", ["middle", "end"])
def test_a_killed_run_goes_on_as_if_it_had_not_been(killed, name, tmp_path):
    whole, run = killed["whole"], shutil.copytree(killed[name], tmp_path / name)
    assert not (run / "metrics.json").exists()
    done = runs.read_checkpoint(run / "checkpoints/last.ckpt")["epoch"]
    expected = results(whole)
    assert done == (3 if name == "middle" else expected["epochs"] - 1)
    assert 5 < expected["epochs"] < 40  # stopped early, after the kill
    config = whole.with_name("ngcf.yaml")
    cli = main("fit", ["--config", str(config), "--run_dir", str(run), "--ckpt_path", "last"])
    assert results(run) == expected
    pd.testing.assert_frame_equal(rows(run), rows(whole), check_exact=True)
    for file in ("best", "last"):
        ours, theirs = (runs.read_checkpoint(r / f"checkpoints/{file}.ckpt") for r in (run, whole))
        assert ours["epoch"] == theirs["epoch"]
        for key, value in theirs["state_dict"].items():
            assert ours["state_dict"][key].equal(value), key
    assert not [p for p in run.rglob(".tmp-*")]
    assert cli.trainer.early_stopping_callback.best_score.item() == pytest.approx(expected["val"]["ndcg@5"])


def test_continuing_a_finished_run_changes_nothing(killed, tmp_path):
    run = shutil.copytree(killed["whole"], tmp_path / "run")
    main("fit", ["--config", str(run / "config.yaml"), "--run_dir", str(run), "--ckpt_path", "last"])
    assert results(run) == results(killed["whole"])
    pd.testing.assert_frame_equal(rows(run), rows(killed["whole"]))


def test_more_epochs_continue_a_finished_run(tiny, tmp_path):
    """Three epochs, then three more, are six; the newest run is found without its name."""
    base = ["--config", str(tiny)]
    whole = main("fit", [*base, "--run_dir", str(tmp_path / "whole"), "--trainer.max_epochs=6"]).run_dir
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        first = main("fit", base).run_dir
        same = main("fit", [*base, "--ckpt_path=last"])  # nothing left to do
        assert same.run_dir == first and results(first)["epochs"] == 3
        assert main("fit", [*base, "--ckpt_path=last", "--trainer.max_epochs=6"]).run_dir == first
        assert results(first) == results(whole)
        pd.testing.assert_frame_equal(rows(first), rows(whole))
