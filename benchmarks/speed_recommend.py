"""How much longer recommending to every user of a run, into a Parquet file, takes than scoring and top-k alone.

    python benchmarks/speed_recommend.py RUN

The bare side has the same representations, the same blocks of users and no more than `(U @ I.T).topk(k)`: no items left
out, no ids, no file. Each side is measured in turns, in one process; the best of the rounds counts.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import contextlib  # noqa: E402
import io  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable  # noqa: E402
from pathlib import Path  # noqa: E402

import torch  # noqa: E402

from recgnn import load  # noqa: E402
from recgnn.serving.output import write  # noqa: E402


def seconds(function: Callable[[], None]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", help="run folder of MF, GCN, NGCF or LightGCN")
    parser.add_argument("--k", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    start = time.perf_counter()
    trained = load(options.run)
    user, item = trained.model.embeddings()
    loading = time.perf_counter() - start

    @torch.inference_mode()
    def bare() -> None:
        for users in torch.arange(len(user)).split(trained.at_once):
            (user[users] @ item.T).topk(options.k)

    def whole() -> None:
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
            write(trained.recommend_blocks(k=options.k), str(Path(folder) / "recommendations.parquet"))

    times = {bare: [], whole: []}
    for _ in range(options.rounds):
        for side, found in times.items():
            found.append(seconds(side))
    short, long = min(times[bare]), min(times[whole])
    print(f"{len(user):,} users, {len(item):,} items, top {options.k}, {torch.get_num_threads()} threads")
    print(f"loading the run and propagating      {loading:7.2f} s, once")
    print(f"scoring and top-k alone              {short:7.2f} s")
    print(f"recommend, to Parquet                {long:7.2f} s")
    print(f"ratio                                {long / short:7.2f}")


if __name__ == "__main__":
    main()
