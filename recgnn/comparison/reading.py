"""Finished runs read from their folders: configuration, metrics, and the data that they were tested on."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from rich.console import Console
from rich.progress import track

from recgnn.data.interactions.prepared import Part, PreparedLog
from recgnn.data.interactions.vocabulary import Vocabulary
from recgnn.errors import RunError
from recgnn.training.run_folder import SELECTION, read_json

USERS = "users.parquet"  # file of a run folder: the metrics of each user on the test part
NO_MODEL = ("run_dir", "overwrite", "ckpt_path", "weights_only", "trainer.logger", "trainer.default_root_dir",
            "trainer.enable_progress_bar", "trainer.accelerator", "data.init_args.cache_dir",
            "data.init_args.source.init_args.root", "data.init_args.eval_batch_size",
            "data.init_args.report_by")  # fmt: skip


@dataclass(frozen=True)
class Run:
    """A finished run.

    Args:
        folder: its run folder.
        content: metrics.json.
        model: name of the model's class.
        settings: the configuration by dotted name, without seeds, paths and other options that make no other model.
        seed: the seed of the training.
        part: a fingerprint of its test part.
    """

    folder: Path
    content: dict[str, Any]
    model: str
    settings: dict[str, Any]
    seed: Any
    part: str

    @property
    def task(self) -> str:
        return task_of(self.content)

    @property
    def dataset(self) -> dict[str, Any]:
        return self.content["dataset"]

    @cached_property
    def epochs(self) -> pd.DataFrame:
        """metrics.csv, of the half that was validated if the run was refitted; empty if there is none."""
        for folder in (self.folder / SELECTION, self.folder):
            if (folder / "metrics.csv").is_file():
                return pd.read_csv(folder / "metrics.csv")
        return pd.DataFrame()

    def of_users(self, metric: str) -> pd.Series | None:
        """Return a test metric of each user, by raw id; None if the run does not have it.

        Raises:
            RunError: If users.parquet is broken.
        """
        frame = self._users()
        return None if frame is None or metric not in frame else frame.set_index("user")[metric].astype(float)

    @property
    def num_users(self) -> int | None:
        """The number of users tested; None if the run does not say."""
        frame = self._users(["user"])
        return None if frame is None else len(frame)

    def _users(self, columns: list[str] | None = None) -> pd.DataFrame | None:
        path = self.folder / USERS
        if not path.is_file():
            return None
        try:
            return pq.read_table(path, columns=columns).to_pandas()
        except (OSError, ValueError, pa.ArrowException) as error:
            raise RunError(f"{path}: cannot be read ({str(error).splitlines()[0]}); train the run again") from error


def task_of(content: dict[str, Any]) -> str:
    """Return the task of a run: `ranking`, `rating`, `clicks` or `regression`."""
    if "label" in content["dataset"]:
        return "regression" if content["dataset"].get("task") == "regression" else "clicks"
    return "rating" if "rmse" in content["test"] else "ranking"


def find(paths: Iterable[str | Path]) -> tuple[list[Run], list[str]]:
    """Read the finished runs in folders and below them.

    Returns:
        The runs, and a line for each run folder that cannot be compared.

    Raises:
        RunError: If a path is no folder, or no run folder is found.
    """
    folders: dict[Path, Path] = {}
    given = [Path(path).expanduser() for path in paths]
    for path in given:
        if not path.is_dir():
            raise RunError(f"{path}: no such folder; expected run folders, as python -m recgnn.fit writes, or parents")
        folders |= {folder.resolve(): folder for folder in beneath(path)}
    if not folders:
        raise RunError(f"{', '.join(map(str, given))}: no run folder there; python -m recgnn.fit makes one")
    runs: list[Run] = []
    left: list[str] = []
    known: dict[str, str] = {}
    for folder in track(folders.values(), "reading runs", transient=True, disable=not sys.stderr.isatty(),
                        console=Console(stderr=True)):  # fmt: skip
        content = read_json(folder / "metrics.json")
        if not content:
            left.append(f"{folder}: is not finished (no metrics.json); left out")
        elif not content.get("test") or not content.get("dataset"):
            left.append(f"{folder}: was not tested (its split has no test part); left out")
        else:
            try:
                runs.append(read(folder, content, known))
            except RunError as error:
                left.append(f"{error}; left out")
    return runs, left


def beneath(folder: Path) -> Iterator[Path]:
    """Yield a run folder itself, or all run folders below it, sorted by name and numbers by value."""
    if (folder / "config.yaml").is_file() and (folder / "vocabulary").is_dir():
        yield folder
        return
    inside = [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
    for path in sorted(inside, key=lambda path: (path.name.isdigit(), int(path.name) if path.name.isdigit() else 0,
                                                 path.name)):  # fmt: skip
        yield from beneath(path)


def read(folder: Path, content: dict[str, Any], known: dict[str, str]) -> Run:
    """Read a run.

    Args:
        folder: its run folder.
        content: its metrics.json.
        known: fingerprints of test parts by the checksums of their files; the run's is added.

    Raises:
        RunError: If its files are broken.
    """
    try:
        config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
        model = config["model"]["class_path"].rpartition(".")[2]
    except (OSError, UnicodeDecodeError, yaml.YAMLError, LookupError, TypeError, AttributeError) as error:
        raise RunError(f"{folder}/config.yaml: cannot be read: {str(error).splitlines()[0]}") from error
    settings = {name: value for name, value in flat(config).items() if makes_a_model(name)}
    return Run(folder, content, model, settings, config.get("seed_everything"), fingerprint(folder, content, known))


def flat(config: Any, place: str = "") -> dict[str, Any]:
    """Flatten a configuration to dotted names: {"model.init_args.lr": 0.01, …}."""
    if not isinstance(config, dict) or not config:
        return {place: config}
    return {k: v for key, inner in config.items() for k, v in flat(inner, f"{place}.{key}" if place else key).items()}


def makes_a_model(name: str) -> bool:
    """Whether a setting makes another model; seeds and the places of files do not."""
    last = name.rpartition(".")[2]
    return not (last in ("seed", "seed_everything") or last.endswith("_seed") or name in NO_MODEL)


# ---- fingerprints of test parts


def fingerprint(folder: Path, content: dict[str, Any], known: dict[str, str]) -> str:
    """Return a short text that is the same for runs tested on the same data.

    It covers the groups and labels of click events; the users, items (and ratings) of an interaction log's test part,
    by raw id; and, for rankings, the items that were ranked.

    Raises:
        RunError: If the prepared data are broken.
    """
    stored, task = folder / "vocabulary", task_of(content)
    if task in ("clicks", "regression"):
        try:
            arrays = [np.load(stored / f"test.{name}.npy", mmap_mode="r") for name in ("labels", "groups")
                      if (stored / f"test.{name}.npy").is_file()]  # fmt: skip
        except (OSError, ValueError) as error:
            raise RunError(f"{stored}: cannot be read: {str(error).splitlines()[0]}") from error
        return digest(arrays, task)
    sums = task + json.dumps(read_json(stored / "summary.json").get("sha256", str(folder)), sort_keys=True)
    if sums not in known:
        prepared = PreparedLog.load(stored)
        parts = [prepared.test, *([prepared.cold["test"]] if task == "rating" and "test" in prepared.cold else [])]
        columns = [np.concatenate(x) for x in zip(*(columns_of(prepared, part, task) for part in parts), strict=True)]
        ranked = digest([id_hashes(prepared.items)], "items") if task == "ranking" else ""
        known[sums] = digest(columns, task + ranked)
    return known[sums]


def columns_of(prepared: PreparedLog, part: Part, task: str) -> list[np.ndarray]:
    """Return hashes of a part's users and items (0 for ids not in the training data) and, for the rating task, the
    ratings: [n] each."""
    columns = []
    for rows, vocabulary in ((part.user, prepared.users), (part.item, prepared.items)):
        columns.append(np.append(id_hashes(vocabulary), np.uint64(0))[rows])
    if task == "rating" and part.rating is not None:
        columns.append(part.rating)
    return columns


def id_hashes(vocabulary: Vocabulary) -> np.ndarray:
    """Hash each raw id, to the same number in every vocabulary: [n] uint64."""
    ids = vocabulary.ids.to_numpy(np.int64 if vocabulary.is_integer else np.dtype(object))
    return pd.util.hash_array(ids, categorize=False)


def digest(columns: list[np.ndarray], text: str) -> str:
    """Hash the rows of columns, whatever their order."""
    order, found = np.lexsort(columns), hashlib.sha256(text.encode())
    for column in columns:
        found.update(np.ascontiguousarray(column[order]).tobytes())
    return found.hexdigest()[:16]
