"""The application: what is answered under which path."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response

from recgnn import __version__
from recgnn.errors import RecGNNError, RunError, printable
from recgnn.serving.http import answers
from recgnn.serving.http.bodies import QUESTIONS, Body, one_line
from recgnn.serving.http.current import Busy, Current, Loaded
from recgnn.serving.http.guard import Guard, refusal

PAGES = {"/": "page.html", "/page.css": "page.css", "/page.js": "page.js", "/docs": "docs.html", "/docs.js": "docs.js"}
POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'"
ERRORS: dict[int | str, Any] = {
    code: {"description": text, "content": {"application/json": {"example": {"error": "a line that tells why"}}}}
    for code, text in ((400, "not what this run knows"), (422, "not what is expected"))
}


class Metrics:
    """The metrics of one server, for Prometheus.

    Args:
        paths: those that are counted by name; others are counted together.
    """

    def __init__(self, paths: set[str]):
        self.registry, self.paths = CollectorRegistry(), paths
        ProcessCollector(registry=self.registry)
        place, sizes = self.registry, (1, 2, 4, 8, 16, 32, 64, 128)
        by = ["path", "status"]
        self.requests = Counter("recgnn_requests", "Requests by path and status", by, registry=place)
        self.seconds = Histogram("recgnn_request_seconds", "Seconds to an answer", ["path"], registry=place)
        self.together = Histogram("recgnn_batch_requests", "Questions answered at once", buckets=sizes, registry=place)
        self.reloads = Counter("recgnn_reloads", "New runs, by whether they loaded", ["result"], registry=place)
        self.since = Gauge("recgnn_run_loaded_timestamp_seconds", "When the run was loaded", registry=place)

    def done(self, path: str, status: int, seconds: float) -> None:
        """Count a request."""
        path = path if path in self.paths else "other"
        self.requests.labels(path, str(status)).inc()
        self.seconds.labels(path).observe(seconds)


def build_app(
    run: Path, key: str | None = None, trust: bool = False, watch: float = 0, local: bool = True, index: bool = False
) -> FastAPI:
    """Load a run, and make the application that answers from it.

    Args:
        run: the run folder.
        key: without which nothing is answered; None for none.
        trust: see `recgnn.load`.
        watch: seconds between two looks at the run folder, for another run in it; 0 for none.
        local: whether the server listens on the loopback interface alone.
        index: whether recommendations are searched for in an index of the items.

    Raises:
        RunError: if the run cannot be loaded.
    """
    own = ("/reload", "/health", "/metrics", "/openapi.json")
    metrics = Metrics({*PAGES, *own, *(f"/{name}" for name in QUESTIONS)})
    current = Current(run, trust, index, metrics.together.observe)

    def told(line: str) -> None:
        metrics.reloads.labels("failed" if line.startswith("not") else "done").inc()
        print(printable(line), file=sys.stderr)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        task = asyncio.create_task(current.watch(watch, told)) if watch else None
        yield
        if task is not None:
            task.cancel()

    app = FastAPI(title="recgnn", version=__version__, docs_url=None, redoc_url=None, lifespan=lifespan,
                  description="Recommendations of a trained run. Ids are those of its data.")  # fmt: skip
    app.state.current = current
    app.add_middleware(Guard, key=key, local=local, done=metrics.done)
    _refuse_in_one_line(app)

    for name, kind in QUESTIONS.items():
        app.post(f"/{name}", responses=ERRORS, summary=kind.__doc__)(_endpoint(current, name, kind))

    @app.post("/reload", summary="Load what the run folder holds now; needs a key")
    async def reload() -> Response:
        if key is None:
            return refusal(403, "reload needs a key: start the server with RECGNN_API_KEY, or let it watch the folder")
        try:
            by = await current.reload()
        except RecGNNError as error:
            told(f"not reloaded, the run before goes on: {error}")
            return refusal(409, f"not reloaded, the run before goes on: {error}")
        told(f"reloaded {run}: {by.run}")
        return JSONResponse(_about(by))

    @app.get("/health", summary="What is served")
    async def health() -> Response:
        return JSONResponse({"status": "ok", **_about(current.loaded)})

    @app.get("/metrics", include_in_schema=False)
    async def prometheus() -> Response:
        metrics.since.set(current.loaded.since)
        return Response(generate_latest(metrics.registry), media_type="text/plain; version=0.0.4")

    async def page(request: Request) -> Response:
        file = Path(__file__).parent / "pages" / PAGES[request.url.path]
        return FileResponse(file, headers={"Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff",
                                           "X-Frame-Options": "DENY", "Cache-Control": "no-cache"})  # fmt: skip

    for path in PAGES:
        app.add_route(path, page, methods=["GET"], include_in_schema=False)
    return app


def _endpoint(current: Current, name: str, kind: type[Body]) -> Callable[[Any], Awaitable[Response]]:
    """What answers a kind of questions."""

    async def endpoint(question: Any) -> Response:
        return JSONResponse(await current.answer(question))

    endpoint.__name__, endpoint.__annotations__ = name, {"question": kind, "return": Response}
    return endpoint


def _about(by: Loaded) -> dict[str, Any]:
    """What a run is, and some of its users, to try it with."""
    model = type(by.run.model).__name__
    found: dict[str, Any] = {"version": by.version, "run": str(by.run), "model": model, "since": by.since}
    users, items = getattr(by.run, "users", None), getattr(by.run, "items", None)
    if users is not None and items is not None:
        some = [answers.plain(user) for user in users.decode(range(min(3, len(users)))).tolist()]
        found |= {"users": len(users), "items": len(items), "some_users": some}
    if by.run.index is not None:
        found["index"] = by.run.index.told
    return found


def _refuse_in_one_line(app: FastAPI) -> None:
    """Turn what is wrong into one line each."""

    async def mistake(_: Request, error: Exception) -> Response:
        if isinstance(error, Busy):
            return refusal(503, str(error), {"Retry-After": "1"})
        return refusal(500 if isinstance(error, RunError) else 400, printable(str(error)))

    async def invalid(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return refusal(422, printable(one_line(error.errors())))

    async def http(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return refusal(error.status_code, printable(str(error.detail)), dict(error.headers or {}))

    async def bug(_: Request, error: Exception) -> Response:
        return refusal(500, "an error of the server, told in its own log")

    app.add_exception_handler(RecGNNError, mistake)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(Exception, bug)
