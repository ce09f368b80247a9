"""The separator of a text whose separator is not told."""

from __future__ import annotations

import csv
import re

SEPARATORS = ("::", "\t", ",", ";", "|", "\x01", "~", "^", " ")


def sniff(text: bytes, quotes: bool = True) -> str:
    """Return the separator that cuts the first lines into equally many fields, and the most; a blank only where no
    other cuts most lines as it cuts the first, since it also stands within names."""
    lines = re.split("\r\n|\n|\r", text[: 2**16].decode("utf-8", "ignore"))
    head = [line for line in lines[:20] if line.strip()]
    head = head[: max(1, len(head) - 1)] if len(text) >= 2**16 else head
    counts = {separator: _counts(head, separator, quotes) for separator in SEPARATORS}
    if any({*line.split()} & {*SEPARATORS} for line in head):  # as in `user , item`
        counts[" "] = []
    even = {separator: cut[0] for separator, cut in counts.items() if len({*cut}) == 1 and cut[0] > 1}
    if "::" in even:
        return "::"
    if not even.keys() - {" "}:
        even = {s: cut[0] for s, cut in counts.items() if cut and 2 * cut.count(max(2, cut[0])) > len(cut)} | even
        if len(even) > 1:
            even.pop(" ", None)
    if not even and head:  # uneven lines: go by the first one
        even = {s: head[0].count(s) for s in SEPARATORS if s in head[0]}
    return max(even, key=lambda separator: even[separator], default=",")


def _counts(lines: list[str], separator: str, quotes: bool) -> list[int]:
    """Return the number of fields of each line."""
    if quotes and len(separator) == 1:
        return [len(fields) for fields in csv.reader(lines, delimiter=separator)]
    return [len(line.split(separator)) for line in lines]
