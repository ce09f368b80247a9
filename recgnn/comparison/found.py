"""Finished runs in folders: what each was, what came of it, and what it was tested on."""

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
import yaml
from rich.console import Console
from rich.progress import track

from recgnn.cli.options import flat
from recgnn.data.interactions.prepared import Part, PreparedLog
from recgnn.data.interactions.vocabulary import Vocabulary
from recgnn.errors import RunError
from recgnn.evaluation.reports import USERS
from recgnn.training.run_folder import SELECTION, read_json

OF_A_CALL = ("run_dir", "overwrite", "ckpt_path", "weights_only", "trainer.logger", "trainer.default_root_dir",
             "trainer.enable_progress_bar", "trainer.accelerator", "data.init_args.cache_dir",
             "data.init_args.source.init_args.root", "data.init_args.eval_batch_size",
             "data.init_args.report_by")  # fmt: skip


@dataclass(frozen=True)
class Run:
    """A finished run.

    Args:
        folder: where it is.
        content: metrics.json.
        model: the model's class.
        settings: the configuration by dotted name, without seeds and what is of a call alone.
        seed: of the training.
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
        """metrics.csv, of the half that was validated where the run was refitted; empty where there is none."""
        for folder in (self.folder / SELECTION, self.folder):
            if (folder / "metrics.csv").is_file():
                return pd.read_csv(folder / "metrics.csv")
        return pd.DataFrame()

    def of_users(self, metric: str) -> pd.Series | None:
        """A metric of each user, by raw id; None where the run has none such.

        Raises:
            RunError: if the file is broken.
        """
        path = self.folder / USERS
        if not path.is_file():
            return None
        try:
            frame = pd.read_parquet(path)
        except (OSError, ValueError, pa.ArrowException) as error:
            raise RunError(f"{path}: cannot be read ({str(error).splitlines()[0]}); train the run again") from error
        return frame.set_index("user")[metric].astype(float) if metric in frame else None


def task_of(content: dict[str, Any]) -> str:
    """What a run was measured by: `ranking`, `rating`, `ctr` or `regression`."""
    if "label" in content["dataset"]:
        return content["dataset"].get("task", "ctr")
    return "rating" if "rmse" in content["test"] else "ranking"


def find(paths: Iterable[str | Path]) -> tuple[list[Run], list[str]]:
    """The finished runs that are given or lie beneath what is given, and a line for each that cannot be compared.

    Raises:
        RunError: if a path is no folder, or there is no run at all.
    """
    folders, paths = {}, [Path(path).expanduser() for path in paths]
    for path in paths:
        if not path.is_dir():
            raise RunError(f"{path}: no such folder; expected run folders, as python -m recgnn.fit writes, or parents")
        folders |= {folder.resolve(): folder for folder in beneath(path)}
    if not folders:
        raise RunError(f"{', '.join(map(str, paths))}: no run folder there; python -m recgnn.fit makes one")
    runs, left, known = [], [], {}
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
    """The run folder, or all those beneath a folder, in the order of their names, numbers by value."""
    if (folder / "config.yaml").is_file() and (folder / "vocabulary").is_dir():
        yield folder
        return
    inside = [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
    for path in sorted(inside, key=lambda path: (path.name.isdigit(), path.name.zfill(12) if path.name.isdigit()
                                                 else path.name)):  # fmt: skip
        yield from beneath(path)


def read(folder: Path, content: dict[str, Any], known: dict[str, str]) -> Run:
    """A run; `known` holds the fingerprints of test parts by their files' sums.

    Raises:
        RunError: if its files are broken.
    """
    try:
        config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
        model = config["model"]["class_path"].rpartition(".")[2]
    except (OSError, UnicodeDecodeError, yaml.YAMLError, LookupError, TypeError, AttributeError) as error:
        raise RunError(f"{folder}/config.yaml: cannot be read: {str(error).splitlines()[0]}") from error
    settings = {name: value for name, value in flat(config).items() if not is_of_call(name)}
    return Run(folder, content, model, settings, config.get("seed_everything"), fingerprint(folder, content, known))


def is_of_call(name: str) -> bool:
    """Whether a setting is a seed, or where files lie, and makes no other model."""
    last = name.rpartition(".")[2]
    return last in ("seed", "seed_everything") or last.endswith("_seed") or name in OF_A_CALL


# ---- what was tested on


def fingerprint(folder: Path, content: dict[str, Any], known: dict[str, str]) -> str:
    """What a run was tested on, as a short text that is the same for the same: the events' groups and labels; or the
    test part's users and items (and ratings), by raw ids, and for rankings the items that were ranked.

    Raises:
        RunError: if the prepared data are broken.
    """
    stored, task = folder / "vocabulary", task_of(content)
    if task in ("ctr", "regression"):
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
        ranked = digest([numbers(prepared.items)], "items") if task == "ranking" else ""
        known[sums] = digest(columns, task + ranked)
    return known[sums]


def columns_of(prepared: PreparedLog, part: Part, task: str) -> list[np.ndarray]:
    """Users and items of a part, by numbers of their raw ids (0 for those that train lacks), and for the rating task
    the ratings: [n] each."""
    columns = []
    for rows, vocabulary in ((part.user, prepared.users), (part.item, prepared.items)):
        columns.append(np.append(numbers(vocabulary), np.uint64(0))[rows])
    return [*columns, part.rating] if task == "rating" else columns


def numbers(vocabulary: Vocabulary) -> np.ndarray:
    """A number for each raw id, the same in all vocabularies: [n] uint64."""
    return pd.util.hash_array(vocabulary.ids.to_numpy(np.int64 if vocabulary.is_integer else object), categorize=False)


def digest(columns: list[np.ndarray], text: str) -> str:
    """A hash of the rows of columns, in whatever order they come."""
    order, found = np.lexsort(columns), hashlib.sha256(text.encode())
    for column in columns:
        found.update(np.ascontiguousarray(column[order]).tobytes())
    return found.hexdigest()[:16]
