"""NGCF against the paper's equations node by node, and against what the authors' code computes."""

from __future__ import annotations

from math import sqrt

import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from recgnn.models import GCN, NGCF
from recgnn.nn.folding import Entries

CLOSE = {"atol": 1e-6, "rtol": 1e-6}  # the operator's weights are float32
VARIANTS = ["paper", "authors"]


def make(small, **options) -> NGCF:
    torch.manual_seed(0)
    options = {"layer_dims": [5, 3], "message_dropout": 0.0} | options
    model = NGCF(small.users, small.items, 4, **options)
    for embedding in (model.user_embedding, model.item_embedding):
        torch.nn.init.normal_(embedding.weight)  # large enough for both sides of LeakyReLU
    return model


def leaky(x: torch.Tensor, slope: float) -> torch.Tensor:
    return torch.where(x > 0, x, slope * x)


def paper(model: NGCF, small, kept: list[torch.Tensor] | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Equations 3-4 and 9, node by node; `kept`: the factor of each node as a sender, per layer."""
    near = [row.nonzero().squeeze(1).tolist() for row in small.adjacency]
    e = torch.cat([model.user_embedding.weight, model.item_embedding.weight])
    layers = [e]
    for number, conv in enumerate(model.convs):
        w1, w2, rows = conv.linear_sum.weight, conv.linear_product.weight, []
        for u in range(e.shape[0]):
            total = w1 @ e[u]
            for i in near[u]:
                sent = e[i] if kept is None else kept[number][i] * e[i]
                total = total + (w1 @ sent + w2 @ (sent * e[u])) / sqrt(len(near[u]) * len(near[i]))
            rows.append(leaky(total, 0.01))
        e = torch.stack(rows)
        layers.append(e)
    e = torch.cat(layers, 1)
    return e[: small.users], e[small.users :]


def authors(model: NGCF, small) -> tuple[torch.Tensor, torch.Tensor]:
    """`_create_ngcf_embed` of the published code, with D^-1 (A + I)."""
    adjacency = small.adjacency + torch.eye(small.users + small.items)
    adjacency = adjacency / adjacency.sum(1, keepdim=True)
    ego = torch.cat([model.user_embedding.weight, model.item_embedding.weight])
    layers = [ego]
    for conv in model.convs:
        side = adjacency @ ego
        total = leaky(side @ conv.linear_sum.weight.T + conv.linear_sum.bias, 0.2)
        product = leaky((ego * side) @ conv.linear_product.weight.T + conv.linear_product.bias, 0.2)
        ego = total + product
        layers.append(ego / ego.square().sum(1, keepdim=True).sqrt())
    ego = torch.cat(layers, 1)
    return ego[: small.users], ego[small.users :]


def formula(model: NGCF, small) -> tuple[torch.Tensor, torch.Tensor]:
    return (paper if model.variant == "paper" else authors)(model, small)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("layer_dims", [[], [4], [5, 3], [4, 4, 4]])
def test_embeddings(variant: str, layer_dims: list[int], small, on_graph) -> None:
    model = on_graph(make(small, variant=variant, layer_dims=layer_dims)).model.eval()
    user, item = formula(model, small)
    assert user.shape[1] == 4 + sum(layer_dims)
    for ours, theirs in zip(model.propagate(), (user, item), strict=True):
        assert_close(ours, theirs, **CLOSE)
    users, items = torch.tensor([8, 2, 0]), torch.tensor([6, 1])
    for ours, theirs in zip(model.propagate_rows(users, items), (user[users], item[items]), strict=True):
        assert_close(ours, theirs, **CLOSE)
    assert_close(model.score(users), (user @ item.T)[users].float().detach(), atol=1e-5, rtol=1e-5)


def test_scores_by_cosine(small, on_graph) -> None:
    """In training, in ranking, and of a user who is folded in."""
    model = on_graph(make(small, normalize=True)).model.eval()
    user, item = (e / e.square().sum(1, keepdim=True).sqrt() for e in paper(model, small))
    users, items = torch.tensor([8, 2, 0]), torch.tensor([6, 1])
    for ours, theirs in zip(model.propagate_rows(users, items), (user[users], item[items]), strict=True):
        assert_close(ours, theirs, **CLOSE)
    assert_close(model.score(users), (user @ item.T)[users].float().detach(), atol=1e-5, rtol=1e-5)
    own = small.edges[1][small.edges[0] == 2]
    rows = {"user_embedding.weight": model.user_embedding.weight[[2]]}
    entries = Entries(torch.zeros_like(own), own, torch.ones(len(own)), 1)
    assert_close(model.represent_users(rows, entries), user[[2]], atol=1e-5, rtol=1e-5, check_dtype=False)


def test_the_variants_differ(small, on_graph) -> None:
    models = [on_graph(make(small, variant=v)).model for v in VARIANTS]
    assert not torch.allclose(models[0].propagate()[0], models[1].propagate()[0], atol=0.1)
    assert [len(list(m.convs[0].parameters())) for m in models] == [2, 4], "only the authors have biases"


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("loss", ["bpr", "softmax"])
def test_training_step_equals_the_unrestricted_formula(variant: str, loss: str, small, on_graph, check_step) -> None:
    def concatenated(batch, user: torch.Tensor, item: torch.Tensor) -> torch.Tensor:
        negatives = [] if batch.negatives is None else batch.negatives.flatten().tolist()
        rows = [user[u] for u in batch.users.tolist()] + [item[i] for i in batch.positives.tolist() + negatives]
        return sum(r.square().sum() for r in rows) / 2 / batch.users.numel()

    training = on_graph(make(small, variant=variant), l2=0.1, loss=loss, num_negatives=2)
    check_step(training, lambda: formula(training.model, small), None if variant == "paper" else concatenated)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("dropout", [{"message_dropout": 0.5}, {"node_dropout": 0.5}])
def test_dropout_is_off_at_evaluation(variant: str, dropout: dict, small, on_graph) -> None:
    model = on_graph(make(small, variant=variant, **dropout)).model
    first, second = (torch.cat(model.train().propagate()) for _ in range(2))
    assert not torch.allclose(first, second)
    assert_close(torch.cat(model.eval().propagate()), torch.cat(formula(model, small)), **CLOSE)


def test_message_dropout_falls_on_a_layers_output(small, on_graph) -> None:
    model = on_graph(make(small, layer_dims=[5], message_dropout=0.4)).model.train()
    user, item = paper(model, small)
    torch.manual_seed(3)
    expected = [torch.cat([e[:, :4], F.dropout(e[:, 4:], 0.4)], 1) for e in (user, item)]
    torch.manual_seed(3)
    assert_close(torch.cat(model.propagate()), torch.cat(expected), **CLOSE)


def test_node_dropout_silences_senders(small, on_graph) -> None:
    model = on_graph(make(small, node_dropout=0.5)).model.train()
    torch.manual_seed(3)
    ones = [torch.ones(n, 1, dtype=torch.float64) for n in (small.users, small.items)]
    kept = [torch.cat([F.dropout(o, 0.5) for o in ones]) for _ in model.convs]
    assert set(kept[0].flatten().tolist()) == {0.0, 2.0}
    torch.manual_seed(3)
    assert_close(torch.cat(model.propagate()), torch.cat(paper(model, small, kept)), **CLOSE)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("dropout", [{"message_dropout": 0.5}, {"node_dropout": 0.5}])
def test_dropout_is_the_same_on_the_restricted_path(variant: str, dropout: dict, small, on_graph) -> None:
    model = on_graph(make(small, variant=variant, **dropout)).model.train()
    parameters = list(model.parameters())
    outputs = []
    for rows in (None, (torch.arange(small.users), torch.arange(small.items))):
        torch.manual_seed(3)
        out = torch.cat(model.propagate() if rows is None else model.propagate_rows(*rows))
        outputs.append([out, *torch.autograd.grad(out.square().sum(), parameters)])
    for full, restricted in zip(*outputs, strict=True):
        assert_close(restricted, full)


@pytest.mark.parametrize("variant", VARIANTS)
def test_state_has_no_graph_and_can_be_loaded(variant: str, small, on_graph) -> None:
    model = on_graph(make(small, variant=variant)).model
    assert model.state_dict().keys() == dict(model.named_parameters()).keys()
    other = on_graph(NGCF(small.users, small.items, 4, [5, 3], variant)).model
    other.load_state_dict(model.state_dict())
    for ours, theirs in zip(other.eval().embeddings(), model.eval().embeddings(), strict=True):
        assert_close(ours, theirs)


@pytest.mark.parametrize(("variant", "precision"), [("paper", "bf16-mixed"), ("authors", "32-true")])
def test_trains(variant: str, precision: str, train) -> None:
    before, after, _ = train(
        lambda *sizes: NGCF(*sizes, 16, [16, 16], variant, node_dropout=0.1), lr=0.02, epochs=10, precision=precision
    )
    assert after > before + 0.05


@pytest.mark.parametrize("kind", ["paper", "authors", "GCN"])
def test_shares_are_the_integral_of_the_gradient(kind: str, small, on_graph) -> None:
    """By differences of the score, the user's messages scaled by t: 25 steps from none to all; and their sum."""
    model = make(small, variant=kind) if kind != "GCN" else GCN(small.users, small.items, 4, (5, 3), "concat")
    model = on_graph(model).model.eval()
    user, target = int(small.edges[0].bincount().argmax()), torch.tensor([4])
    own = small.edges[1][small.edges[0] == user]
    item, rows = model.embeddings()[1][4].double(), {"user_embedding.weight": model.user_embedding.weight[[user]]}

    def score(factors: torch.Tensor) -> float:
        vector = model.represent_users(rows, Entries(torch.zeros_like(own), own, factors, 1))
        return float(vector[0].detach().double() @ item)

    ones, expected = torch.ones(len(own), dtype=torch.double), torch.zeros(len(own))
    for step in range(25):
        for j in range(len(own)):
            nudge = torch.zeros_like(ones)
            nudge[j] = 1e-3
            middle = (step + 0.5) / 25 * ones
            expected[j] += (score(middle + nudge) - score(middle - nudge)) / 2e-3 / 25
    found = model.shares(user, Entries(torch.zeros_like(own), own, torch.ones(len(own)), 1), target)[:, 0]
    assert len(own) > 1 and found.abs().max() > 1e-3
    assert_close(found.double(), expected.double(), atol=0.03 * float(expected.abs().max()), rtol=0.03)
    assert float(found.sum()) == pytest.approx(score(ones) - score(0 * ones), rel=0.05, abs=0.02)
