"""Tables in memory of several libraries give the same log as pandas, and answers of their own kind."""

import pandas as pd
import pyarrow as pa
import pytest

from recgnn.data import EventFrame, FrameLog
from recgnn.data.readers.frames import as_pandas, like
from recgnn.errors import DataError

FRAME = pd.DataFrame({
    "user": ["a", "b", "a"], "item": [2**62, 7, 8], "rating": [1.0, None, 3.0], "tags": [["x"], [], ["y", "z"]],
})  # fmt: skip


class Stream:
    """Nothing but Arrow's stream."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    def __arrow_c_stream__(self, schema=None):
        return self.table.__arrow_c_stream__(schema)


def tables() -> dict:
    table = pa.Table.from_pandas(FRAME, preserve_index=False)
    return {"arrow": table, "stream": Stream(table), "batches": table.to_reader()}


@pytest.mark.parametrize("kind", ["arrow", "stream", "batches"])
def test_any_table_is_read_as_pandas_has_it(kind: str) -> None:
    found = as_pandas(tables()[kind])
    assert found["user"].tolist() == ["a", "b", "a"] and found["item"].tolist() == [2**62, 7, 8]
    assert [list(x) for x in found["tags"]] == [["x"], [], ["y", "z"]]
    log = FrameLog(as_pandas(tables()[kind]).drop(columns="rating")).read()
    assert log.interactions["item"].tolist() == [2**62, 7, 8]


def test_answers_are_of_the_kind_that_was_given() -> None:
    answer = pd.DataFrame({"user": ["a"], "score": [0.5]})
    assert like(FRAME, answer) is answer
    assert like(tables()["arrow"], answer).to_pydict() == {"user": ["a"], "score": [0.5]}
    assert isinstance(like(tables()["stream"], answer), pa.Table)


def test_polars_and_duckdb() -> None:
    polars, duckdb = pytest.importorskip("polars"), pytest.importorskip("duckdb")
    frame = polars.from_arrow(pa.Table.from_pandas(FRAME, preserve_index=False))
    relation = duckdb.from_arrow(pa.Table.from_pandas(FRAME, preserve_index=False))
    answer = pd.DataFrame({"user": ["a"], "score": [0.5]})
    for table in (frame, frame.lazy(), relation):
        assert as_pandas(table)["item"].tolist() == [2**62, 7, 8]
        assert len(EventFrame(table).events()) == 3
    assert like(frame, answer).to_dicts() == [{"user": "a", "score": 0.5}]
    assert like(relation, answer).fetchall() == [("a", 0.5)]


def test_what_is_no_table() -> None:
    with pytest.raises(DataError, match="the frame is a list; expected a frame of pandas or Polars"):
        FrameLog([1, 2])


def test_events_in_a_frame() -> None:
    frame = pd.DataFrame({"x": [1, 2], "label": [0, 1], "split": ["train", "valid"]})
    source = EventFrame(pa.Table.from_pandas(frame))
    assert source.events()["split"].tolist() == ["train", "val"]
    assert source.fingerprint() == EventFrame(frame).fingerprint() != EventFrame(frame.assign(x=[1, 3])).fingerprint()
