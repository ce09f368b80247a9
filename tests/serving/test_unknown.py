"""The same rows written otherwise have the same predictions; values that a run does not know are counted and told."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from recgnn import load
from recgnn.cli.entry import main
from recgnn.data import CTRDataModule, EventFrame, FrameLog, Histories
from recgnn.serving.unknown import Unknown

START = 1_700_000_000 // 3600 * 3600


def events() -> pd.DataFrame:
    random, n = np.random.default_rng(5), 240
    frame = pd.DataFrame({"user": random.integers(1, 9, n), "item": random.integers(1, 7, n)})
    frame["flag"], frame["member"] = random.integers(0, 2, n), random.random(n) < 0.5
    frame["size"] = random.choice([1.0, 2.5, 3.0], n)
    frame["tags"] = [json.dumps([int(t) for t in random.integers(1, 6, k)]) for k in random.integers(0, 4, n)]
    frame["seconds"] = START + 3600 * random.permutation(2000)[:n]
    return frame.assign(label=random.integers(0, 2, n))


def written(frame: pd.DataFrame, how: str) -> pd.DataFrame:
    """The rows as training had them (milliseconds, JSON), or in another writing of the same values."""
    dates = pd.to_datetime(frame["seconds"], unit="s")
    plain = frame.drop(columns="seconds").assign(timestamp=frame["seconds"] * 1000)
    floats = {"user": plain["user"].astype(float), "item": plain["item"].astype(str) + ".0"}
    lists = frame["tags"].map(json.loads)
    joined = lists.map(lambda values: "| ".join(map(str, values)))
    return {
        "training": plain,
        "csv": plain.astype(str).assign(size=plain["size"].map("{:.2f}".format), tags=joined),
        "floats": plain.assign(**floats, flag=plain["flag"].astype(float)),
        "truths": plain.assign(flag=plain["flag"] == 1, member=plain["member"].map({True: "1", False: "false"})),
        "texts": plain.assign(flag=plain["flag"].map({1: "TRUE", 0: "0.0"}), member=plain["member"].astype(float)),
        "lists": plain.assign(tags=lists, timestamp=dates),
        "iso": plain.assign(tags=lists.map(lambda x: [float(t) for t in x]), timestamp=dates.dt.strftime("%FT%TZ")),
    }[how]  # fmt: skip


@pytest.fixture(scope="module", params=["events", "log"])
def run(request, tmp_path_factory, make_run) -> Path:
    """A run that reads flags, numbers, several values, the hour of a moment, and the user's past."""
    folder, frame = tmp_path_factory.mktemp("unknown"), written(events(), "training")
    fields = dict.fromkeys(("user", "item", "flag", "member", "size"), "categorical")
    fields |= {"tags": "multi", "timestamp": {"kind": "time", "parts": ["hour"]}}
    source = EventFrame(frame) if request.param == "events" else FrameLog(frame)
    data = CTRDataModule(source, fields=fields, history=Histories(["item"], max_length=4), cache_dir=str(folder))
    arguments = {"embedding_dim": 4, "hidden_dims": [4], "attention_dims": [3]}
    return make_run(folder / "run", data, "DIN", arguments, epochs=1, lr=0.05)


@pytest.mark.parametrize("how", ["csv", "floats", "truths", "texts", "lists", "iso"])
def test_values_written_otherwise_are_the_same_values(run, how, recwarn) -> None:
    frame, trained = events(), load(run)
    expected, found = (trained.predict(written(frame, one))["prediction"] for one in ("training", how))
    np.testing.assert_allclose(found, expected, atol=1e-7)
    assert expected.nunique() > 100 and not [w for w in recwarn if "training data" in str(w.message)]
    context = {"flag": "true", "member": "1", "timestamp": "2023-11-20T10:00:00"}
    again = trained.recommend([3], k=3, context=context | {"flag": 1, "member": True})["score"]
    for user in ("3", "3.0", "03", 3.0):
        assert trained.recommend([user], k=3, context=context)["score"].tolist() == again.tolist()


def test_what_is_unknown_is_told_beside_validation(run, entry, tmp_path) -> None:
    frame = written(events(), "training")
    usual = load(run).encoders.usual
    assert set(usual) == {"user", "item", "flag", "member", "size", "tags", "timestamp"} and usual["flag"] == 0
    wrong = frame.assign(member=frame["member"].map({True: "yes", False: "no"}))
    wrong["flag"] = wrong["flag"].where(wrong.index > 5, 7)
    with pytest.warns(UserWarning, match="far more rows than in validation .*: member 100.0% .0.0%.; are"):
        load(run).score(wrong)
    wrong.to_csv(tmp_path / "rows.csv", index=False)
    code, _, err = entry("predict", "--run", run, "--input", tmp_path / "rows.csv", "--output", tmp_path / "x.parquet")
    assert code == 0
    assert "(in validation): flag 2.5% (0.0%), member 100.0% (0.0%)" in err
    assert "warning: far more rows than in validation have values" in err and err.count("\n") <= 4


def test_a_time_that_cannot_be_placed_is_refused(run, entry, tmp_path) -> None:
    frame = written(events(), "training")
    frame.assign(timestamp=events()["seconds"]).to_csv(tmp_path / "rows.csv", index=False)
    code, _, err = entry("predict", "--run", run, "--input", tmp_path / "rows.csv", "--output", tmp_path / "x.parquet")
    assert code == 2 and "row 1, column 'timestamp': " in err and "expected a number (milliseconds), as in the" in err


def test_shares() -> None:
    unknown = Unknown({"a": 0.1, "b": 0.0})
    for _ in range(2):
        unknown.add({"a": 3, "b": 1, "c": 0}, 10)
    assert unknown.line().endswith(": a 30.0% (10.0%), b 10.0% (0.0%)") and unknown.warning() == ""
    unknown.add({"b": 5}, 5)
    assert ": b 28.0% (0.0%); are" in unknown.warning()
    assert Unknown({}).line() == Unknown({}).warning() == ""


def test_values_beyond_those_that_a_field_takes_are_counted(run, here, capsys) -> None:
    """Three tags at most in train; two rows have more."""
    rows = written(events().head(4), "training").assign(tags=["[1, 2, 3, 4]", "[1, 2]", "[5, 4, 3, 2, 1]", "[]"])
    rows.to_csv("rows.csv", index=False)
    found = main("predict", ["--run", str(run), "--input", "rows.csv"])
    assert "more values than the field takes, of which the first count: tags 2\n" in capsys.readouterr().err
    rows.assign(tags=["[1, 2, 3]", "[1, 2]", "[5, 4, 3]", "[]"]).to_csv("rows.csv", index=False)
    again = main("predict", ["--run", str(run), "--input", "rows.csv"])
    assert "more values" not in capsys.readouterr().err
    np.testing.assert_allclose(again["prediction"], found["prediction"])
