"""Quality of RecBole 1.2.1's CTR models on the rows that recgnn trains, validates and tests on, as a Markdown table.

    python benchmarks/quality_recbole.py --root <folder with ml-100k> --peers <folder that keeps its environment>

MovieLens-100K, label rating >= 4, 8:1:1 of all events at random, the users' and films' tables as fields. A seed sets
the split as well as the training, as in `quality.py`, so that a row stands beside that of `conf/lr.yaml` and the others
with the same seeds. The settings are RecBole's defaults (see `peers/recbole_ctr.py`). Each training is one line of JSON
on stderr.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from recgnn.data import MovieLens100K, RatioSplit
from recgnn.data.clicks.events import events_of

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "peers"))
import environments  # noqa: E402

MODELS = ["LR", "FM", "WideDeep", "DeepFM", "FFM"]
PARTS = ("train", "valid", "test")
HEADERS = {  # of RecBole's atomic files, by column of the events
    "inter": {"user": "user_id:token", "item": "item_id:token", "rating": "rating:float"},
    "user": {
        "user": "user_id:token",
        "age": "age:token",
        "gender": "gender:token",
        "occupation": "occupation:token",
        "zip": "zip_code:token",
    },
    "item": {"item": "item_id:token", "release_year": "release_year:token", "genres": "class:token_seq"},
}


def write(frame: pd.DataFrame, part: np.ndarray, folder: Path) -> None:
    """RecBole's files of the events and of their users and items."""
    folder.mkdir(parents=True)
    frame = frame.assign(genres=frame["genres"].str.replace("|", " "))
    tables = {f"{name}.inter": frame[part == code] for code, name in enumerate(PARTS)}
    tables |= {name: frame.drop_duplicates(name) for name in ("user", "item")}
    for name, table in tables.items():
        header = HEADERS[name.rpartition(".")[2]]
        table = table[list(header)].rename(columns=header)
        table.to_csv(folder / f"ml.{name}", sep="\t", index=False)


def train(python: Path, model: str, seed: int, folder: Path, options: argparse.Namespace) -> dict:
    """What RecBole's process printed."""
    environment = os.environ | {"OMP_NUM_THREADS": str(options.threads), "OMP_WAIT_POLICY": "PASSIVE"}
    environment.pop("PYTHONPATH", None)
    command = [str(python), str(HERE / "peers/recbole_ctr.py"), "--data", str(folder), "--model", model]
    command += [f"--seed={seed}", f"--epochs={options.epochs}", f"--threads={options.threads}"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}:\n{done.stderr[-3000:]}")
    line = done.stdout.strip().splitlines()[-1]
    print(line, file=sys.stderr, flush=True)
    return json.loads(line)


def show(found: dict[str, list[dict]], seeds: list[int]) -> None:
    print(f"| RecBole 1.2.1 | {' | '.join(f'seed {seed}' for seed in seeds)} | test AUC | log loss | best epochs |")
    print("|---" * (len(seeds) + 4) + "|")
    for model, rows in found.items():
        values = [row["test_auc"] for row in rows]
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        cells = [*(f"{value:.4f}" for value in values), f"{statistics.mean(values):.4f} ± {spread:.4f}"]
        cells += [f"{statistics.mean(row['test_logloss'] for row in rows):.4f}"]
        cells += [", ".join(str(row["best_epoch"]) for row in rows)]
        print(f"| {model} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", help="folder of MovieLens-100K's files; downloaded when not given")
    parser.add_argument("--peers", type=Path, required=True, help="folder that keeps the peers' environments")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--epochs", type=int, default=150, help="at most")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    python = environments.python_of("recbole_ffm", options.peers)
    frame, *_ = events_of(MovieLens100K(options.root).read())
    found: dict[str, list[dict]] = {model: [] for model in options.models}
    with tempfile.TemporaryDirectory() as temporary:
        for seed in options.seeds:
            folder = Path(temporary) / str(seed)
            part = RatioSplit([0.8, 0.1, 0.1], by="all", order="random", seed=seed).split(frame)
            write(frame, part, folder / "ml")
            for model in options.models:
                found[model].append(train(python, model, seed, folder, options))
    show(found, options.seeds)


if __name__ == "__main__":
    main()
