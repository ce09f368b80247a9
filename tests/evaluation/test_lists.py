"""Lists of recommendations of other tools, in their layouts, against a plain loop over users; and a run's own lists."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from recgnn.cli.entry import main
from recgnn.comparison.reading import find
from recgnn.comparison.tables import tables
from recgnn.errors import ConfigError, DataError, RecGNNError, RunError

KS = (2, 5)
FILLER = -3.4028235e38  # implicit's score of a place that it could not fill
Parts = tuple[dict[str, set[str]], dict[str, set[str]]]


def world(seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Train and test of 40 users and 30 items."""
    random = np.random.default_rng(seed)
    pairs = pd.DataFrame({"user_id": random.integers(0, 40, 500), "item_id": random.zipf(1.4, 500) % 30})
    pairs = pairs.drop_duplicates(ignore_index=True)
    test = random.random(len(pairs)) < 0.25
    known = pairs[~test]
    labels = pairs[test & pairs["user_id"].isin(known["user_id"]) & pairs["item_id"].isin(known["item_id"])]
    return known, labels


def lists(seed: int = 1, users: int = 40, length: int = 7) -> dict[int, list[int]]:
    """Lists with items of train, unknown ones, repeated ones, fewer than five; three users have none, two are new."""
    random = np.random.default_rng(seed)
    made = {user: random.integers(0, 33, length if user % 4 else 3).tolist() for user in range(users - 3)}
    return made | {900: [1, 2], 901: [3]}


def loop(known: pd.DataFrame, labels: pd.DataFrame, found: dict[int, list[int]]) -> dict[str, float]:
    """Every metric, user by user, from its definition."""
    relevant = labels.groupby("user_id")["item_id"].agg(set).to_dict()
    catalogue = set(known["item_id"])
    popularity = known["item_id"].value_counts().to_dict()
    sums: dict[str, float] = {}
    for k in KS:
        shown: list[int] = []
        rows: dict[str, list[float]] = {n: [] for n in ("recall", "precision", "ndcg", "map", "mrr", "hitrate")}
        for user, wanted in relevant.items():
            hits, had = [], set()
            for item in found.get(user, [])[:k]:
                hits.append(item in wanted and item not in had)
                shown += [item] if item in catalogue and item not in had else []
                had.add(item)
            ranks = [rank for rank, hit in enumerate(hits, 1) if hit]
            ideal = sum(1 / math.log2(rank + 1) for rank in range(1, min(k, len(wanted)) + 1))
            rows["recall"].append(len(ranks) / len(wanted))
            rows["precision"].append(len(ranks) / k)
            rows["ndcg"].append(sum(1 / math.log2(rank + 1) for rank in ranks) / ideal)
            rows["map"].append(sum((n + 1) / rank for n, rank in enumerate(ranks)) / min(k, len(wanted)))
            rows["mrr"].append(1 / ranks[0] if ranks else 0)
            rows["hitrate"].append(float(bool(ranks)))
        sums |= {f"{name}@{k}": float(np.mean(values)) for name, values in rows.items()}
        sums[f"coverage@{k}"] = len(set(shown)) / len(catalogue)
        sums[f"popularity@{k}"] = float(np.mean([popularity[item] for item in shown]))
        times = np.array([shown.count(item) for item in catalogue])
        sums[f"gini@{k}"] = float(np.abs(times[:, None] - times).mean() / (2 * times.mean()))
    return sums


def rectools(found: dict[int, list[int]], path: Path) -> None:
    """`model.recommend(...).to_csv(index=False)` of RecTools: user_id, item_id, score, rank, in any order of rows."""
    rows = [(u, i, 9.5 - r, r) for u, items in found.items() for r, i in enumerate(items, 1)]
    frame = pd.DataFrame(rows, columns=["user_id", "item_id", "score", "rank"]).astype({"score": np.float32})
    frame.sample(frac=1, random_state=0).to_csv(path, index=False)


def implicit(found: dict[int, list[int]], path: Path) -> None:
    """`ids, scores = model.recommend(...)` of implicit as a table: places that are left have an item, or -1, and the
    lowest score."""
    longest = max(map(len, found.values()))
    ids = np.array([[*items, *[5, *[-1] * longest][: longest - len(items)]] for items in found.values()])
    scores = np.array([[*range(len(i), 0, -1), *[FILLER] * (longest - len(i))] for i in found.values()], np.float32)
    columns = {"user": np.repeat([*found], longest), "item": ids.ravel(), "score": scores.ravel()}
    pd.DataFrame(columns).sample(frac=1, random_state=0).to_parquet(path, index=False)


def bare(found: dict[int, list[int]], path: Path) -> None:
    """A file without a header line, whose order is that of the lists."""
    path.write_text("".join(f"{user}\t{item}\n" for user, items in found.items() for item in items))


def nested(found: dict[int, list[int]], path: Path) -> None:
    """JSON lines with a user and a list each."""
    path.write_text("".join(json.dumps({"userId": f"{u}", "items": items}) + "\n" for u, items in found.items()))


