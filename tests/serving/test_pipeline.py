"""A retriever and a ranker as one run: its lists and figures by a naive loop; what is refused; how it is kept."""

from __future__ import annotations

import asyncio
import math
import shutil
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import recgnn
from recgnn.cli.entry import main
from recgnn.comparison.reading import find
from recgnn.data import CTRDataModule, FrameLog, GraphDataModule, Histories, RatioSplit
from recgnn.data.stored import read_json, write_json
from recgnn.errors import ConfigError, DataError, RunError
from recgnn.serving.agreement import agreement
from recgnn.serving.candidates import TopOfRun
from recgnn.serving.http.bodies import Recommend
from recgnn.serving.http.current import Current
from recgnn.serving.pipeline import Plan, TrainedPipeline

load = cache(recgnn.load)
USERS, ITEMS, N = 30, 25, 6
FIELDS = {"user": "categorical", "item": "categorical", "place": "categorical"}
ASKED = {f"{metric}@{k}": 0.5 for k in (2, 3) for metric in ("recall", "ndcg")}


def frame() -> pd.DataFrame:
    """Users of two tastes, who are at home in their first eight events (train), and at work in the last two."""
    random, rows = np.random.default_rng(0), []
    for user in range(USERS):
        taste = np.where(np.arange(ITEMS) % 2 == user % 2, 3.0, 1.0)
        items = random.choice(ITEMS, 10, replace=False, p=taste / taste.sum())
        rows += [(f"u{user}", int(i), time, "home" if time < 8 else "work") for time, i in enumerate(items)]
    return pd.DataFrame(rows, columns=["user", "item", "timestamp", "place"]).sample(frac=1, random_state=1)


def split(order: str = "time", seed: int = 1) -> RatioSplit:
    return RatioSplit((0.8, 0.1, 0.1), by="user", order=order, seed=seed)


def graph(**how) -> GraphDataModule:
    return GraphDataModule(FrameLog(frame(), name="tastes"), split=how.pop("split", split()), batch_size=64, **how)


def clicks(**how) -> CTRDataModule:
    asked = {"negatives": 2, "fields": FIELDS, "split": split(), "batch_size": 64} | how
    return CTRDataModule(FrameLog(frame(), name="tastes"), **asked)


@pytest.fixture(scope="module")
def runs(tmp_path_factory, make_run) -> Path:
    """A folder with runs: ease, knn, fm, din, which share their split, and others that do not."""
    folder = tmp_path_factory.mktemp("stages")
    make_run(folder / "ease", graph(), "EASE", {}, epochs=1, l2=300.0)  # with which no ranks of two retrievers tie
    make_run(folder / "knn", graph(), "ItemKNN", {"num_neighbours": 5}, epochs=1)
    make_run(folder / "fm", clicks(), "FM", {"embedding_dim": 4}, epochs=4, lr=0.1)
    past = Histories(["item"], max_length=4)
    make_run(folder / "din", clicks(history=past), "DIN", {"embedding_dim": 4, "hidden_dims": [6]}, epochs=2, lr=0.05)
    make_run(folder / "refitted", graph(merge_val=True), "EASE", {}, epochs=1)
    make_run(folder / "random", graph(split=split("random")), "EASE", {}, epochs=1)
    for name in ("ease", "knn"):
        write_json(folder / name / "metrics.json", {"val": ASKED, "test": ASKED}, sealed=True)
        (folder / name / "config.yaml").write_text("seed_everything: 7\nmodel: {class_path: EASE}\n")
    return folder


def made(runs: Path, *retrievers: str, ranker: str = "fm", blend: float = 0.0) -> TrainedPipeline:
    plan = Plan([runs / name for name in retrievers], runs / ranker, N, blend)
    return TrainedPipeline(runs / "pair", plan, [load(run) for run in plan.retrievers], load(plan.ranker))


def naive(runs: Path, user: str, retrievers: list[str], seen: str, place: str, blend: float) -> list[int]:
    """The candidates of a user in their order, by dictionaries and sums."""
    ranks = [load(runs / name).recommend(user, N, exclude_seen=seen) for name in retrievers]
    scores: dict[int, float] = {}
    for table in ranks:
        for rank, item, score in zip(table["rank"], table["item"], table["score"], strict=True):
            scores[item] = score if len(ranks) == 1 else scores.get(item, 0) + 1 / (60 + rank)
    chosen = sorted(scores, key=lambda item: -scores[item])[:N]
    rows = pd.DataFrame({"user": user, "item": chosen, "place": place})
    own = load(runs / "fm").predict(rows)["prediction"].to_numpy(float)
    if blend:
        logits, first = np.log(own / (1 - own)), np.array([scores[item] for item in chosen])
        own = (1 - blend) * (logits - logits.mean()) / logits.std() + blend * (first - first.mean()) / first.std()
    return [item for _, item in sorted(zip(-own, chosen, strict=True))]


