"""Trains torch-rechub 0.9.0's DIN or BST on prepared data of recgnn and prints what it took, as JSON.

    python benchmarks/peers/rechub_sequence.py --data prepared/beauty --model din --dim 16 --hidden 200 80

`environments.py` makes an environment that has `torch-rechub==0.9.0` (that of `torch_rechub`). The folder is what
recgnn's `PreparedEvents.save` wrote (`benchmarks/sequence_data.py`): the same rows, the same past items. As in
torch-rechub's own example of DIN, histories are padded with 0 to one length, behind their items as by its
`generate_seq_feature`, rows go through its DataGenerator, a dict a row, and `CTRTrainer.train_one_epoch` trains. Then
its `fit` is followed: AUC on validation, its EarlyStopper, the best weights, but no checkpoint.

The padding has a vector of zeros, which the example leaves out; without it DIN's sum, which has no mask, would count
padding as past items. A past item can have but one value of a feature in torch-rechub: of several (attributes, genres)
it sees the first. The target's are all given too, as a feature with mean pooling that shares their table. Neither model
takes numbers beside them. Batch normalisation and Dice are built into its layers and stay. BST's feed-forward layer has
2,048 units whatever its width is, the default of PyTorch's layer, unless `--feed_forward` is given.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import harness

sys.path.remove(str(Path(__file__).resolve().parent))  # it holds a file with the name of the package

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import torch  # noqa: E402
from sklearn.metrics import roc_auc_score  # noqa: E402
from torch_rechub.basic.callback import EarlyStopper  # noqa: E402
from torch_rechub.basic.features import SequenceFeature, SparseFeature  # noqa: E402
from torch_rechub.models.ranking import BST, DIN  # noqa: E402
from torch_rechub.trainers import CTRTrainer  # noqa: E402
from torch_rechub.utils.data import DataGenerator  # noqa: E402

KNOWN = 2  # rows of every field before its values: unknown, missing


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of prepared data with histories")
    parser.add_argument("--model", choices=["din", "bst"], default="din")
    parser.add_argument("--fields", nargs="+", help="that are used; all by default")
    parser.add_argument("--max_length", type=int, help="of histories; that of the data by default")
    parser.add_argument("--padding", choices=["right", "left"], default="right", help="where histories are padded")
    parser.add_argument("--dim", type=int, default=16)
    parser.add_argument("--hidden", type=int, nargs="*", default=[200, 80])
    parser.add_argument("--attention", type=int, nargs="*", default=[80, 40], help="DIN: layers of its activation unit")
    parser.add_argument("--heads", type=int, default=8, help="BST")
    parser.add_argument("--feed_forward", type=int, help="BST: width of that layer; 2,048 by default")
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--l2", type=float, default=0.0, help="weight decay of Adam, all weights")
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--epochs", type=int, default=20, help="at most")
    parser.add_argument("--patience", type=int, default=2, help="epochs without a better AUC on validation")
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    return options


class Data:
    """The fields and the arrays of prepared data, as torch-rechub takes them: ids of each field from 1, 0 is padding.

    Attributes:
        names: Of the fields that are used.
        of_item: Those among them that past items have.
        sizes: Rows of each, padding included.
    """

    def __init__(self, folder: Path, wanted: list[str] | None) -> None:
        self.folder = folder
        content = json.loads((folder / "fields.json").read_text(encoding="utf-8"))
        self.history = json.loads((folder / "summary.json").read_text(encoding="utf-8"))["history"]
        if self.history is None:
            raise SystemExit(f"{folder}: the data have no histories")
        known = pd.read_parquet(folder / "fields.parquet")["field"].value_counts()
        self.slots, self.starts, self.sizes, self.multi = {}, {}, {}, set()
        slot = start = weighted = 0
        self.weighted, numbers = {}, set()
        for name in content["numbers"]:
            field = content["fields"].get(name) or content["fields"][name.rpartition(".")[0]]  # a part of a time
            number = field["kind"] == "numeric" and field["transform"] in ("standard", "linear")
            width = field["max_values"] if field["kind"] == "multi" else 1
            if number:
                numbers.add(name)
            if field["kind"] == "multi":
                self.multi.add(name)
            if number or name in self.multi:
                self.weighted[name] = slice(weighted, weighted := weighted + width)
            self.slots[name], self.starts[name] = slice(slot, slot := slot + width), start
            rows = KNOWN + (0 if number else field["buckets"] or int(known.get(name, 0)))
            self.sizes[name], start = rows + 1, start + rows
        self.names = wanted or list(self.slots)
        if unable := [name for name in self.names if name in numbers or name not in self.slots]:
            raise SystemExit(f"{folder}: {', '.join(unable)}: no categories; the fields are {', '.join(self.slots)}")
        self.of_item = [name for name in self.names if name in self.history["item_fields"]]
        if not self.of_item or len(self.of_item) == len(self.names):
            raise SystemExit("torch-rechub needs a field of the item and one that is not of it")

    def read(self, name: str) -> np.ndarray:
        return np.load(self.folder / f"{name}.npy")

    def inputs(self, part: str, max_length: int, left: bool) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """The features of a part, by torch-rechub's names, and the labels."""
        ids, found = self.read(f"{part}.ids"), {}
        values = self.read(f"{part}.values") if self.weighted else None
        for name in self.names:
            own = ids[:, self.slots[name]] - (self.starts[name] - 1)
            if name in self.multi:
                own[values[:, self.weighted[name]] == 0] = 0
                found[f"all_{name}"] = own
            if name not in self.multi or name in self.of_item:
                found[name] = np.ascontiguousarray(own[:, 0])
        items = self.read("item.ids")  # [I, H], the slots of the item's fields, ascending
        fields = [name for name in self.slots if name in self.history["item_fields"]]
        widths = [self.slots[name].stop - self.slots[name].start for name in fields]
        first = dict(zip(fields, np.cumsum([0, *widths[:-1]]), strict=True))
        past, starts, lengths = (self.read(f"{part}.{kind}") for kind in ("past_items", "starts", "lengths"))
        kept = np.minimum(lengths.astype(np.int64), max_length)  # the newest
        owner = np.repeat(np.arange(len(kept)), kept)
        place = np.arange(len(owner)) - np.repeat(np.cumsum(kept) - kept, kept)
        rows = past[(starts + lengths - kept)[owner] + place]
        place = place + (max_length - kept)[owner] if left else place
        for name in self.of_item:
            padded = np.zeros((len(kept), max_length), dtype=np.int32)
            padded[owner, place] = items[rows, first[name]] - (self.starts[name] - 1)
            found[f"past_{name}"] = padded
        return found, self.read(f"{part}.labels")


