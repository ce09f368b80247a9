"""All commands on a CTR model: fit, test, predict, resume, two processes, and a person's mistakes."""

from __future__ import annotations

import json
import shutil
import signal
from importlib import import_module
from inspect import signature
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import log_loss, roc_auc_score

from recgnn import load
from recgnn.cli.entry import main
from recgnn.data.clicks import loaders as event_batches
from recgnn.data.clicks import prepared as prepared_events
from recgnn.data.clicks.encoders import KNOWN, MISSING, UNKNOWN
from recgnn.data.clicks.events import events_of
from recgnn.errors import ConfigError
from recgnn.serving import clicks as ctr_serving
from recgnn.training import run_folder as runs

CONFIG = """\
seed_everything: 3
data:
  class_path: CTRDataModule
  init_args:
    source: {class_path: EventTable, init_args: {path: events.csv}}
    label: clicked
    fields: {user: categorical, item: categorical, price: numeric, tags: {kind: multi, max_values: 3}}
    batch_size: 64
model:
  class_path: DeepFM
  init_args: {embedding_dim: 4, hidden_dims: [8], dropout: 0.2}
training: {l2: 1.0e-4, lr: 0.02}
trainer: {accelerator: cpu, max_epochs: 6, enable_progress_bar: false}
"""
KILLER = """\
import os, signal
from lightning import Callback

class Kill(Callback):
    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.current_epoch == 3 and batch_idx == 2:
            os.kill(os.getpid(), signal.SIGKILL)
"""


def table(n: int = 803) -> pd.DataFrame:
    """Users like items of their own parity; a price with gaps, some tags."""
    random = np.random.default_rng(0)
    user, item = random.integers(30, size=n), random.integers(20, size=n)
    noise = random.random(n) < 0.1
    return pd.DataFrame(
        {
            "user": [f"u{u}" for u in user],
            "item": item,
            "price": np.where(random.random(n) < 0.1, np.nan, np.round(random.normal(5, 2, n), 2)),
            "tags": random.choice(["a|b", "b", "", "c|a"], n),
            "clicked": ((user % 2 == item % 2) ^ noise).astype(int),
        }
    )


@pytest.fixture(scope="module")
def done(tmp_path_factory, start, drawing) -> Path:
    """A folder with a run, whose figures are drawn, and the same run killed in its fourth epoch."""
    folder = tmp_path_factory.mktemp("ctr")
    table().to_csv(folder / "events.csv", index=False)
    (folder / "ctr.yaml").write_text(CONFIG)
    (folder / "killer.py").write_text(KILLER)
    killed = start(
        *("fit", "--config", "ctr.yaml", "--run_dir", "killed"),
        "--trainer.callbacks+={class_path: killer.Kill}",
        cwd=folder,
    )
    with pytest.MonkeyPatch.context() as patch, drawing():
        patch.chdir(folder)
        main("fit", ["--config", "ctr.yaml", "--run_dir", "run"])
    _, err = killed.communicate(timeout=600)
    assert killed.returncode == -signal.SIGKILL, err
    return folder


@pytest.fixture
def inside(done, monkeypatch) -> Path:
    monkeypatch.chdir(done)
    return done


def content(run: Path | str) -> dict:
    return json.loads((Path(run) / "metrics.json").read_text())


def test_the_run_and_its_figures(inside) -> None:
    found = content("run")
    assert found["test"]["auc"] > 0.8 and found["test"].keys() == found["val"].keys()
    assert found["dataset"]["label"] == "clicked" and found["dataset"]["fields"] == 4
    for name in ("roc", "precision_recall", "calibration", "learning_curves"):
        assert (inside / f"run/figures/{name}.png").stat().st_size > 5000


def test_test_measures_what_scikit_learn_does(inside, tmp_path) -> None:
    cli = main("test", ["--run", "run", "--output", str(tmp_path / "one.json")])
    one = json.loads((tmp_path / "one.json").read_text())["test"]
    assert one == pytest.approx(content("run")["test"])
    part = cli.datamodule.split.split(table())
    rows = table()[part == 2]
    chances = load("run").predict(rows)["prediction"]
    assert one["auc"] == pytest.approx(roc_auc_score(rows["clicked"], chances), abs=1e-6)
    assert one["logloss"] == pytest.approx(log_loss(rows["clicked"], chances), abs=1e-5)


