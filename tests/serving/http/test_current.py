"""A new run in the place of the old one, under load: no question is dropped, and every answer is one of its version."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from recgnn import load
from recgnn.serving.http.bodies import Recommend
from recgnn.serving.http.current import Current


@pytest.fixture(scope="module")
def runs(tiny_run, make_run, synthetic, tmp_path_factory) -> list[Path]:
    """Two runs of the same data with other answers."""
    other = make_run(tmp_path_factory.mktemp("other") / "other", synthetic(), "EASE", {})
    (other / "metrics.json").write_text("{}")
    return [tiny_run, other]


@pytest.fixture
def link(runs, tmp_path) -> Path:
    """A run folder that can become another one at once."""
    path = tmp_path / "current"
    path.symlink_to(runs[0])
    return path


def become(link: Path, run: Path) -> None:
    (new := link.with_name("new")).symlink_to(run)
    new.replace(link)


def test_reload_under_load(runs, link, serve) -> None:
    client = serve(link, key="k")
    first = client.current.loaded.version
    expected = {}
    for run in runs:
        found = load(run).recommend(k=5)
        expected[len(expected)] = {user: rows["item"].tolist() for user, rows in found.groupby("user")}

    async def asking(session, user: int, stop: asyncio.Event) -> list:
        found = []
        while not stop.is_set():
            answer = await session.post("/recommend", json={"users": [user], "k": 5}, headers={"X-API-Key": "k"})
            found.append((user, answer))
        return found

    async def whole() -> tuple[list, list]:
        stop = asyncio.Event()
        async with client.session() as session:
            tasks = [asyncio.create_task(asking(session, user, stop)) for user in range(1, 13)]
            await asyncio.sleep(0.05)
            reloads = []
            for run in (runs[1], runs[0], runs[1]):
                become(link, run)
                reloads.append(await session.post("/reload", headers={"X-API-Key": "k"}))
            await asyncio.sleep(0.05)
            stop.set()
            return [one for task in tasks for one in await task], reloads

    answers, reloads = asyncio.run(whole())
    assert [r.status_code for r in reloads] == [200] * 3 and "EASE" in reloads[0].json()["run"]
    versions = [first, reloads[0].json()["version"]]
    assert reloads[1].json()["version"] == first and versions[0] != versions[1]
    counts = [0, 0]
    for user, answer in answers:
        assert answer.status_code == 200, answer.text
        of = versions.index(answer.json()["version"])
        counts[of] += 1
        assert [row["item"] for row in answer.json()["lists"][0]["items"]] == expected[of][user]
    assert min(counts) > 12


def test_a_run_that_cannot_be_loaded_changes_nothing(link, serve, tmp_path) -> None:
    client = serve(link, key="k")
    before = client.current.loaded
    broken = tmp_path / "broken"
    (broken / "checkpoints").mkdir(parents=True)
    (broken / "config.yaml").write_text("")
    (broken / "checkpoints/best.ckpt").write_bytes(b"no checkpoint")
    (broken / "vocabulary").mkdir()
    (broken / "vocabulary/summary.json").write_text("{}")
    become(link, broken)
    answer = client.ask("POST", "/reload", headers={"X-API-Key": "k"})
    assert answer.status_code == 409 and "best.ckpt: is damaged" in answer.json()["error"]
    assert client.current.loaded is before
    answer = client.ask("POST", "/recommend", json={"users": 5}, headers={"X-API-Key": "k"})
    assert answer.status_code == 200 and answer.json()["version"] == before.version


def test_the_folder_is_watched(runs, link, tmp_path) -> None:
    current, told = Current(link), []

    async def watched() -> None:
        task = asyncio.create_task(current.watch(0.01, told.append))
        while not told:
            await asyncio.sleep(0.01)
        assert told == [f"not reloaded, the run before goes on: {link}: is not finished, it has no metrics.json"]
        link.unlink()
        while len(told) < 2:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        assert len(told) == 2, "told once"
        link.symlink_to(runs[1])
        while len(told) < 3:
            await asyncio.sleep(0.01)
        task.cancel()

    asyncio.run(asyncio.wait_for(watched(), 60))
    assert told[1].startswith("not reloaded, the run before goes on:") and "no such run folder" in told[1]
    assert told[-1].startswith("reloaded ") and type(current.loaded.run.model).__name__ == "EASE"


def test_questions_that_are_alike_are_answered_together(tiny_run) -> None:
    sizes: list[int] = []
    current = Current(tiny_run, batched=sizes.append)

    async def asked() -> list:
        questions = [Recommend(users=[user], k=3 + user % 2) for user in range(1, 21)]
        questions.append(Recommend(users=[*range(1, 62)] * 16 + [*range(1, 16)], k=3))  # 991 users
        return await asyncio.gather(*(current.recommend(question) for question in questions))

    answers = asyncio.run(asked())
    assert sum(sizes) == 21 and sorted(sizes) == [1, 10, 10], "by k, and 1,000 users at most"
    for user, (lists, _) in zip(range(1, 21), answers, strict=False):
        assert [one["user"] for one in lists] == [user] and len(lists[0]["items"]) == 3 + user % 2
    assert len(answers[-1][0]) == 991


def test_a_bug_reaches_whoever_asked_and_the_next_are_answered(tiny_run, monkeypatch) -> None:
    current = Current(tiny_run)

    async def asked() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(type(current.loaded.run), "recommend", lambda *_, **__: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                await current.recommend(Recommend(users=[1]))
        assert (await current.recommend(Recommend(users=[1])))[0]

    asyncio.run(asked())
