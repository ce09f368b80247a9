"""Behaviour sequences, packed: sums and softmax by event, Dice, DIN's activation unit and BST's transformer block."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from recgnn.errors import ConfigError
from recgnn.nn.autoencoder import Activation, activation
from recgnn.nn.embedding import FieldSum, summed_by_row
from recgnn.nn.mlp import MLP

UnitActivation = Literal[Activation, "dice", "prelu", "leaky_relu"]
GROUPS = 16  # of events of like length, for attention on CPU; 32 are no faster


class Segments(NamedTuple):
    """Whose each of N packed rows is: lengths [B]; the event of each row, [N]; each event's first row, and N, [B+1]."""

    lengths: Tensor
    index: Tensor
    offsets: Tensor

    @classmethod
    def of(cls, lengths: Tensor, total: int) -> Segments:
        """Of the events' lengths [B], and their sum."""
        return cls(lengths, torch.repeat_interleave(lengths, output_size=total), F.pad(lengths.cumsum(0), (1, 0)))

    def to_end(self) -> Tensor:
        """The rows of its event that follow each row: 0 for the last, [N]."""
        rows = torch.arange(self.index.numel(), device=self.index.device)
        return (self.offsets[1:] - 1).index_select(0, self.index) - rows


def _sum(x: Tensor, segments: Segments) -> Tensor:
    """`segment_sum` without a gradient, by the fastest kernel of the device."""
    if x.device.type == "cpu" and x.shape[0]:
        rows = torch.arange(x.shape[0])
        bags = F.embedding_bag(rows, x.reshape(x.shape[0], -1), segments.offsets, mode="sum", include_last_offset=True)
        return bags.view(-1, *x.shape[1:])
    return x.new_zeros(segments.lengths.numel(), *x.shape[1:]).index_add_(0, segments.index, x)


class _SegmentSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, segments: Segments) -> Tensor:
        ctx.segments = segments
        return _sum(x, segments)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient.index_select(0, ctx.segments.index), None


class _Spread(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, segments: Segments) -> Tensor:
        ctx.segments = segments
        return x.index_select(0, segments.index)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        return _sum(gradient.contiguous(), ctx.segments), None


class _Take(torch.autograd.Function):
    """Rows of x, each once at most, whose gradient is written in place instead of added up."""

    @staticmethod
    def forward(ctx, x: Tensor, rows: Tensor) -> Tensor:
        ctx.save_for_backward(rows)
        ctx.shape = x.shape
        return x.index_select(0, rows)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient.new_zeros(ctx.shape).index_copy_(0, ctx.saved_tensors[0], gradient), None


class _Repeat(torch.autograd.Function):
    """Rows of x, each once or more, whose gradient is summed by sorted rows."""

    @staticmethod
    def forward(ctx, x: Tensor, rows: Tensor) -> Tensor:
        ctx.save_for_backward(rows)
        return x.index_select(0, rows)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        return summed_by_row(ctx.saved_tensors[0], gradient)[1], None


def segment_sum(x: Tensor, segments: Segments) -> Tensor:
    """The sum of each event's rows, 0 for an event without: x [N, …]; [B, …]."""
    return _SegmentSum.apply(x, segments)


def spread(x: Tensor, segments: Segments) -> Tensor:
    """Each event's row, once for each of its packed rows: x [B, …]; [N, …]."""
    return _Spread.apply(x, segments)


def segment_softmax(scores: Tensor, segments: Segments) -> Tensor:
    """Softmax over each event's rows, in single precision at least: scores [N, …]; [N, …]."""
    if scores.dtype in (torch.float16, torch.bfloat16):
        scores = scores.float()
    if not scores.shape[0]:
        return scores
    top = torch.segment_reduce(scores.detach(), "max", lengths=segments.lengths, axis=0, unsafe=True)
    powers = (scores - top.index_select(0, segments.index)).exp()
    return powers / spread(segment_sum(powers, segments), segments)


def append(x: Tensor, own: Tensor, segments: Segments) -> tuple[Tensor, Segments]:
    """Packed rows with one more at the end of each event: x [N, …], own [B, …]; [N + B, …] and its segments."""
    longer = Segments.of(segments.lengths + 1, x.shape[0] + own.shape[0])
    rows = torch.arange(x.shape[0], device=x.device) + segments.index
    place = torch.cat([rows, longer.offsets[1:] - 1])
    both = torch.cat([x, own])
    return torch.empty_like(both).index_copy(0, place, both), longer


