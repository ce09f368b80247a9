"""Answers of the server against those of the loaded run, to the last item; and what it refuses."""

from __future__ import annotations

import base64
import json
import random
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from recgnn import load
from recgnn.data import CTRDataModule, FrameLog, GraphDataModule, Histories
from recgnn.serving.http import bodies, guard

PAGES = Path(bodies.__file__).parent / "pages"


@pytest.fixture(scope="module")
def trained(tiny_run):
    return load(tiny_run)


def table(lists: list[dict], key: str = "user") -> pd.DataFrame:
    """Lists of an answer as the table that the run's methods return."""
    rows = [{key: one[key], "rank": rank, **row} | ({"source": one["source"]} if key == "user" else {})
            for one in lists for rank, row in enumerate(one["items"], 1)]  # fmt: skip
    return pd.DataFrame(rows)


def equal(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    assert found["score"].tolist() == pytest.approx(expected["score"].tolist(), abs=1e-6)
    pd.testing.assert_frame_equal(found.drop(columns="score"), expected.drop(columns="score"), check_dtype=False)


OPTIONS = [{}, {"k": 3, "exclude_seen": "none"}, {"candidates": [1, "2", 3, 30], "k": 4}, {"exclude": 7, "k": 40},
           {"exclude_seen": "train", "k": 25, "fallback": None}]  # fmt: skip


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_recommendations_are_the_offline_ones(client, trained, options) -> None:
    users = trained.users.ids.tolist()
    expected = trained.recommend(users, **{"k": 10, "fallback": "popularity"} | options)
    together = client.post("/recommend", users=users, **options).json()
    assert together["version"] == client.current.loaded.version
    found = table(together["lists"])
    equal(found if "source" in expected else found.drop(columns="source"), expected)
    # each by itself, sent at once, ids as text: answered in groups
    asked = [("POST", "/recommend", {"json": {"users": str(user)} | options}) for user in users[::3]]
    lists = [one for answer in client.all(asked) for one in answer.json()["lists"]]
    found, expected = table(lists), expected[expected["user"].isin(users[::3])].reset_index(drop=True)
    equal(found if "source" in expected else found.drop(columns="source"), expected)


def test_answers_by_an_index(tiny_run, serve, client) -> None:
    pytest.importorskip("faiss", reason="the extra index is not installed")
    indexed, question = serve(tiny_run, index=True), {"users": [5, 3, 999], "k": 6, "exclude": [7]}
    assert "of the exact 40 best items" in indexed.ask("GET", "/health").json()["index"]
    assert "index" not in client.ask("GET", "/health").json()
    found, expected = (one.post("/recommend", **question).json()["lists"] for one in (indexed, client))
    equal(table(found), table(expected))


def test_unknown_users_get_what_is_popular_and_are_told(client, trained) -> None:
    found = client.post("/recommend", users=[5, 999], k=2).json()["lists"]
    assert [one["source"] for one in found] == ["model", "popularity"] and found[1]["user"] == 999
    equal(table(found), trained.recommend([5, 999], k=2, fallback="popularity"))
    refused = client.post("/recommend", users=[5, 999], k=2, fallback=None)
    assert refused.status_code == 400 and refused.json()["error"].startswith("unknown user 999: 61 users are known")


def test_a_refused_question_does_not_spoil_those_beside_it(client, trained) -> None:
    users, answers = [1, 999, 2, "x", 3], []
    asked = [("POST", "/recommend", {"json": {"users": user, "k": 4, "fallback": None}}) for user in users]
    answers = client.all(asked)
    assert [a.status_code for a in answers] == [200, 400, 200, 400, 200]
    lists = [one for a in answers if a.status_code == 200 for one in a.json()["lists"]]
    equal(table(lists).drop(columns="source"), trained.recommend([1, 2, 3], k=4))


def test_new_users(client, trained) -> None:
    (found,) = client.post("/recommend", history=["1", 26], k=4, exclude=3).json()["lists"]
    expected = trained.recommend_history([1, 26], k=4, exclude=3)
    assert found["user"] is None
    equal(table([found]).drop(columns=["source", "user"]), expected.drop(columns="user"))


def test_the_other_questions(client, trained) -> None:
    found = client.post("/similar", items=[26, 3], k=3, exclude=1).json()["lists"]
    equal(table(found, "query"), trained.similar_items([26, 3], k=3, exclude=1))
    rows = [{"user": 5, "item": 26}, {"user": 999, "item": 26}]
    found = client.post("/predict", rows=rows).json()
    expected = trained.predict(pd.DataFrame(rows))["prediction"]
    assert found["predictions"] == [pytest.approx(expected[0], abs=1e-6), None] and found["notes"] == []
    found = client.post("/explain", user=5, items=[26, 3], parts=2).json()
    assert found["how"] == trained.model.explanation
    for item in found["items"]:
        expected = trained.explain(5, item["item"])
        assert item["score"] == pytest.approx(expected["score"].iloc[0], abs=1e-6)
        got = pd.DataFrame(item["parts"])
        assert len(got) == 2 and got["of"].tolist() == expected["of"].tolist()[:2]
        assert got["share"].tolist() == pytest.approx(expected["share"].tolist()[:2], abs=1e-6)
    found = client.post("/history", user="5").json()["items"]
    assert found == trained.items_of(5).to_dict("records") and len(found) > 3
    about = client.ask("GET", "/health").json()
    assert (about["status"], about["users"], about["items"], about["model"]) == ("ok", 61, 40, "LightGCN")


@pytest.fixture(scope="module")
def words(make_run, tmp_path_factory) -> Path:
    """A run of clicks whose ids are text, among them one that is markup."""
    generator = np.random.default_rng(0)
    n = 240
    frame = pd.DataFrame({"user": [f"u{u}" for u in generator.integers(12, size=n)],
                          "item": [f"<i{i}>" for i in generator.integers(9, size=n)]})  # fmt: skip
    frame["rating"], frame["timestamp"] = generator.integers(1, 6, n), np.arange(n) * 60 + 1_000_000
    fields = {"user": "categorical", "item": "categorical"}
    data = CTRDataModule(FrameLog(frame), label="rating >= 4", fields=fields, batch_size=64,
                         history=Histories(["item"], max_length=3))  # fmt: skip
    options = {"embedding_dim": 4, "hidden_dims": [4], "attention_dims": [4]}
    return make_run(tmp_path_factory.mktemp("words") / "run", data, "DIN", options, lr=0.05)


def test_models_of_clicks_and_ids_of_text(words, serve) -> None:
    client, trained = serve(words), load(words)
    found = client.post("/recommend", users=["u3", "new"], k=9, exclude_seen="none").json()["lists"]
    equal(table(found), trained.recommend(["u3", "new"], k=9, exclude_seen="none", fallback="popularity"))
    rows = pd.DataFrame({"user": ["u3", "u4"], "item": ["<i3>", "<i1>"]})
    found = client.post("/predict", rows=rows.to_dict("records")).json()
    assert found["predictions"] == pytest.approx(trained.predict(rows)["prediction"].tolist(), abs=1e-6)
    parts = client.post("/explain", user="u3", items="<i3>").json()["items"][0]["parts"]
    expected = trained.explain("u3", "<i3>")
    assert [part["of"] for part in parts] == expected["of"].tolist() and parts[0]["kind"] == "past"
    refused = client.post("/recommend", history=["<i3>"])
    assert refused.status_code == 400 and refused.json() == {
        "error": "this run has no recommend_history: its model cannot do that"
    }


def test_ids_that_readers_of_json_would_round_are_text(make_run, tmp_path, serve) -> None:
    """JavaScript's numbers are exact up to 2^53."""
    large = 2**53 + 1
    frame = pd.DataFrame({"user": np.repeat(np.arange(30), 6), "item": np.tile(np.arange(12), 15) + large})
    data = GraphDataModule(FrameLog(frame.drop_duplicates()))
    client = serve(make_run(tmp_path / "run", data, "Popularity", {}, ks=[5]))
    (one,) = client.post("/recommend", users=3, k=2, exclude_seen="none").json()["lists"]
    item = one["items"][0]["item"]
    assert isinstance(item, str) and int(item) >= large and one["user"] == 3
    assert client.post("/recommend", users=3, candidates=item, exclude_seen="none").json()["lists"][0]["items"]


# ---- what is refused


def refused_questions(generator: random.Random) -> list[tuple[str, str, dict]]:
    """200 requests, none of which can be answered."""
    valid = {"/recommend": {"users": [5], "k": 3, "fallback": None}, "/similar": {"items": [3]}, 
             "/explain": {"user": 5, "items": [3]}, "/predict": {"rows": [{"user": 5, "item": 3}]},
             "/history": {"user": 5}}  # fmt: skip
    odd = [None, True, -1, 1.5, 10**30, -(10**400), "", "\x00", "\u202e" * 30, "x" * 10**4, [], [[]], {}, {"a": 1},
           ["\ud800"], [None], [5, True], "0x5", "5e0", "９９９", ["5\n6"], [[5]], float("nan")]  # fmt: skip
    found = []
    while len(found) < 200:
        path = generator.choice(list(valid))
        question = json.loads(json.dumps(valid[path]))
        name = generator.choice([name for name in question if name != "fallback"])
        kind = generator.randrange(8)
        if kind == 0:
            question[name] = generator.choice(odd)
            body = json.dumps(question).encode()
        elif kind == 1:
            del question[name]
            question |= {} if name == "k" else {generator.choice(["userz", "K", "", "__class__", "🙂"]): 1}
            body = b"{" if name == "k" else json.dumps(question).encode()
        elif kind == 2:
            whole = json.dumps(question).encode()
            body = whole[: generator.randrange(len(whole))]
        elif kind == 3:
            body = bytes(generator.randrange(256) for _ in range(generator.randrange(1, 60))) + b"\xff"
        elif kind == 4:
            depth = generator.choice([10, 1000, 100_000])
            body = b'{"%s":' % name.encode() + b"[" * depth + b"]" * depth + b"}"
        elif kind == 5:
            body = generator.choice([b"[]", b"null", b"5", b'"users"', b"", b"[" + b"5," * 2000 + b"5]"])
        elif kind == 6:
            long = generator.choice([[5] * 20_000, "y" * 2_000_000, list(range(1001))])
            question["k" if path == "/recommend" and name == "k" else name] = long
            body = json.dumps(question).encode()
        else:
            method = generator.choice(["GET", "PUT", "DELETE", "PATCH", "TRACE"])
            path = generator.choice([path, "/../etc/passwd", "/%00", "/page.css/..", "/pages/page.html", "//x"])
            found.append((method if path in valid else "POST", path, {}))
            continue
        kinds = ["application/json"] * 4 + ["text/plain", "application/x-www-form-urlencoded", "application/json;;;"]
        found.append(("POST", path, {"content": body, "headers": {"Content-Type": generator.choice(kinds)}}))
    return found


def test_200_malformed_requests_get_a_line_each(client) -> None:
    requests = refused_questions(random.Random(20))
    for request, answer in zip(requests, client.all(requests), strict=True):
        told = (request[0], request[1], str(request[2])[:200], answer.status_code, answer.text[:300])
        assert 400 <= answer.status_code < 500, told
        assert list(answer.json()) == ["error"], told
        line = answer.json()["error"]
        assert 0 < len(line) < 600 and line.isprintable(), told
    assert client.post("/recommend", users=[5]).status_code == 200


def test_what_the_line_says(client) -> None:
    for question, line in [
        ({"users": [5], "fallbak": None}, "body: no 'fallbak' here (did you mean 'fallback'?); there are: users"),
        ({"users": [5], "k": 0}, "body.k: input should be greater than or equal to 1, found 0"),
        ({"users": [5], "k": "3"}, "body.k: input should be a valid integer, found '3'"),
        ({"users": [5, True]}, "body.users.1: True is no id: expected text or a whole number"),
        ({"users": [5], "history": [3]}, "body: expected either users or history"),
        ({"users": list(range(600)), "k": 300}, "body: 600 lists of 300 items; expected at most 100,000 items in all"),
        ({"users": list(range(1001))}, "body.users: list should have at most 1000 items after validation, not 1001"),
    ]:
        answer = client.post("/recommend", **question)
        assert answer.status_code == 422 and answer.json()["error"].startswith(line), answer.text
    answer = client.post("/recommend", users=[5], candidates=[999])
    assert answer.status_code == 400 and answer.json()["error"].startswith("unknown item 999: 40 items are known")


def test_large_bodies(client, monkeypatch) -> None:
    monkeypatch.setattr(guard, "MAX_BODY", 100)

    async def parts():
        for _ in range(3):
            yield b" " * 50

    for content in (b" " * 101, parts()):
        answer = client.ask("POST", "/recommend", content=content)
        assert answer.status_code == 413 and "larger than 100 bytes" in answer.json()["error"]


def test_too_many_at_once(client, monkeypatch) -> None:
    monkeypatch.setattr("recgnn.serving.http.current.MAX_WAITING", 3)
    answers = client.all([("POST", "/recommend", {"json": {"users": [5]}})] * 9)
    assert {a.status_code for a in answers} == {200, 503}
    busy = next(a for a in answers if a.status_code == 503)
    assert busy.headers["Retry-After"] == "1" and busy.json() == {
        "error": "3 questions wait already; ask again in a moment"
    }


# ---- who may ask


def test_nothing_is_answered_without_the_key(tiny_run, serve) -> None:
    client = serve(tiny_run, key="se cret")
    paths = ["/", "/page.js", "/docs", "/health", "/metrics", "/openapi.json", "/nowhere", "/recommend", "/reload"]
    wrong = [{}, {"Authorization": "Bearer se"}, {"X-API-Key": "se cre"}, {"Authorization": "Basic !"},
             {"Authorization": "se cret"}, {"X-API-Key": ""}, {"Authorization": "Bearer sécret"}]  # fmt: skip
    wrong = [{name: value.encode() for name, value in headers.items()} for headers in wrong]
    asked = [(method, path, {"headers": h}) for path in paths for h in wrong for method in ("GET", "POST", "OPTIONS")]
    for request, answer in zip(asked, client.all(asked), strict=True):
        assert answer.status_code == 401 and list(answer.json()) == ["error"], request
    basic = "Basic " + base64.b64encode(b"anybody:se cret").decode()
    for headers in ({"Authorization": "Bearer se cret"}, {"X-API-Key": "se cret"}, {"Authorization": basic}):
        assert client.ask("GET", "/health", headers=headers).status_code == 200
    assert client.ask("POST", "/reload", headers={"X-API-Key": "se cret"}).status_code == 200


def test_pages_of_the_web_reach_nothing(client) -> None:
    for headers, code in [({"Host": "evil.example"}, 403), ({"Origin": "https://evil.example"}, 403),
                          ({"Origin": "null"}, 403), ({"Host": "[::1"}, 403), ({"Host": "localhost:8000"}, 200),
                          ({"Origin": "http://127.0.0.1:8000"}, 200), ({"Host": "[::1]:8000"}, 200)]:  # fmt: skip
        assert client.ask("GET", "/health", headers=headers).status_code == code, headers
    refused = client.ask("POST", "/reload")
    assert refused.status_code == 403 and "RECGNN_API_KEY" in refused.json()["error"]


# ---- the pages, and the counts


def test_pages_need_nothing_from_elsewhere(client) -> None:
    for path in ("/", "/page.css", "/page.js", "/docs", "/docs.js"):
        answer = client.ask("GET", path)
        assert answer.status_code == 200 and "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert not re.search(r"https?://|//\w|innerHTML", re.sub(r"^// .*", "", answer.text, flags=re.M)), path
    spec = client.ask("GET", "/openapi.json").json()
    assert {"/recommend", "/similar", "/predict", "/explain", "/history", "/reload", "/health"} == spec["paths"].keys()


def test_metrics(tiny_run, serve) -> None:
    client = serve(tiny_run)
    client.all([("POST", "/recommend", {"json": {"users": [5]}})] * 8 + [("GET", "/x/1", {}), ("GET", "/x/2", {})])
    lines = client.ask("GET", "/metrics").text.splitlines()
    assert 'recgnn_requests_total{path="/recommend",status="200"} 8.0' in lines
    assert 'recgnn_requests_total{path="other",status="404"} 2.0' in lines
    counts = dict(line.rsplit(" ", 1) for line in lines if line.startswith("recgnn_batch_requests_"))
    assert float(counts["recgnn_batch_requests_sum"]) == 8 > float(counts["recgnn_batch_requests_count"])
