"""Recommendations for somebody who was not in train, against the encoder as NumPy."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from recgnn import load
from recgnn.errors import ConfigError, DataError

ITEMS = 40
SMALL = {"hidden_dims": [8]}
MODELS = {
    "autorec": ("AutoRec", {"by": "user", "hidden_dims": [8, 6]}, {}),
    "autorec_sigmoid": ("AutoRec", {**SMALL, "by": "user", "output_activation": "sigmoid"}, {}),
    "dae": ("DAE", {**SMALL, "normalise": True}, {"ks": [5]}),
    "dae_deep": ("DAE", {"hidden_dims": [8, 6]}, {"ks": [5]}),
    "cdae": ("CDAE", {"hidden_dim": 8}, {"ks": [5]}),
    "cdae_tied": ("CDAE", {"hidden_dim": 8, "tied": True, "output_activation": "sigmoid"}, {"ks": [5]}),
    "by_item": ("AutoRec", {**SMALL, "by": "item"}, {}),
    "mf": ("MF", {"embedding_dim": 4}, {"task": "rating"}),
}
ENCODERS = [name for name in MODELS if name not in ("by_item", "mf")]
RATED = [name for name in ENCODERS if name.startswith("autorec")]


@pytest.fixture(scope="module")
def runs(tmp_path_factory, tiny_run, make_run, synthetic) -> dict[str, Path]:
    """A run per model on one made-up log, whose item ids are 1 to 40."""
    folder = tmp_path_factory.mktemp("history")
    for name, (kind, arguments, training) in MODELS.items():
        l2 = {} if kind == "MF" else {"l2": 0.1}
        make_run(folder / name, synthetic(16), kind, arguments, lr=0.03, **training, **l2)
    return {name: folder / name for name in MODELS} | {"lightgcn": tiny_run}


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def naive(run: Path, name: str, values: dict[int, float]) -> np.ndarray:
    """Scores of all items for a history {item id: value}, from the checkpoint's weights; [I] in the ids' order."""
    state = torch.load(run / "checkpoints/best.ckpt", weights_only=True)["state_dict"]
    state = {k.removeprefix("model."): v.double().numpy() for k, v in state.items()}
    ids = pd.read_parquet(run / "vocabulary/items.parquet")["id"].tolist()
    y = np.zeros(ITEMS)
    for item, value in values.items():
        y[ids.index(item)] = value
    if name == "dae":  # normalised
        y /= np.linalg.norm(y)
    g = np.tanh if name.startswith("dae") else sigmoid
    z = g(state["first.weight"].T @ y + state["first.bias"])  # CDAE: and no user node
    if "hidden.0.weight" in state:
        z = g(state["hidden.0.weight"] @ z + state["hidden.0.bias"])
    scores = state.get("decoder_weight", state["first.weight"]) @ z + state["decoder_bias"]
    if name == "cdae_tied":
        scores = sigmoid(scores)
    if name == "autorec_sigmoid":
        log = pd.read_parquet(run / "vocabulary/interactions.parquet")
        low, high = (getattr(log.loc[log["part"] == 0, "rating"], f)() for f in ("min", "max"))
        scores = low + (high - low) * sigmoid(scores)
    return scores[[ids.index(item) for item in range(1, ITEMS + 1)]]


def check(found: pd.DataFrame, scores: np.ndarray, history: list[int], k: int, rtol: float = 1e-5) -> None:
    """A list is the best of all items without those of the history."""
    row = scores.copy()
    row[[i - 1 for i in history]] = -np.inf
    best = np.argsort(-row)[: min(k, ITEMS - len(set(history)))]
    assert found["item"].tolist() == (best + 1).tolist()
    assert found["rank"].tolist() == list(range(1, len(best) + 1))
    np.testing.assert_allclose(found["score"], row[best], rtol=rtol, atol=1e-5)
    assert not set(found["item"]) & set(history)


HISTORIES = [[3, 17, 5], [40], [9, 8, 7, 6, 5, 4, 3, 2, 1], list(range(1, 38))]


@pytest.mark.parametrize("name", ENCODERS)
def test_histories_are_encoded_as_the_equation_says(runs, name) -> None:
    """Ratings that are not given are the highest of train, 5; other models have ones."""
    value = 5.0 if name in RATED else 1.0
    found = load(runs[name]).recommend_history(HISTORIES, k=6)
    assert list(found.columns) == ["user", "rank", "item", "score", "title"]
    assert found["user"].unique().tolist() == [0, 1, 2, 3]
    for number, history in enumerate(HISTORIES):
        check(found[found["user"] == number], naive(runs[name], name, dict.fromkeys(history, value)), history, 6)
    assert (found["title"].str.split().str[1].astype(int) == found["item"]).all()
    lists = [group["item"].tolist() for _, group in found[found["user"] < 3].groupby("user")]
    assert lists[0] != lists[1], "it matters what the history is"


@pytest.mark.parametrize("name", RATED)
def test_ratings_of_a_history(runs, name) -> None:
    histories, ratings = [[3, 17, 5], [40, 2]], [[1.0, 5.0, 2.5], [4.0, 1.0]]
    trained = load(runs[name])
    found = trained.recommend_history(histories, k=40, ratings=ratings)
    for number, (history, given) in enumerate(zip(histories, ratings, strict=True)):
        values = dict(zip(history, given, strict=True))
        check(found[found["user"] == number], naive(runs[name], name, values), history, 40)
    other = trained.recommend_history(histories, k=40)
    assert abs(found["score"].sum() - other["score"].sum()) > 1e-3, "ratings matter"


@pytest.mark.parametrize("name", ["autorec", "dae", "cdae"])
def test_order_blocks_and_repetition_change_nothing(runs, name, monkeypatch) -> None:
    trained = load(runs[name])
    whole = trained.recommend_history(HISTORIES, k=5)
    turned = trained.recommend_history([history[::-1] + history[:1] for history in HISTORIES], k=5)
    pd.testing.assert_frame_equal(turned, whole)
    monkeypatch.setattr(type(trained), "block", 3)
    pd.testing.assert_frame_equal(trained.recommend_history(HISTORIES, k=5), whole, rtol=1e-5)
    if name == "autorec":
        ratings = [[1.0 + (n + i) % 5 for i in range(len(history))] for n, history in enumerate(HISTORIES)]
        found = trained.recommend_history(HISTORIES, 5, ratings)
        values = dict(zip(HISTORIES[3], ratings[3], strict=True))
        check(found[found["user"] == 3], naive(runs[name], name, values), HISTORIES[3], 5)


def test_an_item_that_stands_twice_has_its_last_rating(runs) -> None:
    trained = load(runs["autorec"])
    twice = trained.recommend_history([[3, 5, 3]], 5, [[1.0, 4.0, 2.0]])
    pd.testing.assert_frame_equal(twice, trained.recommend_history([[5, 3]], 5, [[4.0, 2.0]]))


@pytest.mark.parametrize("name", ["autorec", "dae"])
def test_a_known_user_is_scored_by_the_same_encoder(runs, name) -> None:
    """What a user of train has, given as a history, brings the user's own scores."""
    log = pd.read_parquet(runs[name] / "vocabulary/interactions.parquet")
    items = pd.read_parquet(runs[name] / "vocabulary/items.parquet")["id"].to_numpy()
    users = pd.read_parquet(runs[name] / "vocabulary/users.parquet")["id"].to_numpy()
    rows = log[(log["part"] == 0) & (log["user"] == 4)]
    history = items[rows["item"]].tolist()
    trained = load(runs[name])
    ratings = [rows["rating"].tolist()] if name == "autorec" else None
    new = trained.recommend_history([history], 40, ratings).set_index("item")["score"].sort_index()
    own = trained.recommend([users[4]], 40, exclude_seen=False).set_index("item")["score"].sort_index()
    np.testing.assert_allclose(new, own[new.index], rtol=1e-5, atol=1e-5)
    assert len(new) == ITEMS - len(history)


