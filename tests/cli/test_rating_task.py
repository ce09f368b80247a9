"""Runs that predict ratings: every command, what is measured, several processes, and going on after a kill."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from recgnn import load
from recgnn.cli.entry import main
from recgnn.training import run_folder as runs

BASE = """\
seed_everything: 7
data:
  class_path: GraphDataModule
  init_args:
    source: {class_path: TableLog, init_args: {path: log.csv}}
    split: {class_path: RatioSplit, init_args: {ratios: [0.7, 0.1, 0.2], by: all}}
    batch_size: 16
    cache_dir: cache
trainer: {accelerator: cpu, max_epochs: 4, enable_progress_bar: false, logger: false}
"""
AUTOREC = ["--model=AutoRec", "--model.hidden_dims=[8]", "--training.l2=0.5", "--training.lr=0.03"]
MODELS = {
    "item": [*AUTOREC, "--model.by=item", "--training.cold_rating=2.25"],
    "mf": ["--model=MF", "--training=RatingTraining", "--model.embedding_dim=4", "--model.biases=true"]
    + ["--training.lr=0.05", "--training.l2=0.01"],
}
KILLER = """\
import os, signal
from lightning import Callback

class Kill(Callback):
    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.current_epoch == 3 and batch_idx == 1:
            os.kill(os.getpid(), signal.SIGKILL)
"""
KILLED = ["--model=CDAE", "--model.hidden_dim=8", "--model.corruption_rate=0.5", "--training.num_negatives=2"]
KILLED += ["--training.l2=0.1", "--training.lr=0.03", "--training.ks=[5,10]"]
LONGER = "--trainer.max_epochs=6"


def write_log(path: Path) -> None:
    """40 users rate 30 items with half stars; items 31 to 60 have a rating or two, so that some are in test alone."""
    random = np.random.default_rng(4)
    rows = {}
    for user in range(1, 41):
        for item in random.choice(np.arange(1, 31), random.integers(6, 16), replace=False):
            liking = 3 + 1.2 * np.sin(user * 1.7 + item % 4) + random.normal(0, 0.4)
            rows[user, int(item)] = np.clip(round(liking * 2) / 2, 0.5, 5)
    for item in range(31, 61):
        rows[int(random.integers(1, 41)), item] = random.integers(1, 11) / 2
    frame = pd.DataFrame([(*pair, rating) for pair, rating in rows.items()], columns=["user", "item", "rating"])
    frame.to_csv(path, index=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, start) -> Path:
    """A run per model in runs/, a longer one, and the same killed while it trains."""
    folder = tmp_path_factory.mktemp("rating")
    write_log(folder / "log.csv")
    (folder / "base.yaml").write_text(BASE)
    (folder / "killer.py").write_text(KILLER)
    base = ["--config", "base.yaml"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        kill = (*KILLED, LONGER, "--run_dir", "killed", "--trainer.callbacks+=killer.Kill")
        killed = start("fit", *base, *kill, cwd=folder)
        for name, options in MODELS.items():
            main("fit", [*base, *options, "--run_dir", f"runs/{name}"])
        main("fit", [*base, *KILLED, LONGER, "--run_dir", "whole"])
        _, err = killed.communicate(timeout=600)
        assert killed.returncode == -signal.SIGKILL, err
    return folder


def content(run: Path) -> dict:
    return json.loads((run / "metrics.json").read_text())


def raw_rows(folder: Path) -> dict[str, pd.DataFrame]:
    """The parts of the log as raw rows, by the split's own rule: a random order over all rows."""
    log = pd.read_csv(folder / "log.csv")
    rank = np.argsort(np.argsort(np.random.default_rng(42).random(len(log))))
    test = int(0.2 * len(log))
    val = int(0.1 * len(log))
    train = len(log) - val - test
    part = (rank >= train).astype(int) + (rank >= train + val)
    return {name: log[part == code].reset_index(drop=True) for code, name in enumerate(("train", "val", "test"))}


def rmse(frame: pd.DataFrame) -> float:
    return float(np.sqrt(((frame["prediction"].astype(float) - frame["rating"]) ** 2).mean()))


def mae(frame: pd.DataFrame) -> float:
    return float((frame["prediction"].astype(float) - frame["rating"]).abs().mean())


def known(rows: dict[str, pd.DataFrame], part: str) -> pd.DataFrame:
    """The rows of a part whose user and item are in train."""
    frame, train = rows[part], rows["train"]
    return frame[frame["item"].isin(train["item"]) & frame["user"].isin(train["user"])]


