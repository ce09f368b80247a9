"""A small graph, a batch, the losses as loops, and a few epochs of training, for the tests of every model."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning import Trainer
from torch import Tensor

from recgnn.data import GraphDataModule, RatioSplit, SyntheticLog
from recgnn.data.clicks.history import History
from recgnn.data.clicks.loaders import CTRBatch
from recgnn.data.interactions.loaders import TrainBatch
from recgnn.data.interactions.sampling import InBatch, Shared
from recgnn.models.base import Model, Recommender
from recgnn.nn.contrastive import BSL
from recgnn.nn.losses import BCE, BPR, Logistic, Multinomial, SampledSoftmax, Squared
from recgnn.training.base import Training
from recgnn.training.clicks import ClickTraining, RegressionTraining
from recgnn.training.recommenders import RankingTraining, RatingTraining

USERS, ITEMS = 9, 7  # user 8 and item 6 have no edge
TRAININGS = {kind.task: kind for kind in (RankingTraining, RatingTraining, ClickTraining, RegressionTraining)}
LOSSES = {"bpr": BPR, "bce": BCE, "softmax": SampledSoftmax, "bsl": BSL, "multinomial": Multinomial,
          "logistic": Logistic, "squared": Squared}  # fmt: skip


@pytest.fixture(scope="session")
def small() -> SimpleNamespace:
    """A graph of 9 users and 7 items: edges [2, E], the same both ways among 16 nodes, adjacency, item counts."""
    rated = torch.rand(USERS, ITEMS, generator=torch.Generator().manual_seed(1)) < 0.4
    rated[8], rated[:, 6] = False, False
    user, item = rated.nonzero().T
    adjacency = torch.zeros(USERS + ITEMS, USERS + ITEMS, dtype=torch.float64)
    adjacency[:USERS, USERS:], adjacency[USERS:, :USERS] = rated, rated.T
    both = torch.cat([torch.stack([user, USERS + item]), torch.stack([USERS + item, user])], 1)
    return SimpleNamespace(
        users=USERS, items=ITEMS, edges=torch.stack([user, item]), both_ways=both, adjacency=adjacency,
        counts=rated.sum(0),
    )  # fmt: skip


def _training(model: Model, task: str | None = None, loss: str | None = None, **options: Any) -> Training:
    """The training of a model: `loss` by name; `temperature` and `popularity_correction` are the loss's."""
    kind = TRAININGS[task or model.tasks[0]]
    of_loss = {name: options.pop(name) for name in ("temperature", "popularity_correction") if name in options}
    if kind is RankingTraining:
        options = {"ks": [3]} | options
    return kind(model, loss=None if loss is None else LOSSES[loss](**of_loss), **options)


@pytest.fixture(scope="session")
def training_of() -> Callable[..., Training]:
    return _training


def _on_graph(model: Model, edges: Tensor, ratings: Tensor | None, options: dict[str, Any]) -> Training:
    training = _training(model, **options)
    training.log = lambda *_, **__: None
    if isinstance(model, Recommender):
        training.set_graph(edges, ratings)
    return training.double()


@pytest.fixture
def on_graph(small) -> Callable[..., Training]:
    """A training whose model has the small graph, in double precision and without a Trainer."""
    return lambda model, **options: _on_graph(model, small.edges, None, options)


@pytest.fixture
def on_ratings() -> Callable[..., Training]:
    """The same on ratings: edges [2, E] and their ratings [E]."""
    return lambda model, edges, ratings, **options: _on_graph(model, edges, ratings, options)


@pytest.fixture
def build() -> Callable[..., Training]:
    """A training with its model from their options together: (class, U, I, edges, ratings or None, options)."""

    def make(kind: type[Recommender], users: int, items: int, edges: Tensor, ratings: Tensor | None = None, **options):
        torch.manual_seed(0)
        own = {name: options.pop(name) for name in inspect.signature(kind).parameters if name in options}
        return _on_graph(kind(users, items, **own).double(), edges, ratings, options)

    return make


@pytest.fixture(scope="session")
def batch_for() -> Callable[[RankingTraining], TrainBatch]:
    """A batch with repeated users and items, with the kind of negatives that a training asks for."""

    def make(training: RankingTraining) -> TrainBatch:
        users, positives = torch.tensor([0, 3, 0, 5, 8, 3]), torch.tensor([2, 1, 4, 2, 6, 1])
        kind = training.request.negatives
        if isinstance(kind, InBatch):
            return TrainBatch(users, positives, None)
        shape = (kind.num,) if isinstance(kind, Shared) else (users.numel(), kind.num)
        return TrainBatch(users, positives, torch.randint(ITEMS, shape, generator=torch.Generator().manual_seed(4)))

    return make


