"""Text files as UTF-8: unpacked, decoded by a declared or certain encoding, never by a guess."""

from __future__ import annotations

import codecs
import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

from recgnn.errors import ConfigError, DataError, first_line

_UTF8_MARK = b"\xef\xbb\xbf"


def check_encoding(encoding: str | None) -> None:
    """Check the name of an encoding.

    Raises:
        ConfigError: If Python knows no such text encoding.
    """
    try:
        "".encode(encoding or "utf-8")
    except LookupError:
        raise ConfigError(f"encoding is {encoding!r}; expected one such as utf-8, latin-1, cp1252 or utf-16") from None


def chunks(path: Path, size: int, encoding: str | None = None) -> Iterator[bytes]:
    """Yield a text file as UTF-8, some bytes at a time; what ends in `.gz` by its content is unpacked.

    Without `encoding` the text is UTF-8, or UTF-16 where the file begins with its mark. The bytes of UTF-8 are not
    checked here (see `check_utf8`).

    Args:
        path: The file.
        size: How many bytes are read at once.
        encoding: That of the text.

    Raises:
        DataError: If the file is no readable gzip file, holds a NUL, or bytes that the encoding does not have; names
            the line.
    """
    lines, first, decoder = 0, True, None
    for data in _raw(path, size):
        if first:
            encoding = _certain(data) or encoding
            if encoding is not None and codecs.lookup(encoding).name != "utf-8":
                decoder = codecs.getincrementaldecoder(encoding)()
            data = data.removeprefix(_UTF8_MARK)
            first = False
        if decoder is not None:
            data = _decoded(decoder, data, path, lines, encoding)
        if b"\0" in data:
            line = lines + data.count(b"\n", 0, data.index(b"\0")) + 1
            raise DataError(
                f"{path}, line {line}: holds a NUL byte, so it is a binary file or UTF-16 without a mark; expected text "
                "(csv, tsv) or Parquet, or the name of the encoding (encoding: utf-16-le)"
            )
        lines += data.count(b"\n")
        yield data
    if decoder is not None:
        yield _decoded(decoder, b"", path, lines, encoding, final=True)


def check_utf8(text: bytes, path: Path, line: int) -> None:
    """Check that whole lines are UTF-8.

    Args:
        text: The lines.
        path: Their file.
        line: The number of the first one.

    Raises:
        DataError: Names the line and the byte.
    """
    if text.isascii():
        return
    try:
        text.decode("utf-8")
    except UnicodeDecodeError as error:
        line += text.count(b"\n", 0, error.start)
        raise DataError(
            f"{path}, line {line}: byte 0x{text[error.start]:02x} is not UTF-8; mend it, or name the file's encoding "
            "(encoding: latin-1, cp1252, ...)"
        ) from None


def _certain(data: bytes) -> str | None:
    """The encoding that a file's first bytes declare."""
    if data.startswith(_UTF8_MARK):
        return "utf-8"
    if data.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    return "utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else None


def _decoded(
    decoder: codecs.IncrementalDecoder, data: bytes, path: Path, lines: int, encoding: str | None, final: bool = False
) -> bytes:
    try:
        return decoder.decode(data, final).encode()
    except UnicodeError as error:
        # the lines of this chunk before the byte are few beside those before the chunk: the first is named
        raise DataError(f"{path}, from line {lines + 1} on: is no {encoding}: {first_line(error)}") from error


def _raw(path: Path, size: int) -> Iterator[bytes]:
    """The bytes of a file, unpacked."""
    with open(path, "rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    try:
        with gzip.open(path) if zipped else open(path, "rb") as stream:
            while data := stream.read(size):
                yield data
    except (OSError, EOFError, zlib.error) as error:
        kind = "is no readable gzip file" if zipped else "cannot be read"
        raise DataError(f"{path}: {kind}: {first_line(error)}") from error
