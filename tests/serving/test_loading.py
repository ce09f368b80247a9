"""Runs are loaded without a trainer, and import nothing that they only name."""

from __future__ import annotations

import doctest
import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch

from recgnn import load
from recgnn.data import CTRDataModule
from recgnn.data.datasets.synthetic import SyntheticLog
from recgnn.errors import RunError
from recgnn.models import MF

MINE = """\
print("mine is imported")
from recgnn.models import MF

class Mine(MF):
    pass

class Other:
    pass
"""


@pytest.fixture(scope="module")
def click_run(tmp_path_factory, make_run) -> Path:
    data = CTRDataModule(
        SyntheticLog(num_users=61, num_items=40, seed=3), "rating >= 4", {"user": "categorical", "item": "categorical"}
    )
    return make_run(tmp_path_factory.mktemp("clicks") / "run", data, "FM", {"embedding_dim": 4}, epochs=1)


@pytest.fixture
def foreign(tmp_path, make_run, synthetic, monkeypatch) -> Path:
    """A run of a class in a module `mine` that is not imported yet."""
    monkeypatch.delitem(sys.modules, "mine", raising=False)  # another test may have one of that name
    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.syspath_prepend(str(tmp_path))
    run = make_run(tmp_path / "run", synthetic(), MF, {"embedding_dim": 4}, epochs=1, ks=[5])
    rename(run, "mine.Mine")
    yield run
    sys.modules.pop("mine", None)


def rename(run: Path, path: str) -> None:
    checkpoint = torch.load(run / "checkpoints/best.ckpt", weights_only=True)
    checkpoint["recgnn"]["model"] = path
    torch.save(checkpoint, run / "checkpoints/best.ckpt")


def test_a_module_that_a_run_names_is_not_imported(foreign, capsys) -> None:
    with pytest.raises(RunError, match=r"mine\.Mine is not one of recgnn's.*load\(run, trust=True\)") as caught:
        load(foreign)
    assert "mine" not in sys.modules and not capsys.readouterr().out and "\n" not in str(caught.value)
    assert type(load(foreign, trust=True).model).__name__ == "Mine"
    assert len(load(foreign).recommend([1], k=3)) == 3, "its module is imported now"


def test_the_commands_ask_for_trust(foreign, entry) -> None:
    code, _, err = entry("similar", "--run", foreign, "--items", "1")
    assert code == 2 and "--trust" in err and err.count("\n") == 1 and "mine" not in sys.modules
    code, out, _ = entry("similar", "--run", foreign, "--items", "1", "--trust")
    assert code == 0 and out.count("\n") == 11 + ("mine is imported" in out)


def test_what_is_no_model_is_refused(foreign) -> None:
    load(foreign, trust=True)
    refused = {"mine.Other": "is not a model", "mine.Gone": "cannot be imported", "Mine": "is not one of"}
    for path, message in (refused | {"os.system": "is not a model", "nowhere.Model": "is not one of"}).items():
        rename(foreign, path)
        with pytest.raises(RunError, match=message):
            load(foreign)


def test_a_checkpoint_that_does_not_fit_is_refused(foreign) -> None:
    rename(foreign, "recgnn.models.autorec.AutoRec")
    with pytest.raises(RunError, match="does not fit AutoRec"):
        load(foreign)
    checkpoint = torch.load(foreign / "checkpoints/best.ckpt", weights_only=True)
    torch.save({key: value for key, value in checkpoint.items() if key != "recgnn"}, foreign / "checkpoints/best.ckpt")
    with pytest.raises(RunError, match="written by another version of recgnn; train it again"):
        load(foreign)


@pytest.mark.parametrize("module", ["loading", "trained", "recommender", "clicks"])
def test_the_examples_of_the_docstrings(module, here, tiny_run, click_run) -> None:
    for name, run in (("lightgcn-demo", tiny_run), ("fm-demo", click_run)):
        (here / "runs" / name).mkdir(parents=True)
        (here / "runs" / name / "1").symlink_to(run)
    failed, tried = doctest.testmod(import_module(f"recgnn.serving.{module}"), optionflags=doctest.ELLIPSIS)
    assert tried >= 2 and not failed
