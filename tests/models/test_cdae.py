"""CDAE against loops: the user node, tied weights, sampled negatives."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from recgnn.data.batches import RowBatch
from recgnn.errors import ConfigError
from recgnn.models import CDAE


def made(small, **options) -> CDAE:
    torch.manual_seed(0)
    model = CDAE(small.users, small.items, **{"hidden_dim": 3, "ks": [3], **options}).double()
    model.log = lambda *_, **__: None
    model.set_graph(small.graph)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return model.double()


def clean(small) -> torch.Tensor:
    return small.adjacency[: small.users, small.users :]


def batch_of(small, rows: list[int], negatives: int = 0) -> RowBatch:
    place, columns = clean(small)[rows].nonzero().T
    drawn = None
    if negatives:  # of one item, so that they repeat; whether they are known does not matter here
        drawn = torch.randint(small.items, (len(place), negatives), generator=torch.Generator().manual_seed(3))
        drawn[:, 0] = drawn[0, 0]
    return RowBatch(torch.tensor(rows), place, columns, torch.ones(len(place), dtype=torch.float64), drawn)


def naive_output(model: CDAE, rows: list[int] | None, y: torch.Tensor) -> torch.Tensor:
    """The scores before f, entry by entry."""
    p = dict(model.named_parameters())
    w, b, b2 = p["first.weight"], p["first.bias"], p["decoder_bias"]
    w2 = p.get("decoder_weight", w)
    out = []
    for number, row in enumerate(y):
        z = []
        for k in range(w.shape[1]):
            x = b[k] + sum(w[i, k] * row[i] for i in range(len(row)))
            if rows is not None:
                x = x + p["user_node.weight"][rows[number], k]
            z.append(torch.sigmoid(x))
        out.append(torch.stack([b2[i] + sum(w2[i, k] * z[k] for k in range(len(z))) for i in range(len(row))]))
    return torch.stack(out)


def naive_loss(model: CDAE, batch: RowBatch, y: torch.Tensor, corrupted: torch.Tensor) -> torch.Tensor:
    rows = batch.rows.tolist()
    scores = naive_output(model, rows, corrupted)

    def term(s: torch.Tensor, target: float) -> torch.Tensor:
        if model.loss == "logistic":
            return -torch.log(torch.sigmoid(s) if target else 1 - torch.sigmoid(s))
        return (target - (torch.sigmoid(s) if model.output_activation == "sigmoid" else s)) ** 2

    if batch.negatives is None:
        total = sum(term(scores[r, i], y[r, i].item()) for r in range(len(rows)) for i in range(y.shape[1]))
    else:
        total = 0.0
        for entry, (r, i) in enumerate(zip(batch.place.tolist(), batch.columns.tolist(), strict=True)):
            total = total + term(scores[r, i], 1) + sum(term(scores[r, j], 0) for j in batch.negatives[entry].tolist())
    norm = sum((p * p).sum() for n, p in model.named_parameters() if n != "user_node.weight")
    nodes = sum((model.user_node.weight[u] ** 2).sum() for u in rows)
    return total / len(rows) + model.l2 / 2 * (norm / model.num_users + nodes / len(rows))


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("negatives", [0, 3])
@pytest.mark.parametrize(("loss", "f"), [("logistic", "identity"), ("squared", "identity"), ("squared", "sigmoid")])
def test_loss_and_gradient_are_the_equations(small, tied, negatives, loss, f) -> None:
    options = {"tied": tied, "num_negatives": negatives, "loss": loss, "output_activation": f}
    model = made(small, corruption_rate=0.0, l2=0.3, **options)
    assert ("decoder_weight" in dict(model.named_parameters())) is not tied
    batch = batch_of(small, [0, 5, 3], negatives)
    y = clean(small)[batch.rows]
    found, expected = model.training_step(batch, 0), naive_loss(model, batch, y, y)
    assert_close(found, expected)
    parameters = list(model.parameters())
    for ours, theirs in zip(
        torch.autograd.grad(found, parameters), torch.autograd.grad(expected, parameters), strict=True
    ):
        assert_close(ours, theirs)


def test_neither_target_nor_user_node_is_corrupted(small) -> None:
    model = made(small, corruption_rate=0.5, l2=0.0)
    batch = batch_of(small, [0, 3, 5])
    y, inputs = clean(small)[batch.rows], []
    model.first.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    seen = set()
    for _ in range(10):
        found, weight = model.training_step(batch, 0), inputs.pop().weight
        corrupted = torch.zeros_like(y)
        corrupted[batch.place, batch.columns] = weight
        assert set(weight.tolist()) <= {0.0, 2.0}
        seen.add(tuple(weight.tolist()))
        assert_close(found, naive_loss(model, batch, y, corrupted))
    assert len(seen) > 3 and (batch.values == 1).all()


def test_corruption_of_everything_leaves_matrix_factorisation(small) -> None:
    """z is a function of the user alone."""
    model = made(small, corruption_rate=1.0, l2=0.0)
    batch = batch_of(small, [0, 3])
    y = clean(small)[batch.rows]
    assert_close(model.training_step(batch, 0), naive_loss(model, batch, y, torch.zeros_like(y)))


@pytest.mark.parametrize("f", ["identity", "sigmoid"])
def test_scores_and_new_users(small, f) -> None:
    model = made(small, output_activation=f)
    final = torch.sigmoid if f == "sigmoid" else torch.nn.Identity()
    y = clean(small)
    expected = final(naive_output(model, list(range(small.users)), y)).detach()
    assert_close(model.score(torch.arange(small.users)), expected)
    assert_close(model.score_pairs(torch.tensor([4, 8]), torch.tensor([0, 6])), expected[[4, 8], [0, 6]])
    items = y[3].nonzero().squeeze(1)
    new = model.score_history(torch.zeros_like(items), items, torch.ones(len(items)).double(), 1)
    assert_close(new, final(naive_output(model, None, y[3:4])).detach())  # no user node


def test_what_it_asks_of_its_data() -> None:
    assert CDAE(4, 5, num_negatives=5, ks=[2]).negative_sampling == {"num": 5, "alpha": 0.0, "shared": False}
    assert CDAE(4, 5, ks=[2]).negative_sampling is None


@pytest.mark.parametrize(
    "option", [{"corruption_rate": 2}, {"num_negatives": -1}, {"output_activation": "tanh"}, {"hidden_dim": 0}]
)
def test_mistakes(small, option) -> None:
    with pytest.raises(ConfigError, match=next(iter(option))):
        made(small, **option)


@pytest.mark.parametrize(
    "options", [{}, {"num_negatives": 5}, {"tied": True, "loss": "squared"}, {"hidden_activation": "tanh"}]
)
def test_it_learns(train, options) -> None:
    before, after, _ = train(lambda *n: CDAE(*n, hidden_dim=16, l2=0.1, lr=0.02, **options), epochs=40)
    assert after > before + 0.05
