"""Adjacency files, each line of which is a user and that user's items, as of NGCF and LightGCN."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recgnn.data.readers.lines import numbered_lines
from recgnn.data.readers.types import kind_of
from recgnn.errors import DataError

_HEADER = {f"{side}{end}" for side in ("user", "item") for end in ("", "s", "id", "ids", "_id", "_ids")}


def adjacency_lists(path: str | Path) -> tuple[pa.Array, pa.Array]:
    """Return users and items of an adjacency file, one pair per item, as text: [n], [n].

    Raises:
        DataError: If the file is missing, names columns, or has no item.
    """
    numbers, lines = [], []
    for number, line in numbered_lines(path):
        numbers.append(number)
        lines.append(line.split())
    if lines and {word.casefold() for word in lines[0]} <= _HEADER:
        raise DataError(f"{path}, line {numbers[0]}: names columns; expected lists of ids alone, without a header line")
    users = pa.array([line[0] for line in lines], type=pa.string())
    counts = np.array([len(line) - 1 for line in lines], dtype=np.int64)
    items = pa.array([token for line in lines for token in line[1:]], type=pa.string())
    if not len(items):
        raise DataError(f"{path}: no line has an item; expected `user item item ...`, separated by blanks")
    for ids, of in ((users, np.arange(len(lines))), (items, np.repeat(np.arange(len(lines)), counts))):
        if (odd := pc.match_substring_regex(ids, r"^[\[({]|[:,;\])}]$").to_numpy(zero_copy_only=False)).any():
            row = int(odd.argmax())
            one = f"{path}, line {numbers[of[row]]}: {ids[row].as_py()!r}"
            raise DataError(f"{one}; expected `user item item ...`, separated by blanks")
    others = pa.chunked_array([users[1:]]), pa.chunked_array([items[counts[0] :]])
    if len(lines) > 1 and all(kind_of(ids) == "integer" for ids in others if len(ids)):
        if any(kind_of(pa.chunked_array([ids])) != "integer" for ids in (users[:1], items[: counts[0]]) if len(ids)):
            raise DataError(
                f"{path}, line {numbers[0]}: holds names, all others ids that are integers; remove the header line"
            )
    return users.take(pa.array(np.repeat(np.arange(len(lines)), counts))), items
