"""`--trainer.strategy torchrec`: tables over several processes, and checkpoints that have them beside them."""

from __future__ import annotations

import json
import os
import pickle
import sys

import pytest
import torch
import torch.distributed.checkpoint as dcp
import yaml

from recgnn import load
from recgnn.cli.entry import main
from recgnn.data.stored import digest_of
from recgnn.errors import ConfigError, RunError
from recgnn.models import FM, MF, WideDeep
from recgnn.nn.optimizers import RowwiseAdagrad
from recgnn.nn.sharded_table import Layout, torchrec_modules
from recgnn.training.clicks import ClickTraining
from recgnn.training.recommenders import RankingTraining
from recgnn.training.run_folder import read_checkpoint
from recgnn.training.table_files import completed
from recgnn.training.torchrec_strategy import check


@pytest.mark.parametrize("shape", [(5, 6), (7, 1), (3, 8)])
def test_a_table_that_is_laid_out_moves_as_it_would_have(shape) -> None:
    """Zeros in further columns, with rate and eps times the root of the share, are no other steps."""
    layout = Layout(*shape)
    plain, gradients = torch.randn(shape).requires_grad_(), torch.randn(3, *shape)
    wide = layout.fold(plain.detach()).requires_grad_()
    root = layout.share**0.5
    alone = RowwiseAdagrad([plain], lr=0.1, eps=1e-3)
    kind = torch.optim.Adagrad if layout.packed > 1 else RowwiseAdagrad
    both = kind([wide], lr=0.1 * root, eps=1e-3 * root)
    for gradient in gradients:
        plain.grad, wide.grad = gradient.clone(), layout.fold(gradient)
        alone.step(), both.step()
    torch.testing.assert_close(layout.unfold(wide), plain)
    sums = alone.state[plain]["sum"]
    torch.testing.assert_close(layout.unfold_sums(both.state[wide]["sum"]), sums)
    torch.testing.assert_close(layout.unfold_sums(layout.fold_sums(sums)), sums)


@pytest.fixture
def beside(tmp_path) -> dict:
    """A checkpoint whose table lies beside it, as torch.distributed.checkpoint writes it."""
    layout, name = Layout(5, 3), "model.embedding.weight"
    weight, sums = torch.randn(5, 3), torch.rand(5)
    state = {f"{name}/weight": layout.fold(weight), f"{name}/sum": layout.fold_sums(sums)}
    folder = tmp_path / "last.tables-7"
    dcp.save(state, checkpoint_id=folder, no_dist=True)
    files = {path.name: digest_of(path) for path in folder.iterdir()}
    about = {"folder": folder.name, "files": files, "shapes": {name: [5, 3]}}
    groups = [{"params": [0, 1]}, {"params": [2]}]
    states = [{"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": groups}]
    checkpoint = {"state_dict": {}, "optimizer_states": states, "tables": about}
    return {"weight": weight, "sum": sums, "checkpoint": checkpoint}


def test_tables_beside_a_checkpoint_are_put_into_it(beside, tmp_path) -> None:
    file = tmp_path / "last.ckpt"
    torch.save(beside["checkpoint"], file)
    found = read_checkpoint(file)
    torch.testing.assert_close(found["state_dict"]["model.embedding.weight"], beside["weight"])
    torch.testing.assert_close(found["optimizer_states"][0]["state"][2]["sum"], beside["sum"])
    assert "tables" not in found and "tables" in read_checkpoint(file, tables=False)


class Harmful:
    def __reduce__(self):
        return os.mkdir, ("harmed",)


@pytest.mark.parametrize("signed", [True, False])
def test_tables_that_could_run_code_are_refused(beside, here, signed) -> None:
    metadata = here / "last.tables-7/.metadata"
    metadata.write_bytes(pickle.dumps(Harmful()))
    if signed:
        beside["checkpoint"]["tables"]["files"][".metadata"] = digest_of(metadata)
    with pytest.raises(RunError, match="it names posix.mkdir" if signed else "checksum of .metadata is wrong"):
        completed(beside["checkpoint"], here / "last.ckpt")
    assert not (here / "harmed").exists()


