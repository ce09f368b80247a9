"""A trained recommender put to use: the best items for users, known or new, and similar items."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from recgnn.data.interactions.graph import UserItems
from recgnn.data.interactions.log import ITEM, USER
from recgnn.data.interactions.prepare import PreparedLog
from recgnn.data.progress import progress
from recgnn.data.readers.origin import need_columns
from recgnn.errors import ConfigError
from recgnn.models.base import Recommender, top_k
from recgnn.nn.folding import Entries
from recgnn.serving import fold_in as folding
from recgnn.serving.fold_in import set_graph
from recgnn.serving.histories import histories_of
from recgnn.serving.ids import check_fallback, required
from recgnn.serving.output import concatenated, ranked
from recgnn.training import run_folder as runs


class TrainedRecommender:
    """A finished run of a model that recommends, loaded from its folder alone; `recgnn.load` makes it.

    Args:
        run: the run folder.
        model: the model of its checkpoint.
        prepared: the log, if it is another than the run's own (see `fold_in`).

    Raises:
        RunError: if the folder is none, or damaged.
    """

    def __init__(self, run: str | Path, model: Recommender, prepared: PreparedLog | None = None):
        self.run = runs.existing_run(run)
        self.model, self.prepared = model.eval(), prepared
        if prepared is None:
            self.prepared = PreparedLog.load(self.run / "vocabulary")
            set_graph(self.model, self.prepared.train)
        parts = [self.prepared.train, self.prepared.test]
        if not self.prepared.summary["val_is_test"]:
            parts.insert(1, self.prepared.val)
        users, items = (
            torch.from_numpy(np.concatenate([getattr(part, side) for part in parts])) for side in (USER, ITEM)
        )
        self.seen = UserItems.from_pairs(users, items, self.prepared.num_users)
        self.popularity = torch.tensor(self.prepared.items.frequency, dtype=torch.float32)  # interactions of train, [I]
        self._titles: np.ndarray | None = self.prepared.items.title(np.arange(self.prepared.num_items))

    @property
    def block(self) -> int:
        """Users per table that is given out."""
        return max(1, 2**25 // self.prepared.num_items)

    @property
    def at_once(self) -> int:
        """Users who are scored at once: so many that their scores stay in the processor's cache."""
        return max(1, 2**21 // self.prepared.num_items)

    # ---- known users

    def recommend(
        self,
        users: Iterable | None = None,
        k: int = 10,
        exclude_seen: bool = True,
        candidates: Iterable | pd.DataFrame | None = None,
        exclude: Iterable | None = None,
        fallback: str | None = None,
    ) -> pd.DataFrame:
        """The k best items of each user: columns user, rank, item, score and, where known, title.

        Args:
            users: raw ids; all users when None (those of `candidates`, where it is a frame).
            k: how many. A user with fewer than k items left gets a shorter list.
            exclude_seen: leave out what the user has in the prepared log, the validation and test parts included
                (not what a filter dropped).
            candidates: raw ids of the items to choose from, or a frame with columns user and item, each user's own; all
                items when None.
            exclude: raw ids of items that are recommended to nobody.
            fallback: `popularity` recommends to a user whom train lacks the items that most interactions of train have,
                their number being the score; a column source tells `model` from `popularity`. None: an error.

        Raises:
            DataError: for a user who is not in the training data (see `fallback`, `recommend_history` and `fold_in`),
                or an item that is not.
            ConfigError: for k below 1, or no such fallback.
        """
        return concatenated(self.recommend_blocks(users, k, exclude_seen, candidates, exclude, fallback))

    def recommend_blocks(
        self,
        users: Iterable | None = None,
        k: int = 10,
        exclude_seen: bool = True,
        candidates: Iterable | pd.DataFrame | None = None,
        exclude: Iterable | None = None,
        fallback: str | None = None,
    ) -> Iterator[pd.DataFrame]:
        """`recommend` in blocks of users, so that memory does not grow with their number."""
        k = self._length(k)
        check_fallback(fallback)
        own = None
        if isinstance(candidates, pd.DataFrame):
            own, users, candidates = *self._own_candidates(candidates, users), None
        rows, names = self._users(users, fallback)
        blocked = self._blocked(candidates, exclude)
        with progress("recommending", len(rows)) as step:
            for start in range(0, max(1, len(rows)), self.block):
                here = slice(start, start + self.block)
                places, found = torch.arange(len(rows))[here], []
                for some in places.split(self.at_once):
                    found.append(self._best_of_known(some, rows, k, exclude_seen, blocked, own))
                    step(len(some))
                scores, items = (torch.cat(x) for x in zip(*found, strict=True))
                source = None if fallback is None else np.where(rows[here] < 0, fallback, "model")
                yield self._frame(USER, names[here], scores, items, source)

    def _best_of_known(
        self,
        places: Tensor,
        rows: np.ndarray,
        k: int,
        exclude_seen: bool,
        blocked: Tensor | None,
        own: UserItems | None,
    ) -> tuple[Tensor, Tensor]:
        """Scores and items of the users at some places in `rows`, -1 for one who gets what is popular: each [b, k]."""
        users = torch.from_numpy(rows)[places]
        unknown, users = users < 0, users.clamp(min=0)
        scores = self.model.score(users)
        if unknown.any():
            scores[unknown] = self.popularity
        if blocked is not None:
            scores.masked_fill_(blocked, -torch.inf)
        if own is not None:
            others = torch.ones_like(scores, dtype=torch.bool)
            others[own.of(places)] = False
            scores.masked_fill_(others, -torch.inf)
        if not exclude_seen:
            return top_k(scores, k, None)
        place, items = self.seen.of(users)
        kept = ~unknown[place]
        return top_k(scores, k, (place[kept], items[kept]))

    def _users(self, users: Iterable | None, fallback: str | None) -> tuple[np.ndarray, np.ndarray]:
        """Rows of users, -1 for those whom train lacks, and their ids."""
        vocabulary = self.prepared.users
        if users is None:
            rows = np.arange(len(vocabulary))
            return rows, vocabulary.decode(rows)
        ids = vocabulary.parse(users)
        if fallback is None:
            rows = required(ids, vocabulary, USER)
            return rows, vocabulary.decode(rows)
        names = np.array(ids, dtype=np.int64) if vocabulary.is_integer else np.array(ids, dtype=object)
        return vocabulary.encode(names), names

    def _blocked(self, candidates: Iterable | None, exclude: Iterable | None) -> Tensor | None:
        """The items that are recommended to nobody, [I]; None for none."""
        if candidates is None and exclude is None:
            return None
        blocked = torch.zeros(self.prepared.num_items, dtype=torch.bool)
        if candidates is not None:
            blocked[:] = True
            blocked[torch.from_numpy(self.prepared.items.require(candidates, ITEM))] = False
        if exclude is not None:
            blocked[torch.from_numpy(self.prepared.items.require(exclude, ITEM))] = True
        return blocked

    def _own_candidates(self, frame: pd.DataFrame, users: Iterable | None) -> tuple[UserItems, list]:
        """Each user's candidates, and the users; by default those of the frame, in its order."""
        need_columns((USER, ITEM), frame.columns, "candidates")
        items = torch.from_numpy(self.prepared.items.require(frame[ITEM], ITEM))
        asked = pd.Index(self.prepared.users.parse(frame[USER].unique() if users is None else users))
        codes, distinct = pd.factorize(asked)
        place = torch.from_numpy(distinct.get_indexer(self.prepared.users.parse(frame[USER])))
        table = UserItems.from_pairs(place[place >= 0], items[place >= 0], len(distinct))
        whose, which = table.of(torch.from_numpy(codes))
        return UserItems.from_pairs(whose, which, len(asked)), asked.tolist()

    # ---- new users and items

    def recommend_history(
        self,
        histories: Sequence[Sequence] | pd.DataFrame,
        k: int = 10,
        ratings: Sequence[Sequence[float]] | None = None,
        candidates: Iterable | None = None,
        exclude: Iterable | None = None,
        fallback: str | None = None,
    ) -> pd.DataFrame:
        """The k best items for users who were not in train, from what they had: columns user, rank, item, score and,
        where known, title. What is in a history is not recommended.

        Autoencoders of users encode the history. MF and graph models keep all that they learnt and take the new user's
        own vector (layer 0) from the mean of the items' layers, by the linear map that fits the users of train best;
        graph models then propagate to the new user as to any other. MF on ratings solves its own objective for the
        user. An answer does not depend on who else is asked for; see also `fold_in`.

        Args:
            histories: raw item ids, a list a user, who is then called 0, 1, …; or a frame with columns user (any ids),
                item and, for a model of ratings, optionally rating.
            k: how many.
            ratings: of those items, in lists like the histories; a model of ratings takes the highest of train where
                they are not given.
            candidates, exclude: as for `recommend`, lists.
            fallback: `popularity` leaves out items that train lacks, and recommends what is popular where nothing is
                left of a history; a column source tells which. None: an error.

        Raises:
            DataError: for an item that is not in the training data, or none at all.
            ConfigError: for a model that cannot do without having seen the user in train, or k below 1.
        """
        return concatenated(self.history_blocks(histories, k, ratings, candidates, exclude, fallback))

    def history_blocks(
        self,
        histories: Sequence[Sequence] | pd.DataFrame,
        k: int = 10,
        ratings: Sequence[Sequence[float]] | None = None,
        candidates: Iterable | None = None,
        exclude: Iterable | None = None,
        fallback: str | None = None,
    ) -> Iterator[pd.DataFrame]:
        """`recommend_history` in blocks of users."""
        k = self._length(k)
        check_fallback(fallback)
        highest = float(self.model.high) if self.model.task == "rating" else None
        names, entries = histories_of(histories, ratings, self.prepared.items, highest, fallback is not None)
        blocked, counts = self._blocked(candidates, exclude), entries.counts.numpy()
        with progress("recommending", len(names)) as step:
            for start in range(0, max(1, len(names)), self.block):
                stop, found = min(start + self.block, len(names)), []
                for first in range(start, max(stop, start + 1), self.at_once):
                    some = entries.of(first, min(first + self.at_once, stop))
                    found.append(self._best_of_new(some, k, blocked))
                    step(some.size)
                scores, items = (torch.cat(x) for x in zip(*found, strict=True))
                source = None if fallback is None else np.where(counts[start:stop] == 0, fallback, "model")
                yield self._frame(USER, names[start:stop], scores, items, source)

    def _best_of_new(self, entries: Entries, k: int, blocked: Tensor | None) -> tuple[Tensor, Tensor]:
        """Scores and items of users who have `entries`; who has nothing gets what is popular: each [b, k]."""
        scores = self.model.score_history(*entries)
        empty = entries.counts == 0
        if empty.any():
            scores[empty] = self.popularity
        if blocked is not None:
            scores.masked_fill_(blocked, -torch.inf)
        return top_k(scores, k, (entries.place, entries.others))

    def fold_in(self, frame: pd.DataFrame) -> TrainedRecommender:
        """A recommender that knows the users, items and interactions of a frame too; this one does not change.

        Nothing is trained. A new user's own vector comes from the layers of the items that the user has, a new item's
        from those of its users, each by the linear map that fits the users (items) of train best; graph models then
        propagate over the old and the new interactions together, so that known users and items profit from the new
        interactions as well. Autoencoders of users take new users, those of items new items.

        Args:
            frame: columns user, item and, for a model of ratings, rating: interactions of new users, with new items, or
                new ones between known users and items. What is folded in counts as seen.

        Raises:
            DataError: for a missing column, an impossible id or rating, or no row at all.
            ConfigError: for a model that cannot take in what is new.
        """
        return TrainedRecommender(self.run, *folding.fold_in(self.model, self.prepared, frame))

    # ---- representations

    def similar_items(
        self, items: Iterable, k: int = 10, candidates: Iterable | None = None, exclude: Iterable | None = None
    ) -> pd.DataFrame:
        """The k items whose representations have the largest cosine with each item's: columns query, rank, item,
        score and, where known, title.

        Args:
            items: raw ids.
            k: how many.
            candidates: raw ids of the items to choose from; all when None.
            exclude: raw ids of items to leave out.

        Raises:
            DataError: for an item that is not in the training data.
        """
        k = self._length(k)
        rows = torch.from_numpy(self.prepared.items.require(list(items), ITEM))
        blocked = self._blocked(candidates, exclude)
        table = torch.nn.functional.normalize(self._tables()[1], dim=1)
        frames = []
        for block in rows.split(self.block):
            scores = table[block] @ table.T
            scores[torch.arange(len(block)), block] = -torch.inf
            if blocked is not None:
                scores.masked_fill_(blocked, -torch.inf)
            frames.append(self._frame("query", self.prepared.items.decode(block.numpy()), *scores.topk(k)))
        return concatenated(frames)

    def embeddings(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """The representations of all users and of all items, a row for each, under their raw ids. Their inner product
        is the score (for autoencoders but for a bias and the last activation, for MF on ratings but for their mean)."""
        sides = zip(self._tables(), (self.prepared.users, self.prepared.items), (USER, ITEM), strict=True)
        return tuple(
            pd.DataFrame(table.numpy(), index=pd.Index(vocabulary.decode(np.arange(len(vocabulary))), name=side))
            for table, vocabulary, side in sides
        )

    def _tables(self) -> tuple[Tensor, Tensor]:
        if not hasattr(self.model, "embeddings"):
            raise ConfigError(f"{type(self.model).__name__} has no representations of users and items")
        with torch.no_grad():
            return tuple(table.detach() for table in self.model.embeddings())

    # ---- pairs

    def score(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The frame (columns user, item) with a column score.

        Raises:
            DataError: for a missing column, or a user or item that is not in the training data.
        """
        need_columns((USER, ITEM), frame.columns, "score")
        users = self.prepared.users.require(frame[USER], USER)
        items = self.prepared.items.require(frame[ITEM], ITEM)
        return frame.assign(score=self.scores_of(users, items))

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The frame (columns user, item) with a column prediction.

        For a model of ratings it is the rating, within the range of those in train; for a user or item that train
        lacks, the run's cold rating. For other models it is the score, and empty (NaN) for those.

        Raises:
            DataError: for a missing column.
        """
        return frame.assign(prediction=self.scores_of(*self.rows_of(frame)))

    def rows_of(self, frame: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """The rows of a frame's users and items, -1 where train lacks them: [n], [n].

        Raises:
            DataError: for a missing column.
        """
        need_columns((USER, ITEM), frame.columns, "predict")
        sides = ((USER, self.prepared.users), (ITEM, self.prepared.items))
        users, items = (vocabulary.encode(frame[side]) for side, vocabulary in sides)
        return users, items

    def scores_of(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """What the model says of pairs of rows, [n]; in the order of the users, so that each one is scored once."""
        order = np.argsort(users, kind="stable")
        scores = np.empty(len(users), dtype=np.float32)
        _, starts = np.unique(users[order], return_index=True)
        for cut in np.split(order, starts[self.block :: self.block]):
            pairs = torch.from_numpy(users[cut]), torch.from_numpy(items[cut])
            scores[cut] = self.model.predict_pairs(*pairs).numpy()
        return scores

    def _length(self, k: int) -> int:
        if k < 1:
            raise ConfigError(f"k must be at least 1, found {k}")
        return min(k, self.prepared.num_items)

    def _frame(
        self, key: str, ids: np.ndarray, scores: Tensor, items: Tensor, source: np.ndarray | None = None
    ) -> pd.DataFrame:
        rows = items.numpy()
        titles = None if self._titles is None else self._titles[rows]
        return ranked(key, ids, scores.numpy(), self.prepared.items.decode(rows), titles, source)
