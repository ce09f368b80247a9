"""The data sets of NGCF and LightGCN, each with a fixed train and test part."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from recgnn.data.datasets.base import Layout, PublicLog
from recgnn.data.interactions.log import SPLIT, InteractionLog
from recgnn.data.interactions.sources import AdjacencyLog
from recgnn.data.readers.origin import Origin
from recgnn.data.readers.tables import read_table


class _FixedSplit(PublicLog):
    """A log in two files, train and test."""

    def layouts(self) -> list[Layout]:
        return [(("train.parquet", "test.parquet"), self._read_parquet), (("train.txt", "test.txt"), self._read_lists)]

    def _read_parquet(self, folder: Path) -> InteractionLog:
        parts = {part: read_table(folder / f"{part}.parquet")[0] for part in ("train", "test")}
        frame = pd.concat(parts.values(), ignore_index=True)
        frame[SPLIT] = np.repeat(np.array([*parts]), [len(part) for part in parts.values()])
        return InteractionLog(frame, name=self.name, origin=Origin(str(folder)))

    def _read_lists(self, folder: Path) -> InteractionLog:
        return AdjacencyLog(folder / "train.txt", folder / "test.txt", name=self.name).read()


def _urls(folder: str) -> tuple[str, ...]:
    base = "https://raw.githubusercontent.com/gusye1234/LightGCN-PyTorch/master/data"
    return tuple(f"{base}/{folder}/{part}.txt" for part in ("train", "test"))


class Gowalla(_FixedSplit):
    """Gowalla check-ins with the fixed split of NGCF and LightGCN (`GivenSplit`).

    Args:
        root: A folder with `train.txt` and `test.txt` (or `.parquet`); None: downloaded once.
        cache_dir: Folder of the downloads; $RECGNN_CACHE or ~/.cache/recgnn when None.
    """

    name = "gowalla"
    counts = {"users": 29_858, "items": 40_981, "train": 810_128, "test": 217_242}
    urls = _urls("gowalla")


class Yelp2018(_FixedSplit):
    """Yelp2018 with the fixed split of NGCF and LightGCN (`GivenSplit`).

    Args:
        root: A folder with `train.txt` and `test.txt` (or `.parquet`); None: downloaded once.
        cache_dir: Folder of the downloads; $RECGNN_CACHE or ~/.cache/recgnn when None.
    """

    name = "yelp2018"
    counts = {"users": 31_668, "items": 38_048, "train": 1_237_259, "test": 324_147}
    urls = _urls("yelp2018")


class AmazonBook(_FixedSplit):
    """Amazon-Book with the fixed split of NGCF and LightGCN (`GivenSplit`).

    Args:
        root: A folder with `train.txt` and `test.txt` (or `.parquet`); None: downloaded once.
        cache_dir: Folder of the downloads; $RECGNN_CACHE or ~/.cache/recgnn when None.
    """

    name = "amazon-book"
    counts = {"users": 52_643, "items": 91_599, "train": 2_380_730, "test": 603_378}
    urls = _urls("amazon-book")
