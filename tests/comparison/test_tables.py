"""Which runs are one row, which rows are one table, and what is said of them."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from scipy import stats

from recgnn.comparison import compare
from recgnn.comparison.metrics import METRICS, goodness
from recgnn.comparison.reading import find
from recgnn.comparison.tables import tables
from recgnn.data.stored import read_json
from recgnn.errors import ConfigError, RunError


def test_runs_that_differ_in_seeds_are_one_row(trained) -> None:
    found = tables(find([trained])[0])
    assert sorted((t.task, sorted(row.name for row in t.rows)) for t in found) == [
        ("clicks", ["FM", "LR"]),
        ("ranking", ["LightGCN", "MF"]),
    ]
    assert all(len(row.runs) == 2 for t in found for row in t.rows)
    for table in found:
        assert len(table.parts) == 2  # each seed has its own split, and both rows have both
    assert {t.task: t.notes for t in found}["ranking"] == []


def test_mean_spread_order_and_best(made, tmp_path) -> None:
    for seed, value in enumerate([0.1, 0.2, 0.3], 1):
        made(f"a/{seed}", {"ndcg@10": value, "recall@10": 0.5}, seed)
    made("b/1", {"ndcg@10": 0.25, "recall@10": 0.4}, model="NGCF")
    (table,) = tables(find([tmp_path])[0])
    assert [row.name for row in table.rows] == ["NGCF", "MF"]
    mf = table.rows[1]
    assert (mf.mean("ndcg@10"), mf.spread("ndcg@10")) == pytest.approx((0.2, 0.1))
    assert table.rows[0].spread("ndcg@10") is None
    assert table.best("ndcg@10").name == "NGCF" and table.best("recall@10").name == "MF"
    (table,) = tables(find([tmp_path])[0], metric="recall@10")
    assert [row.name for row in table.rows] == ["MF", "NGCF"] and table.metrics[0] == "recall@10"


@pytest.mark.parametrize(
    ("metric", "better", "worse"),
    [("ndcg@10", 0.3, 0.2), ("rmse", 0.8, 0.9), ("auc", 0.8, 0.7), ("logloss", 0.4, 0.5), ("calibration", 1.1, 0.8)],
)
def test_which_way_is_better(metric, better, worse) -> None:
    assert goodness(metric, better) > goodness(metric, worse)


def test_popularity_has_no_better() -> None:
    assert goodness("popularity@10", 5.0) is None and goodness("gini@10", 0.5) is None


def test_rows_of_one_model_are_told_apart(made, tmp_path) -> None:
    made("a/1", {"ndcg@10": 0.1}, options={"lr": 0.1, "l2": 0.0})
    made("b/1", {"ndcg@10": 0.2}, options={"lr": 0.2, "l2": 0.0})
    made("c/1", {"ndcg@10": 0.3}, model="NGCF", options={"lr": 0.1})
    (table,) = tables(find([tmp_path])[0])
    assert [row.name for row in table.rows] == ["NGCF", "MF (lr 0.2)", "MF (lr 0.1)"]


def test_significance_by_scipy_with_holms_correction(made, tmp_path) -> None:
    """Two seeds a model on one test part: a user's value is the mean over them."""
    random = np.random.default_rng(3)
    base = random.random(50)
    shifts, p, wilcoxon = {"MF": 0.0, "GCN": 0.08, "NGCF": 0.11}, {}, {}
    values = {m: [base - s + random.normal(0, 0.2, 50) for _ in (1, 2)] for m, s in shifts.items()}
    for model, seeds in values.items():
        for seed, own in enumerate(seeds, 1):
            made(f"{model}/{seed}", {"ndcg@10": own.mean()}, seed, model, users={"ndcg@10": own.tolist()})
    (table,) = tables(find([tmp_path])[0])
    means = {model: np.mean(seeds, axis=0) for model, seeds in values.items()}
    best = max(means, key=lambda m: means[m].mean())
    assert table.reference.name == best == table.rows[0].name and table.reference.against is None
    others = [row for row in table.rows if row is not table.reference]
    for row in others:
        difference = means[row.name] - means[best]
        assert row.against.difference == pytest.approx(difference.mean()) and row.against.users == 50
        p[row.name] = stats.ttest_rel(means[row.name], means[best]).pvalue
        wilcoxon[row.name] = stats.wilcoxon(difference).pvalue
    for raw, name in ((p, "p_t"), (wilcoxon, "p_wilcoxon")):
        low, high = sorted(raw, key=raw.get)
        found = {row.name: getattr(row.against, name) for row in others}
        assert found[low] == pytest.approx(min(1, 2 * raw[low]))
        assert found[high] == pytest.approx(min(1, max(2 * raw[low], raw[high])))


