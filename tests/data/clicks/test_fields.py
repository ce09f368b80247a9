"""Fields as they are declared and guessed, and values as text."""

from __future__ import annotations

import datetime
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from recgnn.data.clicks.fields import Field, as_field, declared, guess
from recgnn.data.readers.tables import read_table
from recgnn.data.readers.values import as_text
from recgnn.errors import ConfigError, DataError

COLUMNS = ["user", "price", "genres"]


def test_a_kind_or_a_mapping_or_a_field() -> None:
    own = Field("multi", separator=",", combine="sum")
    given = {"user": "categorical", "price": {"kind": "numeric", "transform": "quantile", "bins": 5}, "genres": own}
    found = declared(given, COLUMNS)
    assert list(found) == ["user", "price", "genres"]
    assert found["user"] == Field() and found["user"].kind == "categorical"
    assert (found["price"].kind, found["price"].transform, found["price"].bins) == ("numeric", "quantile", 5)
    assert found["genres"] is own
    assert as_field({"min_count": 3}, "user") == Field("categorical", min_count=3)


def test_dropped_fields_are_gone_and_the_order_is_the_declarations() -> None:
    assert list(declared({"genres": "multi", "price": "drop", "user": "categorical"}, COLUMNS)) == ["genres", "user"]
    for given in ({}, {"user": "drop"}):
        with pytest.raises(ConfigError, match="none is left"):
            declared(given, COLUMNS)


@pytest.mark.parametrize(
    ("given", "parts"),
    [
        ({"genre": "multi"}, ["no column 'genre'", "did you mean 'genres'", "found: user, price, genres"]),
        ({"user": "categoric"}, ["user.kind is 'categoric'", "did you mean 'categorical'", "expected categorical or"]),
        ({"user": {"kind": "text"}}, ["user.kind is 'text'", "expected categorical or"]),
        ({"user": {"min_cout": 2}}, ["user has no option 'min_cout'", "did you mean 'min_count'"]),
    ],
)
def test_mistakes_name_the_nearest(given, parts) -> None:
    with pytest.raises(ConfigError) as error:
        declared(given, COLUMNS)
    assert all(part in str(error.value) for part in parts), error.value
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("option", ["min_count", "max_values", "bins", "buckets"])
def test_counts_are_at_least_one(option) -> None:
    assert getattr(Field(**{option: 1}), option) == 1
    for value in (0, -3):
        with pytest.raises(ConfigError, match=f"fields: x.{option} is {value}; expected a whole number from 1"):
            as_field({option: value}, "x")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"kind": "multi", "values": "price"}, "values: price names the numbers of a categorical field, found kind"),
        ({"kind": "numeric", "values": "price"}, "found kind numeric"),
        ({"values": "pric"}, "fields: values: no column 'pric' .did you mean 'price'"),
        ({"binned": True}, "binned puts categories beside a number, found kind categorical"),
        ({"kind": "numeric", "transform": "log2", "binned": True}, "found kind numeric, transform log2; take kind"),
        ({"weights": ":"}, "weights: ':' of kind categorical; expected what stands between a value and its number"),
        ({"kind": "multi", "weights": "|"}, "weights: '.' of kind multi.*other than the separator"),
        ({"kind": "multi", "weights": ""}, "weights: '' of kind multi"),
    ],
)
def test_numbers_of_values_that_cannot_be(given, message) -> None:
    with pytest.raises(ConfigError, match=message):
        declared({"user": given}, COLUMNS)


def test_values_with_numbers_are_summed_unless_said() -> None:
    assert Field("multi").averaged and not Field("multi", combine="sum").averaged
    assert not Field("multi", weights=":").averaged and Field("multi", weights=":", combine="mean").averaged
    found = declared({"user": {"values": "price"}, "genres": {"kind": "multi", "weights": ":"}}, COLUMNS)
    assert found["user"].values == "price" and "price" not in found and found["genres"].describe() == "multi, weights :"


