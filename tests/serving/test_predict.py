"""`predict`: a rating or a score for each row of a table, which is otherwise given back as it came."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch

from recgnn import load
from recgnn.cli.entry import main
from recgnn.data import CTRDataModule, FrameLog, GraphDataModule, SparseText
from recgnn.data.readers import tables
from recgnn.errors import DataError
from recgnn.serving import loading as serving

COLD = 2.25
KINDS: dict[str, Callable[[str, int], object]] = {
    "number": lambda side, n: 100 + n,
    "large": lambda side, n: 10**17 + 3 * n,
    "text": lambda side, n: f"{side} №{n}",
    "zeros": lambda side, n: f"{n:04}",
}
N = 20


@pytest.fixture(scope="module")
def runs(tmp_path_factory, make_run) -> dict[str, Path]:
    """A run of biased factors per kind of id; `ranking` is one of them."""
    folder = tmp_path_factory.mktemp("predict")
    arguments = {"embedding_dim": 4, "biases": True, "init_std": 0.5}
    for kind, of in KINDS.items():
        rows = [(of("u", u), of("i", (3 * u + 7 * j) % N), 1 + (u + j * j) % 5) for u in range(N) for j in range(8)]
        log = FrameLog(pd.DataFrame(rows, columns=["user", "item", "rating"]), rating="rating")
        options = {"task": "rating", "l2": 0.0, "lr": 0.05, "cold_rating": COLD}
        make_run(folder / kind, GraphDataModule(log, batch_size=64), "MF", arguments, epochs=2, **options)
    make_run(folder / "ranking", GraphDataModule(log, batch_size=64), "MF", arguments, epochs=2, ks=[5])
    return {kind: folder / kind for kind in (*KINDS, "ranking")}


@pytest.fixture(scope="module")
def answer(runs) -> Callable[[str, int, int], float]:
    """The prediction for user n and item m of a run, from the checkpoint's numbers and the stored log."""
    tables = {}
    for kind, run in runs.items():
        state = torch.load(run / "checkpoints/best.ckpt", weights_only=True)["state_dict"]
        state = {k.removeprefix("model."): v.double().numpy() for k, v in state.items()}
        log = pd.read_parquet(run / "vocabulary/interactions.parquet")
        ratings = log.loc[log["part"] == 0, "rating"].to_numpy(float)
        scores = state["user_embedding.weight"] @ state["item_embedding.weight"].T
        scores += state["user_bias"][:, None] + state["item_bias"]
        if kind != "ranking":
            scores = np.clip(scores + ratings.mean(), ratings.min(), ratings.max())
        of = KINDS.get(kind, KINDS["zeros"])  # the last one
        sides = []
        for side, name in (("u", "users"), ("i", "items")):
            ids = pd.read_parquet(run / f"vocabulary/{name}.parquet")["id"].tolist()
            sides.append([ids.index(of(side, n)) for n in range(N)])
        tables[kind] = scores[np.ix_(*sides)]
    return lambda kind, user, item: tables[kind][user, item]


PAIRS = [(3, 1), (0, 19), (3, 2), (19, 0), (0, 5), (7, 7)]


def table(kind: str, pairs=PAIRS) -> pd.DataFrame:
    of = KINDS[kind]
    return pd.DataFrame({"user": [of("u", u) for u, _ in pairs], "item": [of("i", i) for _, i in pairs]})


READ = {
    ".csv": lambda path: pd.read_csv(path, dtype={"user": str, "item": str}, keep_default_na=False),
    ".parquet": pd.read_parquet,
}


def store(frame: pd.DataFrame, path: str) -> str:
    if path.endswith(".parquet"):
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False, sep="\t" if path.endswith(".tsv") else ",")
    return path


def close(found, expected, **tolerance) -> None:
    np.testing.assert_allclose(np.asarray(found, float), expected, **({"rtol": 1e-5, "atol": 1e-5} | tolerance))


FORMATS = [("number", ".csv", "-"), ("large", ".parquet", ".parquet"), ("text", ".tsv", ".csv"),
           ("zeros", ".csv", ".parquet"), ("zeros", ".parquet", ".csv")]  # fmt: skip