def test_a_baseline_instead_of_the_best(made, tmp_path) -> None:
    made("a/1", {"ndcg@10": 0.1}, users={"ndcg@10": [0.1, 0.1, 0.2]})
    made("b/1", {"ndcg@10": 0.3}, model="NGCF", users={"ndcg@10": [0.3, 0.2, 0.5]})
    (table,) = tables(find([tmp_path])[0], baseline="mf")
    assert table.reference.name == "MF"
    assert table.rows[0].against.difference == pytest.approx(0.2)
    with pytest.raises(ConfigError, match=r"--baseline MFF: no line is called so \(did you mean 'MF'\?\)"):
        tables(find([tmp_path])[0], baseline="MFF")


def test_without_the_metrics_of_users_it_says_so(made, tmp_path) -> None:
    made("a/1", {"ndcg@10": 0.2}, users={"ndcg@10": [0.1, 0.1]})
    made("b/1", {"ndcg@10": 0.1}, model="NGCF")
    (table,) = tables(find([tmp_path])[0])
    assert table.rows[1].against is None
    assert [note for note in table.notes if note.startswith("no significance for NGCF: no ndcg@10")]


def test_few_users_are_told(made, tmp_path) -> None:
    made("a/1", {"ndcg@10": 0.2}, users={"ndcg@10": [0.2] * 99})
    made("b/1", {"ndcg@10": 0.1}, model="NGCF", users={"ndcg@10": [0.1] * 100})
    assert tables(find([tmp_path])[0])[0].notes[0].startswith("only 99 users were tested: differences")
    assert not tables(find([tmp_path / "b"])[0])[0].notes


def test_other_test_parts_are_other_tables(trained, made, tiny_run) -> None:
    """tiny_run has the same log as MF's runs, and another split."""
    runs, _ = find([trained / "mf/1", tiny_run])
    found = tables(runs)
    assert [len(t.rows) for t in found] == [1, 1]
    assert all("not compared with" in t.notes[0] and "tested on other data" in t.notes[0] for t in found)


def test_a_row_with_fewer_seeds_is_told(trained) -> None:
    (table,) = tables(find([trained / "mf", trained / "lightgcn" / "1"])[0])
    (note,) = table.notes
    assert note.startswith("means stand on different test parts: LightGCN was not tested on all 2")
    other = next(row for row in table.rows if row is not table.reference)
    assert other.against.users <= 110


def test_the_order_of_the_rows_is_no_other_test_part() -> None:
    from recgnn.comparison.reading import digest

    one, other = np.array([3, 1, 2]), np.array([5, 5, 6])
    turned = np.array([2, 0, 1])
    assert digest([one, other], "x") == digest([one[turned], other[turned]], "x")
    assert digest([one, other], "x") != digest([one, other[turned]], "x")
    assert digest([one, other], "x") != digest([one, other], "y")


def test_what_is_found_beneath(trained, made, tmp_path) -> None:
    made("deep/er/10", {"ndcg@10": 0.1}, 10)
    made("deep/er/9", {"ndcg@10": 0.1}, 9)
    unfinished = made("deep/er/11", {"ndcg@10": 0.1})
    (unfinished / "metrics.json").unlink()
    runs, left = find([tmp_path, tmp_path / "deep"])
    assert [run.folder.name for run in runs] == ["9", "10"]
    assert left == [f"{unfinished}: is not finished (no metrics.json); left out"]


