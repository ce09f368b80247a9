"""Seconds of a training epoch of RecBole 1.2.1's own CDAE, with its defaults, on MovieLens-100K, as JSON.

    python benchmarks/peers/recbole_cdae.py --epochs 20 --threads 2

`benchmarks/speed_autoencoders.py` runs it in an environment that has `recbole==1.2.1`. RecBole's wheel holds the data;
its defaults are every rating a positive and a random 8:1:1 of each user's. Nothing is evaluated and nothing is saved.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
import types

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    sys.argv = sys.argv[:1]  # which RecBole reads too
    config = Config("CDAE", "ml-100k", config_dict={"use_gpu": False, "state": "ERROR"})
    init_seed(config["seed"], config["reproducibility"])
    train, _, _ = data_preparation(config, create_dataset(config))
    model = get_model(config["model"])(config, train._dataset)
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
    seconds, losses = [], []
    for epoch in range(options.epochs):
        started = time.perf_counter()
        losses.append(trainer._train_epoch(train, epoch))
        seconds.append(time.perf_counter() - started)
    found = {
        "median": statistics.median(seconds[1:]),
        "seconds": seconds,
        "losses": losses,
        "users": train._dataset.user_num - 1,  # the first of each is padding
        "items": train._dataset.item_num - 1,
        "interactions": len(train._dataset),
        "batch_size": config["train_batch_size"],
        "hidden_dim": config["embedding_size"],
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