def test_a_killed_run_goes_on_as_if_it_had_not_been(inside, tmp_path) -> None:
    run = shutil.copytree("killed", tmp_path / "killed")
    main("fit", ["--config", "ctr.yaml", "--run_dir", str(run), "--ckpt_path", "last"])
    for name in ("val", "test", "best_epoch", "epochs"):
        assert content(run)[name] == content("run")[name]


def test_refit(inside, tmp_path) -> None:
    """The second half has the calibration of the first one, which alone has a validation part."""
    options = ["--refit=true", "--trainer.max_epochs=3", "--run_dir", str(tmp_path / "refit")]
    main("fit", ["--config", "ctr.yaml", "--training.calibrate=platt", *options])
    found, first = content(tmp_path / "refit"), content(tmp_path / "refit/selection")
    assert found["refit"]["epochs"] == first["best_epoch"] + 1 and first["test"] == {}
    assert found["dataset"]["train"] == first["dataset"]["train"] + first["dataset"]["val"]
    assert first["calibration"]["method"] == "platt" and first["baselines"]["constant"]["val"]["auc"] == 0.5
    both = [runs.read_checkpoint(runs.best_checkpoint(tmp_path / name)) for name in ("refit", "refit/selection")]
    assert torch.equal(*(checkpoint["state_dict"]["model.calibration"] for checkpoint in both))


ROWS = """\
item,user,price,tags,note
3,u1,4.5,a|b,007
3,u1,,,x
99,nobody,4.5,zzz,y
"""


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_predict_takes_raw_rows(inside, entry, tmp_path, suffix) -> None:
    source, target = tmp_path / f"rows{suffix}", tmp_path / "out.parquet"
    frame = pd.read_csv(StringIO(ROWS), dtype={"note": str})
    frame.to_csv(source, index=False) if suffix == ".csv" else frame.to_parquet(source)
    code, _, err = entry("predict", "--run", "run", "--input", source, "--output", target)
    assert code == 0 and "missing columns" not in err
    found = pd.read_parquet(target)
    assert list(found.columns) == ["item", "user", "price", "tags", "note", "prediction"]
    assert found["note"].tolist() == ["007", "x", "y"] and found["prediction"].between(0, 1).all()
    np.testing.assert_allclose(found["prediction"], load("run").predict(frame)["prediction"], atol=1e-6)
    assert found["prediction"].nunique() == 3


def test_predict_without_a_column_without_rows_and_without_anything(inside, entry, tmp_path) -> None:
    frame = pd.read_csv(StringIO(ROWS))
    frame.drop(columns="price").to_csv(tmp_path / "less.csv", index=False)
    code, out, err = entry("predict", "--run", "run", "--input", tmp_path / "less.csv")
    assert code == 0 and "missing columns, taken as having no value: price" in err
    expected = load("run").predict(frame.assign(price=np.nan))["prediction"]
    np.testing.assert_allclose(pd.read_csv(StringIO(out))["prediction"], expected, rtol=1e-3)
    frame.iloc[:0].to_csv(tmp_path / "none.csv", index=False)
    code, out, _ = entry("predict", "--run", "run", "--input", tmp_path / "none.csv")
    assert code == 0 and out.strip() == "item,user,price,tags,note,prediction"
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    code, _, err = entry("predict", "--run", "run", "--input", tmp_path / "other.csv")
    assert code == 2 and "other.csv: no column 'user'; found: a, b; name it with --user or --item" in err


def test_new_users_are_rows_and_not_histories(inside, entry) -> None:
    code, _, err = entry("recommend", "--run", "run", "--history", "3")
    assert code == 2 and "DeepFM knows users by their fields" in err and err.count("\n") == 1


