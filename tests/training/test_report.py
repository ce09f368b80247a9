"""What a run shows at its end."""

from __future__ import annotations

from recgnn.training.report import curves


def test_a_model_without_a_loss_has_no_learning_curves() -> None:
    solved = [{"epoch": 0, "train/loss": float("nan"), "val/ndcg@10": 0.2}]
    assert curves([], "val/ndcg@10", 0) == {} == curves(solved, "val/ndcg@10", 0)
    trained = [solved[0] | {"train/loss": 0.5}]
    assert list(curves(trained, "val/ndcg@10", 0)) == ["learning_curves"]
