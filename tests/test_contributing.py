"""The examples of CONTRIBUTING.md and tests/examples, run as they stand there and held against formulas."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch
from lightning import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.nn import functional as F
from torch.testing import assert_close

from recgnn import load
from recgnn.data import CTRDataModule, GraphDataModule, RatioSplit, SyntheticLog
from recgnn.data.interactions.loaders import TrainBatch
from recgnn.models import FM, MF, LightGCN
from recgnn.nn.losses import BPR
from recgnn.serving.loading import build_model
from recgnn.training.callbacks import RunFolder
from recgnn.training.clicks import ClickTraining
from recgnn.training.recommenders import RankingTraining
from recgnn.training.run_folder import read_checkpoint

ROOT = Path(__file__).parents[1]
BLOCKS = re.findall(r"^```python\n(.*?)^```", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.M | re.S)
EXAMPLES = ROOT / "tests/examples"


@pytest.fixture(scope="module")
def own(tmp_path_factory) -> Iterator[ModuleType]:
    """The blocks of the page, as the module `own` that it speaks of."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "own.py").write_text("\n\n".join(BLOCKS), encoding="utf-8")
    sys.path[:0] = [str(folder), str(EXAMPLES)]
    yield importlib.import_module("own")
    del sys.path[:2]
    sys.modules.pop("own")
    sys.modules.pop("simgcl", None)


def trainer(epochs: int, **options) -> Trainer:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "num_sanity_val_steps": 0}
    return Trainer(accelerator="cpu", max_epochs=epochs, **{"enable_checkpointing": False} | quiet | options)


def made_up() -> GraphDataModule:
    torch.manual_seed(0)
    data = GraphDataModule(SyntheticLog(num_users=80, num_items=40, interactions_per_user=12), batch_size=128)
    data.prepare_data()
    return data


def gradients_agree(found: torch.Tensor, expected: torch.Tensor, model: torch.nn.Module) -> None:
    assert_close(found, expected, atol=1e-6, rtol=1e-6)
    names, parameters = zip(*model.named_parameters(), strict=True)
    right = torch.autograd.grad(expected, parameters)
    for name, ours, theirs in zip(names, torch.autograd.grad(found, parameters), right, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-6) and theirs.abs().sum() > 0, name


# ---- a model


def test_xdeepfm_is_its_equations(own) -> None:
    """Equation 6 as a triple loop, summed over D; the second field has two slots."""
    torch.manual_seed(0)
    dims, slots = [3, 4, 2], [0, 1, 1, 2]
    model = own.XDeepFM(dims, slots, embedding_dim=2, cin_dims=[3, 2], hidden_dims=[4]).double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.7)
    ids, values = torch.tensor([[0, 3, 5, 8], [2, 4, 6, 7]]), torch.rand(2, 4, dtype=torch.float64)
    first, second = (layer for layer in model.mlp if isinstance(layer, torch.nn.Linear))
    expected = []
    for row, x in zip(ids.tolist(), values, strict=True):
        features = [model.embedding.weight[i] * v for i, v in zip(row, x, strict=True)]
        x0 = layer = [features[0], features[1] + features[2], features[3]]
        pooled = []
        for weight in model.cin:
            new = []
            for h in range(len(weight)):
                total = torch.zeros(2, dtype=torch.float64)
                for i in range(len(layer)):
                    for j in range(3):
                        total = total + weight[h, i, j] * layer[i] * x0[j]
                new.append(total)
            layer = new
            pooled += [total.sum() for total in new]
        deep = second.weight @ (first.weight @ torch.cat(x0) + first.bias).clamp(min=0) + second.bias
        linear = sum(model.linear.weight[i, 0] * v for i, v in zip(row, x, strict=True))
        expected.append(model.bias + linear + deep[0] + model.head.weight[0] @ torch.stack(pooled))
    gradients_agree(model(ids, values).sin().sum(), torch.stack(expected).sin().sum(), model)


