"""Sampled negatives: uniform over the items that the user never had, whatever repeats, and told apart by nothing."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chisquare

from recgnn.data.clicks.asked import Asked, Chosen
from recgnn.data.clicks.negatives import Drawn, with_negatives
from recgnn.data.clicks.owners import Timeline
from recgnn.data.clicks.parts import Labelled, whole_of, with_past
from recgnn.data.interactions.filters import codes
from recgnn.data.interactions.split import RatioSplit
from recgnn.errors import ConfigError, DataError


def sampled(frame: pd.DataFrame, count: int, of_items=()) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The events and their negatives."""
    line = Timeline(codes(frame["user"]), codes(frame["item"]), frame.get("timestamp"))
    events, rows = with_negatives(frame, line, np.zeros(len(frame), np.int8), Drawn(count, 1), of_items)
    assert rows.tolist() == np.repeat(np.arange(len(frame)), 1 + count).tolist()
    real = np.arange(len(events)) % (1 + count) == 0
    return events[real].reset_index(drop=True), events[~real].reset_index(drop=True)


def test_a_user_who_repeats_an_item_gets_every_other_item_equally_often() -> None:
    had = [0, 0, 0, 1, 2, 2]  # three distinct items of ten
    others = [(1, item) for item in range(3, 10)]
    frame = pd.DataFrame([(0, item) for item in had] + others, columns=["user", "item"])
    _, negatives = sampled(frame, 500)
    counts = negatives["item"][negatives["user"] == 0].value_counts().reindex(range(10), fill_value=0)
    assert (counts[:3] == 0).all()
    assert chisquare(counts[3:]).pvalue > 1e-3


def test_a_user_has_every_item_by_distinct_items_alone() -> None:
    frame = pd.DataFrame({"user": [0, 0, 0, 1], "item": [0, 0, 0, 1]})  # three events of two items
    _, negatives = sampled(frame, 1)
    assert negatives["item"].tolist() == [1, 1, 1, 0]
    with pytest.raises(DataError, match="user 0 has every one of the 2 items"):
        sampled(pd.DataFrame({"user": [0, 0, 1], "item": [0, 1, 1]}), 1)


def test_user_and_time_are_the_events_and_what_is_the_items_goes_with_it() -> None:
    columns = {"user": list("abcd"), "item": [1, 2, 3, 4], "timestamp": [5, 6, 7, 8], "colour": list("rgbw")}
    frame = pd.DataFrame(columns)
    real, negatives = sampled(frame, 2, ["colour"])
    pd.testing.assert_frame_equal(real, frame)
    assert negatives["user"].tolist() == list("aabbccdd")
    assert negatives["timestamp"].tolist() == [5, 5, 6, 6, 7, 7, 8, 8]
    own = dict(zip(frame["item"], frame["user"], strict=True))
    assert all(own[item] != user for user, item in zip(negatives["user"], negatives["item"], strict=True))
    assert (negatives["colour"] == negatives["item"].map(dict(zip([1, 2, 3, 4], "rgbw", strict=True)))).all()


def test_who_is_nobody_is_not_one_user() -> None:
    """Ten people without a name had all the items between them; each may get what the others had."""
    frame = pd.DataFrame({"user": [None] * 10, "item": range(10)})
    real, negatives = sampled(frame, 50)
    assert real["user"].isna().all() and negatives["user"].isna().all()
    assert (negatives["item"].to_numpy() != np.repeat(np.arange(10), 50)).all()
    assert chisquare(negatives["item"].value_counts()).pvalue > 1e-3


