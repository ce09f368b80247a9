"""Events prepared block by block are as those prepared at once; their lists and times, however they are written."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from recgnn.data import (
    CTRDataModule,
    EventFrame,
    EventTable,
    FrameLog,
    GivenSplit,
    Histories,
    RatioSplit,
    TemporalSplit,
)
from recgnn.data.clicks.fields import Field
from recgnn.data.readers import tables as blocks
from recgnn.errors import ConfigError, DataError


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
    monkeypatch.setattr(blocks, "ROWS", 97)
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
    table(150).to_parquet(tmp_path / "x.parquet")
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


# ---- lists and times of events


def test_several_values_are_kept_however_they_are_written(tmp_path) -> None:
    """Twelve tags a row: as text, JSON and Parquet's lists the same rows of the same table, none of them cut."""
    random = np.random.default_rng(0)
    tags = [[f"t{i:02d}" for i in np.sort(random.choice(40, size=random.integers(0, 13), replace=False))]
            for _ in range(90)]  # fmt: skip
    labels = {"label": [0, 1] * 45, "split": ["train", "val", "test"] * 30}
    forms = {"text.csv": ["|".join(one) for one in tags], "json.csv": [json.dumps(one) for one in tags],
             "blanks.csv": ["| ".join(one) + "||" for one in tags]}  # fmt: skip
    for name, values in forms.items():
        pd.DataFrame({"tags": values, **labels}).to_csv(tmp_path / name, index=False)
    pd.DataFrame({"tags": tags, **labels}).to_parquet(tmp_path / "lists.parquet")
    found = [
        CTRDataModule(EventTable(tmp_path / n), fields={"tags": "multi"}, split=GivenSplit(), cache_dir=str(tmp_path))
        for n in [*forms, "lists.parquet"]
    ]
    longest = max(len(one) for one, split in zip(tags, labels["split"], strict=True) if split == "train")
    for data in found:
        assert data.prepared.encoders.slots == [0] * longest
        for part in ("train", "val", "test"):
            for kind in ("ids", "values"):
                ours, theirs = (getattr(getattr(one.prepared, part), kind) for one in (data, found[0]))
                np.testing.assert_array_equal(ours, theirs)


def test_what_is_cut_of_several_values_is_told(tmp_path, monkeypatch) -> None:
    frame = pd.DataFrame({"tags": ["a|b|c|d", "a|b", "a", ""] * 5, "label": [0, 1] * 10})
    frame.to_csv(tmp_path / "x.csv", index=False)

    def prepared(**options):
        split, field = RatioSplit(by="all"), {"kind": "multi", **options}
        data = CTRDataModule(EventTable(tmp_path / "x.csv"), fields={"tags": field}, split=split,
                             cache_dir=str(tmp_path / str(len(options))))  # fmt: skip
        return data.prepared

    rows = prepared().train.ids
    four = int((rows != 1).all(1).sum())
    cut = prepared(max_values=1)
    two = int(((rows != 1).sum(1) == 2).sum())
    assert f"1 values at most; max_values cuts {3 * four + two} values of {four + two} rows of train" in cut.describe()
    monkeypatch.setattr("recgnn.data.clicks.encoders.CELLS", 2 * len(rows) + 1)
    assert prepared(combine="sum", buckets=9).encoders.slots == [0, 0]


@pytest.mark.parametrize("padding", [0, "0", ""])
def test_padding_of_several_values_is_asked_about(padding, tmp_path) -> None:
    random = np.random.default_rng(0)
    tags = [[*random.integers(1, 9, n), *[0] * (6 - n)] for n in random.integers(1, 5, 80)]
    frame = pd.DataFrame({"tags": ["|".join(map(str, one)) for one in tags], "label": [0, 1] * 40})
    with pytest.raises(DataError, match="column 'tags': '0' fills the end of 100% .*; say padding: 0 to leave it out"):
        CTRDataModule(EventFrame(frame), fields={"tags": "multi"}, cache_dir=str(tmp_path)).prepare_data()
    data = CTRDataModule(EventFrame(frame), fields={"tags": {"kind": "multi", "padding": padding}},
                         cache_dir=str(tmp_path))  # fmt: skip
    assert ("0" in data.prepared.encoders.encoders["tags"].values) is (padding == "")


