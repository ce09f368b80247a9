"""XSimGCL against its equations with a dense adjacency, node by node."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from recgnn.errors import ConfigError
from recgnn.models import LightGCN, XSimGCL

CLOSE = {"atol": 1e-6, "rtol": 1e-6}  # the operator's weights are float32


def make(small, **options) -> XSimGCL:
    torch.manual_seed(0)
    return XSimGCL(small.users, small.items, 4, init_std=1.0, **options)


def layers_of(model: XSimGCL, small, noise: float) -> list[torch.Tensor]:
    """E^(1) to E^(K), with noise along (1, 1, 1, 1) / 2, as the tests make it."""
    degree = small.adjacency.sum(1).clamp(min=1)
    operator = small.adjacency / degree.outer(degree).sqrt()
    layers = [torch.cat([model.user_embedding.weight, model.item_embedding.weight])]
    for _ in range(model.arguments["num_layers"]):
        e = operator @ layers[-1]
        layers.append(e + noise * e.sign() / 2)
    return layers[1:]


@pytest.fixture
def even_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "rand_like", lambda x: torch.full_like(x, 0.5))


@pytest.mark.parametrize(("num_layers", "layer"), [(1, 1), (2, 1), (3, 2)])
@pytest.mark.parametrize("loss", ["bpr", "softmax"])
def test_training_step(num_layers, layer, loss, small, on_graph, batch_for, naive_loss, even_noise) -> None:
    options = {"noise": 0.3, "temperature": 0.5, "contrast_weight": 0.7}
    training = on_graph(make(small, num_layers=num_layers, contrast_layer=layer, **options), l2=0.0, loss=loss)
    model, batch = training.model, batch_for(training)
    layers = layers_of(model, small, 0.3)
    final = sum(layers) / num_layers
    expected = naive_loss(training, batch, final[: small.users] @ final[small.users :].T, small.counts)
    unit, other = (x / (x.square().sum(1, keepdim=True) + 1e-30).sqrt() for x in (final, layers[layer - 1]))
    for nodes in ({*batch.users.tolist()}, {small.users + i for i in batch.positives.tolist()}):
        terms = []
        for n in nodes:
            weights = {m: torch.exp((unit[n] * other[m]).sum() / 0.5) for m in nodes}
            terms.append(-torch.log(weights[n] / sum(weights.values())))
        expected = expected + 0.7 * sum(terms) / len(terms)
    found = training.training_step(batch, 0)
    assert_close(found, expected, **CLOSE)
    parameters = [model.user_embedding.weight, model.item_embedding.weight]
    for ours, theirs in zip(*(torch.autograd.grad(x, parameters) for x in (found, expected)), strict=True):
        assert_close(ours, theirs, **CLOSE)


def test_recommends_without_noise(small, on_graph) -> None:
    model = on_graph(make(small, num_layers=3)).model
    whole = sum(layers_of(model, small, 0.0)) / 3
    for ours, theirs in zip(model.embeddings(), whole.split([small.users, small.items]), strict=True):
        assert_close(ours, theirs.float().detach(), atol=1e-5, rtol=1e-5)
    users, items = torch.tensor([8, 2]), torch.tensor([1])
    assert_close(model.eval().propagate_rows(users, items)[0], whole[users], **CLOSE)


@pytest.mark.parametrize("l2_on", ["embeddings", "representations"])
def test_without_layer_0_and_contrast_it_is_lightgcn(l2_on, small, on_graph, batch_for) -> None:
    ours = on_graph(make(small, num_layers=2, noise=0.0, contrast_weight=0.0), l2=0.1, l2_on=l2_on)
    theirs = on_graph(LightGCN(small.users, small.items, 4, 2, [0, 0.5, 0.5]), loss="bpr", l2=0.1, l2_on=l2_on)
    theirs.load_state_dict(ours.state_dict())
    batch = batch_for(ours)
    assert_close(ours.training_step(batch, 0), theirs.training_step(batch, 0), **CLOSE)


def test_the_noise_is_drawn_anew(small, on_graph, batch_for) -> None:
    training = on_graph(make(small))
    batch = batch_for(training)
    (one, *_), (two, *_) = (training.model.outputs(batch) for _ in range(2))
    assert not torch.allclose(one, two)
    training.model.eval()
    assert_close(training.model.outputs(batch)[0], training.model.outputs(batch)[0])


def test_a_layer_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match=r"XSimGCL.contrast_layer is 3; expected 1 to 2 \(num_layers\)"):
        XSimGCL(5, 5, 4, num_layers=2, contrast_layer=3)


def test_trains(train) -> None:
    before, after, _ = train(lambda *sizes: XSimGCL(*sizes, 16, noise=0.1, contrast_weight=0.005), lr=0.02)
    assert after > before + 0.05
