"""The consumer's encoding of raw rows, held against the encoders that it was written from."""

from __future__ import annotations

import gzip
import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

pytest.importorskip("onnxruntime")
from recgnn import load
from recgnn.data.clicks.field_encoders import FieldEncoders
from recgnn.data.clicks.fields import Field
from recgnn.data.readers.tables import text_blocks
from recgnn.data.stored import read_json, write_json
from recgnn.errors import DataError, RecGNNError
from recgnn.serving.columns import own_columns
from recgnn.serving.exporting import score
from recgnn.serving.exporting.encoding import write_encoding

FIELDS = {
    "city": Field("categorical", min_count=2),
    "code": Field("categorical"),
    "shop": Field("categorical", buckets=7),
    "tags": Field("multi", separator="|", max_values=3),
    "words": Field("multi", separator=" ", combine="sum", buckets=5, max_values=2),
    "price": Field("numeric", transform="log", binned=True, bins=4),
    "share": Field("numeric", transform="linear"),
    "clicks": Field("numeric", transform="log2"),
    "age": Field("numeric", transform="quantile", bins=4),
    "when": Field("time", parts=["hour", "weekday", "weekend", "month"]),
    "member": Field("categorical"),
    "flag": Field("categorical"),
    "stamp": Field("time", parts=["hour", "month"]),
    "brand": Field("categorical", values="amount"),
    "mix": Field("multi", weights=":", max_values=2, min_count=2),
    "blend": Field("multi", separator=" ", weights="=", combine="mean"),
}


def train() -> pd.DataFrame:
    random = np.random.default_rng(0)
    n = 60
    frame = pd.DataFrame({"city": random.choice(["Rome", "Bonn", "Łódź"], n), "code": random.integers(9, size=n)})
    frame.loc[0, "city"] = "Oslo"  # once: rare
    frame["shop"] = random.choice(["a", "b", "c d"], n)
    frame["tags"] = random.choice(["x|y", "y", "z|x|y|w", None], n)
    frame["words"] = random.choice(["big red", "red", ""], n)
    frame["price"], frame["share"] = random.normal(50, 12, n), random.random(n)
    frame["clicks"], frame["age"] = random.integers(-2, 900, n), random.integers(18, 80, n)
    frame["when"] = 1_700_000_000 + random.integers(0, 3e7, n)
    frame["flag"] = random.choice(["true", "False"], n)
    frame["stamp"] = pd.to_datetime(frame["when"], unit="s").dt.strftime("%d/%m/%Y %I:%M %p")
    frame["brand"], frame["amount"] = random.choice(["x", "y", None], n), random.normal(size=n)
    frame["mix"] = random.choice(["a:0.5|b:2", "b", "c:1:3|a:-1|b:0"], n)
    frame["blend"] = random.choice(["a=0.5 b=2", "b", None], n)
    return frame.assign(member=random.random(n) < 0.5)


def rows() -> pd.DataFrame:
    """Rows of known, rare, unknown and missing values."""
    return pd.DataFrame(
        {
            "city": ["Rome", " Bonn ", "Oslo", "Paris", "", None, "Łódź"],
            "code": [3.0, 8, 99, None, 0, 1, 2],
            "shop": ["a", "c d", "never seen", None, "", "b", "a"],
            "tags": ["x|y", "w| y |x|z", "|", None, "q", "y|q|x", " "],
            "words": ["big", "red big more", None, "", "green", "red  big", "big"],
            "price": [50.0, -3, None, np.inf, 1e9, 49.5, 0],
            "share": [0.25, None, 1, 2, -1, 0, 0.5],
            "clicks": [0.0, 2, 3, 899, -1, None, 2.5],
            "age": [18.0, 40, 79, 200, None, 1, 33.3],
            "when": [1_700_000_000, 1_710_000_000.5, None, 0, 1_720_500_000, 1_718_409_600, 1_718_323_200],
            "member": [True, False, None, True, False, True, False],
            "flag": ["true", "TRUE", "0", None, "1.0", "no", "false"],
            "stamp": ["25/12/2023 11:05 PM", "2024-01-02 03:04", "31/04/2024 01:00 AM", "soon", "", None,
                      "1/2/2024 1:05 am"],
            "brand": ["x", "y", "z", None, "x", "x", "y"],
            "amount": [0.5, -3, 2, 7, None, np.inf, 0],
            "mix": ["a:1|b:2|c:1:3", "c:1:0.25", "", None, " b | a : -0.5 ", "q:3|a", "a:0|b:1e-3"],
            "blend": ["a=1 b=3", "b=-2 a", "", None, "a=0 b=0", "c=0.5", "b"],
        }
    )  # fmt: skip


