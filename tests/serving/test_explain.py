"""Explanations of every kind of run: against the model's own scores, and the raw log."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from recgnn import load
from recgnn.errors import ConfigError, DataError

EXACT = {"LightGCN": {"embedding_dim": 8}, "EASE": {}, "ItemKNN": {}, "GraphFilter": {"dim": 8}, "iALS": {}}
OTHERS = {"NGCF": {"embedding_dim": 4, "layer_dims": [4]}, "MF": {"embedding_dim": 4}, "CDAE": {"hidden_dim": 4}}


@pytest.fixture(scope="module", params=[*EXACT, *OTHERS])
def trained(request, make_run, synthetic, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / request.param
    return load(make_run(folder, synthetic(), request.param, (EXACT | OTHERS)[request.param], epochs=1))


def test_shares_of_the_own_items(trained, train_log) -> None:
    kind = type(trained.model).__name__
    best = trained.recommend(5, k=3)
    found = trained.explain("5", best["item"].tolist())
    assert found.columns.tolist() == ["item", "score", "kind", "of", "share", "above", "both", "title"]
    log = train_log(trained.run)
    log = pd.DataFrame({side: getattr(trained, f"{side}s").decode(log[side]) for side in ("user", "item")})
    own = set(log.loc[log["user"] == 5, "item"])
    assert trained.model.explanation and ("exact" in trained.model.explanation) == (kind in EXACT)
    for (item, score), parts in zip(best[["item", "score"]].itertuples(index=False), found.groupby("item", sort=False),
                                    strict=True):  # fmt: skip
        assert parts[0] == item
        rows = parts[1]
        of_items = rows[rows["kind"] == "item"]
        assert rows["score"].unique() == pytest.approx([score], abs=1e-6)
        assert rows["share"].sum() == pytest.approx(score, abs=1e-4), "with the rest they are the score"
        assert set(of_items["of"]) == own and of_items["above"].is_monotonic_decreasing
        expected = ["rest"] if trained.model.rest else []
        assert rows["kind"].tolist() == ["item"] * len(own) + expected
        title = dict(zip(trained.items.ids, trained.items.title(np.arange(40)), strict=True))
        assert of_items["title"].tolist() == [title[one] for one in of_items["of"]]
        users = log.groupby("item")["user"].agg(set)
        assert of_items["both"].tolist() == [len(users[one] & users[item]) for one in of_items["of"]]


def test_above_is_the_share_without_what_all_items_have(trained) -> None:
    found = trained.explain(5, trained.items.ids.tolist())
    found = found[found["kind"] == "item"]
    mean = found.groupby("of")["share"].transform("mean")
    np.testing.assert_allclose(found["above"], found["share"] - mean, atol=1e-5)


def test_what_cannot_be_explained(trained) -> None:
    with pytest.raises(DataError, match="unknown user 999"):
        trained.explain(999, 1)
    with pytest.raises(DataError, match="unknown item 999"):
        trained.explain(5, [1, 999])


def test_models_without_an_explanation(make_run, synthetic, tmp_path) -> None:
    run = load(make_run(tmp_path / "run", synthetic(), "Popularity", {}))
    with pytest.raises(ConfigError, match="Popularity ranks everything alike for everybody"):
        run.explain(5, 1)


def test_weights_of_the_log_are_the_confidences(make_run, tmp_path) -> None:
    """Of iALS: with them the shares sum to the score, so that nothing is left over."""
    from recgnn.data import FrameLog, GraphDataModule

    random = np.random.default_rng(0)
    frame = pd.DataFrame({"user": np.repeat(np.arange(30), 6), "item": random.integers(12, size=180)})
    frame["plays"] = random.integers(1, 9, 180)
    data = GraphDataModule(FrameLog(frame.drop_duplicates(["user", "item"]), weight="plays"))
    run = load(make_run(tmp_path / "run", data, "iALS", {"embedding_dim": 4}, l2=0.1, ks=[5]))
    found = run.explain(3, [0, 1])
    assert set(found["kind"]) == {"item"}
    totals = found.groupby("item")["share"].sum()
    score = run.model.score(torch.tensor(run.users.encode([3])))[0, run.items.encode([0, 1])]
    assert totals.tolist() == pytest.approx(score.tolist(), abs=1e-4)
