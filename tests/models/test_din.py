"""DIN against a loop over events and past items; the statistics of Dice, and the paper's regularisation."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.testing import assert_close

from recgnn.data import CTRDataModule, FrameLog
from recgnn.data.clicks.history import Histories, History
from recgnn.errors import ConfigError
from recgnn.models.din import DIN

ITEM_SLOTS = [1, 2, 3, 4]  # a categorical field and one of three values
LENGTHS = [3, 0, 1, 5, 2]


def dice(rows: list[Tensor], layer, training: bool) -> list[Tensor]:
    if training and len(rows) > 1:
        mean = sum(rows) / len(rows)
        var = sum((row - mean) ** 2 for row in rows) / len(rows)
    else:
        mean, var = layer.running_mean, layer.running_var
    p = [1 / (1 + torch.exp(-(row - mean) / torch.sqrt(var + 1e-8))) for row in rows]
    return [gate * row + (1 - gate) * layer.alpha * row for gate, row in zip(p, rows, strict=True)]


def layer_by_layer(layers, rows: list[Tensor], training: bool) -> list[Tensor]:
    for layer in layers:
        if isinstance(layer, torch.nn.Linear):
            rows = [layer.weight @ row + layer.bias for row in rows]
        elif isinstance(layer, torch.nn.PReLU):
            rows = [torch.where(row > 0, row, layer.weight * row) for row in rows]
        else:
            rows = dice(rows, layer, training)
    return rows


def naive(model: DIN, events, past: History, training: bool = False) -> tuple[Tensor, list[Tensor]]:
    """Logits [B], and each event's weights of its past items."""
    w = model.embedding.weight
    fields, targets, histories = [], [], []
    start = 0
    for b, n in enumerate(past.lengths.tolist()):
        own = [[w[events.ids[b, s]] * events.values[b, s] for s in range(6) if events.slots[s] == f] for f in range(4)]
        own = [sum(vectors) for vectors in own]
        fields.append(torch.cat(own))
        targets.append(torch.cat(own[1:3]))
        items = []
        for i, x in zip(past.ids[start : start + n], past.values[start : start + n], strict=True):
            genres = w[i[1]] * x[1] + w[i[2]] * x[2] + w[i[3]] * x[3]
            items.append(torch.cat([w[i[0]] * x[0], genres]))
        histories.append(items)
        start += n
    flat = [(b, h) for b, items in enumerate(histories) for h in items]
    if model.attention_kind == "none":
        scores = [torch.ones(1).double() for _ in flat]
    else:
        pairs = [torch.cat([h, targets[b], h - targets[b], h * targets[b]]) for b, h in flat]
        scores = layer_by_layer(model.unit.mlp, pairs, training)
    weights, pooled = [], []
    for b in range(len(histories)):
        own = [score for score, (event, _) in zip(scores, flat, strict=True) if event == b]
        if model.attention_kind == "softmax":
            own = [score.exp() / sum(other.exp() for other in own) for score in own]
        weights.append(own)
        zero = torch.zeros_like(targets[0])
        pooled.append(sum((a * h for a, h in zip(own, histories[b], strict=True)), start=zero))
    rows = [torch.cat([x, v]) for x, v in zip(fields, pooled, strict=True)]
    return model.bias + torch.cat(layer_by_layer(model.mlp, rows, training)), [a for own in weights for a in own]


@pytest.fixture
def make(ctr_model):
    def of(**options) -> DIN:
        given = {"embedding_dim": 3, "hidden_dims": [4, 3], "attention_dims": [5, 2], "dropout": 0.0} | options
        model = ctr_model(DIN, item_slots=ITEM_SLOTS, **given)
        for name, buffer in model.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_()
            elif name.endswith("running_var"):
                buffer.uniform_(0.2, 2)
        return model

    return of


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("activation", ["dice", "prelu"])
@pytest.mark.parametrize("attention", ["din", "softmax", "none"])
def test_forward_and_gradient(attention, activation, training, make, events, past) -> None:
    """In training Dice has the statistics of all past items that there are, and of all events."""
    model = make(attention=attention, activation=activation, attention_activation=activation).train(training)
    expected, weights = naive(model, events, past, training)
    found = model(events.ids, events.values, past)
    assert_close(found, expected)
    up = torch.arange(1.0, 6).double()
    parameters = dict(model.named_parameters())
    right = torch.autograd.grad(expected, list(parameters.values()), up)
    ours = torch.autograd.grad(found, list(parameters.values()), up)
    for name, a, b in zip(parameters, ours, right, strict=True):
        assert torch.allclose(a, b, atol=1e-7), name
    told = model.attention(events.ids, events.values, past)
    assert_close(told, torch.cat(weights).detach())
    if attention == "softmax":
        assert_close(torch.stack([own.sum() for own in told.split(LENGTHS)]), torch.tensor([1.0, 0, 1, 1, 1]).double())


