"""Recommending with models of events: every candidate as a row of its own, with the user's last context and past."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from recgnn import load
from recgnn.cli import main
from recgnn.errors import ConfigError, DataError

CONFIG = """\
seed_everything: 3
data:
  class_path: CTRDataModule
  init_args:
    source: {class_path: TableLog, init_args: {path: log.csv, items: items.csv, timestamp: time}}
    label: rating >= 4
    fields: {user: categorical, item: categorical, place: categorical, genre: {kind: multi, max_values: 2}}
    batch_size: 64
trainer: {accelerator: cpu, max_epochs: 3, enable_progress_bar: false}
"""
MODELS = {
    "FM": ["--model=FM", "--model.embedding_dim=4", "--model.lr=0.05"],
    "DIN": ["--model=DIN", "--model.embedding_dim=4", "--model.hidden_dims=[6]", "--model.attention_dims=[5]",
            "--model.lr=0.05", "--data.history={item_fields: [item, genre], max_length: 3}"],
    "BST": ["--model=BST", "--model.embedding_dim=4", "--model.num_heads=2", "--model.hidden_dims=[6]",
            "--model.lr=0.05", "--data.history={item_fields: [item, genre], max_length: 3}"],
}  # fmt: skip


def log() -> tuple[pd.DataFrame, pd.DataFrame]:
    random = np.random.default_rng(1)
    n = 300
    frame = pd.DataFrame({"user": [f"u{u}" for u in random.integers(12, size=n)], "item": random.integers(9, size=n)})
    frame["rating"] = random.integers(1, 6, n)
    frame["time"] = random.permutation(n) * 60 + 1_000_000
    frame["place"] = random.choice(["home", "work"], n)
    items = pd.DataFrame({"item": range(9), "genre": ["a|b", "b", "c"] * 3, "title": [f"film {i}" for i in range(9)]})
    return frame, items


@pytest.fixture(scope="module", params=list(MODELS))
def run(request, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    frame, items = log()
    frame.to_csv(folder / "log.csv", index=False)
    items.to_csv(folder / "items.csv", index=False)
    (folder / "x.yaml").write_text(CONFIG)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        main("fit", ["--config", "x.yaml", *MODELS[request.param], "--run_dir", "run"])
    for name in ("log.csv", "items.csv", "x.yaml"):
        (folder / name).unlink()  # the run needs nothing but itself
    return folder / "run"


def as_rows(user: str, items: list[int], **context) -> pd.DataFrame:
    """A row for each candidate: the user's last place, and a time at which all the user's past but events of that very
    moment is over."""
    frame, table = log()
    mine = frame[frame["user"] == user].sort_values("time")
    rows = pd.DataFrame({"user": user, "item": items, "place": mine["place"].iloc[-1]})
    rows["genre"] = table.set_index("item")["genre"][items].to_numpy()
    return rows.assign(**context)


def test_every_candidate_is_a_row(run) -> None:
    trained = load(run)
    found = trained.recommend(["u3", "u7"], k=9, exclude_seen=False)
    for user in ("u3", "u7"):
        mine = found[found["user"] == user]
        assert sorted(mine["item"].astype(int)) == list(range(9)) and mine["rank"].tolist() == list(range(1, 10))
        assert mine["score"].is_monotonic_decreasing
        assert mine["title"].tolist() == [f"film {i}" for i in mine["item"]]
        expected = trained.predict(as_rows(user, mine["item"].astype(int).tolist()))["prediction"]
        np.testing.assert_allclose(mine["score"], expected, atol=1e-6)


def test_what_is_seen_is_left_out(run) -> None:
    frame, _ = log()
    trained = load(run)
    everybody = trained.recommend(k=9)
    pairs = set(zip(frame["user"], frame["item"], strict=True))
    assert not pairs & set(zip(everybody["user"], everybody["item"].astype(int), strict=True))
    assert len(everybody) == 12 * 9 - len(pairs)


def test_candidates_and_context(run) -> None:
    trained = load(run)
    found = trained.recommend(["u3"], k=5, exclude_seen=False, candidates=["4", 2], context={"place": "work"})
    assert set(found["item"]) == {"4", "2"}
    rows = as_rows("u3", found["item"].astype(int).tolist(), place="work")
    np.testing.assert_allclose(found["score"], trained.predict(rows)["prediction"], atol=1e-6)
    with pytest.raises(ConfigError, match="context: no field 'plac' .did you mean 'place'"):
        trained.recommend(["u3"], context={"plac": "x"})
    with pytest.raises(DataError, match="item '99' is not in the data"):
        trained.recommend(["u3"], candidates=[99])
    with pytest.raises(DataError, match="user 'u33' is not in the data of this run .did you mean 'u3'"):
        trained.recommend(["u33"])


def test_blocks_of_candidates_are_the_whole(run, monkeypatch) -> None:
    whole = load(run).recommend(k=9)
    monkeypatch.setattr("recgnn.ctr_serving.BLOCK", 5)
    pd.testing.assert_frame_equal(load(run).recommend(k=9), whole, atol=1e-6)


def test_the_command(run, entry, tmp_path) -> None:
    target = tmp_path / "out.csv"
    code, _, err = entry("recommend", "--run", run, "--users", "u3,u7", "--k", "3", "--output", target)
    assert code == 0, err
    expected = load(run).recommend(["u3", "u7"], k=3)
    pd.testing.assert_frame_equal(pd.read_csv(target, dtype={"item": str}), expected, check_dtype=False, atol=1e-6)
    code, out, err = entry("recommend", "--run", run, "--users", "u3", "--candidates", "1,2", "--context", "place=work",
                           "--include_seen")  # fmt: skip
    assert code == 0 and out.count("\n") == 3, err
    code, _, err = entry("recommend", "--run", run, "--users", "u3", "--context", "work")
    assert code == 2 and "expected name=value" in err


def test_a_row_sees_what_came_before_its_time(run) -> None:
    """The run's own test part, from raw rows, as measured at the end of the training."""
    trained = load(run)
    frame, items = log()
    from recgnn.data import RatioSplit

    part = RatioSplit(by="all").split(frame)
    rows = frame.assign(timestamp=frame["time"]).merge(items, on="item")[part == 2]
    found = trained.predict(rows)
    if trained.history is None:
        return
    summary = json.loads((run / "metrics.json").read_text())["dataset"]
    assert summary["history"]["item_fields"] == ["item", "genre"]
    liked = frame[frame["rating"] >= 4]
    past = trained.past(rows)
    words = trained.encoders.encoders["item"].values
    start, first = trained.encoders.dims[0], 0
    for (_, row), length in zip(rows.iterrows(), past.lengths.tolist(), strict=True):
        mine = liked[(liked["user"] == row["user"]) & (liked["time"] < row["time"])].sort_values("time").tail(3)
        ids = past.ids[first : first + length, 0].tolist()
        assert [int(words[i - start - 2]) for i in ids] == mine["item"].tolist()
        gaps = past.gaps[first : first + length].tolist()
        assert gaps == (row["time"] - mine["time"]).astype(float).tolist()
        first += length
    assert first == len(past.ids) > 20 and found["prediction"].nunique() > 10


def test_rows_without_a_time_leave_those_of_the_others(run) -> None:
    trained = load(run)
    if trained.history is None:
        return
    frame, _ = log()
    first = frame[frame["user"] == "u3"]["time"].min()
    rows = pd.DataFrame({"user": ["u3", "u3"], "item": [1, 1], "timestamp": [first, None]})
    assert trained.past(rows).lengths.tolist() == [0, 3]
    assert trained.past(rows.iloc[:1]).lengths.tolist() == [0] and trained.past(rows.iloc[1:]).lengths.tolist() == [3]
    assert trained.past(rows.assign(timestamp=[str(first), ""])).lengths.tolist() == [0, 3]  # as a CSV has it


def test_a_user_who_is_not_known_has_no_past(run) -> None:
    trained = load(run)
    if trained.history is not None:
        past = trained.past(pd.DataFrame({"user": ["nobody", "u3"], "item": [1, 1]}))
        assert past.lengths.tolist() == [0, 3]
