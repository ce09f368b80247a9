"""What stands before every answer: who may ask, from where, and how much; and the counts of it."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from starlette.responses import JSONResponse

MAX_BODY, BODY_SECONDS = 2**20, 30.0
LOOPBACK = ("localhost", "::1")


def is_loopback(host: str) -> bool:
    """Whether a host's name or address is this machine's own."""
    return host in LOOPBACK or host.startswith("127.")


class Guard:
    """ASGI middleware that refuses, with one line, whoever may not ask, and what is too large.

    - With a key nothing is answered without it: `Authorization: Bearer KEY`, `X-API-Key: KEY`, or, for a browser, the
      password of HTTP's basic authentication. Keys are compared in constant time.
    - On the loopback interface the name that was asked for must be loopback's, so that no page of the web can reach it
      by a name of its own; and a page of another origin is never answered.
    - A body is read whole, up to a size and within a time, before the application is called.

    Args:
        app: the application.
        key: of the API; None for none.
        local: whether the server listens on loopback alone.
        done: is told the path, the status and the seconds of each request.
    """

    def __init__(self, app: Any, key: str | None, local: bool, done: Callable[[str, int, float], None]):
        self.app, self.local, self.done = app, local, done
        self.key = None if key is None else key.encode()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        start, status = time.perf_counter(), 500

        async def counted(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            body = self._refused(scope) or await _body(scope, receive)
            if isinstance(body, JSONResponse):
                await body(scope, receive, counted)
            else:
                await self.app(scope, _replayed(body, receive), counted)
        finally:
            self.done(scope["path"], status, time.perf_counter() - start)

    def _refused(self, scope: Any) -> JSONResponse | None:
        """The answer to a request that is not let in."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        host = headers.get("host", "")
        if self.local and not is_loopback(urlsplit(f"//{host}").hostname or "" if _is_host(host) else ""):
            return refusal(403, "the server answers on this machine alone, under the name 127.0.0.1 or localhost")
        origin = headers.get("origin")
        if origin is not None and (not _is_host(origin) or urlsplit(origin).netloc != host):
            return refusal(403, "a page of another origin is not answered")
        if self.key is not None and not any(hmac.compare_digest(self.key, one) for one in _keys(headers)):
            told = {"WWW-Authenticate": 'Basic realm="recgnn: any name, the key as password", charset="UTF-8"'}
            return refusal(401, "expected the key: Authorization: Bearer KEY, or X-API-Key: KEY", told)
        return None


def refusal(status: int, line: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """An error as one line."""
    return JSONResponse({"error": line}, status, headers)


def _is_host(text: str) -> bool:
    """Whether a host or an address can be taken apart."""
    try:
        return bool(urlsplit(text if "//" in text else f"//{text}").hostname)
    except ValueError:
        return False


def _keys(headers: dict[str, str]) -> list[bytes]:
    """The keys that a request gives."""
    kind, _, given = headers.get("authorization", "").partition(" ")
    found = [headers["x-api-key"].encode("latin-1")] if "x-api-key" in headers else []
    if kind.lower() == "bearer":
        found.append(given.strip().encode("latin-1"))
    if kind.lower() == "basic":
        try:
            found.append(base64.b64decode(given, validate=True).partition(b":")[2])
        except (binascii.Error, ValueError):
            pass
    return found


async def _body(scope: Any, receive: Any) -> bytes | JSONResponse:
    """The body of a request, or the refusal of one that is too large or too slow."""
    too_large = refusal(413, f"the body is larger than {MAX_BODY:,} bytes; ask in parts")
    given = dict(scope["headers"]).get(b"content-length", b"0")
    if given.isdigit() and int(given[:20]) > MAX_BODY:
        return too_large
    parts, size = [], 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while True:
                message = await receive()
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                if size > MAX_BODY:
                    return too_large
                if not message.get("more_body", False):
                    return b"".join(parts)
    except TimeoutError:
        return refusal(408, f"the body did not come within {BODY_SECONDS:g} seconds")


def _replayed(body: bytes, receive: Any) -> Any:
    """A `receive` that gives the body that was read, then what comes after it."""
    given = False

    async def replay() -> Any:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
