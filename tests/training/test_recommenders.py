"""Trainings of recommenders: what they ask of the data, what they refuse, and that each kind of negatives learns."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning import Trainer, seed_everything

from recgnn import models
from recgnn.data import GraphDataModule, SyntheticLog
from recgnn.data.interactions.graph import UserItems
from recgnn.data.interactions.loaders import EvalBatch, RatingBatch
from recgnn.data.interactions.sampling import InBatch, Popularity, Shared, Uniform
from recgnn.data.shard import Shard
from recgnn.errors import ConfigError, DataError
from recgnn.models import CDAE, DAE, MF, AutoRec, LightGCN
from recgnn.nn.losses import BCE, BPR, Logistic, Multinomial, SampledSoftmax, Squared
from recgnn.training.recommenders import RankingTraining, RatingTraining


@pytest.mark.parametrize(
    ("options", "kind", "num", "exponent"),
    [
        ({}, InBatch, 1, 1.0),
        ({"loss": BPR()}, Uniform, 1, 0.0),
        ({"loss": BCE(), "num_negatives": 4}, Uniform, 4, 0.0),
        ({"negatives": "popularity", "popularity_alpha": 0.5}, Popularity, 1, 0.5),
        ({"loss": SampledSoftmax(), "negatives": "shared", "num_negatives": 64}, Shared, 64, 0.75),
        ({"negatives": Popularity(3, 0.9)}, Popularity, 3, 0.9),
    ],
)
def test_the_negatives_asked_for(options, kind, num, exponent) -> None:
    request = RankingTraining(MF(3, 3, 2), ks=[2], **options).request
    assert (request.task, request.rows, request.nothing) == ("ranking", None, False)
    assert type(request.negatives) is kind and (request.negatives.num, request.negatives.exponent) == (num, exponent)


def test_the_rows_asked_for() -> None:
    assert RankingTraining(DAE(3, 3, [2])).request == ("ranking", "user", None, False)
    assert RatingTraining(AutoRec(3, 3, "item", [2])).request == ("rating", "item", None, False)
    assert RatingTraining(MF(3, 3, 2)).request == ("rating", None, None, False)


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (MF, {"loss": BPR(), "negatives": "in_batch"}, "in_batch needs a loss such as SampledSoftmax, found BPR"),
        (MF, {"loss": BPR(), "negatives": "shared"}, "shared needs a loss such as SampledSoftmax"),
        (MF, {"negatives": "all"}, "MF takes no `all`, which is for autoencoders"),
        (MF, {"negatives": "uniformly"}, "did you mean 'uniform'"),
        (MF, {"num_negatives": 0}, "RankingTraining.num_negatives is 0; expected a whole number from 1"),
        (MF, {"loss": Multinomial()}, "MF needs a loss such as BPR, BCE or SampledSoftmax, found Multinomial"),
        (DAE, {"loss": BPR()}, "DAE needs a loss such as Multinomial, Logistic or Squared, found BPR"),
        (CDAE, {"negatives": "in_batch"}, "CDAE takes all, uniform or popularity"),
        (DAE, {"l2_on": "representations"}, "l2_on is for models by inner product, and DAE is none"),
        (MF, {"ks": []}, "ks: found"),
        (MF, {"ks": [10, 0]}, "RankingTraining.ks is"),
        (MF, {"metrics": ["recal"]}, "did you mean 'recall'"),
    ],
)
def test_what_does_not_fit(model, options, message) -> None:
    with pytest.raises(ConfigError, match=message):
        RankingTraining(model(5, 5), **options)


def test_encoder_l2_is_for_autoencoders() -> None:
    model = AutoRec(5, 5, hidden_dims=[2])
    RatingTraining(model, encoder_l2=0.3)
    assert model.encoder_l2 == 0.3
    with pytest.raises(ConfigError, match="encoder_l2 is for autoencoders, and MF has no encoder"):
        RatingTraining(MF(5, 5, 2), encoder_l2=0.3)
    with pytest.raises(ConfigError, match="encoder_l2 is -1.0; expected a number of at least 0"):
        RatingTraining(model, encoder_l2=-1.0)


def test_the_best_epoch_is_told_by_a_metric() -> None:
    assert RankingTraining(MF(4, 5, 2), ks=[4, 2, 2]).monitor == ("val/ndcg@2", "max")
    assert RankingTraining(MF(4, 5, 2), metrics=["recall"], ks=[3]).metric_names == ["val/recall@3"]
    assert RatingTraining(MF(4, 5, 2)).monitor == ("val/rmse", "min")


def test_lists_longer_than_the_catalogue() -> None:
    training = RankingTraining(MF(9, 7, 4), ks=[3, 10])
    training._trainer = SimpleNamespace(datamodule=SimpleNamespace(edge_index=torch.zeros(2, 1)))
    with pytest.raises(DataError, match="7 items"):
        training.setup("fit")


def test_data_of_events_are_refused() -> None:
    training = RankingTraining(MF(9, 7, 4), ks=[3])
    training._trainer = SimpleNamespace(datamodule=SimpleNamespace())
    with pytest.raises(ConfigError, match="MF reads interactions, and SimpleNamespace gives events"):
        training.setup("fit")


def test_the_graph_is_no_part_of_a_checkpoint_and_is_not_broadcast() -> None:
    training = RankingTraining(MF(3, 3, 2), ks=[2])
    data = SimpleNamespace(edge_index=torch.tensor([[0, 1], [2, 0]]))
    training._trainer = SimpleNamespace(datamodule=data, world_size=1)
    training.setup("fit")
    ignored = set(training._ddp_params_and_buffers_to_ignore)
    assert ignored == {name for name, _ in training.named_buffers()} - set(training.state_dict())
    assert {"item_log_q", "metrics.val.train_counts"} <= ignored
    assert all(name.startswith(("model.", "metrics.")) for name in training.state_dict())
    assert training._trainer.datamodule.request is training.request


@pytest.mark.parametrize(
    ("model", "shown"),
    [(CDAE(9, 4, 2), torch.sigmoid), (DAE(9, 4, [2]), torch.sigmoid), (CDAE(9, 4, 2), None)],
)
def test_autoencoders_start_at_the_rates_of_train(model, shown) -> None:
    """Items 0 to 3 have 9, 4, 1 and 0 of the 9 users; a bias that was learnt stays."""
    edges = torch.tensor([[*range(9), *range(4), 0], [0] * 9 + [1] * 4 + [2]])
    training = RankingTraining(model, Squared() if shown is None else None, ks=[2])
    training._trainer = SimpleNamespace(datamodule=SimpleNamespace(edge_index=edges), world_size=1)
    training.setup("test")
    assert not model.decoder_bias.any()
    model.bias_init = "zero"
    training.setup("fit")
    assert not model.decoder_bias.any()
    model.bias_init = "rates"
    training.setup("fit")
    bias = model.decoder_bias.detach()
    rates = bias if shown is None else shown(bias)
    torch.testing.assert_close(rates, torch.tensor([0.95, 0.45, 0.15, 0.05]))
    with torch.no_grad():
        model.decoder_bias.fill_(2.0)
    training.setup("fit")
    assert (model.decoder_bias == 2.0).all()


class Own(MF):
    defaults = MF.defaults | {"l2": 0.33}


@pytest.mark.parametrize(
    ("make", "options", "expected"),
    [
        (lambda: DAE(9, 4, [2]), {}, 4.0),
        (lambda: CDAE(9, 4, 2), {}, 0.4),
        (lambda: MF(9, 4, 2), {}, 0.49),  # 0.7 / sqrt 2
        (lambda: models.EASE(9, 4), {}, 10.0),
        (lambda: models.EASE(9, 4), {"l2": 300.0}, None),
        (lambda: MF(9, 4, 2), {"l2": 0.5}, None),
        (lambda: MF(9, 4, 2), {"loss": BPR()}, None),  # which says 1e-3
        (lambda: Own(9, 4, 2), {}, None),
        (lambda: LightGCN(9, 4, 2), {}, 0.64),  # 0.9 / sqrt 2
        (lambda: models.XSimGCL(9, 4, 2), {}, None),  # defaults of its own
        (lambda: models.Popularity(9, 4), {}, None),
    ],
)
def test_regularisation_follows_the_log_where_it_is_not_said(make, options, expected) -> None:
    """12 rows of 9 users and 4 items: the scale is 12 / 6."""
    edges = torch.tensor([[*range(9), 0, 1, 2], [0] * 9 + [1] * 3])
    data = SimpleNamespace(edge_index=edges, batch_size=None, usual_batch_size=lambda rows: 16)
    training = RankingTraining(make(), ks=[2], **options)
    before = training.l2
    chosen = {} if training.request.nothing else {"data.batch_size": 16}
    assert training.chosen(data) == chosen | ({} if expected is None else {"training.l2": expected})
    training._trainer = SimpleNamespace(datamodule=data, world_size=1)
    training.setup("fit")
    assert training.l2 == training.model.l2 == (before if expected is None else expected)
    training.l2 = 0.125
    training.setup("fit")
    assert training.l2 == 0.125 and "training.l2" not in training.chosen(data)


def test_ranking_is_measured_without_what_is_known_and_padded() -> None:
    """User 0 has items 0 and 1: two are left, and the third place of the list is empty."""
    training = RankingTraining(MF(2, 4, 1), ks=[3], metrics=["recall", "precision"])
    training.set_graph(torch.tensor([[0, 0, 1], [0, 1, 3]]))
    with torch.no_grad():
        training.model.user_embedding.weight.copy_(torch.tensor([[1.0], [-1.0]]))
        training.model.item_embedding.weight.copy_(torch.tensor([[9.0], [8.0], [1.0], [2.0]]))
    known, right = [[0, 0, 1], [0, 1, 3]], [[0, 1, 1], [3, 2, 0]]
    answer = training.measure("val", EvalBatch(torch.tensor([0, 1]), *map(torch.tensor, known + right)))
    assert answer["items"].tolist() == [[3, 2, 4], [2, 1, 0]]
    assert answer["scores"][1].tolist() == [-1.0, -8.0, -9.0]
    found = {name: value.item() for name, value in training.metrics["val"].compute().items()}
    assert found == pytest.approx({"recall@3": (1 + 1) / 2, "precision@3": (1 / 3 + 2 / 3) / 2})
    assert training.metrics["test"].num_users == 0


def test_ratings_are_measured_clipped_and_cold() -> None:
    training = RatingTraining(MF(2, 2, 1), cold_rating=2.0, metrics=["mae"])
    training.set_graph(torch.tensor([[0, 1], [0, 1]]), torch.tensor([1.0, 5.0]))
    with torch.no_grad():
        training.model.user_embedding.weight.copy_(torch.tensor([[10.0], [0.25]]))
        training.model.item_embedding.weight.fill_(1.0)
    batch = RatingBatch(torch.tensor([0, 1, -1]), torch.tensor([1, 0, 0]), torch.tensor([4.0, 3.0, 4.0]))
    assert training.measure("test", batch)["predictions"].tolist() == [5.0, 3.25, 2.0]
    assert training.metrics["test"].compute()["mae"].item() == pytest.approx((1 + 0.25 + 2) / 3)


@pytest.mark.parametrize(
    ("model", "options"),
    [
        (MF, {"loss": SampledSoftmax(0.5), "negatives": "shared", "num_negatives": 32}),
        (MF, {"loss": BCE(), "negatives": "popularity", "num_negatives": 3}),
        (CDAE, {"loss": Logistic(), "negatives": "popularity", "num_negatives": 3, "l2": 0.1}),
    ],
)
def test_it_learns(model, options) -> None:
    torch.manual_seed(0)
    data = GraphDataModule(SyntheticLog(num_users=80, num_items=40, interactions_per_user=12), batch_size=128)
    data.prepare_data()
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = Trainer(
        accelerator="cpu", max_epochs=20, enable_checkpointing=False, num_sanity_val_steps=0, **quiet
    )
    training = RankingTraining(model(data.num_users, data.num_items, 16), lr=0.02, ks=[10], **options)
    (before,) = trainer.validate(training, data, verbose=False)
    trainer.fit(training, data)
    assert trainer.callback_metrics["val/ndcg@10"] > before["val/ndcg@10"] + 0.05
    assert trainer.callback_metrics["train/loss"].isfinite()


@pytest.mark.skipif(sys.platform != "linux", reason="large arrays are in memory there")
def test_arrays_in_files_are_those_in_memory(tmp_path: Path, monkeypatch) -> None:
    """Weights, representations and figures are the same bits, and log, graph, order and seen items lie in files."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    found = []
    for bytes_from in (2**26, 1):
        monkeypatch.setattr("recgnn.files.MAPPED", bytes_from)
        monkeypatch.setattr("recgnn.nn.propagation.ROWS", 16 if bytes_from == 1 else 2**16)
        seed_everything(5, verbose=False)
        data = GraphDataModule(SyntheticLog(60, 40, seed=3), batch_size=64)
        training = RankingTraining(LightGCN(data.num_users, data.num_items, 8, 2), fan_out=[3, 2], ks=[5])
        trainer = Trainer(accelerator="cpu", max_epochs=1, logger=False, enable_checkpointing=False,
                          enable_progress_bar=False, enable_model_summary=False)  # fmt: skip
        trainer.fit(training, datamodule=data)
        trainer.test(training, data, verbose=False)
        figures = torch.tensor([float(value) for value in trainer.callback_metrics.values()])
        found.append((*training.model.parameters(), *training.model.embeddings(), figures))
        seen = UserItems.from_pairs(*data.known("test"), data.num_users).items
        operator = training.model.operator
        large = [data.prepared.train.user, data.edge_index, operator.user_col, operator.item_weight, seen,
                 *data.known("test"), training.model.edge_index, Shard().order(9)]  # fmt: skip
        assert {in_file(array, tmp_path) for array in large} == {bytes_from == 1}
    assert all(torch.equal(*pair) for pair in zip(*found, strict=True))


def in_file(array: torch.Tensor | np.ndarray, folder: Path) -> bool:
    """Whether the memory of an array is a file of a folder."""
    lines = [line.split() for line in Path("/proc/self/maps").read_text().splitlines() if f"{folder}/" in line]
    spans = [[int(address, 16) for address in line[0].split("-")] for line in lines]
    return any(start <= torch.as_tensor(array).data_ptr() < stop for start, stop in spans)
