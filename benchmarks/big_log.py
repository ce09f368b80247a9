"""Seconds per million rows and peak memory of preparing a made-up log beyond memory, and how the engines compare.

    python -m benchmarks.big_log make 1e8 /tmp/big/100m              # Parquet, as many rows as said
    python -m benchmarks.big_log prepare /tmp/big/100m --engine duckdb
    python -m benchmarks.big_log order /tmp/big/100m --engine polars # the core alone: number the ids, order by user
    python -m benchmarks.big_log steps /tmp/big/100m --fan_out 50,10,3 # prepared before, by the same command

steps: the Trainer, 12 steps of LightGCN (3 layers of 64, in-batch softmax, l2 on the embeddings), or of MF with
`--fan_out ""`, on the training part, at the usual split, then validation, of 256 users. Told are the most memory that
the process had while the data were read, until the first step, in the steps and in validation, GiB, its own and that of
files, which the system may drop (Linux); CPU seconds of a step, the first two left out, and of the representations of
all. The process may not have more than `--limit` GiB of data (RLIMIT_DATA).
"""

from __future__ import annotations

import argparse
import resource
import shutil
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

STEP = 4_000_000


def make(rows: int, folder: Path) -> None:
    """Write a log: 20 rows a user and 100 an item in the mean, few with many; times and ratings."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir(parents=True)
    users, items = max(1000, rows // 20), max(500, rows // 100)
    for number, start in enumerate(range(0, rows, STEP)):
        draw, count = np.random.default_rng([7, number]), min(STEP, rows - start)
        columns = {
            "user": (users * draw.random(count) ** 1.3).astype(np.int64) * 7919 % 10**9,
            "item": (items * draw.random(count) ** 2).astype(np.int64) * 104_729 % 10**8,
            "rating": draw.integers(1, 6, count).astype(np.float32),
            "timestamp": 1_500_000_000 + draw.integers(0, 10**8, count),
        }
        pq.write_table(pa.table(columns), folder / f"part-{number:03d}.parquet", row_group_size=2**20)


def prepare(folder: Path, engine: str, work: Path, limit: str) -> int:
    """Prepare the log as `fit` does by default; returns its rows."""
    from recgnn.data import GraphDataModule, TableLog

    data = GraphDataModule(TableLog(folder / "*.parquet"), engine=engine, cache_dir=str(work), memory_limit=limit)
    print(data.describe("ranking"))
    return data.prepared.summary["read"]


def order(folder: Path, engine: str, work: Path, limit: str) -> int:
    """Number users and items and write the rows ordered by user."""
    files = str(folder / "*.parquet")
    if engine == "polars":
        import polars as pl

        log = pl.scan_parquet(files).with_row_index("row")
        for column in ("user", "item"):
            ids = log.select(pl.col(column).unique().sort()).with_row_index("code")
            log = log.join(ids, on=column, how="inner").drop(column).rename({"code": column})
        log.sort("user", "row").sink_parquet(work / "ordered.parquet", engine="streaming")
        return pl.scan_parquet(files).select(pl.len()).collect().item()
    import duckdb

    options = {"memory_limit": limit, "temp_directory": str(work)}
    with duckdb.connect(str(work / "log.duckdb"), config=options) as con:
        con.execute(f"CREATE VIEW raw AS SELECT *, row_number() OVER () AS row FROM '{files}'")
        for column in ("user", "item"):
            con.execute(f'CREATE TABLE {column}s AS SELECT id, row_number() OVER (ORDER BY id) AS code FROM (SELECT '
                        f'DISTINCT "{column}" AS id FROM raw)')  # fmt: skip
        con.execute('CREATE TABLE log AS SELECT u.code AS "user", i.code AS item, rating, timestamp, row FROM raw JOIN '
                    'users u ON raw."user" = u.id JOIN items i ON raw.item = i.id ORDER BY u.code, row')  # fmt: skip
        return con.execute("SELECT count(*) FROM log").fetchall()[0][0]


def steps(folder: Path, engine: str, memory: str, fan_out: str, batch_size: int, limit: float) -> None:
    """Train some steps, in this process, on what another one has prepared, and validate."""
    import torch
    from lightning import Callback, Trainer, seed_everything

    import recgnn.cli.training  # noqa: F401  # the allocator's settings
    from recgnn.data import GraphDataModule, TableLog
    from recgnn.models import MF, LightGCN
    from recgnn.nn.losses import SampledSoftmax
    from recgnn.training.recommenders import RankingTraining

    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_DATA, (int(limit * 2**30), resource.RLIM_INFINITY))
    seed_everything(3, verbose=False)
    watched, at, of_all = Watched(), [], []

    class Watch(Callback):
        def on_train_start(self, trainer, pl_module) -> None:
            watched.phase = "steps"
            at.append(time.process_time())

        def on_train_batch_end(self, trainer, pl_module, *batch) -> None:
            at.append(time.process_time())

        def on_validation_start(self, trainer, pl_module) -> None:
            watched.phase = "validation"
            started = time.process_time()
            pl_module.model.embeddings()
            of_all.append(time.process_time() - started)

    source = TableLog(folder / "*.parquet")
    data = GraphDataModule(
        source, engine=engine, cache_dir=str(folder.parent / "cache"), memory_limit=memory, batch_size=batch_size
    )
    _ = data.prepared
    watched.phase = "until the first step"
    counts = [int(count) for count in fan_out.split(",") if count]
    sizes = data.num_users, data.num_items
    model = LightGCN(*sizes, 64, 3) if counts else MF(*sizes, 64)
    training = RankingTraining(model, SampledSoftmax(), fan_out=counts, l2=0.03, l2_on="embeddings", ks=[20])
    Trainer(
        accelerator="cpu", max_steps=12, val_check_interval=12, limit_val_batches=4, num_sanity_val_steps=0,
        logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        callbacks=[Watch()],
    ).fit(training, datamodule=data)  # fmt: skip
    step = (at[-1] - at[2]) / (len(at) - 3)
    print(f"{type(model).__name__} {counts}, batches of {batch_size}, {len(data.prepared.train):,} rows of train, "
          f"{sizes[0]:,} users, {sizes[1]:,} items: {step:.3f} CPU s a step, {of_all[0]:.1f} of all representations; "
          "GiB, own and of files: "
          + ", ".join(f"{name} {own:.2f} and {files:.2f}" for name, (own, files) in watched.most.items()))  # fmt: skip


class Watched(threading.Thread):
    """Watches the memory of this process; `most` has GiB, its own and that of files, by phase."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.phase, self.most = "data read", dict[str, list[float]]()
        self.start()

    def run(self) -> None:
        while True:
            status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
            now = [int(status[name].split()[0]) / 2**20 for name in ("RssAnon", "RssFile")]
            self.most[self.phase] = [*map(max, now, self.most.get(self.phase, now))]
            time.sleep(0.01)


