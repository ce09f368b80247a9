"""Recommendations from a run folder equal brute force over the model's representations."""

from __future__ import annotations

import json
import shutil
import sys
import uuid
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import recgnn
from recgnn import load
from recgnn.data import GraphDataModule, SyntheticLog, TableLog
from recgnn.errors import ConfigError, DataError
from recgnn.serving.output import write


@pytest.fixture(scope="module")
def trained(tiny_run):
    return load(tiny_run)


@pytest.fixture(scope="module")
def tables(tiny_run) -> tuple[np.ndarray, np.ndarray]:
    """LightGCN's representations from its formula, dense: the mean of two steps of D^-1/2 A D^-1/2 and the start."""
    state = torch.load(tiny_run / "checkpoints/best.ckpt", weights_only=True)["state_dict"]
    user, item = (state[f"model.{side}_embedding.weight"].double().numpy() for side in ("user", "item"))
    rows = pd.read_parquet(tiny_run / "vocabulary/interactions.parquet")
    rows = rows[rows["part"] == 0]
    a = np.zeros((61, 40))
    a[rows["user"], rows["item"]] = 1
    a /= np.sqrt(a.sum(1, keepdims=True)) * np.sqrt(a.sum(0, keepdims=True))
    users, items = [user], [item]
    for _ in range(2):
        user, item = a @ item, a.T @ user
        users.append(user)
        items.append(item)
    return sum(users) / 3, sum(items) / 3


@pytest.fixture(scope="module")
def log() -> pd.DataFrame:
    """The raw log of `tiny_run`; its ids are 1, 2, …"""
    return SyntheticLog(num_users=61, num_items=40, seed=3).read().interactions


def test_recommend_is_brute_force_without_what_is_known(trained, tables, log):
    found = trained.recommend(k=7)
    assert list(found.columns) == ["user", "rank", "item", "score", "title"]
    assert len(found) == 61 * 7
    scores = tables[0] @ tables[1].T
    known = log.groupby("user")["item"].agg(set)
    for user, group in found.groupby("user"):
        row = scores[user - 1].copy()
        row[[i - 1 for i in known[user]]] = -np.inf  # train, validation and test
        expected = np.argsort(-row)[:7]
        assert group["rank"].tolist() == [1, 2, 3, 4, 5, 6, 7]
        assert group["item"].tolist() == (expected + 1).tolist()
        np.testing.assert_allclose(group["score"], row[expected], atol=1e-5)
    assert found["title"].str.startswith("Item ").all()
    assert (found["title"].str.split().str[1].astype(int) == found["item"]).all()


def test_known_items_can_be_kept(trained, tables):
    found = trained.recommend(users=[5, 3], k=40, exclude_seen=False)
    assert found["user"].tolist() == [5] * 40 + [3] * 40  # in the order asked for
    scores = (tables[0] @ tables[1].T)[[4, 2]]
    assert found["item"].tolist() == (np.argsort(-scores, 1) + 1).ravel().tolist()


def test_lists_end_where_items_do(trained, log):
    found = trained.recommend(users=[1], k=1000)
    known = set(log.loc[log["user"] == 1, "item"])
    assert set(found["item"]) == set(range(1, 41)) - known and found["score"].is_monotonic_decreasing
    assert len(trained.recommend(users=[], k=3)) == 0
    assert trained.recommend(users=[2, 2], k=1)["item"].nunique() == 1


def test_blocks_change_nothing(trained, monkeypatch):
    whole = trained.recommend(k=5)
    pairs = pd.DataFrame({"user": np.arange(200) % 61 + 1, "item": np.arange(200) % 40 + 1})
    scores = trained.score(pairs)
    monkeypatch.setattr(type(trained), "block", 7)
    pd.testing.assert_frame_equal(trained.recommend(k=5), whole, rtol=1e-5)
    pd.testing.assert_frame_equal(trained.score(pairs), scores, rtol=1e-5)


def test_similar_items_are_by_cosine(trained, tables):
    found = trained.similar_items([5, 17], k=6)
    unit = tables[1] / np.linalg.norm(tables[1], axis=1, keepdims=True)
    for query in (5, 17):
        group = found[found["query"] == query]
        cosine = unit @ unit[query - 1]
        cosine[query - 1] = -np.inf
        assert group["item"].tolist() == (np.argsort(-cosine)[:6] + 1).tolist()
        np.testing.assert_allclose(group["score"], np.sort(cosine)[::-1][:6], atol=1e-5)
    assert len(trained.similar_items([5], k=100)) == 39  # never itself


