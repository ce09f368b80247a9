"""Fields and their encoders: by hand, fitted on train alone, the same after a round trip."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from recgnn.data.clicks.encoders import KNOWN, MISSING, UNKNOWN
from recgnn.data.clicks.field_encoders import FieldEncoders
from recgnn.data.clicks.fields import Field, as_field, declared, guess
from recgnn.data.readers.values import as_text
from recgnn.errors import ConfigError, DataError, RunError


def encoded(train: list, rows: list, **options) -> np.ndarray:
    """Rows of one field, from the start of its own."""
    encoders = FieldEncoders({"x": Field(**options)}).fit(pd.DataFrame({"x": train}))
    ids, values = encoders.encode(pd.DataFrame({"x": rows}))
    return ids[:, 0] if values is None else np.concatenate([ids, values], 1)


def test_a_vocabulary_by_frequency_then_value() -> None:
    train = ["b", "a", "c", "c", "a", "d", None, ""]
    assert encoded(train, ["a", "c", "b", "d", "new", None, "", np.nan]).tolist() == [
        *(KNOWN + n for n in (0, 1, 2, 3)), UNKNOWN, MISSING, MISSING, MISSING,
    ]  # fmt: skip
    assert encoded(train, ["a", "c", "b", "new"], min_count=2).tolist() == [KNOWN, KNOWN + 1, UNKNOWN, UNKNOWN]


@pytest.mark.parametrize(
    "rows",
    [[12, 7], [12.0, 7.0], ["12", "7"], pd.Categorical([12, 7]), pd.array([12, 7], dtype="Int64"), np.int8([12, 7])],
)
def test_numbers_and_their_text_are_one_value(rows) -> None:
    for train in ([7, 12, 12], ["7", "12", "12"], [7.0, 12.0, 12.0]):
        assert encoded(train, rows).tolist() == [KNOWN, KNOWN + 1]
    assert as_text(pd.Series([True, False])).tolist() == ["True", "False"]
    assert as_text(pd.Series([1.5, np.nan, 2.0])).fillna("-").tolist() == ["1.5", "-", "2"]


def test_hashing_is_the_same_everywhere() -> None:
    rows = [f"value {n}" for n in range(500)] + [None]
    found = encoded(["a"], rows, buckets=50)
    assert found[-1] == MISSING and found[:-1].min() >= KNOWN and found[:-1].max() < KNOWN + 50
    assert len(set(found.tolist())) > 45
    code = (
        "import pandas as pd; from recgnn.data.clicks.field_encoders import FieldEncoders;"
        "from recgnn.data.clicks.fields import Field;"
        "e = FieldEncoders({'x': Field(buckets=50)}).fit(pd.DataFrame({'x': ['a']}));"
        "print(e.encode(pd.DataFrame({'x': [f'value {n}' for n in range(500)]}))[0][:, 0].tolist())"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(other.stdout) == found[:-1].tolist()


def test_several_values() -> None:
    train = ["x|y", "y", " y |z", None]
    rows = ["y|x|new", "z", None, "", "x|y|z|y"]
    found = encoded(train, rows, kind="multi", max_values=3)
    y, x, z = KNOWN, KNOWN + 1, KNOWN + 2
    third = np.float32(1 / 3)
    assert found.tolist() == [
        [y, x, UNKNOWN, third, third, third],
        [z, MISSING, MISSING, 1, 0, 0],
        [MISSING, MISSING, MISSING, 1, 0, 0],
        [MISSING, MISSING, MISSING, 1, 0, 0],
        [x, y, z, third, third, third],
    ]
    summed = encoded(train, rows, kind="multi", max_values=3, combine="sum")
    assert summed[0].tolist() == [y, x, UNKNOWN, 1, 1, 1]


def test_numbers() -> None:
    found = encoded([1.0, 3.0, None, 5.0], [3.0, 5.0, None, "4"], kind="numeric")
    deviation = np.sqrt(8 / 3)
    expected = [[0, 0], [0, 2 / deviation], [MISSING, 1], [0, 1 / deviation]]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert encoded([1.0, 3.0], [7.5], kind="numeric", transform="linear").tolist() == [[0, 7.5]]
    logs = encoded([0.0, np.e - 1, 1 - np.e], [np.e**2 - 1, -5, None], kind="numeric", transform="log")
    np.testing.assert_allclose(logs[:, 1], [2 * 1.5**0.5, -np.log(6) * 1.5**0.5, 1], rtol=1e-6)
    with pytest.raises(DataError, match="row 2, column 'x': 'two' is no number"):
        encoded([1.0, 3.0], ["1", "two"], kind="numeric")
    flags = encoded([1.0, 3.0], ["1", "True", None, "0"], kind="numeric", transform="linear")
    assert flags[:, 1].tolist() == [1, 1, 1, 0]
    with pytest.raises(DataError, match="row 2, column 'x': 'true' is no number"):
        encoded([1.0, 3.0], ["7.5", "true", "1"], kind="numeric")


def test_criteos_logarithmic_categories() -> None:
    values = [-2, 0, 1, 2, 3, 7, 100, 12345]
    text = [str(int(v)) if v <= 2 else str(int(np.floor(np.log(v) ** 2))) for v in values]
    assert text[3:] == ["2", "1", "3", "21", "88"]  # 3 falls together with 1
    found = encoded(values, [*values, None, 500, 1e6, -9], kind="numeric", transform="log2")
    same = {a: b for a, b in zip(text, found[:8].tolist(), strict=True)}
    assert [same[t] for t in text] == found[:8].tolist() and len(set(same.values())) == 7
    assert found[8] == MISSING and found[9] == UNKNOWN  # floor(38.6) is not in train
    assert found[10] == same["88"] and found[11] == same["-2"]  # beyond train's range


def test_quantiles() -> None:
    train = list(range(100))
    found = encoded(train, [*train, -5, 1000, None], kind="numeric", transform="quantile", bins=4)
    sizes = np.bincount(found[:100])
    assert sizes[KNOWN:].tolist() == [25, 25, 25, 25]
    assert found[100] == found[0] and found[101] == found[99] and found[102] == MISSING
    both = FieldEncoders({"x": Field("numeric", binned=True, bins=4)}).fit(pd.DataFrame({"x": train}))
    ids, values = both.encode(pd.DataFrame({"x": [*train, None]}))
    assert both.names == ["x", "x.bins"] and both.dims == [2, 6] and both.weighted == [True, False]
    assert (ids[:100, 1] - 2).tolist() == found[:100].tolist() and ids[100].tolist() == [MISSING, 2 + MISSING]
    np.testing.assert_allclose(values[:100, 0], (np.arange(100) - 49.5) / np.std(train), rtol=1e-5)


@pytest.mark.parametrize(
    "column", [[0, 3600 * 25], ["0", "90000"], ["1970-01-01T00:00:00Z", "1970-01-02 01:00:00"],
               pd.to_datetime(["1970-01-01 00:00", "1970-01-02 01:00"])],
)  # fmt: skip
def test_parts_of_times(column) -> None:
    train = pd.DataFrame({"t": np.arange(0, 24 * 3600 * 14, 3600)})
    encoders = FieldEncoders({"t": Field("time", parts=["hour", "weekday", "weekend"])}).fit(train)
    assert encoders.names == ["t.hour", "t.weekday", "t.weekend"]
    ids, values = encoders.encode(pd.DataFrame({"t": column}))
    words = [encoder.values.tolist() for encoder in encoders.encoders.values()]
    starts = np.cumsum([0, *encoders.dims[:-1]])
    assert values is None
    told = [[words[f][ids[r, f] - starts[f] - KNOWN] for f in range(3)] for r in range(2)]
    assert told == [["0", "3", "0"], ["1", "4", "0"]]  # a Thursday and a Friday


def test_parts_of_times_are_those_of_the_calendar() -> None:
    """Hours of the morning and of the afternoon, of all days and months, before and after 1970."""
    seconds = np.random.default_rng(0).integers(-10**9, 2 * 10**9, 400)
    moments = [datetime.fromtimestamp(int(s), UTC) for s in seconds]
    parts = {"hour": [m.hour for m in moments], "weekday": [m.weekday() for m in moments],
             "month": [m.month for m in moments], "weekend": [m.weekday() >= 5 for m in moments]}  # fmt: skip
    frame = pd.DataFrame({"t": seconds})
    encoders = FieldEncoders({"t": Field("time", parts=[*parts])}).fit(frame)
    ids = encoders.encode(frame)[0] - np.cumsum([0, *encoders.dims[:-1]]) - KNOWN
    for place, (encoder, own) in enumerate(zip(encoders.encoders.values(), parts.values(), strict=True)):
        assert [int(encoder.values[row]) for row in ids[:, place]] == own


FIELDS = {
    "user": "categorical", "price": "numeric", "genres": {"kind": "multi", "max_values": 2},
    "when": {"kind": "time", "parts": ["hour"]}, "zip": {"kind": "categorical", "buckets": 7},
    "age": {"kind": "numeric", "transform": "quantile", "bins": 3}, "title": "drop",
}  # fmt: skip


def frame(n: int = 60) -> pd.DataFrame:
    random = np.random.default_rng(1)
    return pd.DataFrame(
        {
            "user": [f"u{i}" for i in random.integers(9, size=n)],
            "price": np.where(random.random(n) < 0.1, np.nan, random.normal(10, 3, n)),
            "genres": random.choice(["A|B", "B", "C|A|B", ""], n),
            "when": random.integers(0, 10**6, n),
            "zip": random.integers(10**4, 10**5, n).astype(str),
            "age": random.integers(1, 80, n),
            "title": [f"t{i}" for i in range(n)],
        }
    )


def test_one_table_for_all_and_a_round_trip(tmp_path) -> None:
    train, rows = frame(), frame(40).assign(user="new")
    encoders = FieldEncoders(declared(FIELDS, list(train.columns))).fit(train)
    assert encoders.names == ["user", "price", "genres", "when.hour", "zip", "age"]
    assert encoders.slots == [0, 1, 2, 2, 3, 4, 5] and encoders.weighted == [False, True, True, True, *[False] * 3]
    ids, values = encoders.encode(rows)
    starts = np.cumsum([0, *encoders.dims])
    for slot, field in enumerate(encoders.slots):
        assert (ids[:, slot] >= starts[field]).all() and (ids[:, slot] < starts[field + 1]).all()
    assert (ids[:, 0] == UNKNOWN).all() and (values[:, [0, 4, 5, 6]] == 1).all()
    encoders.save(tmp_path)
    again = FieldEncoders.load(tmp_path)
    assert again.dims == encoders.dims and again.names == encoders.names
    for ours, theirs in zip(again.encode(rows), (ids, values), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    (tmp_path / "fields.parquet").write_bytes(b"PAR1")
    with pytest.raises(RunError, match="no fields can be read"):
        FieldEncoders.load(tmp_path)


def test_a_missing_column_is_a_missing_value() -> None:
    train = frame()
    encoders = FieldEncoders(declared(FIELDS, list(train.columns))).fit(train)
    ids, values = encoders.encode(train[["user"]])
    starts = np.cumsum([0, *encoders.dims])[encoders.slots]
    assert (ids[:, 1:] == starts[1:] + MISSING).all() and (values[:, 1] == 1).all()
    empty, nothing = encoders.encode(train.iloc[:0])
    assert empty.shape == nothing.shape == (0, 7)


def test_an_empty_vocabulary_is_refused() -> None:
    with pytest.raises(DataError, match="'x': no value of train is kept .min_count 3."):
        encoded(["a", "b"], ["a"], min_count=3)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"usr": "categorical"}, "no column 'usr'.*did you mean 'user'"),
        ({"user": "categorcal"}, "did you mean 'categorical'"),
        ({"user": {"kind": "multi", "seperator": ","}}, "no option 'seperator'.*did you mean 'separator'"),
        ({"user": "drop"}, "none is left"),
        ({"user": {"min_count": 0}}, "min_count"),
    ],
)
def test_declarations_that_cannot_be(given, message) -> None:
    with pytest.raises(ConfigError, match=message):
        declared(given, ["user", "item"])


def test_guesses() -> None:
    n = 300
    random = np.random.default_rng(0)
    events = pd.DataFrame(
        {
            "user": random.integers(99, size=n), "timestamp": random.integers(10**9, size=n), "label": [0, 1] * 150,
            "price": random.normal(size=n), "stars": random.integers(5, size=n), "flag": [True, False] * 150,
            "genres": random.choice(["a|b", "c", "d|e"], n), "title": [f"t{i}" for i in range(n)],
            "city": random.choice(["x", "y"], n), "same": "s", "day": pd.date_range("2024-01-01", periods=n),
        }
    )  # fmt: skip
    found, left_out, _ = guess(events, {"label"})
    assert {name: field.kind for name, field in found.items()} == {
        "user": "categorical", "timestamp": "time", "price": "numeric", "stars": "categorical",
        "flag": "categorical", "genres": "multi", "city": "categorical", "day": "time",
    }  # fmt: skip
    assert left_out == {"title": "nearly every row has another text", "same": "it has a single value"}
    with pytest.raises(DataError, match="declare them"):
        guess(events[["same"]], set())
    assert as_field("multi", "x") == Field("multi")


def test_rare_and_hashed_parts_of_several_values() -> None:
    train = ["x|y", "x", "y|z", "x"]
    rows = ["x|z", "z|nobody", "y"]
    kept = encoded(train, rows, kind="multi", max_values=2, min_count=2)
    assert kept.tolist() == [
        [KNOWN, UNKNOWN, 0.5, 0.5], [UNKNOWN, UNKNOWN, 0.5, 0.5], [KNOWN + 1, MISSING, 1, 0],
    ]  # fmt: skip
    hashed = encoded(train, [*rows, None], kind="multi", max_values=2, buckets=5)
    ids = hashed[:, :2]
    assert ids[[0, 0, 1, 1, 2], [0, 1, 0, 1, 0]].min() >= KNOWN and ids.max() < KNOWN + 5
    assert ids[0, 1] == ids[1, 0] and ids[3].tolist() == [MISSING, MISSING]
    single = encoded(["a"], ["x", "z", "y"], buckets=5)  # the same value, the same bucket
    assert [ids[0, 0], ids[0, 1], ids[2, 0]] == single.tolist()


@pytest.mark.parametrize("separator", [".", "; ", "|", "\\"])
def test_separators_are_no_patterns(separator) -> None:
    train = [separator.join(["x", "y"]), "x"]
    found = encoded(train, [separator.join(["y", "x"])], kind="multi", separator=separator, max_values=2)
    assert found.tolist() == [[KNOWN + 1, KNOWN, 0.5, 0.5]]


def test_spaces_alone_are_no_value() -> None:
    assert encoded(["x"], ["   "], kind="multi", max_values=2).tolist() == [[MISSING, MISSING, 1, 0]]


@pytest.mark.parametrize("text", ["x||y", "x|y|", "|x|y", "x| |y"])
def test_empty_pieces_are_no_values(text) -> None:
    found = encoded(["x|y", "x"], [text], kind="multi", max_values=3)
    assert found.tolist() == [[KNOWN, KNOWN + 1, MISSING, 0.5, 0.5, 0]]


@pytest.mark.parametrize("transform", ["standard", "quantile", "log2"])
def test_numbers_are_fitted_on_train_alone(transform) -> None:
    """The same train, whatever stands in the other rows; what train lacks is far outside, or unknown."""
    options = {"kind": "numeric", "transform": transform, "bins": 2}
    train = [1.0, 2.0, 3.0, 6.0]
    alone = encoded(train, [2.0], **options)
    assert encoded(train, [2.0, 1e6], **options)[:1].tolist() == alone.tolist()
    if transform == "standard":
        mean, deviation = 3.0, np.sqrt((4 + 1 + 0 + 9) / 4)
        assert encoded(train, [1e6], **options)[0, 1] == pytest.approx((1e6 - mean) / deviation)


def test_numbers_that_never_vary_do_nothing() -> None:
    assert encoded([5.0, 5.0], [5.0, 6.0], kind="numeric").tolist() == [[0, 0], [0, 1]]
    assert encoded([None, None], [None], kind="numeric").tolist() == [[MISSING, 1]]


def test_numbers_that_vary_by_rounding_alone() -> None:
    found = encoded([0.1] * 7, [0.1, 0.2], kind="numeric")
    assert np.abs(found[:, 1]).max() < 10


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, None, pd.NA, ""])
@pytest.mark.parametrize("transform", ["standard", "linear", "quantile", "log2"])
def test_numbers_that_are_none(transform, value) -> None:
    encoders = FieldEncoders({"x": Field("numeric", transform=transform)}).fit(pd.DataFrame({"x": [1.0, 2.0, 3.0]}))
    ids, values = encoders.encode(pd.DataFrame({"x": pd.Series([value, 2.0], dtype=object)}))
    assert ids[0, 0] == MISSING != ids[1, 0]
    assert values is None or values[0, 0] == 1


def test_quantiles_of_values_that_repeat() -> None:
    """Half of all is zero: fewer categories than asked for, and equal numbers share one."""
    train = [0.0] * 50 + list(range(1, 51))
    found = encoded(train, train, kind="numeric", transform="quantile", bins=10)
    assert len(set(found[:50].tolist())) == 1 and 1 < len(set(found.tolist())) < 10
    assert all(len(set(found[np.equal(train, value)])) == 1 for value in set(train))


def test_months_and_weekends() -> None:
    days = pd.date_range("2024-01-01", periods=366).strftime("%Y-%m-%d")
    encoders = FieldEncoders({"t": Field("time", parts=["month", "weekend"])}).fit(pd.DataFrame({"t": days}))
    rows = ["2024-02-29", "2024-12-28", "2024-12-29T23:59:59Z", "2024-12-30T00:30:00+02:00", "no date", None]
    ids, _ = encoders.encode(pd.DataFrame({"t": rows}))
    month, weekend = (encoder.values.tolist() for encoder in encoders.encoders.values())
    ids = ids - np.array([0, encoders.dims[0]])
    told = [(month[a - KNOWN], weekend[b - KNOWN]) for a, b in ids[:4]]
    assert told == [("2", "0"), ("12", "1"), ("12", "1"), ("12", "1")]  # in UTC, still Sunday
    assert ids[4:].tolist() == [[UNKNOWN, UNKNOWN], [MISSING, MISSING]]


def test_row_labels_of_a_frame_do_not_matter() -> None:
    train = frame()
    encoders = FieldEncoders(declared(FIELDS, list(train.columns))).fit(train)
    turned = train.sample(frac=1, random_state=3)
    ids, values = encoders.encode(turned)
    plain, numbers = encoders.encode(turned.reset_index(drop=True))
    np.testing.assert_array_equal(ids, plain)
    np.testing.assert_array_equal(values, numbers)
    again = FieldEncoders(declared(FIELDS, list(train.columns))).fit(turned)
    np.testing.assert_array_equal(again.encode(train)[0], encoders.encode(train)[0])  # nor does their order


@pytest.mark.parametrize("name", ["fields.json", "fields.parquet"])
def test_a_file_that_is_gone(name, tmp_path) -> None:
    train = frame()
    FieldEncoders(declared(FIELDS, list(train.columns))).fit(train).save(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(RunError, match="(cannot|no fields can) be read"):
        FieldEncoders.load(tmp_path)


@pytest.mark.parametrize(
    "options",
    [{"kind": "numeric", "transform": "std"}, {"kind": "multi", "combine": "avg"}, {"kind": "time", "parts": []},
     {"kind": "multi", "separator": ""}, {"kind": "time", "parts": ["hours"]}],
)  # fmt: skip
def test_options_that_do_not_exist(options) -> None:
    with pytest.raises(ConfigError):
        declared({"user": options}, ["user"])


LARGE = 2**60 + 1


@pytest.mark.parametrize("rows", [[str(LARGE), "7"], [str(LARGE), "7", None], [LARGE, None, 7]])
def test_ids_of_64_bits_as_text(rows) -> None:
    """As numbers they are in train; as text, or with gaps, in what is to be predicted."""
    found = encoded([LARGE, LARGE + 2, LARGE, 7], pd.Series(rows, dtype=object))
    expected = {str(LARGE): KNOWN, "7": KNOWN + 2, "None": MISSING}  # 1152921504606846979 comes before 7
    assert found.tolist() == [expected[str(row)] for row in rows]


@pytest.mark.parametrize("buckets", [None, 50])
@pytest.mark.parametrize(
    "train", [[3.0, 4.0, np.nan], pd.array([3, 4, None], "Int64"), pd.array([3, 4, 4], "Float32")]
)
def test_numbers_written_otherwise_are_the_same_number(train, buckets) -> None:
    rows = pd.DataFrame({"x": ["3", "3.0", " 3 ", "NA", "", "4.00"]})
    encoders = FieldEncoders({"x": Field(buckets=buckets)}).fit(pd.DataFrame({"x": train}))
    ids = encoders.encode(rows)[0][:, 0].tolist()
    three, four = encoders.encode(pd.DataFrame({"x": [3, 4]}))[0][:, 0].tolist()
    assert ids == [three, three, three, MISSING, MISSING, four] and UNKNOWN not in ids and three != four


def test_text_stays_text(tmp_path) -> None:
    """Where train holds text, 3.0 is not 3, before and after a round trip."""
    encoders = FieldEncoders({"x": Field()}).fit(pd.DataFrame({"x": ["3", "3.0", "3", "NA"]}))
    encoders.save(tmp_path)
    for one in (encoders, FieldEncoders.load(tmp_path)):
        ids = one.encode(pd.DataFrame({"x": ["3", "3.0", "03", "NA"]}))[0][:, 0].tolist()
        assert ids == [KNOWN, KNOWN + 1, UNKNOWN, KNOWN + 2]


def test_numbers_stay_numbers_after_a_round_trip(tmp_path) -> None:
    FieldEncoders({"x": Field()}).fit(pd.DataFrame({"x": [3.0, np.nan, 4.0]})).save(tmp_path)
    ids = FieldEncoders.load(tmp_path).encode(pd.DataFrame({"x": ["4.0", "3", "null"]}))[0][:, 0]
    assert ids.tolist() == [KNOWN + 1, KNOWN, MISSING]


@pytest.mark.parametrize(("other", "row"), [("NA", MISSING), ("soon", UNKNOWN), ("1700000000000", UNKNOWN)])
def test_one_time_that_is_none_leaves_the_others(other, row) -> None:
    train = {"kind": "time", "parts": ["hour"]}
    assert encoded([0, 3600], ["3600", other, "0"], **train).tolist() == [KNOWN + 1, row, KNOWN]


# ---- numbers x of values


def test_numbers_that_a_column_holds() -> None:
    train = pd.DataFrame({"brand": ["b", "a", "a", None], "amount": [0.5, 2, -1, 3]})
    encoders = FieldEncoders({"brand": Field(values="amount"), "day": Field()}).fit(train.assign(day="x"))
    assert encoders.weighted == [True, False] and encoders.reads == ["brand", "day", "amount"]
    rows = pd.DataFrame({"brand": ["a", "b", "new", None, "a", "a"], "amount": ["2.5", "-3", "0", "7", "", "inf"]})
    ids, values = encoders.encode(rows.assign(day="x"))
    assert ids[:, 0].tolist() == [KNOWN, KNOWN + 1, UNKNOWN, MISSING, MISSING, MISSING]
    assert values.tolist() == [[2.5, 1], [-3, 1], [0, 1], [1, 1], [1, 1], [1, 1]]
    assert encoders.encode(rows[["brand"]])[0][:, 0].tolist() == [MISSING] * 6  # no such column: no value
    with pytest.raises(DataError, match="row 2, column 'amount': 'two' is no number"):
        encoders.encode(rows.assign(amount=["1", "two", *"3456"]))


@pytest.mark.parametrize(
    ("options", "expected"),
    [({}, [0.5, 2, -1.5, 1]), ({"combine": "sum"}, [0.5, 2, -1.5, 1]), ({"combine": "mean"}, [0.1, 0.4, -0.3, 0.2])],
)
def test_numbers_beside_several_values(options, expected) -> None:
    """As they are by default, as in the equation; the mean is over the sum of their sizes."""
    field = {"kind": "multi", "weights": ":", "max_values": 4} | options
    train = ["y:3|x:1", "y", "t:1:2"]
    found = encoded(train, [" y : 0.5 |x:2|new:-1.5|t:1 ", "t:1:1e-1|", "", None], **field)
    y, t, x = KNOWN, KNOWN + 1, KNOWN + 2  # the value t:1 has the number 2
    assert found[0, :4].tolist() == [y, x, UNKNOWN, UNKNOWN]
    np.testing.assert_allclose(found[0, 4:], expected, rtol=1e-6)
    np.testing.assert_allclose(found[1, 4:], [1.0 if "mean" in options.values() else 0.1, 0, 0, 0], rtol=1e-6)
    assert found[1, 0] == t
    assert (found[2:, 4:] == 0).all()  # no value, no feature


@pytest.mark.parametrize("text", ["y:", ":2", "y:two", "x|y:nan", "y:1e99", "http://y"])
def test_numbers_beside_values_that_are_none(text) -> None:
    with pytest.raises(DataError, match="row 3, column 'x': .*; expected a value and its number, as tag:0.5, or the"):
        encoded(["y:1"], ["y:1", "y:1", text, text], kind="multi", weights=":")


def test_values_of_one_cost_nothing() -> None:
    """No numbers are declared: there is no array of them."""
    rows = pd.DataFrame({"a": ["x"], "b": ["y"]})
    assert FieldEncoders({"a": Field(), "b": Field(buckets=3)}).fit(rows).encode(rows)[1] is None


def test_numbers_after_a_round_trip(tmp_path) -> None:
    train = pd.DataFrame({"a": ["x", "y"], "n": [1.5, 2], "t": ["p:2|q", "q:0.25"]})
    encoders = FieldEncoders({"a": Field(values="n"), "t": Field("multi", weights=":", combine="mean")}).fit(train)
    encoders.save(tmp_path)
    for ours, theirs in zip(FieldEncoders.load(tmp_path).encode(train), encoders.encode(train), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_an_encoding_goes_on_from_an_earlier_one(tmp_path) -> None:
    """Known values keep their rows, also those that are absent; numbers keep scale and bins; hashed rows stay."""
    fields = {"city": Field(), "tags": Field("multi"), "age": Field("numeric", binned=True, bins=2),
              "shop": Field(buckets=4), "views": Field("numeric", transform="log2")}  # fmt: skip
    first = pd.DataFrame({"city": ["b", "a", "b", "c"], "tags": ["x|y", "x", "", "y"], "age": [1, 2, 3, 4],
                          "shop": ["p", "q", "r", "s"], "views": [1, 2, 9, 30]})  # fmt: skip
    later = pd.DataFrame({"city": ["d", "a", "d"], "tags": ["z|x|w", "x", "z"], "age": [50, 60, 70],
                          "shop": ["t", "p", "q"], "views": [1, 500, 2]})  # fmt: skip
    FieldEncoders(fields).fit(first).save(tmp_path)
    before, now = FieldEncoders.load(tmp_path), FieldEncoders.behind(tmp_path, fields).fit(later)
    assert [*now.encoders["city"].values] == ["b", "a", "c", "d"] and now.encoders["tags"].num_slots == 3
    assert [*now.encoders["tags"].values] == ["x", "y", "z", "w"]
    for name in ("mean", "scale"):
        assert getattr(now.encoders["age"], name) == getattr(before.encoders["age"], name)
    assert (now.encoders["age.bins"].edges == before.encoders["age.bins"].edges).all()
    assert [*now.encoders["views"].values][:4] == [*before.encoders["views"].values]
    rows, (old, _), (new, _) = now.rows_of(before), before.encode(first), now.encode(first)
    assert (rows[old] == np.delete(new, 3, axis=1)).all()  # the third slot of tags, which only later rows fill
    with pytest.raises(ConfigError, match="fields: city is categorical, min_count 2, and categorical in the run"):
        FieldEncoders.behind(tmp_path, fields | {"city": Field(min_count=2)})
    with pytest.raises(ConfigError, match="fields: shop is none, and categorical, buckets 4 in the run"):
        FieldEncoders.behind(tmp_path, {k: v for k, v in fields.items() if k != "shop"})
