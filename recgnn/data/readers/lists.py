"""Several values in one cell: Parquet's and Arrow's lists and objects, JSON, text with separators."""

from __future__ import annotations

import ast
import json
import re
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from itertools import chain

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from recgnn.data.readers.values import as_text
from recgnn.errors import DataError

LISTS = (list, tuple, set, np.ndarray)
NESTED = (*LISTS, dict)
LOOKED_AT = 10_000  # lists that are looked at for padding
FEWEST = 10  # lists among which something can be told
_QUOTED = re.compile(r"""'([^']*)'|"([^"]*)\"""")
_NUMBERS = re.compile(r"[\[][-+.\deE\s]*[\]]")


def is_list(kind: pa.DataType) -> bool:
    """Return whether an Arrow type is of lists."""
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def as_json(lists: pa.Array) -> pa.Array:
    """Return lists as JSON, `[3,17]` or `["a","b"]`, null where there is none."""
    flat = lists.flatten()
    if is_list(flat.type):
        text = as_json(flat)
    elif pa.types.is_integer(flat.type) or pa.types.is_floating(flat.type) or pa.types.is_boolean(flat.type):
        broken = pc.invert(pc.is_finite(flat)) if pa.types.is_floating(flat.type) else pa.scalar(False)
        text = pc.if_else(broken, pa.scalar(None, pa.string()), flat.cast(pa.string()))
    else:
        text = pc.replace_substring(pc.replace_substring(flat.cast(pa.string()), "\\", "\\\\"), '"', '\\"')
        text = pc.binary_join_element_wise('"', text, '"', "")
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    ends = pa.array(np.append(0, np.cumsum(lengths)), pa.int32())
    joined = pc.binary_join(pa.ListArray.from_arrays(ends, pc.fill_null(text, "null")), ",")
    return pc.if_else(lists.is_valid(), pc.binary_join_element_wise("[", joined, "]", ""), pa.scalar(None, pa.string()))


def words_as_json(column: pd.Series) -> pd.Series:
    """Return texts of words between blanks as lists in JSON."""
    texts = pc.utf8_trim_whitespace(pa.array(column.astype("str"), pa.string()))
    found = pc.replace_substring(as_json(pc.utf8_split_whitespace(texts)), '[""]', "[]")
    return pd.Series(found.to_pandas().to_numpy(), index=column.index, dtype="str")


def lists_as_json(table: pa.Table) -> pa.Table:
    """Return a table whose columns of lists, or of objects, are JSON."""
    for place, field in enumerate(table.schema):
        if is_list(field.type) or pa.types.is_nested(field.type):
            make = as_json if is_list(field.type) and not _of_objects(field.type) else _objects_as_json
            made = [make(chunk) for chunk in table.column(place).chunks]
            table = table.set_column(place, field.name, pa.chunked_array(made, pa.string()))
    return table


def _of_objects(kind: pa.DataType) -> bool:
    return _of_objects(kind.value_type) if is_list(kind) else pa.types.is_nested(kind)


def _objects_as_json(values: pa.Array) -> pa.Array:
    rows = values.to_pylist(maps_as_pydicts="lossy")
    return pa.array([None if row is None else _as_text(row) for row in rows], pa.string())


def plain_lists(column: pd.Series) -> pd.Series:
    """Return a column of lists or objects, or with such among other values, as JSON; others as they are.

    Decimals are numbers, durations seconds, and texts among other values make texts of all.

    Raises:
        DataError: If it holds complex numbers.
    """
    if isinstance(column.dtype, pd.SparseDtype):
        column = pd.Series(column.to_numpy(), column.index, name=column.name)
    if column.dtype.kind == "c":
        raise DataError(f"column '{column.name}' holds complex numbers; expected numbers, text, dates or lists")
    if column.dtype == np.float16 or column.dtype.kind == "m":
        return column.astype(np.float32) if column.dtype == np.float16 else column.dt.total_seconds()
    if isinstance(column.dtype, pd.ArrowDtype) and is_list(column.dtype.pyarrow_dtype):
        return as_json(column.array.__arrow_array__().combine_chunks()).to_pandas().set_axis(column.index)
    known = column.dropna() if column.dtype == object else column[:0]
    kinds = {*map(type, known)}
    if not any(issubclass(kind, NESTED) for kind in kinds):
        if Decimal in kinds and not kinds - {Decimal, int, float}:
            return column.astype(np.float64)
        return as_text(column).astype("str") if str in kinds and len(kinds) > 1 else column
    try:
        text = as_json(pa.array(column, from_pandas=True)).to_pylist()
    except (pa.ArrowException, NotImplementedError, AttributeError):  # of several types, or objects
        text = [_as_text(x) if isinstance(x, NESTED) else x for x in column]
    return pd.Series(text, index=column.index, name=column.name, dtype="str")


