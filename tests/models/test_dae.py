"""The denoising autoencoder against loops, its corruption and its three losses."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from recgnn.data.batches import RowBatch
from recgnn.errors import ConfigError
from recgnn.models import DAE


def made(small, **options) -> DAE:
    torch.manual_seed(0)
    model = DAE(small.users, small.items, **{"hidden_dims": [3], "ks": [3], **options}).double()
    model.log = lambda *_, **__: None
    model.set_graph(small.graph)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return model.double()


def clean(small) -> torch.Tensor:
    return small.adjacency[: small.users, small.users :]


def batch_of(small, rows: list[int]) -> RowBatch:
    place, columns = clean(small)[rows].nonzero().T
    return RowBatch(torch.tensor(rows), place, columns, torch.ones(len(place), dtype=torch.float64), None)


def naive_scores(model: DAE, y: torch.Tensor) -> torch.Tensor:
    """W z + b of dense rows."""
    p = dict(model.named_parameters())
    z = torch.tanh(y @ p["first.weight"] + p["first.bias"])
    for layer in range(len(model.hidden)):
        z = torch.tanh(z @ p[f"hidden.{layer}.weight"].T + p[f"hidden.{layer}.bias"])
    return z @ p["decoder_weight"].T + p["decoder_bias"]


def naive_loss(model: DAE, y: torch.Tensor, corrupted: torch.Tensor) -> torch.Tensor:
    scores, total = naive_scores(model, corrupted), 0.0
    for row in range(len(y)):
        for item in range(y.shape[1]):
            s, target = scores[row, item], y[row, item]
            if model.loss == "multinomial":
                total = total - target * torch.log(s.exp() / scores[row].exp().sum())
            elif model.loss == "logistic":
                chance = 1 / (1 + torch.exp(-s))
                total = total - target * torch.log(chance) - (1 - target) * torch.log(1 - chance)
            else:
                total = total + (target - s) ** 2
    weights = [w for n, w in model.named_parameters() if n.endswith("weight")]
    return total / len(y) + model.l2 / 2 / model.num_users * sum((w * w).sum() for w in weights)


@pytest.mark.parametrize("loss", ["multinomial", "logistic", "squared"])
@pytest.mark.parametrize("dims", [[3], [4, 3]])
def test_loss_and_gradient_are_the_equations(small, loss, dims) -> None:
    model = made(small, loss=loss, hidden_dims=dims, corruption_rate=0.0, l2=0.4)
    rows = [0, 5, 3, 8]  # 8 has nothing
    y = clean(small)[rows]
    found, expected = model.training_step(batch_of(small, rows), 0), naive_loss(model, y, y)
    assert_close(found, expected)
    parameters = list(model.parameters())
    for ours, theirs in zip(
        torch.autograd.grad(found, parameters), torch.autograd.grad(expected, parameters), strict=True
    ):
        assert_close(ours, theirs)


@pytest.mark.parametrize("loss", ["multinomial", "logistic", "squared"])
def test_corruption_is_of_the_input_and_not_of_the_target(small, loss) -> None:
    """Whatever was masked, the loss is that of the corrupted input against the clean rows."""
    model = made(small, loss=loss, corruption_rate=0.6, l2=0.0)
    rows = [0, 3, 5]
    batch, y = batch_of(small, rows), clean(small)[rows]
    inputs = []
    model.first.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    seen = set()
    for _ in range(10):
        found = model.training_step(batch, 0)
        csr = inputs.pop()
        corrupted = torch.zeros_like(y)
        corrupted[batch.place, batch.columns] = csr.weight
        assert all(min(abs(v), abs(v - 1 / 0.4)) < 1e-9 for v in csr.weight.tolist())
        seen.add(tuple(csr.weight.tolist()))
        assert_close(found, naive_loss(model, y, corrupted))
        assert (batch.values == 1).all()
    assert len(seen) > 3


def test_gaussian_corruption_is_of_every_entry(small) -> None:
    model = made(small, loss="squared", corruption="gaussian", corruption_rate=0.3, l2=0.0)
    rows = [0, 3, 5]
    y = clean(small)[rows]
    torch.manual_seed(5)
    found = model.training_step(batch_of(small, rows), 0)
    torch.manual_seed(5)
    noise = torch.randn(y.shape, dtype=torch.float64)
    assert_close(found, naive_loss(model, y, y + 0.3 * noise))


def test_scores_are_of_clean_rows(small) -> None:
    model = made(small, corruption_rate=0.9)
    expected = naive_scores(model, clean(small)).detach()
    assert_close(model.score(torch.arange(small.users)), expected)
    users, items = torch.tensor([4, 0, 8]), torch.tensor([6, 2, 0])
    assert_close(model.score_pairs(users, items), expected[users, items])


def test_rows_of_length_one(small) -> None:
    """Mult-DAE divides a user's row by its Euclidean length, for a new user as well."""
    model = made(small, normalise=True)
    y = clean(small)
    scaled = y / y.sum(1, keepdim=True).clamp(min=1).sqrt()
    model.normalise = False
    expected = naive_scores(model, scaled).detach()
    model.normalise = True
    assert_close(model.score(torch.arange(small.users)), expected)
    items = y[3].nonzero().squeeze(1)
    new = model.score_history(torch.zeros_like(items), items, torch.ones(len(items)).double(), 1)
    assert_close(new[0], expected[3])


@pytest.mark.parametrize("option", [{"corruption_rate": 1.5}, {"corruption_rate": -0.1}, {"hidden_dims": []}])
def test_mistakes(small, option) -> None:
    with pytest.raises(ConfigError, match=next(iter(option))):
        made(small, **option)


@pytest.mark.parametrize("loss", ["multinomial", "logistic", "squared"])
def test_it_learns(train, loss) -> None:
    before, after, _ = train(lambda *n: DAE(*n, hidden_dims=[16], loss=loss, l2=0.5, lr=0.02), epochs=40)
    assert after > before + 0.05
