"""Users and items whom train does not know, against the papers' formulas as NumPy, node by node."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from recgnn import load
from recgnn.errors import ConfigError, DataError

U, I = 61, 40  # noqa: E741
MODELS = {
    "lightgcn": ("LightGCN", {"num_layers": 2, "layer_weights": [0.5, 0.3, 0.2]}, {}),
    "gcn": ("GCN", {"layer_dims": [6, 5]}, {}),
    "gcn_concat": ("GCN", {"layer_dims": [6, 5], "readout": "concat"}, {}),
    "ngcf": ("NGCF", {"layer_dims": [6, 5]}, {}),
    "ngcf_authors": ("NGCF", {"layer_dims": [6, 5], "variant": "authors"}, {}),
    "mf": ("MF", {}, {}),
    "mf_biases": ("MF", {"biases": True}, {}),
    "mf_ratings": ("MF", {"biases": True}, {"task": "rating", "l2": 0.3}),
    "dae": ("DAE", {"hidden_dims": [8]}, {}),
    "cdae": ("CDAE", {"hidden_dim": 8}, {}),
    "autorec": ("AutoRec", {"hidden_dims": [8]}, {}),
}
RANKING = [name for name in MODELS if name.split("_")[0] in ("lightgcn", "gcn", "ngcf", "mf") and name != "mf_ratings"]
HISTORY = [3, 17, 5, 22]


@pytest.fixture(scope="module")
def runs(tmp_path_factory, make_run, synthetic) -> dict[str, Path]:
    """A run per model on one made-up log with ratings, whose ids are 1, 2, …; row n is id n + 1."""
    folder = tmp_path_factory.mktemp("fold_in")
    for name, (kind, arguments, training) in MODELS.items():
        graph = {"embedding_dim": 6} if kind in ("LightGCN", "GCN", "NGCF", "MF") else {}
        options = {"ks": [5]} if kind != "AutoRec" and not training else training
        make_run(folder / name, synthetic(32), kind, graph | arguments, epochs=2, lr=0.03, **options)
    return {name: folder / name for name in MODELS}


class Naive:
    """A run's weights and training log, and the formulas of its model, one node at a time."""

    def __init__(self, run: Path, name: str, extra: list[tuple[int, int]] = ()):
        state = torch.load(run / "checkpoints/best.ckpt", weights_only=True)["state_dict"]
        self.w = {k.removeprefix("model."): v.double().numpy() for k, v in state.items()}
        log = pd.read_parquet(run / "vocabulary/interactions.parquet")
        log = log[log["part"] == 0]
        self.log, self.name = log, name
        self.pairs = list(zip(log["user"], log["item"], strict=True)) + list(extra)
        self.items_of, self.users_of = {}, {}
        for u, i in self.pairs:
            self.items_of.setdefault(u, []).append(i)
            self.users_of.setdefault(i, []).append(u)

    def own(self, side: str) -> np.ndarray:
        table = self.w[f"{side}_embedding.weight"]
        bias = self.w.get(f"{side}_bias")
        return table if bias is None else np.c_[table, bias]

    def map_to(self, side: str) -> np.ndarray:
        """The ridge regression of a side's vectors on the damped mean of their neighbours' layers and a one."""
        other = self.other_layers(side)
        of = self.items_of if side == "user" else self.users_of
        nodes = sorted(node for node in of if node < len(self.own(side)))
        x = np.array([self.features(other, [j for j in of[n] if j < len(other)]) for n in nodes])
        gram = x.T @ x
        ridge = 0.01 * np.trace(gram) / len(gram)
        return np.linalg.inv(gram + ridge * np.eye(len(gram))) @ x.T @ self.own(side)[nodes]

    def other_layers(self, side: str) -> np.ndarray:
        """All layers, side by side, of the nodes that a side's nodes are joined to."""
        whole = np.array([np.concatenate(parts) for parts in zip(*self.layers(self.start()), strict=True)])
        users = len(self.w["user_embedding.weight"])
        return whole[users:] if side == "user" else whole[:users]

    @staticmethod
    def features(other: np.ndarray, neighbours: list[int]) -> np.ndarray:
        total = sum((other[j] for j in neighbours), np.zeros(other.shape[1]))
        return np.r_[total / (len(neighbours) + 5), 1.0]

    def layer(self, l: int, side: np.ndarray, x: np.ndarray) -> np.ndarray:  # noqa: E741
        """A layer's formula at one node, from the sum over its neighbourhood and the node itself."""
        w = {k.removeprefix(f"convs.{l}."): v for k, v in self.w.items() if k.startswith(f"convs.{l}.")}
        leaky = lambda a, slope: np.where(a > 0, a, slope * a)  # noqa: E731
        if self.name.startswith("gcn"):
            return w["linear.weight"] @ side + w["linear.bias"]
        w1, w2 = w["linear_sum.weight"], w["linear_product.weight"]
        if self.name == "ngcf":
            return leaky(w1 @ (side + x) + w2 @ (side * x), 0.01)
        b1, b2 = w["linear_sum.bias"], w["linear_product.bias"]
        return leaky(w1 @ side + b1, 0.2) + leaky(w2 @ (side * x) + b2, 0.2)

    def layers(self, start: tuple[np.ndarray, np.ndarray], new: list[int] | None = None) -> list[list[np.ndarray]]:
        """Every node's layers, users first; with `new`, behind them those of a user with these items who receives and
        does not send."""
        loops, row = self.name.startswith(("gcn", "ngcf_authors")), self.name == "ngcf_authors"
        x = [*start[0], *start[1]]
        count = len(start[0])
        near = {u: [count + i for i in items] for u, items in self.items_of.items()}
        near |= {count + i: users for i, users in self.users_of.items()}
        degree = [len(near.get(n, [])) + loops for n in range(len(x))]
        if new is not None:
            near[len(x)], degree = [count + i for i in new], [*degree, len(new) + loops]
            x.append(self.features(self.other_layers("user"), new) @ self.map_to("user"))
        layers = [x]
        for step in range(0 if self.name.startswith("mf") else 2):
            send = [np.maximum(e, 0) for e in x] if self.name.startswith("gcn") and step else x
            sides = []
            for n in range(len(x)):
                side = np.zeros(len(send[n]))
                for m in near.get(n, []):
                    side = side + send[m] / (degree[n] if row else np.sqrt(degree[n] * degree[m]))
                sides.append(side + send[n] / degree[n] if loops else side)
            x = sides if self.name == "lightgcn" else [self.layer(step, s, e) for s, e in zip(sides, x, strict=True)]
            layers.append(x)
        return layers

    def tables(self, start: tuple[np.ndarray, np.ndarray], new: list[int] | None = None) -> list[np.ndarray]:
        """Every node's representation."""
        layers = self.layers(start, new)
        if self.name == "lightgcn":
            return [0.5 * a + 0.3 * b + 0.2 * c for a, b, c in zip(*layers, strict=True)]
        if self.name == "gcn" or self.name.startswith("mf"):
            return layers[-1]
        if self.name == "ngcf_authors":
            layers = [layers[0], *([e / np.linalg.norm(e) for e in layer] for layer in layers[1:])]
        return [np.concatenate(parts) for parts in zip(*layers, strict=True)]

    def start(self) -> tuple[np.ndarray, np.ndarray]:
        return self.w["user_embedding.weight"], self.w["item_embedding.weight"]


