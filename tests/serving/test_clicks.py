"""Recommending with models of events: every candidate as a row of its own, with the user's last context and past."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from recgnn import load
from recgnn.data import CTRDataModule, EventTable, Field, Histories, RatioSplit, TableLog
from recgnn.errors import ConfigError, DataError

MODELS = {
    "FM": {"embedding_dim": 4},
    "DIN": {"embedding_dim": 4, "hidden_dims": [6], "attention_dims": [5]},
    "BST": {"embedding_dim": 4, "num_heads": 2, "hidden_dims": [6]},
}


def log() -> tuple[pd.DataFrame, pd.DataFrame]:
    random = np.random.default_rng(1)
    n = 300
    frame = pd.DataFrame({"user": [f"u{u}" for u in random.integers(12, size=n)], "item": random.integers(9, size=n)})
    frame["rating"] = random.integers(1, 6, n)
    frame["time"] = random.permutation(n) * 60 + 1_000_000
    frame["place"] = random.choice(["home", "work"], n)
    items = pd.DataFrame({"item": range(9), "genre": ["a|b", "b", "c"] * 3, "title": [f"film {i}" for i in range(9)]})
    return frame, items


def data(history: bool) -> CTRDataModule:
    """The events of the log, in the working folder."""
    fields = {"user": "categorical", "item": "categorical", "place": "categorical"}
    return CTRDataModule(
        TableLog("log.csv", items="items.csv", timestamp="time"),
        label="rating >= 4",
        fields=fields | {"genre": Field("multi", max_values=2)},
        batch_size=64,
        history=Histories(["item", "genre"], max_length=3) if history else None,
    )


@pytest.fixture(scope="module", params=list(MODELS))
def run(request, tmp_path_factory, make_run) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    frame, items = log()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        frame.to_csv("log.csv", index=False)
        items.to_csv("items.csv", index=False)
        kind = request.param
        make_run(folder / "run", data(kind != "FM"), kind, MODELS[kind], lr=0.05)
    for name in ("log.csv", "items.csv"):
        (folder / name).unlink()  # the run needs nothing but itself
    return folder / "run"


def as_rows(user: str, items: list[int], **context) -> pd.DataFrame:
    """A row for each candidate: the user's last place, and a time at which all the user's past but events of that very
    moment is over."""
    frame, table = log()
    mine = frame[frame["user"] == user].sort_values("time")
    rows = pd.DataFrame({"user": user, "item": items, "place": mine["place"].iloc[-1]})
    rows["genre"] = table.set_index("item")["genre"][items].to_numpy()
    return rows.assign(**context)


def test_every_candidate_is_a_row(run) -> None:
    trained = load(run)
    found = trained.recommend(["u3", "u7"], k=9, exclude_seen=False)
    for user in ("u3", "u7"):
        mine = found[found["user"] == user]
        assert sorted(mine["item"].astype(int)) == list(range(9)) and mine["rank"].tolist() == list(range(1, 10))
        assert mine["score"].is_monotonic_decreasing
        assert mine["title"].tolist() == [f"film {i}" for i in mine["item"]]
        expected = trained.predict(as_rows(user, mine["item"].astype(int).tolist()))["prediction"]
        np.testing.assert_allclose(mine["score"], expected, atol=1e-6)


def test_what_is_seen_is_left_out(run) -> None:
    frame, _ = log()
    trained = load(run)
    everybody = trained.recommend(k=9)
    pairs = set(zip(frame["user"], frame["item"], strict=True))
    assert not pairs & set(zip(everybody["user"], everybody["item"].astype(int), strict=True))
    assert len(everybody) == 12 * 9 - len(pairs)


def test_candidates_and_context(run) -> None:
    trained = load(run)
    found = trained.recommend(["u3"], k=5, exclude_seen=False, candidates=["4", 2], context={"place": "work"})
    assert set(found["item"]) == {"4", "2"}
    rows = as_rows("u3", found["item"].astype(int).tolist(), place="work")
    np.testing.assert_allclose(found["score"], trained.predict(rows)["prediction"], atol=1e-6)
    with pytest.raises(ConfigError, match="context: no column 'plac' .did you mean 'place'"):
        trained.recommend(["u3"], context={"plac": "x"})
    with pytest.raises(ConfigError, match=r"context: place is \['work', 'home'\]; expected one value"):
        trained.recommend(["u3"], context={"place": ["work", "home"]})
    lists = [trained.recommend("u3", 5, False, context={"genre": value}) for value in (["b", "c"], "b|c")]
    assert lists[0].equals(lists[1]) and len(lists[0]) == 5
    with pytest.raises(DataError, match="unknown item '?99'?: 9 items are known"):
        trained.recommend(["u3"], candidates=[99])
    with pytest.raises(DataError, match="unknown user 'u33': 12 users are known .*nearest: u3"):
        trained.recommend("u33")


def test_blocks_of_candidates_are_the_whole(run, monkeypatch) -> None:
    whole = load(run).recommend(k=9)
    monkeypatch.setattr("recgnn.serving.clicks.BLOCK", 5)
    pd.testing.assert_frame_equal(load(run).recommend(k=9), whole, atol=1e-6)


def test_the_command(run, entry, tmp_path) -> None:
    target = tmp_path / "out.csv"
    code, _, err = entry("recommend", "--run", run, "--users", "u3,u7", "--k", "3", "--output", target)
    assert code == 0, err
    expected = load(run).recommend(["u3", "u7"], k=3)
    pd.testing.assert_frame_equal(pd.read_csv(target, dtype={"item": str}), expected, check_dtype=False, atol=1e-6)
    code, out, err = entry("recommend", "--run", run, "--users", "u3", "--candidates", "1,2", "--context", "place=work",
                           "--exclude_seen", "none")  # fmt: skip
    assert code == 0 and out.count("\n") == 3 and err == "left out: nothing (--exclude_seen none)\n"
    code, _, err = entry("recommend", "--run", run, "--users", "u3", "--context", "work")
    assert code == 2 and "expected name=value" in err


def test_a_row_sees_what_came_before_its_time(run) -> None:
    """The run's own test part, from raw rows, as measured at the end of the training."""
    trained = load(run)
    frame, items = log()
    part = RatioSplit(by="all").split(frame)
    rows = frame.assign(timestamp=frame["time"]).merge(items, on="item")[part == 2]
    found = trained.predict(rows)
    if trained.history is None:
        return
    liked = frame[frame["rating"] >= 4]
    past = trained.past(rows)
    words = trained.encoders.encoders["item"].values
    start, first = trained.encoders.dims[0], 0
    for (_, row), length in zip(rows.iterrows(), past.lengths.tolist(), strict=True):
        mine = liked[(liked["user"] == row["user"]) & (liked["time"] < row["time"])].sort_values("time").tail(3)
        ids = past.ids[first : first + length, 0].tolist()
        assert [int(words[i - start - 2]) for i in ids] == mine["item"].tolist()
        gaps = past.gaps[first : first + length].tolist()
        assert gaps == (row["time"] - mine["time"]).astype(float).tolist()
        first += length
    assert first == len(past.ids) > 20 and found["prediction"].nunique() > 10


