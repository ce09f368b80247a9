"""The denoising autoencoder against loops, its corruption and its three losses."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from recgnn.data.interactions.loaders import RowBatch
from recgnn.errors import ConfigError
from recgnn.models import DAE
from recgnn.models.autoencoder import RowRecommender
from recgnn.nn.folding import Entries

LOSSES = ["multinomial", "logistic", "squared"]
ALPHA, SCALE = 1.6732632423543772, 1.0507009873554805
G = {
    "identity": lambda x: x,
    "sigmoid": lambda x: 1 / (1 + torch.exp(-x)),
    "tanh": lambda x: (torch.exp(2 * x) - 1) / (torch.exp(2 * x) + 1),
    "relu": lambda x: x * (x > 0),
    "elu": lambda x: torch.where(x > 0, x, torch.exp(x) - 1),
    "selu": lambda x: SCALE * torch.where(x > 0, x, ALPHA * (torch.exp(x) - 1)),
}


@pytest.fixture
def made(small, build):
    """A training whose model has the small graph and parameters that are not small."""

    def make(**options):
        training = build(DAE, small.users, small.items, small.edges, **{"hidden_dims": [3], **options})
        for parameter in training.model.parameters():
            torch.nn.init.normal_(parameter, std=0.5)
        return training

    return make


def clean(small) -> torch.Tensor:
    return small.adjacency[: small.users, small.users :]


def batch_of(small, rows: list[int]) -> RowBatch:
    place, columns = clean(small)[rows].nonzero().T
    return RowBatch(torch.tensor(rows), place, columns, torch.ones(len(place), dtype=torch.float64), None)


def naive_scores(model: DAE, y: torch.Tensor) -> torch.Tensor:
    """W z + b of dense rows."""
    p, g = dict(model.named_parameters()), G[model.arguments["hidden_activation"]]
    z = g(y @ p["first.weight"] + p["first.bias"])
    for layer in range(len(model.hidden)):
        z = g(z @ p[f"hidden.{layer}.weight"].T + p[f"hidden.{layer}.bias"])
    return z @ p["decoder_weight"].T + p["decoder_bias"]


def naive_loss(training, y: torch.Tensor, corrupted: torch.Tensor) -> torch.Tensor:
    model, kind = training.model, type(training.loss).__name__.lower()
    scores, total = naive_scores(model, corrupted), 0.0
    for row in range(len(y)):
        for item in range(y.shape[1]):
            s, target = scores[row, item], y[row, item]
            if kind == "multinomial":
                total = total - target * torch.log(s.exp() / scores[row].exp().sum())
            elif kind == "logistic":
                chance = 1 / (1 + torch.exp(-s))
                total = total - target * torch.log(chance) - (1 - target) * torch.log(1 - chance)
            else:
                total = total + (target - s) ** 2
    weights = [w for n, w in model.named_parameters() if n.endswith("weight")]
    return total / len(y) + training.l2 / 2 / model.num_users * sum((w * w).sum() for w in weights)


def check_gradient(model: DAE, found: torch.Tensor, expected: torch.Tensor) -> None:
    """Holds a loss and the gradient of every parameter against those of the loop."""
    assert_close(found, expected)
    names, parameters = zip(*model.named_parameters(), strict=True)
    right = torch.autograd.grad(expected, parameters)
    for name, ours, theirs in zip(names, torch.autograd.grad(found, parameters), right, strict=True):
        assert_close(ours, theirs, msg=lambda text, name=name: f"gradient of {name}: {text}")


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("dims", [[3], [4, 3], [5, 2, 3]])
def test_loss_and_gradient_are_the_equations(small, made, loss, dims) -> None:
    training = made(loss=loss, hidden_dims=dims, corruption_rate=0.0, l2=0.4)
    model = training.model
    rows = [0, 5, 3, 8]  # 8 has nothing
    y = clean(small)[rows]
    check_gradient(model, training.training_step(batch_of(small, rows), 0), naive_loss(training, y, y))


@pytest.mark.parametrize("g", G)
def test_every_activation(small, made, g) -> None:
    training = made(hidden_dims=[4, 3], hidden_activation=g, corruption_rate=0.0, l2=0.4)
    model = training.model
    rows = [0, 5, 3]
    y = clean(small)[rows]
    check_gradient(model, training.training_step(batch_of(small, rows), 0), naive_loss(training, y, y))
    assert_close(model.score(torch.tensor(rows)), naive_scores(model, y).detach())


@pytest.mark.parametrize("loss", LOSSES)
def test_corruption_is_of_the_input_and_not_of_the_target(small, made, loss) -> None:
    """Whatever was masked, the loss is that of the corrupted input against the clean rows."""
    training = made(loss=loss, corruption_rate=0.6, l2=0.1)
    model = training.model
    rows = [0, 3, 5]
    batch, y = batch_of(small, rows), clean(small)[rows]
    inputs = []
    model.first.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    seen = set()
    for _ in range(10):
        found = training.training_step(batch, 0)
        csr = inputs.pop()
        corrupted = torch.zeros_like(y)
        corrupted[batch.place, batch.columns] = csr.weight
        assert all(min(abs(v), abs(v - 1 / 0.4)) < 1e-9 for v in csr.weight.tolist())
        seen.add(tuple(csr.weight.tolist()))
        check_gradient(model, found, naive_loss(training, y, corrupted))
        assert (batch.values == 1).all()
    assert len(seen) > 3


@pytest.mark.parametrize("loss", LOSSES)
def test_gaussian_corruption_is_of_every_entry(small, made, loss) -> None:
    training = made(loss=loss, corruption="gaussian", corruption_rate=0.3, l2=0.1)
    model = training.model
    rows = [0, 3, 8]
    y, batch = clean(small)[rows], batch_of(small, rows)
    torch.manual_seed(5)
    found = training.training_step(batch, 0)
    torch.manual_seed(5)
    noise = torch.randn(y.shape, dtype=torch.float64)
    check_gradient(model, found, naive_loss(training, y, y + 0.3 * noise))
    assert (batch.values == 1).all()


def corrupted_rows(small, made, repeats: int, **options) -> tuple[torch.Tensor, torch.Tensor]:
    """Clean and corrupted rows [n, I] of a model whose first layer passes on what it is given."""
    model = made(hidden_dims=[small.items], **options).model
    with torch.no_grad():
        model.first.weight.copy_(torch.eye(small.items))
        model.first.bias.zero_()
    rows = list(range(small.users)) * repeats
    return clean(small)[rows], model.corrupted(model.rows_of(batch_of(small, rows))).detach()


@pytest.mark.parametrize("rate", [0.0, 0.25, 0.8, 1.0])
def test_masked_are_as_many_as_was_said_and_the_others_make_up_for_them(small, made, rate) -> None:
    y, found = corrupted_rows(small, made, 2000, corruption_rate=rate)
    assert (found[y == 0] == 0).all()
    ones = found[y == 1]
    masked = (ones == 0).double()
    assert masked.mean().item() == pytest.approx(rate, abs=5 * (rate * (1 - rate) / len(ones)) ** 0.5)
    if rate < 1:
        assert_close(ones[ones != 0], torch.full_like(ones[ones != 0], 1 / (1 - rate)))
        assert ones.mean().item() == pytest.approx(1, abs=0.05)
    if 0 < rate < 1:  # by itself each: neither whole rows nor whole columns
        first = found[:: small.users][:, clean(small)[0] == 1]
        assert first.shape[1] > 1 and len(first.unique(dim=0)) == 2 ** first.shape[1]


def test_noise_has_the_deviation_that_was_said(small, made) -> None:
    y, found = corrupted_rows(small, made, 2000, corruption="gaussian", corruption_rate=0.3)
    noise = found - y
    for part in (noise[y == 0], noise[y == 1]):
        assert part.mean().item() == pytest.approx(0, abs=5 * 0.3 / len(part) ** 0.5)
        assert part.std().item() == pytest.approx(0.3, rel=0.02)
    assert torch.corrcoef(noise.T).fill_diagonal_(0).abs().max() < 0.05


@pytest.mark.parametrize("corruption", ["mask", "gaussian"])
def test_scores_are_of_clean_rows(small, made, corruption) -> None:
    model = made(corruption=corruption, corruption_rate=0.9).model
    expected = naive_scores(model, clean(small)).detach()
    assert_close(model.score(torch.arange(small.users)), expected)
    users, items = torch.tensor([4, 0, 8]), torch.tensor([6, 2, 0])
    assert_close(model.score_pairs(users, items), expected[users, items])


def test_rows_of_length_one(small, made) -> None:
    """Mult-DAE divides a user's row by its Euclidean length, for a new user as well."""
    model = made(normalise=True).model
    y = clean(small)
    scaled = y / y.sum(1, keepdim=True).clamp(min=1).sqrt()
    model.normalise = False
    expected = naive_scores(model, scaled).detach()
    model.normalise = True
    assert_close(model.score(torch.arange(small.users)), expected)
    items = y[3].nonzero().squeeze(1)
    new = model.score_history(torch.zeros_like(items), items, torch.ones(len(items)).double(), 1)
    assert_close(new[0], expected[3])


