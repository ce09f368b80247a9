"""DCN V2 against its cross layers, in parallel with the deep part and before it."""

from __future__ import annotations

import pytest
import torch

from recgnn.models import DCNv2


@pytest.mark.parametrize("structure", ["parallel", "stacked"])
def test_logit_loss_and_gradient(structure, ctr_model, events, check_event_loss) -> None:
    model = ctr_model(DCNv2, embedding_dim=3, num_cross_layers=2, structure=structure, hidden_dims=[4, 3])
    v = model.embedding.weight

    def deep(x: torch.Tensor) -> torch.Tensor:
        for layer in model.mlp:
            if isinstance(layer, torch.nn.Linear):
                x = (layer.weight @ x + layer.bias).clamp(min=0)
        return x

    def logit(ids: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        ids, values = ids.tolist(), values.tolist()
        x0 = torch.cat([sum(v[ids[s]] * values[s] for s in range(6) if events.slots[s] == f) for f in range(4)])
        x = x0
        for layer in model.cross.layers:
            x = x0 * (layer.weight @ x + layer.bias) + x
        last = deep(x) if structure == "stacked" else torch.cat([x, deep(x0)])
        return model.bias + (model.head.weight @ last)[0]

    expected = torch.stack([logit(i, x) for i, x in zip(events.ids, events.values, strict=True)])
    torch.testing.assert_close(model(events.ids, events.values), expected)
    check_event_loss(model, logit, ["embedding.weight"])