@pytest.fixture(scope="module", params=MODELS)
def rated(request, folder) -> tuple[Path, dict[str, pd.DataFrame]]:
    """A run and, for val and test, the raw rows with the predictions of the loaded run."""
    run, parts = folder / "runs" / request.param, raw_rows(folder)
    trained = load(run)
    return run, {"train": parts["train"]} | {name: trained.predict(parts[name]) for name in ("val", "test")}


# ---- what is measured


def test_there_are_cold_rows_to_measure(folder) -> None:
    parts = raw_rows(folder)
    warm = known(parts, "test")
    unknown = len(parts["test"]) - len(warm)
    summary = content(folder / "runs/item")["dataset"]
    assert unknown >= 2
    assert summary["test"] == len(warm) and summary["train"] == len(parts["train"])
    assert unknown == sum(d["rows"] for d in summary["dropped"] if d.get("cold") and d["step"].startswith("test"))


@pytest.mark.parametrize("part", ["val", "test"])
def test_rmse_and_mae_are_over_all_raw_rows(rated, part) -> None:
    run, rows = rated
    found = content(run)[part]
    assert found.keys() == {"rmse", "mae"}
    assert found["rmse"] == pytest.approx(rmse(rows[part]), abs=1e-5)
    assert found["mae"] == pytest.approx(mae(rows[part]), abs=1e-5)
    assert known(rows, part)["prediction"].std() > 0.1, "and it is no constant that was measured"


def test_cold_rows_have_the_cold_rating_and_others_stay_in_range(rated) -> None:
    run, rows = rated
    train, test = rows["train"], rows["test"]
    unknown = ~test.index.isin(known(rows, "test").index)
    cold = 2.25 if run.name == "item" else train["rating"].mean()
    np.testing.assert_allclose(test.loc[unknown, "prediction"], cold, atol=1e-5)
    assert test.loc[~unknown, "prediction"].between(train["rating"].min(), train["rating"].max()).all()
    assert test.loc[~unknown, "prediction"].nunique() > 20


def span(label: str) -> tuple[int, int]:
    low, _, high = label.partition("-")
    return int(low), int(high or low)


@pytest.mark.parametrize(("name", "side"), [("by_activity", "user"), ("by_popularity", "item")])
def test_groups_by_count_in_train(rated, name, side) -> None:
    run, rows = rated
    test, groups = rows["test"], content(run)["groups"][name]
    count = test[side].map(rows["train"][side].value_counts()).fillna(0).astype(int)
    assert sum(g["rows"] for g in groups) == len(test), "every row is in one group"
    for group in groups:
        low, high = span(group["group"])
        inside = test[count.between(low, high)]
        assert group["rows"] == len(inside)
        if len(inside):
            assert group["rmse"] == pytest.approx(rmse(inside), abs=1e-5)
            assert group["mae"] == pytest.approx(mae(inside), abs=1e-5)
        else:
            assert group["rmse"] is None and group["mae"] is None
    labels = [g["group"] for g in groups]
    assert len(labels) >= 3 and labels == sorted(labels, key=span)
    assert ("0" in labels) == (count == 0).any(), "those that train lacks are a group where there are some"


def test_groups_by_rating(rated) -> None:
    """Half stars: ten levels, each a group of its own."""
    run, rows = rated
    groups = content(run)["groups"]["by_rating"]
    levels = sorted(rows["train"]["rating"].unique())
    assert [float(g["group"]) for g in groups] == levels and len(levels) == 10
    for group, level in zip(groups, levels, strict=True):
        inside = rows["test"][rows["test"]["rating"] == level]
        assert group["rows"] == len(inside)
        if len(inside):
            assert group["predicted"] == pytest.approx(inside["prediction"].astype(float).mean(), abs=1e-5)
            assert group["rmse"] == pytest.approx(rmse(inside), abs=1e-5)
            assert group["mae"] == pytest.approx(mae(inside), abs=1e-5)
    assert sum(g["rows"] for g in groups) == len(rows["test"])


