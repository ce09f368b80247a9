"""What models are measured by: the ranking of all items, ratings, or clicks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch_geometric.data import HeteroData

from recgnn.errors import ConfigError, DataError
from recgnn.evaluation.metrics.clicks import CLICKS
from recgnn.evaluation.metrics.collections import ClickMetrics, ErrorMetrics, RankingMetrics
from recgnn.evaluation.metrics.ranking import RANKING


class Evaluation(nn.Module):
    """How a model is measured on a part; `metrics` holds what is counted for `val` and for `test`.

    Attributes:
        monitor: the validation metric that chooses the best epoch, and its direction.
        metric_names: the names under which validation metrics are logged.
    """

    monitor: tuple[str, str]
    metric_names: Sequence[str]

    def check(self) -> None:
        """Refuse, before anything is trained, what could not be measured; nothing by default."""

    def set_graph(self, graph: HeteroData) -> None:
        """Take what is needed of the training graph; nothing by default."""

    def step(self, model, part: str, batch) -> dict[str, Tensor]:
        """Count a batch; returns what the model said."""
        raise NotImplementedError


class RankingEvaluation(Evaluation):
    """Full ranking: every item that a user does not know yet is a candidate.

    Args:
        num_items: I.
        ks: lengths of the lists that are measured.
    """

    def __init__(self, num_items: int, ks: Sequence[int]):
        super().__init__()
        if not ks or min(ks) < 1:
            raise ConfigError(f"ks must be one or more positive list lengths, found {list(ks)}")
        self.num_items, self.ks = num_items, sorted(set(ks))
        self.metrics = nn.ModuleDict({part: RankingMetrics(num_items, self.ks) for part in ("val", "test")})

    @property
    def monitor(self) -> tuple[str, str]:
        return f"val/ndcg@{self.ks[0]}", "max"

    @property
    def metric_names(self) -> list[str]:
        return [f"val/{name}@{k}" for name in RANKING for k in self.ks]

    def check(self) -> None:
        """Refuse lists that are longer than the catalogue."""
        if max(self.ks) > self.num_items:
            raise DataError(
                f"there are {self.num_items} items after filtering, fewer than K = {max(self.ks)} to recommend; "
                f"set ks to at most {self.num_items} (--model.ks) or filter less"
            )

    def set_graph(self, graph: HeteroData) -> None:
        items = graph["user", "rates", "item"].edge_index[1]
        counts = torch.bincount(items, minlength=self.num_items)
        for metrics in self.metrics.values():
            metrics.set_popularity(counts)

    def step(self, model, part: str, batch) -> dict[str, Tensor]:
        scores, items = model.recommend(batch.users, max(self.ks), (batch.seen_rows, batch.seen_items))
        items = items.masked_fill(scores == -torch.inf, self.num_items)  # nothing more to recommend
        self.metrics[part].update(items, batch.label_rows, batch.label_items)
        return {"items": items, "scores": scores}


class RatingEvaluation(Evaluation):
    """RMSE and MAE of predicted ratings, and what is known of ratings beforehand.

    A prediction is clipped to the range of the ratings in train. For a user or an item that train lacks it is the
    cold rating.

    Args:
        cold_rating: that rating; None for the mean of train.
    """

    def __init__(self, cold_rating: float | None):
        super().__init__()
        self.cold_rating = cold_rating
        self.metrics = nn.ModuleDict({part: ErrorMetrics() for part in ("val", "test")})
        for name in ("low", "high", "mean"):
            self.register_buffer(name, torch.tensor(0.0), persistent=False)

    monitor = ("val/rmse", "min")
    metric_names = ("val/rmse", "val/mae")

    def set_graph(self, graph: HeteroData) -> None:
        """Take range and mean of the training ratings.

        Raises:
            DataError: if there are none, or all are the same.
        """
        ratings = graph["user", "rates", "item"].get("rating")
        if ratings is None:
            raise DataError(
                "the log has no ratings, and the model predicts ratings; name the column that holds them "
                "(rating: ...), or train on what users chose, as LightGCN or CDAE do"
            )
        low, high = ratings.min(), ratings.max()
        if low == high:
            raise DataError(
                f"all {ratings.numel():,} ratings of train are {float(low):g}: there is nothing to predict; check "
                "which column holds the ratings, or train on what users chose, as LightGCN or CDAE do"
            )
        self.low, self.high, self.mean = low.float(), high.float(), ratings.double().mean().float()

    def answer(self, ratings: Tensor, known: Tensor) -> Tensor:
        """Predictions as they are given: clipped, and the cold rating where `known` is False; all [B]."""
        cold = self.mean if self.cold_rating is None else torch.full_like(self.mean, self.cold_rating)
        return torch.where(known, ratings.float().clamp(self.low, self.high), cold)

    def step(self, model, part: str, batch) -> dict[str, Tensor]:
        predictions = model.predict_pairs(batch.users, batch.items)
        self.metrics[part].update(predictions, batch.ratings)
        return {"predictions": predictions}


class NumberEvaluation(Evaluation):
    """RMSE and MAE of predicted numbers."""

    monitor = ("val/rmse", "min")
    metric_names = ("val/rmse", "val/mae")

    def __init__(self) -> None:
        super().__init__()
        self.metrics = nn.ModuleDict({part: ErrorMetrics() for part in ("val", "test")})

    def step(self, model, part: str, batch) -> dict[str, Tensor]:
        numbers = model.logits(batch).float()
        self.metrics[part].update(numbers, batch.labels)
        return {"logits": numbers}


class ClickEvaluation(Evaluation):
    """AUC, log loss and calibration of predicted clicks (see `ClickMetrics`)."""

    monitor = ("val/auc", "max")
    metric_names = tuple(f"val/{name}" for name in CLICKS)

    def __init__(self) -> None:
        super().__init__()
        self.metrics = nn.ModuleDict({part: ClickMetrics() for part in ("val", "test")})

    def step(self, model, part: str, batch) -> dict[str, Tensor]:
        logits = model.logits(batch).float()
        self.metrics[part].update(logits, batch.labels, batch.groups)
        return {"logits": logits}
