"""Whose a column is, and how that is told; what is known of an item last."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from recgnn.data import CTRDataModule, EventTable, FrameLog
from recgnn.data.clicks.fields import Field
from recgnn.data.clicks.owners import Timeline, owners_of
from recgnn.data.clicks.tables import EventTables
from recgnn.data.interactions.filters import codes
from recgnn.errors import ConfigError


def log() -> pd.DataFrame:
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"user": random.integers(0, 300, 3000), "item": random.integers(0, 200, 3000)})
    frame = frame.drop_duplicates(ignore_index=True)
    frame["category"] = [f"c{x}" for x in random.integers(0, 12, 200)[frame["item"]]]
    return frame


def owner(frame: pd.DataFrame, column: str = "category", said=None, kind: str = "categorical") -> tuple[str, str]:
    line = Timeline(codes(frame["user"]), codes(frame["item"]), None)
    return tuple(owners_of(frame, {column: Field(kind)}, line, said or {})[column])


def test_what_is_told_of_an_item() -> None:
    frame = log()
    assert owner(frame) == ("item", "of the item")
    one = frame.assign(category=frame["category"].mask(frame.index == 10, "c12"))
    assert owner(one) == ("item", "of the item (1 of 200 items has two values; the last before the event counts)")
    gone = frame["item"].isin([3, 4]) & (frame.index % 2 == 0)
    some = one.assign(category=one["category"].mask(gone, "other").mask(frame["item"] == 5))
    gaps, items = (frame["item"] == 5).sum(), 199
    told = f"of the item (3 of {items} items have several values; the last before the event counts; {gaps} gaps)"
    assert owner(some) == ("item", told)
    assert owner(frame.assign(category=frame["user"] % 50)) == ("user", "of the user")
    assert owner(frame.assign(category=frame.index % 7)) == ("event", "of the event")


def test_who_takes_what_does_not_matter() -> None:
    """Where people of one kind take goods of one kind, what is the user's stays so, and what is the item's too."""
    random, frame = np.random.default_rng(1), log()
    alike = (frame["user"] % 4 == frame["item"] % 4) | (random.random(len(frame)) < 0.02)
    frame = frame[alike].reset_index(drop=True).assign(age=lambda f: f["user"] % 4, size=lambda f: f["item"] % 4)
    assert owner(frame, "age")[0] == "user" and owner(frame, "size")[0] == "item"


def test_one_event_of_each_item_shows_nothing() -> None:
    frame = pd.DataFrame({"user": np.arange(100) // 4, "item": np.arange(100), "category": list("abcde") * 20})
    assert owner(frame)[0] == "unclear" and "too few items" in owner(frame)[1]
    assert owner(frame, said={"category": "item"}) == ("item", "of the item")
    assert owner(frame.assign(age=frame["user"] % 7), "age") == ("user", "of the user")


def test_tables_say_whose_their_columns_are(tmp_path) -> None:
    """As do item_fields and the others, which go before; a column that nobody shares needs one of them."""
    frame = pd.DataFrame({"user": np.arange(60) // 3, "item": np.arange(60) * 7 % 59, "hour": np.arange(60) % 5})
    users = pd.DataFrame({"user": range(20), "age": range(20)})
    items = pd.DataFrame({"item": range(60), "size": np.arange(60) % 4})
    fields = dict.fromkeys(["user", "item", "age", "size", "hour"], "categorical")

    def text(**options) -> str:
        source = FrameLog(frame, users=users, items=items)
        data = CTRDataModule(source, fields=fields, negatives=1, cache_dir=str(tmp_path), **options)
        return data.describe("clicks")

    told = text()
    assert "age: categorical (22 rows), of the user" in told and "size: categorical (6 rows), of the item" in told
    assert "hour: left out, too few items have events of several users" in told
    assert "hour: categorical (7 rows), of the event" in text(event_fields=["hour"])
    assert "size: categorical (6 rows), of the user" in text(user_fields=["size"], item_fields=["hour"])
    with pytest.raises(ConfigError, match="user_fields: 'hour' is in item_fields too"):
        text(user_fields=["hour"], item_fields=["hour"])


def test_recommending_takes_what_is_known_of_an_item_last(tmp_path) -> None:
    frame = log().assign(timestamp=lambda f: (np.arange(len(f)) * 7919) % 10_007, like=lambda f: f.index % 3 % 2)
    odd = [10, 500, 900]
    frame.loc[odd, "category"] = ["new", None, " "]
    frame.to_parquet(tmp_path / "x.parquet")
    data = CTRDataModule(EventTable(tmp_path / "x.parquet"), "like", cache_dir=str(tmp_path))
    items = EventTables.load(data.prepared.folder).items.set_index("item")["category"]
    known = frame[frame["category"].fillna(" ") != " "].sort_values("timestamp").drop_duplicates("item", keep="last")
    assert items.to_dict() == dict(zip(known["item"].astype(str), known["category"], strict=True))