@pytest.mark.parametrize(("retrievers", "blend"), [(["ease"], 0.0), (["ease", "knn"], 0.0), (["knn"], 0.3)])
def test_lists_are_those_of_a_naive_loop(runs: Path, retrievers: list[str], blend: float) -> None:
    pipeline, users = made(runs, *retrievers, blend=blend), ["u3", "u17", "u8"]
    found = pipeline.recommend(users, N, exclude_seen="train+val")
    for user in users:
        expected = naive(runs, user, retrievers, "train+val", "work", blend)
        assert found.loc[found["user"] == user, "item"].tolist() == expected
    shown = pipeline.recommend("u3", 2, exclude=[expected[0]], context={"place": "home"})
    assert expected[0] not in shown["item"].tolist() and len(shown) == 2
    with pytest.raises(ConfigError, match="k is 7, and the pipeline has 6 candidates"):
        pipeline.recommend("u3", 7)
    assert len(pipeline.similar_items(3, k=9)) == 9


def test_figures_are_those_of_a_naive_loop_that_knows_nothing_later(runs: Path, tmp_path: Path) -> None:
    main("pipeline", ["--retriever", str(runs / "ease"), "--ranker", str(runs / "fm"), "--candidates", str(N),
                      "--blend", "0", "--run_dir", str(tmp_path / "pair")])  # fmt: skip
    content, log = read_json(tmp_path / "pair/metrics.json", sealed=True), frame()
    for part, time, seen, place in (("val", 8, "train", "home"), ("test", 9, "train+val", "work")):
        recall, ndcg, of_candidates = [], [], []
        for user, item in log.loc[log["timestamp"] == time, ["user", "item"]].itertuples(index=False):
            ranked = naive(runs, user, ["ease"], seen, place, 0.0)
            rank = ranked.index(item) + 1 if item in ranked else math.inf
            recall.append(rank <= 2)
            ndcg.append(1 / math.log2(rank + 1) if rank <= 3 else 0.0)
            of_candidates.append(rank <= N)
        assert content[part]["recall@2"] == pytest.approx(np.mean(recall))
        assert content[part]["ndcg@3"] == pytest.approx(np.mean(ndcg))
        assert content["stages"][part]["candidate_recall"] == pytest.approx(np.mean(of_candidates))
    for records in content["groups"].values():  # one label a user
        assert sum(record["rows"] for record in records) == USERS
        found = sum(record["rows"] * (record["recall@2"] or 0) for record in records)
        assert found / USERS == pytest.approx(np.mean(recall))
    told = "fm: knows of a user place as in the last event, before the part that is measured"
    assert content["notes"][1].endswith(told)
    alone = content["stages"]["test"]["alone"]
    every = load(runs / "fm").recommend(k=3, exclude_seen="train+val")
    last = log[log["timestamp"] == 9].astype({"item": "str"})
    hits = every[every["rank"] <= 2].merge(last, on=["user", "item"])
    assert alone["ranker over all items"]["recall@2"] == pytest.approx(len(hits) / USERS)
    assert {line["users"] for line in alone.values()} == {USERS} and alone["EASE"]["milliseconds"] > 0


def test_a_ranker_of_histories_sees_nothing_of_the_part_that_is_measured(runs: Path) -> None:
    log = frame().sort_values("timestamp")
    for part, until in (("val", 8), ("test", 9)):
        earlier = load(runs / "din").before(part)
        past = earlier.memory(np.arange(len(earlier.users))).of()
        items, names = earlier.items.decode(past.items.numpy()), earlier.users.decode(np.arange(len(earlier.users)))
        for user, mine in zip(names, np.split(items, past.lengths.cumsum(0)[:-1]), strict=True):
            known = log[(log["user"] == user) & (log["timestamp"] < until)]
            assert set(map(int, mine)) == set(known["item"].tail(4))


# ---- agreement


def test_agreement(runs: Path) -> None:
    ranker = load(runs / "fm")
    assert agreement(load(runs / "ease"), ranker) == (
        ["val", "test"],
        "splits agree: 30 test pairs are the same, and in no earlier part; so are 30 of validation",
    )
    parts, told = agreement(load(runs / "refitted"), ranker)
    assert parts == ["test"] and "there is no validation part" in told
    message = r"28 pairs, such as user .u0. with item 0, are in the test part of .*/random and in an earlier part of "
    with pytest.raises(ConfigError, match=message):
        agreement(load(runs / "random"), ranker)