def test_lists_are_several_values(tmp_path) -> None:
    frame = pd.DataFrame({"tags": [[1, 2], [3], [1]] * 50, "label": [0, 1, 1] * 50})
    with pytest.raises(ConfigError, match="column 'tags' holds lists; it is categorical, expected multi"):
        CTRDataModule(EventFrame(frame), fields={"tags": "categorical"}, cache_dir=str(tmp_path)).prepare_data()
    data = CTRDataModule(EventFrame(frame.assign(other=["x", "y", "z"] * 50)), cache_dir=str(tmp_path))
    assert data.prepared.encoders.fields["tags"].kind == "multi"


FORMS = {
    "seconds": lambda s: s, "milliseconds": lambda s: s * 1000,
    "text": lambda s: pd.to_datetime(s, unit="s").astype("str"),
    "day first": lambda s: pd.to_datetime(s, unit="s").dt.strftime("%d/%m/%Y %H:%M"),
    "hours": lambda s: pd.to_datetime(s, unit="s").dt.strftime("%y%m%d%H"),
    "dates": lambda s: pd.to_datetime(s, unit="s"),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ["events", "log"])
def test_times_of_any_notation_make_the_same_data(form, kind, tmp_path) -> None:
    """The hour, the split by time and the past are those of the moments; what was found is told, and kept for later."""
    random = np.random.default_rng(3)
    seconds = pd.Series(1_700_000_000 // 3600 * 3600 + 3600 * random.permutation(2000)[:120])
    frame = pd.DataFrame({"user": random.integers(0, 5, 120), "item": random.integers(0, 9, 120), "label": [0, 1] * 60})

    def prepared(times: pd.Series):
        table = frame.assign(timestamp=times)
        source = EventFrame(table, name="x") if kind == "events" else FrameLog(table, name="x")
        fields = {"item": "categorical", "timestamp": {"kind": "time", "parts": ["hour", "weekday"]}}
        return CTRDataModule(source, fields=fields, split=TemporalSplit(), history=Histories(["item"]),
                             cache_dir=str(tmp_path)).prepared  # fmt: skip

    plain, found = prepared(seconds), prepared(FORMS[form](seconds))
    for part in ("train", "val", "test"):
        for name in ("ids", "labels", "times", "past_items", "lengths"):
            np.testing.assert_array_equal(*(getattr(getattr(one, part), name) for one in (plain, found)))
    first, last = (str(pd.Timestamp(t, unit="s")) for t in (seconds.min(), seconds.max()))
    assert f"times of timestamp: {found.encoders.times['timestamp'].describe()}" in found.describe()
    assert first.removesuffix(" 00:00:00") in found.describe() and last.removesuffix(" 00:00:00") in found.describe()
    again = found.encoders.encode(pd.DataFrame({"timestamp": FORMS[form](seconds), "item": frame["item"]}))[0]
    expected = plain.encoders.encode(pd.DataFrame({"timestamp": seconds, "item": frame["item"]}))[0]
    np.testing.assert_array_equal(again, expected)


def test_two_files_of_two_notations(tmp_path) -> None:
    days = pd.date_range("2024-01-01", periods=40)
    forms = {"a": days.astype("datetime64[s]").astype(np.int64), "b": days.strftime("%Y%m%d").astype(int)}
    for name, times in forms.items():
        frame = pd.DataFrame({"when": times, "label": [0, 1] * 20})
        frame.to_csv(tmp_path / f"{name}.csv", index=False)
    source = EventTable(train=tmp_path / "a.csv", test=tmp_path / "b.csv")
    data = CTRDataModule(source, fields={"when": "time"}, split=GivenSplit(), cache_dir=str(tmp_path))
    with pytest.raises(DataError, match="b.csv, line 2, column 'when': 20240101 is no moment as .*a.csv, line 2"):
        data.prepare_data()


@pytest.mark.parametrize("on_missing", ["refuse", "drop", "keep"])
def test_events_without_a_time(on_missing, tmp_path) -> None:
    frame = pd.DataFrame({"user": ["a", "b"] * 20, "item": [str(n % 7) for n in range(40)], "label": [1, 1, 0, 1] * 10})
    frame["timestamp"] = [1_700_000_000 + n if n % 8 else None for n in range(40)]
    data = CTRDataModule(EventFrame(frame, on_missing=on_missing), fields={"item": "categorical"},
                         split=TemporalSplit(), history=Histories(["item"]), cache_dir=str(tmp_path))  # fmt: skip
    if on_missing == "refuse":
        with pytest.raises(DataError, match="row 1, column 'timestamp': empty; .*on_missing"):
            data.prepare_data()
        return
    found = data.prepared
    sizes = [len(part) for part in (found.train, found.val, found.test)]
    assert sizes == ([28, 3, 4] if on_missing == "drop" else [33, 3, 4])
    told = "left out: 5 rows without a time" if on_missing == "drop" else "5 rows without a time, in train"
    assert told in found.describe()
    untimed = np.isnan(found.train.times)
    assert untimed.sum() == (5 if on_missing == "keep" else 0) and (found.train.lengths[untimed] == 0).all()
    liked = int((frame["label"].eq(1) & frame["timestamp"].notna()).sum())
    assert len(found.test.past_items) <= liked, "none of them is in a past"


def test_columns_of_other_names(tmp_path) -> None:
    """With the names told, the same is prepared as from a file whose columns have the usual ones."""
    rows = [(f"u{n % 7}", f"i{n % 5}", f"2024-03-{1 + n % 28:02d} 08:00", n % 3, int(n % 4 == 0)) for n in range(140)]
    usual, own = ["user", "item", "timestamp", "place", "clicked"], ["who", "what", "shown", "place", "clicked"]
    pd.DataFrame(rows, columns=usual).to_csv(tmp_path / "usual.csv", index=False)
    pd.DataFrame(rows, columns=own).assign(user="by chance").to_csv(tmp_path / "own.csv", index=False)
    brands = pd.DataFrame({"what": [f"i{n}" for n in range(5)], "brand": list("aabbc")})
    brands.to_csv(tmp_path / "items.csv", index=False)
    named = EventTable(tmp_path / "own.csv", user="who", item="what", timestamp="shown", name="log",
                       items=tmp_path / "items.csv")  # fmt: skip
    plain = EventTable(tmp_path / "usual.csv", name="log", items={"path": tmp_path / "items.csv", "id": "what"})
    split = TemporalSplit([0.8, 0.1, 0.1])
    stated = {"item": "categorical", "brand": "categorical", "place": "categorical"}
    theirs = {"what" if name == "item" else name: kind for name, kind in stated.items()}
    found = []
    for source, fields, of in ((plain, stated, "item"), (named, theirs, "what")):
        past = Histories([of], max_length=3)
        data = CTRDataModule(source, "clicked", fields, split, history=past, cache_dir=str(tmp_path))
        data.prepare_data()
        data.setup("fit")
        found.append(data.prepared)
    one, two = found
    assert two.summary["columns"] == {"user": "who", "item": "what", "timestamp": "shown"}
    assert {**one.summary, "columns": 0} == {**two.summary, "columns": 0}
    for part in ("train", "val", "test"):
        assert np.array_equal(getattr(one, part).ids, getattr(two, part).ids)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"user": "how"}, "no column 'how' .did you mean 'who'"),
        ({"user": "who", "item": "who"}, "user, item, timestamp are columns of their own"),
    ],
)
def test_names_that_no_column_has(options, told, tmp_path) -> None:
    (tmp_path / "a.csv").write_text("who,what,clicked\n1,2,1\n2,2,0\n")
    with pytest.raises((ConfigError, DataError), match=told):
        CTRDataModule(EventTable(tmp_path / "a.csv", **options), "clicked", cache_dir=str(tmp_path)).prepare_data()