def test_what_torchrec_cannot_do_is_refused() -> None:
    class Plain:
        gradient_clip_val, accumulate_grad_batches, callbacks = None, 1, ()

    class Clipped(Plain):
        gradient_clip_val = 1.0

    rule = {"l2": 0.0, "table_optimizer": "rowwise_adagrad"}
    check(Plain(), ClickTraining(FM([3, 3]), **rule))
    for trainer, training, told in (
        (Plain(), RankingTraining(MF(3, 3)), "take sharded or ddp"),
        (Plain(), ClickTraining(FM([3, 3])), "rowwise_adagrad .found adam"),
        (Plain(), ClickTraining(WideDeep([3, 3]), wide_optimizer="ftrl", **rule), "wide_optimizer same"),
        (Clipped(), ClickTraining(FM([3, 3]), **rule), "leave gradient_clip_val"),
    ):
        with pytest.raises(ConfigError, match=told):
            check(trainer, training)


def test_a_wheel_that_does_not_pair_with_torch_is_one_line(tmp_path, monkeypatch) -> None:
    (tmp_path / "torchrec.py").write_text("raise OSError('undefined symbol: _ZN5torch')")
    (tmp_path / "torchrec-1.2.dist-info").mkdir()
    (tmp_path / "torchrec-1.2.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: torchrec\nVersion: 1.2\n")
    monkeypatch.delitem(sys.modules, "torchrec", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=f"torchrec 1.2 does not pair with torch {torch.__version__.split('+')[0]}"):
        torchrec_modules()


SOURCE = {"class_path": "SyntheticLog", "init_args": {"num_users": 61, "num_items": 40, "seed": 3}}
CONFIG = {
    "seed_everything": 7,
    "data": {"class_path": "CTRDataModule", "init_args": {
        "source": SOURCE, "label": "rating >= 4", "fields": {"user": "categorical", "item": "categorical"}}},
    "model": {"class_path": "DeepFM", "init_args": {"embedding_dim": 6, "hidden_dims": [4], "dropout": 0.0}},
    "training": {"table_optimizer": "rowwise_adagrad", "l2_on": "batch", "table_lr": 0.05},
    "trainer": {"accelerator": "cpu", "max_epochs": 2, "enable_progress_bar": False, "logger": False},
}  # fmt: skip


def test_two_processes_leave_a_run_that_one_continues(tmp_path, together) -> None:
    pytest.importorskip("torchrec", reason="the extra torchrec is not installed")
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(CONFIG))
    l2 = "--training.l2=0"
    together("fit", "--config", file, "--data.batch_size=64", l2, "--run_dir", "two", cwd=tmp_path, strategy="torchrec")
    main("fit", ["--config", str(file), "--data.batch_size=128", l2, "--run_dir", str(tmp_path / "one")])
    one, two = (json.loads((tmp_path / run / "metrics.json").read_text()) for run in ("one", "two"))
    assert two["test"] == pytest.approx(one["test"], abs=0.03)
    assert len(load(tmp_path / "two").recommend(users=[1, 2], k=5)) == 10
    kept = [read_checkpoint(tmp_path / run / "checkpoints/last.ckpt") for run in ("one", "two")]
    assert kept[0]["state_dict"].keys() == kept[1]["state_dict"].keys()
    assert kept[0]["optimizer_states"][0]["state"].keys() == kept[1]["optimizer_states"][0]["state"].keys()
    alone = ["--trainer.strategy=auto", "--trainer.devices=1", "--run_dir", str(tmp_path / "two")]
    main("fit", ["--config", str(tmp_path / "two/config.yaml"), *alone, "--ckpt_path=last", "--trainer.max_epochs=3"])
    assert json.loads((tmp_path / "two/metrics.json").read_text())["epochs"] == 3