def as_csv(frame: pd.DataFrame) -> pd.DataFrame:
    """As a text file is read: every cell its text, nothing as an empty one."""
    return frame.astype(object).map(lambda x: "" if pd.isna(x) else str(x)).astype("str")


FRAMES = {
    "typed": rows(),
    "csv": as_csv(rows()),
    "whole numbers as text": as_csv(rows()).assign(code=["3", "3.0", "08", "NA", "", "1e0", "2"]),
    "lists": rows().assign(tags=[["x", "y"], np.array(["w"]), None, [], '["z","x"]', "['y' 'x']", "[x]"]),
    "truths": rows().assign(member=list("1010101"), flag=[True, False, None, True, False, True, False]),
    "dates": rows().assign(when=["2024-05-01", "2024-06-15T23:30:00+02:00", "", "1718409600", "nan", None, "x"]),
    "moments": rows().assign(when=pd.to_datetime(["2024-05-01 07:00", None, *["2024-12-29 00:30"] * 5])),
    "categories": rows().astype({"city": "category", "tags": "category", "code": "category"}),
    "nullable": rows().astype({"code": "Int64", "clicks": "Float64", "city": "string", "member": "boolean"}),
    "columns lacking": rows()[["code", "price", "when"]],
    "an index of its own": rows().set_axis([5, 5, 1, 0, 9, 2, 2]),
    "one row": rows().iloc[[3]],
    "no rows": rows().iloc[:0],
}


@pytest.fixture(scope="module")
def encoders() -> FieldEncoders:
    return FieldEncoders(FIELDS).fit(train())


@pytest.fixture(scope="module")
def scorer(encoders, tmp_path_factory) -> score.Scorer:
    """The consumer without its model."""
    folder = tmp_path_factory.mktemp("encoding")
    write_encoding(SimpleNamespace(encoders=encoders, history=None, names={}), folder, {})
    found = score.Scorer.__new__(score.Scorer)
    found.read_encoding(folder)
    return found


@pytest.mark.parametrize("name", FRAMES)
def test_rows_are_encoded_as_by_the_run(name: str, encoders, scorer) -> None:
    frame = FRAMES[name]
    expected_ids, expected_values = encoders.encode(frame)
    ids, values = scorer.encode(frame, scorer.fields)
    np.testing.assert_array_equal(ids, expected_ids)
    np.testing.assert_array_equal(values, expected_values)


def test_text_in_a_numeric_column_is_refused(scorer) -> None:
    with pytest.raises(DataError, match="column 'price': 'cheap' is no number"):
        scorer.encode(as_csv(rows()).assign(price="cheap"), scorer.fields)


@pytest.mark.parametrize("text", ["a:", ":2", "a:b", "a:nan"])
def test_numbers_beside_values_that_are_none(text, scorer) -> None:
    with pytest.raises(DataError, match=f"column 'mix': '{text}'; expected a value and its number, as tag:0.5"):
        scorer.encode(rows().assign(mix=text), scorer.fields)


