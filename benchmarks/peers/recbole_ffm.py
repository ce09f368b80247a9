"""Trains RecBole 1.2.1's FFM on a table of the shape of Criteo's and prints what it took, as JSON.

    python benchmarks/peers/recbole_ffm.py --train train.parquet --test test.parquet --model ffm

`environments.py` makes an environment that has `recbole==1.2.1`. The rows become RecBole's own text files, split as
they are (`benchmark_filename`): categories are tokens, which it numbers over train and test and adds a padding token
to, and numbers are floats times a vector (`numerical_features`). An epoch is one of its trainer, without evaluation,
checkpoint and progress bar. `fm` is its FM.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import types
from pathlib import Path

import harness
import numpy as np
import torch

# What RecBole 1.2.1 misses in current packages: names that NumPy 2 has dropped, and TensorBoard, which it always opens.
for name, kind in {"bool8": np.bool_, "float_": np.float64, "complex_": np.complex128, "unicode_": np.str_}.items():
    setattr(np, name, kind)
tensorboard = types.ModuleType("torch.utils.tensorboard")
tensorboard.SummaryWriter = lambda folder: None
sys.modules["torch.utils.tensorboard"] = tensorboard

from recbole.config import Config  # noqa: E402
from recbole.data import create_dataset, data_preparation  # noqa: E402
from recbole.utils import get_model, get_trainer, init_seed  # noqa: E402

MODELS = {"ffm": "FFM", "fm": "FM"}


def settings(folder: Path, options: argparse.Namespace) -> dict:
    return {
        "data_path": str(folder),
        "benchmark_filename": ["train", "test", "test"],  # the second is validation, which is not used
        "load_col": {"inter": ["label", *harness.NUMBERS, *harness.CATEGORIES]},
        "USER_ID_FIELD": None,
        "ITEM_ID_FIELD": None,
        "LABEL_FIELD": "label",
        "numerical_features": harness.NUMBERS,
        "embedding_size": options.dim,
        "train_batch_size": options.batch,
        "eval_batch_size": options.batch,
        "learning_rate": options.lr,
        "weight_decay": 0.0,
        "train_neg_sample_args": None,
        "eval_args": {"mode": "labeled", "group_by": "none"},
        "metrics": ["AUC"],
        "valid_metric": "AUC",
        "seed": options.seed,
        "use_gpu": False,
        "state": "ERROR",
        "checkpoint_dir": str(folder / "saved"),
    }


def write(folder: Path, options: argparse.Namespace) -> int:
    """RecBole's files of train and test, and how many rows train has."""
    parts = dict(zip(("train", "test"), harness.read(options), strict=True))
    header = {"label": "label:float"} | {name: f"{name}:float" for name in harness.NUMBERS}
    header |= {name: f"{name}:token" for name in harness.CATEGORIES}
    (folder / "criteo").mkdir()
    for name, part in parts.items():
        part = part[list(header)].rename(columns=header)
        part.to_csv(folder / "criteo" / f"criteo.{name}.inter", sep="\t", index=False)
    return len(parts["train"])


def main() -> None:
    options = harness.parse(__doc__.splitlines()[0], list(MODELS))
    sys.argv = sys.argv[:1]  # which RecBole reads too
    training, prediction = harness.Span(), harness.Span()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        rows = write(folder, options)
        config = Config(MODELS[options.model], "criteo", config_dict=settings(folder, options))
        init_seed(config["seed"], config["reproducibility"])
        train, _, test = data_preparation(config, create_dataset(config))
        model = get_model(config["model"])(config, train._dataset)
        trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
        with training:
            for epoch in range(options.epochs):
                trainer._train_epoch(train, epoch)
        scores, labels = [], []
        model.eval()
        with prediction, torch.no_grad():
            for batch in test:
                scores.append(model.predict(batch[0]))
                labels.append(batch[0]["label"])
    labels, scores = torch.cat(labels).numpy(), torch.cat(scores).numpy()
    harness.report("RecBole 1.2.1", options, rows, training, prediction, labels, scores, sum(model.token_field_dims))


if __name__ == "__main__":
    main()
