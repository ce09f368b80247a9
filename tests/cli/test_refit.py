"""`fit --refit`: epochs chosen on validation, then trained on train and validation together, and tested once."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import pandas as pd
import pytest

from recgnn import load
from recgnn.cli.entry import main
from recgnn.errors import ConfigError
from recgnn.training import run_folder as runs

KILLER = """\
import os, signal
from lightning import Callback

class Kill(Callback):
    def __init__(self, merged: bool, epoch: int):
        self.merged, self.epoch = merged, epoch

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.datamodule.merge_val == self.merged and trainer.current_epoch == self.epoch and batch_idx == 1:
            os.kill(os.getpid(), signal.SIGKILL)
"""
AUTOREC = """\
refit: true
seed_everything: 3
data:
  class_path: GraphDataModule
  init_args:
    source: {class_path: SyntheticLog, init_args: {num_users: 61, num_items: 40, seed: 3}}
    batch_size: 16
model:
  class_path: AutoRec
  init_args: {hidden_dims: [16], dropout: 0.2}
training: {l2: 1.0, lr: 0.03}
lr_scheduler: {class_path: torch.optim.lr_scheduler.CosineAnnealingLR, init_args: {T_max: 40}}
trainer:
  accelerator: cpu
  max_epochs: 40
  enable_progress_bar: false
  callbacks:
    - {class_path: EarlyStopping, init_args: {monitor: val/rmse, mode: min, patience: 4}}
    - {class_path: ModelCheckpoint, init_args: {monitor: val/rmse, mode: min}}
    - {class_path: LearningRateMonitor}
  logger: {class_path: CSVLogger, init_args: {save_dir: logs}}