@pytest.mark.parametrize(("kind", "suffix", "output"), FORMATS)
def test_every_format_in_and_out(entry, runs, answer, here, kind, suffix, output) -> None:
    source = store(table(kind), f"rows{suffix}")
    target = output if output == "-" else f"deep/out{output}"
    code, out, err = entry("predict", "--run", runs[kind], "--input", source, "--output", target)
    assert code == 0, err
    if output == "-":
        found = pd.read_csv(StringIO(out), dtype={"user": str, "item": str})
        assert not err
    else:
        found = READ[output](here / target)
        assert not out and f"{len(PAIRS)} rows in {target}" in err
    assert list(found.columns) == ["user", "item", "prediction"]
    for side in ("user", "item"):
        assert found[side].astype(str).tolist() == table(kind)[side].astype(str).tolist()
    expected = [answer(kind, *pair) for pair in PAIRS]
    assert len({round(e, 3) for e in expected}) > 3
    close(found["prediction"], expected, rtol=1e-4 if output == "-" else 1e-5)
    assert sorted(p.name for p in here.rglob("*") if p.is_file()) == sorted(
        [source] + ([] if output == "-" else [f"out{output}"])
    )


EXTRA = {
    "zip": ["007", "012", "100", "000", "5", "6"],
    "when": [881250949.25, 881250950.5, 1.0, 2.0, 3.0, 881250949.75],
    "note": ["", "NA", "x", "null", "", "None"],
}


@pytest.mark.parametrize(
    ("suffix", "output", "rows"), [(".csv", "-", 2**17), (".csv", ".parquet", 2), (".parquet", ".csv", 2)]
)
def test_other_columns_stay_as_they_are(entry, runs, answer, here, monkeypatch, suffix, output, rows) -> None:
    monkeypatch.setattr(tables, "ROWS", rows)
    frame = table("number").assign(**EXTRA)[["zip", "item", "when", "user", "note"]]
    source = store(frame, f"rows{suffix}")
    target = output if output == "-" else f"out{output}"
    code, out, err = entry("predict", "--run", runs["number"], "--input", source, "--output", target)
    assert code == 0, err
    if output == ".parquet":
        found = pd.read_parquet(target)
    else:
        text = StringIO(out) if output == "-" else target
        found = pd.read_csv(text, dtype={"zip": str}, keep_default_na=False)
    assert list(found.columns) == [*frame.columns, "prediction"]
    for column in EXTRA:
        given = [float(v) for v in found[column]] if column == "when" else found[column].tolist()
        assert given == EXTRA[column], column
    close(found["prediction"], [answer("number", *pair) for pair in PAIRS], rtol=1e-4)


@pytest.mark.parametrize("values", [["1", "2", "abc", "4", "5", "6"], ["1", "2", "3", "", "2.5", "6"]])
def test_a_column_that_changes_its_kind_further_down(entry, runs, here, monkeypatch, values) -> None:
    """The first block holds integers alone."""
    monkeypatch.setattr(tables, "ROWS", 2)
    store(table("number").assign(n=values), "rows.csv")
    for name in ("out.csv", "out.parquet"):
        code, _, err = entry("predict", "--run", runs["number"], "--input", "rows.csv", "--output", name)
        assert code == 0, err
    found = pd.read_csv("out.csv", dtype=str, keep_default_na=False)
    assert found["n"].tolist() == values
    assert [str(v) for v in pd.read_parquet("out.parquet")["n"]] == values


@pytest.mark.parametrize(("suffix", "output"), [(".csv", "out.parquet"), (".parquet", "out.csv")])
def test_many_blocks(entry, runs, answer, here, monkeypatch, suffix, output) -> None:
    """100 rows in blocks of 7, in their order; 3 of them are cold, in different blocks."""
    pairs = [(7 * n % N, 3 * n % N) for n in range(100)]
    frame = table("number", pairs)
    frame.loc[[4, 50, 99], "item"] = [7, 8, 9]
    source = store(frame.assign(n=range(100)), f"rows{suffix}")
    sizes = []
    rows_of = serving.TrainedRecommender.rows_of
    monkeypatch.setattr(tables, "ROWS", 7)

    def counted(self, frame, *names):
        sizes.append(len(frame))
        return rows_of(self, frame, *names)

    monkeypatch.setattr(serving.TrainedRecommender, "rows_of", counted)
    code, _, err = entry("predict", "--run", runs["number"], "--input", source, "--output", output)
    assert code == 0 and "3 of 100 rows have a user or item that is not in the training data: predicted as 2.25" in err
    assert sizes == [7] * 14 + [2]
    found = READ[Path(output).suffix](output)
    assert found["n"].astype(int).tolist() == list(range(100))
    expected = np.array([answer("number", *pair) for pair in pairs])
    expected[[4, 50, 99]] = COLD
    close(found["prediction"], expected)


