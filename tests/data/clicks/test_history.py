"""The past of events against a loop over all others, from logs, from orders and from columns; sampled negatives."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import torch

from recgnn.data import CTRDataModule, EventFrame, EventTable, FrameLog, GivenSplit, Histories, LeaveOneOut, RatioSplit
from recgnn.data.clicks.tables import EventTables
from recgnn.errors import ConfigError, DataError

FIELDS = {"user": "categorical", "item": "categorical", "tags": {"kind": "multi", "max_values": 2}}
PAST = {"item_fields": ["item", "tags"], "max_length": 4}


def log(n: int = 120, **columns) -> pd.DataFrame:
    """Few users and times, so that events tie; `tags` belong to the item."""
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"user": random.integers(0, 6, n), "item": random.integers(0, 15, n)})
    frame["time"] = random.integers(0, 40, n) * 10 + 1_000_000_000
    frame["like"] = random.integers(0, 2, n)
    frame["tags"] = frame["item"].map(lambda i: ["a|b", "c", ""][i % 3])
    return frame.assign(**columns)


def module(frame: pd.DataFrame, tmp_path, split=None, label="like", timed=True, **options) -> CTRDataModule:
    source = FrameLog(frame, user="user", item="item", timestamp="time" if timed else "")
    fields = options.pop("fields", FIELDS)
    return CTRDataModule(source, label, fields, split or RatioSplit(by="all"), cache_dir=str(tmp_path),
                         **({"history": Histories(**PAST)} | options))  # fmt: skip


def pasts(data: CTRDataModule, part: str) -> list[tuple]:
    """Of each event of a part, in its order: its item, its label, its past items and gaps."""
    data.trainer = None
    encoders = data.prepared.encoders
    start = encoders.dims[0]
    words = ["?", "", *encoders.encoders["item"].values]
    found = []
    for batch in getattr(data, f"{part}_dataloader")():
        past = batch.history
        first = 0
        for row, length in enumerate(past.lengths.tolist()):
            mine = slice(first, first + length)
            first += length
            items = [words[i - start] for i in past.ids[mine, 0].tolist()]
            gaps = None if past.gaps is None else past.gaps[mine].tolist()
            found.append((words[int(batch.ids[row, 1]) - start], int(batch.labels[row]), items, gaps))
        assert first == len(past.ids)
    return found


def expected(frame: pd.DataFrame, part: np.ndarray, code: int, order: str, most: int = 4) -> list[tuple]:
    """The same by a loop over all pairs of events."""
    known = set(frame["item"][part == 0].astype(str))
    rows, size, found = {name: frame[name].tolist() for name in frame}, len(frame), []
    for e in np.flatnonzero(part == code):
        past = [p for p in range(size) if rows["user"][p] == rows["user"][e] and rows["like"][p] == 1
                and rows[order][p] < rows[order][e] and part[p] <= code]  # fmt: skip
        past = sorted(past, key=lambda p: (rows[order][p], p))[-most:]
        word = [str(rows["item"][p]) if str(rows["item"][p]) in known else "?" for p in past]
        gaps = [float(rows["time"][e] - rows["time"][p]) for p in past]
        own = str(rows["item"][e]) if str(rows["item"][e]) in known else "?"
        found.append((own, int(rows["like"][e]), word, gaps))
    return found


def in_order(data: CTRDataModule, monkeypatch) -> None:
    """Train in the order of the events too."""
    monkeypatch.setattr(torch, "randperm", lambda n, **_: torch.arange(n))


@pytest.mark.parametrize("split", [RatioSplit(by="all"), RatioSplit(by="user", order="time"), LeaveOneOut()])
def test_the_past_is_strictly_earlier_and_not_of_later_parts(split, tmp_path, monkeypatch) -> None:
    frame = log()
    data = module(frame, tmp_path, split)
    in_order(data, monkeypatch)
    part = split.split(frame.rename(columns={"time": "timestamp"}))
    for code, name in enumerate(("train", "val", "test")):
        found = pasts(data, name)
        assert found == expected(frame, part, code, "time")
        assert max(len(items) for _, _, items, _ in found) <= 4 and any(items for _, _, items, _ in found)


def test_without_times_the_order_of_the_rows_counts(tmp_path, monkeypatch) -> None:
    frame = log().assign(row=np.arange(120))
    split = RatioSplit(by="all")
    data = module(frame.drop(columns="time"), tmp_path, split, timed=False)
    in_order(data, monkeypatch)
    part = split.split(frame)
    for code, name in enumerate(("train", "val", "test")):
        assert pasts(data, name) == [(*x[:3], None) for x in expected(frame, part, code, "row")]


def test_a_planted_leak_is_seen(tmp_path) -> None:
    """Every event has an item of its own, so the target in its past, or one of the same time, would show."""
    frame = log(80).assign(item=np.arange(80), like=1)
    frame["like"] = (np.arange(80) % 7 != 0).astype(int)
    fields = {"user": "categorical", "item": {"kind": "categorical"}}
    data = module(frame, tmp_path, fields=fields, history=Histories(["item"], 50))
    time, who = frame["time"].to_numpy(), frame["user"].to_numpy()
    count = 0
    for name in ("train", "val", "test"):
        for target, _, items, _ in pasts(data, name):
            for item in (i for i in items if i != "?" and target != "?"):
                count += 1
                assert time[int(item)] < time[int(target)] and who[int(item)] == who[int(target)]
                assert frame["like"][int(item)] == 1
    assert count > 50


def test_past_items_share_the_rows_of_the_target(tmp_path) -> None:
    """Item and tags of a past item are encoded as those of a target."""
    data = module(log(), tmp_path)
    assert data.item_slots == [1, 2, 3] and data.slots == [0, 1, 2, 2]
    data.trainer = None
    rows = {}
    for batch in data.train_dataloader():
        for ids, values in zip(batch.ids.tolist(), batch.values.tolist(), strict=True):
            rows[ids[1]] = (ids[1:], values[1:])
        for ids, values in zip(batch.history.ids.tolist(), batch.history.values.tolist(), strict=True):
            assert rows.setdefault(ids[0], (ids, values)) == (ids, values)


def test_row_counts(tmp_path) -> None:
    data = module(log(), tmp_path)
    data.trainer = None
    counts = [0] * sum(data.field_dims)
    for batch in data.train_dataloader():
        first, past = 0, batch.history
        for ids, values, length in zip(batch.ids, batch.values, past.lengths.tolist(), strict=True):
            mine = slice(first, first + length)
            rows = set(ids[values != 0].tolist()) | set(past.ids[mine][past.values[mine] != 0].tolist())
            for row in rows:
                counts[row] += 1
            first += length
    assert data.row_counts().tolist() == counts


def test_negatives_have_the_user_the_time_and_the_past_of_their_event(tmp_path, monkeypatch) -> None:
    frame = log(60).drop(columns="like").assign(place=["x", "y", "z"] * 20)
    options = {"fields": FIELDS | {"place": "categorical"}, "negatives": 2}
    data = module(frame, tmp_path, LeaveOneOut(), "label", **options)
    in_order(data, monkeypatch)
    had = frame.groupby("user")["item"].agg(set)
    tags = frame.astype({"item": str}).drop_duplicates("item").set_index("item")["tags"]
    of = LeaveOneOut().split(frame.rename(columns={"time": "timestamp"}))
    for code, name in enumerate(("train", "val", "test")):
        found, rows = pasts(data, name), np.flatnonzero(of == code)
        assert len(found) == 3 * len(rows)
        part = getattr(data.prepared, name)
        for number, row in enumerate(rows):
            one, *others = found[3 * number : 3 * number + 3]
            assert one[1] == 1 and [o[1] for o in others] == [0, 0] and all(o[2:] == one[2:] for o in others)
            assert all(o[0] == "?" or int(o[0]) not in had[frame["user"][row]] for o in others)
            ids = part.ids[3 * number : 3 * number + 3]
            assert (ids[:, 0] == ids[0, 0]).all() and (ids[:, 4] == ids[0, 4]).all()  # user, place
    encoders = data.prepared.encoders
    words = ["?", "", *encoders.encoders["item"].values]
    tag_words = ["?", "", *encoders.encoders["tags"].values]
    starts = np.cumsum([0, *encoders.dims])
    for ids in data.prepared.train.ids.tolist():  # the tags went with the item
        own = {tag_words[i - starts[2]] for i in ids[2:4]} - {""}
        assert own == set(filter(None, tags[words[ids[1] - starts[1]]].split("|")))
    again = module(frame, tmp_path / "other", LeaveOneOut(), "label", **options).prepared
    np.testing.assert_array_equal(again.train.ids, data.prepared.train.ids)
    other = module(frame, tmp_path, LeaveOneOut(), "label", **options, negatives_seed=1).prepared
    assert (other.train.ids != data.prepared.train.ids).any()


def test_negatives_without_times_do_not_see_their_own_event(tmp_path) -> None:
    users = np.repeat(np.arange(8), 5)
    frame = pd.DataFrame({"user": users, "item": np.tile(np.arange(5), 8) + users})
    data = module(frame, tmp_path, LeaveOneOut(order="given"), "label", timed=False, fields={"item": "categorical"},
                  negatives=1, history=Histories(["item"]))  # fmt: skip
    test = data.prepared.test
    assert test.lengths.tolist() == [4] * 16


def test_who_knows_everything_has_no_negatives(tmp_path) -> None:
    frame = pd.DataFrame({"user": ["a"] * 4 + ["b"] * 4, "item": [1, 2, 3, 4, 1, 1, 2, 2]})
    with pytest.raises(DataError, match="negatives: user 'a' has every one of the 4 items"):
        module(frame, tmp_path, LeaveOneOut("given"), "label", timed=False, fields={"item": "categorical"},
               negatives=1, history=None).prepare_data()  # fmt: skip


@pytest.mark.parametrize("negatives", [0, 1])
def test_who_is_nobody_has_no_past(negatives, tmp_path) -> None:
    """Rows without a user are each somebody else's: no history, no group, no list, and all of them in train by user."""
    frame = log(120).rename(columns={"time": "timestamp"})
    nobody = np.random.default_rng(1).random(120) < 0.3
    frame["user"] = frame["user"].astype("Int64").mask(nobody)
    frame.to_parquet(tmp_path / "x.parquet")
    split = RatioSplit((0.5, 0.2, 0.3), by="user")
    data = CTRDataModule(EventTable(tmp_path / "x.parquet"), "like", FIELDS, split, cache_dir=str(tmp_path),
                         history=Histories(**PAST), negatives=negatives)  # fmt: skip
    found, times = data.prepared, 1 + negatives
    kept = frame[frame["like"] == 1] if negatives else frame
    missing = [(part.groups < 0).sum() for part in (found.train, found.val, found.test)]
    assert missing == [kept["user"].isna().sum() * times, 0, 0]
    assert (found.train.lengths[found.train.groups < 0] == 0).all() and found.train.lengths.max() > 0
    assert (found.train.groups < 0).tolist() == (found.train.ids[:, 0] == 1).tolist()  # the row of missing users
    assert f"{kept['user'].isna().sum()} events without a user" in data.describe("clicks")
    tables = EventTables.load(found.folder)
    assert sorted(tables.users["user"]) == list("012345") and len(tables.item) == len(kept)
    counts = kept["user"].value_counts()
    expected = [counts[int(user)] for user in tables.users["user"]] + [kept["user"].isna().sum()]
    assert np.bincount(tables.user).tolist() == expected
    sizes = [len(part) for part in (found.train, found.val, found.test)]
    assert (np.bincount(tables.part, minlength=3) * times).tolist() == sizes


