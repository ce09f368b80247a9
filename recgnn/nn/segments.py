"""Rows of events, packed one event after the other: sums, softmax and copies by event; and padded, for exporters."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from recgnn.nn.embedding import summed_by_row


class Segments(NamedTuple):
    """The events of N packed rows: lengths [B]; the event of each row, [N]; each event's first row, and N, [B+1]."""

    lengths: Tensor
    index: Tensor  # type: ignore[assignment]  # it hides a tuple's own `index`
    offsets: Tensor

    @classmethod
    def of(cls, lengths: Tensor, total: int) -> Segments:
        """Make the segments of events from their lengths [B] and their sum."""
        return cls(lengths, torch.repeat_interleave(lengths, output_size=total), F.pad(lengths.cumsum(0), (1, 0)))

    def to_end(self) -> Tensor:
        """Count the rows of the same event that follow each row, 0 for the last: [N]."""
        rows = torch.arange(self.index.numel(), device=self.index.device)
        return (self.offsets[1:] - 1).index_select(0, self.index) - rows


class Padded(NamedTuple):
    """Segments of events that are padded to one length, L: row n of N = B L rows is row n % L of event n // L.

    Exporters cannot trace the kernels and gradients of packed rows, so the functions below take these instead of
    `Segments` and compute the same with dense operations. Rows behind an event's own may hold any finite values.

    Shapes:
        lengths: [B].
        mask: [B, L], whether a row belongs to its event.
        following: [B, L], how many of its event's rows follow it; 0 behind them.
    """

    lengths: Tensor
    mask: Tensor
    following: Tensor

    @classmethod
    def of(cls, lengths: Tensor, width: int) -> Padded:
        """Of the events' lengths [B]; their rows stand on the left."""
        following = lengths[:, None] - 1 - torch.arange(width, device=lengths.device)
        return cls(lengths, following >= 0, following.clamp(min=0))

    def to_end(self) -> Tensor:
        """Return how many rows of its event follow each row, [M]."""
        return self.following.flatten()

    def rows(self, x: Tensor) -> Tensor:
        """Rows by event: x [N, …]; [B, L, …]."""
        return x.view(*self.mask.shape, *x.shape[1:])

    def filled(self, x: Tensor, value: float) -> Tensor:
        """Rows by event, with a value in place of those that do not belong to it: x [N, …]; [B, L, …]."""
        x = self.rows(x)
        return x.masked_fill(~self.mask.view(*self.mask.shape, *[1] * (x.dim() - 2)), value)


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


class Take(torch.autograd.Function):
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


class Repeat(torch.autograd.Function):
    """Rows of x, each once or more, whose gradient is summed by sorted rows."""

    @staticmethod
    def forward(ctx, x: Tensor, rows: Tensor) -> Tensor:
        ctx.save_for_backward(rows)
        return x.index_select(0, rows)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        return summed_by_row(ctx.saved_tensors[0], gradient)[1], None


def segment_sum(x: Tensor, segments: Segments | Padded) -> Tensor:
    """Sum each event's rows, 0 for an event without rows: x [N, …]; [B, …]."""
    if isinstance(segments, Padded):
        return segments.filled(x, 0.0).sum(1)
    return _SegmentSum.apply(x, segments)


def spread(x: Tensor, segments: Segments | Padded) -> Tensor:
    """Repeat each event's row for each of its packed rows: x [B, …]; [N, …]."""
    if isinstance(segments, Padded):
        return x[:, None].expand(*segments.mask.shape, *x.shape[1:]).flatten(0, 1)
    return _Spread.apply(x, segments)


def segment_softmax(scores: Tensor, segments: Segments | Padded) -> Tensor:
    """Compute the softmax over each event's rows, in single precision at least: scores [N, …]; [N, …]."""
    if scores.dtype in (torch.float16, torch.bfloat16):
        scores = scores.float()
    if isinstance(segments, Padded):
        return segments.filled(scores, torch.finfo(scores.dtype).min).softmax(1).flatten(0, 1)
    if not scores.shape[0]:
        return scores
    top = torch.segment_reduce(scores.detach(), "max", lengths=segments.lengths, axis=0, unsafe=True)
    powers = (scores - top.index_select(0, segments.index)).exp()
    return powers / spread(segment_sum(powers, segments), segments)


def append(x: Tensor, own: Tensor, segments: Segments | Padded) -> tuple[Tensor, Segments | Padded]:
    """Append a row to each event's packed rows: x [N, …], own [B, …]; [N + B, …] and its segments."""
    if isinstance(segments, Padded):  # behind the padding, so that it has the same place in every event
        both = torch.cat([x.view(own.shape[0], -1), own], 1).view(-1, own.shape[1])  # flatten would not be traced
        mask, following = F.pad(segments.mask, (0, 1), value=True), F.pad(segments.following + 1, (0, 1))
        return both, Padded(segments.lengths + 1, mask, following)
    longer = Segments.of(segments.lengths + 1, x.shape[0] + own.shape[0])
    rows = torch.arange(x.shape[0], device=x.device) + segments.index
    place = torch.cat([rows, longer.offsets[1:] - 1])
    both = torch.cat([x, own])
    return torch.empty_like(both).index_copy(0, place, both), longer


def last_rows(x: Tensor, segments: Segments | Padded) -> Tensor:
    """The row that `append` put at the end of each event: x [N, …]; [B, …]."""
    if isinstance(segments, Padded):
        return segments.rows(x)[:, -1]
    return Take.apply(x, segments.offsets[1:] - 1)


def pack_to_padded(x: Tensor, segments: Segments | Padded, width: int) -> Tensor:
    """Pad each event's last `width` rows, with zeros to their left: x [N, D]; [B, width, D]."""
    if isinstance(segments, Padded):
        place = torch.arange(width - 1, -1, -1, device=x.device)[:, None] == segments.following[:, None]
        return (place & segments.mask[:, None]).to(x.dtype) @ segments.rows(x)
    size, to_end = segments.lengths.numel(), segments.to_end()
    place = torch.where(to_end < width, (segments.index + 1) * width - 1 - to_end, size * width)  # the rest: behind all
    padded = x.new_zeros(size * width + 1, *x.shape[1:]).index_copy(0, place, x)
    return padded[:-1].view(size, width, *x.shape[1:])
