"""Users and items in groups, and what is known of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from recgnn.errors import ConfigError

NUM_GROUPS = 5  # of users by activity, of items by popularity
Group = dict[str, Any]


def quantile_groups(counts: Tensor, num_groups: int) -> tuple[Tensor, list[str]]:
    """Cut users or items into groups of about equal size by their number of training interactions.

    Equal counts share a group, so with many ties there may be fewer groups than asked for.

    Returns:
        The group of every entry, smallest counts first, and each group's label.

    Raises:
        ConfigError: If fewer than one are asked for.

    Shapes: counts [n] -> group [n].

    >>> import torch
    >>> quantile_groups(torch.tensor([5, 1, 9, 2]), 2)
    (tensor([1, 0, 1, 0]), ['1-2', '5-9'])
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


def as_groups(labels: Sequence[str], counts: Tensor, **values: Tensor) -> list[Group]:
    """Make a record of each group: its label, how many rows it stands on, and its values; None where it is empty.

    Shapes: counts [G], values [G] each.
    """
    columns = {name: value.tolist() for name, value in values.items()}
    return [
        {"group": label, "rows": int(n)} | {name: column[i] if n else None for name, column in columns.items()}
        for i, (label, n) in enumerate(zip(labels, counts.tolist(), strict=True))
    ]
