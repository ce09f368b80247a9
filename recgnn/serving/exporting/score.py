"""Scores a table of raw rows by the model in this folder. Needs numpy, pandas, pyarrow and onnxruntime; nothing else.

    python score.py rows.csv --output scores.csv

The columns have the names of the training data, in any order. Refused are a missing user or item, a row with another
number of fields than the header, a column that stands twice, an open quote, and bytes that are not UTF-8 (or UTF-16).

Rows of a model that reads histories need columns with them, or a column `user` where there is a histories.parquet.
Reads and writes .csv or .parquet (and reads .tsv); the output is the input with a column `prediction`. From Python:

    from score import Scorer
    Scorer("this/folder").score(frame)  # a pandas frame of raw rows

What each column holds is told in README.md; how it becomes numbers in encoding.json and vocabulary.parquet.
"""

from __future__ import annotations

import argparse
import bisect
import codecs
import csv
import gzip
import itertools
import json
import os
import sys
import uuid
import zlib
from pathlib import Path

import numpy as np
import onnxruntime
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from recgnn.data.readers.lists import LISTS, hold_lists, pieces_of, plain_lists
from recgnn.data.readers.notation import Notation, read
from recgnn.data.readers.values import distinct_of, numbers, texts_as
from recgnn.errors import DataError

UNKNOWN, MISSING, KNOWN = 0, 1, 2  # rows of every field: values that train lacks, no value; the first known value
FAR = 0.1  # a share of unknown rows is far above validation's when it exceeds twice that by so much
READ, RUN = 2**15, 2**10  # rows read, and rows scored, at once


