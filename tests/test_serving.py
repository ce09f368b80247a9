"""Recommendations from a run folder equal brute force over the model's representations."""

from __future__ import annotations

import shutil
import uuid
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import recgnn
from recgnn import load
from recgnn.cli import main
from recgnn.data import SyntheticLog
from recgnn.errors import ConfigError, DataError


@pytest.fixture(scope="module")
def trained(tiny_run):
    return load(tiny_run)


@pytest.fixture(scope="module")
def tables(tiny_run) -> tuple[np.ndarray, np.ndarray]:
    """LightGCN's representations from its formula, dense: the mean of two steps of D^-1/2 A D^-1/2 and the start."""
    state = torch.load(tiny_run / "checkpoints/best.ckpt", weights_only=True)["state_dict"]
    user, item = (state[f"{side}_embedding.weight"].double().numpy() for side in ("user", "item"))
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
    with pytest.raises(DataError, match="needs a column user"):
        trained.score(pairs[["item"]])
    with pytest.raises(DataError, match="unknown item 41"):
        trained.score(pd.DataFrame({"user": [1], "item": [41]}))
    with pytest.raises(DataError, match="unknown user 0"):
        trained.recommend([0])
    with pytest.raises(ConfigError, match="k must be at least 1"):
        trained.similar_items([1], k=0)


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
        assert code == 0 and not err
        pd.testing.assert_frame_equal(pd.read_csv(StringIO(out)), few, check_dtype=False, rtol=1e-3)
    code, out, _ = entry("recommend", *run, "--users=9", "--include_seen")
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
def test_a_run_works_alone_and_gives_ids_back(tiny, entry, here, kind):
    of = KINDS[kind]
    users, items = ([of(side, n) for n in range(20)] for side in ("u", "i"))
    frame = pd.DataFrame([(users[u], items[(3 * u + 7 * j) % 20]) for u in range(20) for j in range(8)])
    frame.to_csv("log.csv", header=["user", "item"], index=False)
    titles = pd.DataFrame({"item": items[:-1], "title": [f"T{n}" for n in range(19)]})
    titles.to_csv("items.csv", index=False)
    source = ["--data.source=TableLog", "--data.source.path=log.csv", "--data.source.items=items.csv"]
    run = main("fit", ["--config", str(tiny), *source, "--data.cache_dir=cache"]).run_dir
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
def test_every_model_is_served_as_it_was_measured(tiny, here, model):
    """The run's own recall@5 on the test part, from what `recommend` returns."""
    options = ["--model", model, "--trainer.max_epochs=2", "--model.ks=[5]"]
    done = main("fit", ["--config", str(tiny), *options])
    trained, prepared = load(done.run_dir), done.datamodule.prepared
    pairs = pd.MultiIndex.from_product([range(61), range(40)]).to_frame(index=False, name=["u", "i"])
    frame = pd.DataFrame({"user": prepared.users.decode(pairs["u"]), "item": prepared.items.decode(pairs["i"])})
    scores = trained.score(frame)["score"].to_numpy().reshape(61, 40).copy()
    for part in (prepared.train, prepared.val):
        scores[part.user, part.item] = -np.inf
    best = np.argsort(-scores, 1)[:, :5]
    hits = [(item == best[user]).any() for user, item in zip(prepared.test.user, prepared.test.item, strict=True)]
    test = done.trainer.callback_metrics["test/recall@5"]
    assert float(test) == pytest.approx(np.mean(hits), abs=1e-6)
