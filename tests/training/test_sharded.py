"""`--trainer.strategy sharded`: two processes that have the rows together leave an ordinary run, equal to one's."""

from __future__ import annotations

import json

import pytest
import torch

from recgnn import load
from recgnn.cli.entry import main
from recgnn.errors import ConfigError
from recgnn.models import EASE, MF, XSimGCL
from recgnn.training.costs import costs, halo_rows
from recgnn.training.recommenders import RankingTraining, RatingTraining
from recgnn.training.run_folder import read_checkpoint
from recgnn.training.sharded import ShardedStrategy, check

EPOCHS = ("--trainer.max_epochs=2", "--seed_everything=1", "--trainer.logger=false")


def test_two_processes_leave_the_run_of_one(tiny, tmp_path, together) -> None:
    """Continued by one process, and measured by two."""
    out, other = together(
        "fit", "--config", tiny, *EPOCHS, "--data.batch_size=64", "--run_dir", "two", cwd=tmp_path, strategy="sharded"
    )
    assert "--trainer.strategy ddp sends" in out and not other
    main("fit", ["--config", str(tiny), *EPOCHS, "--data.batch_size=128", "--run_dir", str(tmp_path / "one")])
    one, two = (read_checkpoint(tmp_path / run / "checkpoints/last.ckpt") for run in ("one", "two"))
    assert one["state_dict"].keys() == two["state_dict"].keys()
    for name, value in one["state_dict"].items():  # a step that is not even has one row more on two processes
        torch.testing.assert_close(two["state_dict"][name], value, rtol=0, atol=0.05)
    moments = (checkpoint["optimizer_states"][0]["state"] for checkpoint in (one, two))
    for a, b in zip(*(own.values() for own in moments), strict=True):
        assert {k: x.shape for k, x in a.items()} == {k: x.shape for k, x in b.items()}
    results = [json.loads((tmp_path / run / "metrics.json").read_text()) for run in ("one", "two")]
    assert results[1]["test"] == pytest.approx(results[0]["test"], abs=0.05)
    assert len(load(tmp_path / "two").recommend(users=[1, 2], k=5)) == 10
    alone = ("--trainer.strategy=auto", "--trainer.devices=1")
    more = ["--run_dir", str(tmp_path / "two"), "--ckpt_path", "last", "--trainer.max_epochs=3", *alone]
    main("fit", ["--config", str(tmp_path / "two/config.yaml"), *more])
    assert json.loads((tmp_path / "two/metrics.json").read_text())["epochs"] == 3


def test_costs_are_those_of_what_is_sent() -> None:
    """Four users of two processes: items 0 (process 0) and 1 (process 1)."""
    edges = torch.tensor([[0, 1, 2, 3], [0, 0, 0, 1]])
    assert halo_rows(edges, 4, 2, 2) == 1.0  # item 0 to process 1, and user 1 to process 0, of two processes
    model = MF(num_users=4, num_items=2, embedding_dim=8)
    found = costs(model, edges, 2)
    assert found["ddp"].sent == 4 * 6 * 8 and found["sharded"].sent == 0
    assert found["sharded"].held == found["ddp"].held / 2 == 4 * 4 * 6 * 8 / 2


@pytest.mark.parametrize(
    "training",
    [RankingTraining(EASE(3, 3)), RankingTraining(XSimGCL(3, 3)), RatingTraining(MF(3, 3))],
    ids=["EASE", "XSimGCL", "ratings"],
)
def test_what_cannot_be_divided_is_refused(training) -> None:
    with pytest.raises(ConfigError, match="take --trainer.strategy ddp"):
        check(None, training)


def test_a_norm_of_all_gradients_is_refused() -> None:
    class Clipped:
        gradient_clip_val, gradient_clip_algorithm, callbacks = 1.0, None, ()

    with pytest.raises(ConfigError, match="gradient_clip_algorithm value"):
        check(Clipped(), RankingTraining(MF(3, 3)))
    assert ShardedStrategy().partition is None
