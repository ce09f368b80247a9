"""The index of `serve --index faiss` beside scoring all items: a synthetic catalogue, one thread.

    OMP_NUM_THREADS=1 python benchmarks/search_index.py --items 1000000 --users 200

Items lie about centres, of sizes in a long tail, with lengths of their own; a user likes three centres; 200 items
are left out. The spread falls from dimension to dimension, by the square root, as that of trained vectors does.
Without further filters, and with a random third of the items excluded for everybody; each user is asked for by itself.
CPU milliseconds; recall@10 against the exact lists under the same filters.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch

from recgnn import models
from recgnn.data.interactions.graph import UserItems
from recgnn.serving.filters import Filters
from recgnn.serving.index import ItemIndex


def catalogue(users: int, items: int, dim: int, centres: int) -> models.MF:
    """A model whose vectors are drawn, and not trained."""
    make = np.random.default_rng(42)
    spread = (1 / np.sqrt(np.arange(1, dim + 1))).astype(np.float32)
    middle = make.standard_normal((centres, dim), dtype=np.float32)
    share = 1 / np.arange(1, centres + 1) ** 0.7
    own = make.choice(centres, items, p=share / share.sum())
    item = middle[own] + 0.7 * make.standard_normal((items, dim), dtype=np.float32)
    item *= make.lognormal(0, 0.2, (items, 1)).astype(np.float32)
    user = middle[make.choice(centres, (users, 3), p=share / share.sum())].mean(1)
    user += 0.4 * make.standard_normal((users, dim), dtype=np.float32)
    model = models.MF(users, items, dim).eval()
    with torch.no_grad():
        model.user_embedding.weight.copy_(torch.from_numpy(user * spread))
        model.item_embedding.weight.copy_(torch.from_numpy(item * spread))
    return model


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, value in (("items", 1_000_000), ("users", 200), ("dim", 64), ("centres", 2000)):
        parser.add_argument(f"--{name}", type=int, default=value)
    given = parser.parse_args()
    model = catalogue(given.users, given.items, given.dim, given.centres)
    start = time.process_time()
    index = ItemIndex(model)
    print(f"{index.told}\nbuilt in {time.process_time() - start:.1f} CPU seconds", flush=True)
    draw, count = torch.Generator().manual_seed(1), 200 * given.users
    seen = UserItems.from_pairs(torch.arange(given.users).repeat_interleave(200),
                                torch.randint(given.items, (count,), generator=draw), given.users)  # fmt: skip
    third = torch.rand(given.items, generator=draw) < 1 / 3
    for name, filters in (("seen left out", Filters(seen=seen)), ("and a third excluded", Filters(third, None, seen))):
        recall, took = [], {"exact": 0.0, "index": 0.0}
        for user in torch.arange(given.users).split(1):
            start = time.process_time()
            exact = filters.hide(model.score(user), user, user).topk(10).indices
            middle = time.process_time()
            found = index.best(user, 10, filters)[1]
            took["exact"] += middle - start
            took["index"] += time.process_time() - middle
            recall.append(torch.isin(exact, found).float().mean().item())
        each = ", ".join(f"{how} {1000 * seconds / given.users:.2f} ms" for how, seconds in took.items())
        print(f"{name}: {each} a user; recall@10 {np.mean(recall):.4f}", flush=True)


if __name__ == "__main__":
    main()
