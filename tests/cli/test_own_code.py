"""Classes of one's own that are not as they should be: each mistake is one line that names class and method."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from recgnn.cli.classes import class_named
from recgnn.cli.own_code import mistake_in_own_code
from recgnn.errors import ConfigError

BAD = """\
import torch
from recgnn.data import SyntheticLog
from recgnn.evaluation.metrics import CatalogueMetric, RankingMetric
from recgnn.models import MF, LR
from recgnn.nn.losses import PairLoss, RowLoss

class Hinge(PairLoss):
    def __init__(self, margin):
        super().__init__()
        self.margin = margin

    def forward(self, positive, negative, *log_q):
        return (self.margin - positive[:, None] + negative).clamp(min=0).mean(1)

class One(Hinge):
    def __init__(self):
        super().__init__(1.0)

    def forward(self, *scores):
        return super().forward(*scores)[:7]

class Array(One):
    def forward(self, positive, *others):
        return positive.detach().numpy()

class Detached(One):
    def forward(self, *scores):
        return Hinge.forward(self, *scores).detach()

class Broken(One):
    def forward(self, positive, *others):
        return positive @ torch.zeros(3, 3)

class Below(One):
    def of_representations(self, user, item, positives, negatives, log_q):
        return super().of_representations(user, item, positives, torch.zeros(1, 1, 1, 1), log_q)

class Empty(PairLoss):
    pass

class Short(PairLoss):
    def forward(self, positive, negative):
        return positive

class Dense(RowLoss):
    def forward(self, scores, rows, columns, negatives=None):
        return scores.mean()

class Alone(PairLoss):
    def __init__(self, margin: float = 1.0):
        self.margin = margin

    def forward(self, positive, *others):
        return positive

class Text(One):
    def __init__(self, margin: float = 1.0):
        super().__init__()
        self.margin = margin + "a"

class NoUsers(RankingMetric):
    pass

class FewUsers(RankingMetric):
    def of_users(self, hits, k):
        return hits.sum(1)

class Number(CatalogueMetric):
    def of_counts(self, counts, train_counts):
        return 0.5

class Log(SyntheticLog):
    def __init__(self, users):
        super().__init__(num_users=users)

    def fingerprint(self):
        return "a log that is read by nothing"

    def read(self):
        return 1 / 0

class Digits(SyntheticLog):
    def fingerprint(self):
        return 7

class Model(MF):
    def score(self, users):
        return super().score(users)[:, :3]

class Column(LR):
    def forward(self, ids, values=None):
        return super().forward(ids, values)[:, None]
"""
CLICKS = ["--data=CTRDataModule", "--data.label=rating >= 4", "--data.fields={user: categorical, item: categorical}"]


@pytest.fixture
def bad(here, monkeypatch):
    Path("bad.py").write_text(BAD, encoding="utf-8")
    monkeypatch.syspath_prepend(str(here))
    yield
    sys.modules.pop("bad", None)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--training.loss=bad.One"], r"One.forward gave the shape \(7,\), .* \(128,\), a number for each positive"),
        (["--training.loss=bad.Array"], r"Array.forward gave a ndarray, expected a tensor of shape \(128,\)"),
        (["--training.loss=bad.Detached"], "Detached.forward gave numbers without a gradient, .* torch computes"),
        (["--training.loss=bad.Broken"], r"Broken.forward \(bad.py, line 32\): `return pos.*`: RuntimeError: "),
        (["--training.loss=bad.Below"], r"Below.of_rep.* \(bad.py, line 36\): .*; raised in PairLoss.*losses.py, "),
        (["--training.loss=bad.Empty"], r"the loss Empty does not define forward \(or of_representations\)"),
        (["--training.loss=bad.Alone"], r"Alone.__init__ does not begin with super\(\).__init__\(…\)"),
        (["--training.loss=bad.Text"], r"Text.__init__ \(bad.py, line 59\): `self.marg.*`: TypeError: "),
        (["--training.loss=bad.Hinge"], "Hinge.margin is not given, and has no default"),
        (["--training.metrics=[ndcg, bad.Number]"], r"Number.of_counts gave a float, expected a tensor of shape \(\)"),
        (["--data.source=bad.Log", "--data.source.users=9"], r"Log.read \(bad.py, line 80\): `return 1 / 0`: ZeroDiv"),
        (["--data.source=bad.Digits"], "Digits.fingerprint gave 7, expected text that is another one where"),
        (["--model=bad.Model"], r"Model.score gave the shape \(61, 3\), expected .* \(61, 40\), a score of each item"),
        (["--model=bad.Column", *CLICKS], r"Column.forward gave the shape \(128, 1\), expected .* \(128,\), a logit"),
    ],
)  # fmt: skip
def test_what_is_given_is_checked_and_errors_have_a_place(bad, tiny, entry, options, expected) -> None:
    config = Path("tiny.yaml")
    config.write_text(tiny.read_text().partition("model:")[0] + "trainer: {accelerator: cpu, max_epochs: 1}\n")
    plain = ["--model=MF"] if "--model" not in str(options) else []
    code, _, err = entry("fit", "--config", config, "--trainer.logger=false", *plain, *options)
    [line] = [line for line in err.splitlines() if not line.startswith("epoch ")]
    assert code == 2 and re.match(f"error: {expected}", line), err


def test_what_has_no_type_may_be_anything(bad, tiny, entry) -> None:
    options = ["--model=MF", "--training.loss=bad.Hinge", "--training.loss.margin=0.5", "--run_dir=run"]
    code, _, err = entry("fit", "--config", tiny, "--trainer.max_epochs=1", "--trainer.logger=false", *options)
    assert code == 0, err
    assert "margin: 0.5" in Path("run/config.yaml").read_text()


@pytest.mark.parametrize(
    ("place", "name", "expected"),
    [
        ("training.metrics", "NoUsers", "bad.NoUsers does not define of_users; a subclass of RankingMetric must"),
        ("training.metrics", "FewUsers",
         r"bad.FewUsers.of_users takes \(hits, k\), and is called with \(hits, label_count, k\)"),
        ("training.loss", "Short", r"Short.forward takes \(positive, negative\), and is called with \(positive, neg"),
    ],
)  # fmt: skip
def test_methods_that_lack_or_cannot_be_called(bad, place, name, expected) -> None:
    with pytest.raises(ConfigError, match=f"^{place}: .*{expected}"):
        class_named(place, f"bad.{name}")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("import torch\nclass A(\n", r"'\(' was never closed \(worse.py, line 2\)"),
        ("import torch\nprint(torch.nothing_of_it)\n", r"<module> \(worse.py, line 2\): `print.*`: AttributeError: "),
    ],
)
def test_a_module_that_cannot_be_imported_has_a_place(here, monkeypatch, text, expected) -> None:
    Path("worse.py").write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(str(here))
    with pytest.raises(ConfigError, match=rf"^training.loss: worse.Hinge cannot be imported: {expected}"):
        class_named("training.loss", "worse.Hinge")


def test_methods_that_can_be_called(bad) -> None:
    for name in ("Hinge", "Array", "Dense"):
        assert class_named("training.loss", f"bad.{name}").__name__ == name


def test_what_calls_recgnn_and_what_the_system_refuses_are_no_mistakes_of_a_class() -> None:
    def failing(error: Exception) -> Exception:
        try:
            raise error
        except Exception as raised:
            return raised

    assert mistake_in_own_code(failing(ValueError("a script's own"))) is None
    assert mistake_in_own_code(None) is mistake_in_own_code(KeyboardInterrupt()) is None
