"""Damaged run folders: bits flipped, files cut short, emptied, exchanged; then a command that reads them."""

from __future__ import annotations

import csv
import io
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

from tests.faults.forked import Outcome, command, forked
from tests.faults.texts import checked
from tests.faults.world import RUNS, Verdict, World, Wrong, by_key, judged, rows_of, same

COMMANDS = ("recommend", "similar", "predict", "validate", "test", "export", "compare", "fit")
PARTS = {
    "recommend": ("checkpoints/best.ckpt", "vocabulary"), "similar": ("checkpoints/best.ckpt", "vocabulary"),
    "predict": ("checkpoints/best.ckpt", "vocabulary"), "export": ("checkpoints/best.ckpt", "vocabulary"),
    "validate": ("checkpoints/best.ckpt", "vocabulary", "config.yaml"),
    "test": ("checkpoints/best.ckpt", "vocabulary", "config.yaml"),
    "compare": ("metrics.json", "metrics.csv", "users.parquet", "config.yaml", "vocabulary"),
    "fit": ("checkpoints/last.ckpt", "checkpoints/best.ckpt", "metrics.csv", "vocabulary", "config.yaml"),
}  # fmt: skip
"""What of a run folder a command reads."""


class Damage:
    """Commands that read a run, and what they answer while it is whole.

    Args:
        world: Its runs are copied, damaged and read.
    """

    def __init__(self, world: World):
        self.world = world
        self.answers = {}
        for name in COMMANDS:
            for run in runs_of(name):
                folder = world.new("whole")
                outcome = forked(self.work(name, world.run(run, folder), folder), folder)
                if outcome.code:
                    raise RuntimeError(f"{name} on {run}: {outcome.err[-2000:]}")
                self.answers[name, run] = self.answer(name, folder, outcome)

    def work(self, name: str, run: Path, folder: Path) -> Callable[[], None]:
        """Return a command that reads a run and needs nothing else."""
        if name == "compare":
            shutil.copytree(self.world.whole("ranking"), folder / "other")
            return command(name, run, folder / "other", "--output", folder / "answer")
        if name == "fit":
            config = self.world.folder / f"{run.name}.yaml"
            words = ["--config", config, "--run_dir", run, "--ckpt_path=last", "--trainer.max_epochs=3"]
            return command(name, *words)
        table = self.world.folder / ("events.csv" if run.name == "clicks" else "pairs.csv")
        more = {
            "recommend": ["--k=4", "--output=answer.csv"], "similar": ["--items=1,2,3,18", "--output=answer.csv"],
            "predict": ["--input", table, "--output=answer.csv"],
            "export": ["--format", "embeddings", "--output", folder / "answer"],
        }.get(name, ["--output=answer.json"])  # fmt: skip
        return command(name, "--run", run, *more)

    def answer(self, name: str, folder: Path, outcome: Outcome) -> object:
        """Return what a command answered, in a form that can be compared."""
        if name in ("validate", "test"):
            return json.loads((folder / "answer.json").read_text())
        if name == "fit":
            run = next(folder / run for run in RUNS if (folder / run).is_dir())
            content = json.loads((run / "metrics.json").read_text())
            return {key: content[key] for key in ("val", "test", "best_epoch", "epochs")}
        if name == "export":
            import numpy as np

            return {path.name: np.load(path).tolist() for path in sorted((folder / "answer").glob("*.npy"))}
        if name == "compare":
            text = (folder / "answer" / "compare.csv").read_text(encoding="utf-8")
            kept = [dict(row) for row in csv.DictReader(io.StringIO(text))]
            return [{k: v for k, v in row.items() if "second" not in k and k != "folders"} for row in kept]
        return by_key(rows_of(folder / "answer.csv"))

    def case(self, draw: random.Random, folder: Path, name: str, how: str) -> Verdict:
        """Damage one file of a run, and read the run.

        Args:
            draw: Decides everything.
            folder: An empty folder.
            name: The command.
            how: `bit` for a flipped bit, or `file` for all other damages.
        """
        run = self.world.run(draw.choice(runs_of(name)), folder)
        places = [run / part for part in PARTS[name] if (run / part).exists()]
        place = draw.choice(places)
        path = draw.choice(sorted(place.iterdir())) if place.is_dir() else place
        what = f"{name} with {path.relative_to(folder)}, {(flip if how == 'bit' else self._spoil)(draw, path)}"
        outcome = forked(self.work(name, run, folder), folder)
        if (verdict := judged(outcome, what)) is not None:
            return verdict

        def check() -> None:
            answer = self.answer(name, folder, outcome)
            if same(answer, self.answers[name, run.name]):
                return
            said = outcome.out + outcome.err
            if name == "compare" and f"{run}" in said and ("left out" in said or "note" in said):
                return
            raise Wrong(f"another answer: {difference(answer, self.answers[name, run.name])}")

        return checked(what, check)

    def _spoil(self, draw: random.Random, path: Path) -> str:
        how = draw.choice(["cut", "empty", "gone", "junk", "other", "folder", "text"])
        content = path.read_bytes()
        if how == "cut":
            path.write_bytes(content[: draw.randrange(max(1, len(content)))])
        elif how in ("empty", "junk", "text"):
            path.write_bytes({"empty": b"", "junk": draw.randbytes(300), "text": b"hello: [1, 2]\n"}[how])
        elif how == "other":  # of another run
            run = draw.choice([run for run in RUNS if run not in path.parts])
            files = sorted(file for file in (self.world.folder / run).rglob("*") if file.is_file())
            if path.suffix == ".ckpt":  # a whole one of another run is that run's
                files = [file for file in files if file.suffix != ".ckpt"]
            alike = [file for file in files if file.name == path.name]
            shutil.copyfile(other := draw.choice(alike or files), path)
            return f"replaced by {other.relative_to(self.world.folder)}"
        else:
            path.unlink()
            if how == "folder":
                path.mkdir()
        return how


def runs_of(name: str) -> tuple[str, ...]:
    """Return the runs that a command can read: clicks have no embeddings."""
    return RUNS[:2] if name == "export" else RUNS


def flip(draw: random.Random, path: Path) -> str:
    """Flip a bit of a file; returns which."""
    content = bytearray(path.read_bytes())
    if not content:
        return "empty as it was"
    place, bit = draw.randrange(len(content)), draw.randrange(8)
    content[place] ^= 1 << bit
    path.write_bytes(content)
    return f"bit {bit} of byte {place} of {len(content)}"


def difference(one: object, other: object, place: str = "") -> str:
    """Tell the first place in which two answers differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in [*one, *other]:
            if key not in one or key not in other or not same(one[key], other[key]):
                return difference(one.get(key), other.get(key), f"{place}/{key}")
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for number, (a, b) in enumerate(zip(one, other, strict=True)):
            if not same(a, b):
                return difference(a, b, f"{place}/{number}")
    return f"{place}: {str(one)[:80]}, expected {str(other)[:80]}"
