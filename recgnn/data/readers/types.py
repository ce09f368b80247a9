"""From text to typed columns, so that nothing is lost, and from Arrow to pandas."""

from __future__ import annotations

from typing import Literal

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from recgnn.data.readers.values import NULLS

Kind = Literal["integer", "float", "text"]
KINDS: tuple[Kind, ...] = ("integer", "float", "text")  # each holds the values of those before it
_NULL = pa.array(["", *NULLS])
_EXACT = r"^[+-]?(0[0-9]|[0-9]{16,}$)"
"""Texts that a float would change: leading zeros, and integers that may not be exact."""
_NULLABLE = {
    pa.int8(): pd.Int8Dtype(), pa.int16(): pd.Int16Dtype(), pa.int32(): pd.Int32Dtype(), pa.int64(): pd.Int64Dtype(),
    pa.uint8(): pd.UInt8Dtype(), pa.uint16(): pd.UInt16Dtype(), pa.uint32(): pd.UInt32Dtype(),
    pa.uint64(): pd.UInt64Dtype(),
}  # fmt: skip


def typed(values: pa.ChunkedArray, is_id: bool = False) -> pa.ChunkedArray:
    """Return text as int64 or float64 where every value is a plain number, else as trimmed text, null where empty.

    Integers count as such only if they are written as Python would write them: `007` or `+1` keep the column text.

    Args:
        values: Strings without nulls.
        is_id: Whether the values are ids: never null, never float; `12.0` in every row is 12.
    """
    values = pc.utf8_trim_whitespace(values)
    if is_id:
        plain = pc.utf8_slice_codeunits(values, 0, -2) if pc.all(pc.ends_with(values, ".0")).as_py() else values
        whole = _integers(plain)
        return values if whole is None else whole
    kind = kind_of(values)
    return as_kind(values, "text" if kind is None else kind)


def kind_of(values: pa.ChunkedArray) -> Kind | None:
    """Return the narrowest kind that holds texts without loss; None where all of them stand for no value."""
    found = _numbers(values)
    if found.null_count == len(found):
        return None
    if _integers(found) is not None:
        return "integer"
    try:
        found.cast(pa.float64())
    except pa.ArrowInvalid:
        return "text"
    return "text" if pc.any(pc.match_substring_regex(found, _EXACT)).as_py() else "float"


def wider(one: Kind | None, other: Kind | None) -> Kind | None:
    """Return the kind that holds the values of both."""
    return max(one, other, key=KINDS.index) if one and other else one or other


def as_kind(values: pa.ChunkedArray, kind: Kind) -> pa.ChunkedArray:
    """Return texts in a kind that holds them; null where they stand for no value."""
    if kind == "text":
        values = pc.utf8_trim_whitespace(values)
        return pc.if_else(pc.equal(values, ""), pa.scalar(None, values.type), values)
    return _numbers(values).cast(pa.int64() if kind == "integer" else pa.float64())


def frame_of(table: pa.Table) -> pd.DataFrame:
    """Return a table as a frame; integers with gaps stay integers, dates are dates."""
    frame = {}
    for name in table.column_names:
        column = table[name]
        gaps = column.null_count and column.type in _NULLABLE
        options = {"types_mapper": _NULLABLE.get} if gaps else {"date_as_object": False}
        frame[name] = column.to_pandas(**options)
    return pd.DataFrame(frame, index=pd.RangeIndex(table.num_rows), columns=table.column_names)


def _numbers(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """The texts, trimmed, and null where they stand for no number."""
    values = pc.utf8_trim_whitespace(values)
    null = pc.is_in(values, _NULL)
    return pc.if_else(null, pa.scalar(None, values.type), values) if pc.any(null).as_py() else values


def _integers(values: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """The values as int64, or None if one would be written differently."""
    try:
        whole = values.cast(pa.int64())
    except pa.ArrowInvalid:
        return None
    return whole if whole.cast(pa.string()).equals(values) else None