MISTAKES = [
    ("clicked", lambda f: f.assign(clicked=f["clicked"] * 2), [], ["row ", "column 'clicked': 2 is no label"]),
    ("one class", lambda f: f.assign(clicked=1), [], ["labels (clicked) are 1"]),
    ("text", lambda f: f.assign(price="cheap"), [], ["column 'price'", "'cheap' is no number"]),
    ("label", None, ["--data.label=clickd"], ["did you mean 'clicked'"]),
    ("rule", None, ["--data.label=item >= 100"], ["labels (item >= 100) are 0"]),
    ("field", None, ["--data.fields={usr: categorical}"], ["no column 'usr'", "did you mean 'user'"]),
    ("its label", None, ["--data.fields={clicked: categorical}"], ["'clicked' holds the label and is no field"]),
    ("cross", None, ["--model=WideDeep", "--model.crosses=[[user, pric]]"], ["no field 'pric'", "'price'"]),
    ("rare", None, ["--data.fields={user: {min_count: 9999}}"], ["'user': no value of train is kept"]),
    ("file", None, ["--data.split=RatioSplit", "--data.split.by=user", "--data.source.path=nobody.csv"], ["nobody"]),
    ("monitor", None, ["--trainer.callbacks=[{class_path: EarlyStopping, init_args: {monitor: val/ndcg@10}}]"],
     ["val/ndcg@10, which is not measured"]),
]  # fmt: skip


@pytest.mark.parametrize(("change", "options", "parts"), [m[1:] for m in MISTAKES], ids=[m[0] for m in MISTAKES])
def test_mistakes_are_one_line(entry, here, change, options, parts) -> None:
    frame = table(200)
    (change(frame) if change else frame).to_csv("events.csv", index=False)
    Path("ctr.yaml").write_text(CONFIG)
    before = sorted(p.name for p in here.iterdir())
    code, _, err = entry("fit", "--config", "ctr.yaml", *options)
    assert code == 2 and err.startswith("error: ") and err.count("\n") == 1, err
    for part in parts:
        assert part in err
    assert sorted(p.name for p in here.iterdir()) == before


def test_a_corrupt_table(entry, here) -> None:
    table(200).to_parquet("events.parquet")
    content = bytearray(Path("events.parquet").read_bytes())
    content[200:400] = bytes(200)
    Path("events.parquet").write_bytes(content)
    Path("ctr.yaml").write_text(CONFIG.replace("events.csv", "events.parquet"))
    code, _, err = entry("fit", "--config", "ctr.yaml")
    assert code == 2 and "events.parquet" in err and err.count("\n") == 1
    assert sorted(p.name for p in here.iterdir()) == ["ctr.yaml", "events.parquet"]


def test_fields_are_guessed_and_told(here, capsys) -> None:
    table(400).to_csv("events.csv", index=False)
    Path("ctr.yaml").write_text(CONFIG)
    main("fit", ["--config", "ctr.yaml", "--data.fields=null", "--trainer.max_epochs=1", "--model=LR"])
    out = capsys.readouterr().out
    assert "the fields are guessed" in out and "price: numeric" in out and "tags: multi" in out
    assert "user: categorical (32 rows)" in out


@pytest.mark.parametrize("half", ["run", "tiny_run"])
def test_a_checkpoint_holds_the_arguments_of_its_model(inside, half, request) -> None:
    """A model of events is given nothing of users and items, and one of a graph nothing of fields."""
    run = Path(half) if half == "run" else request.getfixturevalue(half)
    about = runs.read_checkpoint(run / "checkpoints" / runs.BEST)["recgnn"]
    module, _, name = about["model"].rpartition(".")
    arguments = set(signature(getattr(import_module(module), name)).parameters)
    assert set(about["arguments"]) == arguments
    assert ("field_dims" in arguments) == (half == "run") != ("num_users" in arguments)