@pytest.fixture
def files(here) -> list[str]:
    """Options that name the parts."""
    known, labels = world()
    known.to_csv("train.csv", index=False)
    labels.to_csv("test.tsv", index=False, sep="\t")
    return ["--train", "train.csv", "--test", "test.tsv", "--ks", ",".join(map(str, KS))]


def evaluate(*options: str) -> dict[str, float]:
    return main("evaluate", ["--recommendations", *options])


@pytest.mark.parametrize(
    ("write", "options"),
    [(rectools, []), (implicit, []), (bare, ["--columns", "user,item"]), (nested, [])],
)
def test_lists_of_other_tools_have_the_metrics_of_a_loop(write: Callable, options: list[str], files, capsys) -> None:
    write(lists(), Path("recs"))
    values = evaluate("recs", *files, *options)
    assert values == pytest.approx(loop(*world(), lists()))
    told = " ".join(capsys.readouterr().out.split())
    for text in ("have no list: they count as zeros (test)", "fewer than 5 items", "not in the training data",
                 "the user's already", "a second time", "rows are of users who are not measured"):  # fmt: skip
        assert text in told, told
    assert ("recommend nothing" in told) == (write is implicit)


def test_scores_given_by_name_order_lists_and_equal_ones_stay(files, capsys) -> None:
    known, labels = world()
    user, wanted = next(iter(labels.groupby("user_id")["item_id"].agg(list).items()))
    other = next(i for i in range(30) if i not in wanted)
    frame = pd.DataFrame({"user": user, "item": [wanted[0], other, other + 100], "rank": [2, 1, 3], "p": [0.5, 0.5, 1]})
    frame.to_csv("recs.csv", index=False)
    by_score, by_rank = [other + 100, wanted[0], other], [other, wanted[0], other + 100]
    assert evaluate("recs.csv", *files, "--score", "p") == pytest.approx(loop(known, labels, {user: by_score}))
    assert "1 lists have items that rank alike" in capsys.readouterr().out
    assert evaluate("recs.csv", *files) == pytest.approx(loop(known, labels, {user: by_rank}))


def test_a_runs_own_lists_have_its_own_metrics(tiny_run, here, capsys) -> None:
    main("recommend", ["--run", str(tiny_run), "--k", "10", "--exclude_seen", "train+val", "--output", "recs.csv"])
    for part, name in (("test", "recs.csv"), ("val", "val.csv")):
        if part == "val":
            main("recommend", ["--run", str(tiny_run), "--k", "10", "--exclude_seen", "train", "--output", name])
        values = evaluate(name, "--run", str(tiny_run), "--part", part, "--output", f"{part}.json")
        own = json.loads((tiny_run / "metrics.json").read_text())[part]
        assert values == pytest.approx(own, rel=1e-5) and list(values) == list(own)
        assert json.loads(Path(f"{part}.json").read_text())[part] == values


def test_compare_takes_them_as_a_line_with_users(tiny_run, here, capsys) -> None:
    main("recommend", ["--run", str(tiny_run), "--k", "10", "--exclude_seen", "train+val", "--output", "recs.csv"])
    frame = pd.read_csv("recs.csv")
    frame[frame["rank"] > 3].to_csv("worse.csv", index=False)
    for name in ("recs", "worse"):
        evaluate(f"{name}.csv", "--run", str(tiny_run), "--output", f"lists/{name}")
    runs, left = find([tiny_run, "lists"])
    (table,) = tables(runs)
    assert not left and sorted(row.name for row in table.rows) == ["LightGCN", "recs", "worse"]
    by_run, by_lists = ({run.folder.name: run for run in runs}[n].content["groups"] for n in (tiny_run.name, "recs"))
    assert {*by_lists} == {"by_activity", "by_popularity"}
    for name, records in by_lists.items():
        assert records == [pytest.approx(record) for record in by_run[name]]
    users = {row.name: next(iter(row.of_users("ndcg@5").values())) for row in table.rows}
    pd.testing.assert_series_equal(users["recs"], users["LightGCN"], check_exact=False)
    against = {row.name: row.against for row in table.rows}
    assert against["worse"].difference < 0 and against["worse"].p_t < 0.05
    main("compare", [str(tiny_run), "lists", "--output", "compared"])
    assert "| worse |" in Path("compared/compare.md").read_text()
    evaluate("recs.csv", "--run", str(tiny_run), "--output", "lists/recs", "--name", "mine")  # in its place
    with pytest.raises(ConfigError, match="holds other files"):
        evaluate("recs.csv", "--run", str(tiny_run), "--output", ".")