@pytest.mark.parametrize("timed", [True, False])
def test_what_an_item_had_at_that_time(timed) -> None:
    """By a loop over the item's other events: the last known value at or before the moment, else the first later; one
    at random of several of one time."""
    random = np.random.default_rng(2)
    frame = pd.DataFrame({"user": random.integers(0, 90, 300), "item": random.integers(0, 40, 300)})
    frame["timestamp"] = random.integers(0, 60, 300)
    frame["price"] = np.where(random.random(300) < 0.4, np.nan, np.arange(300.0))
    frame["tag"] = random.choice(["x", "y", " ", None], 300)
    frame.loc[frame["item"] == 3, ["price", "tag"]] = None
    given = frame if timed else frame.drop(columns="timestamp")
    when = (frame["timestamp"] if timed else pd.Series(range(300))).to_numpy()
    real, negatives = sampled(given, 2, ["price", "tag"])
    items, asked = frame["item"].tolist(), [*zip(frame["item"], range(300), range(300), strict=True)]
    asked += [(item, row // 2, -1) for row, item in enumerate(negatives["item"])]
    several = 0
    for column in ("price", "tag"):
        values = [None if pd.isna(x) or x == " " else x for x in frame[column]]
        found = [None if pd.isna(x) or x == " " else x for x in [*real[column], *negatives[column]]]
        for (item, event, own), value in zip(asked, found, strict=True):
            rows = [r for r in range(300) if items[r] == item and values[r] is not None]
            before = [r for r in rows if when[r] <= when[event] and r != own]
            moment = max(when[before]) if before else min(when[rows], default=None)
            wanted = {values[r] for r in before or rows if when[r] == moment} or {None}
            assert value in wanted
            several += len(wanted) > 1
    assert (several > 50) == timed


# ---- nothing tells sampled events from real ones


def log(seed: int, order: str) -> pd.DataFrame:
    """Users who take items at random: nothing can be learnt."""
    random = np.random.default_rng(seed)
    frame = pd.DataFrame({"user": random.integers(0, 300, 3000), "item": random.integers(0, 200, 3000)})
    frame = frame.drop_duplicates(ignore_index=True)
    if order in ("times", "days"):
        step = 86_400 * 20 if order == "days" else 1
        frame["timestamp"] = 1_600_000_000 + random.integers(0, 10**7, len(frame)) // step * step
    return frame if order != "by item" else frame.sort_values("item", kind="stable", ignore_index=True)


def attributes(frame: pd.DataFrame, seed: int) -> dict[str, tuple[object, str, str]]:
    """Columns that say nothing of whether somebody takes an item: values, kind, and whose they are found to be."""
    random, n = np.random.default_rng(seed + 1), len(frame)
    user, item = frame["user"].to_numpy(), frame["item"].to_numpy()
    time = frame["timestamp"].rank(pct=True).to_numpy() if "timestamp" in frame else random.random(n)
    group, of_user = random.integers(0, 12, 200)[item], random.integers(0, 5, 300)[user]
    plain, price = pd.Series(group.astype(str)), np.exp(random.normal(size=200))[item]
    quality, mood = random.normal(size=200)[item], random.normal(size=300)[user]
    tags = np.array([[f"t{g}", f"t{g + 1}", f"t{3 * g % 17}"] for g in group])
    some = [random.choice(row, random.integers(1, 4), replace=False) for row in tags]
    return {
        "plain": (plain, "categorical", "item"),
        "one odd row": (plain.mask(np.arange(n) == 10, "odd"), "categorical", "item"),
        "odd rows": (plain.mask(random.random(n) < 0.03, "odd"), "categorical", "item"),
        "odd for some users": (plain.mask(user % 40 == 0, "odd"), "categorical", "item"),
        "gaps": (plain.mask(random.random(n) < 0.3), "categorical", "item"),
        "gaps for some users": (plain.mask(user % 3 == 0), "categorical", "item"),
        "gaps for some items": (plain.mask(item % 3 == 0), "categorical", "item"),
        "gaps at first": (plain.mask(time < 0.3), "categorical", "item"),
        "yes or nothing": (np.where(item % 7 == 0, "yes", None), "categorical", "item"),
        "tags in any order": (["|".join(random.permutation(row)) for row in tags], "multi", "item"),
        "some of the tags": (["|".join(row) for row in some], "multi", "unclear"),
        "in the user's language": (plain + (user % 3).astype(str), "categorical", "unclear"),
        "half noise": (plain.where(random.random(n) < 0.5, random.choice(plain, n)), "categorical", "unclear"),
        "price": (price, "numeric", "item"),
        "price, a little changed": (price * (1 + 0.01 * random.normal(size=n)), "numeric", "item"),
        "price, much changed": (price * np.exp(0.3 * random.normal(size=n)), "numeric", "unclear"),
        "stars": ((3 + quality + mood + random.normal(size=n)).round().clip(1, 5), "categorical", "unclear"),
        "distance": (np.abs(quality - mood), "numeric", "unclear"),
        "size of some items": (np.where(item % 2, 36.0 + of_user, np.nan), "categorical", "unclear"),
        "events of the item so far": (frame.groupby("item").cumcount(), "categorical", "unclear"),
        "rating": (random.integers(1, 6, n), "categorical", "unclear"),
        "of the user": (of_user, "categorical", "user"),
        "odd rows of the user": (np.where(random.random(n) < 0.03, 9, of_user), "categorical", "user"),
        "noise": (random.integers(0, 4, n), "categorical", "event"),
        "amount": (random.lognormal(size=n), "numeric", "event"),
        "of the day": ((time * 20).astype(int), "categorical", "event"),
        "one value": (["x"] * n, "categorical", "event"),
    }  # fmt: skip


def chosen(frame: pd.DataFrame, kinds: dict[str, str], seed: int, **more) -> tuple[Labelled, Chosen]:
    fields = {"user": "categorical", "item": "categorical"} | kinds
    split = RatioSplit((0.5, 0.1, 0.4), by="all", seed=seed)
    asked = Asked("label", fields, split, None, "clicks", Drawn(1, seed), **more)
    events, _, _ = with_past("the log", whole_of("the log", frame, asked), asked)
    assert events.chosen is not None
    return events, events.chosen


def naive_bayes(events: Labelled, fields) -> dict[str, float]:
    """AUC on test of each field, and of each with user, item or month, by its frequencies among both kinds in train."""
    frame = next(events.blocks())
    parts = {"user": codes(frame["user"]), "item": codes(frame["item"])}
    if "timestamp" in frame:
        parts["month"] = codes(frame["timestamp"] // (86_400 * 20))
    for name, field in fields.items():
        column = frame[name]
        if field.kind == "numeric":
            column = pd.qcut(column, 20, labels=False, duplicates="drop")
        parts[name] = codes(column.astype("string").fillna("none"))
    found = {}
    for names in [(name,) for name in parts] + [*combinations(parts, 2)]:
        if len(names) == 2 and (names == ("user", "item") or not {"user", "item", "month"} & set(names)):
            continue
        key = codes(pd.Series(parts[names[0]] * 10**6 + (parts[names[1]] if len(names) == 2 else 0)))
        train, test, label = events.part == 0, events.part == 2, events.labels
        ones = np.bincount(key[train & (label == 1)], minlength=key.max() + 1)
        zeros = np.bincount(key[train & (label == 0)], minlength=key.max() + 1)
        score = np.log((ones + 0.5) / (zeros + 0.5))[key[test]]
        ranks = pd.Series(score).rank().to_numpy()
        positive = label[test] == 1
        count = positive.sum()
        wins = ranks[positive].sum() - count * (count + 1) / 2
        found["+".join(names)] = wins / (count * (~positive).sum())
    return found


@pytest.mark.parametrize("order", ["rows", "by item", "times", "days"])
def test_nothing_tells_sampled_events_from_real_ones(order) -> None:
    """In logs without signal the AUC of each field, alone and with another, is .5, whatever odd rows and gaps."""
    seeds, aucs = range(3), {}
    for seed in seeds:
        frame = log(seed, order)
        columns = attributes(frame, seed)
        events, found = chosen(frame.assign(**{c: values for c, (values, _, _) in columns.items()}),
                               {c: kind for c, (_, kind, _) in columns.items()}, seed)  # fmt: skip
        owners = {c: found.owners[c].kind for c in columns}
        assert owners == {c: whose for c, (_, _, whose) in columns.items()}
        assert {c for c in columns if c in found.left_out} == {c for c, kind in owners.items() if kind == "unclear"}
        assert not set(found.left_out) & set(found.fields)
        for name, value in naive_bayes(events, found.fields).items():
            aucs.setdefault(name, []).append(value)
    far = {name: np.mean(values) for name, values in aucs.items() if abs(np.mean(values) - 0.5) > 0.03}
    assert not far


def test_a_declaration_goes_before_what_is_found() -> None:
    """The same log with columns given to the event tells them apart: the test above can fail."""
    frame = log(0, "rows")
    frame["plain"] = (frame["item"] % 12).astype(str)
    frame["size"] = np.random.default_rng(0).integers(0, 3, len(frame))
    for whose, low, high in (("item", 0.45, 0.55), ("event", 0.8, 1.0)):
        events, found = chosen(frame, {"plain": "categorical"}, 0, whose={"plain": whose})
        assert low < naive_bayes(events, found.fields)["item+plain"] < high
        assert found.owners["plain"].kind == whose
    with pytest.raises(ConfigError, match="item_fields, user_fields, event_fields: no column 'plan' .did you mean"):
        chosen(frame, {"plain": "categorical"}, 0, whose={"plan": "item"})


def test_the_numbers_of_a_field_have_an_owner_too() -> None:
    frame = log(0, "rows").assign(tag=lambda f: (f["item"] % 12).astype(str), weight=lambda f: f["item"] % 7 / 4)
    kinds = {"tag": {"kind": "categorical", "values": "weight"}}
    events, found = chosen(frame, kinds, 0)
    sampled_events = next(events.blocks())
    assert (sampled_events["weight"] == sampled_events["item"] % 7 / 4).all() and not found.left_out
    frame["weight"] += np.random.default_rng(0).normal(size=len(frame))
    assert "whose weight is" in chosen(frame, kinds, 0)[1].left_out["tag"]


def test_an_event_without_an_item() -> None:
    frame = pd.DataFrame({"user": range(300), "item": [*map(str, range(100)), ""] * 2 + ["x"] * 98})
    with pytest.raises(DataError, match="the log, row 101, column 'item': empty; expected an item in every event"):
        chosen(frame, {}, 0)
    with pytest.raises(DataError, match="the log: no event has label 1 .label.; negatives are sampled for those"):
        chosen(frame.assign(label=0), {}, 0)
    with pytest.raises(ConfigError, match="negatives: the log: no column 'item'"):
        chosen(frame[["user"]], {}, 0)
