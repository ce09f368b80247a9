"""The command as it is typed, and its page in a browser without a screen."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

httpx = pytest.importorskip("httpx", reason="the extra test is not installed")
uvicorn = pytest.importorskip("uvicorn", reason="the extra serve is not installed")
from recgnn import load  # noqa: E402
from recgnn.cli.entry import main  # noqa: E402
from recgnn.errors import ConfigError  # noqa: E402

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def address(tiny_run) -> Iterator[str]:
    """Where the command serves, in a thread of this process."""
    started: list = []

    class Server(uvicorn.Server):
        def run(self, sockets):
            started[:] = [self, sockets[0].getsockname()[1]]
            super().run(sockets)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(uvicorn, "Server", Server)
        thread = threading.Thread(target=main, args=("serve", ["--run", str(tiny_run), "--port", "0"]), daemon=True)
        thread.start()
        while not started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield f"http://127.0.0.1:{started[1]}"
        started[0].should_exit = True
        thread.join(20)
        assert not thread.is_alive()


def test_the_command_answers(address, tiny_run) -> None:
    answer = httpx.post(f"{address}/recommend", json={"users": [5], "k": 3}, timeout=30)
    expected = load(tiny_run).recommend(5, k=3)
    assert [row["item"] for row in answer.json()["lists"][0]["items"]] == expected["item"].tolist()


def test_an_answer_is_sent_at_once() -> None:
    from recgnn.serve import _listen

    with _listen("127.0.0.1", 0) as listening, socket.create_connection(listening.getsockname()):
        accepted = listening.accept()[0]
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        accepted.close()


@pytest.mark.skipif(not CHROMIUM, reason="no Chromium here")
def test_the_page_shows_history_recommendations_and_why(address, tiny_run, tmp_path) -> None:
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}", "--dump-dom",
               "--virtual-time-budget=20000", f"{address}/#5"]  # fmt: skip
    page = subprocess.run(command, capture_output=True, text=True, timeout=120).stdout
    trained = load(tiny_run)
    best, own = trained.recommend(5, k=10), trained.items_of(5)
    recommended = re.search(r'<ol id="recommended">(.*?)</ol>', page, re.S)[1]
    entries = recommended.split("<li>")[1:]
    assert [re.search(r"</span>(.*?) <span", one)[1] for one in entries] == best["title"].tolist()
    history = re.search(r'<ul id="history">(.*?)</ul>', page, re.S)[1]
    assert re.findall(r"<li>(.*?) <span", history) == own["title"].tolist()
    parts = trained.explain(5, best["item"].iloc[0])
    told = re.findall(r"<span>(.*?)</span><meter", entries[0])
    both = [f"{row.title} ({row.both} users have both)" for row in parts.head(4).itertuples()]
    assert told == both and trained.model.explanation in page


def test_options(tiny_run, monkeypatch) -> None:
    run = ["--run", str(tiny_run)]
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        with pytest.raises(ConfigError, match=f"--host 127.0.0.1 --port {port}: cannot be listened on: "):
            main("serve", [*run, "--port", port])
    with pytest.raises(ConfigError, match="--port 70000: expected 0 to 65,535"):
        main("serve", [*run, "--port", "70000"])
    with pytest.raises(ConfigError, match="--watch nan: expected seconds"):
        main("serve", [*run, "--watch", "nan"])
    for key in ("", " x", "ключ"):
        monkeypatch.setenv("RECGNN_API_KEY", key)
        with pytest.raises(ConfigError, match="RECGNN_API_KEY is empty or has blanks"):
            main("serve", run)


def test_pages_are_part_of_the_package() -> None:
    """hatch packs every file of the folder; a page of another place would not be there."""
    import recgnn.serving.http as room

    names = {path.name for path in (Path(room.__file__).parent / "pages").iterdir()}
    assert names == {"page.html", "page.css", "page.js", "docs.html", "docs.js"}
