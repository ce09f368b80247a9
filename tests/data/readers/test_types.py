"""Parquet's and Arrow's types as what they mean: decimals, durations, bytes, objects, and files of several types."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recgnn.data import CTRDataModule, EventFrame, EventTable, FrameLog, TableLog
from recgnn.data.clicks.fields import guess
from recgnn.data.readers.lists import hold_objects, plain_lists
from recgnn.data.readers.tables import read_table
from recgnn.data.readers.types import frame_of, typed
from recgnn.data.readers.values import as_text, texts_as
from recgnn.errors import DataError


def stored(path: Path, **columns: pa.Array) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def test_decimals_durations_and_bytes_are_what_they_mean(tmp_path: Path) -> None:
    large = 2**63 + 1
    path = stored(
        tmp_path / "x.parquet",
        price=pa.array([Decimal("1.50"), None, Decimal("-2.25")], pa.decimal128(12, 2)),
        key=pa.array([7, None, 9]).cast(pa.decimal128(38, 0)),
        long=pa.array([Decimal(large), Decimal(1), None], pa.decimal128(38, 0)),
        wait=pa.array([1500, None, 250], pa.duration("ms")),
        name=pa.array([b"caf\xc3\xa9", None, b"tea"]),
        raw=pa.array([b"\xff", b"a", None]),
    )
    for frame in (read_table(path)[0], EventTable(path).events(), frame_of(pq.read_table(path))):
        assert frame[["price", "wait"]].fillna(0).to_numpy().tolist() == [[1.5, 1.5], [0, 0], [-2.25, 0.25]]
        assert frame["key"].fillna(0).tolist() == [7, 0, 9]
        assert frame["long"].fillna("").tolist() == [str(large), "1", ""]
        assert frame["name"].fillna("").tolist() == ["café", "", "tea"] and frame["raw"].iloc[0] == b"\xff"
    mixed = pd.Series([b"caf\xc3\xa9", 7, None, b"\xff"], dtype=object)
    assert as_text(mixed).fillna("").tolist() == ["café", "7", "", "\\xff"]


def test_ids_of_parquets_types(tmp_path: Path) -> None:
    users, items = pa.array([1, 2, 2]).cast(pa.decimal128(38, 0)), pa.array([b"a", b"b", b"a"])
    found = TableLog(stored(tmp_path / "x.parquet", user=users, item=items)).read().interactions
    assert found["user"].dtype == np.int64 and found["item"].tolist() == ["a", "b", "a"]


@pytest.mark.parametrize("form", ["parquet", "csv", "jsonl", "frame"])
def test_lists_are_no_ids(form, tmp_path: Path) -> None:
    """A basket in one row would be an item of its own."""
    baskets, path = [[3, 17], [5], [17]], tmp_path / f"x.{form}"
    if form == "parquet":
        stored(path, user=pa.array([1, 2, 3]), item=pa.array(baskets))
    elif form == "csv":
        path.write_text("user,item\n" + "".join(f'{u},"{basket}"\n' for u, basket in enumerate(baskets)))
    elif form == "jsonl":
        path.write_text("".join(json.dumps({"user": u, "item": b}) + "\n" for u, b in enumerate(baskets)))
    frame = pd.DataFrame({"user": [1, 2, 3], "item": baskets})
    with pytest.raises(DataError, match="column 'item': .*3, ?17"):
        (FrameLog(frame) if form == "frame" else TableLog(path)).read()


OBJECTS = [{"a": k % 3, "b": ["x"]} for k in range(300)]


def test_objects_are_left_out_of_what_is_guessed_and_told(tmp_path: Path) -> None:
    rows = [{"user": k % 7, "more": one, "of": [one]} for k, one in enumerate(OBJECTS)]
    (tmp_path / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    told = read_table(tmp_path / "x.jsonl")[1].notes
    assert told == (f"{tmp_path / 'x.jsonl'}: columns that hold objects are left out: more, of",)
    source = EventTable(tmp_path / "x.jsonl")
    assert list(source.events()) == ["user"] and source.notes == list(told)
    path = stored(tmp_path / "x.parquet", user=pa.array([k % 7 for k in range(300)]), more=pa.array(OBJECTS))
    plain = pd.DataFrame({"user": [k % 7 for k in range(300)], "more": OBJECTS})
    frames = [EventTable(path).events(), EventFrame(plain).events()]
    for frame in frames:
        found = guess(frame.assign(more=plain_lists(frame["more"])), set())
        assert list(found.fields) == ["user"] and found.left_out == {"more": "it holds objects"}
    assert plain_lists(frames[0]["more"]).tolist() == [json.dumps(one) for one in OBJECTS]
    assert not hold_objects(pd.Series(["{a}", "{b}"]))


def test_files_of_one_pattern_have_one_type_for_a_column(tmp_path: Path) -> None:
    stored(tmp_path / "1.parquet", user=pa.array([1, 2]), item=pa.array([1, 2]))
    stored(tmp_path / "2.parquet", user=pa.array([1.0, 2.0]), item=pa.array([3, 4], pa.int8()))
    assert TableLog(tmp_path / "*.parquet").read().interactions["user"].tolist() == [1, 2, 1, 2]
    stored(tmp_path / "3.parquet", user=pa.array(["1", "2"]), item=pa.array([1, 2]))
    for source in (TableLog, EventTable):
        with pytest.raises(DataError, match="3.parquet: column 'user' is int64 in .*1.parquet and string here"):
            source(tmp_path / "*.parquet").read() if source is TableLog else source(tmp_path / "*.parquet").events()


@pytest.mark.parametrize(
    ("values", "plain"),
    [
        ([Decimal(n) / 8 for n in range(40)], [n / 8 for n in range(40)]),
        (pd.to_timedelta(range(40), unit="min"), [60.0 * n for n in range(40)]),
        (np.arange(40).astype("float16") / 4, [n / 4 for n in range(40)]),
        (pd.arrays.SparseArray([float(n % 3) for n in range(40)]), [float(n % 3) for n in range(40)]),
        ([n if n % 2 else f"{n}" for n in range(40)], [str(n) for n in range(40)]),
        ([{"a": n} for n in range(40)], [f'{{"a": {n}}}' for n in range(40)]),
    ],
    ids="decimals durations halves sparse mixed objects".split(),
)
def test_columns_of_a_frame_are_of_the_usual_types(values, plain, tmp_path: Path) -> None:
    """Each of them ended in a traceback, or was read as text where it is a number."""
    assert plain_lists(pd.Series(values)).tolist() == plain
    frame = pd.DataFrame({"user": range(40), "item": [n % 7 for n in range(40)], 3: values, "label": [0, 1] * 20})
    data = CTRDataModule(EventFrame(frame), fields={"item": "categorical", "3": "categorical"}, cache_dir=str(tmp_path))
    assert data.prepared.encoders.encoders["3"].num_rows > 3


def test_frames_that_cannot_be(tmp_path: Path) -> None:
    frame = pd.DataFrame([[1, 2, 0], [1, 3, 1]])
    assert FrameLog(frame, user="0", item="1").read().interactions["item"].tolist() == [2, 3]
    for make in (EventFrame, FrameLog):
        with pytest.raises(DataError, match="the frame: two columns are named '0'"):
            make(frame.set_axis([0, 1, "0"], axis=1))
    with pytest.raises(DataError, match="column 'x' holds complex numbers"):
        plain_lists(pd.Series([1j, 2j], name="x"))


def test_true_is_a_number_among_zeros_and_ones_alone() -> None:
    flags = texts_as(pd.Series(["TRUE", "0.0", None, "1"]), "integer")
    assert flags.fillna("-").tolist() == ["1", "0", "-", "1"]
    assert texts_as(pd.Series(["true", "15"]), "integer").tolist() == ["true", "15"]


def test_a_number_beyond_all_numbers_stays_as_it_is_written() -> None:
    assert typed(pa.chunked_array([["7", "1e400"]])).to_pylist() == ["7", "1e400"]
    assert typed(pa.chunked_array([["7", "inf", "-Inf"]])).to_pylist() == [7, np.inf, -np.inf]