def test_a_field_says_what_is_its_own() -> None:
    assert Field("numeric").describe() == "numeric"
    assert Field("multi", separator=",", max_values=3).describe() == "multi, separator ,, max_values 3"
    assert Field(**Field("time", parts=["month"]).as_dict()) == Field("time", parts=["month"])


# ---- guesses


def of(column: object, n: int = 400, name: str = "x") -> str:
    """The kind that is guessed of one column."""
    frame = pd.DataFrame({name: column, "other": np.arange(n) % 2})
    fields, left_out, _ = guess(frame, set())
    assert (name in fields) != (name in left_out)
    return fields[name].kind if name in fields else "drop"


NUMBERS = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        (np.arange(400) % 20, "categorical"),
        (np.arange(400) % 21, "categorical"),
        (np.arange(400) % 21 / 4, "numeric"),
        (np.arange(400) % 150 * 7, "categorical"),  # few rows of each, spread evenly: ids
        (np.arange(400) % 150 - 75, "numeric"),  # below -1
        (np.arange(400)[::-1], "drop"),  # the number of the row
        (np.where(np.arange(400) % 3, np.nan, np.arange(400) * 7919 % 4001), "numeric"),  # nearly each row another
        (np.where(np.arange(400) % 3, np.nan, np.arange(400) % 40), "categorical"),
        (NUMBERS.geometric(0.05, 400), "numeric"),  # counts: most are small, neighbours about equally frequent
        (NUMBERS.lognormal(6, 1, 400).astype(int), "numeric"),
        (NUMBERS.permutation(9000)[NUMBERS.zipf(1.4, 400) % 150], "categorical"),  # ids of any popularity
        (np.arange(400) * 3600 + 1_700_000_000, "drop"),
        (pd.array([True, False] * 200), "categorical"),
        (pd.Categorical(["a", "b"] * 200), "categorical"),
        (pd.date_range("2024", periods=400), "time"),
        (["a|b"] + ["c", "d"] * 199 + ["e"], "categorical"),  # one in 400 is no reason
        (["a|b", "c", "d", "e"] * 100, "multi"),
        ([f"t{n % 150}" for n in range(400)], "categorical"),  # every value more than twice
        ([f"t{n % 250}" for n in range(400)], "drop"),
        ([f"t{n % 90}" for n in range(400)], "categorical"),
        (["a"] * 400, "drop"),
        ([None] * 400, "drop"),
        ([5] * 400, "drop"),
        (["2024-05-01 12:30"] + ["2024-05-02", "2024-11-30T07:15:01Z"] * 199 + [None], "time"),
        (["2024-05-01", "5 May", "x"] * 133 + ["y"], "categorical"),
    ],
)
def test_kinds_are_guessed(column, kind) -> None:
    assert of(column) == kind


@pytest.mark.parametrize(("name", "kind"), [("user", "categorical"), ("item", "categorical"), ("timestamp", "time")])
def test_names_that_say_what_they_are(name, kind) -> None:
    assert of(np.arange(400), name=name) == kind
    assert of([f"id {n}" for n in range(400)], name=name) == kind


IDS = ["userId", "movie_id", "ad_id", "itemid", "MovieID", "zip", "zip_code", "item id", "ad-id", "hotelid", "brand"]


