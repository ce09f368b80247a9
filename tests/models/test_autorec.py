"""AutoRec against loops over observed ratings, by item and by user."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from recgnn.data.interactions.loaders import RowBatch
from recgnn.errors import ConfigError, DataError
from recgnn.models import AutoRec

USERS, ITEMS = 7, 5  # user 6 and item 4 have no rating
ALPHA, SCALE = 1.6732632423543772, 1.0507009873554805
G = {
    "identity": lambda x: x,
    "sigmoid": lambda x: 1 / (1 + torch.exp(-x)),
    "tanh": lambda x: (torch.exp(2 * x) - 1) / (torch.exp(2 * x) + 1),
    "relu": lambda x: x if x > 0 else 0 * x,
    "elu": lambda x: x if x > 0 else torch.exp(x) - 1,
    "selu": lambda x: SCALE * (x if x > 0 else ALPHA * (torch.exp(x) - 1)),
}


def ratings() -> torch.Tensor:
    """A matrix [U, I] of ratings 1 to 5, 0 where there is none."""
    generator = torch.Generator().manual_seed(2)
    r = torch.randint(1, 6, (USERS, ITEMS), generator=generator).double()
    r[torch.rand(USERS, ITEMS, generator=generator) < 0.5] = 0
    r[0, 0], r[1, 0] = 1, 5
    r[6], r[:, 4] = 0, 0
    return r


def graph(r: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Edges [2, E] and their ratings [E]."""
    edges = r.nonzero().T
    return edges, r[tuple(edges)].float()


@pytest.fixture
def made(build):
    """A training on those ratings whose model has parameters that are not small."""

    def make(**options):
        training = build(AutoRec, USERS, ITEMS, *graph(ratings()), **{"hidden_dims": [3], **options})
        for parameter in training.model.parameters():
            torch.nn.init.normal_(parameter, std=0.5)
        training.model.refresh()
        return training

    return make


def batch_of(rows: list[int], by: str) -> RowBatch:
    matrix = ratings() if by == "user" else ratings().T
    place, columns = matrix[rows].nonzero().T
    return RowBatch(torch.tensor(rows), place, columns, matrix[rows][place, columns], None)


def naive_row(model: AutoRec, r: torch.Tensor, kept: torch.Tensor | None = None) -> list[torch.Tensor]:
    """h(r) of one row, unit by unit; the last hidden units times `kept`."""
    parameters = dict(model.named_parameters())
    v, mu = parameters["first.weight"], parameters["first.bias"]
    g, f = G[type(model.g).__name__.lower()], G[type(model.f).__name__.lower()]
    z = [g(mu[k] + sum(v[c, k] * r[c] for c in range(len(r)))) for k in range(v.shape[1])]
    for layer in range(len(model.hidden)):
        w, b = parameters[f"hidden.{layer}.weight"], parameters[f"hidden.{layer}.bias"]
        z = [g(b[k] + sum(w[k, j] * z[j] for j in range(len(z)))) for k in range(len(b))]
    if kept is not None:
        z = [kept[k] * z[k] for k in range(len(z))]
    w, b = parameters["decoder_weight"], parameters["decoder_bias"]
    out = [f(b[c] + sum(w[c, k] * z[k] for k in range(len(z)))) for c in range(len(r))]
    return [1 + 4 * o for o in out] if isinstance(model.f, torch.nn.Sigmoid) else out


def naive_loss(training, rows: list[int], by: str, inputs=None, kept=None) -> torch.Tensor:
    """The paper's objective over R, with the batch's rows for all; `inputs` and `kept` are per row of the batch."""
    model, matrix, total = training.model, ratings() if by == "user" else ratings().T, 0.0
    for at, row in enumerate(rows):
        h = naive_row(model, matrix[row] if inputs is None else inputs[at], None if kept is None else kept[at])
        for column, rating in enumerate(matrix[row].tolist()):
            if rating:
                total = total + (rating - h[column]) ** 2
    for name, w in model.named_parameters():
        if name.endswith("weight"):
            own = model.encoder_l2 is not None and name.startswith("first")
            l2 = model.encoder_l2 if own else training.l2
            total = total + len(rows) / len(matrix) * l2 / 2 * sum(x * x for x in w.flatten())
    return total / len(rows)


SETTINGS = [
    ("item", [3], "sigmoid", "identity"),
    ("user", [3], "sigmoid", "identity"),
    ("item", [3], "identity", "identity"),
    ("user", [3], "identity", "sigmoid"),
    ("item", [3], "sigmoid", "sigmoid"),
    ("user", [4, 2, 3], "tanh", "identity"),
    ("item", [4, 2], "relu", "identity"),
]


