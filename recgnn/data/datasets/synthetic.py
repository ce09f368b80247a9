"""A made-up log with a structure that can be learned: for tests, examples and smoke runs."""

from __future__ import annotations

import hashlib

import numpy as np
import pandas as pd

from recgnn.data.interactions.log import InteractionLog, Source
from recgnn.errors import ConfigError, Count, Seed

_BLOCK = 4096
_FORMAT = 1


class SyntheticLog(Source):
    """Users and items of a few latent clusters: users meet and like the items of their own cluster
    most.

    Args:
        num_users: Users, with ids 1..num_users.
        num_items: Items, with ids 1..num_items.
        interactions_per_user: Distinct items of each user.
        ratings: Whether there are ratings, 1 to 5: about 4.3 in the own cluster, 2.5 elsewhere.
        timestamps: Whether there are timestamps (seconds in 2020, increasing within a user).
        seed: The same seed gives the same log.
    """

    name = "synthetic"

    def __init__(
        self,
        num_users: Count = 60,
        num_items: Count = 40,
        interactions_per_user: Count = 12,
        ratings: bool = True,
        timestamps: bool = True,
        seed: Seed = 0,
    ) -> None:
        if interactions_per_user > num_items:
            raise ConfigError(
                f"SyntheticLog.interactions_per_user is {interactions_per_user}; expected at most num_items, "
                f"{num_items}"
            )
        self.num_users = num_users
        self.num_items = num_items
        self.interactions_per_user = interactions_per_user
        self.ratings = ratings
        self.timestamps = timestamps
        self.seed = seed

    def read(self) -> InteractionLog:
        """Draw the log; items have a title and a genre, users a segment."""
        random = np.random.default_rng(self.seed)
        clusters = max(2, min(8, self.num_items // 10))
        of_user = random.integers(clusters, size=self.num_users)
        of_item = random.permutation(np.arange(self.num_items) % clusters)
        popularity = random.normal(0.0, 0.5, size=self.num_items)

        blocks = []
        for start in range(
            0, self.num_users, _BLOCK
        ):  # Gumbel top-k: items drawn without replacement
            own = of_user[start : start + _BLOCK, None] == of_item
            drawn = popularity + 2.5 * own + random.gumbel(size=own.shape)
            blocks.append(np.argsort(-drawn, axis=1)[:, : self.interactions_per_user])
        item = random.permuted(np.concatenate(blocks), axis=1).ravel()
        user = np.repeat(np.arange(self.num_users), self.interactions_per_user)

        columns = {"user": user + 1, "item": item + 1}
        if self.ratings:
            liking = np.where(of_user[user] == of_item[item], 4.3, 2.5)
            liking += random.normal(0.0, 0.3, self.num_users)[user] + random.normal(
                0.0, 0.5, len(user)
            )
            columns["rating"] = np.clip(np.rint(liking), 1, 5).astype(np.float32)
        if self.timestamps:
            moments = random.integers(
                1_577_836_800, 1_609_459_200, size=(self.num_users, self.interactions_per_user)
            )
            columns["timestamp"] = np.sort(moments, axis=1).ravel()
        frame = pd.DataFrame(columns).iloc[random.permutation(len(user))]

        users = pd.DataFrame(
            {"user": np.arange(1, self.num_users + 1), "segment": [f"S{c}" for c in of_user]}
        )
        items = pd.DataFrame(
            {
                "item": np.arange(1, self.num_items + 1),
                "title": [f"Item {i + 1} of genre {c}" for i, c in enumerate(of_item)],
                "genre": [f"G{c}" for c in of_item],
            }
        )
        return InteractionLog(frame, users, items, name=self.name)

    def fingerprint(self) -> str:
        return hashlib.sha256(f"{_FORMAT} {sorted(vars(self).items())}".encode()).hexdigest()