def test_score_of_pairs(trained, tables):
    pairs = pd.DataFrame({"when": [1, 2, 3], "item": [4, 4, 40], "user": [61, 1, 61]}, index=[7, 8, 9])
    found = trained.score(pairs)
    assert list(found.columns) == ["when", "item", "user", "score"] and list(found.index) == [7, 8, 9]
    np.testing.assert_allclose(found["score"], (tables[0] @ tables[1].T)[[60, 0, 60], [3, 3, 39]], atol=1e-5)
    with pytest.raises(DataError, match="the frame: no column 'user'"):
        trained.score(pairs[["item"]])
    with pytest.raises(DataError, match="unknown item 41"):
        trained.score(pd.DataFrame({"user": [1], "item": [41]}))
    with pytest.raises(DataError, match="unknown user 0"):
        trained.recommend([0])
    with pytest.raises(ConfigError, match="k must be at least 1"):
        trained.similar_items([1], k=0)


# ---- filters


CHOSEN, OUT = [3, 4, 8, 9, 15, 16, 23, 42 - 7], [4, 23, 40]


def naive_lists(tables, log, users, k, candidates=None, exclude=(), seen=True, own=None) -> list[tuple[int, int, int]]:
    """(user, rank, item), item by item."""
    scores, rows = tables[0] @ tables[1].T, []
    known = log.groupby("user")["item"].agg(set)
    for user in users:
        left = []
        for item in range(1, 41):
            if (candidates is not None and item not in candidates) or item in exclude:
                continue
            if (seen and item in known[user]) or (own is not None and (user, item) not in own):
                continue
            left.append((-scores[user - 1, item - 1], item))
        rows += [(user, rank, item) for rank, (_, item) in enumerate(sorted(left)[:k], 1)]
    return rows


@pytest.mark.parametrize("seen", [True, False])
@pytest.mark.parametrize(("candidates", "exclude"), [(None, OUT), (CHOSEN, None), (CHOSEN, OUT), ([7], [7])])
def test_items_to_choose_from_and_to_leave_out(trained, tables, log, candidates, exclude, seen):
    users = [5, 61, 3]
    found = trained.recommend(users, k=4, exclude_seen=seen, candidates=candidates, exclude=exclude)
    wanted = naive_lists(tables, log, users, 4, candidates, exclude or (), seen)
    assert list(zip(found["user"], found["rank"], found["item"], strict=True)) == wanted


