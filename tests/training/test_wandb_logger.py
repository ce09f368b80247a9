"""W&B with no account and no network: modes, files, silence. A fake home keeps a real key away."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pandas as pd
import pytest
from lightning.pytorch import Trainer
from lightning.pytorch.demos.boring_classes import BoringModel
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from recgnn.errors import ConfigError, RunError
from recgnn.evaluation import figures
from recgnn.training.wandb_logger import WandbLogger

wandb = pytest.importorskip("wandb", reason="W&B is an extra")
KEY = "x" * 40


@pytest.fixture(autouse=True)
def nowhere(tmp_path, monkeypatch):
    """A home, a working folder and an environment without any trace of W&B; no prompt possible."""
    wandb.teardown()  # it remembers the settings that it has read first
    for name in [name for name in os.environ if name.startswith("WANDB")]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("NETRC", raising=False)
    home = tmp_path / "home"
    (home / "work").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(home / "work")

    def prompt(*args, **kwargs):
        raise AssertionError("a prompt")

    monkeypatch.setattr("builtins.input", prompt)
    monkeypatch.setattr("getpass.getpass", prompt)
    return home


def mode_of(**kwargs) -> str:
    wandb.teardown()  # W&B keeps the settings that a process has read first
    return WandbLogger(**kwargs).mode


def test_no_key_is_offline():
    assert mode_of() == "offline"


def test_a_key_in_the_environment_is_online(nowhere, monkeypatch):
    for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE"):
        with monkeypatch.context() as patch:
            patch.setenv(name, KEY)
            assert mode_of() == mode_of(mode="online") == "online"
            assert mode_of(mode="offline") == "offline"
    monkeypatch.setenv("WANDB_API_KEY", "short")
    with pytest.raises(ConfigError, match="^W&B: WANDB_API_KEY invalid: API key must have 40"):
        mode_of()


def test_a_key_in_a_file_is_online(nowhere, monkeypatch):
    file = nowhere / ".netrc"
    file.write_text(f"machine elsewhere.example login user password {KEY}\n")
    file.chmod(0o600)
    assert mode_of() == "offline"
    monkeypatch.setenv("WANDB_BASE_URL", "https://elsewhere.example")
    assert mode_of() == "online"
    monkeypatch.delenv("WANDB_BASE_URL")
    file.write_text(f"machine api.wandb.ai login user password {KEY}\n")
    assert mode_of() == "online"
    monkeypatch.setenv("NETRC", str(nowhere / "missing"))
    assert mode_of() == "offline"


def test_settings_files(nowhere):
    system = nowhere / ".config" / "wandb" / "settings"
    system.parent.mkdir(parents=True)
    system.write_text(f"[default]\napi_key = {KEY}\n")
    assert mode_of() == "online"
    local = nowhere / "work" / "wandb" / "settings"
    local.parent.mkdir()
    local.write_text("[default]\nmode = offline\n")  # `wandb offline`
    assert mode_of() == "offline"
    assert mode_of(mode="online") == "online"


def test_nobody_is_asked(nowhere, monkeypatch):
    """No connection is opened to find out, and no process of W&B started."""

    def never(*args, **kwargs):
        raise AssertionError("asked")

    monkeypatch.setattr("socket.socket.connect", never)
    monkeypatch.setattr("subprocess.Popen", never)
    assert mode_of() == "offline"
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    assert mode_of() == "online"


def test_the_environment_decides_auto_only(monkeypatch):
    for value, mode in [("disabled", "disabled"), ("offline", "offline"), ("dryrun", "offline")]:
        monkeypatch.setenv("WANDB_MODE", value)
        assert mode_of() == mode
        assert mode_of(mode="offline") == "offline"


@pytest.mark.parametrize("value", ["", "auto"])
def test_a_mode_that_says_nothing(value, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", value)
    assert mode_of() == "offline"
    monkeypatch.setenv("WANDB_MODE", value)
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    assert mode_of() == "online"


def test_an_environment_that_wandb_refuses_is_one_line(monkeypatch):
    monkeypatch.setenv("WANDB_QUIET", "perhaps")
    with pytest.raises(ConfigError, match=r"^W&B's settings .*quiet") as caught:
        mode_of()
    assert "\n" not in str(caught.value)


def test_clear_errors(monkeypatch, tmp_path):
    with pytest.raises(ConfigError, match="online needs .* no API key.*wandb login"):
        mode_of(mode="online")
    with pytest.raises(ConfigError, match="'ofline', expected one of online, offline, disabled"):
        WandbLogger(mode="ofline")
    monkeypatch.setenv("WANDB_MODE", "silent")
    with pytest.raises(ConfigError, match="WANDB_MODE: found 'silent'"):
        WandbLogger()
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="file/sub: cannot be made"):
        _ = WandbLogger(save_dir=str(tmp_path / "file" / "sub"), mode="offline").experiment
    monkeypatch.setattr("lightning.pytorch.loggers.wandb._WANDB_AVAILABLE", False)
    with pytest.raises(ConfigError, match="pip install wandb"):
        WandbLogger(mode="offline")


def test_an_offline_run(tmp_path, capfd, monkeypatch, recwarn):
    monkeypatch.setenv("WANDB_SILENT", "false")
    monkeypatch.delitem(sys.modules, "mcp", raising=False)  # of other tests; W&B has an advertisement for its users
    save_dir = tmp_path / "runs" / "a run"
    logger = WandbLogger(name="one", tags=["t"], group="g", save_dir=str(save_dir))
    assert logger.sync_command is None and not save_dir.exists()  # nothing before it is needed
    logger.define_metrics({"val/ndcg@20": "max", "val/rmse": "min"})
    logger.log_hyperparams({"model": {"embedding_dim": 64}})
    for step, value in enumerate([0.1, 0.3, 0.2]):
        logger.log_metrics({"val/ndcg@20": value, "val/rmse": 1 - value, "train/loss": value}, step)
    logger.log_figure("figures/groups", figures.group_bars([0.5], [3], ["1"], "x", "t"))
    logger.log_table("recommendations", pd.DataFrame({"user": ["a", "b"], "item": [1, 2]}))
    logger.log_table("other", columns=["a"], data=[[1], [2]])
    run = logger.experiment
    assert (run.project, run.name, run.group, run.tags) == ("recgnn", "one", "g", ("t",))
    assert run.config["model"] == {"embedding_dim": 64}
    assert run.summary["val/ndcg@20"]["max"] == 0.3
    assert run.summary["val/rmse"]["min"] == 0.7
    assert run.summary["train/loss"] == 0.2
    logger.finish()
    assert "WANDB_MODE" not in os.environ  # nothing leaks to the next run

    [folder] = (save_dir / "wandb").glob("offline-run-*")
    assert logger.sync_command == f"wandb sync '{folder}'"
    assert list(folder.glob("run-*.wandb"))[0].stat().st_size > 0
    assert len(list(folder.glob("files/media/images/figures/groups*.png"))) == 1
    assert len(list(folder.glob("files/media/table/*.json"))) == 2
    assert capfd.readouterr() == ("", "")
    assert not [w for w in recwarn if "anonymous" in str(w.message) or "wandb" in str(w.message)]


def test_what_was_not_given_comes_from_the_run_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_PROJECT", "theirs")
    logger = WandbLogger(name="given", tags=["own"])
    logger.belong_to(tmp_path / "run", "made", "group", "fit", ["a"], resume=True)  # nothing to resume yet
    run = logger.experiment
    assert (run.name, run.tags, run.group, run.job_type) == ("given", ("own",), "group", "fit")
    assert run.project == "theirs" and logger.save_dir == str(tmp_path / "run")
    logger.log_hyperparams({"_instantiator": "x", "lr": 0.1})
    assert dict(run.config) == {"lr": 0.1}
    logger.finish()
    for resume in (True, False):
        again = WandbLogger()
        again.belong_to(tmp_path / "run", "made", "group", "fit", [], resume)
        assert (again.version == run.id) == resume


def test_two_fits_in_one_process_are_two_runs(tmp_path):
    names = []
    for name in ("first", "second"):
        logger = WandbLogger(name=name, save_dir=str(tmp_path))
        trainer = Trainer(
            accelerator="cpu",
            max_epochs=1,
            limit_train_batches=1,
            limit_val_batches=0,
            logger=logger,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=tmp_path,
        )
        trainer.fit(BoringModel())
        names.append(logger.experiment.name)
        logger.finish()
    assert names == ["first", "second"]
    assert len(list((tmp_path / "wandb").glob("offline-run-*"))) == 2


def test_other_ranks_do_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    logger = WandbLogger(save_dir=str(tmp_path / "runs"))
    logger.define_metrics({"val/auc": "max"})
    logger.log_metrics({"val/auc": 1.0}, 0)
    logger.log_figure("f", None)
    logger.log_table("t", pd.DataFrame({"a": [1]}))
    logger.log_summary({"a": 1})
    logger.log_checkpoint("m", tmp_path, [], ["best"], {})
    logger.experiment.log({"a": 1})
    logger.finish()
    assert logger.sync_command is None
    assert not (tmp_path / "runs").exists()


def test_disabled_writes_nothing_and_does_not_even_import_wandb(nowhere, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setitem(sys.modules, "wandb", None)  # an import would fail
    logger = WandbLogger(save_dir="runs")
    assert logger.mode == "disabled"
    logger.define_metrics({"val/auc": "max"})
    logger.log_hyperparams({"a": 1})
    logger.log_metrics({"val/auc": 1.0}, 0)
    logger.log_figure("f", None)
    logger.log_table("t", pd.DataFrame({"a": [1]}))
    logger.log_summary({"x": 1})
    logger.log_checkpoint("m", Path("nowhere"), [Path("no")], ["best"], {})
    logger.experiment.summary["x"] = 1
    logger.experiment.config.update({"a": 2})
    logger.finalize("success")
    logger.finish()
    assert logger.sync_command is None and logger.version is None
    assert not [path for path in nowhere.rglob("*") if "wandb" in path.name or path.name == "runs"]