def test_rows_without_a_time_leave_those_of_the_others(run) -> None:
    trained = load(run)
    if trained.history is None:
        return
    frame, _ = log()
    first = frame[frame["user"] == "u3"]["time"].min()
    rows = pd.DataFrame({"user": ["u3", "u3"], "item": [1, 1], "timestamp": [first, None]})
    assert trained.past(rows).lengths.tolist() == [0, 3]
    assert trained.past(rows.iloc[:1]).lengths.tolist() == [0] and trained.past(rows.iloc[1:]).lengths.tolist() == [3]
    assert trained.past(rows.assign(timestamp=[str(first), ""])).lengths.tolist() == [0, 3]  # as a CSV has it


def test_a_user_who_is_not_known_has_no_past(run) -> None:
    trained = load(run)
    if trained.history is not None:
        past = trained.past(pd.DataFrame({"user": ["nobody", "u3"], "item": [1, 1]}))
        assert past.lengths.tolist() == [0, 3]


# ---- filters, popularity, vectors


def test_items_to_choose_from_and_to_leave_out(run) -> None:
    """Against the list of everything, filtered by hand."""
    trained = load(run)
    frame, _ = log()
    seen = set(zip(frame["user"], frame["item"].astype(str), strict=True))
    random = np.random.default_rng(5)
    own = pd.DataFrame({"user": random.choice(["u3", "u7", "u9"], 20), "item": random.integers(9, size=20)})
    pairs = set(zip(own["user"], own["item"].astype(str), strict=True))
    whole = trained.recommend(["u7", "u3", "u9"], k=9, exclude_seen=False)
    cases = [({"candidates": [5, 1, 2, 8], "exclude": ["2"]}, lambda u, i: i in "518"),
             ({"exclude": [0, 1, 2]}, lambda u, i: i not in "012"),
             ({"candidates": own, "exclude": [4]}, lambda u, i: (u, i) in pairs and i != "4")]  # fmt: skip
    for left_out in (True, False):
        for filters, allowed in cases:
            found = trained.recommend(["u7", "u3", "u9"], k=3, exclude_seen=left_out, **filters)
            for user, group in whole.groupby("user"):
                rest = [i for i in group["item"] if allowed(user, i) and not (left_out and (user, i) in seen)]
                assert found.loc[found["user"] == user, "item"].tolist() == rest[:3]
    assert set(trained.recommend(candidates=own, exclude_seen=False)["user"]) == set(own["user"])