def test_cdae_goes_without_its_user_node(runs) -> None:
    """Two users of one history have scores of their own in train, and one answer as new ones."""
    run = runs["cdae"]
    node = torch.load(run / "checkpoints/best.ckpt", weights_only=True)["state_dict"]["model.user_node.weight"]
    assert node.abs().max() > 1e-3, "there is one that could have been taken"
    found = load(run).recommend_history([[3, 17], [3, 17]], 5)
    halves = [group.drop(columns="user").reset_index(drop=True) for _, group in found.groupby("user")]
    pd.testing.assert_frame_equal(*halves)


# ---- the command


@pytest.mark.parametrize("name", ["autorec", "dae", "cdae"])
def test_the_command(entry, runs, name, here) -> None:
    run = ("--run", runs[name], "--k", 4)
    expected = load(runs[name]).recommend_history([[3, 17, 5]], 4)
    code, out, err = entry("recommend", *run, "--history", "3, 17,5")
    assert code == 0 and not err
    found = pd.read_csv(StringIO(out))
    assert found["user"].tolist() == ["new"] * 4
    check(found, naive(runs[name], name, dict.fromkeys([3, 17, 5], 5.0 if name == "autorec" else 1.0)), [3, 17, 5], 4,
          rtol=1e-3)  # fmt: skip
    for file, read in (("a.csv", pd.read_csv), ("a.parquet", pd.read_parquet)):
        code, out, err = entry("recommend", *run, "--history=3,17,5", "--output", file)
        assert code == 0 and not out and f"4 rows in {file}" in err
        pd.testing.assert_frame_equal(read(file), expected.assign(user="new"), check_dtype=False, rtol=1e-5)


