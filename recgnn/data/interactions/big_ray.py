"""Preparing a log on a Ray cluster: processes of its nodes read files, and filter and split ranges of users."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from recgnn.data.cluster import connect, result
from recgnn.data.interactions.big import BigLog
from recgnn.data.interactions.big_read import ROW, BigReader, ReadLog
from recgnn.data.interactions.big_users import Divided, UserRows
from recgnn.data.interactions.log import ITEM, TIMESTAMP, USER
from recgnn.data.readers.parquet import is_parquet
from recgnn.data.readers.times import Finder
from recgnn.errors import ConfigError
from recgnn.files import existing_files

FILE = 2**40  # by which rows of a file are numbered before those of the next


class RayLog(BigLog):
    """A log of Parquet files, to be prepared on a Ray cluster; the plan and the bits are those of `BigLog`.

    Each file is read by a task. Its rows go to the process that has their user: one for each CPU of the cluster, with
    DuckDB on its own disk. The ids, and the last order of the rows, are DuckDB's of this process. The folder of the
    cache lies where all nodes see it.
    """

    def _read(self, columns: list[str], work: Path) -> None:
        ray = connect(asked="data.engine ray")
        self.work, files = work, [file.absolute() for file in existing_files(self.source.path)]
        if not all(map(is_parquet, files)):
            raise ConfigError(f"data.engine ray: {self.source.path}: it reads Parquet; take engine: duckdb")
        whole = BigReader(self.source, columns, self.con)  # which compares the files' columns
        spread = {"num_cpus": 0, "scheduling_strategy": "SPREAD"}  # beside workers of Ray Train, which wait
        read = ray.remote(_read_file).options(**spread)
        more = (self.source, columns, self.memory_limit, work)
        readings = result([read.remote(number, file, *more) for number, file in enumerate(files)])
        self.log = whole.checked(_together(readings))
        self._number()
        filled = [number for number, one in enumerate(readings) if one.log.rows]
        starts = np.cumsum([0, *(one.log.read for one in readings)])
        parts = max(1, int(ray.cluster_resources().get("CPU", 1)))
        rows = self.con.sql(f'SELECT rows FROM "{USER}s" ORDER BY code').fetchnumpy()["rows"].cumsum()
        bounds = np.searchsorted(rows, rows[-1] * np.arange(1, parts) / parts).tolist()
        divide = ray.remote(_divide).options(**spread)
        asked = [(number, int(starts[number]), bounds, self.log.whole) for number in filled]
        result([divide.remote(*one, self.memory_limit, work) for one in asked])
        ids, users = ray.put(self.ids), ray.remote(RangeOfUsers).options(**spread)
        found = ([*work.glob(f"divided-*/part={part}/*.parquet")] for part in range(parts))
        given = (ids, self.memory_limit, work)
        self.ranges = [users.remote(number, some, *given) for number, some in enumerate(found) if some]

    def _number(self) -> None:
        for column in (USER, ITEM):
            self.con.execute(
                f'CREATE TABLE "{column}s" AS SELECT id, CAST(row_number() OVER (ORDER BY id) - 1 AS INTEGER) AS code, '
                f"sum(n) AS rows FROM {sql(self.work / f'{column}-*.parquet')} GROUP BY id"
            )
            self.con.execute(f"COPY \"{column}s\" TO {sql(self.work / f'{column}s.parquet')}")
        self._keep_ids()

    def _in_order(self, column: str) -> str:
        return f"SELECT id FROM {sql(self.work / f'{column}-*.parquet')} GROUP BY id ORDER BY min(first)"

    def _each(self, method: str, *arguments: Any) -> list[Any]:
        return result([getattr(one, method).remote(*arguments) for one in self.ranges])

    def _all(self, method: str, *arguments: Any) -> Iterator[Any]:
        for one in self.ranges:
            for reference in getattr(one, method).options(num_returns="streaming").remote(*arguments):
                yield result(reference)

    def _split(self, parts: tuple[Any, Path | None]) -> tuple[dict[str, int], dict[str, int]]:
        found = super()._split(parts)
        self.con.execute(f"CREATE VIEW result AS FROM {sql(self.work / 'result-*.parquet')}")
        return found


class Reading(NamedTuple):
    """What is known of a file's rows, and what was found of their times."""

    log: ReadLog
    finder: Finder | None


def sql(path: Path) -> str:
    """Return a path as a text of SQL."""
    return "'{}'".format(str(path).replace("'", "''"))


