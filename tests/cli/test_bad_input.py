"""A person's mistakes end in one clear line, exit code 2, and nothing half-written."""

from __future__ import annotations

import errno
import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch
import yaml

from recgnn import load
from recgnn.cli.entry import main
from recgnn.errors import ConfigError, DataError, RecGNNError, RunError
from recgnn.training import run_folder as runs

GOOD = "user,item,rating,timestamp\n" + "".join(
    f"{u},{i},{1 + (u * i) % 5},{1_000_000 + 100 * u + (i + 5 * u) % 12}\n"
    for u in range(1, 13)
    for i in range(1, 13)
    if (u + i) % 4
)


@pytest.fixture
def table(here) -> Path:
    path = here / "log.csv"
    path.write_text(GOOD)
    return path


def of_table(tiny: Path, table: Path | str, *more: object) -> list[str]:
    """Options that train on a table."""
    source = ["--data.source=TableLog", f"--data.source.path={table}"]
    return ["--config", str(tiny), *source, "--training.ks=[5]", *map(str, more)]


def everything(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*")}


def refused(folder: Path, argv: list[str], kind: type[RecGNNError] = DataError, command: str = "fit") -> str:
    """The message of a command that fails, which leaves `folder` as it was."""
    before = everything(folder)
    with pytest.raises(kind) as caught:
        main(command, argv)
    message = str(caught.value)
    assert message and "\n" not in message
    assert everything(folder) == before
    return message


def test_a_good_table_trains(tiny, table):
    cli = main("fit", of_table(tiny, table, "--trainer.max_epochs=1"))
    assert cli.run_dir == Path("runs/lightgcn-log/1") and (cli.run_dir / "metrics.json").is_file()


LINES = GOOD.splitlines()


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ("", ["is empty"]),
        ("user,item,rating\n", ["has a header line and no rows"]),
        (GOOD.replace("user,item", "user,thing", 1), ["no column 'item'", "found: user, thing, rating, timestamp"]),
        ("\n".join([*LINES[:6], "3,3,good,5", *LINES[6:]]), ["line 7", "column 'rating'", "'good'"]),
        ("\n".join([*LINES[:4], ",3,5,5", *LINES[4:]]), ["line 5", "column 'user'", "no user id"]),
        ("\n".join([*LINES[:8], "3,3,5,5,6", *LINES[8:]]), ["line 9", "5 fields where the header has 4"]),
        ("1,2,3,4\n5,6,7,8\n", ["holds numbers, not names", "columns="]),
        ("user,item\n" + "".join(f"1,{i}\n" for i in range(20)), ["one user, 1"]),
    ],
    ids="empty header column rating user_id fields no_header one_user".split(),
)
def test_a_bad_table(tiny, table, content, parts):
    table.write_text(content)
    message = refused(table.parent, of_table(tiny, table))
    for part in parts if "one user" in parts[0] else [*parts, "log.csv"]:
        assert part in message


def test_a_missing_or_binary_file(tiny, table):
    assert "no such file (did you mean 'log.csv'?)" in refused(table.parent, of_table(tiny, table.with_name("lag.csv")))
    assert "is a folder" in refused(table.parent, of_table(tiny, table.parent))
    table.write_bytes(bytes(range(256)) * 4)
    assert "is a binary file" in refused(table.parent, of_table(tiny, table))
    fake = table.rename(table.with_suffix(".parquet"))
    assert "is named .parquet but is no Parquet file" in refused(table.parent, of_table(tiny, fake))


def test_shares_without_a_split_are_those_of_the_usual_one(tiny, table):
    cli = main("fit", of_table(tiny, table, "--trainer.max_epochs=1", "--data.split.ratios=[0.6,0.2,0.2]"))
    assert cli.datamodule.prepared.summary["split"] == "0.6/0.2/0.2 of each user, time order"
    split = yaml.safe_load((cli.run_dir / "config.yaml").read_text())["data"]["init_args"]["split"]["init_args"]
    assert (split["ratios"], split["order"]) == ([0.6, 0.2, 0.2], "time")


