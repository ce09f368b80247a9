"""The columns of tables that somebody gives, under the names that a run has for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from recgnn.data.interactions.columns import with_our_names
from recgnn.data.interactions.compound import COMMA, joined
from recgnn.data.readers.frames import named_frame
from recgnn.data.readers.origin import Origin, need_columns
from recgnn.errors import DataError


def own_columns(
    frame: Any,
    names: Mapping[str, str],
    needed: Iterable[str] = (),
    what: str = "the frame",
    adds: str = "",
    remedy: str = "",
) -> pd.DataFrame:
    """Return a frame with the run's names for its columns.

    A column with the name that the run's source has for it is the run's; another one that has the run's own name by
    chance is left out then, as in training.

    Args:
        frame: Rows (see `as_pandas`), with the columns of the run's source or with the run's own (`user`, `item`).
        names: What the run's source calls its columns.
        needed: Columns that must be there.
        what: What to call the frame in messages.
        adds: The column that is to be added to it.
        remedy: How to mend it where a column is missing.

    Raises:
        DataError: If a column is missing, stands twice, or would be overwritten.
    """
    frame = named_frame(frame, what)
    if adds and adds in frame.columns:
        raise DataError(f"{what}: has a column '{adds}' already, which the answers are to have; rename it")
    for theirs in names.values():
        if theirs not in frame.columns and {*theirs.split(COMMA)} <= {*frame.columns}:  # ids of several columns
            frame = frame.assign(**{theirs: joined(frame, theirs.split(COMMA), Origin(what))[1]})
    found = with_our_names(frame, names)
    for column in needed:
        if column not in found.columns:
            need_columns([names.get(column, column)], frame.columns, what, remedy)
            raise DataError(f"{what}: column '{names.get(column, column)}' cannot be the {column} and another one too")
    return found
