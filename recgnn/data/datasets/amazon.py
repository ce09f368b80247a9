"""Amazon Beauty: sequences of actions and the items' attributes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from recgnn.data.log import ITEM, POSITION, USER, InteractionLog, Origin, Source, need_column
from recgnn.data.readers.columns import fingerprint
from recgnn.data.readers.tables import read_parquet
from recgnn.errors import DataError


class AmazonBeauty(Source):
    """Amazon Beauty, 5-core: what 22,363 users reviewed of 12,101 items, in order, and the items' attributes.

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
    _names = ("sequences.parquet", "attributes.parquet")
    _lists = ("attributes", "attrs")

    def __init__(self, root: str | Path) -> None:
        self.root = str(root)

    def files(self) -> list[Path]:
        """The two files.

        Raises:
            DataError: If they are not both there.
        """
        root = Path(self.root).expanduser()
        for folder in (root, root / self.name):
            if all((folder / name).is_file() for name in self._names):
                return [folder / name for name in self._names]
        lacking = " and ".join(name for name in self._names if not (root / name).is_file())
        raise DataError(f"{root}: has no {lacking}; Amazon Beauty has to be put there by hand")

    def read(self) -> InteractionLog:
        """The actions with `pos`, 0 for a user's first, and the items with `attributes` as text, `1|2|3`."""
        sequences, attributes = self.files()
        frame, origin = read_parquet(sequences), Origin(str(sequences))
        for column in (USER, ITEM):
            need_column(frame, column, origin)
        frame = frame[[USER, ITEM]].assign(**{POSITION: frame.groupby(USER).cumcount()})
        return InteractionLog(frame, items=self._items(attributes), name=self.name, origin=origin)

    def _items(self, path: Path) -> pd.DataFrame:
        table, origin = read_parquet(path), Origin(str(path))
        need_column(table, ITEM, origin)
        column = next((c for c in self._lists if c in table), self._lists[0])
        need_column(table, column, origin)
        wrong = table[column].map(lambda x: not isinstance(x, np.ndarray)).to_numpy(bool)
        if wrong.any():
            row = int(wrong.argmax())
            raise DataError(f"{origin.at(row, column)}: {table[column].iloc[row]!r}; expected a list of attributes")
        return table[[ITEM]].assign(attributes=["|".join(map(str, values)) for values in table[column]])

    def fingerprint(self) -> str:
        return fingerprint(self, self.name, self.files())