@pytest.mark.parametrize("option", ["barebones=true", "enable_checkpointing=false"])
def test_a_training_that_keeps_nothing_is_refused(tiny, table, option):
    message = refused(table.parent, of_table(tiny, table, f"--trainer.{option}"), ConfigError)
    assert f"--trainer.{option.replace('=', ' ')}: no checkpoint would be kept" in message


def test_fewer_items_than_k(tiny, table):
    message = refused(table.parent, of_table(tiny, table, "--training.ks=[5,50]"))
    assert "12 items" in message and "K = 50" in message and "--training.ks" in message


def test_filters_and_splits_that_leave_nothing(tiny, table):
    here = table.parent
    core = '--data.filters=[{"class_path": "KCore", "init_args": {"users": 50}}]'
    assert "no interactions are left after the filters" in refused(here, of_table(tiny, table, core))
    one = ["--data.split=RatioSplit", "--data.split.ratios=[0.99999,0.00001,0]", "--data.split.by=all"]
    table.write_text("\n".join(LINES[:2] + ["2,2,3,4"]))
    message = refused(here, of_table(tiny, table, *one))
    assert "part" in message and "empty" in message
    table.write_text(GOOD.replace("timestamp", "when", 1))
    message = refused(here, of_table(tiny, table, "--data.split=TemporalSplit"))
    assert "timestamp" in message


def test_an_option_of_a_class_that_was_not_said(here) -> None:
    words = ["--data", "GraphDataModule", "--data.source.path", "log.csv", "--model", "MF"]
    assert "could take path; say which before: --data.source CLASS" in refused(here, words, RecGNNError)


@pytest.mark.parametrize(
    ("option", "parts"),
    [
        ("--trainer.max_epoch=3", ["--trainer.max_epoch", "did you mean '--trainer.max_epochs'?"]),
        ("--model.embeding_dim=3", ["embeding_dim", "LightGCN", "did you mean 'embedding_dim'?"]),
        ("--data.batch_sise=3", ["batch_sise", "did you mean 'batch_size'?"]),
        ("--run_dri=x", ["--run_dri", "did you mean '--run_dir'?"]),
        ("--model=LihgtGCN", ["LihgtGCN", "did you mean 'LightGCN'?"]),
        ("--model.embedding_dim=many", ["LightGCN.embedding_dim is many; expected a whole number"]),
        ("--training.loss=BRP", ["no loss is named BRP", "did you mean 'BPR'?"]),
        ("--training.loss={class_path: SampledSoftmax, init_args: {temprature: 1}}", ["temprature", "'temperature'?"]),
        ("--training.negatives=all", ["takes no `all`, which is for autoencoders"]),
        ("--config=tini.yaml", ["tini.yaml: no such configuration file", "did you mean 'tiny.yaml'?"]),
        ("--config=broken.yaml", ["broken.yaml"]),
        ("--ckpt_path=last", ["no run", "--run_dir"]),
        ("--ckpt_path=gone.ckpt", ["gone.ckpt: no such checkpoint"]),
        ("--trainer.precision=15", ["precision", "15"]),
        ("--trainer.accelerator=tpus", ["accelerator", "tpus"]),
        ("--trainer.max_epochs=-3", ["max_epochs", "-3"]),
        (f"--trainer.devices={10**30}", ["trainer"]),
    ],
)
def test_a_bad_option(tiny, here, option, parts):
    shutil.copy(tiny, here / "tiny.yaml")
    (here / "broken.yaml").write_text("model: [1\n")
    message = refused(here, ["--config", "tiny.yaml", option], RecGNNError)
    for part in parts:
        assert part in message, message


def test_no_data_and_no_model(here):
    assert "--config conf/ngcf.yaml" in refused(here, [], ConfigError)


# ---- runs and checkpoints


@pytest.fixture
def run(tiny_run, here) -> Path:
    """A copy of a finished run."""
    shutil.copytree(tiny_run, here / "run")
    return here / "run"


class Payload:
    def __reduce__(self):
        return os.mkdir, ("executed",)