def pack_to_padded(x: Tensor, segments: Segments, width: int) -> Tensor:
    """The last `width` rows of each event, to the right, zeros to their left: x [N, …]; [B, width, …]."""
    size, to_end = segments.lengths.numel(), segments.to_end()
    place = torch.where(to_end < width, (segments.index + 1) * width - 1 - to_end, size * width)  # the rest: behind all
    padded = x.new_zeros(size * width + 1, *x.shape[1:]).index_copy(0, place, x)
    return padded[:-1].view(size, width, *x.shape[1:])


def time_buckets(gaps: Tensor, num_buckets: int) -> Tensor:
    r""":math:`\min(\lfloor\log_2(1 + \Delta)\rfloor, n - 1)`: 0 for no time, then 1, 2 to 3, 4 to 7 seconds.

    Shapes: gaps [N], in seconds; [N], int64.
    """
    return (torch.frexp(gaps.clamp(min=0) + 1).exponent.long() - 1).clamp(0, num_buckets - 1)


class _Dice(torch.autograd.Function):
    """Dice by the batch's statistics, in two thirds of the time of autograd's steps."""

    @staticmethod
    def forward(ctx, x: Tensor, alpha: Tensor, mean: Tensor, var: Tensor, momentum: float, eps: float) -> Tensor:
        p, mean, rstd = torch.native_batch_norm(x, None, None, mean, var, True, momentum, eps)
        p.sigmoid_()
        ctx.save_for_backward(x, p, alpha, mean, rstd)
        ctx.eps = eps
        return torch.addcmul(alpha, p, 1 - alpha).mul_(x).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, p, alpha, mean, rstd = ctx.saved_tensors
        of_x = gradient * x
        of_p = of_x * p
        of_alpha = of_x.sum(0, dtype=alpha.dtype) - of_p.sum(0, dtype=alpha.dtype)
        of_p.addcmul_(of_p, p, value=-1)  # g x p (1 - p)
        wanted = [True, False, False]
        grad = torch.ops.aten.native_batch_norm_backward(
            of_p, x, 1 - alpha, None, None, mean, rstd, True, ctx.eps, wanted
        )[0]
        return grad.addcmul_(gradient, torch.addcmul(alpha, p, 1 - alpha).to(x.dtype)), of_alpha, None, None, None, None