def build(data: Data, max_length: int, options: argparse.Namespace) -> torch.nn.Module:
    def sparse(name: str) -> SparseFeature:
        return SparseFeature(name, vocab_size=data.sizes[name], embed_dim=options.dim, padding_idx=0)

    def sequence(name: str, of: str, pooling: str, shared: bool) -> SequenceFeature:
        own = {"shared_with": of} if shared else {}
        return SequenceFeature(name, data.sizes[of], options.dim, pooling=pooling, padding_idx=0, **own)

    context = [sparse(name) for name in data.names if name not in data.of_item and name not in data.multi]
    context += [sequence(f"all_{n}", n, "mean", n in data.of_item) for n in data.names if n in data.multi]
    target = [sparse(name) for name in data.of_item]
    past = [sequence(f"past_{name}", name, "concat", True) for name in data.of_item]
    hidden = {"dims": options.hidden, "dropout": options.dropout}
    if options.model == "din":
        return DIN(context, past, target, mlp_params=hidden, attention_mlp_params={"dims": options.attention})
    given = {"nhead": options.heads, "dropout": options.dropout, "max_seq_len": max_length + 1}
    model = BST(context, past, target, mlp_params=hidden, **given)
    if options.feed_forward:
        layer = torch.nn.TransformerEncoderLayer(
            model.item_dim, options.heads, options.feed_forward, options.dropout, torch.nn.LeakyReLU(), batch_first=True
        )
        model.transformer_layers = torch.nn.TransformerEncoder(layer, num_layers=1)
    return model


def gauc(labels: np.ndarray, scores: np.ndarray, groups: np.ndarray) -> float:
    """AUC within each group, its mean weighted by the group's rows, without groups of one class."""
    frame = pd.DataFrame({"group": groups, "label": labels, "score": scores})
    by = frame.groupby("group")
    frame["rank"] = by["score"].rank()  # ties share theirs
    count, positive = by.size(), by["label"].sum()
    ranks = frame["rank"].where(frame["label"] == 1, 0).groupby(frame["group"]).sum()
    both = (positive > 0) & (positive < count)
    area = (ranks - positive * (positive + 1) / 2)[both] / (positive * (count - positive))[both]
    return float(np.average(area, weights=count[both])) if both.any() else float("nan")


def main() -> None:
    options = parse()
    data = Data(options.data, options.fields)
    max_length = options.max_length or data.history["max_length"]
    parts = {part: data.inputs(part, max_length, options.padding == "left") for part in ("train", "val", "test")}
    (x, y), (val_x, val_y), (test_x, test_y) = parts.values()
    train, val, test = DataGenerator(x, y).generate_dataloader(
        x_val=val_x, y_val=val_y, x_test=test_x, y_test=test_y, batch_size=options.batch
    )
    model = build(data, max_length, options)
    trainer = CTRTrainer(model, optimizer_params={"lr": options.lr, "weight_decay": options.l2})
    stopper, epochs, seconds, cpu = EarlyStopper(options.patience), 0, 0.0, 0.0
    for epochs in range(1, options.epochs + 1):  # noqa: B007
        with harness.Span() as span:
            trainer.train_one_epoch(train)
        seconds, cpu = seconds + span.wall, cpu + span.cpu
        auc = trainer.evaluate(model, val)
        line = {"epoch": epochs, "val_auc": round(auc, 5), "seconds": round(span.wall, 3)}
        print(json.dumps(line), file=sys.stderr, flush=True)
        if stopper.stop_training(auc, model.state_dict()):
            break
    model.load_state_dict(stopper.best_weights)
    with harness.Span() as prediction:
        scores = np.asarray(trainer.predict(model, test))
    groups = options.data / "test.groups.npy"
    found = {
        "peer": "torch-rechub 0.9.0",
        "model": options.model,
        "fields": data.names,
        "rows": len(y),
        "epochs": epochs,
        "seconds": round(seconds, 3),
        "cpu_seconds": round(cpu, 3),
        "train_rows_per_second": round(len(y) * epochs / seconds, 1),
        "predict_rows_per_second": round(len(test_y) / prediction.wall, 1),
        "val_auc": round(float(stopper.best_auc), 5),
        "auc": round(float(roc_auc_score(test_y, scores)), 5),
        "gauc": round(gauc(test_y, scores, np.load(groups)), 5) if groups.is_file() else None,
        "peak_mb": round(harness.peak_mb(), 1),
        "table_rows": sum(data.sizes[name] for name in data.names),
        "weights": sum(weight.numel() for weight in model.parameters()),
        "max_length": max_length,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    print(json.dumps(found), file=sys.__stdout__, flush=True)


if __name__ == "__main__":
    main()
