"""What the inner-product recommenders share: negatives, losses, regularisation, ranking."""

from __future__ import annotations

import inspect

import pytest
import torch
from torch.testing import assert_close

from recgnn.errors import ConfigError
from recgnn.models import DAE, GCN, MF, NGCF, LightGCN, XSimGCL
from recgnn.models.base import Recommender
from recgnn.models.embedding import pick, unique_rows

KINDS = [
    {"loss": "bpr"},
    {"loss": "bpr", "negatives": "popularity", "num_negatives": 3},
    {"loss": "bce", "num_negatives": 4},
    {"loss": "softmax"},
    {"loss": "softmax", "temperature": 0.3, "popularity_correction": 0.5},
    {"loss": "softmax", "negatives": "uniform", "num_negatives": 3},
    {"loss": "softmax", "negatives": "popularity", "num_negatives": 3, "popularity_alpha": 0.5},
    {"loss": "softmax", "negatives": "shared", "num_negatives": 5, "temperature": 0.5},
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: " ".join(map(str, k.values())))
def test_loss_and_regularisation_of_every_kind(kind: dict, small, on_graph, check_step) -> None:
    torch.manual_seed(0)
    training = on_graph(MF(small.users, small.items, 4), l2=0.1, **kind)
    check_step(training, lambda: (training.model.user_embedding.weight, training.model.item_embedding.weight))


@pytest.mark.parametrize("kind", [MF, GCN, NGCF, LightGCN])
def test_losses_of_cosines_with_every_model(kind: type, small, on_graph, batch_for) -> None:
    """A step is the loss of the angles of the model's own representations, whose gradient reaches all its layers."""
    training = on_graph(kind(small.users, small.items, 4), loss="bsl", negatives="in_batch", l2=0.0)
    training.model.eval()  # no dropout
    batch = batch_for(training)
    user, item = training.model.propagate()
    terms = []
    for u, i in zip(batch.users, batch.positives, strict=True):
        rows = [i, *batch.positives[batch.positives != i]]
        own, *others = (torch.cosine_similarity(user[u], item[j], 0) / 0.15 for j in rows)
        terms.append(-own + torch.log(sum(torch.exp(y) for y in others)))
    expected, parameters = sum(terms) / len(terms), list(training.model.parameters())
    found = training.training_step(batch, 0)
    assert_close(found, expected, atol=1e-6, rtol=1e-6)
    for ours, theirs in zip(*(torch.autograd.grad(x, parameters) for x in (found, expected)), strict=True):
        assert_close(ours, theirs, atol=1e-6, rtol=1e-5)
        assert ours.abs().sum() > 0


def test_l2_zero_leaves_regularisation_out(small, on_graph, batch_for) -> None:
    training = on_graph(MF(small.users, small.items, 4), l2=0.0)
    training.model.penalty = None  # not called
    batch = batch_for(training)
    assert_close(training.training_step(batch, 0), training.data_loss(batch, training.model.outputs(batch)))


def test_unique_rows() -> None:
    rows = torch.tensor([5, 2, 5, 9, 2])
    distinct, place = unique_rows(rows)
    assert sorted(distinct.tolist()) == [2, 5, 9] and torch.equal(distinct[place], rows)


def test_score_and_recommend(small, on_graph) -> None:
    model = on_graph(MF(small.users, small.items, 4)).model.eval()
    users, expected = torch.tensor([4, 1, 4]), {}
    for row, u in enumerate(users.tolist()):
        for i in range(small.items):
            expected[row, i] = (model.user_embedding.weight[u] * model.item_embedding.weight[i]).sum().item()
    scores = model.score(users)
    assert scores.shape == (3, small.items) and not scores.requires_grad
    assert all(scores[at].item() == pytest.approx(value, abs=1e-6) for at, value in expected.items())

    seen = torch.tensor([0, 0, 1]), torch.tensor([2, 5, 0])
    best, items = model.recommend(users, small.items, seen)
    for row in range(3):
        hidden = [i for r, i in zip(*map(torch.Tensor.tolist, seen), strict=True) if r == row]
        order = sorted((i for i in range(small.items) if i not in hidden), key=lambda i: -expected[row, i])
        assert items[row, : len(order)].tolist() == order
        assert set(items[row, len(order) :].tolist()) == set(hidden) and best[row, len(order) :].isneginf().all()
    assert_close(model.score(users), scores), "ranking does not spoil the scores"


