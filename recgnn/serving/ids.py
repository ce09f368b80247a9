"""Raw ids and ratings that somebody gives, in the form that a vocabulary knows."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from recgnn.data.interactions.vocabulary import Vocabulary
from recgnn.data.log import RATING, shown
from recgnn.errors import ConfigError, DataError, did_you_mean

UNKNOWN = np.iinfo(np.int64).min  # an integer that is nobody's id
POPULARITY = "popularity"
HINT = "fallback='popularity' (--fallback popularity) gives what is popular instead"


def as_ids(column: pd.Series, vocabulary: Vocabulary) -> pd.Series:
    """A column of raw ids in the vocabulary's type; what cannot be one of its ids becomes one it does not know."""
    if not vocabulary.is_integer:
        if pd.api.types.is_float_dtype(column.dtype) and (column.dropna() % 1 == 0).all():
            column = column.astype("Int64")  # a gap among integers made them floats
        return column.astype("str")
    if pd.api.types.is_integer_dtype(column.dtype) and not column.isna().any():
        return column.astype("int64")
    if pd.api.types.is_float_dtype(column.dtype):
        values = column.to_numpy(np.float64, na_value=np.nan)
        whole = np.isfinite(values) & (values == np.floor(values)) & (np.abs(values) < 2**53)
        return pd.Series(np.where(whole, values, UNKNOWN).astype(np.int64), index=column.index)
    text = column.astype("string").str.strip()
    whole = text.str.fullmatch(r"[+-]?[0-9]{1,18}").fillna(False).to_numpy(bool)
    found = np.full(len(column), UNKNOWN, dtype=np.int64)
    found[whole] = [int(t) for t in text[whole]]  # exact, where floats are not
    return pd.Series(found, index=column.index)


def need_columns(frame: pd.DataFrame, columns: Iterable[str], what: str) -> None:
    """Refuse a frame that lacks a column.

    Raises:
        DataError: names it and those there are.
    """
    for column in columns:
        if column not in frame:
            there = [str(name) for name in frame.columns]
            near = did_you_mean(column, there)
            raise DataError(f"{what} needs a column {column}{near}, found {', '.join(there)}")


def clean_ids(frame: pd.DataFrame, column: str, vocabulary: Vocabulary, what: str) -> pd.Series:
    """A column of ids, new ones among them, in the vocabulary's type.

    Raises:
        DataError: for one that is missing or, among integers, no integer; names its row.
    """
    found = as_ids(frame[column], vocabulary)
    wrong = frame[column].isna().to_numpy()
    if vocabulary.is_integer:
        wrong = wrong | (found == UNKNOWN).to_numpy()
    if wrong.any():
        row = int(wrong.argmax())
        expected = "whole numbers" if vocabulary.is_integer else "text"
        value = shown(frame[column].iloc[row])
        raise DataError(f"{what}, row {row + 1}, column '{column}': {value} is no id; ids are {expected} here")
    return found.reset_index(drop=True)


def clean_ratings(frame: pd.DataFrame, what: str) -> pd.Series:
    """The column of ratings as numbers.

    Raises:
        DataError: for what is none; names its row.
    """
    found = pd.to_numeric(frame[RATING], errors="coerce").astype("float32").reset_index(drop=True)
    wrong = ~np.isfinite(found.to_numpy())
    if wrong.any():
        row = int(wrong.argmax())
        value = shown(frame[RATING].iloc[row])
        raise DataError(f"{what}, row {row + 1}, column '{RATING}': {value} is no rating; expected finite numbers")
    return found


def typed(ids: Iterable[object], vocabulary: Vocabulary) -> list:
    """Single ids in the vocabulary's type.

    Raises:
        DataError: for a text that is no integer, where ids are integers.
    """
    ids = list(ids)
    if vocabulary.is_integer and not any(isinstance(i, str) for i in ids):
        return ids
    return vocabulary.parse(map(str, ids))


def check_fallback(fallback: str | None) -> None:
    """Refuse a fallback that is not there.

    Raises:
        ConfigError: names those there are.
    """
    if fallback not in (None, POPULARITY):
        raise ConfigError(f"fallback is {fallback!r}; expected {POPULARITY!r} or None")


def required(ids: Iterable[object], vocabulary: Vocabulary, side: str) -> np.ndarray:
    """Rows of ids that must be known.

    Raises:
        DataError: for one that is not; it tells what can be done instead.
    """
    try:
        return vocabulary.require(ids, side)
    except DataError as error:
        raise DataError(f"{error}; {HINT}") if str(error).startswith("unknown") else error from None
