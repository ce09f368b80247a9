"""Tables of other libraries, candidates that nobody knows, ids of any form on the command line, kept repeats."""

from __future__ import annotations

import pandas as pd
import pyarrow as pa
import pytest

from recgnn import load
from recgnn.cli.entry import main
from recgnn.cli.options import OptionParser, add_ids, ids_of
from recgnn.errors import ConfigError, DataError


def test_answers_are_of_the_kind_that_was_given(tiny_run) -> None:
    run, frame = load(tiny_run), pd.DataFrame({"user": [5, 3, 5], "item": [26, 1, 2]})
    table = pa.Table.from_pandas(frame)
    for ask in (run.score, run.predict):
        found = ask(table)
        assert isinstance(found, pa.Table) and found.to_pandas().equals(ask(frame))
    own = run.recommend(candidates=frame, exclude_seen=False)
    pd.testing.assert_frame_equal(run.recommend(candidates=table, exclude_seen=False), own)
    with pytest.raises(DataError, match="the frame is a list"):
        run.score([5, 3])


def test_candidates_that_the_run_does_not_know_are_left_out_and_counted(tiny_run, capsys) -> None:
    run = load(tiny_run)
    frame = pd.DataFrame({"user": [5, 5, 3, 3], "item": [26, 999, 1, 998]})
    found = run.recommend(candidates=frame, exclude_seen=False)
    assert found[["user", "item"]].values.tolist() == [[5, 26], [3, 1]]
    assert "candidates: 2 of 4 rows have items that the run does not know" in capsys.readouterr().err
    with pytest.raises(DataError, match="unknown item"):
        run.recommend(candidates=frame[1:2])


@pytest.mark.parametrize(
    ("argv", "ids"),
    [
        (["--users", "-5,-6"], ["-5", "-6"]), (["--users=-5,-6"], ["-5", "-6"]), (["--users", "-5"], ["-5"]),
        (["--users", "a", "--users", "b, c"], ["a", "b", "c"]), (["--users", '["a,b", " c", 007]'], None),
        (["--users", '["a,b", " c", 7]'], ["a,b", " c", "7"]), (["--users", "[7, 8"], None), (["--users", ","], None),
        (["--users", "[" * 9999], None),
    ],
)  # fmt: skip
def test_ids_of_any_form(argv: list[str], ids: list[str] | None) -> None:
    parser = OptionParser("recommend", "")
    add_ids(parser, "users", "user ids")
    if ids is None:
        with pytest.raises(ConfigError, match="--users"):
            ids_of(parser.read(argv), "users")
    else:
        assert ids_of(parser.read(argv), "users") == ids


def test_a_run_that_keeps_repeats_recommends_what_users_have(tmp_path, capsys) -> None:
    rows = [(u, i, t) for t in range(4) for u in range(20) for i in ((u * 7) % 11, (u * 5 + 1) % 11)]
    frame = pd.DataFrame(rows, columns=["user", "item", "timestamp"])
    frame.to_csv(tmp_path / "log.csv", index=False)
    run = tmp_path / "run"
    main("fit", ["--data=GraphDataModule", "--data.source=TableLog", f"--data.source.path={tmp_path / 'log.csv'}",
                 "--data.split=RatioSplit", "--data.split.order=time", "--data.repeats=keep", "--model=MF",
                 "--model.embedding_dim=4", "--training.ks=[2]", "--trainer.max_epochs=30", "--training.lr=0.1",
                 "--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false", f"--run_dir={run}"])  # fmt: skip
    shown = capsys.readouterr().out
    assert "repeats are kept" in shown and "repeated_recall@2" in shown and "new_recall@2" in shown
    own = load(run).recommend(k=2).groupby("user")["item"].agg(set)
    have = frame.groupby("user")["item"].agg(set)
    assert sum(own[u] == have[u] for u in have.index) > 10  # what they bought again and again
    assert "left out: nothing" in (main("recommend", ["--run", str(run), "--k", "2"]), capsys.readouterr().err)[1]
