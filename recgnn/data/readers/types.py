"""From text to typed columns, so that nothing is lost, and from Arrow to pandas."""

from __future__ import annotations

from typing import Literal

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from recgnn.data.readers.values import INT64, NULLS

Kind = Literal["integer", "float", "text"]
IdKind = Literal["integer", "pointed", "text"]
"""Of ids: integers, integers that all end with .0, or text."""
KINDS: tuple[Kind, ...] = ("integer", "float", "text")  # each holds the values of those before it
_NULL = pa.array(["", *NULLS])
_EXACT = r"^[+-]?(0[0-9]|[0-9]{16,}$)"
"""Texts that a float would change: leading zeros, and integers that may not be exact."""
_UNITS = ("s", "ms", "us", "ns")
_NULLABLE = {
    pa.int8(): pd.Int8Dtype(), pa.int16(): pd.Int16Dtype(), pa.int32(): pd.Int32Dtype(), pa.int64(): pd.Int64Dtype(),
    pa.uint8(): pd.UInt8Dtype(), pa.uint16(): pd.UInt16Dtype(), pa.uint32(): pd.UInt32Dtype(),
    pa.uint64(): pd.UInt64Dtype(),
}  # fmt: skip


def typed(values: pa.ChunkedArray, is_id: bool = False) -> pa.ChunkedArray:
    """Return text as int64 or float64 where every value is a plain number, else as trimmed text, null where empty.

    Integers count as such only if they are written as Python would write them: `007` or `+1` keep the column text.

    Args:
        values: Trimmed strings without nulls.
        is_id: Whether the values are ids: never null, never float; `12.0` in every row is 12.
    """
    if is_id:
        plain = pc.utf8_slice_codeunits(values, 0, -2) if pc.all(pc.ends_with(values, ".0")).as_py() else values
        whole = _integers(plain)
        return values if whole is None else whole
    found = _numbers(values)
    return as_kind(values, "text") if found is None else found


def id_kind_of(values: pa.ChunkedArray) -> IdKind:
    """Return the kind of some ids, as `typed` would find it."""
    if _integers(values) is not None:
        return "integer"
    pointed = pc.all(pc.ends_with(values, ".0")).as_py()
    return "pointed" if pointed and _integers(pc.utf8_slice_codeunits(values, 0, -2)) is not None else "text"


def kind_of(values: pa.ChunkedArray, name: bool = False) -> Kind | None:
    """Return the narrowest kind that holds trimmed texts without loss; None where all stand for no value. The values of
    a `name` are numbers only where they are whole: 1e3 is another product than 1000."""
    found = _numbers(values)
    if found is None or (name and found.type == pa.float64() and not pc.all(_whole(values)).as_py()):
        return "text"
    return None if found.null_count == len(found) else "integer" if found.type == pa.int64() else "float"


def wider(one: Kind | None, other: Kind | None) -> Kind | None:
    """Return the kind that holds the values of both."""
    return max(one, other, key=KINDS.index) if one and other else one or other


def as_kind(values: pa.ChunkedArray, kind: Kind | IdKind) -> pa.ChunkedArray:
    """Return trimmed texts in a kind that holds them; null where they stand for no value."""
    if kind == "pointed":
        return pc.utf8_slice_codeunits(values, 0, -2).cast(pa.int64())
    if kind == "text":
        return _null_where(pc.equal(values, ""), values)
    return _null_where(pc.is_in(values, _NULL), values).cast(pa.int64() if kind == "integer" else pa.float64())


def frame_of(table: pa.Table) -> pd.DataFrame:
    """Return a table as a frame; integers with gaps stay integers, dates are dates, decimals are numbers, durations
    are seconds, halves are float32, and bytes that are UTF-8 are text."""
    for place, field in enumerate(table.schema):
        if (plain := _plain(table.column(place))) is not None:
            table = table.set_column(place, field.name, plain)
    gaps = [name for name in table.column_names if table[name].type in _NULLABLE and table[name].null_count]
    frame = table.drop_columns(gaps).to_pandas(ignore_metadata=True, date_as_object=False)
    for name in gaps:
        frame.insert(table.column_names.index(name), name, table[name].to_pandas(types_mapper=_NULLABLE.get))
    return frame


def _plain(values: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """Return decimals, durations and bytes as what they mean; None for other types, and for bytes that are no text."""
    kind = values.type
    try:
        if pa.types.is_decimal(kind) and kind.scale > 0:
            return values.cast(pa.float64())
        if pa.types.is_decimal(kind):
            low, high = pc.min_max(values).as_py().values()
            exact = low is None or (low >= INT64.min and high <= INT64.max)
            return values.cast(pa.int64() if exact else pa.large_string())
        if pa.types.is_float16(kind):
            return values.cast(pa.float32())
        if pa.types.is_duration(kind):
            return pc.divide(values.cast(pa.int64()).cast(pa.float64()), 1000.0 ** _UNITS.index(kind.unit))
        if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
            return values.cast(pa.large_string())
    except pa.ArrowInvalid:
        pass
    return None


def _numbers(values: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """Return texts as int64 or else float64, null where they stand for no number; None if that would lose something."""
    values = _null_where(pc.is_in(values, _NULL), values)
    if values.null_count == len(values):
        return values
    whole = _integers(values)
    if whole is not None:
        return whole
    try:
        floats = values.cast(pa.float64())
    except pa.ArrowInvalid:
        return None
    beyond = pc.and_(pc.is_inf(floats), pc.invert(pc.match_substring_regex(values, "(?i)inf")))  # such as 1e400
    return None if pc.any(pc.or_(beyond, pc.match_substring_regex(values, _EXACT))).as_py() else floats


def _integers(values: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """Return texts as int64, or None if one is written otherwise, such as 007, 0x7 or +7."""
    try:
        whole = values.cast(pa.int64())
    except pa.ArrowInvalid:
        return None
    padded = pc.and_(pc.starts_with(values, "0"), pc.greater(pc.binary_length(values), 1))
    other = pc.or_(pc.or_(padded, pc.starts_with(values, "+")), pc.starts_with(values, "-0"))
    return None if pc.any(other).as_py() else whole


def _whole(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Whether texts are whole numbers, also with .0, or stand for no value."""
    return pc.or_(pc.match_substring_regex(values, r"^(0|-?[1-9][0-9]*)(\.0*)?$"), pc.is_in(values, _NULL))


def _null_where(missing: pa.ChunkedArray, values: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.if_else(missing, pa.scalar(None, values.type), values) if pc.any(missing).as_py() else values