def table(tmp_path, **columns) -> EventTable:
    frame = pd.DataFrame({
        "item": ["a", "b", "c", "b"] * 3, "kind": ["x", "y", "x", "y"] * 3, "label": [1, 0, 1, 0] * 3,
        "timestamp": np.arange(12) * 100 + 1000, "past": ["", "a", "a b", "new c a"] * 3,
        "past_kinds": ["", "x", "x y", "z x x"] * 3, "past_times": ["", "900", "800 950", "700 800 900"] * 3,
        "split": ["train"] * 8 + ["val"] * 2 + ["test"] * 2,
    }).assign(**columns)  # fmt: skip
    frame.to_csv(tmp_path / "x.csv", index=False)
    return EventTable(tmp_path / "x.csv")


READY = {"item_fields": ["item", "kind"], "columns": {"item": "past", "kind": "past_kinds"}, "times": "past_times"}


def ready(tmp_path, history=None, **columns) -> CTRDataModule:
    fields = {"item": "categorical", "kind": "categorical"}
    given = Histories(**(READY | (history or {})))
    source = table(tmp_path, **columns)
    return CTRDataModule(source, "label", fields, GivenSplit(), cache_dir=str(tmp_path), history=given)


def test_histories_from_columns(tmp_path, monkeypatch) -> None:
    """Values that occur in histories alone have rows; longer histories lose their oldest, which nobody sees then."""
    data = ready(tmp_path, {"max_length": 2})
    in_order(data, monkeypatch)
    data.trainer = None
    words = [["?", "", *e.values] for e in data.prepared.encoders.encoders.values()]
    assert set(words[0]) == {"?", "", "a", "b", "c"} and set(words[1]) == {"?", "", "x", "y"}
    assert "new" in ready(tmp_path).prepared.encoders.encoders["item"].values
    batch = next(iter(data.train_dataloader()))
    past, start = batch.history, data.field_dims[0]
    assert past.lengths.tolist() == [0, 1, 2, 2] * 2
    names = [(words[0][i], words[1][k - start]) for i, k in past.ids.tolist()]
    assert names == [("a", "x"), ("a", "x"), ("b", "y"), ("c", "x"), ("a", "x")] * 2
    times = [1000, 1100, 1200, 1300, 1400, 1500, 1600, 1700]
    gone = [times[1] - 900, times[2] - 800, times[2] - 950, times[3] - 800, times[3] - 900]
    gone += [times[5] - 900, times[6] - 800, times[6] - 950, times[7] - 800, times[7] - 900]
    assert past.gaps.tolist() == gone


