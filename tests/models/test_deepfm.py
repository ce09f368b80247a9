"""DeepFM against the factorization machine's double sum and the deep part layer by layer."""

from __future__ import annotations

import pytest
import torch

from recgnn.models import DeepFM


@pytest.mark.parametrize("dim", [3, 16])  # the larger, the more fields have few rows for it
def test_logit_loss_and_gradient(dim, ctr_model, events, check_event_loss) -> None:
    model = ctr_model(DeepFM, embedding_dim=dim, hidden_dims=[4, 3], activation="tanh")
    w, v = model.linear.weight, model.embedding.weight
    layers = [layer for layer in model.mlp if isinstance(layer, torch.nn.Linear)]

    def logit(ids: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        ids, values = ids.tolist(), values.tolist()
        total = model.bias + sum(w[i, 0] * x for i, x in zip(ids, values, strict=True))
        for a in range(len(ids)):
            for b in range(a + 1, len(ids)):
                total = total + (v[ids[a]] * v[ids[b]]).sum() * values[a] * values[b]
        fields = [sum(v[ids[s]] * values[s] for s in range(6) if events.slots[s] == f) for f in range(4)]
        x = torch.cat(fields)
        for layer in layers[:-1]:
            x = torch.tanh(layer.weight @ x + layer.bias)
        return total + (layers[-1].weight @ x + layers[-1].bias)[0]

    expected = torch.stack([logit(i, x) for i, x in zip(events.ids, events.values, strict=True)])
    torch.testing.assert_close(model(events.ids, events.values), expected)
    check_event_loss(model, logit, ["linear.weight", "embedding.weight"])
