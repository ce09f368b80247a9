"""A search among many items that reads a part of them, with the filters inside: an inverted file of FAISS."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recgnn.errors import ConfigError
from recgnn.models.base import Pair, Recommender
from recgnn.serving.filters import Filters

LEAST, MOST = 39, 64  # items of a list on average, and those that its centre is computed from
SAMPLE, DEPTH = 256, 100  # users and items of each by whom the recall is measured
FEW = 0.05  # the share of the items below which it is as fast to score all that are left


def need_faiss() -> None:
    """Refuse to begin without FAISS.

    Raises:
        ConfigError: says how to install it.
    """
    if find_spec("faiss") is None:
        raise ConfigError('--index faiss needs the package faiss: pip install "recgnn[index]"')


class ItemIndex:
    """The items of a model whose score is an inner product, by direction in lists of which a search reads the nearest:
    an inverted file (`Jégou et al., 2011 <https://doi.org/10.1109/TPAMI.2010.57>`_, section IV) of whole vectors.

    A search reads as many lists as a sample of the model's users needs to get a share of the exact best items. Items
    that are filtered out are passed over while it reads. Where few items are left, or fewer are found than asked
    for, all are scored.

    Args:
        model: the model.
        recall: the share of the 100 best items that is to be found.

    Attributes:
        told: how it was built and what it finds, in a line.

    Raises:
        ConfigError: if the model has no vectors, or FAISS is not installed.
    """

    def __init__(self, model: Recommender, recall: float = 0.95):
        need_faiss()
        faiss: Any = import_module("faiss")  # whose types are not those of its own Python layer

        self.model = model
        self.users, self.items = (x.detach().float().contiguous().numpy() for x in model.score_vectors())
        size, dim = self.items.shape
        self.lists = max(1, min(int(2 * size**0.5), size // LEAST))
        self.index = faiss.IndexIVFFlat(faiss.IndexFlatIP(dim), dim, self.lists, faiss.METRIC_INNER_PRODUCT)
        self.index.cp.spherical, self.index.cp.max_points_per_centroid = True, MOST
        self.index.cp.min_points_per_centroid = 1  # fewer are no error: the recall is measured
        self.index.train(self.items)
        self.index.add(self.items)
        users = self.users[np.linspace(0, len(self.users) - 1, min(SAMPLE, len(self.users))).astype(int)]
        depth, self.read = min(DEPTH, size), 1
        best = torch.cat([(block @ torch.from_numpy(self.items).T).topk(depth).indices
                          for block in torch.from_numpy(users).split(max(1, 2**24 // size))]).numpy()  # fmt: skip
        while (found := self._recall(users, best)) < recall and self.read < self.lists:
            self.read = min(-(-3 * self.read // 2), self.lists)
        built = f"index: {size:,} items in {self.lists:,} lists, of which a search reads {self.read:,}"
        self.told = f"{built}: {found:.2%} of the exact {depth} best items of {len(users)} users"

    def _recall(self, users: np.ndarray, best: np.ndarray) -> float:
        self.index.nprobe = self.read
        found = self.index.search(users, best.shape[1])[1]
        return float(np.mean([np.isin(a, b).mean() for a, b in zip(best, found, strict=True)]))

    def knows(self, users: Tensor) -> Tensor:
        """Tell which users have a vector here: those of the training data, [B]."""
        return (users >= 0) & (users < len(self.users))

    def best(self, users: Tensor, k: int, filters: Filters) -> Pair:
        """Find the k best items of users [B] whom it knows: scores and items [B, k], and at the end of
        a list for which there are no more items, scores of -inf."""
        faiss: Any = import_module("faiss")

        allowed = None if filters.blocked is None else ~filters.blocked.numpy()
        left = len(self.items) if allowed is None else int(allowed.sum())
        bitmap = None if allowed is None else np.packbits(allowed, bitorder="little")
        read = min(self.lists, -(-self.read * len(self.items) // max(left, 1)))  # in which as many items are left
        lists = []
        for user in users:
            has = np.zeros(0, np.int64) if filters.seen is None else filters.seen.of(user[None])[1].numpy()
            hidden = faiss.IDSelectorBatch(has)
            parts = [] if bitmap is None else [faiss.IDSelectorBitmap(bitmap)]
            parts += [faiss.IDSelectorNot(hidden)] if len(has) else []
            which = faiss.IDSelectorAnd(*parts) if len(parts) == 2 else next(iter(parts), None)
            given = faiss.SearchParametersIVF(sel=which, nprobe=read)
            items = np.full(k, -1)
            if left > FEW * len(self.items):
                (items,) = self.index.search(self.users[int(user)][None], k, params=given)[1]
            lists.append(self._scored(user, items) if (items >= 0).all() else self._exact(user, k, filters))
        scores, rows = zip(*lists, strict=True)
        return torch.stack(scores), torch.stack(rows)

    def _scored(self, user: Tensor, items: np.ndarray) -> Pair:
        """The model's own scores of items [k], the best first."""
        found = torch.from_numpy(items)
        scores, order = self.model.score_pairs(user.expand(len(found)), found).sort(descending=True, stable=True)
        return scores, found[order]

    def _exact(self, user: Tensor, k: int, filters: Filters) -> Pair:
        scores = filters.hide(self.model.score(user[None]), user[None], user[None])
        found = scores[0].topk(k)
        return found.values, found.indices
