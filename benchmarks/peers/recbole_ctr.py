"""Trains one of RecBole 1.2.1's CTR models on given parts and prints its AUC and log loss, as JSON.

    python benchmarks/peers/recbole_ctr.py --data <folder with ml/ml.train.inter and the others> --model FM --seed 1

`benchmarks/quality_recbole.py` writes the files and runs this in an environment that has `recbole==1.2.1`. The label is
rating >= 4, every other column is a field, and the settings are RecBole's defaults: embedding 10, Adam 1e-3, batch
2,048, no weight decay. Its trainer stops by the AUC on validation, which it rounds to four decimals, after more than
ten epochs without a better or equal one. The figures are of that epoch, by scikit-learn; test is scored once, at the
end.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import harness
import numpy as np
import pandas as pd
import recbole_ffm  # noqa: F401  (what RecBole misses in current packages)
import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.data.dataset import Dataset
from recbole.utils import FeatureType, get_model, get_trainer, init_seed
from sklearn.metrics import log_loss, roc_auc_score

MODELS = ["LR", "FM", "WideDeep", "DeepFM", "FFM"]
COLUMNS = {
    "inter": ["user_id", "item_id", "rating"],
    "user": ["user_id", "age", "gender", "occupation", "zip_code"],
    "item": ["item_id", "release_year", "class"],
}


class Silent:
    """In place of TensorBoard's writer."""

    def add_scalar(self, tag: str, value: float, step: int) -> None: ...

    def add_hparams(self, settings: dict, metrics: dict) -> None: ...


def fill_nan(dataset: Dataset) -> None:
    """RecBole's `_fill_nan`, whose `fillna(inplace=True)` fills a copy in pandas 3: the padding's row of user and item
    tables, and values that are missing."""
    for name in dataset.feat_name_list:
        table = getattr(dataset, name)
        for field in table:
            if dataset.field2type[field] == FeatureType.TOKEN:
                table[field] = table[field].fillna(0).astype(np.int64)
            elif dataset.field2type[field] == FeatureType.TOKEN_SEQ:
                empty = np.array([], dtype=np.int64)
                table[field] = [empty if isinstance(values, float) else values for values in table[field]]


Dataset._fill_nan = fill_nan
aggregate = pd.Series.agg  # which took len of each value before pandas 3
pd.Series.agg = lambda column, what: column.map(len) if what is len else aggregate(column, what)


def settings(options: argparse.Namespace, checkpoints: str) -> dict:
    return {
        "data_path": str(options.data),
        "benchmark_filename": ["train", "valid", "test"],
        "load_col": COLUMNS,
        "threshold": {"rating": 4},
        "embedding_size": 10,
        "train_batch_size": 2048,
        "epochs": options.epochs,
        "stopping_step": 10,
        "train_neg_sample_args": None,
        "eval_args": {"mode": "labeled", "group_by": "none"},
        "metrics": ["AUC", "LogLoss"],
        "valid_metric": "AUC",
        "seed": options.seed,
        "use_gpu": False,
        "state": "ERROR",
        "checkpoint_dir": checkpoints,
    }


@torch.no_grad()
def measured(model: torch.nn.Module, part: str, loader: torch.utils.data.DataLoader) -> dict[str, float]:
    model.eval()
    batches = [batch[0] for batch in loader]
    labels = torch.cat([batch["label"] for batch in batches]).numpy()
    scores = torch.cat([model.predict(batch) for batch in batches]).double().numpy()
    return {
        f"{part}_rows": len(labels),
        f"{part}_auc": round(float(roc_auc_score(labels, scores)), 6),
        f"{part}_logloss": round(float(log_loss(labels, scores)), 6),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder that holds ml/, with RecBole's atomic files")
    parser.add_argument("--model", choices=MODELS, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=150, help="at most")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    sys.argv = sys.argv[:1]  # which RecBole reads too
    with tempfile.TemporaryDirectory() as checkpoints:
        config = Config(options.model, "ml", config_dict=settings(options, checkpoints))
        init_seed(config["seed"], config["reproducibility"])
        train, val, test = data_preparation(config, create_dataset(config))
        init_seed(config["seed"], config["reproducibility"])
        model = get_model(config["model"])(config, train._dataset)
        trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
        trainer.tensorboard = Silent()
        training = harness.Span()
        with training:
            trainer.fit(train, val, verbose=False)
        best = torch.load(trainer.saved_model_file, weights_only=False)  # its own pickled settings are in it
    model.load_state_dict(best["state_dict"])
    found = {
        "peer": "RecBole 1.2.1",
        "model": options.model,
        "seed": options.seed,
        "fields": model.token_field_names + model.token_seq_field_names,
        "train_rows": len(train._dataset),
        **measured(model, "val", val),
        **measured(model, "test", test),
        "best_epoch": best["epoch"] + 1,
        "epochs": len(trainer.train_loss_dict),
        "seconds": round(training.wall, 1),
        "cpu_seconds": round(training.cpu, 1),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    print(json.dumps(found), file=sys.__stdout__, flush=True)


if __name__ == "__main__":
    main()