def scores_of(found: pd.DataFrame, size: int = I) -> np.ndarray:
    """Scores by item id, NaN for what is not there."""
    scores = np.full(size, np.nan)
    scores[found["item"].to_numpy() - 1] = found["score"]
    return scores


@pytest.mark.parametrize("name", RANKING)
def test_a_history_is_a_node_that_receives_and_does_not_send(runs, name) -> None:
    naive = Naive(runs[name], name)
    history = [i - 1 for i in HISTORY]
    found = load(runs[name]).recommend_history([HISTORY], k=I)
    tables = naive.tables(naive.start(), history)
    item = np.array(tables[U : U + I])
    if name == "mf_biases":  # score = e_u e_i + b_u + b_i
        expected = item @ tables[-1][:-1] + tables[-1][-1] + naive.w["item_bias"]
    else:
        expected = item @ tables[-1]
    expected[history] = np.nan
    np.testing.assert_allclose(scores_of(found), expected, rtol=1e-4, atol=1e-5)
    assert found["score"].is_monotonic_decreasing


@pytest.mark.parametrize("name", ["lightgcn", "gcn", "ngcf"])
def test_with_the_own_vector_of_a_known_user_it_is_that_user(runs, name) -> None:
    """Layer 0 aside, somebody who has exactly what a user of train has is that user, to the last layer."""
    trained = load(runs[name])
    log = trained.prepared.train
    items = np.sort(log.item[log.user == 4])
    model = trained.model
    model.new_rows = lambda side, entries: {"user_embedding.weight": model.user_embedding.weight[4:5].detach()}
    scores = model.score_history(torch.zeros(len(items)).long(), torch.tensor(items), torch.ones(len(items)), 1)
    torch.testing.assert_close(scores, model.score(torch.tensor([4])), rtol=1e-4, atol=1e-5)


