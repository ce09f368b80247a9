"""What all trainings share: defaults of the model, its task, the step's three terms, and what a checkpoint says."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from lightning import Trainer

from recgnn.data import GraphDataModule, SyntheticLog
from recgnn.data.interactions.loaders import InteractionBatches
from recgnn.data.interactions.sampling import Uniform
from recgnn.data.shard import Shard
from recgnn.errors import ConfigError, RunError
from recgnn.models import DAE, LR, MF, AutoRec, LightGCN, XSimGCL
from recgnn.nn.losses import BPR, CrossEntropy, Multinomial, SampledSoftmax, SquaredError
from recgnn.training.base import Training
from recgnn.training.clicks import ClickTraining, RegressionTraining
from recgnn.training.recommenders import RankingTraining, RatingTraining

EDGES = torch.tensor([[0, 0, 1, 2], [1, 2, 0, 2]])


@pytest.mark.parametrize(
    ("training", "task", "loss", "l2", "lr"),
    [
        (lambda: RankingTraining(LightGCN(3, 3, 2)), "ranking", SampledSoftmax, 0.15, 3e-3),
        (lambda: RankingTraining(XSimGCL(3, 3, 2)), "ranking", BPR, 1e-4, 1e-3),  # before its own loss's
        (lambda: RankingTraining(LightGCN(3, 3, 2), BPR()), "ranking", BPR, 1e-3, 3e-3),  # after another loss's
        (lambda: RankingTraining(DAE(3, 3, [2])), "ranking", Multinomial, 100.0, 3e-3),
        (lambda: RatingTraining(MF(3, 3, 2)), "rating", SquaredError, 0.1, 2e-3),
        (lambda: ClickTraining(LR([3, 2])), "clicks", CrossEntropy, 0.0, 1e-2),
        (lambda: RegressionTraining(LR([3, 2]), l2=0.0, lr=0.5), "regression", None, 0.0, 0.5),
    ],
)
def test_what_is_not_given_is_the_models_default(training, task, loss, l2, lr) -> None:
    made = training()
    assert made.task == made.model.task == task
    assert (made.l2, made.model.l2, made.lr) == (l2, l2, lr)
    assert loss is None or type(made.loss) is loss


def test_a_task_that_the_model_is_not_for() -> None:
    for kind, model, words in (
        (RatingTraining, LightGCN(3, 3, 2), "RatingTraining is for the task rating, and LightGCN is for ranking"),
        (RankingTraining, AutoRec(3, 3, hidden_dims=[2]), "AutoRec is for rating"),
        (ClickTraining, MF(3, 3, 2), "MF is for ranking or rating"),
    ):
        with pytest.raises(ConfigError, match=words):
            kind(model)


@pytest.mark.parametrize("option", ["l2", "lr"])
def test_what_must_not_be_negative(option) -> None:
    with pytest.raises(ConfigError, match=f"ClickTraining.{option} is -1.0; expected a number"):
        ClickTraining(LR([3]), **{option: -1.0})


def test_data_of_other_sizes_are_refused() -> None:
    """A model of more items than there are would recommend some that nobody knows."""
    data = SimpleNamespace(num_users=3, num_items=4)
    RankingTraining(MF(3, 4)).check_sizes(data)
    with pytest.raises(ConfigError, match="MF.num_items is 5, and the data have 4; make the model for these data"):
        RankingTraining(MF(3, 5)).check_sizes(data)
    with pytest.raises(ConfigError, match=r"LR.field_dims is \[3\], and the data have \[3, 2\]"):
        ClickTraining(LR([3])).check_sizes(SimpleNamespace(field_dims=[3, 2], slots=[0, 1]))


def test_a_step_is_the_loss_the_penalty_and_the_models_own_loss() -> None:
    class Own(MF):
        def extra_loss(self, batch, outputs):
            return 10 * outputs[0].square().mean()

    torch.manual_seed(0)
    training = RankingTraining(Own(3, 3, 2), l2=0.5, ks=[2])
    logged = {}
    training.log = lambda name, value, **_: logged.update({name: value})
    training.set_graph(EDGES)
    batch = next(iter(InteractionBatches(tuple(EDGES), (3, 3), 3, Shard, Uniform())))
    outputs = training.model.outputs(batch)
    expected = training.data_loss(batch, outputs) + training.model.penalty(0.5, batch, outputs)
    expected = expected + 10 * training.model.user_embedding.weight[batch.users].square().mean()
    found = training.training_step(batch, 0)
    torch.testing.assert_close(found, expected)
    assert logged["train/loss"] is found


def test_what_a_subclass_has_to_define() -> None:
    training = Training.__new__(Training)
    for call in (lambda: training.data_loss(None, None), lambda: training.measure("val", None)):
        with pytest.raises(AttributeError, match="Training does not define"):
            call()


def test_a_checkpoint_makes_the_model_again(tmp_path) -> None:
    """Its class, all its arguments, its task; weights under "model."; read with weights_only."""
    torch.manual_seed(0)
    data = GraphDataModule(SyntheticLog(num_users=20, num_items=15, interactions_per_user=6))
    data.prepare_data()
    model = MF(data.num_users, data.num_items, biases=True)
    training = RatingTraining(model, l2=0.3, cold_rating=2.0)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = Trainer(accelerator="cpu", max_epochs=1, default_root_dir=tmp_path, **quiet)
    trainer.fit(training, data)
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    content = torch.load(tmp_path / "x.ckpt", weights_only=True)
    told = content["recgnn"]
    assert told["format"] == 2 and told["model"] == "recgnn.models.mf.MF"
    assert told["arguments"] == {
        "num_users": data.num_users, "num_items": data.num_items, "embedding_dim": 128, "biases": True, "init_std": 0.1,
        "normalize": False,
    }  # fmt: skip
    assert told["trained"] == {"task": "rating", "l2": 0.3, "cold_rating": 2.0}
    again = MF(**told["arguments"])
    again.load_state_dict({n.removeprefix("model."): w for n, w in content["state_dict"].items()})
    for ours, theirs in zip(again.parameters(), model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_checkpoint_of_another_task_is_refused() -> None:
    checkpoint: dict = {}
    RatingTraining(MF(3, 3, 2)).on_save_checkpoint(checkpoint)
    RatingTraining(MF(3, 3, 2)).on_load_checkpoint(checkpoint)
    with pytest.raises(RunError, match="trained for rating, and RankingTraining is for ranking"):
        RankingTraining(MF(3, 3, 2)).on_load_checkpoint(checkpoint)
