"""BST against a loop over events, positions and heads, written from the paper's equations."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.testing import assert_close

from recgnn.data.clicks.history import History
from recgnn.errors import ConfigError
from recgnn.models.bst import BST

ITEM_SLOTS = [1, 2, 3, 4]  # a categorical field and one of three values
LENGTHS = [3, 0, 1, 5, 2]
MAX_LENGTH = 4


@pytest.fixture
def make(ctr_model):
    def of(**options) -> BST:
        given = {"embedding_dim": 4, "hidden_dims": [5, 3], "num_heads": 2, "max_length": MAX_LENGTH} | options
        return ctr_model(BST, item_slots=ITEM_SLOTS, **given)

    return of


def norm(x: Tensor, layer) -> Tensor:
    if isinstance(layer, torch.nn.Identity):
        return x
    mean = sum(x) / len(x)
    return (x - mean) / torch.sqrt(sum((x - mean) ** 2) / len(x) + 1e-5) * layer.weight + layer.bias


def transform(block, rows: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """A block's outputs of one sequence, and how its last row attends to each, by head."""
    width = rows[0].numel()
    size = width // block.num_heads
    to_q, to_k, to_v = (block.qkv.weight[i * width : (i + 1) * width] for i in range(3))
    outputs = []
    for row in rows:
        heads, told = [], []
        for head in range(block.num_heads):
            at = slice(head * size, (head + 1) * size)
            powers = [torch.exp((to_q[at] @ row) @ (to_k[at] @ other) / size**0.5) for other in rows]
            weights = [power / sum(powers) for power in powers]
            heads.append(sum(weight * (to_v[at] @ other) for weight, other in zip(weights, rows, strict=True)))
            told.append(torch.stack(weights))
        s = norm(row + block.out.weight @ torch.cat(heads), block.norms[0])
        first, _, second = block.feed_forward
        hidden = first.weight @ s + first.bias
        hidden = torch.where(hidden > 0, hidden, 0.01 * hidden)
        outputs.append(norm(s + second.weight @ hidden + second.bias, block.norms[1]))
    return outputs, torch.stack(told, 1)


def position_of(model: BST, gap: float | None, to_target: int) -> int:
    if model.position_kind == "time" and gap is not None:
        return min((int(gap) + 1).bit_length() - 1, 31)
    return min(to_target, 31 if model.position_kind == "time" else MAX_LENGTH)


def naive(model: BST, events, past: History) -> tuple[Tensor, Tensor]:
    """Logits [B], and the weights of the past items, mean over the heads, [N]."""
    w, logits, told, start = model.embedding.weight, [], [], 0
    for b, n in enumerate(past.lengths.tolist()):
        own = [[w[events.ids[b, s]] * events.values[b, s] for s in range(6) if events.slots[s] == f] for f in range(4)]
        own = [sum(vectors) for vectors in own]
        rows = []
        for k in range(start, start + n):
            i, x = past.ids[k], past.values[k]
            item = [w[i[0]] * x[0], w[i[1]] * x[1] + w[i[2]] * x[2] + w[i[3]] * x[3]]
            if model.position is not None:
                gap = None if past.gaps is None else past.gaps[k].item()
                item.append(model.position.weight[position_of(model, gap, start + n - k)])
            rows.append(torch.cat(item))
        rows.append(torch.cat(own[1:3] + ([] if model.position is None else [model.position.weight[0]])))
        start += n
        for block in model.blocks:
            rows, weights = transform(block, rows)
        told += list(weights.mean(1)[:-1])
        if model.pooling == "target":
            pooled = [rows[-1]]
        elif model.pooling == "mean":
            pooled = [sum(rows) / len(rows)]
        else:
            kept = rows[-MAX_LENGTH - 1 :]
            pooled = [torch.zeros_like(rows[0])] * (MAX_LENGTH + 1 - len(kept)) + kept
        x = torch.cat(own + pooled)
        for layer in model.mlp:
            if isinstance(layer, torch.nn.Linear):
                x = layer.weight @ x + layer.bias
            elif isinstance(layer, torch.nn.LeakyReLU):
                x = torch.where(x > 0, x, 0.01 * x)
        logits.append(model.bias + x[0])
    return torch.stack(logits), torch.stack(told).detach()


