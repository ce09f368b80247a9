"""LightGCN against its equations with a dense adjacency, and against PyG's own model."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close
from torch_geometric import nn as pyg

from recgnn.errors import ConfigError
from recgnn.models import LightGCN
from recgnn.nn.folding import Entries
from recgnn.nn.losses import BPR, SampledSoftmax

CLOSE = {"atol": 1e-6, "rtol": 1e-6}  # the operator's weights are float32
WEIGHTS = ["uniform", "learned", [0.5, 0.25, -0.25, 1.0]]


def make(small, **options) -> LightGCN:
    torch.manual_seed(0)
    model = LightGCN(small.users, small.items, 4, **{"num_layers": 3} | options)
    if model.layer_logits is not None:
        torch.nn.init.normal_(model.layer_logits)
    return model


def formula(model: LightGCN, small, layer_weights="uniform") -> tuple[torch.Tensor, torch.Tensor]:
    """Equations 7-8: E = alpha_0 E^(0) + ... + alpha_K A~^K E^(0), A~ = D^-1/2 A D^-1/2."""
    degree = small.adjacency.sum(1).clamp(min=1)
    operator = small.adjacency / degree.outer(degree).sqrt()
    num_layers = model.arguments["num_layers"]
    if layer_weights == "uniform":
        alpha = [1 / (num_layers + 1)] * (num_layers + 1)
    elif layer_weights == "learned":
        alpha = [a / model.layer_logits.exp().sum() for a in model.layer_logits.exp()]
    else:
        alpha = layer_weights
    layer = torch.cat([model.user_embedding.weight, model.item_embedding.weight])
    out = alpha[0] * layer
    for weight in alpha[1:]:
        layer = operator @ layer
        out = out + weight * layer
    return out[: small.users], out[small.users :]


@pytest.mark.parametrize("layer_weights", WEIGHTS, ids=str)
def test_embeddings(layer_weights, small, on_graph) -> None:
    model = on_graph(make(small, layer_weights=layer_weights)).model.eval()
    user, item = formula(model, small, layer_weights)
    for ours, theirs in zip(model.embeddings(), (user, item), strict=True):
        assert_close(ours, theirs.float().detach(), atol=1e-5, rtol=1e-5)
    users, items = torch.tensor([8, 2, 0]), torch.tensor([6, 1])
    for ours, theirs in zip(model.propagate_rows(users, items), (user[users], item[items]), strict=True):
        assert_close(ours, theirs, **CLOSE)
    assert_close(model.score(users), (user @ item.T)[users].float().detach(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("num_layers", [0, 1, 4])
def test_number_of_layers(num_layers: int, small, on_graph, check_step) -> None:
    training = on_graph(make(small, num_layers=num_layers), l2=0.1)
    model = training.model
    assert_close(torch.cat(model.propagate()), torch.cat(formula(model, small)), **CLOSE)
    check_step(training, lambda: formula(model, small))


@pytest.mark.parametrize("layer_weights", WEIGHTS, ids=str)
@pytest.mark.parametrize("loss", ["bpr", "softmax"])
def test_training_step_equals_the_unrestricted_formula(layer_weights, loss: str, small, on_graph, check_step) -> None:
    training = on_graph(make(small, layer_weights=layer_weights), l2=0.1, loss=loss, num_negatives=2)
    check_step(training, lambda: formula(training.model, small, layer_weights))


def test_shared_negatives(small, on_graph, check_step) -> None:
    training = on_graph(make(small), l2=0.1, loss="softmax", negatives="shared", num_negatives=5)
    check_step(training, lambda: formula(training.model, small))


def test_equals_pyg(small, on_graph, batch_for) -> None:
    """The same weights in PyG's LightGCN give the same embeddings, loss and gradient."""
    training = on_graph(make(small), loss="bpr", l2=0.1)
    model = training.model
    theirs = pyg.LightGCN(small.users + small.items, 4, num_layers=3).double()
    theirs.embedding.weight.data = torch.cat([model.user_embedding.weight, model.item_embedding.weight]).detach()
    assert_close(torch.cat(model.propagate()).detach(), theirs.get_embedding(small.both_ways).detach(), **CLOSE)

    batch = batch_for(training)
    users, positives, negatives = batch.users, small.users + batch.positives, small.users + batch.negatives[:, 0]
    positive, negative = (theirs(small.both_ways, torch.stack([users, items])) for items in (positives, negatives))
    loss = theirs.recommendation_loss(positive, negative, node_id=None, lambda_reg=0.0)
    found = training.data_loss(batch, model.outputs(batch))
    assert_close(found, loss, **CLOSE)
    (expected,) = torch.autograd.grad(loss, theirs.embedding.weight, retain_graph=True)
    ours = torch.autograd.grad(found, [model.user_embedding.weight, model.item_embedding.weight])
    assert_close(torch.cat(ours), expected, **CLOSE)

    nodes = torch.cat([users, positives, negatives])  # half of PyG's lambda: ours has the authors' 1/2
    whole = theirs.recommendation_loss(positive, negative, nodes, lambda_reg=training.l2 / 2)
    assert_close(training.training_step(batch, 0), whole, **CLOSE)


