"""libsvm's and libffm's lines: known answers, a naive reader, blocks, and lines that are refused."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from recgnn.data import CTRDataModule, Frappe, GivenSplit
from recgnn.data.clicks import sparse_lines, sparse_text
from recgnn.data.clicks.encoders import KNOWN as FIRST
from recgnn.data.clicks.field_encoders import FieldEncoders
from recgnn.data.clicks.sparse_lines import is_sparse_text
from recgnn.data.clicks.sparse_text import Layout, SparseText
from recgnn.errors import ConfigError, DataError, RecGNNError

NONE = None


def read(folder: Path, text: str, **options) -> pd.DataFrame:
    (folder / "a.txt").write_text(text)
    return SparseText(folder / "a.txt", **options).events()


def plain(frame: pd.DataFrame) -> dict[str, list]:
    """Columns as lists, with None where there is no value."""
    return frame.astype(object).where(frame.notna(), None).to_dict("list")


# ---- known answers

KNOWN = {
    "libffm: a category, several of them, a number": (
        "1 0:5:1 1:7:0.5 2:1:1 2:2:1\n-1 0:6:1.0 1:7:-15e-1 2:9:1\n-1 1:7:2 2:4:1 2:4:1\n",
        {"label": [1, 0, 0], "field0": ["5", "6", NONE], "field1": [0.5, -1.5, 2.0], "field2": ["1|2", "9", "4|4"]},
    ),
    "libffm: fields in any order, some absent, in order of their numbers": (
        "1 10:3:1 2:8:1\n0 2:9:1\n0 3:1:4 10:3:1\n0\n",
        {"label": [1, 0, 0, 0], "field2": ["8", "9", NONE, NONE], "field3": [NONE, NONE, 4.0, NONE],
         "field10": ["3", NONE, "3", NONE]},
    ),
    "libsvm: as many ones in every line": (
        "1 17:1 4:1\n-1 18:1 5:1\n1 17:1 6:1\n",
        {"label": [1, 0, 1], "position1": ["17", "18", "17"], "position2": ["4", "5", "6"]},
    ),
    "libsvm: ones": (
        "1 3:1 14:1.0\n0 3:1\n0\n0 19:1 20:1 21:1\n",
        {"label": [1, 0, 0, 0], "indices": ["3|14", "3", NONE, "19|20|21"]},
    ),
    "libsvm: numbers, 0 where there is none": (
        "+1 1:0.7083 2:1 11:-1\n-1 2:-.5\n+1 11:1e2 1:0\n",
        {"label": [1, 0, 1], "index1": [0.7083, 0.0, 0.0], "index2": [1.0, -0.5, 0.0], "index11": [-1.0, 0.0, 100.0]},
    ),
    "libsvm: zeros and ones are numbers": (
        "1 1:0 2:1\n0 1:1 2:1\n", {"label": [1, 0], "index1": [0.0, 1.0], "index2": [1.0, 1.0]},
    ),
    "comments, blank lines, tabs, ends of other systems": (
        "# made by hand\n1.0 3:1\t4:1 # yes\r\n\r\n   \n0.0  3:1 5:1  \r\n",
        {"label": [1, 0], "position1": ["3", "3"], "position2": ["4", "5"]},
    ),
    "many fields": (
        "1 44:1:1 300:2:1\n0 300:4:1 44:3:1 65580:5:1\n",
        {"label": [1, 0], "field44": ["1", "3"], "field300": ["2", "4"], "field65580": [NONE, "5"]},
    ),
    "libffm: a value with every index": (
        "0 0:3:0.3651 2:1163:0.3651 3:8672:-2\n1 2:115:0.5 0:4:1e-07\n",
        {"label": [0, 1], "field0": ["3:0.3651", "4:1e-7"], "field2": ["1163:0.3651", "115:0.5"],
         "field3": [-2.0, NONE]},
    ),
    "libffm: several with values, some absent, in any order": (
        "1 7:9:0.5 2:1:1 7:8:2\n0 2:1:1\n0 7:9:0 2:4:1 7:9:3\n",
        {"label": [1, 0, 0], "field2": ["1", "1", "4"], "field7": ["9:0.5|8:2", NONE, "9:0|9:3"]},
    ),
    "libsvm: values, and few of the indices in a line": (
        "+1 70:0.5 3:1\n-1 4:2 # nothing else\n-1\n+1 90:1 80:7e-3 5:1 6:1\n",
        {"label": [1, 0, 0, 1], "indices": ["70:0.5|3:1", "4:2", NONE, "90:1|80:0.007|5:1|6:1"]},
    ),
    "libsvm: as many ones in every line, in any order": (
        "1 4:1 17:1\n0 17:1 5:1\n", {"label": [1, 0], "indices": ["4|17", "17|5"]},
    ),
    "libsvm: groups": (
        "2 qid:10 1:0.5 2:-1 #docid = a\n0 qid:10 1:1 2:1\n1 qid:7 2:3\n",
        {"label": [2, 0, 1], "qid": ["10", "10", "7"], "index1": [0.5, 1.0, 0.0], "index2": [-1.0, 1.0, 3.0]},
    ),
    "labels that are numbers": ("3.5 1:1:1\n-1 1:2:1\n", {"label": [3.5, -1.0], "field1": ["1", "2"]}),
    "labels of three classes": ("1 1:1\n0 2:1\n-1 1:1\n", {"label": [1, 0, -1], "position1": ["1", "2", "1"]}),
    "a label alone": ("1\n0 5:1 6:1\n", {"label": [1, 0], "indices": [NONE, "5|6"]}),
    "large indices": (
        "1 1:18446744073709551615:1\n0 1:4294967297:1\n",
        {"label": [1, 0], "field1": ["18446744073709551615", "4294967297"]},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), KNOWN.values(), ids=KNOWN)
def test_known_answers(text, expected, tmp_path) -> None:
    found = read(tmp_path, text)
    assert plain(found) == expected and list(found.columns) == list(expected)


@pytest.mark.parametrize(("text", "expected"), KNOWN.values(), ids=KNOWN)
def test_zipped(text, expected, tmp_path) -> None:
    (tmp_path / "a.ffm.gz").write_bytes(gzip.compress(text.encode()))
    assert plain(SparseText(tmp_path / "a.ffm.gz").events()) == expected


# ---- a naive reader


def made(n: int) -> str:
    """libffm lines of a category (0), a number (1), several categories (2) and a category that some lack (3)."""
    random = np.random.default_rng(0)
    lines = []
    for row in range(n):
        several = " ".join(f"2:{i}:1" for i in random.integers(9, size=1 + (row + 1) % 3))
        rest = f" 3:{random.integers(5)}:1" if random.random() < 0.7 else ""
        lines.append(f"{row % 2} 0:{random.integers(99)}:1 1:7:{random.normal():.4f} {several}{rest}")
    return "\n".join(lines) + "\n"


def naive(text: str) -> pd.DataFrame:
    rows = []
    for line in text.splitlines():
        label, *features = line.split()
        row = {"label": int(label), "field0": None, "field1": None, "field2": None, "field3": None}
        for feature in features:
            number, index, value = feature.split(":")
            name = f"field{number}"
            if number == "1":
                row[name] = float(value)
            else:
                row[name] = index if row[name] is None else f"{row[name]}|{index}"
        rows.append(row)
    return pd.DataFrame(rows).astype({"field1": "float64", "field0": "str", "field2": "str", "field3": "str"})


@pytest.mark.parametrize("option", [("ROWS", 3), ("ROWS", 7), ("ROWS", 100), ("CHARACTERS", 200), ("ROWS", 2**17)])
def test_blocks_are_the_whole(option, tmp_path, monkeypatch) -> None:
    text = made(100)
    (tmp_path / "a.ffm").write_text(text)
    monkeypatch.setattr(sparse_lines, *option)
    source = SparseText(tmp_path / "a.ffm")
    blocks = list(source.blocks())
    pd.testing.assert_frame_equal(source.events(), naive(text))
    pd.testing.assert_frame_equal(pd.concat(blocks, ignore_index=True), naive(text))
    assert all(block.dtypes.equals(blocks[0].dtypes) for block in blocks)
    if option[0] == "ROWS":
        size = option[1]
        assert [len(block) for block in blocks] == [min(size, 100 - start) for start in range(0, 100, size)]
    else:
        assert 10 < len(blocks) < 100
    chosen = pd.concat(source.blocks(["field3", "label"]), ignore_index=True)
    pd.testing.assert_frame_equal(chosen, naive(text)[["field3", "label"]])


def test_a_line_that_is_none_is_found_before_the_first_block(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(sparse_lines, "ROWS", 10)
    (tmp_path / "a.ffm").write_text(made(40) + "no\n")
    with pytest.raises(DataError, match="a.ffm, line 41: 'no' is no label"):
        next(SparseText(tmp_path / "a.ffm").blocks())


def test_a_block_without_features(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(sparse_lines, "ROWS", 2)
    found = plain(read(tmp_path, "1 0:1:1 4:2:0.5\n0 0:2:1\n1\n0\n1 0:3:1\n"))
    assert found["field0"] == ["1", "2", NONE, NONE, "3"] and found["field4"] == [0.5, NONE, NONE, NONE, NONE]


def test_memory_does_not_grow_with_the_file(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(sparse_lines, "ROWS", 1000)
    most = {}
    for times in (2, 20):
        (tmp_path / "a.ffm").write_text(made(1000) * times)
        start, peak = pa.total_allocated_bytes(), 0
        for _ in SparseText(tmp_path / "a.ffm").blocks():
            peak = max(peak, pa.total_allocated_bytes() - start)
        most[times] = peak
    assert 0 < most[20] < 1.5 * most[2]


# ---- what only later lines show

LATER = {  # blocks are of two lines
    "a field that repeats": (
        "1 0:1:1\n0 0:2:1\n1 0:3:1\n0 0:3:1 0:4:1\n", {"label": [1, 0, 1, 0], "field0": ["1", "2", "3", "3|4"]},
    ),
    "a field": (
        "1 7:1:1\n0 7:2:1\n1 3:3:1 3:4:1\n",
        {"label": [1, 0, 1], "field3": [NONE, NONE, "3|4"], "field7": ["1", "2", NONE]},
    ),
    "a number": (
        "1 0:1:1\n0 0:1:1\n1 0:1:0.5 5:1:2.5\n",
        {"label": [1, 0, 1], "field0": [1.0, 1.0, 0.5], "field5": [NONE, NONE, 2.5]},
    ),
    "a value": (
        "1 0:1:1\n0 0:2:1\n1 0:1:0.5\n", {"label": [1, 0, 1], "field0": ["1:1", "2:1", "1:0.5"]},
    ),
    "another length": (
        "1 1:1 2:1\n0 3:1 4:1\n1 5:1\n", {"label": [1, 0, 1], "indices": ["1|2", "3|4", "5"]},
    ),
    "another place": (
        "1 1:1 2:1\n0 3:1 4:1\n1 4:1 5:1\n", {"label": [1, 0, 1], "indices": ["1|2", "3|4", "4|5"]},
    ),
    "an index": ("1 1:5\n0 1:2\n1 1:1 2:7\n", {"label": [1, 0, 1], "index1": [5, 2, 1], "index2": [0, 0, 7]}),
    "a value of libsvm": (
        "1 1:1 2:1\n0 1:1 2:1\n1 1:1 2:5\n", {"label": [1, 0, 1], "index1": [1, 1, 1], "index2": [1, 1, 5]},
    ),
    "another label": ("1 1:1\n-1 1:1\n0.5 1:1\n", {"label": [1, -1, 0.5], "position1": ["1", "1", "1"]}),
}  # fmt: skip


@pytest.mark.parametrize(("text", "columns"), LATER.values(), ids=LATER)
def test_columns_follow_from_all_lines(text, columns, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(sparse_lines, "ROWS", 2)
    found = read(tmp_path, text)
    assert plain(found) == columns and list(found.columns) == list(columns)


GIVEN = [
    ("1 0:1:0.5\n0 0:1:2\n", {"field0": "multi"}, {"field0": ["1:0.5", "1:2"]}),  # as it stands, not standardised
    ("1 0:1:1\n0 0:1:1\n", {"field0": "numeric"}, {"field0": [1.0, 1.0]}),
    ("1 1:2 2:3\n0 1:5\n", {"indices": "multi"}, {"indices": ["1:2|2:3", "1:5"]}),
    ("1 1:1 2:1\n0 3:1 4:1\n", {"indices": "multi"}, {"indices": ["1|2", "3|4"]}),
    ("1 1:1 2:1\n0 2:1 4:1\n", {"position2": "categorical"}, {"position1": ["1", "2"], "position2": ["2", "4"]}),
    ("1 1:2\n0 5:1\n0 7:1 8:1\n", {"index5": "numeric"},
     {"index1": [2, 0, 0], "index5": [0, 1, 0], "index7": [0, 0, 1], "index8": [0, 0, 1]}),
]  # fmt: skip


@pytest.mark.parametrize(("text", "kinds", "columns"), GIVEN)
def test_kinds_that_are_given(text, kinds, columns, tmp_path) -> None:
    assert plain(read(tmp_path, text, kinds=kinds).drop(columns="label")) == columns


# ---- lines that are refused

NEVER = [
    ("1 1:2 1:3\n", "line 1: index1 stands twice"),
    ("1 1:1\nyes 1:1\n", "line 2: 'yes' is no label; expected 1 and 0, 1 and -1, or numbers"),
    ("1 1:1\ninf 1:1\n", "line 2: 'inf' is no label"),
    ("1,3 1:1\n", "line 1: '1,3' is no label"),
    ("1:1 2:1\n", "line 1: '1:1' is no label"),
    ("1 1:1 qid:3\n", "line 1: 'qid:3' is no feature; expected index:value"),
    ("1 qid: 1:1\n", "line 1: 'qid:' is no feature"),
    ("1 qid:3 1:1\n\n0 1:1\n", "line 3: no qid: behind the label, which other lines have"),
    ("1 qid:3 1:1\n1 qid:3 1:1\n0 1:1\n", "line 3: (no qid: behind the label|qid: stands behind the label of some)"),
    ("1 1:1\n0 1:2:3\n", "line 2: '1:2:3' is no feature; expected index:value"),
    ("1 1:1:1\n0 1:2\n", "line 2: '1:2' is no feature; expected field:index:value"),
    ("1 1:2:3:4\n", "line 1: '1:2:3:4' is no feature; expected index:value"),
    ("1 1:1\n\n0 1:\n", "line 3: '1:' is no feature"),
    ("1 1:1\n0 :1\n", "line 2: ':1' is no feature"),
    ("1 1:1\n0 7\n", "line 2: '7' is no feature"),
    ("1 1:1\n0 -7:1\n", "line 2: '-7:1' is no feature"),
    ("1 1:1\n0 1.5:1\n", "line 2: '1.5:1' is no feature"),
    ("1 1:1\n0 1:one\n", "line 2: '1:one' is no feature"),
    ("1 1:1\n0 1:nan\n", "line 2: 1:nan has no finite value"),
    ("1 1:1\n0 1:1e999\n", "line 2: 1:1e999 has no finite value"),
    ("1\n0\n", "its lines have a label and no features"),
    ("\n# nothing\n", "has no rows"),
    ("", "has no rows"),
]


@pytest.mark.parametrize("size", [2, 2**17])
@pytest.mark.parametrize(("text", "expected"), NEVER, ids=[repr(n[0]) for n in NEVER])
def test_lines_that_cannot_be(text, expected, size, tmp_path, monkeypatch) -> None:
    """In the first block and in a later one: the line is named, and the message is one line."""
    monkeypatch.setattr(sparse_lines, "ROWS", size)
    with pytest.raises(DataError, match=expected) as error:
        read(tmp_path, text)
    assert str(error.value).startswith(str(tmp_path / "a.txt")) and "\n" not in str(error.value)


def test_many_indices_with_values_are_one_column(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(sparse_text, "MAX_NUMBERS", 3)
    assert len(read(tmp_path, "1 1:1 2:1 3:1\n0 3:2 2:1\n").columns) == 4
    text = "1 1:1 2:1 3:5\n0 3:2 4:1\n"
    assert plain(read(tmp_path, text))["indices"] == ["1:1|2:1|3:5", "3:2|4:1"]
    with pytest.raises(ConfigError, match="a.txt has more than 3 indices, too many for a column each"):
        read(tmp_path, text, kinds={"index1": "numeric"})


@pytest.mark.parametrize(
    ("text", "kinds", "expected"),
    [
        ("1 0:1:1\n", {"feild0": "multi"}, "no column 'feild0' in .*there are field1, field2"),
        ("1 0:1:1\n", {"indices": "multi"}, "no column 'indices'"),
        ("1 1:1\n", {"field1": "multi"}, "no column 'field1' in .*there are indices, or index1"),
        ("1 1:1 2:1\n0 1:1\n", {"position1": "categorical"}, "line 2: 1 features, expected 2 as in other lines"),
        ("1 1:1 2:1\n", {"position3": "categorical"}, "no column 'position3'"),
        ("1 1:1\n", {"indices": "multi", "index1": "numeric"}, "no column 'index1'"),
        ("1 0:1:1\n", {"field0": "number"}, "kinds is {'field0': 'number'}; expected a mapping, each categorical or"),
        ("1 0:1:2\n", {"field0": "categorical"}, "line 1: field0 has the value 2, where a category has the value 1"),
        ("1 0:1:1 0:2:1\n", {"field0": "categorical"}, "line 1: field0 stands twice; .*give kinds: {field0: multi}"),
        ("1 0:1:2\n1 0:3:2\n", {"field0": "numeric"}, "line 2: field0 is a number of index 1, found 3"),
    ],
)
def test_kinds_that_cannot_be(text, kinds, expected, tmp_path) -> None:
    with pytest.raises(RecGNNError, match=expected):
        read(tmp_path, text, kinds=kinds)


def test_files_that_cannot_be(tmp_path) -> None:
    for options in ({}, {"path": "a", "train": "b"}, {"path": "a", "val": "b"}, {"val": "a"}):
        with pytest.raises(ConfigError, match="SparseText: give path, or train with val and test"):
            SparseText(**options)
    with pytest.raises(DataError, match="no such file"):
        SparseText(tmp_path / "none").events()
    content = gzip.compress(made(500).encode())
    (tmp_path / "cut.gz").write_bytes(content[: len(content) // 2])
    (tmp_path / "binary").write_bytes(bytes(range(256)) * 20)
    for name in ("cut.gz", "binary"):
        with pytest.raises(RecGNNError, match=name) as error:
            SparseText(tmp_path / name).events()
        assert "\n" not in str(error.value)


# ---- parts, and what becomes of them


def test_parts_have_the_columns_of_train(tmp_path, monkeypatch) -> None:
    texts = {"train": "1 0:1:1\n0 0:2:1\n0 0:3:1\n", "val": "1 0:9:1\n", "test": "0 0:1:1\n1 0:2:1\n"}
    files = {part: tmp_path / f"{part}.ffm" for part in texts}
    for part, file in files.items():
        file.write_text(texts[part])
    monkeypatch.setattr(sparse_lines, "ROWS", 2)
    frame = SparseText(**files).events()
    assert frame["split"].tolist() == ["train"] * 3 + ["val"] + ["test"] * 2
    assert frame["split"].cat.codes.tolist() == [0, 0, 0, 1, 2, 2]
    assert frame["field0"].tolist() == ["1", "2", "3", "9", "1", "2"]
    assert SparseText(**files).name == "train" and SparseText(**files, name="mine").name == "mine"
    files["test"].write_text("0 0:1:1\n1 1:2:1\n")
    assert plain(SparseText(**files).events())["field1"] == [*[NONE] * 5, "2"]
    files["val"].write_text("1 1:1\n")
    with pytest.raises(DataError, match="val.ffm, line 1: '1:1' is no feature; expected field:index:value"):
        SparseText(**files).events()
    files["val"].write_text("1 qid:1 0:1:1\n")
    with pytest.raises(DataError, match="val.ffm, line 1: qid: stands behind the label of some lines, and not of"):
        SparseText(**files).events()
    files["val"].write_text("")
    with pytest.raises(DataError, match="val.ffm: has no rows"):
        SparseText(**files).events()


def test_a_fingerprint_is_of_content_and_options(tmp_path) -> None:
    file = tmp_path / "a.ffm"
    file.write_text("1 0:1:1\n")
    first = SparseText(file).fingerprint()
    assert SparseText(file).fingerprint() == first
    assert SparseText(file, kinds={"field0": "multi"}).fingerprint() != first
    assert SparseText(file, name="b").fingerprint() != first
    assert SparseText(train=file, test=file).fingerprint() != first
    file.write_text("0 0:1:1\n")
    assert SparseText(file).fingerprint() != first


def test_frappe_is_libsvm_text(tmp_path) -> None:
    random, files = np.random.default_rng(0), {}
    for part, name, n in (("train", "train", 40), ("val", "validation", 9), ("test", "test", 9)):
        files[part] = tmp_path / f"frappe.{name}.libfm"
        ids = random.integers(5, size=(n, 10)) + np.arange(10) * 5
        lines = (f"{1 if n % 3 else -1} " + " ".join(f"{i}:1" for i in row) for n, row in enumerate(ids))
        files[part].write_text("\n".join(lines) + "\n")
    ours, theirs = SparseText(**files).events(), Frappe(tmp_path).events()
    assert ours.to_numpy().tolist() == theirs[[*theirs.columns[:11], "split"]].to_numpy().tolist()


def test_a_field_that_train_lacks_is_missing_there(tmp_path) -> None:
    """It comes up in the test part alone: there is nothing to learn of it, and nothing to refuse."""
    files = {part: tmp_path / f"{part}.ffm" for part in ("train", "val", "test")}
    for part, file in files.items():
        rest = " 5:1:1 6:2:0.5\n" if part == "test" else "\n"
        file.write_text("".join(f"{n % 2} 0:{n % 3}:1{rest}" for n in range(6)))
    data = CTRDataModule(SparseText(**files), split=GivenSplit(), cache_dir=str(tmp_path / "cache"))
    assert dict(zip(data.field_names, data.field_dims, strict=True)) == {"field0": 5, "field5": 2, "field6": 2}
    assert data.prepared.test.ids[:, 1].tolist() == [5] * 6 and data.prepared.train.ids[:, 1].tolist() == [6] * 6


@pytest.mark.parametrize("task", ["clicks", "regression"])
def test_groups_and_numbers_as_labels(task, tmp_path) -> None:
    """qid is what AUC within groups is of, and no field; labels that are numbers are for regression, or for a rule."""
    text = "".join(f"{n % 3} qid:{n % 4} 1:{n} 2:{n * n % 7 + 0.5}\n" for n in range(30))
    (tmp_path / "a.txt").write_text(text)
    source, label = SparseText(tmp_path / "a.txt"), "label" if task == "regression" else "label >= 2"
    data = CTRDataModule(source, label=label, task=task, cache_dir=str(tmp_path / "cache"))
    assert data.field_names == ["index1", "index2"] and data.prepared.summary["group"] == "qid"
    train = data.prepared.train
    assert len(np.unique(train.groups)) == 4
    assert set(train.labels.tolist()) == ({0, 1, 2} if task == "regression" else {0, 1})
    with pytest.raises(DataError, match="row 3, column 'label': 2.0 is no label; expected 0 or 1, true or false"):
        CTRDataModule(source, cache_dir=str(tmp_path / "cache")).prepare_data()


# ---- there and back: lines made by a seed, an independent reader, and what the model is given

Features = list[tuple[int, int, float]]  # field, index, x; libsvm text has one field, 0


def generated(form: str, n: int, indices: int, seed: int) -> str:
    """Lines with several features of a field, fields that are absent, and values of all sizes, in any order."""
    random, lines = np.random.default_rng(seed), []
    for row in range(n):
        words = []
        for field in random.permutation(4 if form == "libffm" else 1):
            size = random.integers(0, 4) if form == "libffm" else random.integers(0, 30)
            for index in random.choice(indices, size, replace=False):
                x = [1.0, 0.3651, -2.5e-3, 0.0, round(float(random.normal()), 4)][random.integers(5)]
                words.append(f"{field}:{index}:{x:g}" if form == "libffm" else f"{index}:{x:g}")
        lines.append(" ".join([str(row % 2 * 2 - 1), *words]) + ["", "  # a comment 1:2"][row % 2])
    return "\n".join(lines) + "\n"


def independent(text: str) -> list[Features]:
    rows = []
    for line in text.splitlines():
        _, *words = line.split("#")[0].split()
        parts = [word.split(":") for word in words]
        rows.append([(int(p[0]) if len(p) == 3 else 0, int(p[-2]), float(np.float32(p[-1]))) for p in parts])
    return rows


def given_to_the_model(encoders: FieldEncoders, frame: pd.DataFrame) -> list[Features]:
    ids, values = encoders.encode(frame)
    starts, rows = np.cumsum([0, *encoders.dims]), []
    for own, x in zip(ids.tolist(), values.tolist(), strict=True):
        there = [(encoders.slots[slot], row, x[slot]) for slot, row in enumerate(own) if x[slot] != 0]
        words = [encoder.values for encoder in encoders.encoders.values()]
        rows.append([(field, int(words[field][row - starts[field] - FIRST]), value) for field, row, value in there])
    return rows


@pytest.mark.parametrize(("form", "indices"), [("libffm", 9), ("libffm", 5000), ("libsvm", 40), ("libsvm", 20_000)])
def test_every_feature_reaches_the_model_with_its_value(form, indices, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(sparse_lines, "ROWS", 50)
    text = generated(form, 150, indices, seed=indices)
    (tmp_path / "a.txt").write_text(text)
    source = SparseText(tmp_path / "a.txt", kinds={"indices": "multi"} if form == "libsvm" else None)
    frame = source.events()
    assert frame["label"].tolist() == [0, 1] * 75
    encoders = FieldEncoders(source.known().fields).fit(frame)
    there = [[feature for feature in row if feature[2] != 0] for row in independent(text)]
    assert [sorted(row) for row in given_to_the_model(encoders, frame)] == [sorted(row) for row in there]
    assert sum(map(len, there)) > 400


def test_a_layout_reads_more_lines_as_the_first(tmp_path) -> None:
    """As a run that is put to use does: what its columns are is known, whatever the new lines show."""
    (tmp_path / "a.ffm").write_text("1 0:5:1 1:7:0.5 2:1:0.25 2:2:1\n-1 0:6:1 1:7:2 2:1:1\n")
    layout = Layout.of_dict(json.loads(json.dumps(SparseText(tmp_path / "a.ffm").layout.as_dict())))
    new, others = tmp_path / "new.ffm", set()
    new.write_text("0 2:9:1 0:5:1 8:1:1\n0 1:7:1\n")
    (found,) = layout.blocks(new, others)
    assert plain(found) == {"label": [0, 0], "field0": ["5", NONE], "field1": [NONE, 1.0], "field2": ["9:1", NONE]}
    assert others == {"field8"}
    for line, message in {
        "0 0:5:1 0:6:1": "line 1: field0 stands twice",
        "0 0:5:3": "line 1: field0 has the value 3, where a category has the value 1",
        "0 1:8:3": "line 1: field1 is a number of index 7, found 8",
    }.items():
        new.write_text(line + "\n")
        with pytest.raises(DataError, match=message):
            next(layout.blocks(new))


@pytest.mark.parametrize(
    ("text", "sparse"),
    [("1 3:1", True), ("-1.5 qid:3 3:1", True), ("# hi\n\n0 1:2:3\nlabel", True), ("1", True), ("+1e0 2:1 # x", True),
     ("label,field0\n1,2", False), ("field0\n3", False), ("a 3:1", False), ("1,3:1", False), ("1 x", False),
     ("", False)],
)  # fmt: skip
def test_sparse_text_is_known_by_its_first_line(text, sparse, tmp_path) -> None:
    (tmp_path / "a").write_text(text)
    assert is_sparse_text(tmp_path / "a") == sparse


def test_fields_are_those_of_the_lines(tmp_path) -> None:
    (tmp_path / "a.ffm").write_text(made(400))
    found = CTRDataModule(SparseText(tmp_path / "a.ffm"), cache_dir=str(tmp_path / "cache")).prepared
    kinds = {name: field.kind for name, field in found.encoders.fields.items()}
    assert kinds == {"field0": "categorical", "field1": "numeric", "field2": "multi", "field3": "categorical"}
    files = {part: tmp_path / f"{part}.ffm" for part in ("train", "val", "test")}
    lines = made(400).splitlines(keepends=True)
    for (part, file), (low, high) in zip(files.items(), [(0, 300), (300, 350), (350, 400)], strict=True):
        assert part in file.name
        file.write_text("".join(lines[low:high]))
    parts = CTRDataModule(SparseText(**files), split=GivenSplit(), cache_dir=str(tmp_path / "cache")).prepared
    assert [len(getattr(parts, part)) for part in files] == [300, 50, 50]