def _naive_loss(training: RankingTraining, batch: TrainBatch, scores: Tensor, counts: Tensor) -> Tensor:
    """The loss of a batch from the scores of everybody for everything, [U, I], row by row."""
    frequency = counts.clamp(min=1).double() / counts.sum()
    exponent = {"Uniform": 0.0, "InBatch": 1.0}.get(type(training.negatives).__name__)
    exponent = training.negatives.exponent if exponent is None else exponent
    terms = []
    for row, (user, item) in enumerate(zip(batch.users.tolist(), batch.positives.tolist(), strict=True)):
        if batch.negatives is None:
            others = [j for j in batch.positives.tolist() if j != item]
        elif batch.negatives.dim() == 1:
            others = [j for j in batch.negatives.tolist() if j != item]
        else:
            others = batch.negatives[row].tolist()
        if isinstance(training.loss, BPR):
            terms.append(sum(-torch.log(torch.sigmoid(scores[user, item] - scores[user, j])) for j in others))
            terms[-1] = terms[-1] / len(others)
        elif isinstance(training.loss, BCE):
            terms.append(-torch.log(torch.sigmoid(scores[user, item])))
            terms[-1] = terms[-1] - sum(torch.log(1 - torch.sigmoid(scores[user, j])) for j in others)
        else:
            correction = training.loss.popularity_correction * exponent * frequency.log()
            logits = [scores[user, j] / training.loss.temperature - correction[j] for j in [item, *others]]
            terms.append(-torch.log(logits[0].exp() / sum(s.exp() for s in logits)))
    return sum(terms) / len(terms)


@pytest.fixture(scope="session")
def naive_loss() -> Callable[..., Tensor]:
    return _naive_loss


@pytest.fixture
def check_step(small, batch_for) -> Callable[..., None]:
    """Holds `training_step` and its gradients against a formula of all embeddings.

    Args:
        training: on the graph.
        formula: () -> all representations ([U, D], [I, D]) by dense operations on the model's parameters.
        norm: (batch, formula's value) -> the regularisation; by default half the squared rows over B: of layer 0, or of
            the formula's value where the representations are regularised.
    """

    def squares(batch: TrainBatch, user: Tensor, item: Tensor) -> Tensor:
        negatives = [] if batch.negatives is None else batch.negatives.flatten().tolist()
        rows = [user[u] for u in batch.users.tolist()]
        rows += [item[i] for i in batch.positives.tolist() + negatives]
        return sum((row * row).sum() for row in rows) / 2 / batch.users.numel()

    def check(training, formula: Callable[[], tuple[Tensor, Tensor]], norm=None) -> None:
        batch, parameters = batch_for(training), dict(training.named_parameters())
        loss = training.training_step(batch, 0)
        found = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
        user, item = formula()
        expected = _naive_loss(training, batch, user @ item.T, small.counts)
        rows = user, item
        if training.model.l2_on == "embeddings" and norm is None:
            rows = training.model.user_embedding.weight, training.model.item_embedding.weight
        expected = expected + training.l2 * (norm or squares)(batch, *rows)
        torch.testing.assert_close(loss, expected, atol=1e-6, rtol=1e-6)
        right = torch.autograd.grad(expected, list(parameters.values()), allow_unused=True)
        for (name, value), ours, theirs in zip(parameters.items(), found, right, strict=True):
            ours, theirs = (torch.zeros_like(value) if g is None else g for g in (ours, theirs))
            assert torch.allclose(ours, theirs, atol=1e-6), f"gradient of {name}: {(ours - theirs).abs().max()}"
        assert found[0].abs().sum() > 0

    return check


def _trainer(epochs: int, **options: Any) -> Trainer:
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    return Trainer(
        accelerator="cpu", max_epochs=epochs, enable_model_summary=False, num_sanity_val_steps=0, **quiet, **options
    )


@pytest.fixture(scope="session")
def trainer_for() -> Callable[..., Trainer]:
    """A silent Trainer of some epochs."""
    return _trainer


@pytest.fixture
def fit_ratings() -> Callable[..., tuple[float, float]]:
    """Fits a model of ratings on made-up data: (its val/rmse, that of train's mean)."""

    def fit(make: Callable[[int, int], Recommender], epochs: int = 25, precision="32-true", size: int = 32, **options):
        torch.manual_seed(0)
        log = SyntheticLog(num_users=120, num_items=40, interactions_per_user=20)
        data = GraphDataModule(log, split=RatioSplit(), batch_size=size)
        data.prepare_data()
        trainer = _trainer(epochs, precision=precision)
        trainer.fit(_training(make(data.num_users, data.num_items), "rating", **options), data)
        error = data.ratings("val") - data.ratings("train").mean()
        return float(trainer.callback_metrics["val/rmse"]), float(error.square().mean().sqrt())

    return fit


