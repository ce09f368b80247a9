"""A run whose users are pairs: tags are ranked for pairs that the training data have, and for those of known parts."""

from __future__ import annotations

import pandas as pd
import pytest

from recgnn import load
from recgnn.data import FrameLog, GraphDataModule, RatioSplit
from recgnn.errors import DataError
from recgnn.serving.recommender import TrainedRecommender

ROWS = [(u, f, who, n % 4) for u in range(8) for f in range(8) if (u + f) % 3 for who, n in (('u', u), ('f', f))]
TAGS = [(user, film, f'{who}{n}') for user, film, who, n in ROWS]


@pytest.fixture(scope="module")
def run(tmp_path_factory, make_run):
    log = FrameLog(pd.DataFrame(TAGS, columns=["userId", "movieId", "tag"]), ["userId", "movieId"], "tag")
    data = GraphDataModule(log, split=RatioSplit(ratios=(1, 0, 0.05), by="all"), batch_size=16)
    folder = tmp_path_factory.mktemp("run") / "pitf"
    return make_run(folder, data, "PITF", {"embedding_dim": 4}, epochs=2, lr=0.02, ks=[5])


@pytest.fixture
def trained(run) -> TrainedRecommender:
    return load(run)


def test_a_pair_that_nobody_has_tagged_is_scored_by_its_parts(trained) -> None:
    model, new = trained.model, "3,6"
    assert new not in trained.users.ids
    found = trained.recommend(users=[new, "3,7"], k=8, exclude_seen="none")
    assert found["user"].unique().tolist() == [new, "3,7"]
    user, film = model.user_embedding.table.weight[3], model.user_embedding.table.weight[8 + 6]
    of_user, of_film = model.item_embedding.weight[trained.items.encode(found["item"][:8])].split(4, 1)
    assert found["score"][:8].tolist() == pytest.approx((of_user @ user + of_film @ film).tolist(), abs=1e-5)
    again = trained.recommend(users=new, k=8, exclude_seen="none")
    assert again["item"].tolist() == found["item"][:8].tolist() and trained.users.ids.is_unique


def test_a_frame_may_have_the_columns_of_the_data(trained) -> None:
    rows = pd.DataFrame({"userId": [3, 0], "movieId": [6, 1], "tag": ["u3", "f1"]})
    found = trained.score(rows)
    assert [*found.columns] == ["userId", "movieId", "tag", "score"]
    joined = trained.score(pd.DataFrame({"user": ["3,6", "0,1"], "item": ["u3", "f1"]}))
    assert found["score"].tolist() == joined["score"].tolist()
    assert trained.predict(rows.assign(movieId=[99, 1]))["prediction"].isna().tolist() == [True, False]


def test_a_part_that_is_not_known(trained) -> None:
    with pytest.raises(DataError, match="unknown user '3,99'"):
        trained.recommend(users="3,99")
