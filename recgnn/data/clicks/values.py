"""Columns of tables as distinct values, numbers and moments."""

from __future__ import annotations

import numpy as np
import pandas as pd

from recgnn.data.clicks.fields import as_text
from recgnn.errors import DataError

NULLS = ("NA", "N/A", "NaN", "nan", "null", "NULL", "None")  # what stands for no number in a table


def distinct_of(column: pd.Series) -> tuple[np.ndarray, pd.Series]:
    """The place of each row's value among the distinct ones, [n], and these, of the column's own type."""
    which, values = pd.factorize(column, use_na_sentinel=False)
    return which, pd.Series(values, name=column.name, dtype=column.dtype if len(values) else object)


def numbers(column: pd.Series) -> np.ndarray:
    """A column as float64, NaN where there is none.

    Raises:
        DataError: for text that is no number; names the first.
    """
    if pd.api.types.is_numeric_dtype(column.dtype):
        return column.to_numpy(np.float64, na_value=np.nan)
    text = as_text(column)
    text = text.mask(text.isin(NULLS))
    values = pd.to_numeric(text, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    wrong = np.isnan(values) & text.notna().to_numpy()
    if wrong.any():
        row = int(wrong.argmax())
        number = int(column.index[row]) if pd.api.types.is_integer_dtype(column.index.dtype) else row
        raise DataError(
            f"row {number + 1}, column '{column.name}': {str(text.iloc[row])!r} is no number; declare the field "
            "categorical, or mend the column"
        )
    return values


def moments_of(column: pd.Series) -> pd.Series:
    """Seconds or dates as moments in UTC, NaT where there is none."""
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        return pd.to_datetime(column, utc=True)
    if pd.api.types.is_numeric_dtype(column.dtype):
        return pd.to_datetime(column, unit="s", utc=True, errors="coerce")
    text = as_text(column)
    seconds = pd.to_numeric(text.mask(text.isin(NULLS)), errors="coerce").astype("Float64")
    moments = pd.to_datetime(seconds, unit="s", utc=True, errors="coerce")
    dates = pd.to_datetime(text.where(seconds.isna()), utc=True, errors="coerce", format="ISO8601")
    return moments.where(seconds.notna(), dates)
