"""Raw ids to rows and back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from recgnn.data.interactions.vocabulary import Vocabulary
from recgnn.errors import DataError, RunError

INTEGERS = pd.Series([30, 4, 30, 100, 4, 30], name="user")
STRINGS = pd.Series(["b", "B", "é", "b", "10", "9"], name="item")


def test_fit_sorts_and_counts() -> None:
    integers, strings = Vocabulary.fit(INTEGERS), Vocabulary.fit(STRINGS)
    assert integers.ids.tolist() == [4, 30, 100]
    assert integers.frequency.tolist() == [2, 3, 1]
    assert strings.ids.tolist() == sorted({"b", "B", "é", "10", "9"})
    assert dict(zip(strings.ids, strings.frequency, strict=True))["b"] == 2
    assert (integers.is_integer, strings.is_integer, len(strings)) == (True, False, 5)


@pytest.mark.parametrize("ids", [INTEGERS, STRINGS])
def test_encode_and_decode_are_inverse(ids: pd.Series) -> None:
    vocabulary = Vocabulary.fit(ids)
    rows = vocabulary.encode(ids)
    assert rows.dtype == np.int64
    assert [vocabulary.ids.tolist().index(i) for i in ids] == rows.tolist()
    assert vocabulary.decode(rows).tolist() == ids.tolist()
    assert vocabulary.decode(rows.reshape(2, 3)).shape == (2, 3)
    unknown = pd.Series([ids[0] * 7, ids[1]])
    assert vocabulary.encode(unknown).tolist() == [-1, rows[1]]
    assert vocabulary.encode([]).tolist() == []
    for wrong in (-1, len(vocabulary)):
        with pytest.raises(IndexError):
            vocabulary.decode([wrong])


def test_parse_and_require() -> None:
    users, items = Vocabulary.fit(INTEGERS), Vocabulary.fit(pd.Series(["007", "apple", "pear"]))
    assert users.parse(["4", " 30"]) == [4, 30]
    assert items.parse(["007 ", "x"]) == ["007", "x"]
    assert users.require([100, "4"], "user").tolist() == [2, 0]
    assert items.require(["pear"]).tolist() == [2]
    with pytest.raises(DataError, match=r"'x1' is no id here: .* \(4 to 100\)"):
        users.parse(["x1"])
    with pytest.raises(DataError, match=r"unknown user 31: 3 .* \(4 to 100\); nearest: 30, 4, 100"):
        users.require([4, 31], "user")
    with pytest.raises(DataError, match=r"unknown items 'aple', 'zzz' \(2 of 2\).*nearest: apple"):
        items.require(["aple", "zzz"], "item")
    with pytest.raises(DataError, match="unknown user 99999999999999999999"):
        users.require(["99999999999999999999"], "user")
    with pytest.raises(DataError, match=r"unknown user 31\.0: 3 .* nearest: 30"):
        users.require([31.0], "user")
    for text in ("9" * 70 + '"9', "²"):  # cut in the message, and a digit that is no number
        with pytest.raises(DataError, match="is no id here: ids are whole numbers"):
            users.require([text], "user")


def test_attributes_follow_the_rows() -> None:
    table = pd.DataFrame(
        {"user": [100, 7, 4], "title": ["hundred", "seven", "four"], "n": [1, 2, 3]}
    )
    users = Vocabulary.fit(INTEGERS, table)
    assert users.title([2, 0, 1]).tolist() == ["hundred", "four", None]
    assert users.title(np.array([[2, 0]])).shape == (1, 2)
    assert Vocabulary.fit(INTEGERS).title([0]) is None


@pytest.mark.parametrize("ids", [INTEGERS, STRINGS])
@pytest.mark.parametrize("titles", [True, False])
def test_save_and_load(tmp_path: Path, ids: pd.Series, titles: bool) -> None:
    table = pd.DataFrame({ids.name: ids.unique()[:2], "title": ["x", "y"], "id": [1.5, 2.5]})
    vocabulary = Vocabulary.fit(ids, table if titles else None)
    vocabulary.save(tmp_path / "v" / "ids.parquet")
    loaded = Vocabulary.load(tmp_path / "v" / "ids.parquet")
    assert loaded.ids.equals(vocabulary.ids) and loaded.ids.dtype == vocabulary.ids.dtype
    assert loaded.frequency.tolist() == vocabulary.frequency.tolist()
    assert loaded.encode(ids).tolist() == vocabulary.encode(ids).tolist()
    if titles:
        pd.testing.assert_frame_equal(loaded.attributes, vocabulary.attributes)
    else:
        assert loaded.attributes is None


def test_a_broken_file_is_a_run_error(tmp_path: Path) -> None:
    path = tmp_path / "ids.parquet"
    with pytest.raises(RunError, match="ids.parquet: no vocabulary can be read"):
        Vocabulary.load(path)
    Vocabulary.fit(INTEGERS).save(path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(RunError, match="ids.parquet: no vocabulary can be read"):
        Vocabulary.load(path)


def test_what_is_no_vocabulary() -> None:
    with pytest.raises(DataError, match="unique"):
        Vocabulary([1, 1])
    with pytest.raises(DataError, match="integer or string"):
        Vocabulary([1.5])
    with pytest.raises(DataError, match="as many"):
        Vocabulary([1, 2], frequency=np.array([1]))


def test_new_ids_come_behind_those_of_an_earlier_vocabulary() -> None:
    """What is absent keeps its row; ids of another type are the same ids; what is known of an item now comes first."""
    titles = pd.DataFrame({"item": [5, 9], "title": ["five", "nine"]})
    earlier = Vocabulary.fit(pd.Series([9, 5, 7], name="item"), titles)
    others = pd.DataFrame({"item": ["9"], "title": ["neun"]})
    later = Vocabulary.fit(pd.Series(["9", "x", "3", "9"], name="item"), others)
    grown = later.behind(earlier)
    assert grown.ids.tolist() == ["5", "7", "9", "3", "x"] and grown.frequency.tolist() == [0, 0, 2, 1, 1]
    assert grown.title(np.arange(5)).tolist() == ["five", None, "neun", None, None]
    assert grown.encode(earlier.ids.to_series()).tolist() == [0, 1, 2]
    numbers = Vocabulary.fit(pd.Series([4, 1])).behind(Vocabulary.fit(pd.Series([2, 4])))
    assert numbers.is_integer and numbers.ids.tolist() == [2, 4, 1]