def test_the_command_with_ratings(entry, runs) -> None:
    history = ("--history", "3,17,5", "--history_ratings", "1, 5,2.5")
    code, out, err = entry("recommend", "--run", runs["autorec"], "--k", 40, *history)
    assert code == 0 and not err
    values = {3: 1.0, 17: 5.0, 5: 2.5}
    check(pd.read_csv(StringIO(out)), naive(runs["autorec"], "autorec", values), [3, 17, 5], 40, rtol=1e-3)


REFUSED = [
    ("dae", ["--history", "3,999"], ["unknown item 999", "40 items are known (1 to 40)"]),
    ("dae", ["--history", "3,Alien"], ["'Alien' is no id here"]),
    ("dae", ["--history", ""], ["no ids given"]),
    ("dae", ["--history", " , "], ["no ids given"]),
    ("dae", ["--history", "3", "--k", "0"], ["k must be at least 1"]),
    ("autorec", ["--history", "3,5", "--history_ratings", "4"], ["1 ratings for a history of 2 items"]),
    ("autorec", ["--history", "3", "--history_ratings", "4,5"], ["2 ratings for a history of 1 items"]),
    ("autorec", ["--history", "3,5", "--history_ratings", "4,good"], ["4,good", "numbers"]),
    ("autorec", ["--history", "3,5", "--history_ratings", "4,"], ["4,", "numbers"]),
    ("autorec", ["--history", "3,5", "--history_ratings", "4,nan"], ["nan"]),
    ("autorec", ["--history", "3,5", "--history_ratings", "4,inf"], ["inf"]),
    ("autorec", ["--history_ratings", "4"], ["--history_ratings needs --history"]),
    ("dae", ["--history", "3", "--history_ratings", "4"], ["DAE does not use ratings", "leave --history_ratings out"]),
    ("cdae", ["--history", "3", "--history_ratings", "4"], ["CDAE does not use ratings"]),
    ("dae", ["--history", "3", "--users", "1"], ["leave --users"]),
    ("dae", ["--history", "3", "--users_file", "users.txt"], ["leave --users"]),
    ("dae", ["--history", "3", "--exclude_seen", "none"], ["--exclude_seen"]),
    ("by_item", ["--history", "3"], ["AutoRec by item", "by: user", "DAE or CDAE"]),
    ("lightgcn", ["--history", "3", "--history_ratings", "4"], ["LightGCN does not use ratings"]),
    ("lightgcn", ["--history", "3,999"], ["unknown item 999", "--fallback popularity"]),
    ("dae", ["--histories_file", "nowhere.csv"], ["nowhere.csv", "no such table"]),
    ("dae", ["--history", "3", "--output", "x.xlsx"], ["ends in .csv or .parquet"]),
]


