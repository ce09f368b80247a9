"""`fit`, `validate`, `test`: what they write, print and take."""

from __future__ import annotations

import json
import re
import shutil
import sys
import time
from inspect import signature
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from lightning import Trainer
from lightning.pytorch.callbacks import Checkpoint

from recgnn.cli import fitting
from recgnn.cli.entry import main
from recgnn.cli.training import TRAINER
from recgnn.errors import ConfigError, DataError, RunError, check
from recgnn.training import run_folder as runs


def metrics(run: Path | str) -> dict:
    return json.loads((Path(run) / "metrics.json").read_text())


def files(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


# ---- the run folder


def test_what_is_in_a_run_folder(tiny_run):
    assert files(tiny_run) == {
        "config.yaml",
        "metrics.csv",
        "metrics.json",
        "users.parquet",
        "checkpoints/best.ckpt",
        "checkpoints/last.ckpt",
        *(f"vocabulary/{name}" for name in ("interactions.parquet", "users.parquet", "items.parquet", "summary.json")),
        *(f"figures/{name}.png" for name in ("learning_curves", "recall_by_activity", "recall_by_popularity")),
    }
    assert not (tiny_run / "wandb").exists()  # WANDB_MODE=disabled


def test_metrics_json(tiny_run):
    content, rows = metrics(tiny_run), pd.read_csv(tiny_run / "metrics.csv")
    assert {"val", "test", "best_epoch", "epochs", "seconds_per_epoch", "dataset", "versions"} <= content.keys()
    assert rows["epoch"].tolist() == [0, 1, 2] and content["epochs"] == 3
    assert rows["step"].tolist() == [5, 10, 15]  # 610 interactions, 128 a step
    assert content["best_epoch"] == rows["val/ndcg@5"].idxmax()
    best = rows.loc[content["best_epoch"]]
    assert content["val"] == pytest.approx({k[4:]: best[k] for k in rows if k.startswith("val/")})
    assert content["val"].keys() == content["test"].keys()
    assert content["dataset"]["users"] == 61 and content["dataset"]["train"] == 610
    assert content["versions"]["torch"] == torch.__version__
    assert {"train/loss", "lr", "seconds", "evaluation_seconds"} <= set(rows)


def test_checkpoints_hold_plain_values(tiny_run):
    for name in (runs.BEST, runs.LAST):
        content = torch.load(tiny_run / "checkpoints" / name, weights_only=True)
        assert content["recgnn"]["arguments"]["num_users"] == 61
        assert content["state_dict"].keys() == {"model.user_embedding.weight", "model.item_embedding.weight"}
    assert content["epoch"] == 2


def test_config_is_complete_and_runs_again(tiny_run, tmp_path):
    config = yaml.safe_load((tiny_run / "config.yaml").read_text())
    assert config["model"]["init_args"]["layer_weights"] == "uniform"  # a default
    assert "num_users" not in config["model"]["init_args"]  # given by the data
    training = config["training"]
    assert training["class_path"].endswith("RankingTraining") and training["init_args"]["lr"] == 0.05
    assert training["init_args"]["loss"]["class_path"].endswith("SampledSoftmax")
    assert training["init_args"]["l2"] == 0.26  # by the log: 0.9 / sqrt(scale)
    again = main("fit", ["--config", str(tiny_run / "config.yaml"), "--run_dir", str(tmp_path / "again")])
    split = config["data"]["init_args"]["split"]  # the one that was taken for a log with times
    assert split["class_path"].endswith("RatioSplit") and split["init_args"]["order"] == "time"
    ours, theirs = metrics(again.run_dir), metrics(tiny_run)
    (note,) = theirs["dataset"].pop("warnings")
    assert "follow the time within each user" in note and ours["dataset"].pop("warnings") == []  # it is said now
    for key in ("val", "test", "best_epoch", "epochs", "dataset"):
        assert ours[key] == theirs[key]
    assert yaml.safe_load((again.run_dir / "config.yaml").read_text()) == config


def test_a_run_is_finished_when_its_figures_are_there(tiny, tmp_path, monkeypatch):
    results, finished = tmp_path / "run" / "metrics.json", []
    monkeypatch.setattr(fitting, "save_figures", lambda *_: finished.append(results.exists()))
    main("fit", ["--config", str(tiny), "--trainer.max_epochs=1", "--run_dir", str(results.parent)])
    assert finished == [False] and results.exists()


def test_another_seed_is_another_run(tiny, tiny_run, tmp_path):
    name = "run \x1b[31m"  # a folder's name must not break the configuration that names it
    other = main("fit", ["--config", str(tiny), "--seed_everything=8", "--run_dir", str(tmp_path / name)])
    assert yaml.safe_load((other.run_dir / "config.yaml").read_text())["seed_everything"] == 8
    assert metrics(other.run_dir)["test"] != metrics(tiny_run)["test"]


def test_fit_returns_its_objects_and_says_what_is_next(tiny, here, capsys):
    done = main("fit", ["--config", str(tiny), "--trainer.enable_progress_bar=true"])
    assert type(done.model).__name__ == "RankingTraining" and type(done.model.model).__name__ == "LightGCN"
    assert done.datamodule.num_items == 40
    assert done.trainer.current_epoch == 3 and done.run_dir == Path("runs/lightgcn-synthetic/1")
    out, err = capsys.readouterr()
    assert "61 users, 40 items" in out and "LightGCN: 808 parameters" in out
    content = metrics(done.run_dir)
    assert re.search(r"best epoch \d of 3, \d+\.\d\d s an epoch", out)
    row = next(line for line in out.splitlines() if "ndcg@10" in line)
    assert re.findall(r"\d\.\d{4}", row)[:2] == [f"{content[part]['ndcg@10']:.4f}" for part in ("val", "test")]
    for command in ("recommend", "similar", "test"):
        assert f"python -m recgnn.{command} --run runs/lightgcn-synthetic/1" in out
    values = pd.read_csv(done.run_dir / "metrics.csv")["val/ndcg@5"]
    better = [str(epoch) for epoch in range(3) if not (values[:epoch] >= values[epoch]).any()]
    assert re.findall(r"^epoch (\d): loss .* val/ndcg@5 .* s$", err, re.M) == better and len(better) == err.count("\n")


def test_runs_are_numbered_and_not_overwritten_unasked(tiny, here):
    base = ["--config", str(tiny), "--trainer.max_epochs=1"]
    assert [main("fit", base).run_dir.name for _ in range(2)] == ["1", "2"]
    shutil.rmtree("runs/lightgcn-synthetic/1")
    assert main("fit", base).run_dir.name == "3"
    own = [*base, "--run_dir", "runs/lightgcn-synthetic/3"]
    with pytest.raises(RunError, match="3: holds a run already; continue it with --ckpt_path last, replace it"):
        main("fit", own)
    (here / "runs/lightgcn-synthetic/3/metrics.json").write_text("{}")
    main("fit", [*own, "--overwrite=true", "--trainer.max_epochs=2"])
    assert metrics("runs/lightgcn-synthetic/3")["epochs"] == 2
    assert len(pd.read_csv("runs/lightgcn-synthetic/3/metrics.csv")) == 2


def test_a_dry_run_leaves_no_metrics(tiny, here):
    main("fit", ["--config", str(tiny), "--trainer.fast_dev_run=true"])
    assert not list(here.rglob("metrics.json")) and not list(here.rglob("*.ckpt"))


# ---- configuration


def test_configurations_compose_and_dotted_options_win(tiny, here):
    more = "model: {embedding_dim: 6}\ntraining: {init_args: {lr: 0.01}}\ntrainer: {max_epochs: 2}\n"
    (here / "b.yaml").write_text(more)
    base = ["--config", str(tiny), "--config", "b.yaml"]
    done = main("fit", [*base, "--training.lr=0.2", "--data.source.num_users=50", "--trainer.max_epochs", "1"])
    assert done.model.model.arguments["embedding_dim"] == 6 and done.model.model.arguments["num_layers"] == 2
    assert done.model.lr == 0.2 and done.trainer.max_epochs == 1 and done.datamodule.num_users == 50
    assert done.model.model.user_embedding.weight.shape == (50, 6)


def test_another_model_and_source_by_name(tiny, here):
    done = main("fit", ["--config", str(tiny), "--model=MF", "--model.biases=true", "--trainer.max_epochs=1"])
    assert type(done.model.model).__name__ == "MF" and done.model.model.arguments["biases"]
    assert done.run_dir.parent.name == "mf-synthetic"


def test_print_config(tiny, here, capsys):
    with pytest.raises(SystemExit) as stop:
        main("fit", ["--config", str(tiny), "--training.lr=0.5", "--print_config"])
    assert not stop.value.code
    config = yaml.safe_load(capsys.readouterr().out)
    assert config["training"]["init_args"]["lr"] == 0.5 and config["data"]["init_args"]["batch_size"] == 128
    assert not list(here.iterdir())


@pytest.mark.parametrize("option", ["items=null", "items=None", "init_args.items=null"])
def test_null_is_no_text_where_a_class_is_within_a_class(option, tiny, capsys):
    table = ["--data.source=TableLog", "--data.source.path=a.csv", "--data.source.items=b.csv"]
    with pytest.raises(SystemExit):
        main("fit", ["--config", str(tiny), *table, f"--data.source.{option}", "--print_config"])
    given = yaml.safe_load(capsys.readouterr().out)["data"]["init_args"]["source"]["init_args"]
    assert given["items"] is None and given["path"] == "a.csv"


@pytest.mark.parametrize("optimizer", [None, "torch.optim.SGD"])
def test_scheduler_from_the_configuration(tiny, here, optimizer):
    options = ["--lr_scheduler=torch.optim.lr_scheduler.StepLR"]
    options += ["--lr_scheduler.step_size=1", "--lr_scheduler.gamma=0.1"]
    if optimizer:
        options += [f"--optimizer={optimizer}", "--optimizer.lr=0.05"]
    done = main("fit", ["--config", str(tiny), *options])
    assert type(done.trainer.optimizers[0]).__name__ == ("SGD" if optimizer else "Adam")
    assert done.trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.05 * 0.1**3)
    used = pd.read_csv(done.run_dir / "metrics.csv")["lr"]
    assert used.tolist() == pytest.approx([0.05, 0.005, 0.0005])  # not the next epoch's


