"""Trains recgnn's CTR models on a table of the shape of Criteo's and prints what it took, as JSON, as the peers do.

    python benchmarks/peers/recgnn_ctr.py --train train.parquet --test test.parquet --model deepfm --tables lazy_adam

The time is that of an epoch of the Trainer, with the seeding callback and the progress bar and without evaluation and
checkpoints. Encoding is timed too: reading the tables, fitting vocabularies and writing the encoded events.
"""

from __future__ import annotations

import json  # noqa: I001
import sys
import tempfile
import warnings

import harness
import numpy as np
import pandas as pd
import torch
from lightning import seed_everything
from trained import fit

import recgnn.cli.training  # noqa: F401  (first: the allocator's settings)
from recgnn.data import CTRDataModule, EventTable, GivenSplit
from recgnn.models import FFM, FM, DeepFM, WideDeep
from recgnn.training.clicks import ClickTraining

warnings.filterwarnings("ignore")
MODELS = {"deepfm": DeepFM, "widedeep": WideDeep, "fm": FM, "ffm": FFM}


def option(name: str, default: str) -> str:
    """The value of an option that the peers do not have, taken off the command line."""
    if name not in sys.argv:
        return default
    place = sys.argv.index(name)
    value = sys.argv[place + 1]
    del sys.argv[place : place + 2]
    return value


def main() -> None:
    tables, table_lr = option("--tables", "adam"), float(option("--table_lr", "0"))
    precision = option("--precision", "32-true")
    options = harness.parse(__doc__.splitlines()[0], list(MODELS))
    fields = {name: "numeric" for name in harness.NUMBERS} | {name: "categorical" for name in harness.CATEGORIES}
    encoding, prediction = harness.Span(), harness.Span()
    with tempfile.TemporaryDirectory() as folder:
        if options.rows:
            pd.read_parquet(options.train).iloc[: options.rows].to_parquet(f"{folder}/train.parquet")
            options.train = f"{folder}/train.parquet"
        source = EventTable(train=options.train, test=options.test)
        data = CTRDataModule(source, fields=fields, split=GivenSplit(val=0), batch_size=options.batch, cache_dir=folder)
        with encoding:
            data.prepare_data()
        seed_everything(options.seed, verbose=False)
        given = {"embedding_dim": options.dim}
        given |= {"hidden_dims": options.hidden} if options.model in ("deepfm", "widedeep") else {}
        model = MODELS[options.model](data.field_dims, data.slots, **given)
        moved = {"table_optimizer": tables, "table_lr": table_lr or None}
        training = fit(ClickTraining(model, l2=0.0, lr=options.lr, **moved), data, options.epochs, precision)
        test = data.prepared.test
        ids = torch.from_numpy(np.array(test.ids))
        data.eval_batch_size, data.trainer = options.batch, None
        with prediction:
            scores = torch.cat([model.predict_events(b.ids, b.values) for b in data.test_dataloader()]).numpy()
        name = f"recgnn, {tables}" + (f", {precision}" if precision != "32-true" else "")
        rows = len(data.prepared.train)
        total = rows + len(ids)
        print(json.dumps({"encoded_rows_per_minute": round(total / encoding.wall * 60)}), file=sys.stderr)
        harness.report(name, options, rows, training, prediction, test.labels, scores, model.num_rows)


if __name__ == "__main__":
    main()
