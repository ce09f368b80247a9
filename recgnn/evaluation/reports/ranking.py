"""A closer look at the recommendations on the test part."""

from __future__ import annotations

from typing import Any

import pandas as pd
import torch
from torch import Tensor

from recgnn.evaluation.groups import NUM_GROUPS, as_groups, quantile_groups
from recgnn.evaluation.metrics.grouped import GroupedRecall, UserRankings
from recgnn.evaluation.reports.common import (
    NUM_SAMPLES,
    Report,
    draw,
    flat,
    log_table,
    save_figures,
    save_users,
)


class RankingReport(Report):
    """Look at the test's recommendations.

    Draws recall by user activity and by item popularity; makes a table of sample users with what they liked, what they
    were shown and what of it was right; and writes the metrics of each user.
    """

    def on_test_start(self, trainer, pl_module) -> None:
        data, metrics = trainer.datamodule, pl_module.metrics["test"]
        users, items = data.pairs("train")
        self.k, self.samples = metrics.ks[0], pd.DataFrame()
        user_groups, self.user_labels = quantile_groups(torch.bincount(users, minlength=data.num_users), NUM_GROUPS)
        item_groups, self.item_labels = quantile_groups(torch.bincount(items, minlength=data.num_items), NUM_GROUPS)
        self.recall = GroupedRecall(
            self.k, user_groups, item_groups, len(self.user_labels), len(self.item_labels)
        ).to(pl_module.device)
        self.users = UserRankings(data.num_items, metrics.ks, metrics.per_user).to(pl_module.device)
        none = torch.zeros(0, dtype=torch.long, device=pl_module.device)
        self.users.update(none, none.new_zeros(0, max(metrics.ks)), none, none)  # so that every process has something

    def on_test_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0) -> None:
        for metric in (self.recall, self.users):
            metric.update(batch.users, outputs["items"], batch.label_rows, batch.label_items, outputs.get("ties"))
        if batch_idx == 0 and trainer.is_global_zero:
            self.samples = self._samples(trainer.datamodule.prepared, outputs["items"], batch)

    def _samples(self, prepared: Any, items: Tensor, batch: Any) -> pd.DataFrame:
        def names(rows: Tensor) -> str:
            titles = prepared.items.title(rows.cpu().numpy())
            return " | ".join(map(str, prepared.items.decode(rows.cpu().numpy()) if titles is None else titles))

        users = prepared.users.decode(batch.users[:NUM_SAMPLES].cpu().numpy())
        samples = []
        for row, user in enumerate(users):
            shown = items[row, :10]
            shown = shown[shown < prepared.num_items]
            hits = shown[torch.isin(shown, batch.label_items[batch.label_rows == row])]
            samples.append(
                {
                    "user": str(user),
                    "history": names(batch.seen_items[batch.seen_rows == row][:10]),
                    "recommended": names(shown),
                    "hits": names(hits),
                    "number of hits": hits.numel(),
                }
            )
        return pd.DataFrame(samples)

    def on_test_end(self, trainer, pl_module) -> None:
        recall, (users, values) = flat(self.recall.compute()), self.users.compute()  # all processes take part
        if not trainer.is_global_zero:
            return
        name = f"recall@{self.k}"
        self.groups = {
            "by_activity": as_groups(self.user_labels, recall["by_user_count"], **{name: recall["by_user"]}),
            "by_popularity": as_groups(self.item_labels, recall["by_item_count"], **{name: recall["by_item"]}),
        }
        users, order = users.reshape(-1).cpu().sort()
        raw = trainer.datamodule.prepared.users.decode(users.numpy())
        save_users(self.folder, raw, {metric: value[order] for metric, value in flat(values).items()})
        drawn = {
            f"recall_by_{by}": draw(
                self.groups[f"by_{by}"], name, f"interactions of the {side} in train", f"{name} by {side} {by}"
            )
            for side, by in (("user", "activity"), ("item", "popularity"))
        }
        save_figures(trainer, self.folder, drawn)
        log_table(trainer, "recommendations", self.samples)