def without_lists(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame whose columns of lists are JSON, and others of the usual types (see `plain_lists`)."""
    found = frame.copy(deep=False)
    for name in frame.columns:
        column = frame[name]
        if (plain := plain_lists(column)) is not column:
            found[name] = plain
    return found


def hold_lists(column: pd.Series) -> bool:
    """Return whether most values of a column are lists in JSON."""
    some = as_text(column.dropna().iloc[:1000]) if not pd.api.types.is_numeric_dtype(column.dtype) else column[:0]
    texts = [text for text in some.dropna() if text[0] == "[" and text[-1] == "]"]
    return 2 * len(texts) > len(some) and sum(one is not None for one in _parsed(texts)) * 2 > len(some)


def hold_objects(column: pd.Series) -> bool:
    """Return whether all values of a column are objects in JSON."""
    some = as_text(column.dropna().iloc[:1000]).dropna()
    return len(some) > 0 and all(text[0] == "{" and text[-1] == "}" and '":' in text for text in some)


def _as_text(value: object) -> str:
    return json.dumps(value, default=lambda x: list(x) if isinstance(x, set | np.ndarray) else str(x))


def pieces_of(column: pd.Series, separator: str, places: bool = False) -> list[list[str]]:
    """Return the values of each cell, as text: of a list in JSON (or as Python writes it), else between separators.

    Blanks are no values.

    Args:
        column: Text, or single values.
        separator: Of text.
        places: Whether a blank between two separators, or in a list, keeps its place, as "".
    """
    texts = as_text(column).fillna("").tolist()
    bracketed = [place for place, text in enumerate(texts) if text[:1] == "[" and text[-1:] == "]"]
    lists = dict(zip(bracketed, _parsed([texts[place] for place in bracketed]), strict=True))
    found = []
    for place, text in enumerate(texts):
        values = lists.get(place)
        if values is not None:
            pieces = [_text(value) for value in values]
        else:
            pieces = [piece.strip() for piece in text.split(separator)] if text else []
        found.append(pieces if places and (separator != " " or values is not None) else [p for p in pieces if p])
    return found


def _parsed(texts: list[str]) -> Sequence[list | None]:
    """Return the lists that texts hold; None for one that holds none."""
    try:
        whole = json.loads(f"[{','.join(texts)}]", strict=False)
        if len(whole) == len(texts) and all(isinstance(one, list) for one in whole):
            return whole
    except (ValueError, RecursionError):
        pass
    return [_parsed_one(text) for text in texts]


def _parsed_one(text: str) -> list | None:
    try:
        found = json.loads(text, strict=False)
        return found if isinstance(found, list) else None
    except (ValueError, RecursionError):
        pass
    if "," not in text and (_NUMBERS.fullmatch(text) or len(_QUOTED.findall(text)) > 1):  # as NumPy writes it
        return [a or b for a, b in _QUOTED.findall(text)] or text[1:-1].split()
    try:
        found = ast.literal_eval(text)
        return found if isinstance(found, list) else None
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None


def _text(value: object) -> str:
    """Return a value of a list as `as_text` would; "" for none."""
    if value is None or value != value:
        return ""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        value = int(value)
    return json.dumps(value) if isinstance(value, list | tuple | dict) else str(value).strip()


def padding_in(lists: Sequence[list[str]], counts: Sequence[int] | None = None) -> str:
    """Return what fills lists up, as far as it can be told, with how it does; "" for nothing.

    It is the value at one end of most lists, several times in some, and nowhere else.

    Args:
        lists: Some lists of values.
        counts: How often each of them stands; once when None.
    """
    weights = [1] * len(lists) if counts is None else counts
    rows = [(pieces, int(count)) for pieces, count in zip(lists[:LOOKED_AT], weights, strict=False) if pieces]
    total = sum(count for _, count in rows)
    for end, where in ((0, "beginning"), (-1, "end")):
        ends: Counter[str] = Counter()
        for pieces, count in rows:
            ends[pieces[end]] += count
        value, share = ends.most_common(1)[0] if ends else ("", 0)
        if total < FEWEST or 2 * share <= total:
            continue
        runs = [_run(pieces if end == 0 else pieces[::-1], value) for pieces, _ in rows]
        if max(runs) > 1 and all(run == pieces.count(value) for run, (pieces, _) in zip(runs, rows, strict=True)):
            told = f"{value!r} fills the {where} of {share / total:.0%} of its lists, as padding does"
            return f"{told}; say padding: {value} to leave it out, or padding: '' if it is a value"
    return ""


def _run(pieces: list[str], value: str) -> int:
    """Return how often a value stands at the beginning."""
    return next((place for place, piece in enumerate(pieces) if piece != value), len(pieces))


def flat_pieces(column: pd.Series, separator: str) -> tuple[pa.Array, np.ndarray]:
    """Return `pieces_of` the cells, one after the other [p], and of each its cell [p]."""
    texts = pa.array(as_text(column).tolist(), pa.large_string(), from_pandas=True)
    if pc.any(pc.starts_with(texts, "[")).as_py():
        values, sizes = flat(pieces_of(column, separator))
        return pa.array(values, pa.large_string()), np.repeat(np.arange(len(sizes)), sizes)
    lists = pc.split_pattern(texts, separator)
    pieces = pc.utf8_trim_whitespace(lists.flatten())
    there = pc.not_equal(pieces, "")
    return pieces.filter(there), pc.list_parent_indices(lists).filter(there).to_numpy()


def flat(lists: Sequence[list[str]]) -> tuple[np.ndarray, np.ndarray]:
    """Return the values of all lists, one after the other `[N]`, and the lists' lengths `[n]`."""
    lengths = np.fromiter(map(len, lists), dtype=np.int64, count=len(lists))
    return np.fromiter(chain.from_iterable(lists), dtype=object, count=int(lengths.sum())), lengths
