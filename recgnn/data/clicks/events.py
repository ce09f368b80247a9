"""Where events with a label come from, and what their label is."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import numpy as np
import pandas as pd

from recgnn.data.cache import fingerprint, frame_digest
from recgnn.data.clicks.fields import Field
from recgnn.data.clicks.owners import Kind
from recgnn.data.interactions.columns import Attributes, Side, with_our_names
from recgnn.data.interactions.log import (
    ITEM,
    SPLIT,
    TIMESTAMP,
    TITLE,
    USER,
    AnySource,
    InteractionLog,
    clean_split,
)
from recgnn.data.readers.frames import named_frame
from recgnn.data.readers.notation import as_dates
from recgnn.data.readers.origin import Origin, need_columns, shown
from recgnn.data.readers.rules import Rule
from recgnn.data.readers.tables import bad_rows_note, lines_of, open_table, slices, table_blocks
from recgnn.data.readers.times import Written
from recgnn.data.readers.values import TRUTH, as_text
from recgnn.errors import ConfigError, DataError
from recgnn.files import existing_files, name_of


class Known(NamedTuple):
    """What a source knows of its columns: the fields (None: they are guessed), the column whose events are ranked
    against each other, and how lines become columns, as plain JSON types, where more of them can be read later."""

    fields: dict[str, Field] | None = None
    group: str | None = None
    layout: dict | None = None


class EventSource(AnySource):
    """Where a table of events comes from."""

    notes: Sequence[str] = ()
    """What was left out in reading, in lines."""
    owners: Mapping[str, Kind] = {}
    """To whom columns belong that tables of users and items have, when blocks have been read."""
    names: Mapping[str, str] = {}
    """What the data call the columns `user`, `item` and `timestamp`, where it is something else."""
    titles: pd.DataFrame | None = None
    """Columns `item` and `title`, where the items have such, when blocks have been read."""

    def known(self) -> Known:
        """Return what is known of the columns; nothing by default."""
        return Known()

    @abstractmethod
    def events(self) -> pd.DataFrame:
        """Return the events, raw; a column `split` (train, val, test) is the data's own split."""

    def blocks(self, columns: Collection[str] | None = None) -> Iterator[pd.DataFrame]:
        """Yield the events in blocks of rows, of all columns or of some; a source that can, reads them one by one."""
        yield from slices(self.events(), columns)

    def at(self, row: int, column: str) -> str:
        """Return the place of `column` in a row of those that have been read, for an error."""
        return Origin(self.name).at(row, column)


