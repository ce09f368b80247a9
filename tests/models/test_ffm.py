"""The field-aware factorization machine against the double sum, where each pair meets in two vectors."""

from __future__ import annotations

import pytest
import torch

from recgnn.models import FFM


def test_logit_loss_and_gradient(ctr_model, events, check_event_loss) -> None:
    k, fields = 2, 4
    model = ctr_model(FFM, embedding_dim=k)
    w, v = model.linear.weight, model.embedding.weight
    assert v.shape == (17, fields * k)

    def vector(feature: int, field: int) -> torch.Tensor:
        return v[feature, field * k : (field + 1) * k]

    def logit(ids: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        ids, values, slots = ids.tolist(), values.tolist(), events.slots
        total = model.bias + sum(w[i, 0] * x for i, x in zip(ids, values, strict=True))
        for a in range(len(ids)):
            for b in range(a + 1, len(ids)):
                pair = (vector(ids[a], slots[b]) * vector(ids[b], slots[a])).sum()
                total = total + pair * values[a] * values[b]
        return total

    expected = torch.stack([logit(i, x) for i, x in zip(events.ids, events.values, strict=True)])
    torch.testing.assert_close(model(events.ids, events.values), expected)
    check_event_loss(model, logit, ["linear.weight", "embedding.weight"])


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_half_precision_stays_near(kind) -> None:
    """Large vectors and many values of one field, as for the factorization machine."""
    torch.manual_seed(0)
    slots = [0] * 30 + [1]
    model = FFM([40, 5], slots, embedding_dim=4)
    torch.nn.init.normal_(model.embedding.weight, 4.0, 0.1)
    torch.nn.init.zeros_(model.linear.weight)
    model = model.to(kind)
    ids = torch.cat([torch.randint(40, (8, 30)), 40 + torch.randint(5, (8, 1))], 1)
    v = model.embedding.weight.double().unflatten(1, (2, 4))[ids]
    exact = torch.zeros(8, dtype=torch.float64)
    for a in range(31):
        for b in range(a + 1, 31):
            exact += (v[:, a, slots[b]] * v[:, b, slots[a]]).sum(1)
    assert ((model(ids).double() - exact).abs() / exact).max() < 2e-2


def test_one_feature_a_field() -> None:
    """Values are multiplied in with the pairs: against the double sum."""
    torch.manual_seed(0)
    model = FFM([4, 5, 2], embedding_dim=3).double()
    for table in model.tables():
        torch.nn.init.normal_(table.weight)
    ids, x = torch.tensor([[1, 6, 9], [3, 8, 10]]), torch.randn(2, 3, dtype=torch.float64)
    v = model.embedding.weight.view(11, 3, 3)
    expected = []
    for row, values in zip(ids.tolist(), x, strict=True):
        total = model.bias + sum(model.linear.weight[i, 0] * value for i, value in zip(row, values, strict=True))
        for a in range(3):
            for b in range(a + 1, 3):
                total = total + v[row[a], b] @ v[row[b], a] * values[a] * values[b]
        expected.append(total)
    expected = torch.stack(expected)
    torch.testing.assert_close(model(ids, x), expected)
    gradients = [torch.autograd.grad(y.sin().sum(), list(model.parameters())) for y in (model(ids, x), expected)]
    torch.testing.assert_close(*gradients)
