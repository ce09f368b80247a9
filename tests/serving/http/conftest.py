"""Clients of an application in this process, and runs to serve."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

httpx = pytest.importorskip("httpx", reason="the extra test is not installed")
pytest.importorskip("fastapi", reason="the extra serve is not installed")
from recgnn.serving.http.app import build_app  # noqa: E402


class Client:
    """Asks an application without a network."""

    def __init__(self, app: Any):
        self.app, self.current = app, app.state.current

    def session(self) -> Any:
        return httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="http://127.0.0.1:8000")

    def ask(self, method: str, path: str, **options: Any) -> Any:
        return self.all([(method, path, options)])[0]

    def post(self, path: str, **question: Any) -> Any:
        return self.ask("POST", path, json=question)

    def all(self, requests: list[tuple[str, str, dict]]) -> list:
        """The responses to requests that are sent at once."""

        async def sent() -> list:
            async with self.session() as session:
                return await asyncio.gather(*(session.request(m, p, **options) for m, p, options in requests))

        return asyncio.run(sent())


@pytest.fixture(scope="session")
def serve() -> Callable[..., Client]:
    return lambda run, **options: Client(build_app(Path(run), **options))


@pytest.fixture(scope="module")
def client(tiny_run: Path, serve: Callable[..., Client]) -> Client:
    return serve(tiny_run)
