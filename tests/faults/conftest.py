"""A finished run of each kind of data, as a person would get it from somebody else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

CLICKS = """\
data:
  class_path: CTRDataModule
  init_args:
    source: {class_path: EventTable, init_args: {path: %s}}
    fields: {user: categorical, item: categorical, place: categorical}
    split: {class_path: RatioSplit, init_args: {by: all, seed: 1}}
    batch_size: 128
model: {class_path: FM, init_args: {embedding_dim: 4}}
training: {lr: 0.05}
trainer: {accelerator: cpu, max_epochs: 2, enable_progress_bar: false, logger: false}
"""


@pytest.fixture(scope="session")
def click_run(tmp_path_factory) -> Path:
    """The folder of a finished run of FM on 400 events; not to be changed."""
    from recgnn.cli.entry import main

    folder, random = tmp_path_factory.mktemp("clicks"), np.random.default_rng(5)
    user, item, place = (random.integers(0, n, 400) for n in (30, 20, 3))
    label = (random.random(400) < (1 + user % 3 + item % 4) / 8).astype(int)
    events = pd.DataFrame({"user": user, "item": item, "place": np.array(["home", "bus", "work"])[place]})
    events.assign(label=label).to_csv(folder / "events.csv", index=False)
    (folder / "fm.yaml").write_text(CLICKS % (folder / "events.csv"))
    main("fit", ["--config", str(folder / "fm.yaml"), "--run_dir", str(folder / "run")])
    return folder / "run"
