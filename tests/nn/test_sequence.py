"""Packed sequences against loops over events; Dice, the activation unit and the block of BST by their equations."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from recgnn.errors import ConfigError
from recgnn.nn.dice import Dice, _SharedDice, deep
from recgnn.nn.embedding import FieldEmbedding
from recgnn.nn.segments import Segments, append, pack_to_padded, segment_softmax, segment_sum, spread
from recgnn.nn.sequence import (
    ActivationUnit,
    ItemSide,
    TransformerBlock,
    attention_by_length,
    rows_of_batch,
    time_buckets,
)

LENGTHS = [[3, 0, 1, 4], [0, 2, 0], [0, 0], [5]]


def drawn(*shape: int, seed: int = 3) -> torch.Tensor:
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return x.requires_grad_()


def packed(lengths: list[int]) -> Segments:
    return Segments.of(torch.tensor(lengths), sum(lengths))


def same_gradients(ours: torch.Tensor, theirs: torch.Tensor, *inputs: torch.Tensor) -> None:
    assert_close(ours, theirs)
    up = drawn(*theirs.shape, seed=9).detach()
    found, right = (torch.autograd.grad(y, inputs, up, retain_graph=True) for y in (ours, theirs))
    for a, b in zip(found, right, strict=True):
        assert_close(a, b)


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
def test_sums_and_their_opposite(lengths, shape) -> None:
    segments, x, own = packed(lengths), drawn(sum(lengths), *shape), drawn(len(lengths), *shape)
    parts = x.split(lengths)
    same_gradients(segment_sum(x, segments), torch.stack([part.sum(0) for part in parts]), x)
    repeated = [row[None].expand(n, *shape) for row, n in zip(own, lengths, strict=True)]
    same_gradients(spread(own, segments), torch.cat(repeated), own)


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("shape", [(), (3,)])
def test_softmax_by_event(lengths, shape) -> None:
    segments, x = packed(lengths), drawn(sum(lengths), *shape)
    large = x * 3000  # whose powers overflow
    expected = torch.cat([part.softmax(0) for part in large.split(lengths)])
    same_gradients(segment_softmax(large, segments), expected, x)


@pytest.mark.parametrize("lengths", LENGTHS)
def test_a_row_at_the_end_of_each_event(lengths) -> None:
    x, own = drawn(sum(lengths), 2), drawn(len(lengths), 2, seed=4)
    found, segments = append(x, own, packed(lengths))
    expected = [torch.cat([part, row[None]]) for part, row in zip(x.split(lengths), own, strict=True)]
    same_gradients(found, torch.cat(expected), x, own)
    assert segments.lengths.tolist() == [n + 1 for n in lengths]
    assert segments.index.tolist() == [b for b, n in enumerate(lengths) for _ in range(n + 1)]
    assert segments.to_end().tolist() == [k for n in lengths for k in range(n, -1, -1)]


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("width", [1, 3, 7])
def test_padded_are_the_last_rows_to_the_right(lengths, width) -> None:
    x = drawn(sum(lengths), 2)
    rows = []
    for part in x.split(lengths):
        kept = part[max(len(part) - width, 0) :]
        rows.append(torch.cat([torch.zeros(width - len(kept), 2).double(), kept]))
    same_gradients(pack_to_padded(x, packed(lengths), width), torch.stack(rows), x)


def test_buckets_of_time() -> None:
    gaps = [0, 0.5, 1, 2, 2.9, 3, 6, 7, 8, 62, 63, 2**20 - 1, 2**22, 1e15]
    expected = [min((int(gap) + 1).bit_length() - 1, 24) for gap in gaps]
    assert expected[:9] == [0, 0, 1, 1, 1, 2, 2, 3, 3] and expected[-4:] == [6, 20, 22, 24]
    found = time_buckets(torch.tensor(gaps), 25)
    assert found.tolist() == expected and found.dtype == torch.int64
    assert time_buckets(torch.tensor([-5.0]), 25).tolist() == [0]


# ---- Dice


def dice(x: torch.Tensor, alpha: torch.Tensor, mean: torch.Tensor, var: torch.Tensor) -> torch.Tensor:
    p = 1 / (1 + torch.exp(-(x - mean) / torch.sqrt(var + 1e-8)))
    return p * x + (1 - p) * alpha * x


def test_dice_by_the_statistics_of_the_batch() -> None:
    layer, x = Dice(3).double(), drawn(6, 3)
    with torch.no_grad():
        layer.alpha.copy_(torch.tensor([0.0, 0.3, -1.2]))
    mean = x.sum(0) / 6
    var = ((x - mean) ** 2).sum(0) / 6
    same_gradients(layer(x), dice(x, layer.alpha, mean, var), x, layer.alpha)
    assert_close(layer.running_mean, 0.1 * mean.detach())
    assert_close(layer.running_var, 0.9 + 0.1 * var.detach() * 6 / 5)
    layer.eval()
    same_gradients(layer(x), dice(x, layer.alpha, layer.running_mean, layer.running_var), x, layer.alpha)
    assert set(layer.state_dict()) == {"alpha", "running_mean", "running_var"}


@pytest.mark.parametrize("rows", [0, 1])
def test_dice_of_too_few_rows_has_no_statistics(rows) -> None:
    layer, x = Dice(3).double(), drawn(rows, 3)
    same_gradients(layer(x), dice(x, layer.alpha, torch.zeros(3), torch.ones(3)), x, layer.alpha)
    assert_close(layer.running_var, torch.ones(3).double())


SHARES = ([4, 0, 3], [0, 1, 0])  # rows of each process; a single one of all has no statistics


class Context:
    """What a function keeps for its gradient; autograd itself does not live through a fork."""

    def save_for_backward(self, *tensors: torch.Tensor) -> None:
        self.saved_tensors = tensors


@torch.no_grad()
def _dice_of(rank: int, folder: str) -> None:
    """Be one of three processes."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=3)
    for sizes in SHARES:
        x, layer, other, ctx = drawn(sum(sizes), 3).split(sizes)[rank], Dice(3).double(), Dice(3).double(), Context()
        y = _SharedDice.forward(ctx, x, layer.alpha, layer.running_mean, layer.running_var, layer.momentum, layer.eps)
        gradients = _SharedDice.backward(ctx, 2 * y)[:2]
        torch.distributed.all_reduce(gradients[1])
        assert torch.equal(y, other(x)) and torch.equal(other.running_var, layer.running_var)
        torch.save([y, *gradients, layer.running_mean, layer.running_var], f"{folder}/{sum(sizes)}-{rank}.pt")
    torch.distributed.destroy_process_group()


