"""Public click logs that are too large to be read at once: Criteo's and Avazu's, as their owners publish them."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from recgnn.data.cache import fingerprint
from recgnn.data.clicks.events import EventSource
from recgnn.data.interactions.log import PARTS, SPLIT
from recgnn.data.readers.decoding import chunks
from recgnn.data.readers.origin import Origin, need_columns, shown
from recgnn.data.readers.parquet import is_parquet
from recgnn.data.readers.tables import ROWS, open_table
from recgnn.data.readers.text import TextTable
from recgnn.data.readers.values import as_text
from recgnn.errors import DataError, first_line
from recgnn.files import existing_file


class EventFiles(EventSource):
    """Events in a file of known columns, text (also gzipped) or Parquet, of which a block of rows is held at a time.

    A folder with all of `train`, `valid` and `test`, as `.parquet` or `.csv`, comes with that split.

    Args:
        root: The file, or the folder in which the usual names are looked for.
    """

    label: str
    numbers: tuple[str, ...] = ()  # columns of numbers, some of which may be missing
    texts: tuple[str, ...] = ()  # columns of categories, missing where they are empty
    usual: tuple[str, ...]  # names of the file in its folder
    headless = False  # whether a text file may lack a first line of names

    def __init__(self, root: str | Path) -> None:
        self.root = str(root)

    @property
    def columns(self) -> list[str]:
        """The columns that are read."""
        return [self.label, *self.numbers, *self.texts]

    def files(self) -> dict[str, Path]:
        """Return the file of each part, or of `all`.

        Raises:
            DataError: If there is none.
        """
        root = Path(self.root).expanduser()
        if not root.is_dir():
            return {"all": existing_file(root)}
        for suffix in (".parquet", ".csv"):
            parts = [root / f"{name}{suffix}" for name in ("train", "valid", "test")]
            if all(path.is_file() for path in parts):
                return dict(zip(PARTS, parts, strict=True))
        found = [root / name for name in self.usual if (root / name).is_file()]
        only = sorted(root.glob("*.parquet"))
        if not found and len(only) != 1:
            raise DataError(f"{root}: has no {' or '.join(self.usual)}; {self.name} has to be put there by hand")
        return {"all": (found or only)[0]}

    def blocks(self, columns: Collection[str] | None = None) -> Iterator[pd.DataFrame]:
        """Yield the events in frames of at most `ROWS` rows, of all columns or of some.

        Raises:
            DataError: Names the file, the line or row, and the mistake.
        """
        files = self.files()
        for part, path in files.items():
            rows = 0
            for table, origin in self._tables(path):
                frame = self.frame_of(table, origin)
                rows += len(frame)
                if len(files) > 1:
                    codes = np.full(len(frame), PARTS.index(part), dtype=np.int8)
                    frame = frame.assign(**{SPLIT: pd.Categorical.from_codes(codes, pd.Index(PARTS))})
                yield frame if columns is None else frame[[*columns]]
            if not rows:
                raise DataError(f"{path}: has no rows")

    def events(self) -> pd.DataFrame:
        return pd.concat(self.blocks(), ignore_index=True)

    def fingerprint(self) -> str:
        return fingerprint(self, self.name, list(self.files().values()))

    def frame_of(self, table: pa.Table, origin: Origin) -> pd.DataFrame:
        """Return a block with the same types as every other: int64 labels, float64 numbers, text.

        Args:
            table: The columns as they stand in the file.
            origin: The file and the place of the block in it.

        Raises:
            DataError: If a label is not 0 or 1, or a number is none; names the place.
        """
        columns = {self.label: _as_number(table[self.label], pa.int64(), self.label, origin)}
        columns |= {name: _as_number(table[name], pa.float64(), name, origin) for name in self.numbers}
        for name in self.texts:
            columns[name] = table[name]
        frame = pa.table(columns).to_pandas(ignore_metadata=True)
        wrong = ~frame[self.label].isin((0, 1)).to_numpy()
        if wrong.any():
            row = int(wrong.argmax())
            raise DataError(f"{origin.at(row, self.label)}: {shown(frame[self.label].iloc[row])}; expected 0 or 1")
        others = [name for name in self.texts if not isinstance(frame[name].dtype, pd.StringDtype)]
        return frame.assign(**{name: as_text(frame[name]).astype("str") for name in others})

    def _tables(self, path: Path) -> Iterator[tuple[pa.Table, Origin]]:
        """Yield the columns that are read, as they stand in the file, some rows at a time."""
        separator, names = None, None
        if not is_parquet(path):
            head = next(chunks(path, 2**16), b"").decode("utf-8", "ignore")
            first = head.lstrip("\r\n").partition("\n")[0]
            separator = "\t" if "\t" in first else ","
            if self.headless and self.label not in [name.strip(' "\r') for name in first.split(separator)]:
                names = self.columns
        table = open_table(path, separator, names, quotes=names is None)
        remedy = f"{self.name} has the columns {', '.join(self.columns[:5])}, ..."
        need_columns(self.columns, table.names, str(path), remedy)
        line, start = None, 0
        number = pa.float64() if names is None else pa.int64()  # Kaggle's own file has integers only
        if isinstance(table, TextTable):
            line = table.line_of
            pieces = table.tables(self.columns, {self.label: pa.int64()} | dict.fromkeys(self.numbers, number))
        else:
            pieces = table.tables(self.columns, ROWS)
        for piece in pieces:
            for first_row in range(0, piece.num_rows, ROWS):
                block, origin = piece.slice(first_row, ROWS), Origin(str(path), line, start=start)
                for place, name in enumerate(piece.column_names):
                    if names is not None and name in self.numbers:
                        block = block.set_column(place, name, _as_number(block[name], number, name, origin))
                yield block, origin
                start += block.num_rows


class Criteo(EventFiles):
    """Criteo's Display Advertising Challenge: 45,840,617 shown advertisements of a week, 13 counts, 26 categories.

    For research, under the terms of the challenge; it cannot be downloaded by itself. From Kaggle comes `train.txt`:
    no header, separated by tabs, the label, I1 to I13 (integers), C1 to C26 (hashes), empty where missing. A text file
    with a header, or a Parquet file, needs columns of these names; others are left out.

    Args:
        root: The file, or the folder in which the usual names are looked for; with all of `train`, `valid` and `test`
            (`.parquet` or `.csv`) it comes with that split.
    """

    name = "criteo"
    label = "label"
    numbers = tuple(f"I{n}" for n in range(1, 14))
    texts = tuple(f"C{n}" for n in range(1, 27))
    usual = ("train.txt", "train.txt.gz", "train.parquet", "train.csv")
    headless = True


class Avazu(EventFiles):
    """Avazu's Click-Through Rate Prediction: 40,428,967 advertisements of ten days, 21 categories and the hour.

    For research, under the terms of the challenge; it cannot be downloaded by itself. From Kaggle comes `train.gz`
    (`train.csv`). As in Avazu_x4, `id` is left out and `hour` (YYMMDDHH) becomes three categories: `hour` (0 to 23),
    `weekday` (0 is Monday) and `weekend` (1 on Saturday and Sunday). Rows to `predict` need these three, too.

    Args:
        root: The file, or the folder in which the usual names are looked for; with all of `train`, `valid` and `test`
            (`.parquet` or `.csv`) it comes with that split.
    """

    name = "avazu"
    label = "click"
    texts = (
        *("hour", "C1", "banner_pos", "site_id", "site_domain", "site_category", "app_id", "app_domain"),
        *("app_category", "device_id", "device_ip", "device_model", "device_type", "device_conn_type"),
        *(f"C{n}" for n in range(14, 22)),
    )
    usual = ("train.gz", "train.csv", "train", "train.csv.gz", "train.parquet")

    def frame_of(self, table: pa.Table, origin: Origin) -> pd.DataFrame:
        frame = super().frame_of(table, origin)
        which, hours = pd.factorize(frame["hour"], use_na_sentinel=False)
        moments = pd.to_datetime("20" + pd.Series(hours), format="%Y%m%d%H", errors="coerce")
        wrong = (moments.isna() | (pd.Series(hours).str.len() != 8)).to_numpy()[which]
        if wrong.any():
            row = int(wrong.argmax())
            found = shown(frame["hour"].iloc[row])
            raise DataError(f"{origin.at(row, 'hour')}: {found}; expected YYMMDDHH, as 14102100")
        parts = {"hour": moments.dt.hour, "weekday": moments.dt.day_of_week, "weekend": moments.dt.day_of_week // 5}
        made = {name: values.astype("str").to_numpy()[which] for name, values in parts.items()}
        rest = frame.drop(columns=[self.label, "hour"])
        return pd.DataFrame({self.label: frame[self.label], **made}).astype(dict.fromkeys(made, "str")).join(rest)


def _as_number(values: pa.ChunkedArray, kind: pa.DataType, column: str, origin: Origin) -> pa.ChunkedArray:
    """Return a column as numbers, null where it is empty.

    Raises:
        DataError: Names the place of the first text that is none.
    """
    try:
        return values.cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        if not pa.types.is_string(values.type):
            raise DataError(f"{origin.name}, column '{column}': {first_line(error)}") from error
        for row, value in enumerate(values):
            try:
                value.cast(kind)
            except pa.ArrowInvalid:
                expected = "an integer" if kind == pa.int64() else "a number"
                raise DataError(f"{origin.at(row, column)}: {shown(value.as_py())} is not {expected}") from error
        raise
