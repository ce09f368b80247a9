"""What several processes hold together: equality with one process, memory, bytes.

    RECGNN_DATA=<folder with gowalla/ and ml-100k/> python benchmarks/sharded.py graph [--model LightGCN] [--steps 20]
    RECGNN_DATA=<folder with gowalla/ and ml-100k/> python benchmarks/sharded.py tables [--model DeepFM]

graph, `--trainer.strategy sharded`: Gowalla, embedding 64, LightGCN of 3 layers (NGCF of 3, without dropout; MF),
in-batch softmax, Adam, global batches of 2,048, seed 3; the real Trainer, strategy and data module, on one process and
on two (gloo, on the loopback). Told are

- the largest difference of a step's loss, and of a gradient over the largest gradient of its table, in all steps;
- the bytes of a process at a step's peak: parameters and optimizer state, counted, plus the peak of what torch's
  allocator gave out within a step (gradients, layers, the batch and its scores), by the events of `torch.profiler`;
- the bytes that a process sent in a step, counted where they are sent, beside those of a ring all-reduce of the dense
  gradient, 2 (N - 1) / N of it, which `ddp` needs.

tables, `--trainer.strategy torchrec`: MovieLens-100K as clicks, rating >= 4, with histories; row-wise Adagrad, no
dropout, global batches of 1,536, two epochs on one process and on two, and the second one on one and on three from the
checkpoint of two. `--activation` is of DIN's layers, Dice by default. Told are the largest differences of a step's
loss and of the AUC and log loss on validation, and the bytes of tables and of what the optimizer keeps of them.
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
from inspect import signature
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
warnings.filterwarnings("ignore")

import torch  # noqa: E402
from lightning import Callback, Trainer, seed_everything  # noqa: E402
from lightning.pytorch.callbacks import ModelCheckpoint  # noqa: E402
from torch.profiler import ProfilerActivity, profile  # noqa: E402

import recgnn.cli.training  # noqa: E402, F401  # registers the strategies
from recgnn.data import CTRDataModule, GivenSplit, Gowalla, GraphDataModule, MovieLens100K  # noqa: E402
from recgnn.data.clicks.history import Histories  # noqa: E402
from recgnn.models import DIN, FFM, MF, NGCF, DeepFM, LightGCN  # noqa: E402
from recgnn.nn.losses import SampledSoftmax  # noqa: E402
from recgnn.training.checkpoints import AtomicCheckpointIO  # noqa: E402
from recgnn.training.clicks import ClickTraining  # noqa: E402
from recgnn.training.costs import costs  # noqa: E402
from recgnn.training.recommenders import RankingTraining  # noqa: E402

MODELS: dict[str, tuple[Any, dict[str, Any]]] = {
    "MF": (MF, {}), "LightGCN": (LightGCN, {"num_layers": 3}), "NGCF": (NGCF, {"message_dropout": 0.0}),
}  # fmt: skip
CLICK_MODELS: dict[str, tuple[Any, dict[str, Any]]] = {
    "DeepFM": (DeepFM, {"dropout": 0.0, "hidden_dims": [64, 32]}), "FFM": (FFM, {}),
    "DIN": (DIN, {"dropout": 0.0, "hidden_dims": [64, 32]}),
}  # fmt: skip
BATCH, CLICKS, PROFILED = 2048, 1536, 5  # the last: steps before one is profiled


class Watch(Callback):
    """Keeps the losses and gradients of all steps, what one of them needed, and what was measured."""

    def __init__(self, profiled: bool) -> None:
        self.profiled = profiled
        self.found: dict[str, Any] = {"losses": [], "gradients": [], "seconds": [], "sent": [], "measured": []}

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.partition = getattr(trainer.strategy, "partition", None)
        self.before = 0 if self.partition is None else self.partition.sent
        profiled = self.profiled and batch_idx == PROFILED
        self.profiler = profile(activities=[ProfilerActivity.CPU], profile_memory=True) if profiled else None
        if self.profiler is not None:
            self.profiler.__enter__()
        self.started = time.process_time()

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        if self.profiler is not None or not self.profiled:
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

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        self.found["measured"].append({name: float(value) for name, value in trainer.callback_metrics.items()})

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
    source = Gowalla(Path(os.environ["RECGNN_DATA"], "gowalla"))
    data = GraphDataModule(source, split=GivenSplit(val="test"), batch_size=BATCH // args.world)
    cls, sizes = MODELS[args.model]
    model = cls(data.num_users, data.num_items, embedding_dim=64, **sizes)
    training, watch = RankingTraining(model, SampledSoftmax()), Watch(True)
    trainer = Trainer(
        accelerator="cpu", devices=args.world, strategy="sharded" if args.world > 1 else "auto", max_steps=args.steps,
        logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        limit_val_batches=0, callbacks=[watch],
    )  # fmt: skip
    trainer.fit(training, datamodule=data)
    if trainer.is_global_zero:
        told = costs(cls(data.num_users, data.num_items, embedding_dim=64, **sizes), data.edge_index, 2)
        torch.save(watch.found | {"told": {k: v._asdict() for k, v in told.items()}}, args.out)


def table_worker(args: argparse.Namespace) -> None:
    """Be one of the processes."""
    torch.set_num_threads(1)
    seed_everything(3)
    source = MovieLens100K(Path(os.environ["RECGNN_DATA"], "ml-100k"))
    names = ("user", "item", "age", "gender", "occupation")
    history = Histories(["item"], max_length=10) if args.model == "DIN" else None
    data = CTRDataModule(
        source, label="rating >= 4", fields=dict.fromkeys(names, "categorical"), history=history,
        batch_size=CLICKS // args.world, epochs_per_pass=1,
    )  # fmt: skip
    cls, sizes = CLICK_MODELS[args.model]
    wanted = [name for name in ("field_dims", "slots", "item_slots") if name in signature(cls).parameters]
    given = {name: getattr(data, name) for name in wanted}
    if args.model == "DIN":
        given |= {"attention_activation": args.activation, "activation": args.activation}
    model = cls(**given, **sizes)
    rule = {"table_optimizer": "rowwise_adagrad", "table_lr": 0.05}
    training = ClickTraining(model, l2=0.0, metrics=["auc", "logloss"], **rule)
    watch = Watch(False)
    steps, strategy = len(data.prepared.train) // CLICKS, "torchrec" if args.world > 1 else "auto"
    saver = ModelCheckpoint(Path(args.out).parent, Path(args.out).stem + "-{step}", save_top_k=-1)
    trainer = Trainer(
        accelerator="cpu", devices=args.world, strategy=strategy, max_epochs=args.epochs, limit_train_batches=steps,
        logger=False, enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
        callbacks=[watch, saver], plugins=[AtomicCheckpointIO()],
    )  # fmt: skip
    trainer.fit(training, datamodule=data, ckpt_path=args.start, weights_only=True if args.start else None)
    tables = getattr(trainer.strategy, "tables", {})
    parts = [x for table in tables.values() for x in table.parts().values()]
    held = sum(shard.tensor.nbytes for x in parts for shard in x.local_shards())
    if not tables:
        own = [table.weight for table in model.tables()]
        held = sum(x.nbytes + trainer.optimizers[0].state[x]["sum"].nbytes for x in own)
    if trainer.is_global_zero:
        torch.save(watch.found | {"held": held}, args.out)


def together(folder: str, name: str, world: int, *words: str) -> dict[str, Any]:
    """Run processes that train together; returns what the first one found."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [sys.executable, __file__, *words, "--world", str(world), "--out", f"{folder}/{name}.pt"]
    common = os.environ | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "NODE_RANK": "0"}
    ranks = [common | {"LOCAL_RANK": str(rank)} if world > 1 else dict(os.environ) for rank in range(world)]
    processes = [subprocess.Popen(command, env=rank) for rank in ranks]
    assert [process.wait() for process in processes] == [0] * world
    return torch.load(Path(folder, f"{name}.pt"), weights_only=True)


