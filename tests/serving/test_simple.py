"""Runs of the simple methods, put to use: new users, similar items, new interactions."""

from __future__ import annotations

import pandas as pd
import pytest
import torch

from recgnn import load
from recgnn.data import GraphDataModule, SyntheticLog
from recgnn.errors import ConfigError

METHODS = ("EASE", "GraphFilter", "ItemKNN", "Popularity", "iALS")


@pytest.fixture(scope="module", params=METHODS)
def trained(request, make_run, tmp_path_factory):
    data = GraphDataModule(SyntheticLog(num_users=61, num_items=40, seed=3))
    return load(make_run(tmp_path_factory.mktemp("runs") / request.param, data, request.param, {}))


def test_a_new_user_gets_the_list_of_one_with_the_same_items(trained) -> None:
    train = trained.prepared.train
    own = trained.items.decode(train.item[train.user == 4])
    found = trained.recommend_history([int(i) for i in own], k=5)
    expected = trained.recommend([int(trained.users.decode([4])[0])], k=5, exclude_seen="train")
    assert found["item"].tolist() == expected["item"].tolist()
    assert found["score"].tolist() == pytest.approx(expected["score"].tolist(), abs=1e-5)
    grown = trained.fold_in(pd.DataFrame({"user": 999, "item": own}))
    assert len(grown.recommend(999, k=5)) == 5 and len(grown.users) == 62


def test_new_items(trained) -> None:
    rows = pd.DataFrame({"user": [1, 2, 3], "item": 999})
    if type(trained.model).__name__ in ("Popularity", "iALS"):
        assert len(trained.fold_in(rows).items) == 41
    else:
        with pytest.raises(ConfigError, match="has weights between the items of the training data and none for a new"):
            trained.fold_in(rows)


def test_similar_items(trained) -> None:
    if type(trained.model).__name__ == "Popularity":
        with pytest.raises(ConfigError, match="no item is similar"):
            trained.similar_items([3])
        return
    found = trained.similar_items([3, 7], k=4)
    assert found["query"].tolist() == [3] * 4 + [7] * 4 and not (found["query"] == found["item"]).any()
    row = int(trained.items.encode([7])[0])
    if type(trained.model).__name__ == "iALS":
        item = torch.nn.functional.normalize(trained.model.embeddings()[1], dim=1)
        scores = item @ item[row]
    else:
        scores = trained.model(torch.eye(40)[[row]])[0]
    scores[row] = -torch.inf
    assert found["score"].tolist()[4:] == pytest.approx(scores.topk(4).values.tolist(), abs=1e-6)