def test_gradient_reaches_the_table_from_both_sides(make, events, past) -> None:
    """A row gets the sum of what it gets as a part of the target and of the past: of the formula with two tables."""
    model = make()
    (whole,) = torch.autograd.grad(model(events.ids, events.values, past).sum(), model.embedding.weight)
    assert 7 not in events.ids and whole[7].abs().sum() > 0
    sides = []
    for target in (True, False):
        table = model.embedding.weight.detach().clone().requires_grad_()
        other = table.detach()
        ids = torch.cat([events.ids.flatten(), past.ids.flatten()])
        own = torch.arange(ids.numel())[:, None] < events.ids.numel()
        vectors = torch.where(own, (table if target else other)[ids], (other if target else table)[ids])
        items = model.items(lambda _, vectors=vectors: vectors, events.ids, events.values, past)
        pooled = [part.sum(0) for part in (items.history * model.weights(items)[:, None]).split(LENGTHS)]
        x = torch.cat([items.fields.flatten(1), torch.stack(pooled)], 1)
        sides.append(torch.autograd.grad(model.mlp(x).sum(), table)[0])
    assert all(side.abs().sum() > 0 for side in sides)
    assert_close(whole, sides[0] + sides[1])


@pytest.mark.parametrize("attention", ["din", "softmax", "none"])
@pytest.mark.parametrize("training", [False, True])
def test_a_batch_without_any_history(training, attention, make, events, past) -> None:
    model = make(attention=attention).train(training)
    empty = History(past.ids[:0], past.values[:0], torch.zeros(5, dtype=torch.int64), None)
    expected, _ = naive(model, events, empty, training)
    for history in (None, empty, empty._replace(values=None)):
        assert_close(model(events.ids, events.values, history), expected)
    model(events.ids, events.values).sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


@pytest.mark.parametrize("attention", ["din", "softmax", "none"])
def test_others_in_the_batch_and_padding_have_no_effect(attention, make, events, past) -> None:
    model = make(attention=attention).float()
    ids, values = events.ids, events.values.float()
    past = past._replace(values=past.values.float())
    whole = model(ids, values, past)
    start = 0
    for b, n in enumerate(LENGTHS):
        at = slice(start, start + n)
        alone = History(past.ids[at], past.values[at], past.lengths[b : b + 1], None)
        assert_close(model(ids[b : b + 1], values[b : b + 1], alone), whole[b : b + 1], atol=1e-6, rtol=0)
        start += n
    other = past.ids.masked_fill(past.values == 0, 14)
    assert not torch.equal(other, past.ids)
    assert_close(model(ids, values, past._replace(ids=other)), whole, atol=1e-6, rtol=0)


def test_statistics_of_dice_are_of_past_items_alone(make, events, past) -> None:
    """Events without a history do not enter the activation unit's, whose rows are those of the other events."""
    models = [make().train() for _ in range(2)]
    models[0](events.ids, events.values, past)
    twice = events.ids[1:2].expand(20, -1), events.values[1:2].expand(20, -1)
    more = past._replace(lengths=torch.cat([past.lengths, torch.zeros(20, dtype=torch.int64)]))
    models[1](torch.cat([events.ids, twice[0]]), torch.cat([events.values, twice[1]]), more)
    (first, second) = ({n: b for n, b in model.unit.named_buffers()} for model in models)
    assert len(first) == 4
    for name, buffer in first.items():
        assert_close(buffer, second[name])
    assert not torch.equal(models[0].mlp[1].running_mean, models[1].mlp[1].running_mean)  # these are of events


# ---- regularisation


def rows_with_a_value(events, past: History) -> set[int]:
    pairs = zip(events.ids.flatten().tolist() + past.ids.flatten().tolist(),
                events.values.flatten().tolist() + past.values.flatten().tolist(), strict=True)  # fmt: skip
    return {row for row, value in pairs if value}