@pytest.mark.parametrize(("by", "dims", "g", "f"), SETTINGS)
def test_scores_are_the_equation(made, by, dims, g, f) -> None:
    model = made(by=by, hidden_dims=dims, hidden_activation=g, output_activation=f).model
    matrix = ratings() if by == "user" else ratings().T
    expected = torch.stack([torch.stack(naive_row(model, row)) for row in matrix]).detach()
    expected = expected if by == "user" else expected.T
    model.eval()
    assert_close(model.score(torch.arange(USERS)), expected)
    users, items = torch.tensor([3, 0, 6, 3]), torch.tensor([1, 4, 2, 0])
    assert_close(model.score_pairs(users, items), expected[users, items])
    assert_close(model.score(users), expected[users])
    assert_close(model.embeddings()[0].shape[0], USERS)
    known = model.predict_pairs(users, items)
    assert_close(known, expected[users, items].clamp(1, 5).to(known.dtype))


def check_gradient(model: AutoRec, found: torch.Tensor, expected: torch.Tensor) -> None:
    """Holds a loss and the gradient of every parameter against those of the loop."""
    assert_close(found, expected)
    names, parameters = zip(*model.named_parameters(), strict=True)
    right = torch.autograd.grad(expected, parameters)
    for name, ours, theirs in zip(names, torch.autograd.grad(found, parameters), right, strict=True):
        assert_close(ours, theirs, msg=lambda text, name=name: f"gradient of {name}: {text}")
        assert (theirs != 0).any(), name


@pytest.mark.parametrize(("by", "dims", "g", "f"), SETTINGS)
def test_loss_and_gradient_are_the_objectives(made, by, dims, g, f) -> None:
    other = {} if by == "item" else {"encoder_l2": 0.2}
    training = made(by=by, hidden_dims=dims, hidden_activation=g, output_activation=f, l2=0.7, **other)
    model = training.model
    rows = [1, 3, 0]
    check_gradient(model, training.training_step(batch_of(rows, by), 0), naive_loss(training, rows, by))


@pytest.mark.parametrize(("g", "f"), list(zip(G, [*list(G)[1:], "identity"], strict=True)))
def test_every_activation_inside_and_outside(made, g, f) -> None:
    training = made(by="user", hidden_activation=g, output_activation=f, l2=0.1)
    model = training.model
    rows = [2, 1]
    check_gradient(model, training.training_step(batch_of(rows, "user"), 0), naive_loss(training, rows, "user"))
    expected = torch.stack(naive_row(model, ratings()[1])).detach()
    assert_close(model.eval().score(torch.tensor([1]))[0], expected)


@pytest.mark.parametrize("by", ["item", "user"])
@pytest.mark.parametrize("size", [1, None])
def test_the_batches_of_an_epoch_add_up_to_the_objective(made, by, size) -> None:
    """Equation 2 over R, written once more for the whole matrix at a time."""
    training = made(by=by, l2=0.7)
    model = training.model
    r = ratings() if by == "user" else ratings().T
    p = dict(model.named_parameters())
    h = torch.sigmoid(r @ p["first.weight"] + p["first.bias"]) @ p["decoder_weight"].T + p["decoder_bias"]
    norm = (p["decoder_weight"] ** 2).sum() + (p["first.weight"] ** 2).sum()
    objective = (((r - h) ** 2) * (r > 0)).sum() + 0.7 / 2 * norm
    batches = torch.randperm(len(r), generator=torch.Generator().manual_seed(0)).split(size or len(r))
    steps = [training.training_step(batch_of(rows.tolist(), by), 0) for rows in batches]  # rows without a rating too
    check_gradient(model, sum(steps) / len(steps), objective / len(r))


def test_a_rating_of_zero_is_observed(made) -> None:
    """Entries tell what was observed, not the values."""
    training = made(by="user", l2=0.0)
    model = training.model
    entries = torch.tensor([0, 0]), torch.tensor([1, 3]), torch.tensor([0.0, 2.0], dtype=torch.float64)
    found = training.training_step(RowBatch(torch.tensor([4]), *entries, None), 0)
    h = naive_row(model, torch.tensor([0.0, 0, 0, 2, 0], dtype=torch.float64))
    assert_close(found, (0 - h[1]) ** 2 + (2 - h[3]) ** 2)


