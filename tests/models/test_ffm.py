"""The field-aware factorization machine against the double sum, where each pair meets in two vectors."""

from __future__ import annotations

import torch

from recgnn.models import FFM


def test_logit_loss_and_gradient(ctr_model, events, check_event_loss) -> None:
    k, fields = 2, 4
    model = ctr_model(FFM, embedding_dim=k, l2=0.2)
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
