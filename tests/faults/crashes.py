"""Processes that end in the middle: at the n-th move, removal or write to disk, or killed at any moment; then the same
command again, which has to end as if nothing had happened."""

from __future__ import annotations

import csv
import io
import json
import os
import random
import re
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import yaml

from tests.faults.damage import difference
from tests.faults.forked import Outcome, command, forked
from tests.faults.world import Verdict, World, Wrong, judged, rows_of, same

COMMANDS = ("fit", "fit clicks", "refit", "tune", "benchmark", "export", "recommend", "predict", "compare")
WATCHED = ("replace", "rename", "fsync", "link", "unlink", "rmdir")
TIMES = ("seconds", "seconds_per_epoch", "evaluation_seconds", "folder", "runs")


def counted(work: Callable[[], Any], stop: int, before: bool) -> Callable[[], int]:
    """Return work whose process ends at the n-th move, removal or write to disk, before or after it; the result is
    the number of those."""

    def watched() -> int:
        import recgnn.files

        count = 0

        def watch(call: Callable[..., Any]) -> Callable[..., Any]:
            def wrapper(*args: Any, **kwargs: Any) -> Any:
                nonlocal count
                count += 1
                if count == stop and before:
                    os._exit(137)
                result = call(*args, **kwargs)
                if count == stop:
                    os._exit(137)
                return result

            return wrapper

        for name in WATCHED:
            setattr(os, name, watch(getattr(os, name)))
        recgnn.files._exchanged = watch(recgnn.files._exchanged)
        work()
        return count

    return watched


