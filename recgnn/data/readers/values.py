"""The values of a column as text, numbers, times or categories: read alike in training and in prediction."""

from __future__ import annotations

import numpy as np
import pandas as pd

from recgnn.data.readers.origin import Origin, shown
from recgnn.errors import DataError

NULLS = ("NA", "N/A", "NaN", "nan", "null", "NULL", "None")
"""Texts that stand for a missing number."""
INT64 = np.iinfo(np.int64)


def as_text(column: pd.Series) -> pd.Series:
    """Return values as trimmed text: the same for 12, 12.0 and "12"; NA for nulls and empty text."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(column.cat.categories.dtype)
    if pd.api.types.is_bool_dtype(column.dtype) or pd.api.types.is_integer_dtype(column.dtype):
        return column.astype("string")
    if pd.api.types.is_float_dtype(column.dtype):
        values = column.to_numpy(np.float64, na_value=np.nan)
        whole = np.isfinite(values) & (values == np.floor(values)) & (np.abs(values) < 2**53)
        text = column.astype("string")
        text[whole] = pd.Series(values[whole].astype(np.int64)).astype("string").to_numpy()
        return text.mask(np.isnan(values))
    text = column.astype("string").str.strip()
    return text.mask(text.str.len() == 0)


def distinct_of(column: pd.Series) -> tuple[np.ndarray, pd.Series]:
    """Return the index of each row's value among the distinct values, [n], and those, of the column's type."""
    which, values = pd.factorize(column, use_na_sentinel=False)
    return which, pd.Series(values, name=column.name, dtype=column.dtype if len(values) else object)


def numbers(column: pd.Series) -> np.ndarray:
    """Return a column as float64, NaN where there is no value.

    Raises:
        DataError: If a text is no number; names the first.
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


def clean_numbers(values: pd.Series, column: str, origin: Origin, expected: str = "a finite number") -> pd.Series:
    """Return float64 values, all of which are finite.

    Raises:
        DataError: Names the place of the first value that is no finite number.
    """
    found = pd.to_numeric(values, errors="coerce").astype("Float64").to_numpy(np.float64, na_value=np.nan)
    broken = ~np.isfinite(found)
    if broken.any():
        row = int(broken.argmax())
        raise DataError(f"{origin.at(row, column)}: {shown(values.iloc[row])}; expected {expected}")
    return pd.Series(found, index=values.index)
