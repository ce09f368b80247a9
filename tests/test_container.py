"""The container file of the server: what it copies is there, and what it starts is a command of recgnn.

`benchmarks/container_steps.py` carries its steps out.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from recgnn.serve import parser

ROOT = Path(__file__).parents[1]


def instructions(name: str) -> list[tuple[str, str]]:
    lines = [line for line in (ROOT / name).read_text(encoding="utf-8").splitlines() if line and line[0] != "#"]
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines)]


def test_it_copies_what_the_package_is_built_from_and_nothing_else() -> None:
    copied = [rest.split()[:-1] for word, rest in instructions("Dockerfile") if word == "COPY" and "--from" not in rest]
    sources = {source for one in copied for source in one}
    shown = {line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line[0] == "!"}
    assert sources == shown and all((ROOT / source).exists() for source in sources)
    needed = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert {"recgnn", *re.findall(r'^"(\w+)" = "recgnn/', needed, re.MULTILINE)} < sources  # the wheel's folders
    assert {"README.md", "LICENSE"} < sources  # which the build reads


def test_the_last_stage_has_no_root_and_starts_the_server() -> None:
    *_, last = "\n".join(f"{word} {rest}" for word, rest in instructions("Dockerfile")).split("FROM ")
    of = dict(line.partition(" ")[::2] for line in last.splitlines())
    user, group = map(int, of["USER"].split(":"))
    assert user > 0 and group > 0
    python, module, name, *options = json.loads(of["ENTRYPOINT"]) + json.loads(of["CMD"])
    assert (python, module, name) == ("python", "-m", "recgnn.serve")
    read = parser().read(options)
    assert (read.host, read.port, read.run) == ("0.0.0.0", int(of["EXPOSE"]), "/served")
    assert f"127.0.0.1:{of['EXPOSE']}/health" in json.loads(of["HEALTHCHECK"].partition("CMD ")[2])[-1]
