"""Events prepared block by block are as those prepared at once."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from recgnn.data import CTRDataModule, EventTable, RatioSplit
from recgnn.data.clicks.fields import Field
from recgnn.data.readers import tables as blocks
from recgnn.errors import DataError


def table(n: int = 50) -> pd.DataFrame:
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"label": random.integers(0, 2, n), "who": random.integers(0, 9, n)})
    frame["late"] = pd.array(np.where(np.arange(n) < 40, 3, 2**60 + 1), dtype="Int64")  # no float has that
    frame.loc[[1, 45], "late"] = None
    frame["number"] = np.where(np.arange(n) < 30, np.round(random.random(n) * 5), random.random(n))
    frame["tags"] = random.choice(["a|b", "c", "b|d|a", None], n)
    frame["mixed"] = np.where(np.arange(n) < 20, "7", "x")
    frame["empty"] = [None] * 25 + ["007"] * (n - 25)
    return frame


def test_a_corrupt_block_of_parquet(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(blocks, "ROWS", 7)
    path = tmp_path / "x.parquet"
    pd.DataFrame({"label": [0, 1] * 5000, "x": np.arange(10_000) * 7919 % 10_007}).to_parquet(path, row_group_size=2000)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 400] = bytes(400)
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"x.parquet: is no readable Parquet file, from row \d+ on"):
        CTRDataModule(EventTable(path), cache_dir=str(tmp_path)).prepare_data()
    assert not list((tmp_path / "events").glob("*/summary.json"))


FIELDS = {
    "who": "categorical",
    "late": Field(min_count=3),
    "number": "numeric",
    "tags": "multi",
    "mixed": Field(buckets=5),
}


@pytest.mark.parametrize("quantile", [False, True])
def test_many_blocks_are_as_one(quantile, tmp_path, monkeypatch) -> None:
    """Vocabularies, means, quantiles, parts, groups: to the last bit but the rounding of means."""
    fields = FIELDS | ({"number": Field("numeric", transform="quantile", bins=4)} if quantile else {})
    table(400).to_parquet(tmp_path / "x.parquet")
    found = []
    for rows in (1000, 7):
        monkeypatch.setattr(blocks, "ROWS", rows)
        source = EventTable(tmp_path / "x.parquet")
        data = CTRDataModule(source, fields=fields, split=RatioSplit(by="all"), group="who",
                             cache_dir=str(tmp_path / str(rows)))  # fmt: skip
        found.append(data.prepared)
    one, many = found
    for part in ("train", "val", "test"):
        ours, theirs = getattr(one, part), getattr(many, part)
        for kind in ("ids", "labels", "groups"):
            np.testing.assert_array_equal(getattr(ours, kind), getattr(theirs, kind))
        np.testing.assert_allclose(ours.values, theirs.values, rtol=1e-6)
    assert one.summary == many.summary
    assert len(np.unique(one.train.groups)) == 9
