"""GCN against equation 2 of Kipf & Welling with a dense adjacency."""

from __future__ import annotations

import pytest
import torch
import torch_geometric.nn as pyg
from torch.nn import functional as F
from torch.testing import assert_close

from recgnn.models import GCN

CLOSE = {"atol": 1e-6, "rtol": 1e-6}  # the operator's weights are float32


def make(small, **options) -> GCN:
    torch.manual_seed(0)
    model = GCN(small.users, small.items, 4, **{"layer_dims": [5, 3]} | options)
    for conv in model.convs:
        torch.nn.init.normal_(conv.linear.bias)
    return model


def formula(model: GCN, small) -> tuple[torch.Tensor, torch.Tensor]:
    """H^(l+1) = ReLU(D~^-1/2 (A + I) D~^-1/2 H^(l) W^(l) + b^(l)), the last without ReLU."""
    adjacency = small.adjacency + torch.eye(small.users + small.items)
    scale = torch.diag(adjacency.sum(1) ** -0.5)
    h = torch.cat([model.user_embedding.weight, model.item_embedding.weight])
    layers = [h]
    for number, conv in enumerate(model.convs):
        if number > 0:
            h = h.clamp(min=0)
        h = scale @ adjacency @ scale @ h @ conv.linear.weight.T + conv.linear.bias
        layers.append(h)
    h = torch.cat(layers, 1) if model.readout == "concat" else layers[-1]
    return h[: small.users], h[small.users :]


@pytest.mark.parametrize("readout", ["last", "concat"])
@pytest.mark.parametrize("layer_dims", [[], [4], [5, 3], [4, 4, 4]])
def test_embeddings(readout: str, layer_dims: list[int], small, on_graph) -> None:
    model = on_graph(make(small, readout=readout, layer_dims=layer_dims)).model.eval()
    user, item = formula(model, small)
    for ours, theirs in zip(model.propagate(), (user, item), strict=True):
        assert_close(ours, theirs, **CLOSE)
    for ours, theirs in zip(model.embeddings(), (user, item), strict=True):
        assert_close(ours, theirs.float().detach(), atol=1e-5, rtol=1e-5)
    users, items = torch.tensor([8, 2, 0]), torch.tensor([6, 1])
    for ours, theirs in zip(model.propagate_rows(users, items), (user[users], item[items]), strict=True):
        assert_close(ours, theirs, **CLOSE)
    assert_close(model.score(users), (user @ item.T)[users].float().detach(), atol=1e-5, rtol=1e-5)


def test_equals_two_layers_of_pyg(small, on_graph) -> None:
    model = on_graph(make(small)).model.eval()
    x = torch.cat([model.user_embedding.weight, model.item_embedding.weight])
    for conv in model.convs:
        theirs = pyg.GCNConv(*conv.linear.weight.T.shape).double()
        theirs.lin.weight.data, theirs.bias.data = conv.linear.weight.data, conv.linear.bias.data
        x = theirs(x.relu() if conv is not model.convs[0] else x, small.both_ways)
    assert_close(torch.cat(model.propagate()), x, **CLOSE)


@pytest.mark.parametrize(("loss", "readout"), [("bpr", "last"), ("softmax", "concat")])
def test_training_step_equals_the_unrestricted_formula(loss: str, readout: str, small, on_graph, check_step) -> None:
    training = on_graph(make(small, readout=readout), l2=0.1, loss=loss, num_negatives=2)
    check_step(training, lambda: formula(training.model, small))


def test_dropout_is_off_at_evaluation(small, on_graph) -> None:
    model = on_graph(make(small, dropout=0.5)).model
    first, second = (torch.cat(model.train().propagate()) for _ in range(2))
    assert not torch.allclose(first, second)
    assert_close(torch.cat(model.eval().propagate()), torch.cat(formula(model, small)), **CLOSE)


def test_dropout_falls_on_each_layers_input_but_the_first(small, on_graph) -> None:
    model = on_graph(make(small, dropout=0.5)).model.train()
    adjacency = small.adjacency + torch.eye(small.users + small.items)
    operator = adjacency / adjacency.sum(1).outer(adjacency.sum(1)).sqrt()
    h = torch.cat([model.user_embedding.weight, model.item_embedding.weight])
    first, second = model.convs
    h = (operator @ h @ first.linear.weight.T + first.linear.bias).clamp(min=0)
    torch.manual_seed(3)
    h = torch.cat([F.dropout(h[: small.users], 0.5), F.dropout(h[small.users :], 0.5)])
    torch.manual_seed(3)
    assert_close(torch.cat(model.propagate()), operator @ h @ second.linear.weight.T + second.linear.bias, **CLOSE)


def test_state_has_no_graph_and_can_be_loaded(small, on_graph) -> None:
    model = on_graph(make(small)).model
    assert model.state_dict().keys() == dict(model.named_parameters()).keys()
    torch.manual_seed(1)
    other = on_graph(GCN(small.users, small.items, 4, [5, 3])).model
    other.load_state_dict(model.state_dict())
    for ours, theirs in zip(other.eval().embeddings(), model.eval().embeddings(), strict=True):
        assert_close(ours, theirs)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_trains(precision: str, train) -> None:
    before, after, _ = train(
        lambda *sizes: GCN(*sizes, 16, [16, 16], dropout=0.1), lr=0.02, epochs=15, precision=precision
    )
    assert after > before + 0.05
