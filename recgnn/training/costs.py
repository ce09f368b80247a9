"""What training on several processes costs: bytes that each sends in a step, and bytes of what it holds."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

BYTES, COPIES = 4, 4  # of a float; of a parameter: itself, its gradient and Adam's two moments


class Costs(NamedTuple):
    """Bytes that a process sends in a step, beside those for the batch's own rows, and bytes that it holds."""

    sent: float
    held: float


def costs(model: Any, edge_index: Tensor, world: int) -> dict[str, Costs]:
    """Compute the costs of a model of users and items on some processes, by strategy.

    `ddp` holds all rows, their gradients, Adam's moments and a layer, and sums the gradient of all rows (a ring sends
    2 (N - 1) / N of it). `sharded` holds an N-th of them and the rows of a layer that arrive from one other process; it
    sends, for each product with the adjacency, forward and backward, the rows that the others' edges touch.

    Args:
        model: with `layer_widths`.
        edge_index: the training graph, [2, E].
        world: N.
    """
    rows = {"user": model.num_users, "item": model.num_items}
    parameters = sum(p.numel() for p in model.parameters())
    width = max([model.user_embedding.embedding_dim, *model.layer_widths])
    layer = sum(rows.values()) * width if model.layer_widths else 0
    halo = halo_rows(edge_index, rows["user"], rows["item"], world) if model.layer_widths else 0.0
    ring = 2 * (world - 1) / world
    own = sum(x.numel() for side in rows for x in model.own_rows(side).values())
    held = COPIES * parameters + layer, (COPIES * own + layer) / world + COPIES * (parameters - own)
    arriving = halo * width / max(1, world - 1)
    return {
        "ddp": Costs(BYTES * ring * parameters, BYTES * held[0]),
        "sharded": Costs(
            BYTES * (2 * halo * sum(model.layer_widths) + ring * (parameters - own)), BYTES * (held[1] + arriving)
        ),
    }


def halo_rows(edge_index: Tensor, num_users: int, num_items: int, world: int) -> float:
    """Count the rows that a process sends to the others for one product, in the mean: those of its users (items) whose
    items (users) are others'."""
    users, items = edge_index
    found = 0
    for rows, others, total in ((items, users, num_items), (users, items, num_users)):
        touched = torch.zeros(world, total, dtype=torch.bool, device=rows.device)
        touched[others % world, rows] = True
        of_others = torch.arange(total, device=rows.device) % world != torch.arange(world, device=rows.device)[:, None]
        found += int((touched & of_others).sum())
    return found / world


def told_costs(model: Any, edge_index: Tensor, world: int) -> str:
    """Tell the costs in one line."""
    named = [
        f"{name} sends {own.sent / 1e6:,.1f} MB a step and holds {own.held / 1e6:,.1f} MB"
        for name, own in costs(model, edge_index, world).items()
    ]
    return (
        f"{world} processes: of each, --trainer.strategy {'; '.join(named)} (rows, gradients, Adam's moments, a layer; "
        "sent beside the batch's rows)"
    )