def check(model: BST, events, past: History) -> None:
    """Logits, the gradient of every parameter, and the weights that are told."""
    expected, weights = naive(model, events, past)
    found = model(events.ids, events.values, past)
    assert_close(found, expected)
    up = torch.arange(1.0, 6).double()
    parameters = dict(model.named_parameters())
    right = torch.autograd.grad(expected, list(parameters.values()), up)
    ours = torch.autograd.grad(found, list(parameters.values()), up)
    for name, a, b in zip(parameters, ours, right, strict=True):
        assert torch.allclose(a, b, atol=1e-7), name
    assert_close(model.attention(events.ids, events.values, past), weights)


@pytest.mark.parametrize("pooling", ["target", "mean", "concat"])
@pytest.mark.parametrize("blocks", [1, 3])
def test_forward_and_gradient(blocks, pooling, make, events, past) -> None:
    check(make(num_blocks=blocks, pooling=pooling), events, past)


@pytest.mark.parametrize("position", ["time", "order", "none"])
@pytest.mark.parametrize("timed", [True, False])
def test_positions(timed, position, make, events, past) -> None:
    """The longest history has more items than the order has positions."""
    check(make(position=position, layer_norm=position == "order"), events, past if timed else past._replace(gaps=None))


def test_without_a_time_the_order_counts(make, events, past) -> None:
    model, untimed = make(position="time"), past._replace(gaps=None)
    of_event = past._replace(ids=past.ids.flip(0)[5:7], values=past.values.flip(0)[5:7], lengths=torch.tensor([2]))
    ids, values = events.ids[:1], events.values[:1]
    for one, same in ((of_event._replace(gaps=torch.tensor([9.0, 9])), True), (of_event._replace(gaps=None), False)):
        turned = one._replace(ids=one.ids.flip(0), values=one.values.flip(0))
        assert torch.allclose(model(ids, values, one), model(ids, values, turned)) == same
    assert not torch.allclose(model(events.ids, events.values, past), model(events.ids, events.values, untimed))


@pytest.mark.parametrize("blocks", [1, 2])
@pytest.mark.parametrize("pooling", ["target", "mean", "concat"])
def test_others_in_the_batch_and_padding_have_no_effect(pooling, blocks, make, events, past) -> None:
    """Batches of one event, of all, and of one whose longest history is ten times as long."""
    model = make(pooling=pooling, num_blocks=blocks).float()
    ids, values, past = events.ids, events.values.float(), past._replace(values=past.values.float())
    whole, start = model(ids, values, past), 0
    many = History(past.ids.repeat(5, 1), past.values.repeat(5, 1), torch.tensor([55]), past.gaps.repeat(5))
    for b, n in enumerate(LENGTHS):
        at = slice(start, start + n)
        alone = History(past.ids[at], past.values[at], past.lengths[b : b + 1], past.gaps[at])
        assert_close(model(ids[b : b + 1], values[b : b + 1], alone), whole[b : b + 1], atol=1e-6, rtol=0)
        both = History(*(torch.cat(pair) for pair in zip(alone[:4], many[:4], strict=True)))
        found = model(ids[[b, 0]], values[[b, 0]], both)[:1]
        assert_close(found, whole[b : b + 1], atol=1e-6, rtol=0)
        start += n
    other = past.ids.masked_fill(past.values == 0, 14)
    assert not torch.equal(other, past.ids)
    assert_close(model(ids, values, past._replace(ids=other)), whole, atol=1e-6, rtol=0)


@pytest.mark.parametrize("pooling", ["target", "mean", "concat"])
def test_a_batch_without_any_history(pooling, make, events, past) -> None:
    """The target is alone in its sequence."""
    model = make(pooling=pooling)
    empty = History(past.ids[:0], past.values[:0], torch.zeros(5, dtype=torch.int64), past.gaps[:0])
    w, expected = model.embedding.weight, []
    for ids, values in zip(events.ids, events.values, strict=True):
        own = [sum(w[ids[s]] * values[s] for s in range(6) if events.slots[s] == f) for f in range(4)]
        (row,), _ = transform(model.blocks[0], [torch.cat([*own[1:3], model.position.weight[0]])])
        before = row.new_zeros(row.numel() * MAX_LENGTH if pooling == "concat" else 0)
        expected.append(model.bias + model.mlp(torch.cat([*own, before, row])[None])[0, 0])
    for history in (None, empty, empty._replace(values=None, gaps=None)):
        assert_close(model(events.ids, events.values, history), torch.stack(expected))
    model.train()(events.ids, events.values).sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