"""


def content(run: Path) -> dict:
    return json.loads((run / "metrics.json").read_text())


def results(run: Path) -> dict:
    found = content(run)
    return {key: found[key] for key in ("val", "test", "best_epoch", "epochs")} | {"again": found["refit"]["epochs"]}


@pytest.fixture(scope="module")
def done(tmp_path_factory, start) -> dict[str, Path]:
    """An uninterrupted run, one killed in its first half and one killed in its second."""
    folder = tmp_path_factory.mktemp("refit")
    (folder / "autorec.yaml").write_text(AUTOREC)
    (folder / "killer.py").write_text(KILLER)
    processes = [
        start(
            "fit",
            *("--config", "autorec.yaml", "--run_dir", name),
            f"--trainer.callbacks+={{class_path: killer.Kill, init_args: {{merged: {merged}, epoch: 3}}}}",
            cwd=folder,
        )
        for name, merged in (("first", "false"), ("second", "true"))
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        main("fit", ["--config", "autorec.yaml", "--run_dir", "whole"])
    for process in processes:
        _, err = process.communicate(timeout=600)
        assert process.returncode == -signal.SIGKILL, err
    return {name: folder / name for name in ("whole", "first", "second")}


def test_the_run_folder(done) -> None:
    run, half = done["whole"], done["whole"] / "selection"
    first, last = content(half), content(run)
    assert first["test"] == {} and not list((half / "figures").glob("rmse*")), "test is looked at once"
    assert last["val"] == first["val"] and last["best_epoch"] == first["best_epoch"] < first["epochs"] - 1
    assert last["refit"]["epochs"] == first["best_epoch"] + 1
    assert last["dataset"]["train"] == first["dataset"]["train"] + first["dataset"]["val"]
    assert last["dataset"]["test"] == first["dataset"]["test"]
    assert runs.read_checkpoint(run / "checkpoints/last.ckpt")["epoch"] == first["best_epoch"]
    for name in ("rmse_by_activity", "learning_curves"):
        assert (run / f"figures/{name}.png").is_file()
    rows = pd.read_csv(run / "metrics.csv")
    assert len(rows) == first["best_epoch"] + 1 and not [c for c in rows if c.startswith("val/")]


def test_the_second_half_is_a_training_on_train_and_validation(done, tmp_path) -> None:
    epochs = content(done["whole"])["refit"]["epochs"]
    config = ["--config", str(done["whole"].with_name("autorec.yaml")), "--trainer.logger=false", "--refit=false"]
    more = ["--data.merge_val=true", f"--trainer.max_epochs={epochs}", "--trainer.callbacks=null"]
    plain = main("fit", [*config, *more, "--run_dir", str(tmp_path / "plain")])
    assert content(plain.run_dir)["test"] == content(done["whole"])["test"]


def test_it_is_tested_and_used_as_any_run(done, tmp_path) -> None:
    main("test", ["--run", str(done["whole"]), "--output", str(tmp_path / "x.json")])
    found = json.loads((tmp_path / "x.json").read_text())["test"]
    assert found == pytest.approx(content(done["whole"])["test"])
    assert len(load(done["whole"]).recommend(users=[1, 2], k=4)) == 8


def test_its_configuration_runs_again(done, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    main("fit", ["--config", str(done["whole"] / "config.yaml"), "--run_dir", "again"])
    assert results(Path("again")) == results(done["whole"])


@pytest.mark.parametrize("name", ["first", "second"])
def test_a_killed_run_goes_on(done, name, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = shutil.copytree(done[name], tmp_path / "run")
    assert (run / "checkpoints").exists() == (name == "second") and not (run / "metrics.json").exists()
    config = done["whole"].with_name("autorec.yaml")
    main("fit", ["--config", str(config), "--run_dir", str(run), "--ckpt_path", "last"])
    assert results(run) == results(done["whole"])
    ours, theirs = (runs.read_checkpoint(r / "checkpoints/last.ckpt") for r in (run, done["whole"]))
    for key, value in theirs["state_dict"].items():
        assert ours["state_dict"][key].equal(value), key


def test_a_ranking_model_too_and_what_overwriting_leaves(tiny, tmp_path) -> None:
    run = tmp_path / "run"
    base = ["--config", str(tiny), "--run_dir", str(run)]
    main("fit", base)
    cli = main("fit", [*base, "--refit=true", "--overwrite=true"])
    assert cli.run_dir == run and content(run)["refit"]["epochs"] == content(run / "selection")["best_epoch"] + 1
    assert not (run / "checkpoints/best.ckpt").exists() and (run / "checkpoints/last.ckpt").exists()
    assert "ndcg@5" in content(run)["test"]
    main("fit", [*base, "--overwrite=true"])
    assert not (run / "selection").exists() and (run / "checkpoints/best.ckpt").exists()
    assert "refit" not in content(run)


def test_the_second_half_takes_what_the_first_has_chosen_by_its_log(tmp_path) -> None:
    """The l2 of DAE would be another for the longer log; it is what config.yaml says."""
    source = ["--data.source=SyntheticLog", "--data.source.num_users=700", "--data.source.num_items=40"]
    options = ["--model=DAE", "--model.hidden_dims=[2]", "--training.ks=[5]", "--trainer.max_epochs=1"]
    fixed = ["--trainer.logger=false", "--refit=true", f"--run_dir={tmp_path / 'run'}"]
    cli = main("fit", ["--data=GraphDataModule", *source, *options, *fixed])
    told = (tmp_path / "run/config.yaml").read_text()
    assert cli.stage == "refit" and f"l2: {cli.model.l2}\n" in told
    half = runs.read_checkpoint(tmp_path / "run/selection/checkpoints/best.ckpt")
    assert cli.model.l2 == half["recgnn"]["trained"]["l2"]


@pytest.mark.parametrize("split", ["RatioSplit", "GivenSplit"])
def test_without_a_validation_part_it_is_refused(tiny, here, split) -> None:
    option = {"RatioSplit": ["--data.split.ratios=[0.9,0,0.1]"], "GivenSplit": ["--data.split.val=test"]}[split]
    if split == "GivenSplit":
        rows = [(u, i, "train" if (u + i) % 4 else "test") for u in range(12) for i in range(12)]
        pd.DataFrame(rows, columns=["user", "item", "split"]).to_csv("log.csv", index=False)
        option += ["--data.source=TableLog", "--data.source.path=log.csv"]
    with pytest.raises(ConfigError, match="--refit needs a validation part"):
        main("fit", ["--config", str(tiny), "--refit=true", f"--data.split={split}", *option])
    assert not (here / "runs").exists()
