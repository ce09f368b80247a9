"""Ids of several columns: joined in reading, known by their parts afterwards."""

from __future__ import annotations

import pandas as pd
import pytest

from recgnn.data import FrameLog, GivenSplit, TableLog
from recgnn.data.interactions.compound import Parts, admitted
from recgnn.data.interactions.prepare import compute
from recgnn.data.interactions.prepared import PreparedLog
from recgnn.data.interactions.vocabulary import Vocabulary
from recgnn.errors import DataError

ROWS = [
    (7, "x", "funny", "train"),
    (7, "y", "dark", "train"),
    (30, "x", "funny", "train"),
    (30, "y", "slow", "test"),  # known by its parts
    (30, "z", "slow", "test"),  # a film that train does not have
    (7, "x", "slow", "train"),
    (7, "x", "dark", "test"),
]


def prepared() -> PreparedLog:
    frame = pd.DataFrame(ROWS, columns=["user", "film", "tag", "split"])
    return compute(FrameLog(frame, ["user", "film"], "tag"), [], GivenSplit(0))


def test_pairs_that_train_has_not_are_known_by_their_parts() -> None:
    log = prepared()
    assert [*log.users.ids] == ["30,x", "7,x", "7,y", "30,y"]
    assert log.users.frequency.tolist() == [1, 2, 1, 0]
    assert log.test.user.tolist() == [3, 1] and log.items.decode(log.test.item).tolist() == ["slow", "dark"]
    assert len(log.cold["test"]) == 1
    assert log.summary["columns"] == {"user": "user,film", "item": "tag"}


def test_parts_are_numbered_each_by_itself(tmp_path) -> None:
    log = prepared()
    log.save(tmp_path / "log")
    for users in (log.users, PreparedLog.load(tmp_path / "log").users):
        parts = Parts(users)
        assert parts.sizes == [2, 2]
        assert parts.codes.tolist() == [[0, 0], [1, 0], [1, 1], [0, 1]]  # 30 before 7: text


def test_an_id_of_one_column_is_its_own_part() -> None:
    frame = pd.DataFrame(ROWS, columns=["user", "film", "tag", "split"])
    parts = Parts(compute(FrameLog(frame, "film", "tag"), [], GivenSplit(0)).users)
    assert parts.sizes == [2] and parts.codes.tolist() == [[0], [1]]


def test_new_pairs_are_admitted_where_their_parts_are_known() -> None:
    users = prepared().users
    trained = Vocabulary(users.ids[:3], users.attributes.iloc[:3], users.frequency[:3])
    assert admitted(trained, ["8,x", "7", "7,x,y", "30,x"]) is trained
    known = admitted(trained, ["30,y", "30,y", "30,z"])
    assert [*known.ids] == [*users.ids] and known.frequency.tolist() == [1, 2, 1, 0]
    assert Parts(known).codes.tolist() == Parts(users).codes.tolist()


def test_a_table_names_the_columns_in_its_file(tmp_path) -> None:
    path = tmp_path / "tags.csv"
    path.write_text("userId,movieId,tag\n1,01,funny\n1,2,dark\n2,01,dark\n")
    log = TableLog(path, ["userId", "movieId"], "tag").read()
    assert [*log.interactions["user"]] == ["1,01", "1,2", "2,01"]
    one, other = (TableLog(path, columns, "tag") for columns in (["movieId", "userId"], ["userId", "movieId"]))
    assert one.fingerprint() != other.fingerprint()


@pytest.mark.parametrize(
    ("columns", "value", "message"),
    [
        (["user", "films"], "x", "films"),
        (["user", "film"], "x,y", "row 8, column 'film': 'x,y' has a comma, which joins ids of several columns"),
        (["user", "film"], None, "no film id"),
    ],
)
def test_mistakes(columns: list[str], value: str | None, message: str) -> None:
    frame = pd.DataFrame([*ROWS, (1, value, "dark", "train")], columns=["user", "film", "tag", "split"])
    with pytest.raises(DataError, match=message):
        FrameLog(frame, columns, "tag").read()


def test_a_users_table_has_ids_of_one_column() -> None:
    frame = pd.DataFrame(ROWS, columns=["user", "film", "tag", "split"])
    with pytest.raises(DataError, match="a users table has ids of one column"):
        FrameLog(frame, ["user", "film"], "tag", users=pd.DataFrame({"user": [7]})).read()
