"""Trains recgnn's DIN or BST on prepared data with histories and prints what it took, as JSON, as the peers do.

    python benchmarks/peers/recgnn_sequence.py --data prepared/beauty --model din --dim 16 --hidden 200 80

The time is that of the Trainer's epochs, with the seeding callback and the progress bar, without evaluation and
checkpoints. AUC is that of the last epoch's weights.
"""

from __future__ import annotations

import argparse  # noqa: I001
import json
from pathlib import Path

import harness
import numpy as np
import torch
from lightning import seed_everything
from sklearn.metrics import roc_auc_score
from trained import fit

import recgnn.cli.training  # noqa: F401  (first: the allocator's settings)
from recgnn.data import CTRDataModule
from recgnn.models import BST, DIN
from recgnn.training.clicks import ClickTraining


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of prepared data with histories")
    parser.add_argument("--model", choices=["din", "bst"], default="din")
    parser.add_argument("--dim", type=int, default=16)
    parser.add_argument("--hidden", type=int, nargs="*", default=[200, 80])
    parser.add_argument("--attention", type=int, nargs="*", default=[80, 40], help="DIN: layers of its activation unit")
    parser.add_argument("--activation", default="dice", help="DIN: of both")
    parser.add_argument("--heads", type=int, default=8, help="BST")
    parser.add_argument("--init_std", type=float, default=1e-2, help="of the embeddings")
    parser.add_argument("--position_std", type=float, help="BST: of the positions; that of the embeddings by default")
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--l2", type=float, default=0.0)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    data = CTRDataModule(prepared=str(options.data), batch_size=options.batch, eval_batch_size=options.batch)
    seed_everything(options.seed, verbose=False)
    given = {"embedding_dim": options.dim, "hidden_dims": options.hidden, "dropout": options.dropout}
    given |= {"init_std": options.init_std}
    if options.model == "din":
        given |= {"attention_dims": options.attention, "activation": options.activation}
        given |= {"attention_activation": options.activation}
        model = DIN(data.field_dims, data.slots, data.item_slots, **given)
    else:
        given |= {"num_heads": options.heads, "position": "order", "position_std": options.position_std}
        model = BST(data.field_dims, data.slots, data.item_slots, **given)
    training = fit(ClickTraining(model, l2=options.l2, lr=options.lr), data, options.epochs)
    data.trainer = None
    model.eval()
    prediction = harness.Span()
    with prediction:
        scores = [model.predict_events(b.ids, b.values, b.history) for b in data.test_dataloader()]
    labels, rows = np.array(data.prepared.test.labels), len(data.prepared.train)
    found = {
        "peer": "recgnn",
        "model": options.model,
        "rows": rows,
        "epochs": options.epochs,
        "seconds": round(training.wall, 3),
        "cpu_seconds": round(training.cpu, 3),
        "train_rows_per_second": round(rows * options.epochs / training.wall, 1),
        "predict_rows_per_second": round(len(labels) / prediction.wall, 1),
        "auc": round(float(roc_auc_score(labels, torch.cat(scores).numpy())), 5),
        "peak_mb": round(harness.peak_mb(), 1),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
