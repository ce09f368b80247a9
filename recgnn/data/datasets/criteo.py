"""Public click logs that are too large to be read at once: Criteo's and Avazu's, as their owners publish them."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Collection, Iterable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from recgnn.data.clicks.events import EventSource
from recgnn.data.clicks.fields import as_text
from recgnn.data.log import PARTS, SPLIT, shown
from recgnn.data.readers.blocks import ROWS
from recgnn.data.readers.columns import fingerprint
from recgnn.data.readers.tables import first_line, is_parquet
from recgnn.errors import DataError
from recgnn.files import existing_file

_UNEVEN = re.compile(r"Row #(\d+): Expected (\d+) columns, got (\d+)")
_VALUE = re.compile(r"In CSV column #(\d+): Row #(\d+): CSV conversion error to (\w+): (?:invalid value '(.*)')?", re.S)
_KINDS = {"int64": "an integer", "double": "a number", "string": "UTF-8 text"}


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
        """The file of each part, or of `all`.

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
        """The events in frames of at most `ROWS` rows, of all columns or of some.

        Raises:
            DataError: With the file and what is wrong in it.
        """
        files = self.files()
        for part, path in files.items():
            rows = 0
            for table in self._tables(path):
                frame = self.frame_of(table, path, rows)
                rows += len(frame)
                if len(files) > 1:
                    codes = np.full(len(frame), PARTS.index(part), dtype=np.int8)
                    frame = frame.assign(**{SPLIT: pd.Categorical.from_codes(codes, PARTS)})
                yield frame if columns is None else frame[[*columns]]
            if not rows:
                raise DataError(f"{path}: has no rows")

    def events(self) -> pd.DataFrame:
        return pd.concat(self.blocks(), ignore_index=True)

    def fingerprint(self) -> str:
        return fingerprint(self, self.name, list(self.files().values()))

    def frame_of(self, table: pa.Table, path: Path, start: int) -> pd.DataFrame:
        """A block with the same types as every other: int64 labels, float64 numbers, text.

        Args:
            table: The columns as they stand in the file.
            path: The file.
            start: How many of its rows came before.

        Raises:
            DataError: For a label other than 0 and 1, or text in a column of numbers.
        """
        for name, kind in {self.label: pa.int64(), **dict.fromkeys(self.numbers, pa.float64())}.items():
            try:
                column = table[name].cast(kind)
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
                raise DataError(f"{path}, column '{name}': {first_line(error)}") from error
            table = table.set_column(table.column_names.index(name), name, column)
        frame = table.to_pandas(ignore_metadata=True)[self.columns]
        wrong = ~frame[self.label].isin((0, 1)).to_numpy()
        if wrong.any():
            row = int(wrong.argmax())
            value = shown(frame[self.label].iloc[row])
            raise DataError(f"{path}, row {start + row + 1}, column '{self.label}': {value}; expected 0 or 1")
        others = [name for name in self.texts if not isinstance(frame[name].dtype, pd.StringDtype)]
        return frame.assign(**{name: as_text(frame[name]).astype("str") for name in others})

    def _tables(self, path: Path) -> Iterator[pa.Table]:
        try:
            if is_parquet(path):
                with pq.ParquetFile(path, page_checksum_verification=True) as file:
                    self._need_all(path, file.schema_arrow.names)
                    for batch in file.iter_batches(ROWS, columns=self.columns):
                        yield pa.Table.from_batches([batch])
            else:
                yield from _regrouped(self._of_text(path), ROWS)
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{path}: cannot be read: {first_line(error)}") from error

    def _of_text(self, path: Path) -> Iterator[pa.RecordBatch]:
        zipped = is_gzip(path)
        _, first = next(numbered_lines(path), (0, None))
        if first is None:
            raise DataError(f"{path}: is empty")
        first = first.decode("utf-8-sig", errors="replace")
        separator = "\t" if "\t" in first else ","
        named = [name.strip('"') for name in first.split(separator)]
        header = self.label in named or not self.headless
        if header:
            self._need_all(path, named)
        # Where there is a header, integers may have been written as 1.0, by a program that has no others with gaps.
        number = pa.float64() if header else pa.int64()
        names = named if header else self.columns
        kinds = {self.label: pa.int64()} | dict.fromkeys(self.numbers, number) | dict.fromkeys(self.texts, pa.string())
        try:
            with (
                pa.input_stream(path, compression="gzip" if zipped else None) as stream,
                pa.csv.open_csv(
                    stream,
                    pa.csv.ReadOptions(column_names=None if header else names, use_threads=False),  # counts the rows
                    pa.csv.ParseOptions(delimiter=separator, quote_char='"' if header else False),
                    pa.csv.ConvertOptions(
                        column_types=kinds, null_values=[""], strings_can_be_null=True, include_columns=self.columns
                    ),
                ) as reader,
            ):
                yield from reader
        except pa.ArrowInvalid as error:
            if match := _UNEVEN.search(str(error)):
                row, expected, found = match.groups()
                what = f"{found} column{'s' * (found != '1')} where {expected} are expected"
                raise DataError(f"{path}, line {_line_of(path, int(row))}: {what}") from error
            if match := _VALUE.match(str(error)):
                column, row, kind, value = match.groups()
                what = "this" if value is None else shown(value)
                raise DataError(
                    f"{path}, line {_line_of(path, int(row))}, column '{names[int(column)]}': {what} is not "
                    f"{_KINDS.get(kind, kind)}"
                ) from error
            raise

    def _need_all(self, path: Path, there: list[str]) -> None:
        lacking = [name for name in self.columns if name not in there]
        if lacking:
            raise DataError(
                f"{path}: has no column {', '.join(lacking[:5])}{', ...' * (len(lacking) > 5)}, as {self.name} has; "
                f"found: {', '.join(shown(name) for name in there[:5])}{', ...' * (len(there) > 5)}"
            )


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

    def frame_of(self, table: pa.Table, path: Path, start: int) -> pd.DataFrame:
        frame = super().frame_of(table, path, start)
        which, hours = pd.factorize(frame["hour"], use_na_sentinel=False)
        moments = pd.to_datetime("20" + pd.Series(hours), format="%Y%m%d%H", errors="coerce")
        wrong = (moments.isna() | (pd.Series(hours).str.len() != 8)).to_numpy()[which]
        if wrong.any():
            row = int(wrong.argmax())
            found = shown(frame["hour"].iloc[row])
            raise DataError(f"{path}, row {start + row + 1}, column 'hour': {found}; expected YYMMDDHH, as 14102100")
        parts = {"hour": moments.dt.hour, "weekday": moments.dt.day_of_week, "weekend": moments.dt.day_of_week // 5}
        made = {name: values.astype("str").to_numpy()[which] for name, values in parts.items()}
        rest = frame.drop(columns=[self.label, "hour"])
        return pd.DataFrame({self.label: frame[self.label], **made}).astype(dict.fromkeys(made, "str")).join(rest)


def _regrouped(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.Table]:
    """Tables of `rows` rows, the last of what is left."""
    held = None
    for batch in batches:
        table = pa.Table.from_batches([batch])
        held = table if held is None else pa.concat_tables([held, table])
        while held.num_rows >= rows:
            yield held.slice(0, rows)
            held = held.slice(rows)
    if held is not None and held.num_rows:
        yield held


def is_gzip(path: Path) -> bool:
    """Whether a file is gzipped, by its content."""
    with open(path, "rb") as file:
        return file.read(2) == b"\x1f\x8b"


def numbered_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines of a text file, also gzipped, that are not empty, with their numbers.

    Raises:
        DataError: If it is no readable gzip file.
    """
    with gzip.open(path) if is_gzip(path) else open(path, "rb") as stream:
        try:
            for number, line in enumerate(stream, 1):
                if line := line.rstrip(b"\r\n"):
                    yield number, line
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"{path}: cannot be read: {first_line(error)}") from error


def _line_of(path: Path, row: int) -> int:
    """The number of the line that Arrow, which leaves empty ones out, counts as `row`."""
    return next(islice(numbered_lines(path), row - 1, None))[0]