class EventTable(EventSource):
    """Events in one table, or in one for each part: csv, tsv, any other separator, JSON lines, or Parquet.

    Args:
        path: The events, a file, a pattern such as `logs/*.csv` or an address; or None, with the three others.
        train: The events to learn from.
        val: Those to choose by.
        test: Those to measure by.
        user: Column of the users, whose past a model may see and who are recommended to; `user`, if there is one.
        item: Column of the items; `item`, if there is one.
        timestamp: Column of the times, which the order of the events follows; `timestamp`, if there is one.
        separator: Of the fields; found out when None.
        columns: Names of the columns of files without a header line.
        name: Short name of the data set; the file's stem when None.
        quotes: Whether a field may stand in double quotes; false where quotes are characters like others.
        encoding: Of the files, such as latin-1; UTF-8, or UTF-16 with a mark, when None.
        keep: Which rows are read: a rule such as `exposed == 1`; all when None.
        on_bad_rows: `refuse`, or `drop` and count broken rows (another number of fields).
        time_format: How times are written, as of `strptime`: `%d/%m/%Y %H:%M`, or `ISO8601`; None: found out. It and
            the next are of the column `timestamp`, and of fields of times that do not say it themselves.
        time_unit: Of times that are numbers: `s`, `ms`, `us`, `ns`, or others (see `Written`); None: found out.
        time_zone: Of times that name none, such as `Europe/Paris`; UTC when None.
        on_missing: Rows without a `timestamp` where one is needed: `refuse`; `drop`; `keep` has them in train, and in
            no history.
        decimal: What stands before the fraction of numbers in text: `.`, or `,` as in 3,5.
        users: A table with a row per user, whose columns become columns of the events: a file, or a mapping of its
            path, id (the column of the ids, there and perhaps in the events, where it else is `user`), columns (of a
            file without a header line) and separator.
        items: A table with a row per item, likewise; its titles are no column, and shown in recommendations. Rows to
            predict need the columns of these tables themselves.

    Raises:
        ConfigError: If neither or both of `path` and `train` are given.
        DataError: On reading, with the file, the line and the column of the mistake.
    """

    def __init__(
        self,
        path: str | Path | None = None,
        train: str | Path | None = None,
        val: str | Path | None = None,
        test: str | Path | None = None,
        user: str | None = None,
        item: str | None = None,
        timestamp: str | None = None,
        separator: str | None = None,
        columns: list[str] | None = None,
        name: str | None = None,
        quotes: bool = True,
        encoding: str | None = None,
        keep: str | None = None,
        on_bad_rows: Literal["refuse", "drop"] = "refuse",
        time_format: str | None = None,
        time_unit: str | None = None,
        time_zone: str | None = None,
        on_missing: Literal["refuse", "drop", "keep"] = "refuse",
        decimal: Literal[".", ","] = ".",
        users: str | Path | dict | None = None,
        items: str | Path | dict | None = None,
    ) -> None:
        self.decimal = decimal
        chosen = {USER: user, ITEM: item, TIMESTAMP: timestamp}
        self.names = {ours: theirs for ours, theirs in chosen.items() if theirs not in (None, ours)}
        if len({*self.names.values()}) < len(self.names):
            raise ConfigError(f"EventTable: {', '.join(chosen)} are columns of their own; found {chosen}")
        sides = {USER: Side.of(users, USER), ITEM: Side.of(items, ITEM)}
        self.sides = {key: side and side._replace(id=side.id or self.names.get(key)) for key, side in sides.items()}
        self.keep, self.on_bad_rows = None if keep is None else Rule(keep, "keep"), on_bad_rows
        self.notes: list[str] = []
        self.files = part_files("EventTable", path, train, val, test)
        self.written = Written(time_format, time_unit, time_zone, on_missing)
        self._places: list[tuple[int, Origin]] = []  # the first row of each file that has been read
        self.separator, self.columns, self.quotes, self.encoding = separator, columns, quotes, encoding
        self.name = name or name_of(self.files["train"])

    def blocks(self, columns: Collection[str] | None = None) -> Iterator[pd.DataFrame]:
        how = (self.quotes, self.encoding, self.decimal)
        beside = [Attributes(side, key, *how) for key, side in self.sides.items() if side is not None]
        wanted = None if columns is None else {*columns, *(name for one in beside for name in one.names if name)}
        wanted = None if wanted is None else {self.names.get(name, name) for name in wanted}
        for frame in self._blocks(wanted):
            for one in beside:
                frame = one.join(frame)
            self.owners = {str(name): cast(Kind, one.key) for one in beside for name in one.columns}
            yield frame if columns is None else frame[[c for c in frame if c in columns]]
        for one in beside:
            one.check()
            self.titles = one.titles if self.titles is None else self.titles

    def _blocks(self, columns: Collection[str] | None) -> Iterator[pd.DataFrame]:
        first: list[str] = []
        rows = 0
        self._places = []
        for part, file in self.files.items():
            written = (self.separator, self.columns, self.quotes, self.encoding)
            table = open_table(file, *written, on_bad_rows=self.on_bad_rows, decimal=self.decimal)
            first = first or table.names
            need_columns(first, table.names, file, f"{self.files['train']} has it")
            need_columns(table.names, first, self.files["train"], f"{file} has it")
            need_columns(self.names.values(), table.names, file)
            start, line = 0, lines_of(table) if self.keep is None else None
            self._places.append((rows, Origin(file, line)))
            of_whom = [self.names.get(name, name) for name in (USER, ITEM)]
            for frame in table_blocks(table, columns, self.keep, names=of_whom):
                frame = with_our_names(frame, self.names)
                if len(self.files) > 1:
                    frame = frame.assign(**{SPLIT: part})
                if SPLIT in frame:
                    frame = frame.assign(**{SPLIT: clean_split(frame[SPLIT], Origin(file, line, start=start))})
                start, rows = start + len(frame), rows + len(frame)
                yield frame
            self.notes = list(dict.fromkeys([*self.notes, *bad_rows_note(table)]))

    def at(self, row: int, column: str) -> str:
        first, origin = [place for place in self._places if place[0] <= row][-1]
        return origin.at(row - first, self.names.get(column, column))

    def events(self) -> pd.DataFrame:
        return pd.concat(list(self.blocks()), ignore_index=True)

    def fingerprint(self) -> str:
        options = [sorted(self.files), self.separator, self.columns, self.name, self.quotes, self.encoding]
        options += [self.decimal, repr(self.keep), self.on_bad_rows, repr(self.written)]
        options += [repr(side and side[1:]) for side in self.sides.values()] + [repr(self.names)] * bool(self.names)
        files = [path for file in self.files.values() for path in existing_files(file)]
        return fingerprint(self, options, [*files, *(side and side.path for side in self.sides.values())])


class EventFrame(EventSource):
    """Events in a frame of pandas or Polars, a PyArrow table or a DuckDB relation.

    Args:
        frame: The events; not changed. A column `split` (train, val, test) is their own split.
        name: Short name of the data set.
        time_format: How times are written, as of `strptime`, and so on: see `EventTable`.
        time_unit: Of times that are numbers.
        time_zone: Of times that name none; UTC when None.
        on_missing: Rows without a `timestamp` where one is needed: `refuse`, `drop` or `keep`.
    """

    def __init__(
        self,
        frame: Any,
        name: str = "frame",
        time_format: str | None = None,
        time_unit: str | None = None,
        time_zone: str | None = None,
        on_missing: Literal["refuse", "drop", "keep"] = "refuse",
    ) -> None:
        self.frame, self.name = named_frame(frame).reset_index(drop=True), name
        self.written = Written(time_format, time_unit, time_zone, on_missing)

    def events(self) -> pd.DataFrame:
        if SPLIT not in self.frame:
            return self.frame
        return self.frame.assign(**{SPLIT: clean_split(self.frame[SPLIT], Origin("the frame"))})

    def fingerprint(self) -> str:
        return fingerprint(self, [self.name, self.written, frame_digest(self.frame).hex()], [])


