"""Finished runs read from their folders: configuration, metrics, and the data that they were tested on."""

from __future__ import annotations

import hashlib
import json
import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from rich.console import Console
from rich.progress import track

from recgnn.data.interactions.log import PARTS
from recgnn.data.interactions.prepared import Part, PreparedLog
from recgnn.data.interactions.vocabulary import Vocabulary
from recgnn.data.stored import flat, read_json, read_yaml, reading, verify
from recgnn.errors import RecGNNError, RunError, printable
from recgnn.training.run_folder import SELECTION

USERS, EPOCHS = "users.parquet", "metrics.csv"  # the metrics of each user on the test part, and of each epoch
NO_MODEL = ("run_dir", "trials", "overwrite", "verbose", "ckpt_path", "weights_only",
            "baselines", "trainer.logger", "trainer.default_root_dir",
            "trainer.enable_progress_bar", "trainer.accelerator", "data.init_args.cache_dir",
            "data.init_args.source.init_args.root", "data.init_args.hard_negatives.init_args.run",
            "data.init_args.eval_batch_size", "data.init_args.report_by")  # fmt: skip


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
        """`ranking`, `rating`, `clicks` or `regression`."""
        return task_of(self.content)

    @property
    def dataset(self) -> dict[str, Any]:
        """What `metrics.json` tells of the data."""
        return self.content["dataset"]

    @property
    def best_epoch(self) -> str:
        """Return the best epoch, or a dash where there were none: of a model that is solved, a pipeline, lists."""
        return str(self.content["best_epoch"]) if self.content["epochs"] else "–"

    @cached_property
    def epochs(self) -> pd.DataFrame:
        """metrics.csv, of the half that was validated if the run was refitted; empty if there is none.

        Raises:
            RunError: If it is broken.
        """
        for folder in (self.folder / SELECTION, self.folder):
            if (folder / EPOCHS).is_file():
                files = read_json(folder / "metrics.json").get("files", {})
                with reading(folder / EPOCHS):
                    verify(folder, files, [name for name in files if name == EPOCHS])
                    frame = pd.read_csv(folder / EPOCHS).astype(float).rename(columns=printable)
                    return frame.assign(epoch=frame["epoch"])
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
        with reading(path):
            return pq.read_table(path, columns=columns).to_pandas()

    def check(self) -> None:
        """Refuse files that are broken, before the run is compared.

        Raises:
            RunError: Names the file.
        """
        files = self.content["files"]
        named = [name for name in ("config.yaml", USERS) if name in files and (self.folder / name).is_file()]
        verify(self.folder, files, named)
        frame = self._users()
        with reading(self.folder / USERS):
            assert frame is None or frame.drop(columns="user").astype(float) is not None
        _ = self.epochs


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
        try:
            runs.append(read(folder, known))
        except RecGNNError as error:
            left.append(printable(f"{error}; left out"))
    return runs, left