def penalty_gradients(training, batch) -> list[Tensor]:
    gradients = []
    for training.model.l2 in (0.3, 0.0):
        gradients.append(torch.autograd.grad(training.training_step(batch, 0), list(training.parameters())))
    return [a - b for a, b in zip(*gradients, strict=True)]


@pytest.mark.parametrize("rule", ["adam", "lazy_adam"])
@pytest.mark.parametrize("l2_on", ["mba", "batch"])
def test_regularisation_of_the_batchs_rows(l2_on, rule, make, click_step, events, past) -> None:
    """Paper, eq. 7: the gradient of row j is lambda alpha_mj / n_j w_j, alpha_mj being whether the batch has it."""
    model = make()
    training = click_step(model, l2_on=l2_on, l2=0.3, table_optimizer=rule)
    counts = torch.arange(17) * 2 + 1
    counts[9] = 0  # a row that train never had
    training.set_counts(counts)
    batch = events.batch._replace(history=past)
    rows = rows_with_a_value(events, past)
    assert 9 in rows and len(rows) < 17
    expected = torch.zeros(17, 3).double()
    for row in rows:
        share = 1 / 5 if l2_on == "batch" else 1 / max(int(counts[row]), 1)
        expected[row] = 0.3 * share * model.embedding.weight[row].detach()
    for (name, _), found in zip(model.named_parameters(), penalty_gradients(training, batch), strict=True):
        assert found.is_sparse == (name == "embedding.weight" and rule == "lazy_adam")
        found = found.to_dense() if found.is_sparse else found
        assert torch.allclose(found, expected if name == "embedding.weight" else torch.zeros(()).double()), name


def test_counts_stay_out_of_checkpoints_and_are_asked_for(make, click_step, events, past) -> None:
    training = click_step(make(), l2=1e-3, l2_on="mba")
    batch = events.batch._replace(history=past)
    with pytest.raises(ConfigError, match="l2_on: mba needs how often"):
        training.training_step(batch, 0)
    training.set_counts(torch.ones(17))
    assert training.training_step(batch, 0) > 0
    assert "counts" not in training.state_dict()


def test_counts_come_from_the_data(tmp_path, training_of, trainer_for) -> None:
    random = np.random.default_rng(0)
    user, item, label = random.integers(6, size=90), random.integers(5, size=90), random.integers(2, size=90)
    frame = pd.DataFrame({"user": user, "item": item, "label": label, "timestamp": np.arange(90)})
    data = CTRDataModule(
        FrameLog(frame),
        fields={"user": "categorical", "item": "categorical"},
        history=Histories(["item"], max_length=3),
        cache_dir=str(tmp_path),
    )
    data.prepare_data()
    training = training_of(DIN(data.field_dims, data.slots, data.item_slots, 2, [3]), l2_on="mba")
    trainer_for(1).fit(training, data)
    assert_close(training.counts, data.row_counts())
    assert training.counts.sum() > 2 * len(data.prepared.train)


def test_mistakes() -> None:
    with pytest.raises(ConfigError, match="attention is 'soft_max' .did you mean 'softmax'"):
        DIN([3, 4], item_slots=[1], attention="soft_max")
    with pytest.raises(ConfigError, match="histories"):
        DIN([3, 4])


@pytest.mark.parametrize("attention", ["din", "softmax", "none"])
def test_it_learns_from_the_history_what_no_field_tells(attention) -> None:
    """An item has a kind and a taste; the click says which taste the user has of the target's kind."""
    torch.manual_seed(0)
    count, length = 512, 8
    ids = torch.stack([torch.zeros(count).long(), torch.randint(2, (count,)) + 1], 1)  # a context; the target's kind
    kind, like = torch.randint(2, (count, length)), torch.randint(2, (count, 2))
    kind[:, :2] = torch.tensor([0, 1])
    labels = like.gather(1, ids[:, 1:] - 1).squeeze(1).float()
    items = 3 + 2 * kind + like.gather(1, kind)
    past = History(items.flatten()[:, None], None, torch.full((count,), length), None)
    model = DIN([1, 6], None, [1], 8, [16], attention, [16], init_std=0.3)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(80):
        loss = F.binary_cross_entropy_with_logits(model(ids, None, past), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.2
    with torch.no_grad():
        assert F.binary_cross_entropy_with_logits(model.eval()(ids, None, past), labels) < 0.25
