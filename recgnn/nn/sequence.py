"""Behaviour sequences: the vectors of past items, DIN's activation unit and BST's transformer block."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recgnn.errors import ConfigError
from recgnn.nn.dice import UnitActivation, deep
from recgnn.nn.embedding import FieldSum
from recgnn.nn.segments import Padded, Repeat, Segments, Take, last_rows, segment_softmax, segment_sum, spread

GROUPS = 16  # of events of like length, for attention on CPU; 32 are no faster


def time_buckets(gaps: Tensor, num_buckets: int) -> Tensor:
    r""":math:`\min(\lfloor\log_2(1 + \Delta)\rfloor, n - 1)`: 0 for no time, then 1, 2 to 3, 4 to 7 seconds.

    `num_buckets` is n. Shapes: gaps [N], in seconds; [N], int64.
    """
    if torch.compiler.is_compiling():  # ONNX has no frexp
        bounds = 2.0 ** torch.arange(1, num_buckets, device=gaps.device)
        return (gaps.clamp(min=0)[..., None] + 1 >= bounds).sum(-1)
    return (torch.frexp(gaps.clamp(min=0) + 1).exponent.long() - 1).clamp(0, num_buckets - 1)


class ActivationUnit(nn.Module):
    r"""The activation unit of DIN (`Zhou et al., 2018 <https://arxiv.org/abs/1706.06978>`_, section 4.3): how relevant
    a past item h is to the target t.

    .. math:: a(h, t) = \mathrm{MLP}([h, t, h - t, h \odot t])

    Its first layer is :math:`(W_1 + W_3) h + (W_2 - W_3) t + W_4 (h \odot t)`, where the target's part is computed
    once an event.

    Args:
        dim: E.
        hidden_dims: widths of the layers.
        activation_name: of these layers.
        dropout: rate at which their units are dropped in training.

    Shapes: history [N, E], target [B, E] and segments; [N].
    """

    def __init__(
        self,
        dim: int,
        hidden_dims: Sequence[int] = (80, 40),
        activation_name: UnitActivation = "dice",
        dropout: float = 0.0,
    ):
        super().__init__()
        self.mlp = deep(4 * dim, hidden_dims, activation_name, dropout)

    def forward(self, history: Tensor, target: Tensor, segments: Segments | Padded) -> Tensor:
        first, *others = self.mlp
        assert isinstance(first, nn.Linear)
        past, own, difference, product = first.weight.chunk(4, 1)
        both = torch.cat([history, history * spread(target, segments)], 1)
        x = F.linear(both, torch.cat([past + difference, product], 1))
        x = x + spread(F.linear(target, own - difference, first.bias), segments)
        for layer in others:
            x = layer(x)
        return x.squeeze(1)


def padded_attention(qkv: Tensor, mask: Tensor, num_heads: int) -> Tensor:
    """Compute `num_heads`-head self-attention over padded events: qkv [B, L, 3E], mask [B, L]; [B, L, E]."""
    q, k, v = qkv.view(*qkv.shape[:2], 3, num_heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None]).transpose(1, 2).flatten(2)


def attention_by_length(qkv: Tensor, segments: Segments | Padded, num_heads: int, groups: int) -> Tensor:
    """Compute `num_heads`-head self-attention within each event (`segments`): qkv [M, 3E], every event with a row at
    least; [M, E].

    Events are sorted by length and cut into groups, and each group is padded to its longest. Forward and backward of
    1024 events of 1 to 101 rows, 21 in the mean, on 2 CPU cores: 620 ms in one group, 180 in 4, 130 in 8, 105 in 16
    or 32, 180 in one for each length. Nested tensors have no kernel on CPU.
    """
    if isinstance(segments, Padded):
        return padded_attention(segments.rows(qkv), segments.mask, num_heads).flatten(0, 1)
    per_group = -(-segments.lengths.numel() // groups)
    order = segments.lengths.argsort(descending=True)
    lengths = segments.lengths[order]
    longest = lengths[::per_group]
    widths = longest.repeat_interleave(per_group)[: lengths.numel()]
    first = torch.empty_like(order).index_copy(0, order, widths.cumsum(0) - widths)  # of each event, among padded rows
    rows = torch.arange(qkv.shape[0], device=qkv.device) + (first - segments.offsets[:-1])[segments.index]
    parts = list(zip(lengths.split(per_group), longest.tolist(), strict=True))
    sizes = [own.numel() * width for own, width in parts]
    padded = qkv.new_zeros(sum(sizes), qkv.shape[1]).index_copy(0, rows, qkv)
    outputs = []
    for (own, width), part in zip(parts, padded.split(sizes), strict=True):
        mask = torch.arange(width, device=own.device) < own[:, None]
        outputs.append(padded_attention(part.view(own.numel(), width, -1), mask, num_heads).flatten(0, 1))
    return Take.apply(torch.cat(outputs), rows)


class TransformerBlock(nn.Module):
    r"""The transformer layer of BST (`Chen et al., 2019 <https://arxiv.org/abs/1905.06874>`_, section 2.2).

    .. math::
        S' &= \mathrm{LayerNorm}(S + \mathrm{Dropout}(\mathrm{MH}(S))) \\
        F &= \mathrm{LayerNorm}(S' + \mathrm{Dropout}(\mathrm{LeakyReLU}(S' W_1 + b_1) W_2 + b_2)) \\
        \mathrm{MH}(S) &= [\mathrm{head}_1, \dots, \mathrm{head}_h] W^H, \quad
        \mathrm{head}_i = \mathrm{softmax}\left(\frac{S W^Q_i (S W^K_i)^\top}{\sqrt{d / h}}\right) S W^V_i

    Args:
        dim: d, divisible by the number of heads; also the width of the feed-forward layer.
        num_heads: h.
        dropout: rate.
        layer_norm: whether there are the two LayerNorms.

    Shapes: x [M, d], packed, every event with a row at least, and segments; [M, d].
    """

    def __init__(self, dim: int, num_heads: int, dropout: float = 0.0, layer_norm: bool = True):
        super().__init__()
        self.dim, self.num_heads = dim, num_heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.out = nn.Linear(dim, dim, bias=False)
        self.feed_forward = nn.Sequential(nn.Linear(dim, dim), nn.LeakyReLU(), nn.Linear(dim, dim))
        self.dropout = nn.Dropout(dropout)
        self.norms = nn.ModuleList(nn.LayerNorm(dim) if layer_norm else nn.Identity() for _ in range(2))
        for weight in (*self.qkv.weight.chunk(3), self.out.weight):
            nn.init.xavier_uniform_(weight.detach())

    def forward(self, x: Tensor, segments: Segments | Padded) -> Tensor:
        groups = GROUPS if x.device.type == "cpu" else 1
        return self.rest(x, attention_by_length(self.qkv(x), segments, self.num_heads, groups))

    def last(self, x: Tensor, segments: Segments | Padded) -> tuple[Tensor, Tensor]:
        """Compute the output of each event's last row alone, [B, d], and how that row attends to its event's rows, [M,
        h].

        The cost is linear in the length. On the events of `attention_by_length` it takes a third of the time of
        `scaled_dot_product_attention` with one query over padded keys, and a tenth of that of all outputs.
        """
        own = last_rows(x, segments)
        of_query, of_others = self.qkv.weight.split([self.dim, 2 * self.dim])
        key, value = F.linear(x, of_others).view(-1, 2, self.num_heads, self.dim // self.num_heads).unbind(1)
        query = spread(F.linear(own, of_query).view(-1, *key.shape[1:]), segments)
        weights = segment_softmax((key * query).sum(-1) * key.shape[-1] ** -0.5, segments)
        attended = segment_sum(weights[..., None] * value, segments).flatten(1)
        return self.rest(own, attended), weights

    def rest(self, x: Tensor, attended: Tensor) -> Tensor:
        """Apply the rest of the block, after the attention: x and attended [M, d]; [M, d]."""
        x = self.norms[0](x + self.dropout(self.out(attended)))
        return self.norms[1](x + self.dropout(self.feed_forward(x)))


class PaddedHistory(NamedTuple):
    """The past items of B events, padded to one length L, as exporters need them; packed ones are `data`'s `History`.

    Shapes: ids [B, L, H], values [B, L, H], lengths [B], gaps [B, L] seconds before the event, or None; each event's
    items stand on the left, oldest first.
    """

    ids: Tensor
    values: Tensor
    lengths: Tensor
    gaps: Tensor | None = None


class ItemVectors(NamedTuple):
    """Events and their histories as vectors: fields [B, F, D]; past items [N, E]; target items [B, E]; segments."""

    fields: Tensor
    history: Tensor
    target: Tensor
    segments: Segments | Padded


class ItemSide(nn.Module):
    """The vectors of events, of their target items and of the past items, all from one table.

    An item's vector is its fields' vectors side by side, E = their number times D; slots of one field are summed.

    Args:
        slots: the field of each feature of an event, [S].
        item_slots: the features that are the target item's, in the order of the history's columns, [H].

    Raises:
        ConfigError: if there are none.
    """

    item_slots: Tensor

    def __init__(self, slots: Sequence[int], item_slots: Sequence[int] | None):
        super().__init__()
        if not item_slots:
            raise ConfigError(
                "the data have no histories, of which this model is made; name the fields that past items have "
                "(data.init_args.history: {item_fields: [item]})"
            )
        fields = [slots[slot] for slot in item_slots]
        order = {field: place for place, field in enumerate(dict.fromkeys(fields))}
        self.num_fields = len(order)
        self.sum_event, self.sum_item = FieldSum(slots), FieldSum([order[field] for field in fields])
        self.register_buffer("item_slots", torch.tensor(item_slots), persistent=False)

    def forward(self, table: nn.Module, ids: Tensor, values: Tensor | None, history) -> ItemVectors:
        """Look up ids [B, S], values [B, S] or None, and a history (ids [N, H], values, lengths [B]) or None."""
        if history is None:
            none = ids.new_zeros(0, self.item_slots.numel())
            past_ids, past_values, lengths = none, None, torch.zeros_like(ids[:, 0], dtype=torch.int64)
        else:
            past_ids, past_values, lengths = history.ids, history.values, history.lengths
        segments: Segments | Padded
        if past_ids.dim() == 3:
            segments = Padded.of(lengths, past_ids.shape[1])
            past_ids, past_values = past_ids.flatten(0, 1), history.values.flatten(0, 1)
        else:
            segments = Segments.of(lengths, past_ids.shape[0])
        place = None
        if history is not None and getattr(history, "items", None) is not None:  # each item of the batch once
            rows, place = history.items.unique(return_inverse=True)
            past_ids, past_values = history.table[0][rows], history.table[1]
            past_values = None if past_values is None else past_values[rows]
        # One lookup, so that the table has one gradient.
        vectors = table(torch.cat([ids.flatten(), past_ids.flatten()]))
        x, past = (
            part.view(*own.shape, vectors.shape[1])
            for part, own in zip(vectors.split([ids.numel(), past_ids.numel()]), (ids, past_ids), strict=True)
        )
        x = x if values is None else x * values[..., None]
        past = past if past_values is None else past * past_values[..., None]
        past = self.sum_item(past).flatten(1)
        return ItemVectors(
            self.sum_event(x),
            past if place is None else Repeat.apply(past, place),
            self.sum_item(x.index_select(1, self.item_slots)).flatten(1),
            segments,
        )


def rows_of_batch(ids: Tensor, values: Tensor | None, history) -> Tensor:
    """Return the distinct rows that events (`ids`, `values`) and their `history` read with a value not 0, ascending:
    [n]."""
    parts = [(ids, values)] if history is None else [(ids, values), (history.ids, history.values)]
    return torch.cat([i.flatten() if x is None else i[x != 0] for i, x in parts]).unique()
