"""What the cases start from: small logs, configurations, finished runs, and the right answers of every command."""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import json
import random
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import yaml
from matplotlib.figure import Figure

from recgnn.cli.entry import main
from tests.faults.forked import Outcome, command, forked, import_all, imported
from tests.tools.figures import dot

OUTCOMES = ("refused", "right", "silent wrong", "traceback", "hang", "unreadable", "unclear")
FAILURES = OUTCOMES[2:]
USERS, ITEMS = range(1, 25), range(1, 19)
PLACES, PRICES = ("home", "work", "é №1"), ("1.5", "20", "300")
FIELDS = ("user", "item", "place", "price")
RUNS = ("ranking", "rating", "clicks")
QUIET = {"accelerator": "cpu", "max_epochs": 2, "enable_progress_bar": False, "logger": False}


class Verdict(NamedTuple):
    """How a case ended, and what was done, for whoever has to look into it."""

    outcome: str
    what: str
    told: str = ""


class Wrong(Exception):
    """An answer that is not the right one."""


def judged(outcome: Outcome, what: str) -> Verdict | None:
    """Judge all that can be judged without the right answer; None if the command ended well."""
    if outcome.code is None:
        return Verdict("hang", what, outcome.told)
    if outcome.refused:
        return Verdict("refused", what, outcome.told)
    if "Traceback (most recent call last)" in outcome.err or outcome.code < 0:
        return Verdict("traceback", what, f"exit {outcome.code}: {outcome.told}")
    if outcome.code:
        return Verdict("unclear", what, f"exit {outcome.code}: {' // '.join(outcome.err.splitlines()[:6])[:400]}")
    return None