@pytest.mark.parametrize(
    "options",
    [
        ["--trainer.precision=bf16-mixed"],
        ["--trainer.gradient_clip_val=0.01", "--trainer.accumulate_grad_batches=2"],
        ["--trainer.check_val_every_n_epoch=2", "--trainer.max_epochs=4"],
        ["--trainer.logger=CSVLogger", "--trainer.logger.save_dir=logs", "--training.loss=SampledSoftmax"],
    ],
    ids=lambda options: options[0].rpartition(".")[2],
)
def test_trainer_options(tiny, here, options):
    done = main("fit", ["--config", str(tiny), *options])
    content = metrics(done.run_dir)
    assert content["test"]["ndcg@10"] > 0.1 and content["val"]
    assert content["best_epoch"] < content["epochs"] == done.trainer.max_epochs
    assert all(p.isfinite().all() for p in done.model.parameters())


def test_own_callbacks_stay_and_the_usual_ones_come_with_them(tiny, here):
    callbacks = "--trainer.callbacks=[{class_path: ModelCheckpoint, init_args: {monitor: val/recall@5, mode: max}}]"
    done = main("fit", ["--config", str(tiny), callbacks])
    rows = pd.read_csv(done.run_dir / "metrics.csv")
    assert metrics(done.run_dir)["best_epoch"] == rows["val/recall@5"].idxmax()
    assert sorted(p.name for p in (done.run_dir / "checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]
    assert done.trainer.early_stopping_callback.monitor == "val/ndcg@5"


def test_without_a_validation_part(tiny, here):
    for name, shift in (("train", 0), ("test", 1)):
        lines = [f"{u} {' '.join(str((u * 7 + 4 * i + shift) % 40) for i in range(6))}" for u in range(30)]
        (here / f"{name}.txt").write_text("\n".join(lines))
    base = ["--config", str(tiny), "--data.source=AdjacencyLog", "--data.source.train=train.txt"]
    base += ["--data.source.test=test.txt", "--data.source.name=lists", "--data.split=GivenSplit"]
    done = main("fit", [*base, "--data.split.val=0"])
    content = metrics(done.run_dir)
    assert done.run_dir == Path("runs/lightgcn-lists/1") and content["val"] == {} and content["test"]
    assert content["best_epoch"] == 2  # the last
    assert [p.name for p in (done.run_dir / "checkpoints").iterdir()] == ["last.ckpt"]
    main("test", ["--run", str(done.run_dir), "--output", "test.json"])
    assert json.loads(Path("test.json").read_text())["test"] == content["test"]
    with pytest.raises(DataError, match="lists: has no val part"):
        main("validate", ["--run", str(done.run_dir)])
    stop = "--trainer.callbacks=[{class_path: EarlyStopping, init_args: {monitor: val/ndcg@5}}]"
    with pytest.raises(ConfigError, match="EarlyStopping watches val/ndcg@5, but nothing is validated"):
        main("fit", [*base, "--data.split.val=0", stop])
    both = main("fit", [*base, "--data.split.val=test"])
    assert metrics(both.run_dir)["dataset"]["val_is_test"] and metrics(both.run_dir)["dataset"]["warnings"]


def test_a_model_in_closed_form_says_what_is_not_used(tiny, here, monkeypatch, capsys):
    (here / "solved_here.py").write_text("""\
import torch
from recgnn.models.base import Recommender

class Same(Recommender):
    def solve(self) -> None:
        pass

    def score(self, users):
        return torch.arange(self.num_items).float().repeat(len(users), 1)
""")
    monkeypatch.syspath_prepend(str(here))
    (here / "same.yaml").write_text(tiny.read_text().partition("model:")[0] + "model: solved_here.Same\n")
    run = main("fit", ["--config", "same.yaml", "--training.lr=0.1", "--trainer.logger=false"]).run_dir
    out = capsys.readouterr().out
    assert "Same is solved in closed form: loss, negatives, lr and optimizer are not used" in out
    assert re.search(r"^solved, \d+ s in all$", out, re.MULTILINE) and "best epoch" not in out
    assert f"python -m recgnn.test --run {run} --trust\n" in out
    sys.modules.pop("solved_here")
    with pytest.raises(RunError, match="solved_here.Same is not one of recgnn's"):
        main("test", ["--run", str(run)])
    main("test", ["--run", str(run), "--trust", "--output", "test.json"])
    assert json.loads(Path("test.json").read_text())["test"] == metrics(run)["test"]
    sys.modules.pop("solved_here")


# ---- validate and test


def test_validate_and_test_repeat_the_figures_of_fit(tiny_run, here, capsys):
    content = metrics(tiny_run)
    for command, part in (("validate", "val"), ("test", "test")):
        main(command, ["--run", str(tiny_run), "--output", "out/figures.json"])
        assert json.loads(Path("out/figures.json").read_text()) == {part: content[part]}
        assert f"{content[part]['ndcg@10']:.4f}" in capsys.readouterr().out
    last = str(tiny_run / "checkpoints/last.ckpt")
    main("validate", [f"--run={tiny_run}", f"--ckpt_path={last}", "--output=last.json"])
    rows = pd.read_csv(tiny_run / "metrics.csv")
    assert json.loads(Path("last.json").read_text())["val"]["ndcg@5"] == pytest.approx(rows["val/ndcg@5"].iloc[-1])
    assert files(here) == {"out/figures.json", "last.json"}


def test_test_needs_the_run_folder_only(tiny, here):
    rows = [f"u{u},i{(u * 3 + 7 * i) % 20}\n" for u in range(20) for i in range(8)]
    (here / "log.csv").write_text("user,item\n" + "".join(rows))
    source = ["--data.source=TableLog", "--data.source.path=log.csv", f"--data.cache_dir={here / 'cache'}"]
    done = main("fit", ["--config", str(tiny), *source])
    content = metrics(done.run_dir)
    (here / "log.csv").unlink()
    shutil.rmtree(here / "cache")
    shutil.move(done.run_dir, here / "moved")
    main("test", ["--run", "moved", "--output", "test.json"])
    assert content["test_reads"] == 1 and metrics("moved")["test_reads"] == 2
    assert json.loads(Path("test.json").read_text())["test"] == content["test"]


# ---- stopped


def test_a_bug_keeps_its_traceback(tiny, here, monkeypatch):
    monkeypatch.setattr("recgnn.training.base.Training.penalty", None)
    with pytest.raises(TypeError, match="'NoneType' object is not callable"):
        main("fit", ["--config", str(tiny)])
    assert not list(here.iterdir())


# ---- W&B


def test_offline_wandb(tiny, here, monkeypatch, capsys):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    done = main("fit", ["--config", str(tiny), "--trainer.max_epochs=2"])
    assert f"wandb sync {done.run_dir}/wandb/offline-run-" in capsys.readouterr().out
    assert all(logger._experiment is None for logger in done.trainer.loggers)  # finished
    [log] = done.run_dir.glob("wandb/offline-run-*/run-*.wandb")
    keys = (
        *("train/loss", "val/ndcg@10", "val/recall@5", "test/ndcg@10", "time/epoch_seconds", "recommendations"),
        *("figures/learning_curves", "figures/recall_by_activity", "data_statistics", "embedding_dim"),
        *("LightGCN", "lightgcn-synthetic-1"),
    )
    for _ in range(600):  # W&B's own process closes the file a moment after `finish`
        content = log.read_bytes()
        missing = [key for key in keys if key.encode() not in content]
        if not missing:
            break
        time.sleep(0.1)
    assert not missing
    assert not (here / "wandb").exists() and not (here / "lightning_logs").exists()
    main("fit", ["--config", str(tiny), "--trainer.max_epochs=1", "--trainer.logger=false", "--run_dir=quiet"])
    assert not (here / "quiet/wandb").exists()


def test_a_monitor_that_is_not_measured(here, tiny) -> None:
    with pytest.raises(ConfigError, match="val/ndcg@11, which is not measured.*did you mean 'val/ndcg@10'"):
        options = ["--trainer.callbacks.monitor=val/ndcg@11", "--trainer.callbacks.mode=max"]
        main("fit", [f"--config={tiny}", "--trainer.callbacks=EarlyStopping", *options])


def test_only_a_plain_monitored_saver_becomes_best(here, tiny) -> None:
    options = ["--trainer.callbacks=ModelCheckpoint", "--trainer.callbacks.monitor=val/recall@10"]
    options += ["--trainer.callbacks.mode=max", "--trainer.callbacks.save_top_k=2", "--trainer.max_epochs=3"]
    cli = main("fit", [f"--config={tiny}", "--run_dir=run", *options])
    names = {path.name for path in (here / "run" / "checkpoints").iterdir()}
    assert {"best.ckpt", "last.ckpt"} <= names and len(names) == 4
    assert any(c.filename == "best" and c.monitor == cli.model.monitor[0] for c in cli.trainer.checkpoint_callbacks)


def test_the_stored_configuration_is_of_the_run_not_of_the_call(here, tiny) -> None:
    main("fit", [f"--config={tiny}", "--run_dir=run", "--trainer.max_epochs=1"])
    main("fit", [f"--config={tiny}", "--run_dir=run", "--trainer.max_epochs=2", "--ckpt_path=last"])
    stored = yaml.safe_load((here / "run" / "config.yaml").read_text())
    assert stored["ckpt_path"] is None and stored["run_dir"] is None and stored["overwrite"] is False
    with pytest.raises(RunError, match="was trained on other data"):
        split = ["--data.split=RatioSplit", "--data.split.seed=9"]
        main("fit", [f"--config={tiny}", "--run_dir=run", "--ckpt_path=last", *split])


def test_a_moved_run_goes_on_with_its_best(here, tiny) -> None:
    saver = best_saver(main("fit", [f"--config={tiny}", "--run_dir=before"]))
    (here / "before").rename(here / "after")
    again = best_saver(main("fit", [f"--config={tiny}", "--ckpt_path=last", "--run_dir=after"]))
    assert again.best_model_score == saver.best_model_score is not None
    assert Path(again.best_model_path) == (here / "after/checkpoints/best.ckpt").resolve()
    assert list(again.best_k_models) == [again.best_model_path]


def best_saver(cli) -> Checkpoint:
    return next(c for c in cli.trainer.checkpoint_callbacks if c.filename == "best")


# ---- classes of one's own

MINE = '''\
import torch
from recgnn.data import SyntheticLog
from recgnn.data.interactions.sampling import Uniform
from recgnn.evaluation.metrics import RankingMetric
from recgnn.models import MF
from recgnn.nn.losses import PairLoss

class Log(SyntheticLog):
    name = "mine"

class Twice(Uniform):
    def __init__(self, times: int = 2):
        super().__init__(times)

class Hinge(PairLoss):
    def __init__(self, margin: float = 1.0):
        super().__init__()
        self.margin = margin

    def forward(self, positive, negative, positive_log_q=None, negative_log_q=None):
        return (self.margin + negative - positive[:, None]).clamp(min=0).mean(1)

class AnyHit(RankingMetric):
    name = "any_hit"

    def of_users(self, hits, label_count, k):
        return hits.any(1).float()

class Model(MF):
    def __init__(self, num_users: int, num_items: int, dim: int = 8):
        super().__init__(num_users, num_items, dim)
'''
OF_MINE = """\
data: {class_path: GraphDataModule, init_args: {source: {class_path: mine.Log, init_args: {num_users: 50}}}}
model: {class_path: mine.Model, init_args: {dim: 4}}
training:
  loss: {class_path: mine.Hinge, init_args: {margin: 0.5}}
  negatives: {class_path: mine.Twice, init_args: {times: 3}}
  metrics: [ndcg, hitrate, mine.AnyHit]
  ks: [5]
trainer: {accelerator: cpu, max_epochs: 2, logger: false, enable_progress_bar: false}
"""


def test_classes_of_ones_own_by_their_path(here, monkeypatch):
    Path("mine.py").write_text(MINE)
    Path("mine.yaml").write_text(OF_MINE)
    monkeypatch.syspath_prepend(here)
    done = main("fit", ["--config", "mine.yaml"])
    training = done.model
    assert (type(training.model).__name__, training.model.user_embedding.embedding_dim) == ("Model", 4)
    assert training.loss.margin == 0.5 and training.negatives.num == 3 and done.datamodule.num_users == 50
    found = metrics(done.run_dir)["test"]
    assert found["any_hit@5"] == found["hitrate@5"] > 0
    config = yaml.safe_load((done.run_dir / "config.yaml").read_text())["training"]["init_args"]
    assert config["loss"] == {"class_path": "mine.Hinge", "init_args": {"margin": 0.5}}
    again = main("fit", ["--config", str(done.run_dir / "config.yaml")])
    assert metrics(again.run_dir)["test"] == found


# ---- values that cannot work


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("max_epochs", 0), ("max_epochs", -2), ("max_epochs", 10**15), ("max_steps", 0), ("min_epochs", -1),
        ("check_val_every_n_epoch", 0), ("accumulate_grad_batches", 0), ("accumulate_grad_batches", -1),
        ("limit_train_batches", 0), ("limit_train_batches", 1.5), ("limit_val_batches", -1),
        ("limit_test_batches", -0.5), ("val_check_interval", 0), ("gradient_clip_val", -1),
        ("log_every_n_steps", -1), ("num_sanity_val_steps", -2), ("min_steps", True),
    ],
)  # fmt: skip
def test_values_at_which_the_trainer_fails_later_are_refused(option: str, value: object) -> None:
    with pytest.raises(ConfigError, match=rf"^trainer\.{option} is .*; expected "):
        check("trainer", {option: value}, TRAINER)