def tables(args: argparse.Namespace) -> dict[str, Any]:
    """Compare two processes, and those that go on from them, with one."""
    words = ("tables", "--model", args.model, "--activation", args.activation)
    with tempfile.TemporaryDirectory() as folder:
        one, two = (together(folder, name, world, *words) for name, world in (("one", 1), ("two", 2)))
        steps = len(two["losses"]) // 2
        start = ("--start", f"{folder}/two-step={steps}.ckpt")
        on = {str(world): together(folder, f"on{world}", world, *words, *start) for world in (1, 3)}

    def differences(found: dict[str, Any], part: slice, epochs: slice) -> dict[str, float]:
        losses = max(abs(a - b) for a, b in zip(one["losses"][part], found["losses"], strict=True))
        measured = list(zip(one["measured"][epochs], found["measured"], strict=True))
        return {"loss": losses} | {n: max(abs(a[n] - b[n]) for a, b in measured) for n in ("val/auc", "val/logloss")}

    return {
        "model": args.model, "steps": 2 * steps, "measured": one["measured"], "held": [one["held"], two["held"]],
        "two": differences(two, slice(None), slice(None)),
        **{f"continued on {w}": differences(x, slice(steps, None), slice(1, 2)) for w, x in on.items()},
    }  # fmt: skip


def graph(args: argparse.Namespace) -> dict[str, Any]:
    """Compare two processes with one."""
    with tempfile.TemporaryDirectory() as folder:
        words = ("graph", "--model", args.model, "--steps", str(args.steps))
        one, two = found = [together(folder, str(world), world, *words) for world in (1, 2)]
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
    parser.add_argument("what", choices=["graph", "tables"])
    parser.add_argument("--model", choices=[*MODELS, *CLICK_MODELS])
    parser.add_argument("--activation", default="dice")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--start")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--world", type=int)
    parser.add_argument("--out")
    args = parser.parse_args()
    args.model = args.model or {"graph": "LightGCN", "tables": "DeepFM"}[args.what]
    if args.world:
        (worker if args.what == "graph" else table_worker)(args)
    else:
        print(json.dumps((graph if args.what == "graph" else tables)(args), indent=1))


if __name__ == "__main__":
    main()