def test_a_yaml_file_says_log_and_protocol(here) -> None:
    known, labels = world()
    pd.concat([known.assign(split="train"), labels.assign(split="test")]).to_csv("log.csv", index=False)
    source = {"class_path": "TableLog", "init_args": {"path": "log.csv", "user": "user_id", "item": "item_id"}}
    data = {"source": source, "split": {"class_path": "GivenSplit", "init_args": {"val": 0.0}}, "batch_size": 9}
    content = {"data": {"class_path": "GraphDataModule", "init_args": data}, "model": "MF"}
    content |= {"training": {"ks": [*KS], "metrics": ["ndcg", "recall"]}}
    Path("log.yaml").write_text(yaml.safe_dump(content))
    rectools(lists(), Path("recs.csv"))
    expected = loop(known, labels, lists())
    names = [f"{name}@{k}" for name in ("ndcg", "recall") for k in KS]
    assert evaluate("recs.csv", "--data", "log.yaml") == pytest.approx({name: expected[name] for name in names})
    data["sourcee"] = data.pop("source")
    Path("log.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(ConfigError, match="no option 'sourcee' .did you mean 'source'"):
        evaluate("recs.csv", "--data", "log.yaml")


def test_labels_that_were_new_and_repeated_ones_are_measured_apart(here) -> None:
    from recgnn.data.interactions.prepare import compute
    from recgnn.data.interactions.sources import FrameLog
    from recgnn.data.interactions.split import GivenSplit
    from recgnn.evaluation.lists import Labels, measure, read_lists
    from recgnn.evaluation.metrics.ranking import Recall

    rows = {"user": [1, 1, 2, 1, 1, 2], "item": [1, 2, 3, 1, 3, 2], "split": ["train"] * 3 + ["test"] * 3}
    log = compute(FrameLog(pd.DataFrame(rows)), [], GivenSplit(val=0.0), repeats="keep")
    pd.DataFrame({"user": [1, 2], "item": [1, 3]}).to_csv("recs.csv", index=False)
    labels = Labels.of(log, "test")
    measured = measure(read_lists("recs.csv", log, labels.users, {}), labels, log, [1], [Recall()])
    assert measured.values == {"recall@1": 0.25, "new_recall@1": 0.0, "repeated_recall@1": 1.0}


def test_mistakes_are_told_in_one_line(files, tiny_run, here) -> None:
    rectools(lists(), Path("recs.csv"))
    Path("two.csv").write_text("user_id,userid,item\n1,1,1\n")
    Path("none.csv").write_text("1,2,3\n4,5,6\n")
    Path("others.csv").write_text("user,item\nann,1\n")
    Path("score.csv").write_text("user,item,score\n1,1,0.5\n1,2,high\n")
    cases: list[tuple[list[str], type[RecGNNError], str]] = [
        (["recs.csv"], ConfigError, "expected --run, or --data, or --train and --test; found none"),
        (["recs.csv", *files, "--run", str(tiny_run)], ConfigError, "found --run, --train"),
        (["recs.csv", *files, "--ks", "5,x"], ConfigError, "--ks 5,x: expected numbers"),
        (["recs.csv", *files, "--metrics", "ndgc"], ConfigError, "no metric is named ndgc .did you mean 'ndcg'"),
        (["recs.csv", *files, "--ks", "500"], DataError, "fewer than K = 500"),
        (["recs.csv", *files, "--part", "val"], DataError, "has no val part to measure on"),
        (["recs.csv", *files, "--item", "product"], DataError, "no column 'product'"),
        (["two.csv", *files], DataError, "user_id and userid may both be the user; say which with --user"),
        (["none.csv", *files], DataError, "name it with --user; the first line holds numbers"),
        (["others.csv", *files], DataError, "none of its users, such as 'ann', is in the training data"),
        (["score.csv", *files], DataError, "row 2, column 'score': 'high'; expected a finite number"),
        (["recs.csv", "--run", "nowhere"], RunError, "no such run folder"),
    ]
    for options, error, text in cases:
        with pytest.raises(error, match=text):
            evaluate(*options)


def test_a_run_that_ranks_nothing_is_refused(tmp_path) -> None:
    (tmp_path / "config.yaml").touch()
    from recgnn.data.stored import write_json

    write_json(tmp_path / "metrics.json", {"val": {}, "test": {"rmse": 0.9}}, sealed=True)
    with pytest.raises(RunError, match="its protocol ranks nothing, it has rmse"):
        evaluate("recs.csv", "--run", str(tmp_path))


def test_users_of_several_columns(here) -> None:
    frame = pd.DataFrame({"who": [1, 1, 2, 2, 2], "film": [7, 7, 7, 8, 7], "tag": ["a", "b", "b", "a", "a"]})
    frame["split"] = ["train", "test", "train", "train", "test"]
    frame.to_csv("log.csv", index=False)
    source = {"class_path": "TableLog", "init_args": {"path": "log.csv", "user": ["who", "film"], "item": "tag"}}
    split = {"class_path": "GivenSplit", "init_args": {"val": 0.0}}
    Path("log.yaml").write_text(yaml.safe_dump({"data": {"source": source, "split": split}}))
    pd.DataFrame({"who": [1, 2], "film": [7, 7], "tag": ["b", "b"]}).to_csv("recs.csv", index=False)
    pd.DataFrame({"user": ["1,7", "2,7"], "item": ["b", "b"]}).to_csv("joined.csv", index=False)
    for name in ("recs.csv", "joined.csv"):
        assert evaluate(name, "--data", "log.yaml", "--ks", "1", "--metrics", "recall") == {"recall@1": 0.5}
