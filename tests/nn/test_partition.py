"""Several processes (gloo) that have the rows of users and items together do what one does."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from recgnn.models import GCN, MF, NGCF, LightGCN
from tests.tools.sharded import ITEMS, USERS, steps, together

SIZES = {"num_users": USERS, "num_items": ITEMS, "embedding_dim": 6}
MODELS = {
    "MF": (partial(MF, **SIZES, biases=True), ("bpr", "softmax", "direct_au")),
    "LightGCN": (partial(LightGCN, **SIZES, num_layers=3, layer_weights="learned"), ("bpr", "softmax", "direct_au")),
    "NGCF": (partial(NGCF, **SIZES, layer_dims=(5, 4), message_dropout=0.0), ("bpr", "softmax")),
    "NGCF-authors": (
        partial(NGCF, **SIZES, layer_dims=(5,), message_dropout=0.0, variant="authors"), ("bpr",)
    ),
    "GCN": (partial(GCN, **SIZES, layer_dims=(5, 4)), ("softmax",)),
}  # fmt: skip


@pytest.fixture(scope="module")
def three() -> dict:
    return together(MODELS, 3)


@pytest.mark.parametrize(("name", "loss"), [(name, loss) for name, (_, losses) in MODELS.items() for loss in losses])
def test_three_processes_learn_what_one_does(three, name, loss) -> None:
    """13 users and 9 items, which three processes cannot share out evenly; one user and one item have no edge."""
    alone, found = steps(MODELS[name][0], loss, None), three[name, loss]
    assert alone.keys() == found.keys() - {"sent"}
    for part, value in alone.items():
        torch.testing.assert_close(found[part], value, rtol=1e-5, atol=1e-6)
