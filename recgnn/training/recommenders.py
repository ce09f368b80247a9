"""Training of recommenders: for rankings and for ratings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from recgnn.data.interactions.loaders import EvalBatch, RatingBatch, Request
from recgnn.data.interactions.sampling import InBatch, Negatives, Popularity, Shared, Uniform
from recgnn.errors import ConfigError, Count, NonNegative, Positive, Size, expect_tensor, one_of
from recgnn.evaluation.metrics import CatalogueMetric, ErrorMetric, RankingMetric, check_ks
from recgnn.evaluation.metrics.collections import ErrorMetrics, RankingMetrics
from recgnn.evaluation.metrics.names import ERRORS, RANKING
from recgnn.evaluation.metrics.ties import ties_of
from recgnn.models.base import Recommender, top_k
from recgnn.nn.losses import PairLoss, RatingLoss, RowLoss, SquaredError, of_each, weighted_mean
from recgnn.nn.optimizers import LazyAdam, Together
from recgnn.training.base import Training, suited
from recgnn.training.costs import told_costs

NEGATIVES = ("auto", "uniform", "popularity", "shared", "in_batch", "all")


class RecommenderTraining(Training):
    """What training for rankings and for ratings have in common: the graph."""

    reads = "interactions"
    request: Request

    def setup(self, stage: str) -> None:
        data = cast(Any, self.trainer).datamodule
        if not hasattr(data, "edge_index"):
            raise ConfigError(
                f"{type(self.model).__name__} reads interactions, and {type(data).__name__} gives events; take data of "
                "class GraphDataModule, or a model of clicks"
            )
        self.check_sizes(data)
        data.request = self.request
        if hasattr(data, "check"):
            data.check(self.task)
        if hasattr(self.model, "set_parts"):
            self.model.set_parts(torch.from_numpy(data.parts.codes))
        ratings = data.ratings("train") if self.task == "rating" else None
        if self.model.weighted:
            self.model.confidences = data.distinct("train")[2]
        edge_index = data.edge_index
        self.set_graph(edge_index, ratings)
        if stage == "fit" and self.model.divisible and self.trainer.world_size > 1 and self.task == "ranking":
            self.print(told_costs(self.model, edge_index, self.trainer.world_size))
        # Constant on every rank: DDP need not broadcast the graph, or what is made of it later, before each step.
        names = [f"{where}.{name}".lstrip(".") for where, part in self.named_modules() for name in part._buffers]
        kept = self.state_dict()
        self._ddp_params_and_buffers_to_ignore = [name for name in names if name not in kept]

    def begin_measuring(self) -> None:
        super().begin_measuring()
        if self.model.partition is not None:
            self.model.embeddings()  # by all processes at once, however many users each of them has

    def chosen(self, data: Any) -> dict[str, Any]:
        """Choose the batch size by the size of the log (see `GraphDataModule.usual_batch_size`), and the regularisation
        (see `usual_l2`)."""
        if not hasattr(data, "usual_batch_size"):
            return {}
        found, l2 = dict[str, Any](), self.usual_l2(data)
        if not self.request.nothing and data.batch_size is None:
            found["data.batch_size"] = data.usual_batch_size(self.request.rows)
        return found if l2 is None else found | {"training.l2": l2}

    def usual_l2(self, data: Any) -> float | None:
        r"""Choose the regularisation by the training log, where it is not said and the model has a rule for it. Its
        scale is :math:`E / \sqrt{U I}`, the largest singular value that E interactions of U users and I items have when
        they are spread evenly.

        Args:
            data: the data module, which has the training log.
        """
        rule = getattr(self.model, "usual_l2", None)
        if self.l2_said or rule is None:
            return None
        scale = data.edge_index.shape[1] / math.sqrt(self.model.num_users * self.model.num_items)
        return float(f"{rule(scale):.2g}")

    def patience(self, data: Any) -> int:
        """Return as many epochs as have 1,500 steps, from 10 to 100, so that few steps an epoch are no early end."""
        if not getattr(data, "batch_size", None) or self.request.nothing:
            return super().patience(data)
        rows = {"user": data.num_users, "item": data.num_items, None: len(data.prepared.train)}[self.request.rows]
        return min(100, max(10, math.ceil(1500 / math.ceil(rows / data.batch_size))))

    def set_graph(self, edge_index: Tensor, ratings: Tensor | None = None) -> None:
        """Give the model the training graph: edge_index [2, E], ratings [E] or None."""
        self.model.set_graph(edge_index, ratings)


class RankingTraining(RecommenderTraining):
    """Trains a recommender to rank, and measures the ranking of all items that a user does not have yet.

    Args:
        model: a recommender.
        loss: `BPR`, `BCE`, `SampledSoftmax`, `BSL`, `CosineContrastive` or `DirectAU` for models by inner product;
            `Multinomial`, `Logistic` or `Squared` for autoencoders; the model's own default when None.
        negatives: what stands against a positive: `uniform` or `popularity` (items that the user does not have, drawn
            per positive), `shared` (one draw by popularity for the whole batch), `in_batch` (the other positives of the
            batch; the last two need a loss that can take them, as `SampledSoftmax` or those of cosines), or `all`
            (every other item, for autoencoders); `auto` is what suits the loss. Or a class of one's own.
        num_negatives: how many per positive, or per batch for `shared`; when None 1, or many for losses of cosines.
        popularity_alpha: exponent of the item counts for `popularity` and `shared`; when None 0.75, or 0 (all items
            alike) for losses of cosines.
        l2: weight of the L2 regularisation; when None by the log for MF, LightGCN, DAE, CDAE and EASE with losses that
            do not say another (see `usual_l2`), else the loss's or the model's default.
        l2_on: what is regularised of models by inner product: the `embeddings` of the batch's rows, as in the papers,
            or the `representations` that are computed from them; the model's default when None.
        lr: learning rate of Adam; the model's default when None.
        fan_out: MF and graph models: how many neighbours of a node are sampled at most, a number for each layer, for
            the batch's own nodes first; so that a step reads no more rows, whatever the graph's size. Embeddings are
            then moved by lazy Adam, the rows that a step has read alone. None for all neighbours, and Adam.
        metrics: what is measured, by name, or a class of one's own; `ndcg`, or else the first, chooses the best epoch.
        ks: lengths of the recommendation lists that are measured.
    """

    task = "ranking"
    by_log = True
    left_out = ""  # what is told where a simple method was not fitted beside it
    kinds: Any

    def __init__(
        self,
        model: Recommender,
        loss: PairLoss | RowLoss | None = None,
        negatives: str | Negatives = "auto",
        num_negatives: Size | None = None,
        popularity_alpha: NonNegative | None = None,
        l2: NonNegative | None = None,
        l2_on: Literal["embeddings", "representations"] | None = None,
        lr: Positive | None = None,
        fan_out: Sequence[Size] | None = None,
        metrics: Sequence[str | RankingMetric | CatalogueMetric] = (*RANKING,),
        ks: Sequence[Count] = (10, 20),
    ):
        if loss is None and "loss" in model.defaults:
            loss = model.defaults["loss"]()
        super().__init__(model, loss, l2, lr)
        self.l2_said = l2 is not None or "l2" in suited(type(model), type(loss), by_log=True)
        if l2_on is not None and not hasattr(model, "propagate"):
            raise ConfigError(f"l2_on is for models by inner product, and {type(model).__name__} is none; leave it out")
        model.l2_on = l2_on or self.suited.get("l2_on", "embeddings")
        if fan_out is not None:
            model.sample(fan_out)
        if isinstance(negatives, str):
            negatives_ = self._named(negatives, num_negatives, popularity_alpha)
        else:
            negatives_ = negatives
        self.negatives = negatives_
        self._check_loss()
        nothing = not self.automatic_optimization
        self.request = Request("ranking", model.training_rows, None if nothing else negatives_, nothing)
        for part in ("val", "test"):
            self.metrics[part] = RankingMetrics(model.num_items, ks, metrics)
        self.ks = self.metrics["val"].ks
        self.kinds = nn.ModuleDict()  # of labels, where repeats count
        self.register_buffer("item_log_q", torch.zeros(model.num_items), persistent=False)

    def _named(self, name: str, num: int | None, alpha: float | None) -> Negatives | None:
        """The negatives of a name; None for all the others of a row."""
        usual: dict[str, Any] = {"num_negatives": 1, "popularity_alpha": 0.75} | self.suited
        num = usual["num_negatives"] if num is None else num
        alpha = usual["popularity_alpha"] if alpha is None else alpha
        one_of("negatives", name, NEGATIVES)
        if name == "auto":
            name = "all" if self.model.training_rows else getattr(self.loss, "negatives", "uniform")
        made = {"uniform": lambda: Uniform(num), "popularity": lambda: Popularity(num, alpha),
                "shared": lambda: Shared(num, alpha), "in_batch": InBatch, "all": lambda: None}  # fmt: skip
        return made[name]()

    def _check_loss(self) -> None:
        """Refuse a loss that the model cannot be trained by, or negatives that the loss cannot take."""
        name, rows = type(self.model).__name__, self.model.training_rows is not None
        if not self.automatic_optimization:
            return
        if not isinstance(self.loss, RowLoss if rows else PairLoss):
            expected = "Multinomial, Logistic or Squared" if rows else "BPR, BCE or SampledSoftmax"
            raise ConfigError(f"{name} needs a loss such as {expected}, found {type(self.loss).__name__}")
        if rows != (self.negatives is None) and not (rows and type(self.negatives) in (Uniform, Popularity)):
            taken = "all, uniform or popularity" if rows else "no `all`, which is for autoencoders"
            raise ConfigError(f"negatives: {name} takes {taken}")
        kind: Any = type(self.loss)
        drawn = not rows and kind.forward is not PairLoss.forward  # or it is of the batch alone
        if not (rows or drawn) and kind.of_representations is PairLoss.of_representations:
            raise ConfigError(f"the loss {kind.__name__} does not define forward (or of_representations)")
        if not rows and not drawn and not isinstance(self.negatives, InBatch):
            raise ConfigError(f"negatives: the loss {type(self.loss).__name__} has none; leave training.negatives out")
        if drawn and isinstance(self.negatives, InBatch | Shared) and not hasattr(self.loss, "in_batch"):
            kind = "in_batch" if isinstance(self.negatives, InBatch) else "shared"
            raise ConfigError(
                f"negatives: {kind} needs a loss such as SampledSoftmax, found {type(self.loss).__name__}; use uniform "
                "or popularity negatives"
            )

    def setup(self, stage: str) -> None:
        check_ks(self.ks, self.model.num_items)
        super().setup(stage)
        data = cast(Any, self.trainer).datamodule
        if stage == "fit":
            self.model.l2 = self.usual_l2(data) or self.l2
        if stage == "fit" and hasattr(self.model, "start_at"):
            self.model.start_at(self.metrics["val"].train_counts, self.loss)
        if getattr(data, "repeated", False):
            per_user = self.metrics["test"].per_user
            for part, kind in product(self.metrics, ("new", "repeated") if per_user else ()):
                self.kinds[f"{part}_{kind}"] = RankingMetrics(self.model.num_items, self.ks, per_user)

    def set_graph(self, edge_index: Tensor, ratings: Tensor | None = None) -> None:
        super().set_graph(edge_index, ratings)
        items = edge_index[1]
        counts = torch.bincount(items, minlength=self.model.num_items)
        for metrics in self.metrics.values():
            metrics.set_popularity(counts)
        self.item_log_q = (counts.clamp(min=1).double() / max(1, items.numel())).log().float()

    def configure_optimizers(self) -> Optimizer:
        tables = {id(x.weight): x.weight for x in self.model.modules() if isinstance(x, nn.Embedding) and x.sparse}
        if not tables:
            return super().configure_optimizers()
        rest = [parameter for parameter in self.parameters() if id(parameter) not in tables]
        return Together([*([self.adam(rest)] if rest else []), LazyAdam(list(tables.values()), lr=self.lr)])

    def log_q(self, items: Tensor) -> Tensor | None:
        """The correction for how often `items` are met as negatives: like items, or None for none."""
        weight = getattr(self.negatives, "exponent", 0.0) * getattr(self.loss, "popularity_correction", 0.0)
        return weight * self.item_log_q[items] if weight else None

    def data_loss(self, batch: Any, outputs: Any) -> Tensor:
        if isinstance(self.loss, PairLoss):
            (user, item), positives, weights = outputs[:2], batch.positives, batch.weights
            if self.model.partition is not None and batch.negatives is None:  # they are all processes' other positives
                gather = self.model.partition.whole_batch
                item, positives = gather(item), gather(positives)
                if type(self.loss).forward is PairLoss.forward:  # one number of the whole batch
                    user, weights = gather(user), None if weights is None else gather(weights)
            losses = self.loss.of_representations(user, item, positives, batch.negatives, self.log_q)
            of_each(self.loss, "of_representations", losses, user)
            return weighted_mean(losses, weights)
        assert isinstance(self.loss, RowLoss)
        scores = self.model.finish(outputs) if self.loss.after_activation else outputs
        weighted = {} if batch.weights is None else {"weights": batch.weights}
        loss = self.loss(scores, batch.place, batch.columns, batch.negatives, **weighted)
        return expect_tensor(self.loss, "forward", loss, (), "one number for the batch")

    def measure(self, part: str, batch: EvalBatch) -> dict[str, Any]:
        scores, longest = self.model.score(batch.users), max(self.ks)
        shape = len(batch.users), self.model.num_items
        expect_tensor(self.model, "score", scores, shape, "a score of each item for each user")
        best, items = top_k(scores, min(longest + 1, scores.shape[1]), (batch.seen_rows, batch.seen_items))
        ties = ties_of(scores, best, batch.label_rows, batch.label_items)
        items = items.masked_fill(best == -torch.inf, self.model.num_items)[:, :longest]  # nothing more to recommend
        self.metrics[part].update(items, batch.label_rows, batch.label_items, ties)
        for kind, known in (("new", False), ("repeated", True)) if self.kinds else ():
            rows, labels = (x[batch.label_known == known] for x in (batch.label_rows, batch.label_items))
            self.kinds[f"{part}_{kind}"].update(items, rows, labels, ties_of(scores, best, rows, labels))
        return {"items": items, "scores": best[:, :longest], "ties": ties}

    def _finish(self, part: str) -> None:
        super()._finish(part)
        for name, metrics in self.kinds.items():
            of, _, kind = name.partition("_")
            if of == part:
                for metric, value in metrics.compute().items():
                    self.log(f"{part}/{kind}_{metric}", value.float())
                metrics.reset()


class RatingTraining(RecommenderTraining):
    """Trains a recommender to predict ratings, and measures the error of its predictions.

    A prediction is clipped to the range of the training ratings; for a user or item that is not in the training data
    it is `cold_rating`.

    Args:
        model: a recommender that predicts ratings, as AutoRec and MF.
        loss: the squared error when None.
        l2: weight of the L2 regularisation; the model's default when None.
        encoder_l2: autoencoders: weight for the first layer, where it is to be another; `l2` when None.
        lr: learning rate of Adam; the model's default when None.
        cold_rating: the rating of users and items that are not in the training data; None for the mean rating.
        metrics: what is measured, by name, or a class of one's own; the first chooses the best epoch.
    """

    task = "rating"
    default_loss = SquaredError

    def __init__(
        self,
        model: Recommender,
        loss: RatingLoss | None = None,
        l2: NonNegative | None = None,
        encoder_l2: NonNegative | None = None,
        lr: Positive | None = None,
        cold_rating: float | None = None,
        metrics: Sequence[str | ErrorMetric] = (*ERRORS,),
    ):
        super().__init__(model, loss or self.default_loss(), l2, lr)
        if encoder_l2 is not None:
            if not hasattr(model, "encoder_l2"):
                raise ConfigError(f"encoder_l2 is for autoencoders, and {type(model).__name__} has no encoder")
            vars(model)["encoder_l2"] = encoder_l2
        model.cold_rating = cold_rating
        nothing = not self.automatic_optimization
        self.request = Request("rating", model.training_rows, None, nothing)
        for part in ("val", "test"):
            self.metrics[part] = ErrorMetrics(metrics)

    def data_loss(self, batch: Any, outputs: Any) -> Tensor:
        ratings = batch.ratings if self.model.training_rows is None else batch.values
        losses = self.loss(outputs.predictions, ratings)
        expect_tensor(self.loss, "forward", losses, ratings.shape, "a number for each rating")
        return (losses if batch.weights is None else losses * batch.weights).sum() / batch[0].numel()

    def measure(self, part: str, batch: RatingBatch) -> dict[str, Tensor]:
        predictions = self.model.predict_pairs(batch.users, batch.items)
        self.metrics[part].update(predictions, batch.ratings)
        return {"predictions": predictions}
