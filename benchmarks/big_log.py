"""Seconds per million rows and peak memory of preparing a made-up log beyond memory, and how the engines compare.

    python -m benchmarks.big_log make 1e8 /tmp/big/100m              # Parquet, as many rows as said
    python -m benchmarks.big_log prepare /tmp/big/100m --engine duckdb
    python -m benchmarks.big_log order /tmp/big/100m --engine polars # the core alone: number the ids, order by user
"""

from __future__ import annotations

import argparse
import resource
import shutil
import tempfile
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


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["make", "prepare", "order"])
    parser.add_argument("words", nargs="+", help="rows and folder for make, the folder for the others")
    parser.add_argument("--engine", default="duckdb")
    parser.add_argument("--memory_limit", default="2GB")
    given = parser.parse_args()
    folder = Path(given.words[-1])
    if given.what == "make":
        make(int(float(given.words[0])), folder)
        return
    work = Path(tempfile.mkdtemp(prefix="big-", dir=folder.parent))
    started, cpu = time.perf_counter(), time.process_time()
    try:
        rows = {"prepare": prepare, "order": order}[given.what](folder, given.engine, work, given.memory_limit)
    finally:
        shutil.rmtree(work)
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{given.what} {given.engine}: {rows:,} rows, {seconds:.1f} s ({cpu:.1f} s CPU), "
          f"{cpu / rows * 1e6:.2f} CPU s per million rows, peak {peak:.2f} GiB")  # fmt: skip


if __name__ == "__main__":
    main()