class Crashes:
    """The commands that write, what they write when nothing happens, and how long that takes.

    Args:
        world: Its runs are read.
    """

    def __init__(self, world: World):
        self.world = world
        self.whole: dict[str, Any] = {}
        self.calls: dict[str, int] = {}
        self.seconds: dict[str, float] = {}
        for name in COMMANDS:
            folder = self.start(name)
            began = time.monotonic()
            outcome = forked(counted(self.work(name), 0, False), folder, limit=300)
            if outcome.code:
                raise RuntimeError(f"{name}: {outcome.err[-2000:]}")
            self.whole[name], self.calls[name] = self.read(name, folder), outcome.result
            self.seconds[name] = time.monotonic() - began

    def start(self, name: str) -> Path:
        """Return a folder in which a command may begin; where it replaces something, with an earlier answer."""
        folder = self.world.new("crash")
        if name in ("export", "compare") and name in self.whole:
            shutil.copytree(self.kept(name), folder / "answer")
        elif name in ("recommend", "predict"):
            (folder / "answer.csv").write_text("an earlier answer\n")
        return folder

    def kept(self, name: str) -> Path:
        return self.world.folder / "kept" / name

    def work(self, name: str, more: tuple[str, ...] = ()) -> Callable[[], None]:
        """Return a command that writes."""
        there = self.world.folder
        fit = ["--run_dir=run", "--trainer.max_epochs=3"]
        match name:
            case "fit" | "fit clicks":
                config = there / ("clicks.yaml" if name == "fit clicks" else "ranking.yaml")
                return command("fit", "--config", config, *fit, *more)
            case "refit":
                return command("fit", "--config", there / "rating.yaml", *fit, "--refit=true", *more)
            case "tune":
                return command("tune", *self.world.tuning("search"), "--max_epochs=2")
            case "benchmark":
                configs = [there / "ranking.yaml", there / "clicks.yaml"]
                return command("benchmark", "--configs", *configs, "--seeds=1", "--runs=runs")
            case "export":
                return command("export", "--run", there / "ranking", "--format=embeddings", "--output=answer")
            case "recommend":
                return command("recommend", "--run", there / "ranking", "--output=answer.csv")
            case "predict":
                return command(
                    "predict", "--run", there / "clicks", "--input", there / "events.csv", "--output=answer.csv"
                )
        return command("compare", self.world.whole("ranking"), self.world.whole("rating"), "--output=answer")

    def read(self, name: str, folder: Path) -> Any:
        """Return what a command wrote, without times."""
        if left := [str(path.relative_to(folder)) for path in folder.rglob(".tmp-*")]:
            raise Wrong(f"left behind: {left[:3]}")
        if name in ("fit", "fit clicks", "refit"):
            return read_run(folder / "run")
        if name == "tune":
            best = yaml.safe_load((folder / "search" / "best.yaml").read_text(encoding="utf-8"))
            rows = [row for row in csv.DictReader(io.StringIO((folder / "search" / "trials.csv").read_text()))
                    if row["state"] == "complete"]  # fmt: skip
            for row in rows:
                del row["trial"], row["seconds"]
            return {"best": best, "trials": sorted(map(str, rows))}
        if name == "benchmark":
            text = (folder / "runs" / "compare" / "compare.csv").read_text(encoding="utf-8")
            lines = [{k: v for k, v in row.items() if "second" not in k} for row in csv.DictReader(io.StringIO(text))]
            return {"compare": lines} | {str(run.relative_to(folder)): read_run(run) for run in folder.glob("runs/*/1")}
        if name in ("export", "compare"):
            kept = self.kept(name)
            if not kept.is_dir():
                kept.parent.mkdir(exist_ok=True)
                shutil.copytree(folder / "answer", kept)
            files = {path.name: path.read_bytes() for path in (folder / "answer").iterdir()}
            return {name: re.sub(rb"\d{4}-\d\d-\d\d \d\d:\d\d", b"", content) for name, content in files.items()}
        return rows_of(folder / "answer.csv")

    def case(self, draw: random.Random, folder: Path, name: str, how: str) -> Verdict:
        """End a command in the middle, use what it left, and type it again.

        Args:
            draw: Decides everything.
            folder: Not used: a command begins in a folder of its own.
            name: The command.
            how: `point` for the n-th call, or `moment` for a signal at any time.
        """
        folder.rmdir()
        folder = self.start(name)
        if how == "point":
            number, before = draw.randint(1, self.calls[name]), draw.random() < 0.5
            what = f"{name} ended {'before' if before else 'after'} call {number} of {self.calls[name]}"
            outcome = forked(counted(self.work(name), number, before), folder)
        else:
            seconds = draw.uniform(0.02, self.seconds[name])
            number = draw.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
            what = f"{name} with {number.name} after {seconds:.2f} of {self.seconds[name]:.2f} s"
            outcome = forked(self.work(name), folder, stop=(seconds, number))
            if (verdict := _stopped(outcome, number, what)) is not None:
                return verdict
        for use in self._uses(name, folder):
            used = forked(use, folder)
            if (verdict := judged(used, f"{what}, then read")) is not None and verdict.outcome != "refused":
                return verdict
        if name in ("recommend", "predict") and (folder / "answer.csv").read_text() != "an earlier answer\n":
            if not same(rows_of(folder / "answer.csv"), self.whole[name]):
                return Verdict("silent wrong", what, "a file that is neither the old one nor the new one")
        if name in ("export", "compare") and not (folder / "answer").is_dir():
            return Verdict("silent wrong", what, "what was there is gone")
        again = forked(self.work(name, ("--ckpt_path=last",)), folder) if "fit" in name else None
        if again is None or again.refused:
            again = forked(self.work(name), folder)
        if again.refused:
            return Verdict("unreadable", what, again.told)
        if (verdict := judged(again, f"{what}, then again")) is not None:
            return verdict
        try:
            found = self.read(name, folder)
        except (Wrong, OSError, KeyError, ValueError) as error:
            return Verdict("silent wrong", f"{what}, then again", f"{type(error).__name__}: {error}")
        if not same(found, self.whole[name]):
            return Verdict("silent wrong", f"{what}, then again", difference(found, self.whole[name]))
        return Verdict("right", what)

    def _uses(self, name: str, folder: Path) -> list[Callable[[], None]]:
        """Return commands that read what a training left."""
        if name not in ("fit", "fit clicks", "refit"):
            return []
        run = folder / "run"
        return [command("recommend", "--run", run, "--k=2"), command("compare", run, "--output=compared")]


def _stopped(outcome: Outcome, number: signal.Signals, what: str) -> Verdict | None:
    """Judge how a process ended that was sent a signal; None if as it should."""
    if outcome.code in (0, -number) or outcome.code is None:
        return Verdict("hang", what) if outcome.code is None else None
    expected = {signal.SIGTERM: 143, signal.SIGINT: 130}.get(number)
    if outcome.code == expected and "Traceback" not in outcome.err:
        return None
    return Verdict(
        "traceback" if "Traceback" in outcome.err else "unclear", what, f"exit {outcome.code}: {outcome.told}"
    )


def read_run(run: Path) -> dict[str, Any]:
    """Return what a training left, without times: results, the rows of each epoch, weights."""
    content = json.loads((run / "metrics.json").read_text())
    with (run / "metrics.csv").open() as file:
        rows = [{k: v for k, v in row.items() if k not in TIMES} for row in csv.DictReader(file)]
    found: dict[str, Any] = {"results": {k: content[k] for k in ("val", "test", "best_epoch", "epochs")}, "rows": rows}
    for path in sorted((run / "checkpoints").glob("*.ckpt")):
        state = torch.load(path, map_location="cpu", weights_only=True)
        found[path.name] = {"epoch": state["epoch"]} | {k: v.tolist() for k, v in state["state_dict"].items()}
    return found