@pytest.mark.parametrize(("name", "options", "words"), REFUSED)
def test_what_is_refused(entry, runs, here, name, options, words) -> None:
    code, out, err = entry("recommend", "--run", runs[name], *options)
    assert code == 2 and not out and err.startswith("error: ") and err.count("\n") == 1
    for word in words:
        assert word in err, err
    assert not list(here.iterdir())


def test_what_is_refused_in_python(runs) -> None:
    trained = load(runs["autorec"])
    with pytest.raises(DataError, match="the history of user 1 is empty"):
        trained.recommend_history([[1], []])
    with pytest.raises(DataError, match="unknown item 0"):
        trained.recommend_history([[1, 0]])
    for nobody in (None, "", " "):
        frame = pd.DataFrame({"user": ["a", nobody, nobody], "item": [1, 2, 3]})
        with pytest.raises(DataError, match="the histories, row 2, column 'user': no user id"):
            trained.recommend_history(frame)
    with pytest.raises(ConfigError, match="k must be at least 1"):
        trained.recommend_history([[1]], k=0)
    with pytest.raises(DataError, match="3 ratings for a history of 2 items"):
        trained.recommend_history([[1], [2, 3]], ratings=[[5.0], [1.0, 2.0, 3.0]])
    with pytest.raises((DataError, ConfigError), match="ratings"):
        trained.recommend_history([[1], [2]], ratings=[[5.0]])
    with pytest.raises((DataError, ConfigError)):
        trained.recommend_history([[1]], ratings=[[float("nan")]])
    with pytest.raises(ConfigError):
        load(runs["by_item"]).recommend_history([[1]])
    with pytest.raises(ConfigError, match="fallback is 'mean'; expected 'popularity'"):
        trained.recommend_history([[1]], fallback="mean")


@pytest.mark.parametrize("name", ["dae", "lightgcn", "mf"])
def test_where_nothing_is_known_there_is_what_is_popular(entry, runs, name) -> None:
    trained = load(runs[name])
    log = pd.read_parquet(runs[name] / "vocabulary/interactions.parquet")
    counts = log[log["part"] == 0]["item"].value_counts()
    found = trained.recommend_history([[3, 17], [], [999], [3, 999, 17]], k=5, fallback="popularity")
    assert found["source"].tolist() == ["model"] * 5 + ["popularity"] * 10 + ["model"] * 5
    for number in (1, 2):
        assert found.loc[found["user"] == number, "score"].tolist() == counts.head(5).tolist()
    known = trained.recommend_history([[3, 17]], k=5)
    assert list(known.columns) == [c for c in found.columns if c != "source"]
    for number in (0, 3):
        assert found.loc[found["user"] == number, "item"].tolist() == known["item"].tolist()
    code, out, _ = entry("recommend", "--run", runs[name], "--history", "", "--fallback", "popularity", "--k", 5)
    assert code == 0 and pd.read_csv(StringIO(out))["score"].tolist() == counts.head(5).tolist()


@pytest.mark.parametrize("name", ["dae", "lightgcn"])
def test_lists_of_items_to_choose_from(runs, name) -> None:
    trained = load(runs[name])
    whole = trained.recommend_history(HISTORIES, k=40)
    found = trained.recommend_history(HISTORIES, k=3, candidates=[1, 2, 10, 11, 12, 13], exclude=["10"])
    for user, group in whole.groupby("user"):
        wanted = group[group["item"].isin([1, 2, 11, 12, 13])].head(3)
        assert found.loc[found["user"] == user, "item"].tolist() == wanted["item"].tolist()


def test_nobody_is_no_mistake(runs) -> None:
    found = load(runs["dae"]).recommend_history([], 3)
    assert list(found.columns) == ["user", "rank", "item", "score", "title"] and len(found) == 0


def test_help_tells_what_cdae_does(entry) -> None:
    code, out, _ = entry("recommend", "--help")
    text = " ".join(out.split())
    assert code == 0 and "--history" in text and "--history_ratings" in text
    assert "AutoRec by user" in text and "DAE" in text and "CDAE without its user node" in text
    assert "--histories_file" in text and "LightGCN" in text and "--fallback" in text
