"""`--on ray` on a cluster of two nodes of one CPU each: two raylets on the loopback, started and stopped here.

    export RECGNN_DATA=<folder with ml-100k/>
    python -m benchmarks.ray_cluster equal           # LightGCN and DeepFM, beside torchrun
    python -m benchmarks.ray_cluster killed          # DeepFM, a worker killed in mid-epoch
    python -m benchmarks.ray_cluster lost            # the same, with the node of a worker
    python -m benchmarks.ray_cluster tune            # a search and a suite on both nodes
    python -m benchmarks.ray_cluster prepare FOLDER  # of `big_log make`: `engine: ray` beside duckdb

equal: conf/<model>.yaml, three epochs, by two processes of torchrun (gloo) and by two workers of Ray. Told are the
largest differences of a weight in last.ckpt and of a number in metrics.csv.

killed: one worker is sent SIGKILL after checkpoints inside the second epoch; the others end with it, Ray starts both
again, and they go on from last.ckpt. Told are the same differences to a run that was not killed.

lost: the second node is killed and another one is started, instead.
"""

from __future__ import annotations

import argparse
import csv
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
DATA = f"--data.source.root={Path(os.environ.get('RECGNN_DATA', ''), 'ml-100k')}"
TWO = (DATA, "--trainer.logger=false", "--trainer.accelerator=cpu", "--trainer.devices=2", "--trainer.strategy=ddp")
INSIDE = "--trainer.callbacks+={class_path: ModelCheckpoint, init_args: {every_n_train_steps: 4}}"


