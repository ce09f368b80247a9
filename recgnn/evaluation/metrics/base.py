"""What metrics of sums are made of, and groups to report them by."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from recgnn.errors import ConfigError


class OwnPrecision:
    """Moves with the module around it but is not cast by it: bfloat16 sums stop growing at 256."""

    def _apply(self, fn: Callable[[Tensor], Tensor], *args: Any, **kwargs: Any) -> nn.Module:
        def move(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            return moved if moved.dtype == tensor.dtype else tensor.to(moved.device)

        return super()._apply(move, *args, **kwargs)


class SumMetric(OwnPrecision, Metric):
    """A metric whose state is sums, over batches and over processes."""

    full_state_update = False
    is_differentiable = False

    def add_sum(self, name: str, *size: int, dtype: torch.dtype = torch.long) -> None:
        """A sum of that name and shape, 0 at first."""
        self.add_state(name, torch.zeros(size, dtype=dtype), dist_reduce_fx="sum")


def quantile_groups(counts: Tensor, num_groups: int) -> tuple[Tensor, list[str]]:
    """Cut users or items into groups of about equal size by their train count.

    Equal counts share a group, so with many ties there may be fewer groups than asked for.

    Returns:
        The group of every entry, smallest counts first, and each group's label, such as "1-12".

    Shapes: counts [n] -> group [n].
    """
    if num_groups < 1:
        raise ConfigError(f"number of groups: found {num_groups}, expected 1 or more")
    values, which, sizes = counts.long().unique(return_inverse=True, return_counts=True)
    middle = sizes.cumsum(0).double() - sizes / 2  # of the ranks that share a value
    wanted = (middle / max(counts.numel(), 1) * num_groups).long()
    groups, of_value = wanted.unique(return_inverse=True)
    spans = [values[of_value == g].tolist() for g in range(groups.numel())]
    labels = [f"{span[0]}-{span[-1]}" if len(span) > 1 else f"{span[0]}" for span in spans]
    return of_value[which], labels
