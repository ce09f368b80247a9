"""What every test may use: a quiet environment, a small configuration, a small trained run."""

from __future__ import annotations

import gc
import os
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ["WANDB_MODE"] = "disabled"
gc.disable()  # until all is collected: it would walk through the imported modules again and again
_cache = tempfile.TemporaryDirectory(prefix="recgnn-tests-", ignore_cleanup_errors=True)
os.environ["RECGNN_CACHE"] = _cache.name

import pytest  # noqa: E402

ROOT = Path(__file__).parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from tests.tools.figures import EMPTY, dot  # noqa: E402
from tests.tools.processes import Command, pair  # noqa: E402

TINY = """\
seed_everything: 7
data:
  class_path: GraphDataModule
  init_args:
    source: {class_path: SyntheticLog, init_args: {num_users: 61, num_items: 40, seed: 3}}
    batch_size: 128
model:
  class_path: LightGCN
  init_args: {embedding_dim: 8, num_layers: 2}
training: {lr: 0.05, ks: [5, 10]}
trainer: {accelerator: cpu, max_epochs: 3, enable_progress_bar: false}
"""


ROOMS = ("test_", "search", "serving/exporting", "training", "cli", "comparison", "serving", "faults", "data")
"""The parts of tests/ whose files take longest, in this order."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the rooms whose files take longest: at the end no process waits long for another's last file."""
    places = {item.path: item.path.relative_to(ROOT / "tests").as_posix() for item in items}
    rank = {path: next((n for n, room in enumerate(ROOMS) if place.startswith(room)), len(ROOMS))
            for path, place in places.items()}  # fmt: skip
    items.sort(key=lambda item: rank[item.path])


def pytest_collection_finish(session: pytest.Session) -> None:
    """Keep the garbage collector from walking through all imported modules again and again, and let it come rarely."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    gc.enable()


def pytest_configure(config: pytest.Config) -> None:
    """Keep the order of files; silence what recgnn.cli.process silences and pytest would show again."""
    if hasattr(config.option, "loadscopereorder"):  # pytest-xdist would begin with the files that have most tests
        config.option.loadscopereorder = False
    for message in ("LightningCLI's args", ".*does not have many workers", ".*is smaller than the logging interval"):
        config.addinivalue_line("filterwarnings", f"ignore:{message}")
    for message in ("The dirpath has changed", "Checkpoint directory", "Be aware that when using `ckpt_path`",
                    "You're resuming from a checkpoint that ended before"):
        config.addinivalue_line("filterwarnings", f"ignore:{message}")


@pytest.fixture(scope="session", autouse=True)
def drawing() -> Iterator[Callable[[], AbstractContextManager[None]]]:
    """Save figures as dots, which takes no time; yields what makes contexts in which they are drawn."""
    from matplotlib.figure import Figure

    from recgnn.evaluation import figures

    drawn = {(Figure, "savefig"): Figure.savefig} | {(figures, name): getattr(figures, name) for name in EMPTY}

    def save(figure, file, **options) -> None:
        (drawn[Figure, "savefig"] if options.get("format") == "svg" else dot)(figure, file, **options)

    @contextmanager
    def context(made: dict[tuple[Any, str], Callable] = drawn) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            for (owner, name), function in made.items():
                patch.setattr(owner, name, function)
            yield

    with context({(Figure, "savefig"): save} | {(figures, name): function for name, function in EMPTY.items()}):
        yield context


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Path:
    """A configuration that trains LightGCN on 61 made-up users in a fraction of a second."""
    path = tmp_path_factory.mktemp("conf") / "tiny.yaml"
    path.write_text(TINY, encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def tiny_run(tiny, tmp_path_factory) -> Path:
    """The folder of a finished run of `tiny`; not to be changed."""
    from recgnn.cli.entry import main

    run = tmp_path_factory.mktemp("runs") / "tiny"
    main("fit", ["--config", str(tiny), "--run_dir", str(run)])
    return run


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """Two nodes of Ray of one CPU each, on the loopback; skips where Ray is not installed."""
    ray = pytest.importorskip("ray", reason='on a cluster: pip install "recgnn[ray]"')
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "object_store_memory": 2 * 10**8}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        nodes = Cluster(initialize_head=True, head_node_args=node)
        nodes.add_node(**node)
        patch.setenv("RAY_ADDRESS", nodes.address)
        yield
        ray.shutdown()
        nodes.shutdown()


@pytest.fixture(autouse=True)
def seeded(request) -> None:
    """Draw the same numbers in each run of a test, whatever ran before it; `RECGNN_TEST_SEED` gives others."""
    import random

    import numpy as np
    import torch

    seed = zlib.crc32(f"{os.environ.get('RECGNN_TEST_SEED', '')}{request.node.nodeid}".encode())
    random.seed(seed), np.random.seed(seed), torch.manual_seed(seed)


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def entry(monkeypatch, capsys) -> Callable[..., tuple[int, str, str]]:
    """`python -m recgnn.<command> …` without a new process: (exit code, standard output, standard error)."""

    def call(command: str, *options: object) -> tuple[int, str, str]:
        from recgnn.cli import entry as programs

        monkeypatch.setattr(sys, "argv", [f"recgnn.{command}", *map(str, options)])
        capsys.readouterr()
        try:
            programs.run(programs.main_of(command))
            code = 0
        except SystemExit as stop:
            code = stop.code or 0
        return code, *capsys.readouterr()

    return call


@pytest.fixture(scope="session")
def start() -> Iterator[Callable[..., Command]]:
    """Starts `python -m recgnn.<command> …` as a process of its own."""
    started: list[Command] = []

    def begin(command: str, *options: object, cwd: Path, **kwargs) -> Command:
        started.append(Command(command, *options, cwd=cwd, **kwargs))
        return started[-1]

    yield begin
    for process in started:
        process.kill()


@pytest.fixture(scope="session")
def together() -> Callable[..., tuple[str, str]]:
    """Runs a command in two processes that train, or measure, together; returns the output of each."""

    def run(command: str, *options: object, cwd: Path, strategy: str = "ddp") -> tuple[str, str]:
        processes = pair(command, *options, cwd=cwd, strategy=strategy)
        try:
            texts = [process.communicate(timeout=300) for process in processes]
            assert [process.returncode for process in processes] == [0, 0], [err for _, err in texts]
        finally:
            for process in processes:
                process.kill()
        return texts[0][0], texts[1][0]

    return run
