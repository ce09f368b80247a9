"""Vectors of users and items that are not in the training data, from their neighbours' vectors."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from recgnn.nn.propagation import CSR, BipartiteOperator, csr_matmul

DAMPING = 5.0  # neighbours that a node is thought to have besides, at zero: one neighbour tells little
AT_ONCE = 2**20  # numbers of neighbours' vectors that are held at a time: as many as stay in a processor's cache
RIDGE = 0.01  # of the map from neighbours to a node, in units of the mean diagonal of its normal equations


class Entries(NamedTuple):
    """The entries of n nodes: for each user its items, or for each item its users.

    Shapes:
        place: [m] whose, 0..n-1, ascending.
        others: [m] which nodes of the other side.
        values: [m] ratings, or ones.
        size: n.
    """

    place: Tensor
    others: Tensor
    values: Tensor
    size: int

    @property
    def counts(self) -> Tensor:
        """Count each node's entries: [n]."""
        return torch.bincount(self.place, minlength=self.size)

    def of(self, start: int, stop: int) -> Entries:
        """Return the entries of the nodes start..stop-1."""
        begin, end = torch.searchsorted(self.place, torch.tensor([start, stop], device=self.place.device)).tolist()
        return Entries(self.place[begin:end] - start, self.others[begin:end], self.values[begin:end], stop - start)

    def rows(self, weight: Tensor, num_cols: int) -> CSR:
        """Make the matrix [n, num_cols] of these entries with a weight [m] each."""
        return CSR(F.pad(self.counts.cumsum(0), (1, 0)), self.others, weight.float(), num_cols)


def features_of(entries: Entries, vectors: Tensor) -> Tensor:
    r"""Compute the damped mean of each node's neighbours' vectors [N, D], :math:`\sum x / (n + c)`, and append a one:
    [n, D + 1]."""
    share = 1.0 / (entries.counts[entries.place] + DAMPING)
    mean = csr_matmul(entries.rows(share, vectors.shape[0]), vectors)
    return torch.cat([mean, mean.new_ones(entries.size, 1)], 1)


def neighbour_map(entries: Entries, vectors: Tensor, own: Tensor) -> Tensor:
    r"""Fit the linear map from the mean of a node's neighbours' vectors to its own vector, by ridge regression over the
    training nodes.

    .. math:: M = \arg\min \sum_n \lVert M^\top x_n - e_n \rVert^2 + \lambda \lVert M \rVert^2

    with x_n from `features_of`. Nodes without neighbours are left out.

    Args:
        entries: the entries of the training nodes.
        vectors: of the other side, [N, D].
        own: the nodes' trained vectors, [n, D'].

    Shapes: [D + 1, D'].
    """
    has = entries.counts > 0
    x, y = features_of(entries, vectors)[has].double(), own[has].double()
    gram = x.T @ x
    gram.diagonal().add_(RIDGE * gram.diagonal().mean().clamp(min=1e-12))
    return torch.linalg.solve(gram, x.T @ y).float()


def ridge_rows(
    entries: Entries, vectors: Tensor, targets: Tensor, ridge: Tensor, weights: Tensor | None = None,
    gram: Tensor | None = None,
) -> Tensor:  # fmt: skip
    r"""Compute the vector of each node that explains its targets best with the other side fixed: a step of alternating
    least squares, by the Cholesky factors of many nodes at once, long ones first.

    .. math::
        e_n = \arg\min \sum_{i \in N_n} w_{ni} (t_{ni} - x_i^\top e_n)^2 + e_n^\top (G + \lambda_n I) e_n

    Args:
        entries: what each node has.
        vectors: x, of the other side, [N, D].
        targets: t of each entry, [m].
        ridge: lambda of each node, positive, [n].
        weights: w of each entry, [m]; None for ones.
        gram: G, [D, D]; None for 0.

    Shapes: [n, D].
    """
    counts, dim, device = entries.counts, vectors.shape[1], vectors.device
    ptr, order = F.pad(counts.cumsum(0), (1, 0)), counts.argsort(descending=True)
    lengths = counts[order].tolist()
    found = vectors.new_empty(entries.size, dim)
    padded, others = F.pad(vectors, (0, 0, 0, 1)), F.pad(entries.others, (0, 1), value=vectors.shape[0])
    given = F.pad(targets, (0, 1))
    scale = None if weights is None else F.pad(weights, (0, 1)).to(vectors.dtype)
    start = 0
    while start < entries.size:
        longest = max(1, lengths[start])
        nodes = order[start : start + max(1, AT_ONCE // (dim * max(dim, longest)))]
        start += len(nodes)
        column = torch.arange(longest, device=device)
        at = torch.where(column < counts[nodes, None], ptr[nodes, None] + column, -1)  # the last entry is a zero
        x = F.embedding(others[at], padded)  # faster than indexing
        left = x.mT if scale is None else (x * scale[at, None]).mT
        a = left @ x if gram is None else torch.baddbmm(gram, left, x)
        a.diagonal(dim1=1, dim2=2).add_(ridge[nodes, None])
        b = left @ given[at, None].to(x.dtype)
        found[nodes] = torch.cholesky_solve(b, torch.linalg.cholesky(a)).squeeze(2)
    return found


def ridge_shares(
    vectors: Tensor, targets: Tensor, ridge: Tensor, others: Tensor, weights: Tensor | None = None,
    gram: Tensor | None = None,
) -> Tensor:  # fmt: skip
    r"""Divide the inner products of a node's vector by `ridge_rows` with other vectors among the node's entries
    (`Hu et al., 2008 <https://doi.org/10.1109/ICDM.2008.22>`_, eq. 7).

    .. math:: x_i^\top e = \sum_j w_j t_j \, x_i^\top \Big(\sum_j w_j x_j x_j^\top + G + \lambda I\Big)^{-1} x_j

    Args:
        vectors: x of the node's entries, [n, D].
        targets: t of each entry, [n].
        ridge: lambda.
        others: the other vectors, [m, D].
        weights: w of each entry, [n]; None for ones.
        gram: G, [D, D]; None for 0.

    Shapes: [n, m].
    """
    x = vectors.double()
    weighted = x if weights is None else x * weights[:, None]
    a = weighted.T @ x + (0 if gram is None else gram)
    a.diagonal().add_(ridge)
    solved = torch.cholesky_solve(others.double().T, torch.linalg.cholesky(a))
    return (weighted * targets[:, None] @ solved).to(vectors.dtype)


def user_rows(operator: BipartiteOperator, entries: Entries) -> tuple[CSR, Tensor]:
    """Compute the rows of new users in a graph's normalised operator, with the degrees of its items as they are, each
    times the entry's value, [n, I], and their self-loops, zeros where the graph has none, [n, 1]."""
    loops = 0 if operator.user_self is None else 1
    degree = entries.counts.double() + loops
    if operator.norm.startswith("sym"):
        weight = (degree[entries.place] * (operator.item_ptr.diff()[entries.others] + loops)).rsqrt()
    else:
        weight = 1.0 / degree[entries.place]
    own = loops / degree.clamp(min=1)
    return entries.rows(weight * entries.values, operator.num_items), own.float()[:, None]
