"""The recipe for Criteo on the first 10,000 rows of its file, and its model on raw rows, by the commands."""

from __future__ import annotations

import math
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from recgnn import load
from recgnn.cli.entry import main
from recgnn.data import Criteo

DATA = Path(os.environ.get("RECGNN_DATA", "")) / "criteo-10k"
RECIPE = Path(__file__).parents[3] / "conf/recipes/deepfm_criteo_x4.yaml"
SMALL = [
    *("--model.embedding_dim=4", "--model.hidden_dims=[16]", "--model.init_std=0.1", "--data.batch_size=500"),
    *("--trainer.max_epochs=1", "--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false"),
]
COUNTS = [f"I{n}" for n in range(1, 14)]
FIELDS = [*COUNTS, *(f"C{n}" for n in range(1, 27))]
UNKNOWN, MISSING, KNOWN = 0, 1, 2

pytestmark = pytest.mark.skipif(
    not os.environ.get("RECGNN_DATA") or not DATA.is_dir(), reason="RECGNN_DATA names no folder with criteo-10k"
)


def category(name: str, value: object) -> str | None:
    """A value's category as BARS has it, of one value: floor(ln(x)^2) of a count above 2."""
    if pd.isna(value):
        return None
    if name not in COUNTS:
        return str(value)
    x = float(value)
    return str(math.floor(math.log(x) ** 2) if x > 2 else int(x))


class Naive:
    """The encoding by hand: categories that stand ten times in train, the most frequent first."""

    def __init__(self, train: pd.DataFrame) -> None:
        self.rows, self.start, total = {}, {}, 0
        for name in FIELDS:
            counts = Counter(c for c in (category(name, v) for v in train[name].tolist()) if c is not None)
            kept = sorted((c for c in counts if counts[c] >= 10), key=lambda c: (-counts[c], c))
            self.rows[name] = {c: row for row, c in enumerate(kept, KNOWN)}
            self.start[name] = total
            total += KNOWN + len(kept)
        self.num_rows = total

    def ids(self, frame: pd.DataFrame) -> np.ndarray:
        found = np.zeros((len(frame), len(FIELDS)), dtype=np.int32)
        for place, name in enumerate(FIELDS):
            values = frame[name].tolist() if name in frame else [None] * len(frame)
            for row, value in enumerate(values):
                text = category(name, value)
                own = MISSING if text is None else self.rows[name].get(text, UNKNOWN)
                found[row, place] = self.start[name] + own
        return found


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> tuple[Path, Naive, pd.DataFrame]:
    """A folder with Kaggle's train.txt and a run on it, the encoding by hand, and the rows."""
    folder = tmp_path_factory.mktemp("criteo")
    frame = Criteo(DATA).events()
    lines = frame.astype(dict.fromkeys(COUNTS, "Int64"))
    lines.to_csv(folder / "train.txt", sep="\t", header=False, index=False)
    options = [*SMALL, "--data.source.root", str(folder / "train.txt"), "--run_dir", str(folder / "run")]
    cli = main("fit", ["--config", str(RECIPE), *options])
    part = cli.datamodule.split.split(frame)
    return folder, Naive(frame[part == 0]), frame.assign(part=part)


def chances(done, frame: pd.DataFrame) -> np.ndarray:
    """The trained model on the encoding by hand."""
    folder, naive, _ = done
    model = load(folder / "run").model.eval()
    with torch.no_grad():
        return torch.sigmoid(model(torch.from_numpy(naive.ids(frame)))).numpy()


@pytest.fixture
def predict(done, entry, tmp_path):
    """Raw rows to `python -m recgnn.predict` by way of a file: its table, and what it says."""

    def call(frame: pd.DataFrame, suffix: str) -> tuple[pd.DataFrame, str]:
        source, target = tmp_path / f"rows{suffix}", tmp_path / "out.parquet"
        if suffix == ".parquet":
            frame.to_parquet(source)
        else:
            frame.to_csv(source, index=False, sep="\t" if suffix == ".tsv" else ",")
        code, _, err = entry("predict", "--run", done[0] / "run", "--input", source, "--output", target)
        assert code == 0, err
        return pd.read_parquet(target), err

    return call


def raw(frame: pd.DataFrame) -> pd.DataFrame:
    """As they stand in the file: integers with gaps, text with gaps."""
    return frame[["label", *FIELDS]].astype(dict.fromkeys(COUNTS, "Int32")).reset_index(drop=True)


def test_text_and_parquet_are_the_same(done) -> None:
    folder, _, frame = done
    pd.testing.assert_frame_equal(Criteo(folder).events(), frame.drop(columns="part"))
    assert len(frame) == 10_000 and frame["label"].sum() == 2182  # as the challenge's first rows


