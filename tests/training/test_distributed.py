"""Two processes (gloo, on the CPU) measure what one does, and learn what one does; one that is left alone ends."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml

from recgnn import load
from recgnn.cli.entry import main
from tests.tools.processes import pair

MORE = ("--data.source.num_users=301", "--trainer.max_epochs=8", "--seed_everything=1")
SOURCE = {"class_path": "SyntheticLog", "init_args": {"num_users": 61, "num_items": 40, "seed": 3}}
CLICKS = {"source": SOURCE, "label": "rating >= 4", "fields": {"user": "categorical", "item": "categorical"}}
PAST = {"history": {"item_fields": ["item"], "max_length": 5}}
FAMILIES = {
    "MF": ({"embedding_dim": 8}, {}),
    "LightGCN": ({"embedding_dim": 8, "num_layers": 2}, {}),
    "CDAE": ({"hidden_dim": 8}, {}),
    "AutoRec": ({"hidden_dims": [8]}, {}),
    "DeepFM": ({"embedding_dim": 4, "hidden_dims": [4]}, CLICKS),
    "DIN": ({"embedding_dim": 4, "hidden_dims": [4]}, CLICKS | PAST),
}


@pytest.fixture(scope="module")
def measured(tmp_path_factory, together) -> dict[str, tuple[dict, dict]]:
    """The test metrics of a run of each family, by one process and by two."""
    folder = tmp_path_factory.mktemp("families")
    words: list[object] = []
    for name, (arguments, data) in FAMILIES.items():
        module = {"class_path": "CTRDataModule" if data else "GraphDataModule", "init_args": data or {"source": SOURCE}}
        config = {"seed_everything": 7, "data": module, "model": {"class_path": name, "init_args": arguments}}
        config["trainer"] = {"accelerator": "cpu", "max_epochs": 1, "enable_progress_bar": False, "logger": False}
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(config))
        main("fit", ["--config", str(folder / f"{name}.yaml"), "--run_dir", str(folder / name)])
        words += ["--run", folder / name, "--data.eval_batch_size=7", "--output", folder / f"{name}.json", "&&"]
    out, other = together("test", *words[:-1], cwd=folder)
    assert out.count("test") >= len(FAMILIES) and not other  # one process speaks
    files = {name: (folder / name / "metrics.json", folder / f"{name}.json") for name in FAMILIES}
    return {name: tuple(json.loads(file.read_text())["test"] for file in both) for name, both in files.items()}


@pytest.mark.parametrize("name", FAMILIES)
def test_two_processes_measure_what_one_does(measured, name) -> None:
    """61 users, or some hundred events, which two processes cannot share out evenly."""
    one, two = measured[name]
    assert len(one) > 1 and two == pytest.approx(one, abs=1e-6)


@pytest.fixture(scope="module")
def two(tmp_path_factory, together, tiny) -> Path:
    """A run trained by two processes."""
    folder = tmp_path_factory.mktemp("ddp")
    out, other = together("fit", "--config", tiny, *MORE, "--data.batch_size=64", "--run_dir", "two", cwd=folder)
    assert out.count("ndcg@10") == 1 and "ndcg" not in other
    return folder / "two"


def test_two_processes_learn_what_one_does(two, tiny, tmp_path) -> None:
    main("fit", ["--config", str(tiny), *MORE, "--data.batch_size=128", "--run_dir", str(tmp_path / "one")])
    one, both = (json.loads((run / "metrics.json").read_text()) for run in (tmp_path / "one", two))
    assert one["dataset"] == both["dataset"] and both["epochs"] == 8
    for part in ("val", "test"):
        assert both[part]["recall@10"] > 0.55  # 10 of the 29 items that remain: 0.34 by chance
        assert both[part]["ndcg@10"] == pytest.approx(one[part]["ndcg@10"], abs=0.05)
    steps = [pd.read_csv(run / "metrics.csv")["step"].tolist() for run in (tmp_path / "one", two)]
    assert steps[0] == steps[1]
    assert (two / "figures/recall_by_activity.png").is_file()


def test_a_run_of_two_processes_is_an_ordinary_run(two, tmp_path) -> None:
    assert len(load(two).recommend(users=[1, 2], k=5)) == 10
    alone = ["--trainer.devices=1", "--trainer.strategy=auto"]
    main("test", ["--run", str(two), *alone, "--output", str(tmp_path / "x.json")])
    content = json.loads((two / "metrics.json").read_text())
    users = pd.read_parquet(two / "users.parquet")  # each once, whoever measured him
    assert users["user"].is_monotonic_increasing and users["user"].is_unique and len(users) == 301
    assert users["ndcg@10"].mean() == pytest.approx(content["test"]["ndcg@10"], abs=1e-6)
    assert json.loads((tmp_path / "x.json").read_text())["test"] == pytest.approx(content["test"], abs=1e-6)


@pytest.mark.parametrize("killed", [0, pytest.param(1, marks=pytest.mark.long)])
def test_a_process_that_is_left_alone_ends_with_one_line(killed, tiny, tmp_path) -> None:
    endless = {"monitor": "val/ndcg@10", "mode": "max", "patience": 10**6}
    callbacks = json.dumps([{"class_path": "EarlyStopping", "init_args": endless}])
    words = ("--config", tiny, "--trainer.max_epochs=100000", "--run_dir", "run", f"--trainer.callbacks={callbacks}")
    processes = pair("fit", *words, cwd=tmp_path)
    try:
        while not (tmp_path / "run/checkpoints/last.ckpt").is_file():
            assert all(process.returncode is None for process in processes), [p.texts() for p in processes]
            time.sleep(0.1)
        os.kill(processes[killed].process.pid, signal.SIGKILL)
        _, err = processes[1 - killed].communicate(timeout=60)
        assert processes[1 - killed].returncode == 2, err
        assert err.startswith("error: ") and err.count("\n") == 1, err
        assert "another process of this command has ended" in err and "--ckpt_path last" in err
    finally:
        for process in processes:
            process.kill()
