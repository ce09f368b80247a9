"""A Ray cluster that is there: the connection, and results of what runs on it. Ray is imported when it is asked for."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

from recgnn.errors import ConfigError, RunError, first_line

RAY = "ray"
TAKEN_ALONG = ("OMP_NUM_THREADS", "WANDB_MODE", "WANDB_PROJECT")  # of the environment, with all of RECGNN_*


def connect(on: str = RAY, asked: str = "--on ray") -> Any:
    """Connect to a cluster, unless this process is; return the module `ray`.

    Args:
        on: `ray`, for the cluster that this machine belongs to, or `$RAY_ADDRESS`; or `ray:HOST:PORT`.
        asked: The option that needs it, for the errors.

    Raises:
        ConfigError: If `on` is anything else, Ray is not installed, or there is no cluster.
    """
    name, _, address = on.partition(":")
    if name != RAY or address.startswith("//"):
        raise ConfigError(f"--on {on}: expected ray, or ray:HOST:PORT, the address that `ray start --head` tells")
    try:
        ray = import_module(RAY)
        import_module("ray.train")
    except ImportError as error:
        raise ConfigError(f'{asked} needs Ray: pip install "recgnn[ray]" ({first_line(error)})') from error
    if not ray.is_initialized():
        own = {name: value for name, value in os.environ.items() if name.startswith("RECGNN_") or name in TAKEN_ALONG}
        try:
            ray.init(address or "auto", runtime_env={"env_vars": own}, logging_level="WARNING")
        except ConnectionError as error:
            start = "start one with `ray start --head`, or call this on one of its machines"
            raise ConfigError(f"{asked}: no Ray cluster is there ({first_line(error)}); {start}") from error
    return ray


def result(reference: Any) -> Any:
    """Wait for a result, or for a list of them, and return it.

    Raises:
        Exception: What the task raised.
        RunError: If the process or the node that had it was lost.
    """
    import ray

    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from error
    except (ray.exceptions.RayActorError, ray.exceptions.WorkerCrashedError, ray.exceptions.ObjectLostError) as error:
        raise RunError(f"a worker of Ray was lost ({first_line(error)}); type the command again") from error
