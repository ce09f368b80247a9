"""The base classes: what the Trainer is told of every model, and what serving needs of recommenders."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import signature
from typing import Literal

import torch
from lightning import LightningModule
from torch import Tensor
from torch_geometric.data import HeteroData

from recgnn.errors import ConfigError
from recgnn.evaluation.evaluations import Evaluation, RankingEvaluation, RatingEvaluation
from recgnn.nn.folding import Entries

Pair = tuple[Tensor, Tensor]
Task = Literal["ranking", "rating"]


class MeasuredModel(LightningModule):
    """What the Trainer is told of every model here: the optimizer, and evaluation on validation and test.

    Args:
        evaluation: what it is measured by.
        lr: learning rate of Adam, the default optimizer.
    """

    def __init__(self, evaluation: Evaluation, lr: float):
        super().__init__()
        self.save_hyperparameters(ignore="evaluation")
        self.evaluation, self.lr = evaluation, lr

    @property
    def monitor(self) -> tuple[str, str]:
        """The validation metric that chooses the best epoch, and its direction."""
        return self.evaluation.monitor

    @property
    def metric_names(self) -> list[str]:
        """The names under which validation metrics are logged."""
        return list(self.evaluation.metric_names)

    def refresh(self) -> None:
        """Forget what was derived from the parameters, since they have changed; nothing by default."""

    def configure_optimizers(self):
        clipped = self._trainer is not None and self.trainer.gradient_clip_val is not None
        return torch.optim.Adam(self.parameters(), lr=self.lr, fused=not clipped)  # Lightning clips no fused one in AMP

    def _finish(self, part: str) -> None:
        metrics = self.evaluation.metrics[part]
        values = metrics.compute()
        metrics.reset()
        best = self.monitor[0]
        for name, value in values.items():
            self.log(f"{part}/{name}", value.float(), prog_bar=f"{part}/{name}" == best)
        self.refresh()

    def on_validation_epoch_start(self) -> None:
        self.refresh()

    def validation_step(self, batch, batch_idx: int) -> dict[str, Tensor]:
        return self.evaluation.step(self, "val", batch)

    def on_validation_epoch_end(self) -> None:
        self._finish("val")

    def on_test_epoch_start(self) -> None:
        self.refresh()

    def test_step(self, batch, batch_idx: int) -> dict[str, Tensor]:
        return self.evaluation.step(self, "test", batch)

    def on_test_epoch_end(self) -> None:
        self._finish("test")


class Recommender(MeasuredModel):
    """A model that scores items for users. A subclass defines `score` and `training_step`.

    Args:
        num_users: U, given by the data.
        num_items: I, given by the data.
        lr: learning rate of Adam, the default optimizer.
        ks: lengths of the recommendation lists that are measured.
        task: `ranking`, measured by full ranking, or `rating`, where scores are ratings, measured by RMSE and MAE.
        cold_rating: the rating of users and items that train lacks; None for the mean of train.
    """

    def __init__(
        self,
        num_users: int,
        num_items: int,
        lr: float,
        ks: Sequence[int] = (10,),
        task: Task = "ranking",
        cold_rating: float | None = None,
    ):
        rating = task == "rating"
        super().__init__(RatingEvaluation(cold_rating) if rating else RankingEvaluation(num_items, ks), lr)
        self.num_users, self.num_items, self.task = num_users, num_items, task
        self.ks = sorted(set(ks))

    @property
    def negative_sampling(self) -> dict | None:
        """What the data is to sample against each positive, or None: see `GraphDataModule`."""
        return None

    @property
    def training_rows(self) -> Literal["user", "item"] | None:
        """Whose rows of the interaction matrix a training batch holds; None for batches of interactions."""
        return None

    def score(self, users: Tensor) -> Tensor:
        """Scores of all items for `users` [B]: [B, I]."""
        raise AttributeError(f"{type(self).__name__} does not define score")

    def score_pairs(self, users: Tensor, items: Tensor) -> Tensor:
        """Scores of pairs, users [B] and items [B]: [B]."""
        return self.score(users).gather(1, items[:, None]).squeeze(1)

    # ---- users and items that train does not know

    def score_history(self, place: Tensor, items: Tensor, values: Tensor, size: int) -> Tensor:
        """Scores of all items for users whom train does not know, from what each of them has: [B, I].

        Args:
            place: whose, 0..B-1, ascending, [n].
            items: which items, [n].
            values: their ratings, or ones, [n].
            size: B.
        """
        raise ConfigError(f"{type(self).__name__} has no way to recommend to a user who was not in train")

    def new_rows(self, side: Literal["user", "item"], entries: Entries) -> dict[str, Tensor]:
        """What users or items that train does not know append to the parameters, the trained ones fixed.

        Args:
            side: whether they are users or items.
            entries: what each of them has, n of them.

        Shapes: by the parameter's name, [n, ...].
        """
        raise ConfigError(f"{type(self).__name__} has no way to take a new {side} in without training")

    def enlarged(self, num_users: int, num_items: int, rows: dict[str, Tensor]) -> Recommender:
        """This model for more users and items, with `rows` appended to its parameters (see `new_rows`)."""
        options = {name: self.hparams[name] for name in signature(type(self)).parameters if name in self.hparams}
        model = type(self)(**options | {"num_users": num_users, "num_items": num_items})
        state = self.state_dict()
        model.load_state_dict(state | {name: torch.cat([state[name], new]) for name, new in rows.items()})
        return model.train(self.training)

    @torch.no_grad()
    def predict_pairs(self, users: Tensor, items: Tensor) -> Tensor:
        """What the model has to say of pairs, -1 being a user or item that train lacks: users [B], items [B]; [B].

        Ratings, clipped and complete, for the rating task; scores, and NaN for those lacking, for ranking.
        """
        known = (users >= 0) & (items >= 0)
        scores = self.score_pairs(users.clamp(min=0), items.clamp(min=0))
        if self.task == "rating":
            return self.evaluation.answer(scores, known)
        return scores.masked_fill(~known, torch.nan)

    def set_graph(self, graph: HeteroData) -> None:
        """Take what the model needs of the training graph; called by `setup`, and when a run is loaded."""
        self.evaluation.set_graph(graph)
        self.refresh()

    @torch.no_grad()
    def recommend(self, users: Tensor, k: int, seen: Pair | None = None) -> Pair:
        """The k best items of `users` [B], best first: (scores, items), each [B, k].

        Args:
            users: rows, [B].
            k: length of the lists, at most I.
            seen: (place in `users`, item) of the items to leave out, each [n]. Where fewer than k items are left,
                the list ends in items of score -inf.
        """
        return best(self.score(users), k, seen)

    def setup(self, stage: str) -> None:
        self.evaluation.check()
        self.set_graph(self.trainer.datamodule.graph)
        # Constant on every rank: DDP need not broadcast the graph before each step.
        kept = self.state_dict()
        self._ddp_params_and_buffers_to_ignore = [n for n, _ in self.named_buffers() if n not in kept]

    def on_train_epoch_start(self) -> None:
        self.refresh()


def best(scores: Tensor, k: int, seen: Pair | None) -> Pair:
    """The k best columns of scores [B, I] without the places `seen`: (scores, items), each [B, k]."""
    if seen is not None:
        scores[seen] = -torch.inf
    return scores.topk(k)
