"""Finished runs, made in seconds: two models that rank and two of clicks, two seeds each; and runs of given figures."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

RANKING = """\
data:
  class_path: GraphDataModule
  init_args:
    source: {class_path: SyntheticLog, init_args: {num_users: 110, num_items: 40, seed: 3}}
    split: {class_path: RatioSplit, init_args: {seed: 1}}
    batch_size: 256
model: {class_path: %s, init_args: {embedding_dim: 8}}
training: {lr: 0.05, ks: [5, 10]}
trainer: {accelerator: cpu, max_epochs: 2, enable_progress_bar: false, logger: false}
"""
CLICKS = """\
data:
  class_path: CTRDataModule
  init_args:
    source: {class_path: EventTable, init_args: {path: %s}}
    label: clicked
    report_by: daytime
    fields: {user: categorical, item: categorical, daytime: categorical}
    split: {class_path: RatioSplit, init_args: {by: all, seed: 1}}
    batch_size: 256
model: %s
training: {lr: 0.05}
trainer: {accelerator: cpu, max_epochs: 2, enable_progress_bar: false, logger: false}
"""


def write_events(path: Path) -> Path:
    """600 clicks and non-clicks of 30 users named u00 to u29."""
    random = np.random.default_rng(5)
    user, item = random.integers(0, 30, 600), random.integers(0, 20, 600)
    clicked = (random.random(600) < 1 / (1 + np.exp(-(user % 3 + item % 4 - 2.5)))).astype(int)
    names = {"user": [f"u{u:02d}" for u in user], "item": item, "daytime": random.choice(["morning", "noon"], 600)}
    pd.DataFrame({**names, "clicked": clicked}).to_csv(path, index=False)
    return path


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Path:
    """A folder with runs of MF, LightGCN, LR and FM, in <model>/<seed>; not to be changed."""
    from recgnn.cli.entry import main

    folder = tmp_path_factory.mktemp("compared")
    events = write_events(folder / "events.csv")
    for model in ("MF", "LightGCN", "LR", "FM"):
        config = folder / f"{model}.yaml"
        config.write_text(RANKING % model if model in ("MF", "LightGCN") else CLICKS % (events, model))
        for seed in ("1", "2"):
            run = folder / "runs" / model.lower() / seed
            main("fit", ["--config", str(config), f"--seed_everything={seed}", f"--data.split.seed={seed}",
                         "--run_dir", str(run)])  # fmt: skip
    return folder / "runs"


@pytest.fixture
def made(tmp_path, tiny_run) -> Callable[..., Path]:
    """Writes what compare reads of a run, with given figures, and the test part of `tiny_run`."""

    def make(
        name: str,
        test: dict[str, float],
        seed: int = 1,
        model: str = "MF",
        options: dict | None = None,
        users: dict[str, list[float]] | None = None,
        seconds: float = 10.0,
    ) -> Path:
        run = tmp_path / name
        run.mkdir(parents=True)
        (run / "vocabulary").symlink_to(tiny_run / "vocabulary")
        content = json.loads((tiny_run / "metrics.json").read_text())
        del content["sha256"], content["files"], content["baselines"]
        content |= {"test": test, "seconds": seconds, "groups": {}, "test_reads": 1}  # others may have read tiny_run's
        (run / "metrics.json").write_text(json.dumps(content))
        config = {"class_path": f"recgnn.models.{model}", "init_args": options or {}}
        (run / "config.yaml").write_text(yaml.safe_dump({"seed_everything": seed, "model": config}))
        if users is not None:
            pd.DataFrame({"user": range(len(next(iter(users.values())))), **users}).to_parquet(run / "users.parquet")
        return run

    return make
