"""The log's types and its errors."""

from __future__ import annotations

import datetime
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from recgnn.data.interactions.log import InteractionLog
from recgnn.data.interactions.prepare import prepare
from recgnn.data.interactions.prepared import format_summary
from recgnn.data.interactions.sources import TableLog
from recgnn.data.interactions.split import TemporalSplit
from recgnn.data.readers.origin import Origin
from recgnn.errors import DataError


def _log(**columns) -> InteractionLog:
    return InteractionLog(pd.DataFrame(columns))


@pytest.mark.parametrize(
    ("ids", "clean"),
    [
        (np.array([3, 1], dtype=np.int16), [3, 1]),
        ([3.0, 1.0], [3, 1]),
        (pd.array([3, 1], dtype="Int32"), [3, 1]),
        (np.array([3, 1], dtype=object), [3, 1]),
        (["b", "007"], ["b", "007"]),
        (pd.Categorical(["b", "a"]), ["b", "a"]),
        (np.array([1, 2**64 - 1], dtype=np.uint64), ["1", str(2**64 - 1)]),
        ([10**30, 1], [str(10**30), "1"]),
        ([" b", "a"], ["b", "a"]),
    ],
)
def test_ids_become_int64_or_str(ids, clean) -> None:
    column = _log(user=ids, item=[1, 2]).interactions["user"]
    assert column.tolist() == clean
    assert column.dtype == (np.int64 if isinstance(clean[0], int) else "str")


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([1, None], "row 2, column 'user': no user id"),
        (["a", ""], "row 2, column 'user': no user id"),
        (["7", "NA", "12"], "row 2, column 'user': 'NA' among whole numbers is no user id"),
        ([1, "a"], "row 2, column 'user': str 'a' among int; expected integers or strings"),
        ([1.0, 2.5], "row 2, column 'user': 2.5 is no id"),
        ([True, False], "true or false"),
        ([(1,), (2,)], "tuple"),
        (["a", "b", "a "], "row 3, column 'user': 'a ' differs from another id by blanks only"),
        (pd.to_datetime(["2024", "2025"]), "datetime"),
    ],
)
def test_what_is_no_id_is_refused(ids, message: str) -> None:
    with pytest.raises(DataError, match=message) as error:
        _log(user=ids, item=range(len(ids)))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("times", "seconds"),
    [
        ([5, 7], [5, 7]),
        ([5.5, 7.0], [5.5, 7.0]),
        (["1970-01-01", "1970-01-02T00:00:01"], [0, 86_401]),
        (["1970-01-01T01:00:00+01:00", "1970-01-01T00:00:00.5Z"], [0.0, 0.5]),
        (pd.to_datetime(["1970-01-01", "1970-01-02"]), [0, 86_400]),
        ([datetime.date(1970, 1, 1), datetime.date(1970, 1, 2)], [0, 86_400]),
    ],
)
def test_times_become_seconds(times, seconds) -> None:
    column = _log(user=[1, 2], item=[1, 2], timestamp=times).interactions["timestamp"]
    assert column.tolist() == seconds
    assert column.dtype == (np.int64 if isinstance(seconds[0], int) else np.float64)


def test_how_times_were_written_is_kept_and_told() -> None:
    log = _log(user=[1, 2], item=[1, 2], timestamp=[1_700_000_000_000, 1_700_000_001_500])
    assert log.interactions["timestamp"].tolist() == [1_700_000_000, 1_700_000_001.5]
    assert log.times.describe() == "milliseconds since 1970, 2023-11-14 22:13:20 to 2023-11-14 22:13:21 UTC"
    again = replace(log, name="other")
    assert again.times == log.times and again.interactions.equals(log.interactions)
    assert _log(user=[1], item=[1]).times is None