def test_the_run_folder(rated) -> None:
    run, _ = rated
    figures = {"learning_curves", "rmse_by_activity", "rmse_by_popularity", "predicted_by_rating"}
    assert {p.stem for p in (run / "figures").iterdir()} == figures
    assert all((run / f"figures/{name}.png").read_bytes().startswith(b"\x89PNG") for name in figures)
    rows = pd.read_csv(run / "metrics.csv")
    best = int(rows["val/rmse"].argmin())
    assert content(run)["best_epoch"] == rows["epoch"][best] and content(run)["val"]["rmse"] == rows["val/rmse"][best]
    assert runs.read_checkpoint(run / "checkpoints/best.ckpt")["epoch"] == rows["epoch"][best], "the lowest is best"


# ---- the commands


@pytest.mark.parametrize(("command", "part"), [("test", "test"), ("validate", "val")])
def test_measuring_a_run_again(entry, rated, here, command, part) -> None:
    run, _ = rated
    code, out, err = entry(command, "--run", run, "--output", "x.json")
    assert code == 0, err
    assert json.loads(Path("x.json").read_text())[part] == pytest.approx(content(run)[part], abs=1e-6)
    assert f"{content(run)[part]['rmse']:.4f}" in out and "rmse" in out and "mae" in out
    assert ("by rating" in out) == (command == "test")


def test_what_fit_says(entry, folder, here, monkeypatch) -> None:
    monkeypatch.chdir(folder)
    run = here / "run"
    code, out, err = entry("fit", "--config", "base.yaml", *MODELS["item"], "--run_dir", run)
    assert code == 0, err
    for words in ("rmse", "mae", "by ratings of the user in train", "by ratings of the item in train", "by rating"):
        assert words in out
    assert "  cold " in out and "dropped" not in out, "cold rows are measured, not dropped"
    assert f"python -m recgnn.predict --run {run}" in out
    ranking = ("--model=MF", "--training.loss=BPR", "--training.ks=[5]", "--trainer.max_epochs=1")
    out = entry("fit", "--config", "base.yaml", *ranking, "--run_dir", here / "ranking")[1]
    assert "  dropped " in out and "  cold " not in out and "recgnn.predict" not in out


def test_recommending_by_rating(rated) -> None:
    """The best items are those of the highest predicted ratings, without those that are known."""
    run, rows = rated
    trained = load(run)
    log = pd.concat(rows.values())
    items = np.sort(rows["train"]["item"].unique())
    found = trained.recommend(users=[3, 8], k=5)
    assert found["item"].isin(items).all()
    for user in (3, 8):
        free = np.setdiff1d(items, log.loc[log["user"] == user, "item"])
        scores = trained.score(pd.DataFrame({"user": user, "item": free})).set_index("item")["score"]
        expected = scores.sort_values(ascending=False)[:5]
        assert found.loc[found["user"] == user, "item"].tolist() == expected.index.tolist()
        np.testing.assert_allclose(found.loc[found["user"] == user, "score"], expected, rtol=1e-5)


def test_similar_items(rated) -> None:
    found = load(rated[0]).similar_items([5, 6], 3)
    assert found["query"].tolist() == [5] * 3 + [6] * 3
    assert not (found["query"] == found["item"]).any() and found["score"].between(-1, 1).all()


# ---- going on


def test_a_killed_run_goes_on_as_if_it_had_not_been(folder, tmp_path, monkeypatch) -> None:
    """Masks and negatives of an epoch are the same after the kill."""
    monkeypatch.chdir(folder)
    whole, run = folder / "whole", shutil.copytree(folder / "killed", tmp_path / "killed")
    assert not (run / "metrics.json").exists()
    assert runs.read_checkpoint(run / "checkpoints/last.ckpt")["epoch"] == 2
    main("fit", ["--config", "base.yaml", *KILLED, LONGER, "--run_dir", str(run), "--ckpt_path", "last"])
    for key in ("val", "test", "best_epoch", "epochs", "groups"):
        assert content(run)[key] == content(whole)[key], key
    times = ["seconds", "evaluation_seconds"]
    ours, theirs = (pd.read_csv(r / "metrics.csv").drop(columns=times) for r in (run, whole))
    pd.testing.assert_frame_equal(ours, theirs, check_exact=True)
    for file in ("best", "last"):
        ours, theirs = (runs.read_checkpoint(r / f"checkpoints/{file}.ckpt") for r in (run, whole))
        assert ours["epoch"] == theirs["epoch"]
        for key, value in theirs["state_dict"].items():
            assert ours["state_dict"][key].equal(value), key


# ---- mistakes