@pytest.mark.parametrize(
    ("retrievers", "ranker", "message"),
    [
        (["fm"], "din", "--retriever .*/fm: FM scores events; expected a model of interactions"),
        (["ease"], "knn", "--ranker .*/knn: ItemKNN scores no events; expected a model of clicks"),
    ],
)
def test_runs_of_the_wrong_kind(runs: Path, retrievers: list[str], ranker: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        made(runs, *retrievers, ranker=ranker)


# ---- hard negatives


def test_hard_negatives_are_candidates_that_the_user_has_not_had_yet(runs: Path) -> None:
    hard = TopOfRun(str(runs / "ease"), top=8, share=0.5)
    data = clicks(negatives=4, hard_negatives=hard, fields={"user": "categorical", "item": "categorical"})
    best, known = hard.read()
    assert len(best) and best.merge(known).empty, "no candidate is what the user has in train"
    near = load(runs / "ease").recommend(k=8, exclude_seen="train").groupby("user")["item"].apply(set)
    log, later = frame(), 0
    items_of = log.groupby("user")["item"].apply(set)
    for part, until in (("train", 8), ("val", 9), ("test", 10)):
        encoders, events = data.prepared.encoders, getattr(data.prepared, part)
        words = [["unknown", "missing", *encoders.encoders[name].values] for name in ("user", "item")]
        starts = np.cumsum([0, *encoders.dims])
        rows = [[words[f][i - starts[f]] for f, i in enumerate(ids)] for ids in events.ids[:, :2].tolist()]
        items_until = log[log["timestamp"] < until].groupby("user")["item"].apply(set)
        for place, (user, item) in enumerate(rows):
            had = items_until[user]
            if place % 5 == 0:
                assert events.labels[place] == 1 and int(item) in had
                continue
            assert events.labels[place] == 0 and int(item) not in had
            assert place % 5 > 2 or not near[user] - had or int(item) in near[user]
            later += int(item) in items_of[user]
    assert later, "what a user will have is a negative before"
    assert "50% of the 8 best of" in data.prepared.summary["label"]


def test_hard_negatives_of_a_run_that_has_seen_the_test_part(runs: Path) -> None:
    with pytest.raises(DataError, match="hard_negatives: the 100 best of .*/random learnt from .* such as user 'u"):
        _ = clicks(hard_negatives=TopOfRun(str(runs / "random"))).prepared


# ---- the folder


def test_the_folder_is_a_run_and_refuses_a_part_that_was_trained_anew(runs: Path, tmp_path: Path, capsys) -> None:
    here = tmp_path / "here"
    shutil.copytree(runs, here)
    (here / "pair.yaml").write_text(f"retriever: {here}/ease\nranker: {here}/fm\ncandidates: 5\nrun_dir: {here}/pair\n")
    main("pipeline", ["--config", str(here / "pair.yaml"), "--ranker_users", "7"])
    assert "splits agree" in (told := capsys.readouterr().out) and "the ranker scored all items for 7 users" in told
    chosen = read_json(here / "pair/metrics.json")
    moved = here.rename(tmp_path / "there")  # paths are relative
    main("test", ["--run", str(moved / "pair"), "--output", str(tmp_path / "again.json")])
    assert read_json(tmp_path / "again.json")["test"] == chosen["test"]
    assert read_json(moved / "pair/metrics.json")["test_reads"] == 2
    best = main("recommend", ["--run", str(moved / "pair"), "--users", "u1", "--k", "3"])
    (served,), _ = asyncio.run(Current(moved / "pair").recommend(Recommend(users="u1", k=3)))
    assert [row["item"] for row in served["items"]] == best["item"].tolist() and len(best) == 3
    (line,), left = find([moved / "pair"])
    assert not left and line.model == "EASE > FM" and line.seed == "7, None" and line.num_users == USERS
    for options, message in (
        (["--config", str(here / "pair.yaml")], "pair.yaml: no such configuration"),
        (["--retriever", "a", "--ranker", "b", "--run_dir", str(moved / "pair")], "holds a pipeline already"),
        (["--retriever", "a", "--ranker", "b", "--run_dir", str(moved / "ease")], "holds other files"),
        (["--retriever", "a", "--run_dir", "x"], "--ranker is missing"),
        (["--retriever", "a", "--ranker", "b", "--run_dir", "x", "--blend", "2"], "blend is 2.0; expected a number"),
    ):
        with pytest.raises((ConfigError, DataError, RunError), match=message):
            main("pipeline", options)
    plan = (moved / "pair/pipeline.yaml").read_text()
    (moved / "pair/pipeline.yaml").write_text(plan.replace("candidates: 5", "candidates: 6"))
    with pytest.raises(RunError, match="pipeline.yaml: is damaged, or was changed"):
        recgnn.load(moved / "pair")
    (moved / "pair/pipeline.yaml").write_text(plan)
    shutil.copy(moved / "knn/checkpoints/best.ckpt", moved / "ease/checkpoints/best.ckpt")
    with pytest.raises(RunError, match=r"ease: was trained anew since .*pipeline.yaml was written \(checkpoints/best"):
        recgnn.load(moved / "pair")


def test_explanations_are_the_rankers(runs) -> None:
    pipeline = made(runs, "ease")
    item = int(pipeline.recommend("u3", k=1)["item"].iloc[0])
    found = pipeline.explain("u3", [item])
    expected = pipeline.ranker.explain("u3", item).assign(item=item)
    pd.testing.assert_frame_equal(found, expected)
    assert set(found["kind"]) >= {"bias", "field", "pair"} and found["item"].tolist()[0] == item