def part_of(seconds: np.ndarray, part: str) -> np.ndarray:
    """A part of moments, in UTC."""
    whole = np.floor(np.where(np.isfinite(seconds), seconds, 0)).astype(np.int64)
    if part == "month":
        return whole.astype("datetime64[s]").astype("datetime64[M]").astype(np.int64) % 12 + 1
    day = (whole // 86_400 + 3) % 7
    return {"hour": whole // 3600 % 24, "weekday": day, "weekend": (day >= 5).astype(np.int64)}[part]


def category_texts(column: pd.Series, field: dict) -> pd.Series:
    """The category of each value as text, NA where there is none."""
    kind = field["kind"]
    if kind not in ("log2", "quantile"):
        return texts_as(column, field["type"])
    values = numbers(column)
    finite = np.isfinite(values)
    if kind == "quantile":
        bucket = np.searchsorted(np.array(field["edges"]), values, side="right")
    else:
        large, bucket = finite & (values > 2), np.zeros(len(values), dtype=np.int64)
        bucket[large] = np.floor(np.log(values[large]) ** 2).astype(np.int64)
        bucket[finite & ~large] = values[finite & ~large].astype(np.int64)
        if field["range"] is not None:  # beyond train's range: as its ends
            bucket = bucket.clip(*field["range"])
    return pd.Series(bucket).astype("string").mask(~finite)


def rows_of(text: pd.Series, field: dict) -> np.ndarray:
    """The rows of texts within the field."""
    if field["buckets"] is None:
        rows = field["values"].get_indexer(text) + KNOWN
        rows[rows < KNOWN] = UNKNOWN
    else:
        digest = pd.util.hash_array(text.fillna("").to_numpy(object), categorize=True)
        rows = (digest % np.uint64(field["buckets"])).astype(np.int64) + KNOWN
    rows[text.isna().to_numpy()] = MISSING
    return rows


def encode_multi(column: pd.Series, field: dict) -> tuple[np.ndarray, np.ndarray]:
    """Several values of a row: each a feature of value 1, or of the number beside it, and for the mean over the sum of
    these."""
    which, cells = distinct_of(plain_lists(column))
    found = [[p for p in pieces if p != field["padding"]] for pieces in pieces_of(cells, field["separator"])]
    lists: list[list] = [[weighted(p, field["weights"], column) for p in pieces] for pieces in found]
    nothing: list = [(None, 1.0)] if field["weights"] is None else []  # no value is one too, where they have no numbers
    lists = [pieces[: field["slots"]] or nothing for pieces in lists]
    ids = np.full((len(lists), field["slots"]), MISSING)
    values = np.zeros((len(lists), field["slots"]), dtype=np.float32)
    place = [(row, slot) for row, pieces in enumerate(lists) for slot in range(len(pieces))]
    owner, slot = np.array(place, dtype=np.int64).reshape(-1, 2).T
    texts = pd.Series([p for pieces in lists for p, _ in pieces], dtype="string")
    ids[owner, slot] = rows_of(texts_as(texts, field["type"]), field)
    values[owner, slot] = [x for pieces in lists for _, x in pieces]
    if field["combine"] == "mean":
        total = np.abs(values).sum(1, keepdims=True)
        values /= np.where(total > 0, total, 1)
    return ids[which], values[which]


def weighted(piece: str, mark: str | None, column: pd.Series) -> tuple[str, float]:
    """A value and the number behind the mark, or 1.

    Raises:
        DataError: If there is no number behind the mark.
    """
    value, found, number = piece.rpartition(mark) if mark else ("", "", "")
    if not found:
        return piece, 1.0
    x = pd.to_numeric(number.strip(), errors="coerce")
    if not value.strip() or not np.isfinite(np.float64(x)):
        raise DataError(f"column {column.name!r}: {piece!r}; expected a value and its number, as tag{mark}0.5")
    return value.strip(), float(x)


def encode_field(column: pd.Series, field: dict) -> tuple[np.ndarray, np.ndarray]:
    """Rows within the field and their values, [n, slots] each."""
    if field["kind"] == "multi":
        return encode_multi(column, field)
    if field["kind"] == "time":
        seconds = seconds_of(column, field["time"])
        rows = rows_of(pd.Series(np.arange(25)).astype("string"), field)[part_of(seconds, field["part"])]
        rows = np.where(np.isfinite(seconds), rows, np.where(np.isnan(seconds), MISSING, UNKNOWN))[:, None]
        return rows, np.ones(rows.shape, dtype=np.float32)
    if field["kind"] == "number":
        values = numbers(column)
        values = np.sign(values) * np.log1p(np.abs(values)) if field["log"] else values
        missing = ~np.isfinite(values)
        scaled = np.where(missing, 1.0, (values - field["mean"]) / field["scale"]).astype(np.float32)
        return np.where(missing, MISSING, 0)[:, None], scaled[:, None]
    if field["kind"] in ("log2", "quantile"):
        column = pd.Series(numbers(column))
    which, distinct = pd.factorize(column, use_na_sentinel=False)
    once = pd.Series(distinct, name=column.name, dtype=column.dtype if len(distinct) else object)
    rows = rows_of(category_texts(once, field), field)[which][:, None]
    return rows, np.ones(rows.shape, dtype=np.float32)


def seconds_of(column: pd.Series, how: dict) -> np.ndarray:
    """Times as seconds: NaN where there is none, infinite where one cannot be read as training's were."""
    seconds, wrong = read(column, Notation(**how), lenient=True)
    return np.where(wrong, np.inf, seconds)


def as_series(values: list[str]) -> pd.Series:
    """Make a column of texts."""
    return pd.Series(values, dtype="str")


class Scorer:
    """The model of a folder: raw rows in, predictions out."""

    def __init__(
        self, folder: str | Path = Path(__file__).parent, threads: int = 0, without_histories: bool = False
    ):
        self.read_encoding(Path(folder))
        self.without_histories = without_histories
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads  # 0: as many as there are cores
        model = str(Path(folder) / "model.onnx")
        self.session = onnxruntime.InferenceSession(model, options, ["CPUExecutionProvider"])
        self.check_runtime(self.known_answer)

    def check_runtime(self, known: dict) -> None:
        """Refuse an onnxruntime that computes something else than the model: old ones do, with some graphs.

        Raises:
            DataError: If the answer to known inputs differs.
        """
        given = {name: np.array(x["values"], dtype=x["type"]) for name, x in known["inputs"].items()}
        off = float(np.abs(self.session.run(None, given)[0] - np.array(known["answer"])).max())
        if not off <= 1e-3:
            own, theirs = onnxruntime.__version__, known["onnxruntime"]
            raise DataError(f"onnxruntime {own} computes other scores than the model (off by {off:.2g}): take {theirs}")

    def read_encoding(self, folder: Path) -> None:
        """Take the fields, with their known values, and where histories are."""
        encoding = json.loads((folder / "encoding.json").read_text(encoding="utf-8"))
        self.fields, self.history = encoding["fields"], encoding["history"]
        self.names, self.needed = encoding["names"], encoding["needed"]
        self.known_answer = encoding["check"]
        vocabulary = pq.read_table(folder / "vocabulary.parquet").to_pandas()
        values = {name: group["value"] for name, group in vocabulary.groupby("field", observed=True)}
        for field in self.fields:
            field["values"] = pd.Index(values.get(field["name"], []), dtype="string")
        self.unknown: dict[str, list] = {}  # by field: how many rows scored have an unknown value; validation's share
        self.users = None  # what each of them liked
        if (folder / "histories.parquet").is_file():
            self.users = pq.read_table(folder / "histories.parquet").to_pandas().set_index("user")

    def own(self, frame: pd.DataFrame) -> pd.DataFrame:
        """A frame with the model's names of columns, where it has those of the training data.

        Raises:
            DataError: If a column is missing, there twice, or holds lists where the model has single values.
        """
        twice = frame.columns[frame.columns.duplicated()]
        if len(twice):
            raise DataError(f"two columns are named {twice[0]!r}")
        own = {theirs: name for name, theirs in self.names.items() if theirs in frame}
        by_chance = [name for name in own.values() if name in frame and name not in own]
        found, there = frame.drop(columns=by_chance).rename(columns=own), f"found: {', '.join(map(str, frame.columns))}"
        for column in self.needed:
            if column not in found:
                raise DataError(f"no column {self.names.get(column, column)!r}; {there}")
        columns = [field["column"] for field in self.fields]
        if not any(column in found for column in columns):
            raise DataError(f"has none of the model's columns ({', '.join(columns)}); {there}")
        for field in self.fields:
            name, kind = field["column"], field["kind"]
            if kind != "multi" and name in found and hold_lists(plain_lists(found[name].iloc[:1000])):
                raise DataError(f"column '{name}' holds lists, and is {kind} in this model")
        return found

    def missing(self, frame: pd.DataFrame) -> list[str]:
        """The columns that a frame (see `own`) lacks: they are taken as having no value in any row."""
        columns = [field["column"] for field in self.fields]
        columns += [field["value_column"] for field in self.fields if field.get("value_column")]
        if self.history and any(column in frame for column in self.past_columns()):
            columns += [*self.past_columns(), *self.times()]
        return [column for column in dict.fromkeys(columns) if column not in frame]

    def past_columns(self) -> list[str]:
        """The columns of histories."""
        return [*self.history["columns"].values(), *self.times()[:1]]

    def times(self) -> list[str]:
        """The columns of the past's times and of the row's own, where the model looks at them."""
        return [self.history["times"], self.history["timestamp"]] if self.history["times"] else []

    def encode(
        self, frame: pd.DataFrame, fields: list[dict], count: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the table of all fields [n, S] and their values [n, S]; unknown values may be counted."""

        def of(name: str) -> pd.Series:
            return frame[name] if name in frame else pd.Series([None] * len(frame), dtype="string", name=name)

        ids, values = [], []
        for field in fields:
            rows, x = encode_field(of(field["column"]), field)
            if field.get("value_column"):  # the column of its numbers; one of the two alone is no value
                own = numbers(of(field["value_column"])).astype(np.float32)[:, None]
                there = (rows != MISSING) & np.isfinite(own)
                rows, x = np.where(there, rows, MISSING), np.where(there, own, np.float32(1))
            if count and field["kind"] != "number" and field["column"] in frame:
                unknown = self.unknown.setdefault(field["name"], [0, field["unknown"]])
                unknown[0] += int((rows == UNKNOWN).any(1).sum())
            ids.append(rows + field["start"])
            values.append(x)
        return np.concatenate(ids, 1).astype(np.int64), np.concatenate(values, 1)

    def with_histories(self, frame: pd.DataFrame) -> tuple[pd.DataFrame, np.ndarray]:
        """Rows with what their users liked before them, from histories.parquet, and their times in seconds, [n]; a row
        without a time sees all of it.

        Raises:
            DataError: If nothing tells the histories.
        """
        own = np.full(len(frame), np.nan)
        if self.users is None or "user" not in frame:
            if self.without_histories:
                return frame, own
            user = "" if self.users is None else ", or user"
            raise DataError(
                f"the model reads histories, and there is no column {', '.join(self.past_columns())}{user}; README.md "
                "tells how to write them, and --without_histories scores as if there were none"
            )
        ends: list[int | None] = [None] * len(frame)  # how much of a user's past a row sees
        past = self.users.reindex(texts_as(frame["user"], self.history["user_type"])).set_index(frame.index)
        if "last" in past:
            own = self.own_times(frame) if "timestamp" in frame else own
            times = [list(cell) if isinstance(cell, LISTS) else [] for cell in past["history_times"]]
            ends = [len(x) if np.isnan(t) else bisect.bisect_left(x, t) for x, t in zip(times, own, strict=True)]
            own = np.where(np.isnan(own), past["last"], own)
        cells = {name: zip(past[name], ends, strict=True) for name in self.past_columns()}
        for name, pairs in cells.items():
            found = [list(x)[:end] if isinstance(x, LISTS) else [] for x, end in pairs]
            frame = frame.assign(**{name: pd.Series(found, frame.index, object)})
        return frame, own

    def own_times(self, frame: pd.DataFrame) -> np.ndarray:
        """The rows' own times, in seconds.

        Raises:
            DataError: Names the row whose time is not written as in training.
        """
        own = seconds_of(frame["timestamp"], self.history["time"])
        if np.isinf(own).any():
            row = int(np.isinf(own).argmax())
            value = frame["timestamp"].iloc[row]
            raise DataError(f"row {frame.index[row] + 1}, column 'timestamp': {value} is not written as in training")
        return own

    def past(self, frame: pd.DataFrame) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Lengths [n] of the rows' histories, and what the model is given of all of them, one after the other.

        Raises:
            DataError: Names the row whose history is not what it should be.
        """
        history, times = self.history, self.times()[:1]
        lists: dict[str, list[list[str]]] = {}
        own = None
        if not any(column in frame for column in self.past_columns()):
            frame, own = self.with_histories(frame)
        for name, column in [*history["columns"].items(), *((column, column) for column in times)]:
            if column in frame:
                lists[name] = pieces_of(plain_lists(frame[column]), history["separator"], places=True)
        needed = [*history["columns"].values(), *(self.times()[:1] if own is not None else self.times())]
        if lists and any(column not in frame for column in needed):
            raise DataError(f"histories need all of the columns {', '.join(needed)}, or none of them")
        first: list[list[str]] = next(iter(lists.values()), [[]] * len(frame))
        for name, values in lists.items():
            if (wrong := np.array([len(x) != len(y) for x, y in zip(values, first, strict=True)], dtype=bool)).any():
                row = int(wrong.argmax())
                many = f"{len(values[row])} past {name}, {len(first[row])} past items"
                raise DataError(f"row {frame.index[row] + 1}: {many}")
        kept, of_items = [], [lists[name] for name in history["columns"] if name in lists]
        for row, one in enumerate(first):
            there = [k for k, item in enumerate(one) if item != history["padding"] and any(x[row][k] for x in of_items)]
            kept.append(there[-history["max_length"] :])
        lengths = np.array([len(x) for x in kept], dtype=np.int64)
        flat = {name: as_series([x[row][k] for row, ks in enumerate(kept) for k in ks]) for name, x in lists.items()}
        items = pd.DataFrame({name: flat.get(name, as_series([])) for name in history["columns"]})
        ids, x = self.encode(items, [field for field in self.fields if field["column"] in history["columns"]])
        found = {"history_ids": ids, "history_values": x}
        if times:
            written = history["time"] if own is None else {"stated": True}  # in histories.parquet they are seconds
            then = seconds_of(flat.get(times[0], as_series([])), written)
            if own is None:
                own = self.own_times(frame) if lists else np.zeros(len(frame))
            last = np.append(then, np.nan)[np.cumsum(lengths) - 1]
            gaps = np.repeat(np.where(np.isnan(own), last, own), lengths) - then
            if (wrong := ~((gaps >= 0) & np.isfinite(then))).any():
                row = np.repeat(np.arange(len(frame)), lengths)[int(wrong.argmax())]
                raise DataError(f"row {frame.index[row] + 1}: a past time is none, or later than {self.times()[1]!r}")
            found["history_gaps"] = gaps.astype(np.float32)
        return lengths, found

    def score(self, frame: pd.DataFrame) -> np.ndarray:
        """The predictions of raw rows, [n]."""
        frame = self.own(frame)
        ids, values = self.encode(frame, self.fields, count=True)
        lengths, past = self.past(frame) if self.history else (np.zeros(len(frame), dtype=np.int64), {})
        first, order = np.cumsum(lengths) - lengths, np.argsort(lengths, kind="stable")  # like lengths together
        found = np.empty(len(frame), dtype=np.float32)
        for start in range(0, len(frame), RUN):
            rows = order[start : start + RUN]
            given = {"ids": ids[rows], "values": values[rows]}
            if self.history:
                there = np.arange(max(1, lengths[rows].max())) < lengths[rows, None]
                place = (first[rows, None] + np.arange(there.shape[1]))[there]
                for name, flat in past.items():
                    given[name] = np.zeros((*there.shape, *flat.shape[1:]), dtype=flat.dtype)
                    given[name][there] = flat[place]
                given["history_lengths"] = lengths[rows]
            (found[rows],) = self.session.run(None, given)
        return found


def blocks_of(file: Path):
    """A table, some rows at a time; every column of a text file as text.

    Raises:
        DataError: If the file is damaged.
    """
    try:
        if file.suffix == ".parquet":
            table, found = pq.ParquetFile(file, page_checksum_verification=True, pre_buffer=False), 0
            for batch in table.iter_batches(READ) if table.metadata.num_rows else [table.schema_arrow.empty_table()]:
                found += batch.num_rows
                yield batch.to_pandas(ignore_metadata=True, integer_object_nulls=True)
            if found != table.metadata.num_rows:
                raise DataError(f"is damaged: it tells of {table.metadata.num_rows:,} rows and holds {found:,}")
        else:
            yield from text_blocks(file)
    except (UnicodeError, OSError, EOFError, zlib.error, pa.ArrowException) as error:
        raise DataError(f"cannot be read: {str(error).splitlines()[0]}") from error


def text_blocks(file: Path):
    """A table of text (csv, tsv, also gzipped), some rows at a time; every column as text."""
    with open(file, "rb") as start:
        unpacked = gzip.open if start.read(2) == b"\x1f\x8b" else open
    with unpacked(file, "rb") as start:
        marked = start.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    with unpacked(file, "rt", encoding="utf-16" if marked else "utf-8-sig", newline="") as lines:
        yield from read_rows(lines, tabs=".tsv" in file.suffixes)


def read_rows(lines, tabs: bool):
    """The rows of a text with a header line; blank lines are skipped.

    Raises:
        DataError: Names the line.
    """
    first, skipped = next(lines, ""), 0
    while first and not first.strip():
        first, skipped = next(lines, ""), skipped + 1
    separator = "\t" if tabs else max(",\t;|", key=lambda mark: len(next(csv.reader([first], delimiter=mark), [])))
    reader, count = csv.reader(itertools.chain([first], lines), delimiter=separator, strict=True), 0
    names: list[str] = []
    rows: list[list[str]] = []
    csv.field_size_limit(2**25)
    try:
        for fields in reader:
            where = f"line {reader.line_num + skipped}"
            if not names:
                names = [name.strip() for name in fields]
            elif fields:
                if len(fields) != len(names):
                    raise DataError(f"{where}: {len(fields)} fields where the header has {len(names)}")
                text = max(fields, key=lambda field: field.count("\n"))
                if "\0" in "".join(fields) or "\n" in text and text.count(separator) >= len(names) - 1 > 0:
                    raise DataError(f"{where}: holds a NUL, or a quoted field that holds rows")
                rows.append(fields)
            if len(rows) == READ:
                yield pd.DataFrame(rows, columns=names, dtype="str")
                rows, count = [], count + READ
    except csv.Error as error:
        raise DataError(f"line {reader.line_num + skipped}: {error}") from error
    if not names:
        raise DataError("is empty")
    if rows or not count:
        yield pd.DataFrame(rows, columns=names, dtype="str")


def tell_unknown(scorer: Scorer, rows: int) -> None:
    """Tell which fields have values that are not in the training data, and in how many rows, beside validation."""
    shares = {name: (count / rows, usual) for name, (count, usual) in scorer.unknown.items() if count}
    told = {name: f"{name} {share:.1%} ({usual:.1%})" for name, (share, usual) in shares.items()}
    what = "values that are not in the training data"
    if told:
        print(f"rows with {what} (in validation): {', '.join(told.values())}", file=sys.stderr)
    if far := [told[name] for name, (share, usual) in shares.items() if share > max(1 / rows, FAR + 2 * usual)]:
        print(f"warning: far more rows than in validation have {what}: {', '.join(far)}", file=sys.stderr)


def main() -> None:
    """Score the rows of a file.

    Raises:
        DataError: If it has a column that is called prediction.
    """
    parser = argparse.ArgumentParser(description="Scores raw rows; README.md tells what their columns hold.")
    parser.add_argument("rows", type=Path, help="rows.csv, rows.tsv or rows.parquet")
    parser.add_argument("--output", type=Path, required=True, help="scores.csv or scores.parquet")
    parser.add_argument("--without_histories", action="store_true", help="score as if nobody had a history")
    parser.add_argument("--threads", type=int, default=0, help="of onnxruntime; default: as many as there are cores")
    options = parser.parse_args()
    if not options.rows.is_file():
        parser.error(f"{options.rows}: no such file")
    if options.output.suffix not in (".csv", ".parquet"):
        parser.error(f"--output {options.output}: expected a name that ends in .csv or .parquet")
    try:
        scorer = Scorer(threads=options.threads, without_histories=options.without_histories)
    except DataError as error:
        parser.error(str(error))
    writer, rows = None, 0
    temporary = options.output.with_name(f".tmp-{uuid.uuid4().hex[:12]}-{options.output.name}")
    try:
        for frame in blocks_of(options.rows):
            frame.index = pd.RangeIndex(rows, rows + len(frame))  # the numbers of the rows, for errors
            if "prediction" in frame:
                raise DataError("has a column 'prediction' already; rename it")
            missing, answers = [] if rows else scorer.missing(scorer.own(frame)), scorer.score(frame)
            frame["prediction"] = answers
            if missing:
                print(f"columns not there, taken as having no value: {', '.join(missing)}", file=sys.stderr)
            if options.output.suffix == ".csv":
                frame.to_csv(temporary, mode="a", header=not temporary.exists(), index=False)
            else:
                table = pa.Table.from_pandas(frame, preserve_index=False)
                writer = writer or pq.ParquetWriter(temporary, table.schema)
                writer.write_table(table.cast(writer.schema))
            rows += len(frame)
        if writer:
            writer.close()
        os.replace(temporary, options.output)
        tell_unknown(scorer, rows)
    except DataError as error:
        print(f"error: {options.rows}: {error}", file=sys.stderr)
        sys.exit(2)
    finally:
        temporary.unlink(missing_ok=True)
    print(f"{rows:,} rows in {options.output}", file=sys.stderr)


if __name__ == "__main__":
    main()
