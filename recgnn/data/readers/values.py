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


def clean_weights(values: pd.Series, column: str, origin: Origin) -> pd.Series:
    """Return float32 weights, which are finite, not negative, and not all 0.

    Raises:
        DataError: Names the place of the first that is none.
    """
    found = clean_numbers(values, column, origin, "a weight, from 0 up").astype(np.float32)
    broken = (found < 0).to_numpy()
    if broken.any() or not found.any():
        row = int(broken.argmax())
        raise DataError(f"{origin.at(row, column)}: {shown(values.iloc[row])}; expected weights from 0 up, not all 0")
    return found


def clean_times(values: pd.Series, column: str, origin: Origin) -> pd.Series:
    """Return times as seconds, from numbers, dates or ISO 8601 text: int64 where all are whole, else float64.

    Raises:
        DataError: Names the place of the first value that is no time.
    """

    def refuse(row: int, expected: str) -> DataError:
        return DataError(f"{origin.at(row, column)}: {shown(values.iloc[row])}; expected {expected}")

    if pd.api.types.is_bool_dtype(values.dtype):
        raise refuse(0, "seconds or an ISO 8601 date")
    if pd.api.types.is_integer_dtype(values.dtype) and not values.isna().any():
        if pd.api.types.is_unsigned_integer_dtype(values.dtype) and (values > INT64.max).any():
            raise refuse(int((values > INT64.max).to_numpy().argmax()), "seconds, below 2**63")
        return values.astype(np.int64)
    if not pd.api.types.is_datetime64_any_dtype(values.dtype):
        found = pd.to_numeric(values, errors="coerce")
        if pd.api.types.is_numeric_dtype(values.dtype) or found.notna().any():
            seconds = clean_numbers(values, column, origin, "seconds in every row")
            large = (seconds.abs() >= 2.0**63).to_numpy()
            if large.any():
                raise refuse(int(large.argmax()), "seconds, below 2**63")
            return seconds.astype(np.int64) if (seconds % 1 == 0).all() else seconds
    dates = pd.to_datetime(values, errors="coerce", format="ISO8601", utc=True)
    broken = dates.isna().to_numpy()
    if broken.any():
        raise refuse(int(broken.argmax()), "seconds or an ISO 8601 date, such as 2024-05-01 or 2024-05-01T12:30:00")
    micros = dates.dt.tz_localize(None).to_numpy("datetime64[us]").astype(np.int64)
    whole = (micros % 1_000_000 == 0).all()
    return pd.Series(micros // 1_000_000 if whole else micros / 1e6, index=values.index)


def moments_of(column: pd.Series) -> pd.Series:
    """Return seconds or dates as moments in UTC, NaT where there is no value."""
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        return pd.to_datetime(column, utc=True)
    if pd.api.types.is_numeric_dtype(column.dtype):
        return pd.to_datetime(column, unit="s", utc=True, errors="coerce")
    text = as_text(column)
    seconds = pd.to_numeric(text.mask(text.isin(NULLS)), errors="coerce").astype("Float64")
    moments = pd.to_datetime(seconds, unit="s", utc=True, errors="coerce")
    dates = pd.to_datetime(text.where(seconds.isna()), utc=True, errors="coerce", format="ISO8601")
    return moments.where(seconds.notna(), dates)
