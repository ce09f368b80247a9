"""Makes a table of the shape of Criteo's click log, with labels that can be learned, of any number of rows.

    python benchmarks/criteo_shaped.py FOLDER --rows 400000 --test_rows 100000

`train.parquet` and `test.parquet` hold `label` (int8), I1..I13 (float32, uniform in [0, 1)) and C1..C26 (int32, Zipf
with exponent 1.05 over a vocabulary of its own, numbered in no order of frequency). A label is drawn from a logistic
model that is not written down anywhere: a weight of each number, a weight of each category and products of the factors
of two categories, all hashed from the seed, with an offset that makes about a quarter of the labels 1. Rows are made
and written one block at a time.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

NUMBERS = [f"I{i}" for i in range(1, 14)]
CATEGORIES = [f"C{i}" for i in range(1, 27)]
SMALLEST = 10  # vocabulary
EXPONENT = 1.05
PAIRS = [(0, 5), (2, 9), (4, 14), (7, 12), (3, 16), (6, 11)]  # columns of CATEGORIES
BASE_RATE = 0.25
# Standard deviations of the three parts of the logit.
OF_NUMBERS, OF_CATEGORIES, OF_PAIRS = 0.6, 1.4, 1.0


def sizes(vocabulary: int) -> list[int]:
    """Vocabulary sizes of C1..C26: a geometric series from 10 that sums to `vocabulary`."""
    count = len(CATEGORIES)
    if vocabulary < SMALLEST * count:
        raise ValueError(f"vocabulary is {vocabulary}, expected at least {SMALLEST * count}")
    low, high = 1.0, float(vocabulary)
    for _ in range(200):  # the ratio, by bisection
        ratio = (low + high) / 2
        total = sum(SMALLEST * ratio**i for i in range(count))
        low, high = (ratio, high) if total < vocabulary else (low, ratio)
    series = [int(SMALLEST * low**i) for i in range(count)]
    return [*series[:-1], vocabulary - sum(series[:-1])]


def hashed(seed: int, stream: int, ids: np.ndarray) -> np.ndarray:
    """Numbers of mean 0 and variance 1, one for each id of a stream (splitmix64), without a table of them."""
    with np.errstate(over="ignore"):
        x = ids.astype(np.uint64) + np.uint64(seed) * np.uint64(0xD1342543DE82EF95)
        x += np.uint64(stream) << np.uint64(40)
        for _ in range(2):
            x += np.uint64(0x9E3779B97F4A7C15)
            x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            x ^= x >> np.uint64(31)
    return ((x >> np.uint64(11)).astype(np.float64) * 2.0**-53 - 0.5) * 12**0.5


class Table:
    """Draws blocks of rows. Holds the cumulative Zipf weights and the order of every vocabulary, and no rows."""

    def __init__(self, vocabulary: int, seed: int):
        rng = np.random.default_rng([seed, 0])
        self.seed, self.cumulative, self.order = seed, [], []
        for size in sizes(vocabulary):
            weights = np.cumsum(np.arange(1, size + 1, dtype=np.float64) ** -EXPONENT)
            self.cumulative.append(weights / weights[-1])
            self.order.append(rng.permutation(size).astype(np.int32))
        self.offset = 0.0
        logits = self.logits(*self.features(np.random.default_rng([seed, 1]), 50_000))
        low, high = -20.0, 20.0
        for _ in range(60):  # the offset, by bisection on a sample
            self.offset = (low + high) / 2
            rate = sigmoid(logits + self.offset).mean()
            low, high = (self.offset, high) if rate < BASE_RATE else (low, self.offset)

    def features(self, rng: np.random.Generator, rows: int) -> tuple[np.ndarray, list[np.ndarray]]:
        """Numbers [13, rows] and a list of 26 category columns [rows]."""
        numbers = rng.random((len(NUMBERS), rows), dtype=np.float32)
        columns = []
        for cumulative, order in zip(self.cumulative, self.order, strict=True):
            ranks = np.searchsorted(cumulative, rng.random(rows), side="right")
            columns.append(order[np.minimum(ranks, len(order) - 1)])
        return numbers, columns

    def logits(self, numbers: np.ndarray, columns: list[np.ndarray]) -> np.ndarray:
        weights = hashed(self.seed, 0, np.arange(len(NUMBERS)))
        scale = 12**0.5  # a uniform number has variance 1 / 12
        logits = OF_NUMBERS * scale * (weights @ (numbers - 0.5)) / np.linalg.norm(weights)
        for i, column in enumerate(columns):
            logits += OF_CATEGORIES / len(columns) ** 0.5 * hashed(self.seed, 1 + i, column)
        for i, (a, b) in enumerate(PAIRS):
            left, right = hashed(self.seed, 100 + i, columns[a]), hashed(self.seed, 200 + i, columns[b])
            logits += OF_PAIRS / len(PAIRS) ** 0.5 * left * right
        return logits + self.offset

    def block(self, rng: np.random.Generator, rows: int) -> pa.Table:
        numbers, columns = self.features(rng, rows)
        label = (rng.random(rows) < sigmoid(self.logits(numbers, columns))).astype(np.int8)
        return pa.table(
            {"label": label, **dict(zip(NUMBERS, numbers, strict=True)), **dict(zip(CATEGORIES, columns, strict=True))}
        )


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def make(
    folder: Path, rows: int, test_rows: int, vocabulary: int = 1_000_000, seed: int = 0, block: int = 2**18
) -> None:
    """Writes `train.parquet` of `rows` rows and `test.parquet` of `test_rows`, in row groups of `block`.

    The same arguments give the same rows. A file appears under its name when it is whole.
    """
    folder.mkdir(parents=True, exist_ok=True)
    table = Table(vocabulary, seed)
    for part, (name, count) in enumerate({"train": rows, "test": test_rows}.items()):
        unfinished = folder / f"{name}.parquet.unfinished"
        schema = table.block(np.random.default_rng(0), 0).schema
        with pq.ParquetWriter(unfinished, schema, compression="zstd", compression_level=1) as writer:
            for number, start in enumerate(range(0, count, block)):
                rng = np.random.default_rng([seed, 2, part, number])
                writer.write_table(table.block(rng, min(block, count - start)), row_group_size=block)
        unfinished.replace(folder / f"{name}.parquet")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=400_000)
    parser.add_argument("--test_rows", type=int, default=100_000)
    parser.add_argument("--vocabulary", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    make(options.folder, options.rows, options.test_rows, options.vocabulary, options.seed)


if __name__ == "__main__":
    main()