@pytest.mark.parametrize(("on_missing", "rows"), [("drop", 20), ("keep", 25)])
def test_rows_without_a_time(on_missing, rows, tmp_path) -> None:
    times = [[None, *"5678"][(n + n // 5) % 5] for n in range(25)]
    frame = pd.DataFrame({"user": np.arange(25) % 5, "item": np.arange(25) // 5, "timestamp": times})
    frame.to_csv(tmp_path / "x.csv", index=False)
    with pytest.raises(DataError, match="x.csv, line 2, column 'timestamp': empty; .* on_missing: drop"):
        TableLog(tmp_path / "x.csv").read()
    source = TableLog(tmp_path / "x.csv", on_missing=on_missing)
    log = source.read()
    assert len(log) == rows and log.times.untimed == 5
    found = prepare(source, [], TemporalSplit((0.5, 0, 0.5)), tmp_path)
    told = "in train, and in no history" if on_missing == "keep" else "left out"
    assert f"times: numbers as they are, 5 to 8; 5 rows without a time, {told}" in format_summary(found.summary)
    assert found.summary["read"] == 25 and np.isnan(found.train.timestamp).sum() == rows - 20


@pytest.mark.parametrize(
    ("options", "times", "message"),
    [
        ({"time_format": "%d.%m.%Y"}, ["01.02.2024", "2024-02-01"], "line 3, column 'when': '2024-02-01'; .*%d.%m.%Y"),
        ({"time_unit": "ms"}, ["7", "x"], "line 3, column 'when': 'x'; expected a number .milliseconds."),
        ({}, ["13.02.2024", "2024-02-01"], "line [23], column 'when': "),
    ],
)
def test_the_line_of_another_notation_is_named(options, times, message, tmp_path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("\n".join(["user,item,when", *(f"{n},{n},{time}" for n, time in enumerate(times))]))
    with pytest.raises(DataError, match=f"{path}, {message}"):
        TableLog(path, timestamp="when", **options).read()


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("rating", [1.0, np.nan], "row 2, column 'rating': empty; expected a finite number"),
        ("rating", [np.inf, 1.0], "row 1, column 'rating': inf"),
        ("rating", ["4", "four"], "row 2, column 'rating': 'four'"),
        ("timestamp", ["2024-01-01", "soon"], "row 2, column 'timestamp': 'soon'; .* ISO"),
        ("timestamp", [3, None], "row 2, column 'timestamp': empty"),
        ("split", ["train", "fold1"], "row 2, column 'split': 'fold1'; expected train, val or"),
    ],
)
def test_what_is_no_number_time_or_part_is_refused(column, values, message) -> None:
    with pytest.raises(DataError, match=message):
        _log(user=[1, 2], item=[1, 2], **{column: values})


def test_columns_order_types_and_context() -> None:
    frame = pd.DataFrame(
        {"device": ["x"], "split": ["valid"], "rating": [4], "item": [2], "user": [1]}
    )
    log = InteractionLog(frame, name="mine")
    assert [*log.interactions.columns] == ["user", "item", "rating", "split", "device"]
    assert log.interactions["rating"].dtype == np.float32
    assert log.interactions["split"].tolist() == ["val"]
    assert (log.name, len(log)) == ("mine", 1)
    assert [*frame.columns] == ["device", "split", "rating", "item", "user"], (
        "the input is not changed"
    )


def test_tables_take_the_type_of_the_log() -> None:
    frame = pd.DataFrame({"user": [1, 2], "item": ["a", "b"]})
    users = pd.DataFrame({"age": [30, 40, 50], "user": ["2", "1", "01"]})
    log = InteractionLog(frame, users=users, items=pd.DataFrame({"item": ["b"], "title": ["B"]}))
    assert log.users.to_dict("list") == {"user": [2, 1], "age": [30, 40]}
    with pytest.raises(DataError, match="the items table, row 2.*'a' has a row already"):
        InteractionLog(frame, items=pd.DataFrame({"item": ["a", "a"]}))


def test_missing_columns_and_rows() -> None:
    with pytest.raises(
        DataError, match=r"no column 'user' \(did you mean 'userid'\?\); found: userid"
    ):
        _log(userid=[1], item=[1])
    with pytest.raises(DataError, match="holds no interactions"):
        _log(user=[], item=[])


def test_origin_names_the_place() -> None:
    origin = Origin("r.csv", line=lambda row: row + 2, columns={"rating": "stars"})
    frame = pd.DataFrame({"user": [1, 1], "item": [1, 2], "rating": [1, None]})
    with pytest.raises(DataError, match="^r.csv, line 3, column 'stars': empty"):
        InteractionLog(frame, origin=origin)
