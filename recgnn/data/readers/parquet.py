"""Parquet files, whole or in batches of rows."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from recgnn.data.readers.origin import unique_columns
from recgnn.errors import DataError, first_line

_BROKEN = (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError)


def is_parquet(path: Path) -> bool:
    """Return whether a file is Parquet, by its content.

    Raises:
        DataError: If its name says so, but it is none.
    """
    with open(path, "rb") as file:
        if file.read(4) == b"PAR1":
            return True
    if path.suffix == ".parquet":
        raise DataError(f"{path}: is named .parquet but is no Parquet file")
    return False


class ParquetTable:
    """A Parquet file; a saved index of pandas is left out.

    Args:
        path: The file.

    Raises:
        DataError: If it is broken, or two columns have one name.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._open() as file:
            self.schema = file.schema_arrow
        names = self.schema.names
        self.names = [name for name in names if not re.fullmatch(r"__index_level_\d+__", name)]
        unique_columns(self.names, str(path))

    def check_types(self, other: ParquetTable) -> None:
        """Check that each column is of a type that goes with that of another file's.

        Raises:
            DataError: Names the first column that is numbers in one file, and texts, say, in the other.
        """
        for name in self.names:
            one, two = (pa.schema([table.schema.field(name)]) for table in (other, self))
            try:
                pa.unify_schemas([one, two], promote_options="permissive")
            except (pa.ArrowInvalid, pa.ArrowTypeError):
                types = f"{one[0].type} in {other.path} and {two[0].type}"
                raise DataError(f"{self.path}: column '{name}' is {types} here; expected one type in all") from None

    def line_of(self, row: int) -> None:
        """Return None: a Parquet file has no lines."""

    def tables(self, chosen: Collection[str] | None = None, rows: int = 2**20) -> Iterator[pa.Table]:
        """Yield the rows in batches; one empty table where there are none.

        Args:
            chosen: Which columns are wanted; all when None.
            rows: Of a batch, at most.

        Raises:
            DataError: Names the row from which the file cannot be read.
        """
        names = [name for name in self.names if chosen is None or name in chosen]
        row = 0
        with self._open() as file:
            if not file.metadata.num_rows:
                yield file.schema_arrow.empty_table().select(names).replace_schema_metadata()
            try:
                for batch in file.iter_batches(rows, columns=names):
                    for column in batch.columns:
                        if pa.types.is_string(column.type):
                            column.validate(full=True)
                    yield pa.Table.from_batches([batch]).replace_schema_metadata()
                    row += batch.num_rows
            except _BROKEN as error:
                raise DataError(
                    f"{self.path}: is no readable Parquet file, from row {row + 1} on: {first_line(error)}"
                ) from error
            if names and row != (told := file.metadata.num_rows):
                raise DataError(f"{self.path}: is damaged: its footer tells of {told:,} rows, and it holds {row:,}")

    @contextmanager
    def _open(self) -> Iterator[pq.ParquetFile]:
        try:
            file = pq.ParquetFile(self.path, page_checksum_verification=True, pre_buffer=False)  # which keeps all
        except _BROKEN as error:
            raise DataError(f"{self.path}: is no readable Parquet file: {first_line(error)}") from error
        with file:
            yield file