def test_blocks_of_users_change_nothing(runs, answer, monkeypatch) -> None:
    trained = load(runs["number"])
    pairs = [(7 * n % N, 3 * n % N) for n in range(100)]
    monkeypatch.setattr(type(trained), "block", 3)
    close(trained.predict(table("number", pairs))["prediction"], [answer("number", *pair) for pair in pairs])


def test_columns_of_other_names(entry, runs, answer, here) -> None:
    """A column that is called item but is not the one asked for is any other column."""
    frame = table("text").rename(columns={"user": "who", "item": "what"}).assign(item=range(6), user="somebody")
    store(frame, "rows.csv")
    code, out, err = entry("predict", "--run", runs["text"], "--input", "rows.csv", "--user", "who", "--item=what")
    assert code == 0 and not err
    found = pd.read_csv(StringIO(out))
    assert list(found.columns) == ["who", "what", "item", "user", "prediction"]
    assert found["item"].tolist() == list(range(6)) and set(found["user"]) == {"somebody"}
    close(found["prediction"], [answer("text", *pair) for pair in PAIRS], rtol=1e-4)


# ---- ids that train lacks


STRANGE = {
    "number": ["bob", "", "103.5", "1e300", "-1", "inf", "99999999999999999999999", "True", "0103x", "999"],
    "large": ["bob", "", "100000000000000004", "1e17", "-1", "nan", "99999999999999999999999"],
    "zeros": ["3", "00003", "", "3.0", "NA", "null"],
    "text": ["u №", "", "U №3", "NA", "i №3"],
}


@pytest.mark.parametrize("kind", STRANGE)
def test_strangers_get_the_cold_rating_and_the_known_their_own(entry, runs, answer, here, kind) -> None:
    """Ids that are none stand among known ones, which must not suffer by it."""
    of, strange = KINDS[kind], STRANGE[kind]
    users = [str(of("u", n)) for n in range(N)] + strange + [str(of("u", 3))] * 2
    items = [str(of("i", 1))] * (N + len(strange)) + ["nothing", ""]
    store(pd.DataFrame({"user": users, "item": items}), "rows.csv")
    code, _, err = entry("predict", "--run", runs[kind], "--input", "rows.csv", "--output", "out.csv")
    assert code == 0, err
    cold = len(strange) + 2
    expected = f"{cold} of {N + cold} rows have a user or item that is not in the training data: predicted as {COLD:g}"
    assert expected in err
    found = pd.read_csv("out.csv", dtype={"user": str, "item": str}, keep_default_na=False)
    assert found["user"].tolist() == users and found["item"].tolist() == items
    close(found["prediction"], [answer(kind, n, 1) for n in range(N)] + [COLD] * cold)


@pytest.mark.parametrize("kind", ["number", "large", "text"])
def test_missing_values_in_parquet(entry, runs, answer, here, kind) -> None:
    """A gap makes floats of integers, unless it is seen to."""
    of = KINDS[kind]
    users = pd.array([of("u", 3), None, of("u", 5)], dtype="str" if kind == "text" else "Int64")
    pd.DataFrame({"user": users, "item": [of("i", 1)] * 3}).to_parquet("rows.parquet")
    code, _, err = entry("predict", "--run", runs[kind], "--input", "rows.parquet", "--output", "out.parquet")
    assert code == 0 and "1 of 3 rows" in err
    found = pq.read_table("out.parquet").to_pydict()  # pandas would read integers with a gap as floats
    assert found["user"] == [of("u", 3), None, of("u", 5)]
    close(found["prediction"], [answer(kind, 3, 1), COLD, answer(kind, 5, 1)])


@pytest.mark.parametrize("dtype", ["float64", "category", "str", "int32", "uint64"])
def test_integer_ids_in_other_types(runs, answer, dtype) -> None:
    found = load(runs["number"]).predict(table("number").astype({"user": dtype}))
    close(found["prediction"], [answer("number", *pair) for pair in PAIRS])


def test_a_ranking_run_leaves_strangers_empty(entry, runs, answer, here) -> None:
    frame = table("zeros")
    frame.loc[1, "user"], frame.loc[4, "item"] = "who", "what"
    store(frame, "rows.csv")
    for name in ("out.csv", "out.parquet"):
        code, _, err = entry("predict", "--run", runs["ranking"], "--input", "rows.csv", "--output", name)
        assert code == 0 and "2 of 6 rows have a user or item that is not in the training data: left empty" in err
    lines = Path("out.csv").read_text().splitlines()
    assert [line.endswith(",") for line in lines[1:]] == [False, True, False, False, True, False]
    found = pd.read_parquet("out.parquet")["prediction"]
    assert found.isna().tolist() == [False, True, False, False, True, False]
    close(found.dropna(), [answer("ranking", *PAIRS[n]) for n in (0, 2, 3, 5)])