def beneath(folder: Path) -> Iterator[Path]:
    """Yield a run folder itself, or all run folders below it, sorted by name and numbers by value."""
    left = ("config.yaml", "metrics.json")  # of a run, even where one of them is gone
    lists = all((folder / name).is_file() for name in ("metrics.json", USERS))  # of `evaluate`
    if lists or ((folder / "vocabulary").is_dir() and any((folder / name).is_file() for name in left)):
        yield folder
        return
    inside = [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
    for path in sorted(inside, key=lambda path: (path.name.isdigit(), int(path.name) if path.name.isdigit() else 0,
                                                 path.name)):  # fmt: skip
        yield from beneath(path)


def read(folder: Path, known: dict[str, str]) -> Run:
    """Read a run.

    Args:
        folder: its run folder.
        known: fingerprints of test parts by the checksums of their files; the run's is added.

    Raises:
        RecGNNError: If it is not finished or was not tested, or its files are broken.
    """
    if not (folder / "metrics.json").is_file():
        raise RunError(f"{folder}: is not finished (no metrics.json)")
    content = read_json(folder / "metrics.json")
    if not content.get("test") or not content.get("dataset"):
        raise RunError(f"{folder}: was not tested (its split has no test part)")
    with reading(folder / "metrics.json", "is no result of a run"):
        content = as_results(content)
        lists = content.get("recommendations")
        if lists is not None:
            name, settings = str(lists["name"]), flat(lists.get("settings") or {"recommendations": str(lists["file"])})
            run = Run(folder, content, name, settings, lists.get("seed"), str(lists["part"]))
    if lists is not None:
        run.check()
        return run
    config = read_yaml(folder / "config.yaml")
    with reading(folder / "config.yaml"):
        model = printable(config["model"]["class_path"].rpartition(".")[2])
        settings = {name: value for name, value in flat(plain(config)).items() if makes_a_model(name)}
        seed = plain(config.get("seed_everything"))
    run = Run(folder, content, model, settings, seed, fingerprint(folder, content, known))
    run.check()
    return run


def as_results(content: dict[str, Any]) -> dict[str, Any]:
    """Bring metrics.json to plain text and numbers of the right kind, whoever wrote it.

    Raises:
        LookupError, TypeError, ValueError, AttributeError: If something is missing or of another kind.
    """
    content = plain(content)
    data, groups, baselines = content["dataset"], content.get("groups", {}), content.get("baselines", {})
    counts = {part: int(data[part]) for part in PARTS}
    texts = {name: str(data[name]) for name in ("name", "split", "label") if name in data or name != "label"}
    return content | {
        "test": numbers(content["test"]),
        "dataset": data | counts | texts,
        "seconds": float("nan" if content["seconds"] is None else content["seconds"]),  # not known of lists
        "seconds_per_epoch": float(content["seconds_per_epoch"] or 0),
        "best_epoch": int(content["best_epoch"]),
        "epochs": int(content["epochs"]),
        **{name: int(number) for name in ("trials", "test_reads") if (number := content.get(name)) is not None},
        "groups": {name: [group(record, name) for record in records] for name, records in groups.items()},
        "baselines": {
            name: {"test": numbers(parts.get("test", {})), "settings": numbers(parts.get("settings", {}))}
            for name, parts in baselines.items()
        },
        "files": dict(content.get("files", {})),
    }


def numbers(record: dict[str, Any]) -> dict[str, float | None]:
    """Return a record whose values are finite numbers or None."""
    return {name: None if value is None or not math.isfinite(value) else float(value) for name, value in record.items()}


def group(record: dict[str, Any], kind: str) -> dict[str, Any]:
    """Return the metrics of a group, or a point of the calibration: numbers but for the group's label.

    Raises:
        ValueError: If one is missing.
    """
    needed = ("predicted", "observed") if kind == "calibration" else ("group", "rows")
    if any(record[name] is None for name in needed):
        raise ValueError(f"a group of {kind} has no {' or '.join(needed)}")
    label = {"group": str(record["group"])} if "group" in record else {}
    return numbers({name: value for name, value in record.items() if name != "group"}) | label


def plain(value: Any) -> Any:
    """Return a value of JSON or YAML with all its texts printable: on a terminal, and in HTML and SVG."""
    if isinstance(value, dict):
        return {printable(str(key)): plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    return value if value is None or isinstance(value, bool | int | float) else printable(str(value))


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
    summary = read_json(stored / "summary.json")
    files = summary.get("files", {})
    if task in ("clicks", "regression"):
        with reading(stored):
            names = [name for name in ("test.labels.npy", "test.groups.npy") if name in files]
            verify(stored, files, names)
            return digest([np.load(stored / name, mmap_mode="r") for name in names], task)
    sums = task + json.dumps(files, sort_keys=True)
    if sums not in known:
        prepared = PreparedLog.load(stored)
        parts = [prepared.test, *([prepared.cold["test"]] if task == "rating" and "test" in prepared.cold else [])]
        known[sums] = of_parts(prepared, parts, task)
    return known[sums]


def of_parts(prepared: PreparedLog, parts: Sequence[Part], task: str) -> str:
    """Return the fingerprint of parts of a log."""
    columns = [np.concatenate(x) for x in zip(*(columns_of(prepared, part, task) for part in parts), strict=True)]
    ranked = digest([id_hashes(prepared.items)], "items") if task == "ranking" else ""
    return digest(columns, task + ranked)


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
