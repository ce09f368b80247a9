"""Metrics that have no meaning on the data at hand: null, a dash, and no choice of an epoch by them."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from recgnn.cli.entry import main
from recgnn.data.stored import write_json
from recgnn.errors import ConfigError

OPTIONS = ["--data=CTRDataModule", "--data.label=clicked", "--data.split=TemporalSplit", "--model=LR",
           "--trainer.accelerator=cpu", "--trainer.max_epochs=3", "--trainer.enable_progress_bar=false"]  # fmt: skip


@pytest.fixture
def quiet_day(tmp_path: Path) -> list[str]:
    """300 events of which none in the validation's tenth is a click."""
    random = np.random.default_rng(0)
    clicked = random.integers(0, 2, 300)
    clicked[240:270] = 0
    frame = pd.DataFrame({"ad": random.integers(0, 5, 300), "timestamp": np.arange(300), "clicked": clicked})
    frame.to_csv(tmp_path / "log.csv", index=False)
    return [*OPTIONS, "--data.source=EventTable", f"--data.source.path={tmp_path / 'log.csv'}",
            f"--run_dir={tmp_path / 'run'}", "--data.fields", "{ad: categorical}"]  # fmt: skip


def test_a_validation_part_of_one_label(quiet_day: list[str], tmp_path: Path, capsys) -> None:
    main("fit", quiet_day)
    told = capsys.readouterr().out
    assert "val/auc has no meaning (all labels of the validation part are 0)" in told
    assert "the best epoch is chosen by val/logloss" in told
    assert "–" in told
    text = (tmp_path / "run" / "metrics.json").read_text()

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    content = json.loads(text, parse_constant=refuse)
    assert content["val"]["auc"] is None and content["val"]["ne"] is None
    assert content["test"]["auc"] is not None
    rows = pd.read_csv(tmp_path / "run" / "metrics.csv")
    assert content["best_epoch"] == rows["val/logloss"].idxmin()  # trained on, and chosen by what has a meaning
    assert len(rows) == 3


@pytest.mark.parametrize(
    ("stopping", "line"),
    [
        ("{monitor: val/auc, mode: max}", "val/auc, which has no meaning on this validation part; take val/logloss"),
        ("{monitor: val/logloss, mode: max}", "with mode max, and lower is better; set mode: min"),
    ],
)
def test_a_monitor_that_cannot_choose_is_refused(quiet_day: list[str], stopping: str, line: str) -> None:
    callback = f"[{{class_path: EarlyStopping, init_args: {stopping}}}]"
    with pytest.raises(ConfigError, match=line):
        main("fit", [*quiet_day, "--trainer.callbacks", callback])


def test_json_has_no_numbers_that_are_none(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", {"a": [math.nan, (math.inf, 1.5)], "b": {"c": -math.inf}})
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": [None, [None, 1.5]], "b": {"c": None}}
