"""How a model's layers are computed: at all nodes, at those that a batch needs, or from sampled neighbourhoods."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from recgnn.errors import ConfigError
from recgnn.nn.propagation import CSR, BipartiteOperator, Pair, spmm


class Hop(NamedTuple):
    """A layer from the one before, at all nodes or at some of them.

    Args:
        operator: Â.
        at: users [n] and items [m] at which it is computed; None for all.
        place: where the batch's users and items lie among these; None where they are these.
    """

    operator: BipartiteOperator
    at: Pair | None
    place: Pair | None

    def __call__(self, x: Pair, drop: float = 0.0) -> Pair:
        """Compute Â x at these nodes (`drop` as of the operator)."""
        return self.operator(x, drop) if self.at is None else self.operator.rows(x, *self.at, drop)  # type: ignore

    def own(self, x: Pair) -> Pair:
        """Select what x has of these nodes."""
        return x if self.at is None else (x[0][self.at[0]], x[1][self.at[1]])


class SampledHop(NamedTuple):
    """A layer at n users and m items from the one before at n' and m' of them, over sampled neighbours.

    Args:
        user: rows of Â for the users [n, m'], and their transpose.
        item: rows of Â for the items [m, n'], and their transpose.
        kept: the places of the n users and m items among the n' and m'.
        loops: the weights of the nodes themselves, [n, 1] and [m, 1]; None where Â has none.
        place: where the batch's users and items lie among the n and m; None where they are these.
    """

    user: tuple[CSR, CSR]
    item: tuple[CSR, CSR]
    kept: Pair
    loops: Pair | None
    place: Pair | None

    def __call__(self, x: Pair, drop: float = 0.0) -> Pair:
        """Estimate Â x at the n users and m items.

        Raises:
            ConfigError: if edges are to be dropped.
        """
        if drop:
            raise ConfigError(
                "node_dropout: an edge that is sampled from one of its ends would not be dropped at the other; set it "
                "to 0, or leave training.fan_out out"
            )
        out = spmm(x[1], *self.user), spmm(x[0], *self.item)
        if self.loops is None:
            return out
        user, item = (side + loop * own for side, loop, own in zip(out, self.loops, self.own(x), strict=True))
        return user, item

    def own(self, x: Pair) -> Pair:
        """Select what x has of the n users and m items."""
        return x[0].index_select(0, self.kept[0]), x[1].index_select(0, self.kept[1])


def sampled_hops(
    operator: BipartiteOperator, batch: Pair, fan_out: Sequence[int]
) -> tuple[Pair, Pair | None, list[SampledHop]]:
    r"""Sample the neighbourhoods of a batch, one hop for each layer.

    The nodes of a hop are the batch's own, those of the hop before, and the neighbours that are sampled for these. Each
    hop is an unbiased estimate of Â at its nodes (see `sampled_rows`), drawn independently of the others: so is their
    product of :math:`\hat A^K`. (Node-wise sampling of `Hamilton et al., 2017 <https://arxiv.org/abs/1706.02216>`_,
    with Â's weights in place of a mean.)

    Args:
        operator: Â.
        batch: users [n] and items [m].
        fan_out: how many neighbours of a node at most, by hop: of the batch first.

    Returns:
        The users and items at which the first layer is read, each once and ascending; the places of the batch's among
        them, None where they are these; and the hops, the one from there first.
    """
    ui = CSR(operator.user_ptr, operator.user_col, torch.empty(0), operator.num_items)  # weights follow from degrees
    iu = CSR(operator.item_ptr, operator.item_col, torch.empty(0), operator.num_users)
    nodes, hops = batch, list[SampledHop]()
    place: Pair | None = None
    for count in fan_out:
        user = sampled_rows(ui, nodes[0], count, partial(operator.weigh, "user"))
        item = sampled_rows(iu, nodes[1], count, partial(operator.weigh, "item"))
        users, kept_users, of_items = among(nodes[0], item)
        items, kept_items, of_users = among(nodes[1], user)
        kept, loops = (kept_users, kept_items), None
        if operator.user_self is not None and operator.item_self is not None:
            loops = operator.user_self[nodes[0], None], operator.item_self[nodes[1], None]
        hops.append(SampledHop(of_users, of_items, kept, loops, place))
        place = kept if place is None else (kept[0][place[0]], kept[1][place[1]])
        nodes = users, items
    return nodes, place, hops[::-1]


def sampled_rows(
    csr: CSR, rows: Tensor, count: int, weigh: Callable[[Tensor, Tensor], Tensor] | None = None
) -> CSR:
    r"""Sample the entries of some rows: `count` of each, without replacement, all of them where there are no more.

    A sampled row has the weights :math:`\frac dc w_j` of c of its d entries, each of which is among them with
    probability c / d: its expected value is the row.

    Args:
        csr: the matrix, [R, C].
        rows: which, [n].
        count: c.
        weigh: computes the weights of entries from their rows' degrees and their columns, in place of the matrix's own.

    Shapes: [n, C].
    """
    start = csr.ptr.index_select(0, rows)
    degree = csr.ptr.index_select(0, rows + 1) - start
    taken = degree.clamp(max=count)
    ptr = F.pad(taken.cumsum(0, dtype=taken.dtype), (1, 0))
    many = degree > count
    edges = torch.arange(int(ptr[-1]), device=rows.device, dtype=ptr.dtype)
    edges += torch.repeat_interleave(start - ptr[:-1], taken, output_size=edges.numel())
    of_many = torch.repeat_interleave(many, taken, output_size=edges.numel())
    edges[of_many] = (start[many, None] + spread(degree[many], count)).flatten()
    col = csr.col.index_select(0, edges)
    if weigh is None:
        weight = csr.weight.index_select(0, edges)
    else:
        weight = weigh(torch.repeat_interleave(degree, taken, output_size=edges.numel()), col)
    scale = torch.repeat_interleave((degree / taken).to(weight.dtype), taken, output_size=edges.numel())
    return CSR(ptr, col, weight.mul_(scale), csr.num_cols)


def spread(sizes: Tensor, count: int) -> Tensor:
    """Draw `count` of the numbers below each of `sizes` [n], which are larger, evenly spaced from a random start, each
    as likely (systematic sampling, `Madow & Madow, 1944 <https://doi.org/10.1214/aoms/1177731312>`_): [n, count].

    Where numbers that are near each other belong to neighbours that are like each other, as ids given in the order of
    time do, they vary less than any subset would.
    """
    start = torch.rand(sizes.numel(), 1, dtype=torch.float64, device=sizes.device)
    steps = torch.arange(count, device=sizes.device)
    return ((start + steps) * (sizes.double()[:, None] / count)).to(sizes.dtype).minimum(sizes[:, None] - 1)


def among(nodes: Tensor, csr: CSR) -> tuple[Tensor, Tensor, tuple[CSR, CSR]]:
    """Count the columns of a matrix among the distinct of them and of `nodes` [n].

    Returns:
        The distinct ones, ascending; the places of the nodes among them; and the matrix with its transpose.
    """
    ascending, order = torch.cat([nodes, csr.col]).int().sort(stable=True)
    first = torch.ones_like(ascending, dtype=torch.bool)
    first[1:] = ascending[1:] != ascending[:-1]
    kind = csr.ptr.dtype  # the kernels want one type of ptr and col
    place = torch.empty_like(order, dtype=kind).index_copy_(0, order, first.cumsum(0, dtype=kind) - 1)
    distinct, (own, col) = ascending[first].long(), place.split([nodes.numel(), csr.col.numel()])
    rows = torch.repeat_interleave(csr.ptr.diff(), output_size=col.numel())
    by_column = order[order >= nodes.numel()] - nodes.numel()
    ptr = F.pad(torch.bincount(col, minlength=distinct.numel()).cumsum(0, dtype=kind), (1, 0))
    back = CSR(ptr, rows.index_select(0, by_column), csr.weight.index_select(0, by_column), csr.ptr.numel() - 1)
    return distinct, own, (csr._replace(col=col, num_cols=distinct.numel()), back)
