"""A training that diverges stops with a line, and is neither measured nor saved."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from lightning import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from recgnn.data import GraphDataModule, SyntheticLog
from recgnn.errors import RunError
from recgnn.models import MF
from recgnn.training.recommenders import RankingTraining


class Diverging(MF):
    """Its loss is infinite from the third step on."""

    def extra_loss(self, batch, outputs):
        self.steps = getattr(self, "steps", 0) + 1
        return torch.tensor(float("inf") if self.steps > 2 else 0.0)


@pytest.fixture
def data() -> GraphDataModule:
    return GraphDataModule(SyntheticLog(num_users=61, num_items=40, seed=3), batch_size=128)


def trainer(folder: Path) -> Trainer:
    options = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    saver = ModelCheckpoint(folder, monitor="val/ndcg@10", mode="max")
    return Trainer(accelerator="cpu", max_epochs=2, num_sanity_val_steps=0, callbacks=[saver], **options)


def test_a_loss_that_is_not_finite_stops_before_anything_is_saved(data: GraphDataModule, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="loss of Diverging is not finite in epoch 0.*lower the learning rate"):
        trainer(tmp_path).fit(RankingTraining(Diverging(data.num_users, data.num_items, 4)), data)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("rate", "told"), [(30.0, True), (1e-3, False)])
def test_a_loss_that_rises_in_the_first_epoch_is_told(data, tmp_path, capsys, rate, told) -> None:
    trainer(tmp_path).fit(RankingTraining(MF(data.num_users, data.num_items, 4), lr=rate), data)
    assert ("the loss rose in the first epoch" in capsys.readouterr().out) is told


def test_scores_that_are_not_numbers_are_not_ranked(data: GraphDataModule, tmp_path: Path) -> None:
    training = RankingTraining(MF(data.num_users, data.num_items, 4))
    with torch.no_grad():
        training.model.item_embedding.weight[3] = torch.nan
    with pytest.raises(RunError, match="predicts values that are not numbers"):
        trainer(tmp_path).test(training, data, verbose=False)
