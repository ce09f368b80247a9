"""Users and items divided over processes (`--trainer.strategy sharded`): equality with one process, memory, bytes.

    RECGNN_DATA=<folder with gowalla/> python benchmarks/sharded.py graph [--model LightGCN] [--steps 20]

Gowalla, embedding 64, LightGCN of 3 layers (NGCF of 3, without dropout; MF), in-batch softmax, Adam, global batches of
2,048, seed 3; the real Trainer, strategy and data module, on one process and on two (gloo, on the loopback). Told are

- the largest difference of a step's loss, and of a gradient over the largest gradient of its table, in all steps;
- the bytes of a process at a step's peak: parameters and optimizer state, counted, plus the peak of what torch's
  allocator gave out within a step (gradients, layers, the batch and its scores), by the events of `torch.profiler`;
- the bytes that a process sent in a step, counted where they are sent, beside those of a ring all-reduce of the dense
  gradient, 2 (N - 1) / N of it, which `ddp` needs.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
warnings.filterwarnings("ignore")

import torch  # noqa: E402
from lightning import Callback, Trainer, seed_everything  # noqa: E402
from torch.profiler import ProfilerActivity, profile  # noqa: E402

import recgnn.cli.training  # noqa: E402, F401  # registers the strategies
from recgnn.data import GivenSplit, Gowalla, GraphDataModule  # noqa: E402
from recgnn.models import MF, NGCF, LightGCN  # noqa: E402
from recgnn.nn.losses import SampledSoftmax  # noqa: E402
from recgnn.training.costs import costs  # noqa: E402
from recgnn.training.recommenders import RankingTraining  # noqa: E402

MODELS: dict[str, tuple[Any, dict[str, Any]]] = {
    "MF": (MF, {}), "LightGCN": (LightGCN, {"num_layers": 3}), "NGCF": (NGCF, {"message_dropout": 0.0}),
}  # fmt: skip
BATCH, PROFILED = 2048, 5  # steps before one is profiled


class Watch(Callback):
    """Keeps the losses and gradients of all steps, and what one of them needed."""

    def __init__(self) -> None:
        self.found: dict[str, Any] = {"losses": [], "gradients": [], "seconds": [], "sent": []}

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.partition = getattr(trainer.strategy, "partition", None)
        self.before = 0 if self.partition is None else self.partition.sent
        self.profiler = profile(activities=[ProfilerActivity.CPU], profile_memory=True) if batch_idx == PROFILED else None
        if self.profiler is not None:
            self.profiler.__enter__()
        self.started = time.process_time()

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        if self.profiler is not None:
            return  # nothing of this function in what is measured
        if self.partition is not None:
            self.found["sent"].append(self.partition.sent - self.before)
        self.found["seconds"].append(time.process_time() - self.started)
        model = pl_module.model
        totals = getattr(trainer.strategy, "divided", {})
        whole = {}
        for name, parameter in model.named_parameters():
            total = totals.get(f"model.{name}")
            gradient = parameter.grad.detach().clone()
            whole[name] = gradient if total is None else self.partition.gather(gradient, total, everywhere=False)
        self.found["gradients"].append(whole)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.found["losses"].append(float(trainer.strategy.reduce(outputs["loss"].detach().clone())))
        if self.profiler is not None:
            self.profiler.__exit__(None, None, None)
            events = [e for e in self.profiler.profiler.kineto_results.events() if e.name() == "[memory]"]
            now, peak = 0, 0
            for event in sorted(events, key=lambda e: e.start_ns()):
                now += event.nbytes()
                peak = max(peak, now)
            state = [x for own in trainer.optimizers[0].state.values() for x in own.values()]
            kept = sum(x.nbytes for x in [*pl_module.model.parameters(), *state])
            self.found |= {"kept": kept, "peak": peak}


def worker(args: argparse.Namespace) -> None:
    """Be one of the processes."""
    torch.set_num_threads(1)
    seed_everything(3)
    data = GraphDataModule(Gowalla(Path(os.environ["RECGNN_DATA"], "gowalla")), split=GivenSplit(val="test"), batch_size=BATCH // args.world)
    cls, sizes = MODELS[args.model]
    model = cls(data.num_users, data.num_items, embedding_dim=64, **sizes)
    training, watch = RankingTraining(model, SampledSoftmax()), Watch()
    trainer = Trainer(
        accelerator="cpu", devices=args.world, strategy="sharded" if args.world > 1 else "auto", max_steps=args.steps,
        logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        limit_val_batches=0, callbacks=[watch],
    )  # fmt: skip
    trainer.fit(training, datamodule=data)
    if trainer.is_global_zero:
        told = costs(cls(data.num_users, data.num_items, embedding_dim=64, **sizes), data.edge_index, 2)
        torch.save(watch.found | {"told": {k: v._asdict() for k, v in told.items()}}, args.out)


def graph(args: argparse.Namespace) -> dict[str, Any]:
    """Compare two processes with one."""
    found = []
    with tempfile.TemporaryDirectory() as folder, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
        free.close()
        for world in (1, 2):
            words = [sys.executable, __file__, "graph", "--model", args.model, "--steps", str(args.steps)]
            words += ["--world", str(world), "--out", f"{folder}/{world}.pt"]
            common = os.environ | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "NODE_RANK": "0"}
            ranks = [common | {"LOCAL_RANK": str(rank)} if world > 1 else dict(os.environ) for rank in range(world)]
            processes = [subprocess.Popen(words, env=rank) for rank in ranks]
            assert [process.wait() for process in processes] == [0] * world
            found.append(torch.load(Path(folder, f"{world}.pt"), weights_only=True))
    one, two = found
    held = [x["kept"] + x["peak"] for x in found]
    gradient = max(
        float((a[name] - b[name]).abs().max() / a[name].abs().max())
        for a, b in zip(one["gradients"], two["gradients"], strict=True) for name in a
    )  # fmt: skip
    loss = max(abs(a - b) for a, b in zip(one["losses"], two["losses"], strict=True))
    return {
        "model": args.model, "steps": len(one["losses"]), "loss": one["losses"][-1], "largest_loss_difference": loss,
        "largest_gradient_difference": gradient, "bytes_held": held, "held": held[1] / held[0],
        "of_it_kept": [x["kept"] for x in found], "sent_per_step": max(two["sent"]), "told": two["told"],
        "ddp_per_step": two["told"]["ddp"]["sent"],
        "cpu_seconds_per_step": [sum(x["seconds"]) / len(x["seconds"]) for x in found],
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["graph"])
    parser.add_argument("--model", choices=[*MODELS], default="LightGCN")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--world", type=int)
    parser.add_argument("--out")
    args = parser.parse_args()
    if args.world:
        worker(args)
    else:
        print(json.dumps(graph(args), indent=1))


if __name__ == "__main__":
    main()
