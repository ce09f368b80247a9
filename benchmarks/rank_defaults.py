"""The defaults of ranking models on logs of which nothing is declared but user and item, beside the simple methods.

    python benchmarks/rank_defaults.py --root <folder of the data sets> --output table.jsonl
    python benchmarks/rank_defaults.py --csv my.csv customer product --output table.jsonl

Every run is `fit` on the README's twelve lines, a table, its two columns and the `class_path` of a model, and nothing
else. The simple methods are those of `--baselines true`, beside `Popularity`; the test part is read once a run, at its
end. A line of JSON for each run goes to --output, whose lines are not run again; run folders, with the learning curves,
lie beside it. `made` are small logs of odd shapes, drawn from a seed. At the end the table is printed, and each bar
that a model misses: the most popular items + 30 %, ItemKNN, and for LightGCN 98 % of EASE (ndcg@20).
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import default_runs  # noqa: E402

SIMPLE = "Popularity"  # whose run has the simple methods beside it
MODELS = (SIMPLE, "LightGCN", "MF", "CDAE", "DAE", "NGCF")
METRIC = "ndcg@20"
BARS = {"popularity": 1.3, "item_knn": 1.0}
OF_EASE = 0.98


class Log(NamedTuple):
    """A table of interactions, and its columns of users and items; `alone`: a copy of these two columns is read,
    without ratings and times, so that parts are drawn at random."""

    path: Path
    user: str = "user"
    item: str = "item"
    alone: bool = False


KNOWN = {
    "beauty": Log(Path("amazon-beauty/sequences.parquet")),
    "latest-small": Log(Path("ml-latest-small/ratings.parquet"), "userId", "movieId", alone=True),
    "latest-small-times": Log(Path("ml-latest-small/ratings.parquet"), "userId", "movieId"),
    "ml-1m": Log(Path("ml-1m/ratings.parquet"), alone=True),
}


def made_up(folder: Path) -> Iterator[tuple[str, Log]]:
    """Write logs of odd shapes, and yield them by name: in all of them users and items have one of some tastes."""
    random = np.random.default_rng(42)

    def draw(users: np.ndarray, items: int, tastes: int, own: float) -> pd.DataFrame:
        """A row for each of `users`, with an item of the user's taste with the chance `own`, else any; few are
        popular."""
        place = (items * random.random(users.size) ** 2).astype(int)
        of_taste = place - place % tastes + users % tastes
        item = np.where(random.random(users.size) < own, np.minimum(of_taste, items - 1), place)
        return pd.DataFrame({"user": users, "item": item}).drop_duplicates().sample(frac=1, random_state=1)

    wide = draw(random.integers(300, size=3300), 5000, 10, 0.9)
    half = draw(random.integers(2000, size=20_000), 1500, 20, 0.8)
    half = pd.concat([half.assign(user=half.user + 2000), pd.DataFrame({"user": np.arange(20_000), "item": 9999})])
    short = draw(np.repeat(np.arange(20_000), 3), 2000, 20, 0.8)
    rated = draw(random.integers(1500, size=40_000), 1200, 15, 0.8)
    rated["rating"] = random.integers(1, 4, len(rated)) + 2 * (rated.user % 15 == rated.item % 15)
    ordered = rated.drop(columns="rating").assign(timestamp=random.integers(10**9, 2 * 10**9, len(rated)))
    frames = {"made-wide": wide, "made-half": half, "made-short": short, "made-rated": rated,
              "made-times": ordered}  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    for name, frame in frames.items():
        frame.to_csv(folder / f"{name}.csv", index=False)
        yield name, Log(folder / f"{name}.csv")


def run(log: Log, model: str, folder: Path) -> dict[str, Any]:
    """Fit a model with its defaults; returns what metrics.json has, with the chosen values and the seconds."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    path = log.path
    if log.alone:
        path = folder.parent / f"{folder.name.rpartition('-')[0]}.csv"
        pd.read_parquet(log.path, columns=[log.user, log.item]).to_csv(path, index=False)
    source = {"path": str(path), "user": log.user, "item": log.item}
    data = {"class_path": "GraphDataModule", "init_args": {"source": {"class_path": "TableLog", "init_args": source}}}
    config = {"data": data, "model": {"class_path": model}}
    found, chosen, seconds = default_runs.run(config, folder, simple=model == SIMPLE)
    found["chosen"] = {"batch_size": chosen["data"]["init_args"]["batch_size"]} | {
        name: chosen["training"]["init_args"][name] for name in ("l2", "lr")
    }
    return found | {"seconds": seconds}