def test_many_histories_are_each_alone(runs, monkeypatch) -> None:
    random = np.random.default_rng(0)
    histories = [random.choice(I, n, replace=False) + 1 for n in random.integers(1, 9, 30)]
    trained = load(runs["lightgcn"])
    whole = trained.recommend_history(histories, k=6)
    for number in (0, 13, 29):
        alone = trained.recommend_history([histories[number]], k=6)
        part = whole[whole["user"] == number].reset_index(drop=True).assign(user=0)
        pd.testing.assert_frame_equal(alone, part, rtol=1e-4)
    frame = pd.concat([pd.DataFrame({"user": f"new {n}", "item": h}) for n, h in enumerate(histories)])
    for rows in (frame, frame.sample(frac=1, random_state=1)):
        named = trained.recommend_history(rows, k=6).set_index("user")
        for n in (0, 13, 29):
            assert named.loc[f"new {n}", "item"].tolist() == whole.loc[whole["user"] == n, "item"].tolist()
    monkeypatch.setattr(type(trained), "block", 7)
    monkeypatch.setattr(type(trained), "at_once", 3)
    pd.testing.assert_frame_equal(trained.recommend_history(histories, k=6), whole, rtol=1e-4)


def test_ratings_are_explained_as_well_as_they_can_be(runs) -> None:
    """Nothing lowers the training objective of the new user: its gradient at the answer, by differences, is zero."""
    naive = Naive(runs["mf_ratings"], "mf_ratings")
    ratings, items = np.array([1.0, 5.0, 2.0, 4.5]), np.array(HISTORY) - 1
    mean = naive.log["rating"].mean()
    table, bias = naive.w["item_embedding.weight"], naive.w["item_bias"]

    def objective(x: np.ndarray) -> float:
        error = ratings - mean - bias[items] - table[items] @ x[:-1] - x[-1]
        return float((error**2).sum() + 0.3 / 2 * len(items) * (x**2).sum())

    found = load(runs["mf_ratings"]).recommend_history([HISTORY], k=I, ratings=[ratings.tolist()])
    rest = found["item"].to_numpy() - 1
    design = np.c_[table[rest], np.ones(len(rest))]
    x = np.linalg.lstsq(design, found["score"] - mean - bias[rest], rcond=None)[0]
    best = objective(x)
    for step in 1e-2 * np.vstack([np.eye(7), -np.eye(7)]):
        assert objective(x + step) > best


# ---- fold_in


@pytest.mark.parametrize("name", RANKING)
def test_new_users_and_items_are_nodes_like_any_other(runs, name) -> None:
    """Two new users and a new item of theirs and of a known user's: the formulas over all interactions."""
    rows = [(101, 3), (101, 17), (101, 90), (102, 5), (102, 22), (7, 90), (7, 90)]
    place = {101: U, 102: U + 1, 7: 6, 90: I}
    pairs = [(place[u], place.get(i, i - 1)) for u, i in dict.fromkeys(rows)]
    naive = Naive(runs[name], name)
    user, _ = naive.start()
    known = {u: [i for v, i in pairs if v == u and i < I] for u in (U, U + 1)}
    others, of_user = naive.other_layers("user"), naive.map_to("user")
    made = np.array([naive.features(others, known[u]) @ of_user for u in known])
    users = np.vstack([naive.own("user"), made])
    # the item's vector: learnt on the graph with the new users in it
    second = Naive(runs[name], name, [p for p in pairs if p[1] < I])
    second.w["user_embedding.weight"] = users[:, : user.shape[1]]
    thing = second.features(second.other_layers("item"), [U, 6]) @ second.map_to("item")
    items = np.vstack([naive.own("item"), thing])
    whole = Naive(runs[name], name, pairs)
    if name == "mf_biases":
        expected = users[:, :-1] @ items[:, :-1].T + users[:, -1:] + items[:, -1]
    else:
        tables = whole.tables((users, items))
        expected = np.array(tables[: U + 2]) @ np.array(tables[U + 2 :]).T

    trained = load(runs[name])
    before = trained.recommend(k=5)
    folded = trained.fold_in(pd.DataFrame(rows, columns=["user", "item"]))
    everybody = [*range(1, U + 1), 101, 102]
    everything = [*range(1, I + 1), 90]
    grid = pd.MultiIndex.from_product([everybody, everything], names=["user", "item"]).to_frame(index=False)
    scores = folded.score(grid)["score"].to_numpy().reshape(expected.shape)
    np.testing.assert_allclose(scores, expected, rtol=1e-3, atol=1e-4)
    # in use
    lists = folded.recommend([101, 102], k=60)
    assert set(lists.loc[lists["user"] == 101, "item"]) == set(everything) - {3, 17, 90}
    assert set(lists.loc[lists["user"] == 102, "item"]) == set(everything) - {5, 22}
    assert 90 in folded.similar_items([3], k=40)["item"].tolist() and len(folded.similar_items([90], k=60)) == 40
    pd.testing.assert_frame_equal(trained.recommend(k=5), before)  # the old one is as it was


