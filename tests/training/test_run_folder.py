"""Checkpoints are read whole and safely, or refused in one line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from recgnn.errors import RunError
from recgnn.training.run_folder import best_checkpoint, existing_run, read_checkpoint


def test_a_flipped_bit_never_gives_other_weights(tmp_path: Path) -> None:
    path, broken = tmp_path / "best.ckpt", tmp_path / "broken.ckpt"
    weight = torch.arange(3000.0)
    torch.save({"state_dict": {"weight": weight}, "epoch": 3}, path)
    content = np.frombuffer(path.read_bytes(), dtype=np.uint8)
    random, refused = np.random.default_rng(0), 0
    for place in random.choice(len(content), 150, replace=False):
        flipped = content.copy()
        flipped[place] ^= 1 << random.integers(8)
        broken.write_bytes(flipped.tobytes())
        try:
            found = read_checkpoint(broken)
        except RunError as error:
            refused += 1
            assert str(error).startswith(f"{broken}: ") and "\n" not in str(error)
        else:  # a bit that means nothing, such as one of the padding
            assert found["epoch"] == 3 and torch.equal(found["state_dict"]["weight"], weight)
    assert refused > 100


class Evil:
    def __reduce__(self) -> tuple:
        return print, ("executed",)


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    torch.save({"state_dict": {}, "evil": Evil()}, tmp_path / "best.ckpt")
    with pytest.raises(RunError, match="nothing was executed"):
        read_checkpoint(tmp_path / "best.ckpt")
    assert "executed" not in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut short", b"text"])
def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "best.ckpt").write_bytes(content)
    with pytest.raises(RunError, match="best.ckpt: is damaged"):
        read_checkpoint(tmp_path / "best.ckpt")


def test_the_last_epoch_stands_for_the_best_only_where_nothing_was_validated(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    (folder / "last.ckpt").touch()
    for content in (None, {"val": {}}, {"val": {"ndcg@10": 0.1}, "refit": {"epochs": 3}}):
        if content is not None:
            (tmp_path / "metrics.json").write_text(json.dumps(content))
        assert best_checkpoint(tmp_path) == folder / "last.ckpt"
    (tmp_path / "metrics.json").write_text(json.dumps({"val": {"ndcg@10": 0.1}}))
    with pytest.raises(RunError, match="best.ckpt: is gone, and the run was measured by it"):
        best_checkpoint(tmp_path)
    (folder / "best.ckpt").touch()
    assert best_checkpoint(tmp_path) == folder / "best.ckpt"


def test_folders_that_go_away_while_runs_are_looked_for(tmp_path, monkeypatch) -> None:
    """As those of processes in /proc."""

    def gone(self: Path, pattern: str) -> Iterator[Path]:
        raise FileNotFoundError(2, "No such file or directory", str(self / "14586"))

    monkeypatch.setattr(Path, "glob", gone)
    with pytest.raises(RunError, match=r"it has no config.yaml; python -m recgnn.fit makes one"):
        existing_run(tmp_path)