def test_the_past_of_other_parts_has_no_rows(tmp_path) -> None:
    """What stands in the histories of validation and test alone is unknown: encodings are of train."""
    past = ["", "a", "a b", "new c a"] * 2 + ["", "later", "a later", "b b latest"]
    words = ready(tmp_path, past=past).prepared.encoders.encoders["item"].values
    assert "new" in words and "later" not in words and "latest" not in words


PASTS = [["3", "17"], [], ["8"], ["5", "5", "9"], ["17", "3", "8", "9"]] * 4


@pytest.mark.parametrize(
    ("how", "options"),
    [
        ("blanks", {}), ("json", {}), ("lists", {}), ("commas", {"separator": ","}), ("before", {"padding": 0}),
        ("behind", {"padding": "0", "separator": ","}), ("padded lists", {"padding": 0}),
    ],
)  # fmt: skip
def test_histories_however_they_are_written(how, options, tmp_path) -> None:
    """Items, their kinds and times: blanks and what fills them up are no items."""
    frame = pd.DataFrame({"item": ["3", "8", "9", "5"] * 5, "label": [1, 0] * 10, "timestamp": np.arange(20) + 900})
    frame["split"] = ["train"] * 16 + ["val"] * 2 + ["test"] * 2
    mine = {"past": PASTS, "kinds": [["k" + i[0] for i in past] for past in PASTS],
            "times": [[str(100 + n) for n in range(len(past))] for past in PASTS]}  # fmt: skip
    spelt = {
        "blanks": lambda past: "  ".join(past) + " ", "commas": ",".join, "lists": list,
        "json": lambda past: json.dumps([int(x) if x.isdecimal() else x for x in past]),
        "before": lambda past: " ".join(["0"] * (6 - len(past)) + past),
        "behind": lambda past: ",".join(past + ["0"] * (6 - len(past))),
        "padded lists": lambda past: ["0"] * (6 - len(past)) + past,
    }  # fmt: skip
    written = frame.assign(**{name: [spelt[how](past) for past in values] for name, values in mine.items()})
    fields = {"item": "categorical", "kind": "categorical"}
    columns = {"item": "past", "kind": "kinds"}

    def made(**more) -> CTRDataModule:
        history = Histories(["item", "kind"], 3, columns=columns, times="times", **(options | more))
        return CTRDataModule(EventFrame(written.assign(kind="k3")), fields=fields, split=GivenSplit(),
                             cache_dir=str(tmp_path), history=history)  # fmt: skip

    found = made().prepared
    assert found.train.lengths.tolist() == [min(3, len(past)) for past in PASTS[:16]]
    names = [[["?", "", *encoder.values][row - start] for row in found.item_ids[found.train.past_items, place]]
             for place, (encoder, start) in enumerate(zip(found.encoders.encoders.values(), (0, found.encoders.dims[0]),
                                                          strict=True))]  # fmt: skip
    seen = {*sum(PASTS[:16], [])}
    assert names[0] == sum(PASTS, []) and {*found.encoders.encoders["item"].values} == seen | {"3", "8", "9", "5"}
    assert names[1] == sum(mine["kinds"], [])
    assert found.train.past_times.tolist() == [float(t) for times in mine["times"] for t in times]
    if "padding" in options:
        with pytest.raises(DataError, match="column 'past': '0' fills the .* of 100% of its lists.*padding: 0"):
            made(padding=None).prepare_data()


