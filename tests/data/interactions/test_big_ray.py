"""A log that a Ray cluster prepares gives the bits that DuckDB gives on one machine."""

from __future__ import annotations

import pandas as pd
import pytest

pytest.importorskip("duckdb", reason="pip install 'recgnn[duckdb]'")

from recgnn.data import GraphDataModule, KCore, LeaveOneOut, MinRating, RatioSplit, TableLog, TemporalSplit
from recgnn.data.readers.times import Finder
from recgnn.errors import ConfigError, DataError
from tests.data.interactions.test_big import assert_same, log

CASES = {
    "by time": {},
    "core, at random": {"filters": [MinRating(2), KCore(3, 3)], "split": RatioSplit(order="random")},
    "moments": {"split": TemporalSplit(), "positive": "rating >= 3"},
    "the last, repeats kept": {"split": LeaveOneOut(), "repeats": "keep"},
}


def files(frame: pd.DataFrame, folder, suffix: str = "parquet") -> TableLog:
    """A log in several files of one part of its rows each."""
    for number, start in enumerate(range(0, len(frame), 300)):
        rows = frame[start : start + 300]
        rows.to_parquet(folder / f"{number}.parquet") if suffix == "parquet" else rows.to_csv(folder / f"{number}.csv")
    return TableLog(folder / f"*.{suffix}", name="log")


def test_the_bits_are_those_of_one_machine(ray_cluster, tmp_path) -> None:
    source = files(log(1), tmp_path)
    for number, case in enumerate(CASES.values()):
        one, two = (
            GraphDataModule(source, engine=engine, cache_dir=str(tmp_path / f"{engine}'s {number}"), **case).prepared
            for engine in ("duckdb", "ray")
        )
        assert_same(one, two)


def test_what_it_does_not_read_is_refused(ray_cluster, tmp_path) -> None:
    data = GraphDataModule(files(log(1), tmp_path, "csv"), engine="ray", cache_dir=str(tmp_path / "cache"))
    with pytest.raises(ConfigError, match="it reads Parquet; take engine: duckdb"):
        _ = data.prepared


def test_times_of_several_files_are_found_together() -> None:
    """As of one column: by what all of them can be, and refused where no notation reads them all."""

    def found(*columns: list) -> Finder:
        finders = [Finder("timestamp") for _ in columns]
        for finder, values in zip(finders, columns, strict=True):
            finder.look(pd.Series(values), lambda row, column: f"row {row}")
        for other in finders[1:]:
            finders[0].take(other)
        return finders[0]

    whole = Finder("timestamp")
    parts = [[1_600_000_000, None], [1_500_000_000, 1_700_000_000], [None, None]]
    whole.look(pd.Series(sum(parts, [])), lambda row, column: f"row {row}")
    assert found(*parts).found() == whole.found() and whole.found().untimed == 3
    assert found(parts[2], parts[0]).found().first == 1_600_000_000
    with pytest.raises(DataError, match=r"no moment as row 0.* is"):
        found([1, 2], [1_600_000_000]).found()
    with pytest.raises(DataError, match="timestamp is .* in several files; say time_format"):
        found(["2020-01-31"], ["31/01/2020"])
