"""A log that does not fit in memory, read into DuckDB: checked and typed block by block, as the small one is whole."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from recgnn.data.interactions.columns import renamed
from recgnn.data.interactions.log import (
    ITEM,
    POSITION,
    RATING,
    SPLIT,
    TIMESTAMP,
    USER,
    WEIGHT,
    clean_split,
)
from recgnn.data.interactions.sources import TableLog
from recgnn.data.readers.ids import clean_ids
from recgnn.data.readers.notation import Notation, read
from recgnn.data.readers.origin import Origin, need_columns, unique_columns
from recgnn.data.readers.tables import bad_rows_note, is_text, lines_of, open_table, table_blocks
from recgnn.data.readers.times import Finder, need_times
from recgnn.data.readers.values import NULLS, clean_numbers, clean_weights
from recgnn.errors import ConfigError, DataError

ROWS = 2**20  # that are put into DuckDB at once
ROW = "row number"


@dataclass
class ReadLog:
    """What is known of a log whose rows are in DuckDB's table `raw`.

    Args:
        name: Short name of the data set.
        columns: What the source calls those of our columns that have another name there.
        names: The columns that the log has.
        rows: How many there are.
        read: How many there were before those without a time were left out.
        times: How times are written.
        notes: What was left out, in lines.
        all: How many rows there were before the rule `keep`.
        weighted: Whether a weight is above 0.
        whole: Whether all times are whole seconds.
        integers: Whether the ids of a column are integers, by column.
    """

    name: str
    columns: Mapping[str, str]
    names: list[str]
    rows: int = 0
    read: int = 0
    times: Notation | None = None
    notes: list[str] = field(default_factory=list)
    all: int = 0
    weighted: bool = False
    whole: bool = True
    integers: dict[str, bool] = field(default_factory=dict)


class NotBeyondMemory(ConfigError):
    """Says what cannot be done beyond memory.

    Args:
        reason: Why not.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"data: engine duckdb: {reason}; take engine: memory")


def insert(connection: Any, table: str, frame: pd.DataFrame) -> None:
    """Put the rows of `frame` into a table of DuckDB, which is made where there is none."""
    connection.register("block", pa.Table.from_pandas(frame, preserve_index=False))
    connection.execute(f"CREATE TABLE IF NOT EXISTS {table} AS SELECT * FROM block LIMIT 0")
    connection.execute(f"INSERT INTO {table} SELECT * FROM block")
    connection.unregister("block")


