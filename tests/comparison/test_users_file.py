"""users.parquet, which a run leaves: each user once, right against loops and against the run's own metrics."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import log_loss, roc_auc_score

from recgnn import load
from recgnn.cli.entry import main
from recgnn.data.interactions.prepared import PreparedLog
from recgnn.evaluation.metrics.clicks import by_group, calibration_bins
from recgnn.evaluation.metrics.grouped import UserRankings
from recgnn.evaluation.metrics.names import PER_USER
from recgnn.evaluation.reports.clicks import raw_groups


def metrics_of(run: Path) -> dict:
    return json.loads((run / "metrics.json").read_text())


def test_rankings_of_each_user_by_a_loop(trained) -> None:
    run = trained / "mf/1"
    frame, prepared = pd.read_parquet(run / "users.parquet"), PreparedLog.load(run / "vocabulary")
    liked: dict[int, set[int]] = {}
    for user, item in zip(prepared.test.user, prepared.test.item, strict=True):
        liked.setdefault(int(prepared.users.decode([user])[0]), set()).add(int(prepared.items.decode([item])[0]))
    assert frame["user"].tolist() == sorted(liked)
    known = {pair for part in (prepared.train, prepared.val) for pair in zip(part.user, part.item, strict=True)}
    shown = load(run).recommend(k=40, exclude_seen=False)
    rows = zip(prepared.users.encode(shown["user"]), prepared.items.encode(shown["item"]), strict=True)
    shown = shown[[pair not in known for pair in rows]]
    for _, row in frame.iterrows():
        user = int(row["user"])
        right = liked[user]
        hits = [int(item in right) for item in shown.loc[shown["user"] == user, "item"][:10]]
        best = sum(1 / math.log2(rank + 2) for rank in range(min(10, len(right))))
        gain = sum(hit / math.log2(rank + 2) for rank, hit in enumerate(hits))
        assert row["recall@10"] == pytest.approx(sum(hits) / len(right), abs=1e-6)
        assert row["ndcg@10"] == pytest.approx(gain / best, abs=1e-6)
        assert row["hitrate@5"] == any(hits[:5])


def test_their_means_are_the_runs_metrics(trained) -> None:
    for run in (trained / "mf/1", trained / "lightgcn/2"):
        frame, told = pd.read_parquet(run / "users.parquet"), metrics_of(run)["test"]
        columns = frame.drop(columns="user")
        assert columns.shape[1] == 12  # six metrics at two lengths
        for name, values in columns.items():
            assert values.mean() == pytest.approx(told[name], abs=1e-6), name


def test_clicks_of_each_user_by_scikit_learn(trained) -> None:
    """The predictions are those of `predict`, on the rows of the test part, which the labels and users tell."""
    run = trained / "fm/1"
    frame = pd.read_parquet(run / "users.parquet").set_index("user")
    told = metrics_of(run)["test"]
    assert set(frame.index) <= {f"u{n:02d}" for n in range(30)} and frame.index.is_unique
    known = frame["auc"].notna()
    gauc = np.average(frame.loc[known, "auc"], weights=frame.loc[known, "rows"])
    assert gauc == pytest.approx(told["gauc"], abs=1e-6)
    assert np.average(frame["logloss"], weights=frame["rows"]) == pytest.approx(told["logloss"], abs=1e-6)
    assert frame["rows"].sum() == metrics_of(run)["dataset"]["test"]


def test_by_group_is_scikit_learns() -> None:
    random = np.random.default_rng(0)
    logits, groups = random.normal(size=400).round(1), random.integers(0, 30, 400) * 1000
    labels = (random.random(400) < 1 / (1 + np.exp(-logits))).astype(float)
    labels[groups == 3000] = 1
    found = by_group(torch.tensor(logits), torch.tensor(labels), torch.tensor(groups))
    assert found["group"].tolist() == sorted(set(groups))
    for place, group in enumerate(found["group"].tolist()):
        own = groups == group
        chances = 1 / (1 + np.exp(-logits[own]))
        assert found["rows"][place] == own.sum()
        assert found["logloss"][place] == pytest.approx(log_loss(labels[own], chances, labels=[0, 1]))
        if group == 3000:
            assert found["auc"][place].isnan()
        elif 0 < labels[own].mean() < 1:
            assert found["auc"][place] == pytest.approx(roc_auc_score(labels[own], logits[own]))


def test_users_without_a_relevant_item_and_empty_blocks_change_nothing() -> None:
    users, none = UserRankings(5, [1, 2], [m() for m in PER_USER.values()]), torch.zeros(0, dtype=torch.long)
    users.update(none, none.new_zeros(0, 2), none, none)
    users.update(torch.tensor([7, 3]), torch.tensor([[4, 1], [0, 1]]), torch.tensor([0, 0]), torch.tensor([1, 2]))
    users.update(torch.tensor([5]), torch.tensor([[3, 1]]), torch.tensor([0]), torch.tensor([3]))
    found, values = users.compute()
    assert found.tolist() == [7, 5]
    assert values["recall@1"].tolist() == [0, 1] and values["recall@2"].tolist() == [0.5, 1]
    assert values["mrr@2"].tolist() == [0.5, 1] and values["precision@2"].tolist() == [0.5, 0.5]


def test_calibration_in_bins_by_hand() -> None:
    """Six events in three bins of two."""
    logits = torch.logit(torch.tensor([0.9, 0.1, 0.5, 0.2, 0.6, 0.8], dtype=torch.float64))
    bins = calibration_bins(logits, torch.tensor([1.0, 0, 1, 0, 0, 1]), bins=3)
    assert bins["predicted"].tolist() == pytest.approx([0.15, 0.55, 0.85])
    assert bins["observed"].tolist() == [0, 0.5, 1] and bins["rows"].tolist() == [2, 2, 2]
    assert bins["lowest"].tolist() == pytest.approx([0.1, 0.5, 0.8])
    assert bins["highest"].tolist() == pytest.approx([0.2, 0.6, 0.9])
    assert len(calibration_bins(logits, torch.ones(6), bins=20)["rows"]) == 6


def test_calibration_of_a_run(trained) -> None:
    content = metrics_of(trained / "lr/1")
    bins = content["groups"]["calibration"]
    assert sum(b["rows"] for b in bins) == content["dataset"]["test"] and len(bins) == 20
    predicted, observed = (sum(b[k] * b["rows"] for b in bins) for k in ("predicted", "observed"))
    assert predicted / observed == pytest.approx(content["test"]["calibration"], abs=1e-5)
    assert [b["predicted"] for b in bins] == sorted(b["predicted"] for b in bins)


def test_ratings_of_each_user(tmp_path) -> None:
    """The errors are those of `predict` on the raw test rows."""
    run = tmp_path / "run"
    random = np.random.default_rng(2)
    pairs = random.choice(40 * 25, 500, replace=False)
    table = {"user": [f"p{n}" for n in pairs // 25], "item": pairs % 25, "rating": random.integers(1, 6, 500)}
    pd.DataFrame(table).to_csv(tmp_path / "log.csv", index=False)
    source = f"{{class_path: TableLog, init_args: {{path: {tmp_path}/log.csv, rating: rating}}}}"
    main("fit", ["--data=GraphDataModule", f"--data.source={source}", "--model=MF", "--training=RatingTraining",
                 "--trainer.max_epochs=2", "--trainer.logger=false", "--trainer.accelerator=cpu",
                 "--trainer.enable_progress_bar=false", "--run_dir", str(run)])  # fmt: skip
    frame, prepared = pd.read_parquet(run / "users.parquet").set_index("user"), PreparedLog.load(run / "vocabulary")
    rows = pd.DataFrame({"user": prepared.users.decode(prepared.test.user), "item": prepared.test.item})
    rows["item"] = prepared.items.decode(prepared.test.item)
    error = load(run).score(rows)["score"].to_numpy() - prepared.test.rating
    if "test" in prepared.cold and len(cold := prepared.cold["test"]):
        known = cold.user >= 0
        more = pd.DataFrame({"user": prepared.users.decode(cold.user[known])})
        error = np.r_[error, prepared.train.rating.mean() - cold.rating[known]]
        rows = pd.concat([rows, more])
    expected = pd.DataFrame({"user": rows["user"].to_numpy(), "e": error}).groupby("user")["e"]
    assert frame.index.tolist() == sorted(expected.groups)
    assert frame["mse"].to_numpy() == pytest.approx(expected.apply(lambda e: (e**2).mean()).to_numpy(), abs=1e-5)
    assert frame["mae"].to_numpy() == pytest.approx(expected.apply(lambda e: e.abs().mean()).to_numpy(), abs=1e-5)
    assert frame["rows"].to_numpy().tolist() == expected.size().tolist()


def test_groups_that_nothing_names_keep_their_numbers(trained) -> None:
    from recgnn.data.clicks.prepared import PreparedEvents

    prepared = PreparedEvents.load(trained / "lr/1/vocabulary")
    known, unknown = int(prepared.test.groups[0]), 12345
    names = raw_groups(prepared, np.array([known, unknown]))
    assert names[0].startswith("u") and names[1] == "12345"
