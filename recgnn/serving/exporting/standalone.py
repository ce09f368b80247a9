"""A module of recgnn as one file that needs no recgnn: what it imports from there stands in it."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

_IMPORT = re.compile(r"^from (recgnn[\w.]+) import (?:\([^)]*\)|.*)\n", re.MULTILINE)
_HEAD = re.compile(r'\A""".*?"""\n\s*from __future__ import annotations\n', re.DOTALL)


def standalone(module: str) -> str:
    """Return the source of a module with that of the modules of recgnn that it imports in place of their imports."""
    source = _source(module)
    head = _HEAD.match(source)
    assert head is not None
    return head[0] + _inlined(source[head.end() :], set())


def _inlined(body: str, done: set[str]) -> str:
    def source_of(match: re.Match) -> str:
        if match[1] in done:
            return ""
        done.add(match[1])
        return _inlined(_HEAD.sub("", _source(match[1])), done).strip() + "\n\n"

    return _IMPORT.sub(source_of, body)


def _source(module: str) -> str:
    spec = find_spec(module)
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).read_text(encoding="utf-8")
