"""Criteo's and Avazu's files: known answers, every form of the file, blocks, and rows that are refused."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recgnn.data.clicks.fields import guess
from recgnn.data.datasets import criteo as event_files
from recgnn.data.datasets.criteo import Avazu, Criteo
from recgnn.errors import DataError

COUNTS = [f"I{n}" for n in range(1, 14)]
HASHES = [f"C{n}" for n in range(1, 27)]
COLUMNS = ["label", *COUNTS, *HASHES]


def rows(n: int) -> list[list[str]]:
    """Made-up rows as their texts: a quarter of the counts and of the hashes is missing."""
    random = np.random.default_rng(0)
    made = []
    for row in range(n):
        counts = [str(c) if random.random() > 0.25 else "" for c in random.integers(-2, 10**6, 13)]
        hashes = [f"{c:08x}" if random.random() > 0.25 else "" for c in random.integers(0, 2**32, 26)]
        made.append([str(row % 3 % 2), *counts, *hashes])
    return made


def naive(made: list[list[str]]) -> pd.DataFrame:
    """The frame that they should give, a value at a time."""
    frame = {"label": [int(row[0]) for row in made]}
    for place, name in enumerate(COLUMNS[1:], 1):
        number = float if name in COUNTS else str
        frame[name] = [number(row[place]) if row[place] else np.nan for row in made]
    kinds = dict.fromkeys(COUNTS, "float64") | dict.fromkeys(HASHES, "str")
    return pd.DataFrame(frame).astype(kinds)


def text(made: list[list[str]], separator: str = "\t") -> str:
    return "".join(separator.join(row) + "\n" for row in made)


def written(form: str, folder: Path, made: list[list[str]]) -> Path:
    """The rows in a file of one of the forms."""
    path = folder / f"train.{form}"
    if form == "parquet":
        nullable = naive(made).astype(dict.fromkeys(COUNTS, "Int32"))
        table = pa.Table.from_pandas(nullable.assign(C2=nullable["C2"].astype("category")), preserve_index=False)
        pq.write_table(table, path, row_group_size=5)
    elif form == "csv":  # in another order, with a column more and integers as floats, as pandas writes them
        naive(made).assign(note="x,y")[["note", *COLUMNS[::-1]]].to_csv(path, index=False)
    elif form == "txt.gz":
        path.write_bytes(gzip.compress(text(made[:4]).encode()) + gzip.compress(text(made[4:]).encode()))
    elif form == "txt, zipped":
        path = folder / "train.txt"
        path.write_bytes(gzip.compress(text(made).encode()))
    else:
        path.write_text(text(made))
    return path


# ---- Criteo


def test_three_rows_by_hand(tmp_path) -> None:
    (tmp_path / "train.txt").write_text(
        "1\t0\t-2\t\t5" + "\t" * 9 + "\t68fd1e64\t\t5e677110" + "\t" * 23 + "\n"
        "0" + "\t" * 39 + "\n"
        "0" + "\t7" * 13 + "\t00000001" * 26 + "\n"
    )
    frame = Criteo(tmp_path).events()
    assert list(frame.columns) == COLUMNS and frame["label"].tolist() == [1, 0, 0]
    found = frame.astype(object).where(frame.notna(), None)
    assert found["I1"].tolist() == [0, None, 7] and found["I2"].tolist() == [-2, None, 7]
    assert found["I3"].tolist() == [None, None, 7] and found["C2"].tolist() == [None, None, "00000001"]
    assert found["C1"].tolist() == ["68fd1e64", None, "00000001"] and found["C3"].iloc[0] == "5e677110"
    assert frame.iloc[1, 1:].isna().all()


@pytest.mark.parametrize("form", ["txt", "txt.gz", "txt, zipped", "csv", "parquet"])
def test_every_form_gives_the_same(form, tmp_path) -> None:
    made = rows(11)
    written(form, tmp_path, made)
    pd.testing.assert_frame_equal(Criteo(tmp_path).events(), naive(made))


@pytest.mark.parametrize("form", ["txt", "txt.gz", "csv", "parquet"])
@pytest.mark.parametrize("size", [1, 4, 11, 100])
def test_blocks_are_the_whole(form, size, tmp_path, monkeypatch) -> None:
    path = written(form, tmp_path, rows(11))
    whole = Criteo(path).events()
    monkeypatch.setattr(event_files, "ROWS", size)
    blocks = list(Criteo(path).blocks())
    pd.testing.assert_frame_equal(pd.concat(blocks, ignore_index=True), whole)
    assert all(0 < len(block) <= size and block.dtypes.equals(whole.dtypes) for block in blocks)
    chosen = list(Criteo(path).blocks(["C3", "label"]))
    pd.testing.assert_frame_equal(pd.concat(chosen, ignore_index=True), whole[["C3", "label"]])


@pytest.mark.parametrize("zipped", [False, True])
def test_memory_does_not_grow_with_the_file(zipped, tmp_path, monkeypatch) -> None:
    """Arrow reads some 32 MB ahead; here the file has more than 100, or the text that is zipped in it."""
    content, path, times = text(rows(1000)).encode() * 10, tmp_path / "train.txt", 40
    path.write_bytes((gzip.compress(content, 1) if zipped else content) * times)
    monkeypatch.setattr(event_files, "ROWS", 10_000)
    start, most, count = pa.total_allocated_bytes(), 0, 0
    for block in Criteo(path).blocks():
        most = max(most, pa.total_allocated_bytes() - start)
        count += len(block)
    assert count == 10_000 * times and len(content) * times > 100e6
    assert most < 60e6


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ("0" + "\t" * 38, ["line 6: 39 fields where expected 40"]),
        ("0" + "\t" * 40, ["line 6: 41 fields where expected 40"]),
        ("hello", ["line 6: 1 field where expected 40"]),
        ("0\t1\t1.5" + "\t" * 37, ["line 6, column 'I2': '1.5' is not an integer"]),
        ("0\t1\t68fd1e64" + "\t" * 37, ["line 6, column 'I2': '68fd1e64' is not an integer"]),
        ("yes" + "\t" * 39, ["line 6, column 'label': 'yes' is not an integer"]),
        ("0" + "\t" * 39 + "\xff", ["line 6: byte 0xff is not UTF-8"]),
        ("2" + "\t" * 39, ["line 6, column 'label': 2", "expected 0 or 1"]),
        ("" + "\t" * 39, ["line 6, column 'label': empty", "expected 0 or 1"]),
    ],
)
@pytest.mark.parametrize("zipped", [False, True])
def test_a_bad_row_is_named(line, parts, zipped, tmp_path) -> None:
    """The row is the fourth; two lines before it are blank."""
    content = f"\n{text(rows(3))}\n{line}\n{text(rows(2))}".encode("latin-1")
    path = tmp_path / "train.txt"
    path.write_bytes(gzip.compress(content) if zipped else content)
    with pytest.raises(DataError) as error:
        Criteo(path).events()
    message = str(error.value)
    assert message.startswith(str(path)) and "\n" not in message and all(part in message for part in parts), message


def cut(path: Path) -> None:
    content = gzip.compress(text(rows(2000)).encode())
    path.write_bytes(content[: len(content) // 2])


FILES = [
    ("empty", "train.txt", lambda path: path.write_text(""), "is empty"),
    ("blank", "train.txt", lambda path: path.write_text("\n\n"), "is empty"),
    ("header alone", "train.csv", lambda path: path.write_text(text([COLUMNS], ",")), "has no rows"),
    ("half a header", "train.csv", lambda path: path.write_text("label,I1,I3\n1,2,3\n"),
     "no column 'I2'; found: label, I1, I3; criteo has the columns label, I1, "),
    ("cut off", "train.txt.gz", cut, "is no readable gzip file"),
    ("binary", "train.txt", lambda path: path.write_bytes(bytes(range(256)) * 9), "line 1: "),
    ("no parquet", "train.parquet", lambda path: path.write_bytes(b"PAR1 and no more"), "is no readable Parquet file"),
    ("no parquet at all", "train.parquet", lambda path: path.write_text("x"), "is no Parquet file"),
    ("other parquet", "train.parquet", lambda path: pd.DataFrame({"label": [0]}).to_parquet(path), "no column 'I1'"),
    ("words in parquet", "train.parquet",
     lambda path: naive(rows(2)).assign(I4=["1", "many"]).to_parquet(path), "column 'I4': .*many"),
    ("labels in parquet", "train.parquet",
     lambda path: naive(rows(9)).assign(label=[0, 1, None] * 3).to_parquet(path), "row 3, column 'label': empty"),
    ("shares in parquet", "train.parquet",
     lambda path: naive(rows(2)).assign(label=[0, 0.5]).to_parquet(path), "column 'label': .*0.5"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "write", "expected"), [f[1:] for f in FILES], ids=[f[0] for f in FILES])
def test_files_that_cannot_be(name, write, expected, tmp_path) -> None:
    write(tmp_path / name)
    with pytest.raises(DataError, match=expected) as error:
        Criteo(tmp_path).events()
    assert str(error.value).startswith(str(tmp_path / name)) and "\n" not in str(error.value)


def test_the_file_in_its_folder(tmp_path) -> None:
    with pytest.raises(DataError, match="has no train.txt or train.txt.gz or .*; criteo has to be put there by hand"):
        Criteo(tmp_path).events()
    with pytest.raises(DataError, match="no such file"):
        Criteo(tmp_path / "none.txt").events()
    naive(rows(3)).to_parquet(tmp_path / "sample.parquet")
    assert Criteo(tmp_path).files() == {"all": tmp_path / "sample.parquet"}
    naive(rows(3)).to_parquet(tmp_path / "other.parquet")
    with pytest.raises(DataError, match="has no train.txt"):
        Criteo(tmp_path).events()
    (tmp_path / "test.txt").write_text("")  # without labels, as Kaggle's
    (tmp_path / "train.txt").write_text(text(rows(4)))
    assert len(Criteo(tmp_path).events()) == 4


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_three_parts_are_a_split(form, tmp_path, monkeypatch) -> None:
    made = rows(10)
    for name, part in (("train", made[:5]), ("valid", made[5:8]), ("test", made[8:])):
        written(form, tmp_path, part).rename(tmp_path / f"{name}.{form}.part")
    for name in ("train", "valid", "test"):
        (tmp_path / f"{name}.{form}.part").rename(tmp_path / f"{name}.{form}")
    monkeypatch.setattr(event_files, "ROWS", 4)
    frame = Criteo(tmp_path).events()
    assert frame["split"].tolist() == ["train"] * 5 + ["val"] * 3 + ["test"] * 2
    assert frame["split"].cat.codes.tolist() == [0] * 5 + [1] * 3 + [2] * 2
    pd.testing.assert_frame_equal(frame.drop(columns="split"), naive(made))


def test_a_fingerprint_is_of_content_and_class(tmp_path) -> None:
    path = tmp_path / "train.txt"
    path.write_text(text(rows(3)))
    first = Criteo(tmp_path).fingerprint()
    assert Criteo(path).fingerprint() == first != Avazu(path).fingerprint()
    path.write_text(text(rows(4)))
    assert Criteo(path).fingerprint() != first


# ---- Avazu

AVAZU = (
    "id,click,hour,C1,banner_pos,site_id,site_domain,site_category,app_id,app_domain,app_category,device_id,"
    "device_ip,device_model,device_type,device_conn_type,C14,C15,C16,C17,C18,C19,C20,C21"
)
HOURS = [  # hour, then hour of the day, weekday from Monday and weekend by a calendar
    ("14102100", "0", "1", "0"),  # Tuesday
    ("14102423", "23", "4", "0"),  # Friday
    ("14102509", "9", "5", "1"),  # Saturday
    ("14102610", "10", "6", "1"),  # Sunday
    ("14102707", "7", "0", "0"),  # Monday
    ("14103012", "12", "3", "0"),  # Thursday
]


def avazu(hours: list[str]) -> str:
    lines = [
        f"1000{n},{n % 2},{hour},1005,{n % 7},1fbe01fe,f3845767,28905ebd,ecad2386,7801e8d9,07d7df22,a99f214a,ddd2926e,"
        f"44956a24,1,2,15706,320,50,1722,0,35,-1,{n + 70}"
        for n, hour in enumerate(hours)
    ]
    return "\n".join([AVAZU, *lines]) + "\n"


@pytest.mark.parametrize("form", ["csv", "gz", "parquet"])
def test_the_hour_becomes_three_categories(form, tmp_path) -> None:
    content, path = avazu([hour[0] for hour in HOURS]), tmp_path / f"train.{form}"
    if form == "parquet":
        (tmp_path / "a.csv").write_text(content)
        pd.read_csv(tmp_path / "a.csv").to_parquet(path)  # hours and most codes as integers
    else:
        path.write_bytes(gzip.compress(content.encode()) if form == "gz" else content.encode())
    frame = Avazu(tmp_path).events()
    names = AVAZU.split(",")
    assert list(frame.columns) == ["click", "hour", "weekday", "weekend", *names[3:]]
    assert frame["click"].tolist() == [0, 1, 0, 1, 0, 1]
    for place, name in enumerate(("hour", "weekday", "weekend"), 1):
        assert frame[name].tolist() == [hour[place] for hour in HOURS]
    assert frame["C20"].tolist() == ["-1"] * 6 and frame["C21"].tolist() == [f"{n + 70}" for n in range(6)]
    assert frame["banner_pos"].tolist() == list("012345") and set(frame["site_id"]) == {"1fbe01fe"}
    assert (frame.dtypes.iloc[1:] == "str").all()


def test_codes_are_the_same_text_whatever_their_type(tmp_path) -> None:
    """Integers with gaps come as floats out of pandas; a table of text has 1005 all the same."""
    (tmp_path / "a.csv").write_text(avazu(["14102100"] * 3).replace("320", "", 1))
    frame = pd.read_csv(tmp_path / "a.csv")
    assert frame["C15"].dtype == "float64"
    frame.to_parquet(tmp_path / "train.parquet")
    found = Avazu(tmp_path).events()
    pd.testing.assert_frame_equal(found, Avazu(tmp_path / "a.csv").events())
    assert found["C15"].isna().tolist() == [True, False, False] and found["C15"].tolist()[1:] == ["320", "320"]


def test_hours_are_guessed_to_be_categories(tmp_path) -> None:
    (tmp_path / "train.csv").write_text(avazu([f"1410{21 + n % 9}{n % 24:02}" for n in range(240)]))
    found = guess(Avazu(tmp_path).events(), {"click"}).fields
    assert {found[name].kind for name in ("hour", "weekday", "weekend", "banner_pos")} == {"categorical"}


@pytest.mark.parametrize("hour", ["14102124", "14130100", "1410210", "141021000", "2014-10-21", "14.02100", ""])
def test_hours_that_are_none(hour, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(event_files, "ROWS", 2)
    (tmp_path / "train.csv").write_text(avazu(["14102100"] * 5 + [hour, "14102100"]))
    with pytest.raises(DataError, match="train.csv, line 7, column 'hour': .*expected YYMMDDHH, as 14102100"):
        Avazu(tmp_path).events()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (avazu(["14102100"]).replace("banner_pos", "banner"), "no column 'banner_pos' .did you mean 'banner'"),
        (avazu(["14102100"]).partition("\n")[2], "line 1: two columns are named '0'; .* give columns"),
        (avazu(["14102100"] * 2) + "1,0,14102100\n", "line 4: 3 fields where the header has 24"),
        (avazu(["14102100"] * 2).replace(",1,14", ",click,14"), "line 3, column 'click': 'click' is not an integer"),
        (avazu(["14102100"] * 2).replace(",1,14", ",7,14"), "line 3, column 'click': 7; expected 0 or 1"),
    ],
)
def test_tables_of_avazu_that_cannot_be(content, expected, tmp_path) -> None:
    (tmp_path / "train.csv").write_text(content)
    with pytest.raises(DataError, match=f"train.csv.*{expected}"):
        Avazu(tmp_path).events()
