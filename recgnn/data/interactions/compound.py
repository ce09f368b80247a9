"""Ids made of several columns, as the pair of a user and a movie whose tags are ranked."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from recgnn.data.interactions.log import USER
from recgnn.data.interactions.vocabulary import Vocabulary
from recgnn.data.readers.ids import clean_ids
from recgnn.data.readers.origin import Origin, need_columns, shown
from recgnn.errors import DataError

COMMA = ","
PART = "part:"  # begins the names of a vocabulary's attributes that hold the parts of its ids


def joined(frame: pd.DataFrame, columns: Sequence[str], origin: Origin) -> tuple[str, pd.Series, pd.DataFrame]:
    """Join the columns of an id of several parts.

    Returns:
        Name of the new column, `a,b`; its values, such as `7,260`; and a table of its distinct ones (column `user`)
        with their parts.

    Raises:
        DataError: If a column is missing, an id is, or an id has a comma; names the place.
    """
    need_columns(columns, frame.columns, origin.name)
    parts = {column: clean_ids(frame[column], column, origin).astype("str") for column in columns}
    for column, values in parts.items():
        if (broken := values.str.contains(COMMA, regex=False).to_numpy(bool)).any():
            row = int(broken.argmax())
            raise DataError(
                f"{origin.at(row, column)}: {shown(values.iloc[row])} has a comma, which joins ids of several columns; "
                "replace it"
            )
    whole = pd.Series([COMMA.join(row) for row in zip(*parts.values(), strict=True)], index=frame.index, dtype="str")
    table = pd.DataFrame({USER: whole} | {f"{PART}{column}": values for column, values in parts.items()})
    return COMMA.join(columns), whole, table.drop_duplicates(USER, ignore_index=True)


class Parts:
    """The parts of the ids of a vocabulary, each numbered by itself; an id of one column is its own part.

    Args:
        ids: The vocabulary.

    Attributes:
        names: The columns.
        sizes: How many values each has.
        codes: The value of each id in each column, [n, F].
    """

    def __init__(self, ids: Vocabulary):
        table = ids.attributes if ids.attributes is not None else pd.DataFrame()
        self.names = [name for name in table.columns if name.startswith(PART)]
        if not self.names:
            self.codes, self.sizes = np.arange(len(ids))[:, None], [len(ids)]
            return
        self.values = [np.unique(table[name].to_numpy(object)) for name in self.names]
        self.sizes = [len(values) for values in self.values]
        self.codes = self.encode(table[self.names].to_numpy(object))

    def encode(self, parts: np.ndarray) -> np.ndarray:
        """Return the codes of parts [n, F], -1 where one is unknown: [n, F]."""
        columns = zip(self.values, parts.T, strict=True)
        return np.stack([pd.Index(values).get_indexer(pd.Index(part)) for values, part in columns], 1)


def with_known_parts(ids: Vocabulary, table: pd.DataFrame | None) -> Vocabulary:
    """Append to a vocabulary, fitted on train, those ids of a table that train does not have, but all parts of."""
    parts = Parts(ids)
    if not parts.names or table is None:
        return ids
    known = (parts.encode(table[parts.names].to_numpy(object)) >= 0).all(1)
    new = table[known & ~table[USER].isin(ids.ids).to_numpy()]
    if not len(new):
        return ids
    attributes = pd.concat([ids.attributes, new[parts.names]], ignore_index=True)
    frequency = np.concatenate([ids.frequency, np.zeros(len(new), np.int64)])
    return Vocabulary(ids.ids.append(pd.Index(new[USER], dtype="str")), attributes, frequency)


def admitted(ids: Vocabulary, wanted: Sequence[str]) -> Vocabulary:
    """Append to a vocabulary those of the wanted ids that are new and all of whose parts it knows."""
    names = Parts(ids).names
    rows = [(one, *one.split(COMMA)) for one in dict.fromkeys(wanted) if one.count(COMMA) == len(names) - 1]
    return with_known_parts(ids, pd.DataFrame(rows, columns=[USER, *names], dtype="str")) if names and rows else ids

