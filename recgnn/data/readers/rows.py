"""Tables in and out, a block of rows at a time."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from recgnn.data.readers.blocks import batches_of
from recgnn.errors import ConfigError, DataError, did_you_mean
from recgnn.files import atomic_path, existing_file

FORMATS = (".csv", ".parquet")  # that are written
ROWS = 2**17  # of a table, read at a time


def read_rows(file: str, columns: list[str], remedy: str = "") -> Iterator[pd.DataFrame]:
    """A table in blocks, every column of a text file as its text; a table of no rows is one empty block.

    Args:
        file: csv, tsv or Parquet.
        columns: that it must have.
        remedy: what to do where it lacks one.

    Raises:
        DataError: for a missing file, a missing column, or one that cannot be read.
    """
    path = existing_file(file, "table")
    if path.suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            with pq.ParquetFile(path) as table:
                _need_all(columns, table.schema_arrow.names, file, remedy)
                empty = table.schema_arrow.empty_table().to_pandas(ignore_metadata=True)
                found = False
                for batch in batches_of(table, rows=ROWS):
                    found = True
                    yield batch.to_pandas(ignore_metadata=True, integer_object_nulls=True)
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{file}: cannot be read: {str(error).splitlines()[0]}") from error
        if not found:
            yield empty
        return
    try:
        separator = "\t" if path.suffix == ".tsv" else ","
        header = pd.read_csv(path, sep=separator, nrows=0)
        _need_all(columns, list(header.columns), file, remedy)
        options = {"sep": separator, "dtype": "str", "keep_default_na": False, "index_col": False}
        with warnings.catch_warnings(), pd.read_csv(path, **options, chunksize=ROWS) as blocks:
            warnings.simplefilter("error", pd.errors.ParserWarning)  # rows longer than the header
            found = False
            for block in blocks:
                found = True
                yield block
        if not found:
            yield header
    except pd.errors.ParserWarning as error:
        raise DataError(f"{file}: rows have more fields than the header has names; mend the table") from error
    except (ValueError, OSError) as error:
        raise DataError(f"{file}: cannot be read as a table: {str(error).splitlines()[0]}") from error


def _need_all(columns: list[str], there: list[str], file: str, remedy: str) -> None:
    for column in columns:
        if column not in there:
            hint = did_you_mean(column, there)
            raise DataError(f"{file}: no column '{column}'{hint}; found: {', '.join(map(str, there[:12]))}{remedy}")


def ranked(
    key: str,
    ids: np.ndarray,
    scores: np.ndarray,
    items: np.ndarray,
    titles: np.ndarray | None,
    source: np.ndarray | None = None,
) -> pd.DataFrame:
    """Lists of items as a table: key, rank from 1, item, score and, where known, title and source; what has no finite
    score is left out.

    Args:
        key: name of the first column.
        ids: whose lists these are, [B].
        scores: [B, k], best first.
        items: raw ids, [B, k].
        titles: [B, k]; or None.
        source: what made each list, [B]; or None.
    """
    kept = np.isfinite(scores)
    lengths = kept.sum(1)
    rank = np.broadcast_to(np.arange(1, scores.shape[1] + 1), kept.shape)
    columns = {key: np.repeat(np.asarray(ids), lengths), "rank": rank[kept], "item": items[kept], "score": scores[kept]}
    columns |= {} if titles is None else {"title": titles[kept]}
    columns |= {} if source is None else {"source": np.repeat(source, lengths).astype(object)}
    return pd.DataFrame(columns)


def concatenated(frames: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Frames one below the other; those without a row only where there is no other."""
    frames = list(frames)
    return pd.concat([frame for frame in frames if len(frame)] or frames[:1], ignore_index=True)


def check_output(output: str) -> None:
    """Refuse a format that is not known, before any work is done."""
    if output != "-" and Path(output).suffix not in FORMATS:
        raise ConfigError(f"--output {output}: expected a name that ends in .csv or .parquet, or -")


def write(frames: Iterator[pd.DataFrame], output: str) -> pd.DataFrame | None:
    """Frames one after the other to the screen (as CSV) or to a file."""
    if output == "-":
        whole = concatenated(frames)
        own = [c for c in ("score", "prediction") if c in whole]
        short = {c: whole[c].map(lambda x: "" if pd.isna(x) else f"{x:.5g}") for c in own}
        whole.assign(**short).to_csv(sys.stdout, index=False)
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
