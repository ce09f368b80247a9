"""libsvm's and libffm's lines: known answers, a naive reader, blocks, and lines that are refused."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from recgnn.data import CTRDataModule, Frappe, GivenSplit
from recgnn.data.clicks import sparse_text
from recgnn.data.clicks.sparse_text import SparseText
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
    monkeypatch.setattr(sparse_text, *option)
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


def test_blocks_are_read_when_they_are_asked_for(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(sparse_text, "ROWS", 10)
    (tmp_path / "a.ffm").write_text(made(40) + "no\n")
    blocks = SparseText(tmp_path / "a.ffm").blocks()
    assert [len(next(blocks)) for _ in range(4)] == [10] * 4
    with pytest.raises(DataError, match="a.ffm, line 41: 'no' is no label"):
        next(blocks)


def test_a_block_without_features(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(sparse_text, "ROWS", 2)
    found = plain(read(tmp_path, "1 0:1:1 4:2:0.5\n0 0:2:1\n1\n0\n1 0:3:1\n"))
    assert found["field0"] == ["1", "2", NONE, NONE, "3"] and found["field4"] == [0.5, NONE, NONE, NONE, NONE]


def test_memory_does_not_grow_with_the_file(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(sparse_text, "ROWS", 1000)
    most = {}
    for times in (2, 20):
        (tmp_path / "a.ffm").write_text(made(1000) * times)
        start, peak = pa.total_allocated_bytes(), 0
        for _ in SparseText(tmp_path / "a.ffm").blocks():
            peak = max(peak, pa.total_allocated_bytes() - start)
        most[times] = peak
    assert 0 < most[20] < 1.5 * most[2]


# ---- lines that are refused

LATER = {  # the first block is of two lines
    "a field stands twice": (
        "1 0:1:1\n0 0:2:1\n1 0:3:1\n0 0:3:1 0:4:1\n", "line 4: field0 stands twice", {"field0": "multi"},
        {"label": [1, 0, 1, 0], "field0": ["1", "2", "3", "3|4"]},
    ),
    "a field that did not come up": (
        "1 0:1:1\n0 0:2:1\n\n1 0:3:1 5:1:1\n", "line 4: the first lines have no field5", {"field5": "categorical"},
        {"label": [1, 0, 1], "field0": ["1", "2", "3"], "field5": [NONE, NONE, "1"]},
    ),
    "a number that did not come up": (
        "1 0:1:1\n0 0:2:1\n1 0:3:1 5:1:2.5\n", "line 3: the first lines have no field5", {"field5": "numeric"},
        {"label": [1, 0, 1], "field0": ["1", "2", "3"], "field5": [NONE, NONE, 2.5]},
    ),
    "a field of a lower number": (
        "1 7:1:1\n0 7:2:1\n1 3:3:1 3:4:1\n", "line 3: the first lines have no field3", {"field3": "multi"},
        {"label": [1, 0, 1], "field3": [NONE, NONE, "3|4"], "field7": ["1", "2", NONE]},
    ),
    "a number that was 1 before": (
        "1 0:1:1\n0 0:1:1\n1 0:1:0.5\n", "line 3: field0 has the value 0.5", {"field0": "numeric"},
        {"label": [1, 0, 1], "field0": [1.0, 1.0, 0.5]},
    ),
    "lines of other lengths": (
        "1 1:1 2:1\n0 3:1 4:1\n1 5:1\n", "line 3: 1 features where lines before have 2", {"indices": "multi"},
        {"label": [1, 0, 1], "indices": ["1|2", "3|4", "5"]},
    ),
    "an index that did not come up": (
        "1 1:5\n0 1:2\n1 1:1 2:7\n", "line 3: the first lines have no index2", {"index2": "numeric"},
        {"label": [1, 0, 1], "index1": [5.0, 2.0, 1.0], "index2": [0.0, 0.0, 7.0]},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("text", "expected", "kinds", "columns"), LATER.values(), ids=LATER)
def test_later_lines_fit_or_their_kinds_are_given(text, expected, kinds, columns, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(sparse_text, "ROWS", 2)
    with pytest.raises(DataError, match=expected) as error:
        read(tmp_path, text)
    name, kind = next(iter(kinds.items()))
    assert f"{{{name}: {kind}}}" in str(error.value)  # says what mends it
    found = read(tmp_path, text, kinds=kinds)
    assert plain(found) == columns and list(found.columns) == list(columns)


NEVER = [
    ("1 0:1:0.5\n0 0:2:0.5\n", "line 2: field0 has index 2, and 1 before; with values other than 1"),
    ("1 0:1:0.5\n0 0:1:0.5 0:1:0.5\n0 0:1:2\n", "line [12]: field0 (stands twice|has the value 0.5)"),
    ("1 0:1:1 0:2:1\n0 0:3:1\n0 0:4:1 0:1:3\n", "line 3: field0 has the value 3, where a category has the value 1"),
    ("1 1:2 1:3\n", "line 1: index1 stands twice"),
    ("1 1:1\n0 2:1\n-1 1:1\n", "line 3: labels 0 and -1 in one data set"),
    ("1 1:1\n2 1:1\n", "line 2: '2' is no label; expected 1 and 0, or 1 and -1"),
    ("1 1:1\nyes 1:1\n", "line 2: 'yes' is no label"),
    ("1:1 2:1\n", "line 1: '1:1' is no label"),
    ("1 qid:3 1:1\n", "line 1: 'qid:3' is no feature; expected index:value"),
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
    ("1\n0\n", "its first 2 lines have a label and no features"),
    ("\n# nothing\n", "has no rows"),
    ("", "has no rows"),
]


@pytest.mark.parametrize("size", [2, 2**17])
@pytest.mark.parametrize(("text", "expected"), NEVER, ids=[repr(n[0]) for n in NEVER])
def test_lines_that_cannot_be(text, expected, size, tmp_path, monkeypatch) -> None:
    """In the first block and in a later one: the line is named, and the message is one line."""
    monkeypatch.setattr(sparse_text, "ROWS", size)
    with pytest.raises(DataError, match=expected) as error:
        read(tmp_path, text)
    assert str(error.value).startswith(str(tmp_path / "a.txt")) and "\n" not in str(error.value)


@pytest.mark.parametrize(("second", "name"), [("0 3:1 4:1", "position2"), ("0 3:1", "indices")])
def test_other_values_after_a_block_of_ones(second, name, tmp_path, monkeypatch) -> None:
    text = f"1 1:1 2:1\n{second}\n0 1:1 2:5\n"
    assert read(tmp_path, text)["index2"].tolist() == [1, 0, 5]  # all in the first block: numbers
    monkeypatch.setattr(sparse_text, "ROWS", 2)
    with pytest.raises(DataError, match=f"line 3: {name} has the value 5, where a category has the value 1"):
        read(tmp_path, text)


def test_no_more_numbers_than_columns_can_hold(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(sparse_text, "MAX_NUMBERS", 3)
    assert len(read(tmp_path, "1 1:1 2:1\n0 3:2\n").columns) == 4
    with pytest.raises(DataError, match="line 2: index 3 has the value 2, and a column for each of 4 indices is too"):
        read(tmp_path, "1 1:1 2:1\n0 3:2 4:1\n")
    assert len(read(tmp_path, "1 1:1 2:1\n0 3:1 4:1 5:1\n").columns) == 2  # ones need no column each


@pytest.mark.parametrize(
    ("text", "kinds", "expected"),
    [
        ("1 0:1:1\n", {"feild0": "multi"}, "no column 'feild0' in .*there are field1, field2"),
        ("1 0:1:1\n", {"indices": "multi"}, "no column 'indices'"),
        ("1 1:1\n", {"field1": "multi"}, "no column 'field1' in .*there are indices, or index1, index2"),
        ("1 1:1\n", {"position1": "multi"}, "no column 'position1'"),
        ("1 1:1\n", {"indices": "multi", "index1": "numeric"}, "no column 'index1'"),
        ("1 0:1:1\n", {"field0": "number"}, "kinds is {'field0': 'number'}; expected a mapping, each categorical or"),
    ],
)
def test_kinds_that_cannot_be(text, kinds, expected, tmp_path) -> None:
    with pytest.raises(ConfigError, match=expected):
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
    monkeypatch.setattr(sparse_text, "ROWS", 2)
    frame = SparseText(**files).events()
    assert frame["split"].tolist() == ["train"] * 3 + ["val"] + ["test"] * 2
    assert frame["split"].cat.codes.tolist() == [0, 0, 0, 1, 2, 2]
    assert frame["field0"].tolist() == ["1", "2", "3", "9", "1", "2"]
    assert SparseText(**files).name == "train" and SparseText(**files, name="mine").name == "mine"
    files["test"].write_text("0 0:1:1\n1 1:2:1\n")
    with pytest.raises(DataError, match="test.ffm, line 2: the first lines have no field1"):
        SparseText(**files).events()
    files["val"].write_text("1 1:1\n")
    with pytest.raises(DataError, match="val.ffm, line 1: '1:1' is no feature; expected field:index:value"):
        SparseText(**files).events()
    files["val"].write_text("-1 0:1:1\n")
    with pytest.raises(DataError, match="val.ffm, line 1: labels 0 and -1"):
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


def test_fields_are_guessed_from_the_columns(tmp_path) -> None:
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
