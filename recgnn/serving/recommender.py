"""A trained recommender put to use: for users of the training data, for new ones, and for pairs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from recgnn.data.interactions.compound import Parts, admitted
from recgnn.data.interactions.graph import UserItems, chained
from recgnn.data.interactions.log import ITEM, USER
from recgnn.data.interactions.prepared import PreparedLog
from recgnn.data.interactions.vocabulary import Vocabulary
from recgnn.data.readers.frames import as_pandas, is_frame, like
from recgnn.errors import ConfigError, RunError
from recgnn.models.base import Pair, Recommender, top_k
from recgnn.nn.folding import Entries
from recgnn.serving import fold_in as folding
from recgnn.serving.columns import own_columns
from recgnn.serving.histories import histories_of
from recgnn.serving.ids import as_list, check_fallback, is_single
from recgnn.serving.index import ItemIndex
from recgnn.serving.output import concatenated
from recgnn.serving.trained import Score, TrainedModel


class TrainedRecommender(TrainedModel):
    """A finished run of a model that recommends.

    Args:
        run: the run folder.
        model: the model of its checkpoint.
        prepared: the log, if it is another than the run's own (see `fold_in`).

    Raises:
        RunError: if the folder is none, or damaged.
    """

    model: Recommender

    def __init__(self, run: str | Path, model: Recommender, prepared: PreparedLog | None = None):
        super().__init__(run, model)
        if prepared is None:
            prepared = PreparedLog.load(self.run / "vocabulary")
            if (model.num_users, model.num_items) != (prepared.num_users, prepared.num_items):
                raise RunError(
                    f"{self.run}: its checkpoint is of other data: {model.num_users} users and {model.num_items} items "
                    f"there, {prepared.num_users} and {prepared.num_items} in vocabulary/"
                )
            folding.set_graph(self.model, prepared.train)
        self.prepared, self.users, self.items = prepared, prepared.users, prepared.items
        self.summary, self.names = prepared.summary, prepared.summary["columns"]

    def admit(self, users: object) -> None:
        """Number those of the users who are new, and whose id is made of parts that the training data have."""
        if users is None or not hasattr(self.model, "set_parts"):
            return
        known = admitted(self.users, [str(user) for user in as_list(users)])
        if len(known) > len(self.users):
            self.users, self.prepared = known, replace(self.prepared, users=known)
            cast(Any, self.model).set_parts(torch.from_numpy(Parts(known).codes))

    def _rows(self, users: object, fallback: str | None) -> tuple[np.ndarray, np.ndarray]:
        self.admit(users)
        return super()._rows(users, fallback)

    def seen_in(self, *parts: str) -> UserItems:
        own = [p for p in parts if not (p == "val" and self.summary["val_is_test"])]  # which is the test part
        rows = [getattr(self.prepared, part) for part in own]
        users, items = (torch.from_numpy(chained([getattr(p, side) for p in rows])) for side in (USER, ITEM))
        return UserItems.from_pairs(users, items, len(self.users))

    def use_index(self, recall: float = 0.95) -> str:
        """Let `recommend` search an index of the items instead of scoring all, which is worth it for 100,000 and more.

        It reads a part of the items, with all filters inside, and gives the scores of the model; a list may lack an
        item of the exact one. Unknown users, new ones (`recommend_history`) and similar items are answered exactly.

        Args:
            recall: the share of the exact 100 best items that it is to find, over a sample of users.

        Returns:
            How it was built, and the share that it does find.

        Raises:
            ConfigError: if the model's score is no inner product of vectors, or FAISS is not installed.
        """
        self.index = ItemIndex(self.model, recall)
        return self.index.told

    def sizes(self) -> str:
        return f"{len(self.users):,} users, {len(self.items):,} items, {len(self.prepared.train):,} interactions"

    @property
    def cold_share(self) -> float:
        """The share of validation (or test) rows with a user or item that is not in train."""
        part = "val" if len(self.prepared.val) else "test"
        cold = len(self.prepared.cold[part]) if part in self.prepared.cold else 0
        return cold / max(1, cold + len(getattr(self.prepared, part)))

    def scorer(self, context: dict[str, Any] | None) -> Score:
        """Score all items: the model's own method.

        Args:
            context: Must be None.

        Raises:
            ConfigError: If there is a context.
        """
        if context is not None:
            raise ConfigError(f"context is for CTR models, and {type(self.model).__name__} is none; leave it out")
        return lambda users, hide: self.model.score(users.clamp(min=0))

    def explain(self, user: object, items: object) -> pd.DataFrame:
        """Tell what each of the user's items in train adds to the scores of items: columns item, score, kind, of,
        share, above, both (how many users have both items) and, where known, title (that of `of`).

        Rows of kind `item` have an item of the user in `of`; a last one of kind `rest` has what they leave of the
        score. What an item adds to the scores of all items alike ranks none of them: `above` is its share above the
        mean of its shares over all items, and those come first that have most of it. `model.explanation` says what the
        shares are: for linear propagation (LightGCN, XSimGCL), iALS, EASE, ItemKNN and GraphFilter they are exact.

        Args:
            user: raw id.
            items: raw ids of the items whose scores are explained.

        Raises:
            DataError: for an unknown user or item.
            ConfigError: for a model that has no such explanation.

        >>> import recgnn
        >>> run = recgnn.load("runs/lightgcn-demo/1")
        >>> parts = run.explain(5, 26)
        >>> bool(abs(parts["share"].sum() - parts["score"].iloc[0]) < 1e-4)
        True
        """
        rows, _ = self._rows(user, None)
        targets, train = torch.from_numpy(self.items.require(as_list(items), ITEM)), self._seen(("train",))
        own = train.of(torch.from_numpy(rows))[1]
        entries = Entries(torch.zeros_like(own), own, self._values_of(int(rows[0]), own), 1)
        shares = self.model.shares(int(rows[0]), entries, torch.cat([targets, targets.new_tensor([-1])]))
        shares, mean = shares[:, :-1], shares[:, -1]
        scores = self.model.score(torch.from_numpy(rows))[0, targets]
        frames = []
        for target, share, score in zip(targets.tolist(), shares.T, scores, strict=True):
            order, rest = (share - mean).argsort(descending=True), float(score - share.sum())
            known = bool(self.model.rest) or abs(rest) > 1e-4 * float(share.abs().sum() + score.abs())
            of, parts = own[order].numpy(), share[order].tolist() + [rest] * known
            name = self.model.rest or "what is not due to single items"
            frame = pd.DataFrame({"kind": ["item"] * len(of) + ["rest"] * known, "share": parts})
            frame.insert(0, "item", self.items.decode([target])[0])
            frame.insert(1, "score", float(score))
            frame.insert(3, "of", pd.Series([*self.items.decode(of).tolist(), *[name] * known], dtype=object))
            frame["above"] = np.append((share - mean)[order].numpy(), [np.nan] * known)
            frame["both"] = np.append(self._have_both(target)[of], [0] * known).astype(int)
            frames.append(self._named(frame, np.append(of, [-1] * known).astype(int)))
        return concatenated(frames)

    def _have_both(self, item: int) -> np.ndarray:
        """How many users have an item and each other one in train, [I]."""
        train, size = self.prepared.train, len(self.items)
        has = np.bincount(train.user[train.item == item], minlength=len(self.users)) > 0
        return np.bincount(train.item[has[train.user]], minlength=size)

    def _values_of(self, user: int, own: Tensor) -> Tensor:
        """The ratings of a user's items, or their confidences, or ones: [n]."""
        train = self.prepared.train
        rated = self.model.task == "rating"
        values = train.rating if rated else train.weight
        if values is None:
            return torch.ones(len(own))
        scale = 1.0 if rated else float(values.mean())
        mine = train.user == user
        table = dict(zip(train.item[mine].tolist(), (values[mine] / scale).tolist(), strict=True))
        return torch.tensor([table[item] for item in own.tolist()])

    # ---- new users and items

    def recommend_history(
        self,
        histories: Any,
        k: int = 10,
        ratings: Any = None,
        candidates: object = None,
        exclude: object = None,
        fallback: str | None = None,
    ) -> pd.DataFrame:
        """Recommend the k best items to users who are not in the training data, from the items that they have: columns
        user, rank, item, score and, where known, title. The items of a history are not recommended.

        Autoencoders of users encode the history, and simple methods score it (iALS solves for the user), exactly as if
        the user had been in the training data. MF and graph models keep all that they learnt and take the new user's
        own vector (layer 0) from the mean of the items' layers, by the linear map that fits the training users best;
        graph models then propagate to the new user as to any other. MF on ratings solves its own objective for the
        user. An answer does not depend on the other histories; see also `fold_in`.

        Args:
            histories: raw item ids of one user; or a list of them for each user, who are then called 0, 1, …; or a dict
                of them by user; or a frame with columns user (any ids), item and, for models of ratings, rating.
            k: how many.
            ratings: of those items, in the form of the histories; models of ratings take the highest rating of the
                training data where they are not given.
            candidates, exclude: raw ids of items, as for `recommend`.
            fallback: `popularity` ignores unknown items, and recommends the most popular items where nothing is left
                of a history; a column source tells which. None: an error.

        Raises:
            DataError: for an unknown item, an empty history, or ratings that do not fit.
            ConfigError: for a model that needs to have seen the user in training, or k below 1.

        >>> import recgnn
        >>> run = recgnn.load("runs/lightgcn-demo/1")
        >>> run.recommend_history([1, 26], k=2)["user"].tolist()
        [0, 0]
        >>> run.recommend_history({"ann": [1, 26], "bob": [3]}, k=2)["user"].tolist()
        ['ann', 'ann', 'bob', 'bob']
        """
        return concatenated(self.history_blocks(histories, k, ratings, candidates, exclude, fallback))

    def history_blocks(
        self,
        histories: Any,
        k: int = 10,
        ratings: Any = None,
        candidates: object = None,
        exclude: object = None,
        fallback: str | None = None,
    ) -> Iterator[pd.DataFrame]:
        """`recommend_history` in blocks of users, with its arguments (histories, k, ratings, candidates, exclude,
        fallback)."""
        k = self._length(k)
        check_fallback(fallback)
        if isinstance(ratings, Mapping) and isinstance(histories, Mapping):
            ratings = [ratings.get(user, []) for user in histories]
        highest = float(self.model.high) if self.model.task == "rating" else None
        if is_frame(histories):
            histories = own_columns(histories, self.names, (USER, ITEM), "the histories")
        names, entries = histories_of(as_lists(histories), as_lists(ratings), self.items, highest, fallback is not None)
        blocked, empty = self._blocked(candidates, exclude), entries.counts == 0

        def best(start: int, stop: int) -> Pair:
            some = entries.of(start, stop)
            scores = self.model.score_history(*some)
            if empty[start:stop].any():
                scores[empty[start:stop]] = self.popularity
            if blocked is not None:
                scores.masked_fill_(blocked, -torch.inf)
            return top_k(scores, k, (some.place, some.others))

        return self._lists(names, best, None if fallback is None else np.where(empty.numpy(), fallback, "model"))

    def fold_in(self, frame: pd.DataFrame) -> TrainedRecommender:
        """Return a recommender that knows the users, items and interactions of a frame too; this one does not change.

        Nothing is trained. A new user's own vector comes from the layers of the items that the user has, a new item's
        from those of its users, each by the linear map that fits the training data best; graph models then propagate
        over the old and the new interactions together, so that known users and items profit from the new interactions
        as well. Autoencoders of users take new users, those of items new items.

        Args:
            frame: columns user, item and, for a model of ratings, rating: interactions of new users, with new items, or
                new ones between known users and items. They count as seen.

        Raises:
            DataError: for a missing column, an impossible id or rating, or no row at all.
            ConfigError: for a model that cannot take in what is new.
        """
        return TrainedRecommender(self.run, *folding.fold_in(self.model, self.prepared, frame))

    # ---- representations

    def similarity(self) -> tuple[Callable[[Tensor], Tensor], Tensor | None]:
        return self.model.similarity, None

    def embeddings(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """The representations of all users and of all items, a row for each, under their raw ids. Their inner product
        is the score (for autoencoders but for a bias and the last activation, for MF on ratings but for their mean)."""
        user, item = self.model.embeddings()
        return _table(user, self.users, USER), _table(item, self.items, ITEM)

    # ---- pairs

    def score(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return the frame (columns user, item) with a column score.

        Raises:
            DataError: for a missing column, or an unknown user or item.

        >>> import pandas as pd, recgnn
        >>> run = recgnn.load("runs/lightgcn-demo/1")
        >>> run.score(pd.DataFrame({"user": [5, 3], "item": [26, 1]})).columns.tolist()
        ['user', 'item', 'score']
        """
        own = own_columns(frame, self.names, (USER, ITEM), adds="score")
        self.admit(own[USER])
        users, items = self.users.require(own[USER], USER), self.items.require(own[ITEM], ITEM)
        return like(frame, as_pandas(frame).assign(score=self.scores_of(users, items)))

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return the frame (columns user, item) with a column prediction.

        For a model of ratings it is the rating, within the range of the training ratings; for an unknown user or item
        the run's cold rating. For other models it is the score, and empty (NaN) for those.

        Raises:
            DataError: for a missing column, or one that is called prediction.
        """
        return like(frame, as_pandas(frame).assign(prediction=self.scores_of(*self.rows_of(frame))))

    def rows_of(self, frame: pd.DataFrame, what: str = "the frame", remedy: str = "") -> tuple[np.ndarray, np.ndarray]:
        """The rows of the users and items of a frame to predict, -1 for unknown ones: [n], [n].

        `what` and `remedy` are the subject and the end of its errors.

        Raises:
            DataError: for a missing column, or one that is called prediction.
        """
        own = own_columns(frame, self.names, (USER, ITEM), what, "prediction", remedy)
        self.admit(own[USER])
        return self.users.encode(own[USER]), self.items.encode(own[ITEM])

    def scores_of(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """The predictions of pairs of rows, [n]; computed in the order of the users, so that each is scored once."""
        order = np.argsort(users, kind="stable")
        scores = np.empty(len(users), dtype=np.float32)
        _, starts = np.unique(users[order], return_index=True)
        for cut in np.split(order, starts[self.block :: self.block]):
            pairs = torch.from_numpy(users[cut]), torch.from_numpy(items[cut])
            scores[cut] = self.model.predict_pairs(*pairs).numpy()
        return scores


def as_lists(histories: Any) -> Any:
    """Return `histories` of several users; those of a single user become a list of one."""
    if isinstance(histories, Mapping):
        return {user: as_list(items) for user, items in histories.items()}
    if histories is None or is_frame(histories):
        return histories
    histories = as_list(histories)
    return [histories] if histories and all(is_single(x) for x in histories) else histories


def _table(vectors: Tensor, ids: Vocabulary, side: str) -> pd.DataFrame:
    """Vectors under their raw ids."""
    return pd.DataFrame(vectors.detach().numpy(), index=pd.Index(ids.decode(np.arange(len(ids))), name=side))
