"""Speed of training and evaluation on Gowalla, as ratios against peers in the same run.

    RECGNN_DATA=<folder with gowalla/> python benchmarks/speed.py graph

Batch 2,048, LightGCN of 3 layers, embedding 64, BPR with one negative; a step is forward, backward and optimizer.
The peers are `torch_geometric.nn.LightGCN`, on a CSR tensor and on `edge_index`, fed the same batches from the same
weights with the same optimizer; the bare loop of the same model without the Trainer; and blocks of
`(U @ I.T).topk(20)` for evaluation. Each pair is measured in turns, and the median is taken.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import time
import warnings
from collections.abc import Callable

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: spinning threads measure the scheduler
warnings.filterwarnings("ignore")

import torch  # noqa: E402
import torch_geometric.nn  # noqa: E402
from lightning import Callback, Trainer, seed_everything  # noqa: E402

import recgnn.cli.training  # noqa: E402, F401  (the allocator's settings, which both sides then have)
from recgnn.data import GivenSplit, Gowalla, GraphDataModule  # noqa: E402
from recgnn.models import LightGCN  # noqa: E402
from recgnn.training.callbacks import EpochSeed  # noqa: E402
from recgnn.training.progress import EpochProgress  # noqa: E402
from recgnn.training.recommenders import RankingTraining  # noqa: E402

DIM, LAYERS, BATCH, K = 64, 3, 2048, 20


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def ours(data: GraphDataModule) -> RankingTraining:
    seed_everything(0, verbose=False)
    training = RankingTraining(LightGCN(data.num_users, data.num_items, DIM, LAYERS), l2=0.0, ks=[K])
    training.set_graph(data.edge_index)
    return training


def our_step(training: RankingTraining, optimizer: torch.optim.Optimizer) -> Callable:
    def step(batch) -> torch.Tensor:
        optimizer.zero_grad()
        loss = training.data_loss(batch, training.model.outputs(batch))
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def pyg_step(model: LightGCN, adjacency: torch.Tensor) -> Callable:
    """The same step by PyG's model, from the same weights; items come after the users in its numbering. The CSR
    tensor is normalised once, before; on `edge_index` the model normalises by itself."""
    peer = torch_geometric.nn.LightGCN(model.num_users + model.num_items, DIM, LAYERS)
    for conv in peer.convs:
        conv.normalize = adjacency.layout != torch.sparse_csr
    with torch.no_grad():
        peer.embedding.weight.copy_(torch.cat([model.user_embedding.weight, model.item_embedding.weight]))
    optimizer = torch.optim.Adam(peer.parameters(), lr=1e-3, fused=True)

    def step(batch) -> torch.Tensor:
        optimizer.zero_grad()
        positive = torch.stack([batch.users, batch.positives + model.num_users])
        negative = torch.stack([batch.users, batch.negatives[:, 0] + model.num_users])
        ranks = peer(adjacency, torch.cat([positive, negative], 1))
        good, bad = ranks.chunk(2)
        loss = peer.recommendation_loss(good, bad, node_id=None, lambda_reg=0.0)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def median_seconds(step: Callable, batches: list, count: int) -> float:
    times = []
    for batch in batches[:count]:
        started = time.perf_counter()
        step(batch)
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def training(data: GraphDataModule, batches: list, steps: int) -> dict:
    ours_ = ours(data)
    model = ours_.model
    edge_index, _ = model.operator.edges()
    steppers = {
        "pyg_csr": pyg_step(model, model.operator.csr()),
        "pyg_edge_index": pyg_step(model, edge_index),
        "recgnn": our_step(ours_, torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)),
    }
    first = {name: float(step(batches[0])) for name, step in steppers.items()}
    seconds: dict[str, list[float]] = {name: [] for name in steppers}
    for turn in range(3):
        for name, step in steppers.items():
            count = max(2, steps // 8) if name == "pyg_edge_index" else steps
            seconds[name].append(median_seconds(step, batches[1 + turn * steps :], count))
    middle = {name: statistics.median(values) for name, values in seconds.items()}
    return {
        "first_loss": first,
        "largest_difference_of_first_loss": max(abs(v - first["recgnn"]) for v in first.values()),
        "seconds_per_step": middle,
        "times_pyg_csr": middle["pyg_csr"] / middle["recgnn"],
        "times_pyg_edge_index": middle["pyg_edge_index"] / middle["recgnn"],
    }


def trainer_overhead(data: GraphDataModule, steps: int) -> dict:
    """Seconds of `steps` steps by the Trainer, with the seeding callback and the progress bar, and by a bare loop."""

    def by_trainer() -> float:
        trainer = Trainer(
            max_epochs=1,
            limit_train_batches=steps,
            limit_val_batches=0,
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            callbacks=[Clock(), EpochSeed(), EpochProgress()],
        )
        trainer.fit(ours(data), datamodule=data)
        return trainer.callbacks[0].seconds

    def bare() -> float:
        training = ours(data)
        step = our_step(training, training.configure_optimizers())
        loader = data.train_dataloader()
        started = time.perf_counter()
        for _, batch in zip(range(steps), loader, strict=False):
            step(batch)
        return time.perf_counter() - started

    pairs = []
    by_trainer()  # warm, and gives the data module its trainer
    for _ in range(3):
        pairs.append((by_trainer(), bare()))
    trained, looped = (statistics.median(values) for values in zip(*pairs, strict=True))
    return {"trainer_seconds": trained, "bare_seconds": looped, "overhead": trained / looped - 1}


class Clock(Callback):
    """Seconds from the first batch of an epoch to its last."""

    def on_train_epoch_start(self, trainer, pl_module) -> None:
        self.started = time.perf_counter()

    def on_train_epoch_end(self, trainer, pl_module) -> None:
        self.seconds = time.perf_counter() - self.started


def evaluation(data: GraphDataModule) -> dict:
    """Full ranking of all test users: masked, six metrics at 20; and plain blocks of products and top-k."""
    training = ours(data).eval()
    model, metrics = training.model, training.metrics["test"]
    model.embeddings()
    loader = data.test_dataloader()

    def full() -> float:
        started = time.perf_counter()
        model.refresh()
        for batch in loader:
            training.measure("test", batch)
        values = metrics.compute()
        metrics.reset()
        assert {"recall@20", "precision@20", "ndcg@20", "map@20", "mrr@20", "hitrate@20"} <= set(values)
        return time.perf_counter() - started

    @torch.no_grad()
    def plain() -> float:
        user, item = model.embeddings()
        started = time.perf_counter()
        for block in user.split(1024):
            (block @ item.T).topk(K)
        return time.perf_counter() - started

    full()
    pairs = [(full(), plain()) for _ in range(3)]
    mine, theirs = (statistics.median(values) for values in zip(*pairs, strict=True))
    return {"users": data.num_users, "recgnn_seconds": mine, "plain_seconds": theirs, "ratio": mine / theirs}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default=os.environ.get("RECGNN_DATA"), help="folder that holds gowalla/")
    parser.add_argument("--steps", type=int, default=20, help="steps per turn")
    parser.add_argument("--output", help="JSON file")
    options = parser.parse_args()
    root = f"{options.data}/gowalla" if options.data else None
    data = GraphDataModule(Gowalla(root), split=GivenSplit(val="test"), batch_size=BATCH)
    seed_everything(0, verbose=False)
    data.trainer = None
    data.setup("fit")
    found = {"threads": torch.get_num_threads(), "torch": torch.__version__}
    data.request = ours(data).request
    batches = [batch for _, batch in zip(range(1 + 3 * options.steps), data.train_dataloader(), strict=False)]
    found["peak_mb_before"] = peak_mb()
    found["evaluation"] = evaluation(data)
    found["trainer"] = trainer_overhead(data, 100)
    found["peak_mb_recgnn"] = peak_mb()
    found["training"] = training(data, batches, options.steps)
    found["peak_mb_with_peers"] = peak_mb()
    text = json.dumps(found, indent=2)
    print(text)
    if options.output:
        with open(options.output, "w", encoding="utf-8") as file:
            file.write(text + "\n")


if __name__ == "__main__":
    main()
