"""A trained run put to use: recommendations and similar items, raw ids in and out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from recgnn import runs
from recgnn.ctr_serving import TrainedCTR
from recgnn.data.graph import UserItems, to_hetero
from recgnn.data.prepare import PreparedLog
from recgnn.errors import ConfigError, DataError, RunError
from recgnn.models.base import Recommender, best
from recgnn.models.ctr import CTRModel
from recgnn.rows import ranked

UNKNOWN = np.iinfo(np.int64).min  # an integer that is nobody's id


class TrainedRecommender:
    """A finished run, loaded from its folder alone.

    Args:
        run: the run folder.
        model: the model of its checkpoint, if it has been read already.

    Raises:
        RunError: if the folder is none, or has no checkpoint, or a damaged or foreign one.
    """

    def __init__(self, run: str | Path, model: Recommender | None = None):
        self.run = runs.existing_run(run)
        self.prepared = PreparedLog.load(self.run / "vocabulary")
        self.model = model or model_of(self.run)
        self.model.set_graph(to_hetero(self.prepared.train, self.prepared.num_users, self.prepared.num_items))
        self.model.eval()
        parts = [self.prepared.train, self.prepared.test]
        if not self.prepared.summary["val_is_test"]:
            parts.insert(1, self.prepared.val)
        users, items = (
            torch.from_numpy(np.concatenate([getattr(part, side) for part in parts])) for side in ("user", "item")
        )
        self.seen = UserItems.from_pairs(users, items, self.prepared.num_users)

    @property
    def block(self) -> int:
        """Users per block: about 2^25 scores at once."""
        return max(1, 2**25 // self.prepared.num_items)

    def recommend(self, users: Iterable | None = None, k: int = 10, exclude_seen: bool = True) -> pd.DataFrame:
        """The k best items of each user: columns user, rank, item, score and, where known, title.

        Args:
            users: raw ids; all users when None.
            k: how many.
            exclude_seen: leave out what the user has in the prepared log, the validation and test parts included
                (not what a filter dropped).
                A user with fewer than k items left gets a shorter list.

        Raises:
            DataError: for a user who is not in the training data.
            ConfigError: for k below 1.
        """
        frames = list(self.recommend_blocks(users, k, exclude_seen))
        return pd.concat(frames, ignore_index=True)

    def recommend_blocks(
        self, users: Iterable | None = None, k: int = 10, exclude_seen: bool = True
    ) -> Iterator[pd.DataFrame]:
        """`recommend` in blocks of users, so that memory does not grow with their number."""
        k = self._length(k)
        if users is None:
            rows = np.arange(self.prepared.num_users)
        else:
            rows = self.prepared.users.require(list(users), "user")
        for start in range(0, max(1, len(rows)), self.block):
            block = torch.from_numpy(rows[start : start + self.block])
            seen = self.seen.of(block) if exclude_seen else None
            scores, items = self.model.recommend(block, k, seen)
            yield self._frame("user", self.prepared.users.decode(block.numpy()), scores, items)

    @torch.no_grad()
    def similar_items(self, items: Iterable, k: int = 10) -> pd.DataFrame:
        """The k items whose representations have the largest cosine with each item's: columns query, rank, item,
        score and, where known, title.

        Raises:
            DataError: for an item that is not in the training data.
        """
        k = self._length(k)
        items = list(items)
        rows = torch.from_numpy(self.prepared.items.require(items, "item"))
        if not hasattr(self.model, "embeddings"):
            raise ConfigError(f"{type(self.model).__name__} has no item representations to compare")
        table = torch.nn.functional.normalize(self.model.embeddings()[1], dim=1)
        frames = []
        for block in rows.split(self.block):
            scores = table[block] @ table.T
            scores[torch.arange(len(block)), block] = -torch.inf
            frames.append(self._frame("query", self.prepared.items.decode(block.numpy()), *scores.topk(k)))
        return pd.concat(frames, ignore_index=True)

    def recommend_history(
        self, histories: Sequence[Sequence], k: int = 10, ratings: Sequence[Sequence[float]] | None = None
    ) -> pd.DataFrame:
        """The k best items for users who were not in train, from what they had: columns user (0, 1, …, the place in
        `histories`), rank, item, score and, where known, title. What is in a history is not recommended.

        Args:
            histories: raw item ids, a list a user.
            k: how many.
            ratings: of those items; a model of ratings takes the highest of train where they are not given.

        Raises:
            DataError: for an item that is not in the training data, or none at all.
            ConfigError: for a model that cannot do without having seen the user in train, or k below 1.
        """
        k = self._length(k)
        if not len(histories):
            return self._frame("user", np.arange(0), torch.zeros(0, k), torch.zeros(0, k, dtype=torch.long))
        if ratings is not None and len(ratings) != len(histories):
            raise DataError(f"{len(ratings)} lists of ratings for {len(histories)} histories; give one for each")
        frames = []
        for start in range(0, len(histories), self.block):
            block = histories[start : start + self.block]
            given = None if ratings is None else ratings[start : start + self.block]
            place, items, values = self._history_entries(block, given, start)
            scores = self.model.score_history(place, items, values, len(block))
            frames.append(self._frame("user", np.arange(start, start + len(block)), *best(scores, k, (place, items))))
        return pd.concat(frames, ignore_index=True)

    def _history_entries(self, histories, ratings, start: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Histories as sorted entries: place, item, value; an item that stands twice counts once, its last time."""
        place, items, values = [], [], []
        highest = float(self.model.evaluation.high) if self.model.task == "rating" else 1.0
        for number, history in enumerate(histories):
            if not len(history):
                raise DataError(f"the history of user {start + number} is empty; give at least one item")
            given = [highest] * len(history) if ratings is None else list(ratings[number])
            if len(given) != len(history):
                raise DataError(f"{len(given)} ratings for a history of {len(history)} items; give one for each")
            if not np.isfinite(np.asarray(given, dtype=float)).all():
                raise DataError(f"the ratings of history {start + number} are {given}; expected finite numbers")
            rows = self.prepared.items.require(history, "item")
            entries = dict(zip(rows.tolist(), given, strict=True))
            place += [number] * len(entries)
            items += sorted(entries)
            values += [entries[item] for item in sorted(entries)]
        return torch.tensor(place), torch.tensor(items), torch.tensor(values, dtype=torch.float32)

    def score(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The frame (columns user, item) with a column score.

        Raises:
            DataError: for a missing column, or a user or item that is not in the training data.
        """
        self._need_columns(frame, "score")
        users = self.prepared.users.require(frame["user"], "user")
        items = self.prepared.items.require(frame["item"], "item")
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
        self._need_columns(frame, "predict")
        sides = (("user", self.prepared.users), ("item", self.prepared.items))
        users, items = (vocabulary.encode(as_ids(frame[side], vocabulary)) for side, vocabulary in sides)
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

    @staticmethod
    def _need_columns(frame: pd.DataFrame, what: str) -> None:
        for column in ("user", "item"):
            if column not in frame:
                raise DataError(f"{what} needs a column {column}, found {', '.join(map(str, frame.columns))}")

    def _length(self, k: int) -> int:
        if k < 1:
            raise ConfigError(f"k must be at least 1, found {k}")
        return min(k, self.prepared.num_items)

    def _frame(self, key: str, ids: np.ndarray, scores: torch.Tensor, items: torch.Tensor) -> pd.DataFrame:
        rows = items.numpy()
        raw, titles = self.prepared.items.decode(rows.ravel()), self.prepared.items.title(rows.ravel())
        titles = None if titles is None else np.asarray(titles, dtype=object).reshape(rows.shape)
        return ranked(key, ids, scores.numpy(), np.asarray(raw).reshape(rows.shape), titles)


def as_ids(column: pd.Series, vocabulary) -> pd.Series:
    """A column of raw ids in the vocabulary's type; what cannot be one of its ids becomes one it does not know."""
    if not vocabulary.is_integer:
        if pd.api.types.is_float_dtype(column.dtype) and (column.dropna() % 1 == 0).all():
            column = column.astype("Int64")  # a gap among integers made them floats
        return column.astype("str")
    if pd.api.types.is_integer_dtype(column.dtype) and not column.isna().any():
        return column.astype("int64")
    if pd.api.types.is_float_dtype(column.dtype):
        values = column.to_numpy(np.float64, na_value=np.nan)
        whole = np.isfinite(values) & (values == np.floor(values)) & (np.abs(values) < 2**53)
        return pd.Series(np.where(whole, values, UNKNOWN).astype(np.int64), index=column.index)
    text = column.astype("string").str.strip()
    whole = text.str.fullmatch(r"[+-]?[0-9]{1,18}").fillna(False).to_numpy(bool)
    found = np.full(len(column), UNKNOWN, dtype=np.int64)
    found[whole] = [int(t) for t in text[whole]]  # exact, where floats are not
    return pd.Series(found, index=column.index)


def load(run: str | Path) -> TrainedRecommender | TrainedCTR:
    """A finished run, ready to use: `load("runs/ngcf-ml-100k/1").recommend(users=[196], k=10)`."""
    folder = runs.existing_run(run)
    model = model_of(folder)
    return TrainedCTR(folder, model) if isinstance(model, CTRModel) else TrainedRecommender(folder, model)


def load_recommender(run: str | Path, command: str) -> TrainedRecommender:
    """A run whose model recommends.

    Raises:
        ConfigError: for a run of a CTR model.
    """
    trained = load(run)
    if isinstance(trained, TrainedCTR):
        name = type(trained.model).__name__
        raise ConfigError(f"{run}: {name} gives probabilities of events (python -m recgnn.predict), not {command}")
    return trained


def model_of(run: Path) -> Recommender | CTRModel:
    """The model of a run's best checkpoint."""
    return build_model(runs.read_checkpoint(runs.best_checkpoint(run)), run)


def build_model(checkpoint: dict, run: Path) -> Recommender | CTRModel:
    """The model that a checkpoint was taken of.

    Raises:
        RunError: if its class is not to be found, or does not fit the weights.
    """
    arguments = dict(checkpoint.get("hyper_parameters", {}))
    path = arguments.pop("_class_path", "")
    arguments.pop("_instantiator", None)
    module, _, name = path.rpartition(".")
    try:
        cls = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise RunError(f"{run}: the model class {path or '(none named)'} cannot be imported: {error}") from error
    if not (isinstance(cls, type) and issubclass(cls, Recommender | CTRModel)):
        raise RunError(f"{run}: {path} is not a recommender")
    model = cls(**arguments)
    try:
        model.load_state_dict(checkpoint["state_dict"])
    except RuntimeError as error:
        raise RunError(f"{run}: the checkpoint does not fit {path}: {str(error).splitlines()[0]}") from error
    return model
