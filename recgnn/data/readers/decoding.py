"""Text files as UTF-8: unpacked, decoded by a declared or certain encoding, never by a guess."""

from __future__ import annotations

import bz2
import codecs
import gzip
import lzma
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from recgnn.errors import ConfigError, DataError, first_line

_UTF8_MARK = b"\xef\xbb\xbf"
GROWTH = 500  # times that a packed file of text may grow
_PACKED: dict[bytes, tuple[str, Any]] = {  # by how a file begins
    b"\x1f\x8b": ("gzip", gzip.open),
    b"BZh": ("bzip2", bz2.open),
    b"\xfd7zXZ": ("xz", lzma.open),
    b"\x28\xb5\x2f\xfd": ("Zstandard", lambda path: pa.input_stream(str(path), compression="zstd")),
}
_OTHERS = {
    b"PK\x03\x04": "a zip archive or a workbook; unpack it, or save it as csv",
    b"ARROW1": "an Arrow (Feather) file; write it as Parquet",
    b"SQLite": "an SQLite database; write the table as csv or Parquet",
    b"ORC": "an ORC file; write it as Parquet",
    b"\x89HDF": "an HDF5 file; write the table as csv or Parquet",
    b"PAR1": "a Parquet file; expected lines of text",
}


def check_encoding(encoding: str | None) -> None:
    """Check the name of an encoding.

    Raises:
        ConfigError: If Python knows no such text encoding.
    """
    try:
        "".encode(encoding or "utf-8")
    except LookupError:
        raise ConfigError(f"encoding is {encoding!r}; expected one such as utf-8, latin-1, cp1252 or utf-16") from None


def plain_name(path: Path) -> str:
    """Return the name of a file without the ending of what has packed it: `log.tsv` of `log.tsv.gz`."""
    return path.stem if path.suffix in (".gz", ".bz2", ".xz", ".zst") else path.name


def chunks(path: Path, size: int, encoding: str | None = None) -> Iterator[bytes]:
    """Yield a text file as UTF-8, some bytes at a time; what gzip, bzip2, xz or Zstandard has packed is unpacked.

    Without `encoding` the text is UTF-8, or UTF-16 where the file begins with its mark. The bytes of UTF-8 are not
    checked here (see `check_utf8`).

    Args:
        path: The file.
        size: How many bytes are read at once.
        encoding: That of the text.

    Raises:
        DataError: If the file cannot be unpacked, holds a NUL, or bytes that the encoding does not have; names
            the line.
    """
    decoder = None
    for number, data in enumerate(_raw(path, size)):
        if number == 0:
            if kind := next((kind for begin, kind in _OTHERS.items() if data.startswith(begin)), None):
                raise DataError(f"{path}: is {kind}")
            certain = _certain(data)
            encoding = certain or encoding
            if encoding is not None and codecs.lookup(encoding).name != "utf-8":
                decoder = codecs.getincrementaldecoder(encoding)()
        if decoder is not None:
            try:
                data = decoder.decode(data).encode()
            except UnicodeError as error:
                raise _undecodable(path, encoding, error) from error
        if number == 0 and certain in (None, "utf-8"):  # the other decoders take the mark themselves
            data = data.removeprefix(_UTF8_MARK)
        if b"\0" in data:
            line = _line_of(path, b"\0") if decoder is None else 1
            raise DataError(
                f"{path}, line {line}: holds a NUL byte: it is a binary file, or UTF-16 without a mark; expected text "
                "(csv, tsv) or Parquet, or the name of the encoding (encoding: utf-16-le)"
            )
        yield data
    if decoder is not None:
        try:
            yield decoder.decode(b"", final=True).encode()
        except UnicodeError as error:
            raise _undecodable(path, encoding, error) from error


def check_utf8(text: bytes, path: Path, line: int) -> None:
    """Check that whole lines are UTF-8, without a byte order mark.

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
    if _UTF8_MARK in text:  # which pyarrow would skip at the start of a piece, and nowhere else
        line += text.count(b"\n", 0, text.index(_UTF8_MARK))
        raise DataError(
            f"{path}, line {line}: holds a byte order mark (U+FEFF), which belongs at the start of a file; remove it, "
            "and the header line that may follow it where files were joined"
        )


def _certain(data: bytes) -> str | None:
    """Return the encoding that a file's first bytes declare."""
    if data.startswith(_UTF8_MARK):
        return "utf-8"
    if data.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    return "utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else None


def _undecodable(path: Path, encoding: str | None, error: UnicodeError) -> DataError:
    """Return the error for the first byte that an encoding does not have; names its line."""
    decoder = codecs.getincrementaldecoder(encoding or "utf-8")()
    line = 1
    for data in _raw(path, 2**10):
        try:
            line += decoder.decode(data).count("\n")
        except UnicodeError as place:
            if isinstance(place, UnicodeDecodeError):
                line += place.object[: place.start].decode(encoding or "utf-8", "ignore").count("\n")
            break
    return DataError(f"{path}, line {line}: is no {encoding}: {first_line(error)}")


def _line_of(path: Path, byte: bytes) -> int:
    """Return the line of the first such byte."""
    line = 1
    for data in _raw(path, 2**16):
        line += data.count(b"\n", 0, data.index(byte) if byte in data else None)
        if byte in data:
            break
    return line


def _raw(path: Path, size: int) -> Iterator[bytes]:
    """Yield the bytes of a file, unpacked."""
    with open(path, "rb") as file:
        begin = file.read(6)
    name, unpacked = next((kind for start, kind in _PACKED.items() if begin.startswith(start)), ("", None))
    packed = path.stat().st_size
    left = max(GROWTH * packed, 2**26) if name else packed
    try:
        with unpacked(path) if unpacked else open(path, "rb") as stream:
            while data := stream.read(size):
                left -= len(data)
                if name and left < 0:
                    raise DataError(f"{path}: {packed:,} bytes that unpack to {GROWTH} times as many are no table")
                yield data
    except (OSError, EOFError, zlib.error, lzma.LZMAError, pa.ArrowException) as error:
        kind = f"is no readable {name} file" if name else "cannot be read"
        raise DataError(f"{path}: {kind}: {first_line(error)}") from error
