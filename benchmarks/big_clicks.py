"""Rows per second and memory of an epoch of clicks that are streamed from disk, by their number.

    python -m benchmarks.big_clicks 1e6 1e7 1e8 --folder /tmp/clicks
"""

from __future__ import annotations

import argparse
import shutil
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

from recgnn.data.clicks import loaders
from recgnn.data.clicks.prepared import EventPart
from recgnn.data.shard import Shard

FIELDS, STEP, BATCH = 10, 2**20, 8192


def make(rows: int, folder: Path) -> EventPart:
    """Write the arrays of prepared events, whose first field is the number of the row; return them, mapped."""
    folder.mkdir(parents=True)
    ids = np.lib.format.open_memmap(folder / "ids.npy", "w+", np.int32, (rows, FIELDS))
    labels = np.lib.format.open_memmap(folder / "labels.npy", "w+", np.float32, (rows,))
    for start in range(0, rows, STEP):
        count, draw = min(STEP, rows - start), np.random.default_rng(start)
        ids[start : start + count] = draw.integers(0, 10**6, (count, FIELDS))
        ids[start : start + count, 0] = np.arange(start, start + count)
        labels[start : start + count] = draw.random(count) < 0.2
    del ids, labels
    mapped = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("ids", "labels")}
    return EventPart(ids=mapped["ids"], values=None, labels=mapped["labels"], groups=None)


def resident(kind: str) -> float:
    """Memory of this process, in GiB: `RssAnon`, without the pages of files."""
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith(f"{kind}:"))
    return int(line.split()[1]) / 2**20


def epoch(part: EventPart) -> None:
    """Go through an epoch; print its speed, and whether each row came once."""
    prepared = SimpleNamespace(
        train=part, val=None, test=None, verify=lambda name: None, item_ids=None, item_values=None,
        encoders=SimpleNamespace(weighted=[False] * FIELDS),
    )  # fmt: skip
    batches = loaders.EventBatches(prepared, "train", BATCH, lambda: Shard(seed=1))
    assert batches.streamed
    seen, most = np.zeros(len(part), dtype=bool), 0.0
    started, cpu = time.perf_counter(), time.process_time()
    for number, batch in enumerate(batches):
        rows = batch.ids[:, 0].numpy()
        assert not seen[rows].any()
        seen[rows] = True
        most = max(most, resident("RssAnon")) if number % 50 == 0 else most
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    assert seen.all() and number + 1 == len(batches)
    speed, own = (len(part) / each / 1e6 for each in (seconds, cpu))
    counts = len(part) / 2**30  # of which rows have been seen
    print(f"{len(part):,} rows, each once: {speed:.2f}M rows/s ({own:.2f}M per CPU s), {most - counts:.2f} GiB")


def main() -> None:
    """Do it for each number of rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="+", type=float)
    parser.add_argument("--folder", type=Path, required=True)
    given = parser.parse_args()
    torch.set_num_threads(1)
    loaders.IN_MEMORY = 0
    for rows in given.rows:
        folder = given.folder / str(int(rows))
        try:
            epoch(make(int(rows), folder))
        finally:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
