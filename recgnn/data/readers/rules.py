"""Rules about rows, written as text: `rating >= 4`, `behavior == 'buy'`, several joined by `and`."""

from __future__ import annotations

import operator
import re
from collections.abc import Collection
from typing import NamedTuple

import numpy as np
import pandas as pd

from recgnn.data.readers.origin import Origin, need_columns
from recgnn.data.readers.values import as_text, clean_numbers
from recgnn.errors import ConfigError

_COMPARE = {">=": operator.ge, "<=": operator.le, "==": operator.eq, "!=": operator.ne, ">": operator.gt,
            "<": operator.lt}  # fmt: skip
_NUMBER = r"-?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
_RULE = re.compile(rf"\s*([^'\"<>=!]+?)\s*(>=|<=|==|!=|>|<)\s*('[^']*'|\"[^\"]*\"|{_NUMBER}|\w+)\s*$")


class Condition(NamedTuple):
    """One comparison of a column with a number or a text."""

    column: str
    compare: str
    value: float | str

    @property
    def numeric(self) -> bool:
        """Whether it compares numbers."""
        return not isinstance(self.value, str)


class Rule:
    """Says which rows are meant.

    Args:
        text: A comparison (`>=`, `<=`, `>`, `<`, `==`, `!=`) of a column with a number or a text, or several joined by
            `and`. Texts, such as `'buy'`, know `==` and `!=` only.
        option: The option that holds it, for errors.

    Raises:
        ConfigError: If it is no rule.

    >>> Rule("rating >= 4", "positive").mask(pd.DataFrame({"rating": [5.0, 3.0, 4.0]})).tolist()
    [True, False, True]
    >>> Rule("kind == 'buy' and price < 10", "keep").columns
    ['kind', 'price']
    """

    def __init__(self, text: str, option: str) -> None:
        self.text, self.option = str(text), option
        self.conditions = [self._condition(part) for part in re.split(r"\s+and\s+", self.text)]

    def _condition(self, text: str) -> Condition:
        found = _RULE.match(text)
        if found is None:
            expected = "expected one such as rating >= 4 or kind == 'buy'"
            raise ConfigError(f"{self.option}: {text!r} is no rule; {expected}")
        column, compare, value = found.groups()
        number = re.fullmatch(_NUMBER, value) is not None
        if not number and compare not in ("==", "!="):
            raise ConfigError(f"{self.option}: {text!r} compares a text; after {compare} comes a number")
        return Condition(column, compare, float(value) if number else value.strip("'\""))

    @property
    def columns(self) -> list[str]:
        """The columns that it asks for."""
        return list(dict.fromkeys(condition.column for condition in self.conditions))

    def check(self, columns: Collection[str], where: str) -> None:
        """Check that its columns exist.

        Raises:
            DataError: Names the first that is missing.
        """
        need_columns(self.columns, columns, f"{where}: {self.option}")

    def mask(self, frame: pd.DataFrame, origin: Origin | None = None) -> np.ndarray:
        """Return which rows are meant, [n] bool; a row without a text is not equal to any.

        Raises:
            DataError: If a column is missing, or a number is needed and missing; names the place.
        """
        origin = origin or Origin()
        self.check([str(c) for c in frame.columns], origin.name)
        found = np.ones(len(frame), dtype=bool)
        for column, compare, value in self.conditions:
            values = frame[column]
            numeric = pd.api.types.is_numeric_dtype(values.dtype) and not pd.api.types.is_bool_dtype(values.dtype)
            if isinstance(value, float) and (numeric or compare not in ("==", "!=")):
                numbers = clean_numbers(values, column, origin, f"a number, for {self.option}: {self.text}").to_numpy()
                if values.dtype == np.float32:
                    value = float(np.float32(value))
                found &= _COMPARE[compare](numbers, value)
            else:
                wanted = as_text(pd.Series([value]))[0]
                found &= _COMPARE[compare](as_text(values), wanted).fillna(compare == "!=").to_numpy(bool)
        return found

    def __repr__(self) -> str:
        return f"Rule({self.text!r})"