def test_rows_of_length_one_are_corrupted_and_held_against_ones(small, made) -> None:
    training = made(normalise=True, corruption_rate=0.6, loss="squared", l2=0.1)
    model = training.model
    rows, inputs = [0, 3, 5], []
    batch, y = batch_of(small, rows), clean(small)[rows]
    assert len(set(y.sum(1).tolist())) > 1
    model.first.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    for _ in range(5):
        found, weight = training.training_step(batch, 0), inputs.pop().weight
        corrupted = torch.zeros_like(y)
        corrupted[batch.place, batch.columns] = weight
        kept = corrupted != 0
        whole = y / y.sum(1, keepdim=True).sqrt() / 0.4
        assert_close(corrupted[kept], whole[kept])
        check_gradient(model, found, naive_loss(training, y, corrupted))
        assert (batch.values == 1).all()


@pytest.mark.parametrize("normalise", [False, True])
def test_the_row_of_a_user_as_a_history_has_the_scores_of_the_user(small, made, normalise) -> None:
    model = made(hidden_dims=[4, 3], normalise=normalise).model
    users = torch.tensor([3, 8, 0])  # 8 has nothing
    place, items = clean(small)[users].nonzero().T
    found = model.score_history(place, items, torch.ones(len(items)).double(), 3)
    assert_close(found, model.score(users))
    if not normalise:
        assert_close(found, naive_scores(model, clean(small)[users]).detach())


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"corruption_rate": 1.5}, "corruption_rate"),
        ({"corruption_rate": -0.1}, "corruption_rate"),
        ({"corruption": "gaussian", "corruption_rate": -0.1}, "corruption_rate"),
        ({"hidden_dims": []}, "hidden_dims"),
        ({"hidden_dims": [4, 0]}, "hidden_dims"),
        ({"hidden_activation": "gelu"}, "DAE.hidden_activation is 'gelu'.*; expected identity or sigmoid"),
    ],
)
def test_mistakes(small, made, option, message) -> None:
    with pytest.raises(ConfigError, match=message):
        made(**option)


