"""Sources of events, their labels and what is refused of both."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from recgnn.data import CTRDataModule, EventTable, FrameLog, Frappe, GivenSplit, RatioSplit, TemporalSplit
from recgnn.data.clicks.events import check_classes, events_of, labels_of
from recgnn.data.readers import tables
from recgnn.errors import ConfigError, DataError

LOG = pd.DataFrame({"user": [1, 1, 2, 3], "item": ["a", "b", "a", "c"], "rating": [5, 2, 4, 1], "age": [9, 8, 7, 6]})
USERS = pd.DataFrame({"user": [2, 1, 7], "age": [20, 10, 70], "sex": ["f", "m", "f"]})
ITEMS = pd.DataFrame({"item": ["a", "b", "c"], "title": ["A", "B", "C"], "genre": ["x|y", "x", None]})


def test_tables_are_joined_row_by_row() -> None:
    frame, titles, owners = events_of(FrameLog(LOG, users=USERS, items=ITEMS).read())
    assert owners == {"user_age": "user", "sex": "user", "genre": "item"}
    assert titles is not None and titles["title"].tolist() == ["A", "B", "C"] and "title" not in frame
    sex, age = {1: "m", 2: "f"}, {1: 10, 2: 20}  # user 3 has no row in the table
    genre = {"a": "x|y", "b": "x", "c": None}
    assert len(frame) == len(LOG)
    for found, event in zip(frame.to_dict("records"), LOG.to_dict("records"), strict=True):
        assert {k: found[k] for k in LOG} == event
        user, item = event["user"], event["item"]
        expected = {"user_age": age.get(user), "sex": sex.get(user), "genre": genre[item]}
        assert {k: None if pd.isna(found[k]) else found[k] for k in expected} == expected


def test_a_log_without_tables_is_itself() -> None:
    frame, _, owners = events_of(FrameLog(LOG).read())
    assert owners == {}
    pd.testing.assert_frame_equal(frame, LOG, check_dtype=False)


# ---- labels


@pytest.mark.parametrize(
    "column",
    [[1, 0, 1], [1.0, 0.0, 1.0], ["1", "0", "1"], [True, False, True], pd.Categorical([1, 0, 1]),
     pd.array([1, 0, 1], "Int64"), pd.array([True, False, True], "boolean")],
)  # fmt: skip
def test_zeros_and_ones_of_every_type(column) -> None:
    found = labels_of(pd.DataFrame({"clicked": column}), "clicked")
    assert found.tolist() == [1, 0, 1] and found.dtype == np.float32


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("how many >= 2", [0, 1, 1]), ("how many>2", [0, 0, 1]), ("  how many <= -1 ", [1, 0, 0]),
        ("how many < 2.0", [1, 0, 0]), ("how many == -1.5", [1, 0, 0]), ("how many != 2", [1, 0, 1]),
    ],
)  # fmt: skip
def test_rules(rule, expected) -> None:
    found = labels_of(pd.DataFrame({"how many": [-1.5, 2, 7]}), rule)
    assert found.tolist() == expected


def test_a_column_may_be_named_as_a_rule_is_written() -> None:
    found = labels_of(pd.DataFrame({"x > 1": [1, 0], "x": [0, 9]}), "x > 1")
    assert found.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("label", "parts"),
    [
        ("cliked", ["no column 'cliked'", "did you mean 'clicked'", "found: clicked, stars, word, half, vote"]),
        ("star >= 4", ["no column 'star'", "did you mean 'stars'"]),
        ("stars = 4", ["no column 'stars = 4'", "or a rule (label: rating >= 4)"]),
        ("stars", ["row 1, column 'stars': 5", "expected 0 or 1, true or false, or a rule such as label: stars >= 4"]),
        ("word", ["row 2, column 'word': 'no'", "or a rule such as label: word == 'no'"]),
        ("vote", ["row 2, column 'vote': -1", "label: vote > 0"]),
        ("word >= 1", ["row 2, column 'word': 'no'", "expected a number"]),
        ("half", ["row 3, column 'half': empty"]),
        ("half > 0", ["row 3, column 'half': empty", "a number"]),
        ("stars > 5", ["all 3 labels (stars > 5) are 0", "check the label"]),
        ("stars >= 1", ["all 3 labels (stars >= 1) are 1"]),
    ],
)
def test_labels_that_cannot_be(label, parts) -> None:
    frame = pd.DataFrame({"clicked": [0, 1, 1], "stars": [5, 1, 3], "word": ["1", "no", "0"], "half": [0, 1, None]})
    frame["vote"] = [1, -1, 1]
    with pytest.raises(DataError) as error:
        labels = labels_of(frame, label)
        check_classes(labels.min(), labels.max(), len(labels), label)
    assert all(part in str(error.value) for part in parts), error.value


def test_true_and_false_are_labels_however_they_are_written() -> None:
    expected = [1, 0, 1]
    for values in ([True, False, True], ["True", "False", "True"], ["TRUE", "false", "true"], ["1.0", "0", "01"]):
        assert labels_of(pd.DataFrame({"clicked": values}), "clicked").tolist() == expected
    with pytest.raises(DataError, match="row 2, column 'clicked': 'no'.*label: clicked == 'no'"):
        labels_of(pd.DataFrame({"clicked": ["true", "no"]}), "clicked")


@pytest.mark.parametrize("rule", ["x >= 4..5", "x >= ."])
def test_a_rule_without_a_number(rule) -> None:
    with pytest.raises((ConfigError, DataError)):
        labels_of(pd.DataFrame({"x": [1, 9]}), rule)


# ---- tables


def table(n: int = 60) -> pd.DataFrame:
    random = np.random.default_rng(0)
    return pd.DataFrame({"a": random.integers(5, size=n), "label": [0, 1] * (n // 2), "timestamp": np.arange(n) * 7200})


def made(frame: pd.DataFrame, folder, split, **options):
    """Prepared events of a frame, by way of a Parquet file."""
    frame.to_parquet(folder / "events.parquet")
    return CTRDataModule(EventTable(folder / "events.parquet"), split=split, **options).prepared


@pytest.mark.parametrize(
    "options", [{}, {"path": "a", "train": "b"}, {"path": "a", "val": "b"}, {"path": "a", "test": "b"}, {"val": "a"}]
)
def test_one_table_or_one_for_each_part(options) -> None:
    with pytest.raises(ConfigError, match="give path, or train with val and test"):
        EventTable(**options)


def test_names_separators_and_files_without_a_header(tmp_path) -> None:
    (tmp_path / "log.txt").write_text("x;1\ny;0\n")
    source = EventTable(tmp_path / "log.txt", separator=";", columns=["what", "label"])
    assert source.name == "log" and source.events().to_dict("list") == {"what": ["x", "y"], "label": [1, 0]}
    assert EventTable(tmp_path / "log.txt", name="mine").name == "mine"


def test_parts_in_files(tmp_path) -> None:
    for part, rows in (("train", "x,1\ny,0\n"), ("val", "z,1\n"), ("test", "x,0\n")):
        (tmp_path / f"{part}.csv").write_text("a,label\n" + rows)
    files = {part: tmp_path / f"{part}.csv" for part in ("train", "val", "test")}
    frame = EventTable(**files).events()
    assert frame["split"].tolist() == ["train", "train", "val", "test"] and frame["a"].tolist() == ["x", "y", "z", "x"]
    assert EventTable(**files).name == "train"
    del files["val"]
    assert EventTable(**files).events()["split"].tolist() == ["train", "train", "test"]


def test_a_fingerprint_is_of_content_and_options(tmp_path) -> None:
    (tmp_path / "a.csv").write_text("a,label\nx,1\ny,0\n")
    first = EventTable(tmp_path / "a.csv").fingerprint()
    assert EventTable(tmp_path / "a.csv").fingerprint() == first
    assert EventTable(tmp_path / "a.csv", separator=",").fingerprint() != first
    (tmp_path / "a.csv").write_text("a,label\nx,1\nz,0\n")
    assert EventTable(tmp_path / "a.csv").fingerprint() != first


def test_broken_tables(tmp_path) -> None:
    with pytest.raises(DataError, match="none.csv"):
        EventTable(tmp_path / "none.csv").events()
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(DataError, match="bad.parquet: is no readable Parquet file"):
        EventTable(tmp_path / "bad.parquet").events()
    (tmp_path / "split.csv").write_text("a,label,split\nx,1,train\ny,0,tset\n")
    with pytest.raises(DataError, match="split.csv, line 3, column 'split': 'tset'"):
        EventTable(tmp_path / "split.csv").events()


def test_the_label_and_the_split_are_no_fields(tmp_path) -> None:
    parts = ["train"] * 40 + ["val"] * 10 + ["test"] * 10
    frame = table().assign(split=parts)
    assert list(made(frame, tmp_path, GivenSplit()).encoders.fields) == ["a", "timestamp"]  # guessed
    for name in ("label", "split"):
        with pytest.raises(ConfigError, match=f"'{name}' holds the"):
            made(frame, tmp_path, GivenSplit(), fields={name: "categorical"})
    with pytest.raises(ConfigError, match="'a' holds the label"):
        made(frame, tmp_path, GivenSplit(), label="a >= 2", fields={"a": "numeric"})


def test_a_train_part_of_one_class(tmp_path) -> None:
    frame = table().assign(label=[1] * 40 + [0] * 20, split=["train"] * 40 + ["val"] * 10 + ["test"] * 10)
    with pytest.raises(DataError, match="all labels .label. of the train part are the same; choose another split"):
        made(frame, tmp_path, GivenSplit())


@pytest.mark.parametrize("order", ["seconds", "dates", "text"])
def test_later_events_are_test(order, tmp_path) -> None:
    times = pd.to_datetime(table()["timestamp"], unit="s")
    column = {"seconds": table()["timestamp"], "dates": times, "text": times.dt.strftime("%Y-%m-%dT%H:%M:%S")}[order]
    frame = table().assign(timestamp=column, row=range(60)).sample(frac=1, random_state=1)
    fields = {"row": {"kind": "numeric", "transform": "linear"}}
    found = made(frame, tmp_path, RatioSplit(by="all", order="time"), fields=fields)
    assert sorted(found.test.values[:, 0].tolist()) == list(range(54, 60))
    assert sorted(found.val.values[:, 0].tolist()) == list(range(48, 54))


def test_a_given_split_without_validation_and_without_users(tmp_path) -> None:
    frame = table().assign(split=["train"] * 50 + ["test"] * 10)
    try:
        assert len(made(frame, tmp_path, GivenSplit()).val)
    except ConfigError as error:
        assert "user" in str(error)


@pytest.mark.parametrize("text", [False, True])
def test_a_moment_splits_dates(text, tmp_path) -> None:
    times = pd.to_datetime(table()["timestamp"], unit="s")
    frame = table().assign(timestamp=times.astype(str) if text else times)
    found = made(frame, tmp_path, TemporalSplit(test_start="1970-01-05"), fields={"a": "categorical"})
    assert len(found.test) == 60 - 48  # twelve events a day


def test_events_without_a_user_are_no_group(tmp_path) -> None:
    frame = table().assign(user=[None, "u", "v"] * 20)
    groups = made(frame, tmp_path, RatioSplit(by="all"), fields={"a": "categorical"}).train.groups
    assert groups.min() == -1 and len(set(groups.tolist())) == 3


@pytest.mark.parametrize("fields", [None, {"tags": "multi"}])
def test_lists_of_values_are_several_values_or_refused(fields, tmp_path) -> None:
    frame = table().assign(tags=[["x", "y"], ["y"]] * 30)
    try:
        found = made(frame, tmp_path, RatioSplit(by="all"), fields=fields)
    except (ConfigError, DataError):
        return
    assert sorted(found.encoders.encoders["tags"].values) == ["x", "y"]


# ---- Frappe


def test_frappe_has_three_parts_and_its_labels(tmp_path) -> None:
    ids = " ".join(f"{n}:1" for n in range(100, 110))
    for part, labels in (("train", "1 -1 -1"), ("validation", "-1 1"), ("test", "1")):
        (tmp_path / f"frappe.{part}.libfm").write_text("".join(f"{y} {ids}\n" for y in labels.split()))
    frame = Frappe(tmp_path).events()
    assert frame["label"].tolist() == [1, 0, 0, 0, 1, 1]
    assert frame["split"].tolist() == ["train"] * 3 + ["val"] * 2 + ["test"]
    assert frame.iloc[0, 1:11].tolist() == [str(n) for n in range(100, 110)]
    assert frame.columns[1:11].tolist()[:2] == ["user", "item"] and frame.columns[10] == "city"
    first = Frappe(tmp_path).fingerprint()
    (tmp_path / "frappe.test.libfm").write_text(f"-1 {ids}\n")
    assert Frappe(tmp_path).fingerprint() != first
    (tmp_path / "frappe.test.libfm").unlink()
    with pytest.raises(DataError, match="frappe.test.libfm"):
        Frappe(tmp_path).events()


@pytest.mark.parametrize(
    "written, read",
    [
        (["1e3", "1000", "7", ""], ["1e3", "1000", "7", None]),  # product codes
        (["1.50", "1.5", "7", "8"], ["1.50", "1.5", "7", "8"]),
        (["+7", "-0", "0", "7"], ["+7", "-0", "0", "7"]),
        (["7.0", "8.0", "", "7"], [7, 8, None, 7]),  # as pandas writes integers with gaps
        (["7", "8", "", "NA"], [7, 8, None, None]),
    ],
)
def test_what_names_users_and_items_is_no_number(written, read, tmp_path, monkeypatch) -> None:
    path = tmp_path / "x.csv"
    rows = "".join(f"{name};{name};{name};1\n" for name in written)
    path.write_text(f"user;article;price;clicked\n{rows}")
    frame = EventTable(path, item="article", separator=";").events()
    for column in ("user", "item"):
        assert [None if pd.isna(x) else x for x in frame[column]] == read
    if "1e3" in written:
        assert frame["price"].tolist()[:2] == [1000, 1000]  # of a number it is a notation
    monkeypatch.setattr(tables, "SMALL", 0)  # the way of large files
    piece = next(EventTable(path, item="article", separator=";").blocks())["item"]
    assert [None if pd.isna(x) else x for x in piece] == read