def test_the_trainers_own_defaults_and_usual_values_pass() -> None:
    defaults = {name: p.default for name, p in signature(Trainer).parameters.items()}
    usual = {"max_epochs": -1, "limit_val_batches": 0, "limit_test_batches": 0, "val_check_interval": 0.5}
    for values in (defaults, usual | {"gradient_clip_val": 0, "max_steps": 10, "check_val_every_n_epoch": None}):
        check("trainer", values, TRAINER)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--seed_everything=-1"], "^seed_everything is -1; expected true or false or a whole number from 0"),
        (["--trainer.accelerator=tpu"], "^trainer: .*torch_xla"),
        (["--trainer.precision=8"], "^trainer.precision is 8; expected 64 or 32"),
        (["--trainer.check_val_every_n_epoch=9"], "check_val_every_n_epoch is 9; expected at most max_epochs, 3"),
        (["--model.embedding_dim=0"], "^LightGCN.embedding_dim is 0; expected a whole number from 1"),
        (["--model.embedding_dim=wide"], "^LightGCN.embedding_dim is wide; expected a whole number from 1"),
        (["--training.ks=5"], "^RankingTraining.ks is 5; expected a list, each a whole number"),
        (["--optimizer=Adam", "--optimizer.betas=[2,3]"], "^optimizer: Invalid beta parameter"),
        (["--optimizer=SGD", "--optimizer.lr=-1"], "^optimizer: Invalid learning rate: -1"),
        (["--lr_scheduler=ReduceLROnPlateau"], "^ReduceLROnPlateau.monitor is not given"),
        (
            ["--lr_scheduler=ReduceLROnPlateau", "--lr_scheduler.monitor=val/ndgc@10"],
            "^the scheduler watches val/ndgc@10, which is not measured .did you mean 'val/ndcg@10'",
        ),
    ],
)
def test_what_cannot_work_is_refused_before_training(options, message, here, tiny) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        main("fit", [f"--config={tiny}", "--run_dir=run", "--trainer.max_epochs=3", *options])
    assert "\n" not in str(error.value) and not list(here.glob("run/**/*.ckpt"))
