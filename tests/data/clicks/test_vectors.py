"""Vectors that are given: files and runs of them, and what they must not know."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from recgnn import load
from recgnn.cli.entry import main
from recgnn.data import CTRDataModule, EventFrame, GivenSplit
from recgnn.data.clicks.fields import Field
from recgnn.data.clicks.vectors import IdVectors, read_vectors, told_vectors
from recgnn.errors import ConfigError, DataError, RecGNNError

PLAIN = np.array([[1.0, 2.0], [3.0, -4.0], [5.0, 8.0]])


def scaled(x: np.ndarray) -> np.ndarray:
    return (x - x.mean(0)) / (x - x.mean(0)).std()


def events(n: int = 60) -> pd.DataFrame:
    """Users 0 to 9 and items 1 to 4, the last of which has no vector; the first two thirds are train."""
    user, item = np.arange(n) % 10, 1 + np.arange(n) // 7 % 4
    parts = np.repeat(["train", "val", "test"], [n * 2 // 3, n // 6, n - n * 2 // 3 - n // 6])
    return pd.DataFrame({"user": user, "item": item, "label": (user + item) % 2, "split": parts})


def test_files_of_each_kind_say_the_same(tmp_path: Path) -> None:
    ids = [1, 2, 3]
    np.savez(tmp_path / "a.npz", ids=ids, vectors=PLAIN)
    pd.DataFrame({"item": ids, "vector": list(PLAIN), "row": ids}).to_parquet(tmp_path / "b.parquet")
    pd.DataFrame({"id": ids, "x": PLAIN[:, 0], "y": PLAIN[:, 1]}).to_parquet(tmp_path / "c.parquet")
    for name in ("a.npz", "b.parquet", "c.parquet"):
        found = read_vectors("item", Field("vector", vectors=str(tmp_path / name)), None)
        assert found.ids.tolist() == ids and np.allclose(found.vectors, scaled(PLAIN))


@pytest.mark.parametrize(("columns", "told"), [
    ({"item": [1, 1], "x": [1.0, 2.0]}, "row 2: the id 1 has a vector already"),
    ({"item": [1, 2], "x": [1.0, np.nan]}, "row 2: its vector has a number that is not finite"),
    ({"thing": [1, 2], "x": [1.0, 2.0]}, "has no column 'item' or 'id'; its columns are thing, x"),
    ({"item": [1, 2], "x": ["a", "b"]}, "expected a column 'vector' of lists, or columns of numbers beside 'item'"),
    ({"item": [1, 2], "vector": [[1.0], [2.0, 3.0]]}, "its vectors are not all of one length"),
])  # fmt: skip
def test_files_that_cannot_be_are_refused(columns, told: str, tmp_path: Path) -> None:
    pd.DataFrame(columns).to_parquet(tmp_path / "v.parquet")
    fields = {"item": {"kind": "vector", "vectors": str(tmp_path / "v.parquet")}}
    with pytest.raises(RecGNNError, match=told):
        _ = CTRDataModule(EventFrame(events()), fields=fields, split=GivenSplit()).prepared


@pytest.mark.parametrize("given", [{"kind": "vector"}, {"kind": "multi", "vectors": "x.npz"},
                                   {"kind": "categorical", "vectors": "nowhere"}])  # fmt: skip
def test_declarations_that_cannot_be_are_refused(given: dict) -> None:
    with pytest.raises(ConfigError, match="fields: item: vectors"):
        _ = CTRDataModule(EventFrame(events()), fields={"item": given}, split=GivenSplit()).prepared


@pytest.mark.parametrize("missing", ["learnt", "zero"])
def test_ids_have_their_own_vectors_and_others_share_one(missing: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "v.npz", ids=["3", "1", "2"], vectors=PLAIN)  # as text, and in another order
    field = {"kind": "categorical", "vectors": str(tmp_path / "v.npz"), "missing": missing}
    data = CTRDataModule(EventFrame(events()), fields={"item": field, "user": "categorical"}, split=GivenSplit())
    prepared = data.prepared
    assert prepared.encoders.names == ["item", "item.vectors", "user"]
    assert any("1 values of train have none (17.5% of its events)" in n for n in prepared.summary["notes"])
    ((start, vectors, trained),) = prepared.vectors()
    assert not trained
    expected = {3: scaled(PLAIN)[0], 1: scaled(PLAIN)[1], 2: scaled(PLAIN)[2]}
    items = events()["item"][: len(prepared.train)]
    for item, row in zip(items, prepared.train.ids[:, 1] - start, strict=True):
        if item in expected:
            assert np.allclose(vectors[row], expected[item])
        else:
            assert row < 0 if missing == "learnt" else not vectors[row].any()


def test_a_run_that_was_trained_on_what_is_tested_is_refused(tmp_path: Path) -> None:
    """The vectors of a run are its representations, by id."""
    frame = events().drop_duplicates(["user", "item"])
    frame.to_csv(tmp_path / "log.csv", index=False)
    common = [f"--data.source.path={tmp_path / 'log.csv'}", "--trainer.accelerator=cpu", "--trainer.max_epochs=1",
              "--trainer.enable_progress_bar=false", "--trainer.logger=false", "--model.embedding_dim=3"]  # fmt: skip
    for split, run in (("GivenSplit", "same"), ("RatioSplit", "other")):
        main("fit", ["--data=GraphDataModule", "--data.source=TableLog", "--model=MF", f"--data.split={split}",
                     "--training.ks=[2]", "--data.positive=all", f"--run_dir={tmp_path / run}", *common])  # fmt: skip

    def options(run: str) -> list[str]:
        fields = f"{{item: {{kind: categorical, vectors: {tmp_path / run}}}, user: categorical}}"
        return ["--data=CTRDataModule", "--data.source=EventTable", "--model=FM", f"--data.fields={fields}",
                f"--run_dir={tmp_path / 'clicks'}", "--data.split=GivenSplit", *common]  # fmt: skip

    with pytest.raises(DataError, match=r"item.vectors: the run was trained on \d+ of the \d+ pairs of user and item"):
        main("fit", options("other"))
    model = main("fit", options("same")).model.model
    items = load(tmp_path / "same").embeddings()[1]
    assert torch.allclose(model.given[0].vectors, torch.tensor(scaled(items.to_numpy())).float(), atol=1e-5)
    main("test", ["--run", str(tmp_path / "clicks")])
    ids = load(tmp_path / "clicks").encoders.encoders["item.vectors"].values
    assert [*ids] == [str(item) for item in items.index]


def test_vectors_that_may_know_the_labels_are_told() -> None:
    of_liked = IdVectors(pd.Series([1, 2, 3]), PLAIN, rule="rating >= 4")
    (line,) = told_vectors({}, {"item.vectors": of_liked})
    assert line.startswith("item.vectors: its run was trained on rows with rating >= 4 alone")
    assert told_vectors({}, {"item.vectors": of_liked._replace(rule=None)}) == []
