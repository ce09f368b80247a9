"""Two processes (gloo, on the CPU) measure what one does, and learn what one does."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from recgnn import load
from recgnn.cli.entry import main

TWO = ("--trainer.accelerator=cpu", "--trainer.devices=2", "--trainer.strategy=ddp")
MORE = ("--data.source.num_users=301", "--trainer.max_epochs=8", "--seed_everything=1")


@pytest.fixture(scope="module")
def done(tmp_path_factory, start, tiny, tiny_run) -> Path:
    """A folder with the figures of `tiny_run` by two processes and, as `two`, a run trained by two."""
    folder = tmp_path_factory.mktemp("ddp")
    processes = [
        start("test", "--run", tiny_run, "--data.eval_batch_size=7", *TWO, "--output", "test.json", cwd=folder),
        start("__main__", "fit", "--config", tiny, *MORE, "--data.batch_size=64", *TWO, "--run_dir", "two", cwd=folder),
    ]
    for process in processes:
        out, err = process.communicate(timeout=600)
        assert process.returncode == 0, err
        assert out.count("ndcg@10") == 1  # one process speaks
    return folder


def test_two_processes_measure_what_one_does(done, tiny_run, tmp_path):
    """61 users, which two processes cannot share out evenly."""
    main("test", ["--run", str(tiny_run), "--output", str(tmp_path / "one.json")])
    two, one = (json.loads((p).read_text()) for p in (done / "test.json", tmp_path / "one.json"))
    assert one == {"test": json.loads((tiny_run / "metrics.json").read_text())["test"]}
    assert two["test"].keys() == one["test"].keys() and len(one["test"]) == 18
    assert two["test"] == pytest.approx(one["test"], abs=1e-6)


def test_two_processes_learn_what_one_does(done, tiny, tmp_path):
    main("fit", ["--config", str(tiny), *MORE, "--data.batch_size=128", "--run_dir", str(tmp_path / "one")])
    one, two = (json.loads((run / "metrics.json").read_text()) for run in (tmp_path / "one", done / "two"))
    assert one["dataset"] == two["dataset"] and two["epochs"] == 8
    for part in ("val", "test"):
        assert two[part]["recall@10"] > 0.55  # 10 of the 29 items that remain: 0.34 by chance
        assert two[part]["ndcg@10"] == pytest.approx(one[part]["ndcg@10"], abs=0.05)
    steps = [pd.read_csv(run / "metrics.csv")["step"].tolist() for run in (tmp_path / "one", done / "two")]
    assert steps[0] == steps[1]
    assert (done / "two/figures/recall_by_activity.png").is_file()


def test_a_run_of_two_processes_is_an_ordinary_run(done, tmp_path):
    run = done / "two"
    assert len(load(run).recommend(users=[1, 2], k=5)) == 10
    alone = ["--trainer.devices=1", "--trainer.strategy=auto"]
    main("test", ["--run", str(run), *alone, "--output", str(tmp_path / "x.json")])
    content = json.loads((run / "metrics.json").read_text())
    users = pd.read_parquet(run / "users.parquet")  # each once, whoever measured him
    assert users["user"].is_monotonic_increasing and users["user"].is_unique and len(users) == 301
    assert users["ndcg@10"].mean() == pytest.approx(content["test"]["ndcg@10"], abs=1e-6)
    assert json.loads((tmp_path / "x.json").read_text())["test"] == pytest.approx(content["test"], abs=1e-6)