def test_the_files_say_what_a_program_in_another_language_needs(encoders, tmp_path) -> None:
    write_encoding(SimpleNamespace(encoders=encoders, history=None, names={}), tmp_path, {})
    content = json.loads((tmp_path / "encoding.json").read_text())
    starts = [field["start"] for field in content["fields"]]
    assert starts == np.cumsum([0, *encoders.dims[:-1]]).tolist()
    table = pq.read_table(tmp_path / "vocabulary.parquet").to_pandas()
    city = table[table["field"] == "city"]
    counts = train()["city"].value_counts().drop("Oslo")
    assert set(city["value"]) == set(counts.index) and city["row"].tolist() == [2, 3, 4]
    assert counts[city["value"]].is_monotonic_decreasing
    assert set(content["fields"][4]) == {
        *("name", "column", "start", "rows", "slots", "unknown"),
        *("kind", "type", "buckets", "separator", "weights", "combine", "padding"),
    }
    assert content["fields"][0]["value_column"] is None and content["fields"][18]["value_column"] == "amount"


READY = {
    "item_fields": ["item", "genre"],
    "columns": {"item": "before", "genre": "before_genre"},
    "separator": ",",
    "times": "before_times",
    "max_length": 2,
}


def test_columns_that_hold_histories_already_are_encoded_as_by_the_run(click_model, tmp_path) -> None:
    run = click_model("BST", embedding_dim=4, num_heads=2)
    summary = run / "vocabulary" / "summary.json"
    write_json(summary, read_json(summary) | {"history": READY}, sealed=True)
    trained = load(run)
    write_encoding(trained, tmp_path, {})
    scorer = score.Scorer.__new__(score.Scorer)
    scorer.read_encoding(tmp_path)
    frame = pd.DataFrame(
        {
            "before": ["3,4,3", "", "99", " 7 ", None],
            "before_genre": ["a|b,,d|c|a", "", "b", "e", ""],
            "before_times": ["10,20,30.5", "", "0", "99", ""],
            "timestamp": [31.0, 5, 1_000_000, 99, 7],
        }
    )
    expected = trained.past(frame)
    lengths, found = scorer.past(frame)
    assert lengths.tolist() == expected.lengths.tolist() == [2, 0, 1, 1, 0]
    np.testing.assert_array_equal(found["history_ids"], expected.ids)
    np.testing.assert_array_equal(found["history_values"], expected.values)
    assert found["history_gaps"].tolist() == expected.gaps.tolist() == [11.0, 0.5, 1_000_000.0, 0.0]
    lists = frame.assign(
        before=[[3, 4, 3], [], [99], [7], []],
        before_genre=[["a|b", "", "d|c|a"], [], ["b"], ["e"], []],
        before_times=[[10, 20, 30.5], [], [0], [99], []],
    )
    for name, values in scorer.past(lists)[1].items():
        np.testing.assert_array_equal(values, found[name])


# ---- reading: as `predict` reads


TABLE = "who,title\n1,Alien\n2,\"Up, and away\"\n\n3,\"two\nlines\"\n"
FIELD = [{"column": "user", "kind": "categorical"}]
PLAIN = "who,title\n1,Alien\n2,Up\n"
TEXTS: dict[str, str | bytes] = {
    "plain": PLAIN, "quoted": TABLE, "blank first": "\n\n" + TABLE, "crlf": PLAIN.replace("\n", "\r\n"),
    "cr": PLAIN.replace("\n", "\r"), "byte order mark": "\ufeff" + PLAIN, "utf-16": PLAIN.encode("utf-16"),
    "doubled quotes": 'who,title\n1,"say ""hi"""\n', "semicolons": PLAIN.replace(",", ";"),
    "bars": PLAIN.replace(",", "|"), "tabs": PLAIN.replace(",", "\t"), "gzip": gzip.compress(PLAIN.encode()),
    "no rows": "who,title\n", "one column": "who\n1\n", "blanks": "who , title\n1 , Alien\n", "empty": "",
    "blank": "\n\n", "a field too many": PLAIN.replace("Up", "Up,2"),
    "a field in every row too many": "who,title\n1,2,3\n4,5,6\n", "a field too few": PLAIN.replace(",Up", ""),
    "open quote": PLAIN.replace("Up", '"Up'), "open quote of one": PLAIN.replace("2,", '"2,'),
    "text behind a quote": PLAIN.replace("Up", '"Up"s'), "a quote that swallows rows": 'who,title\n1,"a\n2,b"\n',
    "latin-1": PLAIN.replace("Up", "\u00dcp").encode("latin-1"), "a nul": PLAIN.replace("Up", "U\0p"),
    "twice": PLAIN.replace("title", "who"), "cut gzip": gzip.compress(PLAIN.encode())[:30],
    "utf-16 cut": PLAIN.encode("utf-16")[:-1],
}  # fmt: skip


