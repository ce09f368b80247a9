"""Events as tensors: their sources, labels and parts, and batches that visit each once."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from recgnn.data import (
    CTRDataModule,
    EventFrame,
    EventTable,
    FrameLog,
    Frappe,
    GivenSplit,
    PreparedEvents,
    RatioSplit,
    SyntheticLog,
)
from recgnn.data.clicks.events import events_of, labels_of
from recgnn.errors import ConfigError, DataError, RunError


def trainer(rank: int = 0, world: int = 1, epoch: int = 0) -> SimpleNamespace:
    device = SimpleNamespace(root_device=torch.device("cpu"))
    return SimpleNamespace(strategy=device, global_rank=rank, world_size=world, current_epoch=epoch)


def module(attached=None, **options) -> CTRDataModule:
    data = CTRDataModule(SyntheticLog(num_users=20, num_items=15, interactions_per_user=6), "rating >= 4", **options)
    data.trainer, data.seed = attached or trainer(), 1
    return data


def test_a_log_with_its_tables_is_joined() -> None:
    log = SyntheticLog(num_users=20, num_items=15, interactions_per_user=6)
    frame, _, owners = events_of(log.read())
    assert {"user", "item", "rating", "timestamp", "segment", "genre"} == set(frame.columns)
    assert owners == {"segment": "user", "genre": "item"}
    of = log.read().items.set_index("item")["genre"]
    assert frame["genre"].tolist() == of[frame["item"]].tolist()


@pytest.mark.parametrize(
    ("rule", "expected"),
    [("x >= 3", [0, 1, 1]), ("x > 3", [0, 0, 1]), ("x<=3", [1, 1, 0]), ("x < 3", [1, 0, 0]), ("x == 3", [0, 1, 0]),
     ("x != 3", [1, 0, 1]), ("y", [1, 0, 1])],
)  # fmt: skip
def test_labels(rule, expected) -> None:
    found = labels_of(pd.DataFrame({"x": [1, 3, 4.5], "y": ["1", "0", "1"]}), rule)
    assert found.tolist() == expected


def test_labels_that_are_none() -> None:
    frame = pd.DataFrame({"x": [1, None, 4], "y": [0, 1, 2]})
    with pytest.raises(DataError, match="row 3, column 'y': 2 is no label; expected 0 or 1"):
        labels_of(frame, "y")
    with pytest.raises(DataError, match="row 2, column 'x': empty is no label; expected a number"):
        labels_of(frame, "x >= 1")
    with pytest.raises(DataError, match="no column 'z'"):
        labels_of(frame, "z > 1")


def test_every_event_once_an_epoch() -> None:
    data = module(batch_size=7)
    train = data.prepared.train
    loader = data.train_dataloader()
    batches = list(loader)
    assert len(batches) == len(loader) and all(b.labels.numel() == 7 for b in batches[:-1])
    rows = [(*i, *g) for b in batches for i, g in zip(b.ids.tolist(), [[x] for x in b.groups.tolist()], strict=True)]
    log = [(*i, g) for i, g in zip(train.ids.tolist(), train.groups.tolist(), strict=True)]
    assert Counter(rows) == Counter(log) and rows != log
    again = [b.ids.tolist() for b in module(batch_size=7).train_dataloader()]
    assert again == [b.ids.tolist() for b in batches]
    assert [b.ids.tolist() for b in module(trainer(epoch=1), batch_size=7).train_dataloader()] != again


@pytest.mark.parametrize("world", [2, 3, 5])  # 96 events of train, which five cannot share out evenly
def test_processes_share_the_events(world) -> None:
    train, test = [], []
    for rank in range(world):
        data = module(trainer(rank, world), batch_size=5, eval_batch_size=4)
        train.append([b.ids for b in data.train_dataloader()])
        assert len(data.train_dataloader()) == len(train[-1])
        test += [row for b in data.test_dataloader() for row in b.ids.tolist()]
    assert all(max(sizes) - min(sizes) <= 1 for sizes in zip(*([len(b) for b in x] for x in train), strict=True))
    visited = Counter(tuple(row) for batches in train for ids in batches for row in ids.tolist())
    prepared = data.prepared
    assert visited == Counter(map(tuple, prepared.train.ids.tolist()))
    assert sorted(test) == sorted(prepared.test.ids.tolist())


def test_encodings_are_of_train_alone(tmp_path) -> None:
    rows = [("a", 1, "train"), ("b", 0, "train"), ("a", 0, "train")]
    rows += [("z", 1, "val"), ("z", 0, "test"), ("b", 1, "test")]
    source = FrameLog(pd.DataFrame([(u, "i", y, s) for u, y, s in rows], columns=["user", "item", "y", "split"]))
    data = CTRDataModule(source, "y", {"user": "categorical"}, GivenSplit(), cache_dir=str(tmp_path))
    assert data.field_dims == [4] and data.prepared.val.ids.tolist() == [[0]]  # unknown
    merged = CTRDataModule(source, "y", {"user": "categorical"}, GivenSplit(), cache_dir=str(tmp_path), merge_val=True)
    assert merged.field_dims == [5] and len(merged.prepared.train) == 4 and len(merged.prepared.val) == 0


def test_cache_and_folder_give_the_same(tmp_path, monkeypatch) -> None:
    first = module(cache_dir=str(tmp_path)).prepared
    monkeypatch.setattr("recgnn.data.clicks.prepare.compute_events", None)  # from the cache alone
    second = module(cache_dir=str(tmp_path)).prepared
    first.save(tmp_path / "run")
    third = CTRDataModule(prepared=str(tmp_path / "run")).prepared
    for part in ("train", "val", "test"):
        for name in ("ids", "values", "labels", "groups"):
            arrays = [getattr(getattr(p, part), name) for p in (first, second, third)]
            for array in arrays[1:]:
                np.testing.assert_array_equal(array, arrays[0])
    assert first.summary == second.summary == third.summary
    (tmp_path / "run/train.ids.npy").write_bytes(b"no")
    with pytest.raises(RunError, match="train.ids.npy: is damaged"):
        PreparedEvents.load(tmp_path / "run")


def test_tables_of_parts_and_a_table_with_a_split(tmp_path) -> None:
    of = ["train"] * 6 + ["valid"] * 3 + ["test"] * 3
    frame = pd.DataFrame({"a": ["x", "y"] * 6, "label": [0, 1, 1] * 4, "split": of})
    frame.to_csv(tmp_path / "all.csv", index=False)
    for part in ("train", "valid", "test"):
        frame[frame["split"] == part].drop(columns="split").to_csv(tmp_path / f"{part}.tsv", index=False, sep="\t")
    whole = EventTable(tmp_path / "all.csv")
    parts = EventTable(train=tmp_path / "train.tsv", val=tmp_path / "valid.tsv", test=tmp_path / "test.tsv")
    arrays = [CTRDataModule(s, split=GivenSplit()).prepared for s in (whole, parts)]
    for part, size in (("train", 6), ("val", 3), ("test", 3)):
        one, two = (getattr(p, part) for p in arrays)
        assert len(one) == size and one.ids.tolist() == two.ids.tolist() and one.labels.tolist() == two.labels.tolist()
        assert one.groups is None
    assert whole.fingerprint() != parts.fingerprint()
    with pytest.raises(ConfigError, match="give path, or train"):
        EventTable()
    with pytest.raises(ConfigError, match="no column user to split by"):
        CTRDataModule(whole, split=RatioSplit(by="user")).prepare_data()
    with pytest.raises(ConfigError, match="no column 'b'"):
        CTRDataModule(whole, split=GivenSplit(), group="b").prepare_data()


def test_frappe_in_both_of_its_forms(tmp_path) -> None:
    names = ["user", "item", "daytime", "weekday", "isweekend", "homework", "cost", "weather", "country", "city"]
    random = np.random.default_rng(0)
    ours, theirs = tmp_path / "parquet", tmp_path / "libfm"
    ours.mkdir(), theirs.mkdir()
    for part, other, n in (("train", "train", 40), ("valid", "validation", 9), ("test", "test", 9)):
        frame = pd.DataFrame(random.integers(0, 5, (n, 10)).astype(str), columns=names)
        frame.insert(0, "label", ([1, 0, 0] * n)[:n])
        frame.to_parquet(ours / f"{part}.parquet")
        lines = [
            f"{1 if label else -1} " + " ".join(f"{v}:1" for v in row) for label, *row in frame.itertuples(index=False)
        ]
        (theirs / f"frappe.{other}.libfm").write_text("\n".join(lines) + "\n")
    one, two = (CTRDataModule(Frappe(folder), split=GivenSplit()).prepared for folder in (ours, theirs))
    assert len(one.train) == 40 and one.train.ids.tolist() == two.train.ids.tolist()
    assert one.test.labels.tolist() == two.test.labels.tolist() and one.encoders.names == names
    with pytest.raises(DataError, match="by hand"):
        Frappe(tmp_path).events()


def test_the_order_follows_from_the_seed() -> None:
    orders = []
    for seed in (1, 1, 2):
        data = module(batch_size=7)
        data.seed = seed
        orders.append([b.ids.tolist() for b in data.train_dataloader()])
    assert orders[0] == orders[1] != orders[2]
    rows = [sorted(row for batch in order for row in batch) for order in orders]
    assert rows[0] == rows[2]


@pytest.mark.parametrize("part", ["train", "val", "test"])
def test_a_batch_holds_what_belongs_together(part) -> None:
    """Every column of a batch is of the same events: the label is that of the row which names the event."""
    n = 90
    of = (["train"] * 5 + ["val"] * 2 + ["test"] * 2) * 10
    frame = pd.DataFrame({"row": range(n), "user": [f"u{k % 4}" for k in range(n)], "split": of})
    frame["label"] = np.random.default_rng(0).integers(2, size=n)
    source = FrameLog(frame.assign(item="i"))
    fields = {"row": {"kind": "numeric", "transform": "linear"}, "user": "categorical"}
    data = CTRDataModule(source, fields=fields, split=GivenSplit(), batch_size=4, eval_batch_size=4)
    data.trainer, data.seed = trainer(), 0
    seen, groups = [], {}
    for batch in getattr(data, f"{part}_dataloader")():
        assert batch.ids.dtype == torch.int32 and batch.values.dtype == batch.labels.dtype == torch.float32
        rows = batch.values[:, 0].long().tolist()
        assert batch.labels.tolist() == frame["label"].iloc[rows].tolist()
        for row, group, user in zip(rows, batch.groups.tolist(), batch.ids[:, 1].tolist(), strict=True):
            assert groups.setdefault(group, (frame["user"][row], user)) == (frame["user"][row], user)
        seen += rows
    expected = frame.index[frame["split"] == part].tolist()
    assert (seen == expected) == (part != "train") and sorted(seen) == expected and len(groups) == 4


def test_groups_are_of_the_column_asked_for() -> None:
    by = {group: module(group=group).prepared for group in (None, "user", "segment")}
    assert by[None].summary["group"] == "user" and by["segment"].summary["group"] == "segment"
    np.testing.assert_array_equal(by[None].train.groups, by["user"].train.groups)
    column = by["segment"].encoders.names.index("segment")
    for part in (by["segment"].train, by["segment"].test):
        pairs = set(zip(part.groups.tolist(), part.ids[:, column].tolist(), strict=True))
        assert len(pairs) == len({group for group, _ in pairs}) > 1  # one segment a group


def test_the_cache_tells_apart_what_differs(tmp_path) -> None:
    options = [{}, {"group": "segment"}, {"fields": {"user": "categorical"}}, {"split": RatioSplit(by="all", seed=1)}]
    for number, more in enumerate(options, 1):
        for _ in range(2):
            assert len(module(cache_dir=str(tmp_path), **more).prepared.train)
        assert len([p for p in (tmp_path / "events").iterdir() if p.is_dir()]) == number


def test_a_damaged_cache_is_made_anew(tmp_path) -> None:
    first = module(cache_dir=str(tmp_path)).prepared
    (folder,) = (p for p in (tmp_path / "events").iterdir() if p.is_dir())
    (folder / "summary.json").write_text("{")
    again = module(cache_dir=str(tmp_path)).prepared
    np.testing.assert_array_equal(again.train.ids, first.train.ids)
    assert PreparedEvents.load(folder).summary == first.summary


def test_validation_that_is_added_to_train() -> None:
    plain, merged = module().prepared, module(merge_val=True).prepared
    assert len(merged.train) == len(plain.train) + len(plain.val) and len(merged.val) == 0
    assert len(merged.test) == len(plain.test) and merged.test.labels.tolist() == plain.test.labels.tolist()
    assert not list(module(merge_val=True).val_dataloader())


def test_validation_on_test(tmp_path) -> None:
    frame = pd.DataFrame({"user": [1, 2] * 10, "item": [1, 2, 3, 4] * 5, "y": [0, 1, 1, 0] * 5})
    source = FrameLog(frame.assign(split=["train"] * 12 + ["test"] * 8))
    found = CTRDataModule(source, "y", {"item": "categorical"}, GivenSplit(val="test")).prepared
    assert found.val is found.test and found.summary["val"] == found.summary["test"] == 8


@pytest.mark.parametrize("options", [{"batch_size": 0}, {"eval_batch_size": -1}])
def test_sizes_that_cannot_be(options) -> None:
    with pytest.raises(ConfigError, match="expected a whole number from 1"):
        module(**options)
    with pytest.raises(ConfigError, match="data needs a source"):
        CTRDataModule()


def test_the_field_that_is_reported() -> None:
    """By default the first of few categories; each value's name stands at its row."""
    fields = {"user": "categorical", "genre": "categorical", "segment": "categorical"}
    source = SyntheticLog(num_users=20, num_items=15, interactions_per_user=6)

    def data(report_by):
        return CTRDataModule(source, "rating >= 4", fields, report_by=report_by)

    frame, _, _ = events_of(source.read())
    field = data(None).reported_field()
    assert field.name == "user" and field.slot == 0 and field.values[:2] == ["unknown", "missing"]
    field = data("segment").reported_field()
    encoders = data("segment").prepared.encoders
    ids, _ = encoders.encode(frame)
    assert [field.values[row] for row in ids[:, field.slot] - field.start] == frame["segment"].astype(str).tolist()
    assert data("").reported_field() is None
    bins = {"timestamp": {"kind": "numeric", "transform": "quantile", "bins": 4}}
    numbered = CTRDataModule(source, "rating >= 4", bins | fields)
    assert numbered.reported_field().name == "user"  # bins of a number have no names
    with pytest.raises(ConfigError, match="report_by: no field 'segmnt' of categories .did you mean 'segment'"):
        data("segmnt").reported_field()