def test_xdeepfm_is_trained_like_any_other(own) -> None:
    torch.manual_seed(0)
    data = CTRDataModule(SyntheticLog(), "rating >= 4", {"user": "categorical", "item": "categorical"}, batch_size=64)
    data.prepare_data()
    model = own.XDeepFM(data.field_dims, data.slots, embedding_dim=4, cin_dims=[4], hidden_dims=[8])
    fit = trainer(25)
    fit.fit(ClickTraining(model, lr=0.05, table_optimizer="lazy_adam", l2_on="batch"), data)
    assert fit.callback_metrics["val/auc"] > 0.7


# ---- a loss on top


def dense_view(model, operator: torch.Tensor, noises: list[torch.Tensor]) -> torch.Tensor:
    """Equations 7 and 8 over all nodes: the mean of the layers, each with its noise."""
    e, total = torch.cat([model.user_embedding.weight, model.item_embedding.weight]), 0.0
    for noise in noises:
        e = operator @ e
        e = e + model.noise * torch.sign(e) * noise / noise.square().sum(1, keepdim=True).sqrt()
        total = total + e / len(noises)
    return total


def test_simgcl_is_its_equations(own) -> None:
    """The whole training step by a dense adjacency and loops over pairs, with its gradient."""
    kind = importlib.import_module("simgcl").SimGCL
    torch.manual_seed(0)
    users, items = 6, 5
    pairs = (torch.rand(users, items) < 0.5).nonzero()
    model = kind(users, items, 3, num_layers=2, noise=0.3, temperature=0.4, weight=0.7)
    training = RankingTraining(model, BPR(), l2=0.1, ks=[2])
    training.log = lambda *_, **__: None
    training.set_graph(pairs.T)
    training.double()
    adjacency = torch.zeros(users + items, users + items, dtype=torch.float64)
    adjacency[pairs[:, 0], users + pairs[:, 1]] = adjacency[users + pairs[:, 1], pairs[:, 0]] = 1
    degree = adjacency.sum(1).clamp(min=1)
    operator = adjacency / degree.outer(degree).sqrt()
    batch = TrainBatch(torch.tensor([0, 2, 0, 5]), torch.tensor([1, 3, 4, 3]), torch.tensor([[2], [0], [0], [1]]))

    torch.manual_seed(3)
    found = training.training_step(batch, 0)
    torch.manual_seed(3)
    noises = [torch.cat([torch.rand(n, 3, dtype=torch.float64) for n in (users, items)]) for _ in range(4)]
    one, two = dense_view(model, operator, noises[:2]), dense_view(model, operator, noises[2:])
    layers = [operator @ torch.cat([model.user_embedding.weight, model.item_embedding.weight])]
    layers.append(operator @ layers[0])
    e = (layers[0] + layers[1]) / 2  # without layer 0
    expected, size = 0.0, 4
    for u, i, (j,) in zip(*map(torch.Tensor.tolist, batch[:3]), strict=True):
        expected = expected - torch.log(torch.sigmoid(e[u] @ e[users + i] - e[u] @ e[users + j])) / size
        rows = [model.user_embedding.weight[u], model.item_embedding.weight[i], model.item_embedding.weight[j]]
        expected = expected + 0.1 * sum(row @ row for row in rows) / 2 / size
    for nodes in ([0, 2, 5], [users + i for i in (1, 3, 4)]):
        for a in nodes:
            powers = [torch.exp(F.cosine_similarity(one[a], two[b], dim=0) / 0.4) for b in nodes]
            expected = expected - 0.7 * torch.log(powers[nodes.index(a)] / sum(powers)) / len(nodes)
    gradients_agree(found, expected, model)


def test_simgcl_learns(own) -> None:
    kind, data = importlib.import_module("simgcl").SimGCL, made_up()
    training = RankingTraining(kind(data.num_users, data.num_items, 16, weight=0.005), BPR(), lr=0.02, ks=[10])
    fit = trainer(8)
    (before,) = fit.validate(training, data, verbose=False)
    fit.fit(training, data)
    assert fit.callback_metrics["val/ndcg@10"] > before["val/ndcg@10"] + 0.05
    text = (EXAMPLES / "simgcl.py").read_text(encoding="utf-8")
    lines = len(text[text.index("class SimGCL") :].splitlines())
    assert lines <= 40 and f"InfoNCE, in {lines} lines" in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


# ---- a model in closed form


