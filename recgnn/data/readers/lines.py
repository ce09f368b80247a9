"""The lines of a text file, with their numbers: for lists of ids and for sparse text."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from recgnn.data.readers.decoding import check_encoding, check_utf8, chunks
from recgnn.files import existing_file

PIECE = 2**24  # bytes that are read at a time


def numbered_lines(path: str | Path, encoding: str | None = None, what: str = "file") -> Iterator[tuple[int, str]]:
    """Yield the number and the text of every line that is not blank, without blanks around it.

    Raises:
        DataError: If the file is missing or no text; names the line.
    """
    check_encoding(encoding)
    held, number = b"", 1
    for chunk in chunks(existing_file(path, what), PIECE, encoding):
        held += chunk
        cut = held.rfind(b"\n") + 1
        yield from _lines(held[:cut], Path(path), number)
        number += held.count(b"\n", 0, cut)
        held = held[cut:]
    yield from _lines(held, Path(path), number)


def _lines(text: bytes, path: Path, number: int) -> Iterator[tuple[int, str]]:
    check_utf8(text, path, number)
    for place, line in enumerate(text.decode("utf-8").split("\n")):
        if line := line.strip():
            yield number + place, line
