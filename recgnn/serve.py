"""`python -m recgnn.serve`: a trained run behind HTTP, with a page to look at it."""

from __future__ import annotations

import os
import socket
import sys
from argparse import Namespace
from pathlib import Path

from recgnn.cli.entry import run
from recgnn.cli.options import OptionParser
from recgnn.errors import ConfigError

DESCRIPTION = """\
Serve a trained run over HTTP: recommend, similar, predict, explain, and a page to try them at /. All ids are those of
your data. Where the environment variable RECGNN_API_KEY is set, nothing is answered without that key.
"""
EXAMPLES = """\
examples:
  python -m recgnn.serve --run runs/lightgcn-ml-100k/1
  curl -s http://127.0.0.1:8000/recommend -H 'Content-Type: application/json' -d '{"users": [196], "k": 5}'
"""
KEY = "RECGNN_API_KEY"


def parser() -> OptionParser:
    """Build the parser of the command's options."""
    parser = OptionParser("serve", DESCRIPTION, epilog=EXAMPLES)
    parser.add_run()
    parser.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="address to listen on (default: "
                        "127.0.0.1, this machine alone; 0.0.0.0 for all)")  # fmt: skip
    parser.add_argument("--port", type=int, default=8000, metavar="N", help="port (default: 8000; 0 for a free one)")
    parser.add_argument("--watch", type=float, default=5.0, metavar="SECONDS", help="how often to look whether the run "
                        "folder holds another run, which then answers (default: 5; 0 for never)")  # fmt: skip
    parser.add_argument("--index", choices=("faiss",), help="search an index of the items instead of scoring all, for "
                        "100,000 and more; its recall against the exact lists is told (extra index)")  # fmt: skip
    parser.add_argument("--mcp", action="store_true", help="answer by the Model Context Protocol, on standard input "
                        "and output, instead of HTTP: the same questions, as an assistant's tools")  # fmt: skip
    return parser


def main(argv: list[str]) -> None:
    """Serve the run named on the command line until the process is stopped."""
    options = parser().read(argv)
    key = os.environ.get(KEY)
    _check(options, key)
    try:
        _serve_tools(options) if options.mcp else _serve(options, key)
    except ModuleNotFoundError as error:
        if error.name not in ("fastapi", "uvicorn", "starlette", "prometheus_client", "pydantic", "mcp"):
            raise
        extra = "mcp" if options.mcp else "serve"
        raise ConfigError(f"serve needs {error.name}: pip install 'recgnn[{extra}]'") from None


def _serve_tools(options: Namespace) -> None:
    from recgnn.serving.http.tools import serve_tools

    serve_tools(Path(options.run), options.trust, options.watch, options.index is not None)


def _serve(options: Namespace, key: str | None) -> None:
    listening = _listen(options.host, options.port)
    import uvicorn

    from recgnn.serving.http.app import build_app
    from recgnn.serving.http.guard import is_loopback

    host, port = listening.getsockname()[:2]
    local = is_loopback(host)
    app = build_app(Path(options.run), key, options.trust, options.watch, local, options.index is not None)
    loaded = app.state.current.loaded.run
    told = str(loaded) if loaded.index is None else f"{loaded}\n{loaded.index.told}"
    place = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    print(f"{told}\nserved at {place}, the API at {place}/docs; Ctrl-C stops", file=sys.stderr)
    if not local and key is None:
        print(f"warning: whoever reaches {place} is answered; set {KEY} to ask for a key", file=sys.stderr)
    settings = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=10)
    uvicorn.Server(settings).run(sockets=[listening])


def _check(options: Namespace, key: str | None) -> None:
    """Refuse options that cannot be."""
    if not 0 <= options.port < 2**16:
        raise ConfigError(f"--port {options.port}: expected 0 to {2**16 - 1:,}")
    if not 0 <= options.watch < float("inf"):
        raise ConfigError(f"--watch {options.watch}: expected seconds, or 0 for never")
    if key is not None and not (key.isascii() and key.isprintable() and key.strip() == key and key):
        raise ConfigError(f"{KEY} is empty or has blanks around it or characters beyond ASCII; give a key, or unset it")


def _listen(host: str, port: int) -> socket.socket:
    """Open the port, before anything is loaded."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listening = socket.create_server((host, port), family=family, backlog=2048)
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else an answer's last part waits 40 ms
        return listening
    except OSError as error:
        raise ConfigError(f"--host {host} --port {port}: cannot be listened on: {error.strerror}") from None


if __name__ == "__main__":
    run(main)