def test_most_popular_is_solved_saved_and_loaded(own, tmp_path) -> None:
    """One step of one epoch, no gradient; measured, checkpointed and used as other models are."""
    data = made_up()
    training = RankingTraining(own.MostPopular(data.num_users, data.num_items), ks=[10])
    best = ModelCheckpoint(tmp_path / "checkpoints", "best", monitor="val/ndcg@10", mode="max")
    options = {"callbacks": [RunFolder(tmp_path, "{}"), best], "enable_checkpointing": True}
    fit = trainer(50, **options)
    fit.fit(training, data)
    assert (fit.current_epoch, fit.global_step) == (1, 1)
    header, row = (tmp_path / "metrics.csv").read_text(encoding="utf-8").splitlines()
    assert float(dict(zip(header.split(","), row.split(","), strict=True))["val/ndcg@10"]) > 0

    model = build_model(read_checkpoint(best.best_model_path), tmp_path)
    model.set_graph(data.edge_index)
    users, items = data.pairs("train")
    known = items[users == 3]
    scores, found = model.recommend(torch.tensor([3]), 5, (torch.zeros_like(known), known))
    known = known.tolist()
    count = {i: items.tolist().count(i) for i in range(data.num_items)}
    expected = sorted((count[i] for i in count if i not in known), reverse=True)[:5]
    assert scores[0].tolist() == expected == [count[i] for i in found[0].tolist()]
    assert not set(found[0].tolist()) & set(known)


# ---- a loss, negatives, a metric


def test_hinge_is_its_formula(own) -> None:
    positive, negative = torch.tensor([1.0, 0.2]), torch.tensor([[0.8, -3.0], [0.1, 0.9]])
    expected = [(0.3 + 0) / 2, (0.4 + 1.2) / 2]  # max(0, 0.5 - 1.0 + 0.8) ...
    assert own.Hinge(0.5)(positive, negative).tolist() == pytest.approx(expected)


def test_first_hit_by_hand(own) -> None:
    hits = torch.tensor([[False, True, True], [True, False, False], [False, False, False]])
    assert own.FirstHit().of_users(hits, torch.tensor([2, 1, 4]), 3).tolist() == [2, 1, 4]


@pytest.mark.parametrize("kind", [MF, LightGCN])
def test_they_work_with_every_model(own, kind) -> None:
    data = made_up()
    training = RankingTraining(
        kind(data.num_users, data.num_items, 16), own.Hinge(), own.Mixed(), lr=0.02,
        metrics=[own.FirstHit(), "ndcg"], ks=[10],
    )  # fmt: skip
    fit = trainer(8)
    (before,) = fit.validate(training, data, verbose=False)
    fit.fit(training, data)
    assert fit.callback_metrics["val/firsthit@10"] < before["val/firsthit@10"] - 0.5
    assert training.monitor == ("val/ndcg@10", "max")
    batch = next(iter(fit.train_dataloader))
    users, items = data.pairs("train")
    known = {pair for pair in zip(users.tolist(), items.tolist(), strict=True)}
    assert batch.negatives.shape == (128, 2)
    drawn = zip(batch.users.repeat_interleave(2).tolist(), batch.negatives.flatten().tolist(), strict=True)
    assert not known & set(drawn)


# ---- a source, a filter, a split


def test_a_log_of_json_lines(own, tmp_path) -> None:
    path = tmp_path / "log.jsonl"
    rows = [(u, i, 100 * u + i) for u in range(5) for i in range(8)]
    path.write_text("".join(f'{{"user": {u}, "item": "i{i}", "timestamp": {t}}}\n' for u, i, t in rows))
    arguments = {"filters": [own.Since(100)], "split": own.EveryTenth(), "cache_dir": str(tmp_path / "cache")}
    log = GraphDataModule(own.JsonLines(str(path)), **arguments).prepared
    kept = rows[8:]
    for part, places in (("train", range(8)), ("val", [8]), ("test", [9])):
        found = getattr(log, part)
        ids = zip(log.users.decode(found.user).tolist(), log.items.decode(found.item).tolist(), strict=True)
        assert set(ids) == {(u, f"i{i}") for n, (u, i, _) in enumerate(kept) if n % 10 in places}
    assert log.name == "json" and "interactions from 100 on" in str(log.summary)

    path.write_text(path.read_text() + '{"user": 9, "item": "i1", "timestamp": 900}\n')
    again = GraphDataModule(own.JsonLines(str(path)), **arguments).prepared
    assert 9 in again.users.ids, "a changed file is other data"
    looser = GraphDataModule(own.JsonLines(str(path)), **arguments | {"filters": [own.Since(0)]}).prepared
    assert 0 in looser.users.ids, "and so is another argument of a filter"
    plain = GraphDataModule(own.JsonLines(str(path)), **arguments | {"split": RatioSplit(by="all")}).prepared
    assert len(plain.test) != len(again.test) or plain.summary != again.summary