def test_unseen_and_absent_values_have_rows_of_their_own(inside) -> None:
    """Three rows by hand: a user, an item and a tag that train has; nobody; nothing at all."""
    trained = load("run")
    fields = trained.encoders.encoders
    user, item, tag = (fields[n].values.get_loc(v) for n, v in (("user", "u1"), ("item", "3"), ("tags", "b")))
    price = (4.5 - fields["price"].mean) / fields["price"].scale
    assert [2 + len(fields[n].values) for n in ("user", "item", "tags")] == [
        trained.encoders.dims[i] for i in (0, 1, 3)
    ]
    rows = [  # user, item, price, three tags
        [KNOWN + user, KNOWN + item, 0, KNOWN + tag, MISSING, MISSING],
        [UNKNOWN, UNKNOWN, 0, UNKNOWN, MISSING, MISSING],
        [MISSING, MISSING, MISSING, MISSING, MISSING, MISSING],
    ]
    starts = np.cumsum([0, *trained.encoders.dims])[[0, 1, 2, 3, 3, 3]]
    values = torch.tensor([[1, 1, x, 1, 0, 0] for x in (price, price, 1)], dtype=torch.float32)
    expected = torch.sigmoid(trained.model(torch.from_numpy(np.array(rows) + starts), values))
    frame = pd.DataFrame(
        {"user": ["u1", "nobody", None], "item": [3, 999, None], "price": [4.5, 4.5, None], "tags": ["b", "?", None]}
    )
    found = trained.predict(frame)["prediction"]
    np.testing.assert_allclose(found, expected.detach(), atol=1e-6)
    assert found.nunique() == 3


def test_blocks_of_rows_are_the_whole(inside, monkeypatch) -> None:
    frame = table(11)
    whole = load("run").predict(frame)["prediction"]
    monkeypatch.setattr(ctr_serving, "BLOCK", 4)
    np.testing.assert_allclose(load("run").predict(frame.set_index(frame.index + 7))["prediction"], whole, atol=1e-6)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_text_where_a_number_is_expected(inside, entry, tmp_path, suffix) -> None:
    source, target = tmp_path / f"rows{suffix}", tmp_path / "out.csv"
    frame = pd.DataFrame({"user": ["u1"] * 3, "item": [1, 2, 3], "price": ["4", "", "dear"]})
    frame.to_csv(source, index=False) if suffix == ".csv" else frame.to_parquet(source)
    code, out, err = entry("predict", "--run", "run", "--input", source, "--output", target)
    assert code == 2 and "row 3, column 'price': 'dear' is no number" in err and err.count("\n") == 1
    assert not out and sorted(p.name for p in tmp_path.iterdir()) == [source.name]


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        ("3,4,4,3", "categorical"),
        ("x,y,,x", "categorical"),
        ("1.50,2.5,2.5,1.50", "categorical"),
        ("1.5,NA,2.5,1.5", "numeric"),
    ],
)
def test_a_table_means_to_predict_what_it_meant_to_fit(column, kind, entry, here) -> None:
    values = column.split(",") * 50
    lines = [f"{value},{number % 2}" for number, value in enumerate(values)]
    Path("events.csv").write_text("\n".join(["a,clicked", *lines]) + "\n")
    Path("ctr.yaml").write_text(CONFIG)
    options = ["--model=LR", f"--data.fields={{a: {kind}}}", "--trainer.max_epochs=1", "--run_dir=run"]
    data = main("fit", ["--config", "ctr.yaml", *options]).datamodule
    part = data.split.split(pd.DataFrame(index=range(len(values))))
    test = data.prepared.test
    x = None if test.values is None else torch.from_numpy(test.values)
    expected = load("run").model.predict_events(torch.from_numpy(test.ids), x)
    code, _, err = entry("predict", "--run", "run", "--input", "events.csv", "--output", "out.csv")
    assert code == 0, err
    found = pd.read_csv("out.csv")["prediction"][part == 2]
    np.testing.assert_allclose(found, expected, atol=1e-5)


SYNTHETIC = """\
seed_everything: 3
data:
  class_path: CTRDataModule
  init_args:
    source: {class_path: SyntheticLog, init_args: {num_users: 40, num_items: 30, seed: 3}}
    label: rating >= 4
    batch_size: 64
trainer: {accelerator: cpu, max_epochs: 2, enable_progress_bar: false}
"""