def test_without_a_cold_rating_it_is_the_mean_of_train(entry, runs, here) -> None:
    run = shutil.copytree(runs["number"], here / "run")
    path = run / "checkpoints/best.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["recgnn"]["trained"]["cold_rating"] = None
    torch.save(checkpoint, path)
    log = pd.read_parquet(run / "vocabulary/interactions.parquet")
    mean = log.loc[log["part"] == 0, "rating"].astype(float).mean()
    found = load(run).predict(pd.DataFrame({"user": [5, 103], "item": [101, 5]}))
    close(found["prediction"], [mean, mean])


# ---- no rows, and bad files


@pytest.mark.parametrize(("suffix", "output"), [(".csv", "-"), (".tsv", "out.parquet"), (".parquet", "out.csv")])
def test_no_rows_at_all(entry, runs, here, suffix, output) -> None:
    store(table("number").assign(more="x")[:0], f"rows{suffix}")
    code, out, err = entry("predict", "--run", runs["number"], "--input", f"rows{suffix}", "--output", output)
    assert code == 0 and "not in the training data" not in err
    found = pd.read_csv(StringIO(out)) if output == "-" else READ[Path(output).suffix](output)
    assert list(found.columns) == ["user", "item", "more", "prediction"] and len(found) == 0


def refused(entry, here, run, *options) -> str:
    before = sorted(p.name for p in here.rglob("*"))
    code, out, err = entry("predict", "--run", run, *options, "--output", "out.csv")
    assert code == 2 and not out, (code, err)
    assert err.startswith("error: ") and err.count("\n") == 1
    assert sorted(p.name for p in here.rglob("*")) == before, "nothing half-written"
    return err


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_missing_column(entry, runs, here, suffix) -> None:
    source = store(table("number").rename(columns={"item": "items"}), f"rows{suffix}")
    err = refused(entry, here, runs["number"], "--input", source)
    for words in (source, "no column 'item'", "did you mean 'items'?", "found: user, items", "--item"):
        assert words in err
    err = refused(entry, here, runs["number"], "--input", source, "--item", "items", "--user", "usr")
    assert "no column 'usr' (did you mean 'user'?)" in err