def test_embeddings_are_computed_once_until_training_goes_on(small, on_graph) -> None:
    training = on_graph(LightGCN(small.users, small.items, 4))
    model = training.model.eval()
    table = model.embeddings()
    assert model.embeddings()[0] is table[0]
    with torch.no_grad():
        model.user_embedding.weight.add_(1)
    training.on_validation_epoch_start()
    assert not torch.allclose(model.embeddings()[0], table[0])


def test_stale_embeddings_do_not_outlive_a_step(train) -> None:
    model = None

    def make(*sizes: int) -> MF:
        nonlocal model
        model = MF(*sizes, 8)
        return model

    train(make, epochs=2, lr=0.05)
    assert_close(model.embeddings()[0], model.user_embedding.weight.detach())


def test_log_q_is_the_frequency_in_train(small, on_graph) -> None:
    training = on_graph(MF(small.users, small.items, 4), loss="softmax")
    total = int(small.counts.sum())
    expected = torch.tensor([max(int(c), 1) / total for c in small.counts]).double().log()
    assert_close(training.log_q(torch.arange(small.items)), expected, atol=1e-6, rtol=1e-6)
    training = on_graph(MF(9, 7, 4), loss="softmax", popularity_correction=0.0)
    assert training.log_q(torch.tensor([0])) is None


def test_a_recommender_has_to_define_score() -> None:
    with pytest.raises(TypeError, match="abstract.* score"):
        Recommender(2, 2)


@pytest.mark.parametrize(
    ("kind", "arguments", "more"),
    [(MF, (3, 2), {"embedding_dim": 4}), (LightGCN, (3, 2, 4), {"layer_weights": [0.5, 0.5], "num_layers": 1})],
)
def test_a_model_is_made_again_from_its_arguments(kind, arguments, more) -> None:
    """Positional, named and default ones, those of the class itself and none of its base classes."""
    model = kind(*arguments, **more)
    assert model.arguments.keys() == inspect.signature(kind).parameters.keys()
    assert model.arguments["num_users"] == 3 and model.arguments["embedding_dim"] == 4
    again = kind(**model.arguments)
    again.load_state_dict(model.state_dict())
    assert again.arguments == model.arguments


def test_a_width_of_zero() -> None:
    with pytest.raises(ConfigError, match="embedding_dim is 0; expected a whole number from 1"):
        MF(5, 5, embedding_dim=0)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (MF, {"biases": True}),
        (LightGCN, {"layer_weights": "learned"}),
        (GCN, {"layer_dims": [5, 3], "readout": "concat"}),
        (NGCF, {"layer_dims": [5, 3], "message_dropout": 0.0}),
        (NGCF, {"layer_dims": [5, 3], "message_dropout": 0.0, "variant": "authors"}),
    ],
)
@pytest.mark.parametrize("loss", ["bpr", "softmax"])
def test_both_paths_give_the_same_loss_and_gradient(kind, options, loss, small, on_graph, batch_for) -> None:
    """`propagate` of all nodes, from which a loss of one's own can be made, and `propagate_rows` of a step."""
    torch.manual_seed(0)
    training = on_graph(kind(small.users, small.items, 4, **options), loss=loss, l2=0.1)
    model, batch = training.model, batch_for(training)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    restricted = training.training_step(batch, 0)
    model.propagate_rows = lambda users, items: pick(model.propagate(), (users, items))
    whole = training.training_step(batch, 0)
    assert_close(restricted, whole)
    gradients = [torch.autograd.grad(value, list(model.parameters())) for value in (restricted, whole)]
    for (name, _), ours, theirs in zip(model.named_parameters(), *gradients, strict=True):
        assert_close(ours, theirs, msg=lambda text, name=name: f"gradient of {name}: {text}")
        assert theirs.abs().sum() > 0 or name == "user_bias", name  # which BPR cancels


