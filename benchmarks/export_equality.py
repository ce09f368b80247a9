"""Whether exported models of clicks score as their runs do, on real rows, and how fast, as a Markdown table.

    python benchmarks/export_equality.py --runs runs/deepfm-ml-100k/1 runs/din-ml-100k/1 --root <folder of ml-100k>
    python benchmarks/export_equality.py --runs runs/deepfm-clicks/1 --rows clicks.parquet

Each run is exported to ONNX; 10,000 rows of the table are scored by `recgnn.load(run).predict` and by the export's own
`score.py`, in this process. Where the run looks at histories, the rows are given columns with what their users liked
before, found in the run's data by a loop of its own. Fails where a difference is above 1e-5.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from recgnn import load
from recgnn.data import MovieLens100K
from recgnn.data.clicks.events import events_of
from recgnn.serving.exporting import export

BAR = 1e-5


def with_history(frame: pd.DataFrame, trained, encoding: dict) -> pd.DataFrame:
    """The rows with the columns of histories that an export asks for, as lists."""
    history, tables = encoding["history"], trained.tables
    user_of = {user: row for row, user in enumerate(tables.users["user"])}
    items = {field: tables.items[field].to_numpy(object) for field in history["columns"]}
    past: list[list[int]] = []
    for user, moment in zip(frame["user"].astype("str"), frame["timestamp"], strict=True):
        events = range(*tables.ptr[[user_of[user], user_of[user] + 1]])
        before = [e for e in events if tables.positive[e] and (tables.time is None or tables.time[e] < moment)]
        past.append(before[-history["max_length"] :])
    for field, column in history["columns"].items():
        frame[column] = [[items[field][tables.item[e]] for e in events] for events in past]
    if history["times"]:
        frame[history["times"]] = [[float(tables.time[e]) for e in events] for events in past]
    return frame


def scorer_of(folder: Path):
    """The export's own `Scorer`."""
    spec = importlib.util.spec_from_file_location("score", folder / "score.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Scorer(folder, threads=torch.get_num_threads())


def seconds(call, turns: int = 3) -> tuple[float, np.ndarray]:
    """The shortest time of some turns, and what was returned."""
    times = []
    for _ in range(turns):
        start = time.perf_counter()
        found = call()
        times.append(time.perf_counter() - start)
    return min(times), found


def measure(run: Path, rows: pd.DataFrame, folder: Path) -> float:
    """Prints a line; returns the largest difference."""
    trained = load(run)
    start = time.perf_counter()
    export(run, "onnx", folder)
    exported = time.perf_counter() - start
    scorer, frame, lengths = scorer_of(folder), rows, "none"
    if scorer.history:
        frame = with_history(rows.copy(), trained, {"history": scorer.history})
        sizes = frame[next(iter(scorer.history["columns"].values()))].map(len)
        lengths = f"{sizes.min()} to {sizes.max()}, mean {sizes.mean():.1f}"
    native, expected = seconds(lambda: trained.predict(rows)["prediction"].to_numpy())
    own, found = seconds(lambda: scorer.score(frame))
    difference = float(np.abs(expected - found).max())
    cells = [run.parent.name if run.name.isdigit() else run.name, type(trained.model).__name__, lengths]
    cells += [f"{difference:.1e}", f"{len(rows) / native:,.0f}", f"{len(rows) / own:,.0f}", f"{exported:.1f}"]
    print(f"| {' | '.join(cells)} |", flush=True)
    return difference


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, nargs="+", required=True, help="run folders of models of clicks")
    parser.add_argument("--root", help="folder of MovieLens-100K, whose rows are scored")
    parser.add_argument("--rows", help="rows to score instead: a .csv or .parquet with the columns of the runs' fields")
    parser.add_argument("--count", type=int, default=10_000, help="how many rows (default: 10000)")
    options = parser.parse_args()
    if options.rows:
        rows = pd.read_parquet(options.rows) if options.rows.endswith(".parquet") else pd.read_csv(options.rows)
    else:
        rows, *_ = events_of(MovieLens100K(root=options.root).read())
    rows = rows.sample(min(options.count, len(rows)), random_state=0).reset_index(drop=True)
    print(f"{len(rows):,} rows, {torch.get_num_threads()} threads\n")
    print("| run | model | past items | largest difference | recgnn rows/s | score.py rows/s | export, s |")
    print("|---" * 7 + "|")
    with tempfile.TemporaryDirectory() as folder:
        worst = max(measure(run, rows, Path(folder) / str(n)) for n, run in enumerate(options.runs))
    if worst > BAR:
        sys.exit(f"a difference of {worst:.1e} is above {BAR}")


if __name__ == "__main__":
    main()