@contextmanager
def cluster() -> Iterator[Any]:
    """Start two nodes, and connect to them; commands find them by RAY_ADDRESS."""
    import ray
    from ray.cluster_utils import Cluster

    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    os.environ |= {"OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    node = {"num_cpus": 1, "object_store_memory": 2 * 10**8}
    nodes = Cluster(initialize_head=True, head_node_args=node | {"include_dashboard": True})
    nodes.add_node(**node)
    os.environ["RAY_ADDRESS"] = nodes.address
    ray.init(nodes.address, log_to_driver=False)
    try:
        yield nodes
    finally:
        ray.shutdown()
        nodes.shutdown()


def command(*words: object) -> subprocess.Popen:
    """Start a command of recgnn; its output goes to a file that is shown where it fails."""
    return subprocess.Popen([sys.executable, "-m", *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def ended(process: subprocess.Popen) -> str:
    """Wait for a command, and return what it wrote."""
    out = process.communicate(timeout=900)[0].decode()
    if process.returncode:
        sys.exit(out)
    return out


def differences(one: Path, two: Path) -> str:
    """The largest differences of two runs: of a weight at the end, and of a metric of any epoch."""
    from recgnn.training.run_folder import read_checkpoint

    first, second = (read_checkpoint(run / "checkpoints/last.ckpt")["state_dict"] for run in (one, two))
    assert first.keys() == second.keys()
    weights = max(float((value.double() - second[name].double()).abs().max()) for name, value in first.items())
    tables = [[*csv.DictReader(open(run / "metrics.csv"))] for run in (one, two)]
    assert len(tables[0]) == len(tables[1]) and tables[0][0].keys() == tables[1][0].keys()
    metrics = max(
        abs(float(a[name]) - float(b[name]))
        for a, b in zip(*tables, strict=True) for name in a if a[name] and "second" not in name and "time" not in name
    )  # fmt: skip
    return f"{len(tables[0])} epochs, largest difference of a weight {weights:.1e}, of a metric {metrics:.1e}"


def equal(work: Path) -> None:
    """Compare torchrun and Ray."""
    torchrun = ("torch.distributed.run", "--nproc_per_node=2", "--standalone", "-m")
    for model in ("lightgcn", "deepfm"):
        fit = ("recgnn.fit", "--config", ROOT / f"conf/{model}.yaml", *TWO, "--trainer.max_epochs=3", "--run_dir")
        ended(command(*torchrun, *fit, work / model / "torchrun"))
        started = time.perf_counter()
        ended(command(*fit, work / model / "ray", "--on", "ray"))
        seconds = time.perf_counter() - started
        print(f"{model}: {differences(work / model / 'torchrun', work / model / 'ray')}; {seconds:.0f} s", flush=True)


def kill_worker(nodes: Any) -> None:
    """Send SIGKILL to one of the workers."""
    from ray.util.state import list_actors

    workers = list_actors(filters=[("class_name", "=", "RayTrainWorker"), ("state", "=", "ALIVE")])
    os.kill(workers[-1]["pid"], signal.SIGKILL)


def replace_node(nodes: Any) -> None:
    """Kill the second node with all its processes, and start another."""
    nodes.remove_node(nodes.list_all_nodes()[-1], allow_graceful=False)
    nodes.add_node(num_cpus=1, object_store_memory=2 * 10**8)


ENDS = {"killed": kill_worker, "lost": replace_node}


def killed(work: Path, end: Callable[[], None]) -> None:
    """End a worker, or its node, in mid-epoch."""
    from recgnn.training.run_folder import read_checkpoint

    fit = ("recgnn.fit", "--config", ROOT / "conf/deepfm.yaml", *TWO, "--trainer.max_epochs=4", INSIDE, "--on", "ray")
    ended(command(*fit, "--run_dir", work / "whole"))
    process, last = command(*fit, "--run_dir", work / "killed"), work / "killed/checkpoints/last.ckpt"
    while True:
        time.sleep(0.02)
        assert process.poll() is None, "it ended before it was killed"
        if last.is_file() and "position" in (state := read_checkpoint(last)) and state["epoch"] >= 1:
            break
    end()
    print(f"a worker or its node was killed in epoch {state['epoch']} after step {state['global_step']}", flush=True)
    out = ended(process)
    print(f"worker groups started: {out.count('Started training worker group')}")
    print(f"beside a run that lost nobody: {differences(work / 'whole', work / 'killed')}", flush=True)


def tune(work: Path) -> None:
    """Search and train a suite on both nodes."""
    from ray.util.state import list_tasks

    started = time.perf_counter()
    short = (DATA, "--trainer.max_epochs=5")
    options = ("--config", ROOT / "conf/mf.yaml", "--space", ROOT / "conf/sweeps/mf.yaml", "--trials", 6, *short)
    ended(command("recgnn.tune", *options, "--output", work / "search", "--on", "ray"))
    trials = [*csv.DictReader(open(work / "search/trials.csv"))]
    tasks = list_tasks(filters=[("name", "=", "_in_folder")], detail=True)
    nodes, seconds = len({task["node_id"] for task in tasks}), time.perf_counter() - started
    states = [trial["state"] for trial in trials]
    print(f"tune: {states} by {len(tasks)} tasks on {nodes} nodes, {seconds:.0f} s", flush=True)
    suite = ("--configs", ROOT / "conf/mf.yaml", "--seeds", 1, 2, "--runs", work / "runs", "--on", "ray", "--", *short)
    ended(command("recgnn.benchmark", *suite))
    runs = [seed for seed in (1, 2) if (work / f"runs/mf/{seed}/metrics.json").is_file()]
    tasks = list_tasks(filters=[("name", "=", "_in_folder")], detail=True)[len(tasks) :]
    print(f"benchmark: seeds {runs} finished by {len(tasks)} tasks", flush=True)


def prepare(work: Path, folder: Path) -> None:
    """Prepare a log by both engines, and compare what they wrote."""
    import numpy as np

    from recgnn.data import GraphDataModule, TableLog

    found = []
    for engine in ("duckdb", "ray"):
        started = time.perf_counter()
        data = GraphDataModule(TableLog(folder / "*.parquet"), engine=engine, cache_dir=str(work / engine))
        found.append(data.prepared)
        print(f"{engine}: {data.prepared.summary['read']:,} rows, {time.perf_counter() - started:.0f} s", flush=True)
    one, two = found
    assert one.summary == two.summary
    for part in ("train", "val", "test"):
        for name, values in vars(getattr(one, part)).items():
            np.testing.assert_array_equal(values, vars(getattr(two, part))[name])
    for side in ("users", "items"):
        assert getattr(one, side).ids.equals(getattr(two, side).ids)
        np.testing.assert_array_equal(getattr(one, side).frequency, getattr(two, side).frequency)
    print("the same summary, rows of the parts, ids and frequencies, in the same order")


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["equal", *ENDS, "tune", "prepare"])
    parser.add_argument("folder", nargs="?")
    given = parser.parse_args()
    work = {"dir": None if given.folder is None else Path(given.folder).parent, "prefix": "ray-cluster-"}
    with tempfile.TemporaryDirectory(**work) as folder, cluster() as nodes:
        if given.what == "prepare":
            prepare(Path(folder), Path(given.folder))
        elif given.what in ENDS:
            killed(Path(folder), partial(ENDS[given.what], nodes))
        else:
            {"equal": equal, "tune": tune}[given.what](Path(folder))


if __name__ == "__main__":
    main()
