"""Amazon Beauty: its files, made up here, and the real ones where they are."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from recgnn.data import AmazonBeauty, CTRDataModule, Histories, LeaveOneOut
from recgnn.errors import DataError

DATA = os.environ.get("RECGNN_DATA")
needs_data = pytest.mark.skipif(not DATA, reason="RECGNN_DATA names no folder of real data")
ACTIONS = [(2, 7), (2, 5), (1, 5), (2, 9), (1, 9), (1, 7), (2, 8), (3, 4)]  # user 2: 7 5 9 8, user 1: 5 9 7
LISTS = {5: [1], 7: [1, 2, 3], 8: [], 9: [4, 2], 6: [5]}


def files(folder: Path, column: str = "attributes", lists: dict | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    lists = LISTS if lists is None else lists
    actions = pd.DataFrame(ACTIONS, columns=["user", "item"], dtype="int32")
    actions.to_parquet(folder / "sequences.parquet")
    pd.DataFrame({"item": [*lists], column: [*lists.values()]}).to_parquet(folder / "attributes.parquet")
    return folder


@pytest.mark.parametrize("column", ["attributes", "attrs"])
def test_pos_is_the_rank_by_row_within_the_user_and_attributes_are_text(tmp_path: Path, column: str) -> None:
    log = AmazonBeauty(files(tmp_path, column)).read()
    assert [*log.interactions.columns] == ["user", "item", "pos"]
    assert [*zip(log.interactions["user"], log.interactions["item"], strict=True)] == ACTIONS
    assert log.interactions["pos"].tolist() == [0, 1, 0, 2, 1, 2, 3, 0]
    found = dict(zip(log.items["item"], log.items["attributes"], strict=True))
    assert found == {5: "1", 7: "1|2|3", 8: "", 9: "4|2", 6: "5"}
    assert log.name == "amazon-beauty"


def test_the_folder_of_several_data_sets_and_the_fingerprint(tmp_path: Path) -> None:
    inner = files(tmp_path / "amazon-beauty")
    outer, other = AmazonBeauty(tmp_path), AmazonBeauty(files(tmp_path / "other", lists=LISTS | {5: [9]}))
    assert len(outer.read()) == 8
    assert outer.fingerprint() == AmazonBeauty(str(inner)).fingerprint() != other.fingerprint()


def test_the_last_action_is_test_the_one_before_validation_and_histories_follow_the_rows(tmp_path: Path) -> None:
    fields = {"user": "categorical", "item": "categorical", "attributes": {"kind": "multi", "max_values": 3}}
    data = CTRDataModule(
        AmazonBeauty(files(tmp_path)), fields=fields, split=LeaveOneOut(), negatives=1, cache_dir=str(tmp_path / "c"),
        history=Histories(["item", "attributes"]),
    )  # fmt: skip
    prepared, encoders = data.prepared, data.prepared.encoders.encoders
    words = ["?", "", *encoders["item"].values]
    start = encoders["user"].num_rows
    users = ["?", "", *encoders["user"].values]

    def past(part) -> dict[str, list[str]]:
        found = {}
        for row in np.flatnonzero(part.labels == 1):
            of = part.past_items[part.starts[row] : part.starts[row] + part.lengths[row]]
            items = [words[i - start] for i in [*prepared.item_ids[of, 0], part.ids[row, 1]]]
            found[users[part.ids[row, 0]]] = items  # of the last positive event
        return found

    assert past(prepared.train) == {"2": ["7", "5"], "1": ["5"], "3": ["4"]}
    known = {*words}  # what train has, negatives included
    for part, whole in ((prepared.val, {"2": "7 5 9", "1": "5 9"}), (prepared.test, {"2": "7 5 9 8", "1": "5 9 7"})):
        wanted = {user: [i if i in known else "?" for i in items.split()] for user, items in whole.items()}
        assert past(part) == wanted
        assert part.labels.tolist() == [1, 0, 1, 0]


@pytest.mark.parametrize("name", ["sequences.parquet", "attributes.parquet"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    (files(tmp_path) / name).unlink()
    for call in (AmazonBeauty(tmp_path).read, AmazonBeauty(tmp_path).fingerprint):
        expected = "expected sequences.parquet, attributes.parquet; .* by hand"
        with pytest.raises(DataError, match=f"{tmp_path}: holds no amazon-beauty; {expected}"):
            call()


def test_wrong_columns_and_values_are_named(tmp_path: Path) -> None:
    source = AmazonBeauty(files(tmp_path, "attribute"))
    with pytest.raises(DataError, match=r"attributes.parquet: no column 'attributes' \(did you mean 'attribute'"):
        source.read()
    pd.DataFrame({"item": [5, 7], "attrs": ["1", "2|3"]}).to_parquet(tmp_path / "attributes.parquet")
    with pytest.raises(DataError, match="attributes.parquet, row 1, column 'attrs': '1'; expected a list"):
        source.read()
    pd.DataFrame({"uid": [1], "item": [5]}).to_parquet(tmp_path / "sequences.parquet")
    with pytest.raises(DataError, match="sequences.parquet: no column 'user'"):
        source.read()
    pd.DataFrame({"user": [1.0, None], "item": [5, 7]}).to_parquet(tmp_path / "sequences.parquet")
    files(tmp_path / "good")
    (tmp_path / "good" / "attributes.parquet").replace(tmp_path / "attributes.parquet")
    with pytest.raises(DataError, match="sequences.parquet, row 2, column 'user': no user id"):
        source.read()


@needs_data
def test_the_real_data() -> None:
    log = AmazonBeauty(DATA).read()
    frame = log.interactions
    assert (frame["user"].nunique(), frame["item"].nunique(), len(frame)) == (22_363, 12_101, 198_502)
    assert (frame.groupby("user")["pos"].max() + 1 == frame.groupby("user").size()).all()
    assert frame.groupby("user").size().min() == 5 and frame.groupby("item").size().min() == 5
    assert len(log.items) == 12_101 and log.items["attributes"].str.fullmatch(r"[0-9]+(\|[0-9]+)*").all()
