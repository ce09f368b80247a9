"""Finished runs without the command line: a model trained for some epochs, or not at all, in a run folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from lightning import Trainer, seed_everything

from recgnn import models
from recgnn.data import GraphDataModule, SyntheticLog
from recgnn.training.clicks import ClickTraining, RegressionTraining
from recgnn.training.recommenders import RankingTraining, RatingTraining

TRAININGS = {kind.task: kind for kind in (RankingTraining, RatingTraining, ClickTraining, RegressionTraining)}
Make = Callable[..., Path]


def synthetic(batch_size: int = 128) -> GraphDataModule:
    """61 users and 40 items, whose ids are 1, 2, …, with ratings and titles."""
    return GraphDataModule(SyntheticLog(num_users=61, num_items=40, seed=3), batch_size=batch_size)


def write_run(
    folder: Path, data: Any, model: str | type, arguments: dict, epochs: int = 3, task: str = "",
    tested: bool = False, **training: Any,
) -> Path:  # fmt: skip
    """Train a model on data, and write the run folder that `fit` would; metrics.json only if it is tested."""
    seed_everything(7, verbose=False)
    data.prepare_data()
    kind = getattr(models, model) if isinstance(model, str) else model
    sizes = {name: getattr(data, name) for name in signature(kind).parameters if hasattr(data, name)}
    module = TRAININGS[task or kind.tasks[0]](kind(**sizes | arguments), **training)
    trainer = Trainer(
        accelerator="cpu", max_epochs=epochs, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, num_sanity_val_steps=0, limit_val_batches=0,
    )  # fmt: skip
    trainer.fit(module, data)
    if tested:
        folder.mkdir(parents=True)
        (folder / "metrics.json").write_text(json.dumps(trainer.test(module, data, verbose=False)[0]))
    trainer.save_checkpoint(folder / "checkpoints" / "best.ckpt")
    data.prepared.save(folder / "vocabulary")
    (folder / "config.yaml").write_text("# a run of the tests\n")
    return folder


@pytest.fixture(scope="session")
def make_run() -> Make:
    return write_run


def by_the_equation(run: Path, rows: list[list[tuple[str, str, float]]]) -> list[float]:
    """The probability of each row of (field, value, x) by FM's or FFM's double sum, from a run's files alone; a value
    that the run does not know is the first row of its field."""
    stored = pd.read_parquet(run / "vocabulary/fields.parquet")
    names = list(json.loads((run / "vocabulary/fields.json").read_text())["numbers"])
    words = [stored.loc[stored["field"] == name, "value"].tolist() for name in names]
    starts = np.cumsum([0, *(2 + len(own) for own in words)])
    state = torch.load(run / "checkpoints/best.ckpt", weights_only=True)["state_dict"]
    bias, w, v = (state[f"model.{name}"].double() for name in ("bias", "linear.weight", "embedding.weight"))
    v = v.unflatten(1, (len(names) if "FFM" in run.name else 1, -1))  # of FFM one for each field
    found = []
    for row in rows:
        features = [(names.index(field), value, x) for field, value, x in row]
        at = [starts[f] + (2 + words[f].index(value) if value in words[f] else 0) for f, value, _ in features]
        logit = bias + sum(w[i, 0] * x for i, (_, _, x) in zip(at, features, strict=True))
        for a, (f, _, x) in enumerate(features):
            for b, (g, _, y) in list(enumerate(features))[a + 1 :]:
                one, other = (v[at[a], g], v[at[b], f]) if "FFM" in run.name else (v[at[a], 0], v[at[b], 0])
                logit = logit + one @ other * x * y
        found.append(float(torch.sigmoid(logit)))
    return found


@pytest.fixture(scope="session")
def equation() -> Callable[..., list[float]]:
    return by_the_equation


@pytest.fixture(scope="session", name="synthetic")
def data_of_synthetic() -> Callable[..., GraphDataModule]:
    return synthetic


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory) -> Path:
    """A finished run of LightGCN on `synthetic`; not to be changed."""
    folder = tmp_path_factory.mktemp("tiny") / "run"
    return write_run(folder, synthetic(), "LightGCN", {"embedding_dim": 8, "num_layers": 2}, lr=0.05, ks=[5, 10])


@pytest.fixture(scope="session")
def weights() -> Callable[[Path], dict[str, np.ndarray]]:
    """The parameters in the checkpoint of a run, by name, in double precision."""

    def read(run: Path) -> dict[str, np.ndarray]:
        state = torch.load(run / "checkpoints/best.ckpt", weights_only=True)["state_dict"]
        return {k.removeprefix("model."): v.double().numpy() for k, v in state.items() if k.startswith("model.")}

    return read


@pytest.fixture(scope="session")
def train_log() -> Callable[[Path], pd.DataFrame]:
    """The training interactions of a run, in rows."""

    def read(run: Path) -> pd.DataFrame:
        log = pd.read_parquet(run / "vocabulary/interactions.parquet")
        return log[log["part"] == 0]

    return read
