"""The base class of recommenders: evaluation by full ranking, and what serving needs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from lightning import LightningModule
from torch import Tensor, nn
from torch_geometric.data import HeteroData

from recgnn.errors import ConfigError, DataError
from recgnn.metrics import BEYOND_ACCURACY, FORMULAS, RankingMetrics

Pair = tuple[Tensor, Tensor]


class Recommender(LightningModule):
    """A model that scores items for users. A subclass defines `score` and `training_step`.

    Args:
        num_users: U, given by the data.
        num_items: I, given by the data.
        lr: learning rate of Adam, the default optimizer.
        ks: lengths of the recommendation lists that are measured.
    """

    def __init__(self, num_users: int, num_items: int, lr: float, ks: Sequence[int]):
        super().__init__()
        self.save_hyperparameters()
        if not ks or min(ks) < 1:
            raise ConfigError(f"ks must be one or more positive list lengths, found {list(ks)}")
        self.num_users, self.num_items, self.lr = num_users, num_items, lr
        self.ks = sorted(set(ks))
        self.metrics = nn.ModuleDict({part: RankingMetrics(self.ks, num_items) for part in ("val", "test")})

    @property
    def monitor(self) -> tuple[str, str]:
        """The validation metric that chooses the best epoch, and its direction."""
        return f"val/ndcg@{self.ks[0]}", "max"

    @property
    def metric_names(self) -> list[str]:
        """The names under which validation metrics are logged."""
        return [f"val/{name}@{k}" for name in (*FORMULAS, *BEYOND_ACCURACY) for k in self.ks]

    @property
    def negative_sampling(self) -> dict | None:
        """What the data is to sample against each positive, or None: see `GraphDataModule`."""
        return None

    def score(self, users: Tensor) -> Tensor:
        """Scores of all items for `users` [B]: [B, I]."""
        raise AttributeError(f"{type(self).__name__} does not define score")

    def refresh(self) -> None:
        """Forget what was derived from the parameters, since they have changed."""

    def set_graph(self, graph: HeteroData) -> None:
        """Take what the model needs of the training graph; called by `setup`, and when a run is loaded."""
        items = graph["user", "rates", "item"].edge_index[1]
        counts = torch.bincount(items, minlength=self.num_items)
        for metrics in self.metrics.values():
            metrics.set_popularity(counts)
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
        scores = self.score(users)
        if seen is not None:
            scores[seen] = -torch.inf
        return scores.topk(k)

    def setup(self, stage: str) -> None:
        if max(self.ks) > self.num_items:
            raise DataError(
                f"there are {self.num_items} items after filtering, fewer than K = {max(self.ks)} to recommend; "
                f"set ks to at most {self.num_items} (--model.ks) or filter less"
            )
        self.set_graph(self.trainer.datamodule.graph)
        # Constant on every rank: DDP need not broadcast the graph before each step.
        kept = self.state_dict()
        self._ddp_params_and_buffers_to_ignore = [n for n, _ in self.named_buffers() if n not in kept]

    def configure_optimizers(self):
        clipped = self._trainer is not None and self.trainer.gradient_clip_val is not None
        return torch.optim.Adam(self.parameters(), lr=self.lr, fused=not clipped)  # Lightning clips no fused one in AMP

    def on_train_epoch_start(self) -> None:
        self.refresh()

    # ---- evaluation by full ranking

    def _evaluate(self, part: str, batch) -> dict[str, Tensor]:
        scores, items = self.recommend(batch.users, max(self.ks), (batch.seen_rows, batch.seen_items))
        items = items.masked_fill(scores == -torch.inf, self.num_items)  # nothing more to recommend
        self.metrics[part].update(items, batch.label_rows, batch.label_items)
        return {"items": items, "scores": scores}

    def _finish(self, part: str) -> None:
        values = self.metrics[part].compute()
        self.metrics[part].reset()
        shown = {f"{part}/{name}": value for name, value in values.items()}
        best = self.monitor[0]
        for name, value in shown.items():
            self.log(name, value.float(), prog_bar=name == best)
        self.refresh()

    def on_validation_epoch_start(self) -> None:
        self.refresh()

    def validation_step(self, batch, batch_idx: int) -> dict[str, Tensor]:
        return self._evaluate("val", batch)

    def on_validation_epoch_end(self) -> None:
        self._finish("val")

    def on_test_epoch_start(self) -> None:
        self.refresh()

    def test_step(self, batch, batch_idx: int) -> dict[str, Tensor]:
        return self._evaluate("test", batch)

    def on_test_epoch_end(self) -> None:
        self._finish("test")
