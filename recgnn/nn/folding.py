"""Vectors of users and items that are not in the training data, from their neighbours' vectors."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from recgnn.nn.propagation import CSR, BipartiteOperator, csr_matmul

DAMPING = 5.0  # neighbours that a node is thought to have besides, at zero: one neighbour tells little
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


def ridge_rows(entries: Entries, vectors: Tensor, targets: Tensor, l2: float) -> Tensor:
    r"""Compute the vector of each node that explains its ratings best with the other side fixed: a step of alternating
    least squares.

    .. math:: e_n = \arg\min \sum_{i \in N_n} (t_{ni} - x_i^\top e_n)^2 + \lambda |N_n| \lVert e_n \rVert^2

    Args:
        entries: what each node has.
        vectors: x, of the other side, [N, D].
        targets: t of each entry, [m].
        l2: lambda, positive.

    Shapes: [n, D].
    """
    counts, dim = entries.counts, vectors.shape[1]
    ptr = F.pad(counts.cumsum(0), (1, 0))
    found = vectors.new_zeros(entries.size, dim)
    longest = max(1, int(counts.max())) if entries.size else 1
    for nodes in torch.arange(entries.size, device=vectors.device).split(max(1, 2**24 // (longest * dim))):
        some = slice(int(ptr[nodes[0]]), int(ptr[nodes[-1] + 1]))
        row = entries.place[some] - nodes[0]
        column = torch.arange(some.start, some.stop, device=row.device) - ptr[entries.place[some]]
        x, t = vectors.new_zeros(len(nodes), longest, dim), vectors.new_zeros(len(nodes), longest)
        x[row, column], t[row, column] = vectors[entries.others[some]], targets[some]
        ridge = l2 * counts[nodes].clamp(min=1)[:, None, None] * torch.eye(dim, device=x.device)
        found[nodes] = torch.linalg.solve(x.mT @ x + ridge, (x.mT @ t[..., None])).squeeze(2)
    return found


def user_rows(operator: BipartiteOperator, entries: Entries) -> tuple[CSR, Tensor]:
    """Compute the rows of new users in a graph's normalised operator, with the degrees of its items as they are, [n,
    I], and their self-loops, zeros where the graph has none, [n, 1]."""
    loops = 0 if operator.user_self is None else 1
    degree = entries.counts.double() + loops
    if operator.norm.startswith("sym"):
        weight = (degree[entries.place] * (operator.item_ptr.diff()[entries.others] + loops)).rsqrt()
    else:
        weight = 1.0 / degree[entries.place]
    own = loops / degree.clamp(min=1)
    return entries.rows(weight, operator.num_items), own.float()[:, None]
