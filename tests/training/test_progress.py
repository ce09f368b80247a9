"""The bar, and what Lightning asks of it."""

from __future__ import annotations

from lightning import LightningModule, Trainer

from recgnn.training.progress import EpochProgress


def test_a_module_prints_beside_the_bar(tmp_path, capsys) -> None:
    module, bar = LightningModule(), EpochProgress()
    module.trainer = Trainer(callbacks=[bar], logger=False, accelerator="cpu", default_root_dir=tmp_path)
    module.print("shown")
    bar.disable()
    module.print("shown, too")
    assert capsys.readouterr().out.splitlines() == ["shown", "shown, too"]
