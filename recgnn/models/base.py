"""The base classes of all models: plain torch modules, which the classes of `recgnn.training` train."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import wraps
from inspect import signature
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from recgnn.errors import Checked, ConfigError, DataError
from recgnn.nn.folding import Entries

if TYPE_CHECKING:
    from recgnn.nn.partition import Partition

Pair = tuple[Tensor, Tensor]
Task = Literal["ranking", "rating", "clicks", "regression"]
Side = Literal["user", "item"]
SIZES = ("num_users", "num_items", "field_dims", "slots", "field_names", "item_slots", "part_sizes")
"""Arguments of models that the data module gives and no configuration has."""


def _recording(init: Callable[..., None]) -> Callable[..., None]:
    """Wrap a constructor so that it keeps its arguments, defaults included, in `arguments`."""

    @wraps(init)
    def recorded(self: Model, *args: Any, **kwargs: Any) -> None:
        if "arguments" not in self.__dict__:  # the outermost constructor of the class
            bound = signature(init).bind(self, *args, **kwargs)
            bound.apply_defaults()
            object.__setattr__(self, "arguments", {name: bound.arguments[name] for name in list(bound.arguments)[1:]})
        init(self, *args, **kwargs)

    return recorded


class Model(Checked, nn.Module, ABC):
    """A model that recgnn can train, measure, save and serve.

    The constructor has sizes and architecture only; sizes (`num_users`, `num_items`, or `field_dims` and what else the
    fields are) are given by the data. Loss, negatives, regularisation, optimizer and metrics belong to the training.

    Attributes:
        tasks: what it can be trained for; the first is the default.
        reads: `interactions` of users with items, or `events` with a label.
        defaults: training arguments that suit it, such as `{"lr": 5e-3}`.
        former: what arguments were before there were such, which runs of that time lack.
        arguments: what its constructor was given, complete: `type(model)(**model.arguments)` is a model like it.
        task: what it is trained for, one of `tasks`.
        l2: the weight of the regularisation that it is trained with.
        l2_on: whether that is of its `embeddings` or of the `representations` computed from them, where these differ.
        remark: what is told before it is trained, in one line; nothing by default.
        explanation: what the parts are that an explanation of a score has, and how exact they are, in one line.
        rest: what the parts leave of the score, by name; nothing where they sum to it.

    A model without gradient training defines `solve()`, which sets its parameters in closed form; it is called once.
    """

    tasks: ClassVar[tuple[Task, ...]]
    reads: ClassVar[Literal["interactions", "events"]]
    defaults: ClassVar[dict[str, Any]] = {}
    former: ClassVar[dict[str, Any]] = {}
    arguments: dict[str, Any]
    task: Task
    l2: float = 0.0
    l2_on: Literal["embeddings", "representations"] = "embeddings"
    remark: str = ""
    explanation: str = ""
    rest: ClassVar[str] = ""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__init__" in vars(cls):
            cls.__init__ = _recording(cls.__init__)  # type: ignore[method-assign]  # the same signature

    def __init__(self) -> None:
        super().__init__()
        self.task = self.tasks[0]

    def refresh(self) -> None:
        """Forget what was derived from the parameters, because they have changed; nothing by default."""

    def outputs(self, batch: Any) -> Any:
        """Compute from a training batch what the loss and the regularisation need, with a gradient."""
        raise AttributeError(f"{type(self).__name__} does not define outputs, so it cannot be trained by gradients")

    def exportable(self) -> nn.Module:
        """Return a module with this model's scores whose `forward` has dense tensors, which exporters can trace.

        The names of its arguments say what they are: `users`; `rows` of the interaction matrix, of whom
        `training_rows` tells, perhaps with their `users`; or `ids`, `values` and `history_…` of events.

        Raises:
            ConfigError: if the model has no such form.
        """
        raise ConfigError(f"{type(self).__name__} cannot be exported: it does not define exportable()")

    def moved_rows(self, earlier: Any, rows: dict[str, Tensor]) -> dict[str, Tensor | None]:
        """Return the rows here of an earlier model's parameters whose rows are neither users, items nor values, as
        crosses of values: by name, -1 for none, or None where the parameter starts anew; no such parameters by default.

        Args:
            earlier: a model of the same architecture and other sizes.
            rows: the rows here of its users, items or values, -1 for none, by the name of the size, each [n].
        """
        return {}

    def penalty(self, l2: float, batch: Any, outputs: Any) -> Tensor | float:
        """Compute the L2 regularisation of a training step with the weight `l2`, of a `batch` and the `outputs` for
        it: a scalar."""
        return 0.0

    def extra_loss(self, batch: Any, outputs: Any) -> Tensor | float:
        """Compute a loss of the model's own that is added to the task's, for example a contrastive one: a scalar; 0 by
        default.

        Args:
            batch: the training batch.
            outputs: what `outputs` gave for it.
        """
        return 0.0


class Rated(NamedTuple):
    """Predicted ratings of a training batch [n], and the rows of the parameters that are regularised, each [n, …]."""

    predictions: Tensor
    rows: list[Tensor]


class Recommender(Model):
    """A model that scores items for users. A subclass defines `score`, and `outputs` if it is trained by gradients.

    Args:
        num_users: U, given by the data.
        num_items: I, given by the data.

    Attributes:
        training_rows: whose rows of the interaction matrix a training batch holds; None for batches of interactions.
        cold_rating: for ratings: the answer for a user or item that is not in the training data; None for the mean
            rating of the training data.
        weighted: of a model that is solved: whether it uses the weights of the log, as `confidences`.
        confidences: of the training interactions, of mean 1, [E]; None where the log has no weights.
        partition: the rows of users and items that this process has, where several have them together.
        divisible: whether they can, and whether neighbourhoods can be sampled: a step then reads the embeddings of its
            batch and of these alone.
    """

    tasks: ClassVar[tuple[Task, ...]] = ("ranking",)
    reads = "interactions"
    training_rows: Side | None = None
    weighted: ClassVar[bool] = False
    confidences: Tensor | None = None
    partition: Partition | None = None
    divisible: ClassVar[bool] = False
    low: Tensor
    high: Tensor
    mean: Tensor

    def __init__(self, num_users: int, num_items: int):
        super().__init__()
        self.num_users, self.num_items = num_users, num_items
        self.cold_rating: float | None = None
        for name in ("low", "high", "mean"):  # of the training ratings
            self.register_buffer(name, torch.tensor(0.0), persistent=False)

    def set_graph(self, edge_index: Tensor, ratings: Tensor | None = None) -> None:
        """Take the training graph: called before training, and when a run is loaded.

        Args:
            edge_index: users and items of the training interactions, [2, E].
            ratings: their ratings, [E], where the task is rating.

        Raises:
            DataError: if all ratings are the same.
        """
        if ratings is not None:
            low, high = ratings.min(), ratings.max()
            if low == high:
                raise DataError(
                    f"all {ratings.numel():,} ratings of the training part are {float(low):g}: there is nothing to "
                    "predict; check which column holds the ratings, or train on interactions, as LightGCN or CDAE do"
                )
            self.low, self.high, self.mean = low.float(), high.float(), ratings.double().mean().float()
        self.refresh()

    def sample(self, fan_out: Sequence[int]) -> None:
        """Train from now on with sampled neighbourhoods, and sparse gradients of the embeddings.

        Args:
            fan_out: how many neighbours of a node at most, a number for each layer, for the batch's own nodes first.

        Raises:
            ConfigError: if the model cannot, or has another number of layers.
        """
        raise ConfigError(f"fan_out is for MF, LightGCN, NGCF and GCN, and this is {type(self).__name__}; leave it out")

    # ---- scores

    @abstractmethod
    def score(self, users: Tensor) -> Tensor:
        """Score all items for `users` [B]: a new tensor, [B, I]."""

    def score_pairs(self, users: Tensor, items: Tensor) -> Tensor:
        """Score pairs of users [B] and items [B]: [B]."""
        distinct, of = users.unique(return_inverse=True)
        return self.score(distinct)[of, items]

    @torch.no_grad()
    def predict_pairs(self, users: Tensor, items: Tensor) -> Tensor:
        """Predict for pairs of users [B] and items [B], where -1 is one that is not in the training data: [B].

        Trained for ratings: a rating within the range of the training ratings, and `cold_rating` for a pair with -1.
        Trained for ranking: the score, and NaN for such a pair.
        """
        known = (users >= 0) & (items >= 0)
        scores = self.score_pairs(users.clamp(min=0), items.clamp(min=0))
        if self.task != "rating":
            return scores.masked_fill(~known, torch.nan)
        cold = self.mean if self.cold_rating is None else torch.full_like(self.mean, self.cold_rating)
        return torch.where(known, scores.float().clamp(self.low, self.high), cold)

    @torch.no_grad()
    def recommend(self, users: Tensor, k: int, seen: Pair | None = None) -> Pair:
        """Recommend the k best items to `users` [B], best first: (scores, items), each [B, k].

        Args:
            users: rows, [B].
            k: length of the lists, at most I.
            seen: (place in `users`, item) of the items to leave out, each [n]. Where fewer than k items are left,
                the list ends in items of score -inf.
        """
        return top_k(self.score(users), k, seen)

    # ---- representations

    def embeddings(self) -> Pair:
        """The representations of all users and items, computed once until training goes on: ([U, D'], [I, D']).

        Raises:
            ConfigError: if the model has none.
        """
        raise ConfigError(f"{type(self).__name__} has no representations of users and items")

    def score_vectors(self) -> Pair:
        """Return vectors whose inner product is the score (of autoencoders, the score before the last activation):
        the representations, followed by biases and ones: ([U, D''], [I, D''])."""
        return self.embeddings()

    @torch.no_grad()
    def similarity(self, items: Tensor) -> Tensor:
        """Score how similar all items are to `items` [B], by the cosine of their representations: [B, I].

        Raises:
            ConfigError: if the model knows no such thing.
        """
        unit = nn.functional.normalize(self.embeddings()[1], dim=1)
        return unit[items] @ unit.T

    def shares(self, user: int, entries: Entries, items: Tensor) -> Tensor:
        """Divide the scores of `items` [m] for a user of the training data among the n items that the user has: [n, m].
        `explanation` says how, and `rest` what is left of the score.

        Args:
            user: row of the user.
            entries: what this one user has, n items.
            items: rows of the scored items, [m]; -1 is the mean of all items.

        Raises:
            ConfigError: if the model knows no such shares.
        """
        raise ConfigError(f"{type(self).__name__} has no explanation by the items that a user has")

    # ---- users and items that are not in the training data

    def score_history(self, place: Tensor, items: Tensor, values: Tensor, size: int) -> Tensor:
        """Score all items for new users, from the items that each of them has: [B, I].

        Args:
            place: whose, 0..B-1, ascending, [n].
            items: which items, [n].
            values: their ratings, or ones, [n].
            size: B.
        """
        raise ConfigError(f"{type(self).__name__} has no way to recommend to a user who is not in the training data")

    def new_rows(self, side: Side, entries: Entries) -> dict[str, Tensor]:
        """Compute the rows of the parameters for new users or items, while the trained rows stay as they are.

        Args:
            side: whether they are users or items.
            entries: what each of them has, n of them.

        Shapes: by the parameter's name, [n, ...].
        """
        raise ConfigError(f"{type(self).__name__} has no way to add a new {side} without training")

    def enlarged(self, num_users: int, num_items: int, rows: dict[str, Tensor]) -> Recommender:
        """Return a copy for more users and items, with `rows` appended to its parameters (see `new_rows`)."""
        model = type(self)(**self.arguments | {"num_users": num_users, "num_items": num_items})
        model.task, model.cold_rating, model.l2 = self.task, self.cold_rating, self.l2
        state = self.state_dict()
        model.load_state_dict(state | {name: torch.cat([state[name], new]) for name, new in rows.items()})
        return model.train(self.training)


def with_mean(x: Tensor, dim: int = 0) -> Tensor:
    """Append the mean of x [..., n, ...] over the dimension `dim`, at which it then has the index -1."""
    return torch.cat([x, x.mean(dim, keepdim=True)], dim)


def top_k(scores: Tensor, k: int, seen: Pair | None) -> Pair:
    """Select the k best columns of scores [B, I] without the places `seen`: (scores, items), each [B, k]."""
    if seen is not None:
        scores[seen] = -torch.inf
    return scores.topk(k)