def test_a_new_user_of_ratings_and_of_autoencoders(runs) -> None:
    ratings = [1.0, 5.0, 2.0, 4.5]
    frame = pd.DataFrame({"user": 101, "item": HISTORY, "rating": ratings})
    for name in ("mf_ratings", "dae", "cdae"):
        trained = load(runs[name])
        given = [ratings] if name == "mf_ratings" else None
        expected = trained.recommend_history([HISTORY], k=9, ratings=given)
        found = trained.fold_in(frame).recommend([101], k=9)
        assert found["item"].tolist() == expected["item"].tolist()
        np.testing.assert_allclose(found["score"], expected["score"], rtol=1e-4)
    unrated = pd.DataFrame({"user": [1, 2], "item": [77, 77], "rating": [5.0, 1.0]})
    found = load(runs["autorec"]).fold_in(unrated)
    assert found.predict(pd.DataFrame({"user": [3], "item": [77]}))["prediction"].between(1, 5).all()


@pytest.mark.parametrize(
    ("name", "frame", "message"),
    [
        ("lightgcn", {"user": [101]}, "no column 'item'"),
        ("lightgcn", {"user": [101, None], "item": [1, 2]}, "row 2, column 'user'"),
        ("lightgcn", {"user": ["u7"], "item": [1]}, "row 1, column 'user': 'u7' is no id; ids are whole numbers here"),
        ("lightgcn", {"user": [], "item": []}, "has no rows"),
        ("mf_ratings", {"user": [101], "item": [1]}, "no column 'rating'"),
        ("mf_ratings", {"user": [101], "item": [1], "rating": ["good"]}, "'good'; expected a finite number"),
        ("dae", {"user": [101], "item": [77]}, "DAE by user has parameters for each item"),
        ("autorec", {"user": [101], "item": [1], "rating": [3.0]}, "AutoRec by item has parameters for each user"),
    ],
)
def test_what_cannot_be_folded_in(runs, name, frame, message) -> None:
    with pytest.raises((DataError, ConfigError), match=message) as caught:
        load(runs[name]).fold_in(pd.DataFrame(frame))
    assert "\n" not in str(caught.value)


# ---- the command


def test_histories_from_a_file(entry, runs, here) -> None:
    frame = pd.DataFrame({"user": ["b", "a", "b", "a"], "item": [3, 9, 17, 40]})
    expected = load(runs["ngcf"]).recommend_history([[3, 17], [9, 40]], k=4)
    expected["user"] = expected["user"].map({0: "b", 1: "a"})
    for file in ("h.csv", "h.tsv", "h.parquet"):
        if file.endswith("parquet"):
            frame.to_parquet(file)
        else:
            frame.to_csv(file, index=False, sep="\t" if file.endswith("tsv") else ",")
        code, out, err = entry("recommend", "--run", runs["ngcf"], "--k", 4, "--histories_file", file)
        assert code == 0 and not err
        pd.testing.assert_frame_equal(pd.read_csv(StringIO(out)), expected, check_dtype=False, rtol=1e-3)
    code, _, err = entry("recommend", "--run", runs["ngcf"], "--histories_file", "h.csv", "--history", "3")
    assert code == 2 and "give one of them" in err
    frame.rename(columns={"item": "thing"}).to_csv("h.csv", index=False)
    code, _, err = entry("recommend", "--run", runs["ngcf"], "--histories_file", "h.csv")
    assert code == 2 and "no column 'item'" in err and "found: user, thing" in err and err.count("\n") == 1