def test_noise_may_be_larger_than_one(small, made) -> None:
    assert made(corruption="gaussian", corruption_rate=1.5).model.corruption_rate == 1.5


def test_tied_weights_are_for_one_hidden_layer() -> None:
    tied = RowRecommender(5, 4, "user", [3], "tanh", "identity", tied=True)
    assert tied.weight is tied.first.weight and len(tied.weights()) == 1
    with pytest.raises(ConfigError, match="tied weights are for one hidden layer"):
        RowRecommender(5, 4, "user", [3, 2], "tanh", "identity", tied=True)


WAYS = [
    {"loss": "logistic", "normalise": True},
    {"loss": "squared", "corruption": "gaussian"},
    {"hidden_dims": [32, 16], "precision": "bf16-mixed"},
]


@pytest.mark.parametrize("options", WAYS)
def test_it_learns_and_scores_by_what_it_learned(train, options) -> None:
    own = {"hidden_dims": [16], **options}
    learning = {name: own.pop(name) for name in ("loss", "precision") if name in own}
    before, after, trainer = train(lambda *n: DAE(*n, **own), epochs=40, l2=0.5, lr=0.02, **learning)
    assert after > before + 0.05
    model, (users, items) = trainer.lightning_module.model.double(), trainer.datamodule.pairs("train")
    y = torch.zeros(model.num_users, model.num_items, dtype=torch.float64)
    y[users, items] = 1
    if options.get("normalise"):
        y = y / y.sum(1, keepdim=True).sqrt()
    model.refresh()
    assert_close(model.score(torch.arange(model.num_users)), naive_scores(model, y).detach(), atol=1e-5, rtol=1e-5)


def test_shares_are_what_the_score_loses(small, made, monkeypatch) -> None:
    monkeypatch.setattr("recgnn.models.autoencoder.AT_ONCE", 2)
    model, user, targets = made().model.eval(), int(small.edges[0].bincount().argmax()), torch.tensor([1, 5])
    row = clean(small)[user]
    own = row.nonzero().flatten()
    found = model.shares(user, Entries(torch.zeros_like(own), own, torch.ones(len(own)).double(), 1), targets)
    for j, item in enumerate(own.tolist()):
        without = row.clone()
        without[item] = 0
        expected = (model(row[None]) - model(without[None]))[0, targets]
        assert_close(found[j], expected.detach())