def test_no_batch_of_one_event() -> None:
    """Which batch normalisation could not take."""
    sizes = [len(batch.labels) for batch in module(batch_size=5).train_dataloader()]
    assert sum(sizes) == 96 and sizes[-2:] == [4, 2]
    assert [len(batch.labels) for batch in module(batch_size=1).train_dataloader()] == [1] * 96


def test_files_for_each_part_are_the_split_unless_another_is_named(tmp_path) -> None:
    events = pd.DataFrame({"x": list("abcabcabcabc"), "label": [0, 1] * 6})
    sizes = {"train": 8, "val": 2, "test": 2}
    starts = np.cumsum([0, *sizes.values()])
    for part, start in zip(sizes, starts, strict=False):
        events.iloc[start : start + sizes[part]].to_csv(tmp_path / f"{part}.csv", index=False)
    source = EventTable(**{part: tmp_path / f"{part}.csv" for part in sizes})
    fields = {"x": "categorical"}
    prepared = CTRDataModule(source, fields=fields, cache_dir=str(tmp_path)).prepared
    assert {part: len(getattr(prepared, part)) for part in sizes} == sizes and not prepared.summary["notes"]
    assert prepared.test.labels.tolist() == events["label"].iloc[-2:].tolist()
    drawn = CTRDataModule(source, fields=fields, split=RatioSplit((2, 1, 1), by="all"), cache_dir=str(tmp_path))
    assert len(drawn.prepared.test) == 3
    assert "the data's own parts (train, val, test) are not used" in drawn.describe("clicks")
    whole = EventTable(tmp_path / "train.csv")
    assert len(CTRDataModule(whole, fields=fields, cache_dir=str(tmp_path)).prepared.train) == 6


def test_many_fields_are_told_in_few_lines(tmp_path) -> None:
    random = np.random.default_rng(0)
    columns = {f"c{k}": random.choice(["a", "b", "c"], 300) for k in range(30)}
    columns |= {f"x{k}": random.normal(size=300) for k in range(10)}
    frame = pd.DataFrame({**columns, "note": [f"text {k}" for k in range(300)], "label": random.integers(0, 2, 300)})
    data = CTRDataModule(EventFrame(frame), cache_dir=str(tmp_path))
    few, every = data.describe("clicks").splitlines(), data.describe("clicks", verbose=True).splitlines()
    assert len(few) <= 15 and len(every) >= 41
    assert "  categorical (30): c0, c1, c2, c3, c4, c5, c6, c7, c8, c9, …" in few
    assert any("(20): x0, x0.bins, x1" in line for line in few) and any("left out (1): note" in x for x in few)
    assert "  --verbose true tells each field" in few and any(line.startswith("  c29: categorical") for line in every)