@pytest.mark.parametrize("name", IDS)
def test_ids_are_categories_by_their_names(name) -> None:
    """However they are spread: as counts, with gaps, or one to a row, which may come again in other rows."""
    for column in (NUMBERS.geometric(0.05, 400), np.arange(400) // 1.5, np.where(np.arange(400) % 2, np.nan, 7.0 * 3)):
        column = np.where(np.arange(400) < 2, [3.0, 5.0] * 200, column)
        assert of(column, name=name) == "categorical"
    for unique in (np.arange(400) * 7 % 401, np.arange(400), [f"id {n}" for n in range(400)]):
        assert guess(pd.DataFrame({name: unique}), set()).fields[name] == Field(min_count=2)


@pytest.mark.parametrize("name", ["id", "index", "row_id", "Unnamed: 0"])
def test_the_number_of_the_row_is_left_out(name) -> None:
    assert of(np.arange(400), name=name) == "drop"
    assert of(np.arange(400) * 7 % 401, name=name) != "drop"


@pytest.mark.parametrize("name", ["bid", "paid", "amountPaid", "maxBid", "grid", "humidity", "grid_size", "valid"])
def test_names_that_only_look_like_ids(name) -> None:
    assert of(NUMBERS.geometric(0.05, 400), name=name) == "numeric"


@pytest.mark.parametrize("unit", [1, 10**3, 10**6, 10**9])
@pytest.mark.parametrize(("name", "kind"), [("event_time", "time"), ("created_at", "time"), ("product", "categorical")])
def test_moments_by_their_name_and_size(unit, name, kind) -> None:
    moments = (NUMBERS.integers(0, 150, 400) * 86_400 + 1_700_000_000) * unit
    assert of(moments, name=name) == kind
    assert of(moments // 1000 if unit == 1 else moments % 997, name=name) != "time"


def test_excluded_columns_are_not_guessed() -> None:
    frame = pd.DataFrame({"label": [0, 1] * 9, "a": ["x", "y"] * 9})
    assert list(guess(frame, {"label"})[0]) == ["a"]
    with pytest.raises(DataError, match="no column of the events can be a field"):
        guess(frame, {"label", "a"})


@pytest.mark.parametrize(
    ("odd", "why"),
    [("$1,250.50", "'$1,250.50' is none"), ("?", "'?' is none"), ("12,5", "say decimal"), ("\\N", ""), ("n/a", "")],
)
def test_numbers_with_a_text_among_them_are_no_field_and_it_is_said(odd, why, tmp_path) -> None:
    """One such text of 400; where it stands for no number, the others are numbers."""
    values = [f"{n * 37 % 400 + 0.25}" for n in range(400)]
    values[7] = odd
    pd.DataFrame({"price": values, "x": ["a", "b"] * 200}).to_csv(tmp_path / "log.csv", index=False)
    found = guess(read_table(tmp_path / "log.csv")[0], set())
    if why:
        assert found.left_out["price"].startswith("most of it is numbers, and ") and why in found.left_out["price"]
    else:
        assert found.fields["price"].kind == "numeric"
    names = pd.DataFrame({"name": [f"shop {n}" for n in range(400)], "x": ["a", "b"] * 200})
    assert guess(names, set()).left_out == {"name": "nearly every row has another text"}


@pytest.mark.parametrize("style", ["%d/%m/%Y %H:%M", "%m/%d/%Y %I:%M:%S %p", "%a %b %d %H:%M:%S +0000 %Y"])
def test_texts_that_are_moments_are_times_in_any_notation(style) -> None:
    moments = [datetime.datetime(2024, 3, 1) + datetime.timedelta(hours=7 * n) for n in range(200)]
    frame = pd.DataFrame({"seen": [one.strftime(style) for one in moments], "x": ["a", "b"] * 100})
    assert guess(frame, set()).fields["seen"].kind == "time"
    odd = guess(frame.assign(seen=[*frame["seen"][:-1], "yesterday"]), set())
    assert odd.left_out == {"seen": "nearly every row has another text"}


def told(column: np.ndarray, chance: np.ndarray, name: str = "x") -> tuple[Field, str]:
    """The field that is guessed of a column by labels of those chances, and why."""
    labels = (np.random.default_rng(1).random(len(column)) < chance).astype(np.float32)
    found = guess(pd.DataFrame({name: column}), set(), labels)
    return found.fields[name], found.reasons.get(name, "")


def test_integers_whose_values_tell_more_than_their_order_are_categories() -> None:
    """Also where they are spread as counts are: the first ads of a catalogue are the most shown ones."""
    ads = NUMBERS.zipf(1.3, 8000) % 300
    field, why = told(ads, 1 / (1 + np.exp(-NUMBERS.normal(0, 2, 300)))[ads])
    assert field == Field() and why == "each value tells more than the order"


@pytest.mark.parametrize("name", ["x", "age"])
def test_integers_whose_order_tells_more_are_numbers_with_bins_where_a_line_is_too_little(name) -> None:
    age = NUMBERS.integers(0, 4000, 8000)
    rising, why = told(age, age / 4000, name)
    assert rising == Field("numeric") and why == "the order tells more than each value"
    middle, _ = told(age, np.where(np.abs(age - 2000) < 1000, 0.7, 0.2), name)
    assert middle.kind == "numeric" and middle.binned and 4 <= middle.bins <= 64


def test_integers_that_tell_nothing_are_categories_unless_their_name_or_spread_says_otherwise() -> None:
    codes, nothing = NUMBERS.integers(10_000, 99_999, 900)[NUMBERS.integers(0, 900, 8000)], np.full(8000, 0.3)
    assert told(codes, nothing)[0] == Field()
    assert told(codes, nothing, "price")[0].kind == "numeric"
    assert told(NUMBERS.geometric(0.02, 8000) - 1, nothing)[0].kind == "numeric"


def test_numbers_far_out_are_taken_as_logarithms() -> None:
    amount = NUMBERS.lognormal(3, 2, 8000)
    field, why = told(amount, np.clip(np.log(amount) / 10, 0.05, 0.95))
    assert (field.kind, field.transform, field.binned, why) == ("numeric", "log", False, "fractions")


# ---- values as text


@pytest.mark.parametrize(
    "column",
    [
        [12, 7], [12.0, 7.0], ["12", "7"], np.uint8([12, 7]), np.float32([12, 7]), pd.array([12, 7], dtype="Int64"),
        pd.array([12, 7], dtype="Float64"), pd.Categorical([12, 7]), pd.Categorical(["12", "7"]),
        pd.array(["12", "7"], dtype="string"), np.array([12, 7], dtype=object),
    ],
)  # fmt: skip
def test_a_value_has_one_text(column) -> None:
    found = as_text(pd.Series(column))
    assert found.tolist() == ["12", "7"] and found.dtype == "string"


@pytest.mark.parametrize("column", [[True, False], pd.Categorical([True, False]), pd.array([True, False])])
def test_truth_has_one_text(column) -> None:
    assert as_text(pd.Series(column)).tolist() == as_text(pd.Series(["True", "False"])).tolist()


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ([1.5, -0.25, 1e300], ["1.5", "-0.25", "1e+300"]),
        ([-3.0, 0.0, -0.0], ["-3", "0", "0"]),
        (["007", "1e3", " a"], ["007", "1e3", "a"]),
        ([2**53 - 1, 2**60 + 1], [str(2**53 - 1), str(2**60 + 1)]),
        ([float(2**53 - 1)], [str(2**53 - 1)]),
        ([Decimal("1.50")], ["1.50"]),
        ([datetime.date(2024, 5, 1)], ["2024-05-01"]),
    ],
)
def test_text_of(column, expected) -> None:
    assert as_text(pd.Series(column)).tolist() == expected


@pytest.mark.parametrize(
    "column",
    [
        [None, "", "x"], [None, "  ", "x"], [np.nan, pd.NA, "x"], pd.Categorical([None, None, "x"]),
        pd.array([None, "", "x"], "string"),
    ],
)  # fmt: skip
def test_nulls_and_empty_text_are_no_value(column) -> None:
    found = as_text(pd.Series(column))
    assert found.isna().tolist() == [True, True, False] and found.iloc[2] == "x"


@pytest.mark.parametrize("column", [[1.0, np.nan], [1.5, np.nan], pd.array([1, None], "Int64"), [True, None]])
def test_gaps_among_numbers_are_no_value(column) -> None:
    assert as_text(pd.Series(column)).isna().tolist() == [False, True]
