"""What runs of every family write to W&B, read back from their files: keys, labels, artifacts, going on. Offline."""

from __future__ import annotations

import json
import os
import shutil
import struct
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from recgnn import load
from recgnn.cli.entry import main
from recgnn.errors import ConfigError
from recgnn.training import run_folder as runs
from recgnn.training import wandb_keys as logged

pytest.importorskip("wandb", reason="W&B is an extra")

EVENTS = """\
data:
  class_path: CTRDataModule
  init_args:
    source: {class_path: TableLog, init_args: {path: log.csv, timestamp: time}}
    label: rating >= 4
    fields: {user: categorical, item: categorical, genre: categorical}
    split: {class_path: RatioSplit, init_args: {ratios: [0.5, 0.25, 0.25], by: user, order: time}}
    batch_size: 64
"""
RATED = """\
data:
  class_path: GraphDataModule
  init_args:
    source: {class_path: TableLog, init_args: {path: log.csv, timestamp: time}}
    batch_size: 128
"""
TRAINER = """\
seed_everything: 3
trainer: {accelerator: cpu, max_epochs: 2, log_every_n_steps: 1, enable_progress_bar: false}
"""
CONFIGS = {
    "ranking": RATED + "model: {class_path: LightGCN, init_args: {embedding_dim: 4}}\ntraining: {ks: [5, 10]}\n",
    "rating": RATED + "model: {class_path: MF, init_args: {embedding_dim: 4}}\ntraining: RatingTraining\n",
    "clicks": EVENTS + "model: {class_path: FM, init_args: {embedding_dim: 4}}\n",
    "sequence": EVENTS
    + "    history: {item_fields: [item], max_length: 5}\n"
    + "model: {class_path: DIN, init_args: {embedding_dim: 4, hidden_dims: [8], attention_dims: [6]}}\n",
    "regression": EVENTS.replace("rating >= 4", "rating")
    + "    task: regression\n"
    + "model: {class_path: FM, init_args: {embedding_dim: 4}}\ntraining: RegressionTraining\n",
}
KEEPING = ("ranking", "sequence")  # of which checkpoints are logged
OURS = {key.name for key in logged.KEYS if key.kind == "config"}


def records(file: Path) -> Iterator:
    """The records of a .wandb file: a header of 7 bytes, then LevelDB's log format, blocks of 32 KiB of
    (checksum, length, whole / first / middle / last, data)."""
    from wandb.proto import wandb_internal_pb2

    data, place, whole = file.read_bytes(), 7, b""
    while place + 7 <= len(data):
        left = 2**15 - place % 2**15
        if left < 7:
            place += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, place)
        if place + 7 + length > len(data):
            return  # it is still being written
        part = data[place + 7 : place + 7 + length]
        place += 7 + length
        whole = part if kind in (1, 2) else whole + part
        if kind in (1, 4):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(whole)
            yield record


def finished(file: Path) -> list:
    """All records of a run that has ended; W&B's own process may be some milliseconds behind."""
    for _ in range(400):
        found = list(records(file))
        if any(record.WhichOneof("record_type") == "exit" for record in found):
            return found
        time.sleep(0.05)
    raise AssertionError(f"{file} does not end")


class Written:
    """What one W&B file holds: the run, configuration, rows of history, summary and artifacts."""

    def __init__(self, file: Path):
        self.config, self.history, self.summary, self.artifacts = {}, [], {}, []
        for record in finished(file):
            kind = record.WhichOneof("record_type")
            if kind == "run":
                self.run = record.run
            elif kind == "config":
                self.config |= {item.key or item.nested_key[0]: json.loads(item.value_json)
                                for item in record.config.update}  # fmt: skip
            elif kind == "history":
                self.history.append({item.key or item.nested_key[0]: item.value_json for item in record.history.item})
            elif kind == "summary":
                for item in record.summary.update:
                    names = [item.key] if item.key else list(item.nested_key)
                    self.summary["|".join(names)] = json.loads(item.value_json)
            elif kind == "artifact" and record.artifact.type == "model":
                self.artifacts.append(record.artifact)

    @property
    def logged(self) -> Counter:
        """How many rows each key of the history has; those of W&B itself begin with an underscore."""
        return Counter(key for row in self.history for key in row if not key.startswith("_"))


def files_of(run: Path) -> list[Path]:
    return sorted(run.glob("wandb/offline-run-*/*.wandb"))