@pytest.mark.parametrize("by", ["item", "user"])
def test_unobserved_entries_give_no_gradient(made, by) -> None:
    training = made(by=by, l2=0.0)
    model = training.model
    batch = batch_of([0, 1], by)
    training.training_step(batch, 0).backward()
    unseen = sorted(set(range(model.num_columns)) - set(batch.columns.tolist()))
    assert unseen
    for parameter in (model.decoder_weight, model.decoder_bias, model.first.weight):
        assert (parameter.grad[unseen] == 0).all()
        assert (parameter.grad[batch.columns] != 0).any()
    before = training.training_step(batch, 0)
    with torch.no_grad():  # what is said of unobserved entries does not matter
        model.decoder_bias[unseen] += 100
    assert training.training_step(batch, 0) == before


@pytest.mark.parametrize("by", ["item", "user"])
def test_unobserved_columns_get_the_gradient_of_l2_alone(made, by) -> None:
    training = made(by=by, l2=0.6, encoder_l2=1.5)
    model = training.model
    batch = batch_of([0, 1], by)
    training.training_step(batch, 0).backward()
    unseen = sorted(set(range(model.num_columns)) - set(batch.columns.tolist()))
    rows = USERS if by == "user" else ITEMS
    assert_close(model.decoder_weight.grad[unseen], 0.6 / rows * model.decoder_weight.detach()[unseen])
    assert_close(model.first.weight.grad[unseen], 1.5 / rows * model.first.weight.detach()[unseen])
    assert (model.decoder_bias.grad[unseen] == 0).all()


@pytest.mark.parametrize("by", ["item", "user"])
@pytest.mark.parametrize("f", ["identity", "sigmoid"])
def test_the_bias_starts_at_the_mean_rating(by, f) -> None:
    model = AutoRec(USERS, ITEMS, by=by, hidden_dims=[3], output_activation=f)
    model.set_graph(*graph(ratings()))
    r = ratings()
    mean = r.sum() / (r > 0).sum()
    columns = r.T if by == "user" else r
    assert model.decoder_bias.shape == (len(columns),)
    for at, column in enumerate(columns):
        seen = column[column > 0]
        start = (seen.sum() + 5 * mean) / (len(seen) + 5)
        assert model.finish(model.decoder_bias)[at].item() == pytest.approx(start.item(), abs=1e-4)
    with torch.no_grad():
        model.decoder_bias.zero_()
    model.set_graph(*graph(r))  # once only: a trained bias stays
    assert (model.decoder_bias == 0).all()
    again = AutoRec(USERS, ITEMS, by=by, hidden_dims=[3], output_activation=f)
    again.load_state_dict(model.state_dict())
    again.set_graph(*graph(r))  # nor after it was loaded
    assert (again.decoder_bias == 0).all()
    zero = AutoRec(USERS, ITEMS, by=by, hidden_dims=[3], bias_init="zero")
    zero.set_graph(*graph(r))
    assert (zero.decoder_bias == 0).all()


def test_dropout_is_for_training_alone(made) -> None:
    training = made(by="user", dropout=0.5, input_dropout=0.5)
    model = training.model
    batch = batch_of([0, 1, 2, 3], "user")
    values = batch.values.clone()
    losses = {round(training.training_step(batch, 0).item(), 9) for _ in range(8)}
    assert len(losses) > 4 and batch.values.equal(values)
    model.eval()
    model.refresh()
    first = model.score(torch.arange(USERS))
    model.refresh()
    assert model.score(torch.arange(USERS)).equal(first)


@pytest.mark.parametrize("by", ["item", "user"])
def test_ratings_hidden_from_the_input_are_still_to_be_predicted(made, by) -> None:
    training = made(by=by, input_dropout=0.6, l2=0.3)
    model = training.model
    rows, inputs, seen = [1, 3, 0], [], set()
    batch = batch_of(rows, by)
    model.first.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    for _ in range(10):
        found, weight = training.training_step(batch, 0), inputs.pop().weight
        corrupted = torch.zeros(len(rows), model.num_columns, dtype=torch.float64)
        for place, column, value, given in zip(batch.place, batch.columns, batch.values, weight, strict=True):
            assert given == 0 or given.item() == pytest.approx(value.item() / 0.4)
            corrupted[place, column] = given
        seen.add(tuple(weight.tolist()))
        check_gradient(model, found, naive_loss(training, rows, by, inputs=corrupted))
    assert len(seen) > 4


def test_dropout_is_of_the_last_hidden_units(made) -> None:
    training = made(by="user", hidden_dims=[4, 3], hidden_activation="tanh", dropout=0.4, l2=0.3)
    model = training.model
    rows = [1, 3, 0]
    torch.manual_seed(8)
    kept = torch.nn.functional.dropout(torch.ones(3, 3, dtype=torch.float64), 0.4)
    assert 0 < (kept == 0).sum() < 9
    torch.manual_seed(8)
    found = training.training_step(batch_of(rows, "user"), 0)
    check_gradient(model, found, naive_loss(training, rows, "user", kept=kept))


