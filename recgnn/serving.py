"""A trained run put to use: recommendations and similar items, raw ids in and out."""

from __future__ import annotations

import argparse
import sys
import warnings
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
from recgnn.errors import ConfigError, DataError, RunError, did_you_mean
from recgnn.files import atomic_path, existing_file
from recgnn.models.base import Recommender, best
from recgnn.models.ctr import CTRModel

FORMATS = (".csv", ".parquet")
UNKNOWN = np.iinfo(np.int64).min  # an integer that is nobody's id
ROWS = 2**17  # of a table, predicted at a time


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
        return frame.assign(score=self._scored(users, items))

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The frame (columns user, item) with a column prediction.

        For a model of ratings it is the rating, within the range of those in train; for a user or item that train
        lacks, the run's cold rating. For other models it is the score, and empty (NaN) for those.

        Raises:
            DataError: for a missing column.
        """
        self._need_columns(frame, "predict")
        users, items = (
            vocabulary.encode(as_ids(frame[side], vocabulary))
            for side, vocabulary in (("user", self.prepared.users), ("item", self.prepared.items))
        )
        return frame.assign(prediction=self._scored(users, items))

    def _scored(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Scores of pairs of rows, in the order of the users, so that each one's scores are made once: [n]."""
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
        kept = torch.isfinite(scores).numpy()
        rank = np.broadcast_to(np.arange(1, scores.shape[1] + 1), kept.shape)[kept]
        rows = items.numpy()[kept]
        columns = {
            key: np.repeat(np.asarray(ids), kept.sum(1)),
            "rank": rank,
            "item": self.prepared.items.decode(rows),
            "score": scores.numpy()[kept],
        }
        titles = self.prepared.items.title(rows)
        return pd.DataFrame(columns if titles is None else columns | {"title": titles})


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


# ---- the commands


def main(command: str, argv: list[str]) -> pd.DataFrame | None:
    """`recommend`, `similar` and `predict`; returns what was written, or None where it was streamed to a file."""
    return {"recommend": _recommend, "similar": _similar, "predict": _predict}[command](argv)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str):
        raise ConfigError(f"{message}; --help lists the options")


def _parser(command: str, description: str) -> argparse.ArgumentParser:
    parser = _Parser(prog=f"python -m recgnn.{command}", description=description, allow_abbrev=False)
    parser.add_argument("--run", required=True, help="run folder, as written by python -m recgnn.fit")
    if command != "predict":
        parser.add_argument("--k", type=int, default=10, help="how many (default: 10)")
    parser.add_argument("--output", default="-", help="file.csv, file.parquet, or - for the screen (default)")
    return parser


def _recommend(argv: list[str]) -> pd.DataFrame | None:
    parser = _parser("recommend", "The best items for users of a trained run, without those they know.")
    parser.add_argument("--users", help="user ids, separated by commas; all users when neither option is given")
    parser.add_argument("--users_file", help="a file with a user id a line")
    parser.add_argument("--include_seen", action="store_true", help="keep items that the user knows")
    parser.add_argument(
        "--history",
        help="instead of users: item ids, separated by commas, of somebody who was not in train. For AutoRec by user, "
        "DAE and CDAE; CDAE goes without its user node (zero)",
    )
    parser.add_argument(
        "--history_ratings",
        help="the ratings of those items, for AutoRec; the highest one in train when not given",
    )
    options = parser.parse_args(argv)
    check_output(options.output)
    if options.history is not None:
        return _recommend_history(options)
    if options.history_ratings is not None:
        raise ConfigError("--history_ratings needs --history, the items that were rated")
    trained = load_recommender(options.run, "recommendations")
    users = ids(options.users, options.users_file, trained.prepared.users)
    blocks = trained.recommend_blocks(users, options.k, not options.include_seen)
    return write(blocks, options.output)