def _open(memory_limit: str, folder: Path) -> Any:
    """Open a database of DuckDB in a folder of this node."""
    import duckdb

    options: dict[str, Any] = {"memory_limit": memory_limit, "temp_directory": str(folder)}
    return duckdb.connect(str(folder / "log.duckdb"), config=options)


def _read_file(number: int, file: Path, source: Any, columns: list[str], memory_limit: str, work: Path) -> Reading:
    """Read a file, and write its rows and its ids."""
    source = copy(source)
    source.path = str(file)
    with tempfile.TemporaryDirectory() as folder, _open(memory_limit, Path(folder)) as con:
        reader = BigReader(source, columns, con)
        log = reader.rows()
        if log.rows:
            con.execute(f"COPY raw TO {sql(work / f'raw-{number}.parquet')}")
            for column in (USER, ITEM):
                con.execute(
                    f'COPY (SELECT "{column}" AS id, {number * FILE} + min("{ROW}") AS first, count(*) AS n FROM raw '
                    f"GROUP BY id) TO {sql(work / f'{column}-{number}.parquet')}"
                )
    return Reading(log, getattr(reader, "finder", None))


def _together(readings: Sequence[Reading]) -> ReadLog:
    """Return what is known of all files' rows.

    Raises:
        ConfigError: If ids are integers in some and text in others.
        DataError: If times are written in several ways.
    """
    logs = [one.log for one in readings]
    filled = [log for log in logs if log.rows] or logs[:1]
    for column in (USER, ITEM):
        if len({log.integers.get(column) for log in filled}) > 1:
            raise ConfigError(f"data.engine ray: ids of column {column} are integers in some files and text in others")
    finders = [one.finder for one in readings if one.finder is not None]
    for finder in finders[1:]:
        finders[0].take(finder)
    return replace(
        logs[0],
        rows=sum(log.rows for log in logs),
        read=sum(log.read for log in logs),
        times=finders[0].found() if finders else None,
        notes=[],
        all=sum(log.all for log in logs),
        weighted=any(log.weighted for log in logs),
        whole=all(log.whole for log in filled),
    )


def _divide(number: int, start: int, bounds: list[int], whole: bool, memory_limit: str, work: Path) -> None:
    """Number the users and items of a file's rows, and write them apart by ranges of users."""
    part = " + ".join(["0", *(f"(u.code > {bound})::INTEGER" for bound in bounds)])
    with tempfile.TemporaryDirectory() as folder, _open(memory_limit, Path(folder)) as con:
        raw, (users, items) = sql(work / f"raw-{number}.parquet"), (sql(work / f"{c}s.parquet") for c in (USER, ITEM))
        timed = TIMESTAMP in con.sql(f"FROM {raw}").columns and not whole
        cast = f', CAST(raw."{TIMESTAMP}" AS DOUBLE) AS "{TIMESTAMP}"' if timed else ""
        con.execute(
            f'COPY (SELECT u.code AS "{USER}", i.code AS "{ITEM}", raw.* EXCLUDE ("{USER}", "{ITEM}") '
            f'REPLACE (raw."{ROW}" + {start} AS "{ROW}"{cast}), {part} AS part FROM {raw} raw '
            f"JOIN {users} u ON raw.\"{USER}\" = u.id "
            f"JOIN {items} i ON raw.\"{ITEM}\" = i.id) "
            f"TO {sql(work / f'divided-{number}')} (FORMAT parquet, PARTITION_BY (part))"
        )


class RangeOfUsers(UserRows):
    """The rows of a range of users, by a process of the cluster.

    Args:
        number: Of the range.
        files: With its rows.
        ids: The ids of all users and items, by their number.
        memory_limit: What DuckDB may hold.
        work: A folder that all nodes see.
    """

    def __init__(
        self, number: int, files: Sequence[Path], ids: Mapping[str, pa.ChunkedArray], memory_limit: str, work: Path
    ) -> None:
        self.folder = tempfile.TemporaryDirectory()
        super().__init__(_open(memory_limit, Path(self.folder.name)), ids, Path(self.folder.name))
        self.con.execute(
            "CREATE TABLE log AS FROM read_parquet(?, hive_partitioning = false, union_by_name = true) "
            f'ORDER BY "{USER}", "{ROW}"',
            [[str(file) for file in files]],
        )
        self.result = work / f"result-{number}.parquet"

    def split(self, *arguments: Any) -> Divided:
        found = super().split(*arguments)
        if found.sizes.sum():
            self.con.execute(f"COPY result TO {sql(self.result)}")
        self.con.close()
        self.folder.cleanup()
        return found
