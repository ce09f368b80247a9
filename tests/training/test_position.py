"""A run that was stopped inside an epoch visits what is left of it, once, on any number of processes."""

from __future__ import annotations

import json
import shutil
import signal
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
import yaml
from lightning import Callback

from recgnn.cli.entry import main
from recgnn.training import run_folder as runs
from tests.tools.processes import Command, pair

SOURCE = {"class_path": "SyntheticLog", "init_args": {"num_users": 61, "num_items": 40, "seed": 3}}
CLICKS = {"source": SOURCE, "label": "rating >= 4", "fields": {"user": "categorical", "item": "categorical"}}
SIZES = {"NGCF": 40, "CDAE": 8, "DeepFM": 40}
FAMILIES = {
    "NGCF": ({"embedding_dim": 8, "layer_dims": [8], "message_dropout": 0.3}, {"source": SOURCE}),
    "CDAE": ({"hidden_dim": 8}, {"source": SOURCE}),
    "DeepFM": ({"embedding_dim": 4, "hidden_dims": [4], "dropout": 0.2}, CLICKS),
}
WITHIN = {"class_path": "ModelCheckpoint", "init_args": {"every_n_train_steps": 2}}
SEEN = """\
import os, signal
from lightning import Callback
from recgnn.data.clicks import loaders, prepared

loaders.IN_MEMORY, loaders.CHUNK, loaders.TOGETHER, prepared.MAPPED = 0, 32, 4, 0  # clicks stay on disk

class Seen(Callback):
    \"\"\"Writes what each step visits; kills its process before a step of an epoch.\"\"\"

    def __init__(self, name: str, epoch: int = -1, step: int = -1):
        self.name, self.epoch, self.step = name, epoch, step

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if (trainer.current_epoch, batch_idx) == (self.epoch, self.step):
            os.kill(os.getpid(), signal.SIGKILL)
        columns = batch.ids.T[:2] if hasattr(batch, "ids") else (batch.users, batch.positives)
        pairs = zip(*(column.tolist() for column in columns))
        with open(f"{self.name}-{trainer.global_rank}", "a") as file:
            file.writelines(f"{trainer.current_epoch} {trainer.global_step} {u} {i}\\n" for u, i in pairs)
"""


class Aside(Callback):
    """Copies last.ckpt as it is inside an epoch."""

    def __init__(self, to: Path):
        self.to = to

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        last = Path(trainer.default_root_dir) / "checkpoints/last.ckpt"
        if trainer.current_epoch == 1 and batch_idx == 3:
            shutil.copytree(last.parent.parent, self.to)


def configured(folder: Path, name: str, *callbacks: dict) -> Path:
    arguments, data = FAMILIES[name]
    module = "CTRDataModule" if "label" in data else "GraphDataModule"
    path = folder / f"{name}.yaml"
    trainer = {"accelerator": "cpu", "max_epochs": 3, "enable_progress_bar": False, "logger": False}
    config = {
        "seed_everything": 7,
        "data": {"class_path": module, "init_args": data | {"batch_size": SIZES[name]}},
        "model": {"class_path": name, "init_args": arguments},
        "trainer": trainer | {"callbacks": [WITHIN, *callbacks]},
    }
    path.write_text(yaml.safe_dump(config))
    return path


@pytest.mark.parametrize("name", FAMILIES)
def test_one_process_goes_on_as_if_it_had_not_been_stopped(name, tmp_path, monkeypatch) -> None:
    """With the same weights, bit by bit, and the same rows of metrics.csv."""
    config = configured(tmp_path, name)
    with monkeypatch.context() as patch:
        from recgnn.cli import fitting

        usual = fitting.FitCLI.training_callbacks
        aside = Aside(tmp_path / "stopped")
        patch.setattr(fitting.FitCLI, "training_callbacks", lambda *a: [aside, *usual(*a)])
        whole = main("fit", ["--config", str(config), "--run_dir", str(tmp_path / "whole")])
    run = tmp_path / "stopped"
    stopped = runs.read_checkpoint(run / "checkpoints/last.ckpt")
    per_epoch = whole.trainer.num_training_batches
    assert stopped["epoch"] == 1 and stopped["global_step"] % per_epoch and per_epoch > 4
    main("fit", ["--config", str(config), "--run_dir", str(run), "--ckpt_path", "last"])
    ours, theirs = (runs.read_checkpoint(r / "checkpoints/last.ckpt") for r in (run, tmp_path / "whole"))
    assert ours["global_step"] == theirs["global_step"] == 3 * per_epoch
    for key, value in theirs["state_dict"].items():
        assert ours["state_dict"][key].equal(value), key
    tables = [pd.read_csv(r / "metrics.csv") for r in (run, tmp_path / "whole")]
    rows = [table.drop(columns=["seconds", "evaluation_seconds"]) for table in tables]
    pd.testing.assert_frame_equal(*rows, check_exact=True)
    results = [json.loads((r / "metrics.json").read_text()) for r in (run, tmp_path / "whole")]
    assert results[0]["test"] == results[1]["test"]


def visited(folder: Path, name: str, before: int = 10**9) -> dict[int, Counter]:
    """The pairs of each epoch in the steps before one, by all processes."""
    found: dict[int, Counter] = {}
    for file in folder.glob(f"{name}-?"):
        for line in file.read_text().splitlines():
            epoch, step, user, item = map(int, line.split())
            if step < before:
                found.setdefault(epoch, Counter())[user, item] += 1
    return found


@pytest.mark.parametrize(("name", "world"), [("NGCF", 1), pytest.param("DeepFM", 3, marks=pytest.mark.long)])
def test_every_row_once_whoever_goes_on(name: str, world: int, tmp_path) -> None:
    """Two processes are killed before step 5 of epoch 1, and one or three go on, from step 4; clicks stay on disk."""
    (tmp_path / "seen.py").write_text(SEEN)
    kill = {"class_path": "seen.Seen", "init_args": {"name": "two", "epoch": 1, "step": 5}}
    config = configured(tmp_path, name, kill)
    for process in pair("fit", "--config", config, "--run_dir", "run", cwd=tmp_path):
        _, err = process.communicate(timeout=120)
        assert process.returncode == -signal.SIGKILL, err
    last = runs.read_checkpoint(tmp_path / "run/checkpoints/last.ckpt")
    config = configured(tmp_path, name, {"class_path": "seen.Seen", "init_args": {"name": "others"}})
    words = ("fit", "--config", config, "--run_dir", "run", "--ckpt_path", "last")
    processes = pair(*words, cwd=tmp_path, count=world) if world > 1 else [Command(*words, cwd=tmp_path)]
    for process in processes:
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
    first, then = visited(tmp_path, "two", last["global_step"]), visited(tmp_path, "others")
    assert 0 < first[1].total() < first[0].total() and 0 not in then
    assert first[0] == first[1] + then[1] == then[2] and set(first[0].values()) == {1}
    assert last["position"]["done"] == [[2, SIZES[name], 4]]
