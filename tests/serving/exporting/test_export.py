"""Exported folders: their scores on raw rows, what runs without torch, and what is refused."""

from __future__ import annotations

import json
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

pytest.importorskip("onnxruntime")
from torch.onnx._internal.exporter._registration import ONNXRegistry

from recgnn import load
from recgnn.data import CTRDataModule, Field, Histories, RatioSplit, TableLog
from recgnn.errors import ConfigError, DataError, RunError
from recgnn.serving.exporting import export, programs
from recgnn.serving.exporting.inputs import inputs_of, native_answer
from recgnn.serving.exporting.score import Scorer

SMALL = {"embedding_dim": 8, "hidden_dims": [6]}
CLICKS = {
    "LR": {},
    "Poly2": {"max_crosses": 37},  # hashed
    "FM": {"embedding_dim": 8, "task": "regression"},
    "FFM": {"embedding_dim": 3},
    "WideDeep": {**SMALL, "crosses": [["user", "genre"]], "batch_norm": True},
    "DeepFM": SMALL,
    "DCNv2": SMALL,
    "DIN": {**SMALL, "attention_dims": [5], "attention": "softmax"},
    "BST": {**SMALL, "num_heads": 2, "pooling": "concat", "max_length": 3},
}
RECOMMENDERS = {  # one of each form
    "LightGCN": {"embedding_dim": 5, "num_layers": 2},
    "MF": {"embedding_dim": 5, "biases": True, "task": "rating"},
    "AutoRec": {"hidden_dims": [6]},
    "DAE": {"hidden_dims": [6], "normalise": True},
    "CDAE": {"hidden_dim": 6},
}
BLOCKED = """\
import importlib.abc, runpy, sys

class Block(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "recgnn", "lightning", "sklearn", "onnx"):
            raise ImportError(f"{name} is not there")

sys.meta_path.insert(0, Block())
script, *sys.argv[1:] = sys.argv[1:]
runpy.run_path(script, run_name="__main__")
"""


@pytest.fixture(scope="module")
def rows(events, items) -> pd.DataFrame:
    """Raw rows with what the users liked before, found row by row: known users of any past, a new one, new values."""
    frame = events.rename(columns={"time": "timestamp"}).merge(items, on="item").sample(80, random_state=2)
    frame = frame.reset_index(drop=True)
    frame.loc[0, "user"], frame.loc[1, "item"], frame.loc[2, "price"], frame.loc[3, "genre"] = "new", 99, np.nan, "e|a"
    genre = dict(zip(items["item"], items["genre"], strict=True))
    past = []
    for user, time in zip(frame["user"], frame["timestamp"], strict=True):
        liked = events[(events["user"] == user) & (events["rating"] >= 4) & (events["time"] < time)]
        past.append(liked.sort_values("time"))
    frame["history_item"] = [liked["item"].tolist() for liked in past]
    frame["history_genre"] = [liked["item"].map(genre).tolist() for liked in past]
    frame["history_times"] = [liked["time"].tolist() for liked in past]
    return frame.drop(columns=["rating", "title"])


@pytest.fixture(scope="module", autouse=True)
def registry() -> Iterator[None]:
    """Torch's table of ONNX functions, read once; it reads the source of each of them for every graph."""
    read = ONNXRegistry.from_torchlib
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ONNXRegistry, "from_torchlib", staticmethod(cache(read)))
        yield


@pytest.fixture(scope="module")
def exported(click_model, tmp_path_factory) -> Callable[..., tuple[Path, Path]]:
    """Name of a CTR model and a format -> a run and its folder; made once, and traced once for both formats."""
    trace, run_of = programs.program_of, cache(lambda name: click_model(name, **CLICKS[name]))
    traced: dict[str, torch.export.ExportedProgram] = {}

    @cache
    def make(name: str, format: str = "onnx") -> tuple[Path, Path]:
        def once(form, inputs):
            if name not in traced:
                traced[name] = trace(form, inputs)
            return traced[name]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(programs, "program_of", once)
            return run_of(name), export(run_of(name), format, tmp_path_factory.mktemp("exports") / format)

    return make


@pytest.mark.parametrize("name", CLICKS)
def test_raw_rows_score_as_by_the_run(name: str, exported, rows) -> None:
    run, folder = exported(name)
    expected = load(run).predict(rows)["prediction"].to_numpy()
    lengths = rows["history_item"].map(len)
    assert lengths.min() == 0 and lengths.max() > 4 and expected.std() > 0.01
    np.testing.assert_allclose(Scorer(folder).score(rows), expected, atol=1e-5)
    assert Scorer(folder).score(rows.iloc[[7]]) == pytest.approx(expected[7], abs=1e-5)