class Dice(nn.Module):
    r"""The data adaptive activation of DIN (`Zhou et al., 2018 <https://arxiv.org/abs/1706.06978>`_, section 5.2).

    .. math::
        f(s) = p(s) s + (1 - p(s)) \alpha s, \quad
        p(s) = \sigma\left(\frac{s - E[s]}{\sqrt{Var[s] + \epsilon}}\right)

    Mean and variance are those of the rows that are given, and moving averages in evaluation; packed rows have no
    padding that would enter them. A single row has no variance: then the moving averages are used.

    Args:
        dim: C.
        eps: epsilon.
        momentum: what a batch adds to the moving averages.

    Shapes: [N, C]; [N, C].
    """

    def __init__(self, dim: int, eps: float = 1e-8, momentum: float = 0.1):
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.alpha = nn.Parameter(torch.zeros(dim))
        self.register_buffer("running_mean", torch.zeros(dim))
        self.register_buffer("running_var", torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        if self.training and x.shape[0] > 1:
            return _Dice.apply(x, self.alpha, self.running_mean, self.running_var, self.momentum, self.eps)
        alpha = self.alpha.to(x.dtype)
        p = F.batch_norm(x, self.running_mean, self.running_var, eps=self.eps).sigmoid()
        return (alpha + (1 - alpha) * p) * x

    def extra_repr(self) -> str:
        return f"{self.alpha.numel()}"


def unit_activation(name: UnitActivation, dim: int) -> nn.Module:
    """The activation of a name, for rows of `dim` values."""
    if name == "dice":
        return Dice(dim)
    if name == "prelu":
        return nn.PReLU(dim)
    return nn.LeakyReLU() if name == "leaky_relu" else activation(name)


def deep(
    in_dim: int,
    hidden_dims: Sequence[int],
    activation_name: UnitActivation,
    dropout: float = 0.0,
    batch_norm: bool = False,
) -> MLP:
    """An `MLP` of one output, with any of these activations."""
    layers = MLP(in_dim, hidden_dims, "identity", dropout, batch_norm, out_dim=1)
    for place, layer in enumerate(layers):
        if isinstance(layer, nn.Linear):
            width = layer.out_features
        elif isinstance(layer, nn.Identity):
            layers[place] = unit_activation(activation_name, width)
    return layers


class ActivationUnit(nn.Module):
    r"""The activation unit of DIN (`Zhou et al., 2018 <https://arxiv.org/abs/1706.06978>`_, section 4.3): how much a
    past item h says of the target t.

    .. math:: a(h, t) = \mathrm{MLP}([h, t, h - t, h \odot t])

    Its first layer is :math:`(W_1 + W_3) h + (W_2 - W_3) t + W_4 (h \odot t)`, where the target's part is computed
    once an event.

    Args:
        dim: E.
        hidden_dims: widths of the layers.
        activation_name: behind each of them.
        dropout: behind each of them.

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

    def forward(self, history: Tensor, target: Tensor, segments: Segments) -> Tensor:
        first, *others = self.mlp
        past, own, difference, product = first.weight.chunk(4, 1)
        both = torch.cat([history, history * spread(target, segments)], 1)
        x = F.linear(both, torch.cat([past + difference, product], 1))
        x = x + spread(F.linear(target, own - difference, first.bias), segments)
        for layer in others:
            x = layer(x)
        return x.squeeze(1)


def attention_by_length(qkv: Tensor, segments: Segments, num_heads: int, groups: int) -> Tensor:
    """Multi-head self-attention within each event: qkv [M, 3E], every event with a row at least; [M, E].

    Events are sorted by length and cut into groups, and each group is padded to its longest. Forward and backward of
    1024 events of 1 to 101 rows, 21 in the mean, on 2 CPU cores: 620 ms in one group, 180 in 4, 130 in 8, 105 in 16
    or 32, 180 in one for each length. Nested tensors have no kernel on CPU.
    """
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
        q, k, v = part.view(own.numel(), width, 3, num_heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        mask = torch.arange(width, device=own.device) < own[:, None]
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None])
        outputs.append(attended.transpose(1, 2).reshape(part.shape[0], -1))
    return _Take.apply(torch.cat(outputs), rows)


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

    def forward(self, x: Tensor, segments: Segments) -> Tensor:
        groups = GROUPS if x.device.type == "cpu" else 1
        return self._rest(x, attention_by_length(self.qkv(x), segments, self.num_heads, groups))

    def last(self, x: Tensor, segments: Segments) -> tuple[Tensor, Tensor]:
        """The output of each event's last row alone, [B, d], and how that row attends to its event's rows, [M, h].

        The cost is linear in the length. On the events of `attention_by_length` it takes a third of the time of
        `scaled_dot_product_attention` with one query over padded keys, and a tenth of that of all outputs.
        """
        own = _Take.apply(x, segments.offsets[1:] - 1)
        of_query, of_others = self.qkv.weight.split([self.dim, 2 * self.dim])
        key, value = F.linear(x, of_others).view(-1, 2, self.num_heads, self.dim // self.num_heads).unbind(1)
        query = spread(F.linear(own, of_query).view(-1, *key.shape[1:]), segments)
        weights = segment_softmax((key * query).sum(-1) * key.shape[-1] ** -0.5, segments)
        attended = segment_sum(weights[..., None] * value, segments).flatten(1)
        return self._rest(own, attended), weights

    def _rest(self, x: Tensor, attended: Tensor) -> Tensor:
        x = self.norms[0](x + self.dropout(self.out(attended)))
        return self.norms[1](x + self.dropout(self.feed_forward(x)))


class ItemVectors(NamedTuple):
    """Events and their histories as vectors: fields [B, F, D]; past items [N, E]; target items [B, E]; segments."""

    fields: Tensor
    history: Tensor
    target: Tensor
    segments: Segments


class ItemSide(nn.Module):
    """The vectors of events, of their target items and of the past items, all from one table.

    An item's vector is its fields' vectors side by side, E = their number times D; slots of one field are summed.

    Args:
        slots: the field of each feature of an event, [S].
        item_slots: the features that are the target item's, in the order of the history's columns, [H].

    Raises:
        ConfigError: if there are none.
    """

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
        total, place = past_ids.shape[0], None
        if history is not None and getattr(history, "items", None) is not None:  # each item of the batch once
            rows, place = history.items.unique(return_inverse=True)
            past_ids, past_values = (None if x is None else x[rows] for x in history.table)
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
            past if place is None else _Repeat.apply(past, place),
            self.sum_item(x.index_select(1, self.item_slots)).flatten(1),
            Segments.of(lengths, total),
        )


def rows_of_batch(ids: Tensor, values: Tensor | None, history) -> Tensor:
    """The rows of the table that events or their histories have with a value other than 0, ascending, each once."""
    parts = [(ids, values)] if history is None else [(ids, values), (history.ids, history.values)]
    return torch.cat([i.flatten() if x is None else i[x != 0] for i, x in parts]).unique()
