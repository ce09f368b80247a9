"""A trained run put to use: recommendations and similar items, raw ids in and out."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from recgnn import runs
from recgnn.data.graph import UserItems, to_hetero
from recgnn.data.prepare import PreparedLog
from recgnn.errors import ConfigError, DataError, RunError
from recgnn.files import atomic_path, existing_file
from recgnn.models.base import Recommender

FORMATS = (".csv", ".parquet")


class TrainedRecommender:
    """A finished run, loaded from its folder alone.

    Args:
        run: the run folder.

    Raises:
        RunError: if the folder is none, or has no checkpoint, or a damaged or foreign one.
    """

    def __init__(self, run: str | Path):
        self.run = runs.existing_run(run)
        checkpoint = runs.read_checkpoint(runs.best_checkpoint(self.run))
        self.prepared = PreparedLog.load(self.run / "vocabulary")
        self.model = build_model(checkpoint, self.run)
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

    def score(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The frame (columns user, item) with a column score.

        Raises:
            DataError: for a missing column, or a user or item that is not in the training data.
        """
        for column in ("user", "item"):
            if column not in frame:
                raise DataError(f"score needs a column {column}, found {', '.join(map(str, frame.columns))}")
        users = self.prepared.users.require(frame["user"], "user")
        items = self.prepared.items.require(frame["item"], "item")
        distinct, place = np.unique(users, return_inverse=True)
        scores = np.empty(len(frame), dtype=np.float32)
        for start in range(0, len(distinct), self.block):
            block = self.model.score(torch.from_numpy(distinct[start : start + self.block])).numpy()
            inside = (place >= start) & (place < start + self.block)
            scores[inside] = block[place[inside] - start, items[inside]]
        return frame.assign(score=scores)

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


def load(run: str | Path) -> TrainedRecommender:
    """A finished run, ready to use: `load("runs/ngcf-ml-100k/1").recommend(users=[196], k=10)`."""
    return TrainedRecommender(run)


def build_model(checkpoint: dict, run: Path) -> Recommender:
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
    if not (isinstance(cls, type) and issubclass(cls, Recommender)):
        raise RunError(f"{run}: {path} is not a recommender")
    model = cls(**arguments)
    try:
        model.load_state_dict(checkpoint["state_dict"])
    except RuntimeError as error:
        raise RunError(f"{run}: the checkpoint does not fit {path}: {str(error).splitlines()[0]}") from error
    return model


# ---- the commands


def main(command: str, argv: list[str]) -> pd.DataFrame | None:
    """`recommend` and `similar`; returns what was written, or None where it was streamed to a file."""
    return {"recommend": _recommend, "similar": _similar}[command](argv)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str):
        raise ConfigError(f"{message}; --help lists the options")


def _parser(command: str, description: str) -> argparse.ArgumentParser:
    parser = _Parser(prog=f"python -m recgnn.{command}", description=description, allow_abbrev=False)
    parser.add_argument("--run", required=True, help="run folder, as written by python -m recgnn.fit")
    parser.add_argument("--k", type=int, default=10, help="how many (default: 10)")
    parser.add_argument("--output", default="-", help="file.csv, file.parquet, or - for the screen (default)")
    return parser


def _recommend(argv: list[str]) -> pd.DataFrame | None:
    parser = _parser("recommend", "The best items for users of a trained run, without those they know.")
    parser.add_argument("--users", help="user ids, separated by commas; all users when neither option is given")
    parser.add_argument("--users_file", help="a file with a user id a line")
    parser.add_argument("--include_seen", action="store_true", help="keep items that the user knows")
    options = parser.parse_args(argv)
    check_output(options.output)
    trained = load(options.run)
    users = ids(options.users, options.users_file, trained.prepared.users)
    blocks = trained.recommend_blocks(users, options.k, not options.include_seen)
    return write(blocks, options.output)


def _similar(argv: list[str]) -> pd.DataFrame | None:
    parser = _parser("similar", "The items most like given items, by the cosine of their representations.")
    parser.add_argument("--items", help="item ids, separated by commas")
    parser.add_argument("--items_file", help="a file with an item id a line")
    options = parser.parse_args(argv)
    check_output(options.output)
    if options.items is None and options.items_file is None:
        raise ConfigError("similar needs --items or --items_file")
    trained = load(options.run)
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
        whole.to_csv(sys.stdout, index=False, float_format="%.5g")
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
