"""Raw ids and ratings that somebody gives, in the form that a vocabulary knows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from recgnn.data.interactions.log import RATING
from recgnn.data.interactions.vocabulary import Vocabulary
from recgnn.data.readers.ids import known_ids
from recgnn.data.readers.origin import Origin, shown
from recgnn.data.readers.values import clean_numbers
from recgnn.errors import ConfigError, DataError

POPULARITY = "popularity"
HINT = "leave them out, or fallback='popularity' (--fallback popularity) recommends what is popular instead"


def new_ids(frame: pd.DataFrame, column: str, vocabulary: Vocabulary, what: str) -> pd.Series:
    """Return a column of ids, new ones among them, in the vocabulary's type.

    Raises:
        DataError: If an id is missing or, among integers, no integer; names its row.
    """
    found = known_ids(frame[column], vocabulary.is_integer)
    wrong = found.isna().to_numpy()
    if wrong.any():
        row = int(wrong.argmax())
        expected = "whole numbers" if vocabulary.is_integer else "text"
        value = shown(frame[column].iloc[row])
        raise DataError(f"{Origin(what).at(row, column)}: {value} is no id; ids are {expected} here")
    return found.astype("int64" if vocabulary.is_integer else "str").reset_index(drop=True)


def clean_ratings(frame: pd.DataFrame, what: str) -> pd.Series:
    """Return the column of ratings as float32.

    Raises:
        DataError: If a rating is no finite number; names its row.
    """
    return clean_numbers(frame[RATING], RATING, Origin(what)).astype(np.float32).reset_index(drop=True)


def check_fallback(fallback: str | None) -> None:
    """Check the name of a fallback.

    Raises:
        ConfigError: If there is no such fallback.
    """
    if fallback not in (None, POPULARITY):
        raise ConfigError(f"fallback is {fallback!r}; expected {POPULARITY!r} or None")


def required(ids: Iterable[object], vocabulary: Vocabulary, side: str) -> np.ndarray:
    """Return the rows of ids that must be known.

    Raises:
        DataError: If one is unknown; tells what can be done instead.
    """
    try:
        return vocabulary.require(ids, side)
    except DataError as error:
        raise DataError(f"{error}; {HINT}") if str(error).startswith("unknown") else error from None


def is_single(value: object) -> bool:
    """Whether a value is one id, and not several."""
    return isinstance(value, str) or not isinstance(value, Iterable)


def as_list(ids: Any) -> list:
    """One id, or several, as a list."""
    return [ids] if is_single(ids) else list(ids)
