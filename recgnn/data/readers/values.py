"""The values of a column as text, numbers, times or categories: read alike in training and in prediction."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd

from recgnn.data.readers.origin import Origin, shown
from recgnn.errors import DataError

NULLS = ("NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "null", "NULL", "None", "\\N")
"""Texts that stand for a missing number."""
TRUTH = {"true": "1", "false": "0"}
INT64 = np.iinfo(np.int64)
Type = Literal["integer", "number", "bool", "text"]


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
    if column.dtype == object and any(isinstance(x, bytes) for x in column):
        texts = [x.decode("utf-8", "backslashreplace") if isinstance(x, bytes) else x for x in column]
        column = pd.Series(texts, column.index, object, column.name)
    text = column.astype("string").str.strip()
    return text.mask(text.str.len() == 0)


def type_of(column: pd.Series) -> Type:
    """Return the type of a column's values: as they are stored; text that is true or false throughout is bool."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(column.cat.categories.dtype)
    if pd.api.types.is_bool_dtype(column.dtype):
        return "bool"
    if pd.api.types.is_numeric_dtype(column.dtype):
        return "integer" if pd.api.types.is_integer_dtype(column.dtype) else "number"
    return "bool" if as_text(column).dropna().str.lower().isin(list(TRUTH)).all() else "text"


def texts_as(column: pd.Series, kind: Type) -> pd.Series:
    """Return values as text, one for all the ways to write a value of a type; NA where there is none.

    In numbers, 3 and 3.0 are one, and true is 1 in a column of 0 and 1; in bool, 1 is true; in text every value is as
    it is written.
    """
    text = as_text(column)
    if kind == "text":
        return text
    if pd.api.types.is_bool_dtype(column.dtype) or not pd.api.types.is_numeric_dtype(column.dtype):
        text = text.mask(text.isin(NULLS))
        other = text.where(~text.str.fullmatch(r"-?(0|[1-9][0-9]*)").fillna(False))  # integers stay exact
        number = pd.to_numeric(other, errors="coerce")
        text = text.where(number.isna(), as_text(number.astype("Float64")))
        truth = text.str.lower().map(TRUTH)
        if kind == "bool" or text[truth.isna()].dropna().isin(["0", "1"]).all():
            text = text.where(truth.isna(), truth)
    if kind == "bool":
        truth = text.map({"1": "True", "0": "False"})
        text = text.where(truth.isna(), truth)
    return text


def distinct_of(column: pd.Series) -> tuple[np.ndarray, pd.Series]:
    """Return the index of each row's value among the distinct values, [n], and those, of the column's type."""
    which, values = pd.factorize(column, use_na_sentinel=False)
    return which, pd.Series(values, name=column.name, dtype=column.dtype if len(values) else object)


def hashed(column: pd.Series) -> np.ndarray:
    """Return a number for each value, the same in every block, and -1 for none: [n] int64."""
    which, values = distinct_of(column)
    texts = as_text(values)
    digest = pd.util.hash_array(texts.fillna("").to_numpy(object), categorize=False)
    return np.where(texts.isna(), -1, (digest >> np.uint64(2)).astype(np.int64))[which]


def numbers(column: pd.Series) -> np.ndarray:
    """Return a column as float64, NaN where there is no value.

    In a column of 0 and 1, true is 1 and false is 0; beside other numbers they are none.

    Raises:
        DataError: If a text is no number; names the first.
    """
    if pd.api.types.is_numeric_dtype(column.dtype):
        return column.to_numpy(np.float64, na_value=np.nan)
    text = as_text(column)
    text = text.mask(text.isin(NULLS))
    values = pd.to_numeric(text, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    wrong = np.isnan(values) & text.notna().to_numpy()
    if wrong.any() and np.isin(values[~np.isnan(values)], (0, 1)).all():
        values[wrong] = text[wrong].str.lower().map(TRUTH).astype("Float64").to_numpy(np.float64, na_value=np.nan)
        wrong &= np.isnan(values)
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
    """Return float32 weights, which are finite and not negative.

    Raises:
        DataError: Names the place of the first that is none.
    """
    found = clean_numbers(values, column, origin, "a weight, from 0 up").astype(np.float32)
    broken = (found < 0).to_numpy()
    if broken.any():
        row = int(broken.argmax())
        raise DataError(f"{origin.at(row, column)}: {shown(values.iloc[row])}; expected a weight, from 0 up")
    return found