def test_what_is_written(made, tmp_path, capsys) -> None:
    made("runs/a/1", {"ndcg@10": 0.1, "recall@10": 0.2}, users={"ndcg@10": [0.1, 0.0, 0.2]})
    made("runs/b/1", {"ndcg@10": 0.3, "recall@10": 0.1}, model="NGCF", users={"ndcg@10": [0.3, 0.2, 0.4]})
    compare([tmp_path / "runs"], tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "compare.csv", "compare.html", "compare.json", "compare.md"
    ]  # fmt: skip
    text = (tmp_path / "out/compare.md").read_text()
    assert "| NGCF | 1 | **0.3000** | 0.1000 |" in text and "| MF | 1 | 0.1000 | **0.2000** |" in text
    rows = list(csv.DictReader((tmp_path / "out/compare.csv").open()))
    assert [row["line"] for row in rows] == ["NGCF", "MF"]
    assert float(rows[1]["difference"]) == pytest.approx(-0.2) and rows[0]["difference"] == ""
    told = json.loads((tmp_path / "out/compare.json").read_text())
    assert told["lines"][1]["ndcg@10"] == pytest.approx(0.1) and told["lines"][1]["users"] == 3
    shown = capsys.readouterr().out
    assert shown.count("┏") == 1 and "reference" in shown and "0.3000" in shown


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["nowhere"], "nowhere: no such folder"),
        (["."], "no run folder there; python -m recgnn.fit makes one"),
        ([], "the following arguments are required: FOLDER"),
        ([".", "--metrik", "x"], "unknown option --metrik"),
    ],
)
def test_mistakes_are_one_line(entry, here, options, message) -> None:
    code, _, err = entry("compare", *options)
    assert code == 2 and message in err and err.count("\n") == 1


def test_a_metric_that_no_run_has(trained) -> None:
    with pytest.raises(ConfigError, match=r"--metric ndcg@1: no run has it \(did you mean 'ndcg@10'"):
        tables(find([trained / "mf"])[0], metric="ndcg@1")


def test_a_broken_run_is_left_out(made, tmp_path) -> None:
    made("a/1", {"ndcg@10": 0.1})
    broken = made("b/1", {"ndcg@10": 0.1})
    (broken / "config.yaml").write_text("model: [")
    runs, left = find([tmp_path])
    assert len(runs) == 1 and left[0].startswith(f"{broken}/config.yaml: cannot be read")
    with pytest.raises(RunError, match="nothing to compare"):
        compare([broken], tmp_path / "out")
    for file, content, message in (
        ("metrics.json", "{", "metrics.json: cannot be read: "),
        ("metrics.json", '{"test": {"auc": [1]}, "dataset": {"name": "x"}}', "metrics.json: is no result of a run: "),
        ("metrics.csv", "epoch,val/ndcg@10\n0,much\n", "metrics.csv: cannot be read: "),
        ("users.parquet", "PAR1", "users.parquet: cannot be read: "),
    ):
        run = made(f"c{len(list(tmp_path.iterdir()))}/1", {"ndcg@10": 0.1})
        (run / file).write_text(content)
        runs, left = find([tmp_path])
        assert len(runs) == 1 and any(note.startswith(f"{run}/{message}") for note in left)
        compare([tmp_path], tmp_path / "out")
    (run / "users.parquet").unlink()
    (run / "config.yaml").unlink()
    assert any(note.startswith(f"{run}/config.yaml: ") for note in find([tmp_path])[1])  # not passed over in silence


def test_metrics_are_those_that_are_measured() -> None:
    from recgnn.evaluation.metrics.names import METRICS as measured

    directions = {task: {name: cls.higher_is_better for name, cls in named.items()} for task, named in measured.items()}
    assert directions == METRICS and all(list(METRICS[task]) == list(named) for task, named in measured.items())


