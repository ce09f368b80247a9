"""What runs of every kind can do: recommend to users, list similar items, say what they are."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from recgnn.data.interactions.graph import UserItems
from recgnn.data.interactions.log import ITEM, PARTS, USER
from recgnn.data.interactions.vocabulary import Vocabulary
from recgnn.data.progress import progress
from recgnn.data.readers.frames import is_frame
from recgnn.errors import ConfigError, DataError
from recgnn.models.base import Model, Pair, top_k
from recgnn.serving.columns import own_columns
from recgnn.serving.filters import Filters, left_out
from recgnn.serving.ids import as_list, check_fallback, required
from recgnn.serving.index import ItemIndex
from recgnn.serving.output import concatenated, ranked
from recgnn.training import run_folder as runs

Score = Callable[[Tensor, Callable[[Tensor], Tensor]], Tensor]


class TrainedModel(ABC):
    """A finished run put to use, loaded from its folder alone; `recgnn.load` makes it.

    Ids are raw ones; a single id works where a list does. Tables come back as DataFrames.

    Attributes:
        run: the run folder.
        model: the model of its best checkpoint.
        names: what the run's source calls the columns that have other names here; frames may have either.
        users: the users of the run.
        items: its items; their frequency is their popularity.
        summary: counts and descriptions of the run's data.
        index: what `recommend` searches instead of scoring all items, if anything (see `use_index`).
    """

    names: dict[str, str]
    users: Vocabulary
    items: Vocabulary
    summary: dict[str, Any]
    index: ItemIndex | None = None

    def __init__(self, run: str | Path, model: Model):
        self.run, self.model = runs.existing_run(run), model.eval()

    # ---- what the kinds of runs define

    @abstractmethod
    def seen_in(self, *parts: str) -> UserItems:
        """The items that each user has in some parts of the run's data."""

    @abstractmethod
    def scorer(self, context: dict[str, Any] | None) -> Score:
        """A function of users [B], -1 for unknown ones, to the scores of all items, [B, I]. It is also given a function
        that sets the scores of items that are not asked for to -inf, in place."""

    @abstractmethod
    def similarity(self) -> tuple[Callable[[Tensor], Tensor], Tensor | None]:
        """A function of items [B] to the similarity of all items to each, [B, I], and which items it knows, [I] bool;
        None for all."""

    @abstractmethod
    def embeddings(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """The vectors of users and of items, a row for each, under their raw ids."""

    @abstractmethod
    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The frame with a column prediction."""

    @abstractmethod
    def explain(self, user: object, items: object) -> pd.DataFrame:
        """Tell why items have their scores for a user: columns item, score, kind, of, share and, where known, title
        (that of `of`), the largest of each item first. `model.explanation` says in a line what the shares are.

        Args:
            user: raw id.
            items: raw ids.

        Raises:
            DataError: for an unknown user or item.
            ConfigError: for a model that explains nothing.
        """

    # ---- recommending

    def recommend(
        self,
        users: object = None,
        k: int = 10,
        exclude_seen: str | bool | None = None,
        candidates: object = None,
        exclude: object = None,
        fallback: str | None = None,
        context: dict[str, Any] | None = None,
    ) -> pd.DataFrame:
        """Recommend the k best items to each user: columns user, rank, item, score and, where known, title.

        The score of a CTR model is a probability. It scores an item with the user's fields and context as they were in
        the user's last event, and with all that the user liked before.

        Args:
            users: raw ids; all users when None (those of `candidates`, where it is a frame).
            k: how many. A user with fewer than k items left gets a shorter list.
            exclude_seen: leave out the items that the user has in these parts of the run's data: `all` (True),
                `train+val`, `train`, or `none` (False). To measure recommendations by the test part take `train+val`.
                None: `none` for a run that keeps repeats, else `all`.
            candidates: raw ids of the items to choose from, or a frame with columns user and item, each user's own;
                all items when None.
            exclude: raw ids of items that are recommended to nobody.
            fallback: `popularity` recommends the most popular items to unknown users, the score being the number of
                their (positive) interactions; a column source tells `model` from `popularity`. None: an error.
            context: CTR models: values of fields that replace those of the user's last event.

        Raises:
            DataError: for an unknown user (see `fallback`) or item.
            ConfigError: for k below 1, an unknown fallback, or a context that the model has no field for.

        >>> import recgnn
        >>> run = recgnn.load("runs/lightgcn-demo/1")
        >>> run.recommend(users=5, k=3).columns.tolist()
        ['user', 'rank', 'item', 'score', 'title']
        >>> run.recommend(users=[5, 3], k=2, candidates=[1, 2, 3, 4], exclude_seen=False)["user"].tolist()
        [5, 5, 3, 3]
        >>> run.recommend(users=[5, 999], k=2, fallback="popularity")["source"].tolist()
        ['model', 'model', 'popularity', 'popularity']
        """
        return concatenated(self.recommend_blocks(users, k, exclude_seen, candidates, exclude, fallback, context))

    def recommend_blocks(
        self,
        users: object = None,
        k: int = 10,
        exclude_seen: str | bool | None = None,
        candidates: object = None,
        exclude: object = None,
        fallback: str | None = None,
        context: dict[str, Any] | None = None,
    ) -> Iterator[pd.DataFrame]:
        """`recommend` in blocks of users, so that memory does not grow with their number."""
        k = self._length(k)
        check_fallback(fallback)
        own = None
        if is_frame(candidates):
            frame, candidates = own_columns(candidates, self.names, (USER, ITEM), "candidates"), None
            users = frame[USER].unique() if users is None else users
            own = self._own_candidates(frame, self.users.parse(as_list(users)))
        rows, names = self._rows(users, fallback)
        parts = left_out(self.usual_exclusion if exclude_seen is None else exclude_seen)
        filters = Filters(self._blocked(candidates, exclude), own, self._seen(parts) if parts else None)
        score = self.scorer(context)

        def best(start: int, stop: int) -> Pair:
            places, some = torch.arange(start, stop), torch.from_numpy(rows[start:stop])

            def hide(scores: Tensor) -> Tensor:
                return filters.hide(scores, places, some)

            if self.index is not None and own is None and bool(self.index.knows(some).all()):
                return self.index.best(some, k, filters)
            scores, unknown = score(some, hide), some < 0
            if unknown.any():
                scores[unknown] = self.popularity
            return top_k(hide(scores), k, None)

        return self._lists(names, best, None if fallback is None else np.where(rows < 0, fallback, "model"))

    def _lists(
        self, names: np.ndarray, best: Callable[[int, int], Pair], source: np.ndarray | None
    ) -> Iterator[pd.DataFrame]:
        """Tables of the lists that `best` makes for users start..stop-1: scores and items, each [B, k]."""
        with progress("recommending", len(names)) as step:
            for start in range(0, max(1, len(names)), self.block):
                stop, parts = min(start + self.block, len(names)), []
                for first in range(start, max(stop, start + 1), self.at_once):
                    last = min(first + self.at_once, stop)
                    parts.append(best(first, last))
                    step(last - first)
                scores, items = (torch.cat(x) for x in zip(*parts, strict=True))
                of = None if source is None else source[start:stop]
                yield self._frame(USER, names[start:stop], scores, items, of)

    @cached_property
    def usual_exclusion(self) -> str:
        """What `exclude_seen` is where it is not said: `none` in a run that keeps repeats, else `all`."""
        return "none" if self.summary.get("repeats") == "keep" else "all"

    @cached_property
    def popularity(self) -> Tensor:
        """The popularity of the items, [I]."""
        return torch.tensor(self.items.frequency, dtype=torch.float32)

    @cached_property
    def _titles(self) -> np.ndarray | None:
        return self.items.title(np.arange(len(self.items)))

    @property
    def block(self) -> int:
        """Users in a table of `recommend_blocks`."""
        return max(1, 2**25 // len(self.items))

    @property
    def at_once(self) -> int:
        """Users who are scored at once: so many that their scores stay in the processor's cache."""
        return max(1, 2**21 // len(self.items))

    # ---- similar items

    def similar_items(
        self, items: object, k: int = 10, candidates: object = None, exclude: object = None
    ) -> pd.DataFrame:
        """List the k items most similar to each item: columns query, rank, item, score and, where known, title.

        The score is the cosine of the items' representations; for a CTR model, of its vectors of the field item; for a
        model that scores what a user has (EASE, ItemKNN, GraphFilter), its score for a user who has the item alone.

        Args:
            items: raw ids.
            k: how many.
            candidates: raw ids of the items to choose from; all when None.
            exclude: raw ids of items to leave out.

        Raises:
            DataError: for an item that is not in the training data.
            ConfigError: for k below 1, or a model without such vectors.

        >>> import recgnn
        >>> run = recgnn.load("runs/lightgcn-demo/1")
        >>> run.similar_items(26, k=3)[["query", "rank"]].values.tolist()
        [[26, 1], [26, 2], [26, 3]]
        """
        k = self._length(k)
        queries = torch.from_numpy(self.items.require(as_list(items), ITEM))
        similarity, known = self.similarity()
        blocked = self._blocked(candidates, exclude)
        if known is not None:
            if not known[queries].all():
                name = self.items.decode(queries[~known[queries]][:1].numpy())[0]
                raise DataError(f"item {name!r} has no vector: the training data do not have it, or too rarely")
            blocked = ~known if blocked is None else blocked | ~known
        frames = []
        for block in queries.split(self.block):
            scores = similarity(block)
            scores[torch.arange(len(block)), block] = -torch.inf
            if blocked is not None:
                scores.masked_fill_(blocked, -torch.inf)
            frames.append(self._frame("query", self.items.decode(block.numpy()), *scores.topk(k)))
        return concatenated(frames)

    # ---- ids, filters and tables

    def items_of(self, user: object) -> pd.DataFrame:
        """List the items that a user has in the run's data: columns item and, where known, title.

        Raises:
            DataError: for an unknown user.
        """
        rows, _ = self._rows(user, None)
        items = self._seen(PARTS).of(torch.from_numpy(rows))[1].numpy()
        return self._named(pd.DataFrame({"item": self.items.decode(items)}), items)

    def _named(self, frame: pd.DataFrame, items: np.ndarray) -> pd.DataFrame:
        """The frame with the titles of items [n], -1 for none, where titles are known."""
        if self._titles is None:
            return frame
        return frame.assign(title=pd.Series(np.where(items < 0, None, self._titles[items]), frame.index, dtype=object))

    @cached_property
    def _seen_in(self) -> dict[tuple, UserItems]:
        return {}

    def _seen(self, parts: tuple[str, ...]) -> UserItems:
        """`seen_in`, computed once."""
        key = (parts, len(self.users))  # which may grow
        if key not in self._seen_in:
            self._seen_in[key] = self.seen_in(*parts)
        return self._seen_in[key]

    def _rows(self, users: object, fallback: str | None) -> tuple[np.ndarray, np.ndarray]:
        """Rows of users, -1 for unknown ones where there is a fallback, and their ids."""
        if users is None:
            rows = np.arange(len(self.users))
            return rows, self.users.decode(rows)
        ids = self.users.parse(as_list(users))
        rows = required(ids, self.users, USER) if fallback is None else self.users.encode(ids)
        return rows, np.array(ids, dtype=np.int64 if self.users.is_integer else object)

    def _blocked(self, candidates: object, exclude: object) -> Tensor | None:
        """The items that are recommended to nobody, [I] bool; None for none."""
        if candidates is None and exclude is None:
            return None
        blocked = torch.full((len(self.items),), candidates is not None)
        if candidates is not None:
            blocked[torch.from_numpy(self.items.require(as_list(candidates), ITEM))] = False
        if exclude is not None:
            blocked[torch.from_numpy(self.items.require(as_list(exclude), ITEM))] = True
        return blocked

    def _own_candidates(self, frame: pd.DataFrame, users: list) -> UserItems:
        """The candidates of each user of a request, from a frame of users and items."""
        rows = self.items.encode(frame[ITEM])
        if (unknown := rows < 0).any():
            if unknown.all() or len(frame) == 1:
                self.items.require(frame[ITEM], ITEM)
            print(f"candidates: {int(unknown.sum()):,} of {len(rows):,} rows have items that the run does not know; "
                  "they are left out", file=sys.stderr)  # fmt: skip
            frame, rows = frame[~unknown], rows[~unknown]
        items = torch.from_numpy(rows)
        codes, distinct = pd.factorize(pd.Index(users))
        place = torch.from_numpy(distinct.get_indexer(self.users.parse(frame[USER])))
        table = UserItems.from_pairs(place[place >= 0], items[place >= 0], len(distinct))
        return UserItems.from_pairs(*table.of(torch.from_numpy(codes)), len(users))

    def _length(self, k: int) -> int:
        if k < 1:
            raise ConfigError(f"k must be at least 1, found {k}")
        return min(k, len(self.items))

    def _frame(
        self, key: str, ids: np.ndarray, scores: Tensor, items: Tensor, source: np.ndarray | None = None
    ) -> pd.DataFrame:
        rows = items.numpy()
        titles = None if self._titles is None else self._titles[rows]
        return ranked(key, ids, scores.numpy(), self.items.decode(rows), titles, source)

    def __repr__(self) -> str:
        name, task = self.summary["name"], self.model.task
        return f"{type(self.model).__name__} of {name} for {task}, {self.sizes()}; {self.run}"

    @abstractmethod
    def sizes(self) -> str:
        """How much the model knows, as text."""
