"""Matrix factorisation, with and without biases."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from recgnn.models import MF


def with_biases(small) -> MF:
    torch.manual_seed(0)
    model = MF(small.users, small.items, 4, biases=True, l2=0.1, ks=[3])
    torch.nn.init.normal_(model.user_bias)
    torch.nn.init.normal_(model.item_bias)
    return model


def test_score_is_the_inner_product_and_the_biases(small, on_graph) -> None:
    model = on_graph(with_biases(small))
    p, q = model.user_embedding.weight, model.item_embedding.weight
    expected = torch.zeros(small.users, small.items)
    for u in range(small.users):
        for i in range(small.items):
            expected[u, i] = (p[u] * q[i]).sum() + model.user_bias[u] + model.item_bias[i]
    assert_close(model.score(torch.arange(small.users)), expected.detach(), atol=1e-5, rtol=1e-5)


def test_no_biases_by_default(small) -> None:
    model = MF(small.users, small.items, 4, ks=[3])
    assert dict(model.named_parameters()).keys() == {"user_embedding.weight", "item_embedding.weight"}
    assert all(p.shape[1] == 4 for p in model.propagate())


@pytest.mark.parametrize("loss", ["bpr", "softmax", "bce"])
def test_training_step_with_biases(loss: str, small, on_graph, check_step, batch_for, naive_loss) -> None:
    model = on_graph(with_biases(small))
    model.loss, model.negatives = loss, "in_batch" if loss == "softmax" else "uniform"
    batch = batch_for(model)
    scores = model.user_embedding.weight @ model.item_embedding.weight.T
    scores = scores + model.user_bias[:, None] + model.item_bias
    expected = naive_loss(model, batch, scores, small.counts)
    found = model.batch_loss(*batch)
    assert_close(found, expected, atol=1e-6, rtol=1e-6)
    parameters = list(model.parameters())
    for ours, theirs in zip(
        torch.autograd.grad(found, parameters, allow_unused=True),
        torch.autograd.grad(expected, parameters, allow_unused=True),
        strict=True,
    ):
        assert_close(ours, torch.zeros_like(ours) if theirs is None else theirs, atol=1e-6, rtol=1e-6)


def test_trains_with_biases(train) -> None:
    before, after, _ = train(lambda *sizes: MF(*sizes, 16, biases=True, lr=0.02), epochs=12)
    assert after > before + 0.05


def test_trains_in_bfloat16(train) -> None:
    before, after, _ = train(lambda *sizes: MF(*sizes, 16, lr=0.02), epochs=12, precision="bf16-mixed")
    assert after > before + 0.05