@pytest.mark.parametrize(
    ("columns", "history", "message"),
    [
        ({"past_kinds": ["", "x", "x", "z x x"] * 3}, {}, "'past_kinds': 1 past values where 'past' has 2"),
        ({"past_times": ["", "900", "950 800", "700 800 900"] * 3}, {}, "row 3, column 'past_times': 800 comes after"),
        ({"past_times": ["", "x", "950 990", "1 2 3"] * 3}, {}, "row 2, column 'past_times': x is no time"),
        ({"past_times": ["", "1200", "950 990", "1 2 3"] * 3}, {}, "row 2, column 'past_times': 1200 is later than"),
        ({"past_times": ["", "9", "950000000000 950000000001", "1 2 3"] * 3}, {}, "950000000000 is no time"),
        ({}, {"columns": {"item": "past"}}, "columns are of item, expected one for each of item_fields"),
        ({}, {"columns": {"item": "pst", "kind": "past"}}, "no column 'pst' .did you mean 'past'"),
        ({}, {"max_length": 0}, "history.max_length is 0"),
        ({}, {"item_fields": []}, "item_fields is empty"),
    ],
)
def test_histories_that_cannot_be(columns, history, message, tmp_path) -> None:
    with pytest.raises((DataError, ConfigError), match=message):
        ready(tmp_path, history, **columns).prepare_data()


def test_times_of_mixed_units_and_fields_that_are_none(tmp_path) -> None:
    frame = log()
    frame.loc[7, "time"] *= 1000
    with pytest.raises(DataError, match="row 8, column 'time': 1000000220000; expected a number .seconds."):
        module(frame, tmp_path).prepare_data()
    with pytest.raises(ConfigError, match="item_fields has 'tags', which is no field of the events"):
        module(log(), tmp_path, fields={"item": "categorical"}).prepare_data()
    with pytest.raises(ConfigError, match="no column 'itm' .did you mean 'item'"):
        module(log(), tmp_path, history=Histories(["itm"])).prepare_data()
