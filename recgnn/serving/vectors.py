"""The vectors of a run, for models of clicks that have them as fields."""

from __future__ import annotations

import pandas as pd

from recgnn.data.clicks.vectors import IdVectors
from recgnn.data.interactions.log import ITEM, USER
from recgnn.errors import ConfigError
from recgnn.serving.loading import load
from recgnn.serving.recommender import TrainedRecommender


def vectors_of_run(run: str, side: str) -> IdVectors:
    """Return the representations of a run's users or items, with the pairs that it was trained on.

    Args:
        run: The run folder.
        side: `user` or `item`.

    Raises:
        ConfigError: If it is no run of a recommender, or its model has no representations.
    """
    trained = load(run)
    if not isinstance(trained, TrainedRecommender):
        raise ConfigError(f"vectors {run}: is a run of events; take one of a recommender, or a file of ids and vectors")
    table = dict(zip((USER, ITEM), trained.embeddings(), strict=True))[side]
    train = trained.prepared.train
    pairs = {USER: trained.users.decode(train.user), ITEM: trained.items.decode(train.item)}
    rule = trained.summary["positive"]
    return IdVectors(pd.Series(table.index), table.to_numpy(), pd.DataFrame(pairs), None if rule == "all" else rule)
