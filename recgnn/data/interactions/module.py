"""The data module of recommenders: a training graph, batches of interactions, blocks of users to rank for."""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from lightning import LightningDataModule
from torch import Tensor

from recgnn.data.interactions.compound import Parts
from recgnn.data.interactions.filters import Filter
from recgnn.data.interactions.graph import chained, to_hetero
from recgnn.data.interactions.loaders import (
    InteractionBatches,
    RatingBatches,
    RatingBlocks,
    Request,
    RowBatches,
    Side,
    UserBlocks,
)
from recgnn.data.interactions.log import Source
from recgnn.data.interactions.prepare import Engine, PreparedLog, format_summary, prepare
from recgnn.data.interactions.split import Split
from recgnn.data.interactions.usual_split import UsualSplit, WithoutValidation
from recgnn.data.readers.rules import Rule
from recgnn.data.shard import Position, Shard, batch_size_for
from recgnn.errors import Checked, ConfigError, Count, DataError
from recgnn.files import large_array

if TYPE_CHECKING:
    from torch_geometric.data import HeteroData

RATINGS = 2**16  # per block of evaluation


def shared(x: np.ndarray) -> Tensor:
    """Make a tensor of an array `x`, without a copy where torch can have it so."""
    return torch.from_numpy(x) if x.flags.writeable else torch.tensor(x)


