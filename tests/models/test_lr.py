"""Logistic regression against its sum."""

from __future__ import annotations

import torch

from recgnn.models import LR


def test_logit_loss_and_gradient(ctr_model, events, check_event_loss) -> None:
    model = ctr_model(LR)
    w0, w = model.bias, model.linear.weight

    def logit(ids: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        return w0 + sum(w[i, 0] * x for i, x in zip(ids.tolist(), values.tolist(), strict=True))

    expected = torch.stack([logit(i, x) for i, x in zip(events.ids, events.values, strict=True)])
    torch.testing.assert_close(model(events.ids, events.values), expected)
    check_event_loss(model, logit, ["linear.weight"])
