"""Steps of models of users and items by one process, or by several that have their rows together."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
import torch.distributed as dist

from recgnn.data.interactions.loaders import TrainBatch
from recgnn.nn.contrastive import DirectAU
from recgnn.nn.losses import BPR, SampledSoftmax
from recgnn.nn.partition import Partition
from recgnn.training.recommenders import RankingTraining
from tests.tools.processes import _context

USERS, ITEMS, STEPS = 13, 9, 3


def edges() -> torch.Tensor:
    """A graph in which a user has nothing and an item nobody."""
    found = torch.rand(USERS, ITEMS, generator=torch.Generator().manual_seed(1)) < 0.3
    found[5], found[:, 4] = False, False
    return found.nonzero().T


def batches(world: int, rank: int, drawn: bool) -> list[TrainBatch]:
    """The same rows, whatever the number of processes."""
    generator = torch.Generator().manual_seed(2)
    pairs, found = edges(), []
    for _ in range(STEPS):
        users, items = pairs[:, torch.randint(pairs.shape[1], (12,), generator=generator)]
        negatives = torch.randint(ITEMS, (12, 2), generator=generator)
        own = slice(rank, None, world)
        found.append(TrainBatch(users[own], items[own], negatives[own] if drawn else None))
    return found


LOSSES = {"bpr": BPR, "softmax": SampledSoftmax, "direct_au": DirectAU}


def steps(model, loss: str, partition: Partition | None) -> dict[str, torch.Tensor]:
    """Train some steps of SGD (Adam would blow up rounding where a gradient is 0).

    Returns:
        The losses, the parameters and the scores of all users.
    """
    torch.manual_seed(0)
    world, rank = (1, 0) if partition is None else (partition.world, partition.rank)
    model = model()
    training = RankingTraining(model, loss=LOSSES[loss](), l2=0.1, l2_on="embeddings" if loss == "bpr" else None)
    training.set_graph(edges())
    totals = {} if partition is None else model.divide(partition, torch.device("cpu"))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    losses = []
    for batch in batches(world, rank, loss == "bpr"):
        optimizer.zero_grad()
        outputs = model.outputs(batch)
        value = (training.data_loss(batch, outputs) + training.penalty(batch, outputs)) / world
        value.backward()
        if partition is not None:
            dist.all_reduce(value.detach())
            for name, parameter in model.named_parameters():
                if name not in totals:
                    dist.all_reduce(parameter.grad)
        losses.append(value.detach())
        optimizer.step()
    model.refresh()
    found = {"losses": torch.stack(losses)}
    for name, parameter in model.named_parameters():
        value = parameter.detach()
        found[name] = partition.gather(value, totals[name]) if name in totals else value
    own = torch.arange(rank, USERS, world)
    scores = model.score(own)
    found["scores"] = scores if partition is None else partition.gather(scores, USERS)
    return found


def run(models: dict, world: int, rank: int, folder: str, sent: int = 0) -> None:
    """Be one of the processes; the first one writes what came out, by model and loss."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world)
    found = {}
    for name, (model, losses) in models.items():
        for loss in losses:
            partition = Partition(rank, world)
            found[name, loss] = steps(model, loss, partition) | {"sent": torch.tensor(partition.sent)}
    if rank == 0:
        torch.save(found, Path(folder, "found.pt"))
    dist.barrier()
    dist.destroy_process_group()


def together(models: dict, world: int) -> dict:
    """Run the steps in several processes."""
    with tempfile.TemporaryDirectory() as folder:
        processes = [_context.Process(target=run, args=(models, world, rank, folder)) for rank in range(world)]
        for process in processes:
            process.start()
        for process in processes:
            process.join(60)
            process.kill()
        assert [process.exitcode for process in processes] == [0] * world
        return torch.load(Path(folder, "found.pt"), weights_only=True)