def test_files_that_cannot_be_read(entry, runs, here) -> None:
    run = runs["number"]
    store(table("number"), "rows.parquet")
    store(table("number"), "rows.csv")
    err = refused(entry, here, run, "--input", "row.parquet")
    assert "row.parquet: no such table (did you mean 'rows.parquet'?)" in err
    whole = Path("rows.parquet").read_bytes()
    flipped = bytearray(whole)
    flipped[4:60] = b"\x55" * 56
    for content in (b"", b"PAR1", whole[: len(whole) // 2], bytes(flipped), b"user,item\n1,2\n"):
        Path("bad.parquet").write_bytes(content)
        assert "bad.parquet" in refused(entry, here, run, "--input", "bad.parquet")
    Path("bad.csv").write_text("")
    assert "bad.csv" in refused(entry, here, run, "--input", "bad.csv")
    assert "is a folder" in refused(entry, here, run, "--input", here)
    assert "--input" in refused(entry, here, run)
    assert "no such run folder" in refused(entry, here, "nowhere", "--input", "rows.csv")


@pytest.mark.parametrize("lines", [["1,2,3", "4,5,6"], ["1,2,", "4,5,"], ["1,2", "4,5,6"]])
def test_rows_with_more_fields_than_the_header(entry, runs, here, lines) -> None:
    """The first field must not become a name of the row, and the second the user."""
    Path("rows.csv").write_text("\n".join(["user,item", *lines]) + "\n")
    assert "rows.csv, line " in refused(entry, here, runs["number"], "--input", "rows.csv")


def test_ids_that_are_the_index_of_a_saved_frame(entry, runs, answer, here) -> None:
    table("number").set_index("user").to_parquet("rows.parquet")
    code, _, err = entry("predict", "--run", runs["number"], "--input", "rows.parquet", "--output", "out.csv")
    assert code == 0, err
    close(pd.read_csv("out.csv")["prediction"], [answer("number", *pair) for pair in PAIRS])


def test_one_column_for_both_is_refused(entry, runs, here) -> None:
    store(table("number"), "rows.csv")
    assert "item" in refused(entry, here, runs["number"], "--input", "rows.csv", "--user", "item")


def test_outputs_are_checked_first(entry, runs, here) -> None:
    code, _, err = entry("predict", "--run", runs["number"], "--input", "gone.csv", "--output", "x.xlsx")
    assert code == 2 and "ends in .csv or .parquet" in err


def test_a_full_disk(entry, runs, here, monkeypatch) -> None:
    store(table("number"), "rows.csv")

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    for name in ("out.csv", "out.parquet"):
        with monkeypatch.context() as patch:
            patch.setattr("os.replace", full)
            code, _, err = entry("predict", "--run", runs["number"], "--input", "rows.csv", "--output", name)
        assert code == 2 and f"{name}: cannot be written: No space left on device" in err
        assert [p.name for p in here.iterdir()] == ["rows.csv"]


# ---- sparse text


def sparse_lines(form: str, n: int, seed: int, indices: int = 30) -> list[list[tuple[str, int, float]]]:
    """The features of lines: (column, index, x)."""
    random, lines = np.random.default_rng(seed), []
    for _ in range(n):
        fields = random.permutation(3)[: random.integers(1, 4)] if form == "ffm" else [0]
        own = [(f, i) for f in fields for i in random.choice(indices, random.integers(1, 4), replace=False)]
        column = "field{}" if form == "ffm" else "indices"
        lines.append([(column.format(f), i, round(float(random.normal()), 4)) for f, i in own])
    return lines


def written(path: Path, form: str, lines: list) -> Path:
    words = [[f"{f[5:]}:{i}:{x}" if form == "ffm" else f"{i}:{x}" for f, i, x in line] for line in lines]
    path.write_text("".join(f"{-1 + 2 * (n % 2)} {' '.join(w)}  # {n}\n" for n, w in enumerate(words)))
    return path


@pytest.mark.parametrize("model", ["FM", "FFM"])
@pytest.mark.parametrize("form", ["ffm", "svm"])
def test_sparse_text_is_read_as_it_was_trained_on(form, model, tmp_path, make_run, entry, equation) -> None:
    """libffm's and libsvm's lines with any values, at the first try, against the double sum over the lines."""
    file = written(tmp_path / f"train.{form}", form, sparse_lines(form, 120, 1))
    data = CTRDataModule(SparseText(file), batch_size=32, cache_dir=str(tmp_path / "cache"))
    run = make_run(tmp_path / model, data, model, {"embedding_dim": 3, "init_std": 0.5}, lr=0.05)
    new = sparse_lines(form, 20, 2, indices=33)  # some of which the run does not know
    expected = equation(run, [[(field, str(index), x) for field, index, x in line] for line in new])
    written(tmp_path / "new.txt", form, new)
    if form == "ffm":
        lines = (tmp_path / "new.txt").read_text().splitlines(keepends=True)
        (tmp_path / "new.txt").write_text(lines[0].replace("  #", " 12:1:1  #") + "".join(lines[1:]))
    code, _, err = entry("predict", "--run", run, "--input", tmp_path / "new.txt", "--output", tmp_path / "out.parquet")
    assert code == 0, err
    found = pd.read_parquet(tmp_path / "out.parquet")
    np.testing.assert_allclose(found["prediction"], expected, atol=1e-6)
    assert found["label"].tolist() == [0, 1] * 10 and found["prediction"].std() > 0.02
    assert ("left out, as the training data does not have them: field12" in err) == (form == "ffm")
    again = load(run).predict(found.drop(columns="prediction"))  # as columns
    np.testing.assert_allclose(again["prediction"], expected, atol=1e-6)


def test_numbers_are_read_as_those_of_the_run(here, capsys) -> None:
    rows = [f"{n % 5};{n % 7},{n % 10};{int(n % 3 == 0)}" for n in range(120)]
    Path("a.csv").write_text("\n".join(["place;price;clicked", *rows]), encoding="utf-8")
    options = ["--data=CTRDataModule", "--data.source=EventTable", "--data.source.path=a.csv",
               "--data.source.decimal=,", "--data.label=clicked",
               "--model=LR", "--trainer.max_epochs=1", "--trainer.logger=false"]  # fmt: skip
    main("fit", [*options, "--run_dir=run", "--trainer.accelerator=cpu"])
    Path("rows.csv").write_text("place;price\n3;2,5\n", encoding="utf-8")
    table = main("predict", ["--run", "run", "--input", "rows.csv"])
    expected = load("run").predict(pd.DataFrame({"place": [3], "price": [2.5]}))["prediction"]
    assert float(table["price"][0]) == 2.5
    assert table["prediction"].tolist() == pytest.approx(expected.tolist(), abs=1e-4)
    with pytest.raises(DataError, match="'2,5' is no number"):
        main("predict", ["--run", "run", "--input", "rows.csv", "--decimal", "."])