def write_log(path: Path) -> None:
    """25 users who like items of their own parity."""
    random = np.random.default_rng(0)
    pairs = [(user, item) for user in range(25) for item in random.permutation(20)[:14]]
    user, item = np.array(pairs).T
    frame = pd.DataFrame({"user": [f"u{u}" for u in user], "item": item, "time": random.permutation(len(pairs))})
    liked = (user % 2 == item % 2) ^ (random.random(len(pairs)) < 0.1)
    frame["rating"], frame["genre"] = np.where(liked, 5, 2), [f"g{i % 6}" for i in item]
    frame.to_csv(path, index=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Iterator[Path]:
    """A working folder, offline, where nothing knows of an account."""
    folder = tmp_path_factory.mktemp("logged")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("WANDB")]:
            patch.delenv(name)
        patch.setenv("WANDB_MODE", "offline")
        patch.setenv("HOME", str(folder / "home"))
        patch.chdir(folder)
        write_log(folder / "log.csv")
        for name, text in CONFIGS.items():
            (folder / f"{name}.yaml").write_text(TRAINER + text)
            sent = ["--log_checkpoints=true"] if name in KEEPING else []
            main("fit", ["--config", f"{name}.yaml", "--run_dir", f"runs/{name}", *sent])
        yield folder


@pytest.fixture(scope="module")
def written(folder) -> dict[str, Written]:
    """What each family's run wrote."""
    return {name: Written(file) for name in CONFIGS for file in files_of(folder / "runs" / name)}


@pytest.mark.parametrize("family", CONFIGS)
def test_every_documented_key_is_there(written, family):
    found = written[family]
    names = {"config": list(found.config), "summary": [name.partition("|")[0] for name in found.summary]}
    for key in (key for key in logged.KEYS if family in key.families):
        there = names.get(key.kind, list(found.logged))
        assert any(key.matches(name) for name in there), f"{key.name} is documented and was not logged"


@pytest.mark.parametrize("family", CONFIGS)
def test_every_key_that_was_written_is_documented(written, family, folder):
    found = written[family]
    for name in found.logged:
        key = logged.documented(name)
        assert key and key.kind in ("curve", "figure", "table"), f"{name} was logged and is not documented"
        assert family in key.families or not key.families, f"{name} is documented as of {key.families}"
    others = {name for name in (n.partition("|")[0] for n in found.summary) if not name.startswith("_")}
    assert all(logged.documented(name, "summary") for name in others - set(found.logged))
    configuration = yaml.safe_load((folder / "runs" / family / "config.yaml").read_text())
    arguments = runs.read_checkpoint(folder / "runs" / family / "checkpoints/best.ckpt")["recgnn"]["arguments"]
    assert set(found.config) - {"_wandb"} <= OURS | configuration.keys() | arguments.keys()


@pytest.mark.parametrize("family", CONFIGS)
def test_metric_names_are_the_documented_ones(written, family):
    """All validation metrics are test metrics, and stand in the summary with the value of the best epoch."""
    found = written[family]
    names = {name.removeprefix("val/") for name in found.logged if name.startswith("val/")}
    assert names == {name.replace("<k>", k) for name in logged.OF_FAMILY[family] for k in ("5", "10")}
    assert {f"test/{name}" for name in names} == {name for name in found.logged if name.startswith("test/")}
    assert {f"best/{name}" for name in names} | {"best/epoch"} == {n for n in found.summary if n.startswith("best/")}


@pytest.mark.parametrize("family", CONFIGS)
def test_epochs_are_rows_and_the_test_is_one(written, family):
    counts = written[family].logged
    assert counts["train/loss_epoch"] == counts["lr"] == counts["time/epoch_seconds"] == 2
    for name, count in counts.items():
        if name.startswith("val/"):
            assert count == 2
        if name.startswith(("test/", "figures/")) or name in ("recommendations", "ratings", "attention"):
            assert count == 1, f"{name} was logged {count} times"


@pytest.mark.parametrize("family", CONFIGS)
def test_the_summary_holds_the_best_epoch(written, family, folder):
    content = json.loads((folder / "runs" / family / "metrics.json").read_text())
    table = pd.read_csv(folder / "runs" / family / "metrics.csv")
    summary, row = written[family].summary, table[table["epoch"] == content["best_epoch"]].iloc[0]
    assert summary["best/epoch"] == content["best_epoch"] and summary["time/seconds"] == content["seconds"]
    for name in content["val"]:
        assert summary[f"best/{name}"] == pytest.approx(row[f"val/{name}"])
        assert summary[f"test/{name}"] == pytest.approx(content["test"][name], rel=1e-6)
    monitor, goal = {"rating": ("val/rmse", min), "regression": ("val/rmse", min), "ranking": ("val/ndcg@5", max)}.get(
        family, ("val/auc", max)
    )
    assert summary[monitor] == {goal.__name__: pytest.approx(goal(table[monitor]))}


