"""Runs of every model without training: made-up weights, in the folder of one real run of each kind."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from recgnn import models
from recgnn.data import CTRDataModule, Field, Histories, RatioSplit, TableLog
from recgnn.data.interactions.prepared import PreparedLog
from recgnn.serving.fold_in import set_graph


@pytest.fixture(scope="session")
def events() -> pd.DataFrame:
    """The rows of the log: users of 1 to 40 events, one of whom likes nothing."""
    random = np.random.default_rng(1)
    user = np.concatenate([np.repeat(np.arange(9), 30), random.integers(9, 20, size=40)])
    n = len(user)
    frame = pd.DataFrame({"user": [f"u{u}" for u in user], "item": random.integers(15, size=n)})
    frame["rating"] = np.where(user == 3, 1, random.integers(1, 6, n))
    frame["time"] = 1_000_000 + np.exp(random.uniform(0, 17, n)).astype(int)
    frame["place"] = random.choice(["home", "work", ""], n)
    frame["price"] = random.normal(30, 9, n).round(2)
    return frame


@pytest.fixture(scope="session")
def items() -> pd.DataFrame:
    frame = pd.DataFrame({"item": range(15), "genre": ["a|b|c", "b", "", "d|a", "c"] * 3})
    return frame.assign(title=[f"film {i}" for i in range(15)])


@pytest.fixture(scope="session")
def click_run(events, items, tmp_path_factory, make_run) -> Path:
    """A finished run of DIN on the log."""
    folder = tmp_path_factory.mktemp("clicks")
    events.to_csv(folder / "log.csv", index=False)
    items.to_csv(folder / "items.csv", index=False)
    fields = dict.fromkeys(("user", "place"), "categorical") | {
        "item": Field("categorical", min_count=2), "price": "numeric",
        "timestamp": Field("time", parts=["hour", "weekday"]), "genre": Field("multi", max_values=2),
    }  # fmt: skip
    data = CTRDataModule(
        TableLog(folder / "log.csv", items=folder / "items.csv", timestamp="time"), label="rating >= 4", fields=fields,
        history=Histories(["item", "genre"], max_length=4), split=RatioSplit(by="user", order="time"), batch_size=64,
    )  # fmt: skip
    return make_run(folder / "run", data, "DIN", {"embedding_dim": 4, "hidden_dims": [4]}, epochs=1)


def with_weights(run: Path, folder: Path, name: str, arguments: dict, task: str) -> Path:
    """A copy of a run with another model, every parameter of which is drawn, or solved for."""
    (folder / "checkpoints").mkdir(parents=True)
    shutil.copyfile(run / "config.yaml", folder / "config.yaml")
    shutil.copytree(run / "vocabulary", folder / "vocabulary")
    torch.manual_seed(5)
    kind = getattr(models, name)
    model = kind(**arguments)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    for buffer_name, buffer in model.named_buffers():
        if buffer_name.endswith(("running_mean", "running_var")):
            torch.nn.init.uniform_(buffer, 0.5, 1.5)
    if hasattr(model, "solve"):
        model.l2 = kind.defaults.get("l2", 0.0)
        set_graph(model, PreparedLog.load(run / "vocabulary").train)
        model.solve()
    model.task = task or model.task
    if hasattr(model, "calibration"):  # a curve with three corners
        model.calibration = torch.tensor([[-50.0, -0.5, 0.25, 50.0], [-60.0, -1.0, 0.75, 30.0]])
    content = {
        "state_dict": {f"model.{name}": value for name, value in model.state_dict().items()},
        "recgnn": {"format": 2, "model": f"{kind.__module__}.{name}", "arguments": arguments,
                   "trained": {"task": model.task}},
    }  # fmt: skip
    torch.save(content, folder / "checkpoints" / "best.ckpt")
    return folder


@pytest.fixture(scope="session")
def click_model(click_run, tmp_path_factory) -> Callable[..., Path]:
    """(name, options) -> a run of a CTR model."""
    from recgnn import load

    encoders, item_slots = load(click_run).encoders, load(click_run).item_slots

    def make(name: str, task: str = "", **options) -> Path:
        arguments = {"field_dims": encoders.dims, "slots": encoders.slots} | options
        folder = tmp_path_factory.mktemp(name) / "run"
        if name in ("DIN", "BST"):
            arguments["item_slots"] = item_slots
        if name == "WideDeep":
            arguments["field_names"] = encoders.names
        return with_weights(click_run, folder, name, arguments, task)

    return make


@pytest.fixture(scope="session")
def recommender(tiny_run, tmp_path_factory) -> Callable[..., Path]:
    """(name, options) -> a run of a model that recommends."""
    from recgnn import load

    prepared = load(tiny_run).prepared
    sizes = {"num_users": prepared.num_users, "num_items": prepared.num_items}

    def make(name: str, task: str = "", **options) -> Path:
        return with_weights(tiny_run, tmp_path_factory.mktemp(name) / "run", name, sizes | options, task)

    return make
