"""The rows of users beyond memory: filtered, counted and split in blocks of whole users, as in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from recgnn.data.interactions.big_read import ROW, ROWS, insert
from recgnn.data.interactions.filters import RatingRange
from recgnn.data.interactions.log import ITEM, PARTS, RATING, SPLIT, TIMESTAMP, USER, WEIGHT
from recgnn.data.interactions.merging import merged
from recgnn.data.interactions.part_sizes import KEY, TRAIN, VAL
from recgnn.data.interactions.split import Split, TimedParts
from recgnn.data.interactions.summary import Asked
from recgnn.data.interactions.usual_split import WithoutValidation
from recgnn.errors import RunError


class Core(NamedTuple):
    """A k-core that has been found: which users and items are in it."""

    users: np.ndarray
    items: np.ndarray
    described: str

    def apply(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return the rows of `frame` whose numbered user and item are in it."""
        return frame[self.users[frame[USER]] & self.items[frame[ITEM]]]

    def describe(self) -> str:
        """Return what the filter says of itself."""
        return self.described


class Divided(NamedTuple):
    """What became of rows: how many each step dropped, the sizes of the parts, what merging lost; and of users and
    items how often each occurs in train, and which were split."""

    dropped: np.ndarray
    sizes: np.ndarray
    lost: Counter[str]
    counts: dict[str, np.ndarray]
    seen: dict[str, np.ndarray]


class UserRows:
    """The rows of users, in a table `log` of DuckDB that is numbered and ordered by user.

    Args:
        connection: DuckDB's.
        ids: The ids of all users and items, by their number.
        work: A folder for temporary files.
    """

    def __init__(self, connection: Any, ids: Mapping[str, pa.ChunkedArray], work: Path) -> None:
        self.con, self.ids, self.pairs = connection, ids, work / "pairs.bin"

    def blocks(self) -> Iterator[pd.DataFrame]:
        """Yield the rows in blocks of whole users.

        Raises:
            RunError: If DuckDB has them in another order.
        """
        rest: list[pd.DataFrame] = []
        for batch in self.con.cursor().sql("FROM log").to_arrow_reader(ROWS):
            frame = batch.to_pandas().astype({USER: np.int64, ITEM: np.int64})
            if not frame[USER].is_monotonic_increasing:
                raise RunError("DuckDB gave the rows in another order than it was asked for; take engine: memory")
            if SPLIT in frame:
                frame[SPLIT] = pd.Categorical.from_codes(frame[SPLIT].to_numpy(), pd.Index(PARTS))
            last = int(frame[USER].searchsorted(frame[USER].iloc[-1]))
            if last:
                yield pd.concat([*rest, frame[:last]], ignore_index=True)
                rest = []
            rest.append(frame[last:])
        yield pd.concat(rest, ignore_index=True)

    def filtered(self, steps: Sequence[Any], counts: list[int] | None = None) -> Iterator[pd.DataFrame]:
        """Yield the rows that are kept, in blocks of whole users; count what each step drops."""
        for frame in self.blocks():
            for number, step in enumerate(steps):
                given = frame
                if isinstance(step, RatingRange):  # it names the user and item of a row that it refuses
                    given = frame.assign(**{c: self.ids[c].take(pa.array(frame[c])).to_pandas() for c in self.ids})
                kept = step.apply(given)
                if counts is not None:
                    counts[number] += len(given) - len(kept)
                frame = kept if given is frame else frame.loc[kept.index]
            if len(frame):
                yield frame

    def keep_pairs(self, steps: Sequence[Any]) -> None:
        """Write the pairs of users and items that some steps keep to a file, for `pair_counts`."""
        with open(self.pairs, "wb") as file:
            for frame in self.filtered(steps):
                file.write(frame[[USER, ITEM]].drop_duplicates().to_numpy(np.int32).tobytes())

    def pair_counts(self, users: np.ndarray, items: np.ndarray) -> list[np.ndarray]:
        """Return how many pairs each user and item has, of those whose user and item are marked."""
        counts = [np.zeros(len(alive), dtype=np.int64) for alive in (users, items)]
        empty = not self.pairs.stat().st_size
        rows = np.empty((0, 2), np.int32) if empty else np.memmap(self.pairs, np.int32, "r").reshape(-1, 2)
        for start in range(0, len(rows), ROWS):
            user, item = rows[start : start + ROWS].T
            alive = users[user] & items[item]
            np.add.at(counts[0], user[alive], 1)
            np.add.at(counts[1], item[alive], 1)
        return counts

    def has_val(self, steps: Sequence[Any]) -> bool:
        """Whether a row that is kept was given to validation."""
        return any((frame[SPLIT].cat.codes == VAL).any() for frame in self.filtered(steps))

    def drawn(self, steps: Sequence[Any], split: Split) -> Iterator[np.ndarray]:
        """Yield the numbers of the rows for which a split draws."""
        for frame in self.filtered(steps):
            yield frame[ROW][split.drawn(frame)].to_numpy()

    def moments(self, steps: Sequence[Any]) -> Iterator[np.ndarray]:
        """Yield the times of the rows that are kept."""
        for frame in self.filtered(steps):
            yield frame[TIMESTAMP].dropna().to_numpy(np.float64)

    def split(self, steps: Sequence[Any], split: Split, keys: Path | None, asked: Asked) -> Divided:
        """Split the rows and merge repeats, into the table `result`.

        Args:
            steps: The filters.
            split: Of a user's rows.
            keys: File of the numbers that rows are ordered by at random, by row; None for a split that draws none.
            asked: What is to be made of the log.
        """
        drawn = None if keys is None else np.load(keys, mmap_mode="r")
        dropped, sizes, lost = [0] * len(steps), np.zeros(3, dtype=np.int64), Counter[str]()
        counts = {column: np.zeros(len(self.ids[column]), dtype=np.int64) for column in (USER, ITEM)}
        seen = {column: np.zeros(len(self.ids[column]), dtype=bool) for column in (USER, ITEM)}
        for frame in self.filtered(steps, dropped):
            for column, found in seen.items():
                found[frame[column]] = True
            given = frame if drawn is None else frame.assign(**{KEY: drawn[frame[ROW]]})
            part = np.zeros(len(frame), dtype=np.int8)
            timed = TIMESTAMP not in frame or not frame[TIMESTAMP].isna().all()
            if timed or not (isinstance(split, TimedParts) or getattr(split, "order", "") == "time"):
                part = split.parts(given)
            sizes += np.bincount(part, minlength=3)
            if isinstance(asked.split, WithoutValidation):
                part[part == VAL] = TRAIN
            frames = {name: frame[part == code] for code, name in enumerate(PARTS)}
            if asked.split.follows_log and asked.repeats == "merge":
                frames, own = merged(frames, asked)
                lost.update(own)
            for column, found in counts.items():
                np.add.at(found, frames["train"][column], 1)
            columns = [c for c in (USER, ITEM, RATING, TIMESTAMP, WEIGHT, ROW) if c in frame]
            kept = pd.concat([frames[name][columns] for name in PARTS])
            codes = np.repeat(np.arange(3, dtype=np.int8), [len(frames[name]) for name in PARTS])
            insert(self.con, "result", kept.assign(part=codes))
        return Divided(np.array(dropped, dtype=np.int64), sizes, lost, counts, seen)
