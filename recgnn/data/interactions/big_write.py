"""Writing what DuckDB prepared: vocabularies, the parts in the order of the log, and what became of the rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from recgnn.data.interactions.big_read import ROW, ROWS
from recgnn.data.interactions.columns import titled
from recgnn.data.interactions.log import ITEM, PARTS, RATING, TIMESTAMP, USER, WEIGHT, joinable
from recgnn.data.interactions.part_sizes import TEST, TRAIN
from recgnn.data.interactions.prepared import COLD, INTERACTIONS
from recgnn.data.interactions.sources import TableLog
from recgnn.data.interactions.summary import Counted
from recgnn.data.interactions.vocabulary import Vocabulary
from recgnn.data.readers.notation import ORDER


class BigWriter:
    """Writes the table `result` of DuckDB, which has numbered rows with their parts, as prepared data.

    Args:
        connection: DuckDB's.
        ids: The ids of users and items, by their number.
        counts: How often each occurs in train.
    """

    def __init__(self, connection: Any, ids: Mapping[str, pa.ChunkedArray], counts: Mapping[str, np.ndarray]) -> None:
        self.con, self.ids, self.counts = connection, ids, counts
        self.rows = {column: np.where(n > 0, np.cumsum(n > 0) - 1, -1) for column, n in counts.items()}

    def vocabularies(self, source: TableLog, folder: Path) -> list[int]:
        """Write the users and items of train, with their attributes; return how many there are."""
        items = titled(source._table(source.items, ITEM), source.title)
        tables, found = {USER: source._table(source.users, USER), ITEM: items}, []
        for column, table in tables.items():
            ids = self.ids[column].to_pandas()
            ids = ids if ids.dtype == np.int64 else ids.astype("str")
            counts = self.counts[column]
            index, attributes = pd.Index(ids[counts > 0]), None
            if table is not None:
                attributes = joinable(table, column, ids).set_index(column).reindex(index).reset_index(drop=True)
            Vocabulary(index, attributes, counts[counts > 0]).save(folder / f"{column}s.parquet")
            found.append(len(index))
        return found

    def parts(self, folder: Path, sizes: Mapping[str, int], dropped: Sequence[tuple[str, int]]) -> Counted:
        """Write the parts, each in the order of the log; return what became of the rows.

        Args:
            folder: Where to.
            sizes: The sizes of the parts before repeats were merged.
            dropped: How many rows each step dropped.
        """
        left, cold = (np.zeros(3, dtype=np.int64) for _ in range(2))
        tested, ratings = np.zeros(len(self.ids[USER]), dtype=bool), list[float]()
        with ExitStack() as stack:
            writers: dict[str, Any] = {}
            for batch in self.con.sql(f'FROM result ORDER BY part, "{ROW}"').to_arrow_reader(ROWS):
                columns = {c: batch[c].to_numpy(zero_copy_only=False) for c in batch.schema.names if c != ROW}
                part = columns.pop("part")
                for column in (USER, ITEM):
                    columns[column] = self.rows[column][columns[column]].astype(np.int32)
                known = (columns[USER] >= 0) & (columns[ITEM] >= 0)
                left += np.bincount(part[known], minlength=3)
                cold += np.bincount(part[~known], minlength=3)
                tested[columns[USER][known & (part == TEST)]] = True
                if RATING in columns and (own := columns[RATING][part == TRAIN]).size:
                    ratings = [min([*ratings[:1], float(own.min())]), max([*ratings[1:], float(own.max())])]
                for name, rows in ((INTERACTIONS, known), (COLD, ~known)):
                    table = pa.table({c: v[rows] for c, v in columns.items()} | {"part": part[rows].astype(np.int8)})
                    if name not in writers and (name == INTERACTIONS or rows.any()):
                        options = {"compression": "lz4", "write_page_checksum": True}
                        writers[name] = stack.enter_context(pq.ParquetWriter(folder / name, table.schema, **options))
                    if rows.any():
                        writers[name].write_table(table)
        return Counted(
            [{"step": step, "rows": rows} for step, rows in dropped if rows],
            sizes, dict(zip(PARTS, left.tolist(), strict=True)), dict(zip(PARTS, cold.tolist(), strict=True)),
            int(tested.sum()), ratings or None, TIMESTAMP in columns, WEIGHT in columns,
            self._later() if TIMESTAMP in columns else None,
        )  # fmt: skip

    def _later(self) -> float | None:
        """As `later_than_test`, by one pass over the times in their order."""
        for column in (USER, ITEM):
            block = pa.table({"code": np.flatnonzero(self.counts[column])})
            self.con.register("block", block)
            self.con.execute(f'CREATE TABLE "known {column}" AS SELECT CAST(code AS INTEGER) AS code FROM block')
        query = (
            f'SELECT "{TIMESTAMP}" AS t, count(*) FILTER (part = 0) AS train, count(*) FILTER (part = 2) AS test '
            f'FROM result WHERE "{TIMESTAMP}" IS NOT NULL AND "{USER}" IN (SELECT code FROM "known {USER}") '
            f'AND "{ITEM}" IN (SELECT code FROM "known {ITEM}") GROUP BY t ORDER BY t'
        )
        train = test = earlier = 0
        last = -np.inf
        for batch in self.con.sql(query).to_arrow_reader(ROWS):
            t, of_train, of_test = (batch[i].to_numpy(zero_copy_only=False) for i in range(3))
            until = train + np.cumsum(of_train)
            earlier += int((until * of_test).sum())
            train, test = int(until[-1]), test + int(of_test.sum())
            last = max(last, float(t[of_test > 0].astype(np.float64).max(initial=-np.inf)))
        if not train or not test or last < ORDER:
            return None
        return float(1 - earlier / test / train)