GOOD = "user,item,rating\n" + "".join(f"{u},{i},{1 + (u * i) % 5}\n" for u in range(1, 13) for i in range(1, 13))
RANGE = '--data.filters=[{"class_path": "RatingRange", "init_args": {"low": 1, "high": 5}}]'
BAD = {
    "no column": (GOOD.replace("rating", "stars", 1), [], ["no ratings", "rating:", "LightGCN or CDAE"]),
    "named but absent": (GOOD, ["--data.source.rating=ratings"], ["no column 'ratings'", "did you mean 'rating'?"]),
    "left out": (GOOD, ["--data.source.rating="], ["no ratings"]),
    "all equal": ("\n".join([line[:-1] + "4" if n else line for n, line in enumerate(GOOD.split("\n")[:-1])]) + "\n",
                  [], ["ratings of the training part are 4", "nothing to predict"]),
    "out of range": (GOOD.replace("\n3,3,5\n", "\n3,3,50\n"), [RANGE], ["row 27", "user 3", "item 3", "rating 50"]),
    "no number": (GOOD.replace("\n3,3,5\n", "\n3,3,good\n"), [], ["log.csv, line 28", "column 'rating'", "'good'"]),
    "missing": (GOOD.replace("\n3,3,5\n", "\n3,3,\n"), [], ["log.csv, line 28", "column 'rating'", "empty"]),
    "infinite": (GOOD.replace("\n3,3,5\n", "\n3,3,inf\n"), [], ["log.csv, line 28", "column 'rating'"]),
}  # fmt: skip


@pytest.mark.parametrize(("model", "case"), [*(("item", case) for case in BAD), ("mf", "no column")])
def test_bad_ratings(entry, here, model, case) -> None:
    text, options, words = BAD[case]
    assert case in ("named but absent", "left out") or text != GOOD
    Path("log.csv").write_text(text)
    Path("base.yaml").write_text(BASE.replace("    cache_dir: cache\n", ""))
    code, _, err = entry("fit", "--config", "base.yaml", *MODELS[model], *options)
    assert code == 2 and err.startswith("error: ") and err.count("\n") == 1, err
    for word in words:
        assert word in err, err
    assert sorted(p.name for p in here.iterdir()) == ["base.yaml", "log.csv"]


def test_the_good_one_trains(entry, here) -> None:
    Path("log.csv").write_text(GOOD)
    Path("base.yaml").write_text(BASE)
    assert entry("fit", "--config", "base.yaml", *MODELS["item"], RANGE)[0] == 0
    assert (here / "runs/autorec-log/1/metrics.json").is_file()


@pytest.mark.parametrize(
    ("callback", "monitor", "model"),
    [
        ("EarlyStopping", "val/ndcg@10", "item"),
        ("ModelCheckpoint", "val/rmse", "ranking"),
        ("ModelCheckpoint", "val/rsme", "item"),
    ],
)
def test_watching_what_is_not_measured(entry, here, callback, monitor, model) -> None:
    """A configuration for ranking that is given a model of ratings, and the other way round."""
    Path("log.csv").write_text(GOOD)
    Path("base.yaml").write_text(BASE.replace("    cache_dir: cache\n", ""))
    options = MODELS.get(model, ["--model=MF", "--training.ks=[5]"])
    watch = f'--trainer.callbacks=[{{"class_path": "{callback}", "init_args": {{"monitor": "{monitor}"}}}}]'
    code, _, err = entry("fit", "--config", "base.yaml", *options, watch)
    assert code == 2 and err.startswith("error: ") and err.count("\n") == 1
    for words in (f"{callback} watches {monitor}, which is not measured", "--trainer.callbacks"):
        assert words in err
    assert ("did you mean 'val/rmse'?" in err) == (monitor == "val/rsme")
    assert sorted(p.name for p in here.iterdir()) == ["base.yaml", "log.csv"]


def test_other_ratings_of_the_same_pairs_are_other_data(entry, folder, here, monkeypatch) -> None:
    """A run is not continued on them."""
    run = shutil.copytree(folder / "runs/item", here / "run")
    log = pd.read_csv(folder / "log.csv")
    log.assign(rating=6 - log["rating"]).to_csv("log.csv", index=False)
    Path("base.yaml").write_text(BASE)
    options = ["--config", "base.yaml", *MODELS["item"], "--run_dir", run, "--ckpt_path", "last", LONGER]
    code, _, err = entry("fit", *options)
    assert code == 2 and "was trained on other data" in err
