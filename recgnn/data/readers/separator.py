"""The separator of a text whose separator is not told."""

from __future__ import annotations

import csv
import re

SEPARATORS = ("::", "\t", ",", ";", "|", " ")


def sniff(text: bytes, quotes: bool = True) -> str:
    """Return the separator that cuts the first lines into equally many fields, and the most."""
    lines = re.split("\r\n|\n|\r", text[: 2**16].decode("utf-8", "ignore"))
    head = [line for line in lines[:20] if line.strip()]
    head = head[: max(1, len(head) - 1)] if len(text) >= 2**16 else head
    best, most = ",", 1
    for separator in SEPARATORS:
        if separator == " " and any({*line.split()} & {*SEPARATORS} for line in head):  # as in `user , item`
            continue
        cut = [len(line.split(separator)) for line in head]
        if quotes and len(separator) == 1:
            cut = [len(fields) for fields in csv.reader(head, delimiter=separator)]
        if len({*cut}) == 1 and cut[0] > most:
            best, most = separator, cut[0]
            if separator == "::":
                break
    if most == 1 and head:  # uneven lines: go by the first one
        counted = {s: head[0].count(s) for s in SEPARATORS}
        best = max(counted, key=lambda s: counted[s]) if any(counted.values()) else ","
    return best