def test_labels_group_runs_by_model_and_data(written):
    for family, (model, task) in {
        "ranking": ("LightGCN", "ranking"), "rating": ("MF", "rating"), "clicks": ("FM", "clicks"),
        "sequence": ("DIN", "clicks"), "regression": ("FM", "regression"),
    }.items():  # fmt: skip
        run, config = written[family].run, written[family].config
        assert (config["model_name"], config["data_name"], config["task"]) == (model, "log", task)
        assert run.run_group == f"{model.lower()}-log" and run.job_type == "fit"
        assert run.display_name == f"{model.lower()}-log-{family}"
        assert set(run.tags) == {model, "log", task} and run.project == "recgnn"


def test_both_halves_of_a_refit_are_labelled_and_of_one_group(folder):
    options = ["--refit=true", "--trainer.max_epochs=1", "--log_checkpoints=true"]
    main("fit", ["--config", "ranking.yaml", "--run_dir", "runs/refit", *options])
    [first], [second] = files_of(folder / "runs/refit/selection"), files_of(folder / "runs/refit")
    first, second = Written(first), Written(second)
    assert (first.run.job_type, second.run.job_type) == ("select", "refit")
    assert first.run.run_group == second.run.run_group and first.run.run_id != second.run.run_id
    assert not first.artifacts
    assert [sorted(artifact.aliases) for artifact in second.artifacts] == [["best", "last", "latest"]]
    assert "test/ndcg@5" in second.logged and "test/ndcg@5" not in first.logged


@pytest.mark.parametrize("family", KEEPING)
def test_an_artifact_is_a_run_folder(written, family, folder, tmp_path):
    found, run = written[family], folder / "runs" / family
    content = json.loads((run / "metrics.json").read_text())
    model = found.config["model_name"]
    assert {a.name for a in found.artifacts} == {f"{model.lower()}-log-{found.run.run_id}"}
    aliases = {next(iter({"best", "last"} & set(a.aliases))): a for a in found.artifacts}
    assert set(aliases) == {"best", "last"} and len(found.artifacts) == 2
    known = {alias: json.loads(artifact.metadata) for alias, artifact in aliases.items()}
    assert known["best"] == {"model": model, "data": "log", "epoch": content["best_epoch"], "val": content["val"],
                             "test": content["test"]}  # fmt: skip
    assert known["last"]["epoch"] == 1 and "test" not in known["last"]
    for alias, artifact in aliases.items():
        for entry in artifact.manifest.contents:
            target = tmp_path / alias / entry.path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(entry.local_path, target)
        assert [p.name for p in (tmp_path / alias / "checkpoints").iterdir()] == [f"{alias}.ckpt"]
    users = ["u1", "u2"]
    pd.testing.assert_frame_equal(load(tmp_path / "best").recommend(users, k=3), load(run).recommend(users, k=3))
    assert len(load(tmp_path / "last").recommend(users, k=3)) == 6
    assert not list((tmp_path / "best/vocabulary").glob("train.*")) and not written["clicks"].artifacts


def test_a_continued_run_is_the_same_run(folder, tmp_path):
    run = shutil.copytree(folder / "runs/ranking", tmp_path / "run")
    cli = main("fit", ["--config", "ranking.yaml", "--run_dir", str(run), "--ckpt_path=last", "--trainer.max_epochs=3"])
    first, second = (Written(file) for file in files_of(run))
    assert first.run.run_id == second.run.run_id == (run / "wandb/run_id").read_text().strip()
    assert second.logged["val/ndcg@5"] == 1 and first.logged["val/ndcg@5"] == 2  # the third epoch alone
    both = [str(file.parent) for file in files_of(run)]
    assert cli.trainer.logger.sync_command == f"wandb sync {' '.join(both)}"
    main("fit", ["--config", "ranking.yaml", "--run_dir", str(run), "--overwrite=true", "--trainer.max_epochs=1"])
    (other,) = {Written(file).run.run_id for file in files_of(run)} - {first.run.run_id}  # a new run is a new one
    assert other == (run / "wandb/run_id").read_text().strip()


def test_a_logger_of_ones_own_is_introduced_too(folder):
    own = ["--trainer.logger=recgnn.training.wandb_logger.WandbLogger"]
    own += ["--trainer.logger.project=mine", "--trainer.logger.name=x"]
    main("fit", ["--config", "ranking.yaml", "--run_dir", "runs/own", "--trainer.max_epochs=1", *own])
    [file] = files_of(folder / "runs/own")
    run = Written(file).run
    assert (run.project, run.display_name, run.run_group) == ("mine", "x", "lightgcn-log")


def test_checkpoints_need_a_logger_that_takes_them(folder):
    off = ["--log_checkpoints=true", "--trainer.logger=false"]
    with pytest.raises(ConfigError, match="--log_checkpoints true sends them to W&B, which is off"):
        main("fit", ["--config", "ranking.yaml", "--run_dir", "runs/off", *off])
    assert not (folder / "runs/off").exists()