def _recommend_history(options: argparse.Namespace) -> pd.DataFrame | None:
    if options.users is not None or options.users_file is not None or options.include_seen:
        raise ConfigError("--history is for somebody who was not in train: leave --users and --include_seen out")
    trained = load_recommender(options.run, "recommendations")
    history = ids(options.history, None, trained.prepared.items)
    ratings = None
    if options.history_ratings is not None:
        if trained.model.task != "rating":
            raise ConfigError(f"{type(trained.model).__name__} knows no ratings; leave --history_ratings out")
        try:
            ratings = [[float(x) for x in options.history_ratings.split(",")]]
        except ValueError:
            raise ConfigError(f"--history_ratings {options.history_ratings}: expected numbers") from None
    found = trained.recommend_history([history], options.k, ratings)
    return write(iter([found.assign(user="new")]), options.output)


def _predict(argv: list[str]) -> pd.DataFrame | None:
    parser = _parser(
        "predict", "A probability (CTR models), a rating, or (models that rank) a score for each row of a table."
    )
    parser.add_argument(
        "--input", required=True, help="file.csv, file.tsv or file.parquet, with columns user and item, or the fields"
    )
    parser.add_argument("--user", default="user", help="the column of users (default: user)")
    parser.add_argument("--item", default="item", help="the column of items (default: item)")
    options = parser.parse_args(argv)
    check_output(options.output)
    trained = load(options.run)
    if isinstance(trained, TrainedCTR):
        return _predict_events(trained, options)
    names = {options.user: "user", options.item: "item"}
    cold = [0, 0]  # rows with an unknown user or item, all rows

    def blocks() -> Iterator[pd.DataFrame]:
        for frame in read_rows(options.input, list(names)):
            done = trained.predict(frame[list(names)].rename(columns=names))
            known = [
                v.encode(as_ids(done[side], v)) >= 0
                for side, v in (("user", trained.prepared.users), ("item", trained.prepared.items))
            ]
            cold[0] += int((~(known[0] & known[1])).sum())
            cold[1] += len(frame)
            yield frame.assign(prediction=done["prediction"])

    written = write(blocks(), options.output)
    if cold[0]:
        answer = "left empty"
        if trained.model.task == "rating":
            rating = trained.model.predict_pairs(torch.tensor([-1]), torch.tensor([-1]))
            answer = f"predicted {float(rating):.4g}"
        print(f"{cold[0]:,} of {cold[1]:,} rows have a user or item that train lacks: {answer}", file=sys.stderr)
    return written


def _predict_events(trained: TrainedCTR, options: argparse.Namespace) -> pd.DataFrame | None:
    lacking: list[str] = []

    def blocks() -> Iterator[pd.DataFrame]:
        for number, frame in enumerate(read_rows(options.input, [])):
            if number == 0:
                lacking.extend(trained.missing(frame))
                if len(lacking) == len(trained.columns):
                    raise DataError(
                        f"{options.input}: has none of the model's columns ({', '.join(trained.columns)}); found: "
                        f"{', '.join(map(str, frame.columns[:12]))}"
                    )
            yield trained.predict(frame)

    written = write(blocks(), options.output)
    if lacking:
        print(f"columns not there, taken as having no value: {', '.join(lacking)}", file=sys.stderr)
    return written


