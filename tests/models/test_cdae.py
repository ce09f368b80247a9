"""CDAE against loops: the user node, tied weights, sampled negatives."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from recgnn.data.interactions.loaders import Request, RowBatch
from recgnn.data.interactions.sampling import Uniform
from recgnn.errors import ConfigError
from recgnn.models import CDAE
from recgnn.nn.losses import Logistic

ALPHA, SCALE = 1.6732632423543772, 1.0507009873554805
H = {
    "identity": lambda x: x,
    "sigmoid": lambda x: 1 / (1 + torch.exp(-x)),
    "tanh": lambda x: (torch.exp(2 * x) - 1) / (torch.exp(2 * x) + 1),
    "relu": lambda x: x if x > 0 else 0 * x,
    "elu": lambda x: x if x > 0 else torch.exp(x) - 1,
    "selu": lambda x: SCALE * (x if x > 0 else ALPHA * (torch.exp(x) - 1)),
}


@pytest.fixture
def made(small, build):
    """A training whose model has the small graph and parameters that are not small."""

    def make(**options):
        training = build(CDAE, small.users, small.items, small.edges, **{"hidden_dim": 3, **options})
        for parameter in training.model.parameters():
            torch.nn.init.normal_(parameter, std=0.5)
        return training

    return make


def clean(small) -> torch.Tensor:
    return small.adjacency[: small.users, small.users :]


def batch_of(small, rows: list[int], negatives: int = 0) -> RowBatch:
    place, columns = clean(small)[rows].nonzero().T
    drawn = None
    if negatives:  # of one item, so that they repeat; whether they are known does not matter here
        drawn = torch.randint(small.items, (len(place), negatives), generator=torch.Generator().manual_seed(3))
        drawn[:, :2] = drawn[0, 0]
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
            z.append(H[model.arguments["hidden_activation"]](x))
        out.append(torch.stack([b2[i] + sum(w2[i, k] * z[k] for k in range(len(z))) for i in range(len(row))]))
    return torch.stack(out)


def naive_loss(training, batch: RowBatch, y: torch.Tensor, corrupted: torch.Tensor) -> torch.Tensor:
    model, rows = training.model, batch.rows.tolist()
    scores = naive_output(model, rows, corrupted)

    def term(s: torch.Tensor, target: float) -> torch.Tensor:
        if isinstance(training.loss, Logistic):
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
    return total / len(rows) + training.l2 / 2 * (norm / model.num_users + nodes / len(rows))


def check_gradient(model: CDAE, found: torch.Tensor, expected: torch.Tensor) -> None:
    """Holds a loss and the gradient of every parameter against those of the loop."""
    assert_close(found, expected)
    names, parameters = zip(*model.named_parameters(), strict=True)
    right = torch.autograd.grad(expected, parameters, allow_unused=True)
    for name, ours, theirs in zip(names, torch.autograd.grad(found, parameters), right, strict=True):
        theirs = torch.zeros_like(ours) if theirs is None else theirs
        assert_close(ours, theirs, msg=lambda text, name=name: f"gradient of {name}: {text}")


@pytest.mark.parametrize(
    ("tied", "negatives", "loss", "f"),
    [
        (False, 0, "logistic", "identity"),
        (True, 3, "logistic", "identity"),
        (False, 3, "squared", "identity"),
        (True, 3, "squared", "sigmoid"),
        (False, 0, "squared", "sigmoid"),
    ],
)
def test_loss_and_gradient_are_the_equations(small, made, tied, negatives, loss, f) -> None:
    options = {"tied": tied, "loss": loss, "output_activation": f}
    training = made(corruption_rate=0.0, l2=0.3, **options)
    model = training.model
    assert ("decoder_weight" in dict(model.named_parameters())) is not tied
    batch = batch_of(small, [0, 5, 3], negatives)
    y = clean(small)[batch.rows]
    check_gradient(model, training.training_step(batch, 0), naive_loss(training, batch, y, y))


@pytest.mark.parametrize(("h", "f"), [*((h, "identity") for h in H), ("tanh", "sigmoid")])
def test_every_activation(small, made, h, f) -> None:
    options = {"hidden_activation": h, "output_activation": f, "loss": "squared"}
    training = made(corruption_rate=0.0, l2=0.3, **options)
    model = training.model
    batch = batch_of(small, [0, 8])  # 8 has nothing but its node
    y = clean(small)[batch.rows]
    check_gradient(model, training.training_step(batch, 0), naive_loss(training, batch, y, y))
    output = naive_output(model, [0, 8], y).detach()
    assert_close(model.score(batch.rows), torch.sigmoid(output) if f == "sigmoid" else output)


def test_f_is_no_part_of_the_logistic_loss(small, made) -> None:
    """That loss has a sigmoid of its own."""
    batch = batch_of(small, [0, 5])
    steps = [made(corruption_rate=0.0, output_activation=f) for f in ("identity", "sigmoid")]
    assert_close(*(training.training_step(batch, 0) for training in steps))


@pytest.mark.parametrize("size", [1, 3, 9])
def test_the_batches_of_an_epoch_add_up_to_the_objective(small, made, size) -> None:
    """The paper's objective over U, written for the whole matrix at a time; every user's node counts once."""
    training = made(corruption_rate=0.0, loss="squared", l2=0.8)
    model = training.model
    y, p = clean(small), dict(model.named_parameters())
    z = torch.sigmoid(y @ p["first.weight"] + p["user_node.weight"] + p["first.bias"])
    objective = ((y - z @ p["decoder_weight"].T - p["decoder_bias"]) ** 2).sum()
    objective = objective + 0.8 / 2 * sum((x**2).sum() for x in p.values())
    batches = torch.randperm(small.users, generator=torch.Generator().manual_seed(0)).split(size)
    steps = [training.training_step(batch_of(small, rows.tolist()), 0) for rows in batches]
    check_gradient(model, sum(steps) / len(steps), objective / small.users)


@pytest.mark.parametrize("loss", ["logistic", "squared"])
def test_the_gradient_of_tied_weights_sums_both_uses(small, made, loss) -> None:
    tied, free = (made(tied=t, corruption_rate=0.0, l2=0.0, loss=loss) for t in (True, False))
    with torch.no_grad():
        for name, value in tied.named_parameters():
            dict(free.named_parameters())[name].copy_(value)
        free.model.decoder_weight.copy_(tied.model.first.weight)
    batch = batch_of(small, [0, 5, 3])
    tied.training_step(batch, 0).backward()
    free.training_step(batch, 0).backward()
    tied, free = tied.model, free.model
    assert "decoder_weight" not in tied.state_dict() and tied.weight is tied.first.weight
    both = free.first.weight.grad, free.decoder_weight.grad
    assert all(g.abs().sum() > 0 for g in both)
    assert_close(tied.first.weight.grad, both[0] + both[1])
    with torch.no_grad():
        assert_close(tied.score(batch.rows), free.score(batch.rows))


@pytest.mark.parametrize("loss", ["logistic", "squared"])
def test_a_negative_that_was_drawn_twice_counts_twice(small, made, loss) -> None:
    training = made(corruption_rate=0.0, loss=loss, l2=0.0)
    model = training.model
    once, entry = batch_of(small, [3]), torch.tensor([0])
    item = int(once.columns[0])
    once = once._replace(place=entry, columns=entry + item, values=once.values[:1])
    steps = {}
    for drawn in ([2], [2, 2], [2, 2, 6]):
        steps[len(drawn)] = training.training_step(once._replace(negatives=torch.tensor([drawn])), 0)
    y = torch.zeros(1, small.items, dtype=torch.float64)
    y[0, item] = 1
    s = naive_output(model, [3], y)[0]
    term = {j: -torch.log(1 - torch.sigmoid(s[j])) if loss == "logistic" else s[j] ** 2 for j in (2, 6)}
    assert_close(steps[2] - steps[1], term[2])
    assert_close(steps[3] - steps[2], term[6])


@pytest.mark.parametrize("negatives", [0, 3])
@pytest.mark.parametrize("loss", ["logistic", "squared"])
def test_neither_target_nor_user_node_is_corrupted(small, made, negatives, loss) -> None:
    training = made(corruption_rate=0.5, l2=0.2, loss=loss)
    model = training.model
    batch = batch_of(small, [0, 3, 5], negatives)
    y, inputs = clean(small)[batch.rows], []
    model.first.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    seen = set()
    for _ in range(10):
        found, weight = training.training_step(batch, 0), inputs.pop().weight
        corrupted = torch.zeros_like(y)
        corrupted[batch.place, batch.columns] = weight
        assert set(weight.tolist()) <= {0.0, 2.0}
        seen.add(tuple(weight.tolist()))
        check_gradient(model, found, naive_loss(training, batch, y, corrupted))
    assert len(seen) > 3 and (batch.values == 1).all()


def test_corruption_of_everything_leaves_matrix_factorisation(small, made) -> None:
    """Of h(V_u + b) and W', with item biases; what the user has is the target alone."""
    training = made(corruption_rate=1, l2=0.0, loss="squared")
    model = training.model
    batch = batch_of(small, [0, 3])
    y, p = clean(small)[batch.rows], dict(model.named_parameters())
    factors = torch.sigmoid(p["user_node.weight"][[0, 3]] + p["first.bias"])
    expected = ((y - factors @ p["decoder_weight"].T - p["decoder_bias"]) ** 2).sum() / 2
    found = training.training_step(batch, 0)
    check_gradient(model, found, expected)
    found = training.training_step(batch, 0)
    assert (torch.autograd.grad(found, model.first.weight)[0] == 0).all()
    (node,) = torch.autograd.grad(training.training_step(batch, 0), model.user_node.weight)
    assert (node[[0, 3]] != 0).all() and node.count_nonzero() == 6