@pytest.mark.parametrize(("l2_on", "rule"), [("batch", "adam"), ("batch", "lazy_adam"), ("table", "adam")])
def test_regularisation(l2_on, rule, make, click_step, events, past) -> None:
    """Of the rows of targets and histories alike, each once over the number of events; not of positions."""
    model = make()
    training = click_step(model, l2_on=l2_on, l2=0.3, table_optimizer=rule)
    batch = events.batch._replace(history=past)
    gradients = []
    for model.l2 in (0.3, 0.0):
        gradients.append(torch.autograd.grad(training.training_step(batch, 0), list(model.parameters())))
    rows = {int(i) for ids, x in ((events.ids, events.values), (past.ids, past.values)) for i in ids[x != 0]}
    assert 7 in rows and 7 not in events.ids and len(rows) < 17
    expected = torch.zeros(17, 4).double()
    for row in rows if l2_on == "batch" else range(17):
        expected[row] = 0.3 / (5 if l2_on == "batch" else 1) * model.embedding.weight[row].detach()
    for (name, _), a, b in zip(model.named_parameters(), *gradients, strict=True):
        assert a.is_sparse == (name == "embedding.weight" and rule == "lazy_adam")
        found = (a - b).to_dense() if a.is_sparse else a - b
        assert torch.allclose(found, expected if name == "embedding.weight" else torch.zeros(()).double()), name


def test_mistakes() -> None:
    with pytest.raises(ConfigError, match="num_heads must divide .* 3 heads and 8 = 2 vectors of embedding_dim 4"):
        BST([3, 4], item_slots=[1], embedding_dim=4, num_heads=3)
    with pytest.raises(ConfigError, match="position is 'times' .did you mean 'time'"):
        BST([3, 4], item_slots=[1], position="times")
    with pytest.raises(ConfigError, match="pooling"):
        BST([3, 4], item_slots=[1], pooling="sum")
    with pytest.raises(ConfigError, match="num_blocks is 0"):
        BST([3, 4], item_slots=[1], num_blocks=0)
    with pytest.raises(ConfigError, match="histories"):
        BST([3, 4])


@pytest.mark.parametrize("own", [None, 0.5])
def test_positions_begin_at_a_size_of_their_own(own: float | None) -> None:
    torch.manual_seed(1)
    model = BST([3000, 4], item_slots=[1], embedding_dim=8, max_length=400, init_std=0.05, position_std=own)
    assert model.embedding.weight.std().item() == pytest.approx(0.05, rel=0.05)
    assert model.position.weight.std().item() == pytest.approx(own or 0.05, rel=0.05)


def test_it_learns_from_the_time_what_no_item_tells() -> None:
    """The click is whether the one past item of the target's kind was there within the last minute."""
    torch.manual_seed(0)
    count, length = 256, 4
    target = torch.randint(4, (count,))
    items = torch.rand(count, length).argsort(1)  # each kind once
    gaps = torch.where(torch.rand(count, length) < 0.5, 20.0, 9000.0)
    labels = (gaps.gather(1, items.argsort(1).gather(1, target[:, None])) < 60).squeeze(1).float()
    ids = torch.stack([torch.zeros(count).long(), 1 + target], 1)
    past = History(1 + items.flatten()[:, None], None, torch.full((count,), length), gaps.flatten())
    losses = {}
    for position in ("time", "none"):
        torch.manual_seed(0)
        model = BST([1, 4], None, [1], 8, 2, position=position, hidden_dims=[16], dropout=0.0, init_std=0.3)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        for _ in range(100):
            loss = F.binary_cross_entropy_with_logits(model(ids, None, past), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        losses[position] = float(loss.detach())
    assert losses["time"] < 0.2 and losses["none"] > 0.5
