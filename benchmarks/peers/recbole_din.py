"""Training rows per second of RecBole 1.2.1's DIN on MovieLens-100K, with histories of 50, as JSON.

    python benchmarks/peers/recbole_din.py --epochs 1 --threads 2

`environments.py` makes an environment that has `recbole==1.2.1` (that of `recbole_ffm`). RecBole's wheel holds the
data. Label rating >= 4; every rating but a user's first is a row, the ratings before it, liked or not, are its history,
padded to 50; each user's last two rows are left for validation and test, in the order of time, as in RecBole's own
configuration of DIN for these data, whose fields are taken too. Time is that of its trainer's epochs, without
evaluation, checkpoint and progress bar. Its activation unit has the hidden layers of the deep part, with sigmoid.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import tempfile
import types

import harness
import numpy as np
import pandas as pd
import torch
from sklearn.metrics import roc_auc_score

# What RecBole 1.2.1 misses in current packages: names that NumPy 2 has dropped, and TensorBoard, which it always opens.
for name, kind in {"bool8": np.bool_, "float_": np.float64, "complex_": np.complex128, "unicode_": np.str_}.items():
    setattr(np, name, kind)
tensorboard = types.ModuleType("torch.utils.tensorboard")
tensorboard.SummaryWriter = lambda folder: None
sys.modules["torch.utils.tensorboard"] = tensorboard

from recbole.config import Config  # noqa: E402
from recbole.data import create_dataset, data_preparation  # noqa: E402
from recbole.data.dataset import Dataset  # noqa: E402
from recbole.utils import FeatureType, get_model, get_trainer, init_seed  # noqa: E402

_fill_nan, _agg = Dataset._fill_nan, pd.Series.agg


def fill_nan(self: Dataset) -> None:
    """As it was before pandas 3, where `inplace=True` on a column fills a copy: padding rows have ids, not NaN."""
    for table in (getattr(self, name) for name in self.feat_name_list):
        for field in table:
            if self.field2type[field] in (FeatureType.TOKEN, FeatureType.FLOAT):
                token = self.field2type[field] == FeatureType.TOKEN
                table[field] = table[field].fillna(0 if token else table[field].mean())
    _fill_nan(self)


def agg(self: pd.Series, function: object) -> object:
    """The lengths of lists by `agg(len)`, as before pandas 3, where it is that of the column."""
    return self.map(len) if function is len else _agg(self, function)


Dataset._fill_nan, pd.Series.agg = fill_nan, agg


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--steps", type=int, help="of each epoch, from its first; all by default")
    parser.add_argument("--max_length", type=int, default=50, help="of histories")
    parser.add_argument("--user_fields", nargs="*", default=["age", "gender", "occupation"])
    parser.add_argument("--item_fields", nargs="*", default=["release_year"], help="beside the item; also: class")
    parser.add_argument("--dim", type=int, default=10)
    parser.add_argument("--hidden", type=int, nargs="*", default=[256, 256, 256], help="of the activation unit too")
    parser.add_argument("--batch", type=int, default=2048)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    return options


def settings(folder: str, options: argparse.Namespace) -> dict:
    columns = {"inter": ["user_id", "item_id", "rating", "timestamp"]}
    columns |= {"user": ["user_id", *options.user_fields]} if options.user_fields else {}
    columns |= {"item": ["item_id", *options.item_fields]} if options.item_fields else {}
    return {
        "load_col": columns,
        "threshold": {"rating": 4},
        "LABEL_FIELD": "label",
        "MAX_ITEM_LIST_LENGTH": options.max_length,
        "embedding_size": options.dim,
        "mlp_hidden_size": options.hidden,
        "train_batch_size": options.batch,
        "eval_batch_size": options.batch,
        "learning_rate": options.lr,
        "train_neg_sample_args": None,  # the labels are the data's
        "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "labeled", "group_by": "none"},
        "metrics": ["AUC"],
        "valid_metric": "AUC",
        "seed": options.seed,
        "use_gpu": False,
        "state": "ERROR",
        "checkpoint_dir": folder,
    }


def main() -> None:
    options = parse()
    sys.argv = sys.argv[:1]  # which RecBole reads too
    training, prediction = harness.Span(), harness.Span()
    with tempfile.TemporaryDirectory() as folder:
        config = Config("DIN", "ml-100k", config_dict=settings(folder, options))
        init_seed(config["seed"], config["reproducibility"])
        train, _, test = data_preparation(config, create_dataset(config))
        torch.set_num_threads(options.threads)
        model = get_model(config["model"])(config, train._dataset)
        trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
        rows = len(train._dataset)
        if options.steps:
            rows = min(rows, options.steps * options.batch)
        with training:
            for epoch in range(options.epochs):
                trainer._train_epoch(itertools.islice(train, options.steps), epoch)
        scores, labels = [], []
        model.eval()
        with prediction, torch.no_grad():
            for batch in test:
                scores.append(model.predict(batch[0]))
                labels.append(batch[0]["label"])
    labels, scores = torch.cat(labels).numpy(), torch.cat(scores).numpy()
    found = {
        "peer": "RecBole 1.2.1",
        "model": "din",
        "rows": rows,
        "epochs": options.epochs,
        "seconds": round(training.wall, 3),
        "cpu_seconds": round(training.cpu, 3),
        "train_rows_per_second": round(rows * options.epochs / training.wall, 1),
        "predict_rows_per_second": round(len(labels) / prediction.wall, 1),
        "auc": round(float(roc_auc_score(labels, scores)), 5),
        "peak_mb": round(harness.peak_mb(), 1),
        "table_rows": sum(e.num_embeddings for e in model.modules() if isinstance(e, torch.nn.Embedding)),
        "weights": sum(weight.numel() for weight in model.parameters()),
        "mean_history": round(float(train._dataset.inter_feat["item_length"].float().mean()), 2),
        "max_length": options.max_length,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    print(json.dumps(found), file=sys.__stdout__, flush=True)


if __name__ == "__main__":
    main()
