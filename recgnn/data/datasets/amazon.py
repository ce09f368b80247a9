"""Amazon Beauty: sequences of actions and the items' attributes."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from recgnn.data.datasets.base import Layout, PublicLog
from recgnn.data.interactions.log import ITEM, POSITION, USER, InteractionLog
from recgnn.data.readers.lists import hold_lists, pieces_of
from recgnn.data.readers.origin import need_columns
from recgnn.data.readers.tables import read_table
from recgnn.errors import DataError


class AmazonBeauty(PublicLog):
    """Amazon Beauty, 5-core: the reviews of 22,363 users on 12,101 items, in order, and the items' attributes.

    McAuley et al., Image-Based Recommendations on Styles and Substitutes, 2015, https://arxiv.org/abs/1506.04757; the
    attributes are those of Zhou et al., S3-Rec, 2020, https://arxiv.org/abs/2008.07873. For research. It cannot be
    downloaded by itself. Only the order of a user's actions is known, no time: it is the column `pos`, which
    `LeaveOneOut`, `RatioSplit(by="user")` and `Histories` go by.

    Args:
        root: A folder (or one with a folder `amazon-beauty`) with `sequences.parquet`, a row of `user` and `item` per
            action, each user's oldest first, and `attributes.parquet`, a row per `item` with a list of its attributes,
            the column `attributes` or `attrs`.
    """

    name = "amazon-beauty"
    _lists = ("attributes", "attrs")

    def __init__(self, root: str | Path) -> None:
        super().__init__(root)

    def layouts(self) -> list[Layout]:
        return [(("sequences.parquet", "attributes.parquet"), self._read)]

    def _read(self, folder: Path) -> InteractionLog:
        """Return the actions with `pos`, 0 for a user's first, and the items with `attributes` as text, `1|2|3`."""
        frame, origin = read_table(folder / "sequences.parquet")
        need_columns((USER, ITEM), frame.columns, origin.name)
        frame = frame[[USER, ITEM]].assign(**{POSITION: frame.groupby(USER).cumcount()})
        return InteractionLog(frame, items=self._items(folder), name=self.name, origin=origin)

    def _items(self, folder: Path) -> pd.DataFrame:
        table, origin = read_table(folder / "attributes.parquet")
        column = next((c for c in self._lists if c in table), self._lists[0])
        need_columns((ITEM, column), table.columns, origin.name)
        if not hold_lists(table[column]):
            raise DataError(f"{origin.at(0, column)}: {table[column].iloc[0]!r}; expected a list of attributes")
        return table[[ITEM]].assign(attributes=["|".join(values) for values in pieces_of(table[column], "|")])
