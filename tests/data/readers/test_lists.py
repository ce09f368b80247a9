"""Lists of any writing, held against the lists that they were written from; what fills them up."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recgnn.data.readers.lists import as_json, flat_pieces, hold_lists, padding_in, pieces_of, plain_lists
from recgnn.data.readers.tables import read_table

NUMBERS = [[3, 17], [], [5], [5, 5, 8]]
TEXTS = [["a", 'b "c"\\'], [], ["d|e"], ["x", "[y]", "it's"]]


def plain(lists: list) -> list[list[str]]:
    return [[str(value) for value in one] for one in lists]


@pytest.mark.parametrize("lists", [NUMBERS, TEXTS, [[1.5, 2.0], [], [3.0]], [[True], [], [False]]])
@pytest.mark.parametrize("how", ["lists", "arrays", "arrow", "json", "python", "parquet"])
def test_lists_are_read_however_they_are_kept(lists, how, tmp_path) -> None:
    expected = [[str(int(v)) if isinstance(v, float) and v.is_integer() else str(v) for v in one] for one in lists]
    column = {
        "lists": lambda: pd.Series(lists),
        "arrays": lambda: pd.Series([np.array(one) for one in lists]),
        "arrow": lambda: pd.Series(pd.array(lists, dtype=pd.ArrowDtype(pa.array(lists).type))),
        "json": lambda: pd.Series([json.dumps(one) for one in lists]),
        "python": lambda: pd.Series([repr(one) for one in lists]),
    }
    if how == "parquet":
        pq.write_table(pa.table({"x": lists}), tmp_path / "x.parquet")
        found = read_table(tmp_path / "x.parquet")[0]["x"]
    else:
        found = plain_lists(column[how]())
    assert pieces_of(found, "|") == expected
    values, owner = flat_pieces(found, "|")
    assert values.to_pylist() == [v for one in expected for v in one]
    assert owner.tolist() == [row for row, one in enumerate(expected) for _ in one]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a|b", ["a", "b"]), (" a | b ", ["a", "b"]), ("a||b|", ["a", "b"]), ("", []), (" ", []), (None, []),
        ("[promo]", ["[promo]"]), ("[promo]|x", ["[promo]", "x"]), ("[ 3 17]", ["3", "17"]), ("['a' 'b']", ["a", "b"]),
        ("[1, null, NaN, 2.0]", ["1", "2"]), ('["", " a "]', ["a"]), (7.0, ["7"]), ('[["a","b"],["c"]]', None),
    ],
)  # fmt: skip
def test_one_cell(text, expected) -> None:
    if expected is None:
        expected = ['["a", "b"]', '["c"]']
    assert pieces_of(pd.Series([text]), "|") == [expected]


def test_blanks_keep_their_places_where_columns_go_together() -> None:
    texts = pd.Series(["3,,17", " 3 ", '["a","",null,"b"]'])
    assert pieces_of(texts, ",", True) == [["3", "", "17"], ["3"], ["a", "", "", "b"]]
    assert pieces_of(pd.Series(["3  17 ", " 3"]), " ", True) == [["3", "17"], ["3"]]


def test_slices_and_missing_lists() -> None:
    values = pa.array([[9], [1, 2], None, [], [None, 3]])
    assert as_json(values[1:]).to_pylist() == ["[1,2]", None, "[]", "[null,3]"]
    assert as_json(pa.array([[[1], []], [[2, 3]]])).to_pylist() == ["[[1],[]]", "[[2,3]]"]
    mixed = plain_lists(pd.Series([["a", 1], None, ("b",)], dtype=object))
    assert pieces_of(mixed, "|") == [["a", "1"], [], ["b"]]
    later = plain_lists(pd.Series(["x|y", 3, ["a", 1]], dtype=object))
    assert pieces_of(later, "|") == [["x", "y"], ["3"], ["a", "1"]]


@pytest.mark.parametrize(
    ("values", "expected"),
    [(["[1]", "[2, 3]", ""], True), (["a|b", "[1]", "c"], False), (["[promo]", "[sale]"], False), ([1.0, 2.0], False)],
)
def test_a_column_of_lists_is_known(values, expected) -> None:
    assert hold_lists(pd.Series(values)) is expected


def histories(seed: int = 0) -> list[list[str]]:
    random = np.random.default_rng(seed)
    return [[str(x) for x in random.integers(1, 40, n)] for n in random.integers(0, 8, 300)]


@pytest.mark.parametrize("value", ["0", "-1", "PAD"])
@pytest.mark.parametrize("end", [False, True])
def test_what_fills_lists_up_is_noticed(value, end) -> None:
    padded = [one + [value] * (8 - len(one)) if end else [value] * (8 - len(one)) + one for one in histories()]
    found = padding_in(padded)
    assert found.startswith(f"{value!r} fills the {'end' if end else 'beginning'} of 100% of its lists")
    assert f"say padding: {value} to" in found
    assert padding_in(padded[:5]) == "", "of five lists nothing can be told"


@pytest.mark.parametrize("first", ["7", "0"])
def test_what_most_people_begin_with_is_no_padding(first) -> None:
    lists = histories()
    assert padding_in(lists) == ""
    assert padding_in([[first, *one] for one in lists]) == "" or first not in "".join(sum(lists, []))
    assert padding_in([[first, first, *one, first] for one in lists]) == "", "it comes later too"
    assert padding_in([[first], [first, "1"]] * 20) == "", "never twice in a list"
