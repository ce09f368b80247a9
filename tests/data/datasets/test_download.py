"""Downloads from a server on this machine, archives made here."""

from __future__ import annotations

import functools
import http.server
import subprocess
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from recgnn.data.datasets.download import download, unpack
from recgnn.data.datasets.wheel import from_wheel
from recgnn.errors import DataError
from recgnn.files import sha256_of


class _Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        if self.path == "/short":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"x" * 10)
        else:
            super().do_GET()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "a.bin").write_bytes(b"abc" * 100_000)
    handler = functools.partial(_Handler, directory=str(tmp_path / "served"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def test_download(server: str, tmp_path: Path) -> None:
    right = sha256_of(tmp_path / "served" / "a.bin")
    download(f"{server}/a.bin", tmp_path / "got" / "a.bin", sha256=right)
    assert sha256_of(tmp_path / "got" / "a.bin") == right


def test_a_download_that_fails_leaves_nothing(server: str, tmp_path: Path, monkeypatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    target = tmp_path / "got" / "a.bin"
    for url, message in (
        (f"{server}/b.bin", "the server answers 404"),
        (f"{server}/short", "broke off"),
        ("http://127.0.0.1:9/a", "cannot be reached"),
        ("http://no-such-host.invalid/a", "cannot be reached"),
    ):
        with pytest.raises(DataError, match=message):
            download(url, target, timeout=30)
    with pytest.raises(DataError, match="its sha256 is"):
        download(f"{server}/a.bin", target, sha256="0" * 64)
    assert not list(target.parent.iterdir())


def test_unpack_stays_in_its_folder(tmp_path: Path) -> None:
    for number, name in enumerate(("../evil", "/evil", "a/../../evil")):
        with zipfile.ZipFile(tmp_path / f"{number}.zip", "w") as file:
            file.writestr("good", "1")
            file.writestr(name, "2")
        with pytest.raises(DataError, match="would leave the folder"):
            unpack(tmp_path / f"{number}.zip", tmp_path / "out")
    assert not (tmp_path / "out").exists() and not (tmp_path / "evil").exists()
    with zipfile.ZipFile(tmp_path / "fine.zip", "w") as file:
        file.writestr("a/b.txt", "1")
    unpack(tmp_path / "fine.zip", tmp_path / "out")
    assert (tmp_path / "out" / "a" / "b.txt").read_text() == "1"
    (tmp_path / "bad.zip").write_bytes(b"PKxx")
    with pytest.raises(DataError, match="no readable zip file"):
        unpack(tmp_path / "bad.zip", tmp_path / "out")


def _fake_pip(wheel: Path, monkeypatch: pytest.MonkeyPatch, code: int = 0) -> None:
    def run(command: list[str], **_: object) -> subprocess.CompletedProcess:
        assert command[1:4] == ["-m", "pip", "download"] and command[-1] == "thing==1"
        if code == 0:
            target = Path(command[command.index("-d") + 1]) / wheel.name
            target.write_bytes(wheel.read_bytes())
        said = "WARNING: hm\nERROR: No matching distribution found for thing==1\n"
        return subprocess.CompletedProcess(command, code, "", said if code else "")

    monkeypatch.setattr(subprocess, "run", run)


def test_from_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = tmp_path / "thing-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as file:
        file.writestr("thing/data/x.txt", "content")
    members = {"thing/data/x.txt": "y.txt"}
    _fake_pip(wheel, monkeypatch)
    from_wheel("thing==1", sha256_of(wheel), members, tmp_path / "out")
    assert (tmp_path / "out" / "y.txt").read_text() == "content"
    with pytest.raises(DataError, match="not the wheel with sha256 000"):
        from_wheel("thing==1", "000", members, tmp_path / "out")
    _fake_pip(wheel, monkeypatch, code=1)
    with pytest.raises(DataError, match="^pip download thing==1: No matching distribution found"):
        from_wheel("thing==1", sha256_of(wheel), members, tmp_path / "out")
