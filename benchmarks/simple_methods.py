"""The simple methods beside a peer, and at sizes where they cost something. One thread, CPU seconds.

    python benchmarks/simple_methods.py ials --root <folder of ml-1m> --peer <python with implicit>
    python benchmarks/simple_methods.py ease          # 20,000 items
    python benchmarks/simple_methods.py graph_filter  # 1,000,000 users, 100,000 items, 30,000,000 interactions

`ials`: the same objective, factors and iterations. implicit's, of confidence c and regularisation r, is recgnn's with
alpha 1 / (c - 1), nu 0 and l2 r / c, but for the scale of the scores. Both are measured by recgnn's metrics.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse  # noqa: E402
import resource  # noqa: E402
import subprocess  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402
import torch  # noqa: E402

from recgnn.data import GraphDataModule, MovieLens1M, RatioSplit  # noqa: E402
from recgnn.models import EASE, GraphFilter, iALS  # noqa: E402
from recgnn.training.recommenders import RankingTraining  # noqa: E402
from recgnn.training.yardsticks import measured, solved  # noqa: E402

DIM, ITERATIONS, CONFIDENCE, L2 = 64, 10, 5.0, 50.0


def ials(root: str, peer: str) -> None:
    """Print the seconds of an iteration and the test metrics of both."""
    data = GraphDataModule(MovieLens1M(root=root), split=RatioSplit(seed=42))
    sizes = data.num_users, data.num_items
    torch.manual_seed(0)
    model = iALS(*sizes, DIM, alpha=1 / (CONFIDENCE - 1), nu=0.0, num_iterations=ITERATIONS)
    model.l2 = L2 / CONFIDENCE
    like = RankingTraining(model, l2=model.l2, metrics=["recall", "ndcg"], ks=[10])
    start = time.process_time()
    training = solved(model, data, like)
    seconds = (time.process_time() - start) / (ITERATIONS + 0.5)  # users once more
    print(f"recgnn: {seconds:.2f} s an iteration, {measured(training, data, 'test')}", flush=True)
    users, items = data.pairs("train")
    with tempfile.TemporaryDirectory() as folder:
        pairs, factors = Path(folder) / "pairs.npz", Path(folder) / "factors.npz"
        np.savez(pairs, user=users, item=items, num_users=sizes[0], num_items=sizes[1], dim=DIM, l2=L2,
                 confidence=CONFIDENCE, iterations=ITERATIONS)  # fmt: skip
        script = Path(__file__).parent / "peers/implicit_ials.py"
        subprocess.run([peer, str(script), str(pairs), str(factors)], check=True)
        found = np.load(factors)
        for name in ("cholesky", "cg"):
            with torch.no_grad():
                model.user_embedding.weight.copy_(torch.from_numpy(found[f"{name}_user"]))
                model.item_embedding.weight.copy_(torch.from_numpy(found[f"{name}_item"]))
            model.refresh()
            values = measured(training, data, "test")
            print(f"implicit, {name}: {found[f'{name}_seconds']:.2f} s an iteration, {values}", flush=True)


def made_up(num_users: int, num_items: int, interactions: int) -> torch.Tensor:
    """Draw distinct pairs, users alike and items by a power of their rank: [2, about that many]."""
    random = torch.Generator().manual_seed(0)
    popularity = (torch.arange(num_items) + 20.0) ** -0.8
    items = torch.multinomial(popularity, interactions, replacement=True, generator=random)
    keys = torch.unique(torch.randint(num_users, (interactions,), generator=random) * num_items + items)
    return torch.stack([keys // num_items, keys % num_items])


def timed(model: EASE | GraphFilter, edges: torch.Tensor, users: int) -> None:
    """Print the seconds to solve and to score some users, and the largest resident memory."""
    model.set_graph(edges)
    before, start = time.perf_counter(), time.process_time()
    model.solve()
    solved_in = time.process_time() - start, time.perf_counter() - before
    start = time.process_time()
    for block in torch.arange(users).split(256):
        model.score(block).topk(20)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{type(model).__name__}, {edges.shape[1]:,} interactions: solved in {solved_in[0]:.0f} CPU s "
        f"({solved_in[1]:.0f} s), {users:,} users ranked in {time.process_time() - start:.0f} CPU s, largest memory "
        f"{memory:.1f} GiB",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("ials", "ease", "graph_filter"))
    parser.add_argument("--root")
    parser.add_argument("--peer")
    options = parser.parse_args()
    if options.what == "ials":
        ials(options.root, options.peer)
    elif options.what == "ease":
        model = EASE(100_000, 20_000)
        model.l2 = 500.0
        timed(model, made_up(100_000, 20_000, 3_000_000), 10_000)
    else:
        timed(GraphFilter(1_000_000, 100_000, dim=256), made_up(1_000_000, 100_000, 31_500_000), 1_000)


if __name__ == "__main__":
    main()