def peak() -> float:
    """The most memory that this process had so far, GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["make", "prepare", "order", "steps"])
    parser.add_argument("words", nargs="+", help="rows and folder for make, the folder for the others")
    parser.add_argument("--engine", default="duckdb")
    parser.add_argument("--memory_limit", default="2GB")
    parser.add_argument("--fan_out", default="50,10,3")
    parser.add_argument("--batch_size", type=int, default=2048)
    parser.add_argument("--limit", type=float, default=16)
    given = parser.parse_args()
    folder = Path(given.words[-1])
    if given.what == "make":
        make(int(float(given.words[0])), folder)
        return
    if given.what == "steps":
        steps(folder, given.engine, given.memory_limit, given.fan_out, given.batch_size, given.limit)
        return
    work = Path(tempfile.mkdtemp(prefix="big-", dir=folder.parent))
    started, cpu = time.perf_counter(), time.process_time()
    try:
        rows = {"prepare": prepare, "order": order}[given.what](folder, given.engine, work, given.memory_limit)
    finally:
        shutil.rmtree(work)
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    print(f"{given.what} {given.engine}: {rows:,} rows, {seconds:.1f} s ({cpu:.1f} s CPU), "
          f"{cpu / rows * 1e6:.2f} CPU s per million rows, peak {peak():.2f} GiB")  # fmt: skip


if __name__ == "__main__":
    main()