def test_the_encoding_is_that_by_hand(done) -> None:
    folder, naive, frame = done
    trained = load(folder / "run")
    assert trained.encoders.names == FIELDS and trained.model.num_rows == naive.num_rows
    ids, values = trained.encoders.encode(frame[:500])
    assert values is None and ids.tolist() == naive.ids(frame[:500]).tolist()
    rows = naive.ids(frame[:500]) - np.array(list(naive.start.values()))
    assert all((rows == kind).any() for kind in (UNKNOWN, MISSING, KNOWN))


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet"])
def test_raw_rows_with_gaps(done, predict, suffix) -> None:
    rows = raw(done[2][:60])
    assert rows.isna().to_numpy().mean() > 0.1
    found, err = predict(rows, suffix)
    assert list(found.columns) == ["label", *FIELDS, "prediction"] and "not there" not in err
    np.testing.assert_allclose(found["prediction"], chances(done, rows), atol=1e-6)
    assert found["prediction"].nunique() > 50
    assert (found["C1"] == rows["C1"]).all()


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_nothing_at_all(done, predict, suffix) -> None:
    """A row without a value has the feature `missing` in every field, however the table says so."""
    rows = raw(done[2][:3])
    rows.loc[1, FIELDS] = pd.NA
    found, _ = predict(rows, suffix)
    np.testing.assert_allclose(found["prediction"], chances(done, rows), atol=1e-6)
    words = rows.astype(object).where(rows.notna(), None)
    words.loc[1, FIELDS] = [("", "NA", "null", "NaN")[n % 4] if n < 13 else "" for n in range(39)]
    again, _ = predict(words.astype("str") if suffix == ".parquet" else words, suffix)
    np.testing.assert_allclose(again["prediction"][1], found["prediction"][1], atol=1e-6)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_values_that_train_lacks(done, predict, suffix) -> None:
    """New hashes, a rare one and a count beyond all others are unknown, which is neither missing nor known."""
    _, naive, frame = done
    row = raw(frame[:1])
    rare = next(c for c, n in Counter(frame["C3"][frame["part"] == 0].dropna()).items() if n < 10)
    new, rarely, huge, none = (row.copy() for _ in range(4))
    new["C1"], rarely["C3"], huge["I1"], none["C1"] = "no hash", rare, 2_000_000_000, None
    rows = pd.concat([row, new, rarely, huge, none], ignore_index=True)
    own = naive.ids(rows) - np.array(list(naive.start.values()))
    assert [own[r, FIELDS.index(c)] for r, c in ((1, "C1"), (2, "C3"), (3, "I1"), (4, "C1"))] == [0, 0, 0, 1]
    assert own[0, FIELDS.index("C1")] >= KNOWN
    found, _ = predict(rows, suffix)
    np.testing.assert_allclose(found["prediction"], chances(done, rows), atol=1e-6)
    assert found["prediction"][[0, 1, 3, 4]].nunique() == 4


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_columns_too_few_and_too_many(done, predict, suffix) -> None:
    rows = raw(done[2][:20])
    less = rows.drop(columns=["label", "C3", "I7"]).assign(note=[f"00{n}" for n in range(20)])[::-1]
    found, err = predict(less, suffix)
    assert "missing columns, taken as having no value: I7, C3" in err
    assert list(found.columns) == [*less.columns, "prediction"] and found["note"].tolist() == less["note"].tolist()
    expected = chances(done, less)
    np.testing.assert_allclose(found["prediction"], expected, atol=1e-6)
    assert np.abs(expected - chances(done, rows)[::-1]).max() > 1e-3  # the columns do count


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_no_rows(done, predict, suffix) -> None:
    found, _ = predict(raw(done[2][:0]), suffix)
    assert len(found) == 0 and list(found.columns) == ["label", *FIELDS, "prediction"]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_text_where_a_count_is_expected(done, entry, tmp_path, suffix) -> None:
    source, target = tmp_path / f"rows{suffix}", tmp_path / "out.csv"
    rows = raw(done[2][:4]).astype({"I5": "object"})
    rows["I5"] = ["1", "", "68fd1e64", "many"]
    rows.to_parquet(source) if suffix == ".parquet" else rows.to_csv(source, index=False)
    code, out, err = entry("predict", "--run", done[0] / "run", "--input", source, "--output", target)
    assert code == 2 and err.startswith("error: ") and err.count("\n") == 1
    assert "row 3, column 'I5': '68fd1e64' is no number" in err and not out and not target.exists()


def test_a_bad_row_of_the_file_is_one_line(done, entry, here) -> None:
    lines = (done[0] / "train.txt").read_text().splitlines()[:200]
    lines[149] = lines[149].replace("\t", " ", 1)
    Path("train.txt").write_text("\n".join(lines) + "\n")
    code, _, err = entry("fit", "--config", RECIPE, *SMALL, "--data.source.root=train.txt", "--run_dir=run")
    assert code == 2 and err.startswith("error: train.txt, line 150: 39 fields where expected 40")
    assert err.count("\n") == 1
    assert not Path("run").exists()