@pytest.mark.parametrize(
    "options",
    [
        ["--model=WideDeep", "--model.crosses=[[segment, genre]]", "--model.hidden_dims=[8]"],
        ["--model=Poly2", "--model.max_crosses=64", "--training.lr=0.02"],
        ["--model=FFM", "--training.l2_on=batch", "--model.embedding_dim=4"],
        ["--model=DCNv2", "--model.structure=stacked", "--model.hidden_dims=[8]", "--model.batch_norm=true"],
    ],
)
def test_a_log_with_its_tables(options, here) -> None:
    """Fields are guessed, times among them; the loaded model gives what was measured."""
    Path("ctr.yaml").write_text(SYNTHETIC)
    cli = main("fit", ["--config", "ctr.yaml", *options, "--run_dir=run"])
    frame, _, _ = events_of(cli.datamodule.source.read())
    rows = frame[cli.datamodule.split.split(frame) == 2]
    found = load("run").predict(rows.drop(columns="rating"))["prediction"]
    truth = rows["rating"] >= 4
    assert content("run")["test"]["auc"] == pytest.approx(roc_auc_score(truth, found), abs=1e-6)
    assert content("run")["test"]["logloss"] == pytest.approx(log_loss(truth, found), abs=1e-5)
    users, weights = [], []
    for _, own in rows.assign(y=truth, p=found).groupby("user"):
        if own["y"].nunique() == 2:
            users.append(roc_auc_score(own["y"], own["p"]))
            weights.append(len(own))
    assert content("run")["test"]["gauc"] == pytest.approx(np.average(users, weights=weights), abs=1e-6)


@pytest.mark.parametrize(
    "option",
    ["--data.fields={user: {kind: time, parts: []}}", "--data.fields={tags: {kind: multi, separator: ''}}",
     "--data.label=item >= 4..5"],
)  # fmt: skip
def test_more_mistakes(option, entry, here) -> None:
    table(200).to_csv("events.csv", index=False)
    Path("ctr.yaml").write_text(CONFIG)
    code, _, err = entry("fit", "--config", "ctr.yaml", option)
    assert code == 2 and err.startswith("error: ") and err.count("\n") == 1, err


def test_a_field_named_twice(entry, here) -> None:
    table(200).to_csv("events.csv", index=False)
    Path("ctr.yaml").write_text(CONFIG.replace("{user: categorical, ", "{user: categorical, user: multi, "))
    code, _, err = entry("fit", "--config", "ctr.yaml")
    assert code == 2 and "ctr.yaml, line 7" in err and "'user' stands twice" in err and err.count("\n") == 1


LARGE = ["--training.table_optimizer=rowwise_adagrad", "--training.table_lr=0.1", "--training.l2=0"]
LARGE += ["--model.dropout=0"]


def test_sparse_tables_are_resumed_too(inside, start, tmp_path) -> None:
    """With events that are read from disk in chunks and the optimizer of rows: killed, and gone on with."""
    (tmp_path / "disk.py").write_text(
        "import sys\n"
        "from recgnn.data.clicks import loaders as event_batches, prepared as prepared_events\n"
        "event_batches.IN_MEMORY, event_batches.CHUNK, event_batches.TOGETHER, prepared_events.MAPPED = 0, 32, 4, 0\n"
        + KILLER
    )
    argv = ["--config", str(inside / "ctr.yaml"), *LARGE, f"--data.source.path={inside / 'events.csv'}"]
    kill = "--trainer.callbacks+={class_path: disk.Kill}"
    first = start("fit", *argv, "--run_dir", "killed", kill, cwd=tmp_path)
    _, err = first.communicate(timeout=600)
    assert first.returncode == -signal.SIGKILL, err
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        patch.setattr(event_batches, "IN_MEMORY", 0), patch.setattr(event_batches, "CHUNK", 32)
        patch.setattr(event_batches, "TOGETHER", 4), patch.setattr(prepared_events, "MAPPED", 0)
        main("fit", [*argv, "--run_dir", "whole"])
        main("fit", [*argv, "--run_dir", "killed", "--ckpt_path", "last"])
    for name in ("val", "test", "best_epoch", "epochs"):
        assert content(tmp_path / "killed")[name] == content(tmp_path / "whole")[name]
    assert content(tmp_path / "whole")["test"]["auc"] > 0.75


