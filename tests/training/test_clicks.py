"""Trainings of CTR models: which optimizers move what, what they refuse, and what is measured."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from recgnn.data.clicks.loaders import CTRBatch
from recgnn.errors import ConfigError
from recgnn.models import LR, Poly2, WideDeep
from recgnn.nn.optimizers import FTRL, LazyAdam, Together
from recgnn.training.clicks import ClickTraining, RegressionTraining

IDS, LABELS = torch.tensor([[0, 3], [2, 4], [1, 3]]), torch.tensor([1.0, 0.0, 1.0])
BATCH = CTRBatch(IDS, None, LABELS, torch.tensor([0, 0, 0]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"l2_on": "rows"}, "l2_on is 'rows'"),
        ({"l2": 0.1, "table_optimizer": "lazy_adam"}, "set l2_on: batch"),
        ({"table_optimizer": "lazyadam"}, "table_optimizer is 'lazyadam' .did you mean 'lazy_adam'"),
        ({"wide_optimizer": "ftrl"}, "wide_optimizer is for the wide part of WideDeep; LR has none"),
        ({"calibrate": "plat"}, "calibrate is 'plat' .did you mean 'platt'"),
        ({"metrics": ["acu"]}, "did you mean 'auc'"),
    ],
)
def test_mistakes(options, message) -> None:
    with pytest.raises(ConfigError, match=message):
        ClickTraining(LR([3]), **options)


def test_calibration_is_for_probabilities() -> None:
    with pytest.raises(ConfigError, match="calibrate: platt is for probabilities, and the task is regression"):
        RegressionTraining(LR([3]), calibrate="platt")


def test_regularisation_and_patience_follow_the_events() -> None:
    """The prior over the events; over the mean number of events of a row; over the events of a batch."""
    prepared = SimpleNamespace(train=range(80_000))

    def data(**said: int) -> SimpleNamespace:
        size = said.get("batch_size", 512)
        own = {"batch_size": None, "epochs_per_pass": None, "usual_pace": lambda: (size, 4), "prepared": prepared}
        return SimpleNamespace(**own | {"slots": [0, 1], "field_dims": [100, 60]} | said)

    model = LR([100, 60])
    found = ClickTraining(model).chosen(data())
    assert found == {"data.batch_size": 512, "data.epochs_per_pass": 4, "training.l2": 4 / 80_000}
    for l2_on, l2 in (("batch", 4 / 1000), ("mba", 4 / 500)):
        said = data(batch_size=500, epochs_per_pass=2)
        assert ClickTraining(model, l2_on=l2_on).chosen(said) == {"training.l2": l2}
    assert "training.l2" not in ClickTraining(model, l2=0.0).chosen(data())
    assert "training.l2" not in ClickTraining(model, table_optimizer="lazy_adam").chosen(data())
    assert ClickTraining(Poly2([2] * 30)).chosen(data())["training.lr"] == 0.0011  # 30 values and 435 pairs
    assert "training.lr" not in ClickTraining(Poly2([2] * 30), lr=0.1).chosen(data())
    assert ClickTraining(model).patience(data()) == 8
    prepared.train = range(8000)
    assert ClickTraining(model).patience(data()) == 40


@pytest.mark.parametrize(
    ("task", "message"),
    [("regression", "the training is for clicks and the data for regression"), (None, "gives interactions")],
)
def test_data_of_another_task_are_refused(task, message) -> None:
    training = ClickTraining(LR([3, 2]))
    training._trainer = SimpleNamespace(datamodule=SimpleNamespace(**({} if task is None else {"task": task})))
    with pytest.raises(ConfigError, match=message):
        training.setup("fit")


def test_every_parameter_has_one_optimizer() -> None:
    model = WideDeep([3, 2], None, ["a", "b"], [["a", "b"]], embedding_dim=2, hidden_dims=[3])
    options = {"table_optimizer": "lazy_adam", "table_lr": 0.1, "wide_optimizer": "ftrl", "wide_lr": 0.2, "l2": 0.0}
    optimizer = ClickTraining(model, lr=0.3, **options).configure_optimizers()
    assert isinstance(optimizer, Together)
    assert [type(own) for own in optimizer.optimizers] == [torch.optim.Adam, FTRL, LazyAdam]
    assert [group["lr"] for group in optimizer.param_groups] == [0.3, 0.2, 0.1]
    found = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(found) == sorted(id(p) for p in model.parameters())
    wide, tables = (set(map(id, group["params"])) for group in optimizer.param_groups[1:])
    assert wide == {id(model.linear.weight), id(model.crosses.weight)} and tables == {id(model.embedding.weight)}
    plain = ClickTraining(LR([3])).configure_optimizers()
    assert type(plain) is torch.optim.Adam


def test_clicks_are_measured_by_their_logits() -> None:
    training = ClickTraining(LR([3, 2]), metrics=["auc", "gauc"])
    with torch.no_grad():
        training.model.linear.weight.copy_(torch.tensor([[3.0], [1.0], [2.0], [0.0], [0.5]]))
    assert training.measure("val", BATCH)["logits"].tolist() == [3.0, 2.5, 1.0]
    found = training.metrics["val"].compute()
    assert {name: value.item() for name, value in found.items()} == {"auc": 0.5, "gauc": 0.5}
    assert training.monitor == ("val/auc", "max")


def test_numbers_are_measured_and_learnt_as_they_are() -> None:
    training = RegressionTraining(LR([3, 2]), l2=0.0)
    training.log = lambda *_, **__: None
    with torch.no_grad():
        training.model.linear.weight.copy_(torch.tensor([[3.0], [1.0], [2.0], [0.0], [0.5]]))
    assert training.training_step(BATCH, 0).item() == pytest.approx((2.0**2 + 2.5**2 + 0) / 3)
    assert training.measure("test", BATCH)["logits"].tolist() == [3.0, 2.5, 1.0]
    assert training.metrics["test"].compute()["mae"].item() == pytest.approx(4.5 / 3)
    assert training.monitor == ("val/rmse", "min")
    assert training.model.predict_events(IDS, None).tolist() == [3.0, 2.5, 1.0]
