"""What counts metrics over batches and processes: torchmetrics states that keep their own precision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric


class State(Metric):
    """A torchmetrics metric that moves with the module around it but is not cast by it.

    Otherwise a model in bfloat16 would have sums that stop growing at 256.
    """

    full_state_update = False
    is_differentiable = False

    def _apply(self, fn: Callable[[Tensor], Tensor], *args: Any, **kwargs: Any) -> nn.Module:
        def move(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            return moved if moved.dtype == tensor.dtype else tensor.to(moved.device)

        return super()._apply(move, *args, **kwargs)

    def add_sum(self, name: str, *size: int, dtype: torch.dtype = torch.long) -> None:
        """Add a state that is summed over processes, 0 at first."""
        self.add_state(name, torch.zeros(size, dtype=dtype), dist_reduce_fx="sum")

    def add_rows(self, *names: str) -> None:
        """Add states that are lists of tensors, joined over processes."""
        for name in names:
            self.add_state(name, [], dist_reduce_fx="cat")


def joined(rows: list[Tensor] | Tensor) -> Tensor:
    """Join a state of rows, which is one tensor already after a synchronisation."""
    if isinstance(rows, Tensor):
        return rows
    return torch.cat(rows) if rows else torch.zeros(0)
