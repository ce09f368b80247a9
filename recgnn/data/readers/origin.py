"""Where values came from, so that every error names the file, the line and the column."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from recgnn.errors import DataError, RecGNNError, did_you_mean

SHOWN = 12  # names of columns listed in an error


@dataclass(frozen=True)
class Origin:
    """The file (or frame) that rows came from.

    Args:
        name: The file, or a name for the frame.
        line: Maps the position of a row (0, 1, ...) to its line in the file; rows are counted when None.
        columns: Maps our column names to the file's.
        start: Number of rows before the frame's first one.
        notes: What was left out in reading, in lines.
    """

    name: str = "the interactions"
    line: Callable[[int], object] | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    start: int = 0
    notes: tuple[str, ...] = ()

    def at(self, row: int, column: str) -> str:
        """Return `ratings.csv, line 7, column 'rating'`."""
        row += self.start
        place = f"row {row + 1}" if self.line is None else f"line {self.line(row)}"
        return f"{self.name}, {place}, column '{self.columns.get(column, column)}'"


def need_columns(
    wanted: Iterable[str],
    found: Iterable[object],
    where: str,
    remedy: str = "",
    error: type[RecGNNError] = DataError,
) -> None:
    """Check that columns exist.

    Args:
        wanted: Names of the columns that are needed.
        found: Names of the columns that are there.
        where: The file, frame or option, for the error.
        remedy: How to mend it, if that is not obvious.
        error: The class of the error.

    Raises:
        RecGNNError: Names the first missing column, the nearest name, and the columns there are.
    """
    names = [str(name) for name in found]
    for column in wanted:
        if column not in names:
            listed = ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
            if len(names) == 1 and not remedy:
                remedy = "with one column only, check the separator"
            ending = f"; {remedy}" if remedy else ""
            raise error(f"{where}: no column '{column}'{did_you_mean(column, names)}; found: {listed}{ending}")


def unique_columns(names: Iterable[object], where: str) -> None:
    """Check that no two columns have one name.

    Raises:
        DataError: Names the first repeated column.
    """
    seen: set[str] = set()
    for name in map(str, names):
        if name in seen:
            raise DataError(f"{where}: two columns are named '{name}'; rename one, or give columns if it has no names")
        seen.add(name)


def shown(value: object) -> str:
    """Return a value for an error message: short, on one line; a missing one is called empty."""
    if value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and np.isnan(value)):
        return "empty"
    text = repr(value) if isinstance(value, str) else " ".join(str(value).split())
    return text if len(text) <= 60 else text[:57] + "..."