@pytest.mark.parametrize(("rate", "values"), [(0.0, {1.0}), (0.2, {0.0, 1.25}), (1.0, {0.0})])
def test_how_much_is_masked(small, made, rate, values) -> None:
    training, inputs = made(corruption_rate=rate), []
    model = training.model
    model.first.register_forward_pre_hook(lambda _, args: inputs.append(args[0].weight))
    training.training_step(batch_of(small, list(range(8)) * 1000), 0)
    assert set(inputs[0].tolist()) == values
    assert (inputs[0] == 0).double().mean().item() == pytest.approx(rate, abs=0.02)


@pytest.mark.parametrize("f", ["identity", "sigmoid"])
def test_scores_and_new_users(small, made, f) -> None:
    model = made(output_activation=f).model
    final = torch.sigmoid if f == "sigmoid" else torch.nn.Identity()
    y = clean(small)
    expected = final(naive_output(model, list(range(small.users)), y)).detach()
    assert_close(model.score(torch.arange(small.users)), expected)
    assert_close(model.score_pairs(torch.tensor([4, 8]), torch.tensor([0, 6])), expected[[4, 8], [0, 6]])
    items = y[3].nonzero().squeeze(1)
    new = model.score_history(torch.zeros_like(items), items, torch.ones(len(items)).double(), 1)
    assert_close(new, final(naive_output(model, None, y[3:4])).detach())  # no user node
    assert not torch.allclose(new[0], expected[3])
    place, items = y[[8, 5, 8, 0, 8]].nonzero().T  # users without anything before, between and after the others
    new = model.score_history(place, items, torch.ones(len(items)).double(), 5)
    assert_close(new, final(naive_output(model, None, y[[8, 5, 8, 0, 8]])).detach())


