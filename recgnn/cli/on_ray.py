"""`--on ray`: trainings on a Ray cluster that is there, by Ray Train or as tasks. Ray is imported when it is asked for.

Nodes see the working folder, the data, the cache and the run folders under the same names.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from recgnn.cli.entry import main_of
from recgnn.data.cluster import connect, result
from recgnn.errors import ConfigError, DataError, RecGNNError, RunError, first_line

RETRIES = 3  # of a training whose worker was lost, or of a task


def started(calls: Iterable[Callable[[], Any]], on: str) -> list[Callable[[], Any]]:
    """Start each call as a task, on one GPU where the cluster has any and on one CPU otherwise.

    A task whose worker is lost is started again.

    Args:
        calls: Functions of a module, with their arguments.
        on: The cluster, as of `--on`.

    Returns:
        For each call a function that waits for its end, and returns its result or raises its error.
    """
    ray = connect(on)
    gpus = 1 if ray.cluster_resources().get("GPU") else 0
    task = ray.remote(_in_folder).options(
        num_cpus=1, num_gpus=gpus, scheduling_strategy="SPREAD", max_retries=RETRIES
    )  # fmt: skip
    return [partial(result, task.remote(os.getcwd(), call)) for call in calls]


def nodes(on: str) -> int:
    """Return how many trainings a cluster is meant to have at once: one for each GPU, or for each node without any."""
    ray = connect(on)
    return int(ray.cluster_resources().get("GPU", 0)) or sum(node["Alive"] for node in ray.nodes())


def _in_folder(folder: str, call: Callable[[], Any]) -> Any:
    """Make a call in the working folder of the command, on a node."""
    try:
        os.chdir(folder)
    except OSError as error:
        raise ConfigError(f"--on ray: node {os.uname().nodename} does not see {folder} ({first_line(error)}); start "
                          "the command in a folder that all nodes share") from error  # fmt: skip
    if folder not in sys.path:
        sys.path.append(folder)  # for a person's own.py
    return call()


# ---- one training on several workers


def fit(argv: list[str], on: str) -> None:
    """Run `fit` on the workers of Ray Train, `trainer.devices` times `trainer.num_nodes` of them.

    A training whose worker or node is lost goes on from the last.ckpt that it wrote.

    Raises:
        RecGNNError: For a person's mistake, told by the workers or found before they start.
    """
    import yaml

    from recgnn.cli.fitting import configuration
    from recgnn.training.new_run import choose_folder

    config = yaml.safe_load(configuration(argv))
    if config["run_dir"] is None:
        raise ConfigError("--on ray: name the run folder, where all nodes see it: --run_dir DIR")
    folder = Path(config["run_dir"]).expanduser().absolute()
    choose_folder(str(folder), folder, config["ckpt_path"] == "last", config["overwrite"])  # which refuses some
    ray = connect(on)
    from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
    from ray.train.torch import TorchTrainer

    workers, use_gpu = _workers(config["trainer"], int(ray.cluster_resources().get("GPU", 0)))
    print(f"{workers} workers of Ray, {'a GPU' if use_gpu else 'a CPU'} each; run folder {folder}", flush=True)
    given = {"folder": os.getcwd(), "argv": argv, "run": str(folder), "before": _written(folder)}
    os.environ.setdefault("RAY_TRAIN_ENABLE_PRINT_PATCH", "0")  # which writes every line twice
    trainer = TorchTrainer(
        _worker, train_loop_config=given, scaling_config=ScalingConfig(num_workers=workers, use_gpu=use_gpu),
        run_config=RunConfig(failure_config=FailureConfig(max_failures=RETRIES)),
    )  # fmt: skip
    go_on, lost = f"continue with --run_dir {folder} --ckpt_path last", ray.exceptions.RayActorError
    try:
        mistake = trainer.fit().return_value
    except TrainingFailedError as error:
        ends = [getattr(one, "_base_exc", one) for one in getattr(error, "worker_failures", {}).values()]
        if not ends or not all(isinstance(one, RecGNNError | lost) for one in ends):
            raise  # a bug
        if any(isinstance(one, lost) for one in ends):
            raise RunError(f"workers of Ray were lost {RETRIES + 1} times; Ray's log says why; {go_on}") from error
        raise ends[0] from error
    except lost as error:
        raise RunError(f"Ray's controller has ended ({first_line(error)}); {go_on}") from error
    if mistake is not None:
        raise ConfigError(mistake)


def _workers(trainer: dict[str, Any], gpus: int) -> tuple[int, bool]:
    """Return how many workers a configuration of the trainer means, and whether each has a GPU."""
    devices, kind = trainer["devices"], trainer["accelerator"]
    use_gpu = kind in ("gpu", "cuda") or (kind == "auto" and gpus > 0)
    if devices in ("auto", -1, "-1"):
        return (max(1, gpus) if use_gpu else trainer["num_nodes"]), use_gpu
    number = len(devices) if isinstance(devices, list) else int(devices)
    return number * trainer["num_nodes"], use_gpu


def _written(run: Path) -> list[int | None]:
    """Return when the last checkpoints of a run folder, and of its half that chose the epochs, were written."""
    from recgnn.training.run_folder import LAST, SELECTION

    files = (run / half / "checkpoints" / LAST for half in ("", SELECTION))
    return [file.stat().st_mtime_ns if file.is_file() else None for file in files]


def _worker(given: dict[str, Any]) -> str | None:
    """Train as one of several workers, from the checkpoint that an attempt before this one has written.

    Returns:
        A person's mistake, which no further attempt would mend.
    """
    import torch
    from ray.train import get_context
    from ray.train.lightning import RayLightningEnvironment

    from recgnn.cli.fitting import Processes

    main: Any = main_of("fit")

    def train() -> None:
        argv, now = given["argv"], _written(Path(given["run"]))
        if any(one is not None and one != then for one, then in zip(now, given["before"], strict=True)):
            argv = [*argv, "--ckpt_path=last"]
        here, workers = get_context().get_local_world_size(), get_context().get_world_size()
        main(argv, Processes(here, -(-workers // here), RayLightningEnvironment()))

    try:
        _in_folder(given["folder"], train)
    except (ConfigError, DataError) as mistake:
        torch.distributed.destroy_process_group()  # others that wait for this one hear of it
        return str(mistake)
    return None