def test_dice_by_the_rows_of_all_processes(tmp_path) -> None:
    torch.multiprocessing.start_processes(_dice_of, (str(tmp_path),), nprocs=3, start_method="fork")
    for sizes in SHARES:
        layer, x = Dice(3).double(), drawn(sum(sizes), 3)
        y = layer(x)
        gradients = torch.autograd.grad(y.square().sum(), [x, layer.alpha])
        parts = [torch.load(tmp_path / f"{sum(sizes)}-{rank}.pt") for rank in range(3)]
        for place, whole in enumerate([y, gradients[0]]):
            assert_close(torch.cat([part[place] for part in parts]), whole)
        for part in parts:
            assert_close(part[2:], [gradients[1], layer.running_mean, layer.running_var])


@pytest.mark.parametrize("training", [True, False])
def test_dice_in_half_precision(training) -> None:
    x = drawn(50, 4).detach().bfloat16().requires_grad_()
    exact = x.detach().double().requires_grad_()
    layer, other = Dice(4).train(training), Dice(4).double().train(training)
    found, expected = layer(x), other(exact)
    assert found.dtype == torch.bfloat16
    assert_close(found.double(), expected, atol=0.02, rtol=0.02)
    found.sum().backward()
    expected.sum().backward()
    assert_close(x.grad.double(), exact.grad, atol=0.05, rtol=0.05)


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("name", ["dice", "prelu", "leaky_relu", "tanh"])
def test_deep_layers_have_the_activation_at_their_width(name, batch_norm) -> None:
    layers = deep(5, [4, 3], name, dropout=0.5, batch_norm=batch_norm).double().eval()
    for parameter in layers.parameters():
        torch.nn.init.uniform_(parameter, 0.1, 0.9)
    x = found = drawn(7, 5)
    rules = {
        "dice": lambda x, a: dice(x, a, torch.tensor(0.0), torch.tensor(1.0)),
        "prelu": lambda x, a: torch.where(x > 0, x, a * x),
        "leaky_relu": lambda x, a: torch.where(x > 0, x, 0.01 * x),
        "tanh": lambda x, a: torch.tanh(x),
    }
    given = iter(layers.parameters())
    for width in (4, 3):
        found = found @ next(given).T + next(given)
        if batch_norm:
            found = found / (1 + 1e-5) ** 0.5 * next(given) + next(given)
        slope = next(given) if name in ("dice", "prelu") else None
        assert slope is None or slope.shape == (width,)
        found = rules[name](found, slope)
    found = found @ next(given).T + next(given)
    assert next(given, None) is None
    assert_close(layers(x), found)