def test_popularity_where_the_user_is_unknown(run) -> None:
    trained = load(run)
    frame, _ = log()
    liked = frame.loc[frame["rating"] >= 4, "item"].value_counts()
    found = trained.recommend(["u3", "nobody"], k=4, exclude_seen=False, fallback="popularity")
    assert found["source"].tolist() == ["model"] * 4 + ["popularity"] * 4
    mine = found[found["user"] == "nobody"]
    assert mine["score"].tolist() == liked.head(4).tolist() == liked[mine["item"].astype(int)].tolist()
    known = trained.recommend(["u3"], k=4, exclude_seen=False)
    pd.testing.assert_frame_equal(found.iloc[:4].drop(columns="source"), known, rtol=1e-5)
    with pytest.raises(DataError, match="--fallback popularity"):
        trained.recommend(["nobody"])


def test_similar_items_and_embeddings(run, entry) -> None:
    """Cosines of the rows of the model's table that are the items', found by name in the stored encoding."""
    trained = load(run)
    state = torch.load(run / "checkpoints/best.ckpt", weights_only=True)["state_dict"]
    table = state["model.embedding.weight"].double().numpy()
    stored = pd.read_parquet(run / "vocabulary/fields.parquet")
    names = stored.loc[stored["field"] == "item", "value"].tolist()
    users = stored.loc[stored["field"] == "user", "value"].tolist()
    assert list(trained.encoders.encoders)[:2] == ["user", "item"]
    rows = table[len(users) + 2 + 2 :][: len(names)]
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    cosine = dict(zip(names, unit @ unit[names.index("4")], strict=True))
    found = trained.similar_items([4], k=20)
    wanted = sorted((n for n in names if n != "4"), key=lambda n: -cosine[n])
    assert found["item"].tolist() == wanted and found["title"].tolist() == [f"film {n}" for n in wanted]
    np.testing.assert_allclose(found["score"], [cosine[n] for n in wanted], atol=1e-5)
    some = trained.similar_items([4], k=2, candidates=[1, 2, 3, 4], exclude=[1])
    assert some["item"].tolist() == [n for n in wanted if n in "23"]
    user, item = trained.embeddings()
    np.testing.assert_allclose(item.loc[names], rows, atol=1e-6)
    np.testing.assert_allclose(user.loc[users], table[2 : 2 + len(users)], atol=1e-6)
    code, out, _ = entry("similar", "--run", run, "--items", "4", "--k", "3")
    assert code == 0 and [line.split(",")[2] for line in out.splitlines()[1:]] == wanted[:3]
    with pytest.raises(DataError, match="unknown item '?99'?"):
        trained.similar_items([99])


def test_a_score_is_the_probability(run) -> None:
    trained, rows = load(run), as_rows("u3", [1, 2, 3])
    assert trained.score(rows)["score"].tolist() == trained.predict(rows)["prediction"].tolist()


@pytest.mark.parametrize(("model", "reason"), [("FFM", "a vector of each value for every other"), ("LR", "no vectors")])
def test_models_without_vectors_say_so(model, reason, here, make_run) -> None:
    """And a model that reads no history takes rows of data that have some."""
    frame, items = log()
    frame.to_csv("log.csv", index=False)
    items.to_csv("items.csv", index=False)
    trained = load(make_run(here / "run", data(True), model, {}, epochs=1))
    for call in (lambda: trained.similar_items([4]), lambda: trained.embeddings()):
        with pytest.raises(ConfigError, match=reason):
            call()
    assert trained.predict(as_rows("u3", [1, 2]))["prediction"].between(0, 1).all()
    assert repr(trained).startswith(f"{model} of log for clicks, 4 fields of ")