@pytest.fixture
def train() -> Callable[..., tuple[float, float, Trainer]]:
    """Fits a model on made-up data for some epochs: (val/ndcg@10 before, after, the trainer)."""

    def fit(make: Callable[[int, int], Recommender], epochs: int = 8, precision="32-true", **options):
        torch.manual_seed(0)
        log = SyntheticLog(num_users=80, num_items=40, interactions_per_user=12)
        data = GraphDataModule(log, batch_size=128)
        data.prepare_data()
        trainer = _trainer(epochs, precision=precision)
        training = _training(make(data.num_users, data.num_items), **{"ks": [10]} | options)
        (before,) = trainer.validate(training, data, verbose=False)
        trainer.fit(training, data)
        return before["val/ndcg@10"], float(trainer.callback_metrics["val/ndcg@10"]), trainer

    return fit


# ---- events of CTR models

FIELD_DIMS, SLOTS = [4, 5, 6, 2], [0, 1, 2, 2, 2, 3]  # two categorical fields, one of three values, a number


@pytest.fixture(scope="session")
def events() -> SimpleNamespace:
    """Five events: rows of the table of all fields, their values, labels, and the field of each slot."""
    generator = torch.Generator().manual_seed(8)
    starts = torch.tensor([0, *FIELD_DIMS[:-1]]).cumsum(0)
    ids = torch.stack([torch.randint(FIELD_DIMS[f], (5,), generator=generator) + starts[f] for f in SLOTS], 1)
    ids[0, 2:5] = torch.tensor([10, 12, 14])  # distinct values of the field of three
    values = torch.ones(5, 6, dtype=torch.float64)
    values[0, 2:5], values[1, 2:5], values[2:, 2:5] = 1 / 3, torch.tensor([0.5, 0.5, 0]).double(), 0
    values[2:, 2] = 1
    values[:, [0, 1, 5]] = torch.randn(5, 3, generator=generator, dtype=torch.float64)  # x of every feature
    values[0, 2:5], values[4, 0] = torch.tensor([0.25, -1.5, 2]), 1
    labels = torch.tensor([0.0, 1, 1, 0, 1], dtype=torch.float64)
    batch = CTRBatch(ids, values, labels, groups=None)
    return SimpleNamespace(field_dims=FIELD_DIMS, slots=SLOTS, ids=ids, values=values, labels=labels, batch=batch)


@pytest.fixture(scope="session")
def past() -> History:
    """The histories of those events, of 3, 0, 1, 5 and 2 past items; row 7 is in a history alone."""
    generator = torch.Generator().manual_seed(2)
    ids = torch.randint(4, (11, 4), generator=generator) + torch.tensor([4, 9, 9, 9])
    ids[3, 0] = 7
    values = torch.tensor([[1, 1 / 3, 1 / 3, 1 / 3], [1, 0.5, 0.5, 0], [1, 1, 0, 0]]).double()
    gaps = torch.tensor([900.0, 40, 1, 3, 1e12, 8e6, 8e6, 2, 0, 70, 6])
    return History(ids, values[torch.arange(11) % 3], torch.tensor([3, 0, 1, 5, 2]), gaps)


@pytest.fixture
def ctr_model(events) -> Callable[..., Model]:
    """A CTR model on those events, in double precision, every parameter drawn."""

    def make(kind: type, **options) -> Model:
        torch.manual_seed(1)
        model = kind(events.field_dims, events.slots, **options).double().eval()
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.5)
        return model

    return make


@pytest.fixture
def click_step() -> Callable[..., ClickTraining]:
    """A training for clicks of a CTR model, without a Trainer."""

    def make(model: Model, **options) -> ClickTraining:
        training = ClickTraining(model, **options).double()
        training.log = lambda *_, **__: None
        return training

    return make


@pytest.fixture
def check_event_loss(events, click_step) -> Callable[..., None]:
    """Holds loss and gradient of a training step, with l2, against a naive logit.

    Args:
        model: of CTR.
        logit: (row of ids, row of values) -> its logit by a formula.
        tables: the names of the regularised parameters.
    """

    def check(model, logit: Callable[[Tensor, Tensor], Tensor], tables: list[str]) -> None:
        found = click_step(model, l2=0.2).training_step(events.batch, 0)
        expected = 0.0
        for ids, values, label in zip(events.ids, events.values, events.labels, strict=True):
            chance = torch.sigmoid(logit(ids, values))
            expected = expected - torch.log(chance if label else 1 - chance) / 5
        parameters = dict(model.named_parameters())
        expected = expected + 0.2 / 2 * sum((parameters[name] ** 2).sum() for name in tables)
        torch.testing.assert_close(found, expected, check_dtype=False)
        right = torch.autograd.grad(expected, list(parameters.values()), allow_unused=True)
        ours = torch.autograd.grad(found, list(parameters.values()), allow_unused=True)
        for name, a, b in zip(parameters, ours, right, strict=True):
            a, b = (torch.zeros_like(parameters[name]) if g is None else g for g in (a, b))
            assert torch.allclose(a, b, atol=1e-6), name

    return check
