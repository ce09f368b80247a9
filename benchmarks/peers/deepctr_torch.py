"""Trains DeepCTR-Torch 0.3.0 on a table of the shape of Criteo's and prints what it took, as JSON.

    python benchmarks/peers/deepctr_torch.py --train train.parquet --test test.parquet --model deepfm

`environments.py` makes an environment that has `deepctr-torch==0.3.0`. `fm` is its DeepFM without hidden layers, so its
numbers have a weight and no vector. The time is that of `fit` between its callbacks `on_train_begin` and
`on_train_end`, without the copy of the data that it makes before. `verbose=0` turns off the progress bar and also the
metrics, which are computed on every batch otherwise; no metrics are named either.
"""

from __future__ import annotations

import contextlib
import io
import sys
import types
from pathlib import Path

import harness

sys.path.remove(str(Path(__file__).resolve().parent))  # this file has the name of the package
# On import the package asks PyPI for its newest version, with `requests`, which it does not declare.
check = types.ModuleType("deepctr_torch.utils")
check.check_version = lambda version: None
sys.modules["deepctr_torch.utils"] = check

import torch  # noqa: E402
from deepctr_torch.callbacks import Callback  # noqa: E402
from deepctr_torch.inputs import DenseFeat, SparseFeat, get_feature_names  # noqa: E402
from deepctr_torch.models import WDL, DeepFM  # noqa: E402


class Clock(Callback):
    """The span of the training loop."""

    def __init__(self):
        super().__init__()
        self.span = harness.Span()

    def on_train_begin(self, logs: dict | None = None) -> None:
        self.span.start()

    def on_train_end(self, logs: dict | None = None) -> None:
        self.span.stop()


def main() -> None:
    options = harness.parse(__doc__.splitlines()[0], ["deepfm", "widedeep", "fm"])
    train, test = harness.read(options)
    counts = harness.encode(train, test)
    columns = [
        SparseFeat(name, vocabulary_size=count, embedding_dim=options.dim)
        for name, count in zip(harness.CATEGORIES, counts, strict=True)
    ]
    columns += [DenseFeat(name, 1) for name in harness.NUMBERS]
    model = (WDL if options.model == "widedeep" else DeepFM)(
        linear_feature_columns=columns,
        dnn_feature_columns=columns,
        dnn_hidden_units=() if options.model == "fm" else options.hidden,
        l2_reg_linear=0,
        l2_reg_embedding=0,
        dnn_dropout=0,
        dnn_use_bn=False,
        seed=options.seed,
    )
    model.compile(torch.optim.Adam(model.parameters(), lr=options.lr), "binary_crossentropy")
    names = get_feature_names(columns)
    inputs, labels = {name: train[name].to_numpy() for name in names}, train["label"].to_numpy()
    clock, prediction = Clock(), harness.Span()
    with contextlib.redirect_stdout(io.StringIO()):
        model.fit(inputs, labels, batch_size=options.batch, epochs=options.epochs, verbose=0, callbacks=[clock])
    inputs = {name: test[name].to_numpy() for name in names}
    with prediction:
        scores = model.predict(inputs, options.batch)
    target = test["label"].to_numpy()
    harness.report("DeepCTR-Torch 0.3.0", options, len(train), clock.span, prediction, target, scores, sum(counts))


if __name__ == "__main__":
    main()
