"""The line ends of a text: where they are outside of quoted fields, and that all are of one kind."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from recgnn.data.readers.quotes import QuotedFields
from recgnn.errors import DataError

_NAMES = {b"\n": "LF", b"\r\n": "CRLF", b"\r": "CR"}


def first_ending(text: bytes, fields: QuotedFields | None, last: bool) -> bytes:
    """Return the kind of the first line end outside of quotes; none if there is none yet."""
    at = -1
    for mark in (b"\n", b"\r"):
        found = text.find(mark)
        while found >= 0 and fields is not None and fields.holds(np.array([found]))[0]:
            found = text.find(mark, int(fields.ends[np.searchsorted(fields.starts, found) - 1]))
        at = found if at < 0 else min(at, found) if found >= 0 else at
    if at < 0 or (text.endswith(b"\r") and at == len(text) - 1 and not last):
        return b""
    return b"\r\n" if text[at : at + 2] == b"\r\n" else text[at : at + 1]


def last_ending(text: bytes, fields: QuotedFields | None, ending: bytes) -> int:
    """Return the position behind the last line end outside of quotes; 0 if there is none."""
    limit = len(text)
    while ending:
        at = text.rfind(ending[-1:], 0, limit)
        if at < 0 or fields is None:
            return at + 1
        field = int(np.searchsorted(fields.starts, at)) - 1
        if field < 0 or fields.ends[field] < at:
            return at + 1
        limit = int(fields.starts[field])
    return 0


def check_endings(data: np.ndarray, fields: QuotedFields | None, ending: bytes, path: Path, line: int) -> None:
    """Check that all line ends outside of quotes are of one kind.

    Args:
        data: The bytes of whole records, `[n]` uint8.
        fields: Their quoted fields, if they have any.
        ending: The kind.
        path: The file.
        line: The number of the first line.

    Raises:
        DataError: Names the first line that ends otherwise.
    """
    feed, back = data == b"\n"[0], data == b"\r"[0]
    pair = feed[1:] & back[:-1]
    after, before = np.append(pair, False), np.insert(pair, 0, False)
    kinds = {b"\r\n": before, b"\n": feed & ~before, b"\r": back & ~after}
    for kind, there in kinds.items():
        at = np.flatnonzero(there)
        if kind != ending and len(at):
            at = at if fields is None else at[~fields.holds(at)]
            if len(at):
                line += int((data[: at[0]] == ending[-1]).sum())
                raise DataError(
                    f"{path}, line {line}: ends in {_NAMES[kind]} where others end in {_NAMES[ending]}; write "
                    "the file with one kind of line end"
                )