class GraphDataModule(Checked, LightningDataModule):
    """Turns an interaction log into a bipartite graph of its training part and the batches around it.

    The training says by its `request` what a batch is: interactions, with negatives or with ratings, or whole rows of
    the interaction matrix, by user or by item; and what is measured: the ranking of all items, or ratings. Sampling
    and batching are tensor operations on the training device. Everything drawn in an epoch follows from the seed, the
    epoch and the rank, so that a resumed run goes on as it would have.

    Args:
        source: where the log comes from: `TableLog`, `AtomicLog`, `AdjacencyLog`, `FrameLog`, or a catalogue data
            set such as `MovieLens100K`.
        filters: applied in order: `MinRating`, `KCore`, `Where` …
        split: how train, validation and test are made; by default the parts that the data came with (`GivenSplit()`),
            where they did, or else 8:1:1 per user, by time where the log has times (`RatioSplit(order="time")`: rows
            of equal time in the log's order), at random where it has none (`RatioSplit()`).
        batch_size: interactions (for autoencoders: rows of the interaction matrix) per training step and process; by
            default what makes about 100 steps an epoch, from 256 to 2,048 (of rows about 20 steps, from 16 to 512).
        sampling: `interaction` visits every interaction once an epoch, `user` draws users uniformly and then one of
            their items, as the LightGCN authors do.
        eval_batch_size: users (or ratings) per block of evaluation; by default as many as make about 2^25 scores.
        cache_dir: where prepared data are kept; `$RECGNN_CACHE` or `~/.cache/recgnn` by default.
        prepared: a folder of prepared data, as a run's `vocabulary`; then source, filters and split are not used.
        merge_val: train on the validation part too, as the second half of `fit --refit` does.
        positive: for rankings, which rows say that a user wants an item: a rule such as `rating >= 4`, or `all`, the
            default, which logs with negative ratings do not take unsaid.
        repeats: what becomes of several rows of one user and item. `merge`: one is kept (of each part, where parts are
            given or follow the time), and what a user has is neither a label nor recommended. `keep`: for logs where
            buying again is the point: all rows are trained on, what a user has may be recommended, and labels that were
            new and those that were repeated are measured apart too.
        engine: what prepares a log: `memory`; `duckdb` (extra `duckdb`), which holds no more than `memory_limit` of
            it, for a `TableLog`, the filters and splits that look at one user at a time, `KCore` and `TemporalSplit`;
            `ray` (extras `duckdb` and `ray`), which does that on the Ray cluster that this machine belongs to, for
            files of Parquet; `auto` is `duckdb` where it is installed, can do it, and the files are larger than an
            eighth of the memory. The same bits follow.
        memory_limit: what DuckDB may hold, such as 2GB; the rest is on disk, in the cache's folder.

    Attributes:
        earlier: the prepared data of the run that training starts from, its `vocabulary` folder, set before the data
            are prepared: its users and items keep their rows, and what it was trained on is in the graph, among the
            seen items and no negative, and is not visited again.
    """

    earlier: Path | None = None
    epoch_position: Position | None = None  # where a stopped epoch goes on

    def __init__(
        self,
        source: Source | None = None,
        filters: list[Filter] | None = None,
        split: Split | None = None,
        batch_size: Count | None = None,
        sampling: Literal["interaction", "user"] = "interaction",
        eval_batch_size: Count | None = None,
        cache_dir: str | None = None,
        prepared: str | None = None,
        merge_val: bool = False,
        positive: str | None = None,
        repeats: Literal["merge", "keep"] = "merge",
        engine: Literal["auto", "memory", "duckdb", "ray"] = "auto",
        memory_limit: str = "2GB",
    ):
        super().__init__()
        if positive not in (None, "all"):
            Rule(str(positive), "positive")
        if source is None and prepared is None:
            raise ConfigError("data needs a source (data.init_args.source), for example class_path: MovieLens100K")
        self.source, self.filters, self.split = source, filters or [], split or UsualSplit()
        self.batch_size, self.sampling, self.eval_batch_size = batch_size, sampling, eval_batch_size
        self.cache_dir, self.prepared_folder, self.merge_val = cache_dir, prepared, merge_val
        self.positive, self.repeats = positive, repeats
        if not re.fullmatch(r"[1-9][0-9]*(\.[0-9]+)? ?[KMGT]i?B", memory_limit):
            raise ConfigError(f"data.memory_limit is {memory_limit!r}; expected a size such as 2GB or 500MB")
        self.engine = Engine(engine, memory_limit)
        self.seed: int | None = None
        self.request = Request()

    # ---- the log, prepared

    @cached_property
    def prepared(self) -> PreparedLog:
        """The log, checked, filtered, split and numbered; from the cache where it has been prepared before."""
        if self.prepared_folder is not None:
            return PreparedLog.load(self.prepared_folder)
        split = WithoutValidation(self.split) if self.merge_val else self.split
        assert self.source is not None  # or there is a prepared folder
        return prepare(
            self.source, self.filters, split, self.cache_dir, self.positive, self.repeats, self.earlier, self.engine
        )  # fmt: skip

    @cached_property
    def moved(self) -> dict[str, np.ndarray]:
        """The rows here of the earlier run's users, items and parts of users, by the name of their number."""
        assert self.earlier is not None
        return self.prepared.rows_of(PreparedLog.load(self.earlier))

    @cached_property
    def fresh(self) -> Tensor | None:
        """The rows of train that the earlier run was not trained on, [m]; None where there is no such run."""
        if self.earlier is None:
            return None
        return torch.from_numpy(self.prepared.new_since(PreparedLog.load(self.earlier)))

    @property
    def name(self) -> str:  # type: ignore[override]  # Lightning's is a plain attribute
        """The name of the data."""
        return self.prepared.name

    def describe(self, task: str, verbose: bool = False) -> str:
        """What the data are for a `task`, as text; `verbose` with what was decided.

        Raises:
            DataError: as `check`.
        """
        self.check(task)
        return format_summary(self.prepared.summary, task)

    def check(self, task: str) -> None:
        """Check that the rows mean something for a task.

        Raises:
            DataError: if it is a ranking, and not known which rows are positives.
            ConfigError: if there are rules that are for rankings alone.
        """
        summary = self.prepared.summary
        if task != "ranking":
            if summary["positive"] or self.repeated:
                raise ConfigError("data: positive, and repeats: keep, are for rankings; leave them out for ratings")
        elif summary["ratings"] is not None and summary["ratings"][0] < 0 and summary["positive"] is None:
            low, high = summary["ratings"]
            raise DataError(
                f"{self.name}: ratings go from {low:g} to {high:g}, and a ranking needs to know which rows are "
                "positives; set --data.positive 'rating > 0', or all"
            )
        if self.sampling == "user" and summary["weights"]:
            raise ConfigError("data: sampling: user draws a user's items alike, and rows have weights; leave one out")

    @property
    def num_users(self) -> int:
        """U."""
        return self.prepared.num_users

    @property
    def num_items(self) -> int:
        """I."""
        return self.prepared.num_items

    @cached_property
    def parts(self) -> Parts:
        """The parts of the user ids, where these are made of several columns."""
        return Parts(self.prepared.users)

    @property
    def part_sizes(self) -> list[int]:
        """How many values each part of a user's id has."""
        return self.parts.sizes

    @property
    def edge_index(self) -> Tensor:
        """Users and items of the training part, each pair once, [2, E]."""
        pairs = self.distinct("train")[:2]
        return torch.stack(pairs, out=torch.from_numpy(large_array((2, pairs[0].numel()), "int64")))

    @cached_property
    def graph(self) -> HeteroData:
        """The training interactions as PyG's HeteroData, on the CPU."""
        return to_hetero(self.prepared.train, self.num_users, self.num_items)

    def pairs(self, part: str) -> tuple[Tensor, Tensor]:
        """Users and items of a part (`train`, `val`, `test`), in the order of the log; not to be written to."""
        rows = getattr(self.prepared, part)
        return shared(rows.user), shared(rows.item)

    @property
    def repeated(self) -> bool:
        """Whether a user and item may have several rows."""
        return self.prepared.summary["repeats"] == "keep"

    def distinct(self, part: str) -> tuple[Tensor, Tensor, Tensor | None]:
        """Users and items of a part, each pair once, and the sum of their weights, [n]; or None."""
        users, items = self.pairs(part)
        weights = self.weights(part)
        if not self.repeated:
            return users, items, weights
        keys, of = torch.unique(users * self.num_items + items, return_inverse=True)
        if weights is not None:
            weights = torch.zeros(keys.numel()).index_add_(0, of, weights)
        return keys // self.num_items, keys % self.num_items, weights

    def weights(self, part: str) -> Tensor | None:
        """The weights of a part's rows, like `pairs`, over their mean in train: [n]; None where there are none."""
        rows, train = getattr(self.prepared, part).weight, self.prepared.train.weight
        return None if rows is None or train is None else torch.tensor(rows / train.mean(dtype=np.float64)).float()

    def ratings(self, part: str) -> Tensor:
        """The ratings of a part, like `pairs`: [n] float32.

        Raises:
            DataError: if the log has none.
        """
        rows = getattr(self.prepared, part)
        if rows.rating is None:
            raise DataError(
                f"{self.name}: the log has no ratings, and the model predicts ratings; name the column that holds "
                "them (rating: ...), or train on what users chose, as LightGCN or CDAE do"
            )
        return torch.tensor(rows.rating)

    def rated(self, part: str) -> tuple[Tensor, Tensor, Tensor]:
        """Users, items and ratings of a part, [n]; then those with a user or item that is not in train, which is -1."""
        users, items = self.pairs(part)
        ratings, cold = self.ratings(part), self.prepared.cold.get(part)
        if cold is None or not len(cold):
            return users, items, ratings
        user, item, rating = (torch.tensor(x) for x in (cold.user, cold.item, cold.rating))
        return torch.cat([users, user]), torch.cat([items, item]), torch.cat([ratings, rating])

    def known(self, part: str) -> tuple[Tensor, Tensor]:
        """What users know when `part` is predicted: train for validation; train and validation for test."""
        parts = ["train"]
        if part == "test" and not self.prepared.summary["val_is_test"]:
            parts.append("val")
        rows = [getattr(self.prepared, part) for part in parts]
        return shared(chained([part.user for part in rows])), shared(chained([part.item for part in rows]))

    def usual_batch_size(self, rows: Side | None) -> int:
        """Choose a batch size by the size of the log: a small log makes enough steps an epoch, a large one few enough.

        Args:
            rows: whose rows of the interaction matrix a batch holds; None for batches of interactions.
        """
        if rows is None:
            return batch_size_for(len(self.prepared.train), 100, (256, 2048))
        return batch_size_for(self.num_users if rows == "user" else self.num_items, 20, (16, 512))

    # ---- Lightning

    def prepare_data(self) -> None:
        _ = self.prepared

    def setup(self, stage: str) -> None:
        if self.seed is None:
            self.seed = torch.initial_seed()

    def shard(self) -> Shard:
        """The share of the work that this process has now."""
        return Shard.of(self.trainer, self.seed, self.epoch_position)

    def train_dataloader(self) -> Any:
        """What the request asks for: `InteractionBatches`, `RatingBatches` or `RowBatches`."""
        if self.request.nothing:
            return range(1)  # one batch of nothing; Lightning takes a list for several loaders
        by, (users, items), weights = self.request.rows, self.pairs("train"), self.weights("train")
        size = self.batch_size or self.usual_batch_size(by)
        rated, common = self.request.task == "rating", (size, self.shard)
        sizes = (self.num_users, self.num_items)
        if by is None and rated:
            columns = [users, items, self.ratings("train"), *([] if weights is None else [weights])]
            return RatingBatches([x if self.fresh is None else x[self.fresh] for x in columns], *common)
        if by is None:
            by_user = self.sampling == "user"
            drawn = self.request.negatives
            return InteractionBatches((users, items), sizes, *common, drawn, by_user, weights, self.fresh)
        visited = None if self.fresh is None else (users if by == "user" else items)[self.fresh]
        if self.repeated:
            users, items, weights = self.distinct("train")
        values = self.ratings("train") if rated else torch.ones(users.numel())
        if by == "item":
            users, items, sizes = items, users, sizes[::-1]
        return RowBatches(users, items, values, sizes, *common, self.request.negatives, weights, visited)

    def val_dataloader(self) -> UserBlocks | RatingBlocks:
        return self._blocks("val")

    def test_dataloader(self) -> UserBlocks | RatingBlocks:
        return self._blocks("test")

    def _blocks(self, part: str) -> UserBlocks | RatingBlocks:
        size = self.eval_batch_size
        if self.request.task == "rating":
            return RatingBlocks(self.rated(part), size or RATINGS, self.shard)
        size = size or min(4096, max(64, 2**25 // self.num_items))
        return UserBlocks(self.pairs(part), self.known(part), self.num_users, size, self.shard, self.repeated)
