"""`--on ray`: without Ray nothing imports it; with it, two nodes on the loopback train what two processes do."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import yaml
from lightning.fabric.plugins.environments import LightningEnvironment

from recgnn.cli.entry import main
from recgnn.cli.fitting import Processes
from recgnn.cli.on_ray import _workers
from recgnn.data import SyntheticLog
from recgnn.errors import ConfigError, RunError
from recgnn.fit import main as fit
from recgnn.training.run_folder import read_checkpoint
from tests.test_structure import MODULES, imports_of

KILLED = '''
import os, signal
from pathlib import Path
from lightning import Callback

class Killed(Callback):
    """Ends its worker by SIGKILL, once, in the middle of the third epoch."""
    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        mark = Path("killed")
        if trainer.global_rank == 1 and trainer.current_epoch == 2 and batch_idx == 1 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
'''
INSIDE = "--trainer.callbacks+={class_path: ModelCheckpoint, init_args: {every_n_train_steps: 1}}"
SPACE = """\
method: random
metric: {name: val/ndcg@10, goal: maximize}
parameters: {training.lr: {distribution: log_uniform_values, min: 0.001, max: 0.1}}
"""


def test_no_module_imports_ray_when_it_is_imported() -> None:
    of_ray = [m for m in MODULES if any(n.partition(".")[0] == "ray" for n in imports_of(m, top_level=True))]
    assert not of_ray
    within = {m for m in MODULES if any(n.partition(".")[0] == "ray" for n in imports_of(m))}
    assert within == {"recgnn.cli.on_ray", "recgnn.data.cluster"}


def test_one_machine_trains_where_ray_cannot_be_imported(tiny, tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    fit(["--config", str(tiny), "--run_dir", str(tmp_path / "run"), "--trainer.max_epochs=1"])
    assert (tmp_path / "run/metrics.json").is_file()
    space = tmp_path / "space.yaml"
    space.write_text(SPACE)
    for command, *options in (("fit", "--run_dir", str(tmp_path / "other")),
                              ("benchmark", "--runs", str(tmp_path / "runs"), "--seeds", "1")):  # fmt: skip
        config = "--configs" if command == "benchmark" else "--config"
        with pytest.raises(ConfigError, match=r'--on ray needs Ray: pip install "recgnn\[ray\]"'):
            main(command, [config, str(tiny), *options, "--on=ray"])
    assert not (tmp_path / "other").exists()


def test_mistakes_are_told_before_ray_is_looked_for(tiny, tiny_run) -> None:
    with pytest.raises(ConfigError, match="--on ray: name the run folder"):
        fit(["--config", str(tiny), "--on", "ray"])
    with pytest.raises(ConfigError, match="--on spark: expected ray, or ray:HOST:PORT"):
        fit(["--config", str(tiny), "--run_dir", "new", "--on", "spark"])
    with pytest.raises(RunError, match="holds a run already"):
        fit(["--config", str(tiny), "--run_dir", str(tiny_run), "--on", "ray"])


@pytest.mark.parametrize(
    ("trainer", "gpus", "expected"),
    [
        ({"devices": 2, "num_nodes": 3, "accelerator": "cpu"}, 8, (6, False)),
        ({"devices": 2, "num_nodes": 3, "accelerator": "auto"}, 8, (6, True)),
        ({"devices": [0, 3], "num_nodes": 1, "accelerator": "gpu"}, 8, (2, True)),
        ({"devices": "auto", "num_nodes": 1, "accelerator": "auto"}, 8, (8, True)),
        ({"devices": "auto", "num_nodes": 2, "accelerator": "auto"}, 0, (2, False)),
    ],
)
def test_workers_of_a_configuration(trainer, gpus, expected) -> None:
    assert _workers(trainer, gpus) == expected


def test_a_run_keeps_the_devices_that_were_asked_for(tiny, tmp_path) -> None:
    """Whatever started its processes."""
    environment = LightningEnvironment()
    argv = ["--config", str(tiny), "--run_dir", str(tmp_path / "run"), "--trainer.max_epochs=1"]
    cli = fit(argv, Processes(1, 1, environment))
    assert cli is not None and cli.trainer.num_devices == 1
    trainer = yaml.safe_load((tmp_path / "run/config.yaml").read_text())["trainer"]
    assert (trainer["devices"], trainer["num_nodes"], trainer["plugins"]) == ("auto", 1, None)


# ---- on a cluster of two nodes


def test_two_workers_learn_what_two_processes_learn(ray_cluster, tiny, here, together) -> None:
    """Also where one of them is killed within an epoch."""
    Path("own.py").write_text(KILLED)
    same = ["--config", str(tiny), "--trainer.max_epochs=4", "--trainer.logger=false", INSIDE]
    together("fit", *same, "--run_dir", "two", cwd=here)
    killed = [*same, "--trainer.callbacks+=own.Killed", "--trainer.devices=2", "--trainer.strategy=ddp"]
    sys.path.insert(0, str(here))
    fit([*killed, "--run_dir", "ray", "--on", "ray"])
    assert Path("killed").is_file()
    one, two = (read_checkpoint(here / run / "checkpoints/last.ckpt") for run in ("two", "ray"))
    assert one["global_step"] == two["global_step"] and one["state_dict"].keys() == two["state_dict"].keys()
    for name, value in one["state_dict"].items():
        assert float((value - two["state_dict"][name]).abs().max()) < 1e-6
    results = [json.loads((here / run / "metrics.json").read_text()) for run in ("two", "ray")]
    assert results[0]["test"] == pytest.approx(results[1]["test"], abs=1e-6)


def test_a_mistake_of_a_worker_is_one_line(ray_cluster, tiny, here) -> None:
    log = "--data.source={class_path: TableLog, init_args: {path: missing.csv}}"
    with pytest.raises(ConfigError, match=r"missing\.csv"):
        fit(["--config", str(tiny), log, "--run_dir", "none", "--on", "ray"])


def test_workers_that_fill_the_cluster_prepare_the_log_on_it(ray_cluster, tiny, here) -> None:
    pytest.importorskip("duckdb", reason="pip install 'recgnn[duckdb]'")
    SyntheticLog(num_users=61, num_items=40, seed=3).read().interactions.to_parquet("log.parquet")
    log = "{class_path: TableLog, init_args: {path: log.parquet, name: synthetic}}"
    options = ["--config", str(tiny), f"--data.source={log}", "--trainer.max_epochs=1", "--trainer.logger=false"]
    two = ["--trainer.devices=2", "--trainer.strategy=ddp", "--data.engine=ray", "--on=ray"]
    fit([*options, "--run_dir", "ray", *two, "--data.cache_dir=cache"])
    fit([*options, "--run_dir", "one", "--data.engine=memory", "--data.cache_dir=other"])
    one, other = (json.loads((here / run / "metrics.json").read_text())["dataset"] for run in ("ray", "one"))
    assert one == other


def test_a_search_and_a_suite_on_both_nodes(ray_cluster, tiny, here, capsys) -> None:
    Path("space.yaml").write_text(SPACE)
    main("tune", ["--config", str(tiny), "--space", "space.yaml", "--trials", "4", "--output", "search", "--on", "ray"])
    assert len(Path("search/trials.csv").read_text().splitlines()) == 5 and Path("search/best.yaml").is_file()
    main("benchmark", ["--configs", str(tiny), "--seeds", "1", "2", "--runs", "runs", "--baselines", "no", "--on=ray"])
    assert all(Path(f"runs/{tiny.stem}/{seed}/metrics.json").is_file() for seed in (1, 2))