@pytest.mark.parametrize("name", TEXTS)
def test_text_is_read_or_refused_as_by_predict(name: str, tmp_path) -> None:
    text = TEXTS[name]
    path = tmp_path / ("rows.tsv" if name == "tabs" else "rows.csv")
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    consumer = score.Scorer.__new__(score.Scorer)
    consumer.names, consumer.needed, consumer.fields = {"user": "who"}, [], [{"column": "user", "kind": "categorical"}]
    try:
        expected = pd.concat([own_columns(frame, consumer.names) for frame in text_blocks(path)])
    except RecGNNError:
        with pytest.raises(DataError) as error:
            [consumer.own(frame) for frame in score.blocks_of(path)]
        assert "\n" not in str(error.value)
        return
    found = pd.concat([consumer.own(frame) for frame in score.blocks_of(path)])
    assert found.columns.tolist() == expected.columns.tolist()
    assert found.map(str.strip).to_numpy().tolist() == expected.to_numpy().tolist()


def test_text_is_read_in_blocks_and_a_wrong_row_is_named(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(score, "READ", 3)
    path = tmp_path / "rows.csv"
    path.write_text("a,b\n" + "".join(f"{n},{n}\n" for n in range(7)))
    blocks = list(score.blocks_of(path))
    assert [len(block) for block in blocks] == [3, 3, 1] and pd.concat(blocks)["b"].tolist() == list("0123456")
    path.write_text("\na,b\n" + "".join(f"{n},{n}\n" for n in range(7)) + "7,7,7\n")
    with pytest.raises(DataError, match="line 10: 3 fields where the header has 2"):
        list(score.blocks_of(path))


def test_a_damaged_file_is_refused(tmp_path) -> None:
    pd.DataFrame({"who": range(50)}).to_parquet(tmp_path / "whole.parquet")
    content = (tmp_path / "whole.parquet").read_bytes()
    for number, part in enumerate((content[:-9], content[9:], b"")):
        (tmp_path / f"{number}.parquet").write_bytes(part)
        with pytest.raises(score.DataError, match="^cannot be read: .+"):
            list(score.blocks_of(tmp_path / f"{number}.parquet"))


def test_a_footer_that_tells_of_other_rows_is_refused(tmp_path, monkeypatch) -> None:
    pd.DataFrame({"who": range(50)}).to_parquet(tmp_path / "rows.parquet")
    whole = pq.ParquetFile.iter_batches
    monkeypatch.setattr(pq.ParquetFile, "iter_batches", lambda *args, **more: [*whole(*args, **more)][:-1])
    with pytest.raises(score.DataError, match="^is damaged: it tells of 50 rows and holds 0"):
        list(score.blocks_of(tmp_path / "rows.parquet"))
    with pytest.raises(DataError, match="rows.parquet: is damaged: its footer tells of 50 rows, and it holds 0"):
        list(text_blocks(tmp_path / "rows.parquet"))


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (pd.DataFrame({"title": ["x"]}), "no column 'who'; found: title"),
        (pd.DataFrame([[1, 2]], columns=["who", "who"]), "two columns are named 'who'"),
    ],
)
def test_columns_that_the_consumer_refuses(frame, message) -> None:
    consumer = score.Scorer.__new__(score.Scorer)
    consumer.names, consumer.needed = {"user": "who"}, ["user"]
    consumer.fields = [{"column": "user", "kind": "categorical"}]
    with pytest.raises(DataError, match=message):
        consumer.own(frame)