def test_a_new_user_is_encoded_by_user(made) -> None:
    model = made(by="user").model.eval()
    r = ratings()
    items = r[2].nonzero().squeeze(1)
    new = torch.tensor([0.0, 4, 0, 5, 0], dtype=torch.float64)
    place = torch.cat([torch.zeros_like(items), torch.tensor([1, 1])])
    columns = torch.cat([items, torch.tensor([1, 3])])
    values = torch.cat([r[2][items], new[[1, 3]]])
    scores = model.score_history(place, columns, values, 2)
    assert_close(scores[0], model.score(torch.tensor([2]))[0])
    assert_close(scores[1], torch.stack(naive_row(model, new)).detach())
    with pytest.raises(ConfigError, match="by: user"):
        made(by="item").model.score_history(place, columns, values, 2)


def test_several_new_users_and_one_without_a_rating(made) -> None:
    model = made(by="user", hidden_dims=[4, 3], hidden_activation="elu", output_activation="sigmoid", dropout=0.5).model
    r = torch.zeros(4, ITEMS, dtype=torch.float64)
    r[0, [4, 1]], r[2, 0] = torch.tensor([2.0, 5.0], dtype=torch.float64), 3.5  # 1 and the last have nothing
    place, columns = r.nonzero().T
    scores = model.eval().score_history(place, columns, r[place, columns], 4)
    assert_close(scores, torch.stack([torch.stack(naive_row(model, row)) for row in r]).detach())


@pytest.mark.parametrize("by", ["item", "user"])
def test_scores_follow_the_parameters_after_a_refresh(made, by) -> None:
    training = made(by=by)
    model = training.model.eval()
    model.score(torch.tensor([0]))
    with torch.no_grad():
        model.first.weight.mul_(-1)
    training.on_train_epoch_start()
    matrix = ratings() if by == "user" else ratings().T
    expected = torch.stack([torch.stack(naive_row(model, row)) for row in matrix]).detach()
    assert_close(model.score(torch.arange(USERS)), expected if by == "user" else expected.T)


@pytest.mark.parametrize(("cold", "expected"), [(3.0, 3.0), (None, None)])
def test_cold_users_and_items(made, cold, expected) -> None:
    model = made(cold_rating=cold).model.eval()
    r = ratings()
    answer = (r.sum() / (r > 0).sum()).item() if expected is None else expected
    found = model.predict_pairs(torch.tensor([-1, 0, -1, 0]), torch.tensor([0, -1, -1, 0]))
    assert found[:3].tolist() == pytest.approx([answer] * 3, abs=1e-5) and found[3].item() != answer


def test_ratings_that_cannot_be() -> None:
    r = ratings()
    with pytest.raises(DataError, match="all .* ratings of the training part are 4"):
        AutoRec(USERS, ITEMS, hidden_dims=[3]).set_graph(*graph((r > 0) * 4.0))


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"hidden_dims": []}, "hidden_dims"),
        ({"hidden_dims": [0]}, "hidden_dims"),
        ({"hidden_dims": [3, -1]}, "hidden_dims"),
        ({"hidden_activation": "sinus"}, "hidden_activation is 'sinus'.*identity or sigmoid"),
        ({"output_activation": "Sigmoid"}, "output_activation is 'Sigmoid'.*did you mean 'sigmoid'"),
        ({"dropout": 1.0}, "dropout"),
        ({"dropout": -0.1}, "dropout"),
        ({"input_dropout": -0.1}, "input_dropout"),
        ({"input_dropout": 1}, "input_dropout"),
    ],
)
def test_mistakes(option, message) -> None:
    with pytest.raises(ConfigError, match=message):
        AutoRec(USERS, ITEMS, **option)


LEARNING = [
    {"by": "item", "hidden_dims": [16, 8, 16], "precision": "bf16-mixed"},
    {"by": "user", "output_activation": "sigmoid"},
    {"by": "item", "bias_init": "zero", "dropout": 0.1},
]


@pytest.mark.parametrize("options", LEARNING)
def test_it_learns(options, fit_ratings) -> None:
    """Two tastes in the log make ratings of about 4.3 and 2.5, which the mean cannot tell apart."""
    own = {"hidden_dims": [16], **options}
    precision = own.pop("precision", "32-true")
    rmse, mean_rmse = fit_ratings(lambda *n: AutoRec(*n, **own), l2=1.0, lr=0.02, precision=precision)
    assert rmse < 0.93 * mean_rmse
