"""Parts that stay on disk: each event once an epoch, shuffled, shared between processes."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from recgnn.data import CTRDataModule, EventTable, GivenSplit
from recgnn.data.clicks import loaders as event_batches
from recgnn.data.clicks import prepared as prepared_events


@pytest.fixture
def on_disk(monkeypatch) -> None:
    """Parts stay on disk, and are read in chunks of at most 16 events, three at a time."""
    monkeypatch.setattr(prepared_events, "MAPPED", 0)
    for name, value in (("IN_MEMORY", 0), ("CHUNK", 16), ("TOGETHER", 3)):
        monkeypatch.setattr(event_batches, name, value)


def batches(
    folder, part: str, rank: int = 0, world: int = 1, epoch: int = 0, size: int = 10, cut: int = 1, streamed=True
) -> list:
    data = CTRDataModule(EventTable(folder / "x.parquet"), fields={"number": "numeric", "row": "categorical"},
                         split=GivenSplit(), batch_size=size, eval_batch_size=size, cache_dir=str(folder))  # fmt: skip
    data.epochs_per_pass = cut
    root = SimpleNamespace(root_device=torch.device("cpu"))
    data.trainer = SimpleNamespace(strategy=root, global_rank=rank, world_size=world, current_epoch=epoch)
    data.seed = 5
    loader = getattr(data, f"{part}_dataloader")()
    found = list(loader)
    assert loader.streamed == streamed and len(loader) == len(found)
    assert all(size - len(b.labels) in (0, 1) for b in found[:-1]) and 0 < len(found[-1].labels) <= size
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
    sizes = [[len(b.labels) for b in step] for step in zip(*train, strict=True)]
    assert all(max(step) - min(step) <= 1 for step in sizes)
    seen = Counter(row for found in train for row in rows(found))
    count = int((frame["split"] == "train").sum())
    assert len(seen) == seen.total() == count
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


@pytest.mark.parametrize(("streamed", "world", "cut"), [(False, 1, 4), (False, 3, 2), (True, 1, 4), (True, 2, 3)])
def test_the_epochs_of_a_pass_have_all_events(streamed, world, cut, numbered_events, request) -> None:
    """Each pass in another order; the epochs are of one length, so that the last may have a few events again."""
    if streamed:
        request.getfixturevalue("on_disk")
    folder, frame = numbered_events
    train = (frame["split"] == "train").sum()
    passes = []
    for number in range(2):
        epochs = [
            rows(batches(folder, "train", rank, world, epoch, cut=cut, streamed=streamed))
            for epoch in range(number * cut, (number + 1) * cut) for rank in range(world)
        ]  # fmt: skip
        assert max(map(len, epochs)) - min(map(len, epochs)) <= 1
        found = Counter(row for epoch in epochs for row in epoch)
        assert len(found) == train and sum(found.values()) < train + cut
        passes.append(epochs)
    assert passes[0] != passes[1]


def test_batch_size_and_epochs_of_a_pass_follow_the_events() -> None:
    def pace(events: int, **said: int) -> tuple[int, int]:
        data = CTRDataModule(EventTable("x.csv"), **said)
        data.prepared = SimpleNamespace(train=range(events))
        return data.usual_pace()

    assert [pace(n) for n in (100, 8000, 80_000, 10**6, 10**8)] == [(256, 1), (256, 1), (512, 4), (4096, 4), (4096, 4)]
    assert pace(10**6, batch_size=1000) == (1000, 1) and pace(100, batch_size=7, epochs_per_pass=3) == (7, 3)
