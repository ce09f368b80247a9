"""Matrix factorisation of everything that users have and have not, by alternating least squares."""

from __future__ import annotations

import torch
from torch import Tensor

from recgnn.errors import ConfigError, Count, NonNegative, Positive, Size
from recgnn.models.base import Side, with_mean
from recgnn.models.embedding import EmbeddingRecommender
from recgnn.nn.folding import Entries, ridge_rows, ridge_shares


class iALS(EmbeddingRecommender):
    r"""Implicit alternating least squares (`Hu et al., 2008 <https://doi.org/10.1109/ICDM.2008.22>`_), with the
    objective of `Rendle et al., 2021 <https://arxiv.org/abs/2110.14037>`_, eq. 3-5.

    .. math::
        \sum_{(u,i) \in S} c_{ui} (e_u^\top e_i - 1)^2 + \alpha_0 \sum_{u,i} (e_u^\top e_i)^2
        + \lambda \Big(\sum_u (|I_u| + \alpha_0 I)^\nu \lVert e_u \rVert^2
        + \sum_i (|U_i| + \alpha_0 U)^\nu \lVert e_i \rVert^2\Big)

    The confidence :math:`c_{ui}` is the weight of the row in the log (over the mean of all), 1 where there are none.
    :math:`\lambda` is the `l2` of the training. Users and items are solved for in turn, each exactly; so is a new one,
    with what is trained as it is.

    Args:
        embedding_dim: D.
        alpha: :math:`\alpha_0`, the weight of what a user does not have; None for 6 times the share of pairs that are
            interactions: all pairs together then weigh 6 times as much as those.
        nu: :math:`\nu`, by how much a frequent user or item is regularised more; 0 for all alike.
        num_iterations: how often users and items are solved for.
        init_std: standard deviation of the embeddings at the start, times the root of D.
    """

    defaults = {"l2": 0.015}
    explanation = "what each of the user's items adds to the score, as the user is solved for; exact: they sum to it"
    rest = ""
    weighted = True
    unobserved: Tensor

    def __init__(
        self, num_users: int, num_items: int, embedding_dim: Size = 64, alpha: Positive | None = None,
        nu: NonNegative = 1.0, num_iterations: Count = 16, init_std: Positive = 0.1,
    ):  # fmt: skip
        super().__init__(num_users, num_items, embedding_dim, init_std / embedding_dim**0.5)
        self.alpha, self.nu, self.num_iterations = alpha, nu, num_iterations
        self.register_buffer("unobserved", torch.tensor(alpha or 0.0))  # alpha, as it was solved with

    @torch.no_grad()
    def solve(self) -> None:
        """Solve for users and items in turn, and at the end for the users again.

        Raises:
            ConfigError: if l2 is 0.
        """
        if self.l2 <= 0:
            raise ConfigError("iALS needs regularisation; set --training.l2 above 0, such as 0.015")
        assert self.edge_index is not None, "set_graph comes first"
        device = self.item_embedding.weight.device
        share = self.edge_index.shape[1] / (self.num_users * self.num_items)
        self.unobserved.fill_(self.alpha or 6 * share)
        edges = self.edge_index.to(device).long()
        weights = torch.ones(edges.shape[1]) if self.confidences is None else self.confidences
        sides: list[tuple[Side, Entries]] = []
        side: Side
        for side in ("user", "item"):
            own, other = edges if side == "user" else edges.flip(0)
            order = torch.argsort(own, stable=True)
            size = self.num_users if side == "user" else self.num_items
            sides.append((side, Entries(own[order], other[order], weights.to(device)[order], size)))
        for side, entries in [*sides * self.num_iterations, sides[0]]:
            getattr(self, f"{side}_embedding").weight.copy_(self.new_rows(side, entries)[f"{side}_embedding.weight"])
        self.refresh()

    @torch.no_grad()
    def new_rows(self, side: Side, entries: Entries) -> dict[str, Tensor]:
        """Solve for users (items) by what they have, with the items (users) as they are."""
        other = (self.item_embedding if side == "user" else self.user_embedding).weight
        ridge = self.l2 * (entries.counts + self.unobserved * other.shape[0]) ** self.nu
        weights, targets = None if self.confidences is None else entries.values, torch.ones_like(entries.values)
        rows = ridge_rows(entries, other, targets, ridge.to(other.dtype), weights, self.unobserved * other.T @ other)
        return {f"{side}_embedding.weight": rows}

    @torch.no_grad()
    def shares(self, user: int, entries: Entries, items: Tensor) -> Tensor:
        """Take the solution for the user apart; the values of the entries are their confidences."""
        other = self.item_embedding.weight
        ridge = self.l2 * (entries.counts + self.unobserved * other.shape[0]) ** self.nu
        own, targets = other[entries.others], torch.ones_like(entries.values)
        gram = self.unobserved * other.T @ other
        return ridge_shares(own, targets, ridge, with_mean(other)[items], entries.values, gram)
