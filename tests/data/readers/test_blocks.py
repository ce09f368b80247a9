"""Tables in blocks: the same as at once, whatever stands in which block; and parts that stay on disk."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from recgnn.data import CTRDataModule, EventTable, GivenSplit, RatioSplit
from recgnn.data.clicks import loaders as event_batches
from recgnn.data.clicks import prepared as prepared_events
from recgnn.data.clicks.fields import Field
from recgnn.data.readers import tables as blocks
from recgnn.data.readers import text
from recgnn.data.readers.tables import open_table, table_blocks
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


@pytest.fixture
def short(monkeypatch) -> None:
    monkeypatch.setattr(blocks, "ROWS", 7)


def as_text(frame: pd.DataFrame) -> list[list[str]]:
    return [["" if pd.isna(x) else f"{x:.12g}" if isinstance(x, float) else str(x) for x in row] for row in
            frame.astype(object).to_numpy().tolist()]  # fmt: skip


def test_parquet_in_blocks(tmp_path, short) -> None:
    whole = table()
    whole.to_parquet(tmp_path / "x.parquet", row_group_size=20)
    found = list(table_blocks(open_table(tmp_path / "x.parquet")))
    assert [len(b) for b in found] == [7, 7, 6, 7, 7, 6, 7, 3]  # of row groups of 20, 20, 10
    assert as_text(pd.concat(found)) == as_text(whole)
    some = list(table_blocks(open_table(tmp_path / "x.parquet"), ["who", "nobody"]))
    assert all(list(b.columns) == ["who"] for b in some)


@pytest.mark.parametrize("header", [True, False])
def test_long_text_has_one_type_a_column(header, tmp_path, short, monkeypatch) -> None:
    """Integers in the first block and text in a later one are text in both; gaps do not make integers floats."""
    monkeypatch.setattr(blocks, "SMALL", 0)
    monkeypatch.setattr(text, "PIECE", 256)  # bytes
    whole = table()
    whole.to_csv(tmp_path / "x.csv", index=False, header=header)
    found = list(table_blocks(open_table(tmp_path / "x.csv", columns=None if header else list(whole.columns))))
    assert len(found) > 7 and max(map(len, found)) <= 7
    joined = pd.concat(found, ignore_index=True)
    assert as_text(joined) == as_text(whole)
    kinds = {name: {str(b[name].dtype).lower() for b in found} for name in whole.columns}
    assert kinds["mixed"] == kinds["empty"] == kinds["tags"] == {"str"}
    assert kinds["late"] == kinds["label"] | {"int64"} == {"int64"} and kinds["number"] == {"float64"}


def test_long_text_that_is_broken(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(blocks, "SMALL", 0)
    (tmp_path / "x.csv").write_text("a,b\n1,2\n3\n")
    with pytest.raises(DataError, match="x.csv, line 3: 1 field where the header has 2"):
        list(table_blocks(open_table(tmp_path / "x.csv")))
    (tmp_path / "y.csv").write_text("a,a\n1,2\n")
    with pytest.raises(DataError, match="two columns are named 'a'"):
        list(table_blocks(open_table(tmp_path / "y.csv")))


def test_a_corrupt_block_of_parquet(tmp_path, short) -> None:
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


def prepared(folder, split, **options) -> prepared_events.PreparedEvents:
    source = EventTable(folder / "x.parquet")
    return CTRDataModule(source, fields=FIELDS, split=split, group="who", cache_dir=str(folder), **options).prepared


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


def test_above_ten_million_rows_are_drawn_one_by_one(monkeypatch) -> None:
    monkeypatch.setattr("recgnn.data.interactions.split.EXACT", 1000)
    frame = pd.DataFrame(index=range(20_500))
    part = RatioSplit((0.7, 0.1, 0.2), by="all", seed=3).split(frame)
    shares = np.bincount(part) / len(part)
    np.testing.assert_allclose(shares, [0.7, 0.1, 0.2], atol=0.02)
    np.testing.assert_array_equal(part, RatioSplit((0.7, 0.1, 0.2), by="all", seed=3).split(frame))
    assert (part != RatioSplit((0.7, 0.1, 0.2), by="all", seed=4).split(frame)).any()


@pytest.fixture
def on_disk(monkeypatch) -> None:
    """Parts stay on disk, and are read in chunks of at most 16 events, three at a time."""
    monkeypatch.setattr(prepared_events, "MAPPED", 0)
    for name, value in (("IN_MEMORY", 0), ("CHUNK", 16), ("TOGETHER", 3)):
        monkeypatch.setattr(event_batches, name, value)


def batches(folder, part: str, rank: int = 0, world: int = 1, epoch: int = 0, size: int = 10) -> list:
    data = CTRDataModule(EventTable(folder / "x.parquet"), fields={"number": "numeric", "row": "categorical"},
                         split=GivenSplit(), batch_size=size, eval_batch_size=size, cache_dir=str(folder))  # fmt: skip
    root = SimpleNamespace(root_device=torch.device("cpu"))
    data.trainer = SimpleNamespace(strategy=root, global_rank=rank, world_size=world, current_epoch=epoch)
    data.seed = 5
    loader = getattr(data, f"{part}_dataloader")()
    found = list(loader)
    assert loader.streamed and len(loader) == len(found)
    assert all(len(b.labels) == size for b in found[:-1]) and 0 < len(found[-1].labels) <= size
    return found


def rows(found: list) -> list[int]:
    return [int(row) for batch in found for row in batch.ids[:, 1].tolist()]


@pytest.fixture
def numbered_events(tmp_path):
    n = 203
    split = np.where(np.arange(n) % 10 == 8, "val", np.where(np.arange(n) % 10 == 9, "test", "train"))
    frame = pd.DataFrame({"label": np.arange(n) % 2, "number": np.arange(n) * 0.5, "row": np.arange(n), "split": split})
    frame.to_parquet(tmp_path / "x.parquet")
    return tmp_path, frame


def test_events_on_disk_come_once_an_epoch_shuffled(numbered_events, on_disk) -> None:
    folder, frame = numbered_events
    found = batches(folder, "train")
    seen = rows(found)
    count = int((frame["split"] == "train").sum())
    assert len(seen) == len(set(seen)) == count
    assert seen != sorted(seen) and np.corrcoef(seen, np.arange(count))[0, 1] < 0.9
    for batch in found:  # every column of an event goes with it: row r of train has the number r + 2 in its field
        assert torch.equal(batch.values[:, 1], torch.ones(len(batch.labels)))
        order = batch.ids[:, 1].argsort()
        assert (batch.values[order, 0].diff() != 0).all()
    assert rows(batches(folder, "train")) == seen != rows(batches(folder, "train", epoch=1))


@pytest.mark.parametrize("world", [2, 3])
def test_processes_share_what_is_on_disk(world, numbered_events, on_disk) -> None:
    folder, frame = numbered_events
    train = [batches(folder, "train", rank, world) for rank in range(world)]
    assert len({tuple(len(b.labels) for b in found) for found in train}) == 1
    seen = Counter(row for found in train for row in rows(found))
    count = int((frame["split"] == "train").sum())
    assert len(seen) == count and seen.total() - count < 2 * world * 4
    test = [batches(folder, "test", rank, world, size=4) for rank in range(world)]
    labels = torch.cat([b.labels for found in test for b in found])
    assert labels.tolist() == frame.loc[frame["split"] == "test", "label"].tolist()


def test_values_and_labels_are_the_events_own(numbered_events, on_disk) -> None:
    folder, frame = numbered_events
    train = frame[frame["split"] == "train"]
    scaled = (train["number"] - train["number"].mean()) / train["number"].std(ddof=0)
    of = {round(float(v), 4): y for v, y in zip(scaled, train["label"], strict=True)}
    for batch in batches(folder, "train"):
        assert [of[round(v, 4)] for v in batch.values[:, 0].tolist()] == batch.labels.tolist()