class World:
    """Logs, configurations and runs in a folder, and what the commands answer on them.

    Args:
        folder: An empty folder, in which all cases work.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.number = 0
        draw = random.Random(1)
        self.log = [
            (user, item, draw.randint(1, 5), 1_600_000_000 + 86_400 * n + user)
            for n, (user, item) in enumerate(draw.sample([*itertools.product(USERS, ITEMS)], 260))
        ]
        self.events = [
            (user, item, draw.choice(PLACES), draw.choice(PRICES), int(rating > 3))
            for user, item, rating, _ in self.log
        ]
        write_table(folder / "log.csv", ("user", "item", "rating", "timestamp"), self.log)
        write_table(folder / "events.csv", (*FIELDS, "clicked"), self.events)
        for name in RUNS:
            (folder / f"{name}.yaml").write_text(yaml.safe_dump(self.config(name)), encoding="utf-8")

    def config(self, name: str) -> dict:
        """Return the configuration of a run, by its name."""
        if name == "clicks":
            source = {"class_path": "EventTable", "init_args": {"path": str(self.folder / "events.csv")}}
            fields = {field: "numeric" if field == "price" else "categorical" for field in FIELDS}
            arguments = {"source": source, "label": "clicked", "fields": fields, "batch_size": 64}
            data = {"class_path": "CTRDataModule", "init_args": arguments}
            model = {"class_path": "DeepFM", "init_args": {"embedding_dim": 4, "hidden_dims": [4], "dropout": 0.1}}
            return {"data": data, "model": model, "training": {"lr": 0.05, "l2": 0.0}, "trainer": dict(QUIET)}
        source = {"class_path": "TableLog", "init_args": {"path": str(self.folder / "log.csv")}}
        data = {"class_path": "GraphDataModule", "init_args": {"source": source, "batch_size": 64}}
        if name == "rating":
            model = {"class_path": "MF", "init_args": {"embedding_dim": 4}}
            training = {"class_path": "RatingTraining", "init_args": {"lr": 0.05, "l2": 0.0}}
        else:
            model = {"class_path": "LightGCN", "init_args": {"embedding_dim": 4, "num_layers": 2}}
            training = {"lr": 0.05, "l2": 0.0001, "ks": [5, 10]}
        return {"data": data, "model": model, "training": training, "trainer": dict(QUIET)}

    def prepare(self) -> None:
        """Import what the commands need, train the runs, and note the right answers."""
        Figure.savefig = dot  # what figures show is no matter of faults
        warm = self.new("warm")
        for number in (1, 2):  # the second time for all commands, the first for the one that makes their run
            base = [command("fit", "--config", self.folder / "ranking.yaml", "--run_dir", self.folder / "ranking")]
            more = [
                command("fit", "--config", self.folder / "clicks.yaml", "--run_dir", self.folder / "clicks"),
                command("fit", "--config", self.folder / "rating.yaml", "--run_dir", self.folder / "rating"),
                command(
                    "export", "--run", self.folder / "clicks", "--format", "onnx", "--output", self.folder / "onnx"
                ),
                command("compare", self.folder / "ranking", self.folder / "rating", self.folder / "clicks"),
                command("test", "--run", self.folder / "ranking"),
                command("recommend", "--run", self.folder / "ranking"),
                command("predict", "--run", self.folder / "clicks", "--input", self.folder / "grid.csv"),
                command("tune", *self.tuning("warm", 1)),
            ]
            if number == 2:
                self._grids()
            for work in base if number == 1 else more:
                told = forked(imported(work), warm, limit=300)
                if told.code:
                    raise RuntimeError(f"a case that must work does not: {told.err[-2000:]}")
                import_all(told.result)
        self._remember_options()
        self._answers()
        for name in RUNS:
            shutil.copytree(self.folder / name, self.whole(name))

    def _remember_options(self) -> None:
        """Parse options in this process, so that those to come need not look up all classes and their arguments."""
        with contextlib.redirect_stdout(io.StringIO()):
            for run in RUNS:
                place = str(self.folder / run)
                for name, words in {"fit": ["--config", f"{place}.yaml"], "test": ["--run", place]}.items():
                    with contextlib.suppress(SystemExit):
                        main(name, [*words, "--print_config"])

    def _grids(self) -> None:
        """Write tables of all rows that `predict` may be asked for, unknown and missing values among them."""
        users, items = (*map(str, USERS), "999", ""), (*map(str, ITEMS), "999", "")
        write_table(self.folder / "pairs.csv", ("user", "item"), [*itertools.product(users[:-1], items[:-1])])
        grid = itertools.product(users, items, (*PLACES, "elsewhere", ""), (*PRICES, ""))
        write_table(self.folder / "grid.csv", FIELDS, [*grid])

    def _answers(self) -> None:
        """Note what the commands answer on the undamaged runs."""
        self.predicted: dict[str, dict[tuple[str, ...], str]] = {}
        for run in RUNS:
            table = "grid" if run == "clicks" else "pairs"
            answer = self.new("answer") / "answer.csv"
            self.must(
                "predict", "--run", self.folder / run, "--input", self.folder / f"{table}.csv", "--output", answer
            )
            self.predicted[run] = {tuple(row[:-1]): row[-1] for row in rows_of(answer)[1:]}
        self.lists = {run: self.answer("recommend", "--run", self.folder / run, "--k", 5) for run in RUNS}
        self.similar = {run: self.answer("similar", "--run", self.folder / run, "--items", ",".join(map(str, ITEMS)),
                                         "--k", 5) for run in RUNS}  # fmt: skip
        self.metrics = {run: json.loads((self.folder / run / "metrics.json").read_text()) for run in RUNS}

    def must(self, name: str, *argv: object) -> Outcome:
        """Run a command that has to end well."""
        outcome = forked(command(name, *argv), self.new("must"))
        if outcome.code:
            raise RuntimeError(f"{name} {argv}: {outcome.err[-2000:]}")
        return outcome

    def answer(self, name: str, *argv: object) -> dict[str, list[list[str]]]:
        """Return the printed rows of a command by their first column."""
        return by_key(list(csv.reader(io.StringIO(self.must(name, *argv).out)))[1:])

    def tuning(self, name: str, trials: int = 2) -> list[object]:
        """Return the options of a small search that writes into the folder `name`."""
        space = self.folder / "space.yaml"
        space.write_text(yaml.safe_dump({
            "method": "random", "metric": {"name": "val/ndcg@5", "goal": "maximize"},
            "parameters": {"training.lr": {"min": 0.001, "max": 0.1}},
        }))  # fmt: skip
        return ["--config", self.folder / "ranking.yaml", "--space", space, "--trials", trials, "--output", name]

    def new(self, name: str = "case") -> Path:
        """Return a new, empty folder."""
        self.number += 1
        folder = self.folder / "cases" / f"{name}{self.number}"
        folder.mkdir(parents=True)
        return folder

    def whole(self, name: str) -> Path:
        """Return a finished run that is only copied and compared: `test` counts its readings in a run."""
        return self.folder / "kept" / "runs" / name

    def run(self, name: str, folder: Path) -> Path:
        """Return a copy of a finished run in a folder."""
        return Path(shutil.copytree(self.whole(name), folder / name))


def write_table(path: Path, names: tuple[str, ...], rows: list) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([names, *rows])


def rows_of(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file, strict=True))


def by_key(rows: list[list[str]]) -> dict[str, list[list[str]]]:
    """Group rows by their first column."""
    found: dict[str, list[list[str]]] = {}
    for row in rows:
        found.setdefault(row[0], []).append(row)
    return found


def same(one: object, other: object) -> bool:
    """Whether two answers are the same: numbers to five digits, since the last ones depend on the size of a block."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if one == other:
        return True
    try:
        return bool(np.isclose(float(one), float(other), rtol=2e-4, atol=1e-6, equal_nan=True))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False


def frame_of(path: Path) -> pd.DataFrame:
    return pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
