"""The factorization machine against the double sum over pairs of features, those within a field included."""

from __future__ import annotations

import pytest
import torch

from recgnn.models import FM
from recgnn.nn.embedding import FieldEmbedding
from recgnn.nn.vectors import EventVectors, pairs_of


@pytest.mark.parametrize("dim", [3, 16])  # the larger, the more fields have few rows for it
def test_logit_loss_and_gradient(dim, ctr_model, events, check_event_loss) -> None:
    model = ctr_model(FM, embedding_dim=dim)
    w, v = model.linear.weight, model.embedding.weight

    def logit(ids: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        ids, values = ids.tolist(), values.tolist()
        total = model.bias + sum(w[i, 0] * x for i, x in zip(ids, values, strict=True))
        for a in range(len(ids)):
            for b in range(a + 1, len(ids)):
                total = total + (v[ids[a]] * v[ids[b]]).sum() * values[a] * values[b]
        return total

    expected = torch.stack([logit(i, x) for i, x in zip(events.ids, events.values, strict=True)])
    torch.testing.assert_close(model(events.ids, events.values), expected)
    check_event_loss(model, logit, ["linear.weight", "embedding.weight"])


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_half_precision_does_not_cancel(kind) -> None:
    """Large equal vectors and small differences: squares of sums and sums of squares agree in all but the end."""
    torch.manual_seed(0)
    ids = torch.arange(64)[:, None] + 64 * torch.arange(30)
    table = FieldEmbedding(64 * 30, 8)
    torch.nn.init.normal_(table.weight, 4.0, 0.1)
    table = table.to(kind)
    x = table.weight[ids].detach()
    exact = x.double()
    exact = sum((exact[:, a] * exact[:, b]).sum(1) for a in range(30) for b in range(a + 1, 30))
    found = pairs_of(EventVectors([64] * 30, list(range(30)), 8)([table], ids, None)[0]).double()
    half = (0.5 * (x.sum(1).square() - x.square().sum(1)).sum(1)).double()
    assert ((found - exact).abs() / exact).max() < 1e-5
    assert not ((half - exact).abs() / exact).max() < 1e-3  # what it would be otherwise
