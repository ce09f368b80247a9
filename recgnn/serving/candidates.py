"""What a run recommends, as candidates from which negatives are drawn."""

from __future__ import annotations

import pandas as pd

from recgnn.data.clicks.negatives import Candidates
from recgnn.data.interactions.log import ITEM, USER
from recgnn.data.stored import digest_of
from recgnn.errors import ConfigError, Count, Fraction
from recgnn.serving.loading import load
from recgnn.serving.recommender import TrainedRecommender
from recgnn.training import run_folder as runs


class TopOfRun(Candidates):
    """The items that a run recommends to a user, in place of those that the user has in its training data.

    Args:
        run: the run folder of a model of interactions, trained with the same split.
        top: how many items of each user.
        share: of the negatives that is drawn from them.
    """

    def __init__(self, run: str, top: Count = 100, share: Fraction = 0.5):
        self.run, self.top, self.share = run, top, share

    def read(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return the best items of each user, and the run's training data.

        Raises:
            ConfigError: if the run is of events.
        """
        trained = load(self.run)
        if not isinstance(trained, TrainedRecommender):
            raise ConfigError(f"hard_negatives: {self.run} is no run of a model of interactions, such as EASE")
        train = trained.prepared.train
        known = {USER: trained.users.decode(train.user), ITEM: trained.items.decode(train.item)}
        return trained.recommend(k=self.top, exclude_seen="train")[[USER, ITEM]], pd.DataFrame(known)

    def fingerprint(self) -> str:
        folder = runs.existing_run(self.run)
        files = (runs.best_checkpoint(folder), folder / "vocabulary" / "summary.json")
        return f"top {self.top} of {' '.join(map(digest_of, files))}"

    def describe(self) -> str:
        return f"the {self.top} best of {self.run}"
