"""Rows of users and items divided over processes, and what these send each other: row r belongs to process r mod N.

Everything here is called by all processes at the same place of their programs, as collectives are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from recgnn.errors import ConfigError
from recgnn.nn.propagation import CSR, BipartiteOperator, Pair, csr_matmul, select_rows


class Partition:
    """The rows that a process owns, and the exchange of rows with the others.

    Args:
        rank: this process.
        world: N, the number of processes.

    Attributes:
        sent: bytes that this process has sent to others so far.
    """

    def __init__(self, rank: int, world: int):
        self.rank, self.world, self.sent = rank, world, 0

    def own(self, x: Tensor) -> Tensor:
        """Copy the rows of x [n, …] that this process owns, in order."""
        return x[self.rank :: self.world].clone()

    def gather(self, x: Tensor, total: int, everywhere: bool = True) -> Tensor:
        """Put the rows that all processes own together: x [n_own, …]; [total, …], or x itself on processes other than
        the first where it is not wanted `everywhere`."""
        length = -(-total // self.world)
        padded = x.new_zeros(length, *x.shape[1:])
        padded[: len(x)] = x
        here = everywhere or self.rank == 0
        parts = [torch.empty_like(padded) for _ in range(self.world if here else 0)]
        if everywhere:
            dist.all_gather(parts, padded)
        else:
            dist.gather(padded, parts if here else None)
        self.sent += padded.nbytes * (self.world - 1 if everywhere else int(self.rank > 0))
        return torch.stack(parts, 1).flatten(0, 1)[:total] if here else x

    def swap(self, x: Tensor, sizes: list[int], back: list[int]) -> Tensor:
        """Send rows of x [sum(sizes), …] to each process, `sizes` of them, and receive `back` from each."""
        received = x.new_empty(sum(back), *x.shape[1:])
        dist.all_to_all_single(received, x.contiguous(), back, sizes)
        self.sent += (len(x) - sizes[self.rank]) * (x.nbytes // max(1, len(x)))
        return received

    def start(self, send: Tensor, received: Tensor, step: int) -> Callable[[], Tensor]:
        """Begin to send rows to the process `step` further on and to receive others from that as far back; returns what
        waits for them."""
        to, source = (self.rank + step) % self.world, (self.rank - step) % self.world
        operations = [dist.P2POp(dist.isend, send, to)] if len(send) else []
        operations += [dist.P2POp(dist.irecv, received, source)] if len(received) else []
        self.sent += send.nbytes
        works = dist.batch_isend_irecv(operations) if operations else []

        def wait() -> Tensor:
            for work in works:
                work.wait()
            operations.clear()  # what is sent lives until then
            return received

        return wait

    def whole_batch(self, x: Tensor) -> Tensor:
        """Put the rows of all processes' batches together, one's own first, with a gradient: x [B, …]; [N B, …]."""
        return _WholeBatch.apply(x, self)

    def at(self, function: Callable[[Tensor, Tensor], Pair], users: Tensor, items: Tensor) -> Pair:
        """Let the owners compute something of users [B] and items [m], which may repeat, and send it here, with a
        gradient: ([B, D'], [m, D']). B and m are the same on all processes.

        Args:
            function: of distinct rows, counted among those that a process owns: users [n] and items [m].
        """
        wanted = _Wanted.of(users, self), _Wanted.of(items, self)
        answers = function(wanted[0].rows, wanted[1].rows)
        user, item = (_Answer.apply(x, own, self) for x, own in zip(answers, wanted, strict=True))
        return user, item


class _Wanted(NamedTuple):
    """The rows that all processes want of this one, and those that it wants of them.

    Shapes: distinct `rows` [n], counted among its own; the `place` of each wanted one among them, in the order in which
    they are sent, `sizes` of them to each process; the `order` in which its own arrive, `back` from each.
    """

    rows: Tensor
    place: Tensor
    sizes: list[int]
    order: Tensor
    back: list[int]

    @classmethod
    def of(cls, rows: Tensor, partition: Partition) -> _Wanted:
        rank, world = partition.rank, partition.world
        everyone = rows.new_empty(world, len(rows))
        dist.all_gather(list(everyone.unbind()), rows.contiguous())
        partition.sent += rows.nbytes * (world - 1)
        here = everyone % world == rank
        distinct, place = everyone[here].unique(return_inverse=True)
        owner = rows % world
        back = torch.bincount(owner, minlength=world)
        return cls(distinct // world, place, here.sum(1).tolist(), owner.argsort(stable=True), back.tolist())


class _Answer(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, wanted: _Wanted, partition: Partition) -> Tensor:
        ctx.wanted, ctx.partition, ctx.length = wanted, partition, len(x)
        received = partition.swap(x[wanted.place], wanted.sizes, wanted.back)
        return torch.empty_like(received).index_copy_(0, wanted.order, received)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None, None]:
        wanted = ctx.wanted
        received = ctx.partition.swap(grad[wanted.order], wanted.back, wanted.sizes)
        return grad.new_zeros(ctx.length, *grad.shape[1:]).index_add_(0, wanted.place, received), None, None


class _WholeBatch(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, partition: Partition) -> Tensor:
        ctx.partition = partition
        parts = [torch.empty_like(x) for _ in range(partition.world)]
        dist.all_gather(parts, x.contiguous())
        partition.sent += x.nbytes * (partition.world - 1)
        return torch.cat(parts[partition.rank :] + parts[: partition.rank])

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        partition = ctx.partition
        world, size = partition.world, len(grad) // partition.world
        parts = grad.split(size)
        by_rank = torch.cat([parts[(other - partition.rank) % world] for other in range(world)])
        received = partition.swap(by_rank, [size] * world, [size] * world)
        return received.view(world, size, *grad.shape[1:]).sum(0), None


class DividedCSR(NamedTuple):
    """The rows that a process owns of one half of the bipartite operator: a block of columns from each process, its own
    first, then those of the process one back, two back and so on. Of a block's columns only those exist that have an
    entry; `send` has which own rows those further on have as such columns."""

    blocks: list[CSR]
    send: list[Tensor]
    partition: Partition

    @property
    def ptr(self) -> Tensor:
        """Of as many rows."""
        return self.blocks[0].ptr

    def matmul(self, x: Tensor) -> Tensor:
        """Compute the own rows of A x, of the own rows of x: one block after the other, each while the next arrives."""
        x = x.detach()

        def start(step: int) -> Callable[[], Tensor]:
            received = x.new_empty(self.blocks[step].num_cols, x.shape[1])
            return self.partition.start(x[self.send[step]], received, step)

        pending = start(1)
        out = csr_matmul(self.blocks[0], x)
        for step in range(1, self.partition.world):
            received = pending()
            if step + 1 < self.partition.world:
                pending = start(step + 1)
            if len(received):
                out += csr_matmul(self.blocks[step], received)
        return out

    def select(self, rows: Tensor) -> DividedCSR:
        """Select some of the own rows."""
        return self._replace(blocks=[select_rows(block, rows) for block in self.blocks])


class DividedOperator(BipartiteOperator):
    """The rows of an operator that a process owns.

    Args:
        whole: the operator, on all processes.
        partition: the rows.
        device: where it goes.
    """

    def __init__(self, whole: BipartiteOperator, partition: Partition, device: torch.device):
        nn.Module.__init__(self)
        self.norm, self.partition = whole.norm, partition
        self.num_users, self.num_items = (
            len(range(partition.rank, total, partition.world)) for total in (whole.num_users, whole.num_items)
        )
        ui, ui_t, iu, iu_t = whole.halves()
        by_user = self._half(ui.ptr.long(), ui.col.long(), self.num_items, [ui.weight, iu_t.weight], device)
        by_item = self._half(iu.ptr.long(), iu.col.long(), self.num_users, [iu.weight, ui_t.weight], device)
        self.four = by_user[0], by_item[1], by_item[0], by_user[1]
        for name in ("user_self", "item_self"):
            loops = getattr(whole, name)
            self.register_buffer(name, None if loops is None else partition.own(loops).to(device), persistent=False)

    def _half(
        self, ptr: Tensor, col: Tensor, num_cols: int, weights: list[Tensor], device: torch.device
    ) -> list[DividedCSR]:
        """Divide one half, of which `num_cols` columns are the process's own, with each of several weights."""
        own, world = self.partition, self.partition.world
        rows = torch.arange(own.rank, ptr.numel() - 1, world, device=ptr.device)
        mine = select_rows(CSR(ptr, col, torch.arange(col.numel(), device=col.device), 0), rows)
        place = torch.repeat_interleave(torch.arange(rows.numel(), device=ptr.device), mine.ptr.diff())
        blocks: list[list[CSR]] = [[] for _ in weights]
        wanted = []
        for step in range(world):
            there = mine.col % world == (own.rank - step) % world
            columns, which = mine.col[there].unique(return_inverse=True)
            width = columns.numel()
            if step == 0:
                which, width = mine.col[there] // world, num_cols
            wanted.append(columns // world)
            counts = torch.bincount(place[there], minlength=rows.numel())
            start = nn.functional.pad(counts.cumsum(0), (1, 0)).to(device)
            which, edges = which.to(device), mine.weight[there]
            own_weights = {id(weight): weight[edges].to(device) for weight in weights}  # one of a symmetric operator
            for made, weight in zip(blocks, weights, strict=True):
                made.append(CSR(start, which, own_weights[id(weight)], width))
        # to the process that is `step` back, which rows are wanted of it
        back = [wanted[(own.rank - other) % world].to(device) for other in range(world)]
        sizes = torch.tensor([len(x) for x in back], device=device)
        theirs = own.swap(sizes, [1] * world, [1] * world)
        asked = own.swap(torch.cat(back), sizes.tolist(), theirs.tolist()).split(theirs.tolist())
        send = [asked[(own.rank + step) % world] for step in range(world)]
        return [DividedCSR(made, send, own) for made in blocks]

    @property
    def num_edges(self) -> int:
        """Edges of the own users."""
        return sum(block.col.numel() for block in self.four[0].blocks)

    def halves(self, drop: float = 0.0) -> tuple:
        """Return the own rows of (R_ui, R_ui^T, R_iu, R_iu^T).

        Raises:
            ConfigError: if edges are to be dropped.
        """
        if drop:
            raise ConfigError(
                "node_dropout: the two processes that an edge joins would not drop the same ones; set it to 0, or take "
                "--trainer.strategy ddp"
            )
        return self.four