class BigReader:
    """Reads the table of a `TableLog` in blocks with our names and types.

    Args:
        source: The log.
        more: Further columns that filters look at.
        connection: DuckDB's.

    Raises:
        NotBeyondMemory: For what cannot be read so.
        DataError: As `TableLog.read`.
    """

    def __init__(self, source: Any, more: Iterable[str], connection: Any) -> None:
        if type(source) is not TableLog:
            raise NotBeyondMemory(f"it reads logs of class TableLog, and this is a {type(source).__name__}")
        if isinstance(source.chosen[USER], list) or (source.title is not None and source.items is None):
            raise NotBeyondMemory("users of several columns, and titles among the interactions, are not for it")
        self.source, self.con = source, connection
        form = source.separator, source.columns, source.quotes, source.encoding
        self.table = open_table(source.path, *form, on_bad_rows=source.on_bad_rows, decimal=source.decimal)
        names, where = self.table.names, str(self.table.path)
        unique_columns(names, where)
        self.taken: dict[str, str] = {}
        for ours, theirs in source.chosen.items():
            if theirs is None and ours in names:
                self.taken[ours] = ours
            elif theirs:
                self.taken[ours] = str(theirs)
        need_columns(self.taken.values(), names, where)
        if len({*self.taken.values()}) < len(self.taken):
            raise DataError(f"{where}: a column is chosen twice; user, item, ... differ")
        if source.keep is not None:
            source.keep.check(names, where)
            if is_text(self.table) and any(c.numeric and c.compare in ("==", "!=") for c in source.keep.conditions):
                raise NotBeyondMemory(f"keep: {source.keep.text}: it does not compare text with a number")
        self.origin = Origin(where, lines_of(self.table), self.taken)
        need_columns((USER, ITEM), self.taken, where)
        self.more = [c for c in dict.fromkeys([*more, SPLIT, POSITION]) if c in names and c not in self.taken.values()]
        if missing := [c for c in more if c not in (*self.more, *self.taken)]:
            need_columns(missing, [*self.taken, *names], where)

    def into_duckdb(self) -> ReadLog:
        """Read all rows into the table `raw`."""
        return self.checked(self.rows())

    def rows(self) -> ReadLog:
        """Read all rows into the table `raw`, to be `checked` when all files have been read."""
        source, written = self.source, self.source.written
        own = {ours: theirs for ours, theirs in self.taken.items() if ours != theirs}
        log = ReadLog(source.name, own, [*self.taken, *self.more])
        if TIMESTAMP in self.taken:
            log.whole = self._find_times()
            log.times = self.finder.found()
        for start, frame, origin in self._blocks([*self.taken.values(), *self.more]):
            frame = renamed(frame, self.taken).reset_index(drop=True)
            new: dict[str, Any] = {c: self._ids(frame[c], c, origin, log.integers) for c in (USER, ITEM)}
            if RATING in frame:
                new[RATING] = clean_numbers(frame[RATING], RATING, origin).astype(np.float32)
            if TIMESTAMP in frame:
                assert log.times is not None
                seconds, _ = read(frame[TIMESTAMP], log.times)
                need_times(seconds, TIMESTAMP, written, origin.at)
                new[TIMESTAMP] = seconds if log.whole else seconds.astype(np.float64)
            if WEIGHT in frame:
                new[WEIGHT] = clean_weights(frame[WEIGHT], WEIGHT, origin)
                log.weighted |= bool(new[WEIGHT].any())
            if SPLIT in frame:
                new[SPLIT] = clean_split(frame[SPLIT], origin).cat.codes.astype(np.int8)
            frame = frame.assign(**new, **{ROW: np.arange(start, start + len(frame))})
            log.read += len(frame)
            if TIMESTAMP in frame and written.on_missing == "drop" and not log.whole:
                frame = frame[frame[TIMESTAMP].notna()]
            log.rows += len(frame)
            insert(self.con, "raw", frame)
        log.all = self.all
        log.notes += bad_rows_note(self.table)
        return log

    def checked(self, log: ReadLog) -> ReadLog:
        """Return what is known of a log, all of whose rows have been read.

        Raises:
            DataError: If there are none, or none with a time, or with a weight above 0.
        """
        if not log.read:
            raise DataError(f"{self.origin.name}: holds no interactions")
        if not log.rows:
            raise DataError(f"{self.origin.name}: no row has a time; on_missing: keep trains on them")
        if WEIGHT in self.taken and not log.weighted:
            raise DataError(f"{self.origin.at(0, WEIGHT)}: all weights are 0; expected some above 0")
        if (keep := self.source.keep) is not None:
            log.notes.append(f"{log.all - log.read:,} of {log.all:,} rows are left out (keep: {keep.text})")
        return log

    def _blocks(self, columns: list[str]) -> Iterator[tuple[int, pd.DataFrame, Origin]]:
        """Yield blocks of columns of the rows that are read, how many rows came before each, and from where."""
        keep, ids = self.source.keep, [self.taken[USER], self.taken[ITEM]]
        wanted = [*columns, *(keep.columns if keep is not None else [])]
        start, self.all = 0, 0
        for block in self._joined(table_blocks(self.table, wanted, ids=ids)):
            place, rows = replace(self.origin, start=self.all), np.arange(self.all, self.all + len(block))
            self.all += len(block)
            if keep is not None:
                kept = keep.mask(block, Origin(self.origin.name, start=place.start))
                block, rows = block[kept].reset_index(drop=True), rows[kept]
                place = replace(self.origin, start=start)  # rows are counted, and lines are those of the file
                if (line := self.origin.line) is not None:
                    place = replace(place, line=self._line_of(line, rows, start))
            if len(block):
                yield start, block[columns], place
            start += len(block)

    @staticmethod
    def _line_of(line: Callable[[int], Any], rows: np.ndarray, start: int) -> Callable[[int], Any]:
        """Return what tells the line of a row that was kept."""
        return lambda row: line(int(rows[row - start]))

    @staticmethod
    def _joined(blocks: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        """Yield blocks of at least `ROWS` rows."""
        held, size = list[pd.DataFrame](), 0
        for block in blocks:
            held.append(block)
            size += len(block)
            if size >= ROWS:
                yield pd.concat(held, ignore_index=True)
                held, size = [], 0
        if held:
            yield pd.concat(held, ignore_index=True)

    def _find_times(self) -> bool:
        """Find how times are written, by all of them; return whether all are whole seconds."""
        self.finder, whole = Finder(TIMESTAMP, self.source.written), True
        for _, block, origin in self._blocks([self.taken[TIMESTAMP]]):
            values = block[self.taken[TIMESTAMP]].rename(TIMESTAMP)
            whole &= self.finder.look(values, origin.at).dtype == np.int64
        return whole

    def _ids(self, values: pd.Series, column: str, origin: Origin, integers: dict[str, bool]) -> pd.Series:
        """Return clean ids; what cannot be judged without all of them is refused."""
        name = f"{origin.name}: ids in column '{origin.columns[column]}'"
        text = pd.api.types.is_string_dtype(values.dtype)
        if text and values.isin(NULLS).any():
            raise NotBeyondMemory(f"{name} are words for nothing, such as NA")
        ids = clean_ids(values, column, origin)
        if integers.setdefault(column, ids.dtype == np.int64) != (ids.dtype == np.int64):
            raise NotBeyondMemory(f"{origin.at(0, column)}: some ids are integers and others, before them, are not")
        if ids.dtype != np.int64 and text:
            given = pa.array(values, type=pa.large_string(), from_pandas=True)
            if pc.any(pc.not_equal(pc.utf8_trim_whitespace(given), given)).as_py():
                raise NotBeyondMemory(f"{name} have blanks around them")
        return ids