def test_given_vectors_score_as_by_the_run(events, items, rows, make_run, tmp_path) -> None:
    """Vectors of the target and of the past items, two of which have none."""
    np.savez(tmp_path / "v.npz", ids=np.arange(13), vectors=np.random.default_rng(0).normal(size=(13, 5)))
    events.to_csv(tmp_path / "log.csv", index=False)
    data = CTRDataModule(
        TableLog(tmp_path / "log.csv", timestamp="time"), label="rating >= 4",
        history=Histories(["item"], max_length=4),
        fields={"user": "categorical", "item": Field("categorical", vectors=str(tmp_path / "v.npz"), trained=True)},
        split=RatioSplit(by="user", order="time"), batch_size=64,
    )  # fmt: skip
    run = make_run(tmp_path / "run", data, "DIN", {**SMALL, "init_std": 0.5}, epochs=1)
    export(run, "onnx", tmp_path / "onnx")
    rows = rows.drop(columns="history_genre")
    trained = load(run)
    expected, given = trained.predict(rows)["prediction"].to_numpy(), trained.model.given[0]
    np.testing.assert_allclose(Scorer(tmp_path / "onnx").score(rows), expected, atol=1e-5)
    given.vectors.data.zero_()
    assert np.abs(trained.predict(rows)["prediction"].to_numpy() - expected).max() > 1e-3


@pytest.mark.parametrize("name", CLICKS)
def test_the_graph_is_valid_and_says_what_it_is(name: str, exported) -> None:
    import onnx

    run, folder = exported(name)
    graph, about = onnx.load(folder / "model.onnx"), json.loads((folder / "export.json").read_text())
    model = load(run).model
    told = {entry.key: entry.value for entry in graph.metadata_props}
    assert told["model"] == about["model"] == type(model).__name__
    assert (graph.opset_import[0].version, graph.ir_version) == (about["opset"], about["ir_version"])
    assert [i.name for i in graph.graph.input] == [i["name"] for i in about["inputs"]]
    sizes = graph.graph.input[0].type.tensor_type.shape.dim
    assert sizes[0].dim_param == "batch" and sizes[1].dim_value == len(model.slots)
    assert graph.graph.output[0].name == ("number" if model.task == "regression" else "probability")
    assert about["files"] == sorted(file.name for file in folder.iterdir() if file.name != "__pycache__")
    text = (folder / "README.md").read_text()
    assert all(f"`{i['name']}`" in text for i in about["inputs"]) and "score.py rows.csv" in text


@pytest.mark.parametrize("name", CLICKS)
def test_the_graph_adds_nothing_at_places_that_threads_share(name: str, exported) -> None:
    """onnxruntime runs a scatter on several threads, which lose each other's additions at equal indices."""
    import onnx

    _, folder = exported(name)
    nodes = onnx.load(folder / "model.onnx").graph.node
    reductions = {node.op_type: a.s for node in nodes for a in node.attribute if a.name == "reduction"}
    assert set(reductions.values()) <= {b"none"} and not {"ScatterND"} & {node.op_type for node in nodes}


@pytest.mark.parametrize("name", ["FFM", "WideDeep", "DIN", "BST"])
@torch.no_grad()
def test_the_torch_program_scores_batches_of_any_size(name: str, exported) -> None:
    run, folder = exported(name, "torch")
    trained, program = load(run), torch.export.load(folder / "model.pt2").module()
    inputs = inputs_of(trained, trained.model.exportable())
    for size in (1, 12):
        given = [i._replace(example=torch.cat([i.example, i.example])[:size]) for i in inputs]
        answer = program(*(i.example for i in given))
        torch.testing.assert_close(answer, native_answer(trained, given), atol=1e-5, rtol=1e-5)
    assert (folder / "encoding.json").is_file() and "torch.export.load" in (folder / "README.md").read_text()


def as_csv(rows: pd.DataFrame, file: Path) -> None:
    """Rows with their lists as texts with spaces."""
    texts = {name: rows[name].map(lambda x: " ".join(map(str, x))) for name in rows if name.startswith("history_")}
    rows.assign(**texts).to_csv(file, index=False)


