"""Frappe: launches of apps in a context."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from recgnn.data.clicks.sparse_text import SparseText
from recgnn.data.datasets.base import Layout, PublicEvents
from recgnn.data.interactions.log import PARTS, SPLIT, clean_split
from recgnn.data.readers.origin import Origin
from recgnn.data.readers.tables import read_table

_FIELDS = ("user", "item", "daytime", "weekday", "isweekend", "homework", "cost", "weather", "country", "city")


class Frappe(PublicEvents):
    """Frappe: which of 4,082 apps users launched in which context, two sampled negatives per launch, in three parts.

    Baltrunas et al., Frappe: Understanding the Usage and Perception of Mobile App Recommendations In-The-Wild, 2015,
    https://arxiv.org/abs/1505.03014; the parts are those of He and Chua, Neural Factorization Machines, 2017. For
    research; not to be passed on. It cannot be downloaded by itself.

    Args:
        root: A folder with `train.parquet`, `valid.parquet` and `test.parquet` (a column `label` and ten fields), or
            with `frappe.train.libfm`, `frappe.validation.libfm` and `frappe.test.libfm`.
    """

    name = "frappe"

    def __init__(self, root: str | Path) -> None:
        super().__init__(root)

    def layouts(self) -> list[Layout]:
        return [
            (("train.parquet", "valid.parquet", "test.parquet"), self._read_parquet),
            (("frappe.train.libfm", "frappe.validation.libfm", "frappe.test.libfm"), self._read_libfm),
        ]

    def _read_parquet(self, folder: Path) -> pd.DataFrame:
        frames = [
            read_table(path)[0].assign(**{SPLIT: part}) for part, path in zip(PARTS, self.files(), strict=True)
        ]
        joined = pd.concat(frames, ignore_index=True)
        return joined.assign(**{SPLIT: clean_split(joined[SPLIT], Origin(str(folder)))})

    def _read_libfm(self, folder: Path) -> pd.DataFrame:
        """Lines of a label (1 or -1) and ten `id:1`, whose ids are used as they are."""
        train, val, test = self.files()
        frame = SparseText(train=train, val=val, test=test, kinds={"position1": "categorical"}).events()
        names = {f"position{number}": name for number, name in enumerate(_FIELDS, 1)}
        return frame.rename(columns=names)
