"""What is said of the epochs of a training where there is no terminal, and what Lightning asks of the bar."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from lightning import LightningModule, Trainer

from recgnn.training.progress import EpochProgress


def told(values: list[float], capsys, l2: float = 0.0) -> list[str]:
    """The lines of epochs with these values of a metric."""
    progress, training = EpochProgress(), SimpleNamespace(monitor=("val/ndcg@10", "max"), l2=l2)
    for epoch, value in enumerate(values):
        metrics = {"train/loss_epoch": 0.5, "val/ndcg@10": value}
        trainer = SimpleNamespace(current_epoch=epoch, callback_metrics=metrics, is_global_zero=True, max_epochs=9)
        progress.on_train_epoch_start(trainer, training)
        progress.on_validation_end(trainer, training)
        progress.on_train_epoch_end(trainer, training)
    return capsys.readouterr().err.splitlines()


def test_epochs_that_are_better_have_a_line(capsys) -> None:
    lines = told([0.2, 0.1, 0.3, 0.3, 0.25, 0.4], capsys)
    assert [line.partition(":")[0] for line in lines] == ["epoch 0", "epoch 2", "epoch 5"]
    assert lines[1].startswith("epoch 2: loss 0.5000  val/ndcg@10 0.3000 (best 0.3000, epoch 2)")


def test_slow_epochs_have_a_line_each(capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EpochProgress, "WHILE", 0.0)
    assert len(told([0.2, 0.1, float("nan")], capsys)) == 3


def test_a_loss_with_regularisation_says_so(capsys) -> None:
    assert "loss with L2 0.5000" in told([0.2], capsys, l2=0.1)[0]


def test_a_module_prints_beside_the_bar(tmp_path, capsys) -> None:
    module, bar = LightningModule(), EpochProgress()
    module.trainer = Trainer(callbacks=[bar], logger=False, accelerator="cpu", default_root_dir=tmp_path)
    module.print("shown")
    bar.disable()
    module.print("shown, too")
    assert capsys.readouterr().out.splitlines() == ["shown", "shown, too"]