def test_uniform_weights_are_the_papers(small) -> None:
    assert_close(make(small, num_layers=3).alpha, torch.full((4,), 0.25))
    assert_close(LightGCN(9, 7, 4, 3, layer_weights="learned").alpha.detach(), torch.full((4,), 0.25))


def test_whole_numbers_as_layer_weights(small, on_graph) -> None:
    model = on_graph(make(small, num_layers=2, layer_weights=[1, 0, 0])).model
    assert_close(model.propagate()[0], model.user_embedding.weight)
    user, _ = model.propagate_rows(torch.tensor([1]), torch.tensor([1]))
    assert_close(user, model.user_embedding.weight[[1]])


def test_learned_weights_are_learned(train) -> None:
    before, after, trainer = train(lambda *sizes: LightGCN(*sizes, 16, layer_weights="learned"), lr=0.02)
    alpha = trainer.lightning_module.model.alpha
    assert after > before + 0.05
    assert alpha.sum().item() == pytest.approx(1) and (alpha - 1 / 3).abs().max() > 0.01


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layer_weights": [0.5, 0.5]}, "3 numbers"),
        ({"layer_weights": "equal"}, "layer_weights is 'equal'; expected uniform or learned or a list"),
        ({"num_layers": -1}, "num_layers is -1; expected a whole number from 0"),
    ],
)
def test_mistakes(options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LightGCN(5, 5, 4, **options)


@pytest.mark.parametrize("layer_weights", WEIGHTS, ids=str)
def test_state_has_no_graph_and_can_be_loaded(layer_weights, small, on_graph) -> None:
    model = on_graph(make(small, layer_weights=layer_weights)).model
    assert model.state_dict().keys() == dict(model.named_parameters()).keys()
    other = on_graph(LightGCN(small.users, small.items, 4, 3, layer_weights=layer_weights)).model
    other.load_state_dict(model.state_dict())
    for ours, theirs in zip(other.embeddings(), model.embeddings(), strict=True):
        assert_close(ours, theirs)


@pytest.mark.parametrize(("loss", "precision"), [("softmax", "32-true"), ("bpr", "bf16-mixed")])
def test_trains(loss: str, precision: str, train) -> None:
    before, after, _ = train(lambda *sizes: LightGCN(*sizes, 16), loss=loss, lr=0.02, precision=precision)
    assert after > before + 0.05


@pytest.mark.parametrize("layer_weights", WEIGHTS, ids=str)
def test_shares_are_the_terms_of_the_sum(layer_weights, small, on_graph) -> None:
    """e_u = alpha_0 x_u + sum_j (d_u d_j)^-1/2 sum_k alpha_k x_j^(k-1), each term times e_i."""
    model = on_graph(make(small, layer_weights=layer_weights)).model.eval()
    degree = small.adjacency.sum(1)
    operator = small.adjacency / degree.clamp(min=1).outer(degree.clamp(min=1)).sqrt()
    layers = [torch.cat([model.user_embedding.weight, model.item_embedding.weight]).detach()]
    layers += [operator @ layers[0], operator @ operator @ layers[0]]
    targets, scores = torch.tensor([5, 0]), model.score(torch.arange(small.users))
    for user in range(small.users - 1):
        own = small.edges[1][small.edges[0] == user]
        found = model.shares(user, Entries(torch.zeros_like(own), own, torch.ones(len(own)), 1), targets)
        rest = model.alpha[0] * model.user_embedding.weight[user] @ model.embeddings()[1][targets].double().T
        assert_close(found.double().sum(0) + rest.detach(), scores[user, targets].double(), atol=1e-5, rtol=1e-5)
        for j, row in zip(own.tolist(), found, strict=True):
            sent = sum(a * x[small.users + j] for a, x in zip(model.alpha[1:], layers, strict=True))
            sent = sent / (degree[user] * degree[small.users + j]).sqrt()
            expected = torch.stack([sent @ model.embeddings()[1][i].double() for i in targets])
            assert_close(row.double(), expected.detach(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("correction", "num_layers"), [(1.0, 2), (0.5, 2), (1.0, 0), (1.0, 1), (1.0, 3)])
def test_scores_start_at_the_log_of_the_frequencies(small, correction: float, num_layers: int) -> None:
    """Of the items for each user, but for a constant of the user; the other coordinates start as they did."""
    model = make(small, num_layers=num_layers, init_std=0.0)
    model.set_graph(small.edges)
    counts = torch.bincount(small.edges[1], minlength=small.items)
    model.start_at(counts, SampledSoftmax(2.0, correction))
    scores = model.score(torch.arange(small.users))
    expected = 2 * correction * counts.clamp(min=1).log()
    assert_close(scores - scores[:, :1], (expected - expected[0]).expand_as(scores), atol=1e-2, rtol=1e-2)
    assert not model.user_embedding.weight[:, 1:].any() and not model.item_embedding.weight[:, 1:].any()


def test_scores_start_at_the_frequencies_once_and_with_a_loss_that_corrects_for_them(small) -> None:
    counts = torch.bincount(small.edges[1], minlength=small.items)
    for options, loss in (({"score_init": "zero"}, SampledSoftmax()), ({}, BPR()), ({}, SampledSoftmax(1.0, 0.0))):
        model = make(small, init_std=0.0, **options)
        model.set_graph(small.edges)
        model.start_at(counts, loss)
        assert not model.item_embedding.weight.any()
    model.sample([2, 2, 2])
    model.start_at(counts, SampledSoftmax())
    assert not model.item_embedding.weight.any()
    model.fan_out = None
    model.start_at(counts, SampledSoftmax())
    with torch.no_grad():
        model.item_embedding.weight.fill_(0.5)
    model.start_at(counts, SampledSoftmax())
    assert (model.item_embedding.weight == 0.5).all()
    loaded = make(small, init_std=0.0)
    loaded.set_graph(small.edges)
    loaded.load_state_dict(model.state_dict())
    loaded.start_at(counts, SampledSoftmax())
    assert (loaded.item_embedding.weight == 0.5).all(), "loaded weights stay"


def test_what_cannot_start_at_the_frequencies_starts_as_ever(small) -> None:
    class Own(LightGCN):
        def propagate(self):
            return self.user_embedding.weight, self.item_embedding.weight

    counts = torch.bincount(small.edges[1], minlength=small.items)
    without = make(small, num_layers=2, layer_weights=[0.0, 0.5, 0.5], init_std=0.0)
    own = Own(small.users, small.items, 4, init_std=0.0)
    alike = make(small, init_std=0.0)
    for model, found in ((without, counts), (own, counts), (alike, torch.full_like(counts, 7))):
        model.set_graph(small.edges)
        model.start_at(found, SampledSoftmax())
        assert not model.item_embedding.weight.any() and not model.user_embedding.weight.any()
