"""Trains torch-rechub 0.9.0 on a table of the shape of Criteo's and prints what it took, as JSON.

    python benchmarks/peers/torch_rechub.py --train train.parquet --test test.parquet --model deepfm

`environments.py` makes an environment that has `torch-rechub==0.9.0`. Its DataGenerator takes a dict of arrays, as its
README has it; the data frame of its Criteo example is slower. The hidden layers of DeepFM and of WideDeep see the
numbers and the categories, the wide part the numbers, as in that example. Its hidden layers always have batch
normalisation, which is taken out here. An epoch is one of its trainer, without the checkpoint that `fit` writes at the
end, and its progress bars are off.
"""

from __future__ import annotations

import sys
from pathlib import Path

import harness

sys.path.remove(str(Path(__file__).resolve().parent))  # this file has the name of the package

import numpy as np  # noqa: E402
import torch  # noqa: E402
from torch_rechub.basic.features import DenseFeature, SparseFeature  # noqa: E402
from torch_rechub.models.ranking import DeepFM, WideDeep  # noqa: E402
from torch_rechub.trainers import CTRTrainer  # noqa: E402
from torch_rechub.utils.data import DataGenerator  # noqa: E402


def without_batch_norm(model: torch.nn.Module) -> torch.nn.Module:
    layers = [layer for layer in model.mlp.mlp if not isinstance(layer, torch.nn.BatchNorm1d)]
    model.mlp.mlp = torch.nn.Sequential(*layers)
    return model


def main() -> None:
    options = harness.parse(__doc__.splitlines()[0], ["deepfm", "widedeep"])
    train, test = harness.read(options)
    counts = harness.encode(train, test)
    numbers = [DenseFeature(name) for name in harness.NUMBERS]
    categories = [
        SparseFeature(name, vocab_size=count, embed_dim=options.dim)
        for name, count in zip(harness.CATEGORIES, counts, strict=True)
    ]
    hidden = {"dims": options.hidden, "dropout": 0, "activation": "relu"}
    if options.model == "deepfm":
        model = DeepFM(deep_features=numbers + categories, fm_features=categories, mlp_params=hidden)
    else:
        model = WideDeep(wide_features=numbers, deep_features=numbers + categories, mlp_params=hidden)
    names = harness.NUMBERS + harness.CATEGORIES
    (x, y), (test_x, test_y) = (
        ({name: part[name].to_numpy() for name in names}, part["label"].to_numpy()) for part in (train, test)
    )
    batches, _, test_batches = DataGenerator(x, y).generate_dataloader(
        x_val=test_x, y_val=test_y, x_test=test_x, y_test=test_y, batch_size=options.batch
    )
    trainer = CTRTrainer(without_batch_norm(model), optimizer_params={"lr": options.lr, "weight_decay": 0})
    training, prediction = harness.Span(), harness.Span()
    with training:
        for _ in range(options.epochs):
            trainer.train_one_epoch(batches)
    with prediction:
        scores = trainer.predict(trainer.model, test_batches)
    scores = np.asarray(scores)
    harness.report("torch-rechub 0.9.0", options, len(train), training, prediction, test_y, scores, sum(counts))


if __name__ == "__main__":
    main()
