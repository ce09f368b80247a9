"""What a training step costs on graphs of growing size, with sampled neighbourhoods and with all of them.

    python benchmarks/sampled_steps.py [--edges 1e6 1e7 5e7] [--model LightGCN] [--settings 64:5,3,2 2048:50,10,3]

A setting is a batch size and a fan-out, or `2048:all`, for all neighbours and Adam on every row; `2048:` is for MF.
Graphs are drawn (seed 0): 20 edges a user, 100 an item, items by the cube of a uniform number. Embeddings of 64, the
in-batch softmax, l2 0.03 on the batch's embeddings; batches by the loader of interactions; the step is what a Trainer
does in one, without it. Each graph is drawn by a process and trained on by another, one thread. Told, in the median of
the steps but the first two (rows in the mean of all), are CPU seconds of the batch, of sampling and forward, of
backward, and of the optimizer; the users and items whose embeddings a step moves; the bytes of the graph; and the most
memory that the process had until then, GiB.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
warnings.filterwarnings("ignore")

import numpy as np  # noqa: E402
import torch  # noqa: E402

import recgnn.cli.training  # noqa: E402, F401  (the allocator's settings)
from recgnn.data.interactions.loaders import InteractionBatches  # noqa: E402
from recgnn.data.shard import Shard  # noqa: E402
from recgnn.models import MF, LightGCN  # noqa: E402
from recgnn.training.recommenders import RankingTraining  # noqa: E402

MODELS: dict[str, Any] = {"LightGCN": lambda u, i: LightGCN(u, i, 64, 3), "MF": lambda u, i: MF(u, i, 64)}
PARTS = ("batch", "forward", "backward", "optimizer")


def sizes(edges: int) -> tuple[int, int]:
    """How many users and items a graph has."""
    return edges // 20, edges // 100


def draw(edges: int) -> torch.Tensor:
    """Draw a graph of about so many distinct edges: [2, E], int32."""
    users, items = sizes(edges)
    key = torch.arange(users).repeat_interleave(20) * items
    key += (torch.rand(key.numel(), generator=torch.Generator().manual_seed(0)).pow_(3) * items).long()
    key = key.unique()
    return torch.stack([(key // items).int(), key.remainder_(items).int()])


def peak() -> float:
    """The most memory that this process had so far, GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def steps(training: RankingTraining, batches: Iterator[Any], count: int) -> dict[str, float]:
    """Train for some steps."""
    model, optimizer, times, rows = training.model, training.train().configure_optimizers(), [], []
    for _ in range(count):
        at = [time.process_time()]
        optimizer.zero_grad()
        batch = next(batches)
        at.append(time.process_time())
        outputs = model.outputs(batch)
        loss = training.data_loss(batch, outputs) + training.penalty(batch, outputs)
        at.append(time.process_time())
        loss.backward()
        at.append(time.process_time())
        optimizer.step()
        at.append(time.process_time())
        if not times:  # the pages of moments that no step has touched yet cost the machine's time, once
            _ = [x.add_(0) for own in optimizer.state.values() for x in own.values()]
        times.append(torch.tensor(at).double().diff())
        gradients = [model.user_embedding.weight.grad, model.item_embedding.weight.grad]
        rows.append(sum(x._indices().unique().numel() if x.is_sparse else len(x) for x in gradients))
    means = torch.stack(times[2:]).median(0).values.tolist()
    return {"step": sum(means), **dict(zip(PARTS, means, strict=True)), "rows": sum(rows) / count, "peak_gib": peak()}


def worker(args: argparse.Namespace) -> None:
    """Measure one graph."""
    torch.set_num_threads(1)
    (users, items), edge_index = sizes(int(args.edges[0])), torch.from_numpy(np.load(args.graph)).long()
    operator, log_q = None, torch.empty(0)
    for setting in args.settings:
        batch, _, fan_out = setting.partition(":")
        torch.manual_seed(0)
        model = MODELS[args.model](users, items)
        counts = None if fan_out == "all" else [int(count) for count in fan_out.split(",") if count]
        training = RankingTraining(model, fan_out=counts, l2=0.03, l2_on="embeddings", ks=[20])
        if operator is None:
            training.set_graph(edge_index)
            operator = getattr(model, "operator", torch.nn.Module())
            size = sum(x.nbytes for x in operator.buffers()) / 2**30
            print(json.dumps({"edges": edge_index.shape[1], "graph_gib": round(size, 3), "peak_gib": round(peak(), 2)}))
            loader = InteractionBatches(tuple(edge_index), (users, items), 1, Shard, training.request.negatives)
            del edge_index
        else:
            model.operator = operator
            training.item_log_q = log_q
        log_q = training.item_log_q
        loader.batch_size = int(batch)
        batches = iter(loader)
        next(batches)  # of the epoch's order
        told = steps(training, batches, args.steps)
        print(json.dumps({"setting": setting} | {name: round(value, 4) for name, value in told.items()}), flush=True)
        del model, training


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--edges", type=float, nargs="+", default=[1e6, 1e7, 5e7])
    parser.add_argument("--model", choices=MODELS, default="LightGCN")
    parser.add_argument("--settings", nargs="+", default=["64:5,3,2", "256:5,3,2", "2048:50,10,3"])
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--draw", action="store_true")
    parser.add_argument("--graph", help="its file")
    args = parser.parse_args()
    if args.draw:
        np.save(args.graph, draw(int(args.edges[0])).numpy())
        return
    if args.graph:
        worker(args)
        return
    for edges in args.edges:
        with tempfile.TemporaryDirectory() as folder:
            given = [sys.executable, __file__, "--edges", str(edges), "--graph", f"{folder}/graph.npy"]
            subprocess.run([*given, "--draw"], check=True)
            own = ["--model", args.model, "--steps", str(args.steps), "--settings", *args.settings]
            subprocess.run([*given, *own], check=True)


if __name__ == "__main__":
    main()