def read_rows(file: str, columns: list[str]) -> Iterator[pd.DataFrame]:
    """A table in blocks, every column of a text file as its text; a table of no rows is one empty block.

    Raises:
        DataError: for a missing file, a missing column, or one that cannot be read.
    """
    path = existing_file(file, "table")
    if path.suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            with pq.ParquetFile(path) as table:
                _need_all(columns, table.schema_arrow.names, file)
                empty = table.schema_arrow.empty_table().to_pandas(ignore_metadata=True)
                found = False
                for batch in table.iter_batches(ROWS):
                    found = True
                    yield batch.to_pandas(ignore_metadata=True, integer_object_nulls=True)
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{file}: cannot be read: {str(error).splitlines()[0]}") from error
        if not found:
            yield empty
        return
    try:
        separator = "\t" if path.suffix == ".tsv" else ","
        header = pd.read_csv(path, sep=separator, nrows=0)
        _need_all(columns, list(header.columns), file)
        options = {"sep": separator, "dtype": "str", "keep_default_na": False, "index_col": False}
        with warnings.catch_warnings(), pd.read_csv(path, **options, chunksize=ROWS) as blocks:
            warnings.simplefilter("error", pd.errors.ParserWarning)  # rows longer than the header
            found = False
            for block in blocks:
                found = True
                yield block
        if not found:
            yield header
    except pd.errors.ParserWarning as error:
        raise DataError(f"{file}: rows have more fields than the header has names; mend the table") from error
    except (ValueError, OSError) as error:
        raise DataError(f"{file}: cannot be read as a table: {str(error).splitlines()[0]}") from error


def _need_all(columns: list[str], there: list[str], file: str) -> None:
    for column in columns:
        if column not in there:
            hint = did_you_mean(column, there)
            raise DataError(
                f"{file}: no column '{column}'{hint}; found: {', '.join(map(str, there[:12]))}; name it with "
                "--user or --item"
            )


def _similar(argv: list[str]) -> pd.DataFrame | None:
    parser = _parser("similar", "The items most like given items, by the cosine of their representations.")
    parser.add_argument("--items", help="item ids, separated by commas")
    parser.add_argument("--items_file", help="a file with an item id a line")
    options = parser.parse_args(argv)
    check_output(options.output)
    if options.items is None and options.items_file is None:
        raise ConfigError("similar needs --items or --items_file")
    trained = load_recommender(options.run, "similar items")
    items = ids(options.items, options.items_file, trained.prepared.items)
    return write(iter([trained.similar_items(items, options.k)]), options.output)


def ids(text: str | None, file: str | None, vocabulary) -> list | None:
    """Raw ids from the command line or a file, typed as the vocabulary's; None where neither is given."""
    if text is None and file is None:
        return None
    found = [] if text is None else [part.strip() for part in text.split(",") if part.strip()]
    if file is not None:
        lines = existing_file(file, "file of ids").read_text(encoding="utf-8").splitlines()
        found += [line.strip() for line in lines if line.strip()]
    if not found:
        raise ConfigError("no ids given")
    return vocabulary.parse(found)


def check_output(output: str) -> None:
    """Refuse a format that is not known, before any work is done."""
    if output != "-" and Path(output).suffix not in FORMATS:
        raise ConfigError(f"--output {output}: expected a name that ends in .csv or .parquet, or -")


def write(frames: Iterator[pd.DataFrame], output: str) -> pd.DataFrame | None:
    """Frames one after the other to the screen (as CSV) or to a file."""
    if output == "-":
        whole = pd.concat(list(frames), ignore_index=True)
        own = [c for c in ("score", "prediction") if c in whole]
        short = {c: whole[c].map(lambda x: "" if pd.isna(x) else f"{x:.5g}") for c in own}
        whole.assign(**short).to_csv(sys.stdout, index=False)
        return whole
    rows = 0
    with atomic_path(output) as path:
        if path.suffix == ".csv":
            with path.open("w", encoding="utf-8", newline="") as file:
                for number, frame in enumerate(frames):
                    frame.to_csv(file, index=False, header=number == 0)
                    rows += len(frame)
        else:
            rows = _write_parquet(frames, path)
    print(f"{rows:,} rows in {output}", file=sys.stderr)
    return None


def _write_parquet(frames: Iterator[pd.DataFrame], path: Path) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    writer, rows = None, 0
    for frame in frames:
        table = pa.Table.from_pandas(frame, preserve_index=False)
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table.cast(writer.schema))
        rows += len(frame)
    writer.close()
    return rows