# ---- histories that columns hold


def ready_data() -> CTRDataModule:
    columns = {"item": "past", "kind": "kinds"}
    return CTRDataModule(
        EventTable("events.csv"),
        fields=dict.fromkeys(("user", "item", "kind"), "categorical"),
        split=RatioSplit(by="all"),
        batch_size=32,
        history=Histories(["item", "kind"], max_length=4, columns=columns, times="past_times"),
    )


def ready_events() -> tuple[pd.DataFrame, dict[str, list[tuple[int, str, int]]]]:
    """Events with the user's past in columns, and what each user's past is in the end: (item, kind, time)."""
    random, pasts, rows = np.random.default_rng(4), {}, []
    for time in range(1000, 1240):
        user, item = f"u{random.integers(10)}", int(random.integers(7))
        past, label = pasts.setdefault(user, []), int(random.integers(2))
        columns = [" ".join(str(event[n]) for event in past[-6:]) for n in range(3)]
        rows.append((user, item, f"k{item % 3}", label, time, *columns))
        if label:
            past.append((item, f"k{item % 3}", time))
    names = ["user", "item", "kind", "label", "timestamp", "past", "kinds", "past_times"]
    return pd.DataFrame(rows, columns=names), pasts


@pytest.mark.parametrize("model", ["DIN", "BST"])
def test_the_past_of_ready_columns_is_seen(model, here, monkeypatch, make_run) -> None:
    """A candidate is a row at the time of the user's last event, with all that the columns tell by then."""
    frame, pasts = ready_events()
    frame.to_csv("events.csv", index=False)
    make_run(here / "run", ready_data(), model, MODELS[model] | {"init_std": 0.3}, lr=0.05)
    trained = load("run")
    found = trained.recommend(k=7, exclude_seen=False)
    unseen, last = [], frame.groupby("user")["timestamp"].max()
    liked = frame.set_index("timestamp")["label"]
    assert {int(liked[time]) for time in last} == {0, 1}, "both kinds of last event are there"
    for user, group in found.groupby("user"):
        past = pasts[user][-7:]
        rows = pd.DataFrame({"user": user, "item": group["item"].astype(int), "timestamp": last[user]})
        rows["kind"] = "k" + (rows["item"] % 3).astype(str)
        columns = {c: " ".join(str(event[n]) for event in past) for n, c in enumerate(["past", "kinds", "past_times"])}
        np.testing.assert_allclose(group["score"], trained.predict(rows.assign(**columns))["prediction"], atol=1e-6)
        unseen.append(trained.predict(rows.assign(past="", kinds="", past_times=""))["prediction"] - group["score"])
    assert pd.concat(unseen).abs().max() > 1e-3, "the past matters"
    monkeypatch.setattr("recgnn.serving.clicks.BLOCK", 5)
    pd.testing.assert_frame_equal(load("run").recommend(k=7, exclude_seen=False), found, atol=1e-6)


# ---- numbers of values


def valued_events() -> pd.DataFrame:
    """An item has a price and tags with numbers, a context a rate."""
    random, n = np.random.default_rng(3), 240
    frame = pd.DataFrame({"user": [f"u{u}" for u in random.integers(8, size=n)], "item": random.integers(7, size=n)})
    frame["price"] = (frame["item"] + 1) / 4
    frame["tags"] = frame["item"].map({0: "a:0.5|b:2", 1: "b", 2: "", 3: "c:-1", 4: "a|c:0.25", 5: "b:3", 6: "d:1e-1"})
    frame["place"], frame["rate"] = random.choice(["home", "work"], n), random.normal(size=n).round(3)
    return frame.assign(label=(random.random(n) < 0.5).astype(int), timestamp=range(n))


def features(row) -> list[tuple[str, str, float]]:
    tags = [tag.partition(":") for tag in row.tags.split("|") if tag]
    return [("user", row.user, 1.0), ("item", str(row.item), row.price), ("place", row.place, row.rate),
            *(("tags", tag, float(x or 1)) for tag, _, x in tags)]  # fmt: skip


