"""Rows of events, packed one event after the other: sums, softmax and copies by event."""

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


def segment_sum(x: Tensor, segments: Segments) -> Tensor:
    """Sum each event's rows, 0 for an event without rows: x [N, …]; [B, …]."""
    return _SegmentSum.apply(x, segments)


def spread(x: Tensor, segments: Segments) -> Tensor:
    """Repeat each event's row for each of its packed rows: x [B, …]; [N, …]."""
    return _Spread.apply(x, segments)


def segment_softmax(scores: Tensor, segments: Segments) -> Tensor:
    """Compute the softmax over each event's rows, in single precision at least: scores [N, …]; [N, …]."""
    if scores.dtype in (torch.float16, torch.bfloat16):
        scores = scores.float()
    if not scores.shape[0]:
        return scores
    top = torch.segment_reduce(scores.detach(), "max", lengths=segments.lengths, axis=0, unsafe=True)
    powers = (scores - top.index_select(0, segments.index)).exp()
    return powers / spread(segment_sum(powers, segments), segments)


def append(x: Tensor, own: Tensor, segments: Segments) -> tuple[Tensor, Segments]:
    """Append a row to each event's packed rows: x [N, …], own [B, …]; [N + B, …] and its segments."""
    longer = Segments.of(segments.lengths + 1, x.shape[0] + own.shape[0])
    rows = torch.arange(x.shape[0], device=x.device) + segments.index
    place = torch.cat([rows, longer.offsets[1:] - 1])
    both = torch.cat([x, own])
    return torch.empty_like(both).index_copy(0, place, both), longer


def pack_to_padded(x: Tensor, segments: Segments, width: int) -> Tensor:
    """Pad each event's last `width` rows, with zeros to their left: x [N, …]; [B, width, …]."""
    size, to_end = segments.lengths.numel(), segments.to_end()
    place = torch.where(to_end < width, (segments.index + 1) * width - 1 - to_end, size * width)  # the rest: behind all
    padded = x.new_zeros(size * width + 1, *x.shape[1:]).index_copy(0, place, x)
    return padded[:-1].view(size, width, *x.shape[1:])