@pytest.mark.parametrize("block", [2, 100])
def test_candidates_of_each_user(trained, tables, log, monkeypatch, block):
    monkeypatch.setattr(type(trained), "block", block)
    monkeypatch.setattr(type(trained), "at_once", 1 + block // 2)
    random = np.random.default_rng(2)
    frame = pd.DataFrame({"user": random.choice([9, 2, 33, 8], 60), "item": random.integers(1, 41, 60)})
    own = set(frame.itertuples(index=False, name=None))
    for users in (None, [2, 9, 2], [50]):
        found = trained.recommend(users, k=5, candidates=frame, exclude=OUT)
        wanted = naive_lists(tables, log, users or frame["user"].unique(), 5, None, OUT, own=own)
        assert list(zip(found["user"], found["rank"], found["item"], strict=True)) == wanted
    with pytest.raises(DataError, match="candidates: no column 'item'"):
        trained.recommend(candidates=frame[["user"]])


def test_similar_among_some(trained, tables):
    unit = tables[1] / np.linalg.norm(tables[1], axis=1, keepdims=True)
    found = trained.similar_items([5, 8], k=3, candidates=CHOSEN, exclude=OUT)
    for query in (5, 8):
        left = [i for i in CHOSEN if i not in OUT and i != query]
        wanted = sorted(left, key=lambda i: -unit[query - 1] @ unit[i - 1])[:3]
        assert found.loc[found["query"] == query, "item"].tolist() == wanted


def test_popularity_where_the_user_is_unknown(trained, tiny_run, log):
    rows = pd.read_parquet(tiny_run / "vocabulary/interactions.parquet")
    counts = rows[rows["part"] == 0]["item"].value_counts()
    found = trained.recommend([5, 900, 3, -1], k=4, exclude=[1], fallback="popularity")
    assert found["user"].tolist() == [5] * 4 + [900] * 4 + [3] * 4 + [-1] * 4
    assert found["source"].tolist() == (["model"] * 4 + ["popularity"] * 4) * 2
    expected = counts.drop(index=0).head(4).tolist()  # item 1 is row 0
    for user in (900, -1):
        mine = found[found["user"] == user]
        assert mine["score"].tolist() == expected == counts[mine["item"] - 1].tolist()
    known = trained.recommend([5, 3], k=4, exclude=[1])
    pd.testing.assert_frame_equal(
        found[found["source"] == "model"].drop(columns="source").reset_index(drop=True), known, rtol=1e-5
    )
    with pytest.raises(DataError, match="unknown user 900.*fallback='popularity' .--fallback popularity"):
        trained.recommend([5, 900])
    with pytest.raises(ConfigError, match="fallback is 'mean'"):
        trained.recommend([5], fallback="mean")


def test_embeddings_under_their_ids(trained, tables):
    users, items = trained.embeddings()
    assert users.index.name == "user" and items.index.name == "item"
    np.testing.assert_allclose(users.loc[[9, 2]], tables[0][[8, 1]], atol=1e-5)
    np.testing.assert_allclose(items.loc[[40]], tables[1][[39]], atol=1e-5)
    assert users.shape == (61, 8) and items.shape == (40, 8)


def test_filters_of_the_commands(entry, trained, tiny_run, here):
    Path("out.txt").write_text("23\n40\n")
    Path("chosen.txt").write_text("\n".join(map(str, CHOSEN)))
    options = ["--candidates", "3,4,8", "--candidates_file", "chosen.txt"]
    options += ["--exclude", "4", "--exclude_file", "out.txt"]
    code, out, err = entry("recommend", "--run", tiny_run, "--users", "9,2", "--k", 4, *options)
    expected = trained.recommend([9, 2], 4, candidates=CHOSEN, exclude=OUT)
    assert code == 0, err
    pd.testing.assert_frame_equal(pd.read_csv(StringIO(out)), expected, check_dtype=False, rtol=1e-3)
    code, out, _ = entry("similar", "--run", tiny_run, "--items", "5", "--k", 4, *options)
    expected = trained.similar_items([5], 4, candidates=CHOSEN, exclude=OUT)
    assert code == 0 and pd.read_csv(StringIO(out))["item"].tolist() == expected["item"].tolist()
    code, out, _ = entry("recommend", "--run", tiny_run, "--users", "900", "--fallback", "popularity")
    assert code == 0 and set(pd.read_csv(StringIO(out))["source"]) == {"popularity"}
    code, _, err = entry("recommend", "--run", tiny_run, "--users", "900")
    assert code == 2 and "--fallback popularity" in err and err.count("\n") == 1
    code, _, err = entry("recommend", "--run", tiny_run, "--candidates", "3,99")
    assert code == 2 and "unknown item 99" in err
    nothing = ("--candidates", "7", "--exclude", "7", "--output", "no.parquet")
    assert entry("recommend", "--run", tiny_run, *nothing)[0] == 0 and len(pd.read_parquet("no.parquet")) == 0


# ---- the commands


def test_commands_write_what_python_returns(entry, trained, tiny_run, here):
    everyone, few = trained.recommend(k=4), trained.recommend([9, 2], k=4)
    run = ("--run", tiny_run, "--k", 4)
    for name, read in (("all.csv", pd.read_csv), ("all.parquet", pd.read_parquet)):
        code, out, err = entry("recommend", *run, "--output", f"deep/{name}")
        assert code == 0 and not out and f"244 rows in deep/{name}" in err
        pd.testing.assert_frame_equal(read(here / "deep" / name), everyone, check_dtype=False, rtol=1e-5)
    Path("users.txt").write_text("9\n\n 2 \n")
    for option in (("--users", "9, 2"), ("--users_file", "users.txt")):
        code, out, err = entry("recommend", *run, *option)
        assert code == 0
        assert err == "left out: the items that users have in train, val, test (--exclude_seen all)\n"
        pd.testing.assert_frame_equal(pd.read_csv(StringIO(out)), few, check_dtype=False, rtol=1e-3)
    code, out, _ = entry("recommend", *run, "--users=9", "--exclude_seen=none")
    expected = trained.recommend([9], 4, exclude_seen=False)
    assert code == 0 and pd.read_csv(StringIO(out))["item"].tolist() == expected["item"].tolist()
    code, out, _ = entry("similar", *run, "--items", "5,6")
    assert pd.read_csv(StringIO(out))["item"].tolist() == trained.similar_items([5, 6], 4)["item"].tolist()
    assert sorted(p.name for p in here.rglob("*")) == ["all.csv", "all.parquet", "deep", "users.txt"]


def test_many_blocks_into_one_parquet_file(entry, trained, tiny_run, here, monkeypatch):
    monkeypatch.setattr(type(trained), "block", 5)
    assert entry("recommend", "--run", tiny_run, "--k", 3, "--output", "a.parquet")[0] == 0
    assert entry("recommend", "--run", tiny_run, "--k", 3, "--output", "a.csv")[0] == 0
    found = pd.read_parquet("a.parquet")
    assert found["user"].unique().tolist() == list(range(1, 62)) and len(pd.read_csv("a.csv")) == len(found) == 183


# ---- ids of other kinds, and a run alone


KINDS = {
    "uuid": lambda side, n: str(uuid.UUID(int=hash((side, n)) % 2**127)),
    "text": lambda side, n: f"{side} №{n}",
    "zeros": lambda side, n: f"{n:04}",
    "large": lambda side, n: 10**17 + 3 * n,
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_works_alone_and_gives_ids_back(make_run, entry, here, kind):
    of = KINDS[kind]
    users, items = ([of(side, n) for n in range(20)] for side in ("u", "i"))
    frame = pd.DataFrame([(users[u], items[(3 * u + 7 * j) % 20]) for u in range(20) for j in range(8)])
    frame.to_csv("log.csv", header=["user", "item"], index=False)
    titles = pd.DataFrame({"item": items[:-1], "title": [f"T{n}" for n in range(19)]})
    titles.to_csv("items.csv", index=False)
    data = GraphDataModule(TableLog("log.csv", items="items.csv"), cache_dir="cache")
    run = make_run(here / "run", data, "LightGCN", {"embedding_dim": 8}, ks=[5])
    before = load(run).recommend(k=5)
    for path in ("log.csv", "items.csv"):
        Path(path).unlink()
    shutil.rmtree("cache")
    shutil.move(run, "elsewhere")
    trained = recgnn.load("elsewhere")
    pd.testing.assert_frame_equal(trained.recommend(k=5), before)
    assert set(before["user"]) == set(users) and set(before["item"]) <= set(items)
    wanted = dict(zip(items, [f"T{n}" for n in range(19)], strict=False))
    assert [t if isinstance(t, str) else None for t in before["title"]] == [wanted.get(i) for i in before["item"]]
    some = [users[3], users[1]]
    known = frame.groupby(0)[1].agg(set)
    for user, group in trained.recommend(some, k=20).groupby("user"):
        assert set(group["item"]) == set(items) - known[user]
    options = ("recommend", "--run", "elsewhere", "--users", ",".join(map(str, some)), "--k", 5)
    assert entry(*options, "--output", "recs.parquet")[0] == 0
    expected = trained.recommend(some, k=5)
    pd.testing.assert_frame_equal(pd.read_parquet("recs.parquet"), expected, check_dtype=False)
    assert entry(*options, "--output", "recs.csv")[0] == 0
    written = pd.read_csv("recs.csv", dtype={"user": str, "item": str})
    assert written["item"].tolist() == [str(i) for i in expected["item"]]


@pytest.mark.parametrize("model", ["MF", "GCN", "NGCF"])
def test_every_model_is_served_as_it_was_measured(make_run, synthetic, tmp_path, model):
    """The training's own recall@5 on the test part, from the scores of the run."""
    trained = load(make_run(tmp_path / "run", synthetic(), model, {}, epochs=2, tested=True, ks=[5]))
    prepared = trained.prepared
    pairs = pd.MultiIndex.from_product([range(61), range(40)]).to_frame(index=False, name=["u", "i"])
    frame = pd.DataFrame({"user": prepared.users.decode(pairs["u"]), "item": prepared.items.decode(pairs["i"])})
    scores = trained.score(frame)["score"].to_numpy().reshape(61, 40).copy()
    for part in (prepared.train, prepared.val):
        scores[part.user, part.item] = -np.inf
    best = np.argsort(-scores, 1)[:, :5]
    hits = [(item == best[user]).any() for user, item in zip(prepared.test.user, prepared.test.item, strict=True)]
    recall = pd.Series(hits).groupby(prepared.test.user).mean().mean()
    measured = json.loads((tmp_path / "run" / "metrics.json").read_text())["test/recall@5"]
    assert measured == pytest.approx(recall, abs=1e-6) and measured > 0
    test = prepared.users.decode(prepared.test.user), prepared.items.decode(prepared.test.item)
    truth = pd.MultiIndex.from_arrays(test)
    for parts, expected in (("train+val", recall), ("all", 0.0), (True, 0.0)):
        listed = pd.MultiIndex.from_frame(trained.recommend(k=5, exclude_seen=parts)[["user", "item"]])
        found = pd.Series(truth.isin(listed)).groupby(prepared.test.user).mean().mean()
        assert found == pytest.approx(expected, abs=1e-6), "what was measured is what is recommended"


@pytest.mark.parametrize("parts", ["all", "train+val", "train", "none"])
def test_the_parts_that_are_left_out(trained, parts) -> None:
    known: dict[str, tuple] = {"all": ("train", "val", "test"), "train+val": ("train", "val"), "train": ("train",)}
    prepared = trained.prepared
    rows = [getattr(prepared, part) for part in known.get(parts, ())]
    expected = {user: set(range(40)) for user in range(61)}
    for part in rows:
        for user, item in zip(part.user, part.item, strict=True):
            expected[user].discard(item)
    found = trained.recommend(k=40, exclude_seen=parts).groupby("user")["item"]
    ids = prepared.items.decode(range(40))
    listed = {user: set(items) for user, items in found}
    assert listed == {user + 1: {ids[item] for item in left} for user, left in expected.items()}


def test_titles_cannot_steer_a_terminal(trained, monkeypatch) -> None:
    frame = trained.recommend([5], k=1).assign(title="a\x1b[2Jb\r")
    for terminal, title in ((True, r"a\x1b[2Jb\r"), (False, "a\x1b[2Jb\r")):
        stream = StringIO()
        stream.isatty = lambda terminal=terminal: terminal
        monkeypatch.setattr(sys, "stdout", stream)
        write(iter([frame]), "-")
        assert title in stream.getvalue()


def test_parts_that_are_none(trained) -> None:
    with pytest.raises(ConfigError, match="exclude_seen is 'tran'.*did you mean 'train'.*expected all or train.val or"):
        trained.recommend([5], exclude_seen="tran")


# ---- one id, one line, and who is unknown


def test_one_id_does_where_a_list_does(trained):
    pd.testing.assert_frame_equal(trained.recommend(5, k=3), trained.recommend([5], k=3))
    pd.testing.assert_frame_equal(trained.similar_items(5, k=3, exclude=8), trained.similar_items([5], 3, exclude=[8]))
    one = trained.recommend_history([[1, 26]], k=3)
    pd.testing.assert_frame_equal(trained.recommend_history([1, 26], k=3), one)
    named = trained.recommend_history({"ann": [1, 26], "bob": 3}, k=3)
    assert named["user"].tolist() == ["ann"] * 3 + ["bob"] * 3 and named["item"].tolist()[:3] == one["item"].tolist()
    assert named["item"].tolist()[3:] == trained.recommend_history(3, k=3)["item"].tolist()


def test_a_run_says_what_it_is(trained, tiny_run):
    expected = f"LightGCN of synthetic for ranking, 61 users, 40 items, {len(trained.prepared.train)} interactions"
    assert repr(trained) == f"{expected}; {tiny_run}"


def test_all_that_is_unknown_is_counted_and_named(trained):
    with pytest.raises(DataError, match=r"users 900, 901, 902, 903, 904, \.\.\. \(6 of 7\).*leave them out, or"):
        trained.recommend([1, *range(900, 906)])
    with pytest.raises(ConfigError, match="context is for CTR models, and LightGCN is none"):
        trained.recommend([1], context={"place": "home"})
