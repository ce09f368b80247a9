"""Tables in memory of any library: pandas, or whatever gives Arrow's stream (Polars, PyArrow, DuckDB)."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pyarrow as pa

from recgnn.data.readers.origin import unique_columns
from recgnn.data.readers.types import frame_of
from recgnn.errors import DataError


def is_frame(table: object) -> bool:
    """Return whether an object is a table that `as_pandas` takes."""
    return isinstance(table, pd.DataFrame) or hasattr(table, "__arrow_c_stream__")


def as_pandas(table: Any, what: str = "the frame") -> pd.DataFrame:
    """Return a table as a pandas frame: itself, or read by Arrow's C stream (`__arrow_c_stream__`).

    Args:
        table: A pandas frame, a Polars frame, a PyArrow table, a DuckDB relation …
        what: What to call it in the error.

    Raises:
        DataError: If it is no table.
    """
    if isinstance(table, pd.DataFrame):
        return table
    if hasattr(table, "collect") and not hasattr(table, "__arrow_c_stream__"):  # a lazy frame of Polars
        table = table.collect()
    if not hasattr(table, "__arrow_c_stream__"):
        raise DataError(
            f"{what} is a {type(table).__name__}; expected a frame of pandas or Polars, a table of PyArrow or a "
            "relation of DuckDB"
        )
    read = pa.RecordBatchReader.from_stream(table).read_all()
    return frame_of(read.cast(pa.schema([field.with_type(_plain(field.type)) for field in read.schema])))


def _plain(kind: pa.DataType) -> pa.DataType:
    """Return a type without views, which pandas does not know in lists."""
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_list_view(kind):
        return pa.large_list(_plain(kind.value_type))
    return pa.large_string() if pa.types.is_string_view(kind) else kind


def named_frame(table: Any, what: str = "the frame") -> pd.DataFrame:
    """Return a table as `as_pandas`, whose columns have texts for names, each once.

    Raises:
        DataError: If it is no table, or two columns have one name.
    """
    frame = as_pandas(table, what)
    unique_columns(frame.columns, what)
    return frame if all(isinstance(name, str) for name in frame.columns) else frame.set_axis([*map(str, frame)], axis=1)


def like(given: Any, frame: pd.DataFrame) -> Any:
    """Return a pandas frame as the kind of table that was given: a PyArrow table where that kind cannot be made.

    Args:
        given: The table that was given.
        frame: The answer.
    """
    if isinstance(given, pd.DataFrame):
        return frame
    table = pa.Table.from_pandas(frame, preserve_index=False)
    if type(given).__module__.split(".")[0] == "polars":
        import polars

        return polars.from_arrow(table)
    if type(given).__module__.split(".")[0].strip("_") == "duckdb":
        import duckdb

        return duckdb.from_arrow(table)
    return table