def test_the_classes_of_the_manual(here, monkeypatch, entry) -> None:
    """The blocks of the page as one module; its YAML is trained, and the model of clicks is a factorization machine."""
    page = (ROOT / "docs/howto/own_classes.md").read_text(encoding="utf-8").replace("own.", "shown.")
    blocks = re.findall(r"^```(python|yaml)\n(.*?)^```", page, re.M | re.S)
    Path("shown.py").write_text("\n\n".join(text for kind, text in blocks if kind == "python"), encoding="utf-8")
    Path("shown.yaml").write_text("\n".join(text for kind, text in blocks if kind == "yaml"), encoding="utf-8")
    rows = [(u, i) for u in range(30) for i in range(25) if (u * i + u + i) % 3 == 0]
    Path("log.jsonl").write_text("".join(f'{{"user": {u}, "item": {i}}}\n' for u, i in rows), encoding="utf-8")
    monkeypatch.syspath_prepend(str(here))
    quick = ["--trainer.accelerator=cpu", "--trainer.max_epochs=1", "--trainer.logger=false", "--run_dir=run"]
    code, out, err = entry("fit", "--config", "shown.yaml", *quick, "--training.ks=[5]")
    assert code == 0 and "tophit@5" in out and "loudest@5" in out, err
    torch.manual_seed(0)
    model = importlib.import_module("shown").Pairs([3, 4], [0, 1], embedding_dim=2)
    fm = FM([3, 4], [0, 1], embedding_dim=2)
    fm.load_state_dict(model.state_dict())
    ids = torch.tensor([[0, 3], [2, 6]])
    assert_close(model(ids), fm(ids))
    for what, module in re.findall(r"^\| .+? \| (.+?) \| `(recgnn[\w.]+)` \|", page, re.M):
        assert all(hasattr(importlib.import_module(module), name) for name in re.findall(r"\w+", what)), what


def test_all_by_class_path(own, here, entry) -> None:
    """The YAML of the page on the command line; the closed-form model, in the same configuration, then recommends."""
    rows = [(u, i, u + i) for u in range(30) for i in range(25) if (u * i + u + i) % 3 == 0]
    Path("log.jsonl").write_text("".join(f'{{"user": {u}, "item": {i}, "timestamp": {t}}}\n' for u, i, t in rows))
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (training,) = re.findall(r"^```yaml\n(.*?)^```", page, re.M | re.S)
    Path("own.yaml").write_text(
        "data:\n  class_path: GraphDataModule\n  init_args:\n"
        "    source: {class_path: own.JsonLines, init_args: {path: log.jsonl}}\n"
        "    filters: [{class_path: own.Since, init_args: {timestamp: 3}}]\n"
        "    split: {class_path: own.EveryTenth}\n"
        f"model: {{class_path: simgcl.SimGCL, init_args: {{embedding_dim: 8}}}}\n{training}  ks: [5]\n"
        "trainer: {max_epochs: 1, accelerator: cpu}\n",
        encoding="utf-8",
    )
    code, out, err = entry("fit", "--config", "own.yaml", "--run_dir", "one")
    assert code == 0 and "firsthit@5" in out + err, err
    code, out, err = entry("fit", "--config", "own.yaml", "--model", "own.MostPopular", "--run_dir", "two")
    assert code == 0, err
    found = load("two").recommend(users=[3], k=4)
    assert found["item"].nunique() == 4 and found["score"].is_monotonic_decreasing