def table(lines: list[dict[str, Any]]) -> str:
    """Return the lines as Markdown."""
    rows = [f"| log | model | validation {METRIC} | test {METRIC} | test coverage@20 | best epoch | CPU s |"]
    rows.append("|" + "---|" * 7)

    def row(log: str, name: str, values: dict[str, Any], best: str = "", seconds: str = "") -> None:
        figures = (values["val"].get(METRIC), values["test"].get(METRIC), values["test"].get("coverage@20"))
        cells = ["–" if x is None else f"{x:.4f}" for x in figures]
        rows.append("| " + " | ".join([log, name, *cells, best, seconds]) + " |")

    for line in lines:
        solved = line["model"] == SIMPLE
        best = "" if solved else f"{line['best_epoch']} of {line['epochs']}"
        row(line["log"], line["model"], line, best, str(line["seconds"]))
        for name, values in line["baselines"].items() if solved else ():
            settings = ", ".join(f"{key} {value:g}" for key, value in values["settings"].items())
            row(line["log"], f"{name}, {settings}", values)
    return "\n".join(rows)


def missed(lines: list[dict[str, Any]]) -> Iterator[str]:
    """Yield a line for each bar that a model misses on a log."""
    simple = {line["log"]: line for line in lines if line["model"] == SIMPLE}
    for line in lines:
        if line["model"] == SIMPLE or line["log"] not in simple:
            continue
        yardsticks = simple[line["log"]]["baselines"] | {"popularity": simple[line["log"]]}
        bars = BARS | ({"ease": OF_EASE} if line["model"] == "LightGCN" else {})
        for name, share in bars.items():
            bar = share * yardsticks[name]["test"][METRIC] if name in yardsticks else 0.0
            if line["test"][METRIC] < bar:
                told = "; ".join(line.get("notes", [])) or "nothing"
                own = f"{line['log']}, {line['model']}: {line['test'][METRIC]:.4f}"
                yield f"{own} is below {bar:.4f} ({share:g} of {name}); it says: {told}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default=os.environ.get("RECGNN_DATA"), help="folder of the data sets")
    parser.add_argument("--csv", nargs=3, action="append", default=[], metavar=("PATH", "USER", "ITEM"),
                        help="a log of one's own and its columns, instead; may be repeated")  # fmt: skip
    parser.add_argument("--output", default="rank_defaults.jsonl", help="a line of JSON for each run")
    parser.add_argument("--logs", nargs="+", help="some of the logs; made for those of odd shapes")
    parser.add_argument("--models", nargs="+", default=MODELS)
    options = parser.parse_args()
    output = Path(options.output).absolute()
    folder = output.with_suffix(".runs")
    logs = {Path(path).stem: Log(Path(path).absolute(), user, item) for path, user, item in options.csv}
    if not logs:
        logs = {name: log._replace(path=Path(options.root).absolute() / log.path) for name, log in KNOWN.items()}
        if any(name.startswith("made") for name in options.logs or ()):
            logs |= dict(made_up(folder))
    groups = {name: name.split("-")[0] if name.startswith("made") else name for name in logs}
    wanted = [name for name in logs if not options.logs or {name, groups[name]} & {*options.logs}]
    done = [json.loads(line) for line in output.read_text().splitlines()] if output.exists() else []
    for name in wanted:
        for model in options.models:
            key = {"log": name, "model": model}
            if any(key.items() <= line.items() for line in done):
                continue
            with contextlib.redirect_stderr(io.StringIO()):
                done.append(key | run(logs[name], model, folder / f"{name}-{model}"))
            with output.open("a") as file:
                file.write(json.dumps(done[-1]) + "\n")
            print(key, done[-1]["test"][METRIC], file=sys.stderr, flush=True)
    print(table(done))
    for line in missed(done):
        print(line)


if __name__ == "__main__":
    main()