def part_files(
    who: str, path: str | Path | None, train: str | Path | None, val: str | Path | None, test: str | Path | None
) -> dict[str, str]:
    """Return the file of each part, of `train`, `val`, `test`; one file for all is called train. `who` asks, for
    errors.

    Raises:
        ConfigError: If neither or both of `path` and `train` are given.
    """
    if (path is None) == (train is None) or (path is not None and (val or test)):
        raise ConfigError(f"{who}: give path, or train with val and test")
    files = {"train": path or train, "val": val, "test": test}
    return {part: str(file) for part, file in files.items() if file is not None}


def events_of(log: InteractionLog) -> tuple[pd.DataFrame, pd.DataFrame | None, dict[str, Kind]]:
    """Return the interactions of a log, joined with its user and item tables; the items' titles or None; and to whom
    the columns of these tables belong. Times that are moments are dates, so that they need no notation."""
    owners: dict[str, Kind] = {}
    titles = log.items[[ITEM, TITLE]] if log.items is not None and TITLE in log.items else None
    frame = log.interactions
    for key, table in ((USER, log.users), (ITEM, log.items)):
        if table is not None:
            twice = [c for c in table.columns if c in frame.columns and c != key]
            table = table.rename(columns={c: f"{key}_{c}" for c in twice})
            owners |= dict.fromkeys((c for c in table.columns if c != key), cast(Kind, key))
            frame = frame.merge(table, on=key, how="left", validate="many_to_one")
    if log.times is not None and log.times.written not in ("s", "order"):
        frame = frame.assign(**{TIMESTAMP: as_dates(frame[TIMESTAMP])})
    frame = frame.drop(columns=[c for c in (TITLE, "imdb_url") if c in frame])
    return frame, titles, {column: owner for column, owner in owners.items() if column in frame}


def check_classes(low: float, high: float, count: int, label: str) -> None:
    """Check that the labels (column `label`, `count` of them, from `low` to `high`) are of two classes.

    Raises:
        DataError: If the lowest is the highest.
    """
    if low == high:
        raise DataError(
            f"all {count:,} labels ({label}) are {low:g}: there is nothing to tell apart; check the label"
        )


def label_columns(columns: list[str], label: str) -> list[str]:
    """Return the columns that a label, or a rule, is of.

    Raises:
        DataError: If one is not there.
    """
    found = [label]
    if label not in columns:
        with suppress(ConfigError):  # it is no rule, so it must be a column
            found = Rule(label, "label").columns
    need_columns(found, columns, "label", "name a column of 0 and 1 (label: clicked) or a rule (label: rating >= 4)")
    return found


def labels_of(frame: pd.DataFrame, label: str, task: str = "clicks") -> np.ndarray:
    """Return the labels of some events, `[n]` float32.

    Args:
        frame: The events; a range index counts the rows.
        label: A column of 0 and 1 (or of true and false), or a rule such as `rating >= 4` or `behavior == 'buy'`.
        task: `clicks`, or `regression`, whose labels are numbers.

    Raises:
        DataError: If a column is missing or holds another value; names the row.
    """
    columns = label_columns([str(c) for c in frame.columns], label)
    rule = None if label in frame.columns else Rule(label, "label")
    for column in columns:
        values = pd.to_numeric(frame[column], errors="coerce").to_numpy(np.float64, na_value=np.nan)
        if rule is None and task == "clicks" and np.isnan(values).all():  # as pandas writes true and false
            truth = as_text(frame[column]).str.lower().map(TRUTH).astype("Float64")
            values = truth.to_numpy(np.float64, na_value=np.nan)
        if rule is not None:
            text = not any(condition.numeric for condition in rule.conditions if condition.column == column)
            wrong = frame[column].isna().to_numpy() if text else np.isnan(values)
            expected = "a value" if text else "a number"
        elif task == "regression":
            wrong, expected = ~np.isfinite(values), "a number"
        else:
            wrong, expected = ~np.isin(values, (0.0, 1.0)), f"0 or 1, or a rule such as label: {column} >= 4"
        if wrong.any():
            row = int(wrong.argmax())
            if rule is None and task == "clicks" and pd.notna(value := frame[column].iloc[row]):
                other = f"== {shown(value)}" if np.isnan(values[row]) else "> 0" if values[row] < 0 else ">= 4"
                expected = f"0 or 1, true or false, or a rule such as label: {column} {other}"
            number = frame.index[row] if isinstance(frame.index, pd.RangeIndex) else row
            raise DataError(
                f"row {number + 1}, column '{column}': {shown(frame[column].iloc[row])} is no label; "
                f"expected {expected}"
            )
    return values.astype(np.float32) if rule is None else rule.mask(frame).astype(np.float32)
