"""A linear filter on the graph of users and items, without training."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from recgnn.errors import Depth, Fraction, NonNegative, Positive, Size
from recgnn.models.history import HistoryRecommender
from recgnn.nn.autoencoder import transpose
from recgnn.nn.propagation import CSR, csr_matmul, select_rows

POWER, MORE = 4, 10  # power iterations, and vectors beyond those wanted, of the randomised SVD
AT_ONCE, LEAST = 2**22, 64  # numbers of a block of users' rows on the larger side; users of a block


class GraphFilter(HistoryRecommender):
    r"""A low-pass filter of users' rows on the graph, with a norm by degree and an ideal low-pass part.

    .. math::
        \tilde R = D_u^{-\gamma} R D_i^{-1/2}, \quad P = \tilde R^\top \tilde R / \sigma_1^2, \quad
        \hat y = s D_i^{-\beta} \, h(P) \, D_i^{\beta} + \alpha \, s D_i^{-\beta'} V_k V_k^\top D_i^{\beta'}

    for a user's row s, with the k leading right singular vectors :math:`V_k` of :math:`\tilde R`, and its largest
    singular value :math:`\sigma_1`, which is 1 for γ ½. P has a value for every pair of items and is never formed: its
    products are two of the sparse :math:`\tilde R`. Others' settings, all with γ ½:

    - GF-CF (`Shen et al., 2021 <https://arxiv.org/abs/2108.07567>`_): β 0, β' 0.5, k 256, α 0.3, `sharpening` 0
    - BSPM-EM (`Choi et al., 2023 <https://arxiv.org/abs/2211.09324>`_): the same, with `sharpening` 2.5 of order 4
    - ChebyCF (`Kim et al., 2025 <https://arxiv.org/abs/2505.00552>`_): β 0.4, `sharpening` 0, `order` 8, `flatness` 1.5

    Args:
        dim: k, the number of singular vectors.
        alpha: α, the weight of the ideal low-pass part.
        beta: β, by how much items with many users are held back.
        ideal_beta: β' of the ideal part; β when None.
        gamma: γ, by how much users with many items are held back.
        flatness: φ: h is the plateau :math:`\frac12 (1 - \mathrm{sign}(x) |x|^\varphi)` of x = 1 - 2 P; 1 is h(P) = P.
        order: the degree of the polynomial in P that interpolates h in Chebyshev's points.
        sharpening: the time for which :math:`dz/dt = -z P` then sharpens the scores z; 0 for none.
        sharpening_order: the order of its only step: 4 for Runge and Kutta's, 1 for Euler's.
    """

    vectors: Tensor
    largest: Tensor  # the square of the largest singular value

    def __init__(
        self, num_users: int, num_items: int, dim: Size = 256, alpha: NonNegative = 0.3, beta: Fraction = 0.3,
        ideal_beta: Fraction | None = None, gamma: Fraction = 0.5, flatness: Positive = 1.0, order: Depth = 1,
        sharpening: NonNegative = 1.0, sharpening_order: Depth = 1,
    ):  # fmt: skip
        super().__init__(num_users, num_items)
        self.alpha, self.beta, self.ideal_beta = alpha, beta, beta if ideal_beta is None else ideal_beta
        self.gamma = gamma
        self.coefficients = None if flatness == 1 else plateau(flatness, order)
        self.sharpening, self.sharpening_order = sharpening, sharpening_order
        self.register_buffer("vectors", torch.zeros(num_items, min(dim, num_items)))  # V
        self.register_buffer("largest", torch.ones(()))

    def set_graph(self, edge_index: Tensor, ratings: Tensor | None = None) -> None:
        super().set_graph(edge_index, ratings)
        back = transpose(self.rows)
        for name, value in (("item_ptr", back.ptr), ("item_users", back.col)):
            self.register_buffer(name, value, persistent=False)

    @property
    def columns(self) -> CSR:
        """The transposed training matrix, [I, U]."""
        return CSR(self.get_buffer("item_ptr"), self.get_buffer("item_users"), self.ones, self.num_users)

    @property
    def degree(self) -> Tensor:
        """The number of users of each item, at least 1: [I, 1]."""
        return self.get_buffer("item_ptr").diff().clamp(min=1).to(self.vectors.dtype)[:, None]

    @torch.no_grad()
    def solve(self) -> None:
        """Find V by subspace iteration on P from random vectors (`Halko et al., 2011
        <https://arxiv.org/abs/0909.4061>`_)."""
        self.largest.fill_(1)
        wanted = self.vectors.shape[1]
        random = torch.Generator().manual_seed(0)
        basis = torch.randn(self.num_items, min(wanted + MORE, self.num_items), generator=random).to(self.vectors)
        for _ in range(POWER):
            basis = self.smooth(orthonormal(basis))
        basis = orthonormal(basis)
        values, rotation = torch.linalg.eigh((basis.mT @ self.smooth(basis)).double())
        found = (rotation * (values > 1e-6 * values[-1])).flip(1)[:, :wanted]  # P may have fewer directions than k
        self.vectors.copy_(basis @ found.to(basis.dtype))
        if self.gamma != 0.5:
            self.largest.copy_(values[-1])

    def smooth(self, x: Tensor) -> Tensor:
        """Compute P x for x [I, n]: [I, n]."""
        scale = self.degree.rsqrt()
        of_users = csr_matmul(self.rows, x * scale)
        of_users.div_(self.largest * self.row_ptr.diff().clamp(min=1)[:, None] ** (2 * self.gamma))
        return csr_matmul(self.columns, of_users).mul_(scale)

    def forward(self, rows: Tensor) -> Tensor:
        scale = self.degree.T
        return self.scores((rows / scale**self.beta).T.contiguous(), (rows / scale**self.ideal_beta) @ self.vectors).T

    def score_rows(self, rows: CSR) -> Tensor:
        places = torch.arange(rows.ptr.numel() - 1, device=rows.ptr.device)
        found = self.vectors.new_empty(places.numel(), self.num_items)
        degree = self.degree.flatten()
        for block in places.split(max(LEAST, AT_ONCE // max(self.num_users, self.num_items))):
            own = select_rows(rows, block)
            values = own.weight / degree[own.col] ** self.beta
            x = values.new_zeros(self.num_items, len(block))
            x[own.col, torch.repeat_interleave(block - block[0], own.ptr.diff())] = values
            values = own.weight / degree[own.col] ** self.ideal_beta
            found[block[0] : block[-1] + 1] = self.scores(x, csr_matmul(own._replace(weight=values), self.vectors)).T
        return found

    def scores(self, x: Tensor, codes: Tensor) -> Tensor:
        """Score users by their scaled rows x [I, n] and the projections of these on V, `codes` [n, k]: [I, n]."""
        y = self.filtered(x)
        if self.beta != self.ideal_beta:
            y.mul_(self.degree ** (self.beta - self.ideal_beta))
        y.addmm_(self.vectors, codes.T, alpha=self.alpha).mul_(self.degree**self.ideal_beta)
        term = y
        for step in range(1, self.sharpening_order + 1 if self.sharpening else 1):
            term = self.smooth(term) * (-self.sharpening / step)
            y = y + term
        return y

    def filtered(self, x: Tensor) -> Tensor:
        """Compute h(P) x by the recurrence of Chebyshev's polynomials of 1 - 2 P: a new tensor, [I, n]; [I, n]."""
        if self.coefficients is None:
            return self.smooth(x)
        before, now = x, x - 2 * self.smooth(x)
        y = self.coefficients[0] * before + self.coefficients[1] * now
        for coefficient in self.coefficients[2:]:
            before, now = now, 2 * (now - 2 * self.smooth(now)) - before
            y.add_(now, alpha=coefficient)
        return y


def orthonormal(basis: Tensor) -> Tensor:
    """Return an orthonormal basis of the columns of a tall matrix [n, l], zeros beyond its rank: [n, l]."""
    values, vectors = torch.linalg.eigh((basis.mT @ basis).double())
    kept = values > 1e-10 * values[-1]
    return basis @ (vectors * torch.where(kept, values, 1.0).rsqrt() * kept).to(basis.dtype)


def plateau(flatness: float, order: int) -> list[float]:
    r"""Compute Chebyshev's coefficients of :math:`\frac12 (1 - \mathrm{sign}(x) |x|^\varphi)` by interpolation.

    Args:
        flatness: the power.
        order: the degree.
    """
    angles = [math.pi * (2 * j + 1) / (2 * order + 2) for j in range(order + 1)]
    values = [0.5 - 0.5 * math.copysign(abs(math.cos(a)) ** flatness, math.cos(a)) for a in angles]
    sums = [sum(v * math.cos(k * a) for v, a in zip(values, angles, strict=True)) for k in range(order + 1)]
    return [(2 - (k == 0)) / (order + 1) * total for k, total in enumerate(sums)]
