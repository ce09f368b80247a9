"""A closer look at the recommendations on the test part."""

from __future__ import annotations

from typing import Any

import torch
from lightning import LightningModule, Trainer

from recgnn.evaluation.metrics.grouped import GroupedRecall, UserRankings, quantile_groups
from recgnn.evaluation.reports.common import (
    NUM_GROUPS,
    NUM_SAMPLES,
    Report,
    as_groups,
    draw,
    log_table,
    save_figures,
    save_users,
)


class RecommendationReport(Report):
    """Looks at the test's recommendations: recall by user activity and by item popularity as figures, a table of
    sample users with what they liked, what they were shown and what of it was right, and the metrics of each user."""

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        data = trainer.datamodule
        users, items = data.pairs("train")
        self.k, self.samples = pl_module.ks[0], []
        user_groups, self.user_labels = quantile_groups(torch.bincount(users, minlength=data.num_users), NUM_GROUPS)
        item_groups, self.item_labels = quantile_groups(torch.bincount(items, minlength=data.num_items), NUM_GROUPS)
        self.recall = GroupedRecall(
            self.k, user_groups, item_groups, len(self.user_labels), len(self.item_labels)
        ).to(pl_module.device)
        self.users = UserRankings(data.num_items, pl_module.ks, pl_module.evaluation.metrics['test'].per_user).to(pl_module.device)
        nobody = users.new_zeros(0, device=pl_module.device)  # a process without a user has something to gather
        self.users.update(nobody, nobody.new_zeros(0, max(pl_module.ks)), nobody, nobody)

    def on_test_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0) -> None:
        for metric in (self.recall, self.users):
            metric.update(batch.users, outputs["items"], batch.label_rows, batch.label_items)
        if batch_idx == 0 and trainer.is_global_zero:
            self.samples = self._samples(trainer.datamodule.prepared, outputs["items"], batch)

    def _samples(self, prepared, items: torch.Tensor, batch) -> list[dict[str, Any]]:
        def names(rows: torch.Tensor) -> list[str]:
            titles = prepared.items.title(rows.cpu().numpy())
            return [str(x) for x in (prepared.items.decode(rows.cpu().numpy()) if titles is None else titles)]

        samples = []
        for row in range(min(NUM_SAMPLES, batch.users.numel())):
            right = batch.label_items[batch.label_rows == row]
            shown = items[row, :10]
            shown = shown[shown < prepared.num_items]
            samples.append(
                {
                    "user": str(prepared.users.decode(batch.users[row : row + 1].cpu().numpy())[0]),
                    "history": " | ".join(names(batch.seen_items[batch.seen_rows == row][:10])),
                    "recommended": " | ".join(names(shown)),
                    "hits": " | ".join(names(shown[torch.isin(shown, right)])),
                    "number of hits": int(torch.isin(shown, right).sum()),
                }
            )
        return samples

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # all processes take part; torchmetrics makes a scalar of a single group or user
        values = {k: v.reshape(-1).tolist() for k, v in self.recall.compute().items()}
        name = f"recall@{self.k}"
        self.groups = {
            "by_activity": as_groups(self.user_labels, values["by_user_count"], **{name: values["by_user"]}),
            "by_popularity": as_groups(self.item_labels, values["by_item_count"], **{name: values["by_item"]}),
        }
        users, of_users = self.users.compute()
        if not trainer.is_global_zero:
            return
        users, order = users.reshape(-1).sort()
        of_users = {metric: value.reshape(-1)[order] for metric, value in of_users.items()}
        save_users(self.folder, trainer.datamodule.prepared.users.decode(users.cpu().numpy()), of_users)
        drawn = {
            "recall_by_activity": draw(
                self.groups["by_activity"], name, "interactions of the user in train", f"{name} by user activity"
            ),
            "recall_by_popularity": draw(
                self.groups["by_popularity"], name, "interactions of the item in train", f"{name} by item popularity"
            ),
        }
        save_figures(trainer, self.folder, drawn)
        log_table(trainer, "recommendations", self.samples)