def test_what_it_asks_of_its_data(training_of) -> None:
    assert training_of(CDAE(4, 5)).request == Request("ranking", "user", None)
    request = training_of(CDAE(4, 5), negatives="uniform", num_negatives=5).request
    assert request.rows == "user" and type(request.negatives) is Uniform and request.negatives.num == 5


@pytest.mark.parametrize(
    "option",
    [
        {"corruption_rate": 2},
        {"corruption_rate": -0.5},
        {"output_activation": "tanh"},
        {"hidden_dim": 0},
    ],
)
def test_mistakes(small, made, option) -> None:
    with pytest.raises(ConfigError, match=next(iter(option))):
        made(**option)


def test_an_activation_that_there_is_not(small, made) -> None:
    with pytest.raises(ConfigError, match="hidden_activation is 'step'"):
        made(hidden_activation="step")


@pytest.mark.parametrize(
    "options",
    [
        {"negatives": "uniform", "num_negatives": 5, "precision": "bf16-mixed"},
        {"loss": "squared"},
        {"precision": "bf16-mixed"},
    ],
)
def test_it_learns(train, options) -> None:
    tied = options.get("loss") == "squared"
    before, after, _ = train(lambda *n: CDAE(*n, hidden_dim=16, tied=tied), epochs=40, l2=0.1, lr=0.02, **options)
    assert after > before + 0.05
