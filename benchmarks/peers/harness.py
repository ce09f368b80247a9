"""What the CTR peers share: their options, the table that they train on and the line that they print.

It runs in each peer's environment, so it needs no more than torch, pandas, pyarrow and scikit-learn.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: spinning threads measure the scheduler
os.environ.setdefault("TQDM_DISABLE", "1")
warnings.filterwarnings("ignore")

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import torch  # noqa: E402
from sklearn.metrics import roc_auc_score  # noqa: E402

NUMBERS = [f"I{i}" for i in range(1, 14)]
CATEGORIES = [f"C{i}" for i in range(1, 27)]


def parse(description: str, models: list[str]) -> argparse.Namespace:
    """The options of a peer that has these models. Sets the number of threads and the seed."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--train", type=Path, required=True, help="Parquet of label, I1..I13 and C1..C26")
    parser.add_argument("--test", type=Path, required=True)
    parser.add_argument("--model", choices=models, default=models[0])
    parser.add_argument("--rows", type=int, help="of train, from its first; all by default")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--dim", type=int, default=16)
    parser.add_argument("--hidden", type=int, nargs="*", default=[400, 400, 400])
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    return options


def read(options: argparse.Namespace) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Train and test, with the rows of train that were asked for."""
    train, test = pd.read_parquet(options.train), pd.read_parquet(options.test)
    return train.iloc[: options.rows].reset_index(drop=True), test


def encode(train: pd.DataFrame, test: pd.DataFrame) -> list[int]:
    """Numbers the categories in place and returns how many each column has.

    As the peers' examples do with scikit-learn's LabelEncoder: those of train and test together, so that no table has
    a row that no data uses.
    """
    counts = []
    for name in CATEGORIES:
        values, ids = np.unique(np.concatenate([train[name], test[name]]), return_inverse=True)
        ids = ids.astype(np.int32)
        train[name], test[name] = ids[: len(train)], ids[len(train) :]
        counts.append(len(values))
    return counts


@dataclass
class Span:
    """Wall seconds, and CPU seconds of all threads, between `start` and `stop`; a context manager too."""

    wall: float = 0.0
    cpu: float = 0.0
    begun: tuple[float, float] = field(default=(0.0, 0.0), repr=False)

    def start(self) -> None:
        self.begun = time.perf_counter(), time.process_time()

    def stop(self) -> None:
        self.wall, self.cpu = time.perf_counter() - self.begun[0], time.process_time() - self.begun[1]

    def __enter__(self) -> Span:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def peak_mb() -> float:
    """Largest resident memory of this process. Linux's ru_maxrss starts at that of the process that ran this one."""
    status = Path("/proc/self/status")
    if status.is_file():
        return int(status.read_text().split("VmHWM:")[1].split()[0]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def report(
    peer: str,
    options: argparse.Namespace,
    rows: int,
    training: Span,
    prediction: Span,
    labels: np.ndarray,
    scores: np.ndarray,
    table_rows: int,
) -> None:
    """Prints the one line of JSON. `table_rows` is how many categories have an embedding; `peak_mb` is of the whole
    process, its reading of the data included."""
    found = {
        "peer": peer,
        "model": options.model,
        "rows": rows,
        "epochs": options.epochs,
        "seconds": round(training.wall, 3),
        "cpu_seconds": round(training.cpu, 3),
        "train_rows_per_second": round(rows * options.epochs / training.wall, 1),
        "predict_rows_per_second": round(len(labels) / prediction.wall, 1),
        "auc": round(float(roc_auc_score(labels, scores)), 5),
        "peak_mb": round(peak_mb(), 1),
        "table_rows": table_rows,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    print(json.dumps(found), file=sys.__stdout__, flush=True)
