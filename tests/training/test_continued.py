"""A continued run takes a changed option or refuses it, and no parameters go to other ids."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch

from recgnn.cli.entry import main
from recgnn.data.stored import read_json
from recgnn.errors import ConfigError, RunError


def log(path: Path, first: int = 0) -> Path:
    rows = [(u + first, (u * 3 + k * k) % 12) for u in range(20) for k in range(8)]
    pd.DataFrame(rows, columns=["user", "item"]).drop_duplicates().to_csv(path, index=False)
    return path


def options(path: Path, run: Path, *more: str) -> list[str]:
    return ["--data=GraphDataModule", "--data.source=TableLog", f"--data.source.path={path}", "--model=MF",
            "--model.embedding_dim=4", "--training.lr=0.02", "--training.ks=[3]", "--trainer.accelerator=cpu",
            "--trainer.max_epochs=2", "--trainer.enable_progress_bar=false", f"--run_dir={run}", *more]  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("continued")
    main("fit", options(log(folder / "log.csv"), folder / "run"))
    return folder / "log.csv", folder / "run"


def test_rates_that_the_optimizer_keeps_are_refused(trained: tuple[Path, Path]) -> None:
    with pytest.raises(ConfigError, match="--training.lr is 0.0001, and the run to be continued has 0.02"):
        main("fit", options(*trained, "--training.lr=0.0001", "--trainer.max_epochs=4", "--ckpt_path=last"))


def test_other_options_take_effect(trained: tuple[Path, Path]) -> None:
    cli = main("fit", options(*trained, "--training.l2=0.5", "--trainer.max_epochs=3", "--ckpt_path=last"))
    assert cli.model.l2 == 0.5 and len(pd.read_csv(trained[1] / "metrics.csv")) == 3
    assert cli.trainer.optimizers[0].param_groups[0]["lr"] == 0.02


def test_a_run_whose_best_checkpoint_is_gone_is_not_continued(trained: tuple[Path, Path], tmp_path: Path) -> None:
    run = shutil.copytree(trained[1], tmp_path / "run")
    (run / "checkpoints" / "best.ckpt").unlink()
    with pytest.raises(RunError, match="best.ckpt: is gone"):
        main("fit", options(trained[0], run, "--trainer.max_epochs=5", "--ckpt_path=last"))


def test_a_run_that_was_stopped_early_goes_on_with_more_patience(tmp_path: Path) -> None:
    path, run = log(tmp_path / "log.csv"), tmp_path / "run"
    watch = "monitor: train/loss, patience: {}, mode: max"
    stopping = f"--trainer.callbacks=[{{{{class_path: EarlyStopping, init_args: {{{{{watch}}}}}}}}}]"
    main("fit", options(path, run, stopping.format(1), "--trainer.max_epochs=9"))
    assert len(pd.read_csv(run / "metrics.csv")) == 2  # the loss falls, which is no rise
    main("fit", options(path, run, stopping.format(1), "--trainer.max_epochs=9", "--ckpt_path=last"))
    assert len(pd.read_csv(run / "metrics.csv")) == 2  # as it was
    main("fit", options(path, run, stopping.format(3), "--trainer.max_epochs=9", "--ckpt_path=last"))
    assert len(pd.read_csv(run / "metrics.csv")) == 4
    main("test", ["--run", str(run)])
    main("validate", ["--run", str(run)])
    assert read_json(run / "metrics.json", sealed=True)["test_reads"] == 4  # three times at the end of fit


def test_parameters_do_not_go_to_other_ids(trained: tuple[Path, Path], tmp_path: Path) -> None:
    last = trained[1] / "checkpoints" / "last.ckpt"
    other = options(log(tmp_path / "log.csv", first=100), tmp_path / "run", f"--ckpt_path={last}")
    with pytest.raises(RunError, match="trained on other users and items than the data have now"):
        main("fit", other)
    assert not (tmp_path / "run" / "checkpoints").exists()
    same = options(trained[0], tmp_path / "again", f"--ckpt_path={last}", "--trainer.max_epochs=4")
    assert main("fit", same).trainer.current_epoch == 4  # the same ids are the same rows


def test_fields_of_other_values_are_refused(tmp_path: Path) -> None:
    for name, values in (("a", "xyz"), ("b", "pqr")):
        rows = [(values[k % 3], k % 2) for k in range(60)]
        pd.DataFrame(rows, columns=["ad", "label"]).to_csv(tmp_path / f"{name}.csv", index=False)
    given = ["--data=CTRDataModule", "--data.source=EventTable", "--model=LR", "--trainer.accelerator=cpu",
             "--trainer.max_epochs=1", "--trainer.enable_progress_bar=false",
             "--data.fields", "{ad: categorical}"]  # fmt: skip
    main("fit", [*given, f"--data.source.path={tmp_path / 'a.csv'}", f"--run_dir={tmp_path / 'a'}"])
    last = tmp_path / "a" / "checkpoints" / "last.ckpt"
    assert len(torch.load(last, weights_only=True)["recgnn"]["data"]) == 64
    with pytest.raises(RunError, match="trained on other fields and values"):
        main("fit", [*given, f"--data.source.path={tmp_path / 'b.csv'}", f"--run_dir={tmp_path / 'b'}",
                     f"--ckpt_path={last}"])  # fmt: skip