def test_trials_and_readings_of_the_test_part_are_told(made, tmp_path, capsys) -> None:
    folders = [made(name, {"ndcg@10": 0.1 * n}, model=name) for n, name in enumerate(("MF", "NGCF", "GCN"), 1)]
    told = ({"trials": 20, "test_reads": 1}, {"test_reads": 3}, {"test_reads": None})
    for folder, more in zip(folders, told, strict=True):
        content = json.loads((folder / "metrics.json").read_text())
        (folder / "metrics.json").write_text(json.dumps(content | more))
    (table,) = compare([tmp_path], tmp_path / "out")
    assert [(row.name, row.trials, row.test_reads) for row in table.rows] == [
        ("GCN", None, None), ("NGCF", None, 3), ("MF", 20, 1)]  # fmt: skip
    assert any(note.startswith("the test part was read more than once: NGCF 3 times") for note in table.notes)
    page, lines = (tmp_path / "out/compare.html").read_text(), (tmp_path / "out/compare.md").read_text().splitlines()
    heads, *rows = ([cell.strip() for cell in line.split("|")] for line in lines if line.startswith("| "))
    places = [heads.index("trials"), heads.index("test reads")]
    assert [[row[place] for place in places] for row in rows[1:4]] == [["", ""], ["", "3"], ["20", "1"]]
    assert all(f">{head}</button>" in page for head in ("trials", "test reads"))
    (folders[0] / "metrics.json").write_text(json.dumps(content | {"trials": "<b>"}))
    assert "is no result of a run" in find([folders[0]])[1][0]


def test_runs_that_say_nothing_of_trials_have_no_such_column(made, tmp_path) -> None:
    made("a", {"ndcg@10": 0.1})
    compare([tmp_path], tmp_path / "out")
    assert "trials" not in (tmp_path / "out/compare.md").read_text()


def test_simple_methods_stand_beside_the_runs(made, tmp_path, capsys) -> None:
    asked = []

    def simple(folder, names) -> dict:
        asked.append((folder, [*names]))
        return {"ease": {"settings": {"l2": 3.0}, "val": {"ndcg@10": 0.9}, "test": {"ndcg@10": 0.2468}}}

    runs = [made(f"a/{seed}", {"ndcg@10": 0.3}, seed) for seed in (1, 2)]
    (table,) = compare(runs, tmp_path / "out", simple=simple)
    assert asked == [(runs[0], ["ndcg@10"])], "once for a test part"
    assert [(row.name, row.values("ndcg@10")) for row in table.baselines] == [("(EASE)", [0.2468])]
    files = [(tmp_path / f"out/compare.{kind}").read_text() for kind in ("md", "csv", "html")]
    assert all("(EASE)" in text and "0.2468" in text for text in [capsys.readouterr().out, *files])


def test_a_simple_method_with_two_settings_has_two_rows(made, tmp_path) -> None:
    runs = [made(f"a/{seed}", {"ndcg@10": 0.3}, seed) for seed in (1, 2, 3)]
    for run, l2 in zip(runs, (3.0, 8.0, 3.0), strict=True):
        content = read_json(run / "metrics.json")
        content["baselines"] = {"ease": {"settings": {"l2": l2}, "test": {"ndcg@10": l2 / 10}}}
        (run / "metrics.json").write_text(json.dumps(content))
    (table,) = tables(find([tmp_path])[0])
    assert {(row.name, *row.values("ndcg@10")) for row in table.baselines} == {("(EASE)", 0.3), ("(EASE, l2 8)", 0.8)}


def test_the_simple_methods_of_the_runs_themselves(trained) -> None:
    (table,) = tables(find([trained / "mf", trained / "lightgcn"])[0])
    assert [row.name for row in table.baselines] == ["(most popular)", "(EASE)"]
    row = table.baselines[0]
    assert len(row.runs) == len(table.parts) and 0 < row.mean("recall@10") < 1
