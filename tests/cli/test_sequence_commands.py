"""Commands on models of sequences: resume, two processes, the attention figure."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from recgnn.cli.entry import main

CONFIG = """\
seed_everything: 3
data:
  class_path: CTRDataModule
  init_args:
    source: {class_path: TableLog, init_args: {path: log.csv, items: items.csv, timestamp: time}}
    label: rating >= 4
    fields: {user: categorical, item: categorical, genre: {kind: multi, max_values: 2}}
    history: {item_fields: [item, genre], max_length: 5}
    split: {class_path: RatioSplit, init_args: {by: user, order: time}}
    batch_size: 64
model:
  class_path: DIN
  init_args: {embedding_dim: 4, hidden_dims: [8], attention_dims: [6], dropout: 0.2}
training: {l2: 1.0e-3, l2_on: mba, lr: 0.02}
trainer: {accelerator: cpu, max_epochs: 5, enable_progress_bar: false}
"""
KILLER = """\
import os, signal
from lightning import Callback

class Kill(Callback):
    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.current_epoch == 2 and batch_idx == 2:
            os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(scope="module")
def done(tmp_path_factory, start, drawing) -> Path:
    """A folder with a run, whose figures are drawn, and the same run killed in its third epoch."""
    folder = tmp_path_factory.mktemp("sequence")
    random = np.random.default_rng(0)
    user, item = random.integers(25, size=900), random.integers(20, size=900)
    frame = pd.DataFrame({"user": [f"u{u}" for u in user], "item": item, "time": random.permutation(900) * 60 + 10**6})
    frame["rating"] = np.where((user % 2 == item % 2) ^ (random.random(900) < 0.1), 5, 2)
    frame.to_csv(folder / "log.csv", index=False)
    items = pd.DataFrame({"item": range(20), "genre": ["a|b", "b", "c", "a"] * 5})
    items["title"] = [f"film {i}" for i in range(20)]
    items.to_csv(folder / "items.csv", index=False)
    (folder / "x.yaml").write_text(CONFIG)
    (folder / "killer.py").write_text(KILLER)
    argv = ["--config", "x.yaml"]
    kill = "--trainer.callbacks+={class_path: killer.Kill}"
    killed = start("fit", *argv, "--run_dir", "killed", kill, cwd=folder)
    with pytest.MonkeyPatch.context() as patch, drawing():
        patch.chdir(folder)
        main("fit", [*argv, "--run_dir", "run"])
    _, err = killed.communicate(timeout=600)
    assert killed.returncode == -signal.SIGKILL, err
    return folder


def content(run: Path) -> dict:
    return json.loads((run / "metrics.json").read_text())


def test_the_run(done, monkeypatch, capsys) -> None:
    found = content(done / "run")
    assert found["test"]["auc"] > 0.75 and found["dataset"]["history"]["max_length"] == 5
    assert found["dataset"]["mean_history"]["test"] > found["dataset"]["mean_history"]["train"] > 1
    assert (done / "run/figures/attention.png").stat().st_size > 5000
    monkeypatch.chdir(done)
    print(main("test", ["--run", "run"]).datamodule.describe("clicks"))
    assert "history: item, genre of at most 5 past items (mean: train" in capsys.readouterr().out


def test_a_killed_run_goes_on_as_if_it_had_not_been(done, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(done)
    run = shutil.copytree("killed", tmp_path / "killed")
    main("fit", ["--config", "x.yaml", "--run_dir", str(run), "--ckpt_path", "last"])
    for name in ("val", "test", "best_epoch", "epochs"):
        assert content(run)[name] == content(done / "run")[name]
