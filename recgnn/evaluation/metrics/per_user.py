"""Metrics of each user, for comparisons of models over users."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from recgnn.evaluation.metrics.base import OwnPrecision
from recgnn.evaluation.metrics.ctr import aucs
from recgnn.evaluation.metrics.ranking import FORMULAS, judge, of_users


class UserRankings(OwnPrecision, Metric):
    """The accuracy metrics of `RankingMetrics` of each user, over all processes.

    Args:
        ks: the list lengths to report.
        num_items: size of the catalogue.
    """

    full_state_update = False
    is_differentiable = False

    def __init__(self, ks: Sequence[int], num_items: int) -> None:
        super().__init__()
        self.ks, self.num_items = sorted(set(ks)), num_items
        self.formulas = nn.ModuleDict({f"{name}@{k}": FORMULAS[name](k) for name in FORMULAS for k in self.ks})
        for name in ("users", "values"):
            self.add_state(name, [], dist_reduce_fx="cat")

    def update(self, users: Tensor, topk: Tensor, label_rows: Tensor, label_items: Tensor) -> None:
        """Count a block of users, none of them twice; the last three as in `RankingMetrics.update`.

        Shapes: users [B], topk [B, Kmax] with Kmax >= max(ks), label_rows [n], label_items [n].
        """
        block = judge(topk[:, : self.ks[-1]], label_rows, label_items, self.num_items)
        counted = block.label_count > 0
        self.users.append(users[counted])
        self.values.append(of_users(self.formulas, block).float().T[counted])

    def compute(self) -> tuple[Tensor, dict[str, Tensor]]:
        """The users, and every metric by its name: [U], and [U] each."""
        users, values = (dim_zero_cat(x) for x in (self.users, self.values))
        return users, dict(zip(self.formulas, values.unbind(1), strict=True))


def by_group(logits: Tensor, labels: Tensor, groups: Tensor) -> dict[str, Tensor]:
    """What a CTR model is measured by within each group: ``auc`` (NaN where it is of one class), ``logloss``, and how
    many ``rows`` the group has; ``group`` says which, ascending.

    Shapes: logits [n], labels [n], groups [n] integers; each [G].
    """
    group, which, rows = groups.unique(return_inverse=True, return_counts=True)
    loss = nn.functional.binary_cross_entropy_with_logits(logits.double(), labels.double(), reduction="none")
    loss = torch.zeros(group.numel(), dtype=torch.float64, device=loss.device).index_add(0, which, loss) / rows
    return {"group": group, "auc": aucs(logits, labels, groups)[0], "logloss": loss, "rows": rows}
