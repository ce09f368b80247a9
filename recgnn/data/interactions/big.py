"""Preparing a log that does not fit in memory: DuckDB numbers and orders it by users, who are filtered and split apart.

What is done with the rows of a user is done by the same filters and splits as in memory, so that the same bits follow.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recgnn.data.interactions.big_read import ROW, ROWS, BigReader, NotBeyondMemory, insert
from recgnn.data.interactions.big_users import Core, UserRows
from recgnn.data.interactions.big_write import BigWriter
from recgnn.data.interactions.by_time import times
from recgnn.data.interactions.filters import Filter, KCore, Where
from recgnn.data.interactions.log import ITEM, PARTS, RATING, SPLIT, TIMESTAMP, USER, WEIGHT
from recgnn.data.interactions.merging import steps_of
from recgnn.data.interactions.part_sizes import TEST, TRAIN, VAL
from recgnn.data.interactions.split import GivenSplit, Split, TemporalSplit
from recgnn.data.interactions.summary import Asked, Facts, none_left, one_id, summary_of
from recgnn.data.interactions.usual_split import WithoutValidation
from recgnn.data.readers.ids import told_twins
from recgnn.data.readers.origin import shown
from recgnn.data.stored import write_summary
from recgnn.errors import RunError, first_line
from recgnn.files import atomic_folder, temporary_beside


class BigLog:
    """A log to be prepared beyond memory; `save` does it.

    Args:
        source: Where the log comes from.
        asked: What is to be made of it.
        memory_limit: What DuckDB may hold, such as 2GB.

    Raises:
        NotBeyondMemory: For what cannot be done so.
    """

    def __init__(self, source: Any, asked: Asked, memory_limit: str) -> None:
        if asked.earlier is not None:
            raise NotBeyondMemory("--from_run adds to a run's own users and items")
        for step in asked.filters:
            if not (step.by_user or isinstance(step, KCore)):
                raise NotBeyondMemory(f"the filter {type(step).__name__} needs the whole log")
        self.source, self.asked, self.memory_limit = source, asked, memory_limit

    def save(self, folder: str | Path) -> None:
        """Prepare the log into a folder, whole or not at all.

        Raises:
            DataError, RunError: As `prepare`.
            NotBeyondMemory: For what shows only as the rows are read.
        """
        try:
            import duckdb
        except ImportError:
            raise NotBeyondMemory("DuckDB is not installed (pip install 'recgnn[duckdb]')") from None
        with atomic_folder(folder) as temporary, _emptied(temporary_beside(Path(folder).absolute())) as work:
            options: dict[str, Any] = {"memory_limit": self.memory_limit, "temp_directory": str(work)}
            try:
                with duckdb.connect(str(work / "log.duckdb"), config=options) as self.con:
                    self._prepare(temporary, work)
            except duckdb.Error as error:
                text = f"DuckDB, with data.memory_limit {self.memory_limit}: {first_line(error)}"
                raise RunError(f"{folder}: {text}; raise the limit, or make room on the disk") from error

    # ---- the steps

    def _prepare(self, folder: Path, work: Path) -> None:
        rules = [step._parsed() for step in steps_of(self.asked) if isinstance(step, Where)]
        columns = [c for rule in rules for c in rule.columns if c not in (RATING, WEIGHT)]
        self._read(columns, work)
        named = self.asked.split
        self.asked = self.asked._replace(split=named.for_columns(self.log.names))
        self.steps = self._solved(steps_of(self.asked))
        sizes, lost = self._split(self._parts(work))
        log, writer = self.log, BigWriter(self.con, self.ids, self.counts)
        tables = writer.vocabularies(self.source, folder)
        dropped = [(step.describe(), n) for step, n in zip(self.steps, self.dropped, strict=True)] + [*lost.items()]
        counted = writer.parts(folder, sizes, dropped)
        facts = Facts(log.name, log.rows, log.times, log.columns, log.notes, log.names)
        write_summary(folder, summary_of(facts, self.asked, named, counted, *tables))

    def _read(self, columns: list[str], work: Path) -> None:
        """Read the log with some further columns, number its users and items, and order its rows by user."""
        self.log = BigReader(self.source, columns, self.con).into_duckdb()
        self._number()
        self.users = UserRows(self.con, self.ids, work)

    def _each(self, method: str, *arguments: Any) -> list[Any]:
        """Call a method of all that have rows of users; return what each returns."""
        return [getattr(self.users, method)(*arguments)]

    def _all(self, method: str, *arguments: Any) -> Iterator[Any]:
        """Call a method of all that have rows of users; yield what each yields."""
        yield from getattr(self.users, method)(*arguments)

    def _number(self) -> None:
        """Number users and items in the order of their ids, and order the rows by user, each user's as in the log."""
        for column in (USER, ITEM):
            self.con.execute(
                f'CREATE TABLE "{column}s" AS SELECT id, CAST(row_number() OVER (ORDER BY id) - 1 AS INTEGER) AS code '
                f'FROM (SELECT DISTINCT "{column}" AS id FROM raw)'
            )
        self.con.execute(
            f'CREATE TABLE log AS SELECT u.code AS "{USER}", i.code AS "{ITEM}", raw.* EXCLUDE ("{USER}", "{ITEM}") '
            f'FROM raw JOIN "{USER}s" u ON raw."{USER}" = u.id JOIN "{ITEM}s" i ON raw."{ITEM}" = i.id '
            f'ORDER BY u.code, raw."{ROW}"'
        )
        self._keep_ids()
        self.con.execute("DROP TABLE raw")

    def _keep_ids(self) -> None:
        """Keep the numbered ids, and note those that look alike."""
        self.log.notes += [line for column in (USER, ITEM) for line in self._told_twins(column)]
        ordered = {c: self.con.sql(f'SELECT id FROM "{c}s" ORDER BY code') for c in (USER, ITEM)}
        self.ids = {column: ids.to_arrow_table()["id"] for column, ids in ordered.items()}

    def _told_twins(self, column: str) -> tuple[str, ...]:
        """As `told_twins`, which names the two that come first."""
        ids = self.con.sql(f'SELECT id FROM "{column}s"').to_arrow_table()["id"].to_pandas()
        if not told_twins(ids, column):
            return ()
        return told_twins(self.con.sql(self._in_order(column)).to_arrow_table()["id"].to_pandas(), column)

    def _in_order(self, column: str) -> str:
        """The query for the ids in the order in which the log has them."""
        return f'SELECT "{column}" AS id FROM raw GROUP BY id ORDER BY min("{ROW}")'

    def _solved(self, steps: Sequence[Filter]) -> list[Any]:
        """Return the steps with the k-cores found."""
        found: list[Any] = []
        for step in steps:
            found.append(self._core(step, found) if isinstance(step, KCore) else step)
        return found

    def _core(self, step: KCore, before: Sequence[Any]) -> Core:
        """Find a k-core by passes over the pairs, of which only the counts of users and items are held."""
        self._each("keep_pairs", before)
        users, items = (np.ones(len(self.ids[c]), dtype=bool) for c in (USER, ITEM))
        while True:
            found = self._each("pair_counts", users, items)
            counts = [np.sum(some, axis=0) for some in zip(*found, strict=True)]
            enough = counts[0] >= max(1, step.users), counts[1] >= max(1, step.items)
            if all(np.array_equal(now, then) for now, then in zip(enough, (users, items), strict=True)):
                return Core(users, items, step.describe())
            users, items = enough

    def _parts(self, work: Path) -> tuple[Split, Path | None]:
        """Return the split of a user's rows, and the file of the numbers that rows are ordered by at random, by row."""
        split = self.asked.split
        if isinstance(split, WithoutValidation):
            if split.of.val_is_test:
                split.split(pd.DataFrame())  # which refuses it
            split = split.of
        if isinstance(split, TemporalSplit):
            return self._timed(split), None
        if isinstance(split, GivenSplit):
            if SPLIT not in self.log.names:
                split.split(pd.DataFrame())  # which refuses it
            split = split.of_parts(any(self._each("has_val", self.steps)))
        if not split.by_user:
            raise NotBeyondMemory(f"the split {type(split).__name__} needs the whole log")
        if split.draws is None:
            return split, None
        drawn = np.lib.format.open_memmap(work / "drawn.npy", "w+", bool, (self.log.read,))
        for rows in self._all("drawn", self.steps, split):
            drawn[rows] = True
        keys = np.lib.format.open_memmap(work / "keys.npy", "w+", np.float64, (self.log.read,))
        random = np.random.default_rng(split.draws)
        for start in range(0, len(keys), ROWS):
            rows = np.flatnonzero(drawn[start : start + ROWS]) + start
            keys[rows] = random.random(len(rows))
        keys.flush()
        return split, work / "keys.npy"

    def _timed(self, split: TemporalSplit) -> Split:
        """Return the split by moments, which are found among the times of the rows that are kept."""
        if TIMESTAMP not in self.log.names:
            times(pd.DataFrame(), "TemporalSplit", within_user=False)  # which refuses it
        self.con.execute("CREATE TABLE moments (t DOUBLE)")
        for moments in self._all("moments", self.steps):
            insert(self.con, "moments", pd.DataFrame({"t": moments}))
        rows = self.con.execute("SELECT count(*) FROM moments").fetchall()[0][0]

        def moment(k: int) -> float:
            return self.con.execute("SELECT t FROM moments ORDER BY t LIMIT 1 OFFSET ?", [k]).fetchall()[0][0]

        return split.of_moments(rows, moment)

    def _split(self, parts: tuple[Split, Path | None]) -> tuple[dict[str, int], dict[str, int]]:
        """Split the rows and merge repeats, into the table `result`; return the sizes of the parts before, and what
        merging lost."""
        split, keys = parts
        found = self._each("split", self.steps, split, keys, self.asked)
        sizes = np.sum([one.sizes for one in found], axis=0)
        self.dropped: list[int] = np.sum([one.dropped for one in found], axis=0).tolist()
        self.counts: dict[str, np.ndarray] = {
            column: np.sum([one.counts[column] for one in found], axis=0) for column in (USER, ITEM)
        }
        self._check({column: np.logical_or.reduce([one.seen[column] for one in found]) for column in (USER, ITEM)})
        lost = sum((one.lost for one in found), Counter[str]())
        if not sizes.sum():
            return dict.fromkeys(PARTS, 0), lost
        split.check(sizes.tolist())
        if isinstance(self.asked.split, WithoutValidation):
            self.asked.split.check(sizes.tolist())
            sizes = np.array([sizes[TRAIN] + sizes[VAL], 0, sizes[TEST]])
        return dict(zip(PARTS, sizes.tolist(), strict=True)), lost

    def _check(self, seen: dict[str, np.ndarray]) -> None:
        """Refuse a log of which nothing, or one user or item, is left."""
        left, told = self.log.rows, list[dict[str, Any]]()
        for step, rows in zip(self.steps, self.dropped, strict=True):
            left -= rows
            told += [{"step": step.describe(), "rows": rows}] if rows else []
            if not left:
                raise none_left(self.log.name, told)
        for column, found in seen.items():
            if found.sum() < 2:
                raise one_id(self.log.name, left, column, shown(self.ids[column][int(found.argmax())].as_py()))


@contextmanager
def _emptied(folder: Path) -> Iterator[Path]:
    """Make a folder, and remove it with all that it holds."""
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
