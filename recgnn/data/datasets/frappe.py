"""Named public tables of events."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from recgnn.data.clicks.events import EventSource
from recgnn.data.log import SPLIT, Origin, clean_split
from recgnn.data.readers.columns import fingerprint
from recgnn.data.readers.tables import read_parquet
from recgnn.errors import DataError


class Frappe(EventSource):
    """Frappe: which of 4,082 apps users launched in which context, two sampled negatives per launch, in three parts.

    Baltrunas et al., Frappe: Understanding the Usage and Perception of Mobile App Recommendations In-The-Wild, 2015,
    https://arxiv.org/abs/1505.03014; the parts are those of He and Chua, Neural Factorization Machines, 2017. For
    research; not to be passed on. It cannot be downloaded by itself.

    Args:
        root: A folder with `train.parquet`, `valid.parquet` and `test.parquet` (a column `label` and ten fields), or
            with `frappe.train.libfm`, `frappe.validation.libfm` and `frappe.test.libfm`.
    """

    name = "frappe"
    _fields = ("user", "item", "daytime", "weekday", "isweekend", "homework", "cost", "weather", "country", "city")
    _layouts = (
        ("train.parquet", "valid.parquet", "test.parquet"),
        ("frappe.train.libfm", "frappe.validation.libfm", "frappe.test.libfm"),
    )

    def __init__(self, root: str | Path) -> None:
        self.root = str(root)

    def files(self) -> list[Path]:
        """The files of the three parts.

        Raises:
            DataError: If they are not all there.
        """
        folder = Path(self.root).expanduser()
        for names in self._layouts:
            if all((folder / name).is_file() for name in names):
                return [folder / name for name in names]
        raise DataError(
            f"{folder}: has neither {', '.join(self._layouts[0])} nor {', '.join(self._layouts[1])}; Frappe has to be "
            "put there by hand"
        )

    def events(self) -> pd.DataFrame:
        frames = []
        for part, path in zip(("train", "val", "test"), self.files(), strict=True):
            frame = read_parquet(path) if path.suffix == ".parquet" else self._read_libfm(path)
            frames.append(frame.assign(**{SPLIT: part}))
        joined = pd.concat(frames, ignore_index=True)
        joined[SPLIT] = clean_split(joined[SPLIT], Origin(self.root))
        return joined

    def _read_libfm(self, path: Path) -> pd.DataFrame:
        """Lines of a label (1 or -1) and ten `id:1`, whose ids are used as they are."""
        names = ["label", *self._fields]
        frame = pd.read_csv(path, sep=" ", header=None, names=names, dtype="str")
        label = pd.to_numeric(frame["label"]).to_numpy()
        fields = {name: frame[name].str.partition(":")[0] for name in self._fields}
        return pd.DataFrame({"label": np.where(label > 0, 1, 0), **fields})

    def fingerprint(self) -> str:
        return fingerprint(self, self.name, self.files())