SAMPLED = [
    (MF, {"biases": True}, []),
(LightGCN, {"num_layers": 2}, [9, 9]), (LightGCN, {"layer_weights": "learned"}, [9] * 2),
    (NGCF, {"layer_dims": [5, 3], "message_dropout": 0.0}, [9, 9]), (GCN, {"layer_dims": [5, 3]}, [9, 9]),
    (NGCF, {"variant": "authors", "message_dropout": 0.0}, [9] * 3), (GCN, {"readout": "concat"}, [9, 9]),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "sizes", "fan_out"), SAMPLED, ids=str)
@pytest.mark.parametrize("l2_on", ["embeddings", "representations"])
def test_fan_out_above_every_degree_is_all_neighbours(kind, sizes, fan_out, l2_on, small, on_graph, batch_for) -> None:
    """The same loss and gradients, of the rows that the batch reaches."""
    found = []
    for options in ({}, {"fan_out": fan_out}):
        torch.manual_seed(0)
        training = on_graph(kind(small.users, small.items, 4, **sizes), l2=0.1, l2_on=l2_on, **options)
        training.training_step(batch_for(training), 0).backward()
        found.append({name: x.grad for name, x in training.model.named_parameters()})
    for name, gradient in found[1].items():
        assert gradient.is_sparse == name.endswith("embedding.weight")
        assert_close(gradient.to_dense(), found[0][name], atol=1e-9, rtol=1e-7)


def test_a_sampled_step_moves_the_rows_that_it_reads(small, on_graph, batch_for) -> None:
    training = on_graph(LightGCN(small.users, small.items, 4, num_layers=1), fan_out=[1], l2=0.0)
    tables = training.model.user_embedding.weight, training.model.item_embedding.weight
    before = [table.detach().clone() for table in tables]
    batch, optimizer = batch_for(training), training.configure_optimizers()
    training.training_step(batch, 0).backward()
    optimizer.step()
    moved = [int((table != old).any(1).sum()) for table, old in zip(tables, before, strict=True)]
    reached = len(batch.users.unique()) + len(batch.positives.unique())  # a neighbour for each, of those that have any
    assert batch.negatives is None and 0 < moved[0] < reached and 0 < moved[1] < reached


def test_sampled_training_learns(train) -> None:
    before, after, trainer = train(
        lambda *sizes: LightGCN(*sizes, 16, 3), fan_out=[5, 3, 2], lr=0.02, l2=0.01, l2_on="embeddings"
    )
    assert after > before + 0.05
    model = trainer.lightning_module.model
    model.refresh()
    assert_close(model.eval().embeddings(), model.propagate())  # over all neighbours


@pytest.mark.parametrize(
    ("model", "fan_out", "message"),
    [
        (lambda: LightGCN(5, 5, 4), [5], "fan_out is \\[5\\], and LightGCN has 2 layers; give a number for each"),
        (lambda: LightGCN(5, 5, 4), [5, 0], "fan_out is \\[5, 0\\]; expected a list, each a whole number from 1"),
        (lambda: XSimGCL(5, 5, 4), [5, 5], "fan_out is for MF, LightGCN, NGCF and GCN, and this is XSimGCL; leave it"),
        (lambda: DAE(5, 5, hidden_dims=[4]), [5], "and this is DAE; leave it out"),
    ],
)
def test_mistakes_of_a_fan_out(model, fan_out: list[int], message: str, training_of) -> None:
    with pytest.raises(ConfigError, match=message):
        training_of(model(), fan_out=fan_out)


def test_single_edges_are_not_dropped_of_sampled_ones(small, on_graph, batch_for) -> None:
    training = on_graph(NGCF(small.users, small.items, 4, [4], variant="authors", node_dropout=0.1), fan_out=[2])
    with pytest.raises(ConfigError, match="node_dropout: an edge that is sampled"):
        training.training_step(batch_for(training), 0)