def valued_run(folder: Path, make_run, model: str, item: str = "price") -> Path:
    fields = {"user": "categorical", "item": Field(values=item), "place": Field(values="rate"),
              "tags": Field("multi", weights=":", max_values=3)}  # fmt: skip
    valued_events().to_parquet(folder / "events.parquet")
    data = CTRDataModule(EventTable(folder / "events.parquet"), fields=fields, batch_size=64)
    return make_run(folder / model, data, model, {"embedding_dim": 3, "init_std": 0.5}, lr=0.05)


@pytest.mark.parametrize("model", ["FM", "FFM"])
def test_predictions_are_those_of_the_equation(model, here, make_run, equation) -> None:
    """x_i of every value; and candidates have their own item's."""
    run = valued_run(here, make_run, model)
    rows = valued_events()
    found = load(run).predict(rows)["prediction"]
    np.testing.assert_allclose(found, equation(run, [features(row) for row in rows.itertuples()]), atol=1e-6)
    assert found.std() > 0.02
    goods, last = rows.drop_duplicates("item").set_index("item"), rows.drop_duplicates("user", keep="last")
    recommended = load(run).recommend(["u3"], k=7, exclude_seen=False)
    mine = pd.DataFrame({"item": recommended["item"].astype(int)}).join(goods[["price", "tags"]], on="item")
    mine = mine.assign(**last[last["user"] == "u3"][["user", "place", "rate"]].iloc[0])
    expected = equation(run, [features(row) for row in mine.itertuples()])
    np.testing.assert_allclose(recommended["score"], expected, atol=1e-6)


def test_a_candidate_whose_number_is_not_known(here, make_run, equation) -> None:
    """Each event of an item has another: it must be said."""
    run = valued_run(here, make_run, "FM", item="rate")
    trained = load(run)
    with pytest.raises(ConfigError, match="numbers of field 'item' are in column 'rate'.*--context rate=1"):
        trained.recommend(["u3"])
    found = trained.recommend(["u3"], k=7, exclude_seen=False, context={"rate": "0.5"})
    rows = valued_events()
    goods, last = rows.drop_duplicates("item").set_index("item"), rows.drop_duplicates("user", keep="last")
    mine = pd.DataFrame({"item": found["item"].astype(int)}).join(goods["tags"], on="item")
    mine = mine.assign(**last[last["user"] == "u3"][["user", "place"]].iloc[0], price=0.5, rate=0.5)
    np.testing.assert_allclose(found["score"], equation(run, [features(row) for row in mine.itertuples()]), atol=1e-6)


def test_past_items_have_no_numbers_of_their_own(here) -> None:
    valued_events().to_parquet("events.parquet")
    fields = {"user": "categorical", "item": Field(values="price")}
    data = CTRDataModule(EventTable("events.parquet"), fields=fields, history=Histories(["item"]))
    with pytest.raises(ConfigError, match="the numbers of 'item' are in column 'price', which past items do not have"):
        data.prepare_data()


def test_explanations(run) -> None:
    """Attention over the user's past, newest 3; or the terms of FM's equation, which sum to the logit."""
    trained, (frame, _) = load(run), log()
    found = trained.explain("u3", ["4", 2])
    scores = trained.recommend("u3", k=9, exclude_seen=False).set_index("item")["score"]
    for item, parts in found.groupby("item"):
        assert parts["score"].unique() == pytest.approx([scores[item]], abs=1e-6)
        if trained.history is None:
            logit = np.log(scores[item] / (1 - scores[item]))
            assert parts["share"].sum() == pytest.approx(logit, abs=1e-4)
            fields, names = parts[parts["kind"] == "field"], ["user", "item", "place", "genre"]
            assert sorted(fields["of"]) == sorted(names)
            pairs = [f"{a} x {b}" for n, a in enumerate(names) for b in names[n + 1 :]]
            assert set(pairs) <= set(parts.loc[parts["kind"] == "pair", "of"]) <= {*pairs, "genre x genre"}
            continue
        mine = frame[(frame["user"] == "u3") & (frame["rating"] >= 4)].sort_values("time").tail(3)
        assert sorted(parts["of"].astype(int)) == sorted(mine["item"]) and set(parts["kind"]) == {"past"}
        assert parts["title"].tolist() == [f"film {i}" for i in parts["of"]]
        past = trained.memory(trained.users.encode(["u3"])).of()
        row = as_rows("u3", [int(item)])
        encoded = trained.encode(row)
        expected = trained.model.attention(*encoded, past)
        assert sorted(parts["share"]) == pytest.approx(sorted(expected.tolist()), abs=1e-6)
