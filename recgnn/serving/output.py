"""Lists of items as tables, and tables to the screen or to a file, a block of rows at a time."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from recgnn.errors import ConfigError, printable
from recgnn.files import atomic_path

FORMATS = (".csv", ".parquet")  # that are written


def ranked(
    key: str,
    ids: np.ndarray,
    scores: np.ndarray,
    items: np.ndarray,
    titles: np.ndarray | None,
    source: np.ndarray | None = None,
) -> pd.DataFrame:
    """Return lists of items as a table: key, rank from 1, item, score and, where known, title and source.

    Items without a finite score are left out.

    Args:
        key: Name of the first column.
        ids: Whose lists these are, [B].
        scores: [B, k], best first.
        items: Raw ids, [B, k].
        titles: [B, k]; or None.
        source: What made each list, [B]; or None.
    """
    kept = np.isfinite(scores)
    lengths = kept.sum(1)
    rank = np.broadcast_to(np.arange(1, scores.shape[1] + 1), kept.shape)
    columns = {key: np.repeat(np.asarray(ids), lengths), "rank": rank[kept], "item": items[kept], "score": scores[kept]}
    columns |= {} if titles is None else {"title": titles[kept]}
    columns |= {} if source is None else {"source": np.repeat(source, lengths).astype(object)}
    return pd.DataFrame(columns)


def concatenated(frames: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Return frames one below the other; those without a row only where there is no other."""
    frames = list(frames)
    some = [frame for frame in frames if len(frame)] or frames[:1]
    return some[0].reset_index(drop=True) if len(some) == 1 else pd.concat(some, ignore_index=True)


def check_output(output: str) -> None:
    """Refuse an unknown format before any work is done.

    Raises:
        ConfigError: Names those that there are.
    """
    if output != "-" and Path(output).suffix not in FORMATS:
        raise ConfigError(f"--output {output}: expected a name that ends in .csv or .parquet, or -")


def write(frames: Iterator[pd.DataFrame], output: str) -> pd.DataFrame | None:
    """Write frames one after the other to the screen (as CSV) or to a file."""
    if output == "-":
        whole = concatenated(frames)
        own = "prediction" if "prediction" in whole else "score"
        told = whole.assign(**{own: whole[own].map(lambda x: "" if pd.isna(x) else f"{x:.5g}")})
        if sys.stdout.isatty():  # a title may hold what a terminal obeys
            told = told.map(lambda x: printable(x) if isinstance(x, str) else x)
        told.to_csv(sys.stdout, index=False)
        return whole
    rows = 0
    with atomic_path(output) as path:
        if path.suffix == ".csv":
            with path.open("w", encoding="utf-8", newline="") as file:
                for number, frame in enumerate(frames):
                    frame.to_csv(file, index=False, header=number == 0)
                    rows += len(frame)
        else:
            rows = _write_parquet(frames, path)
    print(f"{rows:,} rows in {output}", file=sys.stderr)
    return None


def _write_parquet(frames: Iterator[pd.DataFrame], path: Path) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    writer, rows, empty = None, 0, None
    for frame in frames:
        if not len(frame):
            empty = frame  # its columns have no types yet
            continue
        table = pa.Table.from_pandas(frame, preserve_index=False, schema=None if writer is None else writer.schema)
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
        rows += len(frame)
    if writer is None:
        pq.write_table(pa.Table.from_pandas(empty, preserve_index=False), path)
    else:
        writer.close()
    return rows
