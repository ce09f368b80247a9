"""What a training step costs on graphs of growing size, with sampled neighbourhoods and with all of them.

    python benchmarks/sampled_steps.py [--edges 1e6 1e7 5e7] [--model LightGCN] [--fan_out 20 10 5] [--batch 2048]

Graphs are drawn (seed 0): 20 edges a user, 100 an item, items by the cube of a uniform number. Embeddings of 64, the
in-batch softmax, l2 0.03 on the batch's embeddings; batches by the loader of interactions; the step is what a Trainer
does in one, without it. Each graph in a process of its own, one thread. Told, in the mean of the steps but the first
two, are CPU seconds of the batch, of sampling and forward, of backward, and of the optimizer; the users and items whose
embeddings a step reads; the bytes of the graph; and the process's peak memory.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
import warnings
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
warnings.filterwarnings("ignore")

import torch  # noqa: E402

from recgnn.data.interactions.loaders import InteractionBatches  # noqa: E402
from recgnn.data.shard import Shard  # noqa: E402
from recgnn.models import MF, LightGCN  # noqa: E402
from recgnn.training.recommenders import RankingTraining  # noqa: E402

MODELS: dict[str, Any] = {"LightGCN": lambda u, i: LightGCN(u, i, 64, 3), "MF": lambda u, i: MF(u, i, 64)}
PARTS = ("batch", "forward", "backward", "optimizer")


def drawn(edges: int) -> tuple[torch.Tensor, int, int]:
    """Draw a graph of about so many distinct edges: edge_index, U, I."""
    users, items = edges // 20, edges // 100
    key = torch.arange(users).repeat_interleave(20) * items
    key += (torch.rand(key.numel(), generator=torch.Generator().manual_seed(0)).pow_(3) * items).long()
    key = key.unique()
    return torch.stack([key // items, key % items]), users, items


def peak() -> float:
    """The most memory that this process had so far, GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def worker(args: argparse.Namespace) -> dict[str, Any]:
    """Measure one graph."""
    torch.set_num_threads(1)
    edge_index, users, items = drawn(int(args.edges[0]))
    torch.manual_seed(0)
    model = MODELS[args.model](users, items)
    fan_out = None if args.all else args.fan_out
    training = RankingTraining(model, fan_out=fan_out, l2=0.03, l2_on="embeddings", ks=[20])
    training.set_graph(edge_index)
    told = {"edges": edge_index.shape[1], "graph_gib": sum(x.nbytes for x in model.buffers()) / 2**30}
    told["peak_of_the_graph_gib"] = peak()
    batches = iter(
        InteractionBatches(tuple(edge_index), (users, items), args.batch, Shard, training.request.negatives)
    )  # fmt: skip
    del edge_index
    optimizer, times, read = training.train().configure_optimizers(), [], []
    next(batches)  # of the epoch's order
    for _ in range(args.steps):
        at = [time.process_time()]
        optimizer.zero_grad()
        batch = next(batches)
        at.append(time.process_time())
        outputs = model.outputs(batch)
        loss = training.data_loss(batch, outputs) + training.penalty(batch, outputs)
        at.append(time.process_time())
        loss.backward()
        at.append(time.process_time())
        gradients = [model.user_embedding.weight.grad, model.item_embedding.weight.grad]
        read.append(sum(x._indices().unique().numel() if x.is_sparse else len(x) for x in gradients))
        at.append(time.process_time())
        optimizer.step()
        at.append(time.process_time())
        times.append([at[1] - at[0], at[2] - at[1], at[3] - at[2], at[5] - at[4]])
    means = torch.tensor(times[2:]).mean(0).tolist()
    told |= {"step": sum(means), **dict(zip(PARTS, means, strict=True)), "rows": sum(read) / len(read)}
    return told | {"peak_gib": peak()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--edges", type=float, nargs="+", default=[1e6, 1e7, 5e7])
    parser.add_argument("--model", choices=MODELS, default="LightGCN")
    parser.add_argument("--fan_out", type=int, nargs="*", default=[20, 10, 5])
    parser.add_argument("--all", action="store_true", help="all neighbours, and Adam on every row")
    parser.add_argument("--batch", type=int, default=2048)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--worker", action="store_true")
    args = parser.parse_args()
    if args.worker:
        print(json.dumps({name: round(value, 4) for name, value in worker(args).items()}))
        return
    for edges in args.edges:
        given = ["--model", args.model, "--batch", str(args.batch), "--steps", str(args.steps), *["--all"] * args.all]
        subprocess.run(
            [sys.executable, __file__, "--worker", "--edges", str(edges), *given, "--fan_out", *map(str, args.fan_out)],
            check=True,
        )


if __name__ == "__main__":
    main()