def test_two_processes_move_sparse_tables_alike(inside, together, tmp_path) -> None:
    """One step an epoch on 322 of 643 events, halved among two: the weights of one process, but for sums in another
    order."""
    argv = ["--config", str(inside / "ctr.yaml"), *LARGE[:3], f"--data.source.path={inside / 'events.csv'}"]
    argv += ["--model=LR", "--trainer.max_epochs=3", "--trainer.callbacks=null", "--data.batch_size=1000"]
    argv += ["--data.epochs_per_pass=2"]
    together("fit", *argv, "--run_dir", "two", cwd=tmp_path)
    main("fit", [*argv, "--run_dir", str(tmp_path / "one")])
    two, one = (runs.read_checkpoint(tmp_path / name / "checkpoints" / runs.LAST) for name in ("two", "one"))
    moved = one["state_dict"]["model.linear.weight"]
    assert moved.abs().median() > 0.05
    gaps = (two["state_dict"]["model.linear.weight"] - moved).abs()
    assert gaps.mean() < 0.005 and gaps.max() < 0.05
    sums = [c["optimizer_states"][0]["state"][1]["sum"] for c in (two, one)]
    torch.testing.assert_close(*sums, atol=0.02 * float(sums[1].max()), rtol=0.1)


def test_numbers_are_predicted_too(here, capsys, drawing) -> None:
    """FM for regression: the price from the user, the item and the tags; measured as numpy does."""
    frame = table(600).assign(price=lambda f: f["item"] % 3 + f["user"].str[1:].astype(int) / 10)
    frame.to_csv("events.csv", index=False)
    Path("ctr.yaml").write_text(CONFIG)
    argv = ["--config", "ctr.yaml", "--model=FM", "--training.lr=0.05", "--data.label=price", "--run_dir=run"]
    argv += ["--data.fields={user: categorical, item: categorical}", "--trainer.max_epochs=20"]
    with pytest.raises(ConfigError, match="the training is for regression and the data for clicks"):
        main("fit", [*argv, "--data.label=clicked", "--training=RegressionTraining", "--run_dir=other"])
    with drawing():
        cli = main("fit", [*argv, "--data.task=regression"])
    found = content("run")
    rows = frame[cli.datamodule.split.split(frame) == 2]
    predicted = load("run").predict(rows)["prediction"]
    assert found["test"]["rmse"] == pytest.approx(np.sqrt(np.square(predicted - rows["price"]).mean()), rel=1e-4)
    assert found["test"]["rmse"] < 0.3 * rows["price"].std()
    assert Path("run/figures/predicted_by_label.png").stat().st_size > 5000
    assert sum(g["rows"] for g in found["groups"]["by_label"]) == len(rows)


def test_auc_by_the_values_of_a_field(inside, tmp_path) -> None:
    main("test", ["--run", "run", "--output", str(tmp_path / "one.json")])
    groups = content("run")["groups"]["by_item"]
    cli = main("test", ["--run", "run"])
    rows = table()[cli.datamodule.split.split(table()) == 2]
    rows = rows.assign(chance=load("run").predict(rows)["prediction"].to_numpy())
    assert {g["group"] for g in groups} <= {str(i) for i in range(20)} and sum(g["rows"] for g in groups) == len(rows)
    for group in groups:
        own = rows[rows["item"] == int(group["group"])]
        assert len(own) == group["rows"]
        if own["clicked"].nunique() == 2:
            assert group["auc"] == pytest.approx(roc_auc_score(own["clicked"], own["chance"]), abs=1e-6)
    assert (inside / "run/figures/auc_by_item.png").is_file()