@pytest.mark.parametrize("hidden", [[], [4], [4, 3]])
def test_activation_unit(hidden) -> None:
    lengths = [2, 0, 3]
    unit = ActivationUnit(2, hidden, "tanh").double()
    history, target = drawn(5, 2), drawn(3, 2, seed=4)
    expected = []
    for t, own in zip(target, history.split(lengths), strict=True):
        for h in own:
            x = torch.cat([h, t, h - t, h * t])
            linears = [layer for layer in unit.mlp if isinstance(layer, torch.nn.Linear)]
            for layer in linears[:-1]:
                x = torch.tanh(layer.weight @ x + layer.bias)
            expected.append((linears[-1].weight @ x + linears[-1].bias)[0])
    ours = unit(history, target, packed(lengths))
    same_gradients(ours, torch.stack(expected), history, target, *unit.parameters())


# ---- attention


def attend(qkv: torch.Tensor, heads: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Of one event, [n, 3E]: outputs [n, E], and weights [n, n, heads]."""
    n, width = qkv.shape[0], qkv.shape[1] // 3
    size = width // heads
    q, k, v = qkv[:, :width], qkv[:, width : 2 * width], qkv[:, 2 * width :]
    out, weights = [], torch.zeros(n, n, heads).double()
    for i in range(n):
        parts = []
        for head in range(heads):
            at = slice(head * size, (head + 1) * size)
            scores = torch.stack([q[i, at] @ k[j, at] for j in range(n)]) / size**0.5
            weight = scores.exp() / scores.exp().sum()
            weights[i, :, head] = weight.detach()
            parts.append(sum(weight[j] * v[j, at] for j in range(n)))
        out.append(torch.cat(parts))
    return torch.stack(out), weights


@pytest.mark.parametrize("groups", [1, 2, 3, 16])
def test_attention_within_events_of_any_length(groups) -> None:
    lengths = [3, 1, 6, 1, 2]
    qkv = drawn(13, 12)
    expected = torch.cat([attend(own, 2)[0] for own in qkv.split(lengths)])
    same_gradients(attention_by_length(qkv, packed(lengths), 2, groups), expected, qkv)


@pytest.mark.parametrize("layer_norm", [True, False])
def test_transformer_block(layer_norm) -> None:
    lengths = [3, 1, 5]
    block, x = TransformerBlock(4, 2, layer_norm=layer_norm).double(), drawn(9, 4)
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter)

    def norm(x: torch.Tensor, which: int) -> torch.Tensor:
        if not layer_norm:
            return x
        mean = x.mean(1, keepdim=True)
        var = ((x - mean) ** 2).mean(1, keepdim=True)
        return (x - mean) / torch.sqrt(var + 1e-5) * block.norms[which].weight + block.norms[which].bias

    outputs, weights = [], []
    for s in x.split(lengths):
        attended, own = attend(s @ block.qkv.weight.T, 2)
        s = norm(s + attended @ block.out.weight.T, 0)
        first, _, second = block.feed_forward
        hidden = s @ first.weight.T + first.bias
        hidden = torch.where(hidden > 0, hidden, 0.01 * hidden)
        outputs.append(norm(s + hidden @ second.weight.T + second.bias, 1))
        weights.append(own[-1])
    same_gradients(block(x, packed(lengths)), torch.cat(outputs), x, *block.parameters())
    last, of_last = block.last(x, packed(lengths))
    same_gradients(last, torch.stack([own[-1] for own in outputs]), x, *block.parameters())
    assert_close(of_last, torch.cat(weights))


def test_dropout_is_on_both_branches() -> None:
    """With all of them dropped, what is left are the two residuals."""
    block, x = TransformerBlock(4, 2, dropout=1.0), drawn(5, 4).detach().float()
    twice = torch.nn.functional.layer_norm(torch.nn.functional.layer_norm(x, (4,)), (4,))
    assert_close(block(x, packed([2, 3])), twice)
    assert_close(block.last(x, packed([2, 3]))[0], twice[[1, 4]])
    assert not torch.equal(block.eval()(x, packed([2, 3])), twice)


# ---- the item side


def test_items_of_both_sides_are_joined_field_by_field() -> None:
    """Slots 4, 1 and 2 are the item's, in this order; 1 and 2 are of one field."""
    slots, item_slots = [0, 1, 1, 2, 3], [4, 1, 2]
    table = FieldEmbedding(9, 2, std=1.0).double()
    ids, values = torch.tensor([[0, 2, 3, 6, 8], [1, 3, 2, 5, 7]]), drawn(2, 5).detach()
    past_ids, past_values = torch.tensor([[7, 2, 2], [8, 3, 4], [7, 4, 4]]), drawn(3, 3, seed=5).detach()
    past = type("History", (), {"ids": past_ids, "values": past_values, "lengths": torch.tensor([1, 2]), "gaps": None})
    found = ItemSide(slots, item_slots)(table, ids, values, past)
    w = table.weight
    for b in range(2):
        i, x = ids[b], values[b]
        assert_close(found.target[b], torch.cat([w[i[4]] * x[4], w[i[1]] * x[1] + w[i[2]] * x[2]]))
        fields = [w[i[0]] * x[0], w[i[1]] * x[1] + w[i[2]] * x[2], w[i[3]] * x[3], w[i[4]] * x[4]]
        assert_close(found.fields[b], torch.stack(fields))
    for n, (i, x) in enumerate(zip(past_ids, past_values, strict=True)):
        assert_close(found.history[n], torch.cat([w[i[0]] * x[0], w[i[1]] * x[1] + w[i[2]] * x[2]]))
    assert found.segments.index.tolist() == [0, 1, 1]


def test_rows_of_a_batch_have_a_value() -> None:
    ids, values = torch.tensor([[5, 1], [5, 3]]), torch.tensor([[1.0, 0.0], [0.5, 0.2]])
    past = type("History", (), {"ids": torch.tensor([[8], [2]]), "values": torch.tensor([[0.0], [1.0]])})
    assert rows_of_batch(ids, values, past).tolist() == [2, 3, 5]
    past.values = None
    assert rows_of_batch(ids, None, past).tolist() == [1, 2, 3, 5, 8]
    assert rows_of_batch(ids, None, None).tolist() == [1, 3, 5]


@pytest.mark.parametrize("item_slots", [None, []])
def test_without_histories(item_slots) -> None:
    with pytest.raises(ConfigError, match="data.init_args.history"):
        ItemSide([0, 1], item_slots)


@pytest.mark.parametrize("kind", ["DIN", "BST"])
def test_items_that_come_again_are_looked_up_once(kind) -> None:
    """With the rows of a table of items, or with each past item's own ids: the same logits and gradients."""
    from recgnn import models
    from recgnn.data.clicks.history import History

    torch.manual_seed(0)
    slots, item_slots = [0, 1, 2, 2], [1, 2, 3]
    table = torch.stack([torch.arange(6) + 4, torch.randint(10, 15, (6,)), torch.randint(10, 15, (6,))], 1).int()
    weights = torch.rand(6, 3)
    items, lengths = torch.tensor([2, 2, 0, 5, 2, 0]), torch.tensor([3, 0, 1, 2])
    ids = torch.cat([torch.randint(0, 4, (4, 1)), table[[1, 2, 0, 3]].long()], 1)
    more = {"embedding_dim": 4, "hidden_dims": [5]} | ({"num_heads": 2} if kind == "BST" else {})
    model = getattr(models, kind)([4, 6, 5], slots, item_slots, **more).eval()
    plain = History(table[items], weights[items], lengths, None)
    found = []
    for history in (plain, plain._replace(items=items, table=(table, weights))):
        logits = model(ids, torch.ones(4, 4), history)
        found.append((logits, torch.autograd.grad(logits.sin().sum(), list(model.parameters()), allow_unused=True)))
    torch.testing.assert_close(found[0], found[1])
    assert found[0][0].std() > 0