def test_the_consumer_runs_without_torch(exported, rows, tmp_path) -> None:
    run, folder = exported("BST")
    known = rows[rows["history_genre"].map(lambda values: "" not in values)]
    assert known["history_item"].map(len).max() > 4
    as_csv(known, tmp_path / "rows.csv")
    (tmp_path / "blocked.py").write_text(BLOCKED)
    command = [sys.executable, "blocked.py", str(folder / "score.py"), "rows.csv", "--output", "scores.parquet"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = pd.read_parquet(tmp_path / "scores.parquet")
    expected = load(run).predict(known)["prediction"]
    np.testing.assert_allclose(found["prediction"], expected, atol=1e-5)
    assert found.columns[-1] == "prediction" and found["user"].tolist() == known["user"].tolist()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["blocked.py", "rows.csv", "scores.parquet"]


@pytest.mark.parametrize("name", ["DIN", "BST"])
def test_histories_that_do_not_go_together_are_refused(name: str, exported, rows) -> None:
    scorer = Scorer(exported(name)[1])
    with pytest.raises(DataError, match="need all of the columns history_item, history_genre"):
        scorer.score(rows.drop(columns="history_genre"))
    wrong = rows.assign(history_genre=[[*values, "a"] for values in rows["history_genre"]])
    with pytest.raises(DataError, match=r"row 1: \d+ past genre, \d+ past items"):
        scorer.score(wrong)


PAST = ["history_item", "history_genre", "history_times"]


@pytest.mark.parametrize("name", ["DIN", "BST"])
def test_histories_of_the_users_of_the_run(name: str, exported, rows) -> None:
    """Where the rows have none, they come from histories.parquet, as the run takes them from its own data."""
    run, folder = exported(name)
    bare, trained = rows.drop(columns=PAST), load(run)
    whole = bare.drop(columns="timestamp")
    untimed = bare.assign(timestamp=bare["timestamp"].where(np.arange(len(bare)) % 2 == 0))
    for frame in (bare, whole, untimed, bare.iloc[:0]):
        expected = trained.predict(frame)["prediction"]
        np.testing.assert_allclose(Scorer(folder).score(frame), expected, atol=1e-5)
    assert np.abs(Scorer(folder).score(bare) - Scorer(folder).score(whole)).max() > 1e-3, "times matter"
    assert not set(Scorer(folder).missing(bare))


@pytest.mark.parametrize("name", ["DIN", "BST"])
def test_no_histories_at_all_are_refused_unless_that_is_meant(
    name: str, exported, rows, tmp_path, monkeypatch, capsys
) -> None:
    folder = Path(shutil.copytree(exported(name)[1], tmp_path / "export"))
    (folder / "histories.parquet").unlink()
    bare = rows.drop(columns=PAST)
    with pytest.raises(DataError, match="no column 'user'"):
        Scorer(folder, without_histories=True).score(bare.drop(columns="user"))
    with pytest.raises(DataError, match="no column history_item.*; README.md .*--without_histories"):
        Scorer(folder).score(bare)
    empty = bare.assign(**{column: [[]] * len(bare) for column in PAST})
    expected = Scorer(folder).score(empty)
    np.testing.assert_array_equal(Scorer(folder, without_histories=True).score(bare), expected)
    bare.to_csv(tmp_path / "rows.csv", index=False)
    words = [str(folder / "score.py"), str(tmp_path / "rows.csv"), "--output", str(tmp_path / "scores.csv")]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(words[0], run_name="__main__")
    error = capsys.readouterr().err
    assert stop.value.code == 2 and error.count("\n") == 1 and "the model reads histories" in error
    assert not (tmp_path / "scores.csv").exists()
    monkeypatch.setattr(sys, "argv", [*words, "--without_histories"])
    runpy.run_path(words[0], run_name="__main__")
    np.testing.assert_allclose(pd.read_csv(tmp_path / "scores.csv")["prediction"], expected, atol=1e-5)


def test_a_past_that_is_later_than_its_row_is_refused(exported, rows) -> None:
    scorer = Scorer(exported("BST")[1])
    with pytest.raises(DataError, match="later than 'timestamp'"):
        scorer.score(rows.assign(timestamp=0))


@pytest.mark.parametrize("name", RECOMMENDERS)
@torch.no_grad()
def test_programs_of_recommenders(name: str, recommender, tmp_path) -> None:
    run = recommender(name, **RECOMMENDERS[name])
    export(run, "torch", tmp_path / "out")
    trained, program = load(run), torch.export.load(tmp_path / "out" / "model.pt2").module()
    examples = inputs_of(trained, trained.model.exportable())
    inputs, expected = [i.example for i in examples], native_answer(trained, examples)
    torch.testing.assert_close(program(*inputs), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(program(*[x[:1] for x in inputs]), expected[:1], atol=1e-5, rtol=1e-5)
    users = pd.read_parquet(tmp_path / "out" / "users.parquet")
    assert len(users) == trained.prepared.num_users and users["user"].is_unique


@pytest.mark.parametrize("name", RECOMMENDERS)
def test_vectors_recommend_as_the_run(name: str, recommender, tmp_path) -> None:
    pytest.importorskip("faiss")
    import faiss

    run = recommender(name, **RECOMMENDERS[name])
    export(run, "embeddings", tmp_path / "out", index="faiss")
    users, items = (pd.read_parquet(tmp_path / "out" / f"{side}.parquet") for side in ("users", "items"))
    user, item = (np.load(tmp_path / "out" / f"{side}.npy") for side in ("users", "items"))
    np.testing.assert_array_equal(np.stack(items["vector"]), item)
    assert items["row"].tolist() == list(range(len(items)))
    index = faiss.read_index(str(tmp_path / "out" / "items.faiss"))
    trained = load(run)
    for row in (0, 5, 30):
        seen = users["seen"][row]
        scores, found = index.search(user[row][None], 5 + len(seen))
        kept = ~np.isin(found[0], seen)
        expected = trained.recommend([users["user"][row]], k=5)
        assert items["item"].to_numpy()[found[0][kept][:5]].tolist() == expected["item"].tolist()
        np.testing.assert_allclose(scores[0][kept][:5], expected["score"], atol=1e-4)


def test_the_command(click_model, recommender, entry, tmp_path) -> None:
    code, out, _ = entry("export", "--help")
    assert code == 0 and "examples:" in out
    run = recommender("MF")
    code, out, err = entry("export", "--run", run, "--format", "embeddings", "--output", tmp_path / "out")
    assert (code, err) == (0, "") and "users.parquet" in out
    code, _, err = entry("export", "--run", run, "--format", "onnx", "--output", tmp_path / "onnx")
    assert code == 2 and "MF recommends; take --format embeddings" in err and not (tmp_path / "onnx").exists()
    code, _, err = entry("export", "--run", click_model("LR"), "--format", "embeddings", "--output", tmp_path / "x")
    assert code == 2 and "LR scores events; take --format onnx or torch" in err
    code, _, err = entry("export", "--run", run, "--format", "torch", "--output", tmp_path / "x", "--index", "faiss")
    assert code == 2 and "--index is for --format embeddings" in err


def test_a_folder_of_something_else_is_left_alone(recommender, tmp_path) -> None:
    run, folder = recommender("MF"), tmp_path / "out"
    export(run, "embeddings", folder)
    export(run, "torch", folder)  # an earlier export is replaced
    assert (folder / "model.pt2").is_file() and not (folder / "users.npy").exists()
    (folder / "mine.txt").write_text("mine")
    with pytest.raises(RunError, match=r"out: holds mine\.txt, which is no export"):
        export(run, "embeddings", folder)
    assert (folder / "mine.txt").read_text() == "mine" and (folder / "model.pt2").is_file()


def test_an_export_that_fails_leaves_nothing(recommender, tmp_path, monkeypatch) -> None:
    def broken(program, path):
        path.write_bytes(b"half")
        return lambda users: torch.zeros(len(users), 40)

    monkeypatch.setattr(programs, "write_torch", broken)
    with pytest.raises(RunError, match="differs from the model by"):
        export(recommender("MF"), "torch", tmp_path / "deep" / "out")
    assert not list(tmp_path.rglob("*out*"))


def test_a_package_that_lacks_is_named(recommender, click_model, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(programs, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r'needs the package onnx: pip install "recgnn\[export\]"'):
        export(click_model("LR"), "onnx", tmp_path / "out")
    monkeypatch.setattr("recgnn.serving.index.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r'pip install "recgnn\[index\]"'):
        export(recommender("MF"), "embeddings", tmp_path / "out", index="faiss")


def test_an_onnxruntime_that_computes_something_else_is_refused(exported, tmp_path) -> None:
    shutil.copytree(exported("DeepFM")[1], tmp_path / "onnx")
    place = tmp_path / "onnx" / "encoding.json"
    encoding = json.loads(place.read_text())
    encoding["check"]["answer"][2] += 0.2
    place.write_text(json.dumps(encoding))
    with pytest.raises(DataError, match=r"onnxruntime [\d.]+ computes other scores than the model .off by 0.2.: take"):
        Scorer(tmp_path / "onnx")