def test_a_damaged_checkpoint(run, tiny):
    best = run / "checkpoints/best.ckpt"
    best.write_bytes(best.read_bytes()[: best.stat().st_size // 2])
    with pytest.raises(RunError, match="best.ckpt: is damaged"):
        load(run)
    assert "is damaged" in refused(run.parent, ["--run", str(run)], RunError, "test")
    last = run / "checkpoints/last.ckpt"
    for content in (b"", b"x", last.read_bytes()[:-100], last.read_bytes()[:1000]):
        last.write_bytes(content)
        options = ["--config", str(tiny), "--run_dir", str(run), "--ckpt_path", "last"]
        assert "last.ckpt: is damaged" in refused(run.parent, options, RunError)


@pytest.mark.parametrize("how", ["torch", "pickle"])
def test_a_malicious_checkpoint_is_refused(run, tiny, how):
    content = {"state_dict": {}, "epoch": 1, "x": Payload()}
    for name in ("best", "last"):
        path = run / "checkpoints" / f"{name}.ckpt"
        if how == "pickle":
            path.write_bytes(pickle.dumps(content))
        else:
            torch.save(content, path)
    with pytest.raises(RunError, match="refused.*nothing was executed"):
        load(run)
    here = run.parent
    assert "refused" in refused(here, ["--run", str(run)], RunError, "test")
    for option in ("last", str(run / "checkpoints/best.ckpt")):
        options = ["--config", str(tiny), "--run_dir", str(run), "--ckpt_path", option, "--overwrite=true"]
        assert "refused" in refused(here, options, RunError)
    assert not (here / "executed").exists()


def test_a_folder_that_is_no_run(run):
    here = run.parent
    with pytest.raises(RunError, match="no such run folder; run folders nearby: .*run"):
        load(here / "rum")
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(RunError, match="run: has no checkpoint"):
        load(run)
    assert "has no checkpoint" in refused(here, ["--run", str(run)], RunError, "validate")
    (run / "config.yaml").unlink()
    with pytest.raises(RunError, match="is not a run folder"):
        load(run)


def test_a_checkpoint_of_another_model(run, tiny):
    shutil.rmtree(run / "figures")
    options = ["--config", str(tiny), "--run_dir", str(run), "--ckpt_path", "last", "--trainer.max_epochs=5"]
    told = "checkpoint is of another model or other data"
    for other, line in (("--model.embedding_dim=4", told), ("--model=NGCF", told),
                        ("--data.source.num_users=30", "trained on other users and items")):  # fmt: skip
        assert line in refused(run.parent, [*options, other], RunError)


def test_a_run_dir_that_cannot_be(tiny, here):
    (here / "file").write_text("x")
    message = refused(here, ["--config", str(tiny), "--run_dir", str(here / "file/run")], RunError)
    assert "cannot be written" in message and "a file stands where a folder is needed" in message


def test_no_epoch_at_all(tiny, here):
    assert "max_epochs is 0" in refused(here, ["--config", str(tiny), "--trainer.max_epochs=0"], ConfigError)


def test_damaged_tables_of_a_run(run):
    (run / "vocabulary/items.parquet").write_bytes(b"PAR1")
    with pytest.raises(RunError, match="items.parquet: is damaged"):
        load(run)
    shutil.rmtree(run / "vocabulary")
    with pytest.raises(RunError, match="vocabulary"):
        load(run)


def test_a_config_that_is_not_ours_is_kept(tiny, here):
    (here / "config.yaml").write_text("mine: 1\n")
    (here / "figures").mkdir()
    (here / "figures/mine.png").write_text("x")
    assert "not of a run" in refused(here, ["--config", str(tiny), "--run_dir", str(here)], RunError)


def test_a_mistake_with_overwrite_keeps_the_old_run(tiny, run):
    contents = {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}
    refused(run.parent, ["--config", str(tiny), "--run_dir", str(run), "--overwrite=true", "--training.ks=[500]"])
    assert {p: p.read_bytes() for p in run.rglob("*") if p.is_file()} == contents


# ---- the commands, as a person meets them


def test_recommend_and_similar(entry, tiny_run, here):
    def error(*options: object) -> str:
        code, out, err = entry(*options)
        assert code == 2 and not out and err.startswith("error: ") and err.count("\n") == 1
        assert not list(here.iterdir())
        return err

    run = ("--run", tiny_run)
    assert "unknown item 999: 40 items are known (1 to 40)" in error("similar", *run, "--items", "1,999")
    message = error("recommend", *run, "--users", "5,77,78")
    assert "unknown users 77, 78 (2 of 3): 61 users are known" in message and "nearest: 61" in message
    assert "'bob' is no id here" in error("recommend", *run, "--users", "bob")
    assert "no ids given" in error("recommend", *run, "--users", ",")
    assert "k must be at least 1" in error("recommend", *run, "--k", 0)
    assert "ends in .csv or .parquet" in error("recommend", *run, "--output", "x.xlsx")
    assert "gone.txt: no such file of ids" in error("recommend", *run, "--users_file", "gone.txt")
    assert "needs --items" in error("similar", *run)
    assert "--run" in error("recommend")
    assert "--user" in error("recommend", *run, "--user", "1")
    assert "no such run folder" in error("test", "--run", "runs/none")
    assert "ends in .json" in error("test", *run, "--output", "metrics.txt")


# ---- a full disk


def full(*args, **kwargs):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("target", ["torch.save", "os.replace", "pandas.DataFrame.to_csv"])
def test_a_full_disk_while_training(tiny, here, monkeypatch, target):
    argv = ["--config", str(tiny)]
    monkeypatch.setattr(target, full)
    assert "cannot be written: No space left on device" in refused(here, argv, RunError)


def test_a_full_disk_later_keeps_the_last_checkpoint(tiny, here, monkeypatch):
    save, calls = torch.save, []

    def later(*args, **kwargs):
        calls.append(1)
        return full() if len(calls) > 3 else save(*args, **kwargs)

    monkeypatch.setattr(torch, "save", later)
    with pytest.raises(RunError, match="cannot be written: No space left"):
        main("fit", ["--config", str(tiny), "--run_dir", "run"])
    monkeypatch.undo()
    os.chdir(here)
    assert runs.read_checkpoint("run/checkpoints/last.ckpt")["state_dict"]
    assert not [p for p in Path("run").rglob(".tmp-*")]
    cli = main("fit", ["--config", str(tiny), "--run_dir", "run", "--ckpt_path", "last"])
    assert cli.trainer.current_epoch == 3


def test_a_full_disk_while_recommending(entry, tiny_run, here, monkeypatch):
    for name in ("recs.csv", "recs.parquet"):
        with monkeypatch.context() as patch:
            patch.setattr("os.replace", full)
            code, _, err = entry("recommend", "--run", tiny_run, "--output", name)
        assert code == 2 and f"{name}: cannot be written: No space left on device" in err
        assert not list(here.iterdir())
    code, _, err = entry("recommend", "--run", tiny_run, "--output", tiny_run / "config.yaml/recs.csv")
    assert code == 2 and "recs.csv: cannot be written" in err


def test_a_real_limit_on_file_size(start, tiny, here):
    process = start("fit", "--config", tiny, "--model.embedding_dim=64", cwd=here, file_size=50_000)
    _, err = process.communicate(timeout=600)
    assert process.returncode == 2, err
    assert err.startswith("error: ") and err.count("\n") == 1 and ".ckpt: cannot be written" in err
    assert not list(here.iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "^EventTable: give path, or train with val and test$"),
        (["--data.source.path=x.csv", "--data.source.keep=x >"], "^keep: 'x >' is no rule"),
    ],
)
def test_what_a_source_refuses_is_a_line(options, message, here) -> None:
    with pytest.raises(RecGNNError, match=message):
        main("fit", ["--data=CTRDataModule", "--data.source=EventTable", *options, "--model=LR"])


def test_a_section_that_is_null_is_a_line(tiny, here) -> None:
    with pytest.raises(RecGNNError, match="training is null"):
        main("fit", [f"--config={tiny}", "--training=null"])
